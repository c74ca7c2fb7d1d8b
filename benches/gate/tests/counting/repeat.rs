//! Counts are the same to the instruction, whatever else is going on.

use crate::fixture::Fixture;
use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Runs something while both cores are kept busy.
pub fn under_load<T>(work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// 8 KiB more of environment, and what would change a run of iai-callgrind if it came through.
pub fn other_environment(command: &mut Command) {
    command
        .env("FILLER", "x".repeat(8 << 10))
        .env("IAI_CALLGRIND_FILTER", "nothing::of::this::name")
        .env("IAI_CALLGRIND_CALLGRIND_ARGS", "--toggle-collect=nothing");
}

#[test]
fn counts_repeat_exactly() {
    let fixture = Fixture::new("fixture_repeat");
    let first = fixture.counts(|_| {});
    assert!(first.0["stages::handle::thousand"] > 90_000, "{first:?}");
    assert_eq!(fixture.counts(|_| {}), first);
    assert_eq!(under_load(|| fixture.counts(|_| {})), first);
    assert_eq!(fixture.counts(other_environment), first);
    // From another folder, where it is also built anew.
    let elsewhere = Fixture::new("fixture_repeat");
    assert_eq!(elsewhere.name(), fixture.name());
    assert_eq!(elsewhere.counts(|_| {}), first);
}
