//! Waiting for work: one worker spins for a while, the others park.

use mycelia_kernel::idle::Idle;
use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The workers, and which of them wait.
pub struct Workers {
    idle: Idle,
    spin: Duration,
    /// By number; one that is lost has been replaced.
    threads: Box<[Mutex<Option<JoinHandle<()>>>]>,
}

impl Workers {
    /// `count` workers that look for work as long as `spin` before they park.
    pub fn new(count: usize, spin: Duration) -> Self {
        Workers { idle: Idle::new(), spin, threads: (0..count).map(|_| Mutex::default()).collect() }
    }

    /// Starts a worker, perhaps in place of one that is lost.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(&self, worker: u16, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        // Locked until its handle is there, so that whoever wakes it finds it.
        let mut thread = self.thread(worker);
        let name = format!("mycelia-worker-{worker}");
        *thread = Some(thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    fn thread(&self, worker: u16) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.threads[usize::from(worker)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all have ended.
    pub fn are_finished(&self) -> bool {
        (0..self.threads.len())
            .all(|worker| self.thread(worker as u16).as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// Joins those that have ended.
    pub fn join(&self) {
        for worker in 0..self.threads.len() {
            let ended = self.thread(worker as u16).take().filter(JoinHandle::is_finished);
            if let Some(thread) = ended {
                thread.join().expect("a worker catches what plugins do");
            }
        }
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
        if let Some(thread) = &*self.thread(worker) {
            thread.thread().unpark();
        }
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
