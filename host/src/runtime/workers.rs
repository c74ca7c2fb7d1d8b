//! Waiting for work: one worker spins for a while, the others park.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// The workers that wait.
pub struct Workers {
    spin: Duration,
    spinning: AtomicBool,
    parked: Mutex<Vec<Thread>>,
    /// The length of `parked`, for those who only look; written under its lock.
    parked_count: AtomicUsize,
}

impl Workers {
    /// Workers that look for work as long as `spin` before they park.
    pub fn new(spin: Duration) -> Self {
        let spinning = AtomicBool::new(false);
        Workers { spin, spinning, parked: Mutex::default(), parked_count: AtomicUsize::new(0) }
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a parked worker, unless one spins and will see the work by itself.
    #[inline]
    pub fn wake_one(&self) {
        // Pairs with the fence in `wait`: either we see that worker, or it sees our work.
        fence(Ordering::SeqCst);
        if self.parked_count.load(Ordering::Relaxed) > 0 && !self.spinning.load(Ordering::Relaxed) {
            self.unpark_one();
        }
    }

    #[cold]
    fn unpark_one(&self) {
        let mut parked = self.parked();
        let worker = parked.pop();
        self.parked_count.store(parked.len(), Ordering::Relaxed);
        drop(parked);
        if let Some(worker) = worker {
            worker.unpark();
        }
    }

    /// Wakes every parked worker.
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst);
        while self.parked_count.load(Ordering::Relaxed) > 0 {
            self.unpark_one();
        }
    }

    /// Waits until `has_work` or about `limit`, whichever is first.
    pub fn wait(&self, limit: Duration, has_work: impl Fn() -> bool) {
        if self.spin(limit, &has_work) {
            return;
        }
        self.enlist();
        // Pairs with the fence in `wake_one`. A spinner that gave up looks here once more, too.
        fence(Ordering::SeqCst);
        if !has_work() {
            thread::park_timeout(limit);
        }
        self.forget();
    }

    /// Looks for work without sleeping; whether there is some. Only one worker at a time does.
    fn spin(&self, limit: Duration, has_work: &impl Fn() -> bool) -> bool {
        if self.spinning.swap(true, Ordering::SeqCst) {
            return has_work();
        }
        let until = Instant::now() + self.spin.min(limit);
        let mut found = has_work();
        while !found && Instant::now() < until {
            (0..64).for_each(|_| std::hint::spin_loop());
            found = has_work();
        }
        self.spinning.store(false, Ordering::SeqCst);
        found
    }

    fn enlist(&self) {
        let mut parked = self.parked();
        parked.push(thread::current());
        self.parked_count.store(parked.len(), Ordering::Relaxed);
    }

    /// Takes this worker off the list, if nobody has taken it to wake it.
    fn forget(&self) {
        let own = thread::current().id();
        let mut parked = self.parked();
        parked.retain(|worker| worker.id() != own);
        self.parked_count.store(parked.len(), Ordering::Relaxed);
    }
}
