//! Retirement: an old build is unloaded once nothing of it can run, and what keeps it until then is named.

use super::{Slot, generation::Generation, lifecycle::Caretaker};
use crate::{
    loader::{Detacher, Library},
    status::RetainedGeneration,
};
use mycelia_plugin::abi::{Holds, host::ReportBuffer};
use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A build that no longer serves and is not yet unloaded.
pub struct Retiring {
    slot: &'static Slot,
    number: u32,
    code: Code,
    since: Instant,
    /// Why it is still there.
    reason: String,
    /// It waits for something that may never come.
    is_retained: bool,
    /// Whether the threads for lifecycle calls have been freed of it.
    is_detached: bool,
    errand: Option<Arc<Errand>>,
}

enum Code {
    Loaded(Arc<Generation>),
    /// dlclose did not unmap it, and nothing will.
    Mapped,
    Unloaded,
}

/// What every worker has to do once: run the thread-local destructors that a library left on its thread.
pub struct Errand {
    number: u64,
    detacher: Detacher,
    /// Workers that have yet to do it; one in the place of another does it for that one, too, which hangs.
    left: Mutex<Vec<u16>>,
}

/// What workers have to do beside their work.
#[derive(Default)]
pub struct Errands {
    posted: AtomicU64,
    open: Mutex<Vec<Arc<Errand>>>,
}

impl Errands {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Errand>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, detacher: Detacher, workers: usize) -> Arc<Errand> {
        let mut open = self.open();
        let number = self.posted.load(Ordering::Relaxed) + 1;
        let left = Mutex::new((0..workers as u16).collect());
        let errand = Arc::new(Errand { number, detacher, left });
        open.push(Arc::clone(&errand));
        self.posted.store(number, Ordering::SeqCst);
        errand
    }

    /// Calls the roll: every worker gives a sign when it comes by, those that park after a while.
    pub fn call_roll(&self) {
        let _open = self.open();
        self.posted.fetch_add(1, Ordering::SeqCst);
    }

    /// Does what is new to this worker, and gives a sign that it was here.
    #[inline]
    pub fn run(&self, worker: u16, seen: &mut u64, report: &ReportBuffer) {
        if self.are_new(*seen) {
            self.run_new(worker, seen, report);
        }
    }

    /// Whether there is something that this worker has not done.
    #[inline]
    pub fn are_new(&self, seen: u64) -> bool {
        // SeqCst: the look for work before parking, and `post` is the publication (see the kernel's `idle`).
        self.posted.load(Ordering::SeqCst) != seen
    }

    #[cold]
    fn run_new(&self, worker: u16, seen: &mut u64, report: &ReportBuffer) {
        let open = self.open();
        let new: Vec<_> = open.iter().filter(|errand| errand.number > *seen).cloned().collect();
        *seen = self.posted.load(Ordering::SeqCst);
        drop(open);
        for errand in new {
            errand.detacher.detach();
            errand.left().retain(|left| *left != worker);
        }
        report.beat();
    }

    fn is_done(&self, errand: &Arc<Errand>) -> bool {
        let is_done = errand.left().is_empty();
        if is_done {
            self.open().retain(|open| !Arc::ptr_eq(open, errand));
        }
        is_done
    }
}

impl Errand {
    fn left(&self) -> MutexGuard<'_, Vec<u16>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caretaker {
    /// Lets go of a build: it is unloaded as soon as nothing of it runs.
    pub fn retire(&mut self, slot: &'static Slot, generation: Arc<Generation>) {
        let number = generation.number;
        let is_known = |known: &Retiring| known.slot.id == slot.id && known.number == number;
        if !self.retiring.iter().any(is_known) {
            self.retiring.push(Retiring {
                slot,
                number,
                code: Code::Loaded(generation),
                since: Instant::now(),
                reason: String::new(),
                is_retained: false,
                is_detached: false,
                errand: None,
            });
        }
    }

    /// As `retire`, for a build that a thread is still in, which may never come back.
    pub fn retain(&mut self, slot: &'static Slot, generation: Arc<Generation>, reason: String) {
        let number = generation.number;
        self.retire(slot, generation);
        let mut all = self.retiring.iter_mut();
        let it = all.find(|known| known.slot.id == slot.id && known.number == number);
        it.expect("it has just been added").keep(reason);
    }

    /// When retirement goes on.
    pub fn next_look_at_retiring(&self) -> Duration {
        let soon = |one: &Retiring| match one.code {
            Code::Mapped => Duration::MAX,
            _ if one.since.elapsed() < Duration::from_secs(1) => Duration::from_millis(2),
            _ => Duration::from_millis(100),
        };
        self.retiring.iter().map(soon).min().unwrap_or(Duration::MAX)
    }

    /// Unloads what can be unloaded.
    pub fn go_on_retiring(&mut self) {
        if self.retiring.is_empty() {
            return;
        }
        let mut all = mem::take(&mut self.retiring);
        for one in &mut all {
            self.go_on(one);
        }
        all.retain(|one| !matches!(one.code, Code::Unloaded));
        // What came by meanwhile is new.
        all.append(&mut self.retiring);
        self.retiring = all;
        self.show_retained();
    }

    /// Shows what is still there of builds, and of instances that a handler hangs in, whose build may even serve.
    pub fn show_retained(&self) {
        let hung = self.hung.iter().map(|(slot, hung)| RetainedGeneration {
            subsystem: slot.name.clone(),
            generation: hung.generation.number,
            phase: "retained".into(),
            reason: hung.reason.clone(),
        });
        let hung: Vec<_> = hung.collect();
        let is_other = |one: &RetainedGeneration| {
            !hung
                .iter()
                .any(|hung| (&hung.subsystem, hung.generation) == (&one.subsystem, one.generation))
        };
        let retiring = self.retiring.iter().map(Retiring::shown).filter(is_other);
        self.runtime.show_retained(retiring.chain(hung.iter().cloned()).collect());
    }

    /// By which a thread leaves every library that it may have entered, but those that a lost thread is in: their locks may
    /// be held for good, and they stay in the process anyway.
    pub fn detachers(&self) -> Vec<Detacher> {
        let detacher = |one: &Generation| (!one.has_lost_thread()).then(|| one.library.detacher());
        let serving = self.runtime.subsystems().filter_map(|slot| {
            slot.info().build.as_ref().and_then(|build| detacher(&build.generation))
        });
        let standing_by = self.probations.generations().filter_map(detacher);
        let retiring = self.retiring.iter().filter_map(|one| match &one.code {
            Code::Loaded(generation) => detacher(generation),
            _ => None,
        });
        let hung = self.hung.iter().filter_map(|(_, hung)| detacher(&hung.generation));
        serving.chain(standing_by).chain(retiring).chain(hung).collect()
    }

    fn go_on(&mut self, one: &mut Retiring) {
        let Code::Loaded(generation) = &one.code else { return };
        if Arc::strong_count(generation) > 1 {
            if one.reason.is_empty() {
                one.reason = "an instance of it still exists".into();
            }
            return;
        }
        self.detach(one);
        let Code::Loaded(generation) = &one.code else { return };
        let is_left_on_workers = generation.library.holds().destructors > 0 || one.errand.is_some();
        if is_left_on_workers && !self.are_workers_detached(one) {
            one.reason = "a worker is busy that may have thread-local variables of it".into();
            return;
        }
        let Code::Loaded(generation) = &one.code else { return };
        let holds = generation.library.holds();
        if holds.threads > 0 || holds.destructors > 0 {
            return one.keep(reason(holds));
        }
        let Code::Loaded(generation) = mem::replace(&mut one.code, Code::Mapped) else { return };
        match Arc::try_unwrap(generation) {
            Ok(Generation { library, number, .. }) => one.code = one.unload(library, number),
            // A reference that came up in between is dropped soon.
            Err(generation) => one.code = Code::Loaded(generation),
        }
    }

    /// Frees the threads of lifecycle calls from what it left on them.
    fn detach(&mut self, one: &mut Retiring) {
        let Code::Loaded(generation) = &one.code else { return };
        if mem::replace(&mut one.is_detached, true) {
            return;
        }
        generation.library.detach_thread();
        let theirs = Arc::clone(generation);
        let limit = one.slot.settings.limit;
        let detached =
            self.runtime.attend(None, limit, move |_| theirs.library.detach_thread(), |_, ()| {});
        if let Err(left) = detached {
            one.keep(format!("a thread-local destructor of it {left}"));
        }
    }

    fn are_workers_detached(&self, one: &mut Retiring) -> bool {
        let Code::Loaded(generation) = &one.code else { return true };
        let runtime = self.runtime;
        let errand = one.errand.get_or_insert_with(|| {
            let detacher = generation.library.detacher();
            let errand = runtime.errands.post(detacher, runtime.worker_count);
            runtime.workers.wake_all();
            errand
        });
        runtime.errands.is_done(errand)
    }
}

fn reason(holds: Holds) -> String {
    match holds {
        Holds { threads: 0, destructors, .. } => {
            format!(
                "{destructors} thread-local variables of it are left on threads that do not end"
            )
        }
        Holds { threads: 1, .. } => "a thread that it started has not ended".into(),
        Holds { threads, .. } => format!("{threads} threads that it started have not ended"),
    }
}

impl Retiring {
    /// Says once that it stays, and why.
    fn keep(&mut self, reason: String) {
        if !mem::replace(&mut self.is_retained, true) {
            let (subsystem, generation) = (&self.slot.name, self.number);
            tracing::warn!(subsystem, generation, "retained: {reason}; its code stays until then");
        }
        self.reason = reason;
    }

    fn unload(&mut self, library: Library, number: u32) -> Code {
        let (subsystem, took) = (&self.slot.name, self.since.elapsed());
        match library.unload() {
            Ok(unloaded) if unloaded.is_mapped => {
                self.keep("the system's loader does not unmap it".into());
                Code::Mapped
            }
            Ok(unloaded) => {
                self.slot.info().loaded.retain(|loaded| *loaded != number);
                let bytes = unloaded.bytes_freed;
                if self.is_retained {
                    tracing::info!(subsystem, generation = number, "unloaded after {took:.1?}");
                } else {
                    tracing::debug!(subsystem, generation = number, bytes, "unloaded");
                }
                Code::Unloaded
            }
            Err((library, holds)) => {
                if holds.threads > 0 || holds.destructors > 0 {
                    self.keep(reason(holds));
                }
                Code::Loaded(Arc::new(Generation::new(number, library)))
            }
        }
    }

    fn shown(&self) -> RetainedGeneration {
        RetainedGeneration {
            subsystem: self.slot.name.clone(),
            generation: self.number,
            phase: if self.is_retained { "retained" } else { "retiring" }.into(),
            reason: self.reason.clone(),
        }
    }
}
