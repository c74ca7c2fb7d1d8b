//! Thousands of faults in ten of 20 subsystems, and not a count of the others' off by one.
//!
//! `cargo run --release -p mycelia-benches --bin fault-storm -- --faults 10000 --seed 1` prints how many faults of which kind
//! there were, and exits 1 when a request has no outcome, a count differs from what the faults must come to, a budget or a
//! wait of restarts is not kept, a bystander misses a message, a worker or memory of the pool is not back, or memory grows.

use mycelia_benches::storm::mishaps::{self, Mishaps};
use std::process::ExitCode;

const USAGE: &str = "\
usage: fault-storm [--faults N] [--seed N]

Of a thousand faults 420 are errors, 300 panics of handlers and 30 of own threads,
170 floods, 40 leaks, 20 handlers that hang, and 20 calls of `abort` or `exit`;
the last come among the first fifth alone, since each costs a thread for good.";

fn main() -> ExitCode {
    if let Some(code) = mycelia::loader::answer_probe() {
        return code;
    }
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!("seed {}", plan.seed);
    match mishaps::run(plan) {
        Ok(weathered) => {
            print!("{}", weathered.to_text());
            if weathered.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the storm does not begin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<Mishaps> {
    let mut plan = Mishaps { faults: 1_000, seed: 1 };
    while let Some(word) = arguments.next() {
        let value = arguments.next()?;
        match &*word {
            "--faults" => plan.faults = value.parse().ok()?,
            "--seed" => plan.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(plan)
}
