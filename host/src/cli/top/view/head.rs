//! The first two lines: which host it is, whether it is well, and what it uses.

use super::super::{
    columns::Tone,
    state::State,
    text::{self, on_one_line, time_of_day},
};
use super::{Canvas, Theme};
use crate::{cli::status::show_seconds, status::Status};
use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

/// Silence that is told, in milliseconds: a host looks once a second.
const QUIET: u64 = 3000;

pub(super) fn draw(canvas: &mut Canvas<'_>, state: &State, theme: Theme, now_ms: u64) {
    let right = right(state, theme, now_ms);
    let room = usize::from(canvas.area.width).saturating_sub(right.width() + 2);
    canvas.line(0, left(state, room, theme));
    let at = canvas.area.width.saturating_sub(right.width() as u16 + 1);
    canvas.line_at(at, 0, right);
    if state.link.lost.is_none() {
        canvas.line(1, resources(state, canvas.area.width.into(), theme));
    } else if let Some((_, why)) = &state.link.lost {
        let width = usize::from(canvas.area.width).saturating_sub(1);
        let why = text::shortened(&on_one_line(why), width);
        // What stood here is written over.
        canvas.line(1, Line::styled(format!(" {why:<width$}"), theme.tone(Tone::Bad)));
    }
}

/// What the stream does.
fn right(state: &State, theme: Theme, now_ms: u64) -> Line<'static> {
    let loud = Modifier::BOLD | Modifier::REVERSED;
    let silent = now_ms.saturating_sub(state.link.heard_ms);
    let seconds = |millis: u64| show_seconds(millis as f64 / 1000.0);
    if let Some((since, _)) = &state.link.lost {
        let gone = seconds(now_ms.saturating_sub(*since));
        let text = format!(" NO HOST for {gone}, since {}; trying ", time_of_day(*since));
        return Line::styled(text, theme.tone(Tone::Bad).add_modifier(loud));
    }
    if state.paused.is_some() {
        return Line::styled(" PAUSED ", theme.tone(Tone::Busy).add_modifier(loud));
    }
    if silent >= QUIET {
        return Line::styled(format!("silent for {}", seconds(silent)), theme.tone(Tone::Busy));
    }
    match state.live.figures.time_ms {
        0 => Line::default(),
        time_ms => Line::styled(time_of_day(time_ms), theme.faint()),
    }
}

/// Which host it is, and whether it is well.
fn left(state: &State, room: usize, theme: Theme) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut line = Line::from(vec![
        Span::styled(" mycelia ", theme.accent().patch(bold)),
        Span::styled(state.address.clone(), bold),
    ]);
    let figures = &state.seen().figures;
    if state.link.lost.is_some() || figures.time_ms == 0 {
        return line;
    }
    let up = format!("  up {}  ", show_seconds(figures.status.uptime_s));
    if line.width() + up.len() > room {
        return line;
    }
    line.push_span(Span::raw(up));
    let (health, tone) = health(figures.ready, &figures.status);
    let health = text::shortened(&health, room.saturating_sub(line.width()));
    line.push_span(Span::styled(health, theme.tone(tone)));
    line
}

fn health(is_ready: bool, status: &Status) -> (String, Tone) {
    let down = status.subsystems.iter().filter(|(_, one)| !one.phase.serves());
    let down: Vec<String> = down.map(|(name, _)| on_one_line(name)).collect();
    match (is_ready, down.is_empty()) {
        (true, true) => ("ready".into(), Tone::Good),
        (true, false) => (format!("ready, without {}", down.join(", ")), Tone::Busy),
        (false, true) => ("not ready".into(), Tone::Bad),
        (false, false) => (format!("not ready: {} down", down.join(", ")), Tone::Bad),
    }
}

/// What it uses, as far as there is room.
fn resources(state: &State, width: usize, theme: Theme) -> Line<'static> {
    let figures = &state.seen().figures;
    let status = &figures.status;
    let lost = match status.lost_threads {
        0 => String::new(),
        lost => format!(" ({lost} lost)"),
    };
    let (used, pool) = (text::size(figures.pool_used_bytes), text::size(figures.pool_bytes));
    let letters = status.dead_letters.kept;
    let counted = |count: u64, tone| if count == 0 { Tone::Plain } else { tone };
    let mut items = vec![
        ("dead letters", text::count(letters), counted(letters, Tone::Busy)),
        ("workers", format!("{}{lost}", status.workers), counted(status.lost_threads, Tone::Bad)),
        ("cpu", format!("{:.2}", figures.cpu), Tone::Plain),
        ("memory", text::size(status.memory_rss_bytes), Tone::Plain),
        ("pool", format!("{used}/{pool}"), Tone::Plain),
    ];
    if status.config_changed {
        items.push(("config", "changed, restart the host".into(), Tone::Busy));
    }
    let mut line = Line::default();
    for (name, told, tone) in items {
        if line.width() + name.len() + told.len() + 3 > width {
            continue;
        }
        line.push_span(Span::styled(format!(" {name} "), theme.faint()));
        line.push_span(Span::styled(told, theme.tone(tone)));
        line.push_span(Span::raw(" "));
    }
    line
}
