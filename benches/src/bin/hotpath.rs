//! What a message costs from a handler in one plugin, through the whole host, to a handler in another.
//!
//! `cargo run --release -p mycelia-benches --bin hotpath` prints nanoseconds and instructions a message, and exits 1 when
//! one to a kept recipient takes 170 instructions or more, or any allocates. Messages have 64 bytes: 24 of body in the envelope.

use mycelia_benches::Bench;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, process::ExitCode, time::Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages a burst; they fit into the queue.
const BURST: u64 = 1_000;
/// Bursts a round of the clock.
const BURSTS: u64 = 200;
/// Rounds of the clock; the median counts.
const ROUNDS: usize = 21;
/// Bursts counted under callgrind, once and twice: the difference is theirs alone.
const COUNTED: u64 = 10;
/// Instructions to a kept recipient that are too many.
const LIMIT: f64 = 170.0;

/// A way for a message to go.
struct Journey {
    name: &'static str,
    path: &'static str,
    sink: &'static str,
    is_limited: bool,
}

const JOURNEYS: &[Journey] = &[
    Journey {
        name: "kept recipient, through the outbox",
        path: "pump://kept/1000",
        sink: "sink",
        is_limited: true,
    },
    Journey {
        name: "kept recipient, singly",
        path: "single://kept/1000",
        sink: "direct",
        is_limited: true,
    },
    Journey {
        name: "path text, through the outbox",
        path: "pump://text/1000",
        sink: "sink",
        is_limited: false,
    },
    Journey {
        name: "constant path, through the outbox",
        path: "pump://constant/1000",
        sink: "sink",
        is_limited: true,
    },
    Journey {
        name: "path text, singly",
        path: "single://text/1000",
        sink: "direct",
        is_limited: false,
    },
    Journey {
        name: "ask and reply, kept recipient",
        path: "single://ask/1000",
        sink: "direct",
        is_limited: false,
    },
];

const CONFIG: &str = r#"(
    workers: 1,
    subsystems: {
        "pump": (plugin: "mycelia_pump", grants: ["sink:fill"], config: (to: "sink://swallow")),
        "sink": (plugin: "mycelia_pump", queue: (capacity: 1024, policy: DropOldest), batch: 64),
        "single": (plugin: "mycelia_pump", grants: ["direct:fill"], config: (to: "direct://swallow")),
        "direct": (plugin: "mycelia_pump", queue: (capacity: 1024, policy: Reject), batch: 64),
    },
)"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [] => report(),
        [word, journey, bursts] if word == "--count" => {
            let (journey, bursts) = (journey.parse::<usize>().ok(), bursts.parse::<u64>().ok());
            match journey.and_then(|journey| JOURNEYS.get(journey)).zip(bursts) {
                Some((journey, bursts)) => pump(&still(), journey, bursts),
                None => return usage(),
            }
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: hotpath                        measure every journey\n       hotpath --count JOURNEY BURSTS  run one, to be counted"
    );
    ExitCode::from(2)
}

/// A host whose clock stands still: which batches it times would depend on how fast the machine is.
fn still() -> Bench {
    let bench = Bench::new(CONFIG);
    bench.stop_clock();
    bench
}

fn pump(bench: &Bench, journey: &Journey, bursts: u64) {
    (0..bursts).for_each(|_| bench.run(journey.path));
}

fn report() -> ExitCode {
    let bench = Bench::new(CONFIG);
    println!(
        "{:<36} {:>9} {:>9} {:>13} {:>12}",
        "one thread, 64-byte messages", "ns", "best", "instructions", "allocations"
    );
    let mut failed = false;
    for (index, journey) in JOURNEYS.iter().enumerate() {
        let allocations = allocations(&bench, journey);
        let (median, best) = nanoseconds(&bench, journey);
        let counted = instructions(index);
        let shown = counted.as_ref().map_or_else(|_| "-".into(), |count| format!("{count:.1}"));
        println!("{:<36} {median:>9.1} {best:>9.1} {shown:>13} {allocations:>12.3}", journey.name);
        failed |= allocations > 0.0;
        match counted {
            Ok(count) => failed |= journey.is_limited && count >= LIMIT,
            Err(text) if index == 0 => {
                eprintln!("{text}");
                return ExitCode::from(2);
            }
            Err(_) => {}
        }
    }
    check_ledgers(&bench);
    if failed {
        eprintln!(
            "failed: {LIMIT} instructions or more to a kept recipient, or an allocation in steady state"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Median and best nanoseconds a message.
fn nanoseconds(bench: &Bench, journey: &Journey) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            pump(bench, journey, BURSTS);
            begin.elapsed().as_nanos() as f64 / (BURSTS * BURST) as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS / 2], rounds[0])
}

/// Allocations a message once everything is warm, in the host and in both plugins.
fn allocations(bench: &Bench, journey: &Journey) -> f64 {
    let source = journey.path.split("://").next().unwrap_or_default();
    let counted = || {
        let stats = ALLOCATOR.stats();
        let host = (stats.allocations + stats.reallocations) as f64;
        let plugin =
            |name: &str| bench.ask(&format!("{name}://allocations")).parse().unwrap_or(f64::NAN);
        host + plugin(source) + plugin(journey.sink)
    };
    pump(bench, journey, 10);
    // What the questions themselves allocate is the same between any two of them.
    let (first, second) = (counted(), counted());
    pump(bench, journey, BURSTS);
    let third = counted();
    ((third - second) - (second - first) - bursts_own(bench, journey)).max(0.0)
        / (BURSTS * BURST) as f64
}

/// What sending the operator's message that starts a burst allocates.
fn bursts_own(bench: &Bench, journey: &Journey) -> f64 {
    let empty = journey.path.replace("1000", "0");
    let before = ALLOCATOR.stats();
    (0..BURSTS).for_each(|_| bench.run(&empty));
    let after = ALLOCATOR.stats();
    (after.allocations + after.reallocations - before.allocations - before.reallocations) as f64
}

/// Instructions a message, counted by callgrind in a run of this program.
fn instructions(journey: usize) -> Result<f64, String> {
    let count = |bursts: u64| {
        mycelia_benches::instructions(&["--count", &journey.to_string(), &bursts.to_string()])
    };
    let (once, twice) = (count(COUNTED)?, count(COUNTED * 2)?);
    Ok((twice - once) as f64 / (COUNTED * BURST) as f64)
}

fn check_ledgers(bench: &Bench) {
    for name in ["pump", "sink", "single", "direct"] {
        let ledger = bench.ledger(name);
        assert!(ledger.balances() && ledger.handled == ledger.accepted, "{name}: {ledger:?}");
    }
}
