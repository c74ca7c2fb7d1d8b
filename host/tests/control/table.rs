//! The table of `mycelia status`.

use anstream::adapter::strip_str;
use mycelia::cli::table;
use mycelia::letters::{LettersStatus, Reason};
use mycelia::status::{
    LedgerStatus, Phase, QueueStatus, ReloadsStatus, RetainedGeneration, Status, SubsystemStatus,
};

fn busy() -> Status {
    let kv = SubsystemStatus {
        phase: Phase::Running,
        plugin: "mycelia_kv".into(),
        version: "0.1.0".into(),
        generation: 3,
        queue: QueueStatus { depth: 12, capacity: 1024, policy: "Reject".into() },
        ledger: LedgerStatus {
            accepted: 123_456_789_012,
            handled: 123_456_780_000,
            failed: 7,
            dropped_oldest: 1000,
            dropped_newest: 234,
            expired: 5,
            dead: 6,
            rejected: 8_000_000,
            denied: 9,
            ..Default::default()
        },
        restarts: 2,
        reloads: ReloadsStatus { committed: 3, refused: 1, rolled_back: 1 },
        last_error: Some(
            "panicked at src/lib.rs:42: index out of bounds: the len is 3 but the index is 7, \
             while it handled kv://put/x\n\u{1b}[2Jand more"
                .into(),
        ),
        ..Default::default()
    };
    let http = SubsystemStatus {
        phase: Phase::Restarting,
        plugin: "mycelia_http".into(),
        version: "0.1.0".into(),
        generation: 1,
        queue: QueueStatus { depth: 0, capacity: 64, policy: "Block(250ms)".into() },
        ..Default::default()
    };
    let retained = RetainedGeneration {
        subsystem: "kv".into(),
        generation: 2,
        phase: "retiring".into(),
        reason: "2 threads of it still run, begun by the plugin itself: `resolver`, `flush`".into(),
    };
    Status {
        uptime_s: 8_000.5,
        workers: 2,
        lost_threads: 1,
        subsystems: [("kv".into(), kv), ("http".into(), http)].into(),
        retained_generations: vec![retained],
        dead_letters: LettersStatus {
            kept: 11,
            bytes: 1,
            let_go: 4,
            subsystems: [("kv".into(), [(Reason::Expired, 5), (Reason::NoRoute, 6)].into())].into(),
        },
        config_changed: true,
        memory_rss_bytes: 35_000_000,
    }
}

const BUSY: &str = "\
up 2h 13m, workers: 2 (and 1 lost), memory: 33.4 MiB, subsystems: 1 running, 1 restarting
the config file has changed since; restart the host to take it up

SUBSYSTEM  PHASE       PLUGIN              GENERATION  RESTARTS    QUEUE  POLICY
http       restarting  mycelia_http 0.1.0           1         0     0/64  Block(250ms)
kv         running     mycelia_kv 0.1.0             3         2  12/1024  Reject

SUBSYSTEM      ACCEPTED       HANDLED  FAILED  DROPPED  EXPIRED  DEAD  REJECTED  DENIED
http                  0             0       0        0        0     0         0       0
kv         123456789012  123456780000       7     1234        5     6   8000000       9

RELOADS
  kv: 3 committed, 1 refused, 1 rolled back

LAST ERRORS
  kv: panicked at src/lib.rs:42: index out of bounds: the len is 3 but the index
    is 7, while it handled kv://put/x \u{fffd}[2Jand more

DEAD LETTERS
  11 kept, 4 let go for want of room
  kv: 5 expired, 6 no_route

GENERATIONS NOT YET UNLOADED
  kv 2 retiring: 2 threads of it still run, begun by the plugin itself:
    `resolver`, `flush`
";

#[test]
fn a_busy_host() {
    let text = strip_str(&table(&busy())).to_string();
    assert_eq!(text, BUSY);
    assert!(text.lines().all(|line| line.chars().count() <= 100 && !line.ends_with(' ')));
}

#[test]
fn only_reloads_that_happened_are_told() {
    let reloads = |committed, refused, rolled_back| {
        let reloads = ReloadsStatus { committed, refused, rolled_back };
        let kv = SubsystemStatus { reloads, ..Default::default() };
        let text = table(&Status { subsystems: [("kv".into(), kv)].into(), ..Default::default() });
        strip_str(&text).to_string().split_once("\nRELOADS\n").map(|(_, told)| told.to_owned())
    };
    assert_eq!(reloads(0, 0, 0), None);
    assert_eq!(reloads(1, 0, 0).unwrap(), "  kv: 1 committed\n");
    assert_eq!(reloads(0, 2, 0).unwrap(), "  kv: 2 refused\n");
}

#[test]
fn a_host_without_subsystems() {
    let text = strip_str(&table(&Status { uptime_s: 59.9, ..Default::default() })).to_string();
    assert_eq!(text, "up 59s, workers: 0, memory: 0.0 MiB, subsystems: none\n");
}

#[test]
fn styles_stand_for_the_phase_alone() {
    let text = table(&busy());
    assert!(text.contains("\u{1b}[32mrunning\u{1b}[0m"));
    assert!(text.contains("\u{1b}[33mrestarting\u{1b}[0m"));
}
