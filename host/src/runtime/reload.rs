//! Reload: a transaction. Everything that can fail is tried while the old generation serves, and what fails leaves it serving.
//!
//! 1. *Prepare*: the file climbs the loading ladder, an instance is created, and the old one's state, saved between two
//!    batches, is restored into a throw-away instance.
//! 2. *Commit*, at a batch boundary, while the queue goes on accepting: old `stop` and `save`, new `restore` and `start`;
//!    routes, scopes and functions change in one published step.
//! 3. *Probation* and *retirement*: see [`super::probation`] and [`super::retire`].

use super::{
    Slot,
    generation::{Build, Generation, Instance, served},
    lifecycle::{Called, Caretaker},
    restart::is_left,
    slot::looks,
};
use crate::{
    config::OnReload,
    loader::{Image, LoadError, Staged},
    report::{ReloadReport, ReloadTimes, StateFate},
    status::Phase,
    watch::Change,
};
use mycelia_kernel::table::Edit;
use mycelia_plugin::{Error, ErrorCode, Handled, Result};
use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// What is told of a reload.
pub type Done = Box<dyn FnOnce(Result<ReloadReport>) + Send>;

/// A state as an instance saved it.
#[derive(Clone)]
pub struct State {
    /// The number of its form.
    pub schema: u32,
    /// The bytes, shared with the call that reads them.
    pub bytes: Arc<Vec<u8>>,
    /// When it was saved.
    pub taken: Instant,
}

/// A build that is ready to take over.
struct Prepared {
    build: Arc<Build>,
    instance: Instance,
    /// What the old instance had saved when it was rehearsed.
    rehearsed: Option<State>,
}

/// What the old instance has left at commit.
struct Parted {
    /// None if it hangs in a call.
    instance: Option<Instance>,
    /// Whether it can be started again.
    is_usable: bool,
    state: Option<State>,
    /// What of its state is lost, and why.
    trouble: Option<String>,
}

impl Caretaker {
    /// Reloads every subsystem that is made from a file with new content.
    pub fn reload_file(&mut self, change: Change) {
        let hash = change.result.as_ref().map_or("", Image::hash);
        let is_concerned = |slot: &&Slot| {
            let info = slot.info();
            info.file.as_deref() == Some(&*change.path)
                && !(info.hash == hash && info.phase != Phase::Stopped)
        };
        let slots: Vec<&'static Slot> =
            self.runtime.subsystems().filter(|slot| is_concerned(slot)).collect();
        match change.result {
            Ok(image) => {
                for slot in slots {
                    let _told = self.reload(slot, Ok(image.clone()), change.seen);
                }
            }
            Err(error) => {
                let error = load_error(error);
                for slot in slots {
                    let _told = self.refuse(slot, &error, change.seen.elapsed());
                }
            }
        }
    }

    /// Reloads every subsystem whose file no longer holds what it serves.
    pub fn reload_changed(&mut self) {
        let slots: Vec<&'static Slot> = self.runtime.subsystems().collect();
        for slot in slots {
            // Reading many files takes long, and each is a step.
            self.runtime.lifecycle.step();
            if slot.info().file.is_none() {
                continue;
            }
            let asked = Instant::now();
            match self.read(slot) {
                Ok(image) if image.hash() == slot.info().hash => {}
                read => {
                    let _told = self.reload(slot, read, asked);
                }
            }
        }
    }

    /// Puts what a subsystem's file holds now in place of the build that serves, whatever it is, or says why not.
    ///
    /// # Errors
    /// Why not; the old generation serves on then.
    pub fn reload_asked(&mut self, slot: &'static Slot) -> Result<ReloadReport> {
        let asked = Instant::now();
        let read = self.read(slot);
        self.reload(slot, read, asked)
    }

    /// Puts a build, which was whole or asked for at `seen`, in place of the one that serves, or says why not.
    fn reload(
        &mut self,
        slot: &'static Slot,
        read: Result<Image>,
        seen: Instant,
    ) -> Result<ReloadReport> {
        let mut times = ReloadTimes { read: seen.elapsed(), ..ReloadTimes::default() };
        let reloaded = read
            .and_then(|image| self.prepare(slot, image, &mut times))
            .and_then(|prepared| self.commit(slot, prepared, seen, &mut times));
        match reloaded {
            Ok((state, bytes)) => {
                let report = self.report(slot, state, bytes, times);
                tracing::info!(subsystem = slot.name, "{report}");
                self.runtime.warn_of_deaf(slot);
                self.runtime.announce("reload", slot, &report.to_string());
                Ok(report)
            }
            Err(error) => Err(self.refuse(slot, &error, seen.elapsed())),
        }
    }

    fn read(&self, slot: &Slot) -> Result<Image> {
        let file = slot.info().file.clone();
        let file = file.ok_or_else(|| {
            let text = format!(
                "the library of `{}` was not found when the host started; start the host again",
                slot.name
            );
            Error::not_found(text)
        })?;
        let image = Image::read(&file).map_err(load_error)?;
        self.runtime.note_tried(&file, image.hash());
        Ok(image)
    }

    fn report(
        &self,
        slot: &Slot,
        state: StateFate,
        state_bytes: usize,
        times: ReloadTimes,
    ) -> ReloadReport {
        let mut info = slot.info();
        info.reloads.committed += 1;
        let report = ReloadReport {
            subsystem: slot.name.clone(),
            plugin: info.plugin.clone(),
            version: info.version.clone(),
            generation: info.generation,
            hash: info.hash.clone(),
            state,
            state_bytes: state_bytes as u64,
            times,
        };
        slot.tally.pause(report.times.pause);
        info.last_reload = Some(report.clone());
        report
    }

    /// Counts and tells a refusal, and says what serves instead.
    fn refuse(&self, slot: &Slot, error: &Error, took: Duration) -> Error {
        let mut info = slot.info();
        info.reloads.refused += 1;
        info.last_error = Some(format!("reload: {error}"));
        let serves = match info.phase {
            Phase::Stopped => "the subsystem stays stopped".to_owned(),
            _ => format!("generation {} serves on", info.generation),
        };
        drop(info);
        tracing::error!(
            subsystem = slot.name,
            "reload refused after {took:.1?}: {error}; {serves}"
        );
        self.runtime.announce("refused", slot, &format!("{error}; {serves}"));
        Error::new(error.code, format!("{error}; {serves}")).handled(Handled::No)
    }

    fn prepare(
        &mut self,
        slot: &'static Slot,
        image: Image,
        times: &mut ReloadTimes,
    ) -> Result<Prepared> {
        if self.runtime.is_stopping() {
            return Err(Error::new(ErrorCode::Gone, "the host stops"));
        }
        let generation = self.load(slot, image, times)?;
        let prepared = self.rehearse(slot, &generation, times);
        if prepared.is_err() {
            self.retire(slot, generation);
        }
        prepared
    }

    /// Climbs the ladder.
    fn load(
        &mut self,
        slot: &'static Slot,
        image: Image,
        times: &mut ReloadTimes,
    ) -> Result<Arc<Generation>> {
        let mut lap = Lap::start();
        let number = slot.info().generations + 1;
        let checked = image.preflight().map_err(load_error)?;
        times.check = lap.end();
        let staged = checked.seal(&format!("{}@{number}", slot.name)).map_err(load_error)?;
        if let Some(prober) = &self.runtime.prober {
            staged.probe(prober).map_err(load_error)?;
        }
        times.probe = lap.end();
        let loaded = self.load_staged(slot, number, staged);
        times.load = lap.end();
        loaded
    }

    /// The last step of the ladder.
    pub fn load_staged(
        &mut self,
        slot: &'static Slot,
        number: u32,
        staged: Staged,
    ) -> Result<Arc<Generation>> {
        let late = move |caretaker: &mut Caretaker, late: Result<_, LoadError>| {
            if let Ok(library) = late {
                caretaker.retire(slot, Arc::new(Generation::new(number, library)));
            }
        };
        let limit = slot.settings.limit;
        let loaded = self.runtime.attend(None, limit, move |_| staged.load(), late);
        let library = loaded.map_err(|left| is_left("load", &left))?.map_err(load_error)?;
        let mut info = slot.info();
        info.generations = number;
        info.loaded.push(number);
        drop(info);
        Ok(Arc::new(Generation::new(number, library)))
    }

    /// Creates an instance, and tries whether it takes the old one's state.
    fn rehearse(
        &mut self,
        slot: &'static Slot,
        generation: &Arc<Generation>,
        times: &mut ReloadTimes,
    ) -> Result<Prepared> {
        let mut lap = Lap::start();
        let waits = self.restarts.contains(slot);
        let old = slot.info().build.clone().filter(|_| slot.incarnation() != 0 || waits);
        let build = self.build(slot, generation)?;
        let known = old.as_ref().map(|old| old.generation.manifest());
        self.runtime.warn_of_scopes(slot, known, generation.manifest());
        let rehearsed = match old {
            Some(old) if is_kept(slot, &old.generation, generation)? => {
                self.save_between_batches(slot, times)?
            }
            _ => None,
        };
        if let Some(state) = &rehearsed {
            let throw_away = self.create(slot, &build).map_err(create_error)?;
            let tried = self.restore(slot, throw_away, state, false)?;
            self.destroy_silently(slot, tried);
        }
        times.rehearsal = lap.end().saturating_sub(times.snapshot);
        let instance = self.create(slot, &build).map_err(create_error)?;
        times.create = lap.end();
        Ok(Prepared { build, instance, rehearsed })
    }

    /// What instances are made from, after a trial of its routes: ids are given for good, so those of the commit are the same.
    fn build(&self, slot: &Slot, generation: &Arc<Generation>) -> Result<Arc<Build>> {
        let routes = served(generation.manifest()).map_err(Error::invalid)?;
        let mut edit = self.runtime.tables.load().edit();
        let build = Build::new(
            self.enter(slot, &mut edit, &routes)?,
            slot.id,
            Arc::clone(generation),
            routes,
            slot.settings.config.clone(),
            slot.settings.data.clone(),
        );
        Ok(Arc::new(build))
    }

    fn enter<'e>(
        &self,
        slot: &Slot,
        edit: &'e mut Edit,
        routes: &[mycelia_kernel::table::Route],
    ) -> Result<&'e Edit> {
        edit.subsystem(&slot.name, slot.settings.grants.clone(), routes.to_vec())
            .map_err(|error| Error::invalid(error.to_string()))?;
        Ok(edit)
    }

    /// The present instance's state, while nothing of it runs; what the next one is to have, where that waits.
    fn save_between_batches(
        &mut self,
        slot: &'static Slot,
        times: &mut ReloadTimes,
    ) -> Result<Option<State>> {
        self.hold_for_reload(slot)?;
        if self.restarts.contains(slot) {
            return Ok(self.restarts.state(slot));
        }
        let lap = Instant::now();
        let saved = self.save_held(slot);
        (times.snapshot, times.snapshot_save) = (lap.elapsed(), self.took);
        saved.map(Some).map_err(|error| unsaved(&error))
    }

    /// The state of a held subsystem, which is put back. One that hangs over it is restarted; one that panics serves on,
    /// since `save` changes nothing.
    pub fn save_held(&mut self, slot: &'static Slot) -> Result<State> {
        let Some(instance) = slot.cell().instance.take() else {
            self.release(slot);
            return Err(Error::failed("the subsystem has just stopped"));
        };
        match self.save(slot, instance) {
            Called::Returned(instance, saved) => {
                slot.cell().instance = Some(instance);
                self.release(slot);
                saved
            }
            Called::Left(left) => {
                let error = is_left("save", &left);
                self.runtime.cut_off(slot, slot.incarnation());
                self.restart(slot, &error.text);
                Err(error)
            }
        }
    }

    fn save(&mut self, slot: &'static Slot, instance: Instance) -> Called<Result<State>> {
        let schema = instance.generation.manifest().state;
        self.call(slot, instance, "save", move |instance, _| {
            let taken = Instant::now();
            instance.guest.save().map(|bytes| State { schema, bytes: Arc::new(bytes), taken })
        })
    }

    /// Gives a new instance saved state; `in_earnest` it takes over the requests that the state holds. Nothing is left of one
    /// that does not take it.
    pub fn restore(
        &mut self,
        slot: &'static Slot,
        instance: Instance,
        state: &State,
        in_earnest: bool,
    ) -> Result<Instance> {
        if in_earnest {
            let mut handover = slot.handover();
            handover.restoring = instance.incarnation;
            handover.restored.clear();
        }
        let (schema, bytes) = (state.schema, Arc::clone(&state.bytes));
        let called = self.call(slot, instance, "restore", move |instance, _| {
            instance.guest.restore(schema, &bytes)
        });
        slot.handover().restoring = 0;
        match called {
            Called::Returned(instance, Ok(())) => Ok(instance),
            Called::Returned(instance, Err(error)) => {
                self.destroy_silently(slot, instance);
                Err(refused_state(&error))
            }
            Called::Left(left) => Err(is_left("restore", &left)),
        }
    }

    /// Takes a subsystem out of circulation. One whose instance has just failed is restarted first.
    pub fn hold_for_reload(&mut self, slot: &'static Slot) -> Result<()> {
        let limit = slot.settings.limit;
        // Whatever runs past the limit is taken away first.
        let patience = limit + self.runtime.watchdog.delay();
        while self.hold_until(slot, Instant::now() + patience) {
            if !self.restart_failed(slot) {
                return Ok(());
            }
        }
        let text = format!(
            "its handlers have not returned a batch for longer than {limit:?}, its `handler_limit`"
        );
        Err(Error::new(ErrorCode::Busy, text))
    }

    /// Lets the new build take over, or leaves everything as it was.
    fn commit(
        &mut self,
        slot: &'static Slot,
        prepared: Prepared,
        seen: Instant,
        times: &mut ReloadTimes,
    ) -> Result<(StateFate, usize)> {
        let wait = Instant::now();
        if let Err(error) = self.hold_for_reload(slot) {
            self.drop_prepared(slot, prepared);
            return Err(error);
        }
        times.wait = wait.elapsed();
        // The new build serves in place of the instance that was waited for.
        let _planned = self.restarts.take(slot);
        let pause = Instant::now();
        let phase = mem::replace(&mut slot.info().phase, Phase::Reloading);
        let standing = slot.info().build.clone().filter(|_| phase != Phase::Stopped);
        let committed = self.swap(slot, prepared, phase, times);
        self.release(slot);
        (times.pause, times.total) = (pause.elapsed(), seen.elapsed());
        let (old, state, fate) = committed?;
        if let Some(old) = old {
            // Its requests that nobody has restored are answered now.
            self.destroy(slot, old, true);
        }
        let bytes = state.as_ref().map_or(0, |state| state.bytes.len());
        self.begin_probation(slot, standing, state);
        Ok((fate, bytes))
    }

    fn drop_prepared(&mut self, slot: &'static Slot, prepared: Prepared) {
        let Prepared { build, instance, .. } = prepared;
        self.destroy_silently(slot, instance);
        self.retire(slot, Arc::clone(&build.generation));
    }

    /// The part of a commit during which nothing of the subsystem runs. Answers the old instance, if it is still to be
    /// dropped, and the state that was handed on.
    #[allow(clippy::type_complexity, reason = "three parts that belong to the caller's next steps")]
    fn swap(
        &mut self,
        slot: &'static Slot,
        prepared: Prepared,
        phase: Phase,
        times: &mut ReloadTimes,
    ) -> Result<(Option<Instance>, Option<State>, StateFate)> {
        let Prepared { build, instance, rehearsed } = prepared;
        let wanted = rehearsed.is_some();
        let parted = self.part(slot, rehearsed, times);
        if let Some(trouble) = &parted.trouble {
            slot.note_error(trouble);
            if wanted && slot.settings.on_reload == OnReload::RefuseIfLost {
                let error = Error::failed(trouble.clone());
                self.destroy_silently(slot, instance);
                return Err(self.go_back(slot, parted, &build, phase, error));
            }
            tracing::error!(subsystem = slot.name, "{trouble}; the new build takes over");
        }
        let restored = match &parted.state {
            Some(state) => {
                let restored = self.restore(slot, instance, state, true);
                times.restore = self.took;
                restored
            }
            None => Ok(instance),
        };
        let started = restored.and_then(|instance| self.take_over(slot, &build, instance, times));
        if let Err(error) = started {
            return Err(self.go_back(slot, parted, &build, phase, error));
        }
        let fate = self.describe(slot, &build, parted.state.as_ref());
        self.runtime.answer_left(slot);
        if let Some(old) = &parted.instance {
            self.runtime.cut_off(slot, old.incarnation);
        }
        slot.info().phase = Phase::Running;
        Ok((parted.instance, parted.state, fate))
    }

    /// Takes its leave of the old instance: its threads end, it gives back what it took, and its state is saved.
    fn part(
        &mut self,
        slot: &'static Slot,
        rehearsed: Option<State>,
        times: &mut ReloadTimes,
    ) -> Parted {
        let Some(old) = slot.cell().instance.take() else {
            return Parted { instance: None, is_usable: false, state: rehearsed, trouble: None };
        };
        let incarnation = old.incarnation;
        let mut lap = Lap::start();
        let left = self.quiesce_within_limit(slot, &old);
        let quiesced = lap.end();
        if left > 0 {
            let text = format!("{left} threads of the old build ignore their stop token");
            tracing::error!(subsystem = slot.name, "{text}; their code stays in the process");
        }
        let stopped = self.call_stop(slot, old);
        times.stop = quiesced + self.took;
        let hung = |trouble| Parted {
            instance: None,
            is_usable: false,
            state: None,
            trouble: Some(trouble),
        };
        let lost = |what: &str| format!("what changed since the rehearsal is lost: {what}");
        let (old, stopped) = match stopped {
            Called::Returned(old, stopped) => (old, stopped),
            Called::Left(left) => {
                self.runtime.cut_off(slot, incarnation);
                let trouble = lost(&is_left("stop", &left).to_string());
                return Parted { state: rehearsed, ..hung(trouble) };
            }
        };
        if let Err(error) = stopped {
            if error.code == ErrorCode::Panicked {
                let trouble = lost(&format!("its `stop` failed with {}", error.text));
                return Parted { instance: Some(old), state: rehearsed, ..hung(trouble) };
            }
            self.complain(slot, "stop", Err(error));
        }
        if rehearsed.is_none() {
            return Parted { instance: Some(old), is_usable: true, state: None, trouble: None };
        }
        let saved = self.save(slot, old);
        times.save = self.took;
        match saved {
            Called::Returned(old, Ok(state)) => {
                let (instance, state) = (Some(old), Some(state));
                Parted { instance, is_usable: true, state, trouble: None }
            }
            Called::Returned(old, Err(error)) => {
                let is_usable = error.code != ErrorCode::Panicked;
                let trouble = Some(lost(&unsaved(&error).to_string()));
                Parted { instance: Some(old), is_usable, state: rehearsed, trouble }
            }
            Called::Left(left) => {
                self.runtime.cut_off(slot, incarnation);
                let trouble = lost(&is_left("save", &left).to_string());
                Parted { state: rehearsed, ..hung(trouble) }
            }
        }
    }

    /// Starts the new instance and publishes its routes, in one step: whoever sees the one sees the other.
    pub fn take_over(
        &mut self,
        slot: &'static Slot,
        build: &Arc<Build>,
        instance: Instance,
        times: &mut ReloadTimes,
    ) -> Result<()> {
        let (runtime, incarnation) = (self.runtime, instance.incarnation);
        runtime.tables.update(|edit| {
            self.enter(slot, edit, &build.served)?;
            let called = self.start(slot, instance, Some(Arc::new(edit.preview())));
            times.start = self.took;
            match called {
                Called::Returned(instance, Ok(())) => {
                    slot.info().build = Some(Arc::clone(build));
                    self.seat(slot, instance);
                    Ok(())
                }
                Called::Returned(instance, Err(error)) => {
                    self.discard(slot, instance);
                    Err(Error::new(error.code, format!("its `start` fails: {error}")))
                }
                Called::Left(left) => {
                    self.runtime.cut_off(slot, incarnation);
                    Err(is_left("start", &left))
                }
            }
        })
    }

    /// The new build does not take over: the old instance goes on, or a new one of the old build.
    fn go_back(
        &mut self,
        slot: &'static Slot,
        parted: Parted,
        build: &Arc<Build>,
        phase: Phase,
        error: Error,
    ) -> Error {
        slot.handover().restored.clear();
        self.retire(slot, Arc::clone(&build.generation));
        if phase == Phase::Stopped {
            slot.info().phase = phase;
            return error;
        }
        let Parted { instance, is_usable, state, .. } = parted;
        let failed = match instance {
            Some(old) if is_usable => match self.start_again(slot, old) {
                Ok(()) => return error,
                Err(failed) => format!("its old build does not start again: {failed}"),
            },
            unusable => {
                slot.cell().instance = unusable;
                "its old instance cannot go on".into()
            }
        };
        tracing::error!(subsystem = slot.name, "{failed}");
        slot.info().phase = Phase::Restarting;
        self.replace(slot, state);
        error
    }

    fn start_again(&mut self, slot: &'static Slot, old: Instance) -> Result<()> {
        let incarnation = old.incarnation;
        match self.start(slot, old, None) {
            Called::Returned(old, Ok(())) => {
                self.seat(slot, old);
                slot.info().phase = Phase::Running;
                Ok(())
            }
            Called::Returned(old, Err(failed)) => {
                slot.cell().instance = Some(old);
                Err(failed)
            }
            Called::Left(left) => {
                self.runtime.cut_off(slot, incarnation);
                Err(is_left("start", &left))
            }
        }
    }

    /// Notes what serves from now on, and says what has become of the state.
    pub fn describe(&self, slot: &Slot, build: &Build, state: Option<&State>) -> StateFate {
        let table = self.runtime.tables.load();
        let lost = (0..).map(mycelia_kernel::ids::RouteId);
        let has_lost = lost
            .take_while(|route| table.pattern(slot.id, *route).is_some())
            .any(|route| !table.is_live(slot.id, route));
        match has_lost {
            true => slot.looks.fetch_or(looks::LOST_ROUTES, Ordering::Release),
            false => slot.looks.fetch_and(!looks::LOST_ROUTES, Ordering::Release),
        };
        let mut info = slot.info();
        info.describe(&build.generation);
        info.snapshot = state.cloned().filter(|_| slot.settings.snapshot.is_some());
        drop(info);
        match state {
            Some(state) if state.schema == build.generation.manifest().state => StateFate::Kept,
            Some(_) => StateFate::Migrated,
            None => StateFate::Fresh,
        }
    }
}

/// Whether the new build is given the old one's state.
///
/// # Errors
/// If it would be lost, where the config says that it must not.
fn is_kept(slot: &Slot, old: &Generation, new: &Generation) -> Result<bool> {
    let (old, new) = (old.manifest().state, new.manifest().state);
    match slot.settings.on_reload {
        OnReload::Reset => Ok(false),
        OnReload::RefuseIfLost if old != 0 && new == 0 => Err(Error::invalid(
            "the new build keeps no state, and `on_reload` is RefuseIfLost; give it the old one's state, or say Keep",
        )),
        _ => Ok(old != 0 && new != 0),
    }
}

pub(super) fn load_error(error: LoadError) -> Error {
    Error::invalid(error.to_string())
}

fn create_error(error: mycelia_plugin::abi::host::CreateError) -> Error {
    Error::new(error.error.code, format!("its `create` fails: {}", error.error))
}

fn refused_state(error: &Error) -> Error {
    let text = format!(
        "it does not take the state of the old build: {error}; give a new field `#[serde(default)]`, raise `SCHEMA` \
         and write `migrate`, or give the state up by `on_reload: Reset`"
    );
    Error::new(error.code, text)
}

fn unsaved(error: &Error) -> Error {
    Error::new(error.code, format!("the old build cannot save its state: {error}"))
}

/// Measures one step after the other.
struct Lap(Instant);

impl Lap {
    fn start() -> Lap {
        Lap(Instant::now())
    }

    fn end(&mut self) -> Duration {
        let now = Instant::now();
        now - mem::replace(&mut self.0, now)
    }
}
