//! Plugins that hold more memory than they may.

use crate::support::{Host, eventually, host};
use mycelia::status::Phase;

fn one(settings: &str) -> Host {
    host(&format!(
        r#""f": (plugin: "mycelia_faulty", restart: (max: 2, within: "30s", backoff: "0ms"), {settings}),
        "other": (plugin: "mycelia_faulty")"#
    ))
}

#[test]
fn what_a_plugin_holds_is_shown() {
    let host = one("");
    let before = host.status_of("f").memory;
    host.ask("f://hoard/5000000", "").unwrap();
    let after = host.status_of("f").memory;
    assert!((5_000_000..5_100_000).contains(&(after - before)), "{before} and {after}");
    assert!(host.status_of("other").memory < 5_000_000, "each library has a heap of its own");
    host.stop();
}

#[test]
fn one_that_holds_too_much_is_restarted_and_what_it_leaked_is_freed() {
    for (how, number) in [("hoard", 1), ("leak", 1)] {
        let host = one(r#"memory: "4MiB""#);
        host.ask("f://note/1", "").unwrap();
        host.ask(&format!("f://{how}/5000000"), "").unwrap();
        eventually("it is restarted", || host.status_of("f").restarts == number);
        let error = host.status_of("f").last_error.unwrap();
        assert!(error.contains("more than the 4194304 of its `memory`"), "{error}");
        assert!(host.value::<Vec<u64>>("f://noted", "").is_empty(), "{how}");
        let slot = host.runtime.named("f").unwrap();
        eventually("the old copy is unloaded", || slot.info().loaded == [2]);
        assert!(host.status_of("f").memory < 1 << 22, "{how}");
        assert_eq!(host.value::<u64>("other://note/5", ""), 5);
        host.stop();
    }
}

#[test]
fn one_that_always_holds_too_much_is_stopped() {
    let host = one(r#"memory: "4MiB", config: (ballast: 5000000)"#);
    eventually("it has stopped", || host.phase("f") == Phase::Stopped);
    assert_eq!(host.status_of("f").restarts, 2);
    assert_eq!(host.value::<u64>("other://note/5", ""), 5);
    host.stop();
}
