//! The plugin's side of one call: the batch it got, and what it sends while it runs.

use super::*;
use crate::{Error, ErrorCode, Result, body::Short, handler::ReplyBuffer, stream::takes_parts};
use std::{
    cell::{Cell, RefCell},
    mem::MaybeUninit,
    ptr, slice,
    sync::atomic::{AtomicU32, Ordering, compiler_fence},
};

/// Everything a call may use. An instance keeps one, which is of its host's call while an entry point runs.
pub(crate) struct Turn {
    pub link: Link,
    call: *mut Call,
    // Of the call, but nearer: every message asks for them.
    outbox: *mut Outbox,
    version: u32,
    /// The message that is handled: what its handler sends inherits deadline and trace.
    handled: *const Envelope,
    /// Room for the error of a send, made once for the call rather than for each.
    error: *mut RawError,
    /// The last error of a send: a full queue says the same to one message after the other.
    failure: Option<Error>,
}

// SAFETY: it is used by the thread that is in the call, and between calls nobody uses it.
unsafe impl Send for Turn {}

impl Turn {
    /// One that is in no call yet.
    pub fn new(link: Link) -> Self {
        let (call, outbox, error) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let handled = &Envelope::EMPTY;
        Turn { link, call, outbox, version: 0, handled, error, failure: None }
    }

    /// A call begins.
    ///
    /// # Safety
    /// `call` must be the one that the host passed to the running entry point. Nothing else of the turn may be used after
    /// `call` or `error` are gone, until it enters the next one.
    pub unsafe fn enter(&mut self, call: *mut Call, error: *mut RawError) {
        // SAFETY: the caller vouches.
        let (outbox, version) = unsafe { ((*call).outbox, (*call).version) };
        (self.call, self.outbox, self.version) = (call, outbox, version);
        (self.handled, self.error) = (&Envelope::EMPTY, error);
    }

    #[inline]
    fn call(&self) -> &Call {
        // SAFETY: the call is valid as long as the entry point runs, and a `Turn` does not outlive it.
        unsafe { &*self.call }
    }

    #[inline]
    pub fn raw(&self) -> *mut c_void {
        self.call().turn
    }

    #[inline]
    pub fn now(&self) -> u64 {
        self.call().now
    }

    /// The batch; it lies in host memory that stays until the entry point returns, which is what `'m` stands for.
    ///
    /// # Safety
    /// `'m` must end before the entry point returns.
    pub unsafe fn messages<'m>(&self) -> &'m [Envelope] {
        let call = self.call();
        if call.length == 0 {
            return &[];
        }
        // SAFETY: the host passes `length` envelopes.
        unsafe { slice::from_raw_parts(call.messages, call.length as usize) }
    }

    #[inline]
    pub fn pool(&self) -> Pool {
        Pool(self.call)
    }

    #[inline]
    pub fn report(&self) -> ReportWriter {
        let report = self.call().report;
        // SAFETY: the report lives as long as the call.
        ReportWriter { report, outcomes: unsafe { (*report).outcomes } }
    }

    /// This message runs now, one of the batch.
    #[inline(always)]
    pub fn begin(&mut self, message: &Envelope) {
        self.handled = message;
    }

    /// The request of which the message that runs now is a part of the answer.
    pub fn part_of(&self) -> Option<u64> {
        const A_PART: u16 = flags::OUTCOME | flags::PART;
        // SAFETY: as in `write`.
        let handled = unsafe { &*self.handled };
        (handled.flags & A_PART == A_PART).then_some(handled.deadline)
    }

    /// Sends a message with a short body by the outbox, to a recipient that [is near](Kept::is_near).
    // Always inlined, as are its parts, for the sake of `Context::send`.
    #[inline(always)]
    pub fn send_short(&mut self, recipient: &Kept, body_flags: u16, body: &Short) {
        let outbox = self.outbox;
        // SAFETY: the outbox is host memory, envelopes all of it, that only this thread touches while the entry point runs.
        unsafe {
            if (*outbox).next == (*outbox).end {
                self.publish();
            }
            let next = (*outbox).next;
            self.write(next, body_flags, recipient, body);
            (*outbox).next = next.add(1);
        }
    }

    /// As [`send_short`](Turn::send_short), to a recipient that [is direct](Kept::is_direct): its queue answers at once.
    #[inline(always)]
    pub fn send_short_now(
        &mut self,
        recipient: &Kept,
        body_flags: u16,
        body: &Short,
    ) -> Result<()> {
        let mut message = MaybeUninit::uninit();
        // SAFETY: `write` writes every field.
        self.send_now(unsafe { self.write(message.as_mut_ptr(), body_flags, recipient, body) })
    }

    /// Sends a message to a recipient that is current.
    pub fn send(&mut self, recipient: &Kept, body_flags: u16, body: &[u8]) -> Result<()> {
        let mut message = self.message(recipient, body_flags, body)?;
        if recipient.direct.get() != 0 {
            return self.send_now(&mut message);
        }
        // SAFETY: as for `send_short`.
        unsafe {
            if (*self.outbox).next == (*self.outbox).end {
                self.publish();
            }
            (*self.outbox).next.write(message);
            (*self.outbox).next = (*self.outbox).next.add(1);
        }
        if message.length as usize > INLINE {
            self.account(message.length);
        }
        Ok(())
    }

    /// Publishes an event, of which the recipient is current. What was sent before it leaves before it.
    pub fn publish_event(&mut self, event: &Kept, body_flags: u16, body: &[u8]) -> Result<()> {
        self.publish();
        self.send(event, body_flags, body)
    }

    /// A message as it goes to the host, with its content in a block where it is too long for the envelope.
    fn message(&mut self, recipient: &Kept, body_flags: u16, body: &[u8]) -> Result<Envelope> {
        let prefix = recipient.prefix.borrow();
        let length = prefix.len() + body.len();
        let mut message = Envelope::EMPTY;
        if prefix.is_empty() && length <= INLINE {
            // SAFETY: the envelope is ours.
            unsafe { self.write(&mut message, body_flags, recipient, &Short::new(body)) };
            return Ok(message);
        }
        let (flags, nothing) = (body_flags | recipient.parameters.get(), Short::new(&[]));
        // SAFETY: as above.
        unsafe { self.write(&mut message, flags, recipient, &nothing) };
        message.length = u32::try_from(length).map_err(|_| too_large(length))?;
        if length > INLINE {
            self.fill_block(&mut message, &prefix, body)?;
        } else {
            message.inline[..prefix.len()].copy_from_slice(&prefix);
            message.inline[prefix.len()..length].copy_from_slice(body);
        }
        Ok(message)
    }

    /// Writes a message with a short body, as it goes to the host: with the recipient in place of the sender.
    // Field by field, the body last: one that is put together first is put together on the stack, and then copied.
    ///
    /// # Safety
    /// `message` is a place for an envelope, and the caller's; it need not be initialised.
    #[inline(always)]
    unsafe fn write<'o>(
        &self,
        message: *mut Envelope,
        body_flags: u16,
        recipient: &Kept,
        body: &Short,
    ) -> &'o mut Envelope {
        // SAFETY: `begin` got a message of the batch, which lies in host memory until the entry point returns.
        let handled = unsafe { &*self.handled };
        // Read together before anything is written, so that they are copied as one.
        let (inherited, handled_flags) = ((handled.deadline, handled.trace), handled.flags);
        // SAFETY: the caller vouches; every field is written before the whole is used.
        let message = unsafe {
            (&raw mut (*message).route).write(recipient.route.get());
            (&raw mut (*message).flags).write(body_flags);
            (&raw mut (*message).length).write(body.len() as u32);
            (&raw mut (*message).sender).write(recipient.subsystem.get());
            (&raw mut (*message).stamp).write(handled.mark());
            (&raw mut (*message).reply).write(0);
            (&raw mut (*message).deadline).write(inherited.0);
            (&raw mut (*message).trace).write(inherited.1);
            (&raw mut (*message).inline).write(body.bytes());
            &mut *message
        };
        if handled_flags & flags::OUTCOME != 0 {
            forget_deadline(message);
        }
        message
    }

    #[cold]
    fn fill_block(&mut self, message: &mut Envelope, prefix: &[u8], body: &[u8]) -> Result<()> {
        let block = self.reserve(prefix.len() + body.len())?;
        message.set_block(block.block);
        // SAFETY: the host lent at least prefix and body of fresh memory.
        unsafe {
            ptr::copy_nonoverlapping(prefix.as_ptr(), block.memory, prefix.len());
            ptr::copy_nonoverlapping(body.as_ptr(), block.memory.add(prefix.len()), body.len());
        }
        Ok(())
    }

    /// Counts the block of a message in the outbox, and publishes when there is enough in them.
    fn account(&mut self, length: u32) {
        // SAFETY: as for `send_short`.
        unsafe {
            (*self.outbox).bytes = (*self.outbox).bytes.saturating_add(length);
            if (*self.outbox).bytes >= (*self.outbox).max_bytes {
                self.publish();
            }
        }
    }

    #[inline]
    fn send_now(&mut self, message: &mut Envelope) -> Result<()> {
        // SAFETY: the turn and the room for an error are of this call; the message outlives it.
        let status =
            unsafe { self.link.calls.send()(self.link.host, self.raw(), message, self.error) };
        if status == 0 { Ok(()) } else { Err(self.failure(status)) }
    }

    #[cold]
    fn failure(&mut self, status: u32) -> Error {
        // SAFETY: the host call that answered with this status has written the error, whose room is still there.
        unsafe { (*self.error).read_again(status, &mut self.failure) }
    }

    #[cold]
    fn publish(&mut self) {
        // SAFETY: the turn is of this call.
        unsafe { self.link.calls.publish()(self.link.host, self.raw()) }
    }

    fn reserve(&mut self, length: usize) -> Result<RawBlock> {
        let mut block = RawBlock { block: 0, reserved: 0, memory: ptr::null_mut() };
        // SAFETY: the turn is of this call; the place for the block outlives it.
        checked(|error| unsafe {
            self.link.calls.reserve()(self.link.host, self.raw(), length, &mut block, error)
        })?;
        Ok(block)
    }

    /// Resolves a path.
    #[cold]
    pub fn resolve(&mut self, path: &str, kind: PathKind, kept: &Kept) -> Result<()> {
        let mut recipient = RawRecipient::UNRESOLVED;
        // What it was before is gone, also if the path is refused.
        kept.set(&recipient);
        let mut prefix = kept.prefix.borrow_mut();
        prefix.clear();
        prefix.reserve(path.len() + MAX_LENGTHS);
        // SAFETY: the turn is of this call, and so is the room for an error; parameters are parts of the path, and
        // `prefix` has room for all of it and their lengths.
        let status = unsafe {
            self.link.calls.resolve()(
                self.link.host,
                self.raw(),
                path.into(),
                kind as u32,
                &mut recipient,
                prefix.as_mut_ptr(),
                self.error,
            )
        };
        if status != 0 {
            return Err(self.failure(status));
        }
        let written = usize::from(recipient.prefix).min(prefix.capacity());
        // SAFETY: the host wrote that many bytes.
        unsafe { prefix.set_len(written) };
        drop(prefix);
        kept.set(&recipient);
        Ok(())
    }

    /// Sends a request with a short body; recipient and route [are plain](Kept::is_plain).
    #[inline(always)]
    pub fn ask_short(
        &mut self,
        recipient: &Kept,
        body_flags: u16,
        body: &Short,
        within: u64,
        reply_to: &Kept,
    ) -> Result<()> {
        let mut message = MaybeUninit::uninit();
        // SAFETY: `write` writes every field.
        let message = unsafe { self.write(message.as_mut_ptr(), body_flags, recipient, body) };
        message.reply = u64::from(reply_to.route.get()) << 1;
        self.ask_now(message, within, ptr::null())
    }

    /// Sends a request to a recipient that is current. The outcome comes to `reply_to`, a route of one's own.
    pub fn ask(
        &mut self,
        recipient: &Kept,
        body_flags: u16,
        body: &[u8],
        within: u64,
        reply_to: &Kept,
    ) -> Result<()> {
        let mut message = self.message(recipient, body_flags, body)?;
        let prefix = reply_to.prefix.borrow();
        let parameters = u32::from(reply_to.parameters.get()) | (prefix.len() as u32) << 4;
        let to = u32::from(reply_to.route.get()) | parameters << 16;
        message.reply = u64::from(to) << 1;
        self.ask_now(&mut message, within, prefix.as_ptr())
    }

    /// Sends a request to a recipient that is current. The outcome goes to whoever waits for `request`.
    pub fn pass_on(
        &mut self,
        recipient: &Kept,
        body_flags: u16,
        body: &[u8],
        request: u64,
    ) -> Result<()> {
        let mut message = self.message(recipient, body_flags, body)?;
        message.reply = request;
        self.ask_now(&mut message, 0, ptr::null())
    }

    #[inline(always)]
    fn ask_now(&mut self, message: &mut Envelope, within: u64, prefix: *const u8) -> Result<()> {
        // SAFETY: the turn is of this call, and so is the room for an error; message and parameters outlive it.
        let status = unsafe {
            self.link.calls.ask()(self.link.host, self.raw(), message, within, prefix, self.error)
        };
        if status == 0 { Ok(()) } else { Err(self.failure(status)) }
    }

    /// Answers a request with a short reply at the end of the batch; `false` where there is no room left.
    #[inline]
    pub fn reply(&mut self, request: &Envelope, reply: &ReplyBuffer) -> bool {
        let body = &*reply.bytes;
        // SAFETY: the box is host memory, envelopes all of it, that only this thread touches while the entry point runs.
        unsafe {
            let replies = self.call().replies;
            let next = (*replies).next;
            if body.len() > INLINE || next == (*replies).end {
                return false;
            }
            let message = &mut *next;
            *message = Envelope {
                flags: flags::OUTCOME | reply.flags,
                length: body.len() as u32,
                reply: request.reply,
                ..Envelope::EMPTY
            };
            if !body.is_empty() {
                message.inline[..body.len()].copy_from_slice(body);
            }
            (*replies).next = next.add(1);
        }
        true
    }

    pub fn after(&mut self, delay: u64, path: &str, body: RawBody) -> Result<()> {
        // SAFETY: the turn is of this call; the slices outlive it.
        checked(|error| unsafe {
            self.link.calls.after()(self.link.host, self.raw(), delay, path.into(), body, error)
        })
    }
}

/// Where the blocks of a batch lie, for as long as its handlers run.
#[derive(Copy, Clone)]
pub(crate) struct Pool(*const Call);

impl Pool {
    /// What a message of the batch carries.
    #[inline]
    pub fn content(self, message: &Envelope) -> &[u8] {
        // SAFETY: a `Pool` is made for the arguments of one message, while the call runs; the host keeps the blocks of
        // the batch until it ends.
        unsafe { message.content((*self.0).pool) }
    }
}

fn too_large(length: usize) -> Error {
    Error::new(ErrorCode::TooLarge, format!("a message of {length} bytes is larger than 4 GiB"))
}

/// What an outcome has there is no deadline. Cold, so that the way of a message lies straight ahead.
#[cold]
fn forget_deadline(message: &mut Envelope) {
    message.deadline = 0;
}

/// A resolved recipient where its holder keeps it.
// Field by field, so that a send reads what it needs where it lies, without a copy of the whole.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The version of the table if it has no parameters, takes no parts, and its messages go by the outbox; 0 otherwise.
    near: Cell<u32>,
    /// The version of the table if it has no parameters, takes no parts, and its messages are sent at once; 0 otherwise.
    near_direct: Cell<u32>,
    version: Cell<u32>,
    subsystem: Cell<u32>,
    route: Cell<u16>,
    direct: Cell<u16>,
    parameters: Cell<u16>,
    body: Cell<u64>,
    reply: Cell<u64>,
    /// Its encoded parameters.
    prefix: RefCell<Vec<u8>>,
}

impl Kept {
    pub const fn unresolved() -> Self {
        Kept {
            near: Cell::new(0),
            near_direct: Cell::new(0),
            version: Cell::new(0),
            subsystem: Cell::new(0),
            route: Cell::new(0),
            direct: Cell::new(0),
            parameters: Cell::new(0),
            body: Cell::new(0),
            reply: Cell::new(0),
            prefix: RefCell::new(Vec::new()),
        }
    }

    fn set(&self, recipient: &RawRecipient) {
        let is_plain = recipient.parameters == 0 && !takes_parts(recipient.body);
        let near = if is_plain { recipient.version } else { 0 };
        let is_direct = recipient.direct != 0;
        self.near.set(if is_direct { 0 } else { near });
        self.near_direct.set(if is_direct { near } else { 0 });
        self.version.set(recipient.version);
        self.subsystem.set(recipient.subsystem);
        self.route.set(recipient.route);
        self.direct.set(recipient.direct);
        self.parameters.set(recipient.parameters);
        self.body.set(recipient.body);
        self.reply.set(recipient.reply);
    }

    /// Whether it is current and has no parameters, so that [`Turn::send_short`] will do.
    #[inline(always)]
    pub fn is_near(&self, turn: &Turn) -> bool {
        self.near.get() == turn.version
    }

    /// Whether it is current and has no parameters, so that [`Turn::send_short_now`] will do.
    #[inline(always)]
    pub fn is_direct(&self, turn: &Turn) -> bool {
        self.near_direct.get() == turn.version
    }

    /// Whether it is one or the other, so that [`Turn::ask_short`] will do.
    #[inline(always)]
    pub fn is_plain(&self, turn: &Turn) -> bool {
        // One of them is 0.
        self.near.get() | self.near_direct.get() == turn.version
    }

    #[inline]
    pub fn is_current(&self, turn: &Turn) -> bool {
        self.version.get() == turn.version
    }

    /// The schema of the body; 0 takes anything.
    #[inline]
    pub fn body(&self) -> u64 {
        self.body.get()
    }

    /// The schema of the reply; 0 promises nothing.
    #[inline]
    pub fn reply(&self) -> u64 {
        self.reply.get()
    }
}

/// Room for the text of an error from the host; longer texts are cut.
pub(super) type ErrorText = [MaybeUninit<u8>; 1024];

pub(super) const NO_TEXT: ErrorText = [const { MaybeUninit::uninit() }; 1024];

/// Runs a host call that fills in an error, and makes a [`Result`] of its status.
pub(super) fn checked(call: impl FnOnce(*mut RawError) -> u32) -> Result<()> {
    let mut text = NO_TEXT;
    let mut error = RawError::new(text.as_mut_ptr().cast(), text.len());
    match call(&mut error) {
        0 => Ok(()),
        // SAFETY: the host wrote into `text`, which is still here.
        status => Err(unsafe { error.read(status) }),
    }
}

/// Writes what the shim reports.
#[derive(Copy, Clone)]
pub(crate) struct ReportWriter {
    report: *mut Report,
    outcomes: *mut u8,
}

impl ReportWriter {
    /// The message at `index` is next, and those before it are decided; whether it may run, or the host wants the batch back.
    ///
    /// Release: pairs with the watchdog's acquire, which then sees the outcomes before it. In this order, the cursor before
    /// the flags: the watchdog sets a flag, makes this thread pass a barrier, and then reads the cursor.
    #[inline(always)]
    pub fn begin(self, index: usize) -> bool {
        self.cursor(index);
        compiler_fence(Ordering::SeqCst);
        self.flags() == 0
    }

    /// The messages before `index` are decided.
    #[inline(always)]
    pub fn cursor(self, index: usize) {
        // SAFETY: the report lives as long as the call; the host reads the cursor atomically.
        let cursor = unsafe { AtomicU32::from_ptr(&raw mut (*self.report).cursor) };
        cursor.store(index as u32, Ordering::Release);
    }

    /// How the message at `index` ended; the host has noted it as handled, which is 0.
    #[inline]
    pub fn outcome(self, index: usize, code: u8) {
        if code == 0 {
            return;
        }
        // SAFETY: the host gives a byte a message, and `index` is within the batch; it reads neither before the cursor has
        // moved on.
        unsafe {
            self.outcomes.add(index).write(code);
            (*self.report).failed = 1;
        }
    }

    #[inline]
    pub fn flags(self) -> u32 {
        // SAFETY: as in `cursor`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.report).flags) }.load(Ordering::Relaxed)
    }
}
