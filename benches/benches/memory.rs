//! Allocations and bytes a message, in the host and in both plugins, once everything is warm; and resident memory over ten
//! million messages.
//!
//! criterion measures time alone, so this prints a table of its own, and keeps it for the report. It fails when a message, or a request and its reply,
//! allocates, or when memory grows with the messages.

use mycelia::runtime::rss;
use mycelia_benches::{
    Bench, handled, is_test,
    memory::{self, Memory},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, process::ExitCode};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONFIG: &str = r#"(
    workers: 1,
    subsystems: {
        "pump": (plugin: "mycelia_pump", grants: ["sink:fill"], config: (to: "sink://swallow")),
        "sized": (plugin: "mycelia_pump", grants: ["sink:fill"], config: (to: "sink://take")),
        "sink": (plugin: "mycelia_pump", queue: (capacity: 1024, policy: DropOldest), batch: 64),
        "single": (plugin: "mycelia_pump", grants: ["direct:fill"], config: (to: "direct://swallow")),
        "direct": (plugin: "mycelia_pump", queue: (capacity: 1024, policy: Reject), batch: 64),
    },
)"#;

/// What a message takes.
#[derive(Copy, Clone)]
struct Cost {
    allocations: f64,
    bytes: f64,
}

/// Ways for a message to go: the name, and the path before and behind the count.
const JOURNEYS: &[(&str, &str, &str)] = &[
    ("kept recipient, through the outbox", "pump://kept/", ""),
    ("kept recipient, singly", "single://kept/", ""),
    ("path text, through the outbox", "pump://text/", ""),
    ("path text, singly", "single://text/", ""),
    ("request and reply, kept recipient", "single://ask/", ""),
    ("request and reply, path text", "single://asktext/", ""),
    ("body of 0 bytes", "sized://sized/", "/0"),
    ("body of 64 bytes", "sized://sized/", "/64"),
    ("body of 1 KiB", "sized://sized/", "/1024"),
    ("body of 4 KiB", "sized://sized/", "/4096"),
    ("body of 16 KiB", "sized://sized/", "/16384"),
    ("body of 64 KiB", "sized://sized/", "/65536"),
];

fn main() -> ExitCode {
    let bench = Bench::new(CONFIG);
    let mut costs = Vec::new();
    println!("{:<36} {:>12} {:>12}", "once warm, a message", "allocations", "bytes");
    for (name, start, end) in JOURNEYS {
        let cost = cost(&bench, start, end);
        println!("{name:<36} {:>12.3} {:>12.1}", cost.allocations, cost.bytes);
        let Cost { allocations, bytes } = cost;
        costs.push(memory::Cost { name: (*name).into(), allocations, bytes });
    }
    println!("\n{:<36} {:>12} {:>12}", "resident memory", "MiB", "grown, KiB");
    let found = grown(&bench, costs);
    if !is_test() {
        found.keep().unwrap_or_else(|error| eprintln!("not kept for the report: {error}"));
    }
    if found.grown > NO_GROWTH || found.costs.iter().any(|cost| cost.allocations != 0.0) {
        eprintln!("failed: a message allocates, or memory grows with them");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Bursts that are counted.
fn bursts() -> u64 {
    if is_test() { 2 } else { 100 }
}

/// The median of three: a thread of the host that has just started allocates once, at its own time.
fn cost(bench: &Bench, start: &str, end: &str) -> Cost {
    // What is met for the first time is kept in caches and buffers.
    counted(bench, &format!("{start}400{end}"), 400);
    let mut costs: [Cost; 3] = std::array::from_fn(|_| difference(bench, start, end));
    costs.sort_by(|one, other| one.allocations.total_cmp(&other.allocations));
    costs[1]
}

/// The difference between bursts of 200 messages and of 400, whose largest bodies stay below what a subsystem may hold of
/// the pool: what sets a burst off, and what is asked of the plugins, is the same in both.
fn difference(bench: &Bench, start: &str, end: &str) -> Cost {
    let few = counted(bench, &format!("{start}200{end}"), 200);
    let many = counted(bench, &format!("{start}400{end}"), 400);
    let messages = (bursts() * 200) as f64;
    Cost {
        allocations: (many.allocations - few.allocations) / messages,
        bytes: (many.bytes - few.bytes) / messages,
    }
}

/// What bursts of a path allocate, with a constant for asking.
fn counted(bench: &Bench, path: &str, messages: u64) -> Cost {
    let before = allocated(bench);
    burst(bench, path, bursts(), messages);
    let after = allocated(bench);
    Cost { allocations: after.allocations - before.allocations, bytes: after.bytes - before.bytes }
}

fn burst(bench: &Bench, path: &str, times: u64, messages: u64) {
    bench.time(times, 1 + messages, |bench| bench.run(path));
}

/// All that was ever allocated.
fn allocated(bench: &Bench) -> Cost {
    let plugins = |route: &str| -> f64 {
        let names = bench.runtime().subsystems().map(|slot| &slot.name);
        let asked = names.map(|name| bench.ask(&format!("{name}://{route}")));
        asked.map(|told| told.parse::<f64>().expect("a plugin tells a number")).sum()
    };
    let (allocations, bytes) = (plugins("allocations"), plugins("allocated"));
    let host = ALLOCATOR.stats();
    Cost {
        allocations: allocations + (host.allocations + host.reallocations) as f64,
        bytes: bytes + host.bytes_allocated as f64,
    }
}

/// Less than this is the system's own bookkeeping.
const NO_GROWTH: u64 = 1 << 20;

/// With what memory grows by over ten million messages to a kept recipient.
fn grown(bench: &Bench, costs: Vec<memory::Cost>) -> Memory {
    let all = if is_test() { 100_000 } else { 10_000_000 };
    burst(bench, "pump://kept/1000", all / 100_000, 1_000);
    let (begin, before) = (rss(), handled(bench.runtime()));
    let (mut grown, mut messages) = (0, 0);
    for share in 1..=10 {
        burst(bench, "pump://kept/1000", all / 10_000, 1_000);
        grown = rss().saturating_sub(begin);
        if matches!(share, 1 | 10) {
            messages = handled(bench.runtime()) - before;
            let mib = (begin + grown) as f64 / f64::from(1 << 20);
            println!("after {messages:<30} {mib:>12.1} {:>12}", grown / 1_024);
        }
    }
    Memory { costs, messages, resident: begin + grown, grown }
}
