//! The gateway replaced under load: no connection is refused, and no request is lost.

use crate::{
    client::{Client, Response},
    process::library,
    support::{Host, eventually, host_in, ledger},
};
use mycelia::{
    operator::Operator,
    status::{LedgerStatus, ReloadsStatus, RequestsStatus},
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tempfile::TempDir;

/// How often the gateway is replaced.
const RELOADS: u64 = 20;
/// How often the store behind it is.
const STORE_RELOADS: u64 = 4;
/// Rounds of the clients between two reloads.
const ROUNDS: u64 = 8;

/// What a client does about connections.
#[derive(Copy, Clone)]
enum Manner {
    /// A connection for each request.
    Fresh,
    /// One for all requests, until an answer says that it is the last.
    Kept,
    /// As `Kept`, and with time between requests in which its connection is idle.
    Pondering(Duration),
}

const CLIENTS: [Manner; 4] =
    [Manner::Fresh, Manner::Fresh, Manner::Kept, Manner::Pondering(Duration::from_millis(20))];

/// Writes and reads back, one after the other.
struct Visitor {
    number: usize,
    manner: Manner,
    address: SocketAddr,
    connection: Option<Client>,
    requests: u64,
}

impl Visitor {
    fn new(number: usize, manner: Manner, address: SocketAddr) -> Self {
        Visitor { number, manner, address, connection: None, requests: 0 }
    }

    /// Panics when a connection is refused, or closed without an answer.
    fn exchange(&mut self, method: &str, path: &str, body: &str) -> Response {
        if let Manner::Pondering(time) = self.manner {
            thread::sleep(time);
        }
        let kept = self.connection.take();
        let mut connection = kept.unwrap_or_else(|| Client::connect(self.address));
        let response = connection.exchange(method, path, body);
        let is_last = response.head.contains("connection: close\r\n");
        if !is_last && !matches!(self.manner, Manner::Fresh) {
            self.connection = Some(connection);
        }
        self.requests += 1;
        response
    }

    fn round(&mut self, round: u64) {
        let path = format!("/kv/{}-{}", self.number, round % 16);
        let value = format!("value {round} of {}", self.number);
        let written = self.exchange("PUT", &path, &value);
        assert_eq!(written.status, 204, "PUT {path}: {written:?}");
        let read = self.exchange("GET", &path, "");
        assert_eq!((read.status, read.text()), (200, value.as_str()), "GET {path}");
    }
}

/// All clients at work, until they are told to end.
struct Load {
    is_over: Arc<AtomicBool>,
    rounds: Arc<[AtomicU64; CLIENTS.len()]>,
    visitors: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (is_over, rounds) = (Arc::<AtomicBool>::default(), Arc::default());
        let mut load = Load { is_over, rounds, visitors: Vec::new() };
        for (number, manner) in CLIENTS.into_iter().enumerate() {
            let (is_over, rounds) = (load.is_over.clone(), load.rounds.clone());
            load.visitors.push(thread::spawn(move || {
                let mut visitor = Visitor::new(number, manner, address);
                while !is_over.load(Ordering::Relaxed) {
                    visitor.round(rounds[number].fetch_add(1, Ordering::Relaxed));
                }
                visitor.requests
            }));
        }
        load
    }

    /// Waits until every client has come further.
    fn goes_on(&self) {
        let goals = self.rounds.each_ref().map(|round| round.load(Ordering::Relaxed) + ROUNDS);
        eventually("every client has come further", || {
            assert!(!self.visitors.iter().any(JoinHandle::is_finished), "a client has failed");
            let mut pairs = self.rounds.iter().zip(goals);
            pairs.all(|(round, goal)| round.load(Ordering::Relaxed) >= goal)
        });
    }

    /// Ends it; answers how many requests were sent and answered.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum()
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("libmycelia_{name}.so"))
}

/// Puts build number `build` of a plugin in place; builds differ in bytes that nobody reads.
fn put(folder: &Path, name: &str, build: u64) {
    let made = folder.join("made");
    fs::copy(library(name), &made).unwrap();
    let mut open = OpenOptions::new().append(true).open(&made).unwrap();
    open.write_all(&build.to_le_bytes()).unwrap();
    fs::rename(&made, file(folder, name)).unwrap();
}

/// Replaces a plugin and waits until the new build serves.
fn replace(host: &Host, name: &str) {
    let before = host.status_of(name).generation;
    put(host.folder.path(), name, before.into());
    eventually(&format!("`{name}` is replaced"), || {
        let status = host.status_of(name);
        assert_eq!(status.reloads.refused, 0, "{:?}", status.last_error);
        status.generation > before
    });
}

fn start() -> Host {
    let folder = TempDir::new().unwrap();
    for name in ["http", "kv"] {
        put(folder.path(), name, 0);
    }
    let (http, kv) = (file(folder.path(), "http"), file(folder.path(), "kv"));
    let subsystems = format!(
        r#""kv": (plugin: {kv:?}, queue: (capacity: 1024, policy: Reject)),
        "http": (plugin: {http:?}, grants: ["kv:read", "kv:write"], config: (
            listen: "127.0.0.1:0",
            map: [
                (method: "PUT", path: "/kv/{{key}}", to: "kv://put/{{key}}"),
                (method: "GET", path: "/kv/{{key}}", to: "kv://get/{{key}}"),
            ],
            // More than a client is ever held up by a busy machine.
            linger: "2s",
        ))"#
    );
    host_in(folder, "", &subsystems)
}

#[test]
fn no_request_is_lost_when_the_gateway_is_replaced() {
    let host = start();
    let load = Load::start(host.address("http"));
    for reload in 0..RELOADS {
        load.goes_on();
        replace(&host, "http");
        if reload % (RELOADS / STORE_RELOADS) == 0 {
            replace(&host, "kv");
        }
    }
    load.goes_on();
    let requests = load.end();

    for (name, committed) in [("http", RELOADS), ("kv", STORE_RELOADS)] {
        let expect = ReloadsStatus { committed, ..Default::default() };
        assert_eq!(host.status_of(name).reloads, expect, "{name}");
    }
    assert!(requests >= RELOADS * ROUNDS * 2 * CLIENTS.len() as u64);
    let expect = ledger(LedgerStatus { handled: requests, ..Default::default() });
    assert_eq!(host.ledger("kv"), expect);
    let expect = RequestsStatus { asked: requests, answered: requests, ..Default::default() };
    assert_eq!(host.requests("http"), expect);
    eventually("every old build is unloaded", || {
        host.runtime.status().retained_generations.is_empty()
    });
    host.stop();
}
