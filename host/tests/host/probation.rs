//! A build on probation: what its panics cost, and when the old one comes back.

use crate::{
    shelf::{Reloading, faulty, reloading},
    support::{eventually, ledger, refusal},
};
use mycelia::status::{LedgerStatus, Phase, ReloadsStatus};
use mycelia_plugin::ErrorCode;

/// Long enough for every test, unless its messages end it.
fn on_probation(probation: &str) -> Reloading {
    reloading(&format!("probation: ({probation}), restart: (max: 0, within: \"30s\")"), "")
}

fn notes(one: &Reloading) -> Vec<u64> {
    one.host.value("f://noted", "")
}

fn panics(one: &Reloading) {
    assert_eq!(refusal(one.ask("f://note/0", "")).0, ErrorCode::Panicked);
}

#[test]
fn too_many_panics_bring_the_old_build_back_with_its_state() {
    let one = on_probation(r#"for: "1h", panics: 3"#);
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    one.reload(&faulty("good 2 panic_first"));
    for _ in 0..3 {
        panics(&one);
        eventually("it is tried again", || one.host.phase("f") == Phase::Running);
        assert_eq!(one.generation(), 2);
    }
    panics(&one);
    eventually("the old build is back", || one.reloads().rolled_back == 1);
    eventually("it serves", || one.host.phase("f") == Phase::Running);
    assert_eq!((one.build(), one.generation(), notes(&one)), ("good 1".into(), 1, vec![1]));
    let error = one.host.status_of("f").last_error.unwrap();
    assert!(error.contains("generation 2 panicked 4 times on probation"), "{error}");
    let expect = LedgerStatus { handled: 3, dead: 4, ..Default::default() };
    assert_eq!(one.host.ledger("f"), ledger(expect));
    let expect = ReloadsStatus { committed: 1, refused: 0, rolled_back: 1 };
    assert_eq!(one.reloads(), expect);
    one.is_unloaded(2);
    // The bad build's content is not tried again by itself, and a better one is.
    assert_eq!(one.reload(&faulty("good 3")).generation, 3);
    assert_eq!(notes(&one), [1]);
    one.host.stop();
}

#[test]
fn a_panic_or_two_are_survived_with_the_state_that_was_handed_on() {
    let one = on_probation(r#"for: "1h", panics: 2"#);
    assert_eq!(one.host.value::<u64>("f://note/1", ""), 1);
    one.reload(&faulty("good 2 panic_at:3"));
    assert_eq!(one.host.value::<u64>("f://note/2", ""), 2);
    assert_eq!(one.host.value::<u64>("f://note/3", ""), 3);
    panics(&one);
    assert_eq!((notes(&one), one.generation()), (vec![1], 2), "what it changed itself is lost");
    assert_eq!((one.host.status_of("f").restarts, one.reloads().rolled_back), (1, 0));
    one.host.stop();
}

#[test]
fn a_request_that_waits_outlives_a_roll_back() {
    let one = on_probation(r#"for: "1h", panics: 0"#);
    let kept = one.host.ask_within("f://keep", "", None);
    one.host.rest("f");
    one.reload(&faulty("good 2 panic_first"));
    panics(&one);
    eventually("the old build is back", || one.reloads().rolled_back == 1);
    assert_eq!(one.host.value::<u64>("f://answer_kept", ""), 1);
    assert_eq!(crate::support::told(&kept).unwrap().body, b"2");
    one.host.stop();
}

#[test]
fn probation_ends_with_messages_or_time() {
    for probation in [r#"messages: 10, for: "1h""#, r#"messages: 1000000, for: "50ms""#] {
        let one = on_probation(probation);
        one.reload(&faulty("good 2"));
        for number in 0..10 {
            assert_eq!(one.host.value::<u64>(&format!("f://note/{number}"), ""), number);
        }
        one.is_unloaded(1);
        // From here on a panic counts against `restart`, which allows none.
        assert_eq!(refusal(one.ask("f://panic", "")).0, ErrorCode::Panicked);
        eventually("it is given up", || one.host.phase("f") == Phase::Stopped);
        assert_eq!(one.reloads().rolled_back, 0);
        one.host.stop();
    }
}

#[test]
fn without_probation_the_old_build_goes_at_once() {
    let one = on_probation(r#"messages: 0"#);
    one.reload(&faulty("good 2"));
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn the_next_reload_makes_the_serving_build_the_one_to_fall_back_to() {
    let one = on_probation(r#"for: "1h", panics: 0"#);
    one.reload(&faulty("good 2"));
    one.reload(&faulty("good 3 panic_first"));
    one.is_unloaded(1);
    panics(&one);
    eventually("the second build is back", || one.reloads().rolled_back == 1);
    assert_eq!((one.build(), one.generation()), ("good 2".into(), 2));
    one.host.stop();
}

#[test]
fn a_new_build_that_does_not_start_again_is_rolled_back() {
    let one = on_probation(r#"for: "1h", panics: 5"#);
    one.reload(&faulty("good 2"));
    one.host.open("f", "no_start");
    assert_eq!(refusal(one.ask("f://panic", "")).0, ErrorCode::Panicked);
    // The old build finds the same file, so nothing can serve: `restart` allows no attempt.
    eventually("it is given up", || one.host.phase("f") == Phase::Stopped);
    assert_eq!(one.reloads().rolled_back, 1);
    one.host.stop();
}

#[test]
fn a_roll_back_is_published() {
    let beside = r#""ear": (plugin: "mycelia_faulty_listener", grants: ["kernel:read"]),
        "teller": (plugin: "mycelia_faulty")"#;
    let settings = r#"probation: (for: "1h", panics: 0)"#;
    let one = reloading(settings, beside);
    one.reload(&faulty("good 2 panic_first"));
    panics(&one);
    eventually("the roll-back is heard", || {
        let heard: Vec<String> = one.host.value("ear://heard", "");
        heard.iter().any(|text| text.contains("rolled back: ") && text.contains("told of f: f 1"))
    });
    one.host.stop();
}
