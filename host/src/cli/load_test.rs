//! `load-test`: a host under load, a table of what came of it, and verdicts.

use super::exit::{Exit, Failure};
use super::output;
use super::status::{Column, Rows};
use crate::config::amounts::parse_duration;
use crate::load::{
    Fixed, Outcome, Overrides, Percentiles, Plan, Sample, Scenario, Show, Size, Verdict, Word, page,
};
use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `mycelia load-test`.
#[derive(Args, Debug)]
pub(super) struct LoadTest {
    /// The RON file that says which plugins to run, and how.
    file: PathBuf,

    /// sustained (the default), burst, memory-stress, many-subsystems, or FILE.ron.
    #[arg(long, value_name = "NAME", default_value = "sustained", hide_default_value = true)]
    scenario: String,

    /// Send everything to this path instead; an n in braces counts the messages.
    #[arg(long, value_name = "PATH")]
    target: Option<String>,

    /// The file with the body of every message.
    #[arg(long, value_name = "FILE", requires = "target")]
    body: Option<PathBuf>,

    /// How long messages are sent, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,

    /// Messages a second, or max: the most that holds --p99.
    #[arg(long, value_name = "N")]
    rate: Option<Fixed>,

    /// What 99% of the messages must not exceed at --rate max [default: 10ms].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    p99: Option<Duration>,

    /// Of unnamed bodies: small (64 B), medium (1KiB), large (64KiB), or as 2KiB.
    #[arg(long)]
    size: Option<Size>,

    /// Print the outcome as JSON: figures, verdicts, and a sample for each second.
    #[arg(long)]
    json: bool,

    /// Write a page with charts, verdicts and the environment.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl LoadTest {
    pub fn execute(&self, load: fn(Plan, Show) -> Result<Outcome, Failure>) -> Result<(), Failure> {
        let plan = self.plan().map_err(Failure::usage)?;
        self.check_report().map_err(Failure::usage)?;
        let bar = bar(&plan.scenario);
        let shown = bar.clone();
        let outcome = load(plan, Box::new(move |sample| show(&shown, sample)));
        bar.finish_and_clear();
        let outcome = outcome?;
        self.report.as_ref().map_or(Ok(()), |file| write(file, &page(&outcome)))?;
        match self.json {
            true => output::json(&serde_json::to_vec(&outcome).map_err(anyhow::Error::from)?)?,
            false => output::styled(&text(&outcome))?,
        }
        if outcome.is_missed() { Err(Failure::silent(Exit::Failed)) } else { Ok(()) }
    }

    /// A report that cannot be written is known before the load, which may take long.
    fn check_report(&self) -> Result<(), String> {
        let Some(file) = &self.report else { return Ok(()) };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        match folder.is_none_or(Path::is_dir) && !file.is_dir() {
            true => Ok(()),
            false => Err(format!(
                "the report cannot be written to {}; name a file in a folder that exists",
                file.display()
            )),
        }
    }

    fn plan(&self) -> Result<Plan, String> {
        let scenario = Scenario::find(&self.scenario)?.with(&Overrides {
            target: self.target.clone(),
            body: self
                .body
                .as_ref()
                .map(std::path::absolute)
                .transpose()
                .map_err(|error| error.to_string())?,
            duration: self.duration,
            rate: self.rate,
            p99: self.p99,
            size: self.size,
        })?;
        let folder = Path::new(&self.scenario).parent().unwrap_or(Path::new("")).to_owned();
        Ok(Plan { file: self.file.clone(), name: self.scenario.clone(), scenario, folder })
    }
}

fn write(file: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(file, page).map_err(|error| {
        Failure::failed(format!("cannot write the report {}: {error}", file.display()))
    })
}

/// Nothing where stderr is no terminal.
fn bar(scenario: &Scenario) -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(Some(scenario.for_.as_secs()), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {msg}");
    bar.with_style(style.expect("the template is good"))
}

fn show(bar: &ProgressBar, sample: &Sample) {
    let p99 = sample.latency_ms.map_or("-".into(), |latency| format!("{:.2} ms", latency.p99));
    bar.set_position(sample.at_s as u64);
    bar.set_message(format!(
        "{:.0} msg/s, p99 {p99}, {} queued, {:.0} errors/s",
        sample.handled, sample.queued, sample.errors
    ));
}

fn text(outcome: &Outcome) -> String {
    let bold = Style::new().bold();
    let early = if outcome.ended_early { "; ended early" } else { "" };
    let parts = [
        format!("{bold}{}{bold:#}: {}{early}\n", outcome.scenario, outcome.load),
        trials(outcome),
        latencies(outcome),
        counts(outcome),
        events(outcome),
        verdicts(outcome),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn trials(outcome: &Outcome) -> String {
    let mut rows = Rows::new([
        Column::right("TRIED MSG/S"),
        Column::left("HELD"),
        Column::right("P99 MS"),
        Column::right("OFFERED %"),
        Column::right("HANDLED %"),
    ]);
    for trial in &outcome.trials {
        let held = if trial.held { "yes" } else { "no" };
        let cells = [
            trial.rate.to_string(),
            held.into(),
            format!("{:.3}", trial.p99_ms),
            format!("{:.1}", trial.offered),
            format!("{:.1}", trial.handled),
        ];
        rows.push(cells, style(if trial.held { Word::Met } else { Word::Missed }));
    }
    rows.render()
}

fn latencies(outcome: &Outcome) -> String {
    let mut rows = Rows::new(["MS", "P50", "P95", "P99", "P99.9", "MAX"].map(|head| match head {
        "MS" => Column::left(head),
        _ => Column::right(head),
    }));
    for (name, percentiles) in [
        ("from intended send until handled", outcome.latency_ms),
        ("  of it the generator's own delay", outcome.late_ms),
    ] {
        let Some(Percentiles { p50, p95, p99, p99_9, max }) = percentiles else { continue };
        let [p50, p95, p99, p99_9, max] = [p50, p95, p99, p99_9, max].map(|ms| format!("{ms:.3}"));
        rows.push([name.into(), p50, p95, p99, p99_9, max], Style::new());
    }
    rows.render()
}

fn counts(outcome: &Outcome) -> String {
    let messages = &outcome.messages;
    let errors: String =
        messages.errors.iter().map(|(code, count)| format!(", {count} {code}")).collect();
    let growth = outcome
        .memory_growth
        .map_or(String::new(), |(low, high)| format!(", memory growth {low:.1} to {high:.1} MB/h"));
    format!(
        "{} offered, {} handled{errors}, in {:.1} s: {:.0} msg/s\n\
         CPU {:.1}% of a core, of which the generator took {:.1}{growth}\n",
        messages.offered,
        messages.handled,
        outcome.seconds(),
        outcome.rate(),
        outcome.cpu,
        outcome.generator_cpu
    )
}

fn events(outcome: &Outcome) -> String {
    let lines = outcome.events.iter().map(|event| {
        format!("{:>7.1} s  {}: {}\n", event.at_s, event.happened.subsystem, event.happened.what)
    });
    output::visible(&lines.collect::<String>())
}

fn verdicts(outcome: &Outcome) -> String {
    let mut rows = Rows::new([
        Column::left("FIGURE"),
        Column::left("VERDICT"),
        Column::right("FOUND"),
        Column::right("TARGET"),
        Column::right("ACCEPTABLE"),
        Column::left("BECAUSE"),
    ]);
    for Verdict { figure, verdict, found, target, acceptable, why } in &outcome.verdicts {
        let cells = [(*figure).into(), verdict.text().into(), found.clone(), target.clone()];
        let [figure, word, found, target] = cells;
        rows.push([figure, word, found, target, acceptable.clone(), why.clone()], style(*verdict));
    }
    let debug = match outcome.environment.is_debug_build {
        true => "this is a debug build, whose figures say little: use `cargo run --release`\n",
        false => "",
    };
    rows.render() + debug
}

fn style(word: Word) -> Style {
    let color = match word {
        Word::Met => AnsiColor::Green,
        Word::Acceptable | Word::Undecided => AnsiColor::Yellow,
        Word::Missed => AnsiColor::Red,
    };
    Style::new().fg_color(Some(color.into()))
}
