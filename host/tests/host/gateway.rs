//! The HTTP gateway in a real host: clients that misbehave, and what errors of a handler or a queue become.

use crate::{
    client::{Client, request},
    support::{Host, eventually, host, ledger},
};
use mycelia::{
    operator::Operator,
    status::{LedgerStatus, Phase, RequestsStatus},
};
use mycelia_plugin::ErrorCode;
use std::{net::SocketAddr, thread};

/// `f` behind a gateway that soon loses its patience.
fn gateway() -> (Host, SocketAddr) {
    let host = host(
        r#""f": (plugin: "mycelia_faulty", queue: (capacity: 2, policy: Reject)),
        "http": (plugin: "mycelia_http", config: (
            listen: "127.0.0.1:0",
            map: [
                (method: "POST", path: "/do/{*what}", to: "f://{what}"),
                (method: "POST", path: "/guarded", to: "f://guarded/1"),
                (method: "POST", path: "/nobody", to: "nobody://x"),
            ],
            body_limit: "1KiB", header_timeout: "200ms", body_timeout: "200ms", idle_timeout: "10s",
        ))"#,
    );
    let address = host.address("http");
    (host, address)
}

/// What the gateway does with one client's bytes: the status of its answer, or none when it just closes.
fn answer(address: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut client = Client::connect(address);
    client.try_write(bytes);
    client.read().map(|response| response.status)
}

fn goes_on(host: &Host, address: SocketAddr) {
    let response = Client::connect(address).exchange("POST", "/do/note/1", "");
    assert_eq!((response.status, response.text()), (200, "1"));
    host.rest("f");
}

#[test]
fn bad_paths_are_refused_and_reach_nobody() {
    let (host, address) = gateway();
    let long = |length| request("POST", &format!("/do/{}", "x".repeat(length)), "");
    let deep = format!("/do/{}x", "x/".repeat(40));
    let mut asked = 0;
    for (bytes, status, is_asked) in [
        (request("POST", "/do//x", ""), 400, true),
        (request("POST", "/do/x//y", ""), 400, true),
        (request("POST", &deep, ""), 400, true),
        (long(3000), 400, true),
        (request("POST", "/do/none", ""), 404, true),
        (request("POST", "/nobody", ""), 404, true),
        (request("POST", "/guarded", ""), 403, true),
        (request("POST", "/elsewhere", ""), 404, false),
        (request("GET", "/do/note/1", ""), 405, false),
        (request("POST", "/do/a\u{1}b", ""), 400, false),
        (request("POST", "/do/a b", ""), 400, false),
        (long(1 << 20), 414, false),
        ("no http at all\r\n\r\n".to_owned(), 400, false),
        (format!("POST /do/note/1 HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)), 431, false),
    ] {
        let shown = &bytes[..bytes.len().min(60)];
        let found = answer(address, bytes.as_bytes());
        // A head over the limit may be cut before its kind is known.
        let too_long = bytes.len() > 1 << 19 && matches!(found, Some(400 | 414 | 431));
        assert!(found == Some(status) || too_long, "{shown}: {found:?}");
        asked += u64::from(is_asked && found.is_some());
    }
    assert_eq!(host.ledger("f"), ledger(LedgerStatus { denied: 1, ..Default::default() }));
    // What was never sent does not count as asked, or was taken back.
    let requests = host.requests("http");
    assert_eq!((requests.answered, requests.pending), (0, 0));
    assert!(requests.asked <= asked && requests.asked == requests.cancelled, "{requests:?}");
    goes_on(&host, address);
    host.stop();
}

#[test]
fn a_body_over_the_limit_is_413() {
    let (host, address) = gateway();
    let large = "x".repeat(1025);
    assert_eq!(answer(address, request("POST", "/do/length", &large).as_bytes()), Some(413));
    let announced = b"POST /do/length HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(answer(address, announced), Some(413));
    let chunks = format!(
        "POST /do/length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{large}\r\n0\r\n\r\n"
    );
    assert_eq!(answer(address, chunks.as_bytes()), Some(413));
    let fits = Client::connect(address).exchange("POST", "/do/length", &large[..1024]);
    assert_eq!((fits.status, fits.text()), (200, "1024"));
    assert_eq!(host.ledger("f"), ledger(LedgerStatus { handled: 1, ..Default::default() }));
    host.stop();
}

#[test]
fn clients_that_dribble_or_hang_up_reach_nobody() {
    let (host, address) = gateway();
    assert_eq!(answer(address, b""), None, "a connection that says nothing is closed");
    assert_eq!(answer(address, b"POST /do/no"), None, "so is one that stops in its head");
    let half = b"POST /do/length HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
    assert_eq!(answer(address, half), Some(408));
    for bytes in [b"".as_slice(), b"POST", half, b"\r\n\r\n\r\n"] {
        let mut client = Client::connect(address);
        client.write(bytes);
    }
    assert_eq!(host.ledger("f"), LedgerStatus::default());
    assert_eq!(host.requests("http"), RequestsStatus::default());
    goes_on(&host, address);
    host.stop();
}

#[test]
fn a_client_that_leaves_before_its_answer_is_accounted_for() {
    let (host, address) = gateway();
    let mut client = Client::connect(address);
    client.write(request("POST", "/do/hold/gate", "").as_bytes());
    eventually("the handler blocks", || host.ledger("f").in_flight == 1);
    drop(client);
    host.open("f", "gate");
    host.rest("f");
    eventually("the request has ended", || host.requests("http").pending == 0);
    assert_eq!(host.ledger("f"), ledger(LedgerStatus { handled: 1, ..Default::default() }));
    assert_eq!(host.requests("http").asked, 1);
    goes_on(&host, address);
    host.stop();
}

#[test]
fn a_full_queue_is_503_and_a_full_handler_429() {
    let (host, address) = gateway();
    let mut client = Client::connect(address);
    let limit = client.exchange("POST", "/do/fail/full", "");
    assert_eq!(limit.status, 429);
    assert!(limit.head.contains("retry-after: 2\r\n"), "{}", limit.head);

    host.block("f", "gate");
    host.sends("f://note/1");
    host.sends("f://note/2");
    for _ in 0..3 {
        let full = client.exchange("POST", "/do/note/3", "");
        assert_eq!(full.status, 503);
        assert!(full.head.contains("retry-after: 1\r\n"), "{}", full.head);
        assert!(full.text().contains("\"full\"") && full.text().contains("queue of `f` is full"));
    }
    host.open("f", "gate");
    host.rest("f");
    let expect = LedgerStatus { handled: 3, failed: 1, rejected: 3, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    let expect = RequestsStatus { asked: 4, failed: 1, cancelled: 3, ..Default::default() };
    assert_eq!(host.requests("http"), expect);
    host.stop();
}

#[test]
fn errors_have_their_statuses() {
    let (host, address) = gateway();
    let mut client = Client::connect(address);
    for code in ErrorCode::ALL {
        let response = client.exchange("POST", &format!("/do/fail/{code}"), "");
        assert_eq!(response.status, code.http_status(true), "{code}");
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["error"], code.word());
        assert_eq!(body["text"], format!("the handler says {code}"));
    }
    assert_eq!(client.exchange("POST", "/do/panic", "").status, 502);
    assert_eq!(client.exchange("POST", "/do/drop", "").status, 502);
    assert_eq!(client.exchange("POST", "/do/note/x", "").status, 400);
    assert_eq!(client.exchange("POST", "/do/note/%zz", "").status, 400);
    let failed = ErrorCode::ALL.len() as u64 - 3 + 1;
    let expect = LedgerStatus { handled: 5, failed, dead: 1, ..Default::default() };
    assert_eq!(host.ledger("f"), ledger(expect));
    host.stop();
}

/// What a guard says no to reaches nobody else, and neither does anything behind a guard that is not there.
#[test]
fn a_guard_decides_who_reaches_a_route() {
    let host = host(
        r#""limiter": (plugin: "mycelia_faulty"), "f": (plugin: "mycelia_faulty"),
        "http": (plugin: "mycelia_http", config: (listen: "127.0.0.1:0", map: [
            (method: "POST", path: "/passed", to: "f://length", guard: "limiter://caller"),
            (method: "POST", path: "/refused/{code}", to: "f://length", guard: "limiter://fail/{code}"),
            (method: "POST", path: "/parsed", to: "f://length", guard: "limiter://note/{client}"),
            (method: "POST", path: "/gone", to: "f://length", guard: "nobody://take/{client}"),
        ]))"#,
    );
    let address = host.address("http");
    let post = |path: &str| Client::connect(address).exchange("POST", path, "12345");
    let passed = post("/passed");
    assert_eq!((passed.status, passed.text()), (200, "5"));
    let refused = post("/refused/full");
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 2\r\n"), "{}", refused.head);
    assert_eq!(post("/refused/denied").status, 403);
    let parsed = post("/parsed");
    assert_eq!(parsed.status, 400);
    assert!(parsed.text().contains("`127.0.0.1`"), "{}", parsed.text());
    let gone = post("/gone");
    assert_eq!(gone.status, 503);
    assert!(gone.text().contains("the guard is not there"), "{}", gone.text());
    host.rest("f");
    assert_eq!(host.ledger("f"), ledger(LedgerStatus { handled: 1, ..Default::default() }));
    let expect = LedgerStatus { handled: 2, failed: 2, ..Default::default() };
    assert_eq!(host.ledger("limiter"), ledger(expect));
    host.stop();
}

/// A stop takes no new request, and lets the one that runs end.
#[test]
fn a_stop_waits_for_the_request_that_runs() {
    let (host, address) = gateway();
    let client =
        thread::spawn(move || Client::connect(address).exchange("POST", "/do/hold/gate", ""));
    eventually("the handler blocks", || host.ledger("f").in_flight == 1);
    host.runtime.stop();
    eventually("it stops", || host.phase("f") == Phase::Stopping);
    host.open("f", "gate");
    assert_eq!(client.join().unwrap().status, 204);
    let (status, _) = host.stop();
    assert_eq!(
        status.subsystems["f"].ledger,
        ledger(LedgerStatus { handled: 1, ..Default::default() })
    );
}
