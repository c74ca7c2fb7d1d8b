//! `dead-letters`: the messages that could not be handled, to look at, to send again and to throw away.

use super::exit::{Exit, Failure};
use super::output::{self, visible};
use super::reach::Reach;
use super::status::{Column, Rows, show_seconds};
use crate::config::amounts::parse_duration;
use crate::letters::{Filter, Reason, ReplayReport, ToldLetter, now_ms};
use clap::builder::styling::Style;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// `mycelia dead-letters`.
#[derive(Args, Debug)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them, the oldest first.
    List(List),
    /// Show one with its body.
    Show(Show),
    /// Send them again, each as a new message of its sender, as it may send today.
    Replay(Replay),
    /// Throw them away: all that fit, or all there are.
    Purge(Purge),
}

#[derive(Args, Debug)]
struct Which {
    /// Only those of this subsystem.
    #[arg(long, value_name = "NAME")]
    subsystem: Option<String>,

    /// Only those of this route, as its pattern has it, such as put/{key}.
    #[arg(long, value_name = "PATTERN")]
    route: Option<String>,

    /// Only those with this reason: expired, failed, panicked, no_route, gone,
    /// shutdown or hung.
    #[arg(long, verbatim_doc_comment)]
    reason: Option<Reason>,

    /// Only those that are at least this old, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    age: Option<Duration>,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    which: Which,

    /// Only the newest of them, so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Print the host's own JSON, with everything but the bodies.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
struct Show {
    /// The number of the letter.
    id: u64,

    /// Print it as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

/// Sending again by mistake is worse than saying it twice, so that all have to be asked for.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// The numbers of the letters.
    #[arg(value_name = "ID")]
    ids: Vec<u64>,

    /// All that fit.
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
struct Replay {
    #[command(flatten)]
    chosen: Chosen,

    #[command(flatten)]
    which: Which,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
struct Purge {
    /// The numbers of the letters.
    #[arg(value_name = "ID")]
    ids: Vec<u64>,

    #[command(flatten)]
    which: Which,

    /// Print how many as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl DeadLetters {
    pub fn execute(&self) -> Result<(), Failure> {
        match &self.action {
            Action::List(list) => list.execute(),
            Action::Show(show) => show.execute(),
            Action::Replay(replay) => replay.execute(),
            Action::Purge(purge) => purge.execute(),
        }
    }
}

impl Which {
    fn filter(&self, ids: &[u64]) -> Filter {
        Filter {
            ids: ids.to_vec(),
            subsystem: self.subsystem.clone(),
            route: self.route.clone(),
            reason: self.reason,
            age: self.age,
        }
    }
}

impl List {
    fn execute(&self) -> Result<(), Failure> {
        let (client, filter) = (self.reach.client()?, self.which.filter(&[]));
        let json = match self.limit {
            Some(limit) => client.newest_dead_letters(&filter, limit)?,
            None => client.dead_letters(&filter)?,
        };
        if self.json {
            return output::json(&json);
        }
        #[derive(Deserialize)]
        struct Listed {
            letters: Vec<ToldLetter>,
        }
        let Listed { letters } = read(&json, &self.reach)?;
        if letters.is_empty() {
            output::note("no dead letters");
        }
        output::styled(&table(&letters, now_ms()))
    }
}

impl Show {
    fn execute(&self) -> Result<(), Failure> {
        let json = self.reach.client()?.dead_letter(self.id)?;
        if self.json {
            return output::json(&json);
        }
        let letter: ToldLetter = read(&json, &self.reach)?;
        output::note(&visible(&head(&letter, now_ms())));
        output::data_line(letter.body_text.or(letter.body_hex).unwrap_or_default().as_bytes())
    }
}

impl Replay {
    fn execute(&self) -> Result<(), Failure> {
        let json = self.reach.client()?.replay(&self.which.filter(&self.chosen.ids))?;
        let report: ReplayReport = read(&json, &self.reach)?;
        if self.json {
            output::json(&json)?;
        } else {
            output::note(&format!("sent again: {}", report.replayed.len()));
            for refused in &report.refused {
                output::error(&format!("{}: {}: {}", refused.id, refused.error, refused.text));
            }
        }
        if report.refused.is_empty() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
    }
}

impl Purge {
    fn execute(&self) -> Result<(), Failure> {
        let json = self.reach.client()?.purge(&self.which.filter(&self.ids))?;
        if self.json {
            return output::json(&json);
        }
        #[derive(Deserialize)]
        struct Purged {
            purged: u64,
        }
        let Purged { purged } = read(&json, &self.reach)?;
        output::note(&format!("thrown away: {purged}"));
        Ok(())
    }
}

fn read<T: DeserializeOwned>(json: &[u8], reach: &Reach) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        Failure::failed(format!("{} tells of no dead letters: {error}", reach.control))
    })
}

fn table(letters: &[ToldLetter], now_ms: u64) -> String {
    let mut rows = Rows::new([
        Column::right("ID"),
        Column::left("REASON"),
        Column::right("AGE"),
        Column::left("SENDER"),
        Column::right("BYTES"),
        Column::left("PATH"),
        Column::left("ERROR"),
    ]);
    for letter in letters {
        let [id, length] = [letter.id, letter.length].map(|number| number.to_string());
        let (reason, age) = (letter.reason.word().into(), age(letter, now_ms));
        let (sender, path) = (letter.sender.clone(), letter.path.clone());
        let text = letter.text.replace('\n', " ");
        rows.push([id, reason, age, sender, length, path, text], Style::new());
    }
    rows.render()
}

/// What is known of a letter beside its body.
fn head(letter: &ToldLetter, now_ms: u64) -> String {
    let ToldLetter { id, path, sender, reason, text, encoding, length, route, .. } = letter;
    let age = age(letter, now_ms);
    format!(
        "dead letter {id}, {age} old\n  path: {path}\n  route: {route}\n  sender: {sender}\n  reason: {reason}: {text}\n  body: {length} bytes, {encoding}"
    )
}

fn age(letter: &ToldLetter, now_ms: u64) -> String {
    show_seconds(now_ms.saturating_sub(letter.time_ms) as f64 / 1000.0)
}
