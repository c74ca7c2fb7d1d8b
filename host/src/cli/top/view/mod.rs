//! The screen: a head, the table or what lies over it, and the last lines with keys or an outcome.
//!
//! Everything is drawn from the [`State`] alone, line by line; a line that has no room is left out, never half drawn.

mod curves;
mod head;
mod letters;
mod table;

pub(super) use letters::LISTED;

use super::{
    columns::Tone,
    state::{Prompt, Reading, State},
    text,
};
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

/// How tones look.
#[derive(Copy, Clone, Debug)]
pub(super) struct Theme {
    pub is_colored: bool,
}

impl Theme {
    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Faint => self.faint(),
            Tone::Good => self.color(Color::Green),
            Tone::Busy => self.color(Color::Yellow),
            Tone::Bad => self.color(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    fn color(self, color: Color) -> Style {
        if self.is_colored { Style::new().fg(color) } else { Style::new() }
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn accent(self) -> Style {
        self.color(Color::Cyan)
    }
}

/// A part of the screen, written line by line.
struct Canvas<'b> {
    buffer: &'b mut Buffer,
    area: Rect,
}

impl Canvas<'_> {
    /// A line, if the part has it.
    fn line<'t>(&mut self, row: u16, line: impl Into<Line<'t>>) {
        self.line_at(0, row, line);
    }

    fn line_at<'t>(&mut self, column: u16, row: u16, line: impl Into<Line<'t>>) {
        if row < self.area.height && column < self.area.width {
            let (x, y) = (self.area.x + column, self.area.y + row);
            self.buffer.set_line(x, y, &line.into(), self.area.width - column);
        }
    }

    fn style(&mut self, row: u16, style: Style) {
        if row < self.area.height {
            let area = Rect { y: self.area.y + row, height: 1, ..self.area };
            self.buffer.set_style(area, style);
        }
    }

    /// A title in a rule across the part.
    fn rule(&mut self, row: u16, title: Vec<Span<'_>>, theme: Theme) {
        let mut spans = vec![Span::styled("── ", theme.faint())];
        spans.extend(title);
        let line = Line::from(spans);
        let rest = usize::from(self.area.width).saturating_sub(line.width() + 1);
        let mut spans = line.spans;
        spans.push(Span::styled(format!(" {}", "─".repeat(rest)), theme.faint()));
        self.line(row, spans);
    }

    fn part(&mut self, top: u16, height: u16) -> Canvas<'_> {
        let top = top.min(self.area.height);
        let area =
            Rect { y: self.area.y + top, height: height.min(self.area.height - top), ..self.area };
        Canvas { buffer: self.buffer, area }
    }
}

/// How many lines each part has.
#[derive(Debug, PartialEq)]
struct Layout {
    /// Totals, percentiles and curves.
    curves: u16,
    table: u16,
    /// All about the selected subsystem, and what happened, each with its rule.
    selected: u16,
    happenings: u16,
    foot: u16,
}

const HEAD: u16 = 2;

fn layout(height: u16, foot: u16) -> Layout {
    let foot = foot.clamp(1, (height / 2).max(1));
    let (curves, selected, happenings) = match height {
        ..16 => (0, 0, 0),
        16..22 => (0, 2, 0),
        22..30 => (6, 2, 3),
        30..40 => (7, 3, 5),
        _ => (10, 4, 10),
    };
    let taken = HEAD + curves + selected + happenings + foot;
    let table = height.saturating_sub(taken);
    Layout { curves, table, selected, happenings, foot }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, theme: Theme, now_ms: u64) {
    let area = frame.area();
    let mut canvas = Canvas { buffer: frame.buffer_mut(), area };
    let foot = foot(state, area.width.into(), theme);
    let parts = layout(area.height, u16::try_from(foot.len()).unwrap_or(u16::MAX));
    let body = area.height.saturating_sub(HEAD + parts.foot);
    match (&state.reading, &state.letters) {
        (Some(reading), _) => read(&mut canvas.part(HEAD, body), state, reading, theme),
        (None, Some(page)) => letters::draw(&mut canvas.part(HEAD, body), state, page, theme),
        (None, None) => table::page(&mut canvas.part(HEAD, body), state, &parts, theme),
    }
    if state.link.lost.is_some() {
        // What is shown is of before.
        canvas.buffer.set_style(area, theme.faint());
    }
    head::draw(&mut canvas.part(0, HEAD), state, theme, now_ms);
    let mut last = canvas.part(area.height.saturating_sub(parts.foot), parts.foot);
    for (row, line) in foot.into_iter().enumerate() {
        last.line(u16::try_from(row).unwrap_or(u16::MAX), line);
    }
}

fn read(canvas: &mut Canvas<'_>, state: &State, reading: &Reading, theme: Theme) {
    let title = Span::styled(state.title(reading), theme.accent().add_modifier(Modifier::BOLD));
    let lines = state.lines();
    let room = usize::from(canvas.area.height).saturating_sub(1);
    let from = state.read_from.min(lines.len().saturating_sub(room));
    let mut titles = vec![title];
    if lines.len() > room {
        let to = (from + room).min(lines.len());
        let place = format!(" lines {}-{to} of {}", from + 1, lines.len());
        titles.push(Span::styled(place, theme.faint()));
    }
    canvas.rule(0, titles, theme);
    for (row, line) in lines.iter().skip(from).take(room).enumerate() {
        canvas.line_at(1, row as u16 + 1, line.as_str());
    }
}

/// The last lines: a question, an outcome, or the keys.
fn foot(state: &State, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    match (&state.prompt, &state.note) {
        (Prompt::Restart(name), _) => {
            let text = format!("restart {name}? what it holds in memory is lost: y or n");
            styled(&text, width, theme.color(Color::Yellow).patch(bold))
        }
        (Prompt::Filter, _) => styled(
            &format!("names with: {}▏ (Enter keeps it, Esc shows all)", state.filter),
            width,
            bold,
        ),
        (Prompt::None, Some(note)) if note.is_bad => {
            styled(&format!("error: {}", note.text), width, theme.tone(Tone::Bad))
        }
        (Prompt::None, Some(note)) => {
            styled(&note.text, width, theme.color(Color::Green).patch(bold))
        }
        (Prompt::None, None) => vec![keys(state, width, theme)],
    }
}

fn styled(text: &str, width: usize, style: Style) -> Vec<Line<'static>> {
    let lines = text::wrapped(text, width.saturating_sub(2)).into_iter();
    lines.map(|line| Line::styled(format!(" {line}"), style)).collect()
}

/// The keys that there are, as far as there is room; the first are those that lead out and explain.
fn keys(state: &State, width: usize, theme: Theme) -> Line<'static> {
    let pause = if state.paused.is_some() { "go on" } else { "pause" };
    let keys: &[(&str, &str)] = match (&state.reading, &state.letters) {
        (Some(Reading::Letter(_)), _) => &[("Esc", "back"), ("↑↓", "scroll"), ("p", "send again")],
        (Some(Reading::Subsystem(_)), _) => {
            &[("Esc", "back"), ("↑↓", "scroll"), ("d", "dead letters"), ("R", "reload")]
        }
        (Some(Reading::Help), _) => &[("Esc", "back"), ("↑↓", "scroll")],
        (None, Some(_)) => &[
            ("Esc", "back"),
            ("?", "help"),
            ("Enter", "read"),
            ("p", "send again"),
            ("Space", pause),
        ],
        (None, None) => &[
            ("q", "quit"),
            ("?", "help"),
            ("s", "sort"),
            ("r", "reverse"),
            ("R", "reload"),
            ("d", "dead letters"),
            ("Space", pause),
            ("/", "filter"),
            ("X", "restart"),
            ("Enter", "details"),
        ],
    };
    let mut line = Line::default();
    for (key, what) in keys {
        if line.width() + text::width(key) + what.len() + 3 > width {
            continue;
        }
        line.push_span(Span::raw(" "));
        let style = theme.accent().add_modifier(Modifier::BOLD);
        line.push_span(Span::styled((*key).to_owned(), style));
        line.push_span(Span::raw(format!(" {what} ")));
    }
    line
}
