//! `mycelia load-test` by its binary: short loads with planted faults, each of which turns its verdict.
//!
//! No speed is asserted: what depends on it is switched off in the scenarios, or so far off that no machine makes it good.

use crate::process::{Ended, private_folder, run, write_config};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

const FAULTY: &str = r#"
    "faulty": (plugin: "mycelia_faulty", queue: (capacity: 16)),
    "evicts": (plugin: "mycelia_faulty", queue: (capacity: 4, policy: DropOldest)),
    "leaky": (plugin: "mycelia_faulty"),
"#;

/// A folder with `host.ron` of these subsystems, and this scenario in `own.ron`.
fn folder(subsystems: &str, scenario: &str) -> TempDir {
    let folder = private_folder();
    write_config(folder.path(), subsystems);
    fs::write(folder.path().join("own.ron"), scenario).unwrap();
    folder
}

/// Runs `own.ron`; what it printed as JSON, and its exit code.
fn load(folder: &Path, more: &[&str]) -> (Value, Ended) {
    let arguments = [&["load-test", "host.ron", "--scenario", "own.ron", "--json"], more].concat();
    let ended = run(folder, &arguments);
    let outcome = serde_json::from_str(&ended.out);
    (outcome.unwrap_or_else(|error| panic!("{error}: {ended:?}")), ended)
}

/// What each figure is worth.
fn words(outcome: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let verdicts = outcome["verdicts"].as_array().unwrap().iter();
    verdicts.map(|one| (text(&one["figure"]), text(&one["verdict"]))).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// The figures that missed what is asked.
fn missed(outcome: &Value) -> Vec<String> {
    words(outcome)
        .into_iter()
        .filter(|(_, word)| word == "missed")
        .map(|(figure, _)| figure)
        .collect()
}

#[test]
fn a_load_on_added_subsystems_is_counted_to_the_message() {
    let scenario = r#"(for: "2s", rate: Steady(300), echo: 3, verdicts: (latency: Off))"#;
    let folder = folder("", scenario);
    let (outcome, ended) = load(folder.path(), &["--report", "report.html"]);
    assert_eq!((ended.code, missed(&outcome)), (Some(0), vec![]), "{ended:?}");
    let messages = &outcome["messages"];
    assert!(count(&messages["offered"]) > 0);
    assert_eq!(messages["handled"], messages["offered"], "{messages}");
    let ledgers = outcome["ledgers"].as_object().unwrap();
    assert_eq!(ledgers.keys().collect::<Vec<_>>(), ["load-echo-1", "load-echo-2", "load-echo-3"]);
    let sum = |column: &str| ledgers.values().map(|one| count(&one[column])).sum::<u64>();
    assert_eq!((sum("handled"), sum("accepted")), (count(&messages["handled"]), sum("handled")));
    assert!(!outcome["samples"].as_array().unwrap().is_empty());
    let latency = &outcome["latency_ms"];
    assert!(latency["p50"].as_f64() <= latency["p99_9"].as_f64(), "{latency}");

    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert_eq!(page.matches("<svg role=\"img\"").count(), 6);
    for part in ["Verdicts", "every drop counted", "load-echo-3", "prefers-color-scheme: dark"] {
        assert!(page.contains(part), "{part} is missing");
    }
    for loaded in ["<link", "<img", " src=", "url(", "@import", "https://"] {
        assert!(!page.contains(loaded), "the page loads something: {loaded}");
    }
}

#[test]
fn for_people_there_is_a_table() {
    let folder = folder("", "()");
    let arguments = "load-test host.ron --scenario burst --duration 1s --size medium";
    let ended = run(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in [
        "burst: 100, 10000, 100 msg/s for 1s to 1 added subsystem, bodies of 1KiB",
        "P99.9",
        "every drop counted  met",
        "queues empty after  met",
    ] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    assert!(!ended.out.contains("latency p95"), "{}", ended.out);
}

#[test]
fn a_slow_handler_is_missed() {
    let scenario = r#"(for: "2s", rate: Steady(500), messages: [(path: "faulty://sleep/20000")])"#;
    let folder = folder(FAULTY, scenario);
    let (outcome, ended) = load(folder.path(), &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(missed(&outcome), ["latency p95", "rate held"]);
    // What the full queue gave back is counted, on both sides.
    let rejected = count(&outcome["messages"]["rejected"]);
    assert!(rejected > 0);
    assert_eq!(count(&outcome["ledgers"]["faulty"]["rejected"]), rejected);
}

#[test]
fn a_drop_is_missed_and_counted() {
    let scenario = r#"(
        for: "2s", rate: Steady(500), messages: [(path: "evicts://sleep/20000")],
        verdicts: (latency: Off),
    )"#;
    let folder = folder(FAULTY, scenario);
    let (outcome, ended) = load(folder.path(), &[]);
    assert_eq!(
        (ended.code, missed(&outcome)),
        (Some(1), vec!["rate held".to_owned()]),
        "{ended:?}"
    );
    let dropped = count(&outcome["messages"]["dropped"]);
    assert!(dropped > 0);
    assert_eq!(count(&outcome["ledgers"]["evicts"]["dropped_oldest"]), dropped);
}

#[test]
fn a_leak_is_missed() {
    // 4 MB a second, where 20 an hour are acceptable.
    let scenario = r#"(
        for: "5s", rate: Steady(200), warm_up: "1s", messages: [(path: "leaky://leak/20000")],
        verdicts: (latency: Off, held: Off),
    )"#;
    let folder = folder(FAULTY, scenario);
    let (outcome, ended) = load(folder.path(), &[]);
    let leak = vec!["memory growth".to_owned()];
    assert_eq!((ended.code, missed(&outcome)), (Some(1), leak), "{ended:?}");
}

#[test]
fn the_highest_rate_is_the_highest_that_was_held() {
    let folder = folder("", r#"(for: "3s", rate: Max("20ms"), echo: 2)"#);
    let (outcome, _) = load(folder.path(), &[]);
    let trials = outcome["trials"].as_array().unwrap();
    let held = trials.iter().filter(|trial| trial["held"] == true);
    let highest = held.map(|trial| count(&trial["rate"])).max();
    assert_eq!(outcome["highest_rate"].as_u64(), highest, "{trials:?}");
    assert!(trials.iter().any(|trial| trial["held"] == false), "{trials:?}");
    assert_eq!(words(&outcome)["every drop counted"], "met");
}

#[test]
fn what_cannot_be_sent_is_known_before() {
    let folder = folder(FAULTY, "(for: \"1s\", rate: Fast, echo: 1)");
    for (arguments, code, part) in [
        ("--target none://x", 1, "cannot send to none://x"),
        ("--target faulty://nothing", 1, "cannot send to faulty://nothing"),
        ("--target faulty://note/{n} --body none.json", 2, "none.json cannot be read"),
        ("--scenario own.ron", 2, "own.ron:1:"),
        ("--scenario sustain", 2, "there is no scenario `sustain`"),
        ("--report none/report.html", 2, "none/report.html"),
    ] {
        let arguments = ["load-test", "host.ron"].into_iter().chain(arguments.split(' '));
        let ended = run(folder.path(), &arguments.collect::<Vec<_>>());
        assert_eq!((ended.code, &*ended.out), (Some(code), ""), "{part}: {ended:?}");
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
}

#[test]
fn the_remedy_is_named_where_the_echo_is_not_built() {
    let folder = folder("", "(for: \"1s\", rate: Steady(1), echo: 1)");
    // A binary finds what lies beside it, so it is one of its own.
    let binary = folder.path().join("mycelia");
    fs::copy(env!("CARGO_BIN_EXE_mycelia"), &binary).unwrap();
    let mut command = std::process::Command::new(&binary);
    command.args(["load-test", "host.ron", "--scenario", "own.ron"]).current_dir(folder.path());
    let output = command.env_remove("MYCELIA_PLUGIN_PATH").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("cargo build --release -p mycelia-echo"), "{err}");
}
