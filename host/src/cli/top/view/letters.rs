//! The dead letters of a subsystem, over the table.

use super::super::{
    columns::Tone,
    pages::age,
    state::{LettersPage, State},
    text::{self, on_one_line, shortened},
};
use super::{
    Canvas, Theme,
    table::{first, paragraph},
};
use crate::letters::ToldLetter;
use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

/// Letters that a list has at most: the newest.
pub(in crate::cli::top) const LISTED: usize = 100;

/// Lines for the path and the error of the selected one, where there are three times as many.
const BELOW: u16 = 4;

/// Columns of the id, the age and the reason.
const FIXED: [usize; 3] = [7, 8, 8];

pub(super) fn draw(canvas: &mut Canvas<'_>, state: &State, page: &LettersPage, theme: Theme) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let name = format!("dead letters of {}", on_one_line(&page.subsystem));
    let mut title = vec![Span::styled(name, theme.accent().patch(bold))];
    title.push(Span::styled(counted(state, page), theme.faint()));
    canvas.rule(0, title, theme);
    let width = usize::from(canvas.area.width);
    match &page.letters {
        None => canvas.line_at(1, 1, Span::styled("they are on their way", theme.faint())),
        Some(Err(error)) => {
            for (row, line) in text::wrapped(error, width.saturating_sub(2)).iter().enumerate() {
                let line = Span::styled(line.clone(), theme.tone(Tone::Bad));
                canvas.line_at(1, row as u16 + 1, line);
            }
        }
        Some(Ok(letters)) if letters.is_empty() => {
            canvas.line_at(1, 1, Span::styled("it has none", theme.faint()));
        }
        Some(Ok(letters)) => list(canvas, state, page, letters, theme),
    }
}

fn counted(state: &State, page: &LettersPage) -> String {
    let kept = state.live.letters_of(&page.subsystem);
    let kept = kept.max(page.listed().len() as u64);
    if kept > LISTED as u64 {
        format!(": the newest {LISTED} of {kept}")
    } else {
        format!(": {kept}")
    }
}

fn list(
    canvas: &mut Canvas<'_>,
    state: &State,
    page: &LettersPage,
    letters: &[ToldLetter],
    theme: Theme,
) {
    let width = usize::from(canvas.area.width);
    let heads = ["ID", "AGE", "REASON", "ROUTE", "SENDER", "ERROR"].map(str::to_owned);
    canvas.line(1, line(" ", &heads, width, theme));
    canvas.style(1, Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let height = canvas.area.height;
    let below = if height < BELOW * 3 { 0 } else { BELOW };
    let room = usize::from(height - below).saturating_sub(2);
    let selected = page.place();
    let first = first(selected, letters.len(), room);
    let now_ms = state.live.figures.time_ms;
    for (at, letter) in letters.iter().enumerate().skip(first).take(room) {
        let cells = [
            letter.id.to_string(),
            age(letter, now_ms),
            letter.reason.word().into(),
            on_one_line(&letter.route),
            on_one_line(&letter.sender),
            on_one_line(&letter.text),
        ];
        let (mark, place) = (if at == selected { "▸" } else { " " }, (at - first) as u16 + 2);
        canvas.line(place, line(mark, &cells, width, theme));
        if at == selected {
            canvas.style(place, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
    if let Some(letter) = letters.get(selected) {
        let mut canvas = canvas.part(height - below, below);
        canvas.rule(0, vec![Span::raw(on_one_line(&letter.path))], theme);
        paragraph(&mut canvas, &letter.text, usize::from(below).saturating_sub(1));
    }
}

fn line(mark: &str, cells: &[String; 6], width: usize, theme: Theme) -> Line<'static> {
    let rest = width.saturating_sub(1 + FIXED.iter().map(|column| column + 1).sum::<usize>());
    let (route, sender) = ((rest / 4).min(40), (rest / 5).min(24));
    let error = rest.saturating_sub(route + sender + 2);
    let [id, age, reason] = FIXED;
    let columns = [(id, false), (age, false), (reason, true)];
    let columns = columns.into_iter().chain([(route, true), (sender, true), (error, true)]);
    let mut line = Line::from(mark.to_owned());
    for (at, ((columns, is_left), cell)) in columns.zip(cells).enumerate() {
        let cell = shortened(cell, columns);
        let fill = " ".repeat(columns - text::width(&cell));
        let gap = if at == 0 { "" } else { " " };
        let cell = match is_left {
            true => format!("{gap}{cell}{fill}"),
            false => format!("{gap}{fill}{cell}"),
        };
        let tone = if at == 2 { Tone::Busy } else { Tone::Plain };
        line.push_span(Span::styled(cell, theme.tone(tone)));
    }
    line
}
