//! The host's side of the boundary: a safe trait in place of the host's functions, and a safe wrapper around an instance.
//!
//! The host and the testkit are the two that implement [`Host`].

pub use super::counters::{Counters, OVERFLOW};
use super::{shim::panic_text, *};
pub use crate::message::outcome_error;
use crate::{Error, ErrorCode, ErrorParts, Handled, Result};
use abi_stable::prefix_type::WithMetadata;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
        },
    },
    time::Duration,
};

/// A message or an answer as it comes out of a plugin, borrowed for the call.
#[derive(Copy, Clone, Debug)]
pub struct BodyRef<'a> {
    /// The content.
    pub bytes: &'a [u8],
    /// The body's schema, or 0.
    pub schema: u64,
    /// Encoding and edge, as in [`flags`].
    pub flags: u16,
}

/// An answer as it comes out of a plugin: a body, or an error.
pub type AnswerRef<'a> = Result<BodyRef<'a>>;

/// How a request is asked.
#[derive(Copy, Clone, Debug)]
pub struct AskSpec<'a> {
    /// Nanoseconds from now; 0 is the default.
    pub within: u64,
    /// The request that the answer goes to; 0 begins a new one.
    pub instead_of: u64,
    /// The asker's own route for the outcome of a new request.
    pub route: u16,
    /// How many parameters that route has.
    pub parameters: u16,
    /// They, encoded.
    pub prefix: &'a [u8],
}

/// A place in a plugin's source that makes events or spans, borrowed for the call.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct SiteRef<'a> {
    /// From 1 error to 5 trace.
    pub level: u8,
    /// Whether it makes spans.
    pub is_span: bool,
    /// What filters go by.
    pub target: &'a str,
    /// The span's name; of an event, where it is.
    pub name: &'a str,
    /// The source file; empty when unknown.
    pub file: &'a str,
    /// The line in it; 0 when unknown.
    pub line: u32,
    /// The names of its fields, a zero byte after each.
    pub fields: &'a str,
}

/// What a host does for its plugins. A panic in any of these is caught and answered as `failed`.
///
/// Functions with a turn run on the thread that called into the plugin, during that call. The others come from any thread,
/// at any time, with a handle that may be stale.
pub trait Host: Send + Sync + 'static {
    /// The host's state of one call into a plugin.
    type Turn;

    /// Resolves a path for the turn's subsystem; appends its encoded parameters to `prefix`.
    fn resolve(
        &self,
        turn: &mut Self::Turn,
        path: &str,
        kind: PathKind,
        prefix: &mut Vec<u8>,
    ) -> Result<RawRecipient>;
    /// Lends a block for a message that will come by the outbox.
    fn reserve(&self, turn: &mut Self::Turn, length: usize) -> Result<RawBlock>;
    /// Sends what is in the outbox, and empties it.
    fn publish(&self, turn: &mut Self::Turn, outbox: &mut OutboxBuffer);
    /// Sends one message at once, or, to [`LISTENERS`], publishes an event. As in an outbox, it holds the recipient in
    /// `sender`; its block is the host's from here on.
    fn send(&self, turn: &mut Self::Turn, message: &mut Envelope) -> Result<()>;
    /// Sends a request, by the outbox or at once, as the recipient has it. The message is as for `send`; it has the inherited
    /// deadline, and gets its own and the request's number here.
    fn ask(
        &self,
        turn: &mut Self::Turn,
        outbox: &mut OutboxBuffer,
        message: &mut Envelope,
        how: AskSpec<'_>,
    ) -> Result<()>;
    /// Sets a timer.
    fn after(&self, turn: &mut Self::Turn, delay: u64, path: &str, body: BodyRef<'_>)
    -> Result<()>;
    /// Answers a request; within a turn the answer waits for the commit, behind those that the shim has written so far.
    /// Request 0 is a failure that nobody waits for.
    fn respond(
        &self,
        turn: Option<(&mut Self::Turn, &mut OutboxBuffer)>,
        handle: u64,
        request: u64,
        answer: AnswerRef<'_>,
    );
    /// An instance has restored the responder of a request: it will answer it.
    fn hold(&self, handle: u64, request: u64) {
        let _ = (handle, request);
    }
    /// The name of a subsystem.
    fn name_of(&self, subsystem: u32) -> String;
    /// The time in nanoseconds.
    fn now(&self) -> u64;
    /// Logs a line.
    fn log(&self, handle: u64, level: u8, target: &str, text: &str);
    /// One of the plugin's own threads failed.
    fn fault(&self, handle: u64, text: &str);
    /// A descriptor, the caller's own, of a listening socket that the host keeps.
    fn listen(&self, handle: u64, address: &str) -> Result<i32>;
    /// Sends from an own thread, or publishes, as the flags have it.
    fn outside_send(&self, handle: u64, path: &str, body: BodyRef<'_>) -> Result<()>;
    /// Asks from an own thread, and answers with the request's number.
    fn outside_ask(
        &self,
        handle: u64,
        path: &str,
        body: BodyRef<'_>,
        within: u64,
        token: u64,
    ) -> Result<u64>;
    /// Where the subsystem counts what it names so, as [`Counters`] do.
    fn counter(&self, handle: u64, name: &str) -> &'static AtomicU64 {
        static NOBODYS: AtomicU64 = AtomicU64::new(0);
        let _ = (handle, name);
        &NOBODYS
    }
    /// Takes what the plugin's `tracing` has collected, as in [`trace::what`].
    fn trace(
        &self,
        handle: u64,
        what: u32,
        id: u64,
        site: Option<SiteRef<'_>>,
        values: &[u8],
    ) -> u64 {
        let _ = (handle, what, id, site, values);
        0
    }
    /// Waits for outcomes; `false` when the generation has ended.
    fn completion(&self, handle: u64, take: &mut dyn FnMut(u64, &Envelope, &[u8])) -> bool;
    /// A thread of a plugin was about to end the process, as `what` says. It runs no code of the plugin any more, so that this
    /// had better not return; if it does, the process ends.
    fn lost(&'static self, thread: LostThread<'_, Self::Turn>, what: &str) {
        let _ = (thread, what);
    }
    /// Adds a part to the answer of a request.
    fn part(&self, handle: u64, request: u64, part: BodyRef<'_>) -> Result<()> {
        let _ = (handle, request, part);
        Err(Error::new(ErrorCode::Gone, "nobody takes answers in parts here"))
    }
    /// Gives away what waits of an answer in parts to an own thread.
    fn parts(&self, handle: u64, request: u64, take: &mut dyn FnMut(u64, &Envelope, &[u8])) {
        let _ = (handle, request, take);
    }
    /// Ends a request of the subsystem's own whose answer comes in parts.
    fn cancel(&self, handle: u64, request: u64) {
        let _ = (handle, request);
    }
}

/// A thread that runs no code of a plugin any more.
pub struct LostThread<'a, T> {
    /// The instance that it was in; of any instance of the library if it is not `is_spawned` and in no batch.
    pub handle: u64,
    /// Whether it was in a call, or is one of the instance's own threads.
    pub is_spawned: bool,
    /// The call that it was in, if that was one with messages or a lifecycle call.
    pub call: Option<LostCall<'a, T>>,
}

/// A call whose thread runs no code of the plugin any more.
pub struct LostCall<'a, T> {
    /// As in [`CallSpec`], here and below.
    pub turn: &'a mut T,
    /// What handlers have sent.
    pub outbox: &'a mut OutboxBuffer,
    /// The short answers.
    pub replies: &'a mut OutboxBuffer,
}

/// Host memory for what handlers send. Its envelopes hold the recipient in `sender` until they are published.
pub struct OutboxBuffer {
    // On the heap and only ever reached by pointer, since the plugin writes both while the host holds this.
    raw: *mut Outbox,
    storage: *mut [Envelope],
    memory: Arc<OutboxMemory>,
}

// SAFETY: it owns what it points to, and is used by one thread at a time.
unsafe impl Send for OutboxBuffer {}

/// What an outbox points to; a report shares that of the replies, for whoever takes its batch away.
struct OutboxMemory {
    raw: *mut Outbox,
    storage: *mut [Envelope],
}

// SAFETY: it owns what it points to; only `ReportBuffer::revoke` reads it beside the outbox, and says why it may.
unsafe impl Send for OutboxMemory {}
// SAFETY: as above.
unsafe impl Sync for OutboxMemory {}

impl OutboxBuffer {
    /// Room for `capacity` messages, and `max_bytes` of block content behind them.
    pub fn new(capacity: usize, max_bytes: usize) -> Self {
        let storage = Box::into_raw(vec![Envelope::EMPTY; capacity].into_boxed_slice());
        let raw = Box::into_raw(Box::new(Outbox {
            next: storage.cast(),
            // SAFETY: behind the last envelope of the storage.
            end: unsafe { storage.cast::<Envelope>().add(capacity) },
            bytes: 0,
            max_bytes: max_bytes as u32,
        }));
        OutboxBuffer { raw, storage, memory: Arc::new(OutboxMemory { raw, storage }) }
    }

    /// How many messages wait.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: `raw` lives as long as this; a place beyond the storage would be a broken plugin, and is cut.
        let next = unsafe { (*self.raw).next };
        let length = next.addr().saturating_sub(self.storage.addr()) / size_of::<Envelope>();
        length.min(self.storage.len())
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no further message fits.
    pub fn is_full(&self) -> bool {
        self.len() == self.storage.len()
    }

    /// What waits.
    #[inline]
    pub fn messages(&mut self) -> &mut [Envelope] {
        let length = self.len();
        // SAFETY: the storage lives as long as this, and the plugin does not run while the borrow does.
        unsafe { slice::from_raw_parts_mut(self.storage.cast(), length) }
    }

    /// How many there are of handlers that ran before the one of this message, of the batch.
    pub fn sent_before(&mut self, message: &Envelope) -> usize {
        let messages = self.messages();
        let own = messages.iter().position(|sent| sent.stamp == message.mark());
        own.unwrap_or(messages.len())
    }

    /// Keeps the first `length` messages.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        let length = length.min(self.len());
        // SAFETY: as for `len`.
        unsafe {
            (*self.raw).next = self.storage.cast::<Envelope>().add(length);
            (*self.raw).bytes = 0;
        }
    }

    /// Adds a message.
    ///
    /// # Panics
    /// If it is full.
    pub fn push(&mut self, message: Envelope) {
        assert!(!self.is_full(), "an outbox is published before it is full");
        let length = self.len();
        // SAFETY: `length` is below the capacity.
        unsafe {
            (*self.storage)[length] = message;
            (*self.raw).next = self.storage.cast::<Envelope>().add(length + 1);
        }
    }
}

impl Drop for OutboxMemory {
    fn drop(&mut self) {
        // SAFETY: both came from a `Box`, the outbox is gone, and the plugin keeps neither beyond its call.
        unsafe {
            drop(Box::from_raw(self.raw));
            drop(Box::from_raw(self.storage));
        }
    }
}

/// Room for the text of an error of a plugin; longer ones are cut.
const ERROR_TEXT: usize = 4096;

/// Host memory for what a shim reports of its batch, and where the thread that runs the batch and a watchdog agree whose
/// it is.
///
/// **The agreement.** The shim stores the cursor, then loads the flags, before each message; the thread stores that the
/// batch has ended, then loads the flags. The watchdog stores the flag, makes every thread of the process pass a memory
/// barrier, then loads both. So either it sees that something has moved on and lets go, or the other side sees the flag,
/// and runs and touches nothing more. That keeps barriers out of the way of a message.
pub struct ReportBuffer {
    raw: *mut Report,
    /// When the batch that runs was begun, which names it; 0 while there is none.
    begun: AtomicU64,
    messages: AtomicPtr<Envelope>,
    length: AtomicUsize,
    tag: AtomicU32,
    /// What is unusual of the batch: [`TAKEN`], [`TIMED`].
    unusual: AtomicU8,
    /// Counts the signs of life that the thread gives beside its batches.
    beats: AtomicU32,
    outcomes: *mut [Outcomes],
    /// Room for the text of a panic, which is made once rather than for each batch.
    error: *mut RawError,
    text: *mut [u8],
    replies: Arc<OutboxMemory>,
    /// Held by the watchdog while it decides; the thread whose batch it is asks here what came of it.
    lost: Mutex<Option<Lost>>,
}

/// The batch was taken away for good.
const TAKEN: u8 = 1;
/// The host times what the batch does.
const TIMED: u8 = 2;

/// The batch that runs, and how far it is: while both stay the same, the same message is handled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    begun: u64,
    cursor: u32,
    /// What the host said of the batch when it began.
    pub tag: u32,
}

/// A batch that was taken from the thread that hangs in it. The content of `messages[ran]` is still in use there.
pub struct Taken<'a> {
    /// All of its messages.
    pub messages: &'a [Envelope],
    /// How many have been decided; the next one hangs, or, if it is all, the commit.
    pub ran: usize,
    /// How those were decided, as in [`ReportBuffer::outcomes`].
    pub outcomes: &'a [u8],
    /// Their short answers, which are the taker's.
    pub replies: &'a [Envelope],
}

/// What the thread that hung keeps of its batch, once it has returned.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The place of the message in which it hung; that one's content is the thread's to free.
    pub at: usize,
    /// The requests whose answers were taken out of its replies.
    pub answered: Vec<u64>,
}

/// A line of a cache, so that clearing many takes the same instructions wherever they lie.
#[derive(Copy, Clone)]
#[repr(align(64))]
struct Outcomes(#[allow(dead_code, reason = "read as bytes")] [u8; 64]);

// SAFETY: as for `OutboxBuffer`; the parts that others read are atomics.
unsafe impl Send for ReportBuffer {}
// SAFETY: shared access reaches atomics only.
unsafe impl Sync for ReportBuffer {}

impl ReportBuffer {
    /// A report on up to `batch` messages, whose short answers go to `replies`.
    pub fn new(batch: usize, replies: &OutboxBuffer) -> Self {
        let lines = vec![Outcomes([0; 64]); batch.div_ceil(64)];
        let outcomes = Box::into_raw(lines.into_boxed_slice());
        let raw = Box::into_raw(Box::new(Report {
            cursor: 0,
            flags: 0,
            failed: 0,
            reserved: 0,
            outcomes: outcomes.cast(),
        }));
        let text = Box::into_raw(vec![0; ERROR_TEXT].into_boxed_slice());
        let error = Box::into_raw(Box::new(RawError::new(text.cast(), text.len())));
        ReportBuffer {
            raw,
            begun: AtomicU64::new(0),
            messages: AtomicPtr::new(ptr::null_mut()),
            length: AtomicUsize::new(0),
            tag: AtomicU32::new(0),
            unusual: AtomicU8::new(0),
            beats: AtomicU32::new(0),
            outcomes,
            error,
            text,
            replies: Arc::clone(&replies.memory),
            lost: Mutex::new(None),
        }
    }

    #[inline]
    fn atomic(&self, field: impl FnOnce(*mut Report) -> *mut u32) -> &AtomicU32 {
        // SAFETY: the report lives as long as this, and its fields are only ever used atomically.
        unsafe { AtomicU32::from_ptr(field(self.raw)) }
    }

    /// The message that runs now, or how many ran. Acquire: pairs with the shim's release, so the outcomes before it are there.
    #[inline]
    pub fn cursor(&self) -> usize {
        // SAFETY: only the address is taken.
        self.atomic(|raw| unsafe { &raw mut (*raw).cursor }).load(Ordering::Acquire) as usize
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: only the address is taken.
        self.atomic(|raw| unsafe { &raw mut (*raw).flags })
    }

    #[inline]
    fn reset(&self, batch: usize) {
        assert!(batch <= self.outcomes.len() * 64, "a report has room for its batch");
        if self.has_failed() {
            self.clear();
        }
        // SAFETY: only the address is taken.
        self.atomic(|raw| unsafe { &raw mut (*raw).cursor }).store(0, Ordering::Relaxed);
    }

    /// A batch begins, which [`Self::revoke`] may take away until it ends; the messages stay as they are until then.
    #[inline]
    fn begin(&self, messages: &[Envelope], now: u64, tag: u32) {
        self.messages.store(messages.as_ptr().cast_mut(), Ordering::Relaxed);
        self.length.store(messages.len(), Ordering::Relaxed);
        self.tag.store(tag, Ordering::Relaxed);
        // Release pairs with `progress`: whoever sees the batch sees what it is, and its cursor at 0.
        self.begun.store(now, Ordering::Release);
    }

    /// The batch has ended; whether it is still the caller's.
    #[inline]
    fn end(&self) -> bool {
        self.begun.store(0, Ordering::Release);
        // The barrier of `revoke` stands for the processor's part.
        compiler_fence(Ordering::SeqCst);
        self.flags().load(Ordering::Acquire) & Report::REVOKED == 0 || self.was_withdrawn()
    }

    #[cold]
    fn was_withdrawn(&self) -> bool {
        self.lost().is_none()
    }

    /// What was lost, if a batch was taken away; waits while that is being decided.
    pub fn lost(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch that runs, and how far it is; none between batches, and none once it was taken away.
    pub fn progress(&self) -> Option<Progress> {
        // Acquire pairs with `begin`.
        let begun = self.begun.load(Ordering::Acquire);
        let tag = self.tag.load(Ordering::Relaxed);
        (begun != 0 && !self.is_taken()).then(|| Progress {
            begun,
            cursor: self.cursor() as u32,
            tag,
        })
    }

    /// Whether the batch was taken away for good, so that what its handler still wants is refused.
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.unusual.load(Ordering::Relaxed) & TAKEN != 0
    }

    /// Whether the batch was taken away, or is timed.
    #[inline]
    pub fn is_unusual(&self) -> bool {
        self.unusual.load(Ordering::Relaxed) != 0
    }

    /// Notes whether the batch is timed; for the thread that runs it.
    pub fn set_timed(&self, is_timed: bool) {
        match is_timed {
            true => self.unusual.fetch_or(TIMED, Ordering::Relaxed),
            false => self.unusual.fetch_and(!TIMED, Ordering::Relaxed),
        };
    }

    /// Gives a sign of life; for the thread that reports, where it is seldom.
    pub fn beat(&self) {
        // Nobody else writes it.
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How many signs of life there were.
    pub fn beats(&self) -> u32 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Takes a batch away that has made no progress since `seen`; whether it was still there. The thread that is in it
    /// does not learn of it before `take` has returned.
    ///
    /// `barrier` makes every other thread of the process pass a memory barrier.
    pub fn revoke(
        &self,
        seen: Progress,
        barrier: impl FnOnce(),
        take: impl FnOnce(Taken<'_>),
    ) -> bool {
        let mut lost = self.lost();
        self.flags().store(Report::REVOKED, Ordering::SeqCst);
        barrier();
        if self.progress() != Some(seen) {
            // Release pairs with `end`; whoever has seen the flag asks, and learns that nothing was lost.
            self.flags().store(0, Ordering::Release);
            return false;
        }
        self.unusual.fetch_or(TAKEN, Ordering::Relaxed);
        let (messages, length) =
            (self.messages.load(Ordering::Relaxed), self.length.load(Ordering::Relaxed));
        // SAFETY: `begin` got that many messages from a caller that waits in `end` before it lets go of them, for as long
        // as `lost` is locked; nobody writes to them meanwhile.
        let messages = unsafe { slice::from_raw_parts(messages, length) };
        let ran = (seen.cursor as usize).min(length);
        let replies = self.replies_to(&messages[..ran]);
        let answered = replies.iter().map(|reply| reply.reply).collect();
        *lost = Some(Lost { at: ran, answered });
        take(Taken { messages, ran, outcomes: self.outcomes(ran), replies: &replies });
        true
    }

    /// The short answers to these messages, which have been decided.
    fn replies_to(&self, decided: &[Envelope]) -> Vec<Envelope> {
        let OutboxMemory { raw, storage } = *self.replies;
        // SAFETY: the memory lives as long as this. The thread that hangs may be writing the place, which is one word.
        let next = unsafe { AtomicPtr::from_ptr(&raw mut (*raw).next) }.load(Ordering::Acquire);
        let length = next.addr().saturating_sub(storage.addr()) / size_of::<Envelope>();
        let place = |index: usize| storage.cast::<Envelope>().wrapping_add(index);
        (0..length.min(storage.len()))
            .filter_map(|index| {
                // SAFETY: within the storage. One that is being written has the number of a request that is not decided.
                let request = unsafe { (&raw const (*place(index)).reply).read_volatile() };
                let is_decided = decided.iter().any(|message| message.reply == request);
                // SAFETY: an answer to a decided message was written before the cursor moved on.
                (request != 0 && is_decided).then(|| unsafe { place(index).read() })
            })
            .collect()
    }

    /// Whether any outcome is an error.
    #[inline]
    pub fn has_failed(&self) -> bool {
        // SAFETY: the report lives as long as this, and the plugin does not run.
        unsafe { (*self.raw).failed != 0 }
    }

    #[cold]
    fn clear(&self) {
        // SAFETY: as above; nobody reads outcomes before the cursor has moved over them.
        unsafe {
            (&mut *self.outcomes).fill(Outcomes([0; 64]));
            (*self.raw).failed = 0;
        }
    }

    /// The panic that ended the batch.
    #[cold]
    fn panic(&self) -> Error {
        // SAFETY: the plugin wrote the error, whose room lives as long as this.
        unsafe { (*self.error).read(ErrorCode::Panicked as u32) }
    }

    /// The outcomes of the first `ran` messages: an error's number each, or 0.
    ///
    /// # Panics
    /// If the batch is not that large.
    #[inline]
    pub fn outcomes(&self, ran: usize) -> &[u8] {
        // SAFETY: slicing checks the bounds; the shim wrote these bytes before it moved the cursor on, and writes no more.
        let lines = unsafe { &(&*self.outcomes)[..ran.div_ceil(64)] };
        // SAFETY: a line is 64 bytes, so that the lines have at least `ran`.
        unsafe { slice::from_raw_parts(lines.as_ptr().cast(), ran) }
    }
}

impl Drop for ReportBuffer {
    fn drop(&mut self) {
        // SAFETY: both came from a `Box`.
        unsafe {
            drop(Box::from_raw(self.raw));
            drop(Box::from_raw(self.outcomes));
            drop(Box::from_raw(self.error));
            drop(Box::from_raw(self.text));
        }
    }
}

/// What the host's functions get back through the pointer `turn`.
struct Frame<'a, T> {
    turn: &'a mut T,
    outbox: &'a mut OutboxBuffer,
    replies: &'a mut OutboxBuffer,
}

/// One batch, or a lifecycle call with none.
pub struct CallSpec<'a, T> {
    /// The host's state of the call.
    pub turn: &'a mut T,
    /// Where handlers write what they send.
    pub outbox: &'a mut OutboxBuffer,
    /// Where the shim writes short answers, with the request in `reply`.
    pub replies: &'a mut OutboxBuffer,
    /// Where the shim reports.
    pub report: &'a ReportBuffer,
    /// The messages; their blocks must be live.
    pub messages: &'a [Envelope],
    /// The base of the pool.
    pub pool: *const u8,
    /// The table's version.
    pub version: u32,
    /// The time.
    pub now: u64,
}

impl<T> CallSpec<'_, T> {
    #[inline]
    fn run(self, call: impl FnOnce(*mut Call) -> u32) -> u32 {
        let (report, outbox, replies) = (self.report.raw, self.outbox.raw, self.replies.raw);
        let mut frame = Frame { turn: self.turn, outbox: self.outbox, replies: self.replies };
        call(&mut Call {
            turn: ptr::from_mut(&mut frame).cast(),
            messages: self.messages.as_ptr(),
            length: self.messages.len() as u32,
            version: self.version,
            pool: self.pool,
            report,
            outbox,
            replies,
            now: self.now,
            reserved: [0; 4],
        })
    }
}

/// What a subsystem is created from.
pub struct CreateSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its RON config.
    pub config: &'a str,
    /// The folder for its files.
    pub data: &'a str,
    /// The host's number of each route, in the order of the manifest.
    pub routes: &'a [u16],
    /// Names subsystem and generation in host calls.
    pub handle: u64,
}

/// An error of `create`, with its place in the config if it has one.
#[derive(Debug)]
pub struct CreateError {
    /// What is wrong.
    pub error: Error,
    /// The byte range in the config's text.
    pub span: Option<std::ops::Range<usize>>,
}

/// How a batch ended.
#[derive(Debug)]
pub enum BatchEnd {
    /// The shim returned; the report's cursor says how many messages ran.
    Returned,
    /// The handler of the message at the cursor panicked with this text.
    Panicked(Error),
}

/// An instance of a subsystem. It must be destroyed by [`Guest::destroy`]; merely dropped it is leaked,
/// which is right for one whose handler hangs.
pub struct Guest {
    module: Module_Ref,
    instance: Instance,
    // Of the module, but nearer: every batch asks for them.
    handle: unsafe extern "C" fn(Instance, *mut Call, *mut RawError) -> u32,
    commits: bool,
}

// SAFETY: a subsystem is `Send`, and one thread at a time calls it.
unsafe impl Send for Guest {}

/// The stop token and thread count of an instance, which may be used beside its calls.
#[derive(Copy, Clone)]
pub struct GuestThreads {
    module: Module_Ref,
    instance: Instance,
}

// SAFETY: `quiesce` and `threads` may be called from any thread until `destroy`, as `Module` says.
unsafe impl Send for GuestThreads {}
// SAFETY: as above.
unsafe impl Sync for GuestThreads {}

impl Guest {
    /// Creates an instance. `level` is the byte that holds its most verbose logged level.
    ///
    /// # Errors
    /// What `create` says.
    pub fn create<H: Host>(
        module: Module_Ref,
        host: &'static H,
        level: &'static AtomicU8,
        spec: &CreateSpec<'_>,
    ) -> Result<Guest, CreateError> {
        let link = Link {
            host: ptr::from_ref(host).cast(),
            calls: Served::<H>::calls(),
            handle: spec.handle,
            level: level.as_ptr().cast_const(),
        };
        let call = CreateCall {
            link,
            name: spec.name.into(),
            config: spec.config.into(),
            data: spec.data.into(),
            routes: spec.routes.as_ptr(),
            routes_length: spec.routes.len(),
            reserved: [0; 4],
        };
        let mut instance = ptr::null_mut();
        let mut span = None;
        let result = with_error(|error| {
            // SAFETY: the module was loaded with its layout checked; call and error outlive this.
            instance = unsafe { module.create()(&call, error) };
            // SAFETY: `with_error` passes a live error.
            let raw = unsafe { &*error };
            span = (raw.span_end > raw.span_start)
                .then_some(raw.span_start as usize..raw.span_end as usize);
            if instance.is_null() { raw.code.max(1) } else { 0 }
        });
        let (handle, commits) = (module.handle(), commits(module));
        result
            .map(|()| Guest { module, instance, handle, commits })
            .map_err(|error| CreateError { error, span })
    }

    /// Gives a new instance the state of an older one.
    ///
    /// # Errors
    /// What `restore` says; `panicked` if it panicked, and then the instance must only be destroyed. So below.
    pub fn restore(&mut self, schema: u32, state: &[u8]) -> Result<()> {
        // SAFETY: `&mut self` makes this the only call; the bytes outlive it.
        with_error(|error| unsafe {
            self.module.restore()(self.instance, schema, state.into(), error)
        })
    }

    /// Takes files, ports and threads.
    ///
    /// # Errors
    /// What `start` says.
    pub fn start<T>(&mut self, spec: CallSpec<'_, T>) -> Result<()> {
        with_error(|error| {
            // SAFETY: `&mut self` makes this the only call.
            spec.run(|call| unsafe { self.module.start()(self.instance, call, error) })
        })
    }

    /// Gives back what `start` took.
    ///
    /// # Errors
    /// What `stop` says.
    pub fn stop<T>(&mut self, spec: CallSpec<'_, T>) -> Result<()> {
        with_error(|error| {
            // SAFETY: `&mut self` makes this the only call.
            spec.run(|call| unsafe { self.module.stop()(self.instance, call, error) })
        })
    }

    /// Handles a batch and commits it, unless it was taken away meanwhile by [`ReportBuffer::revoke`]. `tag` is told to who
    /// watches.
    ///
    /// None if it was: then [`ReportBuffer::lost`] says what is left to the thread.
    #[inline]
    pub fn handle_watched<T>(
        &mut self,
        spec: CallSpec<'_, T>,
        tag: u32,
    ) -> Option<(BatchEnd, Result<()>)> {
        let report = spec.report;
        report.reset(spec.messages.len());
        report.begin(spec.messages, spec.now, tag);
        let end = self.call(spec);
        let committed = if self.commits { self.commit_after(&end, report) } else { Ok(()) };
        report.end().then_some((end, committed))
    }

    #[inline(never)]
    fn commit_after(&mut self, end: &BatchEnd, report: &ReportBuffer) -> Result<()> {
        match end {
            BatchEnd::Returned if report.cursor() > 0 => self.commit(),
            _ => Ok(()),
        }
    }

    /// Handles a batch.
    #[inline]
    pub fn handle<T>(&mut self, spec: CallSpec<'_, T>) -> BatchEnd {
        spec.report.reset(spec.messages.len());
        self.call(spec)
    }

    #[inline]
    fn call<T>(&mut self, spec: CallSpec<'_, T>) -> BatchEnd {
        let report = spec.report;
        // SAFETY: `&mut self` makes this the only call; the room for an error lives as long as the report.
        match spec.run(|call| unsafe { (self.handle)(self.instance, call, report.error) }) {
            HANDLED => BatchEnd::Returned,
            _ => BatchEnd::Panicked(report.panic()),
        }
    }

    /// Whether batches are to be committed.
    #[inline]
    pub fn commits(&self) -> bool {
        self.commits
    }

    /// Whether there is state to save.
    pub fn has_state(&self) -> bool {
        self.module.abilities() & HAS_STATE != 0
    }

    /// Makes a batch durable.
    ///
    /// # Errors
    /// What `commit` says.
    pub fn commit(&mut self) -> Result<()> {
        // SAFETY: `&mut self` makes this the only call.
        with_error(|error| unsafe { self.module.commit()(self.instance, error) })
    }

    /// The state to keep.
    ///
    /// # Errors
    /// What `save` says.
    pub fn save(&mut self) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        let sink = Sink { context: ptr::from_mut(&mut state).cast(), take: append };
        // SAFETY: `&mut self` makes this the only call; `append` is made for a `Vec`, which outlives it.
        with_error(|error| unsafe { self.module.save()(self.instance, sink, error) })?;
        Ok(state)
    }

    /// Its own threads, to be asked to end and counted beside other calls. Not to be used after [`Guest::destroy`].
    pub fn threads(&self) -> GuestThreads {
        GuestThreads { module: self.module, instance: self.instance }
    }

    /// Drops the instance. Its own threads must have ended and its completions be closed.
    ///
    /// # Errors
    /// `panicked`, if it panicked while dropping.
    pub fn destroy(self) -> Result<()> {
        // SAFETY: `self` is taken, so this is the last call.
        with_error(|error| unsafe { self.module.destroy()(self.instance, error) })
    }
}

impl GuestThreads {
    /// Asks them to end.
    pub fn quiesce(&self) {
        // SAFETY: the instance has not been destroyed, as `Guest::threads` demands.
        unsafe { self.module.quiesce()(self.instance) }
    }

    /// How many run.
    pub fn running(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.module.threads()(self.instance) }
    }
}

unsafe extern "C" fn append(context: *mut c_void, bytes: Bytes) {
    // SAFETY: `save` and `name_of` pass a `Vec`, and bytes valid for this call.
    unsafe { (*context.cast::<Vec<u8>>()).extend_from_slice(bytes.get()) }
}

/// Runs a plugin call that fills in an error, with more room for its text than host calls need.
fn with_error(call: impl FnOnce(*mut RawError) -> u32) -> Result<()> {
    // Not initialised: it nearly never holds a text.
    let mut room = [const { std::mem::MaybeUninit::<u8>::uninit() }; ERROR_TEXT];
    let mut error = RawError::new(room.as_mut_ptr().cast(), room.len());
    match call(&mut error) {
        0 => Ok(()),
        // SAFETY: the plugin wrote the text into `room`, which is still here.
        status => Err(unsafe { error.read(status) }),
    }
}

/// Whether batches of a module's instances are to be committed.
pub fn commits(module: Module_Ref) -> bool {
    module.abilities() & HAS_COMMIT != 0
}

/// The module of a subsystem that is linked in rather than loaded.
pub fn module_of<S: crate::Export>() -> Module_Ref {
    Module_Ref(Linked::<S>::MODULE.as_prefix())
}

/// The module of a subsystem.
struct Linked<S>(std::marker::PhantomData<S>);

impl<S: crate::Export> Linked<S> {
    abi_stable::staticref! {
        const MODULE: WithMetadata<Module> = WithMetadata::new(super::shim::module::<S>());
    }
}

/// The functions of a [`Host`].
struct Served<H>(std::marker::PhantomData<H>);

impl<H: Host> Served<H> {
    abi_stable::staticref! {
        const CALLS: WithMetadata<HostCalls> = WithMetadata::new(HostCalls {
            resolve: resolve::<H>,
            reserve: reserve::<H>,
            publish: publish::<H>,
            send: send::<H>,
            ask: ask::<H>,
            after: after::<H>,
            respond: respond::<H>,
            hold: hold::<H>,
            name_of: name_of::<H>,
            now: now::<H>,
            log: log::<H>,
            fault: fault::<H>,
            listen: listen::<H>,
            outside_send: outside_send::<H>,
            outside_ask: outside_ask::<H>,
            counter: counter::<H>,
            trace: trace_call::<H>,
            completion: completion::<H>,
            lost: lost::<H>,
            part: part::<H>,
            parts: parts::<H>,
            cancel: cancel::<H>,
        });
    }

    fn calls() -> HostCalls_Ref {
        HostCalls_Ref(Self::CALLS.as_prefix())
    }
}

/// Runs host code for a plugin and makes a status of whatever it does.
#[inline]
fn guard(error: *mut RawError, work: impl FnOnce() -> Result<()>) -> u32 {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        // SAFETY: the plugin passes room for an error.
        failed => unsafe { RawError::write(error, &failure(failed)) },
    }
}

/// The error of host code that did not succeed.
#[cold]
fn failure(ended: std::thread::Result<Result<()>>) -> Error {
    match ended {
        Ok(result) => result.expect_err("`guard` asks only for failures"),
        Err(payload) => Error::failed(format!("the host failed with {}", panic_text(payload)))
            .handled(Handled::Unknown),
    }
}

/// Runs host code that has no way to fail; a panic is the host's own and has been reported by its hook.
fn quiet<R>(default: R, work: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(default)
}

/// # Safety
/// `host` must be the one of the link, which is `&'static H`.
unsafe fn host_of<H: Host>(host: *const c_void) -> &'static H {
    // SAFETY: the caller vouches.
    unsafe { &*host.cast() }
}

/// # Safety
/// `turn` must be the one of the call that this thread is in, made by `CallSpec::run`.
unsafe fn frame_of<'a, H: Host>(turn: *mut c_void) -> &'a mut Frame<'a, H::Turn> {
    // SAFETY: the caller vouches; the plugin's side is waiting for this host call, so nobody else uses it.
    unsafe { &mut *turn.cast() }
}

/// # Safety
/// The bytes must be valid for `'a`.
unsafe fn body_ref<'a>(body: RawBody) -> BodyRef<'a> {
    BodyRef {
        // SAFETY: the caller vouches.
        bytes: unsafe { body.bytes.get() },
        schema: body.schema,
        flags: body.flags as u16,
    }
}

/// # Safety
/// As for [`body_ref`].
unsafe fn answer_ref<'a>(answer: RawBody) -> AnswerRef<'a> {
    // SAFETY: the caller vouches.
    let body = unsafe { body_ref(answer) };
    if answer.code == 0 {
        return Ok(body);
    }
    Err(ErrorParts {
        code: ErrorCode::from_number(answer.code as u8),
        text: String::from_utf8_lossy(body.bytes).into_owned(),
        handled: Handled::from_number(answer.handled as u8),
        retry_after: (answer.retry_after > 0).then(|| Duration::from_nanos(answer.retry_after)),
    }
    .into())
}

unsafe extern "C" fn resolve<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    path: Bytes,
    kind: u32,
    recipient: *mut RawRecipient,
    prefix: *mut u8,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host and its turn.
        let (host, frame) = unsafe { (host_of::<H>(host), frame_of::<H>(turn)) };
        // SAFETY: the plugin's side makes the path from a `str` that is valid for the call; to look at every byte would cost as much as to resolve it.
        let path = unsafe { std::str::from_utf8_unchecked(path.get()) };
        PREFIX.with_borrow_mut(|encoded| {
            encoded.clear();
            let kind = match kind {
                0 => PathKind::Whole,
                1 => PathKind::Own,
                _ => PathKind::Event,
            };
            let mut resolved = host.resolve(frame.turn, path, kind, encoded)?;
            let length = encoded.len().min(path.len() + MAX_LENGTHS);
            resolved.prefix = length as u16;
            // SAFETY: the plugin passes a place for a recipient.
            unsafe { recipient.write(resolved) };
            // SAFETY: the plugin passes room for the path and `MAX_LENGTHS` bytes more.
            unsafe { ptr::copy_nonoverlapping(encoded.as_ptr(), prefix, length) };
            Ok(())
        })
    })
}

thread_local! {
    /// Encoded parameters on their way to a plugin.
    static PREFIX: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

unsafe extern "C" fn reserve<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    length: usize,
    block: *mut RawBlock,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host and its turn.
        let (host, frame) = unsafe { (host_of::<H>(host), frame_of::<H>(turn)) };
        let lent = host.reserve(frame.turn, length)?;
        // SAFETY: the plugin passes a place for a block.
        unsafe { block.write(lent) };
        Ok(())
    })
}

unsafe extern "C" fn publish<H: Host>(host: *const c_void, turn: *mut c_void) {
    quiet((), || {
        // SAFETY: the plugin passes its link's host and its turn.
        let (host, frame) = unsafe { (host_of::<H>(host), frame_of::<H>(turn)) };
        host.publish(frame.turn, frame.outbox);
    });
}

unsafe extern "C" fn send<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    message: *mut Envelope,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host, its turn, and a message that is ours for the call.
        unsafe { host_of::<H>(host).send(frame_of::<H>(turn).turn, &mut *message) }
    })
}

unsafe extern "C" fn ask<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    message: *mut Envelope,
    within: u64,
    prefix: *const u8,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host, its turn, and a message that is ours for the call.
        let (host, frame, message) =
            unsafe { (host_of::<H>(host), frame_of::<H>(turn), &mut *message) };
        let (instead_of, to) = match message.reply {
            request if request & 1 == 1 => (request, 0),
            new => (0, (new >> 1) as u32),
        };
        let prefix = match to >> 20 {
            0 => &[],
            // SAFETY: the plugin passes that many bytes, valid for the call.
            length => unsafe { slice::from_raw_parts(prefix, length as usize) },
        };
        let (route, parameters) = (to as u16, (to >> 16) as u16 & flags::PARAMETERS);
        let how = AskSpec { within, instead_of, route, parameters, prefix };
        host.ask(frame.turn, frame.outbox, message, how)
    })
}

unsafe extern "C" fn after<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    delay: u64,
    path: Bytes,
    body: RawBody,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host, its turn, and arguments valid for the call.
        unsafe {
            host_of::<H>(host).after(frame_of::<H>(turn).turn, delay, path.text(), body_ref(body))
        }
    })
}

unsafe extern "C" fn respond<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    handle: u64,
    request: u64,
    answer: RawBody,
) {
    quiet((), || {
        // SAFETY: the plugin passes its link's host, its turn or null, and an answer valid for the call.
        unsafe {
            let frame = (!turn.is_null()).then(|| frame_of::<H>(turn));
            let turn = frame.map(|frame| (&mut *frame.turn, &mut *frame.replies));
            host_of::<H>(host).respond(turn, handle, request, answer_ref(answer));
        }
    });
}

unsafe extern "C" fn hold<H: Host>(host: *const c_void, handle: u64, request: u64) {
    // SAFETY: the plugin passes its link's host.
    quiet((), || unsafe { host_of::<H>(host).hold(handle, request) });
}

unsafe extern "C" fn name_of<H: Host>(host: *const c_void, subsystem: u32, sink: Sink) {
    // SAFETY: the plugin passes its link's host.
    let name = quiet(String::new(), || unsafe { host_of::<H>(host).name_of(subsystem) });
    // SAFETY: the plugin passes the sink for this call.
    unsafe { (sink.take)(sink.context, name.as_str().into()) };
}

unsafe extern "C" fn now<H: Host>(host: *const c_void) -> u64 {
    // SAFETY: the plugin passes its link's host.
    quiet(0, || unsafe { host_of::<H>(host).now() })
}

unsafe extern "C" fn log<H: Host>(
    host: *const c_void,
    handle: u64,
    level: u32,
    target: Bytes,
    text: Bytes,
) {
    // SAFETY: the plugin passes its link's host and texts valid for the call.
    quiet((), || unsafe {
        host_of::<H>(host).log(handle, level as u8, target.text(), text.text())
    });
}

unsafe extern "C" fn fault<H: Host>(host: *const c_void, handle: u64, text: Bytes) {
    // SAFETY: the plugin passes its link's host and a text valid for the call.
    quiet((), || unsafe { host_of::<H>(host).fault(handle, text.text()) });
}

unsafe extern "C" fn listen<H: Host>(
    host: *const c_void,
    handle: u64,
    address: Bytes,
    descriptor: *mut i32,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host, a text valid for the call, and a place for the descriptor.
        unsafe { descriptor.write(host_of::<H>(host).listen(handle, address.text())?) };
        Ok(())
    })
}

unsafe extern "C" fn outside_send<H: Host>(
    host: *const c_void,
    handle: u64,
    path: Bytes,
    body: RawBody,
    error: *mut RawError,
) -> u32 {
    // SAFETY: the plugin passes its link's host and arguments valid for the call.
    guard(error, || unsafe { host_of::<H>(host).outside_send(handle, path.text(), body_ref(body)) })
}

unsafe extern "C" fn outside_ask<H: Host>(
    host: *const c_void,
    handle: u64,
    path: Bytes,
    body: RawBody,
    within: u64,
    token: u64,
    request: *mut u64,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the plugin passes its link's host and arguments valid for the call.
        let asked = unsafe {
            host_of::<H>(host).outside_ask(handle, path.text(), body_ref(body), within, token)?
        };
        // SAFETY: the plugin passes a place for the number.
        unsafe { request.write(asked) };
        Ok(())
    })
}

unsafe extern "C" fn part<H: Host>(
    host: *const c_void,
    handle: u64,
    request: u64,
    part: RawBody,
    error: *mut RawError,
) -> u32 {
    // SAFETY: the plugin passes its link's host and a part valid for the call.
    guard(error, || unsafe { host_of::<H>(host).part(handle, request, body_ref(part)) })
}

unsafe extern "C" fn parts<H: Host>(
    host: *const c_void,
    handle: u64,
    request: u64,
    sink: CompletionSink,
) {
    let mut give = |token: u64, outcome: &Envelope, content: &[u8]| {
        // SAFETY: as for `completion`.
        unsafe { (sink.take)(sink.context, token, outcome, content.into()) }
    };
    // SAFETY: the plugin passes its link's host.
    quiet((), || unsafe { host_of::<H>(host).parts(handle, request, &mut give) });
}

unsafe extern "C" fn cancel<H: Host>(host: *const c_void, handle: u64, request: u64) {
    // SAFETY: the plugin passes its link's host.
    quiet((), || unsafe { host_of::<H>(host).cancel(handle, request) });
}

unsafe extern "C" fn counter<H: Host>(host: *const c_void, handle: u64, name: Bytes) -> *mut u64 {
    static LOST: AtomicU64 = AtomicU64::new(0);
    // SAFETY: the plugin passes its link's host and a text valid for the call.
    quiet(&LOST, || unsafe { host_of::<H>(host).counter(handle, name.text()) }).as_ptr()
}

unsafe extern "C" fn trace_call<H: Host>(
    host: *const c_void,
    handle: u64,
    what: u32,
    id: u64,
    site: *const RawSite,
    values: Bytes,
) -> u64 {
    // SAFETY: the plugin passes its link's host, a site or null, and values, all valid for the call.
    quiet(0, || unsafe {
        let site = site.as_ref().map(|site| SiteRef {
            level: site.level as u8,
            is_span: site.is_span != 0,
            target: site.target.text(),
            name: site.name.text(),
            file: site.file.text(),
            line: site.line,
            fields: site.fields.text(),
        });
        host_of::<H>(host).trace(handle, what, id, site, values.get())
    })
}

unsafe extern "C" fn completion<H: Host>(
    host: *const c_void,
    handle: u64,
    sink: CompletionSink,
) -> u32 {
    let mut give = |token: u64, outcome: &Envelope, content: &[u8]| {
        // SAFETY: the plugin passes the sink for this call; outcome and content are valid during `take`.
        unsafe { (sink.take)(sink.context, token, outcome, content.into()) }
    };
    // SAFETY: the plugin passes its link's host.
    quiet(0, || u32::from(unsafe { host_of::<H>(host).completion(handle, &mut give) }))
}

unsafe extern "C" fn lost<H: Host>(
    host: *const c_void,
    turn: *mut c_void,
    handle: u64,
    is_in_call: u32,
    text: Bytes,
) {
    quiet((), || {
        // SAFETY: the plugin passes its link's host, its turn or null, and a text valid for the call.
        let (host, text) = unsafe { (host_of::<H>(host), text.text()) };
        // SAFETY: as above; nothing below this call on the stack runs again before the host returns.
        let frame = (!turn.is_null()).then(|| unsafe { frame_of::<H>(turn) });
        let call = frame.map(|frame| LostCall {
            turn: &mut *frame.turn,
            outbox: &mut *frame.outbox,
            replies: &mut *frame.replies,
        });
        host.lost(LostThread { handle, is_spawned: is_in_call != 0, call }, text);
    });
}
