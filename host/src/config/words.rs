//! The small languages inside a config: texts, addresses, names, scopes, and words to choose from.
//!
//! Each reader says what is expected, what stands there, and what to write instead.

use super::Policy;
use super::amounts;
use super::mistakes::Complaint;
use super::value::Value;
use ron::value::RawValue;
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// Names that no subsystem may have: the kernel speaks under them.
const RESERVED: [&str; 6] = ["kernel", "operator", "query", "channel", "request", "event"];

/// Bytes of the longest subsystem name.
const MAX_NAME: usize = 255;

pub(super) fn flag(value: Value<'_>) -> Result<bool, Complaint> {
    value.get::<bool>().ok_or_else(|| {
        let help = match value.text.trim_matches('"').to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => "write true, without quotes",
            "false" | "no" | "off" | "0" => "write false, without quotes",
            _ => "write true or false, without quotes",
        };
        wrong(value, "true or false", help)
    })
}

/// Text in quotes that says something.
pub(super) fn text(value: Value<'_>, example: &str) -> Result<String, Complaint> {
    let expected = format!("a text such as {example}");
    match value.get::<String>() {
        Some(text) if !text.trim().is_empty() => Ok(text),
        Some(_) => {
            Err(outside(value, &expected, "empty", format!("write a text such as {example}")))
        }
        None => Err(wrong(value, &expected, quoted_help(value, example))),
    }
}

fn quoted_help(value: Value<'_>, example: &str) -> String {
    let is_bare = value.text.len() <= 40 && value.text.chars().all(is_name_character);
    if is_bare {
        format!("write \"{}\", in quotes", value.text)
    } else {
        format!("write a text such as {example}")
    }
}

pub(super) fn address(value: Value<'_>) -> Result<SocketAddr, Complaint> {
    let expected = "an address with a port, such as \"127.0.0.1:7070\"";
    let Some(text) = value.get::<String>() else {
        return Err(wrong(value, expected, "write \"127.0.0.1:7070\""));
    };
    let no_address = |_| Complaint {
        label: "expected an address with a port".into(),
        ..wrong(value, expected, address_help(&text))
    };
    text.parse().map_err(no_address)
}

fn address_help(text: &str) -> String {
    let text = text.trim().trim_start_matches("http://").trim_end_matches('/');
    let candidates = [
        text.to_owned(),
        text.replace("localhost", "127.0.0.1"),
        format!("127.0.0.1{text}"),
        format!("127.0.0.1:{text}"),
        format!("{text}:7070"),
        format!("{}:7070", text.replace("localhost", "127.0.0.1")),
        format!("[{text}]:7070"),
    ];
    match candidates.into_iter().find(|candidate| candidate.parse::<SocketAddr>().is_ok()) {
        Some(good) => format!("write \"{good}\""),
        None => {
            "write a number address and a port from 1 to 65535, such as \"127.0.0.1:7070\"".into()
        }
    }
}

/// The name of a subsystem, from its place before the colon.
pub(super) fn name(value: Value<'_>) -> Result<String, Complaint> {
    let shown = value.shown();
    let name = value.get::<String>().ok_or_else(|| {
        let message = format!("a subsystem's name must be a text, not {shown}");
        Complaint::new(message, "expected a text in quotes", quoted_help(value, "\"kv\""))
    })?;
    name_complaint(&name, &shown).map_or(Ok(name), Err)
}

fn name_complaint(name: &str, shown: &str) -> Option<Complaint> {
    let foreign = name.chars().find(|character| !is_name_character(*character));
    let (message, label, help) = match foreign {
        None if name.bytes().all(|byte| byte == b'.') => (
            format!("{shown} is no name for a subsystem"),
            "no name",
            "give it a name such as \"kv\"".into(),
        ),
        _ if name.len() > MAX_NAME => (
            format!("a subsystem's name has {} bytes", name.len()),
            "too long",
            format!("write {MAX_NAME} at most"),
        ),
        Some(character) => (
            format!("the name {shown} has {character:?} in it"),
            "not a name",
            format!(
                "write \"{}\"; a name has letters a to z, digits, `_`, `.` and `-`",
                cleaned(name)
            ),
        ),
        None if RESERVED.contains(&name) => (
            format!("the name {shown} is the kernel's own"),
            "reserved",
            format!("choose another name than {}", listed(RESERVED.into_iter(), "and")),
        ),
        None => return None,
    };
    Some(Complaint::new(message, label, help))
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

/// The name with something allowed in every place.
fn cleaned(name: &str) -> String {
    name.chars()
        .map(|character| if is_name_character(character) { character } else { '-' })
        .collect()
}

/// A full scope name, such as `kv:read`.
pub(super) fn scope(value: Value<'_>) -> Result<String, Complaint> {
    let text = value.get::<String>().ok_or_else(|| no_scope(value, SCOPE_HELP.into()))?;
    match text.split_once(':') {
        Some((subsystem, scope)) if is_name(subsystem) && is_name(scope) => Ok(text),
        _ => Err(no_scope(value, scope_help(&text))),
    }
}

const SCOPE_HELP: &str = "write the subsystem, a colon and the scope: \"kv:read\"";

fn no_scope(value: Value<'_>, help: String) -> Complaint {
    let message = format!("must hold full scope names such as \"kv:read\", not {}", value.shown());
    Complaint::new(message, "not a full scope name", help)
}

/// A full scope name, or `*` for all.
pub(super) fn scope_or_all(value: Value<'_>) -> Result<String, Complaint> {
    if value.get::<&str>() == Some("*") { Ok("*".into()) } else { scope(value) }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_character)
}

fn scope_help(text: &str) -> String {
    let split = text.split_once("://").or_else(|| text.split_once(['/', '.']));
    match split {
        Some((subsystem, scope)) if is_name(subsystem) && is_name(scope) => {
            format!("write \"{subsystem}:{scope}\"")
        }
        _ if text == "*" => "name each scope; only `control` may be granted everything".into(),
        _ => SCOPE_HELP.into(),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(value: Value<'_>, words: &[(&'static str, T)]) -> Result<T, Complaint> {
    let names = || words.iter().map(|(name, _)| *name);
    match words.iter().find(|(name, _)| *name == value.text) {
        Some((_, word)) => Ok(*word),
        None => {
            let help = word_help(value, names());
            Err(outside(value, &listed(names(), "or"), "none of these", help))
        }
    }
}

fn word_help(value: Value<'_>, names: impl Iterator<Item = &'static str> + Clone) -> String {
    let quotes = if value.is_text() { ", without quotes" } else { "" };
    match nearest(value.text, names.clone()) {
        Some(near) => format!("write {near}{quotes}"),
        None => format!("write {}{quotes}", listed(names, "or")),
    }
}

const POLICIES: [(&str, Policy); 3] = [
    ("DropOldest", Policy::DropOldest),
    ("DropNewest", Policy::DropNewest),
    ("Reject", Policy::Reject),
];

pub(super) fn policy(value: Value<'_>) -> Result<Policy, Complaint> {
    if let Some(time) = blocked(value) {
        return block_time(time).map(Policy::Block);
    }
    let known = POLICIES.into_iter().find(|(name, _)| *name == value.text);
    known.map(|(_, policy)| policy).ok_or_else(|| {
        let expected = "DropOldest, DropNewest, Reject or Block(\"100ms\")";
        outside(value, expected, "no such policy", policy_help(value))
    })
}

fn block_time(time: Value<'_>) -> Result<Duration, Complaint> {
    let complaint = |complaint: Complaint| Complaint {
        message: format!("blocks for a time that {}", complaint.message),
        ..complaint
    };
    amounts::duration(time, &(Duration::from_micros(1)..=Duration::from_secs(3600)))
        .map_err(complaint)
}

fn policy_help(value: Value<'_>) -> String {
    let word = value.text.split('(').next().unwrap_or_default();
    let names = POLICIES.into_iter().map(|(name, _)| name).chain(["Block", "Error"]);
    let quotes = if value.is_text() { ", without quotes" } else { "" };
    match nearest(word, names) {
        Some("Block") => "say for how long: Block(\"100ms\")".into(),
        Some("Error") => {
            format!("write Reject{quotes}: the sender gets an error and its message back")
        }
        Some(near) if value.text.ends_with(')') => {
            format!("write {near} alone; only Block takes a time")
        }
        Some(near) => format!("write {near}{quotes}"),
        None => "write DropOldest, DropNewest, Reject or Block(\"100ms\")".into(),
    }
}

/// What stands in the parentheses of `Block(…)`.
fn blocked(value: Value<'_>) -> Option<Value<'_>> {
    #[derive(Deserialize)]
    enum Blocked<'a> {
        Block(#[serde(borrow)] &'a RawValue),
    }
    let Blocked::Block(raw) = value.get()?;
    Some(value.part(raw))
}

/// The complaint about a value that is not what belongs there; the field's name goes before the message.
pub(super) fn wrong(value: Value<'_>, expected: &str, help: impl Into<String>) -> Complaint {
    let kind = expected.split(", such").next().and_then(|expected| expected.split(" such").next());
    let label = format!("expected {}", kind.unwrap_or(expected));
    Complaint::new(format!("must be {expected}, not {}", value.shown()), label, help)
}

/// The complaint about a value that is not a list of texts.
pub(super) fn no_list(value: Value<'_>) -> Complaint {
    let help = if value.is_text() {
        format!("write [{}]", value.text)
    } else {
        "write [\"kv:read\"]".into()
    };
    wrong(value, "a list such as [\"kv:read\"]", help)
}

/// As [`wrong`], where the value is of the right kind.
pub(super) fn outside(
    value: Value<'_>,
    expected: &str,
    label: &str,
    help: impl Into<String>,
) -> Complaint {
    Complaint { label: label.into(), ..wrong(value, expected, help) }
}

/// The word that was probably meant, if any is near; case and punctuation do not count.
pub(super) fn nearest<'w>(given: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let given = letters(given);
    let near = words.map(|word| (distance(&given, &letters(word)), word)).min()?;
    (near.0 <= (near.1.len() / 3).max(1)).then_some(near.1)
}

/// Letters to change; the beginning of a word is near to the whole.
fn distance(given: &str, word: &str) -> usize {
    let is_beginning = given.len() >= 3 && word.starts_with(given);
    let letters = strsim::damerau_levenshtein(given, word);
    if is_beginning { letters.min(1) } else { letters }
}

/// Letters and digits in lower case, cut where no word of ours is as long.
fn letters(text: &str) -> String {
    text.chars()
        .filter(|character| character.is_alphanumeric())
        .take(64)
        .flat_map(char::to_lowercase)
        .collect()
}

/// `a, b and c`.
pub(super) fn listed<'w>(words: impl Iterator<Item = &'w str>, last: &str) -> String {
    let words: Vec<_> = words.collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).into(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}
