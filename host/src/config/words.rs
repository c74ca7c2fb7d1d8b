//! The small languages inside a config: durations, sizes, names, scopes, and words to choose from.
//!
//! Each reader says what is expected, what stands there, and what to write instead.

use super::Policy;
use super::mistakes::Complaint;
use super::value::Value;
use ron::value::RawValue;
use serde::Deserialize;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Names that no subsystem may have: the kernel speaks under them.
pub const RESERVED: [&str; 6] = ["kernel", "operator", "query", "channel", "request", "event"];

/// Bytes of the longest subsystem name.
pub const MAX_NAME: usize = 255;

/// Reads a duration such as `250ms`.
///
/// # Errors
/// What to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    DURATION.parse(text).map(Duration::from_nanos)
}

/// Reads a size such as `64MiB`; a number without a unit is bytes.
///
/// # Errors
/// What to write instead.
pub fn parse_size(text: &str) -> Result<u64, String> {
    SIZE.parse(text)
}

/// A duration as [`parse_duration`] reads it, in the largest unit that needs no fraction.
pub fn show_duration(duration: Duration) -> String {
    DURATION.show(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// A size as [`parse_size`] reads it, in the largest unit that needs no fraction.
pub fn show_size(bytes: u64) -> String {
    SIZE.show(bytes)
}

pub(super) fn duration(
    value: Value<'_>,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, Complaint> {
    let given = quantity(value, &DURATION).map(Duration::from_nanos)?;
    let show = |bound: &Duration| format!("\"{}\"", show_duration(*bound));
    bounded(value, given, range, "a duration", show)
}

pub(super) fn size(value: Value<'_>, range: &RangeInclusive<u64>) -> Result<u64, Complaint> {
    let given = quantity(value, &SIZE)?;
    bounded(value, given, range, "a size", |bound| format!("\"{}\"", show_size(*bound)))
}

pub(super) fn whole<N>(value: Value<'_>, range: &RangeInclusive<N>) -> Result<N, Complaint>
where
    N: TryFrom<u64> + PartialOrd + Display + Copy,
{
    let (least, most) = (range.start(), range.end());
    let expected = format!("a whole number from {least} to {most}");
    let not_whole = |help: String| Complaint {
        label: "expected a whole number".into(),
        ..wrong(value, &expected, help)
    };
    let Some(number) = value.get::<i64>() else {
        return Err(not_whole(whole_help(value, range)));
    };
    let Ok(number) = u64::try_from(number) else {
        return Err(outside(value, &expected, "too small", format!("write {least} or more")));
    };
    // What does not fit the type does not fit the range either.
    let most_and_more = outside(value, &expected, "too large", format!("write {most} at most"));
    bounded(
        value,
        N::try_from(number).map_err(|_| most_and_more)?,
        range,
        "a whole number",
        N::to_string,
    )
}

fn whole_help<N: Display>(value: Value<'_>, range: &RangeInclusive<N>) -> String {
    match value.get::<String>().map(|text| text.parse::<u64>()) {
        Some(Ok(number)) => format!("write {number}, without quotes"),
        _ => format!("write a number such as {}", range.start()),
    }
}

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
    let complain = |message, label, help| Err(Complaint::new(message, label, help));
    let shown = value.shown();
    let Some(name) = value.get::<String>() else {
        let help = quoted_help(value, "\"kv\"");
        return complain(
            format!("a subsystem's name must be a text, not {shown}"),
            "expected a text in quotes",
            help,
        );
    };
    if name.is_empty() || name.bytes().all(|byte| byte == b'.') {
        return complain(
            format!("{shown} is no name for a subsystem"),
            "no name",
            "give it a name such as \"kv\"".into(),
        );
    }
    if RESERVED.contains(&name.as_str()) {
        let help = format!("choose another name than {}", listed(RESERVED.into_iter(), "and"));
        return complain(format!("the name {shown} is the kernel's own"), "reserved", help);
    }
    if name.len() > MAX_NAME {
        let message = format!("a subsystem's name has {} bytes", name.len());
        return complain(message, "too long", format!("the longest has {MAX_NAME}"));
    }
    if let Some(character) = name.chars().find(|character| !is_name_character(*character)) {
        let help = format!(
            "a name has letters a to z, digits, `_`, `.` and `-`; write \"{}\"",
            cleaned(&name)
        );
        return complain(format!("the name {shown} has {character:?} in it"), "not a name", help);
    }
    Ok(name)
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
    duration(time, &(Duration::from_micros(1)..=Duration::from_secs(3600))).map_err(complaint)
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
fn outside(value: Value<'_>, expected: &str, label: &str, help: impl Into<String>) -> Complaint {
    Complaint { label: label.into(), ..wrong(value, expected, help) }
}

fn bounded<T: PartialOrd>(
    value: Value<'_>,
    given: T,
    range: &RangeInclusive<T>,
    kind: &str,
    show: impl Fn(&T) -> String,
) -> Result<T, Complaint> {
    let (least, most) = (show(range.start()), show(range.end()));
    let expected = format!("{kind} from {least} to {most}");
    if given < *range.start() {
        Err(outside(value, &expected, "too small", format!("write {least} or more")))
    } else if given > *range.end() {
        Err(outside(value, &expected, "too large", format!("write {most} at most")))
    } else {
        Ok(given)
    }
}

fn quantity(value: Value<'_>, units: &Units) -> Result<u64, Complaint> {
    let expected = format!("{} such as \"{}\"", units.kind, units.example);
    let Some(text) = value.get::<String>() else {
        return Err(wrong(value, &expected, units.quotes_help(value.text)));
    };
    units.parse(&text).map_err(|help| wrong(value, &expected, help))
}

/// A number and a unit.
struct Units {
    kind: &'static str,
    example: &'static str,
    /// From the smallest to the largest, each with how many of the smallest it is.
    units: &'static [(&'static str, u64)],
    /// What people write instead, in lower case.
    others: &'static [(&'static str, &'static str)],
    zero: &'static str,
}

static DURATION: Units = Units {
    kind: "a duration",
    example: "250ms",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ],
    others: &[
        ("µs", "us"),
        ("μs", "us"),
        ("usec", "us"),
        ("micros", "us"),
        ("microseconds", "us"),
        ("msec", "ms"),
        ("millis", "ms"),
        ("milliseconds", "ms"),
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hr", "h"),
        ("hour", "h"),
        ("hours", "h"),
    ],
    zero: "0s",
};

static SIZE: Units = Units {
    kind: "a size",
    example: "64MiB",
    units: &[
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ],
    others: &[
        ("byte", "B"),
        ("bytes", "B"),
        ("k", "KiB"),
        ("kb", "KiB"),
        ("m", "MiB"),
        ("mb", "MiB"),
        ("g", "GiB"),
        ("gb", "GiB"),
        ("t", "TiB"),
        ("tb", "TiB"),
    ],
    zero: "0",
};

impl Units {
    fn parse(&self, text: &str) -> Result<u64, String> {
        let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let scale = self.units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        match (number.parse::<u64>(), scale) {
            (Ok(number), Some(scale)) => {
                number.checked_mul(scale).ok_or_else(|| "this is more than can be counted".into())
            }
            _ => Err(self.help(text.trim())),
        }
    }

    /// The amount in the largest unit that needs no fraction.
    fn show(&self, amount: u64) -> String {
        let fits = self
            .units
            .iter()
            .rev()
            .find(|(_, scale)| amount >= *scale && amount.is_multiple_of(*scale));
        match fits {
            Some((_, 1)) | None if amount > 0 => format!("{amount}{}", self.units[0].0),
            Some((unit, scale)) => format!("{}{unit}", amount / scale),
            None => self.zero.into(),
        }
    }

    fn help(&self, text: &str) -> String {
        let (number, unit) = split_number(text);
        match (number.parse::<f64>(), self.unit_meant(unit)) {
            (Ok(number), Some(unit)) if number >= 0.0 => self.exact(number, unit),
            (Ok(_), None) if unit.is_empty() => format!("add a unit: {}", self.with_units(number)),
            _ => format!("write a whole number and one of the units {}", self.listed()),
        }
    }

    /// How to write an amount that was given as a fraction, or with an unusual unit.
    fn exact(&self, number: f64, unit: &str) -> String {
        let scale =
            self.units.iter().find(|(name, _)| *name == unit).map_or(1, |(_, scale)| *scale);
        let amount = number * scale as f64;
        // Beyond 2^53 a float no longer holds every whole number.
        if amount.fract() == 0.0 && amount < 9e15 {
            format!("write \"{}\"", self.show(amount as u64))
        } else {
            format!("write a whole number of a smaller unit: {}", self.listed())
        }
    }

    fn unit_meant(&self, unit: &str) -> Option<&'static str> {
        let lower = unit.to_lowercase();
        let known =
            self.units.iter().map(|(name, _)| *name).find(|name| name.to_lowercase() == lower);
        known.or_else(|| {
            self.others.iter().find(|(other, _)| *other == lower).map(|(_, unit)| *unit)
        })
    }

    fn quotes_help(&self, text: &str) -> String {
        let bare = text.len() <= 40 && text.starts_with(|first: char| first.is_ascii_digit());
        match self.parse(text) {
            Ok(_) => format!("write \"{text}\", in quotes"),
            Err(_) if bare => {
                format!("put it in quotes, with a unit: {}", self.with_units(split_number(text).0))
            }
            Err(_) => format!("write a text such as \"{}\"", self.example),
        }
    }

    fn with_units(&self, number: &str) -> String {
        let [.., larger, smaller] = self.usual() else { return String::new() };
        format!("\"{number}{}\" or \"{number}{}\"", larger.0, smaller.0)
    }

    /// The units that are used most.
    fn usual(&self) -> &[(&'static str, u64)] {
        &self.units[..4]
    }

    fn listed(&self) -> String {
        listed(self.units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()), "and")
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
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
