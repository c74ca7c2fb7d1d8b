//! The parts that neither criterion nor the gate gives: load tests, memory, and the times of single messages.

use crate::{
    environment::Place,
    loads::{Load, Moment},
    plan,
    rows::grouped,
    sections::Found,
    sheet::{Head, Part, Source, Table},
};
use mycelia::load::{Along, Chart, DRAIN, Line, Percentiles, show};

/// A verdict that load tests give.
const GROWTH: &str = "memory growth";

impl Found {
    /// How the load tests went.
    pub fn loaded(&self, place: &Place) -> Vec<Part> {
        let Some(source) = self.load_source(place) else { return Vec::new() };
        let rows = self.loads.iter().map(Load::row).collect();
        let head = vec![
            Head::text("load test"),
            Head::number("offered"),
            Head::number("handled"),
            Head::number("handled a second"),
            Head::number("CPU, % of a core"),
            Head::number("of it the generator"),
            Head::text("what was sent"),
        ];
        let title = "Load tests".into();
        let table = Table { title, head, rows, source: Some(source), is_wide: true };
        let mut parts = vec![Part::Table(table)];
        parts.extend(self.loads.iter().map(Load::verdicts));
        let handled = |moment: &Moment| moment.handled;
        parts.push(self.over_time("Messages handled a second", true, handled));
        parts
    }

    /// What messages allocate, and what memory grows by.
    pub fn memories(&self, place: &Place) -> Vec<Part> {
        let mut parts = Vec::new();
        if let Some((memory, time)) = &self.memory {
            let source = || {
                Some(Source {
                    when: place.when((*time, *time)),
                    command: plan::bench_command(plan::MEMORY),
                })
            };
            let rows = memory.costs.iter().map(|cost| {
                let numbers = [format!("{:.3}", cost.allocations), format!("{:.1}", cost.bytes)];
                [vec![cost.name.clone()], numbers.into()].concat()
            });
            let head =
                vec![Head::text("a message"), Head::number("allocations"), Head::number("bytes")];
            let title = "What a message allocates".into();
            parts.push(Part::Table(Table {
                title,
                head,
                rows: rows.collect(),
                source: source(),
                is_wide: false,
            }));
            let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
            let head = vec![
                Head::number("messages"),
                Head::number("resident, MiB"),
                Head::number("grown, KiB"),
            ];
            let row =
                vec![grouped(memory.messages), mib(memory.resident), grouped(memory.grown >> 10)];
            let title = "Resident memory over many messages".into();
            parts.push(Part::Table(Table {
                title,
                head,
                rows: vec![row],
                source: source(),
                is_wide: false,
            }));
        }
        if let Some(source) = self.load_source(place) {
            parts.extend(self.growth(source));
            let megabytes = |moment: &Moment| moment.memory / 1e6;
            parts.push(self.over_time("Resident memory under load, MB", false, megabytes));
        }
        parts
    }

    fn growth(&self, source: Source) -> Option<Part> {
        let judged = self.loads.iter().flat_map(|load| {
            let own = load.verdicts.iter().filter(|verdict| verdict.figure == GROWTH);
            own.map(|verdict| [vec![load.scenario.clone()], cells(verdict)].concat())
        });
        let rows: Vec<Vec<String>> = judged.collect();
        let head = [vec![Head::text("load test")], judged_head()].concat();
        let title = "Growth of memory under load".into();
        let table = Table { title, head, rows, source: Some(source), is_wide: true };
        (!table.rows.is_empty()).then_some(Part::Table(table))
    }

    /// How long single messages took.
    pub fn latencies(&self, place: &Place) -> Vec<Part> {
        let Some(source) = self.load_source(place) else { return Vec::new() };
        let rows = self.loads.iter().flat_map(|load| {
            let own = [
                ("from due until answered", load.latency_ms),
                ("of it the generator's delay", load.late_ms),
            ];
            own.into_iter().filter_map(|(what, percentiles)| {
                let Percentiles { p50, p95, p99, p99_9, max } = percentiles?;
                let numbers = [p50, p95, p99, p99_9, max].map(|ms| format!("{ms:.3}"));
                Some([vec![format!("{}: {what}", load.scenario)], numbers.into()].concat())
            })
        });
        let head = ["p50", "p95", "p99", "p99.9", "max"].map(Head::number);
        let head = [vec![Head::text("load test")], head.into()].concat();
        let title = "Single messages under load, ms".into();
        let table =
            Table { title, head, rows: rows.collect(), source: Some(source), is_wide: true };
        vec![Part::Table(table), self.distribution()]
    }

    fn distribution(&self) -> Part {
        let title = "Latency that a share of the messages did not exceed, ms";
        let lines = self.loads.iter().map(|load| Line {
            name: load.scenario.clone(),
            points: load.distribution_ms.iter().map(|point| (point.share, point.ms)).collect(),
        });
        Part::Chart(
            title.into(),
            Chart {
                name: title.into(),
                lines: lines.collect(),
                events: Vec::new(),
                is_log: true,
                along: Along::Share,
            },
        )
    }

    fn over_time(&self, title: &str, is_log: bool, value: fn(&Moment) -> f64) -> Part {
        let lines = self.loads.iter().map(|load| Line {
            name: load.scenario.clone(),
            points: load.samples.iter().map(|moment| (moment.at_s, value(moment))).collect(),
        });
        let (name, lines) = (title.to_owned(), lines.collect());
        Part::Chart(
            title.into(),
            Chart { name, lines, events: Vec::new(), is_log, along: Along::Seconds },
        )
    }

    /// Of all load tests; none without one.
    fn load_source(&self, place: &Place) -> Option<Source> {
        let times = self.loads.iter().map(|load| load.environment.began_unix_s);
        let span = crate::environment::span(times)?;
        let mut commands: Vec<&str> = self.loads.iter().map(|load| load.command.as_str()).collect();
        commands.dedup();
        Some(Source { when: place.when(span), command: commands.join("; ") })
    }
}

/// The columns of a verdict.
fn judged_head() -> Vec<Head> {
    vec![
        Head::word("verdict"),
        Head::number("found"),
        Head::number("target"),
        Head::number("acceptable"),
        Head::text("because"),
    ]
}

fn cells(verdict: &crate::loads::Verdict) -> Vec<String> {
    let crate::loads::Verdict { verdict, found, target, acceptable, why, .. } = verdict;
    [verdict, found, target, acceptable, why].map(Clone::clone).into()
}

impl Load {
    fn row(&self) -> Vec<String> {
        let early = if self.ended_early { "; ended early" } else { "" };
        let debug = if self.environment.is_debug_build {
            "; a debug build, whose figures say little"
        } else {
            ""
        };
        vec![
            self.scenario.clone(),
            grouped(self.messages.offered),
            grouped(self.messages.handled),
            grouped(
                (self.messages.handled as f64
                    / (self.took_s + self.drained_s.unwrap_or(DRAIN.as_secs_f64())).max(1e-3))
                    as u64,
            ),
            show(self.cpu),
            show(self.generator_cpu),
            format!("{}{early}{debug}, on {}", self.load, self.environment.processor),
        ]
    }

    fn verdicts(&self) -> Part {
        let rows = self.verdicts.iter().map(|one| [vec![one.figure.clone()], cells(one)].concat());
        let head = [vec![Head::text("figure")], judged_head()].concat();
        let title = format!("Verdicts of the load test {}", self.scenario);
        Part::Table(Table { title, head, rows: rows.collect(), source: None, is_wide: true })
    }
}
