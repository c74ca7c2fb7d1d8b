//! The plugin's side of one call: the batch it got, and what it sends while it runs.

use super::*;
use crate::{Error, ErrorCode, Result};
use std::{
    mem::MaybeUninit,
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

/// Everything a call may use; lives on the shim's stack for the length of the call.
pub(crate) struct Turn {
    pub link: Link,
    call: *mut Call,
    /// Deadline and trace of the message that is handled, for what its handler sends.
    inherited: (u64, u64),
}

impl Turn {
    /// # Safety
    /// `call` must be the one that the host passed to the running entry point.
    pub unsafe fn new(link: Link, call: *mut Call) -> Self {
        Turn { link, call, inherited: (0, 0) }
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

    #[inline]
    pub fn version(&self) -> u32 {
        self.call().version
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
    pub fn pool(&self) -> *const u8 {
        self.call().pool
    }

    #[inline]
    pub fn report(&self) -> ReportWriter {
        ReportWriter { report: self.call().report }
    }

    /// The message at `index` runs now.
    #[inline]
    pub fn begin(&mut self, index: usize, message: &Envelope) {
        let outcome = message.flags & flags::OUTCOME != 0;
        self.inherited = (if outcome { 0 } else { message.deadline }, message.trace);
        // SAFETY: the outbox is host memory that only this thread touches while the entry point runs.
        let mark = unsafe { (*self.call().outbox).length };
        self.report().begin(index, mark);
    }

    fn inheriting(&self, body: RawBody) -> RawBody {
        RawBody { deadline: self.inherited.0, trace: self.inherited.1, ..body }
    }

    /// Puts a message into the outbox, publishing what is there if it is full.
    // Always inlined: a body of fixed size is then copied without a call, which halves the cost.
    #[inline(always)]
    pub fn push(
        &mut self,
        body_flags: u16,
        recipient: &RawRecipient,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<()> {
        let length = prefix.len() + body.len();
        let mut message = Envelope {
            route: recipient.route,
            flags: body_flags | recipient.parameters,
            length: length as u32,
            sender: recipient.subsystem,
            deadline: self.inherited.0,
            trace: self.inherited.1,
            ..Envelope::EMPTY
        };
        if prefix.is_empty() && body.len() <= INLINE {
            message.inline[..body.len()].copy_from_slice(body);
        } else if length <= INLINE {
            message.inline[..prefix.len()].copy_from_slice(prefix);
            message.inline[prefix.len()..length].copy_from_slice(body);
        } else {
            self.fill_block(&mut message, prefix, body)?;
        }
        self.append(message);
        Ok(())
    }

    #[cold]
    fn fill_block(&mut self, message: &mut Envelope, prefix: &[u8], body: &[u8]) -> Result<()> {
        let length = prefix.len() + body.len();
        message.length = u32::try_from(length).map_err(|_| too_large(length))?;
        let block = self.reserve(prefix.len() + body.len())?;
        message.set_block(block.block);
        // SAFETY: the host lent at least prefix and body of fresh memory.
        unsafe {
            std::ptr::copy_nonoverlapping(prefix.as_ptr(), block.memory, prefix.len());
            std::ptr::copy_nonoverlapping(
                body.as_ptr(),
                block.memory.add(prefix.len()),
                body.len(),
            );
        }
        Ok(())
    }

    #[inline(always)]
    fn append(&mut self, message: Envelope) {
        // SAFETY: the outbox is host memory that only this thread touches while the entry point runs.
        unsafe {
            let outbox = self.call().outbox;
            if (*outbox).length == (*outbox).capacity {
                self.publish();
            }
            (*outbox).messages.add((*outbox).length as usize).write(message);
            (*outbox).length += 1;
            if message.flags & flags::BLOCK != 0 {
                (*outbox).bytes = (*outbox).bytes.saturating_add(message.length);
                if (*outbox).bytes >= (*outbox).max_bytes {
                    self.publish();
                }
            }
        }
    }

    #[cold]
    fn publish(&mut self) {
        // SAFETY: the turn is of this call.
        unsafe { self.link.calls.publish()(self.link.host, self.raw()) }
        self.report().publish();
    }

    fn reserve(&mut self, length: usize) -> Result<RawBlock> {
        let mut block = RawBlock { block: 0, reserved: 0, memory: std::ptr::null_mut() };
        // SAFETY: the turn is of this call; the place for the block outlives it.
        checked(|error| unsafe {
            self.link.calls.reserve()(self.link.host, self.raw(), length, &mut block, error)
        })?;
        Ok(block)
    }

    /// Resolves a path; the encoded parameters replace what is in `prefix`.
    pub fn resolve(&mut self, path: &str, prefix: &mut Vec<u8>) -> Result<RawRecipient> {
        let mut recipient = RawRecipient::UNRESOLVED;
        prefix.clear();
        prefix.reserve(MAX_PREFIX);
        // SAFETY: the turn is of this call; `prefix` has the room that `resolve` asks for.
        checked(|error| unsafe {
            let room = prefix.as_mut_ptr();
            self.link.calls.resolve()(
                self.link.host,
                self.raw(),
                path.into(),
                &mut recipient,
                room,
                error,
            )
        })?;
        // SAFETY: the host wrote that many bytes, at most `MAX_PREFIX`.
        unsafe { prefix.set_len((recipient.prefix as usize).min(MAX_PREFIX)) };
        Ok(recipient)
    }

    pub fn send(&mut self, recipient: &RawRecipient, prefix: &[u8], body: RawBody) -> Result<()> {
        let body = self.inheriting(body);
        // SAFETY: the turn is of this call; the slices outlive it.
        checked(|error| unsafe {
            self.link.calls.send()(
                self.link.host,
                self.raw(),
                recipient,
                prefix.into(),
                body,
                error,
            )
        })
    }

    pub fn ask(
        &mut self,
        recipient: &RawRecipient,
        prefix: &[u8],
        body: RawBody,
        how: Ask<'_>,
    ) -> Result<()> {
        let body = self.inheriting(body);
        // SAFETY: the turn is of this call; the slices outlive it.
        checked(|error| unsafe {
            self.link.calls.ask()(
                self.link.host,
                self.raw(),
                recipient,
                prefix.into(),
                body,
                how.within,
                how.reply_to.into(),
                how.instead_of,
                error,
            )
        })
    }

    pub fn after(&mut self, delay: u64, path: &str, body: RawBody) -> Result<()> {
        // SAFETY: the turn is of this call; the slices outlive it.
        checked(|error| unsafe {
            self.link.calls.after()(self.link.host, self.raw(), delay, path.into(), body, error)
        })
    }
}

/// How a request is asked.
pub(crate) struct Ask<'a> {
    pub within: u64,
    pub reply_to: &'a str,
    pub instead_of: u64,
}

fn too_large(length: usize) -> Error {
    Error::new(ErrorCode::TooLarge, format!("a message of {length} bytes is larger than 4 GiB"))
}

/// Runs a host call that fills in an error, and makes a [`Result`] of its status.
pub(super) fn checked(call: impl FnOnce(*mut RawError) -> u32) -> Result<()> {
    /// Room for the text of an error from the host; longer texts are cut.
    const ROOM: usize = 1024;
    let mut room = [const { MaybeUninit::<u8>::uninit() }; ROOM];
    let mut error = RawError::new(room.as_mut_ptr().cast(), ROOM);
    match call(&mut error) {
        0 => Ok(()),
        // SAFETY: the host wrote the text into `room`, which is still here.
        status => Err(unsafe { error.read(status) }),
    }
}

/// Writes what the shim reports.
#[derive(Copy, Clone)]
pub(crate) struct ReportWriter {
    report: *mut Report,
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
        unsafe { (*self.report).outcomes.add(index).write(code) }
    }

    #[inline]
    pub fn flags(self) -> u32 {
        // SAFETY: as in `begin`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.report).flags) }.load(Ordering::Relaxed)
    }
}
