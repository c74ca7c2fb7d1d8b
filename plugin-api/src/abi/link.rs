//! The plugin's way back to its host: safe functions over [`HostCalls`], and the call that the current thread is in.

use super::{call::checked, *};
use crate::{Error, ErrorCode, ErrorParts, Handled, Result};
use std::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

// SAFETY: host state and functions live as long as the process and may be used from any thread, as `Link` documents.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

/// The call that a thread is in: whose it is, and the turn if it is a call by the host.
#[derive(Copy, Clone)]
pub(crate) struct Current {
    pub link: Link,
    pub turn: *mut c_void,
}

thread_local! {
    // Null outside of calls; no destructor, so that the library stays unloadable.
    static CURRENT: Cell<*const Current> = const { Cell::new(ptr::null()) };
}

/// Marks the thread as being in a call while `work` runs; calls nest where a test drives one plugin from another.
#[inline]
pub(crate) fn within<R>(link: Link, turn: *mut c_void, work: impl FnOnce() -> R) -> R {
    /// Restores what was current, also if `work` panics.
    struct Before<'t>(&'t Cell<*const Current>, *const Current);

    impl Drop for Before<'_> {
        #[inline]
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }

    let current = Current { link, turn };
    CURRENT.with(|place| {
        let _before = Before(place, place.replace(&current));
        work()
    })
}

pub(crate) fn current() -> Option<Current> {
    // SAFETY: it is null or of a `within` that runs on this thread, whose `current` outlives it.
    unsafe { CURRENT.get().as_ref().copied() }
}

impl RawError {
    /// An empty error that has room for its text.
    pub(crate) fn new(text: *mut u8, capacity: usize) -> Self {
        RawError {
            code: 0,
            handled: 0,
            retry_after: 0,
            span_start: 0,
            span_end: 0,
            text,
            capacity,
            length: 0,
        }
    }

    fn written(&self) -> Bytes {
        Bytes { start: self.text, length: self.length.min(self.capacity) }
    }

    /// What the other side wrote; a clone of `last`, which keeps it, where that says the same.
    ///
    /// # Safety
    /// As for `read`.
    pub(crate) unsafe fn read_again(&self, status: u32, last: &mut Option<Error>) -> Error {
        let is_same = |error: &&mut Error| {
            // SAFETY: by the caller.
            let text = unsafe { self.written().get() };
            error.code as u32 == status
                && error.handled as u32 == self.handled
                && nanos(error) == self.retry_after
                && error.text.as_bytes() == text
        };
        if let Some(error) = last.as_mut().filter(is_same) {
            return error.clone();
        }
        // SAFETY: by the caller.
        last.insert(unsafe { self.read(status) }).clone()
    }

    /// What the other side wrote.
    ///
    /// # Safety
    /// The room for the text must still be there.
    pub(crate) unsafe fn read(&self, status: u32) -> Error {
        // SAFETY: the other side wrote `length` bytes within the capacity.
        let text = unsafe { self.written().text() };
        ErrorParts {
            code: ErrorCode::from_number(status as u8),
            text: text.to_owned(),
            handled: Handled::from_number(self.handled as u8),
            retry_after: (self.retry_after > 0).then(|| Duration::from_nanos(self.retry_after)),
        }
        .into()
    }

    /// Writes an error for the other side and gives its status.
    ///
    /// # Safety
    /// `this` must be null or point to an error with room for its text.
    pub(crate) unsafe fn write(this: *mut RawError, error: &Error) -> u32 {
        // SAFETY: the caller vouches for the pointer.
        if let Some(raw) = unsafe { this.as_mut() } {
            raw.code = error.code as u32;
            raw.handled = error.handled as u32;
            raw.retry_after = nanos(error);
            let cut = error.text.floor_char_boundary(raw.capacity);
            // SAFETY: `cut` is at most the capacity of the room and the length of the text.
            unsafe { ptr::copy_nonoverlapping(error.text.as_ptr(), raw.text, cut) };
            raw.length = cut;
        }
        error.code as u32
    }
}

/// Until it is worth trying again, as it crosses; 0 is unknown.
fn nanos(error: &Error) -> u64 {
    error.retry_after.map_or(0, |delay| delay.as_nanos() as u64)
}

impl RawBody {
    /// A body of these bytes.
    pub(crate) fn new(bytes: &[u8], flags: u16, schema: u64) -> Self {
        RawBody {
            bytes: bytes.into(),
            schema,
            flags: flags.into(),
            code: 0,
            handled: 0,
            reserved: 0,
            retry_after: 0,
        }
    }

    /// The answer that an error is.
    pub(crate) fn error(error: &Error) -> Self {
        RawBody {
            code: error.code as u32,
            handled: error.handled as u32,
            retry_after: nanos(error),
            ..RawBody::new(error.text.as_bytes(), flags::RAW, 0)
        }
    }
}

impl Link {
    pub(crate) fn is_logged(&self, level: u8) -> bool {
        self.level() >= level
    }

    pub(crate) fn log(&self, level: u8, target: &str, text: &str) {
        // SAFETY: the slices outlive the call.
        unsafe {
            self.calls.log()(self.host, self.handle, level.into(), target.into(), text.into())
        }
    }

    /// Where the subsystem counts what it names so.
    pub(crate) fn counter(&self, name: &str) -> &'static AtomicU64 {
        // SAFETY: the name outlives the call; the host gives a place for good, which it uses atomically as well.
        unsafe { AtomicU64::from_ptr(self.calls.counter()(self.host, self.handle, name.into())) }
    }

    /// Passes on what `tracing` has collected.
    pub(crate) fn trace(&self, what: u32, id: u64, site: Option<&RawSite>, values: &[u8]) -> u64 {
        let site = site.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: site and values outlive the call.
        unsafe { self.calls.trace()(self.host, self.handle, what, id, site, values.into()) }
    }

    /// The most verbose level that is logged, as a number.
    pub(crate) fn level(&self) -> u8 {
        // SAFETY: the level lives as long as the process; the host writes it atomically.
        let logged = unsafe { AtomicU8::from_ptr(self.level.cast_mut()) };
        logged.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> u64 {
        // SAFETY: the link is live.
        unsafe { self.calls.now()(self.host) }
    }

    pub(crate) fn fault(&self, text: &str) {
        // SAFETY: the text outlives the call.
        unsafe { self.calls.fault()(self.host, self.handle, text.into()) }
    }

    /// This thread was about to end the process: the host keeps it, and this returns only if it cannot.
    pub(crate) fn lost(&self, turn: *mut c_void, is_in_call: bool, what: &str) {
        // SAFETY: the turn is null or of the call that this thread is in; the text outlives the call.
        unsafe {
            self.calls.lost()(self.host, turn, self.handle, u32::from(is_in_call), what.into());
        }
    }

    pub(crate) fn respond(&self, turn: *mut c_void, request: u64, answer: RawBody) {
        // SAFETY: the turn is null or of the call that this thread is in; the answer's bytes outlive the call.
        unsafe { self.calls.respond()(self.host, turn, self.handle, request, answer) }
    }

    pub(crate) fn hold(&self, request: u64) {
        // SAFETY: the link is live.
        unsafe { self.calls.hold()(self.host, self.handle, request) }
    }

    pub(crate) fn name_of(&self, subsystem: u32) -> String {
        let mut name = String::new();
        let sink = Sink { context: ptr::from_mut(&mut name).cast(), take: append_text };
        // SAFETY: `append_text` is made for a `String`, which outlives the call.
        unsafe { self.calls.name_of()(self.host, subsystem, sink) };
        name
    }

    pub(crate) fn listen(&self, address: &str) -> Result<i32> {
        let mut descriptor = -1;
        // SAFETY: the address and the place for the descriptor outlive the call.
        checked(|error| unsafe {
            self.calls.listen()(self.host, self.handle, address.into(), &mut descriptor, error)
        })?;
        Ok(descriptor)
    }

    pub(crate) fn outside_send(&self, path: &str, body: RawBody) -> Result<()> {
        // SAFETY: path and body outlive the call.
        checked(|error| unsafe {
            self.calls.outside_send()(self.host, self.handle, path.into(), body, error)
        })
    }

    pub(crate) fn outside_ask(
        &self,
        path: &str,
        body: RawBody,
        within: u64,
        token: u64,
    ) -> Result<u64> {
        let mut request = 0;
        // SAFETY: path, body and the place for the request outlive the call.
        checked(|error| unsafe {
            self.calls.outside_ask()(
                self.host,
                self.handle,
                path.into(),
                body,
                within,
                token,
                &mut request,
                error,
            )
        })?;
        Ok(request)
    }

    pub(crate) fn part(&self, request: u64, part: RawBody) -> Result<()> {
        // SAFETY: the part's bytes outlive the call.
        checked(|error| unsafe { self.calls.part()(self.host, self.handle, request, part, error) })
    }

    /// Takes what has come of an answer in parts.
    pub(crate) fn parts(&self, request: u64, mut take: impl FnMut(u64, &Envelope, &[u8])) {
        let mut take: &mut dyn FnMut(u64, &Envelope, &[u8]) = &mut take;
        let sink =
            CompletionSink { context: ptr::from_mut(&mut take).cast(), take: take_completion };
        // SAFETY: as for `completion`.
        unsafe { self.calls.parts()(self.host, self.handle, request, sink) }
    }

    pub(crate) fn cancel(&self, request: u64) {
        // SAFETY: the link is live.
        unsafe { self.calls.cancel()(self.host, self.handle, request) }
    }

    /// Waits for outcomes; `false` when the generation has ended.
    pub(crate) fn completion(&self, mut take: impl FnMut(u64, &Envelope, &[u8])) -> bool {
        let mut take: &mut dyn FnMut(u64, &Envelope, &[u8]) = &mut take;
        let sink =
            CompletionSink { context: ptr::from_mut(&mut take).cast(), take: take_completion };
        // SAFETY: `take_completion` is made for such a closure, which outlives the call.
        unsafe { self.calls.completion()(self.host, self.handle, sink) != 0 }
    }
}

unsafe extern "C" fn append_text(context: *mut c_void, bytes: Bytes) {
    // SAFETY: `name_of` passes a `String`, and the host bytes valid for this call.
    unsafe { (*context.cast::<String>()).push_str(bytes.text()) }
}

unsafe extern "C" fn take_completion(
    context: *mut c_void,
    token: u64,
    outcome: *const Envelope,
    content: Bytes,
) {
    // SAFETY: `completion` passes the closure; the host passes an outcome and content valid for this call.
    unsafe {
        (*context.cast::<&mut dyn FnMut(u64, &Envelope, &[u8])>())(token, &*outcome, content.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_says_the_same_again_is_made_once() {
        let mut room = [0_u8; 64];
        let mut raw = RawError::new(room.as_mut_ptr(), room.len());
        let mut last = None;
        let mut cross = |error: Error| {
            // SAFETY: the room is there until the end of the test.
            unsafe {
                let status = RawError::write(&mut raw, &error);
                (error, raw.read_again(status, &mut last))
            }
        };
        let full = || Error::full("the queue of `stock` is full").handled(Handled::No);
        let others = [
            Error::full("the queue of `other` is full").handled(Handled::No),
            Error::invalid("the queue of `stock` is full").handled(Handled::No),
            full().handled(Handled::Yes),
            full().retry_after(Duration::from_secs(1)),
        ];
        for other in others {
            let (sent, first) = cross(full());
            assert_eq!(sent, first);
            let mut changed = cross(full()).1;
            assert_eq!(first.text.as_ptr(), changed.text.as_ptr(), "they share their parts");
            changed.text.push('!');
            assert_eq!(sent, first, "a clone that is changed is its own");
            let (sent, different) = cross(other);
            assert_eq!(sent, different);
        }
    }
}
