//! Single figures as cells: with their units, and the word that says what the plan makes of them.

use crate::{criterion::Figure, plan::Asked};
use mycelia::load::{Verdict, against_plan, show};
use mycelia_benches::journey::MESSAGES;

/// What 95 of 100 do not exceed.
const P95: f64 = 0.95;

/// A row of criterion's figures; without what the plan makes of it where that asks nothing.
pub fn figure_row(figure: &Figure, asked: Asked) -> Vec<String> {
    let (low, high) = figure.between;
    let mut row = vec![figure.name()];
    row.extend(verdict(figure, asked).map(|verdict| verdict.verdict.text().to_owned()));
    row.extend([
        nanos(figure.median),
        interval(low, high),
        nanos(figure.percentile(P95)),
        grouped((1e9 / figure.median) as u64),
        figure.samples.len().to_string(),
    ]);
    row
}

/// What the plan makes of a figure: of rates those that the median lies between, of times the p95 of the samples.
pub fn verdict(figure: &Figure, asked: Asked) -> Option<Verdict> {
    let (low, high) = figure.between;
    let between = match asked {
        Asked::Nothing => return None,
        Asked::QueueOperations | Asked::Throughput => (1e9 / high, 1e9 / low),
        Asked::Routing => (figure.percentile(P95) / 1e6, figure.percentile(P95) / 1e6),
    };
    against_plan(asked.figure(), between)
}

/// How bad a figure is in the eyes of the plan: the more, the worse.
pub fn badness(figure: &Figure, asked: Asked) -> f64 {
    match asked {
        Asked::Routing => figure.percentile(P95),
        _ => figure.median,
    }
}

/// The name of a figure's line in a chart.
pub fn line_name(figure: &Figure) -> String {
    let group = figure.group.split('/').skip(1);
    group.chain(figure.function.as_deref()).collect::<Vec<&str>>().join(", ")
}

/// A row of instructions.
pub fn counted_row(bench: &str, old: u64, new: Option<u64>) -> Vec<String> {
    let latest = new.unwrap_or(old);
    let change = new.map(|new| format!("{:+.2}%", 100.0 * (new as f64 / old as f64 - 1.0)));
    let dash = || "-".to_owned();
    vec![
        bench.into(),
        format!("{:.1}", latest as f64 / MESSAGES as f64),
        grouped(old),
        new.map_or_else(dash, grouped),
        change.unwrap_or_else(dash),
    ]
}

/// Two times, with their unit once if they have the same.
fn interval(low: f64, high: f64) -> String {
    let (low, high) = (nanos(low), nanos(high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// A time in the unit that suits it.
pub fn nanos(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{} ns", show(nanos)),
        ..1e6 => format!("{} µs", show(nanos / 1e3)),
        ..1e9 => format!("{} ms", show(nanos / 1e6)),
        _ => format!("{} s", show(nanos / 1e9)),
    }
}

/// A number with a comma before each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let mut parts = vec![&digits[..lead]];
    parts.extend((lead..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    parts.retain(|part| !part.is_empty());
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let numbers = [0, 999, 1_000, 12_345, 1_234_567];
        assert_eq!(numbers.map(grouped), ["0", "999", "1,000", "12,345", "1,234,567"]);
        let times = [5.5, 999.0, 1_500.0, 2.5e6, 3e9];
        assert_eq!(times.map(nanos), ["5.5 ns", "999 ns", "1.5 µs", "2.5 ms", "3 s"]);
        assert_eq!(interval(5.0, 6.0), "5 to 6 ns");
        assert_eq!(interval(999.0, 1_000.0), "999 ns to 1 µs");
    }

    #[test]
    fn a_count_is_compared_where_there_is_a_new_one() {
        assert_eq!(counted_row("a", 1_000, None), ["a", "1.0", "1,000", "-", "-"]);
        assert_eq!(counted_row("a", 1_000, Some(1_100)), ["a", "1.1", "1,000", "1,100", "+10.00%"]);
    }
}
