//! Who may send what: grants, refusals that say what is missing, and one library under several names.

use crate::support::{Host, eventually, host, host_with, ledger, refusal, tally};
use mycelia::{operator::Operator, status::LedgerStatus, why::Why};
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
    assert_eq!(host.tally("friend://burst/3", "guard://guarded"), tally([("gone no", 3)]));
    host.stop();
}

fn why(host: &Host, path: &str, sender: &str) -> Why {
    host.runtime.why(path, sender).unwrap_or_else(|error| panic!("{path} as {sender}: {error}"))
}

/// What is explained is what happens to a message, and asking for it counts nowhere.
#[test]
fn what_is_explained_is_what_happens() {
    let host = host(SUBSYSTEMS);
    let paths = [
        "guard://guarded/1",
        "guard2://guarded/1",
        "stranger://guarded/1",
        "guard://total",
        "guard://nowhere",
        "guard://outcome/1",
        "nobody://x",
        "guard://a//b",
        "guard",
    ];
    let mut denied = 0;
    for sender in ["operator", "stranger", "friend"] {
        for path in paths {
            let told = match sender {
                "operator" => host.ask(path, ""),
                name => host.ask(&format!("{name}://forward"), path),
            };
            let word = told.map_or_else(|error| error.code.word(), |_| Why::ALLOWED);
            denied += u64::from(word == "denied");
            assert_eq!(why(&host, path, sender).verdict, word, "{path} as {sender}");
        }
    }
    assert_eq!(denied, 4);
    let counted = |name| host.ledger(name).denied;
    assert_eq!(["guard", "guard2", "stranger"].map(counted).iter().sum::<u64>(), denied);
    let error = host.runtime.why("guard://total", "strnger").unwrap_err();
    assert!(error.text.contains("there are `operator`, `guard`"), "{}", error.text);
    host.stop();
}

#[test]
fn an_explanation_names_what_decides() {
    let host = host_with("control: (grants: [\"guard:use\"]),", SUBSYSTEMS);
    for (path, sender, because) in [
        ("guard://total", "stranger", "the route requires no scope"),
        ("guard://guarded/1", "guard", "all routes of its own"),
        ("guard://guarded/1", "friend", "`friend` is granted `guard:use`"),
        ("guard2://guarded/1", "stranger", "`stranger` is granted nothing, and not `guard2:use`"),
        ("guard2://guarded/1", "friend", "is granted `guard:use`, and not `guard2:use`"),
        ("guard://outcome/1", "friend", "only the host reaches `outcome/{number}`"),
        ("gaurd://total", "friend", "did you mean `guard`?"),
    ] {
        let found = why(&host, path, sender).because;
        assert!(found.contains(because), "{path} as {sender}: {found}");
    }
    let found = why(&host, "guard2://guarded/7", "friend");
    let route = found.route.unwrap();
    assert_eq!(
        (route.pattern.as_str(), route.scope.as_deref()),
        ("guarded/{number}", Some("guard2:use"))
    );
    assert_eq!(route.parameters, [("number".to_owned(), "7".to_owned())]);
    assert_eq!(found.subsystem.unwrap().queue, host.status_of("guard2").queue);
    host.stop();
}

/// Whoever writes the remedies into the config is allowed what was denied, and keeps what was granted.
#[test]
fn a_remedy_is_what_the_config_lacks() {
    let path = "guard2://guarded/1";
    let denied = host_with("control: (grants: []),", SUBSYSTEMS);
    let remedy = |sender| why(&denied, path, sender).remedy.unwrap();
    let (control, friend) = (remedy("operator"), remedy("friend"));
    assert_eq!(friend, r#""friend": (plugin: …, grants: ["guard:use", "guard2:use"])"#);
    denied.stop();
    let friend = friend.replace('…', "\"mycelia_faulty\"");
    let subsystems = SUBSYSTEMS.lines().filter(|line| !line.contains("\"friend\""));
    let subsystems = subsystems.chain([&*friend]).collect::<Vec<_>>().join("\n");
    let allowed = host_with(&format!("{control},"), &subsystems);
    for (path, sender) in [(path, "operator"), (path, "friend"), ("guard://guarded/1", "friend")] {
        assert!(why(&allowed, path, sender).is_allowed(), "{path} as {sender}");
    }
    allowed.stop();
}

#[test]
fn a_subsystem_that_has_stopped_is_the_reason() {
    let host = host(
        r#""guard": (plugin: "mycelia_faulty", restart: (max: 0, within: "30s", backoff: "0ms"))"#,
    );
    assert_eq!(refusal(host.ask("guard://panic", "")).0, ErrorCode::Panicked);
    let why = || why(&host, "guard://note/1", "operator");
    // Its routes go a moment before it has stopped.
    eventually("it has stopped", || why().because.starts_with("`guard` has stopped: "));
    let found = why();
    assert_eq!((found.verdict.as_str(), found.route), ("no_route", None));
    host.stop();
}

/// Every sender that is granted some of the scopes, among names written alike, against what the texts say: explained,
/// and asked.
#[test]
fn every_verdict_is_as_an_oracle_says() {
    const GUARDS: [&str; 4] = ["guard", "guard2", "Guard", "guard.use"];
    let sets: Vec<Vec<String>> = (0..1 << GUARDS.len())
        .map(|bits: usize| {
            let has = GUARDS.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            has.map(|(_, guard)| format!("{guard}:use")).collect()
        })
        .collect();
    let guards = GUARDS.map(|name| (name.to_owned(), &sets[0]));
    let callers = sets.iter().enumerate().map(|(number, set)| (format!("use{number}"), set));
    let all: Vec<_> = guards.into_iter().chain(callers).collect();
    let block = |(name, set): &(String, &Vec<String>)| {
        format!("{name:?}: (plugin: \"mycelia_faulty\", grants: {set:?}),")
    };
    let host = host_with(
        "control: (grants: [\"guard:use\"]),",
        &all.iter().map(block).collect::<String>(),
    );
    let operator = ("operator".to_owned(), &vec!["guard:use".to_owned()]);
    for (sender, set) in all.iter().chain([&operator]) {
        for guard in GUARDS {
            let full = format!("{guard}:use");
            let is_allowed = sender == guard || set.contains(&full);
            let word = if is_allowed { Why::ALLOWED } else { "denied" };
            let path = format!("{guard}://guarded/1");
            assert_eq!(why(&host, &path, sender).verdict, word, "{path} as {sender}");
            let told = match &**sender {
                "operator" => host.ask(&path, ""),
                name => host.ask(&format!("{name}://forward"), &path),
            };
            let told = told.map_or_else(|error| error.code.word(), |_| Why::ALLOWED);
            assert_eq!(told, word, "{path} as {sender}");
            assert!(why(&host, &format!("{guard}://total"), sender).is_allowed());
        }
    }
    host.stop();
}
