//! The run state: who runs a subsystem next, and that nothing is left asleep.

use crate::{explore, queue, running, send};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, fence},
    },
    thread,
};
use mycelia_kernel::{
    ledger::{Ends, Ledger},
    queue::{Begin, Lane, Leave, Queue, STOP, Wake},
};

fn wake_against_leave_by(race: &str, send: fn(&Queue<u32>) -> Wake) {
    explore(race, None, move || {
        let queue = running();
        let sender = queue.clone();
        let sender = thread::spawn(move || send(&sender));
        let left = queue.leave();
        let wake = sender.join().unwrap();
        // What came is either still held or was made ready, and never both.
        let ready = usize::from(wake == Wake::Ready);
        let held = usize::from(left == Leave::More);
        assert_eq!(ready + held, 1, "{left:?} {wake:?}");
    });
}

#[test]
fn wake_against_leave() {
    wake_against_leave_by("wake_against_leave", |queue| send(queue, 7));
}

#[test]
fn outcome_against_leave() {
    wake_against_leave_by("outcome_against_leave", |queue| queue.deliver(7).unwrap());
}

#[test]
fn timer_against_leave() {
    wake_against_leave_by("timer_against_leave", |queue| queue.ring_timer(7).unwrap());
}

#[test]
fn bit_against_leave() {
    wake_against_leave_by("bit_against_leave", |queue| queue.raise(STOP));
}

#[test]
fn two_wakes() {
    explore("two_wakes", None, || {
        let queue = queue();
        let other = queue.clone();
        let other = thread::spawn(move || send(&other, 1));
        let wakes = [send(&queue, 2), other.join().unwrap()];
        assert_eq!(wakes.iter().filter(|wake| **wake == Wake::Ready).count(), 1);
    });
}

#[test]
fn drain_and_leave_against_send() {
    explore("drain_and_leave_against_send", Some(4), || {
        let queue = running();
        let sender = queue.clone();
        let sender = thread::spawn(move || [send(&sender, 1), send(&sender, 2)]);
        let mut out = Vec::with_capacity(2);
        queue.claim(Lane::Queue, 2, &mut out);
        let left = queue.leave();
        let wakes = sender.join().unwrap();
        let ready = wakes.iter().filter(|wake| **wake == Wake::Ready).count();
        if left == Leave::More {
            assert_eq!(ready, 0);
        } else if out.len() < 2 {
            assert_eq!(ready, 1, "a message was left asleep");
        }
        queue.claim(Lane::Queue, 2, &mut out);
        assert_eq!(out, [1, 2]);
    });
}

#[test]
fn claim_of_a_lane_against_deliver() {
    explore("claim_of_a_lane_against_deliver", Some(4), || {
        let queue = running();
        let sender = queue.clone();
        let sender =
            thread::spawn(move || [sender.deliver(1).unwrap(), sender.ring_timer(2).unwrap()]);
        let mut out = Vec::with_capacity(2);
        queue.claim(Lane::Outcomes, 1, &mut out);
        let left = queue.leave();
        let wakes = sender.join().unwrap();
        let ready = wakes.iter().filter(|wake| **wake == Wake::Ready).count();
        // The timer's message is not claimed, so somebody has to come back.
        assert_eq!(ready, usize::from(left == Leave::Idle), "what came is left asleep");
        queue.claim(Lane::Outcomes, 1, &mut out);
        queue.claim(Lane::Timers, 1, &mut out);
        assert_eq!(out, [1, 2]);
    });
}

/// What comes while a subsystem is held, or about to be, makes it ready once, by its sender or by the release.
fn hold_against(race: &str, send: fn(&Queue<u32>) -> Wake) {
    explore(race, None, move || {
        let queue = queue();
        let sender = queue.clone();
        let sender = thread::spawn(move || send(&sender));
        let mut ready = 0;
        let held = queue.try_hold();
        if held {
            ready += usize::from(queue.release() == Wake::Ready);
        }
        ready += usize::from(sender.join().unwrap() == Wake::Ready);
        assert_eq!(ready, 1, "what came makes it ready, once");
        if !held {
            assert_eq!(queue.begin(), Begin::HandOver);
            assert_eq!(queue.release(), Wake::Ready);
        }
        assert_eq!(queue.begin(), Begin::Run);
        assert!(!queue.is_empty(), "what came is lost");
    });
}

#[test]
fn hold_against_send() {
    hold_against("hold_against_send", |queue| send(queue, 7));
}

#[test]
fn hold_against_outcome() {
    hold_against("hold_against_outcome", |queue| queue.deliver(7).unwrap());
}

#[test]
fn hold_against_timer() {
    hold_against("hold_against_timer", |queue| queue.ring_timer(7).unwrap());
}

#[test]
fn hold_against_bit() {
    hold_against("hold_against_bit", |queue| queue.raise(STOP));
}

#[test]
fn hold_against_leave() {
    explore("hold_against_leave", None, || {
        let queue = running();
        let worker = queue.clone();
        let worker = thread::spawn(move || worker.leave());
        let held = queue.try_hold();
        let left = worker.join().unwrap();
        assert_eq!(held, left == Leave::Idle, "{left:?}");
        assert!(queue.is_held());
        assert_eq!(queue.release(), Wake::None);
    });
}

#[test]
fn withdraw_against_requeue() {
    explore("withdraw_against_requeue", None, || {
        let queue = running();
        assert!(!queue.try_hold());
        let worker = queue.clone();
        let worker = thread::spawn(move || worker.requeue());
        let too_late = queue.withdraw();
        assert_eq!(too_late, worker.join().unwrap() == Wake::None);
        assert_eq!(too_late, queue.is_held());
    });
}

#[test]
fn snapshot_against_holder() {
    explore("snapshot_against_holder", Some(4), || {
        let (queue, ledger) = (running(), Arc::new(Ledger::new()));
        let holder = (queue.clone(), ledger.clone());
        let sender = queue.clone();
        let sender = thread::spawn(move || send(&sender, 7));
        let holder = thread::spawn(move || {
            let claimed = holder.0.claim(Lane::Queue, 1, &mut Vec::with_capacity(1)) as u64;
            holder.1.end(Ends { handled: claimed, ..Ends::default() });
        });
        let counts = ledger.snapshot(&queue);
        assert!(counts.balances(), "{counts:?}");
        assert!(counts.handled + counts.queued <= counts.accepted, "{counts:?}");
        let _ = sender.join().unwrap();
        holder.join().unwrap();
    });
}

/// The sleep handshake with its two accesses in the wrong order on the holder's side: it must be seen to lose a wake-up,
/// or the models above prove nothing.
#[test]
#[should_panic(expected = "a message was left asleep")]
fn leave_that_looks_before_it_sleeps() {
    const IDLE: u32 = 0;
    const RUNNING: u32 = 2;
    loom::model(|| {
        let shared = Arc::new((AtomicU32::new(0), AtomicU32::new(RUNNING)));
        let sender = shared.clone();
        let sender = thread::spawn(move || {
            sender.0.fetch_add(1, SeqCst);
            fence(SeqCst);
            sender.1.load(SeqCst) == IDLE
        });
        let seen = shared.0.load(SeqCst) > 0;
        fence(SeqCst);
        shared.1.store(IDLE, Relaxed);
        let woken = sender.join().unwrap();
        assert!(seen || woken, "a message was left asleep");
    });
}
