//! What is not RON at all: one mistake at its place, since nothing behind it can be trusted.

use super::mistakes::{Complaint, Mistakes, printable};
use super::value::options;
use ron::error::{Error, Position, SpannedError};
use serde::de::IgnoredAny;
use std::ops::Range;

/// Whether the text, which begins at this offset of the file, is RON; if not, the mistake is added.
pub(super) fn is_ron(text: &str, offset: usize, mistakes: &mut Mistakes) -> bool {
    let Err(error) = options().from_str::<IgnoredAny>(text) else { return true };
    let shift = |span: Range<usize>| span.start + offset..span.end + offset;
    let at = offset_of(text, error.span.end);
    match bracket(text, at) {
        Some(Bracket::Unclosed(open)) => {
            mistakes.push(shift(open..open + 1), unclosed(&text[open..=open]))
        }
        Some(Bracket::Crossed { open, close }) => {
            let also = (shift(open..open + 1), "opened here");
            mistakes.push_pair(
                shift(close..close + 1),
                crossed(&text[open..=open], &text[close..=close]),
                also,
            );
        }
        None => {
            let (place, complaint) = explain(text, &error);
            mistakes.push(shift(place), complaint);
        }
    }
    false
}

fn unclosed(open: &str) -> Complaint {
    let close = closing(open);
    Complaint::new(
        format!("this `{open}` is never closed"),
        "opened here",
        format!("put `{close}` behind the last field that belongs to it"),
    )
}

fn crossed(open: &str, close: &str) -> Complaint {
    let wanted = closing(open);
    Complaint::new(
        format!("`{close}` closes a `{open}`"),
        format!("expected `{wanted}`"),
        format!("write `{wanted}` here"),
    )
}

fn closing(open: &str) -> char {
    match open {
        "(" => ')',
        "[" => ']',
        _ => '}',
    }
}

/// The bytes to point at: an unclosed text from its quote, anything else at the character that does not fit.
fn place(text: &str, error: &SpannedError) -> Range<usize> {
    let end = offset_of(text, error.span.end);
    match error.code {
        Error::ExpectedStringEnd | Error::InvalidEscape(_) | Error::UnclosedBlockComment => {
            offset_of(text, error.span.start)..end
        }
        _ => end..end + 1,
    }
}

fn explain(text: &str, error: &SpannedError) -> (Range<usize>, Complaint) {
    let place = place(text, error);
    let bare = bare(text, place.start).filter(|_| error.code == Error::ExpectedComma);
    match bare {
        Some(bare) => (bare.clone(), unquoted(&printable(&text[bare]))),
        None => (place, complaint(&error.code)),
    }
}

/// Text without quotes around a place within it, such as `5s` or `kv:read`.
fn bare(text: &str, at: usize) -> Option<Range<usize>> {
    let is_end = |character: char| character.is_whitespace() || "()[]{}\"',/".contains(character);
    let before = text[..at].rfind(is_end).map_or(0, |end| text.ceil_char_boundary(end + 1));
    let after = text[at..].find(is_end).map_or(text.len(), |length| at + length);
    (before < at && at < after && after - before <= 60).then_some(before..after)
}

fn unquoted(word: &str) -> Complaint {
    let message = format!("`{word}` is neither a number nor a word");
    Complaint::new(message, "needs quotes", format!("write \"{word}\""))
}

fn complaint(error: &Error) -> Complaint {
    let (message, label, help) = match error {
        Error::ExpectedComma => (
            "a comma is missing",
            "expected `,` before this",
            "put a comma behind the value before it, or a colon behind a name",
        ),
        Error::ExpectedMapColon => {
            ("a colon is missing", "expected `:` before this", "write `name: value`")
        }
        Error::ExpectedStringEnd => {
            ("this text is never closed", "starts here", "end it with a quote")
        }
        Error::InvalidEscape(_) => (
            "a text has an escape that does not exist",
            "in this text",
            "write \\\\ for a backslash, or r\"…\" for a text without escapes",
        ),
        Error::ExpectedChar => (
            "single quotes hold one character",
            "expected a closing quote",
            "put a text in double quotes",
        ),
        Error::UnclosedBlockComment => {
            ("this comment is never closed", "starts here", "end it with `*/`")
        }
        Error::TrailingCharacters => (
            "the config has ended before this",
            "expected nothing more",
            "put one pair of parentheses around everything",
        ),
        Error::ExceededRecursionLimit => {
            ("this is nested too deeply", "too deep", "use fewer levels")
        }
        Error::ExpectedIdentifier
        | Error::InvalidIdentifier(_)
        | Error::SuggestRawIdentifier(_) => (
            "a field has no proper name",
            "expected a name",
            "write `name: value`; a name has letters, digits and `_`",
        ),
        Error::Eof => ("the file ends too early", "the end", "finish what was begun"),
        Error::UnexpectedChar(character) => return unexpected(*character),
        other => return other_complaint(other),
    };
    Complaint::new(message, label, help)
}

fn unexpected(character: char) -> Complaint {
    let message = match character {
        ')' | ']' | '}' | ',' => "a value is missing".into(),
        _ => format!("{character:?} begins no value"),
    };
    let help = "write a value: \"text\", 1, true, (name: value), [list] or {\"key\": value}";
    Complaint::new(message, "expected a value", help)
}

fn other_complaint(error: &Error) -> Complaint {
    let text: String = printable(&error.to_string()).chars().take(200).collect();
    Complaint::new(lower_case(&text), "here", "a config is RON: (name: value, …)")
}

fn lower_case(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().into_iter().flat_map(char::to_lowercase).chain(characters).collect()
}

/// Byte offset of a position that counts lines and characters from 1.
fn offset_of(text: &str, position: Position) -> usize {
    let lines: usize = text.split_inclusive('\n').take(position.line - 1).map(str::len).sum();
    let line = &text[lines..];
    lines + line.char_indices().nth(position.col - 1).map_or(line.len(), |(at, _)| at)
}

enum Bracket {
    Unclosed(usize),
    Crossed { open: usize, close: usize },
}

/// The bracket that explains an error at this offset: one that the other kind closes, or one that nothing closes.
fn bracket(text: &str, error: usize) -> Option<Bracket> {
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'(' | b'[' | b'{' => open.push(at),
            byte @ (b')' | b']' | b'}') => {
                let start = open.pop()?;
                if closing(&text[start..=start]) != char::from(byte) {
                    return (at == error).then_some(Bracket::Crossed { open: start, close: at });
                }
            }
            _ => at += opaque(&text[at..])?,
        }
        at += 1;
    }
    let is_at_end = text[error.min(text.len())..].trim().is_empty();
    open.pop().filter(|_| is_at_end).map(Bracket::Unclosed)
}

/// Bytes behind the first one that belong to the same comment, text or character; none if it never ends.
fn opaque(text: &str) -> Option<usize> {
    let first = text.chars().next().map_or(1, char::len_utf8);
    let length = match text.as_bytes() {
        [b'/', b'/', ..] => text.find('\n').unwrap_or(text.len()),
        [b'/', b'*', ..] => text.find("*/")? + 2,
        [b'"', ..] => text_length(&text[1..])? + 1,
        [b'r', b'"' | b'#', ..] => raw_length(text)?,
        [b'\'', ..] => character_length(text),
        _ => first,
    };
    Some(length - 1)
}

/// Bytes of `'c'` or `'\n'`; of the quote alone if it is neither.
fn character_length(text: &str) -> usize {
    let is_escape = text.as_bytes().get(1) == Some(&b'\\');
    let mut rest =
        text.char_indices().skip(if is_escape { 3 } else { 2 }).take(if is_escape { 8 } else { 1 });
    rest.find(|(_, character)| *character == '\'').map_or(1, |(at, _)| at + 1)
}

/// Bytes of a text behind its opening quote, with the closing one.
fn text_length(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some(at + 1),
            (_, b'\\') => drop(bytes.next()),
            _ => {}
        }
    }
}

/// Bytes of `r"…"` or `r#"…"#`; of the `r` alone if it is neither.
fn raw_length(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let start = 1 + hashes + 1;
    if !text[1 + hashes..].starts_with('"') {
        return Some(1);
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some(start + text[start..].find(&end)? + end.len())
}
