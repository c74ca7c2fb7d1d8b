//! What a test gets from the kit: its own requests, and what the subsystem sent and asked.

use crate::{
    Kit, Sample, Typed,
    codec::{Encoded, read},
    world::{Answer, Content, Outgoing},
};
use mycelia_plugin::{Error, Export, Payload, Result, abi::flags};
use std::time::Duration;

/// How far the clock moves while parts are waited for.
const STEP: Duration = Duration::from_millis(1);

/// A request of the test, whose answer may come later.
#[must_use = "look at its outcome"]
pub struct Request<'k, S: Export> {
    kit: &'k Kit<S>,
    id: u64,
    path: String,
}

impl<'k, S: Export> Request<'k, S> {
    pub(crate) fn new(kit: &'k Kit<S>, id: u64, path: &str) -> Self {
        Request { kit, id, path: path.to_owned() }
    }

    /// Refuses a type of reply that the route does not have.
    pub(crate) fn expect_schema<R: Typed>(&self, path: &str) -> Result<()> {
        let wanted = self.kit.reply_schema(path);
        // The lowest bit says that there may be many.
        let wanted = wanted & !1;
        if wanted == 0 || wanted == hash_of::<R>() {
            return Ok(());
        }
        let name = std::any::type_name::<R>();
        Err(Error::invalid(format!(
            "the route's reply has another schema than `{name}`; read it as the type it has"
        )))
    }

    /// Whether there is no answer yet.
    pub fn is_open(&self) -> bool {
        self.kit.run();
        matches!(self.kit.state().answers.get(&self.id), Some(None))
    }

    /// The reply, or the error that came instead.
    ///
    /// # Errors
    /// That error, and `invalid` if the reply is no `R`.
    ///
    /// # Panics
    /// If there is no answer, and no thread of the subsystem gives one soon.
    #[track_caller]
    pub fn outcome<R: Typed>(self) -> Result<R> {
        let content = self.take_answer()?;
        read(&content.bytes, content.flags)
    }

    /// The parts of the answer up to its end, which the clock moves on for.
    pub(crate) fn parts<R: Typed>(self) -> Result<Vec<R>> {
        let mut parts = Vec::new();
        loop {
            self.kit.run();
            let mut state = self.kit.state();
            let came = state.parts.get_mut(&self.id).map(std::mem::take).unwrap_or_default();
            let answer = state.answers.get_mut(&self.id).and_then(Option::take);
            if answer.is_some() {
                state.parts.remove(&self.id);
            }
            drop(state);
            let is_idle = came.is_empty();
            for part in came {
                parts.push(read(&part.bytes, part.flags)?);
            }
            match answer {
                Some(answer) => {
                    let last = answer?;
                    if last.flags & flags::END == 0 {
                        parts.push(read(&last.bytes, last.flags)?);
                    }
                    return Ok(parts);
                }
                // The deadline comes at the latest.
                None if is_idle => self.kit.advance(STEP),
                None => {}
            }
        }
    }

    /// The reply as bytes, or the error that came instead.
    ///
    /// # Errors
    /// That error.
    ///
    /// # Panics
    /// As for [`Request::outcome`].
    #[track_caller]
    pub fn bytes(self) -> Result<Vec<u8>> {
        self.take_answer().map(|content| content.bytes)
    }

    #[track_caller]
    fn take_answer(self) -> Answer {
        let answer =
            self.kit.await_thing(|state| state.answers.get_mut(&self.id).and_then(Option::take));
        match answer {
            Some(answer) => answer,
            None => panic!("`{}` has not been answered: its handler kept the responder", self.path),
        }
    }
}

/// A message that the subsystem sent to somebody else.
pub struct Sent {
    path: String,
    content: Content,
}

impl Sent {
    pub(crate) fn new(out: Outgoing) -> Self {
        Sent { path: out.path, content: out.content }
    }

    /// Where to.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The typed body.
    ///
    /// # Panics
    /// If it is no `T`.
    #[track_caller]
    pub fn body<T: Typed>(&self) -> T {
        match read(&self.content.bytes, self.content.flags) {
            Ok(body) => body,
            Err(error) => panic!("the body of `{}`: {error}", self.path),
        }
    }

    /// The body as it was sent.
    pub fn bytes(&self) -> &[u8] {
        &self.content.bytes
    }
}

/// A request of the subsystem to somebody else, for the test to answer. Dropped, it stays open until its deadline.
pub struct Asked<'k, S: Export> {
    kit: &'k Kit<S>,
    sent: Sent,
    request: u64,
    deadline: u64,
}

impl<'k, S: Export> Asked<'k, S> {
    pub(crate) fn new(kit: &'k Kit<S>, out: Outgoing) -> Self {
        let (request, deadline) = (out.request, out.deadline);
        Asked { kit, sent: Sent::new(out), request, deadline }
    }

    /// Where to.
    pub fn path(&self) -> &str {
        self.sent.path()
    }

    /// The typed body.
    ///
    /// # Panics
    /// If it is no `T`.
    #[track_caller]
    pub fn body<T: Typed>(&self) -> T {
        self.sent.body()
    }

    /// The body as it was sent.
    pub fn bytes(&self) -> &[u8] {
        self.sent.bytes()
    }

    /// How long until its deadline.
    pub fn within(&self) -> Duration {
        Duration::from_nanos(self.deadline.saturating_sub(self.kit.state().now))
    }

    /// Answers; the handler of the outcome has run when this returns.
    ///
    /// # Panics
    /// If the route of the outcome takes another type.
    #[track_caller]
    pub fn answer<P: Sample>(self, reply: P) {
        let wanted = self.kit.outcome_schema(self.request);
        let encoded = Encoded::new(&reply)
            .unwrap_or_else(|error| panic!("the answer to `{}`: {error}", self.path()));
        let encoded = encoded.fit(wanted);
        assert!(
            [0, wanted].contains(&encoded.schema) || wanted == 0,
            "the answer to `{}` is a `{}`, but the route of its outcome takes another type",
            self.path(),
            P::SCHEMA.name,
        );
        self.end(Ok(Content { bytes: encoded.bytes, flags: encoded.flags }));
    }

    /// Answers with an error; the handler of the outcome has run when this returns.
    pub fn fail(self, error: Error) {
        self.end(Err(error));
    }

    fn end(self, answer: Answer) {
        self.kit.answer(self.request, answer, self.path());
    }
}

/// The hash by which a type is compared.
pub(crate) fn hash_of<T: Typed>() -> u64 {
    <&T as Payload>::SCHEMA.hash
}
