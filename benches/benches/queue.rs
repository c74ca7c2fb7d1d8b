//! The bounded queue alone: messages of 64 bytes in, out, into a full one under each policy, and from several threads.
//!
//! What was put in is counted as it comes out, and what a full queue dropped or gave back is held against what was sent.

mod settings;

use criterion::{BenchmarkId, Criterion};
use crossbeam_utils::Backoff;
use mycelia_kernel::queue::{Drops, Lane, Limits, Policy, Queue};
use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

type Message = [u64; 8];

/// Sent from where it lies, as messages of the host are: one that has just been put together on the stack waits for itself.
const MESSAGE: &Message = &[1; 8];

const CAPACITIES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// In the kernel `Block` answers as `Reject` does: it is the host that waits, and only with senders from outside.
const POLICIES: [(&str, Policy); 4] = [
    ("DropOldest", Policy::DropOldest),
    ("DropNewest", Policy::DropNewest),
    ("Reject", Policy::Reject),
    ("Block", Policy::Block(1)),
];
const BATCH: usize = 64;

fn main() {
    let mut criterion = settings::criterion();
    enqueue(&mut criterion);
    dequeue(&mut criterion);
    full(&mut criterion);
    producers(&mut criterion);
    criterion.final_summary();
}

fn queue(policy: Policy, capacity: usize) -> Queue<Message> {
    Queue::new(Limits { policy, capacity, batch: BATCH, outcomes: 1, timers: 1 })
}

fn enqueue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/enqueue");
    for (name, policy) in POLICIES {
        for capacity in CAPACITIES {
            group.bench_function(BenchmarkId::new(name, capacity), |bencher| {
                // Before the clock runs, from which it is estimated how often to do it.
                let mut round = Round::new(policy, capacity);
                bencher.iter_custom(|times| round.times(times).0);
            });
        }
    }
}

/// By batches of 64, as a worker claims.
fn dequeue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/dequeue");
    for capacity in CAPACITIES {
        group.bench_function(BenchmarkId::from_parameter(capacity), |bencher| {
            let mut round = Round::new(Policy::Reject, capacity);
            bencher.iter_custom(|times| round.times(times).1);
        });
    }
}

/// Queues that are filled and emptied together, enough of them for the clock not to count.
struct Round {
    queues: Vec<Queue<Message>>,
    capacity: usize,
    out: Vec<Message>,
}

/// The least messages between two looks at the clock.
const ROUND: usize = 4_096;

impl Round {
    fn new(policy: Policy, capacity: usize) -> Round {
        let queues = (0..ROUND.div_ceil(capacity)).map(|_| queue(policy, capacity)).collect();
        let mut round = Round { queues, capacity, out: Vec::with_capacity(BATCH) };
        // The memory of the slots is mapped when it is first written to.
        round.times((ROUND + capacity) as u64);
        round
    }

    /// How long so many messages take to go in, and to come out.
    fn times(&mut self, messages: u64) -> (Duration, Duration) {
        let (mut ins, mut outs) = (Duration::ZERO, Duration::ZERO);
        let mut left = messages;
        while left > 0 {
            let count = left.min((self.queues.len() * self.capacity) as u64);
            let begin = Instant::now();
            self.fill(count);
            let filled = Instant::now();
            let came = self.drain();
            ins += filled - begin;
            outs += filled.elapsed();
            assert_eq!(came, count, "what went in comes out");
            left -= count;
        }
        (ins, outs)
    }

    fn fill(&self, count: u64) {
        let mut left = count;
        for queue in &self.queues {
            let here = left.min(self.capacity as u64);
            (0..here).for_each(|_| enter(queue));
            left -= here;
        }
    }

    fn drain(&mut self) -> u64 {
        let Round { queues, out, .. } = self;
        let mut came = 0;
        for queue in &*queues {
            while queue.claim(Lane::Queue, BATCH, out) > 0 {
                came += black_box(&*out).len() as u64;
                out.clear();
            }
        }
        came
    }
}

/// Sends where there is room.
fn enter(queue: &Queue<Message>) {
    let sent = queue.send(*black_box(MESSAGE), &mut |_, how| panic!("dropped: {how:?}"));
    assert!(sent.is_ok(), "the queue has room");
}

/// One message more than there is room for.
fn full(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/full");
    for (name, policy) in POLICIES {
        for capacity in CAPACITIES {
            let queue = queue(policy, capacity);
            (0..capacity).for_each(|_| enter(&queue));
            group.bench_function(BenchmarkId::new(name, capacity), |bencher| {
                bencher.iter_custom(|times| overfill(&queue, times));
            });
        }
    }
}

fn overfill(queue: &Queue<Message>, times: u64) -> Duration {
    let before = queue.drops();
    let (mut dropped, mut refused) = (0, 0);
    let begin = Instant::now();
    for _ in 0..times {
        let sent = queue.send(*black_box(MESSAGE), &mut |_, _| dropped += 1);
        refused += u64::from(sent.is_err());
    }
    let took = begin.elapsed();
    let (oldest, newest, back) = match queue.policy() {
        Policy::DropOldest => (times, 0, 0),
        Policy::DropNewest => (0, times, 0),
        Policy::Reject | Policy::Block(_) => (0, 0, times),
    };
    let drops = Drops { oldest: before.oldest + oldest, newest: before.newest + newest };
    assert_eq!((queue.drops(), dropped, refused), (drops, oldest + newest, back));
    assert_eq!(queue.depth(), queue.capacity());
    took
}

/// Threads that send one by one, against one that claims.
fn producers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue/producers");
    for producers in 1..=4 {
        for capacity in CAPACITIES {
            group.bench_function(BenchmarkId::new(producers.to_string(), capacity), |bencher| {
                bencher.iter_custom(|times| across(producers, capacity, times));
            });
        }
    }
}

fn across(producers: u64, capacity: usize, times: u64) -> Duration {
    let queue = queue(Policy::Reject, capacity);
    let start = Barrier::new(producers as usize + 1);
    thread::scope(|scope| {
        for producer in 0..producers {
            let share = times / producers + u64::from(producer < times % producers);
            let (queue, start) = (&queue, &start);
            scope.spawn(move || {
                start.wait();
                (0..share).for_each(|number| insist(queue, [producer, number, 0, 0, 0, 0, 0, 0]));
            });
        }
        start.wait();
        let begin = Instant::now();
        receive(&queue, producers, times);
        begin.elapsed()
    })
}

/// With fewer cores than threads, the one that makes room may have none: so it spins, and soon yields.
fn insist(queue: &Queue<Message>, message: Message) {
    let backoff = Backoff::new();
    while queue.try_send(&message).is_none() {
        backoff.snooze();
    }
}

/// Each producer's messages come in order, and all of them come.
fn receive(queue: &Queue<Message>, producers: u64, times: u64) {
    let mut next = vec![0; producers as usize];
    let mut out = Vec::with_capacity(BATCH);
    let (mut left, backoff) = (times, Backoff::new());
    while left > 0 {
        left -= queue.claim(Lane::Queue, BATCH, &mut out) as u64;
        if out.is_empty() {
            backoff.snooze();
        } else {
            backoff.reset();
        }
        for [producer, number, ..] in out.drain(..) {
            assert_eq!(number, next[producer as usize], "messages of a producer keep their order");
            next[producer as usize] += 1;
        }
    }
    assert_eq!(queue.depth(), 0);
}
