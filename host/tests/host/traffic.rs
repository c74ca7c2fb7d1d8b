//! A hundred thousand requests over real connections, counted on both sides, and what is left after a restart.

use crate::{
    client::{Client, request},
    support::{Host, host, host_in, ledger},
};
use mycelia::status::{LedgerStatus, RequestsStatus};
use std::{collections::BTreeMap, net::SocketAddr, thread};

/// Connections at once.
const CLIENTS: u64 = 8;
/// Requests of each: over 100,000 in all.
const REQUESTS: u64 = 12_800;
/// Requests that a connection has under way: more than one, so that batches form.
const WINDOW: u64 = 16;

const SUBSYSTEMS: &str = r#"
    "echo": (plugin: "mycelia_echo"),
    "counter": (plugin: "mycelia_counter"),
    "kv": (plugin: "mycelia_kv", queue: (capacity: 1024, policy: Reject)),
    "http": (
        plugin: "mycelia_http",
        grants: ["kv:read", "kv:write", "counter:write", "counter:read"],
        config: (listen: "127.0.0.1:0", map: [
            (method: "PUT", path: "/kv/{key}", to: "kv://put/{key}"),
            (method: "GET", path: "/kv/{key}", to: "kv://get/{key}"),
            (method: "POST", path: "/counter/{name}", to: "counter://add/{name}"),
            (method: "GET", path: "/counter/{name}", to: "counter://value/{name}"),
            (method: "POST", path: "/echo", to: "echo://"),
        ]),
    ),
"#;

/// What one client sent, by what it is: its own count.
#[derive(Default, Debug, PartialEq, Eq)]
struct Sent {
    puts: u64,
    gets: u64,
    misses: u64,
    counts: u64,
    echoes: u64,
}

impl Sent {
    fn sum(all: Vec<Sent>) -> Sent {
        all.into_iter().fold(Sent::default(), |sum, sent| Sent {
            puts: sum.puts + sent.puts,
            gets: sum.gets + sent.gets,
            misses: sum.misses + sent.misses,
            counts: sum.counts + sent.counts,
            echoes: sum.echoes + sent.echoes,
        })
    }

    fn total(&self) -> u64 {
        self.puts + self.gets + self.misses + self.counts + self.echoes
    }
}

/// A request and the answer that it must get.
struct Step {
    request: String,
    status: u16,
    body: Option<String>,
}

impl Step {
    fn new(method: &str, path: &str, body: &str, status: u16, answer: Option<String>) -> Self {
        Step { request: request(method, path, body), status, body: answer }
    }
}

/// The request number `at` of a client, which counts it.
fn step(client: u64, at: u64, sent: &mut Sent) -> Step {
    let (round, value) = (at / 8, value(client, at / 8));
    match at % 8 {
        0 => {
            sent.puts += 1;
            Step::new("PUT", &format!("/kv/{client}-{round}"), &value, 204, Some(String::new()))
        }
        1 => {
            sent.gets += 1;
            Step::new("GET", &format!("/kv/{client}-{round}"), "", 200, Some(value))
        }
        2 => {
            sent.misses += 1;
            Step::new("GET", &format!("/kv/{client}-none-{round}"), "", 404, None)
        }
        3 | 4 => {
            sent.counts += 1;
            let count = sent.counts.to_string();
            Step::new("POST", &format!("/counter/{client}"), "1", 200, Some(count))
        }
        _ => {
            sent.echoes += 1;
            let body = format!("echo {client} {at}");
            Step::new("POST", "/echo", &body, 200, Some(body.clone()))
        }
    }
}

/// Some are larger than an envelope, some are not.
fn value(client: u64, round: u64) -> String {
    format!("value {client} {round} {}", "x".repeat((round % 100) as usize))
}

fn talk(address: SocketAddr, client: u64) -> Sent {
    let (mut connection, mut sent) = (Client::connect(address), Sent::default());
    for window in 0..REQUESTS / WINDOW {
        let range = window * WINDOW..(window + 1) * WINDOW;
        exchange_all(&mut connection, range.map(|at| step(client, at, &mut sent)).collect());
    }
    sent
}

/// Sends all requests, and checks their answers as they come in.
fn exchange_all(connection: &mut Client, steps: Vec<Step>) {
    let requests: String = steps.iter().map(|step| step.request.as_str()).collect();
    connection.write(requests.as_bytes());
    for step in steps {
        let response = connection.read().expect("the connection stays open");
        assert_eq!(response.status, step.status, "{} {response:?}", step.request);
        if let Some(body) = step.body {
            assert_eq!(response.text(), body, "{}", step.request);
        }
    }
}

fn check_ledgers(host: &Host, sent: &Sent) {
    for (name, handled) in [
        ("kv", sent.puts + sent.gets + sent.misses),
        ("counter", sent.counts),
        ("echo", sent.echoes),
        ("http", 0),
    ] {
        let expect = ledger(LedgerStatus { handled, ..Default::default() });
        assert_eq!(host.ledger(name), expect, "{name}");
        let expect = match name {
            "http" => RequestsStatus {
                asked: sent.total(),
                answered: sent.total() - sent.misses,
                failed: sent.misses,
                ..Default::default()
            },
            _ => RequestsStatus::default(),
        };
        assert_eq!(host.requests(name), expect, "{name}");
    }
}

/// Reads every value that the clients wrote.
fn check_values(address: SocketAddr) -> u64 {
    let mut connection = Client::connect(address);
    let rounds = REQUESTS / 8;
    for client in 0..CLIENTS {
        for window in 0..rounds / WINDOW {
            let range = window * WINDOW..(window + 1) * WINDOW;
            let read = |round| {
                let path = format!("/kv/{client}-{round}");
                Step::new("GET", &path, "", 200, Some(value(client, round)))
            };
            exchange_all(&mut connection, range.map(read).collect());
        }
    }
    CLIENTS * rounds
}

#[test]
fn a_hundred_thousand_requests_are_accounted_for_and_kept() {
    let host = host(SUBSYSTEMS);
    let address = host.address("http");
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| thread::spawn(move || talk(address, client))).collect();
    let all = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let mut sent = Sent::sum(all);
    assert!(sent.total() >= 100_000);
    check_ledgers(&host, &sent);

    sent.gets += check_values(address);
    check_ledgers(&host, &sent);
    let counts: BTreeMap<String, i64> = host.value("counter://values", "");
    let expect: BTreeMap<String, i64> =
        (0..CLIENTS).map(|client| (client.to_string(), (REQUESTS / 4) as i64)).collect();
    assert_eq!(counts, expect);
    let (_, folder) = host.stop();

    let again = host_in(folder, "", SUBSYSTEMS);
    let read = check_values(again.address("http"));
    check_ledgers(&again, &Sent { gets: read, ..Sent::default() });
    again.stop();
}

#[test]
fn a_stopped_gateway_gives_its_port_back() {
    let host = host(SUBSYSTEMS);
    let address = host.address("http");
    assert_eq!(Client::connect(address).exchange("POST", "/echo", "hi").text(), "hi");
    host.stop();
    std::net::TcpListener::bind(address).expect("the port is free");
}
