//! From a handler of one plugin through the whole host to handlers of others, on one thread: how many subsystems, how
//! large their batches, how large the bodies.
//!
//! Every message is in the ledger as handled, and the bytes that came are those that were sent.

mod settings;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use mycelia_benches::{Bench, bare_library};
use std::{cell::LazyCell, fs, time::Duration};
use tempfile::TempDir;

fn main() {
    let mut criterion = settings::criterion();
    subsystems(&mut criterion);
    batch(&mut criterion);
    body(&mut criterion);
    criterion.final_summary();
}

/// Messages that one message of the operator sets off.
const BURST: u64 = 4_096;

/// Bursts before a round robin is measured.
const ROUNDS: u64 = 32;

/// Round robin, by kept recipients and through the outbox: a run of messages to each, and one by one.
fn subsystems(criterion: &mut Criterion) {
    let folder = TempDir::new().expect("there is room for temporary files");
    let library = LazyCell::new(|| pump(&folder));
    for run in [64, 1] {
        let mut group = criterion.benchmark_group(format!("dispatch/subsystems/runs of {run}"));
        group.throughput(Throughput::Elements(BURST));
        for sinks in [1, 5, 50, 1_000] {
            let path = format!("pump://spread/{BURST}/{run}");
            let bench = LazyCell::new(|| {
                let bench = Bench::new(&one_to_many(&library, sinks));
                bench.time(ROUNDS, 1 + BURST, |bench| bench.run(&path));
                bench
            });
            group.bench_function(BenchmarkId::from_parameter(sinks), |bencher| {
                // Before the clock runs, from which it is estimated how often to do it.
                let bench = LazyCell::force(&bench);
                bencher.iter_custom(|times| bench.time(times, 1 + BURST, |bench| bench.run(&path)));
            });
        }
    }
}

/// In a file, without debug information: each subsystem has the bytes of its library in memory.
fn pump(folder: &TempDir) -> String {
    let file = folder.path().join("libpump.so");
    let bytes = bare_library("mycelia_pump").unwrap_or_else(|error| panic!("{error}"));
    fs::write(&file, bytes).expect("there is room for temporary files");
    file.display().to_string()
}

/// Queues with room for twice what comes, and no more, so that [`ROUNDS`] bursts have touched all of their memory.
fn one_to_many(library: &str, sinks: usize) -> String {
    let capacity = (2 * BURST as usize / sinks).max(64);
    let queue = format!("(capacity: {capacity}, policy: DropOldest)");
    let sink = format!("(plugin: {library:?}, queue: {queue}, batch: 64)");
    let grants: String = (0..sinks).map(|number| format!("\"sink{number}:fill\", ")).collect();
    let many: String = (0..sinks).map(|number| format!("\"sink{number}\": {sink}, ")).collect();
    format!(
        r#"(workers: 1, subsystems: {{
            "pump": (plugin: {library:?}, grants: [{grants}], config: (to: "sink{{}}://swallow", sinks: {sinks})),
            {many}
        }})"#
    )
}

/// How many messages the receiver gets in a call; they are sent through the outbox, and one by one.
fn batch(criterion: &mut Criterion) {
    for (name, policy) in [("outbox", "DropOldest"), ("singly", "Reject")] {
        let mut group = criterion.benchmark_group(format!("dispatch/batch/{name}"));
        group.throughput(Throughput::Elements(BURST));
        for batch in [1, 8, 64, 256] {
            let bench = LazyCell::new(move || Bench::new(&one_to_one(policy, batch, "swallow")));
            let path = format!("pump://kept/{BURST}");
            group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
                let bench = LazyCell::force(&bench);
                bencher.iter_custom(|times| bench.time(times, 1 + BURST, |bench| bench.run(&path)));
            });
        }
    }
}

fn one_to_one(policy: &str, batch: usize, route: &str) -> String {
    format!(
        r#"(workers: 1, subsystems: {{
            "pump": (plugin: "mycelia_pump", grants: ["sink:fill"], config: (to: "sink://{route}")),
            "sink": (plugin: "mycelia_pump", queue: (capacity: 8192, policy: {policy}), batch: {batch}),
        }})"#
    )
}

/// Messages of a burst of large bodies: together they stay below what a subsystem may hold of the pool.
const BODIES: u64 = 256;

/// Bytes of a raw body: 24 fit into the envelope, and larger ones take a block of the pool.
fn body(criterion: &mut Criterion) {
    let bench = Bench::new(&one_to_one("DropOldest", 64, "take"));
    let mut group = criterion.benchmark_group("dispatch/body");
    group.throughput(Throughput::Elements(BODIES));
    for bytes in [0, 24, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10] {
        fill(&mut group, &bench, bytes);
    }
}

fn fill(group: &mut BenchmarkGroup<'_, WallTime>, bench: &Bench, bytes: u64) {
    let path = format!("pump://sized/{BODIES}/{bytes}");
    let taken = || bench.ask("sink://swallowed").parse::<u64>().expect("the sink tells its sum");
    group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
        bencher.iter_custom(|times| {
            let before = taken();
            let took: Duration = bench.time(times, 1 + BODIES, |bench| bench.run(&path));
            assert_eq!(taken() - before, times * BODIES * bytes, "bytes are missing");
            took
        });
    });
}
