//! The table of subsystems, with the rates above it, and what is selected and what happened below.

use super::super::{
    columns::{self, Column, MARK, Row, Tone},
    state::State,
    text::{self, on_one_line, shortened, time_of_day},
};
use super::{Canvas, Layout, Theme, curves};
use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

pub(super) fn page(canvas: &mut Canvas<'_>, state: &State, parts: &Layout, theme: Theme) {
    curves::draw(&mut canvas.part(0, parts.curves), state, theme);
    table(&mut canvas.part(parts.curves, parts.table), state, theme);
    let below = parts.curves + parts.table;
    selected(&mut canvas.part(below, parts.selected), state, theme);
    happenings(&mut canvas.part(below + parts.selected, parts.happenings), state, theme);
}

fn table(canvas: &mut Canvas<'_>, state: &State, theme: Theme) {
    let rows = state.rows();
    let longest = rows.iter().map(|row| text::width(row.name)).max().unwrap_or(0);
    let shown = columns::fitting(canvas.area.width.into(), longest);
    canvas.line(0, headings(state, &shown, theme));
    canvas.style(0, Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let room = usize::from(canvas.area.height).saturating_sub(1);
    let selected = state.selected_in(&rows);
    let first = first(selected, rows.len(), room);
    for (at, row) in rows.iter().enumerate().skip(first).take(room) {
        let place = (at - first) as u16 + 1;
        canvas.line(place, line(row, &shown, at == selected, theme));
        if at == selected {
            canvas.style(place, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
    if rows.is_empty() {
        let why = match (state.seen().figures.time_ms, state.filter.is_empty()) {
            (0, _) => "the first look comes within a second",
            (_, true) => "no subsystem",
            (_, false) => "no subsystem with such a name; Esc shows all",
        };
        canvas.line_at(MARK as u16, 1, Span::styled(why, theme.faint()));
    }
}

/// The first row that is shown: the selected one stays in the middle, but at the ends.
pub(super) fn first(selected: usize, rows: usize, room: usize) -> usize {
    selected.saturating_sub(room / 2).min(rows.saturating_sub(room))
}

/// The headings; an arrow stands before, or after, the one that the rows are sorted by.
fn headings(state: &State, shown: &[(Column, usize)], theme: Theme) -> Line<'static> {
    let mut line = Line::default();
    for (column, width) in shown {
        let (heading, is_left) = (column.heading(*width), column.set().is_left);
        let is_sorted = *column == state.sorted_by;
        // Names begin at the top, all others with what is most.
        let is_up = (*column == Column::Name) != state.is_reversed;
        let arrow = match (is_sorted, is_up) {
            (false, _) => "",
            (true, true) => "▲",
            (true, false) => "▼",
        };
        let (gap, width) = (MARK, *width);
        let text = match is_left {
            true => format!("{:gap$}{:<width$}", "", format!("{heading}{arrow}")),
            false => format!("{:>1$}", format!("{arrow}{heading}"), gap + width),
        };
        // Reversed, since an arrow in a gap could be of either side; the gap is the arrow's, if it has one.
        let gap = if is_sorted && !is_left { 0 } else { gap };
        let style = theme.accent().add_modifier(Modifier::REVERSED);
        let style = if is_sorted { style } else { Style::new() };
        let (before, text) = text.split_at(gap);
        line.push_span(Span::raw(before.to_owned()));
        line.push_span(Span::styled(text.to_owned(), style));
    }
    line
}

fn line(
    row: &Row<'_>,
    shown: &[(Column, usize)],
    is_selected: bool,
    theme: Theme,
) -> Line<'static> {
    let mut line = Line::from(if is_selected { "▸" } else { " " });
    for (at, (column, width)) in shown.iter().enumerate() {
        if at > 0 {
            line.push_span(Span::raw(" "));
        }
        let (cell, tone) = column.cell(row, *width);
        let cell = shortened(&cell, *width);
        let fill = " ".repeat(width.saturating_sub(text::width(&cell)));
        let cell = match column.set().is_left {
            true => format!("{cell}{fill}"),
            false => format!("{fill}{cell}"),
        };
        // On the bar of the selection, colours would be patches.
        let style = match (is_selected, tone) {
            (false, tone) => theme.tone(tone),
            (true, Tone::Bad) => Style::new().add_modifier(Modifier::BOLD),
            (true, _) => Style::new(),
        };
        line.push_span(Span::styled(cell, style));
    }
    line
}

/// The selected subsystem, with what its row has no room for.
fn selected(canvas: &mut Canvas<'_>, state: &State, theme: Theme) {
    let rows = state.rows();
    let Some(row) = rows.get(state.selected_in(&rows)) else { return };
    let one = row.one;
    let name = Span::styled(on_one_line(row.name), Style::new().add_modifier(Modifier::BOLD));
    let mut title = vec![name];
    title.push(Span::raw(format!(": {} {}", on_one_line(&one.plugin), on_one_line(&one.version))));
    if row.letters > 0 {
        let letters = if row.letters == 1 { "dead letter" } else { "dead letters" };
        let letters = format!(", {} {letters}", text::count(row.letters));
        title.push(Span::styled(letters, theme.tone(Tone::Busy)));
    }
    let place = format!(", {} of {}", state.selected_in(&rows) + 1, rows.len());
    title.push(Span::styled(place, theme.faint()));
    canvas.rule(0, title, theme);
    let room = usize::from(canvas.area.height).saturating_sub(1);
    match &one.last_error {
        Some(error) => paragraph(canvas, &format!("last error: {error}"), room),
        None => canvas.line_at(1, 1, Span::styled("no error so far", theme.faint())),
    }
}

/// A text in so many lines below the first, with an ellipsis where it has more.
pub(super) fn paragraph(canvas: &mut Canvas<'_>, text: &str, room: usize) {
    let width = usize::from(canvas.area.width).saturating_sub(2);
    let lines = text::wrapped(&text.replace('\n', " "), width);
    let is_cut = lines.len() > room;
    for (row, line) in lines.iter().take(room).enumerate() {
        let line = if is_cut && row + 1 == room {
            shortened(&format!("{line} …"), width)
        } else {
            line.clone()
        };
        canvas.line_at(1, row as u16 + 1, line);
    }
}

fn happenings(canvas: &mut Canvas<'_>, state: &State, theme: Theme) {
    let seen = state.seen();
    canvas.rule(0, vec![Span::raw("what happened")], theme);
    if seen.happenings.is_empty() {
        let nothing = "nothing since this was opened, and as long before as the host was watched";
        canvas.line_at(1, 1, Span::styled(nothing, theme.faint()));
    }
    let room = usize::from(canvas.area.height).saturating_sub(1);
    for (row, happening) in seen.happenings.iter().take(room).enumerate() {
        let ago = seen.figures.time_ms.saturating_sub(happening.time_ms) as f64 / 1000.0;
        let ago = crate::cli::status::show_seconds(ago);
        let when = format!("{} {ago:>7} ago  ", time_of_day(happening.time_ms));
        let who = happening.subsystem.as_deref().unwrap_or("the host");
        let style = Style::new().add_modifier(Modifier::BOLD);
        canvas.line_at(
            1,
            row as u16 + 1,
            vec![
                Span::styled(when, theme.faint()),
                Span::styled(on_one_line(who), style),
                Span::raw(format!(" {}", on_one_line(&happening.what))),
            ],
        );
    }
}
