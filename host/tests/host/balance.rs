//! Everybody sends to everybody under every policy, with panics, while the ledger is watched.

use crate::support::{Host, Told, eventually, host};
use mycelia::operator::Operator;
use mycelia_plugin::ErrorCode;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const NAMES: [&str; 4] = ["oldest", "newest", "reject", "block"];
/// Requests of each operator's thread.
const ROUNDS: usize = 400;
const THREADS: usize = 3;

fn crowd() -> Host {
    let one = |(name, policy): (&str, &str)| {
        format!(
            r#""{name}": (plugin: "mycelia_faulty", queue: (capacity: 40, policy: {policy}), batch: 16, max_asks: 64,
            restart: (max: 1000000, within: "1s", backoff: "0ms"))"#
        )
    };
    let policies = ["DropOldest", "DropNewest", "Reject", "Block(\"1ms\")"];
    let subsystems: Vec<String> = NAMES.into_iter().zip(policies).map(one).collect();
    host(&subsystems.join(","))
}

/// What senders know of one recipient.
#[derive(Default, Debug, PartialEq, Eq)]
struct Count {
    accepted: u64,
    rejected: u64,
    panicked: u64,
}

type Counts = BTreeMap<&'static str, Count>;

/// Counts a request of the operator's: whether it was accepted, and what its handler sent on.
fn count(counts: &mut Counts, at: &'static str, to: &'static str, told: Told) {
    let own = counts.entry(at).or_default();
    match told {
        Ok(reply) => {
            own.accepted += 1;
            let words: BTreeMap<String, u64> = serde_json::from_slice(&reply.body).unwrap();
            let sent = counts.entry(to).or_default();
            for (word, number) in words {
                match word.as_str() {
                    "ok" => sent.accepted += number,
                    "full no" => sent.rejected += number,
                    "busy no" => {}
                    _ => panic!("{number} times {word}"),
                }
            }
        }
        Err(error) => match error.code {
            ErrorCode::Full => own.rejected += 1,
            ErrorCode::Dropped => own.accepted += 1,
            ErrorCode::Panicked => {
                own.accepted += 1;
                own.panicked += 1;
            }
            _ => panic!("{error}"),
        },
    }
}

/// One operator's thread.
fn talk(host: &Host, thread: usize) -> Counts {
    let mut counts = Counts::new();
    for round in 0..ROUNDS {
        let at = NAMES[(round + thread) % 4];
        let to = NAMES[(round / 4 + thread) % 4];
        let (path, body) = match round % 20 {
            19 => ("panic".to_owned(), String::new()),
            even if even % 2 == 0 => ("burst/30".to_owned(), format!("{to}://note")),
            _ => ("ask/20".to_owned(), format!("{to}://note")),
        };
        count(&mut counts, at, to, host.ask(&format!("{at}://{path}"), &body));
    }
    counts
}

#[test]
fn the_ledger_balances_at_every_moment_and_is_exact_at_rest() {
    let host = crowd();
    let is_over = AtomicBool::new(false);
    let (mut counts, polls) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&host, &is_over));
        let talking: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let host = &host;
                    move || talk(host, thread)
                })
            })
            .collect();
        let counts: Vec<Counts> =
            talking.into_iter().map(|thread| thread.join().unwrap()).collect();
        NAMES.iter().for_each(|name| host.rest(name));
        is_over.store(true, Ordering::Relaxed);
        (counts.into_iter().flatten().collect::<Vec<_>>(), watcher.join().unwrap())
    });
    assert!(polls > 10, "it was watched {polls} times");
    for name in NAMES {
        eventually("its requests have ended", || host.requests(name).pending == 0);
        let expect = counts.iter_mut().filter(|(at, _)| *at == name).fold(
            Count::default(),
            |sum, (_, one)| Count {
                accepted: sum.accepted + one.accepted,
                rejected: sum.rejected + one.rejected,
                panicked: sum.panicked + one.panicked,
            },
        );
        let ledger = host.ledger(name);
        let found =
            Count { accepted: ledger.accepted, rejected: ledger.rejected, panicked: ledger.dead };
        assert_eq!(found, expect, "{name}: {ledger:?}");
        let dropped = ledger.dropped_oldest + ledger.dropped_newest;
        assert_eq!(ledger.handled, ledger.accepted - dropped - ledger.dead, "{name}");
        eventually("each panic was a restart", || host.status_of(name).restarts == ledger.dead);
        let requests = host.requests(name);
        let ended = requests.answered + requests.failed + requests.timed_out + requests.cancelled;
        assert_eq!(requests.asked, ended, "{name}");
    }
    host.stop();
}

/// Looks at the status again and again; answers how often.
fn watch(host: &Host, is_over: &AtomicBool) -> usize {
    let mut polls = 0;
    while !is_over.load(Ordering::Relaxed) {
        for (name, one) in &host.runtime.status().subsystems {
            assert!(one.ledger.balances(), "{name}: {:?}", one.ledger);
            let requests = one.requests;
            let ended =
                requests.answered + requests.failed + requests.timed_out + requests.cancelled;
            assert_eq!(requests.asked, ended + requests.pending, "{name}");
            assert!(one.queue.depth <= one.queue.capacity, "{name}");
        }
        polls += 1;
        thread::yield_now();
    }
    polls
}
