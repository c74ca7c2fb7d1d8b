//! What is counted of a subsystem beyond its ledger: by route, by reason, and the times of what was sampled.

use crate::{
    letters::Reason,
    readings::{Distribution, RouteReading, SubsystemReadings, bucket, buckets},
};
use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    ledger::Ends,
    table::Table,
};
use std::{
    array,
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Routes of the first chunk; each further one has twice as many.
const FIRST: usize = 32;
/// Enough for every number that a route can have.
const CHUNKS: usize = 12;
/// Reasons of dead letters.
const REASONS: usize = Reason::ALL.len();

/// The counts of one subsystem, monotone for as long as the host runs.
#[derive(Default)]
pub struct Tally {
    /// By route; written by the holder of the subsystem alone, so without an RMW. A chunk is made for its first message.
    chunks: [OnceLock<Box<[RouteCounts]>>; CHUNKS],
    /// Messages of each batch; by the holder alone.
    batches: Counts<{ buckets(16) }>,
    /// Dead letters, by reason.
    letters: [AtomicU64; REASONS],
    /// From a send until the message was in the queue.
    pub routing: Counts<{ buckets(42) }>,
    /// In the queue.
    pub wait: Counts<{ buckets(42) }>,
    /// In a handler.
    pub handle: Counts<{ buckets(42) }>,
    /// Pauses of committed reloads.
    pub pauses: Counts<{ buckets(42) }>,
}

#[derive(Default)]
struct RouteCounts {
    handled: AtomicU64,
    failed: AtomicU64,
    expired: AtomicU64,
    dead: AtomicU64,
}

/// A [`Distribution`] that is being filled.
pub struct Counts<const BUCKETS: usize> {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl<const BUCKETS: usize> Default for Counts<BUCKETS> {
    fn default() -> Self {
        Counts { counts: array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl<const BUCKETS: usize> Counts<BUCKETS> {
    /// Enters a value so many times; for anybody.
    #[cold]
    pub fn note(&self, value: u64, times: u64) {
        self.counts[bucket(value, BUCKETS)].fetch_add(times, Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    /// Enters a value; for a single writer.
    #[inline]
    fn note_alone(&self, value: u64) {
        add(&self.counts[bucket(value, BUCKETS)], 1);
        add(&self.sum, value);
    }

    fn read(&self) -> Distribution<BUCKETS> {
        // The sum first, so that its share of what is counted meanwhile is not ahead of the counts.
        let sum = self.sum.load(Relaxed);
        Distribution { sum, counts: array::from_fn(|place| self.counts[place].load(Relaxed)) }
    }
}

impl Tally {
    /// Enters a batch of so many messages; for the holder.
    #[inline]
    pub fn batch(&self, messages: usize) {
        self.batches.note_alone(messages as u64);
    }

    /// Enters how messages of a route ended; for the holder.
    #[inline]
    pub fn end(&self, route: u16, ends: Ends) {
        let counts = self.route(route);
        add(&counts.handled, ends.handled);
        if ends.failed | ends.expired | ends.dead != 0 {
            add(&counts.failed, ends.failed);
            add(&counts.expired, ends.expired);
            add(&counts.dead, ends.dead);
        }
    }

    /// Enters a dead letter.
    pub fn letter(&self, reason: Reason) {
        self.letters[reason as usize].fetch_add(1, Relaxed);
    }

    /// Enters the pause of a reload.
    pub fn pause(&self, pause: Duration) {
        self.pauses.note(pause.as_nanos() as u64, 1);
    }

    #[inline]
    fn route(&self, route: u16) -> &RouteCounts {
        let (chunk, place) = place(route);
        match self.chunks[chunk].get() {
            Some(counts) => &counts[place],
            None => &self.chunk(chunk)[place],
        }
    }

    #[cold]
    fn chunk(&self, chunk: usize) -> &[RouteCounts] {
        let make = || (0..FIRST << chunk).map(|_| RouteCounts::default()).collect();
        self.chunks[chunk].get_or_init(make)
    }

    /// All of it, with the patterns of this table.
    pub fn read(&self, table: &Table, id: SubsystemId) -> SubsystemReadings {
        let patterns = (0..=u16::MAX)
            .map_while(|route| Some((route, table.pattern(id, RouteId(route))?.to_owned())));
        let is_served = |route: u16| {
            let declared = table.route(id, RouteId(route));
            declared.is_some_and(|route| route.reach != mycelia_kernel::table::Reach::Event)
        };
        let routes = patterns.filter_map(|(route, pattern)| {
            let (chunk, place) = place(route);
            let counts = self.chunks[chunk].get().map(|counts| counts[place].read());
            let counts = counts.unwrap_or_default();
            (is_served(route) || counts != RouteReading::default()).then_some((pattern, counts))
        });
        let letters =
            Reason::ALL.map(|reason| (reason, self.letters[reason as usize].load(Relaxed)));
        SubsystemReadings {
            routes: routes.collect(),
            letters: BTreeMap::from(letters),
            routing: self.routing.read(),
            wait: self.wait.read(),
            handle: self.handle.read(),
            batches: self.batches.read(),
            pauses: self.pauses.read(),
        }
    }
}

impl RouteCounts {
    fn read(&self) -> RouteReading {
        RouteReading {
            handled: self.handled.load(Relaxed),
            failed: self.failed.load(Relaxed),
            expired: self.expired.load(Relaxed),
            dead: self.dead.load(Relaxed),
        }
    }
}

/// The chunk of a route, and its place there.
#[inline]
fn place(route: u16) -> (usize, usize) {
    let place = usize::from(route) + FIRST;
    let chunk = (place / FIRST).ilog2() as usize;
    (chunk, place - (FIRST << chunk))
}

/// Adds to a counter that the caller alone writes.
#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed) + count, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_place_of_its_own() {
        let mut expect = (0, 0);
        for route in 0..=u16::MAX {
            assert_eq!(place(route), expect, "{route}");
            expect.1 += 1;
            if expect.1 == FIRST << expect.0 {
                expect = (expect.0 + 1, 0);
            }
        }
        assert!(place(u16::MAX).0 < CHUNKS);
    }
}
