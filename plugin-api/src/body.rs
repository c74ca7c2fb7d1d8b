//! Bodies: what a message carries, and how it is encoded.
//!
//! Between plugins typed bodies are postcard, at the edge JSON; raw bytes and fixed layouts have no codec.

use crate::{
    Error, Result,
    abi::{INLINE, flags},
    route::Schema,
    stream::PARTS,
};
use postcard_schema::{Schema as HasSchema, key::Key};
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;
use zerocopy::{Immutable, IntoBytes};

/// A typed body: postcard between plugins, JSON at the edge; the handler sees the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<T>(pub T);

/// Plain bytes, taken and given unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw<'m>(pub Cow<'m, [u8]>);

impl Raw<'_> {
    /// The bytes as the handler's own.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_owned()
    }
}

impl std::ops::Deref for Raw<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Raw<'static> {
    fn from(bytes: Vec<u8>) -> Self {
        Raw(Cow::Owned(bytes))
    }
}

impl From<String> for Raw<'static> {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl<'m> From<&'m [u8]> for Raw<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        Raw(Cow::Borrowed(bytes))
    }
}

impl<'m> From<&'m str> for Raw<'m> {
    fn from(text: &'m str) -> Self {
        text.as_bytes().into()
    }
}

/// Plain bytes from outside, sent by a gateway: a raw handler gets them unchanged, a typed one reads them as JSON and answers in kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge<'b>(pub Cow<'b, [u8]>);

impl<'b> From<&'b [u8]> for Edge<'b> {
    fn from(bytes: &'b [u8]) -> Self {
        Edge(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Edge<'static> {
    fn from(bytes: Vec<u8>) -> Self {
        Edge(Cow::Owned(bytes))
    }
}

impl Payload for Edge<'_> {
    const SCHEMA: Schema = Schema::ANY;

    fn encoded<'b>(&'b self, _: &'b mut Vec<u8>) -> Result<(&'b [u8], u16)> {
        Ok((&self.0, flags::RAW | flags::EDGE))
    }
}

/// A value of fixed layout, sent as its bytes without a codec. Both sides must agree on the layout; its size is checked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Pod<T>(pub T);

/// The schema of a typed body.
pub(crate) const fn schema_of<T: HasSchema + ?Sized>() -> Schema {
    let hash = u64::from_le_bytes(Key::for_path::<T>("").to_bytes());
    // The lowest bit is that of answers in parts.
    Schema { name: T::SCHEMA.name, hash: hash & !PARTS }
}

/// The schema of a fixed layout: its size.
pub(crate) const fn pod_schema<T>() -> Schema {
    Schema { name: "Pod", hash: 0x506f_6400_0000_0000 | (size_of::<T>() as u64) << 1 }
}

/// What a message or a request may carry: `&value` of a typed body, [`Raw`], or [`Pod`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a body",
    note = "send `&value` of a type that derives `Serialize` and `Schema`, `Raw::from(bytes)`, or `Pod(value)`"
)]
pub trait Payload {
    /// The schema that the recipient's must equal.
    #[doc(hidden)]
    const SCHEMA: Schema;
    /// The bytes, which may lie in `scratch`, and the flags of their encoding.
    #[doc(hidden)]
    fn encoded<'b>(&'b self, scratch: &'b mut Vec<u8>) -> Result<(&'b [u8], u16)>;
    /// The same for bytes that fit into the envelope, where that is known, or found out, without memory for more.
    #[doc(hidden)]
    #[inline(always)]
    fn short(&self) -> Option<(Short, u16)> {
        None
    }
}

/// A body that goes within the envelope; by value, so that it need not be in memory before it is there.
#[doc(hidden)]
#[derive(Copy, Clone)]
pub struct Short {
    words: [u64; INLINE / 8],
    length: usize,
}

impl Short {
    /// As many bytes as an envelope has room for, at most.
    #[inline(always)]
    pub(crate) fn new(bytes: &[u8]) -> Short {
        let mut words = [[0; 8]; INLINE / 8];
        words.as_flattened_mut()[..bytes.len()].copy_from_slice(bytes);
        Short { words: words.map(u64::from_ne_bytes), length: bytes.len() }
    }

    /// The first `length` of these bytes; the others are 0.
    #[inline(always)]
    pub(crate) fn within(bytes: [u8; INLINE], length: usize) -> Short {
        Short { length, ..Short::new(&bytes) }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The content of an envelope.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> [u8; INLINE] {
        let mut bytes = [[0; 8]; INLINE / 8];
        for (word, value) in bytes.iter_mut().zip(self.words) {
            *word = value.to_ne_bytes();
        }
        let mut inline = [0; INLINE];
        inline.copy_from_slice(bytes.as_flattened());
        inline
    }
}

impl<T: Serialize + HasSchema + ?Sized> Payload for &T {
    const SCHEMA: Schema = schema_of::<T>();

    fn encoded<'b>(&'b self, scratch: &'b mut Vec<u8>) -> Result<(&'b [u8], u16)> {
        scratch.clear();
        encode_postcard(*self, scratch)?;
        Ok((scratch, flags::POSTCARD))
    }

    #[inline]
    fn short(&self) -> Option<(Short, u16)> {
        let mut bytes = [0; INLINE];
        let length = postcard::to_slice(*self, &mut bytes).ok()?.len();
        Some((Short::within(bytes, length), flags::POSTCARD))
    }
}

impl Payload for Raw<'_> {
    const SCHEMA: Schema = Schema::ANY;

    fn encoded<'b>(&'b self, _: &'b mut Vec<u8>) -> Result<(&'b [u8], u16)> {
        Ok((&self.0, flags::RAW))
    }
}

impl<T: IntoBytes + Immutable> Payload for Pod<T> {
    const SCHEMA: Schema = pod_schema::<T>();

    // Always inlined, so that the sender knows how many bytes it copies.
    #[inline(always)]
    fn encoded<'b>(&'b self, _: &'b mut Vec<u8>) -> Result<(&'b [u8], u16)> {
        Ok((self.0.as_bytes(), flags::RAW))
    }

    #[inline(always)]
    fn short(&self) -> Option<(Short, u16)> {
        (size_of::<T>() <= INLINE).then(|| (Short::new(self.0.as_bytes()), flags::RAW))
    }
}

/// What a handler may return in `Ok`: nothing, a typed value, [`Raw`], or [`Pod`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler's reply",
    note = "return `Result<T>` with `()`, a type that derives `Serialize` and `Schema`, `Raw<'static>`, or `Pod<T>`"
)]
pub trait Reply {
    /// The schema that the asker's expectation must equal.
    #[doc(hidden)]
    const SCHEMA: Schema;
    /// Encodes in kind: as JSON for a request that came as JSON.
    #[doc(hidden)]
    fn encode(&self, as_json: bool, scratch: &mut Vec<u8>) -> Result<u16>;
}

impl<T: Serialize + HasSchema> Reply for T {
    const SCHEMA: Schema = schema_of::<T>();

    #[inline]
    fn encode(&self, as_json: bool, scratch: &mut Vec<u8>) -> Result<u16> {
        if as_json {
            serde_json::to_writer(scratch, self)?;
            return Ok(flags::JSON);
        }
        encode_postcard(self, scratch)?;
        Ok(flags::POSTCARD)
    }
}

impl Reply for Raw<'static> {
    const SCHEMA: Schema = Schema::ANY;

    fn encode(&self, _: bool, scratch: &mut Vec<u8>) -> Result<u16> {
        scratch.extend_from_slice(&self.0);
        Ok(flags::RAW)
    }
}

impl<T: IntoBytes + Immutable> Reply for Pod<T> {
    const SCHEMA: Schema = pod_schema::<T>();

    fn encode(&self, _: bool, scratch: &mut Vec<u8>) -> Result<u16> {
        scratch.extend_from_slice(self.0.as_bytes());
        Ok(flags::RAW)
    }
}

#[inline]
fn encode_postcard<T: Serialize + ?Sized>(value: &T, scratch: &mut Vec<u8>) -> Result<()> {
    postcard::to_extend(value, Onto(scratch))?;
    Ok(())
}

/// Appends: postcard takes what it writes to by value.
struct Onto<'b>(&'b mut Vec<u8>);

impl Extend<u8> for Onto<'_> {
    #[inline]
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// Reads a typed body by what its flags say.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], body_flags: u16) -> Result<T> {
    if is_json(body_flags) {
        return decode_json(bytes);
    }
    if body_flags & flags::ENCODING == flags::RAW && !bytes.is_empty() {
        return Err(not_typed());
    }
    from_postcard(bytes)
}

#[inline]
pub(crate) fn from_postcard<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(not_postcard)
}

#[inline(never)]
fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // An empty body from the edge reads as `null`, so that `()` and options need no body.
    let json = if bytes.is_empty() { b"null" } else { bytes };
    serde_json::from_slice(json).map_err(|error| not_json::<T>(bytes, &error))
}

#[cold]
fn not_typed() -> Error {
    Error::invalid("the body is raw bytes, but this route takes a typed one; send `&value`")
}

#[cold]
fn not_postcard(error: postcard::Error) -> Error {
    Error::invalid(format!("the body does not decode: {error}"))
}

#[cold]
fn not_json<T>(bytes: &[u8], error: &serde_json::Error) -> Error {
    let wanted = short_name::<T>();
    Error::invalid(if bytes.is_empty() {
        format!("the request has no body, but this route takes a `{wanted}` as JSON")
    } else {
        format!(
            "the body is not the JSON of the `{wanted}` that this route takes: {error}; text is written in quotes"
        )
    })
}

/// The name of a type without the modules it lies in.
pub(crate) fn short_name<T>() -> String {
    let name = std::any::type_name::<T>();
    let words = name.split_inclusive(|letter: char| {
        !letter.is_alphanumeric() && letter != '_' && letter != ':'
    });
    words.map(|word| word.rsplit("::").next().unwrap_or(word)).collect()
}

/// Whether a body is to be read, and its request answered, as JSON.
#[inline]
pub(crate) fn is_json(body_flags: u16) -> bool {
    // No other encoding has its bit.
    body_flags & (flags::JSON | flags::EDGE) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_are_short() {
        assert_eq!(short_name::<i64>(), "i64");
        assert_eq!(short_name::<Vec<Option<String>>>(), "Vec<Option<String>>");
        assert_eq!(short_name::<(std::time::Duration, u8)>(), "(Duration, u8)");
    }

    #[test]
    fn a_body_that_is_no_json_says_what_the_route_takes() {
        for (body, expect) in [
            ("", "the request has no body, but this route takes a `i64` as JSON"),
            (
                "two",
                "the body is not the JSON of the `i64` that this route takes: expected ident at line 1 column 2; text is written in quotes",
            ),
        ] {
            let error = decode::<i64>(body.as_bytes(), flags::EDGE).unwrap_err();
            assert_eq!((error.code, &*error.text), (crate::ErrorCode::Invalid, expect));
        }
        assert_eq!(decode::<()>(b"", flags::EDGE), Ok(()));
    }
}
