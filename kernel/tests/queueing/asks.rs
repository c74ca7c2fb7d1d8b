use super::queue;
use mycelia_kernel::{
    asks::{AskId, Asks, Busy, End, Requests},
    ids::SubsystemId,
    queue::{Lane, Policy},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

const ASKER: SubsystemId = SubsystemId(3);

#[test]
fn an_id_survives_its_word() {
    let asks = Asks::new(SubsystemId(u16::MAX), u16::MAX);
    let id = asks.begin(0, ()).unwrap();
    assert_eq!(AskId::unpack(id.pack()), Some(id));
    assert_eq!(AskId::unpack(0), None);
}

#[test]
fn the_first_to_end_a_request_wins_and_the_others_are_late() {
    let asks = Asks::new(ASKER, 1);
    let id = asks.begin(10, 7).unwrap();
    assert_eq!(asks.end(id, End::Answered), Some(7));
    assert_eq!(asks.end(id, End::Cancelled), None);
    assert_eq!(asks.expire(10, &mut |_, _| panic!("it ended")), u64::MAX);
    let expected = Requests { asked: 1, answered: 1, late: 1, ..Requests::default() };
    assert_eq!(asks.counts(), expected);
}

#[test]
fn a_slot_is_free_only_after_its_outcome_was_claimed() {
    let asks = Asks::new(ASKER, 1);
    let first = asks.begin(0, 1).unwrap();
    assert_eq!(asks.begin(0, 2), Err(Busy));
    assert!(!asks.release(first), "it is pending");
    assert_eq!(asks.end(first, End::Failed), Some(1));
    assert_eq!(asks.begin(0, 2), Err(Busy));
    assert!(asks.release(first) && !asks.release(first));
    let second = asks.begin(0, 2).unwrap();
    assert_ne!(first, second);
    assert_eq!(asks.end(first, End::Answered), None, "an id of the generation before");
    assert_eq!(asks.end(second, End::Answered), Some(2));
}

#[test]
fn an_id_of_another_table_ends_nothing() {
    let (asks, others) = (Asks::new(ASKER, 1), Asks::new(SubsystemId(4), 1));
    asks.begin(0, ()).unwrap();
    assert_eq!(asks.end(others.begin(0, ()).unwrap(), End::Answered), None);
    assert_eq!(asks.counts().pending, 1);
}

#[test]
fn a_request_expires_at_its_deadline_and_one_without_never() {
    let asks = Asks::new(ASKER, 3);
    asks.begin(0, 0).unwrap();
    asks.begin(20, 20).unwrap();
    asks.begin(10, 10).unwrap();
    assert_eq!(asks.earliest(), 10);
    let mut expired = Vec::new();
    let mut expire = |now| asks.expire(now, &mut |_, deadline| expired.push(deadline));
    assert_eq!([expire(9), expire(10), expire(19), expire(u64::MAX - 1)], [10, 20, 20, u64::MAX]);
    assert_eq!(expired, [10, 20]);
}

#[test]
fn a_renewed_deadline_is_found_where_the_old_one_was_due() {
    let asks = Asks::new(ASKER, 1);
    let id = asks.begin(10, 7).unwrap();
    asks.renew(id, 25);
    assert_eq!(asks.expire(10, &mut |_, _| panic!("it was put off")), 25);
    let mut expired = Vec::new();
    assert_eq!(asks.expire(25, &mut |id, target| expired.push((id, target))), u64::MAX);
    assert_eq!(expired, [(id, 7)]);
    asks.renew(id, 30);
    assert_eq!(asks.end(id, End::Answered), None, "it has ended");
    assert!(asks.release(id));
    asks.begin(40, 8).unwrap();
    assert_eq!(asks.expire(30, &mut |_, _| panic!("the next one has its own")), 40);
}

#[test]
fn the_lane_of_outcomes_never_overflows() {
    let (asks, queue) = (Asks::new(ASKER, 2), queue(Policy::Reject, 1));
    let mut out = Vec::new();
    let mut pending = Vec::new();
    for round in 0..1000 {
        while let Ok(id) = asks.begin(0, ()) {
            pending.push(id);
        }
        for id in pending.drain(..) {
            asks.end(id, End::Answered).unwrap();
            let _ = queue.deliver(id).expect("the lane is as large as the table");
        }
        queue.claim(Lane::Outcomes, 1 + round % 2, &mut out);
        out.drain(..).for_each(|id| assert!(asks.release(id)));
    }
}

#[test]
fn answer_deadline_and_cancel_compete_and_one_wins() {
    const ROUNDS: u64 = 1_000;
    let asks = Asks::new(ASKER, 1);
    let won = AtomicUsize::new(0);
    let (start, end) = (Barrier::new(3), Barrier::new(3));
    let mut id = asks.begin(1, 0).unwrap();
    let slot = std::sync::Mutex::new(id);
    thread::scope(|scope| {
        for how in [End::Answered, End::Cancelled] {
            let (asks, won, start, end, slot) = (&asks, &won, &start, &end, &slot);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    start.wait();
                    let id = *slot.lock().unwrap();
                    let target = asks.end(id, how);
                    assert!(target.is_none_or(|target| target == round));
                    won.fetch_add(usize::from(target.is_some()), Relaxed);
                    end.wait();
                }
            });
        }
        for round in 0..ROUNDS {
            start.wait();
            asks.expire(round + 1, &mut |_, _| {
                won.fetch_add(1, Relaxed);
            });
            end.wait();
            assert_eq!(won.swap(0, Relaxed), 1);
            assert!(asks.release(id));
            id = asks.begin(round + 2, round + 1).unwrap();
            *slot.lock().unwrap() = id;
        }
    });
    let counts = asks.counts();
    assert_eq!((counts.asked, counts.pending), (ROUNDS + 1, 1));
    assert_eq!(counts.answered + counts.cancelled + counts.timed_out, ROUNDS);
}

#[derive(Clone, Debug)]
enum Op {
    Begin(u64),
    End(usize),
    Release(usize),
    Expire(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..30u64).prop_map(Op::Begin),
        2 => (0..99usize).prop_map(Op::End),
        2 => (0..99usize).prop_map(Op::Release),
        1 => (0..10u64).prop_map(Op::Expire),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_map(max in 0..6u16, ops in prop::collection::vec(op(), 1..100)) {
        let asks = Asks::new(ASKER, max);
        let mut now = 0;
        // Every id ever given: the deadline while pending, then whether it was released.
        let mut ids: Vec<AskId> = Vec::new();
        let mut pending: BTreeMap<usize, u64> = BTreeMap::new();
        let mut ended: Vec<usize> = Vec::new();
        for op in ops {
            match op {
                Op::Begin(ahead) => {
                    let busy = pending.len() + ended.len() == usize::from(max);
                    let deadline = if ahead == 0 { 0 } else { now + ahead };
                    let begun = asks.begin(deadline, ids.len() as u64);
                    prop_assert_eq!(begun.is_err(), busy);
                    if let Ok(id) = begun {
                        let due = if deadline == 0 { u64::MAX } else { deadline };
                        pending.insert(ids.len(), due);
                        ids.push(id);
                    }
                }
                Op::End(any) if !ids.is_empty() => {
                    let index = any % ids.len();
                    let won = pending.remove(&index).map(|_| index);
                    let target = won.map(|index| index as u64);
                    prop_assert_eq!(asks.end(ids[index], End::Answered), target);
                    ended.extend(won);
                }
                Op::Release(any) if !ids.is_empty() => {
                    let index = any % ids.len();
                    let found = ended.iter().position(|ended| *ended == index);
                    prop_assert_eq!(asks.release(ids[index]), found.is_some());
                    found.map(|found| ended.swap_remove(found));
                }
                Op::End(_) | Op::Release(_) => {}
                Op::Expire(ahead) => {
                    now += ahead;
                    let mut expired = Vec::new();
                    let next = asks.expire(now, &mut |_, index| expired.push(index as usize));
                    expired.sort_unstable();
                    let due: Vec<_> = pending.extract_if(.., |_, due| *due <= now).map(|(index, _)| index).collect();
                    prop_assert_eq!(&expired, &due);
                    ended.extend(due);
                    prop_assert!(next > now && next <= pending.values().copied().min().unwrap_or(u64::MAX));
                }
            }
            prop_assert_eq!(asks.counts().pending as usize, pending.len());
        }
    }
}
