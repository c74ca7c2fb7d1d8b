//! Every interleaving of the races the queueing half is made of, each model named by its race: in the kernel, and between a
//! worker and the host's lifecycle thread, whose protocols stand here in short.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p mycelia-kernel --release --test loom --target-dir target/loom
//! ```
//!
//! Each prints how many interleavings it explored. A bound on preemptions is given where the whole space takes minutes.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod asks;
mod idle;
mod queue;
mod retire;
mod revoke;
mod ring;
mod swap;

use loom::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use mycelia_kernel::queue::{Begin, Limits, Policy, Queue, STOP, Wake};
use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

#[expect(clippy::explicit_write, reason = "the test harness keeps what `eprintln` prints")]
fn explore(race: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let bound = preemptions.map_or("all".to_owned(), |bound| format!("{bound} preemptions"));
    let count = count.load(Ordering::Relaxed);
    writeln!(std::io::stderr(), "{race}: {count} interleavings ({bound})").unwrap();
}

fn queue() -> Arc<Queue<u32>> {
    let policy = Policy::Reject;
    Arc::new(Queue::new(Limits { policy, capacity: 2, batch: 1, outcomes: 1, timers: 1 }))
}

fn send(queue: &Queue<u32>, message: u32) -> Wake {
    queue.send(message, &mut |_, _| ()).unwrap()
}

/// A queue that the caller runs, with nothing in it.
fn running() -> Arc<Queue<u32>> {
    let queue = queue();
    assert_eq!(queue.raise(STOP), Wake::Ready);
    assert_eq!(queue.begin(), Begin::Run);
    assert_eq!(queue.take_bits(), STOP);
    queue
}

/// An atomic of a model's own. Loom tries every order of its accesses only because each is touched before: the reason is in
/// `kernel/src/sync.rs`.
struct Word(AtomicU32, AtomicU32);

impl Word {
    fn new(value: u32) -> Self {
        Word(AtomicU32::new(value), AtomicU32::new(0))
    }

    fn touched(&self) -> &AtomicU32 {
        self.1.fetch_add(1, Relaxed);
        &self.0
    }
}

/// A value that nothing guards but the protocol under test: loom fails on an access that is not ordered behind the last.
struct Unguarded<T>(loom::cell::Cell<T>);

// SAFETY: loom runs one thread at a time, and checks every access.
#[expect(unsafe_code, reason = "what no lock guards cannot be shared otherwise")]
unsafe impl<T: Send> Sync for Unguarded<T> {}

impl<T> Unguarded<T> {
    fn new(value: T) -> Self {
        Unguarded(loom::cell::Cell::new(value))
    }
}
