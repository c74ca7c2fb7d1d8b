//! The texts that can be read in `mycelia top`: the keys, all about one subsystem, and a dead letter.

use super::{
    state::{Reading, State},
    text::{self, time},
};
use crate::{
    cli::status::show_seconds, figures::Percentiles, letters::ToldLetter, status::SubsystemStatus,
};
use std::fmt::Write;

/// Bytes of a body that are shown; a screen is no place for more.
const BODY: usize = 64 << 10;

const HELP: &str = "\
KEYS OF THE TABLE
  up down, k j        select a subsystem; also PgUp PgDn Home End
  s  >  <             sort by the next column, or the one before
  r                   reverse the order
  /                   show only names with a part; Esc shows all again
  R                   reload the selected subsystem: its new build takes over
  X                   restart it, after a question: what it holds is lost
  d                   its dead letters
  Enter               all about it, with the last error in full
  Space               pause, and go on
  q  Ctrl-C           leave

KEYS OF DEAD LETTERS
  Enter               read one with its body
  p                   send it again, as a new message of its sender
  Esc                 back

WHAT IS SHOWN
  MSG/S  HANDLED/S    messages handled a second
  ERR/S  ERRORS/S     messages that failed, expired or died, a second
  DROP/S DROPPED/S    messages that a full queue dropped, a second
  refused             messages given back: no room, or no scope
  QUEUE               messages that wait, of how many may
  P99 WAIT            99% waited shorter in the queue, of the last 10 s
  HANDLER             99% were handled faster, of the last 10 s
  RST    RESTARTS     restarts after a fault
  DEAD                dead letters that are kept
  MEMORY              what the plugin's own heap holds
  cpu                 cores that the host uses

Times of day are UTC, as in the log.
NO_COLOR leaves colours out; `mycelia status --json` is for programs.";

impl State {
    pub(super) fn title(&self, reading: &Reading) -> String {
        match reading {
            Reading::Help => "help".into(),
            Reading::Subsystem(name) => text::on_one_line(name),
            Reading::Letter(letter) => format!("dead letter {}", letter.id),
        }
    }

    pub(super) fn text(&self, reading: &Reading) -> String {
        match reading {
            Reading::Help => HELP.into(),
            Reading::Subsystem(name) => self.about(name),
            Reading::Letter(letter) => told(letter, self.seen().figures.time_ms),
        }
    }

    fn about(&self, name: &str) -> String {
        let seen = self.seen();
        let Some(one) = seen.figures.status.subsystems.get(name) else {
            return format!("there is no subsystem {name} any more");
        };
        let flow = seen.figures.subsystems.get(name).copied().unwrap_or_default();
        let times = [("routing", flow.routing), ("wait", flow.wait), ("handler", flow.handle)];
        let mut text = facts(one);
        for (name, times) in times {
            let _ = writeln!(text, "{name:<11} {}", percentiles(times));
        }
        text + &self.troubles(name, one)
    }

    fn troubles(&self, name: &str, one: &SubsystemStatus) -> String {
        let seen = self.seen();
        let mut text = String::new();
        let letters = seen.figures.status.dead_letters.subsystems.get(name);
        let reasons = letters.into_iter().flatten();
        let reasons: Vec<String> = reasons.map(|(why, count)| format!("{count} {why}")).collect();
        let letters = if reasons.is_empty() { "none".into() } else { reasons.join(", ") };
        let _ = writeln!(text, "dead        {letters}");
        for retained in &seen.figures.status.retained_generations {
            if retained.subsystem == name {
                let (generation, why) = (retained.generation, &retained.reason);
                let _ = writeln!(text, "\ngeneration {generation} is not yet unloaded: {why}");
            }
        }
        let error = one.last_error.as_deref().unwrap_or("none");
        text + &format!("\nlast error: {error}\n")
    }
}

fn facts(one: &SubsystemStatus) -> String {
    let SubsystemStatus { ledger, requests, reloads, queue, .. } = one;
    let dropped = ledger.dropped_oldest + ledger.dropped_newest;
    let hash = &one.hash[..one.hash.len().min(12)];
    let mut text = String::new();
    let mut line = |name: &str, told: String| {
        let _ = writeln!(text, "{name:<11} {told}");
    };
    line("plugin", format!("{} {}, build {hash}", one.plugin, one.version));
    line("phase", format!("{}, generation {}", one.phase.word(), one.generation));
    line("queue", format!("{} of {}, {}", queue.depth, queue.capacity, queue.policy));
    line(
        "messages",
        format!(
            "{} accepted: {} handled, {} failed, {dropped} dropped, {} expired, {} dead",
            ledger.accepted, ledger.handled, ledger.failed, ledger.expired, ledger.dead
        ),
    );
    line("given back", format!("{} rejected, {} denied", ledger.rejected, ledger.denied));
    line(
        "requests",
        format!(
            "{} asked: {} answered, {} failed, {} timed out, {} cancelled, {} pending",
            requests.asked,
            requests.answered,
            requests.failed,
            requests.timed_out,
            requests.cancelled,
            requests.pending
        ),
    );
    line("events", format!("{} published", one.published));
    line(
        "reloads",
        format!(
            "{} committed, {} refused, {} rolled back",
            reloads.committed, reloads.refused, reloads.rolled_back
        ),
    );
    line(
        "restarts",
        format!("{}; {} handlers hung, {} threads lost", one.restarts, one.hung, one.lost_threads),
    );
    line("memory", text::size(one.memory));
    for (name, count) in &one.metrics {
        line("metric", format!("{name} {count}"));
    }
    text
}

fn percentiles(times: Option<Percentiles>) -> String {
    times.map_or("-".into(), |Percentiles { p50, p95, p99 }| {
        format!("p50 {}, p95 {}, p99 {}", time(p50), time(p95), time(p99))
    })
}

fn told(letter: &ToldLetter, now_ms: u64) -> String {
    let ToldLetter { id, path, route, sender, reason, text, encoding, length, .. } = letter;
    let age = age(letter, now_ms);
    let body = letter.body_text.as_ref().or(letter.body_hex.as_ref());
    let body = body.map_or("", String::as_str);
    let shown = &body[..body.floor_char_boundary(BODY)];
    let rest = match body.len() - shown.len() {
        0 => String::new(),
        _ => format!("\n… `mycelia dead-letters show {id}` prints all of it"),
    };
    format!(
        "path        {path}\nroute       {route}\nsender      {sender}\nage         {age}\n\
         reason      {reason}\nerror       {text}\n\nbody: {length} bytes, {encoding}\n\n{shown}{rest}"
    )
}

/// How old a letter is by the clock of its host.
pub(super) fn age(letter: &ToldLetter, now_ms: u64) -> String {
    show_seconds(now_ms.saturating_sub(letter.time_ms) as f64 / 1000.0)
}
