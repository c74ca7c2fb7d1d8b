//! From what was found to the sections of the report: figures, charts, and what is missing beside its command.
//!
//! What load tests and the bench `memory` found is in `beside.rs`, and what the plan asks of it all in `summary.rs`.

use crate::{
    counts::Instructions,
    criterion::Figure,
    environment::{Place, Span, date, modified, span},
    loads::Load,
    plan::{self, Asked, Beside, Group, SUBJECTS, Subject},
    rows::{counted_row, figure_row, line_name},
    sheet::{Head, Part, Section, Sheet, Source, Table},
};
use mycelia::load::{Along, Chart, Line};
use mycelia_benches::{journey::MESSAGES, memory::Memory};
use std::{fs, path::Path};

/// Samples below which a percentile is hardly one.
const FEW: usize = 10;

/// All that the report is made of.
pub struct Found {
    /// Of criterion.
    pub figures: Vec<Figure>,
    /// Of the gate.
    pub instructions: Option<Instructions>,
    /// Of load tests.
    pub loads: Vec<Load>,
    /// Of the bench `memory`, and when that was.
    pub memory: Option<(Memory, u64)>,
}

/// What the bench `memory` kept; nothing if it never ran.
///
/// # Errors
/// A file that is damaged, with the command that makes it anew.
pub fn memory(path: &Path) -> Result<Option<(Memory, u64)>, String> {
    let Ok(text) = fs::read(path) else { return Ok(None) };
    let found = serde_json::from_slice(&text).map_err(|error| {
        let command = plan::bench_command(plan::MEMORY);
        format!("{} is damaged: {error}; run `{command}`", path.display())
    })?;
    Ok(Some((found, modified(path))))
}

impl Found {
    /// The whole report.
    pub fn sheet(&self, place: &Place, wrong: &[String]) -> Sheet {
        let mut sections = vec![self.summary()];
        sections.extend(SUBJECTS.iter().map(|subject| self.section(subject, place)));
        sections.push(Section {
            title: "Environment".into(),
            notes: vec!["Of the machine on which the report was made; load tests that came from a file may be of another.".into()],
            parts: vec![place.table()],
        });
        let mut warnings = wrong.to_vec();
        warnings.extend(place.warnings(&self.spans()));
        warnings.extend(self.few());
        Sheet { lead: lead(), warnings, sections }
    }

    /// The figures of a group, by function and number.
    pub fn of<'f>(&'f self, group: &str) -> Vec<&'f Figure> {
        let mut figures: Vec<&Figure> =
            self.figures.iter().filter(|figure| figure.group == group).collect();
        figures.sort_by(|one, other| {
            let numbers = [one, other].map(|figure| figure.number().unwrap_or(0.0));
            one.function.cmp(&other.function).then(numbers[0].total_cmp(&numbers[1]))
        });
        figures
    }

    /// When what was measured, by bench.
    fn spans(&self) -> Vec<(String, Span)> {
        let of_bench = |bench: &&str| {
            let own =
                self.figures.iter().filter(|figure| figure.group.split('/').next() == Some(bench));
            Some(((*bench).to_owned(), span(own.map(|figure| figure.measured))?))
        };
        let mut spans: Vec<(String, Span)> = plan::benches().iter().filter_map(of_bench).collect();
        let moment = |time: u64| (time, time);
        spans.extend(self.memory.iter().map(|(_, time)| ("memory".into(), moment(*time))));
        let loads = self.loads.iter().map(|load| {
            (format!("load test {}", load.scenario), moment(load.environment.began_unix_s))
        });
        spans.extend(loads);
        let counted = self.instructions.iter().filter(|counted| counted.new.is_some());
        spans.extend(counted.map(|one| ("instructions".into(), moment(one.counted))));
        spans
    }

    /// Says that criterion only had a glance.
    fn few(&self) -> Option<String> {
        let few = self.figures.iter().filter(|figure| figure.samples.len() < FEW).count();
        (few > 0).then(|| {
            format!(
                "{few} of {} figures of criterion have fewer than {FEW} samples, as `--quick` makes them: their percentiles say little; `cargo bench -p mycelia-benches --bench NAME` measures them in full.",
                self.figures.len()
            )
        })
    }

    fn section(&self, subject: &Subject, place: &Place) -> Section {
        let mut parts = Vec::new();
        match subject.beside {
            Beside::Nothing => {}
            Beside::Load => parts.extend(self.loaded(place)),
            Beside::Memory => parts.extend(self.memories(place)),
            Beside::Latency => parts.extend(self.latencies(place)),
        }
        parts.extend(self.chart(subject));
        let (measured, missing): (Vec<&Group>, Vec<&Group>) =
            subject.groups.iter().partition(|group| !self.of(group.name).is_empty());
        parts.extend(measured.iter().map(|group| self.group(group, place)));
        parts.extend(self.counted(subject, place));
        let mut missing: Vec<(String, String)> = missing
            .iter()
            .map(|group| (group.name.to_owned(), plan::bench_command(group.bench())))
            .collect();
        missing.extend(self.missing_beside(subject));
        if !missing.is_empty() {
            parts.push(Part::Missing(missing));
        }
        Section { title: subject.title.into(), notes: vec![subject.note.into()], parts }
    }

    fn missing_beside(&self, subject: &Subject) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        if subject.beside != Beside::Nothing && self.loads.is_empty() {
            missing.push(("load tests".into(), plan::RUN.to_owned()));
        }
        if subject.beside == Beside::Memory && self.memory.is_none() {
            missing.push((
                "allocations and resident memory".into(),
                plan::bench_command(plan::MEMORY),
            ));
        }
        if !subject.counted.is_empty() && self.instructions.is_none() {
            missing.push((
                "instructions".into(),
                "cargo run --release -p mycelia-gate -- --bless".into(),
            ));
        }
        missing
    }

    fn group(&self, group: &Group, place: &Place) -> Part {
        let figures = self.of(group.name);
        let mut head = vec![Head::text("")];
        head.extend((group.asked != Asked::Nothing).then_some(Head::word("plan")));
        let numbers = ["median", "95% between", "p95", "a second", "samples"];
        head.extend(numbers.map(Head::number));
        Part::Table(Table {
            title: format!("{}: {}", group.name, group.says),
            head,
            rows: figures.iter().map(|figure| figure_row(figure, group.asked)).collect(),
            source: span(figures.iter().map(|figure| figure.measured)).map(|span| Source {
                when: place.when(span),
                command: plan::bench_command(group.bench()),
            }),
            is_wide: false,
        })
    }

    /// By the numbers of the groups that are drawn, a line each, or one for each of their functions.
    fn chart(&self, subject: &Subject) -> Option<Part> {
        let drawn: Vec<&Group> = subject.groups.iter().filter(|group| group.is_drawn).collect();
        let mut lines: Vec<Line> = Vec::new();
        for figure in drawn.iter().flat_map(|group| self.of(group.name)) {
            let Some(number) = figure.number() else { continue };
            let name = line_name(figure);
            let point = (number, figure.median);
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line { name, points: vec![point] }),
            }
        }
        let is_drawn = lines.iter().any(|line| line.points.len() > 1);
        is_drawn.then(|| {
            let (name, along) = (subject.chart.to_owned(), Along::Numbers);
            Part::Chart(
                name.clone(),
                Chart { name, lines, events: Vec::new(), is_log: true, along },
            )
        })
    }

    fn counted(&self, subject: &Subject, place: &Place) -> Option<Part> {
        let Instructions { old, new, .. } = self.instructions.as_ref()?;
        let is_own = |bench: &str| subject.counted.iter().any(|start| bench.starts_with(start));
        let own = old.0.iter().filter(|(bench, _)| is_own(bench));
        let rows = own.map(|(bench, old)| {
            let new = new.as_ref().and_then(|counts| counts.0.get(bench)).copied();
            counted_row(bench, *old, new)
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let source = self.instructions.as_ref().map(|counted| counted_source(counted, place));
        let head = [
            vec![Head::text("bench")],
            ["a message", "old", "new", "change"].map(Head::number).into(),
        ]
        .concat();
        let title = format!("Instructions of {MESSAGES} messages");
        let table = Table { title, head, rows, source, is_wide: false };
        (!table.rows.is_empty()).then_some(Part::Table(table))
    }
}

/// Old ones are the baseline's, and new ones those of a count since.
fn counted_source(counted: &Instructions, place: &Place) -> Source {
    let Instructions { fingerprint, new, other, blessed, counted, .. } = counted;
    let since = match (new, other) {
        (Some(_), _) => format!("new: {}", place.when((*counted, *counted))),
        (_, Some(print)) => format!("a count since is of other tools, and not compared: {print}"),
        (None, None) => "not counted since".into(),
    };
    let blessed = date(*blessed);
    let command = if new.is_some() { plan::RUN_ALL } else { plan::RUN };
    let when = format!("Old: the committed baseline, here since {blessed}; {since}. {fingerprint}");
    Source { when, command: command.into() }
}

/// What one must know to read it.
fn lead() -> Vec<String> {
    vec![
        "Wall times drift by half on a shared machine, and more across cores: compare them within one table, and let instruction counts, which repeat exactly, decide between two builds.".into(),
        "`95% between` holds the median with that confidence, and `p95` is what 95 of 100 samples did not exceed.".into(),
        "Each table says when it was measured, and the command that measures it again.".into(),
        "Beside a figure of which the plan asks something stands the verdict of the load test: met, acceptable, missed, or undecided.".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        criterion::{self, tests::plant},
        page::page,
        text::text,
    };

    /// The report of what criterion has in a folder.
    fn sheet(plant: impl Fn(&Path)) -> Sheet {
        let folder = tempfile::tempdir().unwrap();
        plant(folder.path());
        let (figures, wrong) = criterion::read(folder.path());
        let found = Found { figures, instructions: None, loads: Vec::new(), memory: None };
        found.sheet(&Place::new(folder.path()), &wrong)
    }

    #[test]
    fn what_was_not_measured_is_named_with_its_command() {
        let text = text(&sheet(|folder| plant(folder, "queue/enqueue", "10", 1, &[5.0; 20])));
        for line in [
            "  queue/dequeue: cargo bench -p mycelia-benches --bench queue\n",
            "  routing/scope: cargo bench -p mycelia-benches --bench routing\n",
            "  dispatch/body: cargo bench -p mycelia-benches --bench dispatch\n",
            "  allocations and resident memory: cargo bench -p mycelia-benches --bench memory\n",
            "  load tests: cargo run --release -p mycelia-benches --bin report -- --run\n",
            "  instructions: cargo run --release -p mycelia-gate -- --bless\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("  queue/enqueue: cargo bench"), "{text}");
    }

    #[test]
    fn a_slower_figure_turns_the_verdict() {
        let line = |nanos: f64| {
            let text = text(&sheet(|folder| {
                plant(folder, "queue/enqueue", "10", 1, &[5.0; 20]);
                plant(folder, "queue/dequeue", "10", 1, &[nanos; 20]);
            }));
            let line = text.lines().find(|line| line.trim_start().starts_with("queue operations"));
            line.unwrap().split_whitespace().nth(2).unwrap().to_owned()
        };
        assert_eq!([5.0, 30_000.0, 100_000.0].map(line), ["met", "acceptable", "missed"]);
    }

    #[test]
    fn routing_is_judged_by_its_slow_samples() {
        let word = |slow: f64| {
            let samples: Vec<f64> = [vec![100.0; 18], vec![slow; 2]].concat();
            let text =
                text(&sheet(|folder| plant(folder, "routing/scope", "granted", 1, &samples)));
            let line =
                text.lines().find(|line| line.trim_start().starts_with("routing p95")).unwrap();
            line.split_whitespace().nth(2).unwrap().to_owned()
        };
        assert_eq!([200.0, 2e6, 6e6].map(word), ["met", "acceptable", "missed"]);
    }

    #[test]
    fn load_tests_give_what_criterion_cannot() {
        let load: Load = serde_json::from_value(crate::loads::tests::printed()).unwrap();
        let found =
            Found { figures: Vec::new(), instructions: None, loads: vec![load], memory: None };
        let sheet = found.sheet(&Place::new(Path::new("/")), &["x is damaged".into()]);
        let (text, page) = (text(&sheet), page(&sheet));
        let words = |start: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
            line.split_whitespace().collect()
        };
        assert_eq!(words("memory growth")[2..5], ["acceptable", "7", "MB/h"]);
        let single = words("sustained: from due until answered");
        assert_eq!(single[5..], ["0.100", "0.900", "2.000", "3.000", "4.500"]);
        assert_eq!(words("warning: x")[1..], ["x", "is", "damaged"]);
        assert!(page.contains("a &lt;fast&gt; one") && page.contains("x is damaged"), "{page}");
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let sheet = sheet(|folder| {
            for value in ["10", "100", "1000"] {
                plant(folder, "queue/enqueue", value, 1, &[5.0; 20]);
            }
        });
        let page = page(&sheet);
        assert!(
            page.contains("<svg role=\"img\" aria-label=\"A message into and out of a queue"),
            "{page}"
        );
        for outside in ["src=", "href=\"http", "@import", "url(", "<link", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_table_is_as_wide_as_its_head() {
        let sheet = sheet(|folder| {
            let groups = SUBJECTS.iter().flat_map(|subject| subject.groups);
            groups.for_each(|group| plant(folder, group.name, "10", 1, &[5.0; 20]));
        });
        for part in sheet.sections.iter().flat_map(|section| &section.parts) {
            let Part::Table(table) = part else { continue };
            assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{}", table.title);
        }
    }
}
