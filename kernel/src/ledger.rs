//! How the messages of one subsystem ended, counted so that reading never stops anybody and the sum is always right.
//!
//! `accepted = handled + failed + dropped_oldest + dropped_newest + expired + dead + queued + in_flight`
//!
//! Accepted, queued and the drops are counts of the [`Queue`]; `in_flight` is the difference. So the sum proves nothing
//! by itself: tests compare every column with the senders' own counts.

use crate::{
    queue::Queue,
    sync::{Acquire, AtomicU64, Relaxed, Release},
};
use crossbeam_utils::CachePadded;

/// How the messages of a batch ended.
#[derive(Copy, Clone, Default, Eq, PartialEq, Debug)]
pub struct Ends {
    /// The handler returned Ok, or an error of the caller's making.
    pub handled: u64,
    /// The handler returned any other error.
    pub failed: u64,
    /// The deadline passed in the queue.
    pub expired: u64,
    /// It panicked, hung, was left at stop, or its route is gone.
    pub dead: u64,
}

/// The counters of one subsystem, monotone for as long as the host runs.
#[derive(Debug)]
pub struct Ledger {
    /// Written by the holder of the subsystem alone, so without an RMW.
    ends: CachePadded<EndCounters>,
    /// Written by senders, only when they are refused.
    refusals: CachePadded<Refusals>,
}

#[derive(Debug)]
struct EndCounters {
    handled: AtomicU64,
    failed: AtomicU64,
    expired: AtomicU64,
    dead: AtomicU64,
}

#[derive(Debug)]
struct Refusals {
    rejected: AtomicU64,
    denied: AtomicU64,
}

/// A reading of a ledger and its queue.
#[derive(Copy, Clone, Default, Eq, PartialEq, Debug)]
pub struct LedgerCounts {
    /// Went into the queue, or were dropped by `DropNewest` instead.
    pub accepted: u64,
    /// See [`Ends::handled`].
    pub handled: u64,
    /// See [`Ends::failed`].
    pub failed: u64,
    /// Evicted from the full queue by newer ones.
    pub dropped_oldest: u64,
    /// Dropped as they came to the full queue.
    pub dropped_newest: u64,
    /// See [`Ends::expired`].
    pub expired: u64,
    /// See [`Ends::dead`].
    pub dead: u64,
    /// Waiting in the queue.
    pub queued: u64,
    /// Claimed and not ended yet.
    pub in_flight: u64,
    /// Given back to their senders by the full queue; beside the sum.
    pub rejected: u64,
    /// Refused for want of a permission; beside the sum.
    pub denied: u64,
}

impl Ledger {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Ledger {
            ends: CachePadded::new(EndCounters {
                handled: zero(),
                failed: zero(),
                expired: zero(),
                dead: zero(),
            }),
            refusals: CachePadded::new(Refusals { rejected: zero(), denied: zero() }),
        }
    }

    /// Enters how messages ended that were claimed from the queue; for the holder of the subsystem alone.
    #[inline]
    pub fn end(&self, ends: Ends) {
        add(&self.ends.handled, ends.handled);
        add(&self.ends.failed, ends.failed);
        add(&self.ends.expired, ends.expired);
        add(&self.ends.dead, ends.dead);
    }

    /// Enters messages that a full queue gave back for good; for the sender who gave up.
    pub fn reject(&self, messages: u64) {
        self.refusals.rejected.fetch_add(messages, Relaxed);
    }

    /// Enters messages that were refused for want of a permission.
    pub fn deny(&self, messages: u64) {
        self.refusals.denied.fetch_add(messages, Relaxed);
    }

    /// Reads ledger and queue: the ends first and the queue's tail last, so that no end is seen before its beginning.
    pub fn snapshot<M>(&self, queue: &Queue<M>) -> LedgerCounts {
        // Acquire pairs with the Release of `add`: behind a counted end lies the claim, and behind that the tail.
        let mut counts = LedgerCounts {
            handled: self.ends.handled.load(Acquire),
            failed: self.ends.failed.load(Acquire),
            expired: self.ends.expired.load(Acquire),
            dead: self.ends.dead.load(Acquire),
            rejected: self.refusals.rejected.load(Relaxed),
            denied: self.refusals.denied.load(Relaxed),
            ..LedgerCounts::default()
        };
        let drops = queue.drops();
        counts.dropped_oldest = drops.oldest;
        counts.dropped_newest = drops.newest;
        let claimed = queue.claimed();
        let reserved = queue.reserved();
        counts.accepted = reserved + drops.newest;
        // What came and went between the two readings is in flight rather than above the capacity.
        counts.queued = (reserved - claimed).min(queue.capacity() as u64);
        // Saturating: only ends that were entered without a claim make it fall short, and `balances` tells.
        counts.in_flight = (reserved - counts.queued).saturating_sub(counts.claimed_and_ended());
        counts
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl LedgerCounts {
    /// Whether the columns make up what was accepted; if not, more ends were entered than messages claimed.
    #[must_use]
    pub fn balances(&self) -> bool {
        let left = self.dropped_newest + self.queued + self.in_flight;
        self.accepted == self.claimed_and_ended() + left
    }

    /// The columns of messages that left the queue's ring.
    fn claimed_and_ended(&self) -> u64 {
        self.handled + self.failed + self.dropped_oldest + self.expired + self.dead
    }
}

/// Adds to a counter that the caller alone writes.
#[inline]
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        // Release, which is a plain store on x86, pairs with the Acquire of `snapshot`.
        counter.store(counter.load(Relaxed) + count, Release);
    }
}
