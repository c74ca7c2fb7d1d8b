//! Mycelia beside its peers: every row of the table in one run, with target, figure, verdict, spread and machine.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` exits 1 when a row misses.

mod across;
mod actix;
mod counts;
mod harness;
mod kameo;
mod kernel;
mod matchit;
mod nats;
mod queues;
mod ractor;
mod rows;
mod tokio_mpsc;
mod us;
mod wasm;

use harness::{Line, Verdict};
use rows::ROWS;
use std::{fs, process::Command, process::ExitCode, thread};

/// Messages of a burst on one thread; they fit into a queue of 1,024.
const BURST: u64 = 1_000;
/// Requests of a burst.
const ASKS: u64 = 1_000;
/// A message of a peer, 64 bytes; ours have as many, of which 24 are the body.
const MESSAGE: [u64; 8] = [1; 8];

const INSTRUCTIONS: &str = "instructions";
const ALLOCATIONS: &str = "allocations";

/// What to measure.
struct Plan {
    row: Option<String>,
    rounds: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, case, bursts] = &arguments[..]
        && word == "--count"
    {
        let counted = bursts.parse().map_err(|_| "the number of bursts is none".to_owned());
        return match counted.and_then(|bursts| counts::run(case, bursts)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => usage(&why),
        };
    }
    match plan(&arguments) {
        Ok(plan) => report(&plan),
        Err(why) => usage(&why),
    }
}

fn usage(why: &str) -> ExitCode {
    let names: Vec<&str> = names().collect();
    eprintln!("{why}\nusage: mycelia-peers [--row NAME] [--rounds N]\nrows: {}", names.join(", "));
    ExitCode::from(2)
}

fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name).chain([INSTRUCTIONS, ALLOCATIONS])
}

fn plan(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan { row: None, rounds: 11 };
    for pair in arguments.chunks(2) {
        match pair {
            [word, name] if word == "--row" => plan.row = Some(name.clone()),
            [word, rounds] if word == "--rounds" => {
                let rounds = rounds.parse().ok().filter(|rounds| *rounds > 0);
                plan.rounds = rounds.ok_or("`--rounds` takes a number, 1 at least")?;
            }
            _ => return Err(format!("`{}` is none of the options", pair.join(" "))),
        }
    }
    match &plan.row {
        Some(name) if !names().any(|one| one == name) => Err(format!("there is no row `{name}`")),
        _ => Ok(plan),
    }
}

fn report(plan: &Plan) -> ExitCode {
    println!("{}\n", machine());
    let is_wanted = |name: &str| plan.row.as_deref().is_none_or(|row| row == name);
    let mut table = Vec::new();
    for row in ROWS.iter().filter(|row| is_wanted(row.name)) {
        println!("{}: {}", row.name, row.title);
        table.extend(named(row.name, harness::measure(row, plan.rounds)));
    }
    if is_wanted(ALLOCATIONS) {
        println!("{ALLOCATIONS}: a message in steady state, in the host and both plugins");
        table.extend(named(ALLOCATIONS, counts::allocations()));
    }
    if is_wanted(INSTRUCTIONS) {
        println!("{INSTRUCTIONS}: a message, one thread, by callgrind");
        table.extend(named(INSTRUCTIONS, counts::instructions()));
    }
    print_table(&table);
    let missed = table.iter().filter(|(_, line)| line.verdict == Verdict::Miss).count();
    match missed {
        0 => ExitCode::SUCCESS,
        _ => {
            println!("\n{missed} missed");
            ExitCode::FAILURE
        }
    }
}

fn named(name: &'static str, lines: Vec<Line>) -> impl Iterator<Item = (&'static str, Line)> {
    lines.into_iter().map(move |line| (name, line))
}

fn print_table(table: &[(&str, Line)]) {
    println!("\n| row | target | figure | spread | verdict |\n|---|---|---:|---:|---|");
    for (row, Line { target, figure, spread, verdict }) in table {
        let verdict = match verdict {
            Verdict::Pass => "pass",
            Verdict::Miss => "MISS",
            Verdict::Reported => "reported",
            Verdict::Skipped => "skipped",
        };
        println!("| {row} | {target} | {figure} | {spread} | {verdict} |");
    }
}

/// The processor, its cores as this program sees them, and the compiler.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "rustc -".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!("{}, {cores} cores, {rustc}", model.unwrap_or("an unknown processor"))
}
