//! Queues of other crates: a burst in and out on one thread, and what stands for the parts of ours.

use crate::{
    MESSAGE,
    harness::{Run, timed},
};
use crossbeam_queue::ArrayQueue;
use std::hint::black_box;

/// Messages in, then out; few enough for the first-level cache.
pub const BURST: u64 = 256;

/// Bursts through any queue, by what puts one in and takes one out.
fn singly<Q: 'static>(queue: Q, put: fn(&mut Q), take: fn(&mut Q) -> Option<[u64; 8]>) -> Run {
    let mut queue = queue;
    timed(move |bursts| {
        for _ in 0..bursts {
            (0..BURST).for_each(|_| put(&mut queue));
            for _ in 0..BURST {
                black_box(take(&mut queue).expect("it was put in"));
            }
        }
    })
}

pub fn ring() -> Result<Run, String> {
    let ring = mycelia_kernel::ring::Ring::new(1024, 64);
    Ok(singly(ring, |ring| assert!(ring.try_push_copy(&black_box(MESSAGE))), |ring| ring.pop()))
}

/// Single producer and consumer.
pub fn rtrb() -> Result<Run, String> {
    let ends = rtrb::RingBuffer::new(1024);
    Ok(singly(
        ends,
        |(producer, _)| producer.push(black_box(MESSAGE)).expect("the burst fits"),
        |(_, consumer)| consumer.pop().ok(),
    ))
}

pub fn array_queue() -> Result<Run, String> {
    Ok(singly(
        ArrayQueue::new(1024),
        |queue| queue.push(black_box(MESSAGE)).expect("the burst fits"),
        |queue| queue.pop(),
    ))
}

pub fn crossbeam() -> Result<Run, String> {
    Ok(singly(
        crossbeam_channel::bounded(1024),
        |(sender, _)| sender.try_send(black_box(MESSAGE)).expect("the burst fits"),
        |(_, receiver)| receiver.try_recv().ok(),
    ))
}

pub fn flume() -> Result<Run, String> {
    Ok(singly(
        flume::bounded(1024),
        |(sender, _)| sender.try_send(black_box(MESSAGE)).expect("the burst fits"),
        |(_, receiver)| receiver.try_recv().ok(),
    ))
}

pub fn kanal() -> Result<Run, String> {
    Ok(singly(
        kanal::bounded(1024),
        |(sender, _)| assert_eq!(sender.try_send(black_box(MESSAGE)), Ok(true)),
        |(_, receiver)| receiver.try_recv().ok().flatten(),
    ))
}

pub fn tokio() -> Result<Run, String> {
    Ok(singly(
        tokio::sync::mpsc::channel(1024),
        |(sender, _)| sender.try_send(black_box(MESSAGE)).expect("the burst fits"),
        |(_, receiver)| receiver.try_recv().ok(),
    ))
}

/// Messages one by one into a full queue of 1,024, each in place of the oldest.
pub fn force_push() -> Result<Run, String> {
    let queue = ArrayQueue::new(1024);
    while queue.push(MESSAGE).is_ok() {}
    Ok(timed(move |bursts| {
        for _ in 0..bursts * crate::BURST {
            assert!(black_box(queue.force_push(black_box(MESSAGE))).is_some(), "it is full");
        }
    }))
}

/// One in at the end and one out at the front of an array that holds so many and shifts the others.
pub fn shifting<const COUNT: usize>() -> Result<Run, String> {
    let mut array = vec![MESSAGE; COUNT];
    Ok(timed(move |bursts| {
        for _ in 0..bursts * crate::BURST {
            array.push(black_box(MESSAGE));
            black_box(array.remove(0));
        }
    }))
}

/// What a pool spares: 256 bytes from the heap, filled, and given back.
pub fn heap() -> Result<Run, String> {
    const BYTES: [u8; 256] = [1; 256];
    Ok(timed(move |bursts| {
        for _ in 0..bursts * crate::BURST {
            drop(black_box(Vec::from(black_box(&BYTES[..]))));
        }
    }))
}
