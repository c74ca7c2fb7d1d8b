//! Answering later than the handler that took the request.

use crate::{
    Error, ErrorCode, Reply, Result,
    abi::{
        Link, RawBody, flags,
        link::{self, Current},
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{cell::Cell, fmt, marker::PhantomData, ptr};

/// The right and duty to answer one request, taken out of a handler as an argument.
///
/// It is plain data and may be part of saved state. One that is dropped unanswered answers `unanswered`.
#[must_use = "whoever asked waits for the answer"]
pub struct Responder<T> {
    link: Link,
    request: u64,
    /// How whoever asked wants the answer: [`flags::ANSWER_JSON`], [`flags::PART`].
    wanted: u16,
    reply: PhantomData<fn(T)>,
}

impl<T> Responder<T> {
    pub(crate) fn new(link: Link, request: u64, wanted: u16) -> Self {
        Responder { link, request, wanted, reply: PhantomData }
    }

    pub(crate) fn link(&self) -> Link {
        self.link
    }

    /// The number of the request; 0 where the sender wanted no answer.
    pub(crate) fn request(&self) -> u64 {
        self.request
    }

    /// How whoever asked wants the answer, as the flags of a message that is forwarded.
    pub(crate) fn wanted(&self) -> u16 {
        self.wanted
    }

    /// Whether whoever asked reads JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.wanted & flags::ANSWER_JSON != 0
    }

    /// Whether a handler of the subsystem that is to answer runs on this thread.
    pub(crate) fn is_in_turn(&self) -> bool {
        !turn_of(&self.link).is_null()
    }

    /// Gives the duty up, because somebody else has it now.
    pub(crate) fn forget(mut self) {
        self.request = 0;
    }

    /// Answers with an error.
    pub fn fail(mut self, error: impl Into<Error>) {
        self.respond(RawBody::error(&error.into()));
    }

    pub(crate) fn respond(&mut self, answer: RawBody) {
        let request = std::mem::take(&mut self.request);
        if request != 0 {
            self.link.respond(turn_of(&self.link), request, answer);
        }
    }
}

impl<T: Reply> Responder<T> {
    /// Answers. Whether it comes in time is not told: the asker may have given up.
    pub fn answer(mut self, reply: T) {
        let mut bytes = Vec::new();
        match reply.encode(self.is_json(), &mut bytes) {
            Ok(encoding) => self.respond(RawBody::new(&bytes, encoding, T::SCHEMA.hash)),
            Err(error) => self.respond(RawBody::error(&error)),
        }
    }
}

/// The turn that this thread is in, if it is one of this host and subsystem; else null.
fn turn_of(link: &Link) -> *mut std::ffi::c_void {
    match link::current() {
        Some(Current { link: current, turn })
            if ptr::eq(current.host, link.host) && current.handle == link.handle =>
        {
            turn
        }
        _ => ptr::null_mut(),
    }
}

thread_local! {
    // The request whose responder the running handler took, and whether it was dropped.
    // No destructor, so that the library stays unloadable.
    static TAKEN: Cell<(u64, bool)> = const { Cell::new((0, false)) };
}

/// Notes that the running handler took the responder of this request.
pub(crate) fn take(request: u64) {
    TAKEN.set((request, false));
}

/// Whether the handler that has just returned dropped the responder that it took.
pub(crate) fn was_dropped(request: u64) -> bool {
    TAKEN.replace((0, false)) == (request, true)
}

pub(crate) fn unanswered() -> Error {
    Error::new(ErrorCode::Unanswered, "the handler dropped its responder without an answer")
}

impl<T> Drop for Responder<T> {
    fn drop(&mut self) {
        if self.request == 0 {
            return;
        }
        if TAKEN.get() == (self.request, false) {
            // The handler has not returned yet: its own error, if it returns one, is the better answer.
            TAKEN.set((self.request, true));
        } else {
            self.respond(RawBody::error(&unanswered()));
        }
    }
}

impl<T> fmt::Debug for Responder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responder({:#x})", self.request)
    }
}

impl<T> Serialize for Responder<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.request, self.wanted).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Responder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (request, wanted) = Deserialize::deserialize(deserializer)?;
        let current = link::current().ok_or_else(|| {
            serde::de::Error::custom(
                "a responder is read from saved state only, while the host restores it",
            )
        })?;
        current.link.hold(request);
        Ok(Responder::new(current.link, request, wanted))
    }
}
