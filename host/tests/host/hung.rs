//! Handlers that run past their limit: what they cost, and what goes on.

use crate::{
    faults::{ask_together, other_goes_on, pair, told_all},
    support::{Host, eventually, host, host_with, ledger, refusal, told},
};
use mycelia::{
    letters::{Filter, Reason},
    operator::Operator,
    status::{LedgerStatus, Phase},
};
use mycelia_plugin::{ErrorCode, Handled};
use std::{collections::BTreeMap, fs, time::Duration};

/// Long enough for whatever does not hang, on a machine that builds something else meanwhile.
const LIMIT: &str = "handler_limit: \"400ms\", ";
const HUNG: (ErrorCode, Handled) = (ErrorCode::Deadline, Handled::Unknown);

fn lost_threads(host: &Host) -> u64 {
    host.runtime.status().lost_threads
}

/// Waits until nothing is left of what hung.
fn is_over(host: &Host) {
    eventually("the thread has ended", || lost_threads(host) == 0);
    eventually("its instance is gone", || host.runtime.status().retained_generations.is_empty());
}

#[test]
fn a_handler_that_hangs_costs_one_message() {
    let host = pair(LIMIT);
    let paths = ["note/0", "fail/conflict", "note/2", "hold/never", "note/4", "note/5"];
    let asked = ask_together(&host, "f", &paths);
    let ok = |number: u64| Ok(number.to_string());
    let conflict = Err((ErrorCode::Conflict, Handled::Yes));
    assert_eq!(told_all(&asked), [ok(0), conflict, ok(2), Err(HUNG), ok(4), ok(5)]);
    assert_eq!(host.value::<Vec<u64>>("f://noted", ""), [4, 5], "the later ones ran elsewhere");
    let status = host.status_of("f");
    assert_eq!((status.phase, status.restarts, status.hung), (Phase::Running, 1, 1));
    let error = status.last_error.unwrap();
    assert!(error.contains("the handler of `f://hold/{gate}` has run for longer than 400ms"));
    assert!(error.contains("its `handler_limit`; raise that"), "{error}");
    let expect = LedgerStatus { handled: 7, dead: 1, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    let letters = host.runtime.dead_letters(&Filter::default());
    assert_eq!((letters.len(), letters[0].reason), (1, Reason::Hung));
    assert_eq!(letters[0].path, "f://hold/never");
    let retained = host.runtime.status().retained_generations.remove(0);
    assert_eq!((&*retained.subsystem, retained.generation), ("f", 1));
    assert_eq!((&*retained.phase, &retained.reason), ("retained", &error));
    assert_eq!(lost_threads(&host), 1);
    other_goes_on(&host);
    host.open("f", "never");
    is_over(&host);
    assert_eq!(host.ledger("f"), ledger(expect), "what comes back changes nothing");
    host.stop();
}

#[test]
fn blocks_stay_with_the_thread_and_come_back_with_it() {
    let host = pair(LIMIT);
    let long = "x".repeat(1_000);
    host.block("f", "gate");
    let paths = ["f://length", "f://hold/never", "f://length", "f://length"];
    let asked = paths.map(|path| host.ask_within(path, &long, None));
    host.open("f", "gate");
    let thousand = Ok("1000".to_owned());
    let expect = [thousand.clone(), Err(HUNG), thousand.clone(), thousand];
    assert_eq!(told_all(&asked), expect);
    eventually("the other blocks are free", || host.runtime.pool.used() < 2_000);
    assert!(host.runtime.pool.used() > 1_000, "it may still be read");
    host.open("f", "never");
    is_over(&host);
    host.stop();
}

/// One worker, so that nothing at all would go on without another thread in its place.
#[test]
fn the_pool_stays_at_strength() {
    let host = host_with(
        "workers: 1,",
        &format!(
            r#""f": (plugin: "mycelia_faulty", {LIMIT} restart: (max: 9, within: "1h")),
            "other": (plugin: "mycelia_faulty", queue: (capacity: 1024, policy: DropOldest))"#
        ),
    );
    for hangs in 1..=3 {
        assert_eq!(refusal(host.ask("f://hold/never", "")), HUNG);
        assert_eq!(lost_threads(&host), hangs);
        other_goes_on(&host);
        assert_eq!(host.tally("other://burst/1000", "other://note")["ok"], 1_000);
        host.rest("other");
    }
    assert_eq!(host.status_of("f").hung, 3);
    host.open("f", "never");
    is_over(&host);
    host.stop();
}

#[test]
fn what_a_revoked_handler_wants_is_refused() {
    for policy in ["Reject", "DropOldest"] {
        let host = host(&format!(
            r#""f": (plugin: "mycelia_faulty", {LIMIT}),
            "other": (plugin: "mycelia_faulty", queue: (capacity: 1024, policy: {policy}))"#
        ));
        assert_eq!(refusal(host.ask("f://hold_and_send/never", "other://note")), HUNG);
        host.open("f", "never");
        is_over(&host);
        let told = fs::read_to_string(host.file("f", "told")).unwrap();
        // An outbox takes what fits, and nobody publishes it.
        let expect = if policy == "Reject" { "gone no" } else { "gone no, ok" };
        assert_eq!(told, expect, "{policy}");
        assert_eq!(host.ledger("other"), ledger(LedgerStatus::default()), "{policy}");
        let expect = LedgerStatus { dead: 1, ..Default::default() };
        assert_eq!(host.ledger("f"), ledger(expect), "{policy}");
        host.stop();
    }
}

/// Where the plugin commits, nothing of the batch was committed, whatever hangs.
#[test]
fn a_hang_before_the_commit_fails_the_batch() {
    let restarted = Err((ErrorCode::Restarted, Handled::Unknown));
    let three = Ok("3".to_owned());
    let check =
        |paths: &[&str], told: &[Result<String, _>], expect: LedgerStatus, committed: &[u64]| {
            let host = host(&format!(r#""c": (plugin: "mycelia_faulty_commits", {LIMIT})"#));
            let asked = ask_together(&host, "c", paths);
            assert_eq!(told_all(&asked), told);
            host.rest("c");
            assert_eq!(host.ledger("c"), ledger(expect), "{paths:?}");
            assert_eq!(host.value::<Vec<u64>>("c://committed", ""), committed);
            host.open("c", "never");
            host.open("c", "commit_gate");
            is_over(&host);
            host.stop();
        };
    check(
        &["note/1", "hold/never", "note/3"],
        &[restarted.clone(), Err(HUNG), three],
        LedgerStatus { handled: 2, failed: 1, dead: 1, ..Default::default() },
        &[3],
    );
    check(
        &["note/1", "hang_commit", "note/3"],
        &[restarted.clone(), restarted.clone(), restarted],
        LedgerStatus { handled: 1, failed: 3, ..Default::default() },
        &[],
    );
}

#[test]
fn a_stop_does_not_wait_for_what_hangs() {
    let host = host_with(
        "drain_timeout: \"20s\",",
        &format!(r#""f": (plugin: "mycelia_faulty", {LIMIT} batch: 4)"#),
    );
    host.block("f", "never");
    host.sends("f://note/1");
    let asked = host.ask_within("f://note/2", "", None);
    let (status, folder) = host.stop();
    // Nothing is started again, so what waited behind it has nobody to handle it.
    assert_eq!(refusal(told(&asked)), (ErrorCode::Gone, Handled::No));
    assert_eq!(
        status.subsystems["f"].ledger,
        ledger(LedgerStatus { dead: 3, ..Default::default() })
    );
    fs::write(folder.path().join("data/f/never"), "").unwrap();
}

/// An asker that no longer waits is not a handler that hangs.
#[test]
fn a_deadline_alone_changes_nothing() {
    let host = pair("handler_limit: \"20s\",");
    let asked = host.ask_within("f://hold/gate", "", Some(Duration::from_millis(50)));
    assert_eq!(refusal(told(&asked)), HUNG, "it may have been handled");
    host.open("f", "gate");
    host.rest("f");
    let status = host.status_of("f");
    assert_eq!((status.hung, status.restarts, lost_threads(&host)), (0, 0, 0));
    assert_eq!(host.ledger("f"), ledger(LedgerStatus { handled: 1, ..Default::default() }));
    host.stop();
}

/// Slow messages, each within the limit, are not one that hangs.
#[test]
fn the_limit_is_for_one_message_and_not_for_a_batch() {
    let host = pair(LIMIT);
    let asked = ask_together(&host, "f", &["sleep/60000"; 20]);
    assert!(told_all(&asked).iter().all(Result::is_ok));
    assert_eq!(host.status_of("f").hung, 0);
    host.stop();
}

#[test]
fn a_handler_that_hangs_too_often_stops_its_subsystem() {
    let host = pair(&format!("{LIMIT} restart: (max: 1, within: \"1h\"),"));
    for _ in 0..2 {
        assert_eq!(refusal(host.ask("f://hold/never", "")), HUNG);
    }
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    assert_eq!(refusal(host.ask("f://noted", "")), (ErrorCode::Gone, Handled::No));
    other_goes_on(&host);
    host.open("f", "never");
    is_over(&host);
    host.stop();
}

/// Handlers that return at about the moment at which they are given up: each message has one end, and its asker is told
/// that one.
#[test]
fn an_end_and_a_revocation_at_once_are_one_end() {
    let names = ["f", "g", "h", "i", "j", "k"];
    let one = r#"(plugin: "mycelia_faulty", handler_limit: "40ms", batch: 8,
        restart: (max: 1000000, within: "1s", backoff: "0ms"))"#;
    let subsystems: Vec<String> = names.iter().map(|name| format!("{name:?}: {one}")).collect();
    let host = host_with("workers: 6,", &subsystems.join(", "));
    let body = "x".repeat(100);
    // From 38 ms on; a limit of 40 ms is noticed within 40 to 55.
    let sleep = |number: u64| 38_000 + number * 6_151 % 17_000;
    let mut told_of: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for round in 0..6 {
        let asked = (round * 40..(round + 1) * 40).map(|number| {
            let name = names[number as usize % names.len()];
            (name, host.ask_within(&format!("{name}://sleep/{}", sleep(number)), &body, None))
        });
        for (name, asked) in asked.collect::<Vec<_>>() {
            let (handled, dead) = told_of.entry(name).or_default();
            match told(&asked) {
                Ok(_) => *handled += 1,
                Err(error) if (error.code, error.handled) == HUNG => *dead += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    for (name, &(handled, dead)) in &told_of {
        let expect = LedgerStatus { handled, dead, ..Default::default() };
        assert_eq!(host.ledger(name), ledger(expect), "{name}");
        assert_eq!(host.status_of(name).hung, dead, "{name}");
    }
    let (handled, dead) = told_of.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(handled > 0 && dead > 0, "{handled} and {dead} are no race");
    is_over(&host);
    host.stop();
}
