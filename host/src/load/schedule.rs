//! When each message is to be sent: fixed before the first one, whatever becomes of those before it.
//!
//! A slow answer delays no later message, which is what makes the latencies right for coordinated omission: they count
//! from here, not from when a message could be sent.

use super::scenario::Rate;
use std::time::Duration;

/// The intended times of messages, in nanoseconds from the beginning, in order.
#[derive(Clone, Debug)]
pub struct Schedule {
    rates: Vec<u64>,
    /// How long each rate lasts, in nanoseconds.
    each: u64,
    step: usize,
    /// How many of this step were given.
    given: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Schedule {
    /// A schedule of these rates, each for the same part of the time.
    pub fn new(rates: &[u64], whole: Duration) -> Schedule {
        let each = whole.as_nanos() as u64 / rates.len().max(1) as u64;
        Schedule { rates: rates.to_vec(), each, step: 0, given: 0 }
    }

    /// The schedule of a rate that is known beforehand; the highest one is searched for.
    pub fn of(rate: &Rate, whole: Duration) -> Option<Schedule> {
        match rate {
            Rate::Steady(rate) => Some(Schedule::new(&[*rate], whole)),
            Rate::Steps(rates) => Some(Schedule::new(rates, whole)),
            Rate::Max(_) => None,
        }
    }

    /// How many messages there are in all.
    pub fn total(&self) -> u64 {
        self.rates.iter().map(|rate| self.in_step(*rate)).sum()
    }

    /// How long it takes.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.each * self.rates.len() as u64)
    }

    fn in_step(&self, rate: u64) -> u64 {
        (u128::from(rate) * u128::from(self.each) / u128::from(SECOND)) as u64
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let mut rate = *self.rates.get(self.step)?;
        while self.given >= self.in_step(rate) {
            (self.step, self.given) = (self.step + 1, 0);
            rate = *self.rates.get(self.step)?;
        }
        let within = u128::from(self.given) * u128::from(SECOND) / u128::from(rate);
        self.given += 1;
        Some(self.step as u64 * self.each + within as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_evenly_spaced() {
        let schedule = Schedule::new(&[4], Duration::from_secs(1));
        assert_eq!(schedule.total(), 4);
        let times: Vec<u64> = schedule.map(|time| time / 1_000_000).collect();
        assert_eq!(times, [0, 250, 500, 750]);
    }

    #[test]
    fn steps_follow_each_other_and_may_be_pauses() {
        let schedule = Schedule::new(&[2, 0, 3], Duration::from_secs(3));
        assert_eq!((schedule.total(), schedule.length()), (5, Duration::from_secs(3)));
        let times: Vec<u64> = schedule.map(|time| time / 1_000_000).collect();
        assert_eq!(times, [0, 500, 2000, 2333, 2666]);
    }

    #[test]
    fn the_plan_in_full() {
        let of = |rate, seconds| Schedule::of(&rate, Duration::from_secs(seconds));
        let burst = of(Rate::Steps(vec![100, 10_000, 100]), 180).unwrap();
        assert_eq!((burst.total(), burst.count() as u64), (612_000, 612_000));
        assert_eq!(of(Rate::Steady(25_000), 60).unwrap().total(), 1_500_000);
        assert!(of(Rate::Max(Duration::from_millis(1)), 60).is_none());
    }
}
