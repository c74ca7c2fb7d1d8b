//! Who may send what: grants, refusals that say what is missing, and one library under several names.

use crate::support::{Host, eventually, host, host_with, ledger, refusal, tally};
use mycelia::status::LedgerStatus;
use mycelia_plugin::{ErrorCode, Handled};

const DENIED: (ErrorCode, Handled) = (ErrorCode::Denied, Handled::No);

/// `guard` and `guard2` require a scope each; `stranger` has none, `friend` that of `guard`.
const SUBSYSTEMS: &str = r#"
    "guard": (plugin: "mycelia_faulty"),
    "guard2": (plugin: "mycelia_faulty"),
    "stranger": (plugin: "mycelia_faulty"),
    "friend": (plugin: "mycelia_faulty", grants: ["guard:use"]),
"#;

fn check(host: &Host, name: &str, handled: u64, denied: u64) {
    host.rest(name);
    let expect = LedgerStatus { handled, denied, ..Default::default() };
    assert_eq!(host.ledger(name), ledger(expect), "{name}");
}

#[test]
fn a_handler_needs_the_grant() {
    let host = host(SUBSYSTEMS);
    for path in ["burst/3", "ask/3"] {
        let words = host.tally(&format!("stranger://{path}"), "guard://guarded");
        assert_eq!(words, tally([("denied no", 3)]), "{path}");
        let words = host.tally(&format!("friend://{path}"), "guard://guarded");
        assert_eq!(words, tally([("ok", 3)]), "{path}");
    }
    check(&host, "guard", 6, 6);
    let told = host.ask("stranger://forward", "guard://guarded/1").unwrap_err();
    assert_eq!((told.code, told.handled), DENIED);
    assert!(told.text.contains("`guard:use`") && told.text.contains("`stranger`"), "{}", told.text);
    assert_eq!(host.value::<u64>("friend://forward", "guard://guarded/1"), 1);
    check(&host, "guard", 7, 7);
    host.stop();
}

#[test]
fn a_thread_of_a_plugin_needs_it_too() {
    let host = host(SUBSYSTEMS);
    for (name, word) in [("stranger", "denied no"), ("friend", "ok")] {
        host.ask(&format!("{name}://outside/3"), "guard://guarded").unwrap();
        eventually("the thread has sent", || {
            host.tally(&format!("{name}://outside_tally"), "") == tally([(word, 3)])
        });
    }
    check(&host, "guard", 3, 3);
    host.stop();
}

#[test]
fn two_names_of_one_library_are_two_permissions() {
    let host = host(SUBSYSTEMS);
    assert_eq!(refusal(host.ask("friend://forward", "guard2://guarded/1")), DENIED);
    check(&host, "guard2", 0, 1);
    check(&host, "guard", 0, 0);
    host.sends("guard://note/1");
    host.sends("guard2://note/2");
    assert_eq!(host.value::<Vec<u64>>("guard://noted", ""), [1]);
    assert_eq!(host.value::<Vec<u64>>("guard2://noted", ""), [2]);
    assert_eq!(host.value::<String>("guard://caller", ""), "operator");
    assert_eq!(host.value::<String>("friend://forward", "guard://caller"), "friend");
    host.stop();
}

#[test]
fn two_names_of_one_library_have_their_own_files() {
    let host = host(r#""one": (plugin: "mycelia_kv"), "two": (plugin: "mycelia_kv")"#);
    for name in ["one", "two"] {
        host.ask(&format!("{name}://put/key"), name).unwrap();
    }
    for name in ["one", "two"] {
        assert_eq!(host.ask(&format!("{name}://get/key"), "").unwrap().body, name.as_bytes());
        assert!(host.file(name, "kv.redb").exists());
        check(&host, name, 2, 0);
    }
    host.stop();
}

#[test]
fn the_operator_has_what_the_config_grants() {
    let host = host_with("control: (grants: [\"guard:use\"]),", SUBSYSTEMS);
    assert_eq!(host.value::<u64>("guard://guarded/1", ""), 1);
    let told = host.ask("guard2://guarded/1", "").unwrap_err();
    assert_eq!((told.code, told.handled), DENIED);
    assert!(told.text.contains("`guard2:use`") && told.text.contains("operator"), "{}", told.text);
    assert_eq!(host.send("guard2://guarded/1", "").unwrap_err().code, ErrorCode::Denied);
    assert_eq!(host.value::<u64>("guard2://note/1", ""), 1, "without a scope it is for everyone");
    check(&host, "guard", 1, 0);
    check(&host, "guard2", 1, 2);
    host.stop();

    let host = host_with("control: (grants: []),", SUBSYSTEMS);
    assert_eq!(refusal(host.ask("guard://guarded/1", "")), DENIED);
    check(&host, "guard", 0, 1);
    host.stop();
}

#[test]
fn the_default_operator_has_everything() {
    let host = host(SUBSYSTEMS);
    assert_eq!(host.value::<u64>("guard://guarded/1", ""), 1);
    assert_eq!(host.value::<u64>("guard2://guarded/2", ""), 2);
    host.stop();
}

/// A path that was allowed or denied once is decided anew when the subsystem behind it is gone.
#[test]
fn a_verdict_does_not_outlive_its_routes() {
    let host = host(
        r#""guard": (plugin: "mycelia_faulty", restart: (max: 0, within: "30s", backoff: "0ms")),
        "friend": (plugin: "mycelia_faulty", grants: ["guard:use"])"#,
    );
    assert_eq!(host.tally("friend://burst/3", "guard://guarded"), tally([("ok", 3)]));
    host.rest("guard");
    assert_eq!(refusal(host.ask("guard://panic", "")).0, ErrorCode::Panicked);
    eventually("it has stopped", || host.send("guard://note/1", "").is_err());
    assert_eq!(host.tally("friend://burst/3", "guard://guarded"), tally([("no_route no", 3)]));
    host.stop();
}
