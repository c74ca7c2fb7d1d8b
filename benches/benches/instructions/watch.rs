//! The same journeys while somebody watches: between any two turns everything that the host counts is read, and made into a
//! page of metrics and a look for the dashboard. Reading itself is not counted, so what is left is what watching costs messages;
//! `benches/tests/watched.rs` compares it with the journeys that nobody watches.

use crate::{
    iai_callgrind::{
        self, Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group,
    },
    journey::{Ready, check, filled},
};
use mycelia::{
    figures::Watch,
    metrics::{Form, page},
    operator::Operator,
};
use mycelia_benches::{
    Bench,
    journey::{KEPT, KEPT_SINGLY},
};
use mycelia_testkit::instructions::config;
use std::{hint::black_box, time::Duration};

/// Callgrind stops counting when a function of this name is entered, and goes on when it is left.
fn without_looking() -> LibraryBenchmarkConfig {
    let arguments = ["--toggle-collect=*look_at_everything*"];
    config().tool(Callgrind::with_args(arguments)).clone()
}

#[inline(never)]
fn look_at_everything(bench: &Bench, watch: &mut Watch, looks: u64) {
    let readings = bench.runtime().readings();
    black_box(page(&readings, Form::OpenMetrics));
    black_box(watch.figures(readings, true, Duration::from_secs(looks), looks));
}

#[library_benchmark(setup = filled, teardown = check)]
#[bench::batch_64(KEPT, 64)]
#[bench::batch_8(KEPT, 8)]
fn kept_recipient(ready: Ready) -> Ready {
    drain(ready)
}

#[library_benchmark(setup = filled, teardown = check)]
#[bench::batch_64(KEPT_SINGLY, 64)]
#[bench::batch_8(KEPT_SINGLY, 8)]
fn kept_recipient_singly(ready: Ready) -> Ready {
    drain(ready)
}

#[inline(always)]
fn drain(ready: Ready) -> Ready {
    let (mut watch, mut looks) = (Watch::default(), 0);
    while ready.bench.turn() {
        looks += 1;
        look_at_everything(&ready.bench, &mut watch, looks);
    }
    // Giving its memory back is no part of a message.
    std::mem::forget(watch);
    ready
}

library_benchmark_group!(
    name = watched;
    config = without_looking();
    benchmarks = kept_recipient, kept_recipient_singly
);
