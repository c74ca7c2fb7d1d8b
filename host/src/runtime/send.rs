//! Sending: from a path to a recipient, from a body to a message, from a message into a queue.

use super::{Runtime, Slot, outcome::pool_error, template::Template};
use crate::{abi::Message, validate::REFUSED};
use mycelia_kernel::{
    asks::{AskId, End},
    ids::SubsystemId,
    params::Params,
    queue::{Full, Policy},
    refusal::Refusal,
    table::{Resolved, Table},
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Result,
    abi::{Envelope, RawRecipient, flags, host::BodyRef},
};
use std::time::{Duration, Instant};

/// What a message is made of, beside its content.
#[derive(Copy, Clone)]
pub(super) struct Header {
    pub sender: SubsystemId,
    pub to: SubsystemId,
    pub route: u16,
    /// How many parameters the content begins with.
    pub parameters: usize,
    pub deadline: u64,
    /// The request to answer, or 0.
    pub reply: u64,
}

/// The flags of a body that its message keeps.
const CARRIED: u16 = flags::ENCODING | flags::EDGE | flags::ANSWER_JSON | flags::PART;

/// The header of a plain message to a resolved path.
pub(super) fn header(sender: SubsystemId, resolved: &Resolved<'_>) -> Header {
    Header {
        sender,
        to: resolved.subsystem,
        route: resolved.route.0,
        parameters: resolved.params.len(),
        deadline: 0,
        reply: 0,
    }
}

/// Writes parameters as they go before a body: their lengths, then their bytes.
#[inline]
pub(super) fn encode(params: &Params<'_>, prefix: &mut Vec<u8>) {
    if !params.is_empty() {
        encode_some(params, prefix);
    }
}

fn encode_some(params: &Params<'_>, prefix: &mut Vec<u8>) {
    for param in params.iter() {
        prefix.extend_from_slice(&(param.len() as u16).to_le_bytes());
    }
    params.iter().for_each(|param| prefix.extend_from_slice(param.as_bytes()));
}

#[cold]
pub(super) fn never_resolved() -> Error {
    Error::new(ErrorCode::NoRoute, "the recipient was never resolved").handled(Handled::No)
}

/// The config has it, and it serves no more, or not yet.
#[cold]
fn stopped(slot: &Slot) -> Error {
    let name = &slot.name;
    let text = format!(
        "the subsystem `{name}` is stopped; `mycelia status` says why, `mycelia restart {name}` starts it"
    );
    Error::new(ErrorCode::Gone, text).handled(Handled::No)
}

/// The error that a refusal is for its sender.
pub(super) fn refused(refusal: &Refusal) -> Error {
    let code = match refusal {
        Refusal::BadPath(_) => ErrorCode::BadPath,
        Refusal::Denied { .. } => ErrorCode::Denied,
        Refusal::Schema { .. } => ErrorCode::Invalid,
        _ => ErrorCode::NoRoute,
    };
    Error::new(code, refusal.to_string()).handled(Handled::No)
}

impl Runtime {
    /// Resolves a path for a sender by way of its cache or the table.
    // Always inlined: what was resolved is large, and is copied otherwise.
    #[inline(always)]
    pub(super) fn permit<'p>(
        &self,
        table: &Table,
        resolved: std::result::Result<Resolved<'p>, Refusal>,
    ) -> Result<Resolved<'p>> {
        resolved.map_err(|refusal| self.tell_refusal(table, &refusal))
    }

    #[cold]
    fn tell_refusal(&self, table: &Table, refusal: &Refusal) -> Error {
        if let Refusal::Denied { scope, .. } = refusal {
            self.count_denied(table, scope.as_str());
        }
        if let Refusal::NoSubsystem { name, .. } = refusal {
            tracing::debug!(target: REFUSED, name = &**name, "somebody sends to no subsystem");
            if let Some(slot) = self.named(name) {
                return stopped(slot);
            }
        }
        refused(refusal)
    }

    /// A refusal counts for the subsystem whose scope it was.
    fn count_denied(&self, table: &Table, scope: &str) {
        let subsystem = scope.rsplit_once(':').and_then(|(subsystem, _)| table.id(subsystem));
        if let Some(id) = subsystem {
            self.slot(id).ledger.deny(1);
        }
    }

    /// What a plugin keeps of a resolved path.
    pub(super) fn recipient(&self, resolved: &Resolved<'_>) -> RawRecipient {
        RawRecipient {
            version: resolved.version.0,
            subsystem: resolved.subsystem.0.into(),
            route: resolved.route.0,
            direct: self.slot(resolved.subsystem).is_direct().into(),
            parameters: resolved.params.len() as u16,
            prefix: 0,
            body: resolved.body,
            reply: resolved.reply,
        }
    }

    /// The slot that a plugin's recipient names; the operator is none.
    #[inline]
    pub(super) fn slot_of(&self, subsystem: u32) -> Option<&Slot> {
        let place = subsystem as usize;
        self.slots.get(place).filter(|_| place != SubsystemId::OPERATOR.index())
    }

    /// Makes a message. Its content counts against its sender's quota.
    pub(super) fn message(
        &self,
        header: Header,
        prefix: &[u8],
        body: &BodyRef<'_>,
    ) -> Result<Message> {
        let mut message = Message(Envelope {
            route: header.route,
            flags: body.flags & (CARRIED) | header.parameters as u16,
            sender: header.sender.0.into(),
            reply: header.reply,
            deadline: header.deadline,
            ..Envelope::EMPTY
        });
        self.pool
            .fill(&mut message, header.sender, prefix, body.bytes)
            .map_err(|error| pool_error(error, "the message"))?;
        Ok(message)
    }

    /// Enqueues a message, which stays the caller's if the queue is full; what the queue drops for it is ended.
    #[inline]
    fn enqueue(&self, to: &Slot, message: &Message) -> Result<(), Full<()>> {
        let Some(wake) = to.queue.try_send(message) else {
            return self.enqueue_full(to, message);
        };
        self.wake(to.id, wake);
        Ok(())
    }

    #[cold]
    fn enqueue_full(&self, to: &Slot, message: &Message) -> Result<(), Full<()>> {
        let sent =
            to.queue.send(*message, &mut |dropped, how| self.end_dropped(&dropped, to.id, how));
        self.wake(to.id, sent.map_err(|_| Full(()))?);
        Ok(())
    }

    /// Enqueues a message or tells its sender that the queue is full; a worker never waits.
    #[inline]
    pub(super) fn enqueue_now(&self, to: &Slot, message: &Message) -> Result<()> {
        self.enqueue(to, message).map_err(|Full(())| self.rejected(to, message))
    }

    /// As [`Self::enqueue_now`], but waits at a queue that blocks as long as its policy says.
    pub(super) fn enqueue_or_wait(&self, to: &Slot, message: &Message) -> Result<()> {
        if self.enqueue(to, message).is_ok() {
            return Ok(());
        }
        if let Policy::Block(nanos) = to.queue.policy() {
            let until = Instant::now() + Duration::from_nanos(nanos);
            if to.room.wait(until, || self.enqueue(to, message).ok()).is_some() {
                return Ok(());
            }
        }
        Err(self.rejected(to, message))
    }

    /// As [`Self::enqueue_now`], but a message that does not go in stays the caller's, content and all.
    #[inline]
    pub(super) fn try_enqueue(&self, to: &Slot, message: &Message) -> Result<()> {
        self.enqueue(to, message).map_err(|Full(())| self.full(to))
    }

    /// Counts a message that its sender keeps, and says so.
    #[cold]
    fn rejected(&self, to: &Slot, message: &Message) -> Error {
        self.pool.release(message);
        self.full(to)
    }

    #[cold]
    pub(super) fn full(&self, to: &Slot) -> Error {
        to.ledger.reject(1);
        to.full.clone()
    }

    /// Begins a request whose outcome goes to `template`.
    #[inline(always)]
    pub(super) fn begin_request(
        &self,
        asker: &Slot,
        deadline: u64,
        template: Template,
    ) -> Result<AskId> {
        let Ok(begun) = asker.asks.begin(deadline, template) else {
            return Err(self.too_many_requests(asker, template));
        };
        self.plan_for(asker, deadline);
        Ok(begun)
    }

    /// A request could not begin: its template ends.
    #[cold]
    fn too_many_requests(&self, asker: &Slot, template: Template) -> Error {
        self.end_template(template);
        let name = &asker.name;
        let text = format!("`{name}` has as many open requests as its `max_asks` allows");
        Error::new(ErrorCode::Busy, text)
            .handled(Handled::No)
            .retry_after(Duration::from_millis(100))
    }

    /// Takes back a request that could not be sent: its sender was told at once.
    #[cold]
    pub(super) fn withdraw_request(&self, id: AskId) {
        if let Some(template) = self.slot(id.asker()).asks.end(id, End::Cancelled) {
            let asker = self.slot(id.asker());
            if template.is_stream() {
                return self.close_stream(asker, id);
            }
            self.end_template(template);
            asker.asks.release(id);
        }
    }

    pub(super) fn end_template(&self, template: Template) {
        template.parameters().into_iter().for_each(|content| self.pool.release(&content));
    }

    /// The absolute deadline of a request: `within` from `now`, or the default, and no later than what was inherited.
    #[inline]
    pub(super) fn deadline(&self, now: u64, within: u64, inherited: u64) -> u64 {
        let own = now.saturating_add(if within == 0 { self.ask_deadline } else { within });
        if inherited == 0 { own } else { own.min(inherited) }
    }
}
