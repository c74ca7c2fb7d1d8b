//! Workers that wait.

use crate::explore;
use loom::{sync::Arc, thread};
use mycelia_kernel::{idle::Idle, ids::SubsystemId, ready::Ready};

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
