//! A request and its reply: between plugins to a kept recipient and by the text of a path, by the operator, and across threads.
//!
//! Every request is counted as answered by who asked, and as handled by who was asked.

mod settings;

use criterion::{Criterion, Throughput};
use mycelia_benches::{Bench, serving::Serving};
use std::{
    hint,
    sync::mpsc::TryRecvError,
    time::{Duration, Instant},
};

/// Requests in one handler; so many may be open at once, and no more.
const BURST: u64 = 1_000;

const CONFIG: &str = r#"(workers: 1, subsystems: {
    "pump": (plugin: "mycelia_pump", grants: ["sink:fill"], config: (to: "sink://swallow")),
    "sink": (plugin: "mycelia_pump", queue: (capacity: 1024, policy: Reject), batch: 64),
})"#;

fn main() {
    let mut criterion = settings::criterion();
    one_thread(&mut criterion);
    threads(&mut criterion);
    criterion.final_summary();
}

fn one_thread(criterion: &mut Criterion) {
    let bench = Bench::new(CONFIG);
    let mut group = criterion.benchmark_group("ask");
    group.bench_function("operator", |bencher| {
        bencher.iter_custom(|times| {
            bench.time(times, 1, |bench| assert_eq!(bench.ask("sink://swallowed"), "0"))
        });
    });
    group.throughput(Throughput::Elements(BURST));
    for (name, path) in [("kept", "pump://ask/1000"), ("text", "pump://asktext/1000")] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| answered(&bench, times, path));
        });
    }
}

fn answered(bench: &Bench, times: u64, path: &str) -> Duration {
    let pump = bench.runtime().named("pump").expect("it is in the config");
    let before = pump.status().requests.answered;
    let took = bench.time(times, 1 + BURST, |bench| bench.run(path));
    let requests = pump.status().requests;
    assert_eq!(requests.answered - before, times * BURST, "answers are missing: {requests:?}");
    assert_eq!(requests.answered, requests.asked, "{requests:?}");
    took
}

/// One request at a time from a thread outside to a handler on a worker, where both look for work without pause, and where
/// both sleep when there is none.
fn threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ask/threads");
    for (name, spin, wait) in [
        ("spinning", "1s", spin as fn(&Serving)),
        ("parked", "0s", |host: &Serving| drop(host.ask("sink://swallowed", b""))),
    ] {
        let host = Serving::start(&config(spin));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let before = host.handled();
                let begin = Instant::now();
                (0..times).for_each(|_| wait(&host));
                let took = begin.elapsed();
                assert_eq!(host.handled() - before, times, "answers without a handler");
                took
            });
        });
    }
}

fn config(spin: &str) -> String {
    format!(r#"(workers: 1, spin: "{spin}", subsystems: {{ "sink": (plugin: "mycelia_pump") }})"#)
}

fn spin(host: &Serving) {
    let outcome = host.request("sink://swallowed", b"");
    loop {
        match outcome.try_recv() {
            Ok(told) => return assert!(told.is_ok(), "{told:?}"),
            Err(TryRecvError::Empty) => hint::spin_loop(),
            Err(TryRecvError::Disconnected) => panic!("a request has an outcome"),
        }
    }
}
