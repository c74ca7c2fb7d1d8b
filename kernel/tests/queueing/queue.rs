use super::{queue, send};
use mycelia_kernel::queue::{
    Begin, Dropped, Full, HEALTH, Lane, Leave, Limits, Policy, Queue, SAVE, STOP, Wake,
};
use proptest::prelude::*;
use std::collections::VecDeque;

const POLICIES: [Policy; 4] =
    [Policy::DropOldest, Policy::DropNewest, Policy::Reject, Policy::Block(1)];

fn contents(queue: &Queue<u32>) -> Vec<u32> {
    let mut out = Vec::new();
    queue.claim(Lane::Queue, usize::MAX, &mut out);
    out
}

/// The table of the original: capacity 2, sent 1, 2, 3, 4.
fn check_overflow(policy: Policy, left: [u32; 2], dropped: &[(u32, Dropped)], back: &[u32]) {
    let queue = queue(policy, 2);
    let (mut seen, mut returned) = (Vec::new(), Vec::new());
    for message in 1..=4 {
        let sent = queue.send(message, &mut |message, how| seen.push((message, how)));
        returned.extend(sent.err().map(|Full(message)| message));
    }
    assert_eq!((seen.as_slice(), returned.as_slice()), (dropped, back), "{policy:?}");
    let of = |kind| dropped.iter().filter(|(_, how)| *how == kind).count() as u64;
    let drops = queue.drops();
    assert_eq!((drops.oldest, drops.newest), (of(Dropped::Oldest), of(Dropped::Newest)));
    assert_eq!(contents(&queue), left, "{policy:?}");
}

#[test]
fn every_policy_answers_as_the_original() {
    use Dropped::{Newest, Oldest};
    check_overflow(Policy::DropOldest, [3, 4], &[(1, Oldest), (2, Oldest)], &[]);
    check_overflow(Policy::DropNewest, [1, 2], &[(3, Newest), (4, Newest)], &[]);
    check_overflow(Policy::Reject, [1, 2], &[], &[3, 4]);
    check_overflow(Policy::Block(1_000), [1, 2], &[], &[3, 4]);
}

#[test]
fn try_send_takes_what_fits_and_drops_nothing_under_any_policy() {
    for policy in POLICIES {
        let queue = queue(policy, 2);
        let sent = [1, 2, 3].map(|message| queue.try_send(&message));
        assert_eq!(sent, [Some(Wake::Ready), Some(Wake::None), None], "{policy:?}");
        assert_eq!(
            (queue.drops(), contents(&queue)),
            (Default::default(), vec![1, 2]),
            "{policy:?}"
        );
    }
}

/// What a queue of one policy should hold and tell, one message at a time.
struct Model {
    policy: Policy,
    capacity: usize,
    queued: VecDeque<u32>,
    dropped: Vec<(u32, Dropped)>,
}

impl Model {
    fn send(&mut self, message: u32) -> bool {
        let full = self.queued.len() == self.capacity;
        match self.policy {
            Policy::DropOldest if full => {
                let oldest = self.queued.pop_front().unwrap();
                self.dropped.push((oldest, Dropped::Oldest));
            }
            Policy::DropNewest if full => {
                self.dropped.push((message, Dropped::Newest));
                return true;
            }
            _ if full => return false,
            _ => {}
        }
        self.queued.push_back(message);
        true
    }
}

proptest! {
    #[test]
    fn one_by_one_and_many_at_once_are_the_same(
        policy in prop::sample::select(POLICIES.to_vec()),
        capacity in 1..70usize,
        steps in prop::collection::vec((0..100usize, any::<bool>(), 0..80usize), 1..40),
    ) {
        let queue = queue(policy, capacity);
        let mut model = Model { policy, capacity, queued: VecDeque::new(), dropped: Vec::new() };
        let mut dropped = Vec::new();
        let mut next = 0..;
        for (count, at_once, claimed) in steps {
            let messages: Vec<u32> = next.by_ref().take(count).collect();
            let mut note = |message, how| dropped.push((message, how));
            let sent = if at_once {
                queue.send_many(&messages, &mut note).1
            } else {
                messages.iter().filter(|m| queue.send(**m, &mut note).is_ok()).count()
            };
            let expected = messages.iter().filter(|message| model.send(**message)).count();
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(&dropped, &model.dropped);
            let mut out = Vec::new();
            queue.claim(Lane::Queue, claimed, &mut out);
            let count = claimed.min(model.queued.len());
            prop_assert_eq!(out, model.queued.drain(..count).collect::<Vec<_>>());
            prop_assert_eq!(queue.depth(), model.queued.len());
        }
    }
}

#[test]
fn lanes_are_apart_and_full_on_their_own() {
    let queue = queue(Policy::Reject, 1);
    assert_eq!(send(&queue, 1), Wake::Ready);
    assert_eq!(queue.deliver(2), Ok(Wake::None));
    assert_eq!(queue.deliver(3), Ok(Wake::None));
    assert_eq!(queue.deliver(4), Err(Full(4)));
    assert_eq!(queue.ring_timer(5), Ok(Wake::None));
    let mut out = Vec::new();
    for lane in [Lane::Outcomes, Lane::Timers, Lane::Queue] {
        queue.claim(lane, 9, &mut out);
    }
    assert_eq!(out, [2, 3, 5, 1]);
    assert!(queue.is_empty());
}

#[test]
fn what_a_claim_leaves_in_a_lane_is_seen_before_the_queue_is_left() {
    let queue = queue(Policy::Reject, 1);
    assert_eq!(queue.deliver(1), Ok(Wake::Ready));
    assert_eq!(queue.deliver(2), Ok(Wake::None));
    assert_eq!(queue.ring_timer(3), Ok(Wake::None));
    assert_eq!(queue.begin(), Begin::Run);
    let mut out = Vec::new();
    for lane in [Lane::Outcomes, Lane::Outcomes, Lane::Timers] {
        assert!(queue.has_more_than_messages());
        assert_eq!(queue.take_bits(), 0, "a lane is no system bit");
        assert_eq!(queue.leave(), Leave::More);
        queue.claim(lane, 1, &mut out);
    }
    assert_eq!(out, [1, 2, 3]);
    assert!(!queue.has_more_than_messages());
    assert_eq!(queue.leave(), Leave::Idle);
}

#[test]
fn bits_add_up_until_they_are_taken() {
    let queue = queue::<u32>(Policy::Reject, 1);
    assert_eq!(queue.raise(STOP), Wake::Ready);
    assert_eq!(queue.raise(SAVE | HEALTH), Wake::None);
    assert!(!queue.is_empty());
    assert_eq!(queue.take_bits(), STOP | SAVE | HEALTH);
    assert_eq!(queue.take_bits(), 0);
}

#[test]
fn a_subsystem_becomes_ready_once_and_again_after_it_left() {
    let queue = queue(Policy::DropNewest, 2);
    assert_eq!(send(&queue, 1), Wake::Ready);
    assert_eq!(send(&queue, 2), Wake::None);
    assert_eq!(queue.send(3, &mut |_, _| ()), Ok(Wake::None));
    assert_eq!(queue.begin(), Begin::Run);
    assert_eq!(queue.leave(), Leave::More);
    contents(&queue);
    assert_eq!(queue.leave(), Leave::Idle);
    assert_eq!(queue.send_many(&[4, 5], &mut |_, _| ()), (Wake::Ready, 2));
}

#[test]
fn sending_nothing_wakes_nobody() {
    for policy in POLICIES {
        assert_eq!(queue::<u32>(policy, 1).send_many(&[], &mut |_, _| ()), (Wake::None, 0));
    }
}

#[test]
fn a_requeued_subsystem_is_ready_though_nothing_came() {
    let queue = queue(Policy::Reject, 1);
    assert_eq!(send(&queue, 1), Wake::Ready);
    assert_eq!(queue.begin(), Begin::Run);
    assert_eq!(queue.requeue(), Wake::Ready);
    assert_eq!(queue.begin(), Begin::Run);
}

#[test]
fn an_idle_subsystem_is_held_at_once_and_senders_wake_nobody() {
    let queue = queue(Policy::Reject, 2);
    assert!(queue.try_hold());
    assert_eq!(send(&queue, 1), Wake::None);
    assert_eq!(queue.release(), Wake::Ready);
    assert_eq!(queue.begin(), Begin::Run);
    assert_eq!(contents(&queue), [1]);
    assert_eq!(queue.leave(), Leave::Idle);
}

#[test]
fn a_busy_subsystem_is_handed_over_at_each_boundary() {
    let hand_over: [fn(&Queue<u32>) -> bool; 3] = [
        |queue| queue.begin() == Begin::HandOver,
        |queue| queue.leave() == Leave::HandOver,
        |queue| queue.requeue() == Wake::None,
    ];
    for (at, hand_over) in hand_over.iter().enumerate() {
        let queue = queue(Policy::Reject, 2);
        assert_eq!(send(&queue, 1), Wake::Ready);
        if at > 0 {
            assert_eq!(queue.begin(), Begin::Run);
        }
        assert!(!queue.try_hold() && queue.is_wanted() && !queue.is_held());
        assert!(hand_over(&queue) && queue.is_held() && queue.try_hold());
        assert_eq!(queue.release(), Wake::Ready);
    }
}

#[test]
fn a_wish_to_hold_can_be_taken_back() {
    let queue = queue(Policy::Reject, 1);
    assert_eq!(send(&queue, 1), Wake::Ready);
    assert!(!queue.try_hold());
    assert!(!queue.withdraw());
    assert_eq!(queue.begin(), Begin::Run);
}

#[test]
fn a_seized_subsystem_goes_on_after_release() {
    let queue = queue(Policy::Reject, 2);
    assert_eq!(send(&queue, 1), Wake::Ready);
    assert_eq!(queue.begin(), Begin::Run);
    queue.seize();
    assert!(queue.is_held());
    assert_eq!(queue.release(), Wake::Ready);
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_queue_is_cheap_until_it_is_used() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let before = resident();
    let limits = Limits {
        policy: Policy::Reject,
        capacity: 1 << 22,
        batch: 64,
        outcomes: 1024,
        timers: 1024,
    };
    let queue = Queue::<[u64; 8]>::new(limits);
    assert_eq!(send(&queue, [0; 8]), Wake::Ready);
    assert!(resident().saturating_sub(before) < 16 << 20, "a queue of half a gigabyte was touched");
}
