//! The binary as its users call it, with real plugins.

use crate::{
    client::Client,
    process::{library, plugins, private_folder, run, serve, serve_in, write_config},
    support::eventually,
};
use mycelia::status::{LedgerStatus, Phase, Status};
use rustix::process::Signal;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

const DEMO: &str = include_str!("../../config/demo.ron");

/// The demo on free ports.
fn write_demo(folder: &Path) {
    let text =
        DEMO.replace("127.0.0.1:7070", "127.0.0.1:0").replace("127.0.0.1:8080", "127.0.0.1:0");
    fs::write(folder.join("host.ron"), text).unwrap();
}

#[test]
fn the_demo_from_start_to_stop_and_again() {
    let folder = private_folder();
    write_demo(folder.path());
    let host = serve_in(folder);
    let mut client = Client::connect(host.http());
    for (method, path, body, status, answer) in [
        ("PUT", "/kv/greeting", "hello", 204, ""),
        ("GET", "/kv/greeting", "", 200, "hello"),
        ("GET", "/kv", "", 200, "[\"greeting\"]"),
        ("DELETE", "/kv/nothing", "", 200, "false"),
        ("POST", "/counter/visits", "2", 200, "2"),
        ("GET", "/counter/visits", "", 200, "2"),
        ("POST", "/echo", "hi", 200, "hi"),
    ] {
        let response = client.exchange(method, path, body);
        assert_eq!((response.status, response.text()), (status, answer), "{method} {path}");
    }

    let asked = host.run(&["ask", "counter://add/visits", "1"]);
    assert_eq!((asked.code, asked.out.trim_end(), asked.err.as_str()), (Some(0), "3", ""));
    assert_eq!(host.run(&["ask", "kv://get/greeting"]).out.trim_end(), "hello");
    let sent = host.run(&["send", "counter://add/visits", "1"]);
    assert_eq!((sent.code, sent.out + &sent.err), (Some(0), String::new()));
    let refused = host.run(&["ask", "kv://get/none", "--json"]);
    assert_eq!(refused.code, Some(1));
    let refused: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((&refused["error"], &refused["handled"]), (&"not_found".into(), &"yes".into()));

    let mut status = Status::default();
    eventually("everything is handled", || {
        status = serde_json::from_str(&host.run(&["status", "--json"]).out).unwrap();
        status.subsystems.values().all(|one| one.ledger.queued + one.ledger.in_flight == 0)
    });
    for (name, handled) in [("kv", 6), ("counter", 4), ("echo", 1), ("http", 0)] {
        let one = &status.subsystems[name];
        let expect = LedgerStatus { accepted: handled, handled, ..Default::default() };
        assert_eq!((one.ledger, one.phase), (expect, Phase::Running), "{name}");
        assert_eq!((one.plugin.as_str(), one.generation), (format!("mycelia-{name}").as_str(), 1));
    }
    assert_eq!(status.subsystems["http"].requests.answered, 7);
    assert!(host.run(&["status"]).out.contains("SUBSYSTEM"));

    host.signal(Signal::TERM);
    let (code, err, folder) = host.ended();
    assert_eq!(code, Some(0), "{err}");
    let table = err.split("once more to stop at once").nth(1).unwrap();
    assert!(table.contains("ACCEPTED") && table.contains("stopped"), "{table}");
    assert!(folder.path().join("mycelia-data/kv/kv.redb").exists());

    let again = serve_in(folder);
    let response = Client::connect(again.http()).exchange("GET", "/kv/greeting", "");
    assert_eq!(response.text(), "hello", "what was answered is on disk");
    let stopped = again.run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let (code, err, folder) = again.ended();
    assert_eq!(code, Some(0), "{err}");
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".token")), "{left:?}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let host = serve(r#""f": (plugin: "mycelia_faulty")"#);
    assert_eq!(host.run(&["send", "f://hold/never"]).code, Some(0));
    host.signal(Signal::INT);
    eventually("it says so", || host.err().contains("once more to stop at once"));
    host.hang_up();
    assert_eq!(host.run(&["status"]).code, Some(0), "a hangup is no second signal to stop");
    host.signal(Signal::TERM);
    let (code, _, _) = host.ended();
    assert_eq!(code, Some(128 + Signal::TERM.as_raw()));
}

#[test]
fn a_hangup_ends_nothing() {
    let host = serve(r#""echo": (plugin: "mycelia_echo")"#);
    for _ in 0..3 {
        host.hang_up();
        assert_eq!(host.run(&["ask", "echo://", "x"]).out.trim_end(), "x");
    }
    host.signal(Signal::TERM);
    let (code, err, _) = host.ended();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("once more to stop at once"), "{err}");
}

#[test]
fn after_the_host_nobody_answers() {
    let host = serve(r#""echo": (plugin: "mycelia_echo")"#);
    let control = host.control().to_string();
    host.signal(Signal::TERM);
    let (code, _, folder) = host.ended();
    assert_eq!(code, Some(0));
    for command in [["status"].as_slice(), &["ask", "echo://", "x"], &["stop"]] {
        let ended = run(folder.path(), &[command, &["--control", &control]].concat());
        assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""));
        assert!(ended.err.contains(&format!("no host answers at {control}")), "{ended:?}");
    }
}

#[test]
fn a_handlers_fault_is_in_the_log_and_in_the_status() {
    let host = serve(
        r#""f": (plugin: "mycelia_faulty", config: (panic_on: Some(3))), "echo": (plugin: "mycelia_echo")"#,
    );
    let panicked = host.run(&["ask", "f://note/3"]);
    assert_eq!((panicked.code, panicked.out.as_str()), (Some(1), ""));
    assert!(panicked.err.contains("note 3 panics as it was told to"), "{panicked:?}");
    assert!(panicked.err.contains("handled: unknown"), "{panicked:?}");
    assert_eq!(host.run(&["ask", "f://note/4"]).out.trim_end(), "4");
    let status = host.run(&["status"]).out;
    assert!(status.contains("note 3 panics as it was told to"), "{status}");
    assert!(host.err().contains("restarted; what the old instance held in memory is lost"));
    for level in 1..=3 {
        host.run(&["ask", &format!("f://log/{level}")]);
    }
    for level in ["Error", "Warn", "Info"] {
        let line = format!("a line of level {level}");
        eventually(&line, || host.err().contains(&line));
    }
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}

#[test]
fn a_bad_config_is_shown_at_its_place() {
    let folder = private_folder();
    for (subsystems, texts) in [
        (r#""kv": (plugin: "mycelia_kv", wieght: 2)"#, ["wieght", "weight"].as_slice()),
        (r#""kv": (plugin: "mycelia_kv""#, &["host.ron:1:"]),
        (r#""kv": (plugin: "mycelia_vk")"#, &["mycelia_vk", "mycelia_kv", "required: false"]),
        (
            r#""kv": (plugin: "mycelia_kv", config: (fille: "x"))"#,
            &["fille", "does not take its config"],
        ),
        (
            r#""kv": (plugin: "mycelia_kv"), "e": (plugin: "mycelia_echo", grants: ["kv:raed"])"#,
            &["raed", "`read`"],
        ),
    ] {
        write_config(folder.path(), subsystems);
        for command in ["run", "check"] {
            let ended = run(folder.path(), &[command, "host.ron"]);
            assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""), "{command} {subsystems}");
            // A terminal gets excerpts with carets, which the config's own tests render; a pipe gets a line for each.
            assert!(
                ended.err.contains("host.ron:1:") && ended.err.contains("help:"),
                "{}",
                ended.err
            );
            for text in texts {
                assert!(ended.err.contains(text), "{text}: {}", ended.err);
            }
        }
    }
    let missing = run(folder.path(), &["run", "none.ron"]);
    assert_eq!(missing.code, Some(78));
    assert!(missing.err.contains("none.ron"), "{missing:?}");
}

/// A library for another machine: an ELF file names it in two bytes.
fn other_machine(library: &[u8]) -> Vec<u8> {
    let mut bytes = library.to_vec();
    bytes[18..20].copy_from_slice(&0xF3_u16.to_le_bytes());
    bytes
}

/// A library of the toolchain's that is none of ours.
fn foreign_library() -> Vec<u8> {
    let mut files = fs::read_dir(plugins()).unwrap().map(|entry| entry.unwrap().path());
    let is_macro = |path: &Path| {
        path.to_string_lossy().contains("serde_derive")
            && path.extension().is_some_and(|e| e == "so")
    };
    fs::read(files.find(|path| is_macro(path)).unwrap()).unwrap()
}

#[test]
fn a_bad_plugin_file_is_named() {
    let folder = private_folder();
    let good = fs::read(library("echo")).unwrap();
    for (bytes, text) in [
        (Vec::new(), "empty"),
        (b"#!/bin/sh\necho hello\n".to_vec(), "a text file"),
        (good[..good.len() / 2].to_vec(), "not complete"),
        (other_machine(&good), "built for riscv64"),
        (foreign_library(), "manifest"),
    ] {
        fs::write(folder.path().join("bad.so"), bytes).unwrap();
        write_config(folder.path(), r#""bad": (plugin: "bad.so")"#);
        let ended = run(folder.path(), &["run", "host.ron"]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""), "{text}: {ended:?}");
        assert!(ended.err.contains("bad.so") && ended.err.contains(text), "{text}: {}", ended.err);
        let inspected = run(folder.path(), &["inspect", "bad.so"]);
        assert_eq!((inspected.code, inspected.out.as_str()), (Some(1), ""));
        assert!(inspected.err.contains(text), "{text}: {}", inspected.err);
    }
    write_config(
        folder.path(),
        r#""bad": (plugin: "bad.so", required: false), "echo": (plugin: "mycelia_echo")"#,
    );
    let host = serve_in(folder);
    assert!(host.err().contains("the host runs without it"), "{}", host.err());
    assert_eq!(host.run(&["ask", "echo://", "x"]).out.trim_end(), "x");
    let refused = host.run(&["ask", "bad://", "x"]);
    let text = "gone: the subsystem `bad` is stopped; `mycelia status` says why, `mycelia restart bad` starts it";
    assert!(refused.err.contains(text), "{refused:?}");
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}

#[test]
fn a_port_in_use_is_named_with_a_remedy() {
    let folder = private_folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let control = format!("(control: (listen: \"{address}\"), subsystems: {{}})");
    fs::write(folder.path().join("host.ron"), control).unwrap();
    let ended = run(folder.path(), &["run", "host.ron"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    for text in [&format!("cannot listen on {address} for control"), "mycelia stop"] {
        assert!(ended.err.contains(text), "{text}: {}", ended.err);
    }

    let row = r#"(method: "GET", path: "/", to: "a://b")"#;
    write_config(
        folder.path(),
        &format!(
            r#""http": (plugin: "mycelia_http", config: (listen: "{address}", map: [{row}]))"#
        ),
    );
    let ended = run(folder.path(), &["run", "host.ron"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    for text in ["`http` did not start", &format!("cannot listen on {address}"), "stop it"] {
        assert!(ended.err.contains(text), "{text}: {}", ended.err);
    }
}

#[test]
fn check_tells_what_would_run() {
    let folder = private_folder();
    write_demo(folder.path());
    let checked = run(folder.path(), &["check", "host.ron"]);
    assert_eq!((checked.code, checked.out.as_str()), (Some(0), ""), "{checked:?}");
    let effective = run(folder.path(), &["check", "--effective", "host.ron"]);
    assert_eq!(effective.code, Some(0));
    fs::write(folder.path().join("effective.ron"), &effective.out).unwrap();
    let again = run(folder.path(), &["check", "--effective", "effective.ron"]);
    assert_eq!((again.code, again.out), (Some(0), effective.out));
    assert!(!folder.path().join("mycelia-data").exists(), "a check writes nothing");
}

/// The configs of this repository, which readers run as they are.
fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = [folder.clone(), folder.join("tuning")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "ron")).collect()
}

#[test]
fn the_configs_of_the_repository_have_no_mistakes() {
    let (folder, files) = (private_folder(), shipped());
    assert!(files.len() > 3, "only {files:?} were found");
    for file in files {
        let checked = run(folder.path(), &["check", &file.display().to_string()]);
        assert_eq!((checked.code, checked.out.as_str()), (Some(0), ""), "{checked:?}");
    }
}

#[test]
fn check_tells_of_every_kind_of_mistake_and_of_what_is_not_granted() {
    let folder = private_folder();
    let counter = r#""counter": (plugin: "mycelia_counter", config: (no: 1))"#;
    let lost = r#""lost": (plugin: "no_such_plugin", grants: ["counter:fly"])"#;
    write_config(folder.path(), &format!("{counter}, {lost}"));
    let ended = run(folder.path(), &["check", "host.ron"]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for text in ["no_such_plugin", "has no scope `fly`", "`counter` does not take its config"] {
        assert!(ended.err.contains(text), "{text}: {}", ended.err);
    }
    write_config(folder.path(), r#""f": (plugin: "mycelia_faulty")"#);
    let ended = run(folder.path(), &["check", "host.ron"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in
        [r#"write grants: ["guard:use"] into `f`"#, "1 scope that a plugin needs is not granted"]
    {
        assert!(ended.err.contains(text), "{text}: {}", ended.err);
    }
}

#[test]
fn inspect_reads_a_manifest() {
    let folder = private_folder();
    for name in ["echo", "counter", "kv", "http", "faulty", "faulty_commits"] {
        let file = library(name).display().to_string();
        let ended = run(folder.path(), &["inspect", "--json", &file]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{name}");
        let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(json["name"], format!("mycelia-{}", name.replace('_', "-")));
        for field in ["version", "abi", "hash", "routes", "needs", "state_schema", "panic"] {
            assert!(json.get(field).is_some(), "{name} has no {field}: {json}");
        }
    }
    let kv = run(folder.path(), &["inspect", &library("kv").display().to_string()]);
    assert!(kv.out.contains("put/{key}") && kv.out.contains("write"), "{}", kv.out);
}

#[test]
fn actions_need_the_token_and_no_foreign_page() {
    let host = serve(r#""counter": (plugin: "mycelia_counter")"#);
    let (token, control) = (host.token(), host.control());
    let ask = |headers: &str| {
        let mut client = Client::connect(control);
        let head = "POST /ask?path=counter://add/x HTTP/1.1\r\ncontent-length: 1\r\n";
        client.write(format!("{head}{headers}\r\n1").as_bytes());
        client.read().unwrap().status
    };
    let own = format!("host: {control}\r\n");
    let bearer = format!("authorization: Bearer {token}\r\n");
    assert_eq!(ask(&own), 401);
    assert_eq!(ask(&format!("{own}authorization: Bearer wrong\r\n")), 401);
    assert_eq!(ask(&format!("{own}{bearer}origin: http://evil.example\r\n")), 403);
    assert_eq!(ask(&format!("host: evil.example\r\n{bearer}")), 421);
    assert_eq!(ask(&format!("{own}{bearer}")), 200);
    let status: Status = serde_json::from_str(&host.run(&["status", "--json"]).out).unwrap();
    let expect = LedgerStatus { accepted: 1, handled: 1, ..Default::default() };
    assert_eq!(status.subsystems["counter"].ledger, expect);
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}

#[test]
fn bad_paths_and_large_bodies_are_refused_by_name() {
    let host = serve(r#""echo": (plugin: "mycelia_echo")"#);
    let deep = format!("echo://{}", "x/".repeat(40) + "x");
    for (path, text) in [
        ("echo", "bad_path"),
        ("echo://a//b", "bad_path"),
        ("echo://a\u{1}b", "bad_path"),
        (&format!("echo://{}", "x".repeat(3000)), "bad_path"),
        (&deep, "bad_path"),
        ("nobody://x", "no_route"),
    ] {
        let ended = host.run(&["ask", path, "x"]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{path}");
        assert!(ended.err.contains(text) && ended.err.contains("handled: no"), "{}", ended.err);
    }
    let file = host.folder.path().join("large");
    fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
    let ended = host.run(&["send", "echo://", &format!("@{}", file.display())]);
    assert!(ended.err.contains("too_large"), "{ended:?}");
    let status: Status = serde_json::from_str(&host.run(&["status", "--json"]).out).unwrap();
    assert_eq!(status.subsystems["echo"].ledger, LedgerStatus::default());
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}

#[test]
fn one_subsystem_is_restarted_and_stopped_by_command() {
    let host = serve(r#""counter": (plugin: "mycelia_counter"), "echo": (plugin: "mycelia_echo")"#);
    assert_eq!(host.run(&["ask", "counter://add/visits", "2"]).out.trim_end(), "2");
    let told = host.run(&["restart", "counter"]);
    assert_eq!((told.code, &*told.err), (Some(0), "counter: running, generation 1\n"));
    assert_eq!(
        host.run(&["ask", "counter://value/visits"]).out.trim_end(),
        "0",
        "a fresh instance"
    );
    let told = host.run(&["stop", "--subsystem", "counter", "--json"]);
    let ordered: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((told.code, &ordered["phase"]), (Some(0), &"stopped".into()));
    let gone = host.run(&["ask", "counter://value/visits"]);
    assert_eq!(gone.code, Some(1));
    assert_eq!(host.run(&["ask", "echo://x", "hi"]).out.trim_end(), "hi", "the other goes on");
    assert_eq!(host.run(&["restart", "counter"]).code, Some(0));
    assert_eq!(host.run(&["ask", "counter://add/visits", "1"]).out.trim_end(), "1");
    let unknown = host.run(&["restart", "conter"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("`conter`") && unknown.err.contains("counter"), "{}", unknown.err);
    assert_eq!(host.run(&["stop"]).code, Some(0));
    assert_eq!(host.ended().0, Some(0));
}
