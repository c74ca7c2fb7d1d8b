//! Dead letters: messages that were accepted and could not be handled, kept to look at and to send again.
//!
//! This is the letter and the choice among letters; [`Letters`] keeps them, and the runtime makes letters of messages and
//! messages of letters.

mod file;
mod store;

pub use store::{Letters, now_ms};

use mycelia_plugin::{Error, abi::flags};
use serde::{Deserialize, Serialize};
use std::{fmt, mem, str::FromStr, time::Duration};

/// Why a message became a dead letter.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its deadline passed in the queue.
    Expired,
    /// Its handler, or the commit of its batch, failed, and nobody waited to be told.
    Failed,
    /// Its handler panicked.
    Panicked,
    /// A new build does not have its route.
    NoRoute,
    /// Its subsystem had stopped.
    Gone,
    /// The host stopped before it was handled.
    Shutdown,
    /// Its handler ran past `handler_limit`.
    Hung,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 7] = [
        Reason::Expired,
        Reason::Failed,
        Reason::Panicked,
        Reason::NoRoute,
        Reason::Gone,
        Reason::Shutdown,
        Reason::Hung,
    ];

    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::Failed => "failed",
            Reason::Panicked => "panicked",
            Reason::NoRoute => "no_route",
            Reason::Gone => "gone",
            Reason::Shutdown => "shutdown",
            Reason::Hung => "hung",
        }
    }
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Reason, String> {
        let known = Reason::ALL.into_iter().find(|reason| reason.word() == text);
        known.ok_or_else(|| {
            let words = Reason::ALL.map(Reason::word).join(", ");
            format!("{text:?} is no reason; the reasons are {words}")
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A message that could not be handled.
// The file holds it in this order: see `file.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Counts the letters, from 1; with a file, over all runs of the host.
    pub id: u64,
    /// Whose message it was.
    pub subsystem: String,
    /// The pattern of its route.
    pub route: String,
    /// Where it was sent.
    pub path: String,
    /// Which subsystem sent it, or `operator`.
    pub sender: String,
    /// Why it is here.
    pub reason: Reason,
    /// The error's text.
    pub text: String,
    /// When it became a letter, in milliseconds since 1970.
    pub time_ms: u64,
    /// The encoding of its body and whether that came from the edge, as in an envelope.
    pub flags: u16,
    /// The schema of its body; 0 where the host does not know it.
    pub schema: u64,
    /// Its body.
    pub body: Vec<u8>,
}

impl Letter {
    /// The bytes that it counts as.
    pub fn bytes(&self) -> u64 {
        let texts = [&self.subsystem, &self.route, &self.path, &self.sender, &self.text];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        (mem::size_of::<Letter>() + texts + self.body.len()) as u64
    }

    /// What is told of it; the body only where it is asked for.
    pub fn told(&self, with_body: bool) -> ToldLetter {
        let is_postcard = self.flags & flags::ENCODING == flags::POSTCARD;
        let text = std::str::from_utf8(&self.body).ok().filter(|_| !is_postcard);
        ToldLetter {
            id: self.id,
            subsystem: self.subsystem.clone(),
            route: self.route.clone(),
            path: self.path.clone(),
            sender: self.sender.clone(),
            reason: self.reason,
            text: self.text.clone(),
            time_ms: self.time_ms,
            encoding: encoding(self.flags).into(),
            length: self.body.len() as u64,
            body_text: text.filter(|_| with_body).map(Into::into),
            body_hex: (with_body && text.is_none()).then(|| hex(&self.body)),
        }
    }
}

fn encoding(letter: u16) -> &'static str {
    match letter & flags::ENCODING {
        flags::POSTCARD => "postcard",
        flags::JSON => "json",
        _ => "raw",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A letter as it is written in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields of a letter")]
pub struct ToldLetter {
    pub id: u64,
    pub subsystem: String,
    pub route: String,
    pub path: String,
    pub sender: String,
    pub reason: Reason,
    pub text: String,
    pub time_ms: u64,
    /// `raw`, `json` or `postcard`.
    pub encoding: String,
    /// Bytes of the body.
    pub length: u64,
    /// The body, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_text: Option<String>,
    /// The body, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hex: Option<String>,
}

/// Which letters are meant: those that everything here fits. What is not given fits all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// These; all if there are none.
    pub ids: Vec<u64>,
    /// Those of a subsystem.
    pub subsystem: Option<String>,
    /// Those of a route, by its pattern.
    pub route: Option<String>,
    /// Those with this reason.
    pub reason: Option<Reason>,
    /// Those that are at least this old.
    pub age: Option<Duration>,
}

impl Filter {
    /// Whether a letter is meant, at a time in milliseconds since 1970.
    pub fn takes(&self, letter: &Letter, now_ms: u64) -> bool {
        let age = Duration::from_millis(now_ms.saturating_sub(letter.time_ms));
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && self.subsystem.as_ref().is_none_or(|subsystem| *subsystem == letter.subsystem)
            && self.route.as_ref().is_none_or(|route| *route == letter.route)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.age.is_none_or(|least| age >= least)
    }
}

/// What became of letters that were to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Accepted as new messages, and no longer letters.
    pub replayed: Vec<u64>,
    /// Letters still, and why.
    pub refused: Vec<RefusedLetter>,
}

/// A letter that was not accepted as a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedLetter {
    /// Which.
    pub id: u64,
    /// The word of the error's code.
    pub error: String,
    /// Cause and remedy.
    pub text: String,
}

impl ReplayReport {
    /// Notes what became of a letter.
    pub fn note(&mut self, id: u64, sent: Result<(), Error>) {
        match sent {
            Ok(()) => self.replayed.push(id),
            Err(error) => self.refused.push(RefusedLetter {
                id,
                error: error.code.word().into(),
                text: error.text.clone(),
            }),
        }
    }
}

/// How many letters there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LettersStatus {
    /// How many are kept.
    pub kept: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// How many were let go for want of room since the host started.
    pub let_go: u64,
    /// How many of each subsystem are kept, by reason.
    pub subsystems: Counts,
}

/// How many letters each subsystem has, by reason.
pub type Counts = std::collections::BTreeMap<String, std::collections::BTreeMap<Reason, u64>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter in which nothing is empty.
    pub(super) fn letter(number: u64, length: usize) -> Letter {
        Letter {
            id: 0,
            subsystem: "kv".into(),
            route: "put/{key}".into(),
            path: format!("kv://put/{number}"),
            sender: "http".into(),
            reason: Reason::Failed,
            text: "the disk is full".into(),
            time_ms: 1000 * number,
            flags: flags::JSON | flags::EDGE,
            schema: 7,
            body: vec![b'x'; length],
        }
    }

    #[test]
    fn every_part_of_a_filter_counts() {
        let one = Letter { id: 5, ..letter(10, 1) };
        let takes = |filter: Filter| filter.takes(&one, 70_000);
        let age = |seconds| Some(Duration::from_secs(seconds));
        for (filter, expect) in [
            (Filter::default(), true),
            (Filter { ids: vec![4, 5], ..Filter::default() }, true),
            (Filter { ids: vec![4], ..Filter::default() }, false),
            (Filter { subsystem: Some("kv".into()), ..Filter::default() }, true),
            (Filter { subsystem: Some("http".into()), ..Filter::default() }, false),
            (Filter { route: Some("put/{key}".into()), ..Filter::default() }, true),
            (Filter { route: Some("put/10".into()), ..Filter::default() }, false),
            (Filter { reason: Some(Reason::Failed), ..Filter::default() }, true),
            (Filter { reason: Some(Reason::Gone), ..Filter::default() }, false),
            (Filter { age: age(60), ..Filter::default() }, true),
            (Filter { age: age(61), ..Filter::default() }, false),
            (
                Filter {
                    subsystem: Some("kv".into()),
                    reason: Some(Reason::Gone),
                    ..Filter::default()
                },
                false,
            ),
        ] {
            assert_eq!(takes(filter.clone()), expect, "{filter:?}");
        }
    }

    #[test]
    fn a_reason_is_read_as_it_is_written() {
        for reason in Reason::ALL {
            assert_eq!(reason.word().parse(), Ok(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
        assert!("dead".parse::<Reason>().unwrap_err().contains("panicked"));
    }

    #[test]
    fn a_body_is_told_as_what_it_is() {
        let told = |flags, body: &[u8]| {
            let told = Letter { flags, body: body.into(), ..letter(1, 0) }.told(true);
            (told.body_text, told.body_hex)
        };
        assert_eq!(told(flags::JSON, b"{}"), (Some("{}".into()), None));
        assert_eq!(told(flags::RAW, &[0xff, 1]), (None, Some("ff01".into())));
        assert_eq!(told(flags::POSTCARD, b"a"), (None, Some("61".into())));
        let silent = letter(1, 3).told(false);
        assert_eq!((silent.length, silent.body_text, silent.body_hex), (3, None, None));
    }
}
