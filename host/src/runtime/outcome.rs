//! Answers: how a request ends, exactly once, and how its outcome gets to whoever asked.

use super::{Desk, Runtime, Slot, streams::is_part, template::Template};
use crate::abi::{Magazine, Message, PoolError};
use mycelia_kernel::{
    asks::{AskId, End},
    ids::SubsystemId,
    queue::Dropped,
};
use mycelia_plugin::{
    Error, ErrorCode, Handled,
    abi::{Envelope, flags, host::AnswerRef},
};
use std::time::Duration;

const LANE_HAS_ROOM: &str = "the lane has room for every request of the table";

impl Runtime {
    /// Makes the outcome of an answer, at the cost of the one who answers.
    pub(super) fn outcome(
        &self,
        owner: SubsystemId,
        answer: AnswerRef<'_>,
        magazine: Option<&mut Magazine>,
    ) -> Message {
        let mut outcome =
            Message(Envelope { sender: owner.0.into(), flags: flags::OUTCOME, ..Envelope::EMPTY });
        let filled = match answer {
            Ok(body) => {
                outcome.flags |= body.flags;
                match magazine {
                    Some(magazine) => self.pool.fill_by(magazine, &mut outcome, owner, body.bytes),
                    None => self.pool.fill(&mut outcome, owner, &[], body.bytes),
                }
            }
            Err(error) => return self.error_outcome(owner, &error),
        };
        filled
            .map(|()| outcome)
            .unwrap_or_else(|error| self.error_outcome(owner, &pool_error(error, "the reply")))
    }

    /// Makes the outcome that an error is. Where there is no memory for its text, its code goes alone.
    pub(super) fn error_outcome(&self, owner: SubsystemId, error: &Error) -> Message {
        let delay = error.retry_after.map_or(0, |delay| delay.as_nanos() as u64);
        let mut outcome = Message(Envelope {
            sender: owner.0.into(),
            flags: flags::OUTCOME,
            stamp: u32::from_le_bytes([error.code as u8, error.handled as u8, 0, 0]),
            deadline: delay,
            ..Envelope::EMPTY
        });
        if self.pool.fill(&mut outcome, owner, &[], error.text.as_bytes()).is_err() {
            outcome.length = 0;
        }
        outcome
    }

    /// The outcome of an answer, with the request that it is for.
    pub(super) fn reply(
        &self,
        owner: SubsystemId,
        request: u64,
        answer: AnswerRef<'_>,
        magazine: Option<&mut Magazine>,
    ) -> Message {
        Message(Envelope { reply: request, ..self.outcome(owner, answer, magazine).0 })
    }

    /// Sends answers on their way, each to the request that it names; those to one asker go together.
    pub(super) fn deliver_replies(&self, replies: &mut [Message]) {
        let (mut asker, mut first, mut end) = (self.slot(SubsystemId::OPERATOR), 0, 0);
        for index in 0..replies.len() {
            let Some(id) = self.ask_id(replies[index].reply) else {
                self.pool.release(&replies[index]);
                continue;
            };
            if id.asker() != asker.id {
                self.deliver_run(asker, &replies[first..end]);
                (asker, first, end) = (self.slot(id.asker()), index, index);
            }
            let outcome = &mut replies[index];
            let how = if has_error(outcome) { End::Failed } else { End::Answered };
            let Some(template) = asker.asks.end(id, how) else {
                self.pool.release(outcome);
                continue;
            };
            let Some(route) = template.plain() else {
                self.deliver(id, template, outcome);
                continue;
            };
            outcome.route = route;
            if end != index {
                self.deliver_run(asker, &replies[first..end]);
                first = index;
            }
            end = index + 1;
        }
        self.deliver_run(asker, &replies[first..end]);
    }

    fn deliver_run(&self, asker: &Slot, outcomes: &[Message]) {
        if outcomes.is_empty() {
            return;
        }
        let (wake, delivered) = asker.queue.deliver_many(outcomes);
        assert_eq!(delivered, outcomes.len(), "{LANE_HAS_ROOM}");
        self.wake(asker.id, wake);
    }

    /// Lets the answers of a batch go, each for the request that it names; with an error it comes in place of all.
    // Always inlined: most batches have no answers, and a call would cost a lone message a thirtieth.
    #[inline(always)]
    pub(super) fn send_replies(&self, slot: &Slot, desk: &mut Desk, error: Option<&Error>) {
        if !desk.replies.is_empty() || !desk.turn.replies.is_empty() {
            self.send_some_replies(slot, desk, error);
        }
    }

    #[inline(never)]
    fn send_some_replies(&self, slot: &Slot, desk: &mut Desk, error: Option<&Error>) {
        let last = Message::from_envelopes_mut(desk.replies.messages());
        for replies in [&mut *desk.turn.replies, last] {
            for reply in &mut *replies {
                reply.sender = slot.id.0.into();
                error.into_iter().for_each(|error| self.spoil_reply(reply, slot.id, error));
            }
            self.deliver_replies(replies);
        }
        desk.replies.truncate(0);
        desk.turn.replies.clear();
    }

    /// Replaces an answer that was not committed.
    pub(super) fn spoil_reply(&self, reply: &mut Message, owner: SubsystemId, error: &Error) {
        self.pool.release(reply);
        *reply = Message(Envelope { reply: reply.reply, ..self.error_outcome(owner, error).0 });
    }

    /// A request of a subsystem that there is.
    #[inline]
    pub(super) fn ask_id(&self, request: u64) -> Option<AskId> {
        AskId::unpack(request).filter(|id| id.asker().index() < self.slots.len())
    }

    /// Ends a request with an outcome. Of several who try only the first does; the others' outcomes are dropped.
    pub(super) fn end_request(&self, request: u64, how: End, outcome: Message) {
        let ended = self
            .ask_id(request)
            .and_then(|id| Some((id, self.slot(id.asker()).asks.end(id, how)?)));
        match ended {
            Some((id, template)) => self.deliver(id, template, &outcome),
            None => self.pool.release(&outcome),
        }
    }

    /// Ends a message that no handler will see: frees its content and answers at once whoever waits.
    pub(super) fn end_unhandled(&self, message: &Message, owner: SubsystemId, error: &Error) {
        self.pool.release(message);
        self.take_back_part(message);
        if message.reply != 0 {
            let how = if error.code == ErrorCode::Deadline { End::TimedOut } else { End::Failed };
            self.end_request(message.reply, how, self.error_outcome(owner, error));
        }
    }

    /// What a full queue dropped.
    pub(super) fn end_dropped(&self, message: &Message, owner: SubsystemId, how: Dropped) {
        if message.reply == 0 {
            return self.pool.release(message);
        }
        let which = match how {
            Dropped::Oldest => "newer ones pushed the request out",
            Dropped::Newest => "it takes nothing new",
        };
        let name = &self.slot(owner).name;
        let error =
            Error::new(ErrorCode::Dropped, format!("the queue of `{name}` is full and {which}"));
        self.end_unhandled(message, owner, &error.handled(Handled::No));
    }

    /// Brings an outcome to where its template says. The slot of the request is free once it was claimed there.
    #[inline(never)]
    pub(super) fn deliver(&self, id: AskId, template: Template, outcome: &Message) {
        if template.is_stream() {
            return self.finish_stream(id, outcome);
        }
        let slot = self.slot(id.asker());
        let outcome = match template.waiter() {
            Some((_, token)) if id.asker() == SubsystemId::OPERATOR => {
                slot.asks.release(id);
                return self.finish_waiting(token, *outcome);
            }
            Some((incarnation, token)) => {
                let outcome = Message(Envelope { reply: id.pack(), ..outcome.0 });
                let pushed = slot.completions.push(incarnation, token, outcome);
                return pushed.unwrap_or_else(|outcome| self.take_back(&outcome));
            }
            None => self.addressed(&template, *outcome, id.asker()),
        };
        let outcome = Message(Envelope { reply: id.pack(), ..outcome.0 });
        let wake = slot.queue.deliver(outcome).expect(LANE_HAS_ROOM);
        self.wake(slot.id, wake);
    }

    /// Ends an outcome that nobody will claim.
    pub(super) fn take_back(&self, outcome: &Message) {
        self.pool.release(outcome);
        self.release_request(outcome.reply);
        self.take_back_part(outcome);
    }

    /// Whoever lost a part of an answer, or its ticket, gets no more of it.
    pub(super) fn take_back_part(&self, message: &Message) {
        let id = self.ask_id(message.deadline).filter(|_| is_part(message));
        if let Some(id) = id {
            self.cancel_stream(self.slot(id.asker()), id);
        }
    }

    /// Frees the slot of a request whose outcome was claimed.
    pub(super) fn release_request(&self, request: u64) {
        if let Some(id) = AskId::unpack(request) {
            self.slot(id.asker()).asks.release(id);
        }
    }

    /// The outcome with the route and the parameters of its template.
    pub(super) fn addressed(
        &self,
        template: &Template,
        outcome: Message,
        asker: SubsystemId,
    ) -> Message {
        let mut addressed = outcome;
        addressed.route = template.number();
        let Some(parameters) = template.parameters() else { return addressed };
        addressed.flags = (outcome.flags & !flags::BLOCK) | parameters.parameters() as u16;
        let (prefix, body) = (self.pool.content(&parameters), self.pool.content(&outcome));
        if let Err(error) = self.pool.fill(&mut addressed, asker, prefix, body) {
            let error = pool_error(error, "the outcome");
            addressed.stamp = u32::from_le_bytes([error.code as u8, Handled::Unknown as u8, 0, 0]);
            addressed.flags &= !flags::ENCODING;
            // The parameters alone: an outcome without them would not find its request.
            if self.pool.fill(&mut addressed, asker, prefix, &[]).is_err() {
                addressed.flags &= !flags::PARAMETERS;
                addressed.length = 0;
            }
        }
        self.pool.release(&outcome);
        self.pool.release(&parameters);
        addressed
    }
}

/// Whether an outcome is an error.
fn has_error(outcome: &Message) -> bool {
    outcome.stamp != 0
}

/// What a sender is told when its content finds no memory.
pub fn pool_error(error: PoolError, what: &str) -> Error {
    let (code, text) = match error {
        PoolError::TooLarge => (
            ErrorCode::TooLarge,
            format!(
                "{what} is larger than the {} bytes that a message carries; send it in parts",
                crate::abi::MAX_CONTENT
            ),
        ),
        PoolError::Pool => (
            ErrorCode::NoMemory,
            format!("no memory for {what}: the pool is used up; raise `pool` in the config"),
        ),
        PoolError::Quota => (
            ErrorCode::NoMemory,
            format!(
                "no memory for {what}: the subsystem's `pool_quota` is used up; raise it, or send less at a time"
            ),
        ),
    };
    Error::new(code, text).handled(Handled::No).retry_after(Duration::from_millis(100))
}
