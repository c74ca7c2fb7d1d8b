//! What the host measures and counts beyond its [`Status`], as it stands at one moment. Taking it only reads memory.

use crate::{letters::Reason, status::Status};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Everything that the host counts. Nothing of it goes backwards but gauges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// What `mycelia status` tells.
    pub status: Status,
    /// By name, those of the config.
    pub subsystems: BTreeMap<String, SubsystemReadings>,
    /// How often a worker's path cache answered for a path text that a plugin sent to.
    pub cache_hits: u64,
    /// How often the table had to be asked.
    pub cache_misses: u64,
    /// Bytes of the pool's blocks.
    pub pool_bytes: u64,
    /// Those of them that messages and magazines hold.
    pub pool_used_bytes: u64,
    /// CPU time of the process, of its user and of the system.
    pub cpu: Duration,
}

/// What is counted of one subsystem beyond its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubsystemReadings {
    /// By pattern, how the messages of each route ended; their sums are the columns of the ledger.
    pub routes: BTreeMap<String, RouteReading>,
    /// By reason, the dead letters that it ever left, kept or not.
    pub letters: BTreeMap<Reason, u64>,
    /// How long the host took from a send until the message was in this queue: sampled.
    pub routing: Times,
    /// How long messages waited in this queue: sampled.
    pub wait: Times,
    /// How long its handlers took a message: sampled.
    pub handle: Times,
    /// How many messages its batches had.
    pub batches: Sizes,
    /// How long its committed reloads kept messages waiting.
    pub pauses: Times,
}

/// How the messages of one route ended.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns of the ledger")]
pub struct RouteReading {
    pub handled: u64,
    pub failed: u64,
    pub expired: u64,
    pub dead: u64,
}

/// How many values of a distribution fell between which bounds: between two powers of two lie four buckets, so that a
/// value is known to a quarter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution<const BUCKETS: usize> {
    /// Counts, by [`bucket`].
    pub counts: [u64; BUCKETS],
    /// Of the values themselves.
    pub sum: u64,
}

/// Times in nanoseconds, up to more than an hour.
pub type Times = Distribution<{ buckets(42) }>;
/// Numbers of messages, up to 65,536.
pub type Sizes = Distribution<{ buckets(16) }>;

/// Buckets between two powers of two.
const STEPS: u64 = 4;

/// How many buckets distributions have whose values are below this power of two.
pub const fn buckets(exponent: u32) -> usize {
    ((exponent as u64 - 1) * STEPS) as usize
}

/// The bucket of a value, of which the last one takes all that is beyond.
#[inline]
pub const fn bucket(value: u64, buckets: usize) -> usize {
    let place = match value {
        0..STEPS => value,
        _ => {
            let exponent = value.ilog2() as u64;
            (exponent - 1) * STEPS + (value >> (exponent - 2)) % STEPS
        }
    };
    let last = buckets - 1;
    if place as usize > last { last } else { place as usize }
}

/// The least value that is beyond a bucket.
const fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64 + 1;
    match bucket {
        0..STEPS => bucket,
        _ => (STEPS + bucket % STEPS) << (bucket / STEPS - 1),
    }
}

impl<const BUCKETS: usize> Default for Distribution<BUCKETS> {
    fn default() -> Self {
        Distribution { counts: [0; BUCKETS], sum: 0 }
    }
}

impl<const BUCKETS: usize> Distribution<BUCKETS> {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The bound that this share of the values lies below, by at most a quarter too high; none of no values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        let place = self.counts.iter().position(|here| {
            below += here;
            below >= rank
        });
        place.filter(|_| count > 0).map(end)
    }

    /// How many values lie below a power of two.
    pub fn below(&self, exponent: u32) -> u64 {
        self.counts.iter().take(bucket(1 << exponent, usize::MAX)).sum()
    }

    /// What came since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        self.with(others, u64::wrapping_add)
    }

    fn with(&self, other: &Self, join: fn(u64, u64) -> u64) -> Self {
        let counts = std::array::from_fn(|place| join(self.counts[place], other.counts[place]));
        Distribution { counts, sum: join(self.sum, other.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        for value in values {
            times.counts[bucket(value, times.counts.len())] += 1;
            times.sum += value;
        }
        times
    }

    #[test]
    fn buckets_follow_one_another_and_hold_their_values() {
        let mut before = 0;
        for value in (0..5000).chain((13..41).map(|exponent| (1 << exponent) - 1)) {
            let place = bucket(value, usize::MAX);
            assert!(place == before || place == before + 1 || value > 5000, "{value}");
            assert!(value < end(place), "{value} is not below {}", end(place));
            assert!(place == 0 || value >= end(place - 1), "{value}");
            before = place;
        }
        assert_eq!(bucket((1 << 42) - 1, usize::MAX), buckets(42) - 1);
        assert_eq!(bucket(u64::MAX, buckets(42)), buckets(42) - 1);
        assert_eq!((end(buckets(42) - 1), end(buckets(16) - 1)), (1 << 42, 1 << 16));
    }

    #[test]
    fn quantiles_are_right_to_a_quarter() {
        let times = of(1..=1000);
        for (share, exact) in [(0.5, 500), (0.95, 950), (0.99, 990), (1.0, 1000)] {
            let told = times.quantile(share).unwrap();
            assert!(told >= exact && told <= exact + exact / 4 + 1, "{share}: {told}");
        }
        assert_eq!((times.count(), times.sum), (1000, 500_500));
        assert_eq!(Times::default().quantile(0.5), None);
        assert_eq!(times.quantile(0.0), Some(2));
    }

    #[test]
    fn what_lies_below_a_power_of_two_is_exact() {
        let times = of([0, 1, 3, 4, 1023, 1024, 1025, u64::MAX >> 1]);
        let below: Vec<u64> = [1, 2, 10, 11, 41].map(|exponent| times.below(exponent)).into();
        assert_eq!(below, [2, 3, 5, 7, 7]);
    }

    #[test]
    fn readings_are_added_and_taken_from_one_another() {
        let (early, late) = (of([1, 7]), of([1, 7, 7, 9000]));
        assert_eq!(late.since(&early), of([7, 9000]));
        assert_eq!(early.and(&of([7, 9000])), late);
    }
}
