//! The timers of one subsystem: which message is due when.
//!
//! Not a clock, and not a queue: `now` is an argument, and a due message is offered to the caller, who puts it into the
//! subsystem's timer lane.

use crate::asks::Busy;
use std::collections::BTreeMap;

/// One armed timer. Ids are never given twice, so that a stale one cancels nothing.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct TimerId(pub u64);

/// The timers of one subsystem; times are nanoseconds of the host's monotonic clock.
#[derive(Debug)]
pub struct Timers<M> {
    /// In the order in which they fire: by time, and among equals by age.
    due: BTreeMap<(u64, TimerId), Timer<M>>,
    /// Where each timer stands in `due`.
    times: BTreeMap<TimerId, u64>,
    max: usize,
    armed: u64,
}

#[derive(Debug)]
struct Timer<M> {
    message: M,
    /// `None` for one that fires once.
    period: Option<u64>,
}

/// How long `fire` stays away from a lane that is full.
const RETRY: u64 = 1_000_000;

impl<M: Copy> Timers<M> {
    /// No timer, and room for `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Timers { due: BTreeMap::new(), times: BTreeMap::new(), max, armed: 0 }
    }

    /// A timer that fires once, at `due`.
    ///
    /// # Errors
    /// As many are armed as there may be.
    pub fn arm_after(&mut self, due: u64, message: M) -> Result<TimerId, Busy> {
        self.arm(due, Timer { message, period: None })
    }

    /// A timer that fires every `period` from `now`, first a period later; a period of 0 counts as 1 ns.
    ///
    /// # Errors
    /// As many are armed as there may be.
    pub fn arm_every(&mut self, now: u64, period: u64, message: M) -> Result<TimerId, Busy> {
        let period = period.max(1);
        self.arm(now.saturating_add(period), Timer { message, period: Some(period) })
    }

    /// Disarms a timer: whether it was armed. What it put into the lane before is not called back.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        let due = self.times.remove(&id);
        due.is_some_and(|due| self.due.remove(&(due, id)).is_some())
    }

    /// Disarms every timer, and gives their messages back.
    pub fn clear(&mut self) -> impl Iterator<Item = M> {
        self.times.clear();
        std::mem::take(&mut self.due).into_values().map(|timer| timer.message)
    }

    /// Offers every message due at `now` to `ring`, in order, and answers when to come again (`u64::MAX`: never).
    ///
    /// `ring` answers whether the message went into the lane. If not, that timer and those behind it stay due, so none
    /// is lost, and the time to come again is a millisecond on. A periodic timer that fell behind fires once and keeps
    /// its phase.
    pub fn fire(&mut self, now: u64, ring: &mut impl FnMut(M) -> bool) -> u64 {
        while let Some(first) = self.due.first_entry() {
            let (due, id) = *first.key();
            if due > now {
                return due;
            }
            if !ring(first.get().message) {
                return now.saturating_add(RETRY);
            }
            let timer = first.remove();
            self.rearm(due, id, timer, now);
        }
        u64::MAX
    }

    /// When the next timer is due (`u64::MAX`: never).
    #[must_use]
    pub fn next_due(&self) -> u64 {
        self.due.first_key_value().map_or(u64::MAX, |((due, _), _)| *due)
    }

    /// How many are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether none is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    fn arm(&mut self, due: u64, timer: Timer<M>) -> Result<TimerId, Busy> {
        if self.len() == self.max {
            return Err(Busy);
        }
        let id = TimerId(self.armed);
        self.armed += 1;
        self.insert(due, id, timer);
        Ok(id)
    }

    /// Puts a timer that fired at its `due` back, if it is periodic: at its first time after `now`.
    fn rearm(&mut self, due: u64, id: TimerId, timer: Timer<M>, now: u64) {
        match timer.period {
            Some(period) => {
                let missed = (now - due) / period;
                let next = due.saturating_add((missed + 1).saturating_mul(period));
                self.insert(next, id, timer);
            }
            None => drop(self.times.remove(&id)),
        }
    }

    fn insert(&mut self, due: u64, id: TimerId, timer: Timer<M>) {
        self.due.insert((due, id), timer);
        self.times.insert(id, due);
    }
}
