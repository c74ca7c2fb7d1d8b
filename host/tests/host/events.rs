//! Events between real plugins: who is told, what a full queue costs whom, and what a reload keeps.

use crate::{
    shelf::library,
    support::{Host, create, eventually, host, ledger, tally},
};
use mycelia::{
    letters::{Filter, Reason},
    operator::Operator,
    runtime::StartError,
    status::{LedgerStatus, Phase},
};
use std::fs;
use tempfile::TempDir;

const TELLER: &str =
    r#""teller": (plugin: "mycelia_faulty", queue: (capacity: 64, policy: Reject)),"#;

fn listener(name: &str, policy: &str) -> String {
    format!(
        r#""{name}": (plugin: "mycelia_faulty_listener", queue: {policy}, grants: ["teller:hear"]),"#
    )
}

fn heard(host: &Host, name: &str) -> Vec<String> {
    host.value(&format!("{name}://heard"), "")
}

/// What a listener notes of the first `count` events.
fn told(count: u64, bytes: usize) -> Vec<String> {
    (0..count).map(|number| format!("teller told {number}: {bytes} bytes")).collect()
}

#[test]
fn each_listener_is_told_by_its_own_queue() {
    let subsystems = TELLER.to_owned()
        + &listener("one", "(capacity: 4096, policy: Reject)")
        + &listener("two", "(capacity: 4096, policy: DropOldest)")
        + &listener("three", "(capacity: 4096, policy: Block(\"1s\"))")
        + r#""deaf": (plugin: "mycelia_faulty_listener"),"#;
    let host = host(&subsystems);
    for (round, length) in [0, 10, 100, 5_000].into_iter().enumerate() {
        let body = "x".repeat(length);
        assert_eq!(host.tally("teller://publish/200", &body), tally([("ok", 200)]));
        for name in ["one", "two", "three"] {
            host.rest(name);
            let told_now = heard(&host, name).split_off(round * 200);
            assert_eq!(told_now, told(200, length), "{name}");
            let handled = (round as u64 + 1) * 201;
            let expect = LedgerStatus { handled, ..Default::default() };
            assert_eq!(host.ledger(name), ledger(expect), "{name}");
        }
        eventually("the shared blocks are free", || host.runtime.pool.used() == 0);
    }
    assert_eq!(heard(&host, "deaf"), [""; 0]);
    let teller = host.status_of("teller");
    assert_eq!((teller.published, teller.ledger.denied), (800, 800), "`deaf` is not told");
    host.stop();
}

#[test]
fn nobody_listening_is_no_error() {
    let host = host(TELLER);
    let body = "x".repeat(1_000);
    assert_eq!(host.tally("teller://publish/50", &body), tally([("ok", 50)]));
    assert_eq!(host.status_of("teller").published, 50);
    eventually("their blocks are free", || host.runtime.pool.used() == 0);
    host.stop();
}

#[test]
fn a_slow_listener_never_slows_a_handler_that_publishes() {
    for (policy, rejected, dropped) in [
        ("(capacity: 8, policy: Reject)", 92, 0),
        ("(capacity: 8, policy: Block(\"30s\"))", 92, 0),
        ("(capacity: 8, policy: DropOldest)", 0, 92),
    ] {
        let quick = listener("quick", "(capacity: 4096, policy: Reject)");
        let host = host(&(TELLER.to_owned() + &listener("slow", policy) + &quick));
        host.block("slow", "gate");
        let body = "x".repeat(100);
        assert_eq!(host.tally("teller://publish/100", &body), tally([("ok", 100)]), "{policy}");
        host.rest("quick");
        assert_eq!(heard(&host, "quick"), told(100, 100), "{policy}");
        host.open("slow", "gate");
        host.rest("slow");
        let found = host.ledger("slow");
        assert_eq!((found.rejected, found.dropped_oldest), (rejected, dropped), "{policy}");
        let mut expect = told(100, 100);
        if dropped > 0 {
            drop(expect.drain(..92))
        } else {
            expect.truncate(8)
        }
        assert_eq!(heard(&host, "slow"), expect, "{policy}");
        host.stop();
    }
}

#[test]
fn a_thread_waits_where_a_queue_blocks() {
    let slow = listener("slow", "(capacity: 8, policy: Block(\"30s\"))");
    let host = host(&(TELLER.to_owned() + &slow));
    host.block("slow", "gate");
    host.ask("teller://publish_outside/100", "told").unwrap();
    eventually("the queue is full", || host.ledger("slow").queued == 8);
    host.open("slow", "gate");
    eventually("all are published", || {
        host.tally("teller://outside_tally", "") == tally([("ok", 100)])
    });
    host.rest("slow");
    assert_eq!((heard(&host, "slow"), host.ledger("slow").rejected), (told(100, 4), 0));
    host.stop();
}

#[test]
fn a_thread_gives_up_where_a_queue_rejects() {
    let slow = listener("slow", "(capacity: 8, policy: Reject)");
    let host = host(&(TELLER.to_owned() + &slow));
    host.block("slow", "gate");
    host.ask("teller://publish_outside/100", "told").unwrap();
    eventually("all are published", || {
        host.tally("teller://outside_tally", "") == tally([("ok", 100)])
    });
    host.open("slow", "gate");
    host.rest("slow");
    assert_eq!((heard(&host, "slow"), host.ledger("slow").rejected), (told(8, 4), 92));
    host.stop();
}

#[test]
fn events_wait_for_the_next_build() {
    let host = host(&(TELLER.to_owned() + &listener("one", "(capacity: 64, policy: Reject)")));
    host.block("one", "gate");
    host.tally("teller://publish/20", &"x".repeat(100));
    let reloaded = host.ask_within("kernel://subsystem/one/reload", "", None);
    host.open("one", "gate");
    reloaded.recv_timeout(crate::support::PATIENCE).unwrap().unwrap();
    host.rest("one");
    let status = host.status_of("one");
    assert_eq!((status.generation, heard(&host, "one")), (2, told(20, 100)));
    host.stop();
}

/// The publisher's next build has no such event, and the one after it has it again.
#[test]
fn a_publisher_comes_and_goes() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("libteller.so");
    fs::write(&file, library("mycelia_faulty")).unwrap();
    let teller = format!(r#""teller": (plugin: {:?}, on_reload: Reset),"#, file.display());
    let host = host(&(teller + &listener("one", "(capacity: 64, policy: Reject)")));
    host.tally("teller://publish/1", "told");
    let put = |name: &str| {
        let new = folder.path().join("new");
        fs::write(&new, library(name)).unwrap();
        fs::rename(new, &file).unwrap();
    };
    put("mycelia_faulty_next");
    eventually("the next build serves", || host.status_of("teller").generation == 2);
    put("mycelia_faulty");
    eventually("the old one serves again", || host.status_of("teller").generation == 3);
    host.tally("teller://publish/2", "told");
    host.rest("one");
    assert_eq!(heard(&host, "one"), [told(1, 4), told(2, 4)].concat());
    host.stop();
}

#[test]
fn an_event_that_could_not_be_handled_is_a_letter_for_its_listener() {
    let two = listener("two", "(capacity: 64, policy: Reject)");
    let one = listener("one", "(capacity: 64, policy: Reject)");
    let host = host(&(TELLER.to_owned() + &one + &two));
    host.block("one", "gate");
    host.tally("teller://publish/3", "told");
    let stopped = host.ask_within("kernel://subsystem/one/stop", "", None);
    let one = host.runtime.named("one").unwrap();
    eventually("the stop waits for the handler", || one.queue.is_wanted());
    host.open("one", "gate");
    stopped.recv_timeout(crate::support::PATIENCE).unwrap().unwrap();
    assert_eq!(host.phase("one"), Phase::Stopped);
    host.tally("teller://publish/5", "of which it is not told");
    host.rest("one");
    let letters = host.runtime.dead_letters(&Filter::default());
    let is_it = |(number, letter): (usize, &std::sync::Arc<mycelia::letters::Letter>)| {
        letter.path == format!("teller://told/{number}")
            && (&*letter.sender, &*letter.subsystem) == ("teller", "one")
            && letter.reason == Reason::Gone
    };
    assert!(letters.len() == 3 && letters.iter().enumerate().all(is_it), "{letters:?}");
    host.ask("kernel://subsystem/one/restart", "").unwrap();
    let replayed = host.runtime.replay(&Filter::default());
    assert_eq!(host.runtime.dead_letters(&Filter::default()).len(), 0, "{replayed:?}");
    host.rest("one");
    assert_eq!(heard(&host, "one"), told(3, 4));
    host.rest("two");
    assert_eq!(heard(&host, "two").len(), 8, "the other one is not told again");
    host.stop();
}

#[test]
fn what_is_listened_to_is_checked() {
    let check = |subsystems: &str| {
        let folder = TempDir::new().unwrap();
        match create(folder.path(), "", subsystems) {
            Ok(runtime) => {
                runtime.destroy_all();
                String::new()
            }
            Err(StartError::Config(mistakes)) => mistakes.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    let one = listener("one", "(capacity: 64, policy: Reject)");
    assert_eq!(check(&(TELLER.to_owned() + &one)), "");
    assert_eq!(check(&(one.replace(r#"["teller:hear"]"#, "[]") + TELLER)), "", "it is a warning");
    let alone = one.replace("teller:hear", "kernel:read");
    let missing = check(&alone);
    assert!(
        missing.contains("`one` listens to `teller://told/{number}`, but there is no subsystem"),
        "{missing}"
    );
    assert!(missing.contains("add a subsystem `teller`"), "{missing}");
    let other = check(&(alone + r#""teller": (plugin: "mycelia_echo")"#));
    assert!(other.contains("but `teller` declares no event"), "{other}");
    let unknown = check(&(TELLER.to_owned() + &one.replace("hear", "listen")));
    assert!(unknown.contains("`teller` has no scope `listen`; it has `hear`"), "{unknown}");
}

#[test]
fn an_event_is_no_address() {
    let host = host(&(TELLER.to_owned() + &listener("one", "(capacity: 64, policy: Reject)")));
    let told = host.ask("teller://told/1", "").unwrap_err();
    assert_eq!(told.code, mycelia_plugin::ErrorCode::NoRoute);
    assert!(told.text.contains("is an event, which nobody sends to"), "{}", told.text);
    let why = |sender| host.runtime.why("teller://told/1", sender).unwrap().because;
    assert!(why("one").contains("`one` listens to it, and is told"), "{}", why("one"));
    assert!(why("operator").contains("on_event(\"teller://told/{number}\""), "{}", why("operator"));
    host.stop();
}
