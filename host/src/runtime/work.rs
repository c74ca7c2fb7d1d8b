//! Workers: take a ready subsystem, give it its turn, wait when there is none.

use super::{Desk, Runtime, Slot, batch::BatchResult, lost, slot::Cell, timing::Sampler};
use crate::abi::{Describe, Line, Message, described};
use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    queue::{Begin, Leave, Wake},
    ready::Turn,
};
use std::{sync::Arc, time::Duration};

/// Longest time that a worker parks without looking up.
const PARK: Duration = Duration::from_millis(500);

/// What one worker has of its own.
pub struct Worker {
    pub(super) desk: Desk,
    pub(super) sampler: Sampler,
    /// The messages that are handled; empty between batches. One for all subsystems, so that its memory stays near.
    pub(super) batch: Vec<Message>,
    number: u16,
    /// The last errand that it has done.
    seen: u64,
    /// The batch that was taken from it: its handler has returned too late, and this thread ends.
    pub(super) lost: Option<LostBatch>,
}

/// What a worker keeps of a batch that was taken from it.
pub(super) struct LostBatch {
    pub id: SubsystemId,
    /// With the instance that hung.
    pub cell: Box<Cell>,
}

impl Worker {
    /// A worker for this host.
    pub fn new(runtime: &Runtime) -> Worker {
        let batch = runtime.subsystems().map(|slot| slot.settings.batch).max().unwrap_or(1);
        let (desk, batch) = (Desk::new(runtime, batch), Vec::with_capacity(batch));
        Worker { desk, sampler: Sampler::default(), batch, number: 0, seen: 0, lost: None }
    }
}

/// A worker and its host, for the report of a crash.
struct Post {
    runtime: &'static Runtime,
    worker: Worker,
}

impl Describe for Post {
    fn describe(&self, report: &mut Line) {
        let Worker { desk, batch, .. } = &self.worker;
        let slot = self.runtime.slot(desk.turn.caller);
        let at = desk.report.cursor();
        // Between batches it is empty.
        let Some(message) = batch.get(at) else { return };
        let pattern = desk.turn.table.pattern(slot.id, RouteId(message.route)).unwrap_or_default();
        report.text(", while it handled `").text(&slot.name).text("://").text(pattern);
        report.text("`, message ").number(at + 1).text(" of ").number(batch.len());
        report.text(" in its batch");
    }
}

impl Runtime {
    /// A worker's life, until the host stops its workers, or until it comes back from a handler too late.
    pub(super) fn work(&'static self, number: u16) {
        let worker = Worker { number, ..Worker::new(self) };
        self.workers.enter(number, Arc::clone(&worker.desk.report));
        lost::is_worker(number);
        let mut post = Post { runtime: self, worker };
        if let Some(lost) = described(&mut post, |post| self.work_at(number, &mut post.worker)) {
            self.come_back(post.worker, lost);
        }
    }

    /// Works until the host stops its workers, or until a batch is lost, which it answers.
    fn work_at(&self, number: u16, worker: &mut Worker) -> Option<LostBatch> {
        while !self.is_finished() {
            if self.work_once(worker) {
                continue;
            }
            if worker.lost.is_some() {
                return worker.lost.take();
            }
            self.timing.tell(&mut worker.sampler, &worker.desk.turn.cache);
            let now = self.now();
            let next = self.plan.next();
            let until = Duration::from_nanos(next.saturating_sub(now)).min(PARK);
            // Something planned for sooner counts as work: the time to park would be too long for it.
            let seen = worker.seen;
            let has_work = || {
                !self.ready.is_empty()
                    || self.plan.next() < next
                    || self.errands.are_new(seen)
                    || self.is_finished()
            };
            self.workers.wait(number, until, has_work);
        }
        None
    }

    /// Fires what is due and gives one ready subsystem its turn; whether there was one, and it is the worker's still.
    pub fn work_once(&self, worker: &mut Worker) -> bool {
        self.errands.run(worker.number, &mut worker.seen, &worker.desk.report);
        if self.plan.next() != u64::MAX {
            self.fire_what_is_due();
        }
        let Some(id) = self.ready.pop() else { return false };
        if !self.ready.is_empty() {
            // Whoever enlisted it may have counted on this worker, which is busy now.
            self.workers.wake_one();
        }
        self.run(id, worker)
    }

    fn fire_what_is_due(&self) {
        let now = self.now();
        if self.plan.next() <= now {
            self.fire_due(now);
        }
    }

    /// Gives a subsystem its turn; whether it has not been taken away meanwhile.
    fn run(&self, id: SubsystemId, worker: &mut Worker) -> bool {
        let slot = self.slot(id);
        if slot.queue.begin() == Begin::HandOver {
            self.lifecycle.handed_over();
            return true;
        }
        let mut now = self.now();
        let mut turn = Turn::new(slot.settings.weight, slot.settings.batch, now);
        loop {
            let (is_through, was_idle) = match self.batch(slot, worker, turn.room(), now) {
                BatchResult::Handled { decided, left } => {
                    turn.spent(decided);
                    (left == 0 && slot.queue.is_empty(), false)
                }
                BatchResult::Idle => (true, true),
                BatchResult::Faulted => {
                    self.fail(slot);
                    return true;
                }
                // Whoever took it has the subsystem from there on.
                BatchResult::Lost => return false,
            };
            if is_through {
                match slot.queue.leave() {
                    Leave::Idle => return true,
                    Leave::HandOver => {
                        self.lifecycle.handed_over();
                        return true;
                    }
                    // Reserved but not yet published: behind the others, rather than spinning for the publisher.
                    Leave::More if was_idle => {
                        self.requeue(slot);
                        return true;
                    }
                    Leave::More => {}
                }
            }
            now = self.now();
            if slot.queue.is_wanted() || !turn.goes_on(now, !self.ready.is_empty()) {
                self.requeue(slot);
                return true;
            }
        }
    }

    fn requeue(&self, slot: &Slot) {
        match slot.queue.requeue() {
            Wake::Ready => self.enlist(slot.id),
            Wake::None => self.lifecycle.handed_over(),
        }
    }

    /// Takes a subsystem whose handler panicked out of circulation; the lifecycle thread makes a new instance.
    #[cold]
    pub(super) fn fail(&self, slot: &Slot) {
        // This worker is the holder and never leaves: the lifecycle thread has the subsystem from here on.
        slot.queue.seize();
        self.lifecycle.handed_over();
        self.lifecycle.restart(slot.id);
    }
}
