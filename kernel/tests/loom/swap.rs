//! A reload's commit against those who run the subsystem and those who send to it: `commit` of the host's `reload.rs`, `run`
//! and `fail` of its `work.rs`, with the kernel's queue between them.
//!
//! The host keeps an instance in a mutex; here nothing but the run state says who may have it. Loom cannot see the
//! `arc_swap` of the path table, so an atomic number with the same two orderings stands for what is published.

use crate::{Unguarded, Word, explore};
use loom::{
    sync::{
        Arc, Mutex,
        atomic::Ordering::{Acquire, Release},
    },
    thread,
};
use mycelia_kernel::queue::{Begin, Lane, Leave, Limits, Policy, Queue, Wake};

const OLD: Instance = Instance { generation: 1, handle: |message| (message.number, 1) };
const NEW: Instance = Instance { generation: 2, handle: |message| (message.number, 2) };

#[derive(Copy, Clone)]
struct Instance {
    generation: u32,
    /// As from a library's table of functions: answers the message's number, and who handled it.
    handle: fn(Message) -> (u32, u32),
}

#[derive(Copy, Clone, Debug)]
struct Message {
    number: u32,
    /// The version of the table that it was resolved against.
    resolved: u32,
}

struct Slot {
    queue: Queue<Message>,
    instance: Unguarded<Option<Instance>>,
    /// Beside the instance, and in a mutex as in the host.
    failed: Mutex<bool>,
    /// The version of the published table: that of the generation whose routes are in it.
    published: Word,
}

type Handled = Vec<(u32, u32)>;

/// An idle subsystem that the old generation serves.
fn slot() -> Arc<Slot> {
    let policy = Policy::Reject;
    let queue = Queue::new(Limits { policy, capacity: 2, batch: 1, outcomes: 1, timers: 1 });
    let instance = Unguarded::new(Some(OLD));
    Arc::new(Slot { queue, instance, failed: Mutex::new(false), published: Word::new(1) })
}

impl Slot {
    fn send(&self, number: u32) -> Wake {
        let resolved = self.published.touched().load(Acquire);
        let message = Message { number, resolved };
        self.queue.send(message, &mut |_, _| ()).expect("the queue accepts all along")
    }

    /// Whoever made it ready is the worker that comes.
    fn run(&self, wake: Wake) -> Handled {
        let (mut wake, mut handled) = (wake, Vec::new());
        while wake == Wake::Ready {
            wake = self.turn(&mut handled);
        }
        handled
    }

    fn turn(&self, handled: &mut Handled) -> Wake {
        if self.queue.begin() == Begin::HandOver {
            return Wake::None;
        }
        while self.batch(handled) {
            if self.queue.is_wanted() {
                return self.queue.requeue();
            }
        }
        match self.queue.leave() {
            Leave::Idle | Leave::HandOver => Wake::None,
            Leave::More => {
                thread::yield_now();
                self.queue.requeue()
            }
        }
    }

    fn batch(&self, handled: &mut Handled) -> bool {
        let instance = self.instance.0.take().expect("a worker finds the instance");
        let mut batch = Vec::with_capacity(1);
        self.queue.claim(Lane::Queue, 1, &mut batch);
        for message in &batch {
            assert!(message.resolved <= instance.generation, "the old generation got it");
            let published = self.published.touched().load(Acquire);
            assert!(published >= instance.generation, "the new generation has the old table");
            handled.push((instance.handle)(*message));
        }
        self.instance.0.set(Some(instance));
        !batch.is_empty()
    }

    fn hold(&self) {
        while !self.queue.try_hold() {
            thread::yield_now();
        }
    }

    fn put_new(&self) {
        self.instance.0.take().expect("who holds it finds the instance");
        self.instance.0.set(Some(NEW));
    }

    fn publish(&self) {
        self.published.touched().store(2, Release);
    }

    fn commit(&self) -> Handled {
        self.hold();
        self.put_new();
        self.publish();
        self.run(self.queue.release())
    }
}

/// Each of so many messages was handled once, by whichever generation; the next one is the new one's.
fn end_with_new(slot: &Slot, mut handled: Handled, messages: u32) {
    handled.extend(slot.run(slot.send(messages)));
    handled.sort_unstable();
    let numbers: Vec<u32> = handled.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..=messages).collect::<Vec<_>>(), "each is handled once");
    assert_eq!(handled.last(), Some(&(messages, 2)), "the new generation serves");
}

#[test]
fn swap_against_running_batch() {
    explore("swap_against_running_batch", Some(4), || {
        let slot = slot();
        let wake = slot.send(0);
        let worker = slot.clone();
        let worker = thread::spawn(move || worker.run(wake));
        let mut handled = slot.commit();
        handled.extend(worker.join().unwrap());
        end_with_new(&slot, handled, 1);
    });
}

#[test]
fn swap_against_running_batch_and_sender() {
    explore("swap_against_running_batch_and_sender", Some(2), || {
        let slot = slot();
        let wake = slot.send(0);
        let (worker, sender) = (slot.clone(), slot.clone());
        let worker = thread::spawn(move || worker.run(wake));
        let sender = thread::spawn(move || sender.run(sender.send(1)));
        let mut handled = slot.commit();
        handled.extend(worker.join().unwrap());
        handled.extend(sender.join().unwrap());
        end_with_new(&slot, handled, 2);
    });
}

fn swap_against_resolving_sender_by(race: &str, commit: fn(&Slot) -> Handled) {
    explore(race, Some(3), move || {
        let slot = slot();
        let sender = slot.clone();
        let sender = thread::spawn(move || sender.run(sender.send(0)));
        let mut handled = commit(&slot);
        handled.extend(sender.join().unwrap());
        end_with_new(&slot, handled, 1);
    });
}

#[test]
fn swap_against_resolving_sender() {
    swap_against_resolving_sender_by("swap_against_resolving_sender", Slot::commit);
}

/// The commit in two wrong orders, and without the hold: the models above would see them.
#[test]
#[should_panic(expected = "the old generation got it")]
fn swap_that_publishes_before_it_holds() {
    swap_against_resolving_sender_by("swap_that_publishes_before_it_holds", |slot| {
        slot.publish();
        slot.hold();
        slot.put_new();
        slot.run(slot.queue.release())
    });
}

#[test]
#[should_panic(expected = "the new generation has the old table")]
fn swap_that_releases_before_it_publishes() {
    swap_against_resolving_sender_by("swap_that_releases_before_it_publishes", |slot| {
        slot.hold();
        slot.put_new();
        let wake = slot.queue.release();
        slot.publish();
        slot.run(wake)
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn swap_that_does_not_hold() {
    swap_against_resolving_sender_by("swap_that_does_not_hold", |slot| {
        slot.put_new();
        slot.publish();
        Vec::new()
    });
}

impl Slot {
    /// What a worker does whose handler panicked: the subsystem is out of circulation, and a job for the lifecycle thread is
    /// on its way.
    fn fail(&self) {
        let instance = self.instance.0.take().expect("a worker finds the instance");
        self.instance.0.set(Some(instance));
        *self.failed.lock().unwrap() = true;
        self.queue.seize();
    }

    /// What the lifecycle thread does for that job, and whenever it has held a subsystem.
    fn restart_failed(&self) -> bool {
        self.queue.is_held() && self.restart_marked()
    }

    fn restart_marked(&self) -> bool {
        if !std::mem::take(&mut *self.failed.lock().unwrap()) {
            return false;
        }
        self.put_new();
        assert_eq!(self.queue.release(), Wake::None);
        true
    }
}

/// A subsystem that a worker runs, and the worker, whose handler panics.
fn failing() -> (Arc<Slot>, thread::JoinHandle<()>) {
    let slot = slot();
    assert_eq!(slot.send(0), Wake::Ready);
    assert_eq!(slot.queue.begin(), Begin::Run);
    assert_eq!(slot.queue.claim(Lane::Queue, 1, &mut Vec::with_capacity(1)), 1);
    let worker = slot.clone();
    (slot, thread::spawn(move || worker.fail()))
}

#[test]
fn hold_against_panic() {
    explore("hold_against_panic", None, || {
        let (slot, worker) = failing();
        slot.hold();
        let restarted = slot.restart_failed();
        worker.join().unwrap();
        assert!(restarted, "it is held as if it were good");
        assert!(slot.queue.try_hold() && !slot.restart_failed(), "it is restarted once");
    });
}

#[test]
fn withdraw_against_panic() {
    explore("withdraw_against_panic", None, || {
        let (slot, worker) = failing();
        let held = slot.queue.try_hold() || slot.queue.withdraw();
        let restarted = held && slot.restart_failed();
        worker.join().unwrap();
        assert_eq!(restarted, held, "it is held as if it were good");
        assert_eq!(slot.restart_failed(), !held, "its job restarts it unless that was done");
        assert!(!slot.queue.is_held(), "it is held for good");
    });
}

/// A job whose failure was dealt with before it came, against the next failure.
fn late_restart_against_panic_by(race: &str, restart_failed: fn(&Slot) -> bool) {
    explore(race, None, move || {
        let (slot, worker) = failing();
        restart_failed(&slot);
        worker.join().unwrap();
        restart_failed(&slot);
        assert!(!slot.queue.is_held(), "it is held for good");
    });
}

#[test]
fn late_restart_against_panic() {
    late_restart_against_panic_by("late_restart_against_panic", Slot::restart_failed);
}

/// The same without a look at the run state: it releases what is about to be seized, which the queue notices in debug builds.
#[test]
#[should_panic(expected = "it is held for good")]
#[cfg(not(debug_assertions))]
fn late_restart_that_does_not_look_who_has_it() {
    let race = "late_restart_that_does_not_look_who_has_it";
    late_restart_against_panic_by(race, Slot::restart_marked);
}
