//! Bodies of tests: every typed one goes through postcard and through JSON before anybody sees it.

use mycelia_plugin::{Edge, Error, Payload, Pod, Raw, Result, abi::flags};
use postcard_schema::Schema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A type that a typed body or reply may have.
pub trait Typed: Serialize + DeserializeOwned + Schema {}

impl<T: Serialize + DeserializeOwned + Schema> Typed for T {}

/// A body that a test sends or answers with: `&value`, a text, [`Raw`], [`Edge`], or [`Pod`].
///
/// A typed one must survive postcard and JSON alike, since a route takes both.
#[diagnostic::on_unimplemented(
    message = "a test cannot send `{Self}`",
    note = "send `&value` of a type that derives `Serialize`, `Deserialize` and `Schema`, a text, `Raw::from(bytes)`, `Edge::from(bytes)`, or `Pod(value)`"
)]
pub trait Sample: Payload {
    /// The same value as JSON, where it is typed.
    #[doc(hidden)]
    fn checked(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// The text, where it is one.
    #[doc(hidden)]
    fn text(&self) -> Option<&str> {
        None
    }
}

impl Sample for Raw<'_> {}
impl Sample for Edge<'_> {}
impl<T> Sample for Pod<T> where Pod<T>: Payload {}

impl Sample for &str {
    fn checked(&self) -> Result<Option<Vec<u8>>> {
        Ok(Some(serde_json::to_vec(self)?))
    }

    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl<T: Typed> Sample for &T {
    fn checked(&self) -> Result<Option<Vec<u8>>> {
        let json = through_both(*self)?.1;
        Ok(Some(json.into_bytes()))
    }
}

/// A body as it is sent.
pub(crate) struct Encoded {
    pub bytes: Vec<u8>,
    pub flags: u16,
    pub schema: u64,
    /// The same as JSON, for a number whose literal has no type of its own.
    literal: Option<Vec<u8>>,
    /// A text as it stands, for a route that takes bytes.
    text: Option<Vec<u8>>,
}

impl Encoded {
    pub fn new<P: Sample>(body: &P) -> Result<Self> {
        let literal = body.checked()?.filter(|_| matches!(P::SCHEMA.name, "i32" | "f64"));
        let mut scratch = Vec::new();
        let (bytes, flags) = body.encoded(&mut scratch)?;
        let text = body.text().map(|text| text.as_bytes().to_owned());
        Ok(Encoded { bytes: bytes.to_owned(), flags, schema: P::SCHEMA.hash, literal, text })
    }

    /// Fits `&1` to a route that takes another number than `i32`: it is sent as JSON, which has numbers only. A text goes to
    /// a route of bytes as an operator sends it, as it stands.
    pub fn fit(self, wanted: u64) -> Self {
        let as_is = |bytes, flags| Encoded { bytes, flags, schema: 0, literal: None, text: None };
        match self {
            Encoded { text: Some(text), .. } if wanted == 0 => {
                as_is(text, flags::RAW | flags::EDGE)
            }
            Encoded { literal: Some(json), schema, .. } if wanted != 0 && wanted != schema => {
                as_is(json, flags::JSON)
            }
            other => other,
        }
    }
}

/// Reads a typed body, and takes it through the other encoding too.
pub(crate) fn read<T: Typed>(bytes: &[u8], body_flags: u16) -> Result<T> {
    let value: T = decode(bytes, body_flags)?;
    Ok(through_both(&value)?.0)
}

fn decode<T: DeserializeOwned>(bytes: &[u8], body_flags: u16) -> Result<T> {
    let name = std::any::type_name::<T>();
    match body_flags & flags::ENCODING {
        flags::POSTCARD => {
            postcard::from_bytes(bytes).map_err(|error| bad(name, "postcard", &error))
        }
        flags::JSON => serde_json::from_slice(bytes).map_err(|error| bad(name, "JSON", &error)),
        _ => Err(Error::invalid(format!(
            "the body is raw bytes, not a `{name}`; read it with `bytes`"
        ))),
    }
}

/// The value after postcard and JSON, and the JSON.
fn through_both<T: Typed>(value: &T) -> Result<(T, String)> {
    let name = std::any::type_name::<T>();
    let postcard = postcard::to_stdvec(value).map_err(|error| bad(name, "postcard", &error))?;
    let decoded: T = decode(&postcard, flags::POSTCARD)?;
    let json = serde_json::to_string(&decoded).map_err(|error| bad(name, "JSON", &error))?;
    let again: T = decode(json.as_bytes(), flags::JSON)?;
    if canonical(value)? == canonical(&again)? {
        return Ok((again, json));
    }
    Err(Error::invalid(format!("a `{name}` changes on its way through postcard and JSON: {json}")))
}

/// A form in which equal values are equal, however their hash sets are ordered.
fn canonical<T: Serialize>(value: &T) -> Result<Value> {
    let value = serde_json::from_str(&serde_json::to_string(value)?)?;
    Ok(sorted(value))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, sorted(value))).collect()
        }
        _ => value,
    }
}

fn bad(name: &str, encoding: &str, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!(
        "a `{name}` does not survive {encoding}, and a route takes postcard and JSON alike: {error}"
    ))
}
