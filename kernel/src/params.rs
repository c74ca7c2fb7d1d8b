//! Captured parameters: slices of a text, by at most eight pairs of offsets, without allocation.

use std::ops::Range;

use crate::path::{MAX_PARAMETERS, MAX_PATH, are_plain};

const _: () = assert!(MAX_PATH <= u16::MAX as usize, "a span's offsets are 16 bits wide");

/// A range of bytes within a path.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Span {
    start: u16,
    end: u16,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start as u16, end: range.end as u16 }
    }
}

/// Up to [`MAX_PARAMETERS`] spans of one text.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Spans {
    spans: [Span; MAX_PARAMETERS],
    length: u8,
}

impl Spans {
    pub(crate) fn push(&mut self, span: Span) {
        self.spans[self.length as usize] = span;
        self.length += 1;
    }

    pub(crate) fn pop(&mut self) {
        self.length -= 1;
    }

    pub(crate) fn len(&self) -> u8 {
        self.length
    }

    /// Forgets all but the first `length`, of which there are as many.
    pub(crate) fn truncate(&mut self, length: u8) {
        self.length = length;
    }

    /// Whether all are segments of printable ASCII.
    #[inline]
    pub(crate) fn are_plain(&self, text: &str) -> bool {
        let place = |span: &Span| usize::from(span.start)..usize::from(span.end);
        self.as_slice().iter().all(|span| are_plain(text.as_bytes(), place(span)))
    }

    fn as_slice(&self) -> &[Span] {
        &self.spans[..self.length as usize]
    }
}

/// What a path gave for the parameters of its pattern, in the pattern's order; no value is ever empty.
///
/// Values are as they stood in the path: nothing is decoded.
#[derive(Copy, Clone, Debug)]
pub struct Params<'p> {
    text: &'p str,
    spans: Spans,
}

impl<'p> Params<'p> {
    /// `spans` must be spans of `text`.
    pub(crate) fn new(text: &'p str, spans: Spans) -> Self {
        Self { text, spans }
    }

    /// How many there are, at most [`MAX_PARAMETERS`].
    pub fn len(&self) -> usize {
        self.spans.length as usize
    }

    /// Whether the pattern captured nothing.
    pub fn is_empty(&self) -> bool {
        self.spans.length == 0
    }

    /// The value at a place, or nothing beyond the last.
    pub fn get(&self, index: usize) -> Option<&'p str> {
        let span = self.spans.as_slice().get(index)?;
        Some(&self.text[span.start as usize..span.end as usize])
    }

    /// The values from the left.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'p str> + use<'p> {
        let Self { text, spans } = *self;
        (0..self.len()).map(move |index| {
            let span = spans.spans[index];
            &text[span.start as usize..span.end as usize]
        })
    }

    pub(crate) fn spans(&self) -> Spans {
        self.spans
    }
}

impl PartialEq for Params<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Params<'_> {}

/// Parameters that own their text: the values one after the other, and nothing else of the path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OwnedParams {
    text: Box<str>,
    spans: Spans,
}

impl From<Params<'_>> for OwnedParams {
    fn from(params: Params<'_>) -> Self {
        let mut text = String::with_capacity(params.iter().map(str::len).sum());
        let mut spans = Spans::default();
        for value in params.iter() {
            spans.push(Span::from(text.len()..text.len() + value.len()));
            text.push_str(value);
        }
        Self { text: text.into(), spans }
    }
}

impl OwnedParams {
    pub(crate) fn borrow(&self) -> Params<'_> {
        Params::new(&self.text, self.spans)
    }
}
