//! Mycelia: the real host, with `plugins/pump` from its shared library at both ends; schedule, ledger and permissions on.
//!
//! On one thread the host is driven by hand; across cores it has two workers and serves as it does in production.
//! Every case holds the ledger against what was sent.

use crate::{
    ASKS, BURST,
    across::{self, CAPACITY},
    harness::{Run, timed},
};
use mycelia::{config::Config, operator::Operator, runtime::Runtime, status::LedgerStatus};
use mycelia_benches::Bench;
use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    path::Path,
    rc::Rc,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A config with these subsystems.
fn config(head: &str, subsystems: &str) -> String {
    format!("({head} subsystems: {{ {subsystems} }})")
}

/// A subsystem that sends to the route `to` of the sink.
fn source(name: &str, to: &str) -> String {
    format!(
        r#""{name}": (plugin: "mycelia_pump", grants: ["sink:fill"], config: (to: "sink://{to}")),"#
    )
}

/// A subsystem that receives.
fn sink(name: &str, settings: &str) -> String {
    format!(r#""{name}": (plugin: "mycelia_pump", {settings}),"#)
}

const OUTBOX: &str = "queue: (capacity: 1024, policy: DropOldest), batch: 64";
const SINGLY: &str = "queue: (capacity: 1024, policy: Reject), batch: 64";
const UNBATCHED: &str = "queue: (capacity: 1024, policy: DropOldest), batch: 1";
const UNBATCHED_SINGLY: &str = "queue: (capacity: 1024, policy: Reject), batch: 1";

/// One pump and one sink on one thread; `path` sends a burst to the route `to`.
fn pair(queue: &str, to: &str, path: &'static str) -> Result<Run, String> {
    let subsystems = source("pump", to) + &sink("sink", queue);
    let bench = Bench::new(&config("workers: 1,", &subsystems));
    Ok(timed(move |bursts| {
        let before = bench.ledger("sink").handled;
        (0..bursts).for_each(|_| bench.run(path));
        let after = settled(bench.ledger("sink"));
        assert_eq!(after.handled - before, bursts * BURST, "every message is handled: {after:?}");
        assert_eq!(settled(bench.ledger("pump")).failed, 0, "every burst is sent");
    }))
}

/// A ledger that balances with nothing left under way.
fn settled(ledger: LedgerStatus) -> LedgerStatus {
    assert!(ledger.balances() && ledger.queued + ledger.in_flight == 0, "{ledger:?}");
    ledger
}

pub fn outbox() -> Result<Run, String> {
    pair(OUTBOX, "swallow", "pump://kept/1000")
}

pub fn singly() -> Result<Run, String> {
    pair(SINGLY, "swallow", "pump://kept/1000")
}

pub fn unbatched() -> Result<Run, String> {
    pair(UNBATCHED, "swallow", "pump://kept/1000")
}

pub fn unbatched_singly() -> Result<Run, String> {
    pair(UNBATCHED_SINGLY, "swallow", "pump://kept/1000")
}

pub fn text() -> Result<Run, String> {
    pair(OUTBOX, "swallow", "pump://text/1000")
}

pub fn text_singly() -> Result<Run, String> {
    pair(SINGLY, "swallow", "pump://text/1000")
}

pub fn constant() -> Result<Run, String> {
    pair(OUTBOX, "swallow", "pump://constant/1000")
}

pub fn ask() -> Result<Run, String> {
    pair(SINGLY, "swallow", "pump://ask/1000")
}

pub fn typed() -> Result<Run, String> {
    pair(OUTBOX, "swallow/typed", "pump://typed/1000")
}

pub fn raw() -> Result<Run, String> {
    pair(OUTBOX, "swallow/raw", "pump://raw/1000")
}

pub fn record() -> Result<Run, String> {
    pair(OUTBOX, "swallow/record", "pump://record/1000")
}

/// Bodies of so many bytes; beyond 24 they lie in blocks of the pool.
pub fn large<const BYTES: usize>() -> Result<Run, String> {
    let path = match BYTES {
        24 => "pump://large/1000/24",
        256 => "pump://large/1000/256",
        _ => "pump://large/1000/4096",
    };
    pair(OUTBOX, "swallow/raw", path)
}

/// One message between two subsystems, each of which sends it on: it is always alone.
pub fn lone() -> Result<Run, String> {
    let one = |name: &str, to: &str| {
        let config = format!(r#"to: "{to}://relayed""#);
        format!(
            r#""{name}": (plugin: "mycelia_pump", grants: ["{to}:fill"], {OUTBOX}, config: ({config})),"#
        )
    };
    let bench = Bench::new(&config("workers: 1,", &(one("ping", "pong") + &one("pong", "ping"))));
    Ok(timed(move |bursts| {
        let handled =
            || settled(bench.ledger("ping")).handled + settled(bench.ledger("pong")).handled;
        let before = handled();
        (0..bursts).for_each(|_| bench.run("ping://relay/1000"));
        // And what the operator sent.
        assert_eq!(handled() - before, bursts * (BURST + 1), "every message is handled");
    }))
}

/// Messages of a burst into a full queue, against 64 that fit.
pub const FLOOD: u64 = 10_000;

/// One more message than fits, again and again; or all of them, where there is room.
fn flood(policy: &str, capacity: usize) -> Result<Run, String> {
    let queue = format!("queue: (capacity: {capacity}, policy: {policy}), batch: 64");
    let subsystems = source("pump", "swallow") + &sink("sink", &queue);
    let bench = Bench::new(&config("workers: 1,", &subsystems));
    Ok(timed(move |bursts| {
        let before = settled(bench.ledger("sink"));
        (0..bursts).for_each(|_| bench.run("pump://flood/10000"));
        let after = settled(bench.ledger("sink"));
        let refused = after.rejected - before.rejected;
        assert_eq!(after.accepted - before.accepted + refused, bursts * FLOOD, "{after:?}");
        let handled = after.handled - before.handled;
        assert_eq!(handled, bursts * FLOOD.min(capacity as u64), "{after:?}");
        assert_eq!(bench.ask("pump://refused"), refused.to_string(), "and the sender knows");
    }))
}

const FULL: usize = 64;
const ROOM: usize = 1 << 14;

pub fn drop_oldest_full() -> Result<Run, String> {
    flood("DropOldest", FULL)
}

pub fn drop_oldest_room() -> Result<Run, String> {
    flood("DropOldest", ROOM)
}

pub fn drop_newest_full() -> Result<Run, String> {
    flood("DropNewest", FULL)
}

pub fn drop_newest_room() -> Result<Run, String> {
    flood("DropNewest", ROOM)
}

pub fn reject_full() -> Result<Run, String> {
    flood("Reject", FULL)
}

pub fn reject_room() -> Result<Run, String> {
    flood("Reject", ROOM)
}

/// A handler never waits, so it is refused as by `Reject`.
pub fn block_full() -> Result<Run, String> {
    flood("Block(\"1ms\")", FULL)
}

pub fn block_room() -> Result<Run, String> {
    flood("Block(\"1ms\")", ROOM)
}

/// One pump to so many sinks in turn, `RUN` messages at a time.
pub fn round<const SINKS: usize, const RUN: usize>() -> Result<Run, String> {
    let bench = many(SINKS)?;
    let path = format!("pump://spread/{ROUND}/{RUN}");
    // Adding up 10,000 ledgers is not part of the time; the pump's own is the first.
    let handled = |bench: &Bench| -> u64 {
        bench.ledgers().skip(1).map(|ledger| settled(ledger).handled).sum()
    };
    Ok(Box::new(move |bursts| {
        let before = handled(&bench);
        let begin = Instant::now();
        (0..bursts).for_each(|_| bench.run(&path));
        let took = begin.elapsed().as_nanos() as f64;
        assert_eq!(handled(&bench) - before, bursts * ROUND, "every message is handled");
        took
    }))
}

/// A host with one pump and so many sinks: one for all cases, since hosts stay and each subsystem holds its library.
fn many(sinks: usize) -> Result<Rc<Bench>, String> {
    thread_local! {
        static HOSTS: RefCell<HashMap<usize, Rc<Bench>>> = RefCell::default();
    }
    if let Some(host) = HOSTS.with_borrow(|hosts| hosts.get(&sinks).cloned()) {
        return Ok(host);
    }
    enough_memory(sinks)?;
    let grants: String = (0..sinks).map(|number| format!(r#""s{number}:fill","#)).collect();
    let mut subsystems = format!(
        r#""pump": (plugin: "mycelia_pump", grants: [{grants}], config: (to: "s{{}}://swallow", sinks: {sinks})),"#
    );
    for number in 0..sinks {
        subsystems += &sink(&format!("s{number}"), OUTBOX);
    }
    let host = Rc::new(Bench::new(&config("workers: 1, pool: \"64MiB\",", &subsystems)));
    HOSTS.with_borrow_mut(|hosts| hosts.insert(sinks, Rc::clone(&host)));
    Ok(host)
}

/// Whether half of the memory that is free takes the libraries, and the process may open as many files.
fn enough_memory(sinks: usize) -> Result<(), String> {
    let number = |file: &str, word: &str, at: usize| -> Option<u64> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(word))?;
        line[word.len()..].split_whitespace().nth(at)?.parse().ok()
    };
    let library = mycelia::runtime::search_path()
        .iter()
        .find_map(|folder| fs::metadata(folder.join("libmycelia_pump.so")).ok())
        .map_or(0, |file| file.len());
    let needed = sinks as u64 * library * 2;
    let available = number("/proc/meminfo", "MemAvailable:", 0).map_or(u64::MAX, |kib| kib << 10);
    let files = number("/proc/self/limits", "Max open files", 0).unwrap_or(u64::MAX);
    if needed > available || sinks as u64 * 2 > files {
        let needed = needed >> 20;
        return Err(format!("needs {needed} MiB of free memory and {} open files", sinks * 2));
    }
    Ok(())
}

/// Messages of one call of `round`; a multiple of 64.
pub const ROUND: u64 = 960;

/// How long an idle worker spins: longer than what wakes it is ahead of a stream.
const SPIN: &str = "1ms";
/// After that it sleeps, and takes no core from the next case.
const SPUN: Duration = Duration::from_millis(2);

/// A host with two workers, which ends with this.
struct Live {
    runtime: &'static Runtime,
    serving: Option<JoinHandle<()>>,
}

impl Live {
    fn new(spin: &str, subsystems: &str) -> Result<Live, String> {
        let text = config(&format!(r#"workers: 2, spin: "{spin}","#), subsystems);
        let config = Config::parse("peers.ron", &text).map_err(|mistakes| mistakes.to_string())?;
        let created = Runtime::create(&config, Path::new("peers.ron"), 1);
        let runtime = created.map_err(|error| error.to_string())?;
        let (ready, is_ready) = mpsc::channel();
        let serving = thread::spawn(move || {
            let served = runtime.serve(|| ready.send(()).expect("somebody waits"));
            served.unwrap_or_else(|error| panic!("{error}"));
        });
        is_ready.recv().map_err(|_| "the host did not start")?;
        Ok(Live { runtime, serving: Some(serving) })
    }

    fn begin(&self, path: &str) -> impl FnOnce() -> String + use<> {
        let (sender, outcome) = mpsc::channel();
        // The receiver lives until the outcome has come.
        let done = Box::new(move |result| drop(sender.send(result)));
        self.runtime.ask(path, b"", None, done);
        let path = path.to_owned();
        move || {
            let reply = outcome.recv().expect("every request has an outcome");
            let reply = reply.unwrap_or_else(|error| panic!("{path}: {error}"));
            String::from_utf8_lossy(&reply.body).into_owned()
        }
    }

    fn ask(&self, path: &str) -> String {
        self.begin(path)()
    }

    /// A moment from now by which the workers are up.
    fn soon(&self) -> u64 {
        self.runtime.now() + 300_000
    }

    /// Nanoseconds from the first message of a burst to the last one handled, which `sources` send between them.
    fn stream(&self, sources: &[&str]) -> f64 {
        let count = across::BURST / sources.len() as u64;
        let at = self.soon();
        let before = self.handled("sink");
        let begun: Vec<_> = sources
            .iter()
            .map(|source| self.begin(&format!("{source}://stream/{count}/{at}")))
            .collect();
        begun.into_iter().for_each(|done| drop(done()));
        let took = self.ask("sink://took").parse().expect("nanoseconds");
        // What wakes the worker, the mark, and the question itself, of which the last may not be entered yet.
        let others = sources.len() as u64 * (64 + 1);
        let handled = self.handled("sink") - before;
        assert!((0..=1).contains(&(handled - across::BURST - others)), "{handled} are handled");
        took
    }

    fn handled(&self, name: &str) -> u64 {
        let ledger = self.runtime.named(name).expect("it is in the config").ledger();
        assert!(ledger.balances(), "{ledger:?}");
        ledger.handled
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.runtime.stop();
        if let Some(serving) = self.serving.take() {
            // A panic of it was printed.
            let _ = serving.join();
        }
    }
}

fn streams(policy: &str, sources: &'static [&'static str]) -> Result<Run, String> {
    let mut subsystems: String = sources.iter().map(|name| source(name, "swallow")).collect();
    // Room for what wakes the worker, and for the mark.
    let capacity = CAPACITY + 1024;
    subsystems +=
        &sink("sink", &format!("queue: (capacity: {capacity}, policy: {policy}), batch: 64"));
    let live = Live::new(SPIN, &subsystems)?;
    Ok(Box::new(move |bursts| {
        let took = (0..bursts).map(|_| live.stream(sources)).sum();
        thread::sleep(SPUN);
        took
    }))
}

pub fn stream_outbox() -> Result<Run, String> {
    streams("DropOldest", &["one"])
}

pub fn stream_singly() -> Result<Run, String> {
    streams("Reject", &["one"])
}

pub fn two_outbox() -> Result<Run, String> {
    streams("DropOldest", &["one", "two"])
}

pub fn two_singly() -> Result<Run, String> {
    streams("Reject", &["one", "two"])
}

/// Requests one after the other between two subsystems; the percentile's nanoseconds for each.
pub fn asks<const PERCENTILE: usize, const SPINS: bool>() -> Result<Run, String> {
    let subsystems = source("asker", "swallow") + &sink("sink", SINGLY);
    let live = Live::new(if SPINS { SPIN } else { "0s" }, &subsystems)?;
    Ok(Box::new(move |bursts| {
        let count = bursts * ASKS;
        let before = live.handled("sink");
        let told = live.ask(&format!("asker://latency/{count}"));
        thread::sleep(SPUN);
        assert!(live.handled("sink") - before >= count - 1, "every request is handled");
        let told = told.trim_matches(['[', ']']).split_once(',').expect("two percentiles");
        let nanos = if PERCENTILE == 50 { told.0 } else { told.1 };
        nanos.parse::<f64>().expect("nanoseconds") * count as f64
    }))
}

/// The original's sequential echo: requests with its body, a reply each, on a static path.
pub fn echo() -> Result<Run, String> {
    pair(SINGLY, "echo", "pump://gets/1000")
}

/// Its paths with a parameter, of which 1,000 are met again and again.
pub fn users() -> Result<Run, String> {
    pair(SINGLY, "of", "pump://users/1000/0/1000")
}

/// The same, each path for the first time.
pub fn new_users() -> Result<Run, String> {
    let subsystems = source("pump", "of") + &sink("sink", SINGLY);
    let bench = Bench::new(&config("workers: 1,", &subsystems));
    let mut first = 0;
    Ok(timed(move |bursts| {
        let before = bench.ledger("sink").handled;
        for _ in 0..bursts {
            bench.run(&format!("pump://users/{BURST}/{first}/{}", u64::MAX));
            first += BURST;
        }
        let handled = settled(bench.ledger("sink")).handled - before;
        assert_eq!(handled, bursts * BURST, "every message is handled");
    }))
}
