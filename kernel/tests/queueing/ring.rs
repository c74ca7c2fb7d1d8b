use mycelia_kernel::ring::Ring;
use proptest::prelude::*;
use std::{collections::VecDeque, sync::Arc};

#[derive(Clone, Debug)]
enum Op {
    Push,
    PushEvicting,
    PushMany(usize),
    PushManyEvicting(usize),
    Claim(usize),
    Pop,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Push),
        Just(Op::PushEvicting),
        (0..90usize).prop_map(Op::PushMany),
        (0..200usize).prop_map(Op::PushManyEvicting),
        (0..90usize).prop_map(Op::Claim),
        Just(Op::Pop),
    ]
}

/// A ring and the deque that it should behave like, fed with ever new numbers.
struct Pair {
    ring: Ring<u32>,
    model: VecDeque<u32>,
    capacity: usize,
    next: u32,
}

impl Pair {
    fn fresh(&mut self, count: usize) -> Vec<u32> {
        let first = self.next;
        self.next += count as u32;
        (first..self.next).collect()
    }

    fn room(&self) -> usize {
        self.capacity - self.model.len()
    }

    fn evict(&mut self, items: &[u32]) -> Vec<u32> {
        self.model.extend(items);
        let too_many = self.model.len().saturating_sub(self.capacity);
        self.model.drain(..too_many).collect()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Push => self.push(),
            Op::PushEvicting => {
                let items = self.fresh(1);
                let mut evicted = Vec::new();
                self.ring.push_evicting(items[0], &mut |item| evicted.push(item));
                assert_eq!(evicted, self.evict(&items));
            }
            Op::PushMany(count) => {
                let items = self.fresh(count);
                let fit = count.min(self.room());
                assert_eq!(self.ring.try_push_many(&items), fit);
                self.model.extend(&items[..fit]);
            }
            Op::PushManyEvicting(count) => {
                let items = self.fresh(count);
                let mut evicted = Vec::new();
                self.ring.push_many_evicting(&items, &mut |item| evicted.push(item));
                assert_eq!(evicted, self.evict(&items));
            }
            Op::Claim(max) => {
                let mut out = Vec::new();
                assert_eq!(self.ring.claim(max, &mut out), out.len());
                let count = max.min(self.model.len());
                assert_eq!(out, self.model.drain(..count).collect::<Vec<_>>());
            }
            Op::Pop => assert_eq!(self.ring.pop(), self.model.pop_front()),
        }
    }

    fn push(&mut self) {
        let item = self.fresh(1)[0];
        let fits = self.room() > 0;
        assert_eq!(self.ring.try_push(item), if fits { Ok(()) } else { Err(item) });
        if fits {
            self.model.push_back(item);
        }
    }

    fn check(&self) {
        assert_eq!(self.ring.len(), self.model.len());
        assert_eq!(self.ring.is_empty(), self.model.is_empty());
        let between = self.ring.reserved() - self.ring.claimed();
        assert_eq!(between as usize, self.model.len());
    }
}

proptest! {
    #[test]
    fn behaves_like_a_deque(
        capacity in 1..70usize,
        batch in 0..70usize,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let ring = Ring::new(capacity, batch);
        let mut pair = Pair { ring, model: VecDeque::new(), capacity, next: 0 };
        for op in ops {
            pair.apply(op);
            pair.check();
        }
    }
}

#[test]
fn holds_exactly_its_capacity() {
    for capacity in [1, 2, 3, 5, 7, 8, 100] {
        let ring = Ring::new(capacity, 4);
        let entered = (0..capacity + 3).filter(|item| ring.try_push(*item).is_ok()).count();
        assert_eq!((entered, ring.len(), ring.capacity()), (capacity, capacity, capacity));
    }
}

#[test]
fn an_overflow_leaves_the_newest_in_order() {
    for capacity in [1, 2, 3, 5, 7, 8, 100] {
        let ring = Ring::new(capacity, 4);
        (0..1000).for_each(|item| ring.push_evicting(item, &mut drop));
        let mut out = Vec::new();
        ring.claim(usize::MAX, &mut out);
        assert_eq!(out, (1000 - capacity..1000).collect::<Vec<_>>());
    }
}

#[test]
fn claiming_into_room_does_not_allocate() {
    let ring = Ring::new(100, 8);
    let mut out = Vec::with_capacity(8);
    let memory = out.as_ptr();
    for _ in 0..100 {
        ring.try_push_many(&[0u8; 8]);
        out.clear();
        assert_eq!(ring.claim(8, &mut out), 8);
    }
    assert_eq!((out.as_ptr(), out.capacity()), (memory, 8));
}

#[test]
fn what_is_left_is_dropped_with_the_ring() {
    let item = Arc::new(());
    let ring = Ring::new(3, 1);
    for _ in 0..5 {
        ring.push_evicting(item.clone(), &mut drop);
    }
    drop(ring.pop());
    assert_eq!(Arc::strong_count(&item), 3);
    drop(ring);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn a_panic_in_the_evicted_closure_leaves_the_ring_usable() {
    let ring = Ring::new(2, 1);
    ring.try_push_many(&[1, 2]);
    let push = || ring.push_evicting(3, &mut |_| panic!("on purpose"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(push)).is_err());
    ring.try_push(4).unwrap();
    assert_eq!([ring.pop(), ring.pop(), ring.pop()], [Some(2), Some(4), None]);
}

#[test]
fn the_evicted_closure_may_use_the_ring() {
    let ring = Ring::new(1, 1);
    ring.try_push(1).unwrap();
    ring.push_evicting(2, &mut |item| assert_eq!((item, ring.len()), (1, 0)));
    assert_eq!(ring.pop(), Some(2));
}

#[test]
#[should_panic(expected = "at least one")]
fn a_ring_of_nothing_is_refused() {
    drop(Ring::<u8>::new(0, 1));
}
