//! Percentiles of the phases, and the slope of memory.

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

/// A line through points: the median of the slopes between any two of them (Theil and Sen).
///
/// A file of many megabytes that is just being read lifts single points far above the others, at any time. Least squares
/// make a growth of that, or an interval too wide to tell; the median does not move.
#[derive(Default)]
pub struct Slope {
    points: Vec<(f64, f64)>,
}

/// Standard errors that hold 95% of a normal distribution on one side; there are always many points.
const ONE_SIDED: f64 = 1.645;
/// Points below which nothing is said.
const FEW: usize = 20;

impl Slope {
    /// Adds a point.
    pub fn add(&mut self, x: f64, y: f64) {
        self.points.push((x, y));
    }

    /// The slope; nothing from few points.
    pub fn slope(&self) -> Option<f64> {
        self.between().map(|slopes| slopes[slopes.len() / 2])
    }

    /// What the slope is below, with 95% confidence: by Kendall's variance of the order of the points.
    pub fn upper_bound(&self) -> Option<f64> {
        let slopes = self.between()?;
        let count = self.points.len() as f64;
        let deviation = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let rank = ((slopes.len() as f64 + ONE_SIDED * deviation) / 2.0).ceil() as usize;
        Some(slopes[rank.min(slopes.len() - 1)])
    }

    /// The slopes between any two points, in order.
    fn between(&self) -> Option<Vec<f64>> {
        if self.points.len() < FEW {
            return None;
        }
        let pairs = self.points.iter().enumerate().flat_map(|(index, from)| {
            self.points[index + 1..].iter().map(move |to| (to.1 - from.1) / (to.0 - from.0))
        });
        let mut slopes: Vec<f64> = pairs.collect();
        slopes.sort_unstable_by(f64::total_cmp);
        Some(slopes)
    }
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

    #[test]
    fn growth_shows_and_noise_does_not() {
        let line = |slope: f64| {
            let mut line = Slope::default();
            for x in 0..100 {
                let noise = f64::from(x * 37 % 61 - 30) * 1e3;
                // A file that is being read, more often towards the end.
                let spike = if x > 50 && x % 7 == 0 { 1e6 } else { 0.0 };
                line.add(f64::from(x) * 10.0, slope * f64::from(x) * 10.0 + noise + spike);
            }
            (line.slope().unwrap(), line.upper_bound().unwrap())
        };
        let (flat, bound) = line(0.0);
        assert!(flat.abs() < 20.0 && bound < 60.0, "{flat} {bound}");
        let (steep, bound) = line(2000.0);
        assert!((steep - 2000.0).abs() < 20.0 && bound > 2000.0, "{steep} {bound}");
        assert_eq!(Slope::default().slope(), None);
    }
}
