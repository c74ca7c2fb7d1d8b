//! The ring under every queue.

use crate::explore;
use loom::{sync::Arc, thread};
use mycelia_kernel::ring::Ring;

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

/// A run that is claimed in part while others evict from it and push behind it.
#[test]
fn part_of_a_run_against_evict() {
    explore("part_of_a_run_against_evict", Some(4), || {
        let ring = Arc::new(Ring::new(3, 1));
        assert_eq!(ring.try_push_many(&[1, 2, 3]), 3);
        let claimer = ring.clone();
        let claimer = thread::spawn(move || {
            let mut out = Vec::with_capacity(2);
            claimer.claim(1, &mut out);
            out
        });
        let mut evicted = Vec::new();
        ring.push_evicting(4, &mut |item| evicted.push(item));
        let claimed = claimer.join().unwrap();
        let mut seen: Vec<u32> = claimed.iter().chain(&evicted).copied().collect();
        seen.sort_unstable();
        seen.extend(drain(&ring));
        assert_eq!(seen, [1, 2, 3, 4]);
    });
}

/// Two who claim parts of one run.
#[test]
fn part_of_a_run_against_part() {
    explore("part_of_a_run_against_part", Some(4), || {
        let ring = Arc::new(Ring::new(3, 1));
        let producer = ring.clone();
        let producer = thread::spawn(move || assert_eq!(producer.try_push_many(&[1, 2, 3]), 3));
        let other = ring.clone();
        let other = thread::spawn(move || other.pop());
        let mut out = Vec::with_capacity(4);
        ring.claim(2, &mut out);
        producer.join().unwrap();
        out.extend(other.join().unwrap());
        out.sort_unstable();
        out.extend(drain(&ring));
        assert_eq!(out, [1, 2, 3]);
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
