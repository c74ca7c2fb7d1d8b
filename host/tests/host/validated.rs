//! `mycelia validate`: good plugins pass, and each way to be bad is found by its check.

use crate::process::{library, private_folder, run};
use mycelia::validate::Check;
use mycelia_faulty_builds::{aborting_constructor, stamped, truncated};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

#[derive(Deserialize)]
struct Report {
    passed: bool,
    checks: Vec<Check>,
}

fn report(library: &Path, config: Option<&str>) -> Report {
    let folder = private_folder();
    fs::write(folder.path().join("config.ron"), config.unwrap_or("()")).unwrap();
    let mut arguments = vec!["validate", library.to_str().unwrap(), "--json"];
    if config.is_some() {
        arguments.extend(["--config", "config.ron"]);
    }
    let ended = run(folder.path(), &arguments);
    let report: Report =
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!(ended.code, Some(if report.passed { 0 } else { 1 }), "{ended:?}");
    assert_eq!(report.passed, report.checks.iter().all(|check| check.passed));
    report
}

/// What is wrong with these bytes, by the check that found it. Each has a remedy.
fn faults(bytes: &[u8]) -> BTreeMap<String, String> {
    let folder = private_folder();
    let file = folder.path().join("libbad.so");
    fs::write(&file, bytes).unwrap();
    let failed = report(&file, None).checks.into_iter().filter(|check| !check.passed);
    failed
        .map(|Check { name, found, remedy, .. }| {
            assert!(remedy.is_some(), "{name}");
            (name, found)
        })
        .collect()
}

fn check_build(stamp: &str, expected: &[(&str, &str)]) {
    let found = faults(&stamped(&fs::read(library("faulty")).unwrap(), stamp));
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected_names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected_names, "{stamp}: {found:?}");
    for (name, words) in expected {
        assert!(found[*name].contains(words), "{stamp}: {found:?}");
    }
}

#[test]
fn good_plugins_pass_every_check() {
    let map = r#"(listen: "127.0.0.1:0", map: [(method: "GET", path: "/x", to: "kv://get/x")])"#;
    for (name, config) in [("kv", None), ("counter", None), ("http", Some(map))] {
        let report = report(&library(name), config);
        assert!(report.passed, "{name}: {:?}", report.checks);
        let names: Vec<_> = report.checks.iter().map(|check| check.name.as_str()).collect();
        let expected = [
            "manifest", "create", "start", "reload", "unload", "memory", "routes", "ledger",
            "stop", "heap", "needs",
        ];
        assert_eq!(names, expected);
    }
}

#[test]
fn a_plugin_is_checked_without_those_whose_events_it_hears() {
    let report = report(&library("faulty_listener"), None);
    let created = report.checks.iter().find(|check| check.name == "create");
    assert!(created.is_some_and(|check| check.passed), "{:?}", report.checks);
    let reloaded = report.checks.iter().find(|check| check.name == "reload");
    assert!(reloaded.is_some_and(|check| check.passed), "{:?}", report.checks);
}

#[test]
fn what_is_no_good_plugin_does_not_get_far() {
    let good = fs::read(library("faulty")).unwrap();
    let found = faults(&truncated(&good, good.len() / 2));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["manifest"], "{found:?}");
    let found = faults(&aborting_constructor(&good));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["create"], "{found:?}");
    check_build("good 1 panic:create", &[("create", "panics as this build was told to")]);
    check_build("good 1 fail:start", &[("start", "fails as this build was told to")]);
}

#[test]
fn what_goes_wrong_in_a_reload_is_found() {
    let routes = ("routes", "`hold/{gate}` has not returned");
    check_build("good 1 refuse_state", &[("reload", "reload 1 is refused: "), routes]);
    check_build("good 1 fail:stop", &[("reload", "`stop` fails as"), routes]);
    check_build("good 1 panic:drop", &[("reload", "`drop` panics as"), routes]);
    check_build("good 1 slow:stop:1100", &[("reload", "its `stop` takes 1.1"), routes]);
    check_build("good 1 stray", &[routes, ("unload", "thread")]);
}

#[test]
fn what_goes_wrong_with_messages_is_found() {
    check_build(
        "good 1 panic_first leak:100000 stranger",
        &[
            ("heap", "bytes of its heap"),
            ("needs", "it sends to `stranger`"),
            ("routes", "a message to `note/{number}` ends the instance"),
        ],
    );
}
