use super::queue;
use mycelia_kernel::{
    ledger::{Ends, Ledger, LedgerCounts},
    queue::{Drops, Lane, Policy, Queue},
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    thread,
};

#[test]
fn columns_follow_each_message() {
    let (queue, ledger) = (queue(Policy::DropOldest, 2), Ledger::new());
    for message in 0..5 {
        let _ = queue.send(message, &mut |_, _| ()).unwrap();
    }
    let mut out = Vec::new();
    queue.claim(Lane::Queue, 1, &mut out);
    let expected = LedgerCounts {
        accepted: 5,
        dropped_oldest: 3,
        queued: 1,
        in_flight: 1,
        ..LedgerCounts::default()
    };
    assert_eq!(ledger.snapshot(&queue), expected);
    ledger.end(Ends { dead: 1, ..Ends::default() });
    ledger.reject(2);
    ledger.deny(3);
    let expected = LedgerCounts { dead: 1, in_flight: 0, rejected: 2, denied: 3, ..expected };
    assert_eq!(ledger.snapshot(&queue), expected);
}

#[test]
fn an_end_without_a_claim_does_not_balance() {
    let (queue, ledger) = (queue::<u32>(Policy::Reject, 1), Ledger::new());
    assert!(ledger.snapshot(&queue).balances());
    ledger.end(Ends { handled: 1, ..Ends::default() });
    assert!(!ledger.snapshot(&queue).balances());
}

/// What the senders themselves counted.
#[derive(Default)]
struct Sent {
    accepted: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
}

const EACH: u64 = 10_000;

fn send_all(queue: &Queue<u64>, ledger: &Ledger, sent: &Sent) {
    for message in 0..EACH {
        let outcome = queue.send(message, &mut |_, _| {
            sent.dropped.fetch_add(1, Relaxed);
        });
        let column = if outcome.is_ok() { &sent.accepted } else { &sent.rejected };
        column.fetch_add(1, Relaxed);
        ledger.reject(u64::from(outcome.is_err()));
    }
}

/// Claims until told to stop, and ends each message in a column by its number; answers the counts of its own.
fn hold(queue: &Queue<u64>, ledger: &Ledger, stop: &AtomicBool) -> Ends {
    let mut all = Ends::default();
    let mut out = Vec::with_capacity(8);
    while !stop.load(SeqCst) {
        out.clear();
        queue.claim(Lane::Queue, 8, &mut out);
        let of = |column| out.iter().filter(|message| **message % 4 == column).count() as u64;
        let ends = Ends { handled: of(0), failed: of(1), expired: of(2), dead: of(3) };
        ledger.end(ends);
        all.handled += ends.handled;
        all.failed += ends.failed;
        all.expired += ends.expired;
        all.dead += ends.dead;
        thread::yield_now();
    }
    all
}

/// Reads on while others write: no reading is ever out of balance, and no column goes back.
fn watch(queue: &Queue<u64>, ledger: &Ledger, stop: &AtomicBool) {
    let mut before = LedgerCounts::default();
    while !stop.load(SeqCst) {
        let counts = ledger.snapshot(queue);
        assert!(counts.balances(), "{counts:?}");
        assert!(counts.queued <= queue.capacity() as u64);
        assert!(counts.accepted >= before.accepted && counts.handled >= before.handled);
        before = counts;
    }
}

#[test]
fn the_ledger_agrees_with_the_senders() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Reject, Policy::Block(5)] {
        let (queue, ledger, sent) = (queue(policy, 20), Ledger::new(), Sent::default());
        let stop = AtomicBool::new(false);
        let ends = thread::scope(|scope| {
            let holder = scope.spawn(|| hold(&queue, &ledger, &stop));
            scope.spawn(|| watch(&queue, &ledger, &stop));
            let senders = [(); 3].map(|()| scope.spawn(|| send_all(&queue, &ledger, &sent)));
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            stop.store(true, SeqCst);
            holder.join().unwrap()
        });
        let counts = ledger.snapshot(&queue);
        let own = |count: AtomicU64| count.into_inner();
        assert_eq!(counts.accepted, own(sent.accepted), "{policy:?}");
        assert_eq!(counts.rejected, own(sent.rejected));
        assert_eq!(counts.accepted + counts.rejected, 3 * EACH);
        assert_eq!(counts.dropped_oldest + counts.dropped_newest, own(sent.dropped));
        let dropped = Drops { oldest: counts.dropped_oldest, newest: counts.dropped_newest };
        assert_eq!(queue.drops(), dropped);
        let LedgerCounts { handled, failed, expired, dead, .. } = counts;
        assert_eq!(Ends { handled, failed, expired, dead }, ends);
        assert_eq!((counts.queued, counts.in_flight), (queue.depth() as u64, 0));
    }
}
