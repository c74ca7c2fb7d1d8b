//! The host calls of a plugin, answered by the [`World`].

use crate::{
    directory::refusal,
    world::{Answer, Completion, Content, Log, Message, Outgoing, State, Target, World},
};
use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    params::Params,
    table::Resolved,
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Level, Result,
    abi::{
        Envelope, INLINE, LISTENERS, PathKind, RawBlock, RawRecipient, flags,
        host::{AnswerRef, AskSpec, BodyRef, Host, OutboxBuffer},
    },
};
use std::{
    net::TcpListener,
    os::fd::IntoRawFd,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

/// What one call into the plugin leaves to do.
#[derive(Default)]
pub(crate) struct Turn {
    /// Answers, which wait for the commit.
    pub answers: Vec<(u64, Answer)>,
    /// Errors that nobody waits for, in the order of their messages.
    pub failures: Vec<Error>,
}

impl Turn {
    /// Takes the short answers that the shim wrote.
    pub fn take_replies(&mut self, replies: &mut OutboxBuffer) {
        let written = replies.messages().iter().map(|reply| {
            let bytes = reply.inline[..(reply.length as usize).min(INLINE)].to_owned();
            (reply.reply, Ok(Content { bytes, flags: reply.flags }))
        });
        self.answers.extend(written);
        replies.truncate(0);
    }
}

/// Memory lent to a plugin, which writes it by pointer.
pub(crate) struct Block(Box<[AtomicU8]>);

impl Block {
    fn new(length: usize) -> Self {
        Block((0..length).map(|_| AtomicU8::new(0)).collect())
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    fn memory(&self) -> *mut u8 {
        self.0.first().map_or(std::ptr::null_mut(), AtomicU8::as_ptr)
    }
}

/// Captured parameters as they stand in a message: their lengths, then their texts.
pub(crate) fn encode(parameters: Params<'_>) -> Vec<u8> {
    let lengths = parameters.iter().flat_map(|text| (text.len() as u16).to_le_bytes());
    let texts = parameters.iter().flat_map(str::bytes);
    lengths.chain(texts).collect()
}

/// The parameters of a message, and its body.
fn split(content: &[u8], count: usize) -> (Vec<&str>, &[u8]) {
    let (lengths, mut rest) = content.split_at(count * 2);
    let mut parameters = Vec::new();
    for length in lengths.chunks_exact(2) {
        let (text, after) = rest.split_at(u16::from_le_bytes([length[0], length[1]]).into());
        parameters.push(std::str::from_utf8(text).unwrap_or("?"));
        rest = after;
    }
    (parameters, rest)
}

impl State {
    /// Resolves a path for the subject.
    fn resolve(&mut self, path: &str, kind: PathKind) -> Result<(RawRecipient, Vec<u8>)> {
        let subject = self.directory.subject;
        let resolved = match kind {
            PathKind::Whole => self.directory.resolve(subject, path)?,
            PathKind::Own => self.directory.table.resolve_own(subject, path).map_err(refusal)?,
            PathKind::Event => {
                let event = self.directory.table.resolve_event(subject, path).map_err(refusal)?;
                let to = RawRecipient { subsystem: LISTENERS, ..recipient(&event, true) };
                return Ok((to, encode(event.params)));
            }
        };
        let direct = self.is_direct(resolved.subsystem);
        Ok((recipient(&resolved, direct), encode(resolved.params)))
    }

    /// The subject's own queue rejects when it is full, and so do those that the test made refuse.
    fn is_direct(&self, subsystem: SubsystemId) -> bool {
        subsystem == self.directory.subject || self.refusals.contains_key(&subsystem)
    }

    /// Sends a message at once, or says why not.
    fn dispatch(&mut self, envelope: Envelope, content: Vec<u8>) -> Result<()> {
        if envelope.sender == LISTENERS {
            self.publish_event(envelope, content);
            return Ok(());
        }
        let to = SubsystemId(envelope.sender as u16);
        if let Some(error) = self.refusals.get(&to) {
            return Err(error.clone());
        }
        let (parameters, body) = split(&content, envelope.parameters());
        let path = self.directory.path_of(to, RouteId(envelope.route), &parameters);
        if to == self.directory.subject {
            let flags = envelope.flags & !flags::BLOCK;
            let envelope = Envelope { sender: to.0.into(), stamp: 0, flags, ..envelope };
            return self.post(Message::new(envelope, content, path)).map(drop);
        }
        let content = Content { bytes: body.to_owned(), flags: envelope.flags };
        self.outgoing.push(Outgoing {
            path,
            content,
            request: envelope.reply,
            deadline: envelope.deadline,
            is_event: false,
        });
        Ok(())
    }

    /// Keeps an event for the test to look at, and tells the subject of it, if that listens to its own events.
    fn publish_event(&mut self, envelope: Envelope, content: Vec<u8>) {
        let (subject, event) = (self.directory.subject, RouteId(envelope.route));
        let (parameters, body) = split(&content, envelope.parameters());
        let path = self.directory.path_of(subject, event, &parameters);
        let out = Content { bytes: body.to_owned(), flags: envelope.flags };
        let listeners = self.directory.table.listeners(subject, event).iter();
        let own = listeners.map(|listener| listener.route).next();
        if let Some(RouteId(route)) = own {
            let flags = envelope.flags & !flags::BLOCK;
            let sender = subject.0.into();
            let own = Envelope { route, sender, flags, stamp: 0, deadline: 0, ..envelope };
            // A full queue counts it as rejected.
            let _posted = self.post(Message::new(own, content, path.clone()));
        }
        let (request, deadline, is_event) = (0, 0, true);
        self.outgoing.push(Outgoing { path, content: out, request, deadline, is_event });
    }

    /// Takes a message out of an outbox and sends it.
    fn publish_one(&mut self, envelope: Envelope) {
        let content = self.take_content(&envelope);
        let subject = self.directory.subject;
        if let Err(error) = self.dispatch(envelope, content) {
            self.answer(envelope.reply, Err(error), subject);
        }
    }

    /// Forgets a message that its handler did not live to send.
    pub fn discard(&mut self, envelope: Envelope) {
        self.take_content(&envelope);
        self.cancel(envelope.reply);
        let error =
            Error::new(ErrorCode::Restarted, "the handler panicked").handled(Handled::Unknown);
        self.answer(envelope.reply, Err(error), self.directory.subject);
    }

    fn take_content(&mut self, envelope: &Envelope) -> Vec<u8> {
        match envelope.block() {
            None => envelope.inline[..(envelope.length as usize).min(INLINE)].to_owned(),
            Some(block) => {
                self.blocks.remove(&block).map(|block| block.bytes()).unwrap_or_default()
            }
        }
    }

    fn lend(&mut self, length: usize) -> RawBlock {
        let number = self.next_key() as u32;
        let block = self.blocks.entry(number).or_insert_with(|| Block::new(length));
        RawBlock { block: number, reserved: 0, memory: block.memory() }
    }

    /// Where the outcome of a request goes, and its place among the open ones.
    fn begin_ask(&mut self, how: AskSpec<'_>, inherited: u64) -> Result<(u64, u64)> {
        if how.instead_of != 0 {
            self.taken.remove(&how.instead_of);
            return Ok((how.instead_of, inherited));
        }
        let (parameters, _) = split(how.prefix, how.parameters.into());
        let (subject, route) = (self.directory.subject, RouteId(how.route));
        let target = Target::Route {
            route,
            parameters: how.parameters,
            path: self.directory.path_of(subject, route, &parameters),
            prefix: how.prefix.to_owned(),
        };
        self.begin(how.within, inherited, target)
    }

    fn outside(
        &mut self,
        handle: u64,
        path: &str,
        body: BodyRef<'_>,
    ) -> Result<(Envelope, Vec<u8>)> {
        if handle != self.generation {
            return Err(
                Error::new(ErrorCode::Gone, "the subsystem has stopped").handled(Handled::No)
            );
        }
        let is_event = body.flags & flags::EVENT != 0;
        let kind = if is_event { PathKind::Event } else { PathKind::Whole };
        let (to, mut content) = self.resolve(path, kind)?;
        let owner = match is_event {
            true => self.directory.subject,
            false => SubsystemId(to.subsystem as u16),
        };
        let checked = self.directory.table.check_body(owner, RouteId(to.route), body.schema);
        checked.map_err(refusal)?;
        content.extend(body.bytes);
        let body = BodyRef { flags: body.flags & !flags::EVENT, ..body };
        Ok((addressed(&to, body, content.len()), content))
    }

    fn listener(&mut self, address: &str) -> Result<i32> {
        let listener = match self.listeners.remove(address) {
            Some(listener) => listener,
            None => TcpListener::bind(address)
                .map_err(|error| Error::failed(format!("cannot listen on {address}: {error}")))?,
        };
        let given = listener.try_clone()?;
        self.listeners.insert(address.to_owned(), listener);
        Ok(given.into_raw_fd())
    }
}

fn recipient(resolved: &Resolved<'_>, direct: bool) -> RawRecipient {
    RawRecipient {
        version: resolved.version.0,
        subsystem: resolved.subsystem.0.into(),
        route: resolved.route.0,
        direct: direct.into(),
        parameters: resolved.params.len() as u16,
        prefix: 0,
        body: resolved.body,
        reply: resolved.reply,
    }
}

/// An envelope as an outbox has it: the recipient in place of the sender.
fn addressed(to: &RawRecipient, body: BodyRef<'_>, length: usize) -> Envelope {
    Envelope {
        route: to.route,
        sender: to.subsystem,
        flags: body.flags | to.parameters,
        length: length as u32,
        ..Envelope::EMPTY
    }
}

fn owned(answer: AnswerRef<'_>) -> Answer {
    answer.map(|body| Content { bytes: body.bytes.to_owned(), flags: body.flags })
}

impl Host for World {
    type Turn = Turn;

    fn resolve(
        &self,
        _: &mut Turn,
        path: &str,
        kind: PathKind,
        prefix: &mut Vec<u8>,
    ) -> Result<RawRecipient> {
        let (recipient, encoded) = self.lock().resolve(path, kind)?;
        prefix.extend(encoded);
        Ok(recipient)
    }

    fn reserve(&self, _: &mut Turn, length: usize) -> Result<RawBlock> {
        Ok(self.lock().lend(length))
    }

    fn publish(&self, _: &mut Turn, outbox: &mut OutboxBuffer) {
        let messages = outbox.messages().to_vec();
        outbox.truncate(0);
        self.change(|state| messages.into_iter().for_each(|message| state.publish_one(message)));
    }

    fn send(&self, _: &mut Turn, message: &mut Envelope) -> Result<()> {
        self.change(|state| {
            let content = state.take_content(message);
            state.dispatch(*message, content)
        })
    }

    fn ask(
        &self,
        turn: &mut Turn,
        outbox: &mut OutboxBuffer,
        message: &mut Envelope,
        how: AskSpec<'_>,
    ) -> Result<()> {
        let mut state = self.lock();
        let begun = state.begin_ask(how, message.deadline);
        (message.reply, message.deadline) = begun.inspect_err(|_| {
            state.take_content(message);
        })?;
        if state.is_direct(SubsystemId(message.sender as u16)) {
            let content = state.take_content(message);
            return state.dispatch(*message, content).inspect_err(|_| state.cancel(message.reply));
        }
        drop(state);
        if outbox.is_full() {
            self.publish(turn, outbox);
        }
        outbox.push(*message);
        Ok(())
    }

    fn after(&self, _: &mut Turn, delay: u64, path: &str, body: BodyRef<'_>) -> Result<()> {
        let mut state = self.lock();
        let directory = &state.directory;
        let subject = directory.subject;
        let resolved = directory.table.resolve_own(subject, path).map_err(refusal)?;
        directory.table.check_body(subject, resolved.route, body.schema).map_err(refusal)?;
        let to = recipient(&resolved, true);
        let mut content = encode(resolved.params);
        content.extend(body.bytes);
        let envelope = Envelope { deadline: 0, ..addressed(&to, body, content.len()) };
        let path = format!("{}://{path}", directory.name(subject));
        state.schedule(delay, Message::new(envelope, content, path), false)
    }

    fn respond(
        &self,
        turn: Option<(&mut Turn, &mut OutboxBuffer)>,
        handle: u64,
        request: u64,
        answer: AnswerRef<'_>,
    ) {
        match (turn, answer) {
            (Some((turn, _)), Err(error)) if request == 0 => turn.failures.push(error),
            (Some((turn, replies)), answer) => {
                turn.take_replies(replies);
                turn.answers.push((request, owned(answer)));
            }
            (None, answer) => self.change(|state| {
                if handle == state.generation {
                    state.answer(request, owned(answer), state.directory.subject);
                }
            }),
        }
    }

    fn hold(&self, _: u64, request: u64) {
        self.lock().held.insert(request);
    }

    fn name_of(&self, subsystem: u32) -> String {
        self.lock().directory.name(SubsystemId(subsystem as u16)).to_owned()
    }

    fn now(&self) -> u64 {
        self.lock().now
    }

    fn log(&self, _: u64, level: u8, target: &str, text: &str) {
        let level = match level {
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            _ => Level::Trace,
        };
        let separator = if target.is_empty() { "" } else { ": " };
        let text = format!("{target}{separator}{text}");
        eprintln!("{level:?} {text}");
        self.lock().logs.push(Log { level, text });
    }

    fn fault(&self, handle: u64, text: &str) {
        self.change(|state| {
            if handle == state.generation {
                state.faults.push_back(text.to_owned());
            }
        });
    }

    fn listen(&self, _: u64, address: &str) -> Result<i32> {
        self.lock().listener(address)
    }

    fn outside_send(&self, handle: u64, path: &str, body: BodyRef<'_>) -> Result<()> {
        self.change(|state| {
            let (envelope, content) = state.outside(handle, path, body)?;
            state.dispatch(envelope, content)
        })
    }

    fn outside_ask(
        &self,
        handle: u64,
        path: &str,
        body: BodyRef<'_>,
        within: u64,
        token: u64,
    ) -> Result<u64> {
        self.change(|state| {
            let (mut envelope, content) = state.outside(handle, path, body)?;
            (envelope.reply, envelope.deadline) = state.begin(within, 0, Target::Thread(token))?;
            let sent = state.dispatch(envelope, content);
            sent.map(|()| envelope.reply).inspect_err(|_| state.cancel(envelope.reply))
        })
    }

    fn part(&self, handle: u64, request: u64, part: BodyRef<'_>) -> Result<()> {
        let mut state = self.lock();
        if handle != state.generation {
            let text = "the instance has ended";
            return Err(Error::new(ErrorCode::Gone, text).handled(Handled::No));
        }
        let content = Content { bytes: part.bytes.to_owned(), flags: part.flags & flags::ENCODING };
        state.add_part(request, content)
    }

    fn counter(&self, _: u64, name: &str) -> &'static AtomicU64 {
        let mut state = self.lock();
        let (counter, complaint) = state.counters.get(name);
        let complaint = complaint.map(|text| Log { level: Level::Warn, text });
        state.logs.extend(complaint);
        counter
    }

    fn completion(&self, handle: u64, take: &mut dyn FnMut(u64, &Envelope, &[u8])) -> bool {
        let Some(completions) = self.completions(handle) else { return false };
        for Completion { token, outcome, content } in completions {
            take(token, &outcome, &content);
        }
        true
    }
}
