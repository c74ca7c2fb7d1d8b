//! Truncated and flipped libraries through `inspect`, the loading ladder and the reload of a running host.
//!
//! `cargo run --release -p mycelia-benches --bin broken-libraries -- --count 100000 --seed 1` prints at which step they are
//! turned away, and exits 1 when one is served, anything of one is left, the host stops serving, or memory grows. A host that
//! one of them ends is the end of this process.

use mycelia_benches::storm::broken::{self, Breakage};
use std::process::ExitCode;

const USAGE: &str = "usage: broken-libraries [--count N] [--seed N]";

fn main() -> ExitCode {
    if let Some(code) = mycelia::loader::answer_probe() {
        return code;
    }
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match broken::run(plan) {
        Ok(broken) => {
            print!("{}", broken.to_text());
            if broken.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("it does not begin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<Breakage> {
    let mut plan = Breakage { count: 1000, seed: 1 };
    while let Some(word) = arguments.next() {
        let value = arguments.next()?;
        match &*word {
            "--count" => plan.count = value.parse().ok()?,
            "--seed" => plan.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(plan)
}
