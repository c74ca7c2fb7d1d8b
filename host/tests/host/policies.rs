//! A full queue under each policy, from every kind of sender.

use crate::support::{Host, eventually, host, ledger, refusal, tally, told};
use mycelia::status::LedgerStatus;
use mycelia_plugin::{ErrorCode, Handled};
use std::collections::BTreeMap;

const CAPACITY: u64 = 8;
/// Messages sent to the blocked recipient.
const SENT: u64 = 100;
const TOO_MANY: u64 = SENT - CAPACITY;

/// A sender, and a recipient with a small queue that is blocked in a handler.
fn blocked(policy: &str) -> Host {
    let host = host(&format!(
        r#""from": (plugin: "mycelia_faulty"),
        "to": (plugin: "mycelia_faulty", queue: (capacity: {CAPACITY}, policy: {policy}))"#
    ));
    host.block("to", "gate");
    host
}

#[derive(Copy, Clone)]
enum Sender {
    /// A handler.
    Plugin,
    /// A thread of a plugin's own.
    Outside,
    Operator,
}

impl Sender {
    /// Sends `to://note/0` and so on, and answers what became of them, in the sender's words.
    fn send(self, host: &Host, count: u64) -> BTreeMap<String, u64> {
        match self {
            Sender::Plugin => host.tally(&format!("from://burst/{count}"), "to://note"),
            Sender::Outside => {
                host.ask(&format!("from://outside/{count}"), "to://note").unwrap();
                let mut sent = BTreeMap::new();
                eventually("the thread has sent", || {
                    sent = host.tally("from://outside_tally", "");
                    sent.values().sum::<u64>() == count
                });
                sent
            }
            Sender::Operator => (0..count).fold(BTreeMap::new(), |mut tally, number| {
                let sent = host.send(&format!("to://note/{number}"), "");
                let word = sent.map_or_else(
                    |error| format!("{} {}", error.code, error.handled.word()),
                    |()| "ok".into(),
                );
                *tally.entry(word).or_default() += 1;
                tally
            }),
        }
    }
}

/// What the recipient did once it was free.
fn check_after(host: Host, kept: std::ops::Range<u64>, columns: LedgerStatus) {
    let at_rest = host.ledger("to");
    let waiting = LedgerStatus { queued: CAPACITY, in_flight: 1, ..columns };
    assert_eq!(at_rest, ledger(waiting));
    assert_eq!(host.status_of("to").queue.depth, CAPACITY);
    host.open("to", "gate");
    host.rest("to");
    let noted: Vec<u64> = host.value("to://noted", "");
    assert_eq!(noted, kept.collect::<Vec<_>>());
    // What was kept, the one that blocked, and the question.
    let handled = CAPACITY + 2;
    assert_eq!(host.ledger("to"), ledger(LedgerStatus { handled, ..columns }));
    let (status, _) = host.stop();
    assert_eq!(status.subsystems["from"].ledger.failed, 0);
}

#[test]
fn drop_oldest_keeps_the_newest() {
    for sender in [Sender::Plugin, Sender::Outside, Sender::Operator] {
        let host = blocked("DropOldest");
        assert_eq!(sender.send(&host, SENT), tally([("ok", SENT)]));
        let columns = LedgerStatus { dropped_oldest: TOO_MANY, ..Default::default() };
        check_after(host, TOO_MANY..SENT, columns);
    }
}

#[test]
fn drop_newest_keeps_the_oldest() {
    for sender in [Sender::Plugin, Sender::Outside, Sender::Operator] {
        let host = blocked("DropNewest");
        assert_eq!(sender.send(&host, SENT), tally([("ok", SENT)]));
        let columns = LedgerStatus { dropped_newest: TOO_MANY, ..Default::default() };
        check_after(host, 0..CAPACITY, columns);
    }
}

#[test]
fn reject_tells_the_sender() {
    for sender in [Sender::Plugin, Sender::Outside, Sender::Operator] {
        let host = blocked("Reject");
        assert_eq!(sender.send(&host, SENT), tally([("ok", CAPACITY), ("full no", TOO_MANY)]));
        let columns = LedgerStatus { rejected: TOO_MANY, ..Default::default() };
        check_after(host, 0..CAPACITY, columns);
    }
}

#[test]
fn block_rejects_when_no_room_comes() {
    for sender in [Sender::Plugin, Sender::Outside, Sender::Operator] {
        let host = blocked("Block(\"2ms\")");
        assert_eq!(sender.send(&host, SENT), tally([("ok", CAPACITY), ("full no", TOO_MANY)]));
        let columns = LedgerStatus { rejected: TOO_MANY, ..Default::default() };
        check_after(host, 0..CAPACITY, columns);
    }
}

/// Else the sender's handler would wait for longer than this test does.
#[test]
fn block_never_holds_a_worker() {
    let host = blocked("Block(\"1h\")");
    let sent = Sender::Plugin.send(&host, SENT);
    assert_eq!(sent, tally([("ok", CAPACITY), ("full no", TOO_MANY)]));
    let columns = LedgerStatus { rejected: TOO_MANY, ..Default::default() };
    check_after(host, 0..CAPACITY, columns);
}

#[test]
fn block_waits_until_there_is_room() {
    let host = blocked("Block(\"1h\")");
    host.ask(&format!("from://outside/{SENT}"), "to://note").unwrap();
    eventually("the queue is full", || host.status_of("to").queue.depth == CAPACITY);
    std::thread::scope(|scope| {
        let operator = scope.spawn(|| host.send("to://note/1000", ""));
        host.open("to", "gate");
        operator.join().unwrap().unwrap();
    });
    eventually("the thread has sent", || {
        host.tally("from://outside_tally", "") == tally([("ok", SENT)])
    });
    host.rest("to");
    let mut noted: Vec<u64> = host.value("to://noted", "");
    noted.retain(|number| *number != 1000);
    assert_eq!(noted, (0..SENT).collect::<Vec<_>>(), "of one sender they stay in order");
    let handled = SENT + 3;
    assert_eq!(host.ledger("to"), ledger(LedgerStatus { handled, ..Default::default() }));
    host.stop();
}

/// Asks `CAPACITY + 2` times; answers which requests ended unhandled, with what.
fn asked(policy: &str) -> Vec<(u64, (ErrorCode, Handled))> {
    let host = blocked(policy);
    let asked: Vec<_> = (0..CAPACITY + 2)
        .map(|number| host.ask_within(&format!("to://note/{number}"), "", None))
        .collect();
    host.open("to", "gate");
    let mut refused = Vec::new();
    for (number, outcome) in (0..).zip(&asked) {
        match told(outcome) {
            Ok(reply) => assert_eq!(reply.body, number.to_string().as_bytes()),
            error => refused.push((number, refusal(error))),
        }
    }
    let noted: Vec<u64> = host.value("to://noted", "");
    assert!(refused.iter().all(|(number, _)| !noted.contains(number)));
    assert_eq!(noted.len() as u64, CAPACITY);
    host.stop();
    refused
}

#[test]
fn a_request_that_finds_no_room_ends_at_once() {
    let dropped = (ErrorCode::Dropped, Handled::No);
    let full = (ErrorCode::Full, Handled::No);
    assert_eq!(asked("DropOldest"), [(0, dropped), (1, dropped)]);
    assert_eq!(asked("DropNewest"), [(CAPACITY, dropped), (CAPACITY + 1, dropped)]);
    assert_eq!(asked("Reject"), [(CAPACITY, full), (CAPACITY + 1, full)]);
    assert_eq!(asked("Block(\"2ms\")"), [(CAPACITY, full), (CAPACITY + 1, full)]);
}

/// A plugin hears of what it asked in vain: at once where the queue rejects, else as an outcome.
#[test]
fn a_plugin_hears_of_its_requests() {
    for (policy, told, outcomes) in [
        ("DropOldest", tally([("ok", 10)]), [(0, "dropped no"), (1, "dropped no")].as_slice()),
        ("DropNewest", tally([("ok", 10)]), &[(8, "dropped no"), (9, "dropped no")]),
        ("Reject", tally([("ok", 8), ("full no", 2)]), &[]),
    ] {
        let host = blocked(policy);
        assert_eq!(host.tally("from://ask/10", "to://note"), told);
        let mut came: Vec<(u64, String)> = Vec::new();
        eventually("the outcomes came", || {
            came = host.value("from://outcomes", "");
            came.len() == outcomes.len()
        });
        assert!(came.iter().map(|(number, word)| (*number, word.as_str())).eq(outcomes.to_vec()));
        let requests = host.requests("from");
        assert_eq!((requests.asked, requests.pending), (10, 8), "{policy}");
        assert_eq!(requests.failed + requests.cancelled, 2, "{policy}");
        host.open("to", "gate");
        eventually("the rest is answered", || host.requests("from").answered == 8);
        assert_eq!(host.requests("from").pending, 0);
        host.stop();
    }
}
