//! What is wrong with a config: every mistake at once, each with its place and what to write instead.
//!
//! A mistake points at the operator's own text, so everything shown of it is stripped of control characters.

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes shown on either side of a place; a file may be one line of a megabyte.
const EXCERPT: usize = 240;

/// Characters of the longest message; one may quote a name of a megabyte.
const LONGEST: usize = 400;

/// Every mistake of one file, in the order of the file.
///
/// `Display` and `Debug` are the full rendering without colour; [`Mistakes::render`] can colour it.
#[derive(Clone)]
pub struct Mistakes {
    source: Arc<Source>,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// No mistake yet in a file of this name and text.
    pub fn new(file: &str, text: &str) -> Self {
        Self::of(Arc::new(Source::new(file, text)))
    }

    pub(super) fn of(source: Arc<Source>) -> Self {
        Self { source, list: Vec::new() }
    }

    /// Adds a mistake at a byte range of the text; a range that does not fit is moved into it.
    ///
    /// The message says what is wrong, and `help` what to write instead.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let at = self.list.partition_point(|other| other.start() <= span.start);
        let mistake = self.mistake(Some(span), message.into(), "here".into(), help.into());
        self.list.insert(at, mistake);
    }

    pub(super) fn push(&mut self, span: Range<usize>, complaint: Complaint) {
        let Complaint { message, label, help } = complaint;
        let mistake = self.mistake(Some(span), message, label, help);
        self.list.push(mistake);
    }

    /// Adds a mistake that has two places, the second of which explains the first.
    pub(super) fn push_pair(
        &mut self,
        span: Range<usize>,
        complaint: Complaint,
        also: (Range<usize>, &'static str),
    ) {
        self.push(span, complaint);
        if let Some(last) = self.list.last_mut() {
            last.also = Some(also);
        }
    }

    /// Adds a mistake of the file as a whole.
    pub(super) fn push_file(&mut self, message: impl Into<String>, help: impl Into<String>) {
        let mistake = self.mistake(None, message.into(), String::new(), help.into());
        self.list.push(mistake);
    }

    pub(super) fn sorted(mut self) -> Self {
        self.list.sort_by_key(Mistake::start);
        self
    }

    pub(super) fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many things are wrong.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The mistakes, in the order of the file; each is a [`Diagnostic`] of its own.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.list.iter()
    }

    /// All mistakes with excerpts and carets, for a terminal.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        let handler = handler(color);
        for mistake in &self.list {
            // A `String` takes everything; the renderer itself fails on nothing but its writer.
            let _ = handler.render_report(&mut out, mistake);
            out.push('\n');
        }
        if self.list.len() > 1 {
            out += &format!("{}: {} mistakes\n", self.source.name, self.list.len());
        }
        out
    }

    /// All mistakes as `file:line:column: message` with the help below, for logs and pipes.
    pub fn to_plain(&self) -> String {
        self.list.iter().map(Mistake::to_plain).collect()
    }

    fn mistake(
        &self,
        span: Option<Range<usize>>,
        message: String,
        label: String,
        help: String,
    ) -> Mistake {
        let span = span.map(|span| self.source.fit(span));
        let (message, help) = (brief(&message), brief(&help));
        Mistake { message, label, help, span, also: None, file: self.source() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl fmt::Debug for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Mistakes {}

/// Has neither labels nor related diagnostics: `Display` shows every mistake already.
impl Diagnostic for Mistakes {}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.title())]
pub struct Mistake {
    message: String,
    label: String,
    help: String,
    span: Option<Range<usize>>,
    also: Option<(Range<usize>, &'static str)>,
    file: Arc<Source>,
}

impl Mistake {
    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The bytes of the file that it is about; none when it is about the file as a whole.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// Line and column, both from 1, the column in characters; none when it is about the file as a whole.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.span.as_ref().map(|span| self.file.position(span.start))
    }

    fn start(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.start)
    }

    /// The message, with the file's name where no excerpt shows it.
    fn title(&self) -> String {
        match self.span {
            Some(_) => self.message.clone(),
            None => format!("{}: {}", self.file.name, self.message),
        }
    }

    fn to_plain(&self) -> String {
        let Self { message, help, file, .. } = self;
        match self.position() {
            Some((line, column)) => {
                format!("{}:{line}:{column}: {message}\n    help: {help}\n", file.name)
            }
            None => format!("{}: {message}\n    help: {help}\n", file.name),
        }
    }
}

impl Diagnostic for Mistake {
    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(&self.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref()?;
        Some(&*self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.file.first_line(self.span.clone()?);
        let here = LabeledSpan::new_primary_with_span(Some(self.label.clone()), span);
        let also = self.also.clone().map(|(span, label)| {
            let span = self.file.first_line(self.file.fit(span));
            LabeledSpan::new_with_span(Some(label.into()), span)
        });
        Some(Box::new(std::iter::once(here).chain(also)))
    }
}

/// What is wrong with one value, before it is known where the value stands.
pub(super) struct Complaint {
    /// What is wrong, in one line.
    pub message: String,
    /// A few words at the caret.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

impl Complaint {
    pub fn new(
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { message: message.into(), label: label.into(), help: help.into() }
    }
}

/// A file's name and its text as it may be shown: byte for byte as long as the original.
pub(super) struct Source {
    name: String,
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl Source {
    fn new(name: &str, text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after_breaks).collect();
        Self { name: printable(name), text: printable(text), lines }
    }

    /// Index of the line that holds this offset.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset) - 1
    }

    /// Characters between the start of the line and this offset.
    fn column(&self, offset: usize) -> usize {
        self.text[self.lines[self.line(offset)]..offset].chars().count()
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        (self.line(offset) + 1, self.column(offset) + 1)
    }

    /// The range on character boundaries and on text; what lies behind the last line moves to its end.
    fn fit(&self, span: Range<usize>) -> Range<usize> {
        let last = self.text.trim_end().char_indices().next_back();
        let (last, end) = last.map_or((0, 0), |(at, last)| (at, at + last.len_utf8()));
        let start = self.text.floor_char_boundary(span.start.min(last));
        let after =
            self.text[start..].chars().next().map_or(start, |first| start + first.len_utf8());
        start..self.text.ceil_char_boundary(span.end.min(end)).max(after)
    }

    /// As much of the range as a caret can underline.
    fn first_line(&self, span: Range<usize>) -> Range<usize> {
        let end = self.text.floor_char_boundary(span.end.min(span.start + EXCERPT / 2));
        let line = self.text[span.start..end].lines().next().unwrap_or_default();
        span.start..span.start + line.len()
    }

    /// Offset of the first byte to show for a range: lines before it, unless they are too long.
    fn excerpt_start(&self, span: &Range<usize>, lines: usize) -> usize {
        let line = self.line(span.start);
        let starts = [self.lines[line.saturating_sub(lines)], self.lines[line]];
        let near = starts.into_iter().find(|start| span.start - start <= EXCERPT);
        near.unwrap_or_else(|| self.text.floor_char_boundary(span.start - EXCERPT / 2))
    }

    fn excerpt_end(&self, span: &Range<usize>, lines: usize) -> usize {
        let line = self.line(span.end);
        let ends = [self.line_end(line + lines), self.line_end(line)];
        let near = ends.into_iter().find(|end| end.saturating_sub(span.end) <= EXCERPT);
        near.unwrap_or_else(|| self.text.floor_char_boundary(span.end + EXCERPT / 2))
    }

    /// Offset behind the last character of a line, without its line break.
    fn line_end(&self, line: usize) -> usize {
        let next = self.lines.get(line + 1).copied().unwrap_or(self.text.len() + 1);
        self.text[..next - 1].trim_end_matches('\r').len()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.text.len())
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = span.offset()..span.offset() + span.len();
        // The renderer asks without context where it wants the position of the span itself.
        let start = if before == 0 { span.start } else { self.excerpt_start(&span, before) };
        let data = &self.text[start..self.excerpt_end(&span, after).max(start)];
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            data.as_bytes(),
            (start, data.len()).into(),
            self.line(start),
            self.column(start),
            data.matches('\n').count() + 1,
        )))
    }
}

/// The text without control and direction characters, each replaced by one of the same length in bytes.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if is_hidden(character) { stand_in(character) } else { character })
        .collect()
}

/// The text, cut to what can be read.
fn brief(text: &str) -> String {
    let mut brief: String = printable(text).chars().take(LONGEST).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    brief
}

fn is_hidden(character: char) -> bool {
    let breaks = matches!(character, '\n' | '\r' | '\t');
    let directions = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (character.is_control() && !breaks) || directions
}

fn stand_in(character: char) -> char {
    match character.len_utf8() {
        1 => '?',
        2 => '¿',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

fn handler(color: bool) -> GraphicalReportHandler {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_context_lines(1)
        .with_width(100)
}
