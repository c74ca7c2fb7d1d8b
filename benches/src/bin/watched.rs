//! What it costs a host under full load to be watched: the same requests with nobody there, and with ten dashboards
//! open and a scrape a second.
//!
//! `cargo run --release -p mycelia-benches --bin watched` prints requests a second, watched and not, in turns of one run, and
//! exits 1 when a request or a message is missing from the ledgers. Another watcher, such as `mycelia top`, can join at the
//! address that it prints.

use mycelia::{
    control::{self, Server, Token},
    figures::Figures,
    runtime::Runtime,
    status::LedgerStatus,
};
use mycelia_benches::serving::Serving;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Requests of a round.
const REQUESTS: u64 = 5_000_000;
/// Requests that are open at a time.
const WINDOW: u64 = 512;
/// Rounds of each kind, in turns.
const ROUNDS: usize = 5;
/// Open dashboards.
const DASHBOARDS: usize = 10;

const CONFIG: &str = r#"(
    workers: 2,
    subsystems: {
        "counter": (plugin: "mycelia_counter", queue: (capacity: 4096)),
        "faulty": (plugin: "mycelia_faulty"),
        "kv": (plugin: "mycelia_kv", config: (file: "kv.redb")),
    },
)"#;

fn main() -> ExitCode {
    let host = Serving::start(CONFIG);
    let server = open_control(host.runtime);
    println!("control {}", server.address());
    println!(
        "{:>24} {:>24} {:>7} {:>7}",
        "unwatched, requests/s", "watched, requests/s", "ratio", "looks"
    );
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| compare(&host, server.address())).collect();
    ratios.sort_by(f64::total_cmp);
    println!("watched takes {:.3} times as long (median of {ROUNDS} pairs)", ratios[ROUNDS / 2]);
    let asked = 2 * ROUNDS as u64 * REQUESTS;
    let ledger = settled(&host);
    let expect = LedgerStatus { accepted: asked, handled: asked, ..LedgerStatus::default() };
    if ledger != expect {
        eprintln!("failed: {asked} requests were asked, and the ledger has {ledger:?}");
        return ExitCode::FAILURE;
    }
    println!("the ledger has all {asked} requests as handled");
    ExitCode::SUCCESS
}

/// The ledger once nothing is left in it: an answer may be there before its message is counted.
fn settled(host: &Serving) -> LedgerStatus {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let slot = host.runtime.named("counter").expect("the config has it");
        let ledger = slot.ledger();
        if ledger.queued + ledger.in_flight == 0 || Instant::now() > until {
            return ledger;
        }
        thread::yield_now();
    }
}

fn open_control(runtime: &'static Runtime) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let token = Token::create(port).unwrap_or_else(|error| panic!("no token: {error}"));
    control::serve(listener, token, Arc::new(runtime)).unwrap_or_else(|error| panic!("{error}"))
}

/// One round of each kind; how many times as long the watched one took.
fn compare(host: &Serving, address: SocketAddr) -> f64 {
    let alone = round(host);
    let watchers = Watchers::open(address);
    let watched = round(host);
    let looks = watchers.close();
    let rate = |took: Duration| REQUESTS as f64 / took.as_secs_f64();
    let ratio = watched.as_secs_f64() / alone.as_secs_f64();
    println!("{:>24.0} {:>24.0} {ratio:>7.3} {looks:>7}", rate(alone), rate(watched));
    ratio
}

/// Asks so often, with so many requests open, and waits for all outcomes.
fn round(host: &Serving) -> Duration {
    let began = Instant::now();
    let (done, outcomes) = mpsc::channel();
    let ask = || {
        let done = done.clone();
        let tell = move |told: Result<_, _>| _ = done.send(told.is_ok());
        mycelia::operator::Operator::ask(
            host.runtime,
            "counter://add/x",
            b"1",
            None,
            Box::new(tell),
        );
    };
    (0..WINDOW).for_each(|_| ask());
    for answered in 0..REQUESTS {
        assert!(outcomes.recv().expect("the rest has senders"), "a request failed");
        if answered + WINDOW < REQUESTS {
            ask();
        }
    }
    began.elapsed()
}

/// Dashboards, each of which reads its stream, and a scraper.
struct Watchers {
    is_over: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Watchers {
    fn open(address: SocketAddr) -> Watchers {
        let (is_over, looks) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let dashboard = || {
            let (is_over, looks) = (Arc::clone(&is_over), Arc::clone(&looks));
            thread::spawn(move || watch(address, &is_over, &looks))
        };
        let mut threads: Vec<_> = (0..DASHBOARDS).map(|_| dashboard()).collect();
        let over = Arc::clone(&is_over);
        threads.push(thread::spawn(move || {
            while !over.load(Relaxed) {
                scrape(address);
                thread::sleep(Duration::from_secs(1));
            }
        }));
        Watchers { is_over, looks, threads }
    }

    /// Ends them; how many looks all of them saw.
    fn close(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a watcher only reads"));
        self.looks.load(Relaxed)
    }
}

fn request(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the control server listens");
    let text = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).expect("the control server reads");
    stream
}

/// Reads looks as they come, and checks that each balances.
fn watch(address: SocketAddr, is_over: &AtomicBool, looks: &AtomicU64) {
    for line in BufReader::new(request(address, "/figures")).lines() {
        let line = line.expect("the stream is text");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let figures: Figures = serde_json::from_str(data).expect("a look is JSON");
        let ledgers = figures.status.subsystems.values().map(|one| one.ledger);
        assert!(ledgers.into_iter().all(|ledger| ledger.balances()), "{data}");
        looks.fetch_add(1, Relaxed);
        if is_over.load(Relaxed) {
            return;
        }
    }
}

fn scrape(address: SocketAddr) {
    let mut page = String::new();
    request(address, "/metrics").read_to_string(&mut page).expect("a page is text");
    assert!(page.contains("mycelia_messages_accepted_total"), "{page}");
}
