use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    message::Message,
    ready::{Ready, TURN_LIMIT, Turn},
};

#[test]
fn the_ready_list_is_first_in_first_out() {
    let ready = Ready::new(3);
    for id in [2, 0, 1] {
        ready.push(SubsystemId(id)).unwrap();
    }
    assert_eq!(ready.push(SubsystemId(9)), Err(SubsystemId(9)));
    let popped: Vec<_> = std::iter::from_fn(|| ready.pop()).map(|id| id.0).collect();
    assert_eq!((popped, ready.is_empty(), ready.len()), (vec![2, 0, 1], true, 0));
}

#[test]
fn a_turn_is_weight_times_batch_while_others_wait() {
    let mut turn = Turn::new(2, 8, 0);
    let mut claims = Vec::new();
    while turn.goes_on(0, true) {
        claims.push(turn.room());
        turn.spent(turn.room().min(5));
    }
    assert_eq!(claims, [8, 8, 6, 1]);
}

#[test]
fn a_turn_ends_after_its_time_while_others_wait() {
    let turn = Turn::new(1000, 8, 7);
    assert!(turn.goes_on(7 + TURN_LIMIT - 1, true));
    assert!(!turn.goes_on(7 + TURN_LIMIT, true));
    assert!(turn.goes_on(7 + TURN_LIMIT, false));
}

#[test]
fn a_turn_goes_on_in_whole_batches_while_nobody_waits() {
    let mut turn = Turn::new(1, 8, 0);
    turn.spent(8);
    assert!(turn.goes_on(0, false) && !turn.goes_on(0, true));
    assert_eq!(turn.room(), 8);
}

#[test]
fn a_message_expires_after_its_deadline() {
    struct Until(u64);
    impl Message for Until {
        fn route(&self) -> RouteId {
            RouteId(0)
        }
        fn deadline(&self) -> u64 {
            self.0
        }
        fn is_sampled(&self) -> bool {
            false
        }
    }
    let expired =
        [(0, u64::MAX), (5, 4), (5, 5), (5, 6)].map(|(until, now)| Until(until).is_expired(now));
    assert_eq!(expired, [false, false, false, true]);
}
