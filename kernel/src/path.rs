//! Paths: the addresses of messages, `subsystem://segment/segment`.
//!
//! A path is compared exactly: case-sensitive, with nothing normalised and nothing decoded, so `?`, `#` and `%2F` are ordinary text.
//! `name://` addresses the empty route; every other empty segment is an error.

use std::fmt::Write as _;
use std::ops::Range;

use crate::words::{HIGHS, LOWS, Word, filled, load};

/// The most bytes that a path, or a pattern, may have.
pub const MAX_PATH: usize = 2048;
/// The most segments after `://`.
pub const MAX_SEGMENTS: usize = 32;
/// The most parameters of one pattern, its tail included.
pub const MAX_PARAMETERS: usize = 8;
/// The most bytes of a subsystem's name, which is a folder's name too.
pub const MAX_NAME: usize = 255;
/// Names that no subsystem may have.
pub const RESERVED: [&str; 6] = ["kernel", "operator", "query", "channel", "request", "event"];

pub(crate) const SEPARATOR: &str = "://";

/// A path whose form was checked: its name, its segments and its limits are right.
///
/// It does not prove that such a subsystem or route exists.
///
/// ```
/// use mycelia_kernel::path::Path;
///
/// let path = Path::parse("users://users/42")?;
/// assert_eq!((path.subsystem(), path.rest()), ("users", "users/42"));
/// # Ok::<(), mycelia_kernel::path::PathError>(())
/// ```
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Path<'a> {
    text: &'a str,
    name: usize,
}

impl<'a> Path<'a> {
    /// Checks a text; the cost is bounded by [`MAX_PATH`] however long the text is.
    ///
    /// # Errors
    /// The first offence from the left, with its place; a text that is too long is not looked at further.
    pub fn parse(text: &'a str) -> Result<Self, PathError> {
        check_length(text)?;
        let name = find_name(text)?;
        check_segments(text, name + SEPARATOR.len())?;
        Ok(Self { text, name })
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The name before `://`.
    pub fn subsystem(&self) -> &'a str {
        &self.text[..self.name]
    }

    /// All after `://`, possibly empty.
    pub fn rest(&self) -> &'a str {
        &self.text[self.rest_start()..]
    }

    /// The parts of [`rest`](Self::rest), none of them empty; the empty route has none.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let rest = self.rest();
        rest.split('/').take(if rest.is_empty() { 0 } else { MAX_SEGMENTS })
    }

    /// The subsystem's name, to be looked up.
    #[inline]
    pub(crate) fn name(&self) -> Word<'a> {
        Word::cut(self.text, self.name)
    }

    pub(crate) fn rest_start(&self) -> usize {
        self.name + SEPARATOR.len()
    }
}

/// Why a text is not a path, or not a name, and where: the sender's mistake.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} (at byte {at})")]
pub struct PathError {
    /// What is wrong.
    pub kind: PathErrorKind,
    /// The byte offset of the offending character; the length of the text when something is missing at its end.
    pub at: usize,
}

impl PathError {
    /// Two lines: the text, shortened around the place and with control characters escaped, and a caret below the place.
    pub fn pointer(&self, text: &str) -> String {
        point(text, self.at)
    }
}

/// What can be wrong with a path or a name.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PathErrorKind {
    /// Nothing stands before `://`.
    #[error("the subsystem's name is missing; a path reads `subsystem://segment/segment`")]
    MissingName,
    /// `://` does not follow the name.
    #[error(
        "`://` is missing after the subsystem's name; a path reads `subsystem://segment/segment`"
    )]
    MissingSeparator,
    /// A character outside `[A-Za-z0-9_.-]` in a name.
    #[error("{0:?} cannot be in a subsystem's name; use letters, digits, `_`, `.` and `-`")]
    NameCharacter(char),
    /// A name that the kernel keeps for itself.
    #[error(
        "this name is reserved; choose another than kernel, operator, query, channel, request and event"
    )]
    ReservedName,
    /// `.`, `..` and the like, which as a folder's name would leave the data folder.
    #[error("a subsystem's name cannot be of dots alone; add a letter or a digit")]
    DotsOnly,
    /// A name longer than [`MAX_NAME`].
    #[error("a name of {0} bytes is too long; at most {MAX_NAME} are allowed")]
    NameTooLong(usize),
    /// A leading, doubled or trailing slash.
    #[error("a segment is empty; remove the extra `/`")]
    EmptySegment,
    /// A control character in a segment.
    #[error("the control character {0:?} cannot be in a path; percent-encode it")]
    ControlCharacter(char),
    /// More than [`MAX_PATH`] bytes.
    #[error(
        "a path of {0} bytes is too long; at most {MAX_PATH} are allowed, so send the data in the body"
    )]
    TooLong(usize),
    /// More than [`MAX_SEGMENTS`] segments.
    #[error("a path has at most {MAX_SEGMENTS} segments; send the data in the body")]
    TooManySegments,
}

impl PathErrorKind {
    const fn at(self, at: usize) -> PathError {
        PathError { kind: self, at }
    }
}

/// Checks a name that a subsystem is to have: `[A-Za-z0-9_.-]+`, not of dots alone, and not [`RESERVED`].
///
/// A path may still address `kernel`.
///
/// # Errors
/// The first offence, with its place.
pub fn check_name(name: &str) -> Result<(), PathError> {
    use PathErrorKind::{DotsOnly, MissingName, NameCharacter, NameTooLong, ReservedName};
    let foreign = name.char_indices().find(|(_, character)| !is_name_character(*character));
    match foreign {
        _ if name.is_empty() => Err(MissingName.at(0)),
        _ if name.len() > MAX_NAME => {
            Err(NameTooLong(name.len()).at(name.floor_char_boundary(MAX_NAME)))
        }
        Some((at, character)) => Err(NameCharacter(character).at(at)),
        None if name.bytes().all(|byte| byte == b'.') => Err(DotsOnly.at(0)),
        None if RESERVED.contains(&name) => Err(ReservedName.at(0)),
        None => Ok(()),
    }
}

/// The name of what looks like a path, and where its rest starts.
///
/// It is one if the name is known, a pattern matches the rest, what the pattern captured [`are_plain`], and it has not
/// [too many segments](has_many_segments): the remainder is as it stands in the table, where it was checked, or was checked
/// by the matcher.
#[inline]
pub(crate) fn split(text: &str) -> Option<(Word<'_>, usize)> {
    let name = Word::until(text, 0, b':');
    let rest = name.len() + SEPARATOR.len();
    let is_like_one = text.len() <= MAX_PATH
        && text.as_bytes()[name.len()..].starts_with(SEPARATOR.as_bytes())
        && (rest == text.len() || !text.ends_with('/'));
    is_like_one.then_some((name, rest))
}

/// Checks what follows `://` when it stands alone.
pub(crate) fn check_rest(rest: &str) -> Result<(), PathError> {
    check_length(rest)?;
    check_segments(rest, 0)
}

pub(crate) const fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

fn check_length(text: &str) -> Result<(), PathError> {
    if text.len() <= MAX_PATH {
        return Ok(());
    }
    Err(PathErrorKind::TooLong(text.len()).at(text.floor_char_boundary(MAX_PATH)))
}

/// The length of the name, once `://` is known to follow it.
fn find_name(text: &str) -> Result<usize, PathError> {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|byte| !IN_NAMES[*byte as usize]).unwrap_or(bytes.len());
    if end > 0 && bytes[end..].starts_with(SEPARATOR.as_bytes()) {
        return Ok(end);
    }
    Err(no_name(text, end))
}

#[cold]
fn no_name(text: &str, end: usize) -> PathError {
    match text[end..].chars().next() {
        None | Some(':' | '/') if end == 0 => PathErrorKind::MissingName.at(end),
        None | Some(':' | '/') => PathErrorKind::MissingSeparator.at(end),
        Some(character) => PathErrorKind::NameCharacter(character).at(end),
    }
}

/// [`is_name_character`] of each byte.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = is_name_character(byte as u8 as char);
        byte += 1;
    }
    table
};

#[inline]
fn check_segments(text: &str, from: usize) -> Result<(), PathError> {
    let bytes = text.as_bytes();
    let place = from..text.len();
    if place.is_empty() || (are_plain(bytes, place.clone()) && !has_many_segments(&bytes[place])) {
        return Ok(());
    }
    check_each(text, from)
}

#[cold]
fn check_each(text: &str, from: usize) -> Result<(), PathError> {
    let mut at = from;
    for (index, segment) in text.as_bytes()[from..].split(|byte| *byte == b'/').enumerate() {
        check_segment(text, index, at..at + segment.len())?;
        at += segment.len() + 1;
    }
    Ok(())
}

/// Whether a part of a text is segments of printable ASCII, none of them empty, as nearly always; if not, a closer look says what it is.
#[inline]
pub(crate) fn are_plain(text: &[u8], place: Range<usize>) -> bool {
    let (words, rest) = text[place.clone()].as_chunks();
    let mut before = HIGHS;
    // To leave early keeps the compiler from vectors, whose set-up is dearer than the few words of a path.
    for word in words {
        let word = u64::from_le_bytes(*word);
        let slashes = slashes(word);
        if is_odd(word, slashes, before) {
            return false;
        }
        before = slashes;
    }
    // A slash follows the last segment too, so that one at its end is a doubled one.
    let end = (filled(b'a') - u64::from(b'a' - b'/')) << (8 * rest.len());
    let last = load(text, place.end - rest.len()) & !(u64::MAX << (8 * rest.len())) | end;
    !is_odd(last, slashes(last), before)
}

/// The highest bit of each byte that is a slash, if all is ASCII.
#[inline]
const fn slashes(word: u64) -> u64 {
    !((word ^ filled(b'/')).wrapping_add(filled(0x7F))) & HIGHS
}

/// Whether anything but printable ASCII is in a word, or a slash after a slash; `before` has the slashes of the word before.
#[inline]
const fn is_odd(word: u64, slashes: u64, before: u64) -> bool {
    // The highest bits tell, in turn, of DEL, of anything but ASCII, and of what stands before the space.
    let odd = word.wrapping_add(LOWS) | word | word.wrapping_sub(filled(b' '));
    let doubled = slashes & (slashes << 8 | before >> 56);
    (odd | doubled) & HIGHS != 0
}

/// Whether segments, none of them empty, are more than a path may have; so many need two bytes each.
#[inline]
pub(crate) fn has_many_segments(rest: &[u8]) -> bool {
    rest.len() > 2 * MAX_SEGMENTS
        && rest.iter().filter(|byte| **byte == b'/').count() >= MAX_SEGMENTS
}

fn check_segment(text: &str, index: usize, place: Range<usize>) -> Result<(), PathError> {
    if place.is_empty() {
        return Err(PathErrorKind::EmptySegment.at(place.start.min(text.len() - 1)));
    }
    if index == MAX_SEGMENTS {
        return Err(PathErrorKind::TooManySegments.at(place.start));
    }
    match find_control(&text[place.clone()]) {
        Some((at, control)) => Err(PathErrorKind::ControlCharacter(control).at(place.start + at)),
        None => Ok(()),
    }
}

pub(crate) fn find_control(text: &str) -> Option<(usize, char)> {
    // Nearly every segment is plain ASCII, which is told several bytes at a time.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    text.char_indices().find(|(_, character)| character.is_control())
}

/// Characters shown on each side of the place that an error points at.
const CONTEXT: usize = 30;

/// The text around `at`, and a caret below it; columns are characters, so wide ones shift the caret on a terminal.
pub(crate) fn point(text: &str, at: usize) -> String {
    let at = text.floor_char_boundary(at);
    let (before, after) = text.split_at(at);
    let start = before.char_indices().rev().nth(CONTEXT - 1).map_or(0, |(start, _)| start);
    let mut shown = String::from(if start > 0 { "…" } else { "" });
    escape(&mut shown, &before[start..]);
    let column = shown.chars().count();
    shorten(&mut shown, after, CONTEXT + 1);
    let _ = write!(shown, "\n{:column$}^", "");
    shown
}

/// A text from outside, fit for one line of a log: short, and with nothing that a terminal obeys.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    shorten(&mut shown, text, 2 * CONTEXT);
    shown
}

fn shorten(shown: &mut String, text: &str, most: usize) {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    escape(shown, &text[..end]);
    if end < text.len() {
        shown.push('…');
    }
}

fn escape(shown: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\'' | '"' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
}
