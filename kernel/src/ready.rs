//! Who runs next, and for how long: the list of ready subsystems, and a worker's turn with one of them.

use crate::{ids::SubsystemId, ring::Ring};

/// A FIFO of ready subsystems, for any number of workers.
///
/// A subsystem is in at most one of them, at most once: the run state of its queue sees to it, by answering
/// [`Wake::Ready`](crate::queue::Wake) once. So a list with room for every subsystem is never full.
#[derive(Debug)]
pub struct Ready {
    ring: Ring<SubsystemId>,
}

impl Ready {
    /// An empty list for a host of at most `subsystems`.
    ///
    /// # Panics
    /// If that is 0.
    #[must_use]
    pub fn new(subsystems: usize) -> Self {
        Ready { ring: Ring::new(subsystems, 1) }
    }

    /// Puts a subsystem at the end. The caller then wakes a worker if all are parked.
    ///
    /// # Errors
    /// The list is full: some subsystem is in it twice, or there are more than it was made for.
    #[inline]
    pub fn push(&self, subsystem: SubsystemId) -> Result<(), SubsystemId> {
        self.ring.try_push(subsystem)
    }

    /// The subsystem that waited longest; for its owner and for thieves alike.
    ///
    /// `None` does not prove that the list is empty: a push may be half done. Before parking ask `is_empty`.
    #[inline]
    pub fn pop(&self) -> Option<SubsystemId> {
        self.ring.pop()
    }

    /// How many wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether none waits, nor is being pushed: what a worker asks after it declared that it parks (SeqCst).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// The longest turn while others wait, in nanoseconds.
pub const TURN_LIMIT: u64 = 1_000_000;

/// A worker's turn with one subsystem, by deficit round robin: weight × batch messages, or [`TURN_LIMIT`], while others
/// wait.
///
/// A message costs one unit and no more is claimed than is left, so no deficit is ever carried over.
#[derive(Copy, Clone, Debug)]
pub struct Turn {
    batch: usize,
    left: usize,
    ends: u64,
}

impl Turn {
    /// A turn that begins at `now`.
    #[must_use]
    pub fn new(weight: usize, batch: usize, now: u64) -> Self {
        let left = weight.saturating_mul(batch);
        Turn { batch, left, ends: now.saturating_add(TURN_LIMIT) }
    }

    /// How many messages to claim next: a batch, or what is left of the turn.
    ///
    /// A turn that went on beyond its end because nobody waited has whole batches.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        if self.left == 0 { self.batch } else { self.left.min(self.batch) }
    }

    /// Notes that so many messages were handled.
    #[inline]
    pub fn spent(&mut self, messages: usize) {
        self.left = self.left.saturating_sub(messages);
    }

    /// Whether the worker may take another batch of the same subsystem at `now`.
    #[inline]
    #[must_use]
    pub fn goes_on(&self, now: u64, others_wait: bool) -> bool {
        !others_wait || (self.left > 0 && now < self.ends)
    }
}
