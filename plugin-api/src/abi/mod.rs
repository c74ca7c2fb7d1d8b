//! The boundary: every type that crosses it, its version, and the code on either side of it.
//!
//! Only plain data crosses: integers, slices borrowed for one call, and `#[repr(C)]` structs of those.
//! Plugins are entered through [`Module`], always by way of [`shim`], which catches panics on the plugin's side.
//! Plugins call out through [`HostCalls`]; the host and the testkit implement [`host::Host`] instead of its functions.
//!
//! A minor version only adds fields at the end of [`Module`] and [`HostCalls`]; everything else here is frozen per major.
//! `tests/abi_layout.rs` holds the layout against a committed file.
#![allow(unsafe_code, reason = "this is the ABI: raw pointers that are valid for one call")]
#![allow(
    non_camel_case_types,
    non_local_definitions,
    reason = "names and impls that abi_stable generates"
)]

pub(crate) mod call;
#[cfg(feature = "host")]
mod counters;
pub mod hooks;
#[cfg(feature = "host")]
pub mod host;
pub mod link;
pub mod manifest;
pub mod shim;
pub mod trace;

use abi_stable::{StableAbi, library::RootModule, sabi_types::VersionStrings};
use std::ffi::c_void;

/// The version of this ABI, independent of crate and compiler versions.
pub const ABI_VERSION: (u16, u16) = (1, 0);

/// Bytes borrowed for one call.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct Bytes {
    /// Their start; dangling but not null when `length` is 0.
    pub start: *const u8,
    /// How many.
    pub length: usize,
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl Bytes {
    /// The bytes.
    ///
    /// # Safety
    /// The memory must be readable and unchanged for `'a`.
    pub unsafe fn get<'a>(self) -> &'a [u8] {
        // SAFETY: the caller vouches for the memory; a `Bytes` is only made from a slice.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    /// The text; invalid UTF-8 reads as empty, which no caller sends.
    ///
    /// # Safety
    /// As for [`Bytes::get`].
    pub unsafe fn text<'a>(self) -> &'a str {
        // SAFETY: as above.
        std::str::from_utf8(unsafe { self.get() }).unwrap_or_default()
    }
}

/// Room that the caller lends for an error.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawError {
    /// The code's number; 0 is no error.
    pub code: u32,
    /// [`crate::Handled`] as a number.
    pub handled: u32,
    /// Nanoseconds until it is worth trying again; 0 is unknown.
    pub retry_after: u64,
    /// For a config error: the byte range within the config's text.
    pub span_start: u64,
    /// Its end; equal to `span_start` when the place is unknown.
    pub span_end: u64,
    /// Where the text goes.
    pub text: *mut u8,
    /// How much room there is.
    pub capacity: usize,
    /// How much of it was written, UTF-8, cut at a character.
    pub length: usize,
}

/// Bytes that a message carries within its envelope.
pub const INLINE: usize = 24;

/// The 64-byte header form of a message.
///
/// The content is the captured parameters, then the body; up to [`INLINE`] bytes lie in `inline`,
/// more lie in a block of the host's pool, whose number is the first four bytes of `inline`.
/// There is no pointer in it, so that it can cross to another process.
///
/// In an outcome `stamp` holds code and handled, and `deadline` the time until a retry is worth it.
/// In an outbox `sender` holds the recipient and `stamp` the [mark](Envelope::mark) of the message whose handler sent it, until the host
/// writes the sender over the one and clears the other.
/// A request on its way to the host has in `reply` the request that the answer goes to, whose lowest bit is 1. To begin a
/// new one, it has from bit 1 where the outcome goes: the asker's own route (16 bits), its parameters (4), and the bytes
/// that they take as they are encoded (12).
// Aligned, so that each is one line of a cache and not parts of two, and so that copying many takes the same instructions
// wherever they lie.
#[repr(C, align(64))]
#[derive(StableAbi, Copy, Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The route, as numbered by the host.
    pub route: u16,
    /// See [`flags`].
    pub flags: u16,
    /// Bytes of content: parameters and body.
    pub length: u32,
    /// The subsystem that sent it, stamped by the host.
    pub sender: u32,
    /// When it was sent, for the sample that is timed; 0 is not sampled.
    pub stamp: u32,
    /// The request to answer; 0 wants no answer.
    pub reply: u64,
    /// Absolute, in nanoseconds of the host's clock; 0 is none.
    pub deadline: u64,
    /// Ties messages to the one that caused them; 0 is none.
    pub trace: u64,
    /// The content, or the number of its block.
    pub inline: [u8; INLINE],
}

const _: () = assert!(size_of::<Envelope>() == 64);

impl Envelope {
    /// An envelope without content.
    pub const EMPTY: Envelope = Envelope {
        route: 0,
        flags: 0,
        length: 0,
        sender: 0,
        stamp: 0,
        reply: 0,
        deadline: 0,
        trace: 0,
        inline: [0; INLINE],
    };

    /// How many parameters the content starts with.
    #[inline]
    pub fn parameters(&self) -> usize {
        (self.flags & flags::PARAMETERS) as usize
    }

    /// The number of the block that holds the content, if it does not lie inline.
    #[inline]
    pub fn block(&self) -> Option<u32> {
        let [a, b, c, d, ..] = self.inline;
        (self.flags & flags::BLOCK != 0).then(|| u32::from_le_bytes([a, b, c, d]))
    }

    /// Puts the number of a block in place of inline content.
    pub fn set_block(&mut self, block: u32) {
        self.flags |= flags::BLOCK;
        self.inline[..4].copy_from_slice(&block.to_le_bytes());
    }

    /// What tells this message of a batch from the others while the batch lies where it does.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        std::ptr::from_ref(self) as usize as u32
    }

    /// The content, inline or in the pool at `pool`.
    ///
    /// # Safety
    /// `pool` must be the base of the pool in which the envelope's block lies, and the block must be live as long as the result.
    #[inline]
    pub unsafe fn content(&self, pool: *const u8) -> &[u8] {
        match self.block() {
            None => &self.inline[..(self.length as usize).min(INLINE)],
            // SAFETY: the caller vouches for pool and block; the host sized the block for `length`.
            Some(block) => unsafe {
                std::slice::from_raw_parts(
                    pool.add(block as usize * BLOCK_UNIT),
                    self.length as usize,
                )
            },
        }
    }
}

/// A block's number counts units of this many bytes from the base of the pool.
pub const BLOCK_UNIT: usize = 64;

/// The bits of [`Envelope::flags`].
pub mod flags {
    /// How many parameters: 0 to 8.
    pub const PARAMETERS: u16 = 0x000f;
    /// The content lies in a block.
    pub const BLOCK: u16 = 0x0010;
    /// The encoding of the body: [`RAW`], [`POSTCARD`] or [`JSON`].
    pub const ENCODING: u16 = 0x0060;
    /// Plain bytes.
    pub const RAW: u16 = 0x0000;
    /// postcard, between plugins.
    pub const POSTCARD: u16 = 0x0020;
    /// JSON, at the edge.
    pub const JSON: u16 = 0x0040;
    /// This is an outcome: its `deadline` and `stamp` are not those of a message.
    pub const OUTCOME: u16 = 0x0100;
    /// The answer is to be JSON, whatever the body is: the request was forwarded for one that came as JSON.
    pub const ANSWER_JSON: u16 = 0x0400;
    /// On the way to the host only: the thread that asks may be kept waiting at a full queue that blocks.
    pub const MAY_WAIT: u16 = 0x0200;
    /// On the way to the host only: the path is that of an event of the subsystem's own, to be published.
    pub const EVENT: u16 = 0x0800;
    /// On a request: whoever asks takes the answer in parts. On an outcome: a part, and there is more; its `deadline` holds the
    /// request.
    pub const PART: u16 = 0x4000;
    /// This outcome is the end of an answer in parts.
    pub const END: u16 = 0x8000;
    /// The bytes came from the edge: a raw handler gets them unchanged, a typed one reads them as JSON.
    pub const EDGE: u16 = 0x0080;
}

/// What the path is that [`HostCalls::resolve`] is asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PathKind {
    /// A whole one, of a recipient.
    Whole = 0,
    /// One within the subsystem, of a route for outcomes.
    Own = 1,
    /// One within the subsystem, of an event.
    Event = 2,
}

/// Stands for the recipient of an event: all who listen.
pub const LISTENERS: u32 = u32::MAX;

/// What a plugin keeps of a path that was resolved once.
#[repr(C)]
#[derive(StableAbi, Copy, Clone, Debug, PartialEq, Eq)]
pub struct RawRecipient {
    /// The table version it holds for; 0 is never current.
    pub version: u32,
    /// The subsystem's number; [`LISTENERS`] for an event.
    pub subsystem: u32,
    /// The route's number.
    pub route: u16,
    /// 1: the queue answers at once, so the message must be sent by [`HostCalls`]; 0: it goes to the outbox.
    pub direct: u16,
    /// How many parameters the path has.
    pub parameters: u16,
    /// Bytes of the encoded parameters that go before the body.
    pub prefix: u16,
    /// The schema of the body; 0 takes anything.
    pub body: u64,
    /// The schema of the reply; 0 promises nothing.
    pub reply: u64,
}

impl RawRecipient {
    /// One that is never current.
    pub const UNRESOLVED: RawRecipient = RawRecipient {
        version: 0,
        subsystem: 0,
        route: 0,
        direct: 0,
        parameters: 0,
        prefix: 0,
        body: 0,
        reply: 0,
    };
}

/// A message or an answer on its way to the host, which copies it before the call returns.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct RawBody {
    /// The content.
    pub bytes: Bytes,
    /// The body's schema; 0 where it has none.
    pub schema: u64,
    /// Encoding and edge, as in [`flags`].
    pub flags: u32,
    /// For an answer: the error's number, or 0.
    pub code: u32,
    /// For an answer that is an error: [`crate::Handled`] as a number.
    pub handled: u32,
    /// Zero.
    pub reserved: u32,
    /// For an answer that is an error: nanoseconds until a retry is worth it.
    pub retry_after: u64,
}

/// A block that the host lends until the message that names it is sent.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct RawBlock {
    /// Its number.
    pub block: u32,
    /// Zero.
    pub reserved: u32,
    /// Its memory.
    pub memory: *mut u8,
}

/// Host memory in which handlers write what they send, published by the host in one step per queue.
#[repr(C)]
#[derive(StableAbi)]
pub struct Outbox {
    /// Where the next one is written; what lies before it is to be sent.
    pub next: *mut Envelope,
    /// Behind the last place.
    pub end: *mut Envelope,
    /// Bytes of block content behind them.
    pub bytes: u32,
    /// Publish when `bytes` reaches this.
    pub max_bytes: u32,
}

/// What the shim reports while a batch runs; host memory, read by the watchdog at any time.
#[repr(C)]
#[derive(StableAbi)]
pub struct Report {
    /// The message that runs now; stored before each one, so the ones before it are decided.
    pub cursor: u32,
    /// Bits that the host sets and the shim reads before each message: [`Report::RETURN_SOON`], [`Report::REVOKED`].
    pub flags: u32,
    /// 1 once any of `outcomes` was written; 0, as the host wrote before the call, while every message is handled.
    pub failed: u32,
    /// Zero.
    pub reserved: u32,
    /// A byte a message: the error's number; 0, as the host wrote before the call, for handled.
    pub outcomes: *mut u8,
}

impl Report {
    /// Others wait: return before the next message.
    pub const RETURN_SOON: u32 = 1;
    /// The batch was taken away: nothing of it is to be touched any more.
    pub const REVOKED: u32 = 2;
}

/// One call with messages, or a lifecycle call with none.
#[repr(C)]
#[derive(StableAbi)]
pub struct Call {
    /// The host's own state for this call.
    pub turn: *mut c_void,
    /// The batch.
    pub messages: *const Envelope,
    /// How many messages it has.
    pub length: u32,
    /// The current version of the path table.
    pub version: u32,
    /// Where the pool begins.
    pub pool: *const u8,
    /// What the shim reports.
    pub report: *mut Report,
    /// Where handlers write what they send.
    pub outbox: *mut Outbox,
    /// Where the shim writes short answers: outcomes with the request in `reply`. What does not fit goes by `respond`.
    pub replies: *mut Outbox,
    /// The time, in nanoseconds, read once for the batch.
    pub now: u64,
    /// Zero; room for a later minor version.
    pub reserved: [u64; 4],
}

/// What an instance keeps of its host.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct Link {
    /// The host's own state, first argument of every host call; it lives as long as the process.
    pub host: *const c_void,
    /// The host's functions, which live as long.
    pub calls: HostCalls_Ref,
    /// Names subsystem and generation; a stale one is answered with `gone`.
    pub handle: u64,
    /// One byte, the most verbose level that is logged: 0 off, 1 error to 5 trace.
    pub level: *const u8,
}

/// How an instance comes to be.
#[repr(C)]
#[derive(StableAbi)]
pub struct CreateCall {
    /// The way back to the host.
    pub link: Link,
    /// The subsystem's name.
    pub name: Bytes,
    /// Its RON config.
    pub config: Bytes,
    /// The folder for its files, which may not exist yet.
    pub data: Bytes,
    /// The host's number of each route, in the order of the manifest.
    pub routes: *const u16,
    /// How many routes.
    pub routes_length: usize,
    /// Zero; room for a later minor version.
    pub reserved: [u64; 4],
}

/// Takes bytes that one side makes while the other calls it.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct Sink {
    /// First argument of `take`.
    pub context: *mut c_void,
    /// Copies the bytes.
    pub take: unsafe extern "C" fn(context: *mut c_void, bytes: Bytes),
}

/// A place in a plugin's source that makes events or spans, all of it borrowed for the call.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawSite {
    /// From 1 error to 5 trace.
    pub level: u32,
    /// 1 for spans, 0 for events.
    pub is_span: u32,
    /// What filters go by; the module's path, if the author says nothing else.
    pub target: Bytes,
    /// The span's name; of an event, where it is.
    pub name: Bytes,
    /// The source file; empty when unknown.
    pub file: Bytes,
    /// The names of its fields, a zero byte after each.
    pub fields: Bytes,
    /// The line in the file; 0 when unknown.
    pub line: u32,
    /// Zero; room for a later minor version.
    pub reserved: u32,
}

/// Takes outcomes for a plugin's own threads.
#[repr(C)]
#[derive(StableAbi, Copy, Clone)]
pub struct CompletionSink {
    /// First argument of `take`.
    pub context: *mut c_void,
    /// Copies an outcome; `content` is valid for the call.
    pub take: unsafe extern "C" fn(
        context: *mut c_void,
        token: u64,
        outcome: *const Envelope,
        content: Bytes,
    ),
}

/// A created subsystem, opaque to the host.
pub type Instance = *mut c_void;

/// What a plugin exports. Every function is called by a worker or the lifecycle thread, one at a time for an instance,
/// but for `quiesce` and `threads`, which may come at any time before `destroy`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = Module_Ref)))]
#[sabi(missing_field(panic))]
pub struct Module {
    /// Builds an instance; null on error.
    pub create: unsafe extern "C" fn(call: *const CreateCall, error: *mut RawError) -> Instance,
    /// Gives a new instance the state that an older one saved. The status is an error's number or 0, here and below.
    pub restore: unsafe extern "C" fn(
        instance: Instance,
        schema: u32,
        state: Bytes,
        error: *mut RawError,
    ) -> u32,
    /// Takes files, ports and threads.
    pub start:
        unsafe extern "C" fn(instance: Instance, call: *mut Call, error: *mut RawError) -> u32,
    /// Handles a batch. The status is [`HANDLED`], or [`PANICKED`] with the text in `error` and the cursor at its message.
    pub handle:
        unsafe extern "C" fn(instance: Instance, call: *mut Call, error: *mut RawError) -> u32,
    /// Makes a batch durable, before its replies leave.
    pub commit: unsafe extern "C" fn(instance: Instance, error: *mut RawError) -> u32,
    /// Hands the state to `sink`.
    pub save: unsafe extern "C" fn(instance: Instance, sink: Sink, error: *mut RawError) -> u32,
    /// Gives back what `start` took.
    pub stop:
        unsafe extern "C" fn(instance: Instance, call: *mut Call, error: *mut RawError) -> u32,
    /// Raises the stop token of the instance's own threads.
    pub quiesce: unsafe extern "C" fn(instance: Instance),
    /// How many of the instance's own threads still run.
    pub threads: unsafe extern "C" fn(instance: Instance) -> u32,
    /// Drops the instance, whose threads have ended.
    pub destroy: unsafe extern "C" fn(instance: Instance, error: *mut RawError) -> u32,
    /// [`HAS_COMMIT`], [`HAS_STATE`].
    pub abilities: u32,
    /// Tells the library that a host has loaded it, before anything else of it is called: from here on it notes what
    /// would keep it from being unloaded.
    pub attach: unsafe extern "C" fn(),
    /// Runs the thread-local destructors that the library has left on the calling thread, a host's; no other function of
    /// the library runs on that thread again.
    pub detach: unsafe extern "C" fn(),
    /// Counts what the library holds in the process.
    pub holds: unsafe extern "C" fn(holds: *mut Holds),
    /// What the host logs has changed: the library asks anew which of its events and spans are wanted. Runs no code of the
    /// subsystem, and may be called beside any other call between `create` and `unload`.
    pub log_changed: unsafe extern "C" fn(),
    /// Gives back what can be given back without running any code of the subsystem: pthread keys, the panic hook, memory.
    /// The last call; only dlclose follows. No thread of the library's own runs any more, and every thread is detached.
    pub unload: unsafe extern "C" fn(),
    /// How many bytes its heap holds; 0 where it has an allocator of its own. May be asked at any time before `unload`.
    #[sabi(last_prefix_field)]
    pub heap: unsafe extern "C" fn() -> u64,
}

/// What a library holds in the process; it can be unloaded when `threads` and `destructors` are 0.
#[repr(C)]
#[derive(StableAbi, Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Threads that it started and that have not ended.
    pub threads: u32,
    /// Thread-local destructors that it left on threads of the host.
    pub destructors: u32,
    /// Blocks of its heap; 0 where it has an allocator of its own.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Zero; room for a later minor version.
    pub reserved: [u64; 4],
}

/// The batch ran to its end, or to where the report asked it to return.
pub const HANDLED: u32 = 0;
/// A handler panicked; the instance must only be destroyed.
pub const PANICKED: u32 = 1;

/// The plugin has a `commit`.
pub const HAS_COMMIT: u32 = 1;
/// The plugin saves state.
pub const HAS_STATE: u32 = 2;

impl RootModule for Module_Ref {
    abi_stable::declare_root_module_statics! {Module_Ref}
    const BASE_NAME: &'static str = "mycelia";
    const NAME: &'static str = "mycelia";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

/// What a plugin may ask of its host. Each function takes the host first; those with a turn are valid only during its call.
///
/// A status is an error's number or 0, with the text in `error`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostCalls_Ref)))]
#[sabi(missing_field(panic))]
pub struct HostCalls {
    /// Resolves a path; the encoded parameters go to `prefix`, which has room for the path and [`MAX_LENGTHS`] bytes more.
    /// `kind` is a [`PathKind`].
    pub resolve: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        path: Bytes,
        kind: u32,
        recipient: *mut RawRecipient,
        prefix: *mut u8,
        error: *mut RawError,
    ) -> u32,
    /// Lends a block of at least `length` bytes.
    pub reserve: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        length: usize,
        block: *mut RawBlock,
        error: *mut RawError,
    ) -> u32,
    /// Publishes the outbox.
    pub publish: unsafe extern "C" fn(host: *const c_void, turn: *mut c_void),
    /// Sends to a queue that answers at once. The message is as one in an outbox, with the recipient in place of the
    /// sender, and the host's to change; its block is the host's again, also if it was not sent.
    pub send: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        message: *mut Envelope,
        error: *mut RawError,
    ) -> u32,
    /// Sends a request: a message as for `send`, which the host gives its number and deadline, by the outbox or at once.
    /// `within` is the deadline in nanoseconds from now, 0 the host's default; at `prefix` lie the encoded parameters of
    /// the route where the outcome goes, if it has any.
    pub ask: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        message: *mut Envelope,
        within: u64,
        prefix: *const u8,
        error: *mut RawError,
    ) -> u32,
    /// Sends a message to a route of the subsystem's own after `delay` nanoseconds.
    pub after: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        delay: u64,
        path: Bytes,
        body: RawBody,
        error: *mut RawError,
    ) -> u32,
    /// Answers a request. `turn` is null outside a call; within one the answer waits for `commit`.
    pub respond: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        handle: u64,
        request: u64,
        answer: RawBody,
    ),
    /// Tells the host that an instance has restored the responder of a request; those that none restores are answered
    /// `reloading` or `restarted`.
    pub hold: unsafe extern "C" fn(host: *const c_void, handle: u64, request: u64),
    /// The name of a subsystem.
    pub name_of: unsafe extern "C" fn(host: *const c_void, subsystem: u32, sink: Sink),
    /// The time, in nanoseconds.
    pub now: unsafe extern "C" fn(host: *const c_void) -> u64,
    /// Logs a line at a level from 1 error to 5 trace.
    pub log: unsafe extern "C" fn(
        host: *const c_void,
        handle: u64,
        level: u32,
        target: Bytes,
        text: Bytes,
    ),
    /// Tells the host that one of the plugin's own threads failed.
    pub fault: unsafe extern "C" fn(host: *const c_void, handle: u64, text: Bytes),
    /// Opens a listening socket that the host keeps across generations; gives a descriptor of the plugin's own.
    pub listen: unsafe extern "C" fn(
        host: *const c_void,
        handle: u64,
        address: Bytes,
        descriptor: *mut i32,
        error: *mut RawError,
    ) -> u32,
    /// Sends from a plugin's own thread; waits at a full `Block` queue as long as its policy says.
    pub outside_send: unsafe extern "C" fn(
        host: *const c_void,
        handle: u64,
        path: Bytes,
        body: RawBody,
        error: *mut RawError,
    ) -> u32,
    /// Sends a request from a plugin's own thread, and writes its number to `request`; its outcome comes by `completion` with
    /// the token. Of an answer in parts an outcome without content comes, which says that `parts` has some.
    pub outside_ask: unsafe extern "C" fn(
        host: *const c_void,
        handle: u64,
        path: Bytes,
        body: RawBody,
        within: u64,
        token: u64,
        request: *mut u64,
        error: *mut RawError,
    ) -> u32,
    /// Where the subsystem counts what it names so; it lives as long as the process and is only ever used atomically. What
    /// has no place of its own is counted in one that all such names share.
    pub counter: unsafe extern "C" fn(host: *const c_void, handle: u64, name: Bytes) -> *mut u64,
    /// Passes on what the plugin's own copy of `tracing` has collected, as in [`trace::what`]; `site` and `values` may be
    /// null and empty where it says so.
    pub trace: unsafe extern "C" fn(
        host: *const c_void,
        handle: u64,
        what: u32,
        id: u64,
        site: *const RawSite,
        values: Bytes,
    ) -> u64,
    /// Waits for the next outcomes and gives them to the sink. 0 when the generation has ended, else 1.
    pub completion:
        unsafe extern "C" fn(host: *const c_void, handle: u64, sink: CompletionSink) -> u32,
    /// The calling thread was about to end the process, as `text` says, and runs no code of the plugin any more: it is the
    /// host's to keep. `turn` is null outside of a call with one; `is_in_call` is 1 on threads of `ctx.spawn` and of the host,
    /// 0 where `handle` is of any instance. Returns only if the process may end.
    pub lost: unsafe extern "C" fn(
        host: *const c_void,
        turn: *mut c_void,
        handle: u64,
        is_in_call: u32,
        text: Bytes,
    ),
    /// Adds a part to the answer of a request whose asker takes parts. At once, also within a call: no commit holds it back.
    /// Where [`flags::MAY_WAIT`] says so, it waits for the asker to take earlier ones.
    pub part: unsafe extern "C" fn(
        host: *const c_void,
        handle: u64,
        request: u64,
        part: RawBody,
        error: *mut RawError,
    ) -> u32,
    /// Gives the parts that wait for a request of an own thread to the sink, and the outcome behind the last of them.
    pub parts:
        unsafe extern "C" fn(host: *const c_void, handle: u64, request: u64, sink: CompletionSink),
    /// Ends a request of the subsystem's own whose answer comes in parts: it wants no more of them.
    #[sabi(last_prefix_field)]
    pub cancel: unsafe extern "C" fn(host: *const c_void, handle: u64, request: u64),
}

/// The most bytes that the lengths take with which encoded parameters begin.
pub const MAX_LENGTHS: usize = 8 * 2;
