//! One batch: claimed, handled in one call, accounted for, answered.

use super::{Desk, Runtime, Slot, generation::Instance, slot::Cell};
use crate::abi::Message;
use mycelia_kernel::{asks::AskId, ids::RouteId, ledger::Ends, queue::Lane};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Result,
    abi::{
        flags,
        host::{BatchEnd, CallSpec, Guest},
    },
};

use std::sync::atomic::Ordering;

/// What became of a batch.
pub(super) enum BatchResult {
    /// So many messages were decided, and so many are left of the batch.
    Handled { decided: usize, left: usize },
    /// There was nothing to claim.
    Idle,
    /// A handler, or the commit, panicked with this text: the instance must only be destroyed.
    Faulted(String),
}

impl Runtime {
    /// Claims and handles a batch of up to `room` messages; for the holder of the subsystem.
    pub(super) fn batch(&self, slot: &Slot, desk: &mut Desk, room: usize, now: u64) -> BatchResult {
        // Bits only make a subsystem ready so far.
        let _ = slot.queue.take_bits();
        let mut cell = slot.cell();
        let Cell { instance, batch, lane, .. } = &mut *cell;
        if batch.is_empty() {
            let Some(claimed) = self.claim(slot, room, batch) else { return BatchResult::Idle };
            *lane = Some(claimed);
        }
        let counted = *lane == Some(Lane::Queue);
        let Some(Instance { guest, .. }) = instance else {
            return self.bury(slot, batch, counted);
        };
        let mut ended = if counted { self.expire(slot, batch, now) } else { 0 };
        if slot.has_lost_routes.load(Ordering::Acquire) {
            ended += self.bury_lost(slot, batch, counted);
        }
        if batch.is_empty() {
            return BatchResult::Handled { decided: ended, left: 0 };
        }
        desk.sit_down(self, slot, now);
        let end = guest.handle(self.spec(desk, batch));
        let ran = desk.report.cursor().min(batch.len());
        let result = match end {
            BatchEnd::Returned => self.finish(slot, guest, desk, batch, ran, counted),
            BatchEnd::Panicked(error) => {
                Err(self.panicked(slot, guest, desk, batch, ran, counted, &error))
            }
        };
        let left = batch.len();
        result.map_or_else(BatchResult::Faulted, |()| BatchResult::Handled {
            decided: ran + ended,
            left,
        })
    }

    /// Moves the next messages out: outcomes first, then timers, then the queue.
    fn claim(&self, slot: &Slot, room: usize, batch: &mut Vec<Message>) -> Option<Lane> {
        if slot.queue.claim(Lane::Outcomes, slot.settings.batch, batch) > 0 {
            let requests = batch.iter_mut().map(|outcome| std::mem::take(&mut outcome.reply));
            slot.asks.release_all(requests.filter_map(AskId::unpack));
            return Some(Lane::Outcomes);
        }
        if slot.queue.claim(Lane::Timers, slot.settings.batch, batch) > 0 {
            return Some(Lane::Timers);
        }
        let claimed = slot.queue.claim(Lane::Queue, room, batch);
        slot.room.freed();
        (claimed > 0).then_some(Lane::Queue)
    }

    /// Takes out the messages whose deadline passed in the queue, and answers how many.
    #[inline]
    fn expire(&self, slot: &Slot, batch: &mut Vec<Message>, now: u64) -> usize {
        // Without a branch a message: nearly always none has a deadline, or none that has passed.
        if batch.iter().fold(0, |any, message| any | message.deadline) == 0 {
            return 0;
        }
        // 0 is no deadline, and wraps to the last of all.
        let earliest =
            batch.iter().fold(u64::MAX, |earliest, one| earliest.min(one.deadline.wrapping_sub(1)));
        if earliest < now { self.expire_some(slot, batch, now) } else { 0 }
    }

    fn expire_some(&self, slot: &Slot, batch: &mut Vec<Message>, now: u64) -> usize {
        let overdue = |message: &Message| message.deadline != 0 && message.deadline <= now;
        let expired = batch.iter().filter(|message| overdue(message)).count();
        // Counted before anybody is told.
        slot.ledger.end(Ends { expired: expired as u64, ..Ends::default() });
        batch.retain(|message| {
            let is_overdue = overdue(message);
            if is_overdue {
                let text = format!(
                    "the deadline passed while the message waited in the queue of `{}`",
                    slot.name
                );
                let error = Error::new(ErrorCode::Deadline, text).handled(Handled::No);
                self.end_unhandled(message, slot.id, &error);
            }
            !is_overdue
        });
        expired
    }

    /// A call with these messages.
    pub(super) fn spec<'a>(
        &self,
        desk: &'a mut Desk,
        batch: &'a [Message],
    ) -> CallSpec<'a, super::Turn> {
        CallSpec {
            messages: Message::envelopes(batch),
            pool: self.pool.base(),
            version: desk.turn.table.version().0,
            now: desk.turn.now,
            turn: &mut desk.turn,
            outbox: &mut desk.outbox,
            replies: &mut desk.replies,
            report: &desk.report,
        }
    }

    /// Commits, counts, and lets answers and messages go.
    fn finish(
        &self,
        slot: &Slot,
        guest: &mut Guest,
        desk: &mut Desk,
        batch: &mut Vec<Message>,
        ran: usize,
        counted: bool,
    ) -> Result<(), String> {
        let committed = if guest.commits() && ran > 0 { guest.commit() } else { Ok(()) };
        // What a commit did before it panicked, nobody knows.
        let committed = committed.map_err(|error| match error.code {
            ErrorCode::Panicked => error.handled(Handled::Unknown),
            _ => error,
        });
        if counted {
            slot.ledger.end(ends(desk, ran, committed.is_ok()));
        }
        self.publish(slot.id, &mut desk.outbox);
        self.send_replies(slot, desk, committed.as_ref().err());
        self.release_all(&batch[..ran]);
        if ran == batch.len() {
            batch.clear();
        } else {
            batch.drain(..ran);
        }
        committed.or_else(|error| {
            slot.note_error(&format!("commit: {error}"));
            if error.code == ErrorCode::Panicked { Err(error.text.clone()) } else { Ok(()) }
        })
    }

    /// Frees the blocks of messages that were handled.
    fn release_all(&self, handled: &[Message]) {
        // Without a branch a message: most batches have no block at all.
        if handled.iter().fold(0, |any, message| any | message.flags) & flags::BLOCK != 0 {
            handled.iter().for_each(|message| self.pool.release(message));
        }
    }

    /// Ends what a panic leaves: those before it, unless they would have been committed, as usual; itself as dead.
    /// The later ones stay in the batch and run first in the next instance.
    #[allow(clippy::too_many_arguments, reason = "the parts of one batch")]
    fn panicked(
        &self,
        slot: &Slot,
        guest: &Guest,
        desk: &mut Desk,
        batch: &mut Vec<Message>,
        ran: usize,
        counted: bool,
        error: &Error,
    ) -> String {
        let keep = batch.get(ran).map_or(0, |message| desk.outbox.sent_before(message));
        self.discard_outbox(slot.id, keep, &mut desk.outbox);
        self.publish(slot.id, &mut desk.outbox);
        let committed = !guest.commits();
        if counted {
            let before = ends(desk, ran, committed);
            slot.ledger.end(Ends { dead: u64::from(ran < batch.len()), ..before });
        }
        let text = "the subsystem was restarted before the batch was committed";
        let lost = Error::new(ErrorCode::Restarted, text).handled(Handled::Unknown);
        self.send_replies(slot, desk, (!committed).then_some(&lost));
        let dead = Error::new(
            ErrorCode::Panicked,
            format!("the handler of `{}` ended with {}", slot.name, error.text),
        );
        let through = (ran + 1).min(batch.len());
        for (index, message) in batch.drain(..through).enumerate() {
            if index == ran {
                self.end_unhandled(&message, slot.id, &dead.clone().handled(Handled::Unknown));
            } else {
                self.pool.release(&message);
            }
        }
        error.text.clone()
    }

    /// Takes out the messages whose route this generation does not have, and answers how many.
    #[cold]
    fn bury_lost(&self, slot: &Slot, batch: &mut Vec<Message>, counted: bool) -> usize {
        let table = self.tables.load();
        let is_lost = |message: &Message| !table.is_live(slot.id, RouteId(message.route));
        let lost = batch.iter().filter(|message| is_lost(message)).count();
        if counted {
            slot.ledger.end(Ends { dead: lost as u64, ..Ends::default() });
        }
        batch.retain(|message| {
            let is_lost = is_lost(message);
            if is_lost {
                let pattern = table.pattern(slot.id, RouteId(message.route)).unwrap_or_default();
                let text = format!("`{}` no longer has the route `{pattern}`", slot.name);
                let error = Error::new(ErrorCode::NoRoute, text).handled(Handled::No);
                slot.note_error(&error.to_string());
                self.end_unhandled(message, slot.id, &error);
            }
            !is_lost
        });
        lost
    }

    /// Ends what comes to a subsystem that has no instance and will get none.
    fn bury(&self, slot: &Slot, batch: &mut Vec<Message>, counted: bool) -> BatchResult {
        let buried = batch.len();
        let error = Error::new(ErrorCode::Gone, format!("`{}` has stopped", slot.name))
            .handled(Handled::No);
        if counted {
            slot.ledger.end(Ends { dead: buried as u64, ..Ends::default() });
        }
        batch.drain(..).for_each(|message| self.end_unhandled(&message, slot.id, &error));
        BatchResult::Handled { decided: buried, left: 0 }
    }
}

/// How the first `ran` messages of a batch ended.
fn ends(desk: &Desk, ran: usize, committed: bool) -> Ends {
    if !committed {
        return Ends { failed: ran as u64, ..Ends::default() };
    }
    let outcomes = desk.report.outcomes(ran);
    // Nearly always all are 0, which is seen many at a time.
    let all_ok = outcomes.iter().fold(0, |any, code| any | code) == 0;
    let handled =
        if all_ok { ran } else { outcomes.iter().filter(|&&code| is_handled(code)).count() };
    Ends { handled: handled as u64, failed: (ran - handled) as u64, ..Ends::default() }
}

/// Whether a handler that reported this code did its part: it returned Ok, or an error of the caller's making.
fn is_handled(code: u8) -> bool {
    code == 0 || ErrorCode::from_number(code).is_callers()
}
