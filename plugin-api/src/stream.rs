//! Answers in parts, on both sides: who writes them, and who takes them.
//!
//! A request has one answer. What is here lets that answer come piece by piece, as fast as whoever asked takes it: the host
//! keeps up to 16 parts of each, and says `full` to the next one.

use crate::{
    Error, ErrorCode, Handled, Raw, Reply, Responder, Result,
    abi::{Envelope, RawBody, flags, link},
    body::{decode, schema_of},
    message::{FromMessage, Message, outcome_error, take_responder},
    route::Schema,
};
use postcard_schema::Schema as HasSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The bit of a schema that says: not one of these, but any number of them.
pub(crate) const PARTS: u64 = 1;

/// Whether a schema is that of an answer in parts.
pub(crate) const fn takes_parts(schema: u64) -> bool {
    schema & PARTS != 0
}

const fn in_parts(schema: Schema) -> Schema {
    Schema { name: schema.name, hash: schema.hash | PARTS }
}

/// The right and duty to answer one request in parts, taken out of a handler as an argument:
/// `fn list(&mut self, list: StreamWriter<Item>) -> Result<()>`.
///
/// It may be kept, used from any thread, and be part of saved state, as a [`Responder`]. Dropped before its
/// [`end`](StreamWriter::end), it ends the answer with `unanswered`, or with the error that the handler returns.
/// Whoever asks must take parts, else the handler is not called, and the answer is `invalid`.
#[must_use = "whoever asked waits for the end"]
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct StreamWriter<T>(Responder<T>);

impl<T: Reply> StreamWriter<T> {
    /// Adds a part, which leaves at once: it waits for no commit, and is not taken back if the handler fails.
    ///
    /// In a handler this never waits. On a thread of the subsystem's own it waits until there is room, at the longest until
    /// the request's deadline, which holds for the time between two parts.
    ///
    /// # Errors
    /// `full` where as many parts wait as may, with the time until it is worth trying again: keep the writer and go on in
    /// another call, as by [`Context::after`](crate::Context::after). `gone` where nobody waits for the answer any more: whoever asked has
    /// cancelled it or ended, or the deadline has passed. `no_memory`, `too_large`.
    pub fn part(&mut self, part: &T) -> Result<()> {
        let mut bytes = Vec::new();
        let encoding = part.encode(self.0.is_json(), &mut bytes)?;
        let may_wait = if self.0.is_in_turn() { 0 } else { flags::MAY_WAIT };
        self.0.link().part(self.0.request(), RawBody::new(&bytes, encoding | may_wait, 0))
    }

    /// Ends the answer: it is complete. In a handler this waits for the commit, as every answer.
    pub fn end(mut self) {
        self.0.respond(RawBody::new(&[], flags::END, 0));
    }

    /// Ends the answer with an error, behind the parts that came before.
    pub fn fail(self, error: impl Into<Error>) {
        self.0.fail(error);
    }
}

impl<T: Reply> FromMessage for StreamWriter<T> {
    type Of<'m> = StreamWriter<T>;
    const REPLY: Option<Schema> = Some(in_parts(T::SCHEMA));

    fn from_message<'m>(message: &Message<'m>) -> Result<StreamWriter<T>> {
        let request = message.envelope;
        if request.reply != 0 && request.flags & flags::PART == 0 {
            return Err(takes_one(request));
        }
        Ok(StreamWriter(take_responder(request)))
    }
}

#[cold]
fn takes_one(request: &Envelope) -> Error {
    let current = link::current().expect("a message is only handled within a call");
    let asker = current.link.name_of(request.sender);
    Error::new(
        ErrorCode::Invalid,
        format!(
            "the route answers in parts, but `{asker}` takes one outcome; ask with a route whose handler takes a `Part<T>`"
        ),
    )
    .handled(Handled::No)
}

/// A part of the answer to one of the subsystem's own requests, as the argument of an [`on_reply`](crate::on_reply) handler.
///
/// Parts come in order, any number of them, then exactly one `End` or `Failed`. A whole answer is one part and the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<T> {
    /// There may be more.
    Next(T),
    /// That was all.
    End,
    /// The answer ends here, incomplete: of several parts some may have come.
    Failed(Error),
}

impl<'m> Part<&'m [u8]> {
    fn of(message: &Message<'m>) -> Result<Part<&'m [u8]>> {
        let how = message.envelope.flags;
        match outcome_error(message.envelope, message.body()) {
            Err(error) => Ok(Part::Failed(error)),
            Ok(_) if how & flags::END != 0 => Ok(Part::End),
            Ok(body) if how & flags::PART != 0 => Ok(Part::Next(body)),
            Ok(_) => Err(Error::invalid("this is no part of an answer")),
        }
    }

    fn try_map<T>(self, read: impl FnOnce(&'m [u8]) -> Result<T>) -> Result<Part<T>> {
        Ok(match self {
            Part::Next(body) => Part::Next(read(body)?),
            Part::End => Part::End,
            Part::Failed(error) => Part::Failed(error),
        })
    }
}

impl<T: DeserializeOwned + HasSchema> FromMessage for Part<T> {
    type Of<'m> = Part<T>;
    const BODY: Option<Schema> = Some(in_parts(schema_of::<T>()));

    fn from_message<'m>(message: &Message<'m>) -> Result<Part<T>> {
        Part::of(message)?.try_map(|body| decode(body, message.envelope.flags))
    }
}

impl FromMessage for Part<Raw<'_>> {
    type Of<'m> = Part<Raw<'m>>;
    const BODY: Option<Schema> = Some(in_parts(Schema::ANY));

    fn from_message<'m>(message: &Message<'m>) -> Result<Part<Raw<'m>>> {
        Part::of(message)?.try_map(|body| Ok(Raw::from(body)))
    }
}
