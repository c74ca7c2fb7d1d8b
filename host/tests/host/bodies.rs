//! What messages carry: kinds, schemas, sizes, and the memory that all of it gives back.

use crate::{
    client::Client,
    support::{Host, eventually, host, host_with, ledger, refusal},
};
use mycelia::{
    operator::Operator,
    status::{LedgerStatus, Phase},
};
use mycelia_plugin::{ErrorCode, Handled};

const MIB: usize = 1 << 20;

fn pair(settings: &str) -> Host {
    host(&format!(
        r#""a": (plugin: "mycelia_faulty", {settings}), "b": (plugin: "mycelia_faulty")"#
    ))
}

/// Every message has ended, and nothing is lent any more.
fn stop(host: Host) {
    eventually("the pool is whole", || host.runtime.pool.used() == 0);
    host.stop();
}

#[test]
fn typed_bodies_are_json_at_the_edge_and_postcard_between() {
    let host = pair("");
    let reply = host.ask("b://area", r#"{"radius": 2}"#).unwrap();
    assert_eq!((reply.body.as_slice(), reply.is_json), (b"12".as_slice(), true));
    host.ask("a://ask_circle", "b://area").unwrap();
    eventually("the outcome came", || {
        host.value::<Vec<(u64, String)>>("a://outcomes", "") == [(12, "area".to_owned())]
    });
    let raw = host.ask("b://big/3", "").unwrap();
    assert_eq!((raw.body.as_slice(), raw.is_json), ([7, 7, 7].as_slice(), false));
    for bad in ["", "{", r#"{"radius": -1}"#, r#"{"side": 2}"#, "\u{0}\u{1}"] {
        assert_eq!(refusal(host.ask("b://area", bad)), (ErrorCode::Invalid, Handled::No), "{bad}");
    }
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 8, ..Default::default() }));
    stop(host);
}

#[test]
fn another_schema_is_refused_naming_both() {
    let host = pair("");
    let refused = host.ask("a://send_square", "b://area").unwrap_err();
    assert_eq!((refused.code, refused.handled), (ErrorCode::Invalid, Handled::Yes));
    let hashes =
        refused.text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 16);
    let mut hashes: Vec<&str> = hashes.collect();
    hashes.dedup();
    assert!(refused.text.contains("`Square`") && hashes.len() == 2, "{}", refused.text);
    assert_eq!(host.ledger("b"), LedgerStatus::default(), "it was never sent");
    stop(host);
}

#[test]
fn bodies_of_every_size_arrive_whole() {
    let host = pair("");
    for length in [0, 1, 23, 24, 25, 55, 56, 57, 64, 100, 4087, 4088, 4089, 65_536, MIB] {
        let body = "x".repeat(length);
        assert_eq!(host.value::<usize>("b://length", &body), length);
        assert_eq!(host.ask(&format!("b://big/{length}"), "").unwrap().body, vec![7; length]);
    }
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 30, ..Default::default() }));
    stop(host);
}

#[test]
fn large_values_go_over_http_into_the_database() {
    let host = host(
        r#""kv": (plugin: "mycelia_kv"), "http": (plugin: "mycelia_http", grants: ["kv:read", "kv:write"],
        config: (listen: "127.0.0.1:0", body_limit: "1MiB", map: [
            (method: "PUT", path: "/{key}", to: "kv://put/{key}"),
            (method: "GET", path: "/{key}", to: "kv://get/{key}"),
        ]))"#,
    );
    let mut client = Client::connect(host.address("http"));
    for key in 0..4 {
        let value = key.to_string().repeat(MIB);
        assert_eq!(client.exchange("PUT", &format!("/{key}"), &value).status, 204);
        assert_eq!(client.exchange("GET", &format!("/{key}"), "").text(), value);
    }
    assert_eq!(host.ledger("kv"), ledger(LedgerStatus { handled: 8, ..Default::default() }));
    stop(host);
}

#[test]
fn over_the_quota_a_sender_keeps_its_message() {
    let host = pair("pool_quota: \"64KiB\",");
    let told = host.ask("a://send_big/100000", "b://length").unwrap_err();
    assert_eq!(told.code, ErrorCode::NoMemory);
    assert_eq!(told.handled, Handled::Yes, "what the handler sent was not handled, but it was");
    assert!(told.text.contains("`pool_quota`"), "{}", told.text);
    assert_eq!(refusal(host.ask("a://big/100000", "")).0, ErrorCode::NoMemory);
    host.rest("a");
    assert_eq!(host.ledger("b"), LedgerStatus::default());
    host.ask("a://send_big/10000", "b://length").unwrap();
    host.rest("b");
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 1, ..Default::default() }));
    assert_eq!(host.phase("a"), Phase::Running);
    stop(host);
}

#[test]
fn the_pool_is_one_budget_for_all() {
    let host = host_with("pool: \"1MiB\",", r#""b": (plugin: "mycelia_faulty", batch: 1)"#);
    host.block("b", "gate");
    let body = "x".repeat(100_000);
    let sent = (0..20).take_while(|_| host.send("b://length", &body).is_ok()).count();
    assert_eq!(sent, 8, "a block has 128 KiB");
    let refused = host.send("b://length", &body).unwrap_err();
    assert_eq!((refused.code, refused.handled), (ErrorCode::NoMemory, Handled::No));
    assert!(refused.text.contains("`pool`"), "{}", refused.text);
    host.open("b", "gate");
    host.rest("b");
    host.send("b://length", &body).unwrap();
    host.rest("b");
    assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 10, ..Default::default() }));
    stop(host);
}

#[test]
fn more_than_a_message_carries_is_too_large() {
    let host = pair("");
    let body = vec![0; 64 * MIB];
    let refused = host.runtime.send("b://length", &body).unwrap_err();
    assert_eq!((refused.code, refused.handled), (ErrorCode::TooLarge, Handled::No));
    assert_eq!(host.ledger("b"), LedgerStatus::default());
    stop(host);
}

#[test]
fn what_is_dropped_rejected_or_dead_gives_its_memory_back() {
    let body = "x".repeat(1000);
    for (policy, path) in [
        ("DropOldest", "b://length"),
        ("DropNewest", "b://length"),
        ("Reject", "b://length"),
        ("DropOldest", "b://panic"),
        ("Reject", "b://note/x"),
    ] {
        let host = host(&format!(
            r#""b": (plugin: "mycelia_faulty", queue: (capacity: 8, policy: {policy}))"#
        ));
        host.block("b", "gate");
        let asked: Vec<_> = (0..50).map(|_| host.ask_within(path, &body, None)).collect();
        let _ = (0..50).filter(|_| host.send(path, &body).is_ok()).count();
        // A body takes a block of 1 KiB, and so does the error that an outcome may be.
        assert!(host.runtime.pool.used() <= 8 * 2048, "{policy}: {}", host.runtime.pool.used());
        host.open("b", "gate");
        asked.iter().for_each(|asked| drop(crate::support::told(asked)));
        host.rest("b");
        stop(host);
    }
}
