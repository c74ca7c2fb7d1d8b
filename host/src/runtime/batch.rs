//! One batch: claimed, handled in one call, accounted for, answered.

use super::{
    Desk, Runtime, Slot, Worker,
    generation::Instance,
    slot::{Cell, looks},
    work::LostBatch,
};
use crate::{abi::Message, letters::Reason};
use mycelia_kernel::{
    asks::AskId,
    ids::{RouteId, SubsystemId},
    ledger::Ends,
    queue::Lane,
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Result,
    abi::{
        flags,
        host::{BatchEnd, CallSpec, Guest},
    },
};

use std::{mem, sync::atomic::Ordering};

/// What became of a batch.
pub(super) enum BatchResult {
    /// So many messages were decided, and so many are left of the batch.
    Handled { decided: usize, left: usize },
    /// There was nothing to claim.
    Idle,
    /// A handler, or the commit, panicked: the instance must only be destroyed, and the cell says why.
    Faulted,
    /// A handler, or the commit, ran past its limit, and the subsystem was taken away with the batch.
    Lost,
}

/// What few batches have.
struct Rare {
    deadlines: bool,
    blocks: bool,
    /// Not all are of one route.
    is_mixed: bool,
}

impl Rare {
    #[inline]
    fn of(batch: &[Message]) -> Rare {
        // Without a branch a message, and eight at a time, which the compiler unrolls.
        let word = |message: &Message| u32::from(message.flags) << 16 | u32::from(message.route);
        let first = batch.first().map_or(0, word);
        let join = |(deadlines, differing): (u64, u32), message: &Message| {
            (deadlines | message.deadline, differing | word(message) ^ first)
        };
        let (eights, others) = batch.as_chunks::<8>();
        let joined = eights.iter().fold((0, 0), |joined, eight| eight.iter().fold(joined, join));
        let (deadlines, differing) = others.iter().fold(joined, join);
        let all_flags = ((first | differing) >> 16) as u16;
        Rare {
            deadlines: deadlines != 0,
            blocks: all_flags & flags::BLOCK != 0,
            is_mixed: differing as u16 != 0,
        }
    }
}

impl Runtime {
    /// Claims and handles a batch of up to `room` messages; for the holder of the subsystem.
    // Not inlined: the loop of a turn would compute every address of the slot before the first batch.
    #[inline(never)]
    pub(super) fn batch(
        &self,
        slot: &Slot,
        worker: &mut Worker,
        room: usize,
        now: u64,
    ) -> BatchResult {
        let mut cell = slot.take_cell();
        match self.batch_of(slot, &mut cell, worker, room, now) {
            BatchResult::Lost => worker.lost = Some(LostBatch { id: slot.id, cell }),
            result => {
                slot.put_cell(cell);
                return result;
            }
        }
        BatchResult::Lost
    }

    #[inline(always)]
    fn batch_of(
        &self,
        slot: &Slot,
        cell: &mut Cell,
        worker: &mut Worker,
        room: usize,
        now: u64,
    ) -> BatchResult {
        let Worker { desk, sampler, batch, .. } = worker;
        let Some(lane) = self.claim(slot, cell, room, batch) else {
            return BatchResult::Idle;
        };
        let counted = lane == Lane::Queue;
        let Cell { instance, left, failed, .. } = cell;
        let Some(Instance { guest, .. }) = instance else {
            desk.report.beat();
            return self.bury(slot, batch, counted);
        };
        let rare = Rare::of(batch);
        let mut ended = if counted && rare.deadlines { self.expire(slot, batch, now) } else { 0 };
        let looks = slot.looks.load(Ordering::Acquire);
        if looks != 0 {
            ended += self.look(slot, looks, batch, counted);
        }
        if batch.is_empty() {
            desk.report.beat();
            return BatchResult::Handled { decided: ended, left: 0 };
        }
        desk.sit_down(self, slot, now);
        desk.turn.stamp = sampler.begin(now, &desk.report);
        let handled = guest.handle_watched(self.spec(desk, batch), tag(slot, lane));
        let Some((end, committed)) = handled else { return BatchResult::Lost };
        let ran = desk.report.cursor().min(batch.len());
        if desk.turn.stamp != 0 {
            desk.report.set_timed(false);
            self.note_handled(slot, now, ran);
            self.timing.tell(sampler, &desk.turn.cache);
        }
        let result = match end {
            BatchEnd::Returned => self.finish(slot, committed, desk, batch, ran, counted, &rare),
            BatchEnd::Panicked(error) => {
                self.panicked(slot, guest, desk, batch, ran, counted, &error);
                Some(error.text.clone())
            }
        };
        let rest = batch.len();
        if rest > 0 {
            (cell.lane, *left) = (Some(lane), mem::take(batch));
            batch.reserve(slot.settings.batch);
        }
        match result {
            None => BatchResult::Handled { decided: ran + ended, left: rest },
            text => {
                *failed = text;
                BatchResult::Faulted
            }
        }
    }

    /// Moves the next messages out: what was left, outcomes, timers, then the queue.
    #[inline]
    fn claim(
        &self,
        slot: &Slot,
        cell: &mut Cell,
        room: usize,
        batch: &mut Vec<Message>,
    ) -> Option<Lane> {
        if !cell.left.is_empty() {
            batch.append(&mut cell.left);
            return cell.lane;
        }
        if slot.queue.has_more_than_messages()
            && let Some(lane) = self.claim_lanes(slot, batch)
        {
            return Some(lane);
        }
        let claimed = slot.queue.claim(Lane::Queue, room, batch);
        slot.room.freed();
        (claimed > 0).then_some(Lane::Queue)
    }

    fn claim_lanes(&self, slot: &Slot, batch: &mut Vec<Message>) -> Option<Lane> {
        // Bits only make a subsystem ready so far.
        let _ = slot.queue.take_bits();
        if slot.queue.claim(Lane::Outcomes, slot.settings.batch, batch) > 0 {
            let requests = batch.iter_mut().map(|outcome| std::mem::take(&mut outcome.reply));
            slot.asks.release_all(requests.filter_map(AskId::unpack));
            if slot.streams.are_open() {
                self.draw_batch(slot, batch);
            }
            return Some(Lane::Outcomes);
        }
        if slot.queue.claim(Lane::Timers, slot.settings.batch, batch) > 0 {
            return Some(Lane::Timers);
        }
        None
    }

    /// Takes out the messages whose deadline passed in the queue, and answers how many.
    pub(super) fn expire(&self, slot: &Slot, batch: &mut Vec<Message>, now: u64) -> usize {
        // Without a branch a message: nearly always none has passed. 0 is no deadline, and wraps to the last of all.
        let earliest =
            batch.iter().fold(u64::MAX, |earliest, one| earliest.min(one.deadline.wrapping_sub(1)));
        if earliest < now { self.expire_some(slot, batch, now) } else { 0 }
    }

    #[cold]
    fn expire_some(&self, slot: &Slot, batch: &mut Vec<Message>, now: u64) -> usize {
        let overdue = |message: &Message| message.deadline != 0 && message.deadline <= now;
        let expired = batch.iter().filter(|message| overdue(message)).count();
        // Counted before anybody is told.
        slot.ledger.end(Ends { expired: expired as u64, ..Ends::default() });
        batch.retain(|message| {
            let is_overdue = overdue(message);
            if is_overdue {
                slot.tally.end(message.route, Ends { expired: 1, ..Ends::default() });
                let text = format!(
                    "the deadline passed while the message waited in the queue of `{}`",
                    slot.name
                );
                let error = Error::new(ErrorCode::Deadline, text).handled(Handled::No);
                self.keep_letter(slot, message, Reason::Expired, &error.text);
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

    /// Counts, and lets answers and messages go, after the commit. The text of a commit that panicked.
    #[allow(clippy::too_many_arguments, reason = "the parts of one batch")]
    #[inline]
    fn finish(
        &self,
        slot: &Slot,
        committed: Result<()>,
        desk: &mut Desk,
        batch: &mut Vec<Message>,
        ran: usize,
        counted: bool,
        rare: &Rare,
    ) -> Option<String> {
        let committed = committed.map_err(|error| of_commit(slot, error));
        let lost = committed.as_ref().err();
        if counted {
            slot.tally.batch(ran);
            slot.ledger.end(self.ends(slot, desk, &batch[..ran], lost, rare.is_mixed));
        } else if desk.report.has_failed() {
            desk.turn.failures.clear();
        }
        self.publish(&desk.turn, &mut desk.outbox);
        self.send_replies(slot, desk, lost);
        if rare.blocks {
            let handled = Message::envelopes(&batch[..ran]);
            self.pool.release_by(&mut desk.turn.magazine, handled);
        }
        if ran == batch.len() {
            batch.clear();
        } else {
            batch.drain(..ran);
        }
        committed.err().and_then(|error| failed_commit(slot, &error))
    }

    /// Ends what a panic leaves: those before it, unless they would have been committed, as usual; itself as dead.
    /// The later ones stay in the batch and run first in the next instance.
    #[allow(clippy::too_many_arguments, reason = "the parts of one batch")]
    #[cold]
    fn panicked(
        &self,
        slot: &Slot,
        guest: &Guest,
        desk: &mut Desk,
        batch: &mut Vec<Message>,
        ran: usize,
        counted: bool,
        error: &Error,
    ) {
        let keep = batch.get(ran).map_or(0, |message| desk.outbox.sent_before(message));
        self.discard_outbox(slot.id, keep, &mut desk.outbox);
        self.publish(&desk.turn, &mut desk.outbox);
        let text = "the subsystem was restarted before the batch was committed";
        let lost = Error::new(ErrorCode::Restarted, text).handled(Handled::Unknown);
        let lost = guest.commits().then_some(&lost);
        if counted {
            let before = self.ends(slot, desk, &batch[..ran], lost, true);
            slot.ledger.end(Ends { dead: u64::from(ran < batch.len()), ..before });
            batch.get(ran).inspect(|message| slot.tally.end(message.route, DEAD));
        }
        desk.turn.failures.clear();
        self.send_replies(slot, desk, lost);
        let dead = Error::new(
            ErrorCode::Panicked,
            format!("the handler of `{}` ended with {}", slot.name, error.text),
        );
        let through = (ran + 1).min(batch.len());
        for (index, message) in batch.drain(..through).enumerate() {
            if index == ran {
                if counted {
                    self.keep_letter(slot, &message, Reason::Panicked, &dead.text);
                }
                self.end_unhandled(&message, slot.id, &dead.clone().handled(Handled::Unknown));
            } else {
                self.pool.release(&message);
            }
        }
    }

    /// Looks for what few subsystems have, and answers how many messages ended by it.
    #[cold]
    fn look(&self, slot: &Slot, what: u8, batch: &mut Vec<Message>, counted: bool) -> usize {
        if what & looks::STAMPS != 0 && counted {
            self.note_waits(slot, batch);
        }
        match what & looks::LOST_ROUTES {
            0 => 0,
            _ => self.bury_lost(slot, batch, counted),
        }
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
                if counted {
                    slot.tally.end(message.route, DEAD);
                    self.keep_letter(slot, message, Reason::NoRoute, &error.text);
                }
                self.end_unhandled(message, slot.id, &error);
            }
            !is_lost
        });
        lost
    }

    /// Ends what comes to a subsystem that has no instance and will get none.
    #[cold]
    fn bury(&self, slot: &Slot, batch: &mut Vec<Message>, counted: bool) -> BatchResult {
        let buried = batch.len();
        let error = Error::new(ErrorCode::Gone, format!("`{}` has stopped", slot.name))
            .handled(Handled::No);
        if counted {
            slot.ledger.end(Ends { dead: buried as u64, ..Ends::default() });
            let (reason, text) = match self.is_stopping() {
                true => (Reason::Shutdown, "the host stopped before the message was handled"),
                false => (Reason::Gone, &*error.text),
            };
            for message in &*batch {
                slot.tally.end(message.route, DEAD);
                self.keep_letter(slot, message, reason, text);
            }
        }
        batch.drain(..).for_each(|message| self.end_unhandled(&message, slot.id, &error));
        BatchResult::Handled { decided: buried, left: 0 }
    }

    /// How messages ended that ran; all failed if something was `lost` that they did.
    #[inline]
    fn ends(
        &self,
        slot: &Slot,
        desk: &mut Desk,
        ran: &[Message],
        lost: Option<&Error>,
        is_mixed: bool,
    ) -> Ends {
        if lost.is_some() || desk.report.has_failed() {
            return self.ends_of_some(slot, desk, ran, lost);
        }
        let all = handled(ran);
        match ran {
            [first, ..] if !is_mixed => slot.tally.end(first.route, all),
            _ => note_mixed(slot, ran),
        }
        all
    }

    /// As `ends`, where some failed; those that nobody waits for become dead letters.
    #[cold]
    fn ends_of_some(
        &self,
        slot: &Slot,
        desk: &mut Desk,
        ran: &[Message],
        lost: Option<&Error>,
    ) -> Ends {
        let mut failed = 0;
        // Each of them told its error as it ended.
        let mut told = desk.turn.failures.drain(..);
        for (message, &code) in ran.iter().zip(desk.report.outcomes(ran.len())) {
            let has_failed = !is_handled(code);
            if !has_failed && lost.is_none() {
                slot.tally.end(message.route, Ends { handled: 1, ..Ends::default() });
                continue;
            }
            slot.tally.end(message.route, Ends { failed: 1, ..Ends::default() });
            failed += 1;
            if message.reply == 0 {
                let own = if has_failed { told.next() } else { None };
                let text = lost.map(|error| error.text.clone()).or(own).unwrap_or_default();
                self.keep_letter(slot, message, Reason::Failed, &text);
            }
        }
        Ends { handled: ran.len() as u64 - failed, failed, ..Ends::default() }
    }
}

/// One message that is dead.
pub(super) const DEAD: Ends = Ends { handled: 0, failed: 0, expired: 0, dead: 1 };

fn handled(messages: &[Message]) -> Ends {
    Ends { handled: messages.len() as u64, ..Ends::default() }
}

/// Counts messages of several routes that were handled.
#[inline(never)]
fn note_mixed(slot: &Slot, ran: &[Message]) {
    for run in ran.chunk_by(|one, next| one.route == next.route) {
        slot.tally.end(run[0].route, handled(run));
    }
}

/// What everybody of the batch is told. What a commit did before it panicked, nobody knows.
#[cold]
fn of_commit(slot: &Slot, mut error: Error) -> Error {
    error.text = format!("the commit of `{}` failed: {}", slot.name, error.text);
    match error.code {
        ErrorCode::Panicked => error.handled(Handled::Unknown),
        _ => error,
    }
}

/// What the watchdog is told of a batch: whose it is, and how it came in.
#[inline]
fn tag(slot: &Slot, lane: Lane) -> u32 {
    u32::from(slot.id.0) << 2 | lane as u32
}

/// The subsystem and the lane of a tag.
pub(super) fn untag(tag: u32) -> (SubsystemId, Lane) {
    let lanes = [Lane::Outcomes, Lane::Timers, Lane::Queue];
    let lane = lanes.into_iter().find(|lane| *lane as u32 == tag & 3);
    (SubsystemId((tag >> 2) as u16), lane.unwrap_or(Lane::Queue))
}

/// The error of a commit is kept, and one that panicked is the instance's end.
#[cold]
fn failed_commit(slot: &Slot, error: &Error) -> Option<String> {
    slot.note_error(&error.to_string());
    (error.code == ErrorCode::Panicked).then(|| error.text.clone())
}

/// Whether a handler that reported this code did its part: it returned Ok, or an error of the caller's making.
pub(super) fn is_handled(code: u8) -> bool {
    code == 0 || ErrorCode::from_number(code).is_callers()
}
