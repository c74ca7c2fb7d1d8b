//! What a plugin traces, in the log of the host that runs it.

use crate::{
    process::{Served, mycelia, private_folder, serve, start, write_config},
    support::eventually,
};
use std::{fs, process::Command};

const TWO: &str = r#""f": (plugin: "mycelia_faulty"), "g": (plugin: "mycelia_faulty")"#;

/// The lines so far in which these words stand.
fn lines(host: &Served, words: &str) -> Vec<String> {
    host.err().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

fn trace(host: &Served, subsystem: &str, number: u64) {
    let ended = host.run(&["ask", &format!("{subsystem}://trace/{number}")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Traces until these words are in the log, since a plugin hears of a change a little later.
fn traces_until(host: &Served, subsystem: &str, words: &str) {
    let mut number = 1000;
    eventually(words, || {
        number += 1;
        trace(host, subsystem, number);
        !lines(host, words).is_empty()
    });
}

#[test]
fn events_and_spans_of_a_plugin_are_the_hosts() {
    let host = serve(TWO);
    trace(&host, "f", 7);
    eventually("it is in the log", || lines(&host, "an event of level WARN").len() == 1);
    let lines = lines(&host, "an event of level");
    let [error, warn, info] = &lines[..] else { panic!("{lines:?}") };
    assert!(error.contains(" ERROR ") && warn.contains(" WARN ") && info.contains(" INFO "));
    let expected = concat!(
        " INFO outer{number=7 later=true}:inner{text=\"a text\"}: mycelia_faulty: ",
        "an event of level INFO half=0.5 minus=-7 shown=a text subsystem=\"f\" generation=1"
    );
    assert!(info.contains(expected), "{info}");
}

#[test]
fn levels_change_while_it_runs_for_one_subsystem() {
    let host = serve(TWO);
    assert_eq!(host.run(&["log"]).out, "info\n");
    let changed = host.run(&["log", "g=trace"]);
    assert_eq!((changed.code, &*changed.out), (Some(0), "g=trace,info\n"), "{changed:?}");
    traces_until(&host, "g", "an event of level TRACE");
    host.run(&["ask", "g://log/5"]);
    eventually("its own lines are, too", || !lines(&host, "a line of level Trace").is_empty());
    trace(&host, "f", 1);
    host.run(&["ask", "f://log/5"]);
    let of_f = lines(&host, "subsystem=\"f\"");
    assert!(!of_f.iter().any(|line| line.contains("DEBUG") || line.contains("TRACE")), "{of_f:?}");

    assert_eq!(host.run(&["log", "g=error"]).out, "g=error,info\n");
    let quiet_from = host.err().len();
    trace(&host, "g", 2);
    host.run(&["ask", "g://log/3"]);
    trace(&host, "f", 2);
    eventually("the other one is as it was", || {
        host.err()[quiet_from..].contains("outer{number=2 later=true}")
    });
    let err = host.err();
    let of_g: Vec<_> =
        err[quiet_from..].lines().filter(|line| line.contains("subsystem=\"g\"")).collect();
    assert!(of_g.iter().all(|line| line.contains(" ERROR ")), "{of_g:?}");

    for (directives, words) in [("debgu", "perhaps"), ("g=loud", "comma-separated")] {
        let refused = host.run(&["log", directives]);
        assert_eq!((refused.code, &*refused.out), (Some(1), ""));
        assert!(refused.err.contains(words), "{refused:?}");
    }
    assert_eq!(host.run(&["log"]).out, "g=error,info\n", "what is wrong changes nothing");
    assert_eq!(host.run(&["log", "--json"]).out.trim(), r#"{"log":"g=error,info"}"#);
}

#[test]
fn a_new_build_traces_as_the_old_one_did() {
    let host = serve(TWO);
    host.run(&["log", "f=debug"]);
    traces_until(&host, "f", "an event of level DEBUG");
    for _ in 0..3 {
        let reloaded = host.run(&["reload", "f"]);
        assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    }
    trace(&host, "f", 8);
    eventually("the new build's events are there", || {
        lines(&host, "an event of level DEBUG").iter().any(|line| line.contains("generation=4"))
    });
    assert!(lines(&host, "an event of level TRACE").is_empty());
    let status: serde_json::Value =
        serde_json::from_str(&host.run(&["status", "--json"]).out).unwrap();
    eventually("the old builds are unloaded but for the one on probation", || {
        let maps = fs::read_to_string(format!("/proc/{}/maps", host.id())).unwrap();
        let code = maps.lines().filter(|line| line.contains("r-xp") && line.contains("f@"));
        code.count() <= 2
    });
    assert!(
        !status["retained_generations"].to_string().contains("retained\""),
        "tracing keeps no library: {status}"
    );
}

#[test]
fn the_environment_says_it_from_the_start() {
    let folder = private_folder();
    write_config(folder.path(), TWO);
    let mut command: Command = mycelia(folder.path(), &["run", "host.ron"]);
    command.env("MYCELIA_LOG", "warn,f=debug").env("MYCELIA_LOG_FORMAT", "json");
    let host = start(command, folder);
    eventually("it serves", || host.err().contains("Try, from a second terminal"));
    trace(&host, "g", 3);
    trace(&host, "f", 4);
    eventually("it is in the log", || !lines(&host, "an event of level DEBUG").is_empty());
    let debug = lines(&host, "an event of level DEBUG").remove(0);
    let line: serde_json::Value = serde_json::from_str(&debug).unwrap();
    assert_eq!((&line["subsystem"], &line["generation"]), (&"f".into(), &1.into()));
    assert_eq!((&line["target"], &line["level"]), (&"mycelia_faulty".into(), &"DEBUG".into()));
    assert_eq!(line["spans"][0]["number"], 4, "{debug}");
    assert!(lines(&host, "subsystem\":\"g").iter().all(|line| !line.contains("INFO")));
}
