//! When a subsystem is restarted after a fault, from what, and what is told meanwhile.

use crate::{
    shelf::{faulty, reloading, reloading_from},
    support::{Host, eventually, host, ledger, refusal, told},
};
use mycelia::status::{LedgerStatus, Phase};
use mycelia_plugin::{ErrorCode, Handled};
use std::time::{Duration, Instant};

const PANICKED: (ErrorCode, Handled) = (ErrorCode::Panicked, Handled::Unknown);
/// A restart that comes only after the test.
const LATER: &str = r#"restart: (max: 5, within: "2h", backoff: "1h"),"#;
/// Restarts at once, and a snapshot whenever there is something new.
const SNAPSHOTS: &str = r#"snapshot: "10ms", restart: (max: 5, within: "30s", backoff: "0ms"),"#;

fn one(settings: &str) -> Host {
    host(&format!(
        r#""f": (plugin: "mycelia_faulty", {settings}), "other": (plugin: "mycelia_faulty")"#
    ))
}

fn panics(host: &Host) {
    assert_eq!(refusal(host.ask("f://panic", "")), PANICKED);
}

/// Waits until the snapshot is newer than everything so far.
fn is_kept(host: &Host) {
    let asked = Instant::now();
    host.sends("f://note/0");
    host.rest("f");
    let slot = host.runtime.named("f").unwrap();
    eventually("a snapshot is taken", || {
        slot.info().snapshot.as_ref().is_some_and(|state| state.taken > asked)
    });
    // One may have been under way when the note came.
    let first = slot.info().snapshot.as_ref().unwrap().taken;
    host.sends("f://note/0");
    eventually("another one is taken", || {
        slot.info().snapshot.as_ref().is_some_and(|state| state.taken > first)
    });
}

fn noted(host: &Host) -> Vec<u64> {
    let mut notes: Vec<u64> = host.value("f://noted", "");
    notes.retain(|note| *note != 0);
    notes
}

#[test]
fn a_subsystem_that_waits_accepts_and_its_requests_keep_their_deadlines() {
    let host = one(LATER);
    let kept = host.ask_within("f://keep", "", None);
    panics(&host);
    eventually("it waits", || host.phase("f") == Phase::Restarting);
    assert_eq!(
        refusal(told(&kept)),
        (ErrorCode::Restarted, Handled::Unknown),
        "without a snapshot at once"
    );
    host.sends("f://note/1");
    let limit = Some(Duration::from_millis(20));
    let late = host.ask_within("f://note/2", "", limit);
    assert_eq!(refusal(told(&late)).0, ErrorCode::Deadline);
    assert_eq!(host.value::<u64>("other://note/5", ""), 5, "the others go on");
    let status = host.status_of("f");
    assert_eq!((status.phase, status.restarts, status.ledger.queued), (Phase::Restarting, 1, 2));
    let (status, _folder) = host.stop();
    let expect = LedgerStatus { handled: 1, dead: 2, expired: 1, ..Default::default() };
    let found = status.subsystems["f"].ledger;
    assert_eq!((found.handled, found.dead + found.expired), (1, 3), "{found:?}");
    assert_eq!(found.accepted, ledger(expect).accepted);
}

#[test]
fn a_reload_need_not_wait() {
    let one = reloading(LATER.trim_end_matches(','), "");
    one.host.sends("f://note/1");
    assert_eq!(refusal(one.host.ask("f://panic", "")), PANICKED);
    eventually("it waits", || one.host.phase("f") == Phase::Restarting);
    let waits = one.host.ask_within("f://note/2", "", None);
    one.reload(&faulty("good 2"));
    assert_eq!(told(&waits).unwrap().body, b"2");
    assert_eq!((one.build(), one.host.phase("f")), ("good 2".into(), Phase::Running));
    one.host.stop();
}

#[test]
fn each_restart_of_a_streak_waits_twice_as_long() {
    let host = one(r#"restart: (max: 9, within: "30s", backoff: "10ms"),"#);
    for wait in [10, 20, 40, 80] {
        let began = Instant::now();
        panics(&host);
        assert_eq!(host.value::<u64>("f://note/1", ""), 1);
        assert!(began.elapsed() >= Duration::from_millis(wait), "after {:?}", began.elapsed());
    }
    host.stop();
}

#[test]
fn a_streak_ends_with_health() {
    let host = one(r#"restart: (max: 9, within: "40ms", backoff: "1ms"),"#);
    let streak = || host.runtime.named("f").unwrap().info().streak;
    panics(&host);
    assert!(streak() <= 1);
    eventually("it runs", || host.phase("f") == Phase::Running && streak() == 1);
    std::thread::sleep(Duration::from_millis(60));
    panics(&host);
    eventually("it runs", || host.status_of("f").restarts == 2);
    assert_eq!(streak(), 1, "it had served for longer than `within`");
    host.stop();
}

#[test]
fn a_restart_continues_from_the_last_snapshot() {
    let host = one(SNAPSHOTS);
    host.sends("f://note/1");
    let early = host.ask_within("f://keep", "", None);
    is_kept(&host);
    panics(&host);
    assert_eq!(noted(&host), [1]);
    assert_eq!(host.value::<u64>("f://answer_kept", ""), 1);
    assert_eq!(told(&early).unwrap().body, b"2", "the next instance answers what it has restored");
    host.stop();
}

#[test]
fn what_came_after_the_snapshot_is_lost_and_its_requesters_are_told() {
    let host = one(r#"snapshot: "1h", restart: (max: 5, within: "30s", backoff: "0ms"),"#);
    host.sends("f://note/1");
    let kept = host.ask_within("f://keep", "", None);
    panics(&host);
    assert_eq!(refusal(told(&kept)), (ErrorCode::Restarted, Handled::Unknown));
    assert_eq!(noted(&host), [0; 0]);
    host.stop();

    let host = one(SNAPSHOTS);
    is_kept(&host);
    // In one batch with the panic, so that no snapshot comes in between.
    host.block("f", "gate");
    let kept = host.ask_within("f://keep", "", None);
    host.sends("f://note/2");
    host.sends("f://panic");
    host.open("f", "gate");
    assert_eq!(refusal(told(&kept)), (ErrorCode::Restarted, Handled::Unknown));
    assert_eq!(noted(&host), [0; 0]);
    assert_eq!(host.value::<u64>("f://answer_kept", ""), 0);
    host.stop();
}

#[test]
fn fresh_is_without_the_state() {
    let host = one(&format!("on_restart: Fresh, {SNAPSHOTS}"));
    host.sends("f://note/1");
    std::thread::sleep(Duration::from_millis(30));
    panics(&host);
    assert_eq!(noted(&host), [0; 0]);
    assert!(host.runtime.named("f").unwrap().info().snapshot.is_none());
    host.stop();
}

#[test]
fn a_snapshot_that_is_not_taken_is_given_up() {
    for fault in ["refuse_state", "panic:restore"] {
        let one = reloading_from(
            &faulty(&format!("good 1 {fault}")),
            SNAPSHOTS.trim_end_matches(','),
            "",
        );
        one.host.sends("f://note/1");
        is_kept(&one.host);
        panics(&one.host);
        assert_eq!(noted(&one.host), [0; 0], "{fault}");
        assert_eq!(one.host.status_of("f").restarts, 2, "{fault}: with the state, and without");
        one.host.stop();
    }
}

#[test]
fn a_save_that_fails_leaves_the_older_snapshot_and_is_told() {
    for (fault, text) in [("fail:save", "failed: "), ("panic:save", "a panic: `save` panics")] {
        let one = reloading_from(
            &faulty(&format!("good 1 {fault}")),
            SNAPSHOTS.trim_end_matches(','),
            "",
        );
        one.host.sends("f://note/1");
        let error = || one.host.status_of("f").last_error.unwrap_or_default();
        eventually("it is told", || error().starts_with("snapshot: "));
        assert!(error().contains(text), "{}", error());
        assert_eq!(noted(&one.host), [1], "{fault}: it serves on");
        assert_eq!(one.host.status_of("f").restarts, 0);
        one.host.stop();
    }
}

#[test]
fn a_save_that_hangs_is_a_fault() {
    let settings = format!(
        r#"handler_limit: "100ms", config: (release: RELEASE), {}"#,
        SNAPSHOTS.trim_end_matches(',')
    );
    let one = reloading_from(&faulty("good 1 hang:save"), &settings, "");
    one.host.sends("f://note/1");
    eventually("it is restarted", || one.host.status_of("f").restarts >= 1);
    let error = one.host.status_of("f").last_error.unwrap();
    assert!(error.contains("`save` has not returned within 100ms"), "{error}");
    one.release();
    eventually("it serves", || one.host.phase("f") == Phase::Running);
    assert_eq!(noted(&one.host), [0; 0]);
    one.host.stop();
}
