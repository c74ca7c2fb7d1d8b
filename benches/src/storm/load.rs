//! The stream under which builds are swapped: senders and requesters that number what they send, and count what they are told.

use mycelia::{
    operator::{Operator, OperatorReply},
    runtime::Runtime,
};
use mycelia_plugin::{Error, ErrorCode};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// The threads that send.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Told>>,
}

/// What was sent, and what became of it.
#[derive(Default)]
pub(super) struct Counts {
    /// By subsystem.
    pub accepted: BTreeMap<String, Sent>,
    /// The last number of each sequence, by subsystem and sender.
    last: BTreeMap<(String, String), u64>,
    dead: BTreeMap<String, u64>,
    pub faults: Vec<String>,
}

/// What one subsystem accepted.
#[derive(Copy, Clone, Default)]
pub(super) struct Sent {
    pub messages: u64,
    pub requests: u64,
}

/// What one thread counted.
#[derive(Default)]
struct Told {
    name: &'static str,
    sender: &'static str,
    sent: Sent,
    /// The last number that was accepted.
    last: u64,
    /// Requests that were answered `panicked`.
    dead: u64,
    faults: Vec<String>,
}

/// Messages that a sender sends at a time, and how long it rests then: some thousand a second, which leaves a core for
/// the reloads.
const BURST: u64 = 10;
const REST: Duration = Duration::from_millis(10);
/// How long to wait at a full queue.
const FULL: Duration = Duration::from_micros(200);
/// The deadline of a request.
const PATIENCE: Duration = Duration::from_secs(20);

impl Load {
    pub fn start(runtime: &'static Runtime) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let mut threads = Vec::new();
        let mut begin = |stream: fn(&mut Stream), name, sender| {
            let told = Told { name, sender, ..Told::default() };
            let mut own = Stream { runtime, stop: stop.clone(), told };
            threads.push(thread::spawn(move || {
                while !own.stop.load(Ordering::Relaxed) && own.told.faults.is_empty() {
                    stream(&mut own);
                    thread::sleep(REST);
                }
                own.told
            }));
        };
        for name in ["counter", "threads"] {
            begin(Stream::send, name, "one");
            begin(Stream::send, name, "two");
            begin(Stream::ask, name, "three");
        }
        begin(Stream::store, "store", "one");
        begin(Stream::risk, "victim", "one");
        Load { stop, threads }
    }

    pub fn stop(self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = Counts::default();
        for thread in self.threads {
            match thread.join() {
                Ok(told) => counts.add(told),
                Err(_) => counts.faults.push("a sender panicked".into()),
            }
        }
        counts
    }
}

impl Counts {
    fn add(&mut self, told: Told) {
        let Told { name, sender, sent, last, dead, faults } = told;
        let accepted = self.accepted.entry(name.into()).or_default();
        accepted.messages += sent.messages;
        accepted.requests += sent.requests;
        *self.dead.entry(name.into()).or_default() += dead;
        if last > 0 {
            self.last.insert((name.into(), sender.into()), last);
        }
        self.faults.extend(faults);
    }

    /// How many messages of a subsystem died, as its senders know.
    pub fn dead(&self, name: &str) -> u64 {
        self.dead.get(name).copied().unwrap_or(0)
    }

    pub fn requests(&self) -> u64 {
        self.accepted.values().map(|sent| sent.requests).sum()
    }
}

/// One thread's stream.
struct Stream {
    runtime: &'static Runtime,
    stop: Arc<AtomicBool>,
    told: Told,
}

impl Stream {
    /// Numbered messages.
    fn send(&mut self) {
        let path = format!("{}://sequence/{}", self.told.name, self.told.sender);
        for _ in 0..BURST {
            let number = self.told.last + 1;
            if let Err(error) =
                self.until_taken(|runtime| runtime.send(&path, number.to_string().as_bytes()))
            {
                return self.told.faults.push(format!("{path} {number} is refused: {error}"));
            }
            self.told.last = number;
            self.told.sent.messages += 1;
        }
    }

    /// Numbered requests, each of which answers its number.
    fn ask(&mut self) {
        let path = format!("{}://count/{}", self.told.name, self.told.sender);
        for _ in 0..BURST {
            let number = self.told.last + 1;
            match self.request(&path, number.to_string().into_bytes()) {
                Ok(body) if body == number.to_string().as_bytes() => self.told.last = number,
                Ok(body) => {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    return self.told.faults.push(format!("{path} {number} answers {body}"));
                }
                Err(error) => {
                    return self.told.faults.push(format!("{path} {number} fails: {error}"));
                }
            }
        }
    }

    /// A value that is written, and read back.
    fn store(&mut self) {
        // A few keys, so that the database stays small.
        let key = format!("key-{}", self.told.sent.requests % 64);
        let value = self.told.sent.requests.to_string().into_bytes();
        let written = self.request(&format!("store://put/{key}"), value.clone());
        let read = self.request(&format!("store://get/{key}"), Vec::new());
        if written.is_err() || read.as_ref() != Ok(&value) {
            self.told.faults.push(format!("`{key}` was not kept: {written:?}, {read:?}"));
        }
    }

    /// Requests to the one whose builds panic: each is answered, with a number or with `panicked`.
    fn risk(&mut self) {
        for _ in 0..BURST {
            match self.request("victim://count/one", b"1".to_vec()) {
                Ok(_) => {}
                Err(error) if error.code == ErrorCode::Panicked => self.told.dead += 1,
                Err(error) => {
                    return self.told.faults.push(format!("the victim answers {error}"));
                }
            }
        }
    }

    fn request(&mut self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        loop {
            let (done, outcome) = mpsc::channel::<Result<OperatorReply, Error>>();
            let done = Box::new(move |told| drop(done.send(told)));
            self.runtime.ask(path, &body, Some(PATIENCE), done);
            let told = outcome.recv().expect("a request has an outcome");
            match told {
                Err(error) if error.code == ErrorCode::Full => thread::sleep(FULL),
                told => {
                    self.told.sent.messages += 1;
                    self.told.sent.requests += 1;
                    return told.map(|reply| reply.body);
                }
            }
        }
    }

    fn until_taken(&self, send: impl Fn(&Runtime) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            match send(self.runtime) {
                Err(error) if error.code == ErrorCode::Full => thread::sleep(FULL),
                told => return told,
            }
        }
    }
}

/// What a subsystem has seen of its senders.
#[derive(Deserialize)]
struct Sequences {
    last: BTreeMap<String, u64>,
    violations: u64,
    first: Vec<String>,
}

/// Whether every number came once and in order: the state has been handed from build to build since the first.
pub(super) fn check_sequences(runtime: &'static Runtime, counts: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for name in ["counter", "threads"] {
        let told = Told { name, ..Told::default() };
        let mut stream = Stream { runtime, stop: Arc::default(), told };
        let seen = stream
            .request(&format!("{name}://sequences"), Vec::new())
            .map_err(|error| error.to_string())
            .and_then(|body| {
                serde_json::from_slice::<Sequences>(&body).map_err(|error| error.to_string())
            });
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                faults.push(format!("`{name}` does not tell what it has seen: {error}"));
                continue;
            }
        };
        if seen.violations > 0 {
            let (violations, first) = (seen.violations, seen.first);
            faults.push(format!("`{name}` saw {violations} numbers out of order: {first:?}"));
        }
        for ((_, sender), last) in counts.last.iter().filter(|((of, _), _)| of == name) {
            if seen.last.get(sender) != Some(last) {
                let seen = seen.last.get(sender);
                faults
                    .push(format!("`{name}` saw {seen:?} of `{sender}` last, and {last} was sent"));
            }
        }
    }
    faults
}
