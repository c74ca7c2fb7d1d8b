//! Waiting for work: one worker spins for a while, the others park.

use mycelia_kernel::idle::Idle;
use mycelia_plugin::abi::host::ReportBuffer;
use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

/// The workers, and which of them wait.
pub struct Workers {
    idle: Idle,
    spin: Duration,
    seats: Box<[Mutex<Option<Seated>>]>,
    /// The threads that are workers, to be joined.
    threads: Mutex<HashMap<u16, JoinHandle<()>>>,
    /// Those without a thread, since the system had none.
    vacant: Mutex<Vec<u16>>,
}

/// The thread that is a worker, and where it reports on its batches.
struct Seated {
    thread: Thread,
    report: Arc<ReportBuffer>,
}

impl Workers {
    /// `count` workers that look for work as long as `spin` before they park.
    pub fn new(count: usize, spin: Duration) -> Self {
        let seats = (0..count).map(|_| Mutex::default()).collect();
        Workers {
            idle: Idle::new(),
            spin,
            seats,
            threads: Mutex::default(),
            vacant: Mutex::default(),
        }
    }

    /// The calling thread is this worker from here on.
    pub fn enter(&self, worker: u16, report: Arc<ReportBuffer>) {
        *self.seat(worker) = Some(Seated { thread: thread::current(), report });
    }

    /// This thread is the worker from here on; the one before, if it hangs, is left to itself.
    pub fn keep(&self, worker: u16, thread: JoinHandle<()>) {
        drop(self.threads().insert(worker, thread));
    }

    /// This worker has no thread.
    pub fn vacate(&self, worker: u16) {
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// Those that have no thread, to be given one.
    pub fn take_vacant(&self) -> Vec<u16> {
        mem::take(&mut *self.vacant.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether every worker has ended.
    pub fn have_ended(&self) -> bool {
        self.threads().values().all(JoinHandle::is_finished)
    }

    /// Joins those that have ended.
    pub fn join(&self) {
        for (_, thread) in self.threads().drain().filter(|(_, thread)| thread.is_finished()) {
            thread.join().expect("a worker catches what plugins do");
        }
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<u16, JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this worker reports; nowhere before it entered.
    pub fn report(&self, worker: u16) -> Option<Arc<ReportBuffer>> {
        self.seat(worker).as_ref().map(|seated| Arc::clone(&seated.report))
    }

    fn seat(&self, worker: u16) -> MutexGuard<'_, Option<Seated>> {
        self.seats[usize::from(worker)].lock().unwrap_or_else(PoisonError::into_inner)
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
        self.seat(worker).as_ref().expect("a worker enters before it parks").thread.unpark();
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
