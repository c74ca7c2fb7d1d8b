//! Numbers and texts of others as they fit into a few columns of a terminal.
//!
//! Nothing here draws; widths are columns of the terminal, not bytes or characters.

use crate::cli::output::visible;
use ratatui::text::Span;

/// A column by the eighths of it that are filled.
pub(super) const STANDING: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A rate a second, in at most five columns.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        ..0.05 => "0".into(),
        // What would be rounded to 10.0 is left to the next row, and so on.
        ..99.95 => format!("{rate:.1}"),
        ..9999.5 => format!("{rate:.0}"),
        _ => scaled(rate),
    }
}

/// A count, in at most five columns.
pub(super) fn count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { scaled(count as f64) }
}

fn scaled(number: f64) -> String {
    let (mut number, mut unit) = (number / 1e3, 'k');
    for next in ['M', 'G', 'T', 'P', 'E'] {
        if number < 999.5 {
            break;
        }
        (number, unit) = (number / 1e3, next);
    }
    if number < 99.95 { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") }
}

/// A time in nanoseconds, in at most five columns; what is measured is no more exact than two digits.
pub(super) fn time(nanos: u64) -> String {
    let nanos = nanos as f64;
    let (number, unit) = match nanos {
        ..999.5 => return format!("{nanos:.0}ns"),
        ..999.5e3 => (nanos / 1e3, "µs"),
        ..999.5e6 => (nanos / 1e6, "ms"),
        ..999.5e9 => (nanos / 1e9, "s"),
        _ => return "long".into(),
    };
    if number < 9.95 { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") }
}

/// A size, in at most eight columns up to terabytes.
pub(super) fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 999.5 {
            break;
        }
        (number, unit) = (number / 1024.0, next);
    }
    match (unit, number) {
        ("B", _) => format!("{bytes} B"),
        (_, ..99.95) => format!("{number:.1} {unit}"),
        _ => format!("{number:.0} {unit}"),
    }
}

/// The time of day of a moment in milliseconds since 1970, as the log has it.
pub(super) fn time_of_day(time_ms: u64) -> String {
    let seconds = time_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text of others on one line.
pub(super) fn on_one_line(text: &str) -> String {
    visible(&text.replace(['\n', '\t'], " "))
}

/// A text in so many columns, with an ellipsis where it is longer.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = fitting(text, columns.saturating_sub(1)).to_owned();
    if columns > 0 {
        short.push('…');
    }
    short
}

/// The part of a text that takes at most so many columns.
fn fitting(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, character) in text.char_indices() {
        taken += width(character.encode_utf8(&mut [0; 4]));
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// A text of others in lines of so many columns, broken between words where it can be.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let text = visible(&text.replace('\t', "    "));
    text.split('\n').flat_map(|line| wrapped_line(line, columns.max(1))).collect()
}

fn wrapped_line(mut rest: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let most = fitting(rest, columns);
        if most.len() == rest.len() {
            // What ends with the last line has no further one.
            if !rest.is_empty() || lines.is_empty() {
                lines.push(rest.to_owned());
            }
            return lines;
        }
        // A character that is wider than the screen is taken all the same, so that this ends.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let is_between = rest[most.len()..].starts_with(' ');
        let space = if is_between { Some(most.len()) } else { most.rfind(' ') };
        let end = space.filter(|end| *end > 0).unwrap_or(most.len().max(first));
        lines.push(rest[..end].to_owned());
        rest = rest[end..].strip_prefix(' ').unwrap_or(&rest[end..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_counts_fit() {
        for (given, shown) in [
            (0.0, "0"),
            (0.04, "0"),
            (0.5, "0.5"),
            (12.34, "12.3"),
            (99.96, "100"),
            (9999.0, "9999"),
            (9999.6, "10.0k"),
            (99_960.0, "100k"),
            (999_600.0, "1.0M"),
            (12e9, "12.0G"),
        ] {
            assert_eq!(rate(given), shown, "{given}");
            assert!(rate(given).len() <= 5);
        }
        for (given, shown) in [(9999, "9999"), (10_000, "10.0k"), (u64::MAX, "18.4E")] {
            assert_eq!(count(given), shown);
        }
    }

    #[test]
    fn times_and_sizes_fit() {
        for (given, shown) in [
            (0, "0ns"),
            (999, "999ns"),
            (1234, "1.2µs"),
            (9960, "10µs"),
            (999_600, "1.0ms"),
            (250_000_000, "250ms"),
            (61_000_000_000, "61s"),
            (u64::MAX, "long"),
        ] {
            assert_eq!(time(given), shown, "{given}");
            assert!(width(&time(given)) <= 5);
        }
        for (given, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (31 << 20, "31.0 MiB"),
            (1 << 30, "1.0 GiB"),
        ] {
            assert_eq!(size(given), shown);
        }
        assert_eq!(time_of_day(1_700_000_000_000), "22:13:20Z");
    }

    #[test]
    fn long_texts_are_shortened_and_wrapped() {
        for (text, columns, shown) in [
            ("counter", 7, "counter"),
            ("counter", 6, "count…"),
            ("日本語", 4, "日…"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            assert_eq!(shortened(text, columns), shown);
        }
        for (text, columns, lines) in [
            ("one two three", 7, &["one two", "three"][..]),
            ("one two three", 8, &["one two", "three"]),
            ("abcdefgh i", 3, &["abc", "def", "gh", "i"]),
            ("a\n\nb", 9, &["a", "", "b"]),
            ("日本", 1, &["日", "本"]),
            ("", 5, &[""]),
            ("\u{1b}[2J", 9, &["\u{fffd}[2J"]),
        ] {
            assert_eq!(wrapped(text, columns), lines, "{text}");
        }
        assert_eq!(on_one_line("a\nb\u{7}"), "a b\u{fffd}");
    }
}
