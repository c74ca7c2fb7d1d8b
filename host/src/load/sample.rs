//! What a running host shows once a second: differences between two statuses.

use super::recorder::{Taken, Tally, Times};
use crate::{figures::Happened, status::Status};
use serde::{Deserialize, Serialize};

/// One reading; rates and percentiles are of the time since the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at_s: f64,
    /// Messages offered, a second.
    pub offered: f64,
    /// Messages handled, a second.
    pub handled: f64,
    /// Messages that ended otherwise, a second.
    pub errors: f64,
    /// Milliseconds from the intended send until handled; none where nothing was handled.
    pub latency_ms: Option<Percentiles>,
    /// How late the generator was at most, in milliseconds.
    pub late_ms: f64,
    /// Messages that wait, in all queues.
    pub queued: u64,
    /// Messages that wait in the deepest queue.
    // A number and no names: the memory of the process is measured, and samples are kept.
    pub deepest: u64,
    /// Resident memory of the process, in bytes.
    pub memory: u64,
    /// CPU time of the process, in percent of one core.
    pub cpu: f64,
}

/// Percentiles of a distribution, in milliseconds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Percentiles {
    /// Those of these times; none of none.
    pub fn of(times: &Times) -> Option<Percentiles> {
        let at = |share| millis(times.value_at_quantile(share));
        (!times.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: millis(times.max()),
        })
    }
}

/// Nanoseconds in milliseconds.
pub fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since the beginning.
    pub at_s: f64,
    /// What.
    #[serde(flatten)]
    pub happened: Happened,
}

/// The host at one moment.
pub struct Reading {
    /// Seconds since the beginning.
    pub at_s: f64,
    /// CPU time of the process, in seconds.
    pub cpu_s: f64,
    /// What its operator sees.
    pub status: Status,
    /// What the generator was told.
    pub tally: Tally,
}

impl Reading {
    /// The sample from an earlier reading to this one, with the times in between.
    pub fn since(&self, before: &Reading, taken: &Taken) -> Sample {
        let seconds = (self.at_s - before.at_s).max(1e-3);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let errors = |tally: &Tally| tally.ended() - tally.handled;
        let depths = || self.status.subsystems.values().map(|one| one.queue.depth);
        Sample {
            at_s: self.at_s,
            offered: rate(self.tally.offered, before.tally.offered),
            handled: rate(self.tally.handled, before.tally.handled),
            errors: rate(errors(&self.tally), errors(&before.tally)),
            latency_ms: Percentiles::of(&taken.latencies),
            late_ms: millis(taken.late.max()),
            queued: depths().sum(),
            deepest: depths().max().unwrap_or(0),
            memory: self.status.memory_rss_bytes,
            cpu: 100.0 * (self.cpu_s - before.cpu_s) / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Phase, SubsystemStatus};

    fn reading(at_s: f64, offered: u64, handled: u64, depth: u64) -> Reading {
        let mut status = Status { memory_rss_bytes: 5, ..Status::default() };
        let mut one = SubsystemStatus { phase: Phase::Running, ..SubsystemStatus::default() };
        one.queue.depth = depth;
        status.subsystems.insert("a".into(), one);
        let tally = Tally { offered, handled, ..Tally::default() };
        Reading { at_s, cpu_s: at_s / 4.0, status, tally }
    }

    #[test]
    fn a_sample_is_the_difference() {
        let (before, now) = (reading(1.0, 100, 90, 3), reading(3.0, 300, 290, 0));
        let mut taken = Taken::default();
        taken.latencies.saturating_record(2_000_000);
        taken.late.saturating_record(1_000_000);
        let sample = now.since(&before, &taken);
        assert_eq!((sample.offered, sample.handled, sample.errors), (100.0, 100.0, 0.0));
        assert_eq!((sample.cpu, sample.queued, sample.memory), (25.0, 0, 5));
        let latency = sample.latency_ms.unwrap();
        assert!((latency.p99 - 2.0).abs() < 0.01 && (sample.late_ms - 1.0).abs() < 0.01);
        let taken = Taken::default();
        let first = before.since(&reading(0.0, 0, 0, 0), &taken);
        assert_eq!((first.latency_ms, first.queued, first.deepest), (None, 3, 3));
    }
}
