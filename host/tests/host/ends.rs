//! Plugins that end the process, or try to: what is lost is a thread.

use crate::{
    faults::{ask_together, told_all},
    shelf::{faulty, reloading_from},
    support::{Host, eventually, host_with, ledger, refusal, told},
};
use mycelia::{
    operator::Operator,
    status::{LedgerStatus, Phase},
};
use mycelia_plugin::{ErrorCode, Handled};

const PANICKED: (ErrorCode, Handled) = (ErrorCode::Panicked, Handled::Unknown);
const AT_ONCE: &str = r#"restart: (max: 5, within: "30s", backoff: "0ms"),"#;

/// On one worker, so that a host that has lost it would do nothing any more.
fn one(settings: &str) -> Host {
    host_with(
        "workers: 1,",
        &format!(
            r#""f": (plugin: "mycelia_faulty", {AT_ONCE} {settings}), "other": (plugin: "mycelia_faulty")"#
        ),
    )
}

fn other_goes_on(host: &Host) {
    assert_eq!(host.value::<u64>("other://note/5", ""), 5);
    assert_eq!((host.phase("other"), host.status_of("other").restarts), (Phase::Running, 0));
}

#[test]
fn an_end_in_a_handler_costs_one_message_and_one_thread() {
    for (how, text) in [
        ("abort", "called abort()"),
        ("exit", "called exit(7)"),
        ("double_panic", "called abort()"),
        ("foreign", "called abort()"),
    ] {
        let host = one("");
        host.block("f", "gate");
        let paths = ["note/1".to_owned(), format!("end/{how}"), "note/2".to_owned()];
        let [before, ends, after] =
            paths.map(|path| host.ask_within(&format!("f://{path}"), "", None));
        host.open("f", "gate");
        assert_eq!(told(&before).unwrap().body, b"1", "{how}");
        let error = told(&ends).unwrap_err();
        assert_eq!((error.code, error.handled), PANICKED, "{how}");
        assert!(error.text.contains(text), "{error}");
        assert_eq!(told(&after).unwrap().body, b"2", "{how}: by the new instance");
        assert_eq!(host.value::<Vec<u64>>("f://noted", ""), [2], "{how}");
        let expect = LedgerStatus { handled: 4, dead: 1, ..Default::default() };
        assert_eq!(host.ledger("f"), ledger(expect), "{how}");
        let status = host.status_of("f");
        assert_eq!((status.restarts, status.lost_threads), (1, 1), "{how}");
        assert_eq!(status.generation, 2, "{how}: another copy of the library serves");
        eventually("the old copy is named", || {
            let retained = host.runtime.status().retained_generations;
            retained.iter().any(|one| one.reason.contains(text))
        });
        other_goes_on(&host);
        host.stop();
    }
}

/// Where the plugin commits, nothing of the batch was committed, whatever ends.
#[test]
fn an_end_before_the_commit_fails_the_batch() {
    let restarted = Err((ErrorCode::Restarted, Handled::Unknown));
    let check =
        |paths: &[&str], told: &[Result<String, _>], expect: LedgerStatus, committed: &[u64]| {
            let config = format!(r#""c": (plugin: "mycelia_faulty_commits", {AT_ONCE})"#);
            let host = host_with("workers: 1,", &config);
            let asked = ask_together(&host, "c", paths);
            assert_eq!(told_all(&asked), told);
            host.rest("c");
            assert_eq!(host.ledger("c"), ledger(expect), "{paths:?}");
            assert_eq!(host.value::<Vec<u64>>("c://committed", ""), committed);
            assert_eq!((host.status_of("c").restarts, host.status_of("c").lost_threads), (1, 1));
            host.stop();
        };
    check(
        &["note/1", "abort", "note/3"],
        &[restarted.clone(), Err(PANICKED), Ok("3".into())],
        LedgerStatus { handled: 2, failed: 1, dead: 1, ..Default::default() },
        &[3],
    );
    check(
        &["note/1", "abort_commit", "note/3"],
        &[restarted.clone(), restarted.clone(), restarted],
        LedgerStatus { handled: 1, failed: 3, ..Default::default() },
        &[],
    );
}

#[test]
fn a_budget_of_ends_stops_the_subsystem_alone() {
    let host = one("");
    for _ in 0..6 {
        assert_eq!(refusal(host.ask("f://end/abort", "")), PANICKED);
    }
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    assert_eq!((host.status_of("f").restarts, host.status_of("f").lost_threads), (5, 6));
    assert_eq!(refusal(host.ask("f://noted", "")), (ErrorCode::Gone, Handled::No));
    other_goes_on(&host);
    host.stop();
}

#[test]
fn what_the_lost_handler_sent_last_is_discarded() {
    let host = host_with(
        "",
        &format!(
            r#""f": (plugin: "mycelia_faulty", {AT_ONCE}),
            "other": (plugin: "mycelia_faulty", queue: (capacity: 1024, policy: DropOldest))"#
        ),
    );
    assert_eq!(refusal(host.ask("f://send_and_end/100", "other://note")), PANICKED);
    host.rest("other");
    assert_eq!(host.ledger("other").handled, 64, "what its full outbox had published");
    host.stop();
}

#[test]
fn an_end_of_an_own_thread_restarts_its_subsystem() {
    for (how, text) in [("abort", "abort()"), ("exit", "exit(7)"), ("stray", "abort()")] {
        let host = one(r#"handler_limit: "2s","#);
        host.sends("f://note/1");
        let kept = host.ask_within("f://keep", "", None);
        host.sends(&format!("f://thread/{how}"));
        eventually("it was restarted", || host.status_of("f").restarts == 1);
        eventually("it runs again", || host.phase("f") == Phase::Running);
        assert_eq!(refusal(told(&kept)), (ErrorCode::Restarted, Handled::Unknown), "{how}");
        let status = host.status_of("f");
        let error = status.last_error.unwrap();
        assert!(error.contains("one of its own threads") && error.contains(text), "{error}");
        assert_eq!((status.generation, status.lost_threads), (2, 1), "{how}");
        assert!(host.value::<Vec<u64>>("f://noted", "").is_empty());
        other_goes_on(&host);
        host.stop();
    }
}

#[test]
fn an_end_in_a_call_of_its_life_is_that_calls_failure() {
    for fault in ["abort:stop", "abort:drop"] {
        let one = reloading_from(&faulty(&format!("good 1 {fault}")), "", "");
        assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
        one.reload(&faulty("good 2"));
        assert_eq!(
            (one.build(), one.host.value::<Vec<u64>>("f://noted", "")),
            ("good 2".into(), vec![1])
        );
        eventually("the thread is lost", || one.host.status_of("f").lost_threads == 1);
        one.host.stop();
    }
    let settings = AT_ONCE.trim_end_matches(',');
    let one = reloading_from(&faulty("good 1 abort:save"), settings, "");
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    let error = one.is_refused(&faulty("good 2"));
    assert!(error.contains("its `save` called abort()"), "{error}");
    assert_eq!(one.build(), "good 1 abort:save");
    assert!(one.host.value::<Vec<u64>>("f://noted", "").is_empty(), "by a fresh instance");
    assert_eq!((one.host.status_of("f").restarts, one.host.status_of("f").lost_threads), (1, 1));
    one.host.stop();
    for fault in ["abort:create", "abort:restore", "abort:start"] {
        let one = reloading_from(&faulty("good 1"), "config: (release: RELEASE)", "");
        assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
        let error = one.is_refused(&faulty(&format!("good 2 {fault}")));
        assert!(error.contains("called abort()"), "{error}");
        assert_eq!(one.build(), "good 1", "{fault}");
        assert_eq!(one.host.value::<Vec<u64>>("f://noted", ""), [1], "{fault}");
        one.host.stop();
    }
}

#[test]
fn the_host_runs_without_an_optional_one_that_ends_it() {
    for config in ["create: Abort", "start: Exit"] {
        let host = one(&format!("required: false, config: ({config}),"));
        let status = host.status_of("f");
        assert_eq!((status.phase, status.lost_threads), (Phase::Stopped, 1), "{config}");
        assert!(status.last_error.unwrap().contains("called"), "{config}");
        other_goes_on(&host);
        host.stop();
    }
}
