//! The search for the highest rate that is held: up in steps of four until one is not, then between the two.
//!
//! Not the trials themselves: it says which rate comes next, and is told whether that was held.

/// The search so far.
#[derive(Clone, Debug)]
pub struct Search {
    held: Option<u64>,
    failed: Option<u64>,
    /// The rate that comes next has failed once already.
    is_again: bool,
}

/// The rate of the first trial.
const FIRST: u64 = 1000;
/// The steps on the way up.
const FACTOR: u64 = 4;
/// Rates that differ by less than this are the same.
const PRECISION: f64 = 1.1;
/// Above it nothing is tried.
const MAX: u64 = 10_000_000;
/// The lowest that is tried.
const MIN: u64 = 10;

impl Search {
    /// How many trials are to be expected; times are divided by it.
    pub const TRIALS: u32 = 14;

    /// Nothing tried yet.
    pub fn new() -> Search {
        Search { held: None, failed: None, is_again: false }
    }

    /// The rate to try next; none when the answer is known.
    pub fn next(&self) -> Option<u64> {
        let rate = match (self.held, self.failed) {
            (None, None) => FIRST,
            (Some(held), None) => held * FACTOR,
            (None, Some(MIN)) => return None,
            (None, Some(failed)) => (failed / FACTOR).max(MIN),
            (Some(held), Some(failed)) if failed as f64 / held as f64 <= PRECISION => return None,
            (Some(held), Some(failed)) => ((held as f64) * (failed as f64)).sqrt() as u64,
        };
        (rate <= MAX).then_some(rate)
    }

    /// Tells whether this rate was held. One that was not is tried once more: something else may have been in the way.
    pub fn tell(&mut self, rate: u64, was_held: bool) {
        match (was_held, self.is_again) {
            (true, _) => self.held = Some(rate),
            (false, true) => self.failed = Some(rate),
            (false, false) => {
                self.is_again = true;
                return;
            }
        }
        self.is_again = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where rates up to `most` are held, and in how many trials; every third failure is chance.
    fn search(most: u64, chance: bool) -> (Option<u64>, u32) {
        let (mut search, mut trials, mut best) = (Search::new(), 0, None);
        while let Some(rate) = search.next() {
            trials += 1;
            let unlucky = chance && trials % 3 == 1;
            let was_held = rate <= most && !unlucky;
            best = if was_held { Some(rate) } else { best };
            search.tell(rate, was_held);
            assert!(trials < 60, "the search ends");
        }
        (best, trials)
    }

    #[test]
    fn the_highest_rate_is_found() {
        for most in [12, 900, 1000, 5_432, 123_456, 900_000] {
            let (best, trials) = search(most, false);
            let best = best.unwrap() as f64;
            assert!(best <= most as f64 && best * 1.11 > most as f64, "{most}: {best}");
            assert!(trials <= 2 * Search::TRIALS, "{most}: {trials}");
        }
    }

    #[test]
    fn one_failure_by_chance_is_forgiven() {
        let (best, _) = search(50_000, true);
        assert!(best.unwrap() > 40_000, "{best:?}");
    }

    #[test]
    fn nothing_may_be_held_at_all() {
        assert_eq!(search(0, false).0, None);
    }
}
