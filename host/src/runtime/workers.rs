//! Waiting for work: one worker spins for a while, the others park.

use mycelia_kernel::idle::Idle;
use std::{
    sync::OnceLock,
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// The workers, and which of them wait.
pub struct Workers {
    idle: Idle,
    spin: Duration,
    threads: Box<[OnceLock<Thread>]>,
}

impl Workers {
    /// `count` workers that look for work as long as `spin` before they park.
    pub fn new(count: usize, spin: Duration) -> Self {
        Workers { idle: Idle::new(), spin, threads: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// The calling thread is this worker.
    pub fn enter(&self, worker: u16) {
        self.threads[usize::from(worker)].set(thread::current()).expect("each worker enters once");
    }

    /// Wakes a parked worker, unless one spins and will see the work by itself.
    #[inline]
    pub fn wake_one(&self) {
        if let Some(worker) = self.idle.wake() {
            self.unpark(worker);
        }
    }

    /// Wakes every parked worker.
    pub fn wake_all(&self) {
        while let Some(worker) = self.idle.wake_any() {
            self.unpark(worker);
        }
    }

    #[cold]
    fn unpark(&self, worker: u16) {
        self.threads[usize::from(worker)].get().expect("a worker enters before it parks").unpark();
    }

    /// Waits until `has_work` or about `limit`, whichever is first.
    pub fn wait(&self, worker: u16, limit: Duration, has_work: impl Fn() -> bool) {
        if self.spin(limit, &has_work) {
            return;
        }
        self.idle.park(worker);
        if !has_work() {
            thread::park_timeout(limit);
        }
        self.idle.unpark(worker);
    }

    /// Looks for work without sleeping; whether there is some. Only one worker at a time does.
    fn spin(&self, limit: Duration, has_work: &impl Fn() -> bool) -> bool {
        if !self.idle.try_spin() {
            return has_work();
        }
        let until = Instant::now() + self.spin.min(limit);
        let mut found = has_work();
        while !found && Instant::now() < until {
            (0..64).for_each(|_| std::hint::spin_loop());
            found = has_work();
        }
        self.idle.end_spin();
        found
    }
}
