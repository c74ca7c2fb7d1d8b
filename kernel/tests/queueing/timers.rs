use mycelia_kernel::{
    asks::Busy,
    timers::{TimerId, Timers},
};
use proptest::prelude::*;

fn fire(timers: &mut Timers<u32>, now: u64) -> (Vec<u32>, u64) {
    let mut fired = Vec::new();
    let next = timers.fire(now, &mut |message| {
        fired.push(message);
        true
    });
    (fired, next)
}

#[test]
fn equal_times_fire_in_the_order_of_arming() {
    let mut timers = Timers::new(9);
    for (due, message) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
        timers.arm_after(due, message).unwrap();
    }
    assert_eq!(fire(&mut timers, 2), (vec![], 3));
    assert_eq!(fire(&mut timers, 5), (vec![2, 4, 1, 3], u64::MAX));
}

#[test]
fn a_periodic_timer_that_falls_behind_fires_once_and_keeps_its_phase() {
    let mut timers = Timers::new(1);
    timers.arm_every(3, 10, 1).unwrap();
    assert_eq!(timers.next_due(), 13);
    assert_eq!(fire(&mut timers, 13), (vec![1], 23));
    assert_eq!(fire(&mut timers, 58), (vec![1], 63));
    assert_eq!(fire(&mut timers, 62), (vec![], 63));
}

#[test]
fn a_message_that_the_lane_refuses_is_not_lost() {
    let mut timers = Timers::new(2);
    timers.arm_after(1, 1).unwrap();
    timers.arm_after(1, 2).unwrap();
    assert_eq!(timers.fire(4, &mut |message| message == 1), 1_000_004);
    assert_eq!(fire(&mut timers, 5), (vec![2], u64::MAX));
}

#[test]
fn there_are_at_most_as_many_as_there_may_be() {
    let mut timers = Timers::new(1);
    let id = timers.arm_after(1, 1).unwrap();
    assert_eq!(timers.arm_every(0, 1, 2), Err(Busy));
    assert!(timers.cancel(id) && !timers.cancel(id) && timers.is_empty());
    timers.arm_every(0, 1, 2).unwrap();
}

#[test]
fn cleared_timers_give_their_messages_back() {
    let mut timers = Timers::new(3);
    timers.arm_after(5, 1).unwrap();
    timers.arm_every(0, 3, 2).unwrap();
    assert_eq!(timers.clear().collect::<Vec<_>>(), [2, 1]);
    assert_eq!(fire(&mut timers, 100), (vec![], u64::MAX));
    assert!(timers.is_empty() && timers.arm_after(5, 3).is_ok());
}

#[test]
fn the_end_of_time_does_not_overflow() {
    let mut timers = Timers::new(1);
    timers.arm_every(5, u64::MAX, 1).unwrap();
    assert_eq!(fire(&mut timers, u64::MAX - 1), (vec![], u64::MAX));
}

#[derive(Clone, Debug)]
enum Op {
    After(u64),
    Every(u64),
    Cancel(usize),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..50u64).prop_map(Op::After),
        (1..20u64).prop_map(Op::Every),
        (0..40usize).prop_map(Op::Cancel),
        (0..60u64).prop_map(Op::Advance),
    ]
}

/// The naive timer: where it is due next, and its period.
struct Naive {
    id: TimerId,
    message: u32,
    due: u64,
    period: Option<u64>,
}

fn advance(naive: &mut Vec<Naive>, now: u64) -> Vec<u32> {
    let mut fired: Vec<(u64, TimerId, u32)> = Vec::new();
    for timer in naive.iter_mut().filter(|timer| timer.due <= now) {
        fired.push((timer.due, timer.id, timer.message));
        while let Some(period) = timer.period.filter(|_| timer.due <= now) {
            timer.due += period;
        }
    }
    naive.retain(|timer| timer.due > now);
    fired.sort_unstable();
    fired.into_iter().map(|(_, _, message)| message).collect()
}

proptest! {
    #[test]
    fn behaves_like_a_sorted_list(ops in prop::collection::vec(op(), 1..100)) {
        let mut timers = Timers::new(20);
        let mut naive: Vec<Naive> = Vec::new();
        let mut now = 0;
        for (message, op) in (0..).zip(ops) {
            let (due, period) = match op {
                Op::Cancel(any) => {
                    if let Some(index) = any.checked_rem(naive.len()) {
                        prop_assert!(timers.cancel(naive.remove(index).id));
                    }
                    continue;
                }
                Op::Advance(ahead) => {
                    now += ahead;
                    let (fired, next) = fire(&mut timers, now);
                    prop_assert_eq!(fired, advance(&mut naive, now));
                    prop_assert_eq!(next, naive.iter().map(|timer| timer.due).min().unwrap_or(u64::MAX));
                    continue;
                }
                Op::After(ahead) => (now + ahead, None),
                Op::Every(period) => (now + period, Some(period)),
            };
            let armed = match period {
                Some(period) => timers.arm_every(now, period, message),
                None => timers.arm_after(due, message),
            };
            prop_assert_eq!(armed.is_err(), naive.len() == 20);
            naive.extend(armed.ok().map(|id| Naive { id, message, due, period }));
            prop_assert_eq!(timers.len(), naive.len());
        }
    }
}
