//! Percentiles of the phases.

use mycelia::report::{ReloadReport, ReloadTimes};
use std::{fmt::Write, time::Duration};

/// The times of many reloads.
pub struct Figures {
    times: Vec<(ReloadTimes, Duration)>,
}

type Phase = (&'static str, fn(&(ReloadTimes, Duration)) -> Duration);

/// The plugin's own calls are marked, and not the host's to answer for.
const PHASES: &[Phase] = &[
    ("file replaced until seen to serve", |(_, seen)| *seen),
    ("file whole until new code serves", |(times, _)| times.total),
    ("  read, after others", |(times, _)| times.read),
    ("  check", |(times, _)| times.check),
    ("  probe, in a child", |(times, _)| times.probe),
    ("  load", |(times, _)| times.load),
    ("  rehearsal", |(times, _)| times.rehearsal),
    ("  create", |(times, _)| times.create),
    ("  wait for the batch", |(times, _)| times.wait),
    ("both pauses", |(times, _)| times.pause + times.snapshot),
    ("  host's share", |(times, _)| times.host_pause()),
    ("  plugin: save for the rehearsal", |(times, _)| times.snapshot_save),
    ("  plugin: stop", |(times, _)| times.stop),
    ("  plugin: save", |(times, _)| times.save),
    ("  plugin: restore", |(times, _)| times.restore),
    ("  plugin: start", |(times, _)| times.start),
];

impl Figures {
    /// Room for so many, which is in memory from the start: it is measured.
    pub fn new(count: usize) -> Figures {
        let mut times = vec![(ReloadTimes::default(), Duration::MAX); count];
        times.clear();
        Figures { times }
    }

    /// Adds a reload, and how long it took as seen from outside.
    pub fn add(&mut self, report: &ReloadReport, seen: Duration) {
        self.times.push((report.times, seen));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Every phase, in milliseconds.
    pub fn to_text(&self) -> String {
        let mut text =
            format!("{:<36} {:>8} {:>8} {:>8} {:>8}\n", "ms", "p50", "p99", "p99.9", "max");
        for (name, phase) in PHASES {
            let mut times: Vec<Duration> = self.times.iter().map(phase).collect();
            times.sort_unstable();
            let at = |share: f64| percentile(&times, share).as_secs_f64() * 1e3;
            let _ = writeln!(
                text,
                "{name:<36} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0)
            );
        }
        text
    }
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_there_is() {
        let times: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let at = |share| percentile(&times, share).as_millis();
        assert_eq!((at(0.5), at(0.99), at(0.999), at(1.0)), (500, 990, 999, 1000));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
