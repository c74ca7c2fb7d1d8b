//! What the plan asks, and what of it is met: one row for each figure, with what gives it.

use crate::{
    loads::Load,
    plan::{self, Asked, SUBJECTS},
    rows::{badness, verdict},
    sections::Found,
    sheet::{Head, Part, Section, Table},
};
use mycelia::load::Word;

/// What criterion gives: what a row is called, what is asked, and what the figure is of.
const MEASURED: [(&str, Asked); 3] = [
    ("queue operations", Asked::QueueOperations),
    ("throughput", Asked::Throughput),
    ("routing p95", Asked::Routing),
];
/// What load tests give, by the names that they have there.
const LOADED: [&str; 5] = ["queue operations", "throughput", "latency p95", "memory growth", "CPU"];

impl Found {
    /// The first section.
    pub fn summary(&self) -> Section {
        let measured = MEASURED.iter().filter_map(|(name, asked)| self.slowest(name, *asked));
        let loaded = LOADED.iter().filter_map(|figure| self.loaded_figure(figure));
        let rows: Vec<Vec<String>> = measured.chain(loaded).collect();
        let head = vec![
            Head::text("figure"),
            Head::word("verdict"),
            Head::number("found"),
            Head::number("target"),
            Head::number("acceptable"),
            Head::text("of"),
        ];
        let mut parts = Vec::new();
        if !rows.is_empty() {
            let title = "Verdicts".into();
            parts.push(Part::Table(Table { title, head, rows, source: None, is_wide: true }));
        }
        let missing = self.missing_figures();
        if !missing.is_empty() {
            parts.push(Part::Missing(missing));
        }
        let note = "Of criterion's figures the slowest of all sizes and policies is judged, and of load tests the whole host with its generator.";
        Section { title: "What the plan asks".into(), notes: vec![note.into()], parts }
    }

    /// The worst of all figures of which this is asked.
    fn slowest(&self, name: &str, asked: Asked) -> Option<Vec<String>> {
        let groups = SUBJECTS.iter().flat_map(|subject| subject.groups);
        let asked_of = groups.filter(|group| group.asked == asked);
        let figures = asked_of.flat_map(|group| self.of(group.name));
        let worst =
            figures.max_by(|one, other| badness(one, asked).total_cmp(&badness(other, asked)))?;
        let verdict = verdict(worst, asked)?;
        let of = format!("criterion, {}: {}", worst.group, worst.name());
        let word = verdict.verdict.text().to_owned();
        Some(vec![name.into(), word, verdict.found, verdict.target, verdict.acceptable, of])
    }

    /// A figure of the first load test that decides it, or of the first that says why it does not.
    fn loaded_figure(&self, figure: &str) -> Option<Vec<String>> {
        let all = || self.loads.iter().filter_map(|load| Some((load, load.verdict(figure)?)));
        let decided = all().find(|(_, verdict)| verdict.verdict != Word::Undecided.text());
        let (load, verdict) = decided.or_else(|| all().next())?;
        let why = if verdict.why.is_empty() { String::new() } else { format!("; {}", verdict.why) };
        Some(vec![
            figure.into(),
            verdict.verdict.clone(),
            verdict.found.clone(),
            verdict.target.clone(),
            verdict.acceptable.clone(),
            format!("load test {}{why}", load.scenario),
        ])
    }

    fn missing_figures(&self) -> Vec<(String, String)> {
        let lacking = MEASURED.iter().filter(|(name, asked)| self.slowest(name, *asked).is_none());
        let benches = ["queue", "dispatch", "routing"];
        let command = |asked: &Asked| match asked {
            Asked::QueueOperations => benches[0],
            Asked::Throughput => benches[1],
            Asked::Routing | Asked::Nothing => benches[2],
        };
        let mut missing: Vec<(String, String)> = lacking
            .map(|(name, asked)| ((*name).to_owned(), plan::bench_command(command(asked))))
            .collect();
        let lacking = LOADED.iter().filter(|figure| self.loaded_figure(figure).is_none());
        missing
            .extend(lacking.map(|figure| (format!("{figure} under load"), plan::RUN.to_owned())));
        missing
    }
}

impl Load {
    fn verdict(&self, figure: &str) -> Option<&crate::loads::Verdict> {
        self.verdicts.iter().find(|verdict| verdict.figure == figure)
    }
}
