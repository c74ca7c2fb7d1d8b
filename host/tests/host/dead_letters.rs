//! Dead letters: what becomes one, what is told of it, and how it is sent again.

use crate::{
    process::{private_folder, serve_in},
    shelf::{library, reloading},
    support::{Host, eventually, host, host_in, host_with, ledger, refusal, told},
};
use mycelia::{
    letters::{Filter, Letter, Reason, ReplayReport, ToldLetter},
    operator::Operator,
    status::LedgerStatus,
};
use mycelia_plugin::ErrorCode;
use rustix::process::Signal;
use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};
use tempfile::TempDir;

const FAULTY: &str = r#""f": (plugin: "mycelia_faulty")"#;

/// Long enough to reach a queue, and soon over.
const SHORT: Option<Duration> = Some(Duration::from_millis(300));

fn letters(host: &Host) -> Vec<Arc<Letter>> {
    host.runtime.dead_letters(&Filter::default())
}

/// What each letter is, in words.
fn words(host: &Host) -> Vec<(Reason, String, String)> {
    let words = |letter: &Arc<Letter>| (letter.reason, letter.sender.clone(), letter.path.clone());
    letters(host).iter().map(words).collect()
}

fn word(reason: Reason, sender: &str, path: &str) -> (Reason, String, String) {
    (reason, sender.into(), path.into())
}

fn fail(host: &Host, body: &str) {
    host.send("f://fail/failed", body).unwrap();
}

fn replay_all(host: &Host) -> ReplayReport {
    host.runtime.replay(&Filter::default())
}

/// As many letters as there are messages in the columns that letters are made of.
fn matches_the_ledger(host: &Host, name: &str, without_failed: u64) {
    let columns = host.ledger(name);
    let kept = host.runtime.status().dead_letters.subsystems;
    let kept: u64 = kept.get(name).map_or(0, |reasons| reasons.values().sum());
    assert_eq!(kept, columns.dead + columns.expired + columns.failed - without_failed);
}

#[test]
fn what_failed_is_a_letter_if_nobody_waits() {
    let host = host(FAULTY);
    host.block("f", "gate");
    fail(&host, "one");
    // The caller's own mistakes count as handled, and an asker was told.
    host.sends("f://fail/not_found");
    let asked = host.ask_within("f://fail/failed", "asked", None);
    host.sends("f://fail/conflict");
    host.sends("f://note/1");
    host.send("f://fail/busy", "two").unwrap();
    host.open("f", "gate");
    host.rest("f");
    assert_eq!(refusal(told(&asked)).0, ErrorCode::Failed);
    let found = letters(&host);
    let known = |letter: &Arc<Letter>| (letter.id, letter.text.clone(), letter.body.clone());
    // Of one batch, each with its own text.
    let expect = |id, text: &str, body: &[u8]| (id, text.to_owned(), body.to_vec());
    assert_eq!(
        found.iter().map(known).collect::<Vec<_>>(),
        [
            expect(1, "failed: the handler says failed", b"one"),
            expect(2, "busy: the handler says busy", b"two"),
        ]
    );
    assert_eq!(words(&host)[1], word(Reason::Failed, "operator", "f://fail/busy"));
    assert_eq!(found[0].route, "fail/{code}");
    let expect = LedgerStatus { handled: 4, failed: 3, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    matches_the_ledger(&host, "f", 1);
    host.stop();
}

/// Outcomes and timers are no messages that anybody could send again.
#[test]
fn what_an_outcome_fails_with_is_no_letter() {
    // One worker, which must not take the outcome's text for that of the message after it.
    let host = host_with(
        "workers: 1,",
        r#""f": (plugin: "mycelia_faulty"), "g": (plugin: "mycelia_faulty")"#,
    );
    // What `g` leaves unanswered, the outcome's handler fails with.
    host.send("f://ask_circle", "g://drop").unwrap();
    eventually("the outcome has come", || host.status_of("f").last_error.is_some());
    fail(&host, "own");
    eventually("it has failed", || !letters(&host).is_empty());
    let found = letters(&host);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].text, "failed: the handler says failed");
    host.stop();
}

#[test]
fn what_panicked_expired_or_was_left_is_a_letter() {
    let host = host(r#""f": (plugin: "mycelia_faulty", restart: (max: 0, within: "1h"))"#);
    host.block("f", "gate");
    let late = host.ask_within("f://note/1", "late", SHORT);
    assert_eq!(refusal(told(&late)).0, ErrorCode::Deadline);
    host.send("f://panic", "why").unwrap();
    host.sends("f://note/2");
    let asked = host.ask_within("f://note/3", "", None);
    host.open("f", "gate");
    assert_eq!(refusal(told(&asked)).0, ErrorCode::Gone);
    host.rest("f");
    assert_eq!(
        words(&host),
        [
            word(Reason::Expired, "operator", "f://note/1"),
            word(Reason::Panicked, "operator", "f://panic"),
            word(Reason::Gone, "operator", "f://note/2"),
            word(Reason::Gone, "operator", "f://note/3"),
        ]
    );
    let found = letters(&host);
    assert!(found[0].text.contains("deadline passed"), "{}", found[0].text);
    assert!(found[1].text.contains("as it was told to"), "{}", found[1].text);
    assert!(found[2].text.contains("has stopped"), "{}", found[2].text);
    assert_eq!((&*found[0].body, &*found[1].body), (&b"late"[..], &b"why"[..]));
    matches_the_ledger(&host, "f", 0);
    // Nobody can take them any more.
    let report = replay_all(&host);
    assert_eq!((report.replayed.len(), report.refused.len()), (0, 4));
    assert!(report.refused.iter().all(|one| one.error == "gone"), "{report:?}");
    assert_eq!(letters(&host), found);
    host.stop();
}

#[test]
fn what_a_new_build_does_not_take_is_a_letter() {
    let one = reloading("on_reload: Reset,", "");
    one.host.block("f", "gate");
    one.host.send("f://ticks", "body").unwrap();
    one.put(&library("mycelia_faulty_next"));
    let queue = &one.host.runtime.named("f").unwrap().queue;
    eventually("the commit waits", || queue.is_wanted());
    one.host.open("f", "gate");
    eventually("the new build serves", || one.reloads().committed == 1);
    one.host.rest("f");
    assert_eq!(words(&one.host), [word(Reason::NoRoute, "operator", "f://ticks")]);
    assert!(letters(&one.host)[0].text.contains("no longer has the route `ticks`"));
    matches_the_ledger(&one.host, "f", 0);
    one.host.stop();
}

#[test]
fn what_a_stop_leaves_is_a_letter() {
    let host = host_with("drain_timeout: \"100ms\",", FAULTY);
    host.sends("f://forever");
    let runtime = host.runtime;
    host.stop();
    let found = runtime.dead_letters(&Filter::default());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].reason, &*found[0].sender), (Reason::Shutdown, "f"));
}

#[test]
fn a_commit_that_fails_leaves_letters() {
    let host = host(r#""c": (plugin: "mycelia_faulty_commits")"#);
    let of_one_batch = |paths: [&str; 3]| {
        host.runtime.purge(&Filter::default());
        fs::remove_file(host.file("c", "gate")).unwrap_or_default();
        host.block("c", "gate");
        paths.iter().for_each(|path| host.sends(&format!("c://{path}")));
        let asked = host.ask_within("c://note/9", "", None);
        host.open("c", "gate");
        host.rest("c");
        drop(told(&asked));
        let told = letters(&host);
        told.iter().map(|one| (one.reason, one.path.clone(), one.text.clone())).collect::<Vec<_>>()
    };
    let expect = |reason, path: &str, text: &str| (reason, path.to_owned(), text.to_owned());
    let text = "the commit of `c` failed: the commit fails as it was told to";
    assert_eq!(
        of_one_batch(["note/1", "fail", "fail_commit"]),
        [
            expect(Reason::Failed, "c://note/1", text),
            expect(Reason::Failed, "c://fail", text),
            expect(Reason::Failed, "c://fail_commit", text),
        ]
    );
    let found = of_one_batch(["note/1", "note/2", "panic"]);
    let lost = "the subsystem was restarted before the batch was committed";
    assert_eq!(
        found[..2],
        [expect(Reason::Failed, "c://note/1", lost), expect(Reason::Failed, "c://note/2", lost),]
    );
    assert_eq!((found.len(), found[2].0), (3, Reason::Panicked));
    host.stop();
}

#[test]
fn the_newest_are_kept_and_counted() {
    let host = host_with("dead_letters: (count: 3),", FAULTY);
    (1..=5).for_each(|number| fail(&host, &number.to_string()));
    host.rest("f");
    let bodies: Vec<_> = letters(&host).iter().map(|letter| letter.body.clone()).collect();
    assert_eq!(bodies, [b"3", b"4", b"5"]);
    let status = host.runtime.status().dead_letters;
    assert_eq!((status.kept, status.let_go), (3, 2));
    assert_eq!(status.subsystems, BTreeMap::from([("f".into(), [(Reason::Failed, 3)].into())]));
    assert_eq!(host.ledger("f").failed, 5, "the ledger counts them all");
    host.stop();
}

#[test]
fn a_letter_larger_than_the_budget_pushes_nobody_out() {
    let host = host_with("dead_letters: (bytes: \"10KiB\"),", FAULTY);
    fail(&host, "small");
    fail(&host, &"large".repeat(10_000));
    host.rest("f");
    let status = host.runtime.status().dead_letters;
    assert_eq!((status.kept, status.let_go), (1, 1));
    assert!(status.bytes < 10 << 10, "{status:?}");
    assert_eq!(letters(&host)[0].body, b"small");
    host.stop();
}

#[test]
fn filters_choose_for_all_that_is_done() {
    let host = host(r#""f": (plugin: "mycelia_faulty"), "g": (plugin: "mycelia_faulty")"#);
    for path in ["f://fail/failed", "f://panic", "g://fail/failed", "g://fail/busy"] {
        host.sends(path);
        host.rest(path.split(':').next().unwrap());
    }
    let mine = |name: &str| Filter { subsystem: Some(name.into()), ..Filter::default() };
    let count = |filter: Filter| host.runtime.dead_letters(&filter).len();
    assert_eq!(count(mine("f")), 2);
    assert_eq!(count(Filter { reason: Some(Reason::Failed), ..mine("f") }), 1);
    assert_eq!(count(Filter { route: Some("fail/{code}".into()), ..Filter::default() }), 3);
    assert_eq!(count(Filter { age: Some(Duration::from_secs(3600)), ..Filter::default() }), 0);
    assert_eq!(host.runtime.purge(&mine("f")), 2);
    assert_eq!(count(Filter::default()), 2);
    // What fails again is a new letter, and is not sent once more by the same call.
    let report = host.runtime.replay(&mine("g"));
    assert_eq!((report.replayed, report.refused), (vec![3, 4], vec![]));
    host.rest("g");
    let ids: Vec<_> = letters(&host).iter().map(|letter| letter.id).collect();
    assert_eq!(ids, [5, 6]);
    let unknown = host.runtime.replay(&Filter { ids: vec![3], ..Filter::default() });
    assert_eq!(unknown.refused[0].error, "not_found");
    host.stop();
}

/// `friend` sends to a route of `guard` that needs a scope, and the message expires there.
fn guarded(host: &Host) {
    host.block("guard", "gate");
    assert!(told(&host.ask_within("friend://burst/1", "guard://guarded", SHORT)).is_ok());
    let deadline = host.runtime.now() + SHORT.unwrap().as_nanos() as u64;
    eventually("the deadline is over", || host.runtime.now() > deadline);
    host.open("guard", "gate");
    // Counted before it is kept, so that the ledger alone does not tell.
    eventually("its letter is kept", || !words(host).is_empty());
    assert_eq!(words(host), [word(Reason::Expired, "friend", "guard://guarded/0")]);
}

fn guard(grants: &str) -> String {
    format!(
        r#""guard": (plugin: "mycelia_faulty"), "friend": (plugin: "mycelia_faulty", grants: [{grants}])"#
    )
}

#[test]
fn a_letter_is_sent_again_as_its_sender_may_today() {
    const FILE: &str = "dead_letters: (file: \"letters\"),";
    let granted = host_in(TempDir::new().unwrap(), FILE, &guard("\"guard:use\""));
    guarded(&granted);
    let kept = letters(&granted);
    let (_, folder) = granted.stop();

    // The grant is gone by now; that the operator may do everything is no help.
    let denied = host_in(folder, FILE, &guard(""));
    assert_eq!(letters(&denied), kept, "the file brought it over");
    let report = replay_all(&denied);
    assert_eq!((report.replayed.len(), &*report.refused[0].error), (0, "denied"));
    let text = &report.refused[0].text;
    assert!(text.contains("`guard:use`") && text.contains("`friend`"), "{text}");
    assert_eq!(letters(&denied), kept, "it stays");
    let expect = LedgerStatus { denied: 1, ..Default::default() };
    assert_eq!(denied.ledger("guard"), ledger(expect));
    let (_, folder) = denied.stop();

    let granted = host_in(folder, FILE, &guard("\"guard:use\""));
    assert_eq!(replay_all(&granted).replayed, [kept[0].id]);
    assert_eq!(letters(&granted), []);
    granted.rest("guard");
    let expect = LedgerStatus { handled: 1, ..Default::default() };
    assert_eq!(granted.ledger("guard"), ledger(expect));
    let (_, folder) = granted.stop();

    let last = host_in(folder, FILE, &guard(""));
    assert_eq!(letters(&last), [], "the file has forgotten it");
    last.stop();
}

#[test]
fn a_letter_of_nobody_is_refused() {
    const FILE: &str = "dead_letters: (file: \"letters\"),";
    let before = host_in(TempDir::new().unwrap(), FILE, &guard("\"guard:use\""));
    guarded(&before);
    let (_, folder) = before.stop();
    let after = host_in(folder, FILE, r#""guard": (plugin: "mycelia_faulty")"#);
    let report = replay_all(&after);
    assert!(report.refused[0].text.contains("no subsystem `friend`"), "{report:?}");
    after.stop();
}

/// Between plugins a body is not text: it is sent again with its encoding, and only to a route that still takes it.
#[test]
fn a_typed_body_keeps_its_type() {
    let host = host(r#""f": (plugin: "mycelia_faulty"), "g": (plugin: "mycelia_faulty")"#);
    host.block("f", "gate");
    assert!(told(&host.ask_within("g://ask_circle", "f://area", SHORT)).is_ok());
    let deadline = host.runtime.now() + SHORT.unwrap().as_nanos() as u64;
    eventually("the deadline is over", || host.runtime.now() > deadline);
    host.open("f", "gate");
    host.rest("f");
    let found = letters(&host);
    assert_eq!((&*found[0].path, found[0].told(true).encoding.as_str()), ("f://area", "postcard"));
    assert_ne!(found[0].schema, 0);
    assert_eq!(replay_all(&host).replayed, [1]);
    host.rest("f");
    let expect = LedgerStatus { handled: 2, expired: 1, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    assert_eq!(letters(&host), []);
    host.stop();
}

#[test]
fn a_queue_that_drops_drops_no_letter() {
    for policy in ["DropOldest", "DropNewest", "Reject"] {
        let host = host(&format!(
            r#""f": (plugin: "mycelia_faulty", queue: (capacity: 2, policy: {policy}))"#
        ));
        for _ in 0..4 {
            fail(&host, "");
            host.rest("f");
        }
        host.block("f", "gate");
        let report = replay_all(&host);
        assert_eq!(report.replayed, [1, 2], "{policy}");
        assert!(report.refused.iter().all(|one| one.error == "full"), "{policy}: {report:?}");
        let ids: Vec<_> = letters(&host).iter().map(|letter| letter.id).collect();
        assert_eq!(ids, [3, 4], "{policy}");
        host.open("f", "gate");
        host.rest("f");
        let columns = host.ledger("f");
        assert_eq!((columns.dropped_oldest, columns.dropped_newest), (0, 0), "{policy}");
        assert_eq!(columns.rejected, 2, "{policy}");
        host.stop();
    }
}

#[test]
fn letters_outlive_a_host_that_is_killed() {
    let folder = private_folder();
    let file = folder.path().join("mycelia-data/dead.letters");
    let config = format!(
        r#"(workers: 2, control: (listen: "127.0.0.1:0"), dead_letters: (file: "dead.letters"), subsystems: {{ {FAULTY} }})"#
    );
    fs::write(folder.path().join("host.ron"), config).unwrap();
    let host = serve_in(folder);
    for number in 1..=20 {
        let body = format!("body {number} of 20");
        assert_eq!(host.run(&["send", "f://fail/failed", &body]).code, Some(0));
    }
    let has = |text: &str| String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(text);
    eventually("the file has the last one", || has("body 20 of 20"));
    host.signal(Signal::KILL);
    let (_, _, folder) = host.ended();
    // As a kill in the middle of a write leaves it.
    let mut torn = fs::read(&file).unwrap();
    torn.extend([200, 0, 0, 0, 1, 2, 3]);
    fs::write(&file, torn).unwrap();

    let host = serve_in(folder);
    assert!(host.err().contains("the last 7 bytes of"), "{}", host.err());
    let listed = host.run(&["dead-letters", "list", "--json"]);
    let mut json: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let listed: Vec<ToldLetter> = serde_json::from_value(json["letters"].take()).unwrap();
    assert!(listed.iter().map(|letter| letter.id).eq(1..=20));
    assert!(listed.iter().all(|letter| letter.path == "f://fail/failed"));
    assert_eq!(host.run(&["dead-letters", "show", "7"]).out, "body 7 of 20");
    let status = host.run(&["status"]).out;
    assert!(status.contains("  20 kept\n  f: 20 failed\n"), "{status}");
    assert_eq!(host.run(&["dead-letters", "purge", "1", "2"]).code, Some(0));
    let replayed = host.run(&["dead-letters", "replay", "--all", "--reason", "failed"]);
    assert_eq!((replayed.code, replayed.err.trim()), (Some(0), "sent again: 18"));
    assert_eq!(host.run(&["stop"]).code, Some(0));
    let (code, err, folder) = host.ended();
    assert_eq!(code, Some(0), "{err}");

    // They failed again, so that each is there as a new letter.
    let host = serve_in(folder);
    let listed = host.run(&["dead-letters", "list"]).out;
    assert_eq!(listed.lines().count(), 19, "{listed}");
    assert!(listed.lines().nth(1).unwrap().starts_with("21 "), "{listed}");
    assert_eq!(host.run(&["stop"]).code, Some(0));
    host.ended();
}
