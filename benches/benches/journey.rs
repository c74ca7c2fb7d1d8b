//! An order through the shop: from HTTP over loopback by a limiter and the orders to stock and payment, and back.
//!
//! It ends with processor time an order and a million messages, of the host alone. Every order is answered with a receipt
//! of its own number, and every subsystem has handled it once.

mod settings;

use criterion::{BenchmarkId, Criterion, Throughput};
use mycelia_benches::{is_test, serving::Serving};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

const CONFIG: &str = r#"(workers: 2, subsystems: {
    "payment": (plugin: "mycelia_shop", queue: (capacity: 1024, policy: Reject)),
    "stock": (plugin: "mycelia_shop", queue: (capacity: 1024, policy: Reject)),
    "orders": (plugin: "mycelia_shop", queue: (capacity: 1024, policy: Reject),
        grants: ["stock:reserve", "payment:charge"]),
    "limiter": (plugin: "mycelia_shop", queue: (capacity: 1024, policy: Reject),
        grants: ["orders:place"], config: (rate: 1e9, burst: 1e9)),
    "http": (plugin: "mycelia_http", grants: ["limiter:order"], config: (
        listen: "127.0.0.1:0",
        map: [(method: "POST", path: "/order/{customer}", to: "limiter://order/{customer}")],
    )),
})"#;

const ORDER: &str = r#"{"item":"tea","count":2,"card":"4111"}"#;

/// Messages of an order: one to each of the four. Beside them go three outcomes, by lanes of their own.
const MESSAGES: u64 = 4;

fn main() {
    let mut criterion = settings::criterion();
    let host = Serving::start(CONFIG);
    inside(&mut criterion, &host);
    http(&mut criterion, &host);
    criterion.final_summary();
    report(&host);
}

/// Without HTTP: one order at a time by the operator.
fn inside(criterion: &mut Criterion, host: &Serving) {
    criterion.bench_function("journey/operator", |bencher| {
        bencher.iter_custom(|times| {
            checked(host, times, || {
                (0..times)
                    .map(|_| receipt(&host.ask("limiter://order/1", ORDER.as_bytes())))
                    .collect()
            })
        });
    });
}

/// By so many clients, each of which waits for its receipt before it orders again.
fn http(criterion: &mut Criterion, host: &Serving) {
    let mut group = criterion.benchmark_group("journey/http");
    for clients in [1, 8] {
        group.throughput(Throughput::Elements(clients));
        group.bench_function(BenchmarkId::new("clients", clients), |bencher| {
            bencher.iter_custom(|times| {
                let address = host.address("http");
                checked(host, times * clients, || order(address, clients, times).0)
            });
        });
    }
}

/// How long so many orders take, each of which must be on its own receipt and with every subsystem.
fn checked(host: &Serving, orders: u64, place: impl FnOnce() -> BTreeSet<u64>) -> Duration {
    let before = host.handled();
    let begin = Instant::now();
    let receipts = place();
    let took = begin.elapsed();
    assert_eq!(receipts.len() as u64, orders, "receipts are missing");
    assert_eq!(host.handled() - before, orders * MESSAGES, "messages are missing");
    took
}

/// The number on a receipt, `{"order":7}`.
fn receipt(body: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(body);
    let number = text.strip_prefix(r#"{"order":"#).and_then(|rest| rest.strip_suffix('}'));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no receipt: {text}"))
}

/// The receipts of all clients, and the processor time that the clients took.
fn order(address: SocketAddr, clients: u64, each: u64) -> (BTreeSet<u64>, Duration) {
    let client = |number: u64| {
        let mut client = Client::connect(address, number);
        let receipts: Vec<u64> = (0..each).map(|_| client.order()).collect();
        (receipts, clock(ClockId::ThreadCPUTime))
    };
    thread::scope(|scope| {
        let client = &client;
        let threads: Vec<_> =
            (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        let mut all = (BTreeSet::new(), Duration::ZERO);
        for thread in threads {
            let (receipts, took) = thread.join().expect("a client gets its receipts");
            all.0.extend(receipts);
            all.1 += took;
        }
        all
    })
}

/// One connection, kept alive.
struct Client {
    stream: TcpStream,
    request: String,
    received: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, number: u64) -> Client {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a socket takes its options");
        let request = format!(
            "POST /order/{number} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{ORDER}",
            ORDER.len()
        );
        Client { stream, request, received: Vec::new() }
    }

    /// The number of the receipt.
    fn order(&mut self) -> u64 {
        self.received.clear();
        self.stream.write_all(self.request.as_bytes()).expect("the gateway reads");
        loop {
            let mut chunk = [0; 1024];
            let length = self.stream.read(&mut chunk).expect("the gateway answers");
            assert!(length > 0, "the connection was closed");
            self.received.extend_from_slice(&chunk[..length]);
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            // A receipt is as long as its brackets say.
            if let Some(end) = end.filter(|_| self.received.ends_with(b"}")) {
                assert!(self.received.starts_with(b"HTTP/1.1 200 "), "{:?}", self.received);
                return receipt(&self.received[end + 4..]);
            }
        }
    }
}

/// What the host takes of the processors, its threads' work in the system included.
fn report(host: &Serving) {
    let orders = if is_test() { 10 } else { 20_000 };
    println!(
        "\n{:<28} {:>12} {:>24}",
        "processor time of the host", "us an order", "s a million messages"
    );
    for clients in [1, 8] {
        let address = host.address("http");
        let (before, process) = (host.handled(), clock(ClockId::ProcessCPUTime));
        let (receipts, others) = order(address, clients, orders / clients);
        let took = clock(ClockId::ProcessCPUTime) - process - others;
        let placed = receipts.len() as u64;
        assert_eq!(host.handled() - before, placed * MESSAGES, "messages are missing");
        let an_order = took.as_secs_f64() * 1e6 / placed as f64;
        let a_million = an_order / MESSAGES as f64;
        println!(
            "{:<28} {an_order:>12.1} {a_million:>24.2}",
            format!("over HTTP, clients: {clients}")
        );
    }
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).expect("processor time is never negative")
}
