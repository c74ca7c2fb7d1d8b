//! All subsystems together: rates, percentiles, and their curves over the last minutes.

use super::super::{
    columns::Tone,
    state::{Moment, State},
    text::{STANDING, rate, time},
};
use super::{Canvas, Theme};
use crate::figures::{Flow, Percentiles};
use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};
use std::collections::VecDeque;

/// Columns of the rates and of the percentiles, with the space beside them.
const RATES: u16 = 20;
const TIMES: u16 = 30;
/// A curve goes back this far, in seconds, or further where it has the columns.
const BACK: u64 = 120;
/// Two curves stand beside each other in this many columns, else one above the other.
const BESIDE: u16 = 60;

pub(super) fn draw(canvas: &mut Canvas<'_>, state: &State, theme: Theme) {
    let total = state.seen().figures.total;
    rates(canvas, total, theme);
    if canvas.area.width >= RATES + TIMES {
        times(canvas, total, theme);
    }
    // The last line is left blank.
    let height = canvas.area.height.saturating_sub(1);
    let Some(width) = canvas.area.width.checked_sub(RATES + TIMES + 12) else { return };
    let (left, width) = (RATES + TIMES, width + 11);
    let curves = [handled(state), wait(state)];
    if width >= BESIDE {
        let half = width / 2 - 1;
        for (curve, left) in curves.iter().zip([left, left + half + 2]) {
            curve.draw(canvas, (left, 0), (half, height), theme);
        }
    } else {
        // The first one has the line that is left over.
        let first = height.div_ceil(2);
        curves[0].draw(canvas, (left, 0), (width, first), theme);
        curves[1].draw(canvas, (left, first), (width, height - first), theme);
    }
}

fn rates(canvas: &mut Canvas<'_>, total: Flow, theme: Theme) {
    let Flow { accepted, handled, errors, dropped, refused, .. } = total;
    for (row, (name, number, tone)) in [
        ("handled", handled, Tone::Plain),
        ("accepted", accepted, Tone::Plain),
        ("errors", errors, Tone::Bad),
        ("dropped", dropped, Tone::Bad),
        ("refused", refused, Tone::Busy),
    ]
    .into_iter()
    .enumerate()
    {
        let text = rate(number);
        let tone = if text == "0" { Tone::Faint } else { tone };
        canvas.line(
            row as u16,
            vec![
                Span::styled(format!(" {name:<9}"), theme.faint()),
                Span::styled(format!("{text:>5}/s"), theme.tone(tone)),
            ],
        );
    }
}

fn times(canvas: &mut Canvas<'_>, total: Flow, theme: Theme) {
    let heads = format!("{:<11}{:>5} {:>5} {:>5}", "", "p50", "p95", "p99");
    canvas.line_at(RATES, 0, Span::styled(heads, theme.faint()));
    let rows = [("routing", total.routing), ("queue wait", total.wait), ("handler", total.handle)];
    for (row, (name, times)) in rows.into_iter().enumerate() {
        let told = match times {
            Some(Percentiles { p50, p95, p99 }) => [p50, p95, p99].map(time),
            None => ["-"; 3].map(str::to_owned),
        };
        let [p50, p95, p99] = told;
        let numbers = format!("{p50:>5} {p95:>5} {p99:>5}");
        let style = if times.is_none() { theme.faint() } else { Style::new() };
        canvas.line_at(
            RATES,
            row as u16 + 1,
            vec![Span::styled(format!("{name:<11}"), theme.faint()), Span::styled(numbers, style)],
        );
    }
}

struct Curve<'s> {
    name: &'static str,
    moments: &'s VecDeque<Moment>,
    now_ms: u64,
    of: fn(&Moment) -> f64,
    show: fn(f64) -> String,
}

fn handled(state: &State) -> Curve<'_> {
    let seen = state.seen();
    let show = |number| format!("{}/s", rate(number));
    let (moments, now_ms) = (&seen.moments, seen.figures.time_ms);
    Curve { name: "handled", moments, now_ms, of: |moment| moment.handled, show }
}

fn wait(state: &State) -> Curve<'_> {
    let seen = state.seen();
    let show = |nanos| time(nanos as u64);
    let (moments, now_ms) = (&seen.moments, seen.figures.time_ms);
    Curve { name: "p99 wait", moments, now_ms, of: |moment| moment.wait as f64, show }
}

impl Curve<'_> {
    /// With a line that says what it is, and of the largest value that it reaches the top with.
    fn draw(&self, canvas: &mut Canvas<'_>, place: (u16, u16), size: (u16, u16), theme: Theme) {
        let (values, seconds) = self.values(size.0.into());
        let most = values.iter().flatten().copied().fold(0.0, f64::max);
        let back = crate::cli::status::show_seconds((seconds * u64::from(size.0)) as f64);
        let name = Span::styled(self.name, Style::new().add_modifier(Modifier::BOLD));
        let most_told = format!(" at most {}", (self.show)(most));
        let mut line = Line::from(vec![name, Span::raw(most_told)]);
        let back = Span::styled(format!(" in {back}"), theme.faint());
        if line.width() + back.width() <= size.0.into() {
            line.push_span(back);
        }
        canvas.line_at(place.0, place.1, line);
        let rows = size.1.saturating_sub(1);
        for row in 0..rows {
            let from = f64::from(rows - 1 - row) / f64::from(rows);
            let cell = |value: &Option<f64>| block(value.map(|value| value / most), from, rows);
            let bars: String = values.iter().map(cell).collect();
            canvas.line_at(place.0, place.1 + 1 + row, Span::styled(bars, theme.accent()));
        }
    }

    /// The largest of each stretch of time, the newest last, and how many seconds a stretch is.
    fn values(&self, columns: usize) -> (Vec<Option<f64>>, u64) {
        let seconds = BACK.div_ceil(columns.max(1) as u64);
        // Stretches begin at the same moments however often they are drawn, else the curve would flicker.
        let stretch = |time_ms: u64| time_ms / 1000 / seconds;
        let mut values = vec![None; columns];
        for moment in self.moments {
            let back = stretch(self.now_ms).checked_sub(stretch(moment.time_ms));
            let Some(place) = back.and_then(|back| columns.checked_sub(back as usize + 1)) else {
                continue;
            };
            let value = (self.of)(moment);
            values[place] = Some(values[place].map_or(value, |most: f64| most.max(value)));
        }
        (values, seconds)
    }
}

/// The part of a bar in one of its rows, which begins at a share of its height.
fn block(share: Option<f64>, from: f64, rows: u16) -> char {
    let Some(share) = share else { return ' ' };
    // Nothing shows as a line, unlike no look; 0 of at most 0 is no number.
    let eighths = ((share - from) * f64::from(rows) * 8.0).round();
    let least = if from == 0.0 { 1.0 } else { 0.0 };
    STANDING[eighths.max(least).min(8.0) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_the_newest_last() {
        let moment = |time_ms, handled| Moment { time_ms, handled, wait: 0 };
        let moments: VecDeque<Moment> =
            [moment(0, 9.0), moment(9_000, 1.0), moment(10_000, 2.0), moment(11_500, 3.0)].into();
        let of = |moment: &Moment| moment.handled;
        let show = |_| String::new();
        let curve = Curve { name: "", moments: &moments, now_ms: 12_000, of, show };
        let (values, seconds) = curve.values(120);
        assert_eq!(
            (seconds, values[119], values[118], values[117]),
            (1, None, Some(3.0), Some(2.0))
        );
        assert_eq!(values.iter().flatten().count(), 4);
        let (values, seconds) = curve.values(24);
        assert_eq!((seconds, &values[21..]), (5, &[Some(9.0), Some(1.0), Some(3.0)][..]));
    }

    #[test]
    fn bars_rise_through_the_rows() {
        for (share, shown) in [
            (None, "  "),
            (Some(f64::NAN), " ▁"),
            (Some(0.0), " ▁"),
            (Some(0.25), " ▄"),
            (Some(0.5), " █"),
            (Some(0.75), "▄█"),
            (Some(1.0), "██"),
        ] {
            let bar: String = [0.5, 0.0].map(|from| block(share, from, 2)).into_iter().collect();
            assert_eq!(bar, shown, "{share:?}");
        }
    }
}
