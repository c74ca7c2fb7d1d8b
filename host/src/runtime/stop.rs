//! A host's whole run: start, serve, and the orderly stop.

use super::{Runtime, Slot, StartError, lifecycle::Caretaker};
use crate::status::Phase;
use mycelia_plugin::abi::host::GuestThreads;
use std::{
    sync::{PoisonError, atomic::Ordering},
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
        self.letters.open()?;
        self.hold_all();
        for number in 0..self.worker_count {
            self.start_worker(number as u16)?;
        }
        self.start_watchdog()?;
        let kernel = thread::Builder::new()
            .name("mycelia-kernel".into())
            .spawn(move || self.serve_kernel())?;
        let mut caretaker = Caretaker::new(self);
        let started = self.start_all(&mut caretaker);
        if started.is_ok() {
            self.start_watch()?;
            ready();
            caretaker.care();
            self.stop_watch();
        }
        self.end(&mut caretaker);
        self.finished.store(true, Ordering::Release);
        self.workers.wake_all();
        self.kernel_desk.ring(false);
        kernel.join().expect("the kernel answers with an error whatever it is asked");
        // One that hangs in a handler ends with the process.
        self.wait_until(Instant::now() + self.drain_timeout, || self.workers.have_ended());
        self.workers.join();
        self.letters.close();
        started
    }

    /// Starts every subsystem for a host that is driven by [`Runtime::work_once`] alone, as in measurements. Nobody answers
    /// for the kernel there.
    ///
    /// # Errors
    /// If a required subsystem does not start.
    pub fn start_without_workers(&'static self) -> Result<(), StartError> {
        self.hold_all();
        self.start_all(&mut Caretaker::new(self))
    }

    /// Timers end, gateways stop, queues drain until they are empty or time is up, the rest is dead.
    fn end(&'static self, caretaker: &mut Caretaker) {
        self.stopping.store(true, Ordering::Relaxed);
        self.quiet.store(true, Ordering::Relaxed);
        let until = Instant::now() + self.drain_timeout;
        for slot in self.subsystems().filter(|slot| slot.info().phase != Phase::Stopped) {
            slot.info().phase = Phase::Stopping;
        }
        self.quiesce(until);
        self.wait_until(until, || {
            caretaker.bury_failed();
            self.is_drained()
        });
        self.watchdog.stop();
        for slot in self.subsystems() {
            self.end_one(slot, caretaker, until);
        }
        // Workers bury what is left: without an instance every message is dead.
        self.wait_until(Instant::now() + self.drain_timeout, || {
            self.subsystems().all(|slot| slot.queue.is_empty())
        });
    }

    fn end_one(&self, slot: &'static Slot, caretaker: &mut Caretaker, until: Instant) {
        // A subsystem whose turn or threads linger gets a moment of its own, even when the drain used all the time up.
        let until = until.max(Instant::now() + LOOK * 50);
        if caretaker.hold_until(slot, until) {
            // A thread that lingers is in the log, and ends with the process.
            let _lingers = caretaker.end(slot, Some(until));
            caretaker.release(slot);
        } else {
            tracing::error!(
                subsystem = slot.name,
                "a handler does not return; it ends with the process"
            );
        }
        self.retire(slot);
    }

    /// Gives up what outlives instances, because there will be no other: ports are free again, and no timer fires.
    pub(super) fn retire(&self, slot: &Slot) {
        slot.info().phase = Phase::Stopped;
        slot.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
        slot.timers().clear().for_each(|message| self.pool.release(&message));
        slot.armed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asks the plugins' own threads to end, which is how gateways stop, and waits for them.
    fn quiesce(&self, until: Instant) {
        let threads = self.subsystems().filter_map(|slot| Some((slot, (*slot.threads())?)));
        let threads: Vec<_> = threads.collect();
        threads.iter().for_each(|(_, threads)| threads.quiesce());
        let have_ended = |(slot, threads): &(&Slot, GuestThreads)| {
            threads.running() <= slot.parked(slot.incarnation())
        };
        self.wait_until(until, || threads.iter().all(have_ended));
    }

    /// Whether nothing waits, runs or is asked.
    fn is_drained(&self) -> bool {
        self.slots.iter().all(|slot| {
            let ledger = slot.ledger();
            ledger.queued + ledger.in_flight == 0
                && slot.queue.is_empty()
                && slot.asks.counts().pending == 0
        })
    }

    fn wait_until(&self, until: Instant, mut done: impl FnMut() -> bool) {
        while !done() && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
