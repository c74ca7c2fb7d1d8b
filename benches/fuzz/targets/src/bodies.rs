//! Messages as handlers see them: bodies in each encoding, parameters, and outcomes that are errors.

use mycelia_plugin::{
    Payload,
    abi::{Envelope, flags, host::outcome_error},
    prelude::*,
};
use mycelia_testkit::{Kit, Sample};
use std::collections::BTreeMap;

/// The first byte says as what the rest comes.
pub fn one(data: &[u8]) -> bool {
    let Some((kind, rest)) = data.split_first() else { return false };
    match kind % 6 {
        0 => typed(rest, flags::POSTCARD, postcard::from_bytes(rest).ok()),
        1 => typed(rest, flags::EDGE, serde_json::from_slice(rest).ok()),
        2 => fixed(rest),
        3 => raw(rest),
        4 => parameters(rest),
        _ => outcome(rest),
    }
}

/// Anything that serde has and that both encodings keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Everything {
    number: i64,
    text: String,
    list: Vec<Option<u8>>,
    map: BTreeMap<String, u64>,
    choice: Choice,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
enum Choice {
    Nothing,
    One(u16),
    Two { first: bool, second: (char, ()) },
}

/// Bytes with the flags of an encoding that they may not have.
struct Wire<'b>(&'b [u8], u16);

impl Payload for Wire<'_> {
    const SCHEMA: mycelia_plugin::Schema = <Raw<'_> as Payload>::SCHEMA;

    fn encoded<'b>(&'b self, _: &'b mut Vec<u8>) -> Result<(&'b [u8], u16)> {
        Ok((self.0, self.1))
    }
}

impl Sample for Wire<'_> {}

/// A handler of each kind, which answers with what it understood.
struct Handlers;

impl Subsystem for Handlers {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("typed", Self::typed),
        on("raw", Self::raw),
        on("fixed", Self::fixed),
        on("{number}/{text}", Self::parameters),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Self)
    }
}

impl Handlers {
    fn typed(&mut self, body: Body<Everything>) -> Result<Everything> {
        Ok(body.0)
    }

    fn raw(&mut self, body: Raw) -> Result<u64> {
        Ok(body.len() as u64)
    }

    fn fixed(&mut self, body: Pod<[u32; 3]>) -> Result<Vec<u32>> {
        Ok(body.0.to_vec())
    }

    fn parameters(&mut self, number: Param<u64>, text: ParamText) -> Result<(u64, String)> {
        Ok((number.0, text.to_string()))
    }
}

mycelia_plugin::__subsystem!(Handlers);

thread_local! {
    /// Lives as long as the process, whose end is no test of it.
    static KIT: &'static Kit<Handlers> =
        Box::leak(Box::new(Kit::new("()").expect("it starts with any config")));
}

/// What the handler gets must be what the codec reads, and nothing where that reads nothing.
fn typed(bytes: &[u8], encoding: u16, expect: Option<Everything>) -> bool {
    let answer = KIT.with(|kit| kit.ask::<Everything>("typed", Wire(bytes, encoding)));
    assert_eq!(answer.as_ref().ok(), expect.as_ref(), "{answer:?}");
    answer.is_ok()
}

fn fixed(bytes: &[u8]) -> bool {
    let answer = KIT.with(|kit| kit.ask::<Vec<u32>>("fixed", Wire(bytes, flags::RAW)));
    assert_eq!(answer.is_ok(), bytes.len() == 12);
    answer.is_ok()
}

fn raw(bytes: &[u8]) -> bool {
    let answer = KIT.with(|kit| kit.ask::<u64>("raw", Wire(bytes, flags::RAW)));
    assert_eq!(answer, Ok(bytes.len() as u64));
    true
}

/// A path with two segments: a number, and a text that may be percent-encoded.
fn parameters(bytes: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(bytes) else { return false };
    let answer = KIT.with(|kit| kit.ask::<(u64, String)>(path, ""));
    if let Ok((number, text)) = &answer
        && !path.contains('%')
    {
        let (first, second) = path.split_once('/').expect("it has two segments");
        assert_eq!((first.parse().ok(), second), (Some(*number), text.as_str()));
    }
    answer.is_ok()
}

/// Five bytes of an envelope, and its body.
fn outcome(bytes: &[u8]) -> bool {
    let Some((&[code, handled, a, b, c], body)) = bytes.split_first_chunk() else { return false };
    let stamp = u32::from_le_bytes([code, handled, a, b]);
    let outcome = Envelope { stamp, deadline: u64::from(c) << 56, ..Envelope::EMPTY };
    match outcome_error(&outcome, body) {
        Ok(same) => {
            assert!(code == 0 && same == body);
            true
        }
        Err(error) => {
            assert!(code != 0 && !error.code.word().is_empty());
            assert_eq!(error.text, String::from_utf8_lossy(body));
            false
        }
    }
}
