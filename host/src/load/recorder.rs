//! What became of each message: told by whichever thread ends it, read once a second.

use hdrhistogram::Histogram;
use mycelia_plugin::{Error, ErrorCode, Handled};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How the messages of one kind ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Those that were sent, or refused when they were.
    pub offered: u64,
    /// Those whose handler returned Ok.
    pub handled: u64,
    /// Those that a full queue gave back.
    pub rejected: u64,
    /// Those that a full queue dropped.
    pub dropped: u64,
    /// All that were not handled, by the code of their errors: rejected and dropped ones are among them.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Those that came to their end.
    pub fn ended(&self) -> u64 {
        self.handled + self.errors.values().sum::<u64>()
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.handled += other.handled;
        self.rejected += other.rejected;
        self.dropped += other.dropped;
        other
            .errors
            .iter()
            .for_each(|(code, count)| *self.errors.entry(code).or_default() += count);
    }

    fn end<T>(&mut self, told: &Result<T, Error>) {
        let Err(error) = told else { return self.handled += 1 };
        *self.errors.entry(error.code.word()).or_default() += 1;
        match error.code {
            ErrorCode::Dropped => self.dropped += 1,
            // A handler's own limit is none of the queue.
            ErrorCode::Full if error.handled == Handled::No => self.rejected += 1,
            _ => {}
        }
    }
}

/// A distribution of times in nanoseconds.
pub type Times = Histogram<u64>;

/// An empty distribution of times up to an hour, true to three digits.
pub fn times() -> Times {
    Times::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are good")
}

/// What was told so far.
pub struct Recorder(Mutex<Recorded>);

struct Recorded {
    /// By kind of message.
    tallies: Vec<Tally>,
    /// From the intended send until handled, since it was last taken.
    latencies: Times,
    /// From the intended send until sent, since it was last taken.
    late: Times,
}

/// What was told since it was last taken.
pub struct Taken {
    /// From the intended send until handled.
    pub latencies: Times,
    /// From the intended send until sent.
    pub late: Times,
}

impl Default for Taken {
    fn default() -> Taken {
        Taken { latencies: times(), late: times() }
    }
}

impl Recorder {
    /// For so many kinds of messages.
    pub fn new(kinds: usize) -> Recorder {
        let tallies = vec![Tally::default(); kinds];
        Recorder(Mutex::new(Recorded { tallies, latencies: times(), late: times() }))
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of this kind is about to be sent, so late after its time.
    pub fn offer(&self, kind: u16, late: u64) {
        let mut recorded = self.recorded();
        recorded.tallies[usize::from(kind)].offered += 1;
        recorded.late.saturating_record(late.max(1));
    }

    /// A message of this kind has ended, so long after its time.
    pub fn end<T>(&self, kind: u16, took: u64, told: &Result<T, Error>) {
        let mut recorded = self.recorded();
        recorded.tallies[usize::from(kind)].end(told);
        if told.is_ok() {
            recorded.latencies.saturating_record(took.max(1));
        }
    }

    /// How messages ended so far, by kind.
    pub fn tallies(&self) -> Vec<Tally> {
        self.recorded().tallies.clone()
    }

    /// How all of them did.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.recorded().tallies.iter().for_each(|tally| total.add(tally));
        total
    }

    /// Puts the times since the last call in place of those of `taken`, whose memory is used for the next ones.
    // Not anew each time: the memory of the process is measured.
    pub fn take(&self, taken: &mut Taken) {
        taken.latencies.reset();
        taken.late.reset();
        let mut recorded = self.recorded();
        mem::swap(&mut recorded.latencies, &mut taken.latencies);
        mem::swap(&mut recorded.late, &mut taken.late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let recorder = Recorder::new(2);
        let told = |error| Err::<(), _>(error);
        recorder.offer(0, 5);
        recorder.end(0, 1000, &Ok(()));
        for error in [
            Error::full("the queue").handled(Handled::No),
            Error::full("a handler's limit").handled(Handled::Yes),
            Error::new(ErrorCode::Dropped, "pushed out"),
            Error::not_found("nothing"),
        ] {
            recorder.offer(1, 5);
            recorder.end(1, 1000, &told(error));
        }
        let total = recorder.total();
        assert_eq!((total.offered, total.ended(), total.handled), (5, 5, 1));
        assert_eq!((total.rejected, total.dropped, total.errors["full"]), (1, 1, 2));
        assert_eq!(recorder.tallies()[0].errors.len(), 0);
        let mut taken = Taken::default();
        recorder.take(&mut taken);
        assert_eq!((taken.latencies.len(), taken.late.len()), (1, 5));
        recorder.take(&mut taken);
        assert_eq!((taken.latencies.len(), taken.late.len()), (0, 0));
    }
}
