//! Metrics of a plugin's own: counted by handlers and threads, over restarts and reloads.

use crate::support::{Host, PATIENCE, eventually, host};
use mycelia::{operator::Operator, status::Phase};
use std::{collections::BTreeMap, sync::mpsc};

const FAULTY: &str =
    r#""f": (plugin: "mycelia_faulty", restart: (max: 5, within: "60s", backoff: "1ms"))"#;

fn metrics(host: &Host) -> BTreeMap<String, u64> {
    host.status_of("f").metrics
}

#[test]
fn counters_go_on_over_restarts_and_reloads() {
    let host = host(r#""f": (plugin: "mycelia_faulty"), "g": (plugin: "mycelia_faulty")"#);
    assert_eq!(metrics(&host), BTreeMap::new());
    for _ in 0..3 {
        host.ask("f://counter/notes_kept/2", "").unwrap();
    }
    host.ask("f://counter_outside/notes_kept/10", "").unwrap();
    eventually("the thread has counted", || metrics(&host)["notes_kept"] == 16);
    host.ask("f://panic", "").unwrap_err();
    eventually("it was restarted", || {
        let status = host.status_of("f");
        status.restarts == 1 && status.phase == Phase::Running
    });
    host.ask("f://counter/notes_kept/1", "").unwrap();
    assert_eq!(metrics(&host)["notes_kept"], 17);
    let (done, reloaded) = mpsc::channel();
    host.runtime.reload("f", Box::new(move |report| done.send(report).unwrap()));
    reloaded.recv_timeout(PATIENCE).unwrap().unwrap();
    host.ask("f://counter/notes_kept/1", "").unwrap();
    host.ask("f://counter/other/1", "").unwrap();
    let counted = [("notes_kept".to_owned(), 18), ("other".to_owned(), 1)];
    assert_eq!(metrics(&host), BTreeMap::from(counted));
    assert!(host.status_of("g").metrics.is_empty(), "another subsystem has its own");
    host.stop();
}

#[test]
fn what_is_no_name_or_one_too_many_is_counted_together() {
    let host = host(FAULTY);
    host.ask("f://counter/Bad-Name/4", "").unwrap();
    for number in 0..66 {
        host.ask(&format!("f://counter/n{number}/1"), "").unwrap();
    }
    let counted = metrics(&host);
    assert_eq!((counted.len(), counted["_overflow"]), (65, 6));
    assert_eq!(counted.values().sum::<u64>(), 70);
    host.stop();
}
