//! The errands of the host's `retire.rs`: a library is unloaded once every worker has run the destructors that it left on its
//! thread. Workers wait by the kernel's [`Idle`].

use crate::{Unguarded, Word, explore};
use loom::{
    sync::{
        Arc, Mutex, RwLock,
        atomic::Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
    thread,
};
use mycelia_kernel::idle::Idle;

struct Errand {
    number: u32,
    /// Workers that have yet to do it.
    left: Word,
}

struct Host {
    idle: Idle,
    posted: Word,
    open: Mutex<Vec<Arc<Errand>>>,
    is_loaded: Unguarded<bool>,
}

impl Host {
    fn new() -> Arc<Self> {
        let (idle, posted) = (Idle::new(), Word::new(0));
        let (open, is_loaded) = (Mutex::new(Vec::new()), Unguarded::new(true));
        Arc::new(Host { idle, posted, open, is_loaded })
    }

    fn post(&self, workers: u32) -> Arc<Errand> {
        let mut open = self.open.lock().unwrap();
        let number = self.posted.touched().load(Relaxed) + 1;
        let errand = Arc::new(Errand { number, left: Word::new(workers) });
        open.push(errand.clone());
        self.posted.touched().store(number, SeqCst);
        errand
    }

    fn are_new(&self, seen: u32) -> bool {
        self.posted.touched().load(SeqCst) != seen
    }

    fn run(&self, seen: &mut u32) {
        if !self.are_new(*seen) {
            return;
        }
        let open = self.open.lock().unwrap();
        let new: Vec<_> = open.iter().filter(|errand| errand.number > *seen).cloned().collect();
        *seen = self.posted.touched().load(SeqCst);
        drop(open);
        for errand in new {
            assert!(self.is_loaded.0.get(), "a destructor of it runs after it was unloaded");
            errand.left.touched().fetch_sub(1, Release);
        }
    }

    /// A worker that has no other work, up to where it would sleep: whether it does.
    fn sleeps(&self, worker: u16) -> bool {
        let mut seen = 0;
        self.run(&mut seen);
        if seen != 0 {
            return false;
        }
        self.idle.park(worker);
        let sleeps = !self.are_new(seen);
        if !sleeps {
            self.idle.unpark(worker);
            self.run(&mut seen);
        }
        sleeps
    }

    /// Wakes every worker that is parked, and answers which.
    fn wake_all(&self) -> Vec<u16> {
        std::iter::from_fn(|| self.idle.wake_any()).collect()
    }

    /// Whether it was unloaded.
    fn unload_if_done(&self, errand: &Errand) -> bool {
        let is_done = errand.left.touched().load(Acquire) == 0;
        if is_done {
            self.is_loaded.0.set(false);
        }
        is_done
    }
}

/// An errand, and the workers that were woken for it.
type Posted = (Arc<Errand>, Vec<u16>);

fn errand_against_park_by(
    race: &str,
    workers: u16,
    preemptions: Option<usize>,
    post: fn(&Host, u32) -> Posted,
) {
    explore(race, preemptions, move || {
        let host = Host::new();
        let spawn = |number| {
            let worker = host.clone();
            thread::spawn(move || worker.sleeps(number))
        };
        let threads: Vec<_> = (0..workers).map(spawn).collect();
        let (errand, woken) = post(&host, workers.into());
        let mut is_unloaded = host.unload_if_done(&errand);
        for (number, worker) in (0..).zip(threads) {
            if worker.join().unwrap() {
                assert!(woken.contains(&number), "a worker sleeps on its errand");
                let worker = host.clone();
                let worker = thread::spawn(move || worker.run(&mut 0));
                is_unloaded |= host.unload_if_done(&errand);
                worker.join().unwrap();
            }
        }
        assert!(is_unloaded || host.unload_if_done(&errand), "a worker has not done it");
    });
}

#[test]
fn errand_against_park() {
    errand_against_park_by("errand_against_park", 1, None, |host, workers| {
        (host.post(workers), host.wake_all())
    });
}

#[test]
fn errand_against_two_parks() {
    errand_against_park_by("errand_against_two_parks", 2, Some(3), |host, workers| {
        (host.post(workers), host.wake_all())
    });
}

/// The same with the wake-up before the publication: a worker parks in between.
#[test]
#[should_panic(expected = "a worker sleeps on its errand")]
fn errand_that_wakes_before_it_is_posted() {
    errand_against_park_by("errand_that_wakes_before_it_is_posted", 1, None, |host, workers| {
        let woken = host.wake_all();
        (host.post(workers), woken)
    });
}

/// What a library that left no destructor any more is unloaded by, whether or not every worker has come: its gate.
fn unload_against_detach_by(race: &str, close: fn(&RwLock<bool>) -> bool) {
    struct Library {
        destructors: Word,
        gate: RwLock<bool>,
        is_loaded: Unguarded<bool>,
    }
    explore(race, None, move || {
        let library = Arc::new(Library {
            destructors: Word::new(1),
            gate: RwLock::new(true),
            is_loaded: Unguarded::new(true),
        });
        let detach = |left: u32| {
            let library = library.clone();
            thread::spawn(move || {
                let is_open = library.gate.read().unwrap();
                if *is_open {
                    library.destructors.touched().fetch_sub(left, Relaxed);
                    assert!(library.is_loaded.0.get(), "the code under a detaching worker is gone");
                }
            })
        };
        let workers = [detach(1), detach(0)];
        if library.destructors.touched().load(Relaxed) == 0 && close(&library.gate) {
            library.is_loaded.0.set(false);
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn unload_against_detach() {
    unload_against_detach_by("unload_against_detach", |gate| {
        gate.try_write().is_ok_and(|mut is_open| std::mem::replace(&mut *is_open, false))
    });
}

/// The same by the count alone, which is 0 before the last destructor has returned.
#[test]
#[should_panic(expected = "Causality violation")]
fn unload_by_the_count_alone() {
    unload_against_detach_by("unload_by_the_count_alone", |_| true);
}
