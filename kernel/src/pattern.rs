//! Patterns: what a subsystem declares that it answers, relative to its own name.
//!
//! A segment is a literal, `{id}` for exactly one segment, or last `{*rest}` for the tail of one or more (`*` is the same, not captured).
//! The empty pattern is the empty route, addressed by `name://`.

use crate::path::{MAX_PARAMETERS, MAX_PATH, MAX_SEGMENTS, check_name, find_control, point};

/// A pattern whose form was checked, in parts.
///
/// Two patterns are equal when their texts are; see [`conflicts_with`](Self::conflicts_with) for the paths they match.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

/// One part of a pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    Literal(Box<str>),
    Parameter(Box<str>),
    Tail(Option<Box<str>>),
}

impl Pattern {
    /// Checks and splits a text.
    ///
    /// ```
    /// use mycelia_kernel::pattern::Pattern;
    ///
    /// let pattern = Pattern::parse("users/{id}/files/{*rest}")?;
    /// assert!(pattern.parameters().eq(["id", "rest"]));
    /// # Ok::<(), mycelia_kernel::pattern::PatternError>(())
    /// ```
    ///
    /// # Errors
    /// The first offence from the left, with its place; a text that is too long is not looked at further.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATH {
            return Err(
                PatternErrorKind::TooLong(text.len()).at(text.floor_char_boundary(MAX_PATH))
            );
        }
        let mut parser = Parser { text, at: 0, segments: Vec::new() };
        if !text.is_empty() {
            text.split('/').try_for_each(|segment| parser.push(segment))?;
        }
        Ok(Self { text: text.into(), segments: parser.segments.into() })
    }

    /// Checks and splits the pattern of an event that is listened to, which begins with the name of who publishes it:
    /// `orders://created/{id}`. Its segments are those after `://`.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), and where the name is missing or none.
    pub fn parse_listened(text: &str) -> Result<Self, PatternError> {
        let Some((publisher, rest)) = text.split_once("://") else {
            return Err(PatternErrorKind::NoPublisher.at(0));
        };
        if publisher != "kernel" && check_name(publisher).is_err() {
            return Err(PatternErrorKind::NoPublisher.at(0));
        }
        let start = text.len() - rest.len();
        let parsed = Self::parse(rest)
            .map_err(|PatternError { kind, at }| PatternError { kind, at: start + at })?;
        Ok(Self { text: text.into(), ..parsed })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whose events are listened to; nobody's by a pattern that is relative to its subsystem.
    pub fn publisher(&self) -> Option<&str> {
        self.text.split_once("://").map(|(publisher, _)| publisher)
    }

    /// The names of what is captured, from the left; values are captured in the same order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::parameter)
    }

    /// Whether both match exactly the same paths: the same literals and the same kinds at the same places.
    ///
    /// Patterns that merely overlap, such as `a/{x}` and `{y}/b`, do not conflict: the more literal one from the left wins.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self
                .segments
                .iter()
                .zip(&other.segments)
                .all(|(one, another)| one.matches_like(another))
    }

    /// Whether both match exactly the same paths, and capture as much of them.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.conflicts_with(other) && self.parameters().count() == other.parameters().count()
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Segment {
    fn parameter(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) => Some(name),
            Self::Tail(name) => name.as_deref(),
        }
    }

    fn matches_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(another)) => one == another,
            (Self::Parameter(_), Self::Parameter(_)) | (Self::Tail(_), Self::Tail(_)) => true,
            _ => false,
        }
    }
}

/// Why a text is not a pattern, and where: the plugin author's mistake.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} (at byte {at})")]
pub struct PatternError {
    /// What is wrong.
    pub kind: PatternErrorKind,
    /// The byte offset of the offending character.
    pub at: usize,
}

impl PatternError {
    /// Two lines: the text, shortened around the place and with control characters escaped, and a caret below the place.
    pub fn pointer(&self, text: &str) -> String {
        point(text, self.at)
    }
}

/// What can be wrong with a pattern.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternErrorKind {
    /// The pattern names a subsystem.
    #[error("a pattern is relative to its subsystem; drop everything up to `://`")]
    Absolute,
    /// What is listened to does not begin with a subsystem's name.
    #[error(
        "an event is listened to under the name of who publishes it: `orders://created/{{id}}`"
    )]
    NoPublisher,
    /// A leading, doubled or trailing slash.
    #[error("a segment is empty; remove the extra `/`")]
    EmptySegment,
    /// A control character.
    #[error("the control character {0:?} cannot be in a pattern; remove it")]
    ControlCharacter(char),
    /// More than [`MAX_PATH`] bytes.
    #[error("a pattern of {0} bytes is too long; at most {MAX_PATH} are allowed")]
    TooLong(usize),
    /// More than [`MAX_SEGMENTS`] segments.
    #[error("a pattern has at most {MAX_SEGMENTS} segments; take the tail with `{{*rest}}`")]
    TooManySegments,
    /// More than [`MAX_PARAMETERS`] parameters.
    #[error("a pattern has at most {MAX_PARAMETERS} parameters; take the tail with `{{*rest}}`")]
    TooManyParameters,
    /// `:id`, as other routers write it.
    #[error("a segment cannot start with `:`; a parameter is written `{{id}}`")]
    ColonParameter,
    /// A parameter beside other text in one segment.
    #[error(
        "a parameter takes a whole segment; put a `/` between it and the rest, or take the segment apart in the handler"
    )]
    PartialParameter,
    /// `{` without `}`.
    #[error("`{{` is never closed; a parameter is written `{{id}}`")]
    UnclosedBrace,
    /// `}` without `{`.
    #[error("`}}` was never opened; a parameter is written `{{id}}`")]
    UnopenedBrace,
    /// `{}` or `{*}`.
    #[error("a parameter needs a name, such as `{{id}}` or `{{*rest}}`; a tail without one is `*`")]
    MissingParameterName,
    /// A character outside `[A-Za-z_][A-Za-z0-9_]*` in a parameter's name.
    #[error("{0:?} cannot be here in a parameter's name; use letters, `_` and, not first, digits")]
    ParameterCharacter(char),
    /// The same name twice.
    #[error("this parameter's name stands twice in the pattern; give each its own")]
    DuplicateParameter,
    /// Something follows the tail.
    #[error("a tail must be the last segment; use `{{name}}` for one segment")]
    TailNotLast,
    /// `*` beside other text in one segment.
    #[error("`*` takes a whole last segment; use `{{name}}` for one segment")]
    PartialTail,
}

impl PatternErrorKind {
    const fn at(self, at: usize) -> PatternError {
        PatternError { kind: self, at }
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Where the segment at hand starts.
    at: usize,
    segments: Vec<Segment>,
}

impl<'t> Parser<'t> {
    fn push(&mut self, segment: &'t str) -> Result<(), PatternError> {
        self.check_place(segment)?;
        let parsed = self.segment(segment)?;
        self.check_parameter(&parsed)?;
        self.segments.push(parsed);
        self.at += segment.len() + 1;
        Ok(())
    }

    /// What is judged by where the segment stands.
    fn check_place(&self, segment: &str) -> Result<(), PatternError> {
        if let Some(Segment::Tail(_)) = self.segments.last() {
            return Err(PatternErrorKind::TailNotLast.at(self.at - 1));
        }
        if segment.is_empty() {
            return Err(self.empty_segment());
        }
        if self.segments.len() == MAX_SEGMENTS {
            return Err(PatternErrorKind::TooManySegments.at(self.at));
        }
        Ok(())
    }

    fn empty_segment(&self) -> PatternError {
        let before = &self.text[..self.at];
        if before.ends_with(":/") && self.text[self.at..].starts_with('/') {
            return PatternErrorKind::Absolute.at(self.at - 2);
        }
        PatternErrorKind::EmptySegment.at(self.at.min(self.text.len() - 1))
    }

    fn segment(&self, segment: &str) -> Result<Segment, PatternError> {
        if let Some((offset, control)) = find_control(segment) {
            return Err(PatternErrorKind::ControlCharacter(control).at(self.at + offset));
        }
        match segment.as_bytes() {
            b"*" => Ok(Segment::Tail(None)),
            [b'{', ..] => self.braces(segment),
            [b':', ..] => Err(PatternErrorKind::ColonParameter.at(self.at)),
            _ => self.literal(segment),
        }
    }

    fn literal(&self, segment: &str) -> Result<Segment, PatternError> {
        let Some(offset) = segment.find(['{', '}', '*']) else {
            return Ok(Segment::Literal(segment.into()));
        };
        let kind = match segment.as_bytes()[offset] {
            b'{' => PatternErrorKind::PartialParameter,
            b'}' => PatternErrorKind::UnopenedBrace,
            _ => PatternErrorKind::PartialTail,
        };
        Err(kind.at(self.at + offset))
    }

    fn braces(&self, segment: &str) -> Result<Segment, PatternError> {
        let Some(close) = segment.find('}') else {
            return Err(PatternErrorKind::UnclosedBrace.at(self.at));
        };
        if close + 1 < segment.len() {
            return Err(PatternErrorKind::PartialParameter.at(self.at + close + 1));
        }
        match segment[1..close].strip_prefix('*') {
            Some(name) => Ok(Segment::Tail(Some(self.parameter(name, 2)?))),
            None => Ok(Segment::Parameter(self.parameter(&segment[1..close], 1)?)),
        }
    }

    fn parameter(&self, name: &str, offset: usize) -> Result<Box<str>, PatternError> {
        if name.is_empty() {
            return Err(PatternErrorKind::MissingParameterName.at(self.at + offset));
        }
        match name.char_indices().find(|(at, character)| !is_parameter_character(*at, *character)) {
            Some((at, character)) => {
                Err(PatternErrorKind::ParameterCharacter(character).at(self.at + offset + at))
            }
            None => Ok(name.into()),
        }
    }

    fn check_parameter(&self, parsed: &Segment) -> Result<(), PatternError> {
        let Some(name) = parsed.parameter() else {
            return Ok(());
        };
        let mut earlier = self.segments.iter().filter_map(Segment::parameter);
        if earlier.clone().count() == MAX_PARAMETERS {
            return Err(PatternErrorKind::TooManyParameters.at(self.at));
        }
        if earlier.any(|other| other == name) {
            return Err(PatternErrorKind::DuplicateParameter.at(self.at));
        }
        Ok(())
    }
}

const fn is_parameter_character(at: usize, character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || (at > 0 && character.is_ascii_digit())
}
