//! Plugins that panic, fail and hang on: what is lost, what is told, and who goes on.

use crate::support::{Host, Told, create, eventually, host, host_with, ledger, refusal, told};
use mycelia::{
    operator::Operator,
    runtime::{Runtime, StartError},
    status::{LedgerStatus, Phase, RequestsStatus},
};
use mycelia_plugin::{ErrorCode, Handled};
use std::{collections::BTreeMap, sync::mpsc::Receiver, time::Duration};
use tempfile::TempDir;

const PANICKED: (ErrorCode, Handled) = (ErrorCode::Panicked, Handled::Unknown);

/// Five restarts without a wait.
const AT_ONCE: &str = r#"restart: (max: 5, within: "30s", backoff: "0ms"),"#;

/// The subsystem `f`, that the tests are after, and one beside it.
pub fn pair(settings: &str) -> Host {
    host(&format!(
        r#""f": (plugin: "mycelia_faulty", {settings}),
        "other": (plugin: "mycelia_faulty", queue: (capacity: 1024, policy: DropOldest))"#
    ))
}

/// Asks for all of these in one batch: they queue behind a handler that blocks.
pub fn ask_together(host: &Host, name: &str, paths: &[&str]) -> Vec<Receiver<Told>> {
    host.block(name, "gate");
    let asked = paths.iter().map(|path| host.ask_within(&format!("{name}://{path}"), "", None));
    let asked = asked.collect();
    host.open(name, "gate");
    asked
}

pub fn told_all(asked: &[Receiver<Told>]) -> Vec<Result<String, (ErrorCode, Handled)>> {
    let told = asked.iter().map(told);
    told.map(|told| match told {
        Ok(reply) => Ok(String::from_utf8(reply.body).unwrap()),
        error => Err(refusal(error)),
    })
    .collect()
}

pub fn other_goes_on(host: &Host) {
    assert_eq!(host.value::<u64>("other://note/5", ""), 5);
    assert_eq!((host.phase("other"), host.status_of("other").restarts), (Phase::Running, 0));
}

#[test]
fn a_panic_costs_one_message() {
    let host = pair("");
    let asked = ask_together(&host, "f", &["note/0", "note/1", "panic", "note/3", "note/4"]);
    let [zero, one, three, four] = ["0", "1", "3", "4"].map(|number| Ok(number.to_owned()));
    assert_eq!(told_all(&asked), [zero, one, Err(PANICKED), three, four]);
    let error = host.status_of("f").last_error.unwrap();
    assert!(error.contains("as it was told to"), "{error}");
    assert_eq!(host.value::<Vec<u64>>("f://noted", ""), [3, 4], "by the new instance, in order");
    let expect = LedgerStatus { handled: 6, dead: 1, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    assert_eq!((host.phase("f"), host.status_of("f").restarts), (Phase::Running, 1));
    other_goes_on(&host);
    host.stop();
}

#[test]
fn the_panicking_message_is_named_by_its_number() {
    let host = pair("config: (panic_on: Some(7)),");
    (0..10).for_each(|number| host.sends(&format!("f://note/{number}")));
    host.rest("f");
    assert_eq!(host.value::<Vec<u64>>("f://noted", ""), [8, 9]);
    let expect = LedgerStatus { handled: 10, dead: 1, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    host.stop();
}

/// Of what a handler that panics sent, what its full outbox published before stays; the rest is discarded.
#[test]
fn a_panic_discards_what_was_not_published() {
    for (path, published) in
        [("send_and_panic/5", 0), ("send_and_panic/64", 0), ("send_and_panic/100", 64)]
    {
        let host = pair("");
        assert_eq!(refusal(host.ask(&format!("f://{path}"), "other://note")), PANICKED);
        host.rest("other");
        let expect = LedgerStatus { handled: published, ..Default::default() };
        assert_eq!(host.ledger("other"), ledger(expect), "{path}");
        host.stop();
    }
}

#[test]
fn a_panic_leaves_what_messages_before_it_sent() {
    let host = pair("");
    host.block("f", "gate");
    let burst = host.ask_within("f://burst/10", "other://note", None);
    let panics = host.ask_within("f://send_and_panic/100", "other://note", None);
    host.open("f", "gate");
    assert!(told(&burst).is_ok());
    assert_eq!(refusal(told(&panics)), PANICKED);
    host.rest("other");
    // The outbox was full once, with the 10 of the burst in it; the other 46 are gone.
    assert_eq!(host.ledger("other").handled, 64);
    host.stop();
}

#[test]
fn requests_that_were_not_published_are_withdrawn() {
    let host = pair("");
    assert_eq!(refusal(host.ask("f://ask_and_panic/100", "other://note")), PANICKED);
    host.rest("other");
    eventually("the published ones are answered", || host.requests("f").pending == 0);
    assert_eq!(host.ledger("other").handled, 64);
    let expect = RequestsStatus { asked: 100, answered: 64, cancelled: 36, ..Default::default() };
    assert_eq!(host.requests("f"), expect);
    host.rest("f");
    let outcomes: Vec<(u64, String)> = host.value("f://outcomes", "");
    assert_eq!(outcomes.len(), 64, "the new instance gets the outcomes of what the old one asked");
    host.stop();
}

#[test]
fn direct_sends_stay() {
    let host = host(
        r#""f": (plugin: "mycelia_faulty"),
        "other": (plugin: "mycelia_faulty", queue: (capacity: 1024, policy: Reject))"#,
    );
    assert_eq!(refusal(host.ask("f://send_and_panic/100", "other://note")), PANICKED);
    host.rest("other");
    assert_eq!(host.ledger("other").handled, 100);
    host.stop();
}

#[test]
fn the_sixth_panic_stops_the_subsystem_alone() {
    let host = pair(AT_ONCE);
    let mut paths = vec!["panic"; 6];
    paths.extend(["note/1", "note/2", "note/3"]);
    let asked = ask_together(&host, "f", &paths);
    let gone = (ErrorCode::Gone, Handled::No);
    let expect: Vec<_> = [PANICKED; 6].into_iter().chain([gone; 3]).map(Err).collect();
    assert_eq!(told_all(&asked), expect);
    let expect = LedgerStatus { handled: 1, dead: 9, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    assert_eq!((host.phase("f"), host.status_of("f").restarts), (Phase::Stopped, 5));
    assert_eq!(refusal(host.ask("f://noted", "")), (ErrorCode::Gone, Handled::No));
    // A sender that resolved the path before is told the same.
    let words: BTreeMap<String, u64> = host.value("other://burst/2", "f://note");
    assert_eq!(words, [("gone no".to_owned(), 2)].into());
    assert_eq!(host.ledger("f"), ledger(expect), "what is refused was never accepted");
    other_goes_on(&host);
    host.stop();
}

#[test]
fn restarts_are_counted_within_a_time() {
    let host = pair("restart: (max: 2, within: \"1ms\", backoff: \"0ms\"),");
    for count in 1..=5 {
        assert_eq!(refusal(host.ask("f://panic", "")), PANICKED);
        eventually("it was restarted", || host.status_of("f").restarts == count);
        // Longer than `within`, so that the restart no longer counts.
        std::thread::sleep(Duration::from_millis(2));
    }
    host.stop();
}

#[test]
fn no_restart_is_a_budget_too() {
    let host = pair("restart: (max: 0, within: \"30s\", backoff: \"0ms\"),");
    assert_eq!(refusal(host.ask("f://panic", "")), PANICKED);
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    assert_eq!(host.status_of("f").restarts, 0);
    host.stop();
}

#[test]
fn an_instance_that_does_not_start_again_uses_the_budget_up() {
    let host = pair(AT_ONCE);
    host.open("f", "no_start");
    assert_eq!(refusal(host.ask("f://panic", "")), PANICKED);
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    let status = host.status_of("f");
    assert_eq!(status.restarts, 5);
    let error = status.last_error.unwrap();
    assert!(error.contains("`no_start` is there"), "{error}");
    other_goes_on(&host);
    host.stop();
}

#[test]
fn a_thread_that_fails_restarts_its_subsystem() {
    for (fault, text) in [("fail", "failed: `thread` fails"), ("panic", "a panic: `thread` panics")]
    {
        let host = pair("");
        host.sends("f://note/1");
        host.sends(&format!("f://thread/{fault}"));
        eventually("it was restarted", || host.status_of("f").restarts == 1);
        eventually("it runs again", || host.phase("f") == Phase::Running);
        let error = host.status_of("f").last_error.unwrap();
        assert!(error.contains("the thread `wrong` ended with") && error.contains(text), "{error}");
        assert!(host.value::<Vec<u64>>("f://noted", "").is_empty());
        let expect = LedgerStatus { handled: 3, ..Default::default() };
        assert_eq!(host.ledger("f"), ledger(expect));
        host.stop();
    }
}

#[test]
fn a_thread_that_does_not_end_stops_its_subsystem() {
    let host = pair("handler_limit: \"50ms\",");
    host.ask("f://stubborn/thread_gate", "").unwrap();
    assert_eq!(refusal(host.ask("f://panic", "")), PANICKED);
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    let error = host.status_of("f").last_error.unwrap();
    assert!(error.contains("1 threads of the subsystem ignore their stop token"), "{error}");
    assert_eq!(refusal(host.ask("f://noted", "")), (ErrorCode::Gone, Handled::No));
    other_goes_on(&host);
    host.open("f", "thread_gate");
    host.stop();
}

#[test]
fn a_dropped_responder_answers() {
    let host = pair("");
    assert_eq!(refusal(host.ask("f://drop", "")), (ErrorCode::Unanswered, Handled::Yes));
    assert_eq!(host.ledger("f"), ledger(LedgerStatus { failed: 1, ..Default::default() }));
    host.stop();
}

#[test]
fn what_an_instance_held_ends_with_it() {
    let host = pair("");
    let kept = [0, 1].map(|_| host.ask_within("f://keep", "", None));
    let later = host.ask_within("f://later/60000/1", "", None);
    assert_eq!(refusal(host.ask("f://panic", "")), PANICKED);
    for held in kept.iter().chain([&later]) {
        assert_eq!(refusal(told(held)), (ErrorCode::Restarted, Handled::Unknown));
    }
    host.stop();
}

/// Answers of a batch leave when it is committed; without the commit they are errors.
#[test]
fn a_commit_decides_for_its_batch() {
    let failed = Err((ErrorCode::Failed, Handled::Yes));
    let restarted = Err((ErrorCode::Restarted, Handled::Unknown));
    let three = Ok("3".to_owned());
    let check =
        |paths: &[&str], told: &[Result<String, _>], expect: LedgerStatus, committed: &[u64]| {
            let host = host(r#""c": (plugin: "mycelia_faulty_commits")"#);
            let asked = ask_together(&host, "c", paths);
            assert_eq!(told_all(&asked), told);
            host.rest("c");
            assert_eq!(host.ledger("c"), ledger(expect), "{paths:?}");
            assert_eq!(host.value::<Vec<u64>>("c://committed", ""), committed);
            host.stop();
        };
    let handled = |handled| LedgerStatus { handled, ..Default::default() };
    check(&["note/1", "note/3"], &[Ok("1".into()), three.clone()], handled(3), &[1, 3]);
    check(
        &["note/1", "fail", "fail_commit", "note/3"],
        &[failed.clone(), failed.clone(), failed.clone(), failed.clone()],
        LedgerStatus { failed: 4, ..handled(1) },
        &[],
    );
    check(
        &["note/1", "note/2", "panic", "note/3"],
        &[restarted.clone(), restarted, Err(PANICKED), three],
        LedgerStatus { failed: 2, dead: 1, ..handled(2) },
        &[3],
    );
    check(
        &["note/1", "panic_commit", "note/3"],
        &[Err(PANICKED), Err(PANICKED), Err(PANICKED)],
        LedgerStatus { failed: 3, ..handled(1) },
        &[],
    );
}

fn f(settings: &str, config: &str) -> String {
    format!(
        r#""f": (plugin: "mycelia_faulty", {settings} config: ({config})),
        "other": (plugin: "mycelia_faulty")"#
    )
}

#[test]
fn a_required_subsystem_that_is_not_created_is_a_mistake() {
    for (fault, text) in [
        ("Fail", "`f` does not take its config: `create` fails"),
        ("Panic", "`f` fails in `create` with a panic: `create` panics"),
    ] {
        let folder = TempDir::new().unwrap();
        let created = create(folder.path(), "", &f("", &format!("create: {fault}")));
        let Err(StartError::Config(mistakes)) = created else { panic!("it was created") };
        let said = mistakes.to_string();
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn the_host_runs_without_an_optional_one() {
    for config in ["create: Fail", "create: Panic", "start: Fail", "start: Panic"] {
        let host = host(&f("required: false,", config));
        let status = host.status_of("f");
        assert_eq!((status.phase, status.restarts), (Phase::Stopped, 0), "{config}");
        assert!(status.last_error.unwrap().contains("as it was told to"), "{config}");
        assert_eq!(refusal(host.ask("f://noted", "")), (ErrorCode::Gone, Handled::No));
        other_goes_on(&host);
        host.stop();
    }
}

#[test]
fn a_required_one_that_does_not_start_ends_the_host() {
    for (config, text) in [("start: Fail", "`start` fails"), ("start: Panic", "`start` panics")] {
        let folder = TempDir::new().unwrap();
        let runtime: &'static Runtime = create(folder.path(), "", &f("", config)).unwrap();
        let Err(StartError::Start { name, error }) = runtime.serve(|| panic!("it serves")) else {
            panic!("it started")
        };
        assert_eq!(name, "f");
        assert!(error.text.contains(text), "{error}");
        assert!(runtime.subsystems().all(|slot| slot.info().phase == Phase::Stopped));
    }
}

#[test]
fn a_stop_that_fails_stops() {
    for fault in ["Fail", "Panic"] {
        let host = host(&f("", &format!("stop: {fault}")));
        let (status, _) = host.stop();
        let error = status.subsystems["f"].last_error.clone().unwrap();
        assert!(error.contains("stop") && error.contains("as it was told to"), "{error}");
        assert!(status.subsystems.values().all(|one| one.phase == Phase::Stopped));
    }
}

/// What a stop finds in a queue when its time is up is dead, and requests that are held end.
#[test]
fn a_stop_waits_only_so_long() {
    let host = host_with("drain_timeout: \"100ms\",", r#""f": (plugin: "mycelia_faulty")"#);
    let kept = host.ask_within("f://keep", "", None);
    host.sends("f://forever");
    let (status, _) = host.stop();
    assert_eq!(refusal(told(&kept)), (ErrorCode::Restarted, Handled::Unknown));
    let LedgerStatus { accepted, handled, dead, .. } = status.subsystems["f"].ledger;
    assert_eq!((accepted, dead), (handled + 1, 1));
}

#[test]
fn a_panic_during_the_drain_ends_the_instance_and_the_stop_goes_on() {
    // The drain may take longer than `eventually` waits, so a stop that waits for the dead instance fails here.
    let host = host_with("drain_timeout: \"40s\",", r#""f": (plugin: "mycelia_faulty", batch: 1)"#);
    host.block("f", "gate");
    for path in ["f://note/1", "f://panic", "f://note/2"] {
        host.sends(path);
    }
    Operator::stop(&host.runtime);
    eventually("the stop begins", || host.phase("f") == Phase::Stopping);
    host.open("f", "gate");
    eventually("the stop ends", || host.phase("f") == Phase::Stopped);
    let (status, _folder) = host.stop();
    let columns = status.subsystems["f"].ledger;
    // The gate's own message and the first note were handled; behind the panic nobody is left to handle anything.
    assert_eq!((columns.accepted, columns.handled, columns.dead), (4, 2, 2));
}
