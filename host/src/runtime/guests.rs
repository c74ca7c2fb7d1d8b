//! What plugins may ask of the host: the host's side of every host call.

use super::{
    Runtime, Slot, Turn,
    outcome::pool_error,
    send::{Header, encode, header, never_resolved, refused},
    slot::Handle,
    template::Template,
};
use crate::abi::Message;
use mycelia_kernel::{asks::AskId, ids::SubsystemId, table::Resolved};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Result,
    abi::{
        Envelope, PathKind, RawBlock, RawRecipient, flags,
        host::{AnswerRef, AskSpec, BodyRef, Host, LostThread, OutboxBuffer, SiteRef},
        trace,
    },
};
use std::{
    mem,
    net::TcpListener,
    os::fd::IntoRawFd,
    slice,
    sync::{PoisonError, atomic::AtomicU64},
};

impl Runtime {
    /// The slot of a handle, unless its instance is gone.
    fn live(&self, handle: u64) -> Result<(&Slot, Handle)> {
        let handle = Handle::unpack(handle);
        let slot =
            self.slots.get(handle.id.index()).filter(|slot| slot.is_live(handle.incarnation));
        slot.map(|slot| (slot, handle)).ok_or_else(gone)
    }

    /// A request that this instance's subsystem has asked.
    fn own_request(&self, handle: u64, request: u64) -> Option<(&Slot, AskId)> {
        let (slot, _) = self.live(handle).ok()?;
        let id = AskId::unpack(request).filter(|id| id.asker() == slot.id)?;
        Some((slot, id))
    }

    /// What a request is answered that an instance still held when it was destroyed; nothing if another one has it now.
    fn left_behind(&self, handle: u64, request: u64, is_answered: bool) -> Option<Error> {
        let Handle { id, incarnation } = Handle::unpack(handle);
        let slot = self.slots.get(id.index())?;
        let mut handover = slot.handover();
        let is_left = incarnation != 0
            && handover.ending == incarnation
            && !handover.restored.contains(&request);
        if let Some(left) = handover.left.as_mut().filter(|_| is_left && !is_answered) {
            left.push(request);
            return None;
        }
        is_left.then(|| ended_with(&slot.name, handover.is_reload))
    }

    /// Answers the requests that an ended instance left behind and its successor has not restored.
    pub(super) fn answer_left(&self, slot: &Slot) {
        let mut handover = slot.handover();
        let mut left = handover.left.take().unwrap_or_default();
        left.retain(|request| !handover.restored.contains(request));
        drop(handover);
        for request in left {
            let answer = Err(ended_with(&slot.name, false));
            self.deliver_replies(&mut [self.reply(slot.id, request, answer, None)]);
        }
    }

    /// Resolves a path for the operator or an own thread of a subsystem, and encodes its parameters.
    pub(super) fn resolve_outside(
        &self,
        slot: &Slot,
        path: &str,
        schema: u64,
    ) -> Result<(Header, Vec<u8>)> {
        let table = self.tables.load();
        let resolved = self.permit(&table, table.resolve_text(slot.id, path))?;
        table
            .check_body(resolved.subsystem, resolved.route, schema)
            .map_err(|refusal| refused(&refusal))?;
        let mut prefix = Vec::new();
        encode(&resolved.params, &mut prefix);
        Ok((header(slot.id, &resolved), prefix))
    }

    /// A message of a subsystem to a route of its own.
    fn own_message(&self, turn: &Turn, own: &Resolved<'_>, body: &BodyRef<'_>) -> Result<Message> {
        let mut prefix = Vec::new();
        encode(&own.params, &mut prefix);
        self.message(header(turn.caller, own), &prefix, body)
    }

    /// Sends the messages of an outbox, with one reservation for each run of messages to a queue.
    // Not one for each queue: to sort those that take turns costs more than the reservations that it saves.
    #[inline]
    pub(super) fn publish(&self, turn: &Turn, outbox: &mut OutboxBuffer) {
        let sender = turn.caller;
        if turn.stamp != 0 {
            return self.publish_timed(turn, outbox);
        }
        match outbox.messages() {
            [] => {}
            [only] => {
                let to = mem::replace(&mut only.sender, sender.0.into());
                only.stamp = 0;
                self.publish_one(to, Message::from_envelope(only));
                outbox.truncate(0);
            }
            _ => self.publish_many(sender, outbox),
        }
    }

    #[inline(never)]
    fn publish_many(&self, sender: SubsystemId, outbox: &mut OutboxBuffer) {
        let mut rest = outbox.messages();
        while let [first, behind @ ..] = &*rest {
            let to = first.sender;
            let is_alone = behind.first().is_none_or(|second| second.sender != to);
            let run = if is_alone { 1 } else { run_length(rest, to) };
            let (run, others) = rest.split_at_mut(run);
            for message in &mut *run {
                (message.sender, message.stamp) = (sender.0.into(), 0);
            }
            match Message::from_envelopes(run) {
                [only] => self.publish_one(to, only),
                run => self.publish_run(to, run),
            }
            rest = others;
        }
        outbox.truncate(0);
    }

    fn publish_one(&self, to: u32, message: &Message) {
        match self.slot_of(to).and_then(|slot| slot.queue.try_send(message)) {
            // By the number at hand: the slot's own lies in a line that a sender has no other use for.
            Some(wake) => self.wake(SubsystemId(to as u16), wake),
            None => self.publish_run(to, slice::from_ref(message)),
        }
    }

    #[inline(never)]
    pub(super) fn publish_run(&self, to: u32, messages: &[Message]) {
        let Some(slot) = self.slot_of(to) else {
            return messages.iter().for_each(|message| self.pool.release(message));
        };
        let mut rest = messages;
        while !rest.is_empty() {
            let (wake, sent) = slot
                .queue
                .send_many(rest, &mut |dropped, how| self.end_dropped(&dropped, slot.id, how));
            self.wake(SubsystemId(to as u16), wake);
            rest = &rest[sent..];
            if sent == 0 {
                // Only a queue that rejects takes fewer than all, and those are never in an outbox.
                slot.ledger.reject(rest.len() as u64);
                return rest.iter().for_each(|message| self.pool.release(message));
            }
        }
    }

    /// Takes back what a handler that panicked had not published.
    pub(super) fn discard_outbox(
        &self,
        sender: SubsystemId,
        keep: usize,
        outbox: &mut OutboxBuffer,
    ) {
        for message in outbox.messages().iter().skip(keep) {
            self.pool.release(&Message(*message));
            // A request that was only forwarded is its asker's: it ends by itself.
            if let Some(id) = AskId::unpack(message.reply).filter(|id| id.asker() == sender) {
                self.withdraw_request(id);
            }
        }
        outbox.truncate(keep);
    }
}

/// What a handler is told once its batch was taken away, because it ran past its limit.
fn refuse_taken(turn: &Turn) -> Result<()> {
    if turn.report.is_taken() { Err(gone()) } else { Ok(()) }
}

#[cold]
pub(super) fn no_recipient(turn: &Turn) -> Error {
    if turn.report.is_taken() { gone() } else { never_resolved() }
}

#[cold]
fn gone() -> Error {
    Error::new(ErrorCode::Gone, "this instance of the subsystem has ended").handled(Handled::No)
}

/// How many envelopes from the first on are for one recipient.
fn run_length(messages: &[Envelope], to: u32) -> usize {
    let is_for = |message: &Envelope| message.sender == to;
    // Eight at a time, which the compiler unrolls: nearly always all of them are.
    let (eights, _) = messages.as_chunks::<8>();
    let whole = 8 * eights.iter().take_while(|eight| eight.iter().all(is_for)).count();
    whole + messages[whole..].iter().take_while(|message| is_for(message)).count()
}

impl Host for Runtime {
    type Turn = Turn;

    fn resolve(
        &self,
        turn: &mut Turn,
        path: &str,
        kind: PathKind,
        prefix: &mut Vec<u8>,
    ) -> Result<RawRecipient> {
        let Turn { table, cache, caller, .. } = turn;
        let resolved = match kind {
            PathKind::Whole => cache.resolve(table, *caller, path),
            PathKind::Own => table.resolve_own(*caller, path),
            PathKind::Event => return self.event(table, *caller, path, prefix),
        };
        let resolved = self.permit(table, resolved)?;
        encode(&resolved.params, prefix);
        Ok(self.recipient(&resolved))
    }

    fn reserve(&self, turn: &mut Turn, length: usize) -> Result<RawBlock> {
        refuse_taken(turn)?;
        let block = self
            .pool
            .lend_by(&mut turn.magazine, turn.caller, length)
            .map_err(|error| pool_error(error, "the message"))?;
        Ok(RawBlock { block: block.0, reserved: 0, memory: self.pool.memory(block) })
    }

    fn publish(&self, turn: &mut Turn, outbox: &mut OutboxBuffer) {
        match turn.report.is_taken() {
            true => self.discard_outbox(turn.caller, 0, outbox),
            false => Runtime::publish(self, turn, outbox),
        }
    }

    // Always inlined: it is called from one place, for every message that is sent singly.
    #[inline(always)]
    fn send(&self, turn: &mut Turn, message: &mut Envelope) -> Result<()> {
        // One question for all that is rare: an event, a batch that was taken away, one that is timed.
        let slot = self.slot_of(message.sender).filter(|_| !turn.report.is_unusual());
        let Some(slot) = slot else { return self.send_unusual(turn, message) };
        (message.sender, message.stamp) = (turn.caller.0.into(), 0);
        self.enqueue_now(slot, Message::from_envelope(message))
    }

    // Always inlined, as `send`.
    #[inline(always)]
    fn ask(
        &self,
        turn: &mut Turn,
        outbox: &mut OutboxBuffer,
        message: &mut Envelope,
        how: AskSpec<'_>,
    ) -> Result<()> {
        let sent = self.send_request(turn, outbox, message, how);
        sent.inspect_err(|_| self.pool.release(message))
    }

    fn after(&self, turn: &mut Turn, delay: u64, path: &str, body: BodyRef<'_>) -> Result<()> {
        refuse_taken(turn)?;
        let own = turn.table.resolve_own(turn.caller, path).map_err(|refusal| refused(&refusal))?;
        let message = self.own_message(turn, &own, &body)?;
        let slot = self.slot(turn.caller);
        let due = self.now().saturating_add(delay);
        if slot.timers().arm_after(due, message).is_err() {
            self.pool.release(&message);
            let text = format!("`{}` has as many timers set as it may have", slot.name);
            return Err(Error::new(ErrorCode::Busy, text).handled(Handled::No));
        }
        self.plan_for(slot, due);
        Ok(())
    }

    fn respond(
        &self,
        mut turn: Option<(&mut Turn, &mut OutboxBuffer)>,
        handle: u64,
        request: u64,
        answer: AnswerRef<'_>,
    ) {
        let id = Handle::unpack(handle).id;
        if turn.as_ref().is_some_and(|(turn, _)| turn.report.is_taken()) {
            return;
        }
        // What an instance that has ended leaves behind is not what it failed with.
        if let Err(error) = &answer
            && (turn.is_some() || self.live(handle).is_ok())
        {
            self.note_failure(id, request, error, turn.as_mut().map(|(turn, _)| &mut **turn));
        }
        if request == 0 {
            return;
        }
        match turn {
            Some((turn, replies)) => {
                if replies.is_full() {
                    turn.replies.extend_from_slice(Message::from_envelopes(replies.messages()));
                    replies.truncate(0);
                }
                replies.push(self.reply(id, request, answer, Some(&mut turn.magazine)).0);
            }
            None if self.live(handle).is_ok() => {
                self.deliver_replies(&mut [self.reply(id, request, answer, None)])
            }
            None => {
                if let Some(error) = self.left_behind(handle, request, answer.is_ok()) {
                    let answer = answer.map_err(|_| error);
                    self.deliver_replies(&mut [self.reply(id, request, answer, None)]);
                }
            }
        }
    }

    fn hold(&self, handle: u64, request: u64) {
        let Handle { id, incarnation } = Handle::unpack(handle);
        let Some(slot) = self.slots.get(id.index()) else { return };
        let mut handover = slot.handover();
        if incarnation != 0 && handover.restoring == incarnation {
            handover.restored.insert(request);
        }
    }

    fn name_of(&self, subsystem: u32) -> String {
        self.slots.get(subsystem as usize).map_or_else(String::new, |slot| slot.name.clone())
    }

    fn now(&self) -> u64 {
        Runtime::now(self)
    }

    fn log(&self, handle: u64, level: u8, target: &str, text: &str) {
        // Whoever logs need not be live: a build that is created or dropped has something to say, too.
        if let Some(slot) = self.slots.get(Handle::unpack(handle).id.index()) {
            self.log_line(slot, level, target, text);
        }
    }

    fn fault(&self, handle: u64, text: &str) {
        if let Ok((slot, handle)) = self.live(handle) {
            self.lifecycle.fault(slot.id, handle.incarnation, text.to_owned());
        }
    }

    fn listen(&self, handle: u64, address: &str) -> Result<i32> {
        let (slot, _) = self.live(handle)?;
        let mut listeners = slot.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = match listeners.get(address) {
            Some(listener) => listener.try_clone()?,
            None => {
                let listener =
                    TcpListener::bind(address).map_err(|error| cannot_listen(address, &error))?;
                let own = listener.try_clone()?;
                listeners.insert(address.to_owned(), listener);
                own
            }
        };
        Ok(listener.into_raw_fd())
    }

    fn outside_send(&self, handle: u64, path: &str, body: BodyRef<'_>) -> Result<()> {
        let (slot, _) = self.live(handle)?;
        if body.flags & flags::EVENT != 0 {
            return self.publish_outside(slot.id, path, &body, true);
        }
        let began = self.time_outside();
        let (header, prefix) = self.resolve_outside(slot, path, body.schema)?;
        let (to, message) = (self.slot(header.to), self.message(header, &prefix, &body)?);
        self.send_outside(to, message, began, |message| self.enqueue_or_wait(to, message))
    }

    fn outside_ask(
        &self,
        handle: u64,
        path: &str,
        body: BodyRef<'_>,
        within: u64,
        token: u64,
    ) -> Result<u64> {
        let (slot, handle) = self.live(handle)?;
        let began = self.time_outside();
        let (header, prefix) = self.resolve_outside(slot, path, body.schema)?;
        let now = self.now();
        let deadline = self.deadline(now, within, 0);
        let template = Template::outside(handle.incarnation, token);
        let id = match body.flags & flags::PART {
            0 => self.begin_request(slot, deadline, template)?,
            _ => self.begin_stream(slot, now, deadline, template)?,
        };
        let header = Header { deadline, reply: id.pack(), ..header };
        let to = self.slot(header.to);
        let sent = self.message(header, &prefix, &body).and_then(|message| {
            self.send_outside(to, message, began, |message| match body.flags & flags::MAY_WAIT {
                0 => self.enqueue_now(to, message),
                _ => self.enqueue_or_wait(to, message),
            })
        });
        sent.map(|()| id.pack()).inspect_err(|_| self.withdraw_request(id))
    }

    fn lost(&'static self, thread: LostThread<'_, Turn>, what: &str) {
        self.lose_thread(thread, what);
    }

    fn counter(&self, handle: u64, name: &str) -> &'static AtomicU64 {
        let slot = self.slots.get(Handle::unpack(handle).id.index());
        let slot = slot.unwrap_or(self.slot(SubsystemId::OPERATOR));
        let (counter, complaint) = slot.counters.get(name);
        if let Some(complaint) = complaint {
            tracing::warn!(subsystem = slot.name, "{complaint}");
        }
        counter
    }

    fn trace(
        &self,
        handle: u64,
        what: u32,
        id: u64,
        site: Option<SiteRef<'_>>,
        values: &[u8],
    ) -> u64 {
        // As for `log`.
        let slot = self.slots.get(Handle::unpack(handle).id.index());
        slot.map_or(0, |slot| super::trace::trace(slot, what, id, site, values))
    }

    fn completion(&self, handle: u64, take: &mut dyn FnMut(u64, &Envelope, &[u8])) -> bool {
        let handle = Handle::unpack(handle);
        let Some(slot) = self.slots.get(handle.id.index()) else { return false };
        let Some(came) = slot.completions.take(handle.incarnation) else { return false };
        for (token, outcome) in came {
            take(token, &outcome, self.pool.content(&outcome));
            self.pool.release(&outcome);
            self.release_request(outcome.reply);
        }
        true
    }

    fn part(&self, handle: u64, request: u64, part: BodyRef<'_>) -> Result<()> {
        let (writer, _) = self.live(handle)?;
        self.add_part(writer, request, &part)
    }

    fn parts(&self, handle: u64, request: u64, take: &mut dyn FnMut(u64, &Envelope, &[u8])) {
        let Some((slot, id)) = self.own_request(handle, request) else { return };
        let mut drawn = Vec::new();
        self.draw(slot, id, usize::MAX, &mut drawn);
        for part in drawn {
            take(0, &part, self.pool.content(&part));
            self.pool.release(&part);
        }
    }

    fn cancel(&self, handle: u64, request: u64) {
        if let Some((slot, id)) = self.own_request(handle, request) {
            self.cancel_stream(slot, id);
        }
    }
}

impl Runtime {
    /// Sends what is no plain message of a batch that is neither taken away nor timed.
    #[cold]
    #[inline(never)]
    fn send_unusual(&self, turn: &Turn, message: &mut Envelope) -> Result<()> {
        match self.recipient_of(turn, message) {
            Some(slot) => {
                let sent = self.send_timed(slot, turn, message);
                sent.inspect_err(|_| self.pool.release(message))
            }
            None => self.send_to_listeners(turn, message),
        }
    }

    /// Where a handler's message goes; nowhere once its batch was taken away.
    #[inline(always)]
    fn recipient_of(&self, turn: &Turn, message: &Envelope) -> Option<&Slot> {
        self.slot_of(message.sender).filter(|_| !turn.report.is_taken())
    }

    /// Sends a request. If it does not go, its content stays the caller's.
    #[inline(always)]
    fn send_request(
        &self,
        turn: &mut Turn,
        outbox: &mut OutboxBuffer,
        message: &mut Envelope,
        how: AskSpec<'_>,
    ) -> Result<()> {
        let to = self.recipient_of(turn, message).ok_or_else(|| no_recipient(turn))?;
        if how.instead_of != 0 {
            message.reply = how.instead_of;
            return self.pass_on(turn, outbox, message, to);
        }
        message.deadline = self.deadline(turn.now, how.within, message.deadline);
        let template = match how.prefix {
            [] => Template::route(how.route),
            prefix => self.template(turn.caller, how.route, how.parameters, prefix)?,
        };
        let asker = self.slot(turn.caller);
        let id = match message.flags & flags::PART {
            0 => self.begin_request(asker, message.deadline, template)?,
            _ => self.begin_stream(asker, turn.now, message.deadline, template)?,
        };
        message.reply = id.pack();
        if !to.is_direct() {
            self.post(turn, outbox, message);
            return Ok(());
        }
        let sent = match turn.stamp {
            0 => {
                (message.sender, message.stamp) = (turn.caller.0.into(), 0);
                self.try_enqueue(to, Message::from_envelope(message))
            }
            _ => self.send_timed(to, turn, message),
        };
        sent.inspect_err(|_| self.withdraw_request(id))
    }

    /// Sends a request that somebody else began. If it does not go, its content stays the caller's.
    #[inline(never)]
    fn pass_on(
        &self,
        turn: &Turn,
        outbox: &mut OutboxBuffer,
        message: &mut Envelope,
        to: &Slot,
    ) -> Result<()> {
        if !to.is_direct() {
            self.post(turn, outbox, message);
            return Ok(());
        }
        (message.sender, message.stamp) = (turn.caller.0.into(), 0);
        self.try_enqueue(to, Message::from_envelope(message))
    }

    /// Puts a request into the outbox.
    #[inline(never)]
    fn post(&self, turn: &Turn, outbox: &mut OutboxBuffer, message: &Envelope) {
        if outbox.is_full() {
            Runtime::publish(self, turn, outbox);
        }
        outbox.push(*message);
    }

    /// Where the outcome of a request goes: a route of the asker's own, with the parameters for it.
    #[inline(never)]
    fn template(
        &self,
        asker: SubsystemId,
        route: u16,
        parameters: u16,
        prefix: &[u8],
    ) -> Result<Template> {
        let mut content = Message(Envelope::EMPTY);
        self.pool
            .fill_block(&mut content, asker, prefix, &[])
            .map_err(|error| pool_error(error, "the request"))?;
        Ok(Template::with_parameters(route, parameters, &content))
    }

    /// Keeps the last failure for `status`; one that nobody waits for is logged, and kept for the dead letter that its
    /// message is going to be.
    #[cold]
    fn note_failure(&self, id: SubsystemId, request: u64, error: &Error, turn: Option<&mut Turn>) {
        let slot = self.slot(id);
        if !error.code.is_callers() {
            slot.note_error(&error.to_string());
            if let Some(turn) = turn.filter(|_| request == 0) {
                turn.failures.push(error.to_string());
            }
        }
        if request == 0 {
            tracing::warn!(
                subsystem = slot.name,
                "a message failed and nobody waited for it: {error}"
            );
        }
    }

    /// Writes a plugin's line into the host's log.
    fn log_line(&self, slot: &Slot, level: u8, part: &str, text: &str) {
        let site = SiteRef {
            level,
            is_span: false,
            target: "plugin",
            name: "line",
            file: "",
            line: 0,
            fields: "message\0part\0",
        };
        let mut values = Vec::new();
        trace::encode(&mut values, "message", trace::Value::Words(text));
        if !part.is_empty() {
            trace::encode(&mut values, "part", trace::Value::Text(part));
        }
        super::trace::trace(slot, trace::what::EVENT, trace::what::CURRENT, Some(site), &values);
    }
}

/// What becomes of a request that an instance still held when it ended.
fn ended_with(name: &str, is_reload: bool) -> Error {
    let (code, text) = match is_reload {
        true => (
            ErrorCode::Reloading,
            format!("a new build of `{name}` serves, and has not taken the request over"),
        ),
        false => (
            ErrorCode::Restarted,
            format!("the instance of `{name}` that held the request has ended"),
        ),
    };
    Error::new(code, text).handled(Handled::Unknown)
}

fn cannot_listen(address: &str, error: &std::io::Error) -> Error {
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program has the port: stop it, or choose another one"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: choose another one"
        }
        _ => "",
    };
    Error::failed(format!("cannot listen on {address}: {error}{remedy}"))
}
