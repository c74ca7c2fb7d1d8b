use mycelia_kernel::{
    ids::SubsystemId,
    queue::{Begin, Lane, Leave, Limits, Policy, Queue, Wake},
    ready::Ready,
    ring::Ring,
};
use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread,
};

const SENDERS: usize = 3;
const EACH: u32 = 4_000;

/// (sender, sequence)
type Message = (usize, u32);

fn check_fifo(messages: &[Message]) {
    let mut next = [0; SENDERS];
    for (sender, sequence) in messages {
        assert!(*sequence >= next[*sender], "sender {sender}: {sequence} after {}", next[*sender]);
        next[*sender] = sequence + 1;
    }
}

fn check_once(mut messages: Vec<Message>, each: u32) {
    assert_eq!(messages.len(), SENDERS * each as usize);
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), SENDERS * each as usize, "a message ended twice");
}

/// Several senders and one claimer; answers what was claimed, in order, and what each sender evicted.
fn stress(
    ring: &Ring<Message>,
    send: impl Fn(usize, &Ring<Message>) -> Vec<Message> + Sync,
) -> [Vec<Message>; 2] {
    let (start, done) = (Barrier::new(SENDERS + 1), AtomicUsize::new(0));
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (start, done, send) = (&start, &done, &send);
                scope.spawn(move || {
                    start.wait();
                    let evicted = send(sender, ring);
                    done.fetch_add(1, SeqCst);
                    evicted
                })
            })
            .collect();
        start.wait();
        let mut claimed = Vec::new();
        loop {
            let finished = done.load(SeqCst) == SENDERS;
            if ring.claim(7, &mut claimed) == 0 {
                if finished {
                    break;
                }
                thread::yield_now();
            }
        }
        let evicted = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        [claimed, evicted]
    })
}

#[test]
fn evicting_senders_against_a_claimer() {
    for (capacity, batch) in [(1, 1), (2, 1), (5, 3), (64, 8)] {
        let ring = Ring::new(capacity, batch);
        let [claimed, evicted] = stress(&ring, |sender, ring| {
            let mut evicted = Vec::new();
            for sequence in 0..EACH {
                ring.push_evicting((sender, sequence), &mut |message| evicted.push(message));
            }
            check_fifo(&evicted);
            evicted
        });
        check_fifo(&claimed);
        check_once([claimed, evicted].concat(), EACH);
        assert_eq!(ring.reserved(), u64::from(EACH) * SENDERS as u64);
    }
}

#[test]
fn evicting_batches_against_a_claimer() {
    for capacity in [1, 3, 50, 100] {
        let ring = Ring::new(capacity, 8);
        let [claimed, evicted] = stress(&ring, |sender, ring| {
            let mut evicted = Vec::new();
            let all: Vec<Message> = (0..EACH).map(|sequence| (sender, sequence)).collect();
            for messages in all.chunks(64) {
                ring.push_many_evicting(messages, &mut |message| evicted.push(message));
            }
            evicted
        });
        check_fifo(&claimed);
        check_once([claimed, evicted].concat(), EACH);
    }
}

#[test]
fn patient_senders_against_a_claimer() {
    for capacity in [1, 3, 64] {
        let ring = Ring::new(capacity, 4);
        let [claimed, _] = stress(&ring, |sender, ring| {
            let all: Vec<Message> = (0..EACH).map(|sequence| (sender, sequence)).collect();
            let mut left = all.as_slice();
            while !left.is_empty() {
                let many = &left[..left.len().min(1 + left.len() % 64)];
                left = &left[ring.try_push_many(many)..];
                thread::yield_now();
            }
            Vec::new()
        });
        check_fifo(&claimed);
        check_once(claimed, EACH);
    }
}

#[test]
fn nothing_leaks_between_threads() {
    let item = Arc::new(());
    let ring = Ring::new(5, 2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..2_000).for_each(|_| ring.push_evicting(item.clone(), &mut drop)));
        }
        scope.spawn(|| (0..2_000).for_each(|_| drop(ring.pop())));
    });
    drop(ring);
    assert_eq!(Arc::strong_count(&item), 1);
}

/// A host in miniature: two workers, a ready list, no parking.
struct Host {
    queues: Vec<Queue<Message>>,
    ready: Ready,
    running: Vec<AtomicBool>,
    handled: Vec<Mutex<Vec<Message>>>,
    left: AtomicUsize,
}

impl Host {
    fn new(subsystems: usize, total: usize) -> Self {
        let limits =
            Limits { policy: Policy::Reject, capacity: 16, batch: 8, outcomes: 1, timers: 1 };
        Host {
            queues: (0..subsystems).map(|_| Queue::new(limits)).collect(),
            ready: Ready::new(subsystems),
            running: (0..subsystems).map(|_| AtomicBool::new(false)).collect(),
            handled: (0..subsystems).map(|_| Mutex::new(Vec::new())).collect(),
            left: AtomicUsize::new(total),
        }
    }

    fn wake(&self, index: usize, wake: Wake) {
        if wake == Wake::Ready {
            self.ready.push(SubsystemId(index as u16)).expect("a subsystem was ready twice");
        }
    }

    fn send(&self, message: Message) {
        for index in 0..self.queues.len() {
            loop {
                if let Ok(wake) = self.queues[index].send(message, &mut |_, _| ()) {
                    break self.wake(index, wake);
                }
                thread::yield_now();
            }
        }
    }

    fn work(&self) {
        while self.left.load(Relaxed) > 0 {
            match self.ready.pop() {
                Some(subsystem) => self.turn(subsystem.index()),
                None => thread::yield_now(),
            }
        }
    }

    fn turn(&self, index: usize) {
        let queue = &self.queues[index];
        if queue.begin() == Begin::HandOver {
            return;
        }
        assert!(!self.running[index].swap(true, Relaxed), "two workers run one subsystem");
        let count = queue.claim(Lane::Queue, 8, &mut self.handled[index].lock().unwrap());
        self.left.fetch_sub(count, Relaxed);
        assert!(self.running[index].swap(false, Relaxed));
        match queue.leave() {
            Leave::Idle | Leave::HandOver => {}
            Leave::More => self.wake(index, queue.requeue()),
        }
    }

    /// The lifecycle thread: takes each subsystem out of circulation, again and again.
    fn hold(&self) {
        for index in (0..self.queues.len()).cycle() {
            let queue = &self.queues[index];
            while !queue.try_hold() {
                if self.left.load(Relaxed) == 0 {
                    return;
                }
                thread::yield_now();
            }
            assert!(!self.running[index].load(Relaxed), "held while it runs");
            self.wake(index, queue.release());
            if self.left.load(Relaxed) == 0 {
                return;
            }
        }
    }
}

#[test]
fn no_wake_up_is_lost_among_workers_and_a_lifecycle_thread() {
    const SUBSYSTEMS: usize = 3;
    // Fewer than elsewhere: with more threads than cores most of the time goes into yielding.
    const EACH: u32 = 500;
    let host = Host::new(SUBSYSTEMS, SUBSYSTEMS * SENDERS * EACH as usize);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let host = &host;
            scope.spawn(move || (0..EACH).for_each(|sequence| host.send((sender, sequence))));
        }
        scope.spawn(|| host.work());
        scope.spawn(|| host.work());
        scope.spawn(|| host.hold());
    });
    for handled in host.handled {
        let handled = handled.into_inner().unwrap();
        check_fifo(&handled);
        check_once(handled, EACH);
    }
}
