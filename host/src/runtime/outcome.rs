//! Answers: how a request ends, exactly once, and how its outcome gets to whoever asked.

use super::{Runtime, slot::OUTSIDE};
use crate::abi::{Message, PoolError};
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

/// An answer that waits for the commit of its batch.
pub struct Reply {
    request: u64,
    how: End,
    outcome: Message,
}

impl Runtime {
    /// Makes the outcome of an answer, at the cost of the one who answers.
    pub(super) fn outcome(&self, owner: SubsystemId, answer: AnswerRef<'_>) -> Message {
        let mut outcome =
            Message(Envelope { sender: owner.0.into(), flags: flags::OUTCOME, ..Envelope::EMPTY });
        let filled = match answer {
            Ok(body) => {
                outcome.flags |= body.flags;
                self.pool.fill(&mut outcome, owner, &[], body.bytes)
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

    pub(super) fn reply(&self, owner: SubsystemId, request: u64, answer: AnswerRef<'_>) -> Reply {
        let how = if answer.is_ok() { End::Answered } else { End::Failed };
        Reply { request, how, outcome: self.outcome(owner, answer) }
    }

    /// Sends an answer on its way.
    pub(super) fn deliver_reply(&self, reply: Reply) {
        self.end_request(reply.request, reply.how, reply.outcome);
    }

    /// Replaces an answer that was not committed.
    pub(super) fn spoil_reply(&self, reply: &mut Reply, owner: SubsystemId, error: &Error) {
        self.pool.release(&reply.outcome);
        reply.how = End::Failed;
        reply.outcome = self.error_outcome(owner, error);
    }

    /// Ends a request with an outcome. Of several who try only the first does; the others' outcomes are dropped.
    pub(super) fn end_request(&self, request: u64, how: End, outcome: Message) {
        let asker = AskId::unpack(request).filter(|id| id.asker.index() < self.slots.len());
        match asker.and_then(|id| Some((id, self.slot(id.asker).asks.end(id, how)?))) {
            Some((id, template)) => self.deliver(id, template, outcome),
            None => self.pool.release(&outcome),
        }
    }

    /// Ends a message that no handler will see: frees its content and answers at once whoever waits.
    pub(super) fn end_unhandled(&self, message: &Message, owner: SubsystemId, error: &Error) {
        self.pool.release(message);
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
    pub(super) fn deliver(&self, id: AskId, template: Message, outcome: Message) {
        if id.asker == SubsystemId::OPERATOR {
            self.slot(id.asker).asks.release(id);
            return self.finish_waiting(template.trace, outcome);
        }
        let slot = self.slot(id.asker);
        if template.route == OUTSIDE {
            let outcome = Message(Envelope { reply: id.pack(), ..outcome.0 });
            let pushed = slot.completions.push(template.sender, template.trace, outcome);
            return pushed.unwrap_or_else(|outcome| self.take_back(&outcome));
        }
        let mut outcome = self.addressed(&template, outcome, id.asker);
        outcome.reply = id.pack();
        let wake =
            slot.queue.deliver(outcome).expect("the lane has room for every request of the table");
        self.wake(slot.id, wake);
    }

    /// Ends an outcome that was claimed, or that nobody will claim.
    pub(super) fn take_back(&self, outcome: &Message) {
        self.pool.release(outcome);
        self.release_request(outcome.reply);
    }

    /// Frees the slot of a request whose outcome was claimed.
    pub(super) fn release_request(&self, request: u64) {
        if let Some(id) = AskId::unpack(request) {
            self.slot(id.asker).asks.release(id);
        }
    }

    /// The outcome with the route and the parameters of its template.
    fn addressed(&self, template: &Message, outcome: Message, asker: SubsystemId) -> Message {
        let mut addressed = outcome;
        addressed.route = template.route;
        addressed.trace = template.trace;
        if template.parameters() == 0 {
            return addressed;
        }
        addressed.flags = (outcome.flags & !flags::BLOCK) | template.parameters() as u16;
        let (prefix, body) = (self.pool.content(template), self.pool.content(&outcome));
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
        self.pool.release(template);
        addressed
    }
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
