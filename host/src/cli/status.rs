//! `status`: a running host at a glance.

use super::exit::Failure;
use super::output::{self, visible};
use super::reach::Reach;
use crate::config::amounts::show_duration;
use crate::letters::LettersStatus;
use crate::status::{Phase, ReloadsStatus, Status, SubsystemStatus};
use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use std::time::Duration;

/// Columns of a terminal that sentences are fit for.
const WIDTH: usize = 80;

/// `mycelia status`.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Print the host's own JSON, with everything it tells.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Show {
    pub fn execute(&self) -> Result<(), Failure> {
        let json = self.reach.client()?.status()?;
        if self.json {
            return output::json(&json);
        }
        let status: Status = serde_json::from_slice(&json).map_err(|error| {
            Failure::failed(format!("{} tells no status: {error}", self.reach.control))
        })?;
        output::styled(&table(&status))
    }
}

/// The status as aligned text, with ANSI styles.
pub fn table(status: &Status) -> String {
    let parts = [
        summary(status),
        states(status),
        counts(status),
        reloads(status),
        metrics(status),
        errors(status),
        letters(status),
        retained(status),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

const CONFIG_CHANGED: &str = "the config file has changed since; restart the host to take it up\n";

fn summary(status: &Status) -> String {
    let phases = [
        Phase::Starting,
        Phase::Running,
        Phase::Reloading,
        Phase::Restarting,
        Phase::Stopping,
        Phase::Stopped,
    ];
    let count = |phase| status.subsystems.values().filter(|one| one.phase == phase).count() as u64;
    let counted = counted(phases.map(|phase| (count(phase), phase.word())));
    let subsystems = if counted.is_empty() { "none".into() } else { counted };
    let up = show_seconds(status.uptime_s);
    let memory = show_memory(status.memory_rss_bytes);
    let config = if status.config_changed { CONFIG_CHANGED } else { "" };
    let workers = status.workers;
    let lost = match status.lost_threads {
        0 => String::new(),
        lost => format!(" (and {lost} lost)"),
    };
    format!(
        "up {up}, workers: {workers}{lost}, memory: {memory}, subsystems: {subsystems}\n{config}"
    )
}

fn states(status: &Status) -> String {
    let mut rows = Rows::new([
        Column::left("SUBSYSTEM"),
        Column::left("PHASE"),
        Column::left("PLUGIN"),
        Column::right("GENERATION"),
        Column::right("RESTARTS"),
        Column::right("QUEUE"),
        Column::left("POLICY"),
    ]);
    for (name, one) in &status.subsystems {
        let queue = format!("{}/{}", one.queue.depth, one.queue.capacity);
        let plugin = format!("{} {}", one.plugin, one.version);
        let numbers = [u64::from(one.generation), one.restarts].map(|number| number.to_string());
        let [generation, restarts] = numbers;
        let phase = one.phase.word().into();
        let policy = one.queue.policy.clone();
        let cells = [name.clone(), phase, plugin, generation, restarts, queue, policy];
        rows.push(cells, phase_style(one));
    }
    rows.render()
}

fn counts(status: &Status) -> String {
    let mut rows = Rows::new([
        Column::left("SUBSYSTEM"),
        Column::right("ACCEPTED"),
        Column::right("HANDLED"),
        Column::right("FAILED"),
        Column::right("DROPPED"),
        Column::right("EXPIRED"),
        Column::right("DEAD"),
        Column::right("REJECTED"),
        Column::right("DENIED"),
    ]);
    for (name, one) in &status.subsystems {
        let ledger = &one.ledger;
        let dropped = ledger.dropped_oldest + ledger.dropped_newest;
        let [accepted, handled, failed, dropped, expired, dead, rejected, denied] = [
            ledger.accepted,
            ledger.handled,
            ledger.failed,
            dropped,
            ledger.expired,
            ledger.dead,
            ledger.rejected,
            ledger.denied,
        ]
        .map(|count| count.to_string());
        let name = name.clone();
        let cells = [name, accepted, handled, failed, dropped, expired, dead, rejected, denied];
        rows.push(cells, Style::new());
    }
    rows.render()
}

fn reloads(status: &Status) -> String {
    let reloaded = status.subsystems.iter().filter_map(|(name, one)| {
        let ReloadsStatus { committed, refused, rolled_back } = one.reloads;
        let counted =
            counted([(committed, "committed"), (refused, "refused"), (rolled_back, "rolled back")]);
        (!counted.is_empty()).then(|| format!("  {}: {counted}\n", visible(name)))
    });
    headed("RELOADS", reloaded)
}

/// What the plugins count by themselves.
fn metrics(status: &Status) -> String {
    let counted = status.subsystems.iter().filter(|(_, one)| !one.metrics.is_empty());
    let counted = counted.map(|(name, one)| {
        let counts = one.metrics.iter().map(|(name, count)| format!("{count} {name}"));
        wrap(&format!("  {name}: "), &counts.collect::<Vec<_>>().join(", "))
    });
    headed("METRICS", counted)
}

fn errors(status: &Status) -> String {
    let failed = status.subsystems.iter().filter_map(|(name, one)| {
        let error = one.last_error.as_deref()?;
        Some(wrap(&format!("  {name}: "), error))
    });
    headed("LAST ERRORS", failed)
}

fn letters(status: &Status) -> String {
    let LettersStatus { kept, let_go, subsystems, .. } = &status.dead_letters;
    let total = counted([(*kept, "kept"), (*let_go, "let go for want of room")]);
    let total = (!total.is_empty()).then(|| format!("  {total}\n"));
    let of_each = subsystems.iter().map(|(name, reasons)| {
        let reasons = reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
        format!("  {}: {}\n", visible(name), reasons.collect::<Vec<_>>().join(", "))
    });
    headed("DEAD LETTERS", total.into_iter().chain(of_each))
}

fn retained(status: &Status) -> String {
    let retained = status.retained_generations.iter().map(|one| {
        let head = format!("  {} {} {}: ", one.subsystem, one.generation, one.phase);
        wrap(&head, &one.reason)
    });
    headed("GENERATIONS NOT YET UNLOADED", retained)
}

/// Those that there are.
fn counted<const N: usize>(counts: [(u64, &str); N]) -> String {
    let some = counts.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn headed(head: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.collect();
    let bold = Style::new().bold();
    if lines.is_empty() { lines } else { format!("{bold}{head}{bold:#}\n{lines}") }
}

/// Words after a head, in lines that fit, the further ones indented.
fn wrap(head: &str, text: &str) -> String {
    let mut lines = visible(head);
    let mut column = lines.chars().count();
    let mut is_first = true;
    for word in visible(text).split_whitespace() {
        let length = word.chars().count();
        if !is_first && column + 1 + length > WIDTH {
            lines += "\n    ";
            column = 4;
        } else if !is_first {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += length;
        is_first = false;
    }
    lines + "\n"
}

fn phase_style(one: &SubsystemStatus) -> Style {
    let color = match one.phase {
        Phase::Running => AnsiColor::Green,
        Phase::Starting | Phase::Reloading | Phase::Restarting => AnsiColor::Yellow,
        Phase::Stopping | Phase::Stopped => AnsiColor::Red,
    };
    Style::new().fg_color(Some(color.into()))
}

pub(super) fn show_seconds(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let [whole, minute, hour, day] = [duration.as_secs(), 60, 3600, 86_400];
    match whole {
        ..60 => show_duration(Duration::from_secs(whole)),
        60..3600 => format!("{}m {}s", whole / minute, whole % minute),
        3600..86_400 => format!("{}h {}m", whole / hour, whole % hour / minute),
        _ => format!("{}d {}h", whole / day, whole % day / hour),
    }
}

fn show_memory(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(super) struct Column {
    head: &'static str,
    is_right: bool,
}

impl Column {
    pub fn left(head: &'static str) -> Self {
        Self { head, is_right: false }
    }

    pub fn right(head: &'static str) -> Self {
        Self { head, is_right: true }
    }
}

/// A table whose second column is styled by row.
pub(super) struct Rows<const N: usize> {
    columns: [Column; N],
    rows: Vec<([String; N], Style)>,
}

impl<const N: usize> Rows<N> {
    pub fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub fn push(&mut self, cells: [String; N], style: Style) {
        self.rows.push((cells.map(|cell| visible(&cell)), style));
    }

    /// Nothing without rows.
    pub fn render(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let bold = Style::new().bold();
        let heads = self.columns.each_ref().map(|column| column.head.to_owned());
        let mut text = self.line(&heads, [bold; N]);
        for (cells, style) in &self.rows {
            let styles = std::array::from_fn(|at| if at == 1 { *style } else { Style::new() });
            text += &self.line(cells, styles);
        }
        text
    }

    fn line(&self, cells: &[String; N], styles: [Style; N]) -> String {
        let cells = (0..N).map(|at| {
            let (cell, style) = (&cells[at], styles[at]);
            let fill = " ".repeat(self.width(at) - cell.chars().count());
            match self.columns[at].is_right {
                true => format!("{fill}{style}{cell}{style:#}"),
                false if at + 1 == N => format!("{style}{cell}{style:#}"),
                false => format!("{style}{cell}{style:#}{fill}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|(cells, _)| cells[at].chars().count());
        cells.chain([self.columns[at].head.len()]).max().unwrap_or(0)
    }
}
