//! A host that is killed with SIGKILL under load, and started again on the same files.
//!
//! `cargo run --release -p mycelia-benches --bin kill-storm -- --kills 100 --seed 1` exits 1 when a put that was answered is
//! not in the database after a kill, the dead letters cannot be read or have gone back, or a start is not clean.

use mycelia_benches::storm::kills;
use std::process::ExitCode;

const USAGE: &str = "usage: kill-storm [--kills N] [--seed N]";

fn main() -> ExitCode {
    if let Some(code) = mycelia::loader::answer_probe() {
        return code;
    }
    kills::answer();
    let Some((kills, seed)) = plan(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match std::env::current_exe().and_then(|own| kills::run(&own, kills, seed)) {
        Ok(killed) => {
            print!("{}", killed.to_text());
            if killed.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("it does not begin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<(u32, u64)> {
    let (mut kills, mut seed) = (10, 1);
    while let Some(word) = arguments.next() {
        let value = arguments.next()?;
        match &*word {
            "--kills" => kills = value.parse().ok()?,
            "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((kills, seed))
}
