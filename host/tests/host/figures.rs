//! `GET /figures` of a real host: what a watcher sees of it, and that it is what `status` tells.

use crate::{process::serve, support::eventually};
use mycelia::{
    control::Client,
    figures::{Figures, Happened},
    status::Status,
};

const SUBSYSTEMS: &str =
    r#""f": (plugin: "mycelia_faulty"), "counter": (plugin: "mycelia_counter")"#;

/// Looks that something may take to be seen; they come once a second.
const LOOKS: usize = 3;

#[test]
fn a_reload_and_a_dead_letter_are_seen_by_the_next_looks() {
    let host = serve(SUBSYSTEMS);
    let client = Client::new(host.control().to_string().parse().unwrap(), None);
    let mut looks = client.figures().unwrap().map(Result::unwrap);
    let first = looks.next().unwrap();
    assert!(first.ready && first.events.is_empty(), "{first:?}");

    assert_eq!(host.run(&["reload", "counter"]).code, Some(0));
    assert_eq!(host.run(&["send", "f://fail/failed", "\"x\""]).code, Some(0));
    let seen: Vec<Figures> = looks.by_ref().take(LOOKS).collect();
    let happened: Vec<&Happened> = seen.iter().flat_map(|look| &look.events).collect();
    let reload = Happened { subsystem: "counter".into(), what: "reloaded: generation 2".into() };
    assert_eq!(happened, [&reload]);
    let last = seen.last().unwrap();
    assert_eq!(last.status.dead_letters.kept, 1);
    assert!(seen.iter().any(|look| look.total.errors > 0.0), "no rate has the error");
    assert!(last.subsystems["f"].handle.is_some(), "a quiet host times everything");
    assert_eq!(last.subsystems["counter"].wait, None);
}

#[test]
fn looks_agree_with_the_status_and_never_go_back() {
    let host = serve(SUBSYSTEMS);
    let client = Client::new(host.control().to_string().parse().unwrap(), None);
    let mut looks = client.figures().unwrap().map(Result::unwrap);
    let mut before = looks.next().unwrap();
    for round in 1..=2 {
        for _ in 0..20 {
            assert_eq!(host.run(&["ask", "counter://add/x", "1"]).code, Some(0));
        }
        assert_eq!(host.run(&["reload", "counter"]).code, Some(0));
        let look = looks.nth(1).unwrap();
        for (name, one) in &look.status.subsystems {
            let was = &before.status.subsystems[name];
            assert!(one.ledger.balances() && one.ledger.accepted >= was.ledger.accepted);
            assert!(one.ledger.handled >= was.ledger.handled, "{name} went back");
        }
        assert_eq!(look.status.subsystems["counter"].ledger.handled, 20 * round);
        before = look;
    }
    let told: Status = serde_json::from_str(&host.run(&["status", "--json"]).out).unwrap();
    eventually("a look is of the same moment", || {
        let look = looks.next().unwrap();
        look.status.subsystems == told.subsystems && look.status.dead_letters == told.dead_letters
    });
}
