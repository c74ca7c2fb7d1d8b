//! Which workers wait, and whom to wake: one spins, the others park.
//!
//! Nothing here spins or parks: a worker says what it is about to do, and a wake-up is a returned number.
//!
//! **The handshake.** Whoever has work publishes it, then loads who waits; a worker that is about to park enters itself,
//! then looks for work once more. All four accesses are SeqCst, so at least one of the two sees the other.

use crate::sync::{self, AtomicU32, Mutex, SeqCst};

/// The workers that wait, by number.
#[derive(Debug)]
pub struct Idle {
    /// 1 while a worker looks for work without sleeping.
    spinning: AtomicU32,
    /// The length of `parked`, for those who only look; written under its lock.
    count: AtomicU32,
    parked: Mutex<Vec<u16>>,
}

impl Idle {
    /// Nobody waits yet.
    #[must_use]
    pub fn new() -> Self {
        let zero = || AtomicU32::new(0);
        Idle { spinning: zero(), count: zero(), parked: Mutex::new(Vec::new()) }
    }

    /// After work was published: the worker to unpark, if one is needed. A worker that spins sees the work by itself.
    #[inline]
    #[must_use = "the worker parks until it is unparked"]
    pub fn wake(&self) -> Option<u16> {
        sync::handshake_fence();
        if self.count.load(SeqCst) == 0 || self.spinning.load(SeqCst) == 1 {
            return None;
        }
        self.wake_any()
    }

    /// A worker to unpark, whether or not another spins.
    #[must_use = "the worker parks until it is unparked"]
    pub fn wake_any(&self) -> Option<u16> {
        let mut parked = sync::lock(&self.parked);
        let worker = parked.pop();
        self.count.store(parked.len() as u32, SeqCst);
        worker
    }

    /// Whether the caller is the one worker that may spin now; it says when it no longer does.
    pub fn try_spin(&self) -> bool {
        self.spinning.swap(1, SeqCst) == 0
    }

    /// The caller no longer spins; it looks for work once more before it parks, behind `park`.
    pub fn end_spin(&self) {
        self.spinning.store(0, SeqCst);
    }

    /// A worker is about to park: it looks for work once more, and parks if there is none.
    pub fn park(&self, worker: u16) {
        let mut parked = sync::lock(&self.parked);
        parked.push(worker);
        self.count.store(parked.len() as u32, SeqCst);
        drop(parked);
        sync::handshake_fence();
    }

    /// A worker no longer parks, whether it was woken or not.
    pub fn unpark(&self, worker: u16) {
        let mut parked = sync::lock(&self.parked);
        parked.retain(|&other| other != worker);
        self.count.store(parked.len() as u32, SeqCst);
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Idle;

    #[test]
    fn the_one_who_parked_last_is_woken_first_and_once() {
        let idle = Idle::new();
        assert_eq!(idle.wake(), None);
        (1..=3).for_each(|worker| idle.park(worker));
        idle.unpark(2);
        assert_eq!([idle.wake(), idle.wake(), idle.wake()], [Some(3), Some(1), None]);
    }

    #[test]
    fn nobody_is_woken_while_one_spins() {
        let idle = Idle::new();
        idle.park(1);
        assert!(idle.try_spin() && !idle.try_spin());
        assert_eq!(idle.wake(), None);
        assert_eq!(idle.wake_any(), Some(1));
        idle.park(1);
        idle.end_spin();
        assert_eq!(idle.wake(), Some(1));
    }
}
