//! Amounts: whole numbers, durations such as `250ms`, sizes such as `64MiB`, each within a range.

use super::mistakes::Complaint;
use super::value::Value;
use super::words::{listed, outside, wrong};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

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
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let number = value.get::<i64>().ok_or_else(|| Complaint {
        label: "expected a whole number".into(),
        ..wrong(value, &expected, whole_help(value, range))
    })?;
    // What is beyond the type is beyond the range, too.
    let fitting = u64::try_from(number).ok().and_then(|number| N::try_from(number).ok());
    match fitting {
        Some(number) => bounded(value, number, range, "a whole number", N::to_string),
        None if number < 0 => Err(too_small(value, &expected, &range.start().to_string())),
        None => Err(too_large(value, &expected, &range.end().to_string())),
    }
}

fn whole_help<N: Display>(value: Value<'_>, range: &RangeInclusive<N>) -> String {
    match value.get::<String>().map(|text| text.parse::<u64>()) {
        Some(Ok(number)) => format!("write {number}, without quotes"),
        _ => format!("write a number such as {}", range.start()),
    }
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
        Err(too_small(value, &expected, &least))
    } else if given > *range.end() {
        Err(too_large(value, &expected, &most))
    } else {
        Ok(given)
    }
}

fn too_small(value: Value<'_>, expected: &str, least: &str) -> Complaint {
    outside(value, expected, "too small", format!("write {least} or more"))
}

fn too_large(value: Value<'_>, expected: &str, most: &str) -> Complaint {
    outside(value, expected, "too large", format!("write {most} at most"))
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
