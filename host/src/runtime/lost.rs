//! Threads that a plugin would have ended the process with, by `abort` or `exit`: they are parked for good, and others take
//! their places.
//!
//! What lies on the stack of such a thread is never touched again: the instance that it was in is abandoned and not dropped,
//! and its library stays in the process. The next instance is made from another copy of the library, since the lost
//! thread may hold locks of this one.

use super::{Runtime, Slot, Turn, batch::untag, slot::Handle, watchdog::Verdict};
use crate::{abi::Message, letters::Reason};
use mycelia_kernel::asks::End;
use mycelia_plugin::{
    Error, ErrorCode, Handled,
    abi::host::{LostCall, LostThread, ReportBuffer, Taken},
};
use std::{cell::RefCell, sync::Arc, thread};

/// What the calling thread is to the host.
enum Role {
    /// A plugin's own.
    Other,
    /// The worker of this number.
    Worker(u16),
    /// In a lifecycle call, whose end is told here.
    Attendant(Box<dyn FnOnce(String)>),
}

thread_local! {
    static ROLE: RefCell<Role> = const { RefCell::new(Role::Other) };
}

/// The calling thread is this worker.
pub(super) fn is_worker(number: u16) {
    ROLE.set(Role::Worker(number));
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
        match ROLE.replace(Role::Other) {
            Role::Worker(number) => {
                let report = match &thread.call {
                    Some(call) => Some(Arc::clone(&call.turn.report)),
                    // In a commit.
                    None => self.workers.report(number),
                };
                let Some(report) = report else { return };
                match self.lose_batch(&report, thread.call, what) {
                    true => {
                        self.replace_worker(number);
                        self.leave_libraries(|_| {});
                    }
                    // One that hung has been replaced, and only parks; else it is in a destructor of a thread-local.
                    false if report.is_taken() => {}
                    false => return,
                }
            }
            Role::Attendant(lost) => {
                slot.info().lost_threads += 1;
                lost(text);
                self.leave_libraries(|_| {});
            }
            Role::Other => {
                slot.info().lost_threads += 1;
                self.lose_own(slot, incarnation, thread.is_spawned, text);
            }
        }
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
            build.generation.lose_thread();
        }
        drop(info);
        self.lifecycle.fault(slot.id, incarnation, format!("one of its own threads {text}"));
    }

    /// Takes the batch of the calling thread away from it; whether it has one.
    fn lose_batch(
        &self,
        report: &ReportBuffer,
        mut call: Option<LostCall<'_, Turn>>,
        what: &str,
    ) -> bool {
        let Some(progress) = report.progress() else { return false };
        let (id, lane) = untag(progress.tag);
        let slot = self.slot(id);
        let take = |taken: Taken<'_>| {
            if let Some(build) = &slot.info().build {
                build.generation.lose_thread();
            }
            let mut answers = Vec::new();
            if let Some(LostCall { turn, outbox, .. }) = &mut call {
                let (decided, rest) = taken.messages.split_at(taken.ran);
                let keep = rest.first().map_or(0, |message| outbox.sent_before(message));
                self.discard_outbox(id, keep, outbox);
                self.publish(turn, outbox);
                let is_decided = |reply: &mut Message| {
                    decided.iter().any(|message| message.reply == reply.reply)
                };
                answers.extend(turn.replies.extract_if(.., is_decided));
            }
            let text = format!("{} called {what}", self.lost_in(slot, &taken));
            tracing::error!(subsystem = slot.name, "{text}; its thread is lost to the host");
            let error = Error::new(ErrorCode::Panicked, text).handled(Handled::Unknown);
            let verdict = Verdict { reason: Reason::Panicked, how: End::Failed, error };
            self.take_over(slot, lane, &taken, &verdict, answers);
            // Nothing of the plugin runs on this thread again.
            taken
                .messages
                .get(taken.ran)
                .into_iter()
                .for_each(|message| self.pool.release(message));
        };
        // Whatever the thread has written, it sees itself: no barrier.
        let is_taken = report.revoke(progress, || {}, take);
        if let (true, Some(LostCall { turn, replies, .. }), Some(lost)) =
            (is_taken, call, &*report.lost())
        {
            self.give_back(lost, turn, replies);
        }
        is_taken
    }
}
