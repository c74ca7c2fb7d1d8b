//! The lifecycle thread: starts, restarts, reloads and ends instances, one at a time, while the workers go on with the others.
//!
//! It decides; plugins are entered by the thread of [`super::attend`], which may hang.

use super::{
    Desk, Runtime, Slot, generation::Instance, memory::MemoryLook, probation::Probations,
    reload::Done, restart::Restarts, retire::Retiring, slot::Hung, snapshot::Snapshots,
};
use crate::watch::Change;
use mycelia_kernel::{ids::SubsystemId, queue::HEALTH, table::Table};
use mycelia_plugin::{Error, ErrorCode, Handled, Result, abi::host::GuestThreads};
use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

/// What the lifecycle thread is asked to do.
enum Job {
    /// An instance failed, and is out of circulation: replace it.
    Restart(SubsystemId),
    /// One of the threads of this incarnation failed.
    Fault { id: SubsystemId, incarnation: u32, text: String },
    /// The file of a plugin has new content.
    Changed(Change),
    /// The operator wants this subsystem reloaded, whatever its file holds.
    Reload { id: SubsystemId, done: Done },
    /// Somebody, who may be a plugin, wants this done to a subsystem.
    Order { id: SubsystemId, from: SubsystemId, order: Order, done: OrderDone },
    /// The operator wants everything reloaded whose file has changed.
    ReloadChanged(Then),
    /// What is logged has changed: the plugins ask anew.
    LogChanged,
    /// A call that was given up has returned.
    Late(Late),
    /// End the host in order.
    Stop,
}

/// Runs on the lifecycle thread once something has been done; dropped if the host stops before.
type Then = Box<dyn FnOnce() + Send>;

type Late = Box<dyn FnOnce(&mut Caretaker) + Send>;

/// What can be done to a subsystem by `kernel://subsystem/…`.
#[derive(Copy, Clone)]
pub enum Order {
    Reload,
    Restart,
    Stop,
}

impl Order {
    pub fn word(self) -> &'static str {
        match self {
            Order::Reload => "reload",
            Order::Restart => "restart",
            Order::Stop => "stop",
        }
    }
}

/// Is told what became of an order.
pub type OrderDone = Box<dyn FnOnce(Result<Vec<u8>>) + Send>;

/// The way to the lifecycle thread.
pub struct Lifecycle {
    jobs: Mutex<Sender<Job>>,
    inbox: Mutex<Receiver<Job>>,
    /// Counts subsystems that workers handed over.
    handed: Mutex<u64>,
    handed_over: Condvar,
    /// Counts the steps of the lifecycle thread; odd while it is at something.
    steps: AtomicU64,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (jobs, inbox) = channel();
        Lifecycle {
            jobs: Mutex::new(jobs),
            inbox: Mutex::new(inbox),
            handed: Mutex::new(0),
            handed_over: Condvar::new(),
            steps: AtomicU64::new(0),
        }
    }
}

impl Lifecycle {
    fn ask(&self, job: Job) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).expect("the inbox lives as long as the host");
    }

    /// Asks for a new instance.
    pub(super) fn restart(&self, id: SubsystemId) {
        self.ask(Job::Restart(id));
    }

    /// Tells of a plugin's own thread that failed.
    pub(super) fn fault(&self, id: SubsystemId, incarnation: u32, text: String) {
        self.ask(Job::Fault { id, incarnation, text });
    }

    /// Tells of a file with new content.
    pub(super) fn changed(&self, change: Change) {
        self.ask(Job::Changed(change));
    }

    /// Asks for a reload; `done` is told what became of it.
    pub(super) fn reload(&self, id: SubsystemId, done: Done) {
        self.ask(Job::Reload { id, done });
    }

    /// Asks for something to be done to a subsystem.
    pub(super) fn order(&self, id: SubsystemId, from: SubsystemId, order: Order, done: OrderDone) {
        self.ask(Job::Order { id, from, order, done });
    }

    /// Asks for a reload of every subsystem whose file has changed; `then` runs when that has ended.
    pub(super) fn reload_changed(&self, then: Then) {
        self.ask(Job::ReloadChanged(then));
    }

    /// Tells that what is logged has changed.
    pub(super) fn log_changed(&self) {
        self.ask(Job::LogChanged);
    }

    /// Tells of a call that has returned after it was given up.
    pub(super) fn late(&self, late: Late) {
        self.ask(Job::Late(late));
    }

    /// Asks for an orderly stop.
    pub fn stop(&self) {
        self.ask(Job::Stop);
    }

    /// The lifecycle thread goes on with what it is at.
    pub(super) fn step(&self) {
        self.steps.fetch_add(2, Ordering::Relaxed);
    }

    fn begin_or_end(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// The step that the lifecycle thread is at, while it is at something.
    pub(super) fn present_step(&self) -> Option<u64> {
        let step = self.steps.load(Ordering::Relaxed);
        (step % 2 == 1).then_some(step)
    }

    fn inbox(&self) -> MutexGuard<'_, Receiver<Job>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker let go of a subsystem that the lifecycle thread wants.
    pub(super) fn handed_over(&self) {
        *self.handed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.handed_over.notify_all();
    }

    /// Waits for a worker to let go of something, for a while.
    fn wait(&self, seen: &mut u64, limit: Duration) {
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.handed_over.wait_timeout_while(handed, limit, |handed| *handed == *seen);
        *seen = *waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// How soon, and at most how seldom, the lifecycle thread looks whether threads have ended.
const LOOK: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(2));

/// What came of a lifecycle call.
pub(super) enum Called<R> {
    /// It returned.
    Returned(Instance, R),
    /// It has not returned within the limit, or never will, as this says; what becomes of the instance is arranged for.
    Left(String),
}

/// The lifecycle thread's own state.
pub(super) struct Caretaker {
    pub runtime: &'static Runtime,
    pub restarts: Restarts,
    pub snapshots: Snapshots,
    pub memory: MemoryLook,
    pub probations: Probations,
    pub retiring: Vec<Retiring>,
    /// Instances in handlers of which threads hang.
    pub hung: Vec<(&'static Slot, Hung)>,
    /// How long the last lifecycle call took within the plugin.
    pub took: Duration,
}

impl Caretaker {
    pub fn new(runtime: &'static Runtime) -> Self {
        Caretaker {
            runtime,
            restarts: Restarts::default(),
            snapshots: Snapshots::of(runtime),
            memory: MemoryLook::of(runtime.subsystems()),
            probations: Probations::default(),
            retiring: Vec::new(),
            hung: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Works until a stop is asked for.
    pub fn care(&mut self) {
        loop {
            let job = self.runtime.lifecycle.inbox().recv_timeout(self.until_next_look());
            self.runtime.lifecycle.begin_or_end();
            match job {
                Ok(Job::Stop) => return,
                Ok(job) => self.attend_to(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the host keeps a sender"),
            }
            self.restart_due();
            self.take_snapshots();
            self.look_at_memory();
            self.end_probations();
            self.go_on_retiring();
            self.runtime.lifecycle.begin_or_end();
        }
    }

    fn attend_to(&mut self, job: Job) {
        match job {
            Job::Restart(id) => {
                let _done_before = self.restart_failed(self.runtime.slot(id));
            }
            Job::Fault { id, incarnation, text } => {
                let slot = self.runtime.slot(id);
                if slot.incarnation() == incarnation {
                    self.hold(slot);
                    self.restart(slot, &text);
                }
            }
            Job::Changed(change) => self.reload_file(change),
            Job::Reload { id, done } => {
                done(self.reload_asked(self.runtime.slot(id)));
            }
            Job::Order { id, from, order, done } => {
                done(self.obey(self.runtime.slot(id), from, order));
            }
            Job::ReloadChanged(then) => {
                self.reload_changed();
                then();
            }
            Job::LogChanged => self.tell_log_changed(),
            Job::Late(late) => late(self),
            Job::Stop => {}
        }
    }

    /// Ends the instances that failed meanwhile, for a host that stops: nothing is started or reloaded again.
    pub fn bury_failed(&mut self) {
        self.bury_waiting();
        loop {
            let job = self.runtime.lifecycle.inbox().try_recv();
            match job {
                Ok(Job::Restart(id)) => {
                    let slot = self.runtime.slot(id);
                    let failed = slot.queue.is_held().then(|| slot.cell().failed.take());
                    let Some(text) = failed.flatten() else { continue };
                    slot.note_error(&text);
                    // Its threads were told to end when the stop began; one that lingers is in the log.
                    let ended = self.end(slot, None);
                    self.complain(slot, "end", ended);
                    self.release(slot);
                }
                Ok(Job::Reload { done, .. }) => {
                    let text = "the host stops";
                    done(Err(Error::new(ErrorCode::Gone, text).handled(Handled::No)));
                }
                Ok(Job::Order { done, .. }) => {
                    let text = "the host stops";
                    done(Err(Error::new(ErrorCode::Gone, text).handled(Handled::No)));
                }
                Ok(Job::Late(late)) => late(self),
                // A thread of its own that fails while it is told to end changes nothing.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Lets the plugins ask anew which of their events and spans are wanted: those that serve, and those that may again.
    fn tell_log_changed(&self) {
        let build = |slot: &'static Slot| Some((slot, slot.info().build.clone()?));
        let serving = self.runtime.subsystems().filter_map(build);
        for (slot, build) in serving.chain(self.builds_standing_by()) {
            let generation = Arc::clone(&build.generation);
            let told = move |_: &mut Desk| generation.library.log_changed();
            let (generation, limit) = (Some(&build.generation), slot.settings.limit);
            if let Err(left) = self.runtime.attend(generation, limit, told, |_, ()| {}) {
                let text = format!("telling it of new log levels {left}");
                tracing::error!(subsystem = slot.name, "{text}; its thread is left to it");
                slot.note_error(&text);
            }
        }
    }

    /// How long nothing has to be looked after.
    fn until_next_look(&self) -> Duration {
        let waits = self.restarts.next_look().min(self.snapshots.next_look());
        waits
            .min(self.memory.next())
            .min(self.probations.next_look())
            .min(self.next_look_at_retiring())
    }

    /// Takes a subsystem out of circulation, at its next batch boundary.
    pub fn hold(&self, slot: &Slot) {
        while !self.hold_until(slot, Instant::now() + slot.settings.limit) {
            tracing::warn!(
                subsystem = slot.name,
                "a handler takes longer than `handler_limit`; waiting for it"
            );
        }
    }

    /// As `hold`, but gives up at `until`; whether it is held.
    pub fn hold_until(&self, slot: &Slot, until: Instant) -> bool {
        let mut seen = 0;
        while !slot.queue.try_hold() {
            if Instant::now() >= until {
                return slot.queue.withdraw();
            }
            self.runtime.lifecycle.wait(&mut seen, Duration::from_millis(10));
        }
        true
    }

    /// Puts it back, unless it waits for its restart.
    pub fn release(&self, slot: &Slot) {
        if self.restarts.contains(slot) {
            return;
        }
        if !slot.cell().left.is_empty() {
            // What an instance that panicked left in the batch is not in the queue: a bit makes the subsystem ready.
            let _held = slot.queue.raise(HEALTH);
        }
        let wake = slot.queue.release();
        self.runtime.wake(slot.id, wake);
    }

    /// Makes one lifecycle call of an instance, within the subsystem's limit. `what` is its word in messages.
    pub fn call<R: Send + 'static>(
        &mut self,
        slot: &'static Slot,
        instance: Instance,
        what: &'static str,
        work: impl FnOnce(&mut Instance, &mut Desk) -> R + Send + 'static,
    ) -> Called<R> {
        let generation = Arc::clone(&instance.generation);
        let mut instance = instance;
        let called = self.runtime.attend(
            Some(&generation),
            slot.settings.limit,
            move |desk| {
                let began = Instant::now();
                let result = work(&mut instance, desk);
                (instance, result, began.elapsed())
            },
            // It may have started threads.
            move |caretaker, (instance, ..)| caretaker.discard(slot, instance),
        );
        match called {
            Ok((instance, result, took)) => {
                self.took = took;
                Called::Returned(instance, result)
            }
            Err(left) => {
                self.took = slot.settings.limit;
                let reason = format!("its `{what}` {left}");
                tracing::error!(subsystem = slot.name, "{reason}; its thread is left to it");
                slot.note_error(&reason);
                self.retain(slot, generation, reason);
                Called::Left(left)
            }
        }
    }

    /// Runs an instance's `start`, with a table that may not be published yet. It is live from here on, beside another one.
    pub fn start(
        &mut self,
        slot: &'static Slot,
        instance: Instance,
        table: Option<Arc<Table>>,
    ) -> Called<Result<()>> {
        let runtime = self.runtime;
        slot.beside.store(instance.incarnation, Ordering::Release);
        slot.completions.open(instance.incarnation);
        self.call(slot, instance, "start", move |instance, desk| {
            desk.sit_down(runtime, slot, runtime.now());
            if let Some(table) = table {
                desk.turn.table = table;
            }
            let started = instance.guest.start(runtime.spec(desk, &[]));
            runtime.settle(slot, desk);
            started
        })
    }

    /// An instance that was started serves from here on; the subsystem is held, or was never released.
    pub fn seat(&mut self, slot: &'static Slot, instance: Instance) {
        *slot.threads() = Some(instance.guest.threads());
        slot.incarnation.store(instance.incarnation, Ordering::Release);
        slot.beside.store(0, Ordering::Release);
        slot.cell().instance = Some(instance);
        slot.info().serves_since = Some(Instant::now());
        self.runtime.arm_timers(slot);
    }

    /// As `quiesce`, for as long as a lifecycle call may take.
    pub fn quiesce_within_limit(&self, slot: &Slot, instance: &Instance) -> u32 {
        let until = Instant::now() + slot.settings.limit;
        self.quiesce(slot, instance.incarnation, instance.guest.threads(), until)
    }

    /// Raises the stop token of an instance's threads, and waits until they have ended; how many have not by `until`.
    pub fn quiesce(
        &self,
        slot: &Slot,
        incarnation: u32,
        threads: GuestThreads,
        until: Instant,
    ) -> u32 {
        threads.quiesce();
        let (mut pause, longest) = LOOK;
        loop {
            let left = threads.running().saturating_sub(slot.parked(incarnation));
            if left == 0 || Instant::now() >= until {
                return left;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }

    /// Ends the instance of a subsystem that is held: its threads, its `stop` if `orderly`, and itself.
    ///
    /// # Errors
    /// If a thread does not end within the subsystem's limit: it may go on with what a next instance needs.
    pub fn end(&mut self, slot: &'static Slot, orderly: Option<Instant>) -> Result<()> {
        let until = orderly.unwrap_or_else(|| Instant::now() + slot.settings.limit);
        let instance = slot.cell().instance.take();
        let Some(instance) = instance else { return self.leave_hung(slot, until) };
        let incarnation = instance.incarnation;
        let left = self.quiesce(slot, incarnation, instance.guest.threads(), until);
        let ended = match orderly {
            Some(_) => self.stop(slot, instance),
            None => Some(instance),
        };
        self.runtime.cut_off(slot, incarnation);
        if let Some(instance) = ended {
            self.destroy(slot, instance, false);
        }
        self.are_ended(slot, left)
    }

    /// What has to be done about an instance that a thread is lost in, before there is another one: its threads end.
    fn leave_hung(&mut self, slot: &'static Slot, until: Instant) -> Result<()> {
        let hung = slot.cell().hung.take();
        let Some(hung) = hung else { return Ok(()) };
        let left =
            hung.threads.map_or(0, |threads| self.quiesce(slot, hung.incarnation, threads, until));
        self.hung.push((slot, hung));
        self.show_retained();
        self.are_ended(slot, left)
    }

    /// A handler that had run past its limit has returned: what is left of its instance can go.
    pub fn end_hung(&mut self, slot: &'static Slot, instance: Instance) {
        let incarnation = instance.incarnation;
        // The handler may have begun threads meanwhile.
        let left = self.quiesce_within_limit(slot, &instance);
        self.runtime.cut_off(slot, incarnation);
        self.destroy(slot, instance, false);
        self.hung.retain(|(_, hung)| hung.incarnation != incarnation);
        self.show_retained();
        tracing::info!(
            subsystem = slot.name,
            "the handler that hung has returned; its thread has ended"
        );
        let complaint = self.are_ended(slot, left);
        self.complain(slot, "end", complaint);
    }

    fn are_ended(&self, slot: &Slot, left: u32) -> Result<()> {
        if left == 0 {
            return Ok(());
        }
        let text = format!("{left} threads of the subsystem ignore their stop token");
        tracing::error!(subsystem = slot.name, "{text}; their code stays in the process");
        slot.note_error(&text);
        Err(Error::failed(text))
    }

    fn stop(&mut self, slot: &'static Slot, instance: Instance) -> Option<Instance> {
        match self.call_stop(slot, instance) {
            Called::Returned(instance, stopped) => {
                self.complain(slot, "stop", stopped);
                Some(instance)
            }
            Called::Left(_) => None,
        }
    }

    /// Runs an instance's `stop`.
    pub fn call_stop(&mut self, slot: &'static Slot, instance: Instance) -> Called<Result<()>> {
        let runtime = self.runtime;
        self.call(slot, instance, "stop", move |instance, desk| {
            desk.sit_down(runtime, slot, runtime.now());
            let stopped = instance.guest.stop(runtime.spec(desk, &[]));
            runtime.settle(slot, desk);
            stopped
        })
    }

    /// Drops an instance that was cut off; the requests that it still holds are answered.
    pub fn destroy(&mut self, slot: &'static Slot, instance: Instance, is_reload: bool) {
        let mut handover = slot.handover();
        (handover.ending, handover.is_reload) = (instance.incarnation, is_reload);
        drop(handover);
        self.destroy_silently(slot, instance);
        let mut handover = slot.handover();
        handover.ending = 0;
        handover.restored.clear();
    }

    /// Drops an instance whose requests are no longer, or not yet, its own to answer.
    pub fn destroy_silently(&mut self, slot: &'static Slot, instance: Instance) {
        let generation = Arc::clone(&instance.generation);
        let runtime = self.runtime;
        let destroyed = runtime.attend(
            Some(&generation),
            slot.settings.limit,
            move |_| {
                // All of it: the code stays as long as the call lasts.
                let Instance { guest, generation, .. } = instance;
                let destroyed = guest.destroy();
                drop(generation);
                destroyed
            },
            |_, _| {},
        );
        match destroyed {
            Ok(destroyed) => self.complain(slot, "drop", destroyed),
            Err(left) => self.retain(slot, generation, format!("its drop {left}")),
        }
    }

    pub fn complain(&self, slot: &Slot, what: &str, result: Result<()>) {
        if let Err(error) = result {
            tracing::error!(subsystem = slot.name, "the subsystem's {what} failed: {error}");
            slot.note_error(&format!("{what}: {error}"));
        }
    }
}

impl Runtime {
    /// From here on host calls of this instance answer `gone`, and its reply thread ends. Answers its own threads if it was
    /// the one that served.
    pub(super) fn cut_off(&self, slot: &Slot, incarnation: u32) -> Option<GuestThreads> {
        let end = |place: &AtomicU32| {
            place.compare_exchange(incarnation, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let threads = end(&slot.incarnation).then(|| slot.threads().take()).flatten();
        let _was_beside = end(&slot.beside);
        self.take_all(slot.completions.close(incarnation));
        self.cancel_streams_of(slot, incarnation);
        threads
    }

    /// Sends what a lifecycle call sent and answered.
    pub(super) fn settle(&self, slot: &Slot, desk: &mut Desk) {
        self.publish(&desk.turn, &mut desk.outbox);
        self.send_replies(slot, desk, None);
    }
}
