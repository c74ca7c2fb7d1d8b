//! The queueing half against naive models, against threads, and against the senders' own counts.
//!
//! The races themselves are in `tests/loom/`.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod asks;
mod ledger;
mod queue;
mod ring;
mod scheduling;
mod threads;
mod timers;

use mycelia_kernel::queue::{Dropped, Limits, Policy, Queue, Wake};

fn queue<M>(policy: Policy, capacity: usize) -> Queue<M> {
    Queue::new(Limits { policy, capacity, batch: 4, outcomes: 2, timers: 2 })
}

/// Sends where nothing may be dropped.
fn send<M: Copy + std::fmt::Debug>(queue: &Queue<M>, message: M) -> Wake {
    let mut refuse = |message: M, how: Dropped| panic!("{message:?} was dropped: {how:?}");
    queue.send(message, &mut refuse).unwrap()
}
