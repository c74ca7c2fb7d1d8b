//! Times and durations as authors write them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A moment on the host's monotonic clock, or on the testkit's virtual one.
#[derive(
    Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct Time(pub(crate) u64);

impl Time {
    /// The time from `earlier` to this moment; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds since the clock began.
    pub fn as_nanos(self) -> u64 {
        self.0
    }
}

/// A length of time: a [`Duration`], or text such as `"250ms"`, `"2s"`, `"50us"`, `"1m"`, `"1h"`.
pub trait IntoDuration {
    /// The length in nanoseconds.
    ///
    /// # Panics
    /// If the text is no duration; [`crate::every`] checks its text when the plugin is compiled.
    fn into_nanos(self) -> u64;
}

impl IntoDuration for Duration {
    fn into_nanos(self) -> u64 {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl IntoDuration for &str {
    fn into_nanos(self) -> u64 {
        match parse_nanos(self) {
            Some(nanos) => nanos,
            None => panic!("`{self}` is no duration: write a number and a unit, such as \"250ms\""),
        }
    }
}

/// The nanoseconds of a text such as `"250ms"`; `None` if it is no duration.
pub const fn parse_nanos(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let mut number: u64 = 0;
    let mut at = 0;
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        number = match number.checked_mul(10) {
            Some(tens) => match tens.checked_add((bytes[at] - b'0') as u64) {
                Some(sum) => sum,
                None => return None,
            },
            None => return None,
        };
        at += 1;
    }
    if at == 0 {
        return None;
    }
    let (_, unit) = bytes.split_at(at);
    let scale: u64 = match unit {
        b"ns" => 1,
        b"us" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        _ => return None,
    };
    number.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::parse_nanos;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, expect) in [
            ("250ms", Some(250_000_000)),
            ("2s", Some(2_000_000_000)),
            ("50us", Some(50_000)),
            ("7ns", Some(7)),
            ("1m", Some(60_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("", None),
            ("s", None),
            ("5", None),
            ("5 s", None),
            ("-5s", None),
            ("5x", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_nanos(text), expect, "{text}");
        }
    }
}
