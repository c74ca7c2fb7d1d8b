//! The watchdog: a handler that runs past its limit loses its message, its batch and its subsystem.
//!
//! It looks at where the workers report, so that a message pays nothing for it. A worker that is still at the same
//! message after `handler_limit` is revoked: the watchdog holds the subsystem from there on, ends what was decided and the
//! message that hangs, and leaves the rest to the next instance. Another thread takes the worker's place. The thread that
//! hangs keeps what it is in - instance, batch, blocks, outbox - until it returns, and then ends.
//!
//! It also takes the pulse of the host, and whoever asks for that looks whether the watchdog itself still does.

use super::{
    Desk, Runtime, Slot, Turn, Worker,
    batch::{DEAD, is_handled, untag},
    lifecycle::Caretaker,
    pulse::{PATIENCE as SILENCE, Pulse, Sign},
    slot::{Cell, Hung},
    work::LostBatch,
};
use crate::{abi::Message, config::Config, letters::Reason};
use mycelia_kernel::{asks::End, ids::RouteId, ledger::Ends, queue::Lane};
use mycelia_plugin::{
    Error, ErrorCode, Handled,
    abi::host::{Lost, OutboxBuffer, Progress, Taken, commits},
};
use rustix::thread::{MembarrierCommand, membarrier};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often the watchdog looks, at most and at least; between these an eighth of the shortest limit.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// How long a store takes to be seen where the system has no barrier for other threads: far longer than any processor
/// holds one back.
const SURELY_SEEN: Duration = Duration::from_millis(10);
/// How often a watchdog that seems not to look is given a moment to do so.
const CHANCES: u32 = 10;
/// How often a thread that has come back looks whether the host has ended meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// The thread that looks.
pub struct Watchdog {
    period: Duration,
    /// The longest limit of all.
    longest: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_over: AtomicBool,
    /// When it looked last; 0 before it begins.
    looked: AtomicU64,
    /// Who does not go on any more.
    stuck: Mutex<Option<String>>,
}

/// What is known of one worker: where it was, and for how long it has been seen there.
#[derive(Copy, Clone)]
struct Seen {
    progress: Progress,
    for_: Duration,
}

/// How the message ends that a thread is lost in.
pub(super) struct Verdict {
    /// Why it is dead.
    pub reason: Reason,
    /// How its request ends.
    pub how: End,
    /// What its asker is told.
    pub error: Error,
}

impl Watchdog {
    /// One for the limits of this config.
    pub fn new(config: &Config) -> Watchdog {
        let limits = || config.subsystems.iter().map(|(_, settings)| settings.handler_limit);
        let shortest = limits().min();
        Watchdog {
            longest: limits().max().unwrap_or_default(),
            looked: AtomicU64::new(0),
            stuck: Mutex::default(),
            period: (shortest.unwrap_or(LOOK.1) / 8).clamp(LOOK.0, LOOK.1),
            thread: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    /// The longest from the end of a limit until something is done about it, on a machine that is not overloaded.
    pub fn delay(&self) -> Duration {
        4 * self.period
    }

    /// Whether it looks. A process that was stopped, or starved, has had no time for that, so it is given some.
    fn is_looking(&self, now: u64) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        let is_late = looked != 0 && now.saturating_sub(looked) > SILENCE.as_nanos() as u64;
        let has_looked = |_| {
            thread::sleep(LOOK.1);
            self.looked.load(Ordering::Relaxed) != looked
        };
        !is_late || (0..CHANCES).any(has_looked)
    }

    /// Lets it be known who is stuck, and logs it when that changes.
    fn tell(&self, stuck: Option<String>) {
        let mut told = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != stuck {
            match &stuck {
                Some(stuck) => tracing::error!("the host is stuck: {stuck}"),
                None => tracing::warn!("the host goes on: nobody is stuck any more"),
            }
            *told = stuck;
        }
    }

    /// Ends it: what hangs from here on hangs until the process ends.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            thread.join().expect("the watchdog runs no code of plugins");
        }
    }
}

impl Runtime {
    pub(super) fn start_watchdog(&'static self) -> io::Result<()> {
        let has_barrier = membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
        let thread = thread::Builder::new().name("mycelia-watchdog".into());
        let thread = thread.spawn(move || self.watch(has_barrier))?;
        *self.watchdog.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    pub(super) fn start_worker(&'static self, number: u16) -> io::Result<()> {
        let thread = thread::Builder::new().name(format!("mycelia-worker-{number}"));
        let thread = thread.spawn(move || self.work(number))?;
        self.workers.keep(number, thread);
        Ok(())
    }

    fn watch(&'static self, has_barrier: bool) {
        let mut workers: Vec<Option<Seen>> = vec![None; self.worker_count];
        let mut pulse = Pulse::new(self.worker_count, self.watchdog.longest);
        let mut before = self.now();
        while !self.watchdog.is_over.load(Ordering::Relaxed) {
            thread::park_timeout(self.watchdog.period);
            let now = self.now();
            // A process that was stopped, or starved, has not let its handlers run either.
            let passed = Duration::from_nanos(now - before).min(2 * self.watchdog.period);
            before = now;
            for (worker, seen) in (0..).zip(&mut workers) {
                *seen = self.look_at_worker(worker, *seen, passed, has_barrier);
            }
            self.take_pulse(&mut pulse, passed);
            self.watchdog.looked.store(now, Ordering::Relaxed);
        }
    }

    fn take_pulse(&'static self, pulse: &mut Pulse, passed: Duration) {
        if pulse.is_call_due(passed) {
            self.fill_seats();
            self.errands.call_roll();
        }
        for worker in 0..self.worker_count as u16 {
            let sign = match self.workers.report(worker) {
                Some(report) if report.progress().is_some() => Sign::Handles,
                Some(report) if !report.is_taken() => Sign::Beats(report.beats()),
                _ => Sign::Gone,
            };
            pulse.note_worker(worker, sign, passed);
        }
        pulse.note_lifecycle(self.lifecycle.present_step(), passed);
        self.watchdog.tell(pulse.stuck());
    }

    /// Tries again where the system had no thread.
    fn fill_seats(&'static self) {
        for worker in self.workers.take_vacant() {
            match self.start_worker(worker) {
                Ok(()) => tracing::warn!("there is a thread for worker {worker} again"),
                Err(_) => self.workers.vacate(worker),
            }
        }
    }

    /// Whether every worker, the lifecycle thread and the watchdog go on. May wait for a second.
    ///
    /// Before the host serves, and while it stops, nobody looks: those take as long as plugins and `drain_timeout` let them.
    pub(super) fn look_for_life(&self) -> Result<(), String> {
        if self.is_stopping() {
            return Ok(());
        }
        if !self.watchdog.is_looking(self.now()) {
            return Err("the watchdog does not look any more".into());
        }
        let stuck = self.watchdog.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.clone().map_or(Ok(()), Err)
    }

    fn look_at_worker(
        &'static self,
        worker: u16,
        seen: Option<Seen>,
        passed: Duration,
        has_barrier: bool,
    ) -> Option<Seen> {
        let report = self.workers.report(worker)?;
        let progress = report.progress()?;
        let for_ = match seen {
            Some(seen) if seen.progress == progress => seen.for_ + passed,
            _ => Duration::ZERO,
        };
        let (id, lane) = untag(progress.tag);
        let slot = self.slot(id);
        if for_ < slot.settings.limit {
            return Some(Seen { progress, for_ });
        }
        let barrier = || {
            let passed = has_barrier && membarrier(MembarrierCommand::PrivateExpedited).is_ok();
            if !passed {
                thread::sleep(SURELY_SEEN);
            }
        };
        let mut text = String::new();
        let take = |taken: Taken<'_>| {
            text = self.what_hangs(slot, &taken);
            slot.info().hung += 1;
            let error = Error::new(ErrorCode::Deadline, text.clone()).handled(Handled::Unknown);
            let end = Verdict { reason: Reason::Hung, how: End::TimedOut, error };
            self.take_over(slot, lane, &taken, &end, Vec::new());
        };
        if report.revoke(progress, barrier, take) {
            tracing::error!(subsystem = slot.name, "{text}; its thread is left to it");
            self.replace_worker(worker);
        }
        None
    }

    /// Another thread becomes this worker, now or when the system has one.
    pub(super) fn replace_worker(&'static self, worker: u16) {
        if let Err(error) = self.start_worker(worker) {
            tracing::error!(
                "worker {worker} has no thread until the system has one again: {error}"
            );
            self.workers.vacate(worker);
        }
    }

    /// Ends a batch whose thread is lost in it, as its holder, and hands the subsystem to the lifecycle thread: what was
    /// decided as usual, unless it would have been committed; the message that the thread is lost in as the verdict says; the
    /// later ones run first in the next instance. `answers` are the long ones of what was decided, where they are known.
    pub(super) fn take_over(
        &self,
        slot: &Slot,
        lane: Lane,
        taken: &Taken<'_>,
        verdict: &Verdict,
        answers: Vec<Message>,
    ) {
        let build = slot.info().build.clone().expect("an instance is made from a build");
        let text = &verdict.error.text;
        // Counted before anybody is told.
        slot.info().lost_threads += 1;
        // Whoever is told finds nothing of the instance that still acts.
        let incarnation = slot.incarnation();
        let threads = self.cut_off(slot, incarnation);
        let messages = Message::from_envelopes(taken.messages);
        let (decided, rest) = messages.split_at(taken.ran);
        let counted = lane == Lane::Queue;
        let lost =
            Error::new(ErrorCode::Restarted, "the batch's thread was lost before it was committed")
                .handled(Handled::Unknown);
        let lost = commits(build.generation.library.module()).then_some(&lost);
        if counted {
            let failed = taken.outcomes.iter().filter(|code| lost.is_some() || !is_handled(**code));
            let failed = failed.count() as u64;
            let (handled, dead) = (taken.ran as u64 - failed, u64::from(!rest.is_empty()));
            slot.ledger.end(Ends { handled, failed, dead, expired: 0 });
            for (message, &code) in decided.iter().zip(taken.outcomes) {
                let failed = u64::from(lost.is_some() || !is_handled(code));
                let ends = Ends { handled: 1 - failed, failed, ..Ends::default() };
                slot.tally.end(message.route, ends);
            }
            rest.first().inspect(|message| slot.tally.end(message.route, DEAD));
            self.keep_letters_of(slot, decided, taken.outcomes, lost);
        }
        let mut replies = answers;
        replies.extend(taken.replies.iter().map(|reply| Message(*reply)));
        for reply in &mut replies {
            reply.sender = slot.id.0.into();
            lost.into_iter().for_each(|error| self.spoil_reply(reply, slot.id, error));
        }
        self.deliver_replies(&mut replies);
        decided.iter().for_each(|message| self.pool.release(message));
        if let Some(message) = rest.first() {
            if counted {
                self.keep_letter(slot, message, verdict.reason, text);
            }
            // Its content stays with the thread.
            if message.reply != 0 {
                let outcome = self.error_outcome(slot.id, &verdict.error);
                self.end_request(message.reply, verdict.how, outcome);
            }
        }
        let generation = Arc::clone(&build.generation);
        slot.put_cell(Box::new(Cell {
            instance: None,
            left: rest.iter().skip(1).copied().collect(),
            lane: Some(lane),
            failed: Some(text.clone()),
            hung: Some(Hung { incarnation, threads, generation, reason: text.clone() }),
        }));
        self.fail(slot);
    }

    fn what_hangs(&self, slot: &Slot, taken: &Taken<'_>) -> String {
        let (what, limit) = (self.lost_in(slot, taken), slot.settings.limit);
        format!(
            "{what} has run for longer than {limit:?}, its `handler_limit`; raise that, or let a thread of its own do the work"
        )
    }

    /// What of a subsystem a thread is lost in.
    pub(super) fn lost_in(&self, slot: &Slot, taken: &Taken<'_>) -> String {
        let name = &slot.name;
        match taken.messages.get(taken.ran) {
            Some(message) => {
                let table = self.tables.load();
                let pattern = table.pattern(slot.id, RouteId(message.route)).unwrap_or_default();
                format!("the handler of `{name}://{pattern}`")
            }
            None => format!("the commit of `{name}`"),
        }
    }

    /// Those that failed and that nobody waits for become letters; what they said is with the thread that hangs.
    fn keep_letters_of(
        &self,
        slot: &Slot,
        decided: &[Message],
        outcomes: &[u8],
        lost: Option<&Error>,
    ) {
        for (message, &code) in decided.iter().zip(outcomes) {
            if message.reply == 0 && (lost.is_some() || !is_handled(code)) {
                let word = || ErrorCode::from_number(code).word().to_owned();
                let text = lost.map_or_else(word, |error| error.text.clone());
                self.keep_letter(slot, message, Reason::Failed, &text);
            }
        }
    }

    /// The end of a thread whose handler has returned too late: whatever it still has is given back, and its instance is
    /// destroyed.
    pub(super) fn come_back(&'static self, worker: Worker, batch: LostBatch) {
        let LostBatch { id, cell } = batch;
        let slot = self.slot(id);
        let Worker { desk, batch, .. } = worker;
        let Desk { mut turn, mut outbox, mut replies, report } = desk;
        let lost = report.lost().clone().expect("a batch that was taken is noted as lost");
        if let Some(hung) = batch.get(lost.at) {
            self.pool.release(hung);
        }
        self.discard_outbox(slot.id, 0, &mut outbox);
        self.give_back(&lost, &mut turn, &mut replies);
        if let Some(instance) = cell.instance {
            self.leave_libraries(move |caretaker| caretaker.end_hung(slot, instance));
        }
        slot.info().lost_threads -= 1;
    }

    /// What a thread still has of a batch that was taken away: answers to what was not decided, and its magazine.
    pub(super) fn give_back(&self, lost: &Lost, turn: &mut Turn, replies: &mut OutboxBuffer) {
        let left = Message::from_envelopes(replies.messages()).iter().chain(&turn.replies);
        let is_own = |reply: &&Message| !lost.answered.contains(&reply.reply);
        left.filter(is_own).for_each(|reply| self.pool.release(reply));
        self.pool.unload_all(&mut turn.magazine);
    }

    /// Runs the destructors of whatever plugins left on this thread, which would keep their code; and lets the lifecycle
    /// thread do something meanwhile.
    pub(super) fn leave_libraries(
        &'static self,
        meanwhile: impl FnOnce(&mut Caretaker) + Send + 'static,
    ) {
        let (detachers, list) = channel();
        self.lifecycle.late(Box::new(move |caretaker| {
            // Fails only if the host has ended, and then nobody unloads anything.
            let _listens = detachers.send(caretaker.detachers());
            meanwhile(caretaker);
        }));
        loop {
            match list.recv_timeout(PATIENCE) {
                Ok(detachers) => return detachers.iter().for_each(|detacher| detacher.detach()),
                Err(RecvTimeoutError::Timeout) if !self.is_finished() => {}
                Err(_) => return,
            }
        }
    }
}
