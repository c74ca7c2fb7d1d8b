//! Requests: deadlines, limits, and the ways to be answered.

use crate::support::{Host, eventually, host_with, ledger, refusal, tally, told};
use mycelia::status::{LedgerStatus, RequestsStatus};
use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::{ErrorCode, Handled};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);

/// `a` asks, `b` answers; without a deadline of its own a request has a minute.
fn pair(a: &str) -> Host {
    host_with(
        "ask_deadline: \"60s\",",
        &format!(
            r#""a": (plugin: "mycelia_faulty", {a}),
            "b": (plugin: "mycelia_faulty", queue: (capacity: 1024, policy: Reject))"#
        ),
    )
}

/// What `a` was told of its requests, once it was told of so many.
fn outcomes(host: &Host, count: usize) -> Vec<(u64, String)> {
    let mut came = Vec::new();
    eventually("the outcomes came", || {
        came = host.value("a://outcomes", "");
        came.len() == count
    });
    came
}

fn all(count: u64, word: &str) -> Vec<(u64, String)> {
    (0..count).map(|number| (number, word.to_owned())).collect()
}

#[test]
fn the_askers_own_timer_ends_a_request() {
    let host = pair("");
    host.block("b", "gate");
    host.ask("a://ask_within/3/50", "b://note").unwrap();
    assert_eq!(outcomes(&host, 3), all(3, "deadline unknown"));
    let expect = RequestsStatus { asked: 3, timed_out: 3, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    assert_eq!(host.ledger("b").queued, 3);
    host.open("b", "gate");
    host.rest("b");
    let expect = LedgerStatus { handled: 1, expired: 3, ..Default::default() };
    assert_eq!(host.ledger("b"), ledger(expect), "nobody waits for them: no handler runs");
    host.stop();
}

/// With its only worker blocked the host cannot see to the asker's timer; the queue is looked at first then.
#[test]
fn a_request_that_expires_in_the_queue_was_not_handled() {
    let host = host_with("workers: 1,", r#""b": (plugin: "mycelia_faulty", weight: 1000)"#);
    host.block("b", "gate");
    let asked = host.ask_within("b://note/1", "", Some(SHORT));
    let overdue = Instant::now() + SHORT;
    eventually("the deadline has passed", || Instant::now() > overdue);
    host.open("b", "gate");
    let (code, handled) = refusal(told(&asked));
    assert_eq!((code, handled), (ErrorCode::Deadline, Handled::No));
    let expect = LedgerStatus { handled: 1, expired: 1, ..Default::default() };
    assert_eq!(host.ledger("b"), ledger(expect));
    host.stop();
}

#[test]
fn what_a_handler_sends_and_asks_inherits_its_deadline() {
    let host = pair("");
    host.block("b", "gate");
    for path in ["a://ask/1", "a://ask_within/1/60000", "a://burst/3"] {
        told(&host.ask_within(path, "b://note", Some(SHORT * 4))).unwrap();
    }
    let last = Instant::now() + SHORT * 4;
    let expect = all(1, "deadline unknown");
    assert_eq!(outcomes(&host, 2), [expect.clone(), expect].concat());
    eventually("the deadline of the burst has passed", || Instant::now() > last);
    host.open("b", "gate");
    host.rest("b");
    let expect = LedgerStatus { handled: 1, expired: 5, ..Default::default() };
    assert_eq!(host.ledger("b"), ledger(expect));
    host.stop();
}

#[test]
fn a_plain_send_has_no_deadline() {
    let host = host_with("ask_deadline: \"1ms\",", r#""b": (plugin: "mycelia_faulty")"#);
    host.block("b", "gate");
    host.sends("b://note/1");
    let later = Instant::now() + SHORT;
    eventually("time has passed", || Instant::now() > later);
    host.open("b", "gate");
    host.rest("b");
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 2, ..Default::default() }));
    host.stop();
}

#[test]
fn a_subsystem_has_only_so_many_requests_open() {
    let host = pair("max_asks: 4,");
    host.block("b", "gate");
    let asked = host.tally("a://ask/10", "b://note");
    assert_eq!(asked, tally([("ok", 4), ("busy no", 6)]));
    assert_eq!(host.requests("a"), RequestsStatus { asked: 4, pending: 4, ..Default::default() });
    host.open("b", "gate");
    assert_eq!(outcomes(&host, 4), all(4, "ok"));
    let again = host.tally("a://ask/4", "b://note");
    assert_eq!(again, tally([("ok", 4)]), "the places are free again");
    eventually("they are answered", || host.requests("a").answered == 8);
    host.rest("b");
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 9, ..Default::default() }));
    host.stop();
}

#[test]
fn the_operator_too() {
    let host = pair("");
    let asked: Vec<_> = (0..1024).map(|_| host.ask_within("a://keep", "", None)).collect();
    assert_eq!(refusal(host.ask("a://noted", "")), (ErrorCode::Busy, Handled::No));
    host.rest("a");
    host.sends("a://answer_kept");
    for asked in &asked {
        assert_eq!(told(asked).unwrap().body, b"2");
    }
    assert_eq!(host.ledger("a"), ledger(LedgerStatus { handled: 1025, ..Default::default() }));
    host.stop();
}

#[test]
fn an_answer_that_is_late_is_counted() {
    let host = pair("");
    host.ask("a://ask_within/3/20", "b://later/100").unwrap();
    assert_eq!(outcomes(&host, 3), all(3, "deadline unknown"));
    let late = |id: SubsystemId| host.runtime.slot(id).asks.counts().late;
    let a = host.runtime.named("a").unwrap().id;
    eventually("the answers came after all", || late(a) == 3);
    let expect = RequestsStatus { asked: 3, timed_out: 3, ..Default::default() };
    assert_eq!(host.requests("a"), expect);

    let asked = host.ask_within("b://keep", "", Some(SHORT));
    assert_eq!(refusal(told(&asked)), (ErrorCode::Deadline, Handled::Unknown));
    assert_eq!(host.value::<u64>("b://answer_kept", ""), 1);
    assert_eq!(late(SubsystemId::OPERATOR), 1);
    host.stop();
}

#[test]
fn requests_are_answered_by_a_timer_a_thread_or_another_message() {
    let host = pair("");
    assert_eq!(host.value::<u64>("b://later/10/7", ""), 7);
    assert_eq!(host.value::<u64>("b://by_thread", ""), 1);
    let kept = host.ask_within("b://keep", "", None);
    assert_eq!(host.value::<u64>("b://answer_kept", ""), 1);
    assert_eq!(told(&kept).unwrap().body, b"2");
    host.ask("a://ask/5", "b://later/10").unwrap();
    assert_eq!(outcomes(&host, 5), all(5, "ok"));
    let expect = RequestsStatus { asked: 5, answered: 5, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    host.stop();
}

#[test]
fn outcomes_come_in_the_order_of_the_answers() {
    let host = pair("");
    host.ask("a://ask/1000", "b://note").unwrap();
    assert_eq!(outcomes(&host, 1000), all(1000, "ok"));
    let expect = RequestsStatus { asked: 1000, answered: 1000, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 1000, ..Default::default() }));
    host.stop();
}

#[test]
fn a_subsystem_may_ask_itself() {
    let host = pair("");
    host.ask("a://ask/10", "a://note").unwrap();
    assert_eq!(outcomes(&host, 10), all(10, "ok"));
    assert_eq!(host.value::<Vec<u64>>("a://noted", ""), (0..10).collect::<Vec<u64>>());
    host.stop();
}

#[test]
fn every_code_reaches_its_asker() {
    let host = pair("");
    for (count, code) in (1..).zip(ErrorCode::ALL) {
        let error = host.ask(&format!("b://fail/{code}"), "").unwrap_err();
        assert_eq!((error.code, error.handled), (*code, Handled::Yes));
        assert_eq!(error.text, format!("the handler says {code}"));
        assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
        assert_eq!(host.ledger("b").accepted, count);
    }
    // `invalid`, `not_found` and `conflict` are the caller's: the handler did its part.
    let failed = ErrorCode::ALL.len() as u64 - 3;
    let expect = LedgerStatus { handled: 3, failed, ..Default::default() };
    assert_eq!(host.ledger("b"), ledger(expect));
    host.stop();
}

#[test]
fn a_forwarded_request_is_answered_by_the_last_one() {
    let host = pair("");
    assert_eq!(host.value::<u64>("a://forward", "b://note/7"), 7);
    assert_eq!(host.value::<Vec<u64>>("b://noted", ""), [7]);
    assert_eq!(refusal(host.ask("a://forward", "b://fail/conflict")).0, ErrorCode::Conflict);
    for (to, code) in [
        ("nobody://x", ErrorCode::NoRoute),
        ("b://none", ErrorCode::NoRoute),
        ("not a path", ErrorCode::BadPath),
    ] {
        assert_eq!(refusal(host.ask("a://forward", to)), (code, Handled::No), "{to}");
    }
    let expect = LedgerStatus { handled: 2, failed: 3, ..Default::default() };
    assert_eq!(host.ledger("a"), ledger(expect));
    assert_eq!(host.requests("a"), RequestsStatus::default(), "they are their askers'");
    host.stop();
}

#[test]
fn a_forwarded_request_keeps_its_deadline() {
    let host = pair("");
    host.block("b", "gate");
    let asked = host.ask_within("a://forward", "b://note/1", Some(SHORT));
    assert_eq!(refusal(told(&asked)).0, ErrorCode::Deadline);
    host.open("b", "gate");
    host.rest("b");
    let expect = LedgerStatus { handled: 1, expired: 1, ..Default::default() };
    assert_eq!(host.ledger("b"), ledger(expect));
    host.stop();
}

#[test]
fn timers_fire_in_order_and_beside_the_ledger() {
    let host = pair("");
    for (delay, number) in [(60, 3), (30, 2), (0, 1)] {
        host.ask(&format!("a://after/{delay}/{number}"), "").unwrap();
    }
    let mut asked = 3;
    eventually("they have fired", || {
        asked += 1;
        host.value::<Vec<u64>>("a://noted", "") == [1, 2, 3]
    });
    eventually("the timer of the table fires again and again", || {
        asked += 1;
        host.value::<u64>("a://ticks", "") >= 3
    });
    assert_eq!(host.ledger("a"), ledger(LedgerStatus { handled: asked, ..Default::default() }));
    host.stop();
}

#[test]
fn timers_are_limited_and_end_with_the_host() {
    let host = pair("");
    // One more is that of the table.
    assert_eq!(host.tally("a://timers/1100", ""), tally([("ok", 1023), ("busy no", 77)]));
    assert!(host.runtime.pool.used() > 0);
    host.stop();
}

#[test]
fn timers_go_on_after_a_panic() {
    let host = pair("");
    host.ask("a://after/100/1", "").unwrap();
    assert_eq!(refusal(host.ask("a://panic", "")).0, ErrorCode::Panicked);
    eventually("the new instance gets it", || host.value::<Vec<u64>>("a://noted", "") == [1]);
    eventually("and those of the table", || host.value::<u64>("a://ticks", "") >= 2);
    host.stop();
}

#[test]
fn bad_addresses_are_told_and_change_no_ledger() {
    let host = pair("");
    let long = format!("b://{}", "x".repeat(1 << 20));
    let deep = format!("b://{}", ["x"; 33].join("/"));
    for (path, code) in [
        ("nobody://note/1", ErrorCode::NoRoute),
        ("b://none", ErrorCode::NoRoute),
        ("b://outcome/1", ErrorCode::NoRoute),
        ("b://tick", ErrorCode::NoRoute),
        ("kernel://query/nothing", ErrorCode::NoRoute),
        ("operator://x", ErrorCode::NoRoute),
        ("", ErrorCode::BadPath),
        ("note/1", ErrorCode::BadPath),
        ("b://note//1", ErrorCode::BadPath),
        ("b://note/", ErrorCode::BadPath),
        ("b://no\nte", ErrorCode::BadPath),
        ("b b://note", ErrorCode::BadPath),
        (&long, ErrorCode::BadPath),
        (&deep, ErrorCode::BadPath),
    ] {
        let shown = &path[..path.len().min(40)];
        assert_eq!(refusal(host.ask(path, "")), (code, Handled::No), "{shown}");
        let sent = host.send(path, "").unwrap_err();
        assert_eq!((sent.code, sent.handled), (code, Handled::No), "{shown}");
        assert!(sent.text.len() < 500, "{}", sent.text);
    }
    assert_eq!(refusal(host.ask("b://note/x", "")), (ErrorCode::Invalid, Handled::No));
    let expect = LedgerStatus { handled: 1, ..Default::default() };
    assert_eq!(host.ledger("b"), ledger(expect));
    host.stop();
}
