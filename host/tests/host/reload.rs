//! The transaction: what goes on, what is handed on, and what a bad build costs.

use crate::{
    shelf::{Reloading, faulty, library, reloading, reloading_from},
    support::{Told, eventually, ledger, refusal, told},
};
use mycelia::{
    report::StateFate,
    status::{LedgerStatus, Phase},
};
use mycelia_faulty_builds as builds;
use mycelia_plugin::{ErrorCode, Handled};
use std::time::Duration;

/// Short limits, so that what hangs is given up soon.
const HASTY: &str = r#"handler_limit: "300ms", config: (release: RELEASE)"#;

fn notes(one: &Reloading) -> Vec<u64> {
    one.host.value("f://noted", "")
}

#[test]
fn a_new_build_serves_with_the_old_ones_state() {
    let one = reloading("config: (ballast: 100000)", "");
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    let report = one.reload(&faulty("good 2"));
    assert_eq!((report.generation, report.state), (2, StateFate::Kept));
    assert!(report.state_bytes > 100_000, "{report:?}");
    assert_eq!((one.build(), notes(&one)), ("good 2".into(), vec![1]));
    assert_eq!((one.host.phase("f"), one.host.status_of("f").restarts), (Phase::Running, 0));
    assert_eq!(one.host.ledger("f"), ledger(LedgerStatus { handled: 3, ..Default::default() }));
    one.host.stop();
}

#[test]
fn the_queue_accepts_all_along_and_the_new_build_handles_what_waited() {
    let one = reloading("", "");
    one.host.block("f", "gate");
    let asked: Vec<_> = (0..100)
        .map(|number| one.host.ask_within(&format!("f://note/{number}"), "", None))
        .collect();
    one.put(&faulty("good 2"));
    eventually("the old build is to go", || one.host.status_of("f").ledger.queued == 100);
    // Nothing is lost while the commit waits for the handler, either.
    one.host.sends("f://note/100");
    one.host.open("f", "gate");
    for (number, asked) in asked.iter().enumerate() {
        assert_eq!(told(asked).unwrap().body, number.to_string().as_bytes());
    }
    eventually("the new build serves", || one.generation() == 2);
    assert_eq!(notes(&one), (0..=100).collect::<Vec<u64>>());
    let expect = LedgerStatus { handled: 103, ..Default::default() };
    assert_eq!(one.host.ledger("f"), ledger(expect));
    one.host.stop();
}

#[test]
fn the_same_content_is_no_reload() {
    let one = reloading("", "");
    one.put(&faulty("good 1"));
    one.reload(&faulty("good 2"));
    one.put(&faulty("good 2"));
    assert_eq!(one.reload(&faulty("good 3")).generation, 3);
    assert_eq!(one.reloads().committed, 2);
    // Who asks by name gets what is there.
    assert_eq!(one.ask_reload("f").unwrap().generation, 4);
    let error = one.ask_reload("g").unwrap_err();
    assert!(error.text.contains("there is no subsystem `g`; there are `f`"), "{error}");
    one.host.stop();
}

/// What is refused before the old build notices, whatever is wrong with the new one.
#[test]
fn a_bad_build_costs_nothing() {
    let one = reloading(HASTY, "");
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    let good = faulty("good 2");
    let stamp = |text: &str| faulty(&format!("good 2 {text}"));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            stamp("fail:create"),
            "its `create` fails: failed: `create` fails as this build was told to",
        ),
        (
            stamp("panic:create"),
            "its `create` fails: panicked: a panic: `create` panics as this build was told to",
        ),
        (stamp("hang:create"), "its `create` has not returned within 300ms"),
        (
            stamp("refuse_state"),
            "it does not take the state of the old build: failed: `restore` fails",
        ),
        (
            stamp("panic:restore"),
            "it does not take the state of the old build: panicked: a panic: `restore`",
        ),
        (stamp("hang:restore"), "its `restore` has not returned within 300ms"),
        (stamp("fail:start"), "its `start` fails: failed: `start` fails as this build was told to"),
        (stamp("panic:start"), "its `start` fails: panicked: a panic: `start` panics"),
        (stamp("hang:start"), "its `start` has not returned within 300ms"),
        (builds::truncated(&good, good.len() - 1), "is not complete"),
        (builds::other_abi(&good), "was built for ABI"),
        (builds::other_layout(&good), "has another layout of the ABI's types"),
        (builds::panicking_abort(&good), "was built with panic = \"abort\""),
        (builds::nodelete(&good), "never"),
        (builds::aborting_constructor(&good), "aborts the process that loads it"),
        (builds::exiting_constructor(&good), "ends the process that loads it"),
        (b"no library".to_vec(), "is a text file"),
    ];
    for (number, (build, expect)) in cases.iter().enumerate() {
        let error = one.is_refused(build);
        assert!(error.starts_with("reload: "), "{error}");
        assert!(error.contains(expect), "{error}\nin place of {expect}");
        assert_eq!((one.build(), one.generation()), ("good 1".into(), 1), "{expect}");
        assert_eq!(notes(&one), [1], "{expect}");
        assert_eq!(one.reloads().refused, number as u64 + 1);
    }
    one.release();
    eventually("what hung is unloaded", || one.retained().is_empty());
    assert_eq!(one.reload(&good).state, StateFate::Kept);
    assert_eq!((one.build(), notes(&one)), ("good 2".into(), vec![1]));
    assert_eq!(one.host.status_of("f").restarts, 0);
    one.host.stop();
}

/// The old build's own faults do not keep a new one out: it gets the state of the rehearsal, and what is lost is told.
#[test]
fn an_old_build_that_cannot_leave_is_left() {
    for (fault, expect) in [
        ("panic:stop", Some("its `stop` failed with a panic: `stop` panics")),
        ("hang:stop", Some("its `stop` has not returned within 300ms")),
        ("fail:stop", None),
        ("panic:drop", None),
        ("hang:drop", None),
    ] {
        let one = reloading_from(&faulty(&format!("good 1 {fault}")), HASTY, "");
        assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
        assert_eq!(one.reload(&faulty("good 2")).state, StateFate::Kept, "{fault}");
        assert_eq!((one.build(), notes(&one)), ("good 2".into(), vec![1]), "{fault}");
        if let Some(expect) = expect {
            let error = one.host.status_of("f").last_error.unwrap();
            assert!(error.contains("what changed since the rehearsal is lost"), "{error}");
            assert!(error.contains(expect), "{error}");
        }
        if fault.starts_with("hang") {
            let is_retained = |(_, phase, reason): (u32, String, String)| {
                phase == "retained" && reason.contains("has not returned")
            };
            eventually("the old build is retained", || {
                one.retained().into_iter().next().is_some_and(is_retained)
            });
            one.release();
        }
        eventually("the old build has gone", || one.retained().is_empty());
        one.host.stop();
    }
}

#[test]
fn a_state_that_cannot_be_saved_keeps_the_old_build() {
    for fault in ["fail:save", "panic:save"] {
        let one = reloading_from(&faulty(&format!("good 1 {fault}")), HASTY, "");
        assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
        let error = one.is_refused(&faulty("good 2"));
        assert!(error.contains("the old build cannot save its state: "), "{error}");
        assert_eq!(notes(&one), [1]);
        one.host.stop();
    }
    let settings = format!("on_reload: Reset, {HASTY}");
    let one = reloading_from(&faulty("good 1 fail:save"), &settings, "");
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    assert_eq!(one.reload(&faulty("good 2")).state, StateFate::Fresh);
    assert_eq!(notes(&one), [0; 0]);
    one.host.stop();
}

#[test]
fn the_config_says_what_becomes_of_the_state() {
    let stateless = library("mycelia_echo");
    for (word, is_taken) in [("Keep", true), ("Reset", true), ("RefuseIfLost", false)] {
        let one = reloading(&format!("on_reload: {word}"), "");
        if is_taken {
            assert_eq!(one.reload(&stateless).state, StateFate::Fresh, "{word}");
        } else {
            let error = one.is_refused(&stateless);
            assert!(error.contains("the new build keeps no state"), "{error}");
        }
        one.host.stop();
    }
}

#[test]
fn a_state_of_another_schema_is_migrated() {
    let one = reloading("", "");
    assert_eq!(one.host.value::<u64>("f://note/7", ""), 7);
    let report = one.reload(&library("mycelia_faulty_next"));
    assert_eq!(
        (report.state, report.plugin.as_str()),
        (StateFate::Migrated, "mycelia-faulty-next")
    );
    assert_eq!(notes(&one), [7]);
    // Back again there is nobody who reads the newer form.
    let error = one.is_refused(&faulty("good 2"));
    assert!(error.contains("the state has the schema 2, this build takes 1"), "{error}");
    one.host.stop();
}

#[test]
fn routes_change_with_the_build() {
    let one = reloading("on_reload: Reset", "");
    one.host.block("f", "gate");
    let kept = one.host.ask_within("f://note/1", "", None);
    let lost = one.host.ask_within("f://ticks", "", None);
    one.put(&library("mycelia_faulty_next"));
    let queue = &one.host.runtime.named("f").unwrap().queue;
    eventually("the commit waits", || queue.is_wanted());
    one.host.open("f", "gate");
    assert_eq!(told(&kept).unwrap().body, b"1");
    let (code, handled) = refusal(told(&lost));
    assert_eq!((code, handled), (ErrorCode::NoRoute, Handled::No), "its route is gone");
    eventually("the new build serves", || one.generation() == 2);
    assert_eq!(refusal(one.ask("f://ticks", "")).0, ErrorCode::NoRoute, "and nobody finds it");
    let expect = LedgerStatus { handled: 2, dead: 1, ..Default::default() };
    assert_eq!(one.host.ledger("f"), ledger(expect));
    one.host.stop();
}

/// A sender that keeps a recipient, in another subsystem, follows.
#[test]
fn kept_recipients_and_paths_follow() {
    let beside = r#""other": (plugin: "mycelia_faulty")"#;
    let one = reloading("", beside);
    for number in 2..6 {
        let tally = one.host.tally("other://burst/50", "f://note");
        assert_eq!(tally["ok"], 50);
        one.reload(&faulty(&format!("good {number}")));
    }
    one.host.rest("f");
    assert_eq!(notes(&one).len(), 200);
    one.host.stop();
}

#[test]
fn requests_timers_and_responders_outlive_a_build() {
    let beside = r#""other": (plugin: "mycelia_faulty")"#;
    let one = reloading("", beside);
    // Its own request, answered when the next build serves.
    one.host.block("other", "gate");
    assert_eq!(one.host.tally("f://ask/1", "other://note")["ok"], 1);
    // A timer, and requests of others that it is to answer.
    one.host.ask("f://after/1500/9", "").unwrap();
    let kept = one.host.ask_within("f://keep", "", None);
    let later = one.host.ask_within("f://later/1500/4", "", None);
    one.host.rest("f");
    one.reload(&faulty("good 2"));
    one.reload(&faulty("good 3"));
    assert_eq!(one.host.value::<u64>("f://answer_kept", ""), 1);
    assert_eq!(told(&kept).unwrap().body, b"2");
    one.host.open("other", "gate");
    eventually("the outcome comes", || {
        one.host.value::<Vec<(u64, String)>>("f://outcomes", "") == [(0, "ok".into())]
    });
    assert_eq!(told(&later).unwrap().body, b"4");
    eventually("the timer fires", || notes(&one) == [9]);
    assert_eq!(one.host.requests("f").answered, 1);
    one.host.stop();
}

#[test]
fn a_request_that_the_new_build_does_not_take_over_is_answered_at_once() {
    let one = reloading("on_reload: Reset", "");
    let kept = one.host.ask_within("f://keep", "", Some(Duration::from_secs(25)));
    one.host.rest("f");
    one.reload(&faulty("good 2"));
    assert_eq!(refusal(told(&kept)), (ErrorCode::Reloading, Handled::Unknown));
    one.host.stop();
}

#[test]
fn a_stopped_subsystem_comes_up_with_a_better_build() {
    let settings = r#"required: false, restart: (max: 1, within: "30s"), probation: (panics: 9)"#;
    let one = reloading_from(&faulty("good 1 panic_first"), settings, "");
    for _ in 0..2 {
        assert_eq!(refusal(one.ask("f://note/1", "")).0, ErrorCode::Panicked);
    }
    eventually("it is given up", || one.host.phase("f") == Phase::Stopped);
    let error = one.is_refused(&faulty("good 2 fail:start"));
    assert!(error.contains("its `start` fails"), "{error}");
    assert_eq!(one.host.phase("f"), Phase::Stopped);
    one.reload(&faulty("good 3"));
    assert_eq!((one.build(), one.host.phase("f")), ("good 3".into(), Phase::Running));
    eventually("its timers run", || one.host.value::<u64>("f://ticks", "") > 1);
    one.host.stop();
}

#[test]
fn a_handler_that_does_not_return_keeps_no_build_out() {
    let one = reloading(r#"handler_limit: "200ms", probation: (messages: 0)"#, "");
    one.host.block("f", "gate");
    one.reload(&faulty("good 2"));
    assert_eq!((one.build(), one.host.status_of("f").restarts), ("good 2".into(), 1));
    let (generation, phase, reason) = one.retained().remove(0);
    assert_eq!((generation, &*phase), (1, "retained"));
    assert!(reason.contains("the handler of `f://hold/{gate}` has run"), "{reason}");
    one.host.open("f", "gate");
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_reload_and_a_panic_at_once_are_both_dealt_with() {
    let one = reloading("", "");
    for number in 2..20 {
        let panics = one.host.ask_within("f://panic", "", None);
        one.reload(&faulty(&format!("good {number}")));
        let told: Told = told(&panics);
        assert_eq!(refusal(told).0, ErrorCode::Panicked);
    }
    assert_eq!(one.host.ledger("f").dead, 18);
    assert_eq!(one.host.phase("f"), Phase::Running);
    one.host.stop();
}
