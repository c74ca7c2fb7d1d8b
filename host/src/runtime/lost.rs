//! Threads that a plugin would have ended the process with, by `abort` or `exit`: they are parked for good, and others take
//! their places.
//!
//! What lies on the stack of such a thread is never touched again: the instance that it was in is abandoned and not dropped,
//! and its library stays in the process. The next instance is made from another copy of the library, since the lost
//! thread may hold locks of this one.

use super::{
    Desk, Runtime, Slot, Turn, Worker,
    slot::{Abandoned, Cell, Handle},
};
use crate::{
    abi::{Magazine, Message},
    letters::Reason,
};
use mycelia_kernel::{ledger::Ends, queue::Lane};
use mycelia_plugin::{
    Error, ErrorCode, Handled,
    abi::{
        HAS_COMMIT,
        host::{LostBatch, LostThread},
    },
};
use std::{cell::RefCell, mem, thread};

/// What the calling thread is to the host.
enum Role {
    /// A plugin's own.
    Other,
    Worker {
        number: u16,
        /// The last errand that it has done.
        errand: u64,
    },
    /// In a lifecycle call, whose end is told here.
    Attendant(Box<dyn FnOnce(String)>),
}

thread_local! {
    static ROLE: RefCell<Role> = const { RefCell::new(Role::Other) };
}

/// The calling thread is this worker, which has done errands up to this one.
pub(super) fn is_worker(number: u16, errand: u64) {
    ROLE.set(Role::Worker { number, errand });
}

/// The calling thread, if it is a worker, has done this errand.
pub(super) fn has_done(done: u64) {
    ROLE.with_borrow_mut(|role| {
        if let Role::Worker { errand, .. } = role {
            *errand = done;
        }
    });
}

/// Does `work`, a lifecycle call; if the thread is lost in it, `lost` is told why.
pub(super) fn in_call<R>(lost: impl FnOnce(String) + 'static, work: impl FnOnce() -> R) -> R {
    ROLE.set(Role::Attendant(Box::new(lost)));
    let result = work();
    ROLE.set(Role::Other);
    result
}

impl Runtime {
    /// Gives the calling thread up; returns only where that cannot be done.
    pub(super) fn lose_thread(&'static self, thread: LostThread<'_, Turn>, what: &str) {
        let Handle { id, incarnation } = Handle::unpack(thread.handle);
        let Some(slot) = self.slots.get(id.index()) else { return };
        let text = format!("called {what}, and its thread is lost to the host");
        match (ROLE.replace(Role::Other), thread.batch) {
            (Role::Worker { number, errand }, Some(batch)) => {
                let magazine = self.lose_batch(slot, batch, what);
                self.replace_worker(number, errand, magazine);
            }
            // In a commit, or in a destructor of a thread-local variable.
            (Role::Worker { .. }, None) => return,
            (Role::Attendant(lost), _) => lost(text),
            (Role::Other, _) => self.lose_own(slot, incarnation, thread.is_spawned, text),
        }
        slot.info().lost_threads += 1;
        loop {
            thread::park();
        }
    }

    /// A thread of a plugin's own: its instance can still be ended in order.
    fn lose_own(&self, slot: &Slot, incarnation: u32, is_spawned: bool, text: String) {
        // One that is in no call has the handle of any instance.
        let incarnation = if is_spawned { incarnation } else { slot.incarnation() };
        let mut info = slot.info();
        if is_spawned {
            *info.parked.entry(incarnation).or_default() += 1;
        }
        if let Some(build) = &info.build {
            build.generation.abandon();
        }
        drop(info);
        self.lifecycle.fault(slot.id, incarnation, format!("one of its own threads {text}"));
    }

    /// Ends a batch as a panic does, on behalf of the worker that is lost in it.
    fn lose_batch(&self, slot: &Slot, lost: LostBatch<'_, Turn>, what: &str) -> Magazine {
        let LostBatch { turn, outbox, replies, report, messages } = lost;
        let lane = turn.lane;
        let mut desk = Desk::new(self, 1);
        mem::swap(&mut desk.turn, turn);
        mem::swap(&mut desk.outbox, outbox);
        mem::swap(&mut desk.replies, replies);
        let batch = Message::from_envelopes(messages);
        let ran = report.cursor().min(batch.len());
        let keep = batch.get(ran).map_or(0, |message| desk.outbox.sent_before(message));
        self.discard_outbox(slot.id, keep, &mut desk.outbox);
        self.publish(slot.id, &mut desk.outbox);

        let mut info = slot.info();
        let build = info.build.clone().expect("a slot with an instance has its build");
        let threads = info.threads.take();
        drop(info);
        build.generation.abandon();
        let text = "the subsystem was restarted before the batch was committed";
        let restarted = Error::new(ErrorCode::Restarted, text).handled(Handled::Unknown);
        let commits = build.generation.library.module().abilities() & HAS_COMMIT != 0;
        let uncommitted = commits.then_some(&restarted);
        if lane == Lane::Queue {
            let before = self.ends(slot, &mut desk.turn, report, &batch[..ran], uncommitted);
            slot.ledger.end(Ends { dead: u64::from(ran < batch.len()), ..before });
        }
        self.send_replies(slot, &mut desk, uncommitted);

        let text = format!("the handler of `{}` called {what}", slot.name);
        let dead = Error::new(ErrorCode::Panicked, text).handled(Handled::Unknown);
        batch[..ran].iter().for_each(|message| self.pool.release(message));
        if let Some(message) = batch.get(ran) {
            if lane == Lane::Queue {
                self.keep_letter(slot, message, Reason::Panicked, &dead.text);
            }
            self.end_unhandled(message, slot.id, &dead);
        }
        let left = batch.get(ran + 1..).unwrap_or_default().to_vec();
        let incarnation = slot.incarnation();
        slot.replace_cell(Cell {
            left,
            lane: Some(lane),
            failed: Some(format!("a call of {what}; the worker is lost and replaced")),
            abandoned: threads.map(|threads| Abandoned { incarnation, threads, build }),
            ..Cell::default()
        });
        self.fail(slot);
        desk.turn.magazine
    }

    /// Puts another worker in the place of one that is lost.
    fn replace_worker(&'static self, number: u16, errand: u64, magazine: Magazine) {
        let work = move || {
            let mut worker = Worker::new(self);
            (worker.desk.turn.magazine, worker.seen) = (magazine, errand);
            self.work(number, worker);
        };
        if let Err(error) = self.workers.start(number, work) {
            tracing::error!("a lost worker cannot be replaced: {error}; the host has one less");
        }
    }
}
