//! A message as a handler's arguments see it, and the arguments: extractors.

use crate::{
    Error, ErrorCode, ErrorParts, Handled, Responder, Result,
    abi::{Envelope, INLINE, call::Pool, flags, link},
    body::{Body, Pod, Raw, decode, from_postcard, is_json, pod_schema, schema_of, short_name},
    responder,
    route::Schema,
};
use postcard_schema::Schema as HasSchema;
use serde::de::DeserializeOwned;
use std::{borrow::Cow, cell::Cell, str::FromStr, time::Duration};
use zerocopy::FromBytes;

/// A message while its handler's arguments are made.
pub struct Message<'m> {
    pub(crate) envelope: &'m Envelope,
    /// Where the block lies that has the content, if it is not in the envelope.
    pool: Pool,
    /// The next parameter, and where it begins.
    next: Cell<(usize, usize)>,
}

impl<'m> Message<'m> {
    #[inline(always)]
    pub(crate) fn new(envelope: &'m Envelope, pool: Pool) -> Self {
        Message { envelope, pool, next: Cell::new((0, 0)) }
    }

    /// Whether anybody waits for an answer.
    #[inline(always)]
    pub(crate) fn is_request(&self) -> bool {
        self.envelope.reply != 0
    }

    /// Lengths of the parameters, then the parameters, then the body.
    #[inline]
    fn content(&self) -> &'m [u8] {
        self.pool.content(self.envelope)
    }

    /// The next captured parameter, as it stands in the path.
    fn next_parameter(&self) -> Result<&'m str> {
        let (parameter, at) = self.next.get();
        let count = self.envelope.parameters();
        let start = if parameter == 0 { count * 2 } else { at };
        let content = self.content();
        let end = start + parameter_length(content, parameter);
        self.next.set((parameter + 1, end));
        let bytes = content.get(start..end).filter(|_| parameter < count);
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .ok_or_else(|| Error::invalid("the message has fewer parameters than its route"))
    }

    /// The body's bytes.
    #[inline]
    pub fn body(&self) -> &'m [u8] {
        match self.envelope.parameters() {
            0 => self.content(),
            count => behind_parameters(self.content(), count),
        }
    }

    /// The bytes of a body of fixed layout.
    #[inline(always)]
    fn fixed(&self, size: usize) -> Result<&'m [u8]> {
        let envelope = self.envelope;
        let is_near = envelope.flags & (flags::BLOCK | flags::PARAMETERS) == 0;
        // `&` and not `&&`: one branch.
        if size <= INLINE && is_near & (envelope.length as usize == size) {
            return Ok(&envelope.inline[..size]);
        }
        far(envelope, self.pool, size)
    }
}

/// The bytes of a body of fixed layout, wherever they lie.
#[inline(never)]
fn far(envelope: &Envelope, pool: Pool, size: usize) -> Result<&[u8]> {
    let body = Message::new(envelope, pool).body();
    if body.len() == size { Ok(body) } else { Err(other_size(body.len(), size)) }
}

#[cold]
fn other_size(size: usize, wanted: usize) -> Error {
    Error::invalid(format!("the body has {size} bytes, but this route takes exactly {wanted}"))
}

/// What follows the parameters and their lengths.
fn behind_parameters(content: &[u8], count: usize) -> &[u8] {
    let lengths = (0..count).map(|parameter| parameter_length(content, parameter));
    content.get(count * 2 + lengths.sum::<usize>()..).unwrap_or_default()
}

fn parameter_length(content: &[u8], parameter: usize) -> usize {
    match content.get(parameter * 2..parameter * 2 + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]).into(),
        _ => 0,
    }
}

/// What a handler may take as an argument.
///
/// `Of` is the same extractor with the lifetime of the message, so that a handler may borrow from it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    note = "arguments are Param<T>, ParamText, Body<T>, Raw, Pod<T>, Caller, Outcome<T>, Part<T>, Responder<T>, StreamWriter<T>, or `&mut Context` first"
)]
pub trait FromMessage {
    /// This extractor for messages that live as long as `'m`.
    type Of<'m>;
    #[doc(hidden)]
    const PARAMS: usize = 0;
    #[doc(hidden)]
    const BODY: Option<Schema> = None;
    #[doc(hidden)]
    const REPLY: Option<Schema> = None;
    /// Makes the argument.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] if the message does not have what it takes; the handler is not called then.
    fn from_message<'m>(message: &Message<'m>) -> Result<Self::Of<'m>>;
}

/// The next parameter of the path, percent-decoded and parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param<T>(pub T);

impl<T: FromStr<Err: std::fmt::Display>> FromMessage for Param<T> {
    type Of<'m> = Param<T>;
    const PARAMS: usize = 1;

    fn from_message<'m>(message: &Message<'m>) -> Result<Param<T>> {
        let text = percent_decoded(message.next_parameter()?)?;
        text.parse().map(Param).map_err(|error| {
            let wanted = short_name::<T>();
            Error::invalid(format!(
                "the path's `{text}` is no `{wanted}`, which the route takes there: {error}"
            ))
        })
    }
}

/// The next parameter of the path, percent-decoded; borrows from the message where nothing was encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamText<'m>(pub Cow<'m, str>);

impl std::ops::Deref for ParamText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ParamText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl FromMessage for ParamText<'_> {
    type Of<'m> = ParamText<'m>;
    const PARAMS: usize = 1;

    fn from_message<'m>(message: &Message<'m>) -> Result<ParamText<'m>> {
        percent_decoded(message.next_parameter()?).map(ParamText)
    }
}

impl<T: DeserializeOwned + HasSchema> FromMessage for Body<T> {
    type Of<'m> = Body<T>;
    const BODY: Option<Schema> = Some(schema_of::<T>());

    fn from_message<'m>(message: &Message<'m>) -> Result<Body<T>> {
        decode(message.body(), message.envelope.flags).map(Body)
    }
}

impl FromMessage for Raw<'_> {
    type Of<'m> = Raw<'m>;

    fn from_message<'m>(message: &Message<'m>) -> Result<Raw<'m>> {
        Ok(message.body().into())
    }
}

impl<T: FromBytes> FromMessage for Pod<T> {
    type Of<'m> = Pod<T>;
    const BODY: Option<Schema> = Some(pod_schema::<T>());

    #[inline(always)]
    fn from_message<'m>(message: &Message<'m>) -> Result<Pod<T>> {
        let bytes = message.fixed(size_of::<T>())?;
        Ok(Pod(T::read_from_bytes(bytes).map_err(|_| other_size(bytes.len(), size_of::<T>()))?))
    }
}

/// The name of the subsystem that sent the message, as the host stamped it; `operator` for the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub String);

impl FromMessage for Caller {
    type Of<'m> = Caller;

    fn from_message<'m>(message: &Message<'m>) -> Result<Caller> {
        let current = link::current().expect("a message is only handled within a call");
        Ok(Caller(current.link.name_of(message.envelope.sender)))
    }
}

/// The outcome of one of the subsystem's own requests: the reply, or the error that came instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<T>(pub Result<T>);

impl<T: DeserializeOwned + HasSchema> FromMessage for Outcome<T> {
    type Of<'m> = Outcome<T>;
    const BODY: Option<Schema> = Some(schema_of::<T>());

    #[inline(always)]
    fn from_message<'m>(message: &Message<'m>) -> Result<Outcome<T>> {
        const WHERE_AND_HOW: u16 = flags::PARAMETERS | flags::BLOCK | flags::ENCODING | flags::EDGE;
        let Message { envelope, pool, .. } = *message;
        let is_near = envelope.flags & WHERE_AND_HOW == flags::POSTCARD;
        // `&` and not `&&`: one branch.
        Ok(Outcome(if is_near & !is_error(envelope) & (envelope.length as usize <= INLINE) {
            from_postcard(&envelope.inline[..envelope.length as usize])
        } else {
            far_outcome(envelope, pool)
        }))
    }
}

/// An outcome that is more than a short reply.
#[inline(never)]
fn far_outcome<T: DeserializeOwned>(envelope: &Envelope, pool: Pool) -> Result<T> {
    let body = Message::new(envelope, pool).body();
    outcome_error(envelope, body).and_then(|body| decode(body, envelope.flags))
}

impl FromMessage for Outcome<Raw<'_>> {
    type Of<'m> = Outcome<Raw<'m>>;

    fn from_message<'m>(message: &Message<'m>) -> Result<Outcome<Raw<'m>>> {
        Ok(Outcome(outcome_error(message.envelope, message.body()).map(Raw::from)))
    }
}

/// The body of an outcome that is a reply.
///
/// # Errors
/// The error that the outcome is instead.
#[inline]
pub fn outcome_error<'m>(envelope: &Envelope, body: &'m [u8]) -> Result<&'m [u8]> {
    if is_error(envelope) { Err(error_of(envelope, body)) } else { Ok(body) }
}

#[inline(always)]
fn is_error(outcome: &Envelope) -> bool {
    outcome.stamp as u8 != 0
}

#[cold]
fn error_of(envelope: &Envelope, body: &[u8]) -> Error {
    let [code, handled, ..] = envelope.stamp.to_le_bytes();
    ErrorParts {
        code: ErrorCode::from_number(code),
        text: String::from_utf8_lossy(body).into_owned(),
        handled: Handled::from_number(handled),
        retry_after: (envelope.deadline > 0).then(|| Duration::from_nanos(envelope.deadline)),
    }
    .into()
}

impl<T> FromMessage for Responder<T>
where
    T: crate::Reply,
{
    type Of<'m> = Responder<T>;
    const REPLY: Option<Schema> = Some(T::SCHEMA);

    fn from_message<'m>(message: &Message<'m>) -> Result<Responder<T>> {
        Ok(take_responder(message.envelope))
    }
}

/// The responder of the request that is handled.
pub(crate) fn take_responder<T>(request: &Envelope) -> Responder<T> {
    responder::take(request.reply);
    let current = link::current().expect("a message is only handled within a call");
    let as_json = if wants_json(request) { flags::ANSWER_JSON } else { 0 };
    Responder::new(current.link, request.reply, as_json | request.flags & flags::PART)
}

/// Whether a request came as JSON, so that its answer leaves as JSON.
#[inline]
pub(crate) fn wants_json(envelope: &Envelope) -> bool {
    is_json(envelope.flags) | (envelope.flags & flags::ANSWER_JSON != 0)
}

fn percent_decoded(text: &str) -> Result<Cow<'_, str>> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(|| bad_escape(text))?;
        bytes.push(hex(digits[0], digits[1]).ok_or_else(|| bad_escape(text))?);
        rest = after;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| bad_escape(text))
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

fn bad_escape(text: &str) -> Error {
    Error::invalid(format!(
        "the path's `{text}` has a broken percent escape; write `%25` for a percent sign"
    ))
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn parameters_are_percent_decoded() {
        for (text, expect) in [
            ("plain", Some("plain")),
            ("a%20b", Some("a b")),
            ("%2F%2f", Some("//")),
            ("%C3%A9", Some("é")),
            ("100%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(percent_decoded(text).ok().as_deref(), expect, "{text}");
        }
    }
}
