//! Panics and failures in the calls of a subsystem's life, when an instance takes the place of one that failed: what the
//! operator and requesters see.

use crate::{
    shelf::{Reloading, faulty, reloading_from},
    support::{create, eventually, host, refusal, told},
};
use mycelia::{
    runtime::StartError,
    status::{LedgerStatus, Phase},
};
use mycelia_plugin::{ErrorCode, Handled};
use tempfile::TempDir;

const AT_ONCE: &str = r#"restart: (max: 2, within: "30s", backoff: "0ms"), handler_limit: "1s""#;
const PANICKED: (ErrorCode, Handled) = (ErrorCode::Panicked, Handled::Unknown);

fn one(stamp: &str) -> Reloading {
    reloading_from(&faulty(stamp), AT_ONCE, r#""other": (plugin: "mycelia_faulty")"#)
}

fn other_goes_on(one: &Reloading) {
    assert_eq!(one.host.value::<u64>("other://note/5", ""), 5);
    let other = one.host.status_of("other");
    assert_eq!((other.phase, other.restarts), (Phase::Running, 0));
}

/// What a failed instance does while it is dropped costs nobody anything.
#[test]
fn a_drop_after_a_fault_may_panic() {
    let one = one("good 1 panic:drop");
    let kept = one.host.ask_within("f://keep", "", None);
    assert_eq!(refusal(one.host.ask("f://panic", "")), PANICKED);
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    assert_eq!(refusal(told(&kept)), (ErrorCode::Restarted, Handled::Unknown));
    let error = one.host.status_of("f").last_error.unwrap();
    assert!(error.contains("drop: panicked: a panic: `drop` panics"), "{error}");
    assert_eq!((one.host.phase("f"), one.host.status_of("f").restarts), (Phase::Running, 1));
    let expect = LedgerStatus { handled: 2, dead: 1, accepted: 3, ..Default::default() };
    assert_eq!(one.host.ledger("f"), expect);
    other_goes_on(&one);
    one.host.stop();
}

/// `start` runs in every new instance, so one that fails there uses the budget up; what waits is dead, and told.
#[test]
fn an_instance_that_never_starts_stops_its_subsystem_alone() {
    let host = host(&format!(
        r#""f": (plugin: "mycelia_faulty", {AT_ONCE}), "other": (plugin: "mycelia_faulty")"#
    ));
    host.block("f", "gate");
    let panics = host.ask_within("f://panic", "", None);
    let waits = host.ask_within("f://note/1", "", None);
    host.open("f", "no_start");
    host.open("f", "gate");
    assert_eq!(refusal(told(&panics)), PANICKED);
    assert_eq!(refusal(told(&waits)), (ErrorCode::Gone, Handled::No));
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    assert_eq!(host.status_of("f").restarts, 2);
    let error = host.status_of("f").last_error.unwrap();
    assert!(error.contains("`start` fails as long as the file"), "{error}");
    assert_eq!(host.value::<u64>("other://note/5", ""), 5);
    host.stop();
}

#[test]
fn a_stop_that_panics_or_ends_the_process_is_in_the_last_status() {
    for (fault, text) in
        [("panic:stop", "a panic: `stop` panics"), ("abort:stop", "called abort()")]
    {
        let one = one(&format!("good 1 {fault}"));
        assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
        let Reloading { host, .. } = one;
        let (status, _folder) = host.stop();
        let error = status.subsystems["f"].last_error.clone().unwrap_or_default();
        assert!(error.contains(text), "{fault}: {error}");
        assert!(status.subsystems.values().all(|one| one.phase == Phase::Stopped), "{fault}");
    }
}

/// A thread of its own that panics while it is asked to end is only logged.
#[test]
fn each_own_thread_that_panics_is_one_restart() {
    let one = one("good 1");
    for restarts in 1..=2 {
        one.host.sends("f://thread/panic");
        eventually("it was restarted", || one.host.status_of("f").restarts == restarts);
        eventually("it runs again", || one.host.phase("f") == Phase::Running);
    }
    one.host.sends("f://thread/panic");
    eventually("the budget is used up", || one.host.phase("f") == Phase::Stopped);
    other_goes_on(&one);
    one.host.stop();
}

#[test]
fn whether_a_library_that_cannot_be_loaded_is_needed_decides() {
    let subsystems = |required: bool| {
        format!(
            r#""f": (plugin: "no_such_plugin", required: {required}), "other": (plugin: "mycelia_faulty")"#
        )
    };
    let folder = TempDir::new().unwrap();
    let Err(StartError::Config(mistakes)) = create(folder.path(), "", &subsystems(true)) else {
        panic!("it was created")
    };
    let said = mistakes.to_string();
    assert!(said.contains("no_such_plugin") && said.contains("required: false"), "{said}");

    let host = host(&subsystems(false));
    assert_eq!(host.phase("f"), Phase::Stopped);
    assert_eq!(refusal(host.ask("f://noted", "")), (ErrorCode::Gone, Handled::No));
    assert_eq!(host.value::<u64>("other://note/5", ""), 5);
    host.stop();
}

#[test]
fn a_required_one_that_ends_the_process_at_start_refuses_the_host() {
    let folder = TempDir::new().unwrap();
    let subsystems = |config| format!(r#""f": (plugin: "mycelia_faulty", config: ({config}))"#);
    let Err(StartError::Config(mistakes)) = create(folder.path(), "", &subsystems("create: Abort"))
    else {
        panic!("it was created")
    };
    assert!(mistakes.to_string().contains("its `create` called abort()"), "{mistakes}");
    let runtime = create(folder.path(), "", &subsystems("start: Exit")).unwrap();
    let Err(StartError::Start { error, .. }) = runtime.serve(|| panic!("it serves")) else {
        panic!("it started")
    };
    assert!(error.text.contains("its `start` called exit(7)"), "{error}");
}
