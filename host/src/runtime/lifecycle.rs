//! The lifecycle thread: makes, restarts and ends instances, one at a time, while the workers go on with the others.

use super::{Desk, Handle, Runtime, Slot, slot::Source};
use crate::status::Phase;
use mycelia_kernel::{ids::SubsystemId, queue::HEALTH};
use mycelia_plugin::{
    Error, Result,
    abi::host::{CreateError, CreateSpec, Guest},
};
use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

/// What the lifecycle thread is asked to do.
enum Job {
    /// An instance failed: replace it. `held` says that the subsystem is out of circulation already.
    Restart { id: SubsystemId, text: String, held: bool },
    /// One of the threads of this incarnation failed.
    Fault { id: SubsystemId, incarnation: u32, text: String },
    /// End the host in order.
    Stop,
}

/// The way to the lifecycle thread.
pub struct Lifecycle {
    jobs: Mutex<Sender<Job>>,
    inbox: Mutex<Receiver<Job>>,
    /// Counts subsystems that workers handed over.
    handed: Mutex<u64>,
    handed_over: Condvar,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (jobs, inbox) = channel();
        Lifecycle {
            jobs: Mutex::new(jobs),
            inbox: Mutex::new(inbox),
            handed: Mutex::new(0),
            handed_over: Condvar::new(),
        }
    }
}

impl Lifecycle {
    fn ask(&self, job: Job) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).expect("the inbox lives as long as the host");
    }

    /// Asks for a new instance.
    pub(super) fn restart(&self, id: SubsystemId, text: String, held: bool) {
        self.ask(Job::Restart { id, text, held });
    }

    /// Tells of a plugin's own thread that failed.
    pub(super) fn fault(&self, id: SubsystemId, incarnation: u32, text: String) {
        self.ask(Job::Fault { id, incarnation, text });
    }

    /// Asks for an orderly stop.
    pub fn stop(&self) {
        self.ask(Job::Stop);
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

/// How often the lifecycle thread looks whether threads have ended.
const LOOK: Duration = Duration::from_millis(1);

/// The lifecycle thread's own state.
pub(super) struct Caretaker {
    pub runtime: &'static Runtime,
    pub desk: Desk,
}

impl Caretaker {
    pub fn new(runtime: &'static Runtime) -> Self {
        Caretaker { runtime, desk: Desk::new(runtime, 1) }
    }

    /// Works until a stop is asked for.
    pub fn care(&mut self) {
        loop {
            let inbox = self.runtime.lifecycle.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            let job = inbox.recv().expect("the host keeps a sender");
            drop(inbox);
            match job {
                Job::Restart { id, text, held } => self.restart(self.runtime.slot(id), &text, held),
                Job::Fault { id, incarnation, text } => {
                    let slot = self.runtime.slot(id);
                    if slot.handle().incarnation == incarnation {
                        self.restart(slot, &text, false);
                    }
                }
                Job::Stop => return,
            }
        }
    }

    /// Ends the instances that failed meanwhile, for a host that stops: nothing is started again.
    pub fn bury_failed(&mut self) {
        loop {
            let inbox = self.runtime.lifecycle.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            let job = inbox.try_recv();
            drop(inbox);
            match job {
                Ok(Job::Restart { id, text, held: true }) => {
                    let slot = self.runtime.slot(id);
                    slot.note_error(&text);
                    // Its threads were told to end when the stop began; one that lingers keeps the instance.
                    let ended = self.end(slot, None);
                    self.complain(slot, "end", ended);
                    self.release(slot);
                }
                // A thread of its own that fails while it is told to end changes nothing.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Takes a subsystem out of circulation, at its next batch boundary.
    fn hold(&self, slot: &Slot) {
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

    /// Puts it back.
    pub fn release(&self, slot: &Slot) {
        if !slot.cell().batch.is_empty() {
            // What an instance that panicked left in the batch is not in the queue: a bit makes the subsystem ready.
            let _held = slot.queue.raise(HEALTH);
        }
        let wake = slot.queue.release();
        self.runtime.wake(slot.id, wake);
    }

    /// Replaces an instance that failed by a fresh one, unless it fails too often.
    fn restart(&mut self, slot: &Slot, text: &str, held: bool) {
        if !held {
            self.hold(slot);
        }
        slot.info().phase = Phase::Restarting;
        slot.note_error(text);
        tracing::error!(subsystem = slot.name, "the subsystem failed with {text}");
        if let Err(error) = self.end(slot, None).and_then(|()| self.revive(slot)) {
            self.give_up(slot, &error);
        }
        self.release(slot);
    }

    fn revive(&mut self, slot: &Slot) -> Result<()> {
        let mut last = self.spend_restart(slot)?;
        loop {
            let attempt = self
                .create(slot)
                .map_err(|error| error.error)
                .and_then(|guest| self.begin(slot, guest));
            let Err(error) = attempt else { break };
            tracing::error!(subsystem = slot.name, "the new instance failed too: {error}");
            slot.note_error(&error.to_string());
            self.end(slot, None)?;
            last = self.spend_restart(slot)?;
        }
        tracing::warn!(
            subsystem = slot.name,
            restarts = last,
            "restarted; what the old instance held in memory is lost"
        );
        Ok(())
    }

    /// Counts a restart, and answers how many there were; an error when the budget is used up.
    fn spend_restart(&self, slot: &Slot) -> Result<u64> {
        let (max, within) = slot.settings.restarts;
        let mut info = slot.info();
        let now = Instant::now();
        while info.recent.front().is_some_and(|then| now.duration_since(*then) > within) {
            info.recent.pop_front();
        }
        if info.recent.len() >= max as usize {
            return Err(Error::failed(format!("{max} restarts within {within:?} were not enough")));
        }
        info.recent.push_back(now);
        info.restarts += 1;
        Ok(info.restarts)
    }

    /// Stops one subsystem for good; what comes to it from now on is dead.
    pub fn give_up(&mut self, slot: &Slot, why: &Error) {
        tracing::error!(subsystem = slot.name, "the subsystem is stopped: {why}; the others go on");
        let removed: Result<(), std::convert::Infallible> = self.runtime.tables.update(|edit| {
            edit.remove(slot.id);
            Ok(())
        });
        removed.unwrap_or_else(|never| match never {});
        self.runtime.retire(slot);
    }

    /// Makes an instance.
    pub fn create(&self, slot: &Slot) -> Result<Guest, CreateError> {
        let source = slot.info().source.clone().expect("a slot with an instance has its source");
        create(self.runtime, slot.id, &source)
    }

    /// Lets a new instance start and serve; the subsystem is held, or was never released.
    pub fn begin(&mut self, slot: &Slot, mut guest: Guest) -> Result<()> {
        let handle = slot.handle();
        self.runtime.take_all(slot.completions.open(handle.incarnation));
        self.desk.sit_down(self.runtime, slot);
        let started = guest.start(self.runtime.spec(&mut self.desk, &[]));
        self.settle(slot);
        slot.cell().guest = Some(guest);
        started?;
        self.runtime.arm_timers(slot);
        slot.info().phase = Phase::Running;
        Ok(())
    }

    /// Sends what a lifecycle call sent and answered.
    pub fn settle(&mut self, slot: &Slot) {
        self.runtime.publish(slot.id, &mut self.desk.outbox);
        self.desk.turn.replies.drain(..).for_each(|reply| self.runtime.deliver_reply(reply));
    }

    /// Ends the instance of a subsystem that is held: its threads, its `stop` if `orderly`, and itself.
    ///
    /// # Errors
    /// If a thread does not end within the subsystem's limit: the instance is leaked, since the thread may use it.
    pub fn end(&mut self, slot: &Slot, orderly: Option<Instant>) -> Result<()> {
        let Some(mut guest) = slot.cell().guest.take() else { return Ok(()) };
        let threads = guest.threads();
        threads.quiesce();
        let until = orderly.unwrap_or_else(|| Instant::now() + slot.settings.limit);
        while threads.running() > 0 && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        if orderly.is_some() {
            self.desk.sit_down(self.runtime, slot);
            let stopped = guest.stop(self.runtime.spec(&mut self.desk, &[]));
            self.settle(slot);
            self.complain(slot, "stop", stopped);
        }
        let left = threads.running();
        // From here on host calls of the old instance answer `gone`, and its reply thread ends.
        let ended = slot.incarnation.swap(0, Ordering::AcqRel);
        self.runtime.take_all(slot.completions.open(0));
        if left > 0 {
            let text = format!(
                "{left} threads of the subsystem ignore their stop token; its instance is leaked"
            );
            tracing::error!(subsystem = slot.name, "{text}");
            slot.note_error(&text);
            return Err(Error::failed(text));
        }
        slot.ending.store(ended, Ordering::Release);
        self.complain(slot, "drop", guest.destroy());
        slot.ending.store(0, Ordering::Release);
        Ok(())
    }

    fn complain(&self, slot: &Slot, what: &str, result: Result<()>) {
        if let Err(error) = result {
            tracing::error!(subsystem = slot.name, "the subsystem's {what} failed: {error}");
            slot.note_error(&format!("{what}: {error}"));
        }
    }
}

/// Makes an instance of a subsystem under a new incarnation.
pub(super) fn create(
    runtime: &'static Runtime,
    id: SubsystemId,
    source: &Source,
) -> Result<Guest, CreateError> {
    let slot = runtime.slot(id);
    let incarnation = runtime.incarnations.fetch_add(1, Ordering::Relaxed) + 1;
    slot.incarnation.store(incarnation, Ordering::Release);
    let spec = CreateSpec {
        name: &slot.name,
        config: &source.config,
        data: &source.data,
        routes: &source.routes,
        handle: Handle { id, incarnation }.pack(),
    };
    Guest::create(source.module, runtime, &slot.level, &spec)
}
