//! The entry points of a plugin. Every one catches panics here, on the plugin's side: a panic that reached the boundary
//! would abort the process.

use super::{
    call::{NO_TEXT, Turn},
    *,
};
use crate::{
    Context, Error, ErrorCode, Handled, Result, Sender, Subsystem,
    context::Shared,
    handler::{Call as HandlerCall, ReplyBuffer, Run},
    subsystem::Export,
    thread::Threads,
};
use abi_stable::{library::RootModuleResult, prefix_type::WithMetadata, std_types::RResult};
use std::{
    any::Any,
    net::TcpListener,
    os::fd::{FromRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    ptr, slice,
    sync::Arc,
};

/// An instance as the plugin's side sees it.
struct Guest<S: Subsystem> {
    subsystem: S,
    /// Handlers by the host's number of their route.
    handlers: Vec<HandlerCall<S>>,
    context: Context,
    reply: ReplyBuffer,
}

impl<S: Subsystem> Guest<S> {
    fn link(&self) -> Link {
        self.context.turn.link
    }
}

/// The module of a subsystem, for the export macro and for the testkit.
pub const fn module<S: Export>() -> Module {
    Module {
        create: create::<S>,
        restore: restore::<S>,
        start: start::<S>,
        handle: handle::<S>,
        commit: commit::<S>,
        save: save::<S>,
        stop: stop::<S>,
        quiesce: quiesce::<S>,
        threads: threads::<S>,
        destroy: destroy::<S>,
        abilities: if S::COMMITS { HAS_COMMIT } else { 0 }
            | if S::SCHEMA > 0 { HAS_STATE } else { 0 },
        attach: hooks::attach,
        detach: hooks::detach,
        holds: hooks::holds,
        log_changed,
        unload: hooks::unload,
        heap: hooks::heap_bytes,
    }
}

/// What the library's header gives the host for its root module.
pub fn root_module(module: &'static WithMetadata<Module>) -> RootModuleResult {
    // SAFETY: the host casts it back to `Module_Ref`, after it has checked the layout.
    RResult::ROk(unsafe { module.static_as_prefix().cast() })
}

/// The only value of a function item's type.
#[inline(always)]
pub(crate) fn conjure<H: Copy>() -> H {
    const {
        assert!(
            size_of::<H>() == 0,
            "a handler is a plain method, not a closure with captures or a function pointer"
        )
    };
    // SAFETY: reading no bytes needs no memory; the type is `Copy`, and `row` was handed a value of it.
    unsafe { std::ptr::dangling::<H>().read() }
}

/// The text of a panic; dropping its payload may panic again, which is caught too.
pub(crate) fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".into());
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    format!("a panic: {text}")
}

/// Runs plugin code and makes a status of whatever it does.
fn guard(error: *mut RawError, work: impl FnOnce() -> Result<()>) -> u32 {
    let failed = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return 0,
        Ok(Err(failed)) => failed,
        Err(payload) => Error::new(ErrorCode::Panicked, panic_text(payload)),
    };
    // SAFETY: the host passes room for an error to every entry point.
    unsafe { RawError::write(error, &failed) }
}

unsafe extern "C" fn create<S: Export>(call: *const CreateCall, error: *mut RawError) -> Instance {
    let mut instance = std::ptr::null_mut();
    guard(error, || {
        // SAFETY: the host passes a call that is valid until this returns.
        let call = unsafe { &*call };
        hooks::ends::created(call.link);
        // SAFETY: the texts of the call are valid as long.
        let (name, config, data) =
            unsafe { (call.name.text(), call.config.text(), call.data.text()) };
        trace::forward_to(call.link);
        let subsystem =
            link::within(call.link, ptr::null_mut(), || S::create(parse_config(config, error)?))?;
        // SAFETY: the host passes that many numbers.
        let routes = unsafe { slice::from_raw_parts(call.routes, call.routes_length) };
        let sender = Sender::new(call.link);
        let shared = Shared {
            name: name.to_owned(),
            data: PathBuf::from(data),
            threads: Arc::new(Threads::new()),
            sender,
        };
        let guest = Guest {
            subsystem,
            handlers: handlers_by_number(routes),
            context: Context::new(Turn::new(call.link), Arc::new(shared)),
            reply: ReplyBuffer::default(),
        };
        instance = Box::into_raw(Box::new(guest)).cast();
        Ok(())
    });
    instance
}

/// Reads the config; an error carries its place in the text.
fn parse_config<T: serde::de::DeserializeOwned>(config: &str, raw: *mut RawError) -> Result<T> {
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(config).map_err(|error| {
        // SAFETY: the host passes room for an error, or null.
        if let Some(raw) = unsafe { raw.as_mut() } {
            let place = place_of(config, &error.span);
            (raw.span_start, raw.span_end) = (place.start as u64, place.end as u64);
        }
        Error::invalid(error.code.to_string())
    })
}

/// Where an error is. RON's own span may begin, or lie whole, in the space before the value that is wrong.
fn place_of(config: &str, span: &ron::error::Span) -> std::ops::Range<usize> {
    let (start, end) = (offset_of(config, span.start), offset_of(config, span.end));
    let text = &config[start..];
    let start = start + (text.len() - text.trim_start().len());
    let value = config[start..].find([',', ')', ']', '}', '\n']).unwrap_or_default();
    start..if end > start { end } else { start + value }
}

fn offset_of(text: &str, place: ron::error::Position) -> usize {
    let line =
        text.split_inclusive('\n').take(place.line.saturating_sub(1)).map(str::len).sum::<usize>();
    let column =
        text[line..].chars().take(place.col.saturating_sub(1)).map(char::len_utf8).sum::<usize>();
    line + column
}

fn handlers_by_number<S: Subsystem>(routes: &[u16]) -> Vec<HandlerCall<S>> {
    let length = routes.iter().max().map_or(0, |&number| usize::from(number) + 1);
    let mut handlers: Vec<HandlerCall<S>> = vec![no_route; length];
    for (&number, route) in routes.iter().zip(S::ROUTES) {
        handlers[usize::from(number)] = route.call;
    }
    handlers
}

/// Stands where no handler is.
pub(crate) fn no_route<S>(
    subsystem: &mut S,
    context: &mut Context,
    reply: &mut ReplyBuffer,
    run: Run<'_>,
) -> usize {
    run.each(subsystem, context, reply, |_, _, _, _| -> Result<()> {
        Err(Error::new(ErrorCode::NoRoute, "this build has no such route any more"))
    })
}

/// # Safety
/// `instance` must come from `create::<S>`, and nobody else may use it until this call ends.
unsafe fn guest<'a, S: Subsystem>(instance: Instance) -> &'a mut Guest<S> {
    // SAFETY: the caller vouches.
    unsafe { &mut *instance.cast::<Guest<S>>() }
}

unsafe extern "C" fn log_changed() {
    guard(ptr::null_mut(), || {
        trace::ask_again();
        Ok(())
    });
}

unsafe extern "C" fn restore<S: Export>(
    instance: Instance,
    schema: u32,
    state: Bytes,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: the host makes one call at a time with an instance of ours, and lends the bytes for it.
        let (guest, state) = unsafe { (guest::<S>(instance), state.get()) };
        link::within(guest.link(), ptr::null_mut(), || guest.subsystem.restore(schema, state))
    })
}

unsafe extern "C" fn save<S: Export>(instance: Instance, sink: Sink, error: *mut RawError) -> u32 {
    guard(error, || {
        // SAFETY: as for `restore`.
        let guest = unsafe { guest::<S>(instance) };
        let state = link::within(guest.link(), ptr::null_mut(), || guest.subsystem.save())?;
        // SAFETY: the host gave the sink for this call.
        unsafe { (sink.take)(sink.context, state.as_slice().into()) };
        Ok(())
    })
}

/// Runs plugin code with the instance's context, which is of `call` meanwhile.
fn in_call<S: Subsystem>(
    guest: &mut Guest<S>,
    call: *mut Call,
    work: impl FnOnce(&mut Guest<S>) -> Result<()>,
) -> Result<()> {
    let mut text = NO_TEXT;
    let mut error = RawError::new(text.as_mut_ptr().cast(), text.len());
    // SAFETY: `call` is the one that the host passed to the entry point that runs; the context is used by nobody between
    // this function and the next call.
    unsafe { guest.context.turn.enter(call, &mut error) };
    link::within(guest.link(), guest.context.turn.raw(), || work(guest))
}

unsafe extern "C" fn start<S: Export>(
    instance: Instance,
    call: *mut Call,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: as for `restore`.
        let guest = unsafe { guest::<S>(instance) };
        guest.context.shared.threads.renew();
        in_call(guest, call, |guest| guest.subsystem.start(&mut guest.context))
    })
}

unsafe extern "C" fn stop<S: Export>(
    instance: Instance,
    call: *mut Call,
    error: *mut RawError,
) -> u32 {
    guard(error, || {
        // SAFETY: as for `restore`.
        let guest = unsafe { guest::<S>(instance) };
        in_call(guest, call, |guest| guest.subsystem.stop(&mut guest.context))
    })
}

unsafe extern "C" fn commit<S: Export>(instance: Instance, error: *mut RawError) -> u32 {
    guard(error, || {
        // SAFETY: as for `restore`.
        let guest = unsafe { guest::<S>(instance) };
        link::within(guest.link(), ptr::null_mut(), || guest.subsystem.commit())
    })
}

unsafe extern "C" fn handle<S: Export>(
    instance: Instance,
    call: *mut Call,
    error: *mut RawError,
) -> u32 {
    let status = guard(error, || {
        // SAFETY: as for `restore`.
        let guest = unsafe { guest::<S>(instance) };
        in_call(guest, call, |guest| {
            handle_batch(guest);
            Ok(())
        })
    });
    if status == 0 { HANDLED } else { PANICKED }
}

fn handle_batch<S: Subsystem>(guest: &mut Guest<S>) {
    let Guest { subsystem, handlers, context, reply } = guest;
    let report = context.turn.report();
    // SAFETY: the batch is used until the end of this function, which is before the entry point returns.
    let messages = unsafe { context.turn.messages() };
    let missing: HandlerCall<S> = no_route;
    let mut ran = 0;
    while let Some(first) = messages.get(ran)
        && report.flags() == 0
    {
        let call = handlers.get(usize::from(first.route)).unwrap_or(&missing);
        ran = call(subsystem, context, reply, Run { messages, at: ran, report });
    }
    report.cursor(ran);
}

/// Answers what takes more than a place among the short replies, unless a responder will, and gives the code of the outcome.
#[inline(never)]
pub(crate) fn settle(
    context: &mut Context,
    envelope: &Envelope,
    mut result: Result<()>,
    reply: &mut ReplyBuffer,
) -> u8 {
    if reply.deferred && crate::responder::was_dropped(envelope.reply) {
        result = result.and_then(|()| Err(crate::responder::unanswered()));
    }
    let code = result.as_ref().map_or_else(|error| error.code as u8, |()| 0);
    match result {
        Ok(()) if reply.deferred => {}
        result => answer(context, envelope, result, reply),
    }
    (reply.deferred, reply.unmade) = (false, false);
    code
}

/// Hands an answer to the host; an error is handed over even if nobody waits, so that it is seen.
#[cold]
fn answer(context: &mut Context, envelope: &Envelope, result: Result<()>, reply: &ReplyBuffer) {
    let turn = context.turn.raw();
    let link = context.turn.link;
    match result {
        Ok(()) => link.respond(turn, envelope.reply, RawBody::new(&reply.bytes, reply.flags, 0)),
        Err(error) => {
            let error = match error.handled {
                _ if reply.unmade => error.handled(Handled::No),
                // What it sent was not handled, but this message was: it is not safe to repeat.
                Handled::No => error.handled(Handled::Yes),
                _ => error,
            };
            link.respond(turn, envelope.reply, RawBody::error(&error));
        }
    }
}

unsafe extern "C" fn quiesce<S: Export>(instance: Instance) {
    // SAFETY: this may run beside another call, so only the shared part is touched, which is `Sync` and never written.
    let shared = unsafe { &(*instance.cast::<Guest<S>>()).context.shared };
    shared.threads.quiesce();
}

unsafe extern "C" fn threads<S: Export>(instance: Instance) -> u32 {
    // SAFETY: as for `quiesce`.
    let shared = unsafe { &(*instance.cast::<Guest<S>>()).context.shared };
    shared.threads.running() as u32
}

unsafe extern "C" fn destroy<S: Export>(instance: Instance, error: *mut RawError) -> u32 {
    guard(error, || {
        // SAFETY: the host destroys an instance of ours once, after every other call with it.
        let guest = unsafe { Box::from_raw(instance.cast::<Guest<S>>()) };
        link::within(guest.link(), ptr::null_mut(), || {
            let shared = guest.context.shared.clone();
            drop(guest);
            shared.sender.join();
        });
        Ok(())
    })
}

/// The listener of a descriptor that the host gave away.
pub(crate) fn own_listener(descriptor: i32) -> Result<TcpListener> {
    // SAFETY: the host duplicated the descriptor for us, and nobody else has it.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(listener)
}
