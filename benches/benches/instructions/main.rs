//! Instructions of the hot path, which repeat exactly: each stage alone, and whole journeys.
//!
//! `cargo bench -p mycelia-benches --bench instructions`. A bench handles 1,000 messages, and nothing else is counted: neither
//! set-up and warm-up, nor other threads. Wall time is not measured here.

mod journey;
mod plugin;
mod stage;
mod watch;

use journey::journeys;
use mycelia_testkit::instructions::{config, tool as iai_callgrind};
use stage::stages;
use watch::watched;

iai_callgrind::main!(config = config(); library_benchmark_groups = stages, journeys, watched);
