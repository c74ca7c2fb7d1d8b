//! A host's whole run: start, serve, and the orderly stop.

use super::{Runtime, StartError, lifecycle::Caretaker};
use crate::status::Phase;
use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

/// How often the drain looks whether everything is done.
const LOOK: Duration = Duration::from_millis(2);

impl Runtime {
    /// Starts every subsystem, serves until a stop is asked for, and ends in order. `ready` runs once everything serves.
    ///
    /// # Errors
    /// If a required subsystem does not start; everything has ended then.
    pub fn serve(&'static self, ready: impl FnOnce()) -> Result<(), StartError> {
        let workers: Vec<_> = (0..self.worker_count)
            .map(|number| {
                let name = format!("mycelia-worker-{number}");
                thread::Builder::new().name(name).spawn(|| self.work())
            })
            .collect::<Result<_, _>>()?;
        let mut caretaker = Caretaker::new(self);
        let started = self.start_all(&mut caretaker);
        if started.is_ok() {
            ready();
            caretaker.care();
        }
        self.end(&mut caretaker);
        self.finished.store(true, Ordering::Release);
        self.workers.wake_all();
        for worker in workers {
            worker.join().expect("a worker catches what plugins do");
        }
        started
    }

    /// Starts every subsystem for a host that is driven by [`Runtime::work_once`] alone, as in measurements.
    ///
    /// # Errors
    /// If a required subsystem does not start.
    pub fn start_without_workers(&'static self) -> Result<(), StartError> {
        self.start_all(&mut Caretaker::new(self))
    }

    /// Timers end, gateways stop, queues drain until they are empty or time is up, the rest is dead.
    fn end(&self, caretaker: &mut Caretaker) {
        self.stopping.store(true, Ordering::Relaxed);
        self.quiet.store(true, Ordering::Relaxed);
        let until = Instant::now() + self.drain_timeout;
        for slot in self.subsystems().filter(|slot| slot.info().phase != Phase::Stopped) {
            slot.info().phase = Phase::Stopping;
        }
        self.quiesce(until);
        self.wait_until(until, || self.is_drained());
        for slot in self.subsystems() {
            caretaker.hold(slot);
            // A subsystem whose threads linger gets a moment of its own, even when the drain used all the time up.
            caretaker.end(slot, Some(until.max(Instant::now() + LOOK * 50)));
            slot.info().phase = Phase::Stopped;
            caretaker.release(slot);
        }
        // Workers bury what is left: without an instance every message is dead.
        self.wait_until(Instant::now() + self.drain_timeout, || self.subsystems().all(|slot| slot.queue.is_empty()));
    }

    /// Asks the plugins' own threads to end, which is how gateways stop, and waits for them.
    fn quiesce(&self, until: Instant) {
        let threads: Vec<_> =
            self.subsystems().filter_map(|slot| slot.cell().guest.as_ref().map(|guest| guest.threads())).collect();
        threads.iter().for_each(|threads| threads.quiesce());
        self.wait_until(until, || threads.iter().all(|threads| threads.running() == 0));
    }

    /// Whether nothing waits, runs or is asked.
    fn is_drained(&self) -> bool {
        self.slots.iter().all(|slot| {
            let ledger = slot.ledger();
            ledger.queued + ledger.in_flight == 0 && slot.queue.is_empty() && slot.asks.counts().pending == 0
        })
    }

    fn wait_until(&self, until: Instant, done: impl Fn() -> bool) {
        while !done() && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
