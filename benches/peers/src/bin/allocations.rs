//! Allocations a message in steady state, in the host and in both plugins: a line for each case, `name<tab>count`.

use mycelia_benches::Bench;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What sends a burst of so many messages, and the policy of who receives it.
const CASES: &[(&str, &str, &str)] = &[
    ("24 bytes, outbox", "oldest", "large/{}/24"),
    ("24 bytes, singly", "reject", "large/{}/24"),
    ("64 bytes, outbox", "oldest", "large/{}/64"),
    ("1 KiB, outbox", "oldest", "large/{}/1024"),
    ("4 KiB, outbox", "oldest", "large/{}/4096"),
    ("4 KiB, singly", "reject", "large/{}/4096"),
    ("request and reply", "ask", "ask/{}"),
];
const CONFIG: &str = r#"(workers: 1, subsystems: {
    "oldest": (plugin: "mycelia_pump", grants: ["to_oldest:fill"], config: (to: "to_oldest://swallow/raw")),
    "to_oldest": (plugin: "mycelia_pump", queue: (policy: DropOldest)),
    "reject": (plugin: "mycelia_pump", grants: ["to_reject:fill"], config: (to: "to_reject://swallow/raw")),
    "to_reject": (plugin: "mycelia_pump", queue: (policy: Reject)),
    "ask": (plugin: "mycelia_pump", grants: ["to_ask:fill"], config: (to: "to_ask://swallow")),
    "to_ask": (plugin: "mycelia_pump", queue: (policy: Reject)),
})"#;
const BURSTS: u64 = 100;
const BURST: u64 = 1_000;

fn main() {
    let bench = Bench::new(CONFIG);
    for (name, source, route) in CASES {
        // As long as each other, so that resolving them takes the same.
        let path =
            |count: u64| format!("{source}://{}", route.replace("{}", &format!("{count:04}")));
        // The least of three: what the host allocates now and then is not a message's.
        let count = || allocations(&bench, source, &path(BURST), &path(0));
        println!("{name}\t{}", count().min(count()).min(count()));
    }
    for ledger in bench.ledgers() {
        assert!(ledger.balances() && ledger.handled == ledger.accepted, "{ledger:?}");
    }
}

/// Of `path` a message, beyond what the same number of empty bursts takes.
fn allocations(bench: &Bench, source: &str, path: &str, empty: &str) -> f64 {
    (0..10).for_each(|_| bench.run(path));
    let _warms_the_questions_up = counted(bench, source);
    let before = counted(bench, source);
    (0..BURSTS).for_each(|_| bench.run(empty));
    let between = counted(bench, source);
    (0..BURSTS).for_each(|_| bench.run(path));
    let after = counted(bench, source);
    ((after - between) - (between - before)) / (BURSTS * BURST) as f64
}

/// Allocations so far, in the host and in both plugins; the questions themselves take the same each time.
fn counted(bench: &Bench, source: &str) -> f64 {
    let plugin = |name: &str| -> f64 {
        bench.ask(&format!("{name}://allocations")).parse().expect("a number")
    };
    let plugins = plugin(source) + plugin(&format!("to_{source}"));
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as f64 + plugins
}
