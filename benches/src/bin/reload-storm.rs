//! Thousands of reloads of three plugins under a stream of numbered messages and requests.
//!
//! `cargo run --release -p mycelia-benches --bin reload-storm -- --reloads 10000` prints the phases of a reload, and exits 1
//! when a message is lost or comes twice or out of order, a ledger differs from what was sent, a state breaks off, a build
//! stays in the process, or memory grows. `--bad 1000` mixes in bad builds and damaged files.

use mycelia_benches::storm::{self, Plan};
use std::process::ExitCode;

const USAGE: &str = "usage: reload-storm [--reloads N] [--bad N] [--only counter|threads|store]";

fn main() -> ExitCode {
    if let Some(code) = mycelia::loader::answer_probe() {
        return code;
    }
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match storm::run(plan) {
        Ok(outcome) => {
            print!("{}", outcome.to_text());
            if outcome.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the storm does not begin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan { reloads: 1000, bad: 0, only: None };
    while let Some(word) = arguments.next() {
        let value = arguments.next()?;
        match &*word {
            "--reloads" => plan.reloads = value.parse().ok()?,
            "--bad" => plan.bad = value.parse().ok()?,
            "--only" => {
                let known = ["counter", "threads", "store"];
                plan.only = Some(known.into_iter().find(|known| *known == value)?);
            }
            _ => return None,
        }
    }
    Some(plan)
}
