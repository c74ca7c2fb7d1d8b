//! Every interleaving of the races the queueing half is made of, each model named by its race.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p mycelia-kernel --release --test loom
//! ```
//!
//! Each prints how many interleavings it explored. A bound on preemptions is given where the whole space takes minutes.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst, fence},
    },
    thread,
};
use mycelia_kernel::{
    asks::{Asks, End, Requests},
    idle::Idle,
    ids::SubsystemId,
    ledger::{Ends, Ledger},
    queue::{Begin, Lane, Leave, Limits, Policy, Queue, STOP, Wake},
    ready::Ready,
    ring::Ring,
};
use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
};

#[expect(clippy::explicit_write, reason = "the test harness keeps what `eprintln` prints")]
fn explore(race: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let bound = preemptions.map_or("all".to_owned(), |bound| format!("{bound} preemptions"));
    let count = count.load(Ordering::Relaxed);
    writeln!(std::io::stderr(), "{race}: {count} interleavings ({bound})").unwrap();
}

fn drain<T>(ring: &Ring<T>) -> Vec<T> {
    std::iter::from_fn(|| ring.pop()).collect()
}

#[test]
fn push_against_drain() {
    explore("push_against_drain", None, || {
        let ring = Arc::new(Ring::new(2, 1));
        let producer = ring.clone();
        let producer = thread::spawn(move || {
            producer.try_push(1).unwrap();
            producer.try_push(2).unwrap();
        });
        let mut out = Vec::with_capacity(2);
        ring.claim(2, &mut out);
        producer.join().unwrap();
        ring.claim(2, &mut out);
        assert_eq!(out, [1, 2]);
    });
}

#[test]
fn push_against_push() {
    explore("push_against_push", Some(4), || {
        let ring = Arc::new(Ring::new(3, 1));
        let single = ring.clone();
        let single = thread::spawn(move || single.try_push(9).unwrap());
        let many = ring.clone();
        let many = thread::spawn(move || assert_eq!(many.try_push_many(&[1, 2]), 2));
        let mut out = Vec::with_capacity(3);
        ring.claim(3, &mut out);
        single.join().unwrap();
        many.join().unwrap();
        out.extend(drain(&ring));
        assert!([[9, 1, 2], [1, 2, 9]].contains(&[out[0], out[1], out[2]]), "{out:?}");
    });
}

#[test]
fn full_against_claim() {
    explore("full_against_claim", None, || {
        let ring = Arc::new(Ring::new(1, 1));
        ring.try_push(0).unwrap();
        let producer = ring.clone();
        let producer = thread::spawn(move || producer.try_push(1).is_ok());
        let first = ring.pop();
        let entered = producer.join().unwrap();
        assert_eq!(first, Some(0));
        assert_eq!(drain(&ring), if entered { vec![1] } else { vec![] });
    });
}

#[test]
fn next_lap_against_slow_move() {
    explore("next_lap_against_slow_move", Some(4), || {
        let ring = Arc::new(Ring::new(1, 1));
        ring.try_push(0).unwrap();
        let slow = ring.clone();
        let slow = thread::spawn(move || slow.pop());
        let mut seen = Vec::new();
        let mut kept = 0;
        for item in 1..=2 {
            kept += u32::from(ring.try_push(item).is_ok());
            seen.extend(ring.pop());
        }
        seen.extend(slow.join().unwrap());
        seen.extend(drain(&ring));
        assert_eq!(seen.len() as u32, kept + 1);
    });
}

#[test]
fn evict_against_claim() {
    explore("evict_against_claim", None, || {
        let ring = Arc::new(Ring::new(1, 1));
        ring.try_push(0).unwrap();
        let producer = ring.clone();
        let producer = thread::spawn(move || {
            let mut evicted = Vec::new();
            producer.push_evicting(1, &mut |item| evicted.push(item));
            evicted
        });
        let mut seen = Vec::with_capacity(2);
        ring.claim(1, &mut seen);
        seen.extend(producer.join().unwrap());
        seen.extend(drain(&ring));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
    });
}

#[test]
fn evict_against_evict() {
    explore("evict_against_evict", Some(4), || {
        let ring = Arc::new(Ring::new(1, 1));
        ring.try_push(0).unwrap();
        let push = |item| {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut evicted = Vec::new();
                ring.push_evicting(item, &mut |item| evicted.push(item));
                evicted
            })
        };
        let (one, two) = (push(1), push(2));
        let mut seen = one.join().unwrap();
        seen.extend(two.join().unwrap());
        assert_eq!(seen.len(), 2, "nobody is evicted without need");
        seen.extend(drain(&ring));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    });
}

fn queue() -> Arc<Queue<u32>> {
    let policy = Policy::Reject;
    Arc::new(Queue::new(Limits { policy, capacity: 2, batch: 1, outcomes: 1, timers: 1 }))
}

fn send(queue: &Queue<u32>, message: u32) -> Wake {
    queue.send(message, &mut |_, _| ()).unwrap()
}

/// A queue that the caller runs, with nothing in it.
fn running() -> Arc<Queue<u32>> {
    let queue = queue();
    assert_eq!(queue.raise(STOP), Wake::Ready);
    assert_eq!(queue.begin(), Begin::Run);
    assert_eq!(queue.take_bits(), STOP);
    queue
}

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
fn hold_against_send() {
    explore("hold_against_send", None, || {
        let queue = queue();
        let sender = queue.clone();
        let sender = thread::spawn(move || send(&sender, 7));
        let mut ready = 0;
        let held = queue.try_hold();
        if held {
            ready += usize::from(queue.release() == Wake::Ready);
        }
        ready += usize::from(sender.join().unwrap() == Wake::Ready);
        assert_eq!(ready, 1, "the message makes it ready, once");
        if !held {
            assert_eq!(queue.begin(), Begin::HandOver);
            assert_eq!(queue.release(), Wake::Ready);
        }
    });
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
fn answer_against_deadline() {
    explore("answer_against_deadline", None, || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 1));
        let id = asks.begin(10, 7).unwrap();
        let answerer = asks.clone();
        let answerer = thread::spawn(move || answerer.end(id, End::Answered));
        let mut expired = None;
        asks.expire(10, &mut |_, target| expired = Some(target));
        let answered = answerer.join().unwrap();
        assert_eq!(answered.xor(expired), Some(7), "exactly one, and with the template");
        let Requests { asked, answered, timed_out, pending, .. } = asks.counts();
        assert_eq!((asked, answered + timed_out, pending), (1, 1, 0));
    });
}

#[test]
fn begin_against_expire() {
    explore("begin_against_expire", None, || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 2));
        let old = asks.begin(5, 5).unwrap();
        let other = asks.clone();
        let other = thread::spawn(move || other.begin(9, 9).unwrap());
        let mut expired = Vec::with_capacity(1);
        asks.expire(5, &mut |id, _| expired.push(id));
        other.join().unwrap();
        assert_eq!(expired, [old]);
        assert!(asks.earliest() <= 9, "a deadline was forgotten");
    });
}

#[test]
fn late_answer_against_next_request() {
    explore("late_answer_against_next_request", None, || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 1));
        let first = asks.begin(0, 1).unwrap();
        let late = asks.clone();
        let late = thread::spawn(move || late.end(first, End::Answered));
        let mut cancelled = None;
        if let Some(template) = asks.end(first, End::Cancelled) {
            cancelled = Some(template);
            assert!(asks.release(first));
            let second = asks.begin(0, 2).unwrap();
            assert_eq!(asks.end(second, End::Answered), Some(2));
        }
        assert_eq!(late.join().unwrap().xor(cancelled), Some(1));
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

/// Sends while a worker waits by `parks`, which answers whether it would sleep; nobody may sleep on work unwoken.
fn send_against_wait(parks: impl FnOnce(&Idle, &Ready) -> bool) {
    let shared = Arc::new((Idle::new(), Ready::new(2)));
    let sender = shared.clone();
    let sender = thread::spawn(move || {
        sender.1.push(SubsystemId(1)).unwrap();
        sender.0.wake().is_some()
    });
    let sleeps = parks(&shared.0, &shared.1);
    let woken = sender.join().unwrap();
    assert!(woken || !sleeps, "the wake-up is lost");
    assert_eq!(shared.1.pop(), Some(SubsystemId(1)));
}

#[test]
fn wake_against_park() {
    explore("wake_against_park", None, || {
        send_against_wait(|idle, ready| {
            idle.park(0);
            ready.is_empty()
        });
    });
}

#[test]
fn wake_against_spin_and_park() {
    explore("wake_against_spin_and_park", Some(4), || {
        send_against_wait(|idle, ready| {
            assert!(idle.try_spin());
            let found = !ready.is_empty();
            idle.end_spin();
            if found {
                return false;
            }
            idle.park(0);
            ready.is_empty()
        });
    });
}

/// The same wait with the last look before the entry, which loses wake-ups: the models above would see it.
#[test]
#[should_panic(expected = "the wake-up is lost")]
fn park_that_looks_before_it_enters() {
    explore("park_that_looks_before_it_enters", None, || {
        send_against_wait(|idle, ready| {
            let sleeps = ready.is_empty();
            idle.park(0);
            sleeps
        });
    });
}
