//! A subsystem's own requests.

use crate::explore;
use loom::{sync::Arc, thread};
use mycelia_kernel::{
    asks::{Asks, End, Requests},
    ids::SubsystemId,
};

#[test]
fn answer_against_deadline() {
    explore("answer_against_deadline", None, || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 1));
        let id = asks.begin(10, 7).unwrap();
        let answerer = asks.clone();
        let answerer = thread::spawn(move || answerer.end(id, End::Answered));
        let mut expired = None;
        asks.expire(10, &mut |_, target| expired = Some(target));
        let answered = answerer.join().unwrap();
        assert_eq!(answered.xor(expired), Some(7), "exactly one, and with the template");
        let Requests { asked, answered, timed_out, pending, .. } = asks.counts();
        assert_eq!((asked, answered + timed_out, pending), (1, 1, 0));
    });
}

#[test]
fn begin_against_expire() {
    explore("begin_against_expire", None, || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 2));
        let old = asks.begin(5, 5).unwrap();
        let other = asks.clone();
        let other = thread::spawn(move || other.begin(9, 9).unwrap());
        let mut expired = Vec::with_capacity(1);
        asks.expire(5, &mut |id, _| expired.push(id));
        other.join().unwrap();
        assert_eq!(expired, [old]);
        assert!(asks.earliest() <= 9, "a deadline was forgotten");
    });
}

#[test]
fn late_answer_against_next_request() {
    explore("late_answer_against_next_request", None, || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 1));
        let first = asks.begin(0, 1).unwrap();
        let late = asks.clone();
        let late = thread::spawn(move || late.end(first, End::Answered));
        let mut cancelled = None;
        if let Some(template) = asks.end(first, End::Cancelled) {
            cancelled = Some(template);
            assert!(asks.release(first));
            let second = asks.begin(0, 2).unwrap();
            assert_eq!(asks.end(second, End::Answered), Some(2));
        }
        assert_eq!(late.join().unwrap().xor(cancelled), Some(1));
    });
}

#[test]
fn take_against_take_and_give() {
    explore("take_against_take_and_give", Some(3), || {
        let asks = Arc::new(Asks::new(SubsystemId(1), 2));
        let other = asks.clone();
        let other = thread::spawn(move || {
            let first = other.begin(0, 1).unwrap();
            let second = other.begin(0, 2).ok();
            assert_eq!(other.end(first, End::Answered), Some(1));
            assert!(other.release(first));
            second
        });
        let own = asks.begin(0, 3).ok();
        let second = other.join().unwrap();
        // What is free by now is taken once and no more, and the list has lost nothing.
        let last = asks.begin(0, 4).ok();
        assert_eq!([own, second, last].iter().flatten().count(), 2);
        assert!(asks.begin(0, 5).is_err());
        for (id, target) in [(own, 3), (second, 2), (last, 4)] {
            id.into_iter().for_each(|id| assert_eq!(asks.end(id, End::Failed), Some(target)));
        }
    });
}
