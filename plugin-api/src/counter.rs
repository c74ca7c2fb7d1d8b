//! Metrics of a plugin's own: numbers that it counts up, shown in the host's status.

use crate::abi::Link;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Counts something of the subsystem's, such as `orders_placed`; shown under its name in `mycelia status`.
///
/// It lies in the host and belongs to the subsystem, so that it goes on over reloads and restarts. A name has up to 64
/// characters, a-z, 0-9 and `_`, the first of them a letter, and a subsystem has up to 64 names: what has another one is
/// counted in `_overflow`, and the host's log says so once.
///
/// One that is kept costs one addition; [`crate::Context::counter`] first looks its name up.
#[derive(Copy, Clone, Debug)]
pub struct Counter(&'static AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// The counters that an instance has asked for, by name.
#[derive(Default)]
pub(crate) struct Counters(Mutex<Vec<(Box<str>, Counter)>>);

/// As many as the host has names for; others are asked for each time.
const MOST: usize = 64;

impl Counters {
    pub fn get(&self, link: Link, name: &str) -> Counter {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(known, _)| **known == *name) {
            return *counter;
        }
        let counter = Counter(link.counter(name));
        if known.len() < MOST {
            known.push((name.into(), counter));
        }
        counter
    }
}
