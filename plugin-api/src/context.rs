//! What a handler may do while it runs.

use crate::{
    Address, Counter, Error, ErrorCode, Handled, Payload, Responder, Result, Sender,
    abi::{
        INLINE, PathKind, RawBody,
        call::{Kept, Turn},
        flags,
    },
    body::Short,
    paths::Paths,
    route::Schema,
    stream::{PARTS, takes_parts},
    thread::Threads,
    time::{IntoDuration, Time},
};
use std::{fmt, net::TcpListener, path::Path, sync::Arc};

/// How much a log line matters.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something is broken.
    Error = 1,
    /// Something may be.
    Warn = 2,
    /// Something happened.
    Info = 3,
    /// For whoever looks into a problem.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

/// The way from a running handler to everything outside of it.
///
/// Holding one proves that the subsystem is in a call by its host; it ends with the call.
pub struct Context {
    pub(crate) turn: Turn,
    paths: Paths,
    /// Routes of its own for outcomes.
    replies: Paths,
    scratch: Vec<u8>,
    pub(crate) shared: Arc<Shared>,
    events: Paths,
}

/// What outlives the single call: kept by the instance, its threads and its senders.
pub(crate) struct Shared {
    pub name: String,
    pub data: std::path::PathBuf,
    pub threads: Arc<Threads>,
    pub sender: Sender,
}

impl Context {
    pub(crate) fn new(turn: Turn, shared: Arc<Shared>) -> Self {
        Context {
            turn,
            paths: Paths::new(PathKind::Whole),
            replies: Paths::new(PathKind::Own),
            events: Paths::new(PathKind::Event),
            scratch: Vec::new(),
            shared,
        }
    }

    /// Sends a message: `ctx.send("kv://put/total", &total)`.
    ///
    /// To a queue that drops when full the message leaves with the batch at the latest, and `Ok` says that it was accepted
    /// for sending. To one that rejects or blocks it is enqueued at once, and `Ok` says that it is in.
    ///
    /// # Errors
    /// What resolving the path says, `invalid` where the body's schema differs from the route's,
    /// `full`, `no_memory`, `too_large`. The body stays the caller's.
    // Always inlined, as are its parts: a body of fixed size is then copied without a call, which halves the cost.
    #[inline(always)]
    pub fn send<P: Payload>(&mut self, to: impl Address, body: P) -> Result<()> {
        let Context { turn, paths, scratch, .. } = self;
        let (short, flags) = match body.short() {
            Some(short) => short,
            None => match body.encoded(scratch)? {
                (bytes, flags) if bytes.len() <= INLINE => (Short::new(bytes), flags),
                (bytes, flags) => return send_long(turn, paths, to, &P::SCHEMA, flags, bytes),
            },
        };
        match to.kept(paths) {
            Some(kept) if kept.is_near(turn) && fits(const { &P::SCHEMA }, kept.body()) => {
                turn.send_short(kept, flags, &short);
                Ok(())
            }
            Some(kept) if kept.is_direct(turn) && fits(const { &P::SCHEMA }, kept.body()) => {
                turn.send_short_now(kept, flags, &short)
            }
            _ => send_far(turn, paths, to, &P::SCHEMA, flags, short),
        }
    }

    /// Publishes an event, declared with [`crate::event`], to whoever listens: `ctx.publish("created/7", &order)`.
    ///
    /// It goes at once, behind what was sent before it, into the queue of each listener under that queue's policy. One that
    /// rejects it, or blocks, is not waited for, and counts it as `rejected`; nobody listening is no error.
    /// A deadline that this call inherited does not hold for it: what has happened stays true.
    ///
    /// # Errors
    /// `no_route` if there is no such event, `invalid` where the body's schema differs from the event's, `no_memory`,
    /// `too_large`. The body stays the caller's.
    pub fn publish<P: Payload>(&mut self, path: impl AsRef<str>, body: P) -> Result<()> {
        let Context { turn, events, scratch, .. } = self;
        let (bytes, flags) = body.encoded(scratch)?;
        let path = path.as_ref();
        let kept = match events.find(path) {
            Some(kept) if kept.is_current(turn) => kept,
            _ => events.resolve(turn, path)?,
        };
        check_schema(&P::SCHEMA, kept.body())?;
        turn.publish_event(kept, flags, bytes)
    }

    /// Begins a request; it is sent by [`Ask::reply_to`].
    ///
    /// ```
    /// # use mycelia_plugin::prelude::*;
    /// fn reserve(ctx: &mut Context, order: u64) -> Result<()> {
    ///     ctx.ask("stock://reserve/7", &order).within("2s").reply_to("reserved/7")
    /// }
    /// ```
    #[must_use = "the request is sent by `reply_to`"]
    pub fn ask<A: Address, P: Payload>(&mut self, to: A, body: P) -> Ask<'_, A, P> {
        Ask { context: self, to, body, within: 0 }
    }

    /// Passes a request on: the recipient's answer goes to whoever holds out for `responder`.
    ///
    /// # Errors
    /// As for [`Context::send`]; the request is then answered with that error.
    pub fn forward<P: Payload, T>(
        &mut self,
        to: impl Address,
        body: P,
        responder: Responder<T>,
    ) -> Result<()> {
        let result = self.pass_on(to, &body, responder.wanted(), responder.request());
        match &result {
            Ok(()) => responder.forget(),
            Err(error) => responder.fail(error.clone()),
        }
        result
    }

    fn pass_on<P: Payload>(
        &mut self,
        to: impl Address,
        body: &P,
        in_kind: u16,
        instead_of: u64,
    ) -> Result<()> {
        let Context { turn, paths, scratch, .. } = self;
        let (bytes, flags) = body.encoded(scratch)?;
        let kept = to.resolved(turn, paths)?;
        check_schema(&P::SCHEMA, kept.body())?;
        turn.pass_on(kept, flags | in_kind, bytes, instead_of)
    }

    /// Wants no more of the answer of which a [`Part::Next`](crate::Part::Next) is handled now: whoever writes it is told so by
    /// its next part. Up to 16 parts that have come already may still be handled; an end does not come.
    pub fn cancel_parts(&mut self) {
        if let Some(request) = self.turn.part_of() {
            self.turn.link.cancel(request);
        }
    }

    /// Sends a message to a route of the subsystem's own after a delay: `ctx.after("1s", "retry/7", &())`.
    ///
    /// # Errors
    /// `no_route`, or `busy` where too many timers are set.
    pub fn after<P: Payload>(
        &mut self,
        delay: impl IntoDuration,
        path: impl AsRef<str>,
        body: P,
    ) -> Result<()> {
        let delay = delay.into_nanos();
        let (bytes, flags) = body.encoded(&mut self.scratch)?;
        self.turn.after(delay, path.as_ref(), RawBody::new(bytes, flags, P::SCHEMA.hash))
    }

    /// The time of this batch; virtual under the testkit.
    pub fn now(&self) -> Time {
        Time(self.turn.now())
    }

    /// The subsystem's name in the config.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The folder for the subsystem's files. It is created by the first call.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn data(&self) -> Result<&Path> {
        std::fs::create_dir_all(&self.shared.data).map_err(|error| {
            Error::failed(format!(
                "cannot create the data folder {}: {error}",
                self.shared.data.display()
            ))
        })?;
        Ok(&self.shared.data)
    }

    /// A sender for threads of the subsystem's own.
    pub fn sender(&self) -> Sender {
        self.shared.sender.clone()
    }

    /// Starts a thread of the subsystem's own, which must end soon after its stop token is raised.
    ///
    /// A thread that returns an error or panics is handled as a handler that panicked: the subsystem is restarted.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn spawn<F>(&self, name: &str, work: F) -> Result<()>
    where
        F: FnOnce(Sender, crate::Stop) -> Result<()> + Send + 'static,
    {
        self.shared.threads.spawn(name, self.sender(), work)
    }

    /// A listening socket that the host keeps across generations, so that no connection is refused while one replaces another.
    ///
    /// # Errors
    /// If the address is none, or in use.
    pub fn listen(&self, address: &str) -> Result<TcpListener> {
        crate::abi::shim::own_listener(self.turn.link.listen(address)?)
    }

    /// What the subsystem counts under this name: `ctx.counter("orders_placed").inc()`. See [`Counter`].
    pub fn counter(&self, name: &str) -> Counter {
        self.shared.sender.counter(name)
    }

    /// Writes a line to the host's log, if its level is on: `ctx.log(Level::Info, format_args!("{n} stored"))`.
    pub fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        self.shared.sender.log(level, text);
    }
}

/// A request that is being put together.
#[must_use = "the request is sent by `reply_to`"]
pub struct Ask<'c, A, P> {
    context: &'c mut Context,
    to: A,
    body: P,
    within: u64,
}

impl<A: Address, P: Payload> Ask<'_, A, P> {
    /// The deadline, from now; the host's `ask_deadline` without it. A deadline that this call inherited holds all the same.
    pub fn within(mut self, limit: impl IntoDuration) -> Self {
        self.within = limit.into_nanos();
        self
    }

    /// Sends the request. Its outcome comes to this route of one's own, declared with [`crate::on_reply`], exactly once; or in
    /// parts, if the handler there takes a [`crate::Part`]. Then the deadline holds for the time between two of them.
    ///
    /// # Errors
    /// As for [`Context::send`], `no_route` if there is no such route, and `busy` if `max_asks` requests are open.
    // Always inlined, as are its parts: of a constant path the hash is then constant, too, and comparing takes no call.
    #[inline(always)]
    pub fn reply_to(self, path: impl AsRef<str>) -> Result<()> {
        let Ask { context: Context { turn, paths, replies, scratch, .. }, to, body, within } = self;
        let path = path.as_ref();
        let (short, flags) = match body.short() {
            Some(short) => short,
            None => match body.encoded(scratch)? {
                (bytes, flags) if bytes.len() <= INLINE => (Short::new(bytes), flags),
                (bytes, flags) => {
                    let body = (const { &P::SCHEMA }, flags, bytes);
                    return ask_long(turn, (paths, replies), to, body, within, path);
                }
            },
        };
        if let (Some(kept), Some(reply_to)) = (to.kept(paths), replies.find(path))
            && kept.is_plain(turn)
            && reply_to.is_plain(turn)
            && fits(const { &P::SCHEMA }, kept.body())
            && answers(kept, reply_to)
        {
            return turn.ask_short(kept, flags, &short, within, reply_to);
        }
        ask_far(turn, (paths, replies), to, (const { &P::SCHEMA }, flags, short), within, path)
    }
}

/// Sends a request with a short body where something is not plain.
#[inline(never)]
fn ask_far(
    turn: &mut Turn,
    paths: (&mut Paths, &mut Paths),
    to: impl Address,
    (schema, flags, short): (&Schema, u16, Short),
    within: u64,
    path: &str,
) -> Result<()> {
    ask_long(turn, paths, to, (schema, flags, &short.bytes()[..short.len()]), within, path)
}

/// Sends any request.
#[inline(never)]
fn ask_long(
    turn: &mut Turn,
    (paths, replies): (&mut Paths, &mut Paths),
    to: impl Address,
    (schema, body_flags, bytes): (&Schema, u16, &[u8]),
    within: u64,
    path: &str,
) -> Result<()> {
    let kept = match to.kept(paths) {
        Some(kept) if kept.is_current(turn) => kept,
        _ => to.resolved(turn, paths)?,
    };
    check_schema(schema, kept.body())?;
    let reply_to = match replies.find(path) {
        Some(reply_to) if reply_to.is_current(turn) => reply_to,
        _ => replies.resolve(turn, path)?,
    };
    let (answers_with, takes) = (kept.reply(), reply_to.body());
    if !fits_together(answers_with, takes) {
        return Err(other_reply(path, answers_with, takes));
    }
    let in_parts = if takes_parts(takes) { flags::PART } else { 0 };
    turn.ask(kept, body_flags | in_parts, bytes, within, reply_to)
}

/// Whether an answer may go where this one is taken: who takes parts takes a whole answer as one part, too.
fn fits_together(answers_with: u64, takes: u64) -> bool {
    let of_one = |schema: u64| schema & !PARTS;
    let same =
        of_one(answers_with) == of_one(takes) || of_one(answers_with) == 0 || of_one(takes) == 0;
    same && (takes_parts(takes) || !takes_parts(answers_with))
}

/// Whether what a route answers with may go where this one takes outcomes.
#[inline(always)]
fn answers(kept: &Kept, reply_to: &Kept) -> bool {
    kept.reply() == reply_to.body() || kept.reply() == 0 || reply_to.body() == 0
}

/// Sends a short body to a recipient that is not near.
#[inline(never)]
fn send_far(
    turn: &mut Turn,
    paths: &mut Paths,
    to: impl Address,
    schema: &Schema,
    flags: u16,
    short: Short,
) -> Result<()> {
    send_long(turn, paths, to, schema, flags, &short.bytes()[..short.len()])
}

/// Sends a body to any recipient.
#[inline(never)]
fn send_long(
    turn: &mut Turn,
    paths: &mut Paths,
    to: impl Address,
    schema: &Schema,
    flags: u16,
    bytes: &[u8],
) -> Result<()> {
    let kept = match to.kept(paths) {
        Some(kept) if kept.is_current(turn) => kept,
        _ => to.resolved(turn, paths)?,
    };
    check_schema(schema, kept.body())?;
    turn.send(kept, flags, bytes)
}

/// Whether a body may go where this schema is wanted.
#[inline(always)]
fn fits(sent: &Schema, wanted: u64) -> bool {
    sent.hash == wanted || is_any(sent, wanted)
}

/// Whether one of the two is any body. Cold, so that the way of most lies straight ahead.
#[cold]
fn is_any(sent: &Schema, wanted: u64) -> bool {
    sent.hash == 0 || wanted == 0
}

#[inline]
fn check_schema(sent: &Schema, wanted: u64) -> Result<()> {
    if fits(sent, wanted) { Ok(()) } else { Err(other_schema(sent, wanted)) }
}

#[cold]
fn other_schema(sent: &Schema, wanted: u64) -> Error {
    Error::new(
        ErrorCode::Invalid,
        format!(
            "the body is a `{}` with the schema {:016x}, but the route takes one with the schema {wanted:016x}; \
             build both sides with the same type",
            sent.name, sent.hash
        ),
    )
}

#[cold]
fn other_reply(path: &str, answers: u64, takes: u64) -> Error {
    if takes_parts(answers) && !takes_parts(takes) {
        let text = format!(
            "the route answers in parts, but `{path}` takes one outcome; let its handler take a `Part<T>`"
        );
        return Error::new(ErrorCode::Invalid, text).handled(Handled::No);
    }
    let text = format!(
        "the route answers with the schema {answers:016x}, but `{path}` takes an outcome with the schema {takes:016x}; \
         build both sides with the same type"
    );
    Error::new(ErrorCode::Invalid, text).handled(Handled::No)
}
