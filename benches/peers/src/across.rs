//! One thread that sends, one that receives, each as fast as it can; and the control loop of rows that cross cores.

use crate::MESSAGE;
use mycelia_kernel::ring::Ring;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

/// Messages a burst: they fit into every queue, so that nobody waits for room and no message is dropped.
pub const BURST: u64 = 60_000;
pub const CAPACITY: usize = 1 << 16;

/// Nanoseconds from the first of the messages to the last one received.
///
/// The receiver runs before the sender begins, so waking it is not part of that.
pub fn across(send: impl FnOnce(), receive: impl FnOnce() -> u64 + Send) -> f64 {
    let is_ready = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            is_ready.store(true, Ordering::Release);
            let count = receive();
            (Instant::now(), count)
        });
        while !is_ready.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let begin = Instant::now();
        send();
        let (end, count) = receiver.join().expect("a receiver only counts");
        assert_eq!(count, BURST, "every message is received");
        (end - begin).as_nanos() as f64
    })
}

/// A bare ring between two threads, by `run` messages at a time, received by 64.
pub fn ring(run: usize) -> impl FnMut(u64) -> f64 {
    let ring = Arc::new(Ring::new(CAPACITY, 64));
    let messages = vec![MESSAGE; run];
    move |bursts| {
        let burst = |_| {
            let send = || {
                let mut left = BURST as usize;
                while left > 0 {
                    left -= ring.try_push_many(&messages[..run.min(left)]);
                }
            };
            across(send, || received(&ring))
        };
        (0..bursts).map(burst).sum()
    }
}

fn received(ring: &Ring<[u64; 8]>) -> u64 {
    let (mut batch, mut count, mut sum) = (Vec::with_capacity(64), 0, 0);
    while count < BURST {
        batch.clear();
        if ring.claim(64, &mut batch) == 0 {
            // Not chasing the sender: it is worth a factor of 1.4.
            (0..16).for_each(|_| std::hint::spin_loop());
        }
        count += batch.len() as u64;
        sum += batch.iter().map(|message| message[0]).sum::<u64>();
    }
    std::hint::black_box(sum);
    count
}

/// Nanoseconds a message of the bare ring, to see how far apart the cores are just then.
pub fn control() -> f64 {
    let mut ring = ring(64);
    // The first burst touches the memory.
    ring(1);
    ring(4) / (4 * BURST) as f64
}

/// The percentile of so many requests' times, each with the clock's own 25 nanoseconds.
pub fn percentile(percentile: usize, count: u64, mut ask: impl FnMut(u64)) -> f64 {
    let time = |number| {
        let begin = Instant::now();
        ask(number);
        begin.elapsed().as_nanos() as u64
    };
    let mut nanos: Vec<u64> = (0..count).map(time).collect();
    nanos.sort_unstable();
    nanos[nanos.len() * percentile / 100] as f64
}
