//! The plugin's side of one call: the batch it got, and what it sends while it runs.

use super::*;
use crate::{Error, ErrorCode, Result, body::Short};
use std::{
    cell::{Cell, RefCell},
    mem::MaybeUninit,
    ptr, slice,
    sync::atomic::{AtomicU32, Ordering},
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
}

// SAFETY: it is used by the thread that is in the call, and between calls nobody uses it.
unsafe impl Send for Turn {}

impl Turn {
    /// One that is in no call yet.
    pub fn new(link: Link) -> Self {
        let (call, outbox, error) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        Turn { link, call, outbox, version: 0, handled: &Envelope::EMPTY, error }
    }

    /// A call begins.
    ///
    /// # Safety
    /// `call` must be the one that the host passed to the running entry point. Nothing else of the turn may be used after
    /// `call` or `error` are gone, until it enters the next one.
    pub unsafe fn enter(&mut self, call: *mut Call, error: *mut RawError) {
        // SAFETY: the caller vouches.
        let (outbox, version) = unsafe { ((*call).outbox, (*call).version) };
        *self = Turn { link: self.link, call, outbox, version, handled: &Envelope::EMPTY, error };
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

    /// The message at `index` runs now. It must be one of the batch.
    #[inline]
    pub fn begin(&mut self, report: ReportWriter, index: usize, message: &Envelope) {
        self.handled = message;
        // SAFETY: the outbox is host memory that only this thread touches while the entry point runs.
        report.begin(index, unsafe { (*self.outbox).length });
    }

    /// Sends a message with a short body to a recipient that [is near](Kept::is_near): by the outbox, or at once where its
    /// queue answers its sender.
    // Always inlined, as are its parts, for the sake of `Context::send`.
    #[inline(always)]
    pub fn send_short(&mut self, recipient: &Kept, body_flags: u16, body: &Short) -> Result<()> {
        if recipient.direct.get() == 0 {
            let message = self.place();
            self.write(message, body_flags, recipient, body);
            self.keep();
            return Ok(());
        }
        let mut message = Envelope::EMPTY;
        self.write(&mut message, body_flags, recipient, body);
        self.send_now(&mut message)
    }

    /// Sends a message to a recipient that is current.
    pub fn send(&mut self, recipient: &Kept, body_flags: u16, body: &[u8]) -> Result<()> {
        let mut message = self.message(recipient, body_flags, body)?;
        if recipient.direct.get() != 0 {
            return self.send_now(&mut message);
        }
        *self.place() = message;
        self.keep();
        if message.length as usize > INLINE {
            self.account(message.length);
        }
        Ok(())
    }

    /// A message as it goes to the host, with its content in a block where it is too long for the envelope.
    fn message(&mut self, recipient: &Kept, body_flags: u16, body: &[u8]) -> Result<Envelope> {
        let prefix = recipient.prefix.borrow();
        let length = prefix.len() + body.len();
        let mut message = Envelope::EMPTY;
        if prefix.is_empty() && length <= INLINE {
            self.write(&mut message, body_flags, recipient, &Short::new(body));
            return Ok(message);
        }
        self.write(
            &mut message,
            body_flags | recipient.parameters.get(),
            recipient,
            &Short::new(&[]),
        );
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
    #[inline(always)]
    fn write(&self, message: &mut Envelope, body_flags: u16, recipient: &Kept, body: &Short) {
        // SAFETY: `begin` got a message of the batch, which lies in host memory until the entry point returns.
        let handled = unsafe { &*self.handled };
        message.route = recipient.route.get();
        message.flags = body_flags;
        message.length = body.len() as u32;
        message.sender = recipient.subsystem.get();
        (message.stamp, message.reply) = (0, 0);
        (message.deadline, message.trace) = (handled.deadline, handled.trace);
        if handled.flags & flags::OUTCOME != 0 {
            forget_deadline(message);
        }
        body.write(&mut message.inline);
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

    /// The outbox's next place; what is there is published if it is full.
    #[inline(always)]
    fn place<'o>(&mut self) -> &'o mut Envelope {
        // SAFETY: the outbox is host memory, envelopes all of it, that only this thread touches while the entry point runs;
        // the place is used before anything else asks for one.
        unsafe {
            if (*self.outbox).length == (*self.outbox).capacity {
                self.publish();
            }
            &mut *(*self.outbox).messages.add((*self.outbox).length as usize)
        }
    }

    /// What was written to the outbox's next place is to be sent.
    #[inline(always)]
    fn keep(&mut self) {
        // SAFETY: as for `place`.
        unsafe { (*self.outbox).length += 1 };
    }

    /// Counts the block of a message in the outbox, and publishes when there is enough in them.
    fn account(&mut self, length: u32) {
        // SAFETY: as for `append`.
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
    fn failure(&self, status: u32) -> Error {
        // SAFETY: the host call that answered with this status has written the error, whose room is still there.
        unsafe { (*self.error).read(status) }
    }

    #[cold]
    fn publish(&mut self) {
        // SAFETY: the turn is of this call.
        unsafe { self.link.calls.publish()(self.link.host, self.raw()) }
        self.report().publish();
    }

    fn reserve(&mut self, length: usize) -> Result<RawBlock> {
        let mut block = RawBlock { block: 0, reserved: 0, memory: ptr::null_mut() };
        // SAFETY: the turn is of this call; the place for the block outlives it.
        checked(|error| unsafe {
            self.link.calls.reserve()(self.link.host, self.raw(), length, &mut block, error)
        })?;
        Ok(block)
    }

    /// Resolves a path, or with `own` one within the subsystem.
    #[cold]
    pub fn resolve(&mut self, path: &str, own: bool, kept: &Kept) -> Result<()> {
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
                own.into(),
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

    /// Sends a request to a recipient that is current.
    #[inline]
    pub fn ask(
        &mut self,
        recipient: &Kept,
        body_flags: u16,
        body: &[u8],
        how: Ask<'_>,
    ) -> Result<()> {
        if recipient.parameters.get() != 0 || body.len() > INLINE {
            let message = self.message(recipient, body_flags, body)?;
            return self.ask_for(message, how);
        }
        let mut message = Envelope::EMPTY;
        self.write(&mut message, body_flags, recipient, &Short::new(body));
        self.ask_for(message, how)
    }

    fn ask_for(&mut self, mut message: Envelope, how: Ask<'_>) -> Result<()> {
        let prefix = how.reply_to.prefix.borrow();
        let how = RawAsk {
            within: how.within,
            instead_of: how.instead_of,
            prefix: prefix.as_slice().into(),
            route: how.reply_to.route.get(),
            parameters: how.reply_to.parameters.get(),
            reserved: 0,
        };
        // SAFETY: the turn is of this call, and so is the room for an error; message and parameters outlive it.
        let status = unsafe {
            self.link.calls.ask()(self.link.host, self.raw(), &mut message, &how, self.error)
        };
        if status == 0 { Ok(()) } else { Err(self.failure(status)) }
    }

    /// Answers a request with a short body at the end of the batch; `false` where there is no room left.
    #[inline]
    pub fn reply(&mut self, request: u64, body_flags: u16, body: &[u8]) -> bool {
        // SAFETY: the box is host memory that only this thread touches while the entry point runs; its envelopes are
        // initialised, all `capacity` of them.
        unsafe {
            let replies = self.call().replies;
            let at = (*replies).length;
            if body.len() > INLINE || at == (*replies).capacity {
                return false;
            }
            let message = &mut *(*replies).messages.add(at as usize);
            *message = Envelope {
                flags: flags::OUTCOME | body_flags,
                length: body.len() as u32,
                reply: request,
                ..Envelope::EMPTY
            };
            message.inline[..body.len()].copy_from_slice(body);
            (*replies).length = at + 1;
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

/// How a request is asked.
pub(crate) struct Ask<'a> {
    pub within: u64,
    /// A route of one's own.
    pub reply_to: &'a Kept,
    pub instead_of: u64,
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
    /// The version of the table if it has no parameters; 0 otherwise.
    near: Cell<u32>,
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
        self.near.set(if recipient.parameters == 0 { recipient.version } else { 0 });
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
    /// The message at `index` runs now. Release: pairs with the watchdog's acquire, which then sees the outcomes before it.
    #[inline]
    pub fn begin(self, index: usize, mark: u32) {
        // SAFETY: the report lives as long as the call; the host reads mark and cursor atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.report).mark) }.store(mark, Ordering::Relaxed);
        // SAFETY: as above.
        let cursor = unsafe { AtomicU32::from_ptr(&raw mut (*self.report).cursor) };
        cursor.store(index as u32, Ordering::Release);
    }

    /// The outbox was emptied while the message runs: what went out stays.
    fn publish(self) {
        // SAFETY: as in `begin`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.report).mark) }.store(0, Ordering::Relaxed);
    }

    /// Every message before `ran` is decided.
    pub fn end(self, ran: usize) {
        self.begin(ran, 0);
    }

    #[inline]
    pub fn outcome(self, index: usize, code: u8) {
        // SAFETY: the host gives a byte a message, and `index` is within the batch.
        unsafe { self.outcomes.add(index).write(code) }
    }

    #[inline]
    pub fn flags(self) -> u32 {
        // SAFETY: as in `begin`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.report).flags) }.load(Ordering::Relaxed)
    }
}
