//! Retirement: every order in which the parts of an old build can go, and what keeps it.

use crate::{
    shelf::{Reloading, faulty, reloading, reloading_from},
    support::eventually,
};
use mycelia_plugin::ErrorCode;

/// Without probation, so that the old build goes at once.
const AT_ONCE: &str =
    r#"probation: (messages: 0), handler_limit: "300ms", config: (release: RELEASE)"#;

fn swapped(old: &str) -> Reloading {
    let one = reloading_from(&faulty(&format!("good 1 {old}")), AT_ONCE, "");
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    one.reload(&faulty("good 2"));
    one
}

fn is_retained(one: &Reloading, expect: &str) {
    eventually("the old build is retained", || {
        one.retained().first().is_some_and(|(_, phase, _)| phase == "retained")
    });
    let (generation, _, reason) = one.retained().remove(0);
    assert_eq!(generation, 1);
    assert!(reason.contains(expect), "{reason}");
    // The new one serves meanwhile.
    assert_eq!(one.build(), "good 2");
}

#[test]
fn a_plain_build_goes() {
    let one = swapped("");
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn thread_locals_on_every_worker_go_before_the_code() {
    let one = reloading_from(&faulty("good 1 tls"), &format!("batch: 1, {AT_ONCE}"), "");
    for number in 0..200 {
        assert_eq!(one.host.value::<u64>(&format!("f://note/{number}"), ""), number);
    }
    one.reload(&faulty("good 2 tls"));
    one.is_unloaded(1);
    one.reload(&faulty("good 3"));
    one.is_unloaded(2);
    one.host.stop();
}

#[test]
fn a_busy_worker_delays_the_code_and_nothing_else() {
    let beside = r#""other": (plugin: "mycelia_faulty", handler_limit: "20s")"#;
    let one = reloading_from(&faulty("good 1 tls"), AT_ONCE, beside);
    for number in 0..50 {
        assert_eq!(one.host.value::<u64>(&format!("f://note/{number}"), ""), number);
    }
    one.host.block("other", "gate");
    one.reload(&faulty("good 2"));
    eventually("the old build retires", || {
        one.retained().first().is_some_and(|(_, phase, reason)| {
            phase == "retiring" && reason.contains("a worker is busy")
        })
    });
    assert_eq!(one.build(), "good 2");
    one.host.open("other", "gate");
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn threads_that_end_in_stop_go_before_the_code() {
    let one = swapped("threads:3");
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_thread_that_ignores_its_end_keeps_the_code_until_it_ends() {
    let one = swapped("stray");
    is_retained(&one, "a thread that it started has not ended");
    one.release();
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_thread_that_ignores_its_stop_token_keeps_the_code_until_it_ends() {
    let one = reloading(AT_ONCE, "");
    one.host.ask("f://stubborn/gate", "").unwrap();
    one.reload(&faulty("good 2"));
    is_retained(&one, "a thread that it started has not ended");
    one.host.open("f", "gate");
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_call_that_comes_back_late_ends_with_its_instance() {
    let one = swapped("hang:stop");
    is_retained(&one, "its `stop` has not returned within 300ms");
    one.release();
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_drop_that_hangs_keeps_the_code_until_it_returns() {
    let one = swapped("hang:drop");
    is_retained(&one, "its drop has not returned");
    one.release();
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_drop_that_panics_does_not_keep_the_code() {
    let one = swapped("panic:drop");
    one.is_unloaded(1);
    let error = one.host.status_of("f").last_error.unwrap();
    assert!(error.contains("drop: panicked"), "{error}");
    one.host.stop();
}

#[test]
fn a_refused_build_goes_whatever_it_left() {
    for fault in
        ["leak:100000 refuse_state", "tls fail:start", "threads:2 fail:create", "tls panic:restore"]
    {
        let one = reloading(AT_ONCE, "");
        one.is_refused(&faulty(&format!("good 2 {fault}")));
        one.is_unloaded(2);
        assert_eq!(one.build(), "good 1");
        one.host.stop();
    }
}

#[test]
fn a_create_that_hangs_keeps_the_new_code_until_it_returns() {
    let one = reloading(AT_ONCE, "");
    let error = one.is_refused(&faulty("good 2 hang:create"));
    assert!(error.contains("its `create` has not returned"), "{error}");
    eventually("it is retained", || one.retained().len() == 1);
    assert_eq!(one.retained()[0].0, 2);
    one.release();
    one.is_unloaded(2);
    one.host.stop();
}

#[test]
fn memory_that_was_left_goes_with_the_code() {
    let one = swapped("leak:1000000");
    one.is_unloaded(1);
    one.host.stop();
}

/// What a build handed out outlives it: errors, outcomes, log lines and panics are the host's own copies.
#[test]
fn what_came_from_a_build_outlives_it() {
    let one = reloading(AT_ONCE, "");
    let failed = one.ask("f://fail/conflict", "").unwrap_err();
    let panicked = one.ask("f://panic", "").unwrap_err();
    let reply = one.ask("f://big/100000", "").unwrap();
    one.reload(&faulty("good 2"));
    one.is_unloaded(1);
    assert_eq!((failed.code, panicked.code), (ErrorCode::Conflict, ErrorCode::Panicked));
    assert!(failed.text.contains("the handler says conflict"), "{failed}");
    assert!(panicked.text.contains("as it was told to"), "{panicked}");
    assert!(reply.body.iter().all(|byte| *byte == 7) && reply.body.len() == 100_000);
    one.host.stop();
}

#[test]
fn a_message_in_the_queue_outlives_the_build_that_sent_it() {
    let beside = r#""other": (plugin: "mycelia_faulty")"#;
    let one = reloading(AT_ONCE, beside);
    one.host.block("other", "gate");
    assert_eq!(one.host.tally("f://burst/20", "other://note")["ok"], 20);
    one.host.ask("f://send_big/50000", "other://length").unwrap();
    one.reload(&faulty("good 2"));
    one.is_unloaded(1);
    one.host.open("other", "gate");
    one.host.rest("other");
    assert_eq!(one.host.value::<Vec<u64>>("other://noted", "").len(), 20);
    one.host.stop();
}

#[test]
fn a_restart_leaves_nothing_of_the_instance_before() {
    let one = reloading_from(&faulty("good 1 tls threads:1"), AT_ONCE, "");
    for _ in 0..3 {
        assert!(one.ask("f://panic", "").is_err());
    }
    one.reload(&faulty("good 2"));
    one.is_unloaded(1);
    one.host.stop();
}
