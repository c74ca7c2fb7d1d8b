//! A host in this process, and the waits that every test needs.

use mycelia::{
    config::Config,
    operator::{Operator, OperatorReply},
    runtime::{Runtime, StartError},
    status::{LedgerStatus, Phase, RequestsStatus, Status, SubsystemStatus},
};
use mycelia_plugin::{Error, ErrorCode, Handled};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the operator is told.
pub type Told = Result<OperatorReply, Error>;

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A running host with a data folder of its own.
pub struct Host {
    pub runtime: &'static Runtime,
    pub folder: TempDir,
    serving: Option<JoinHandle<Result<(), StartError>>>,
}

/// A host on two workers with these subsystems: the inner part of `subsystems: {…}`.
pub fn host(subsystems: &str) -> Host {
    host_with("", subsystems)
}

/// A host with these settings before its subsystems.
pub fn host_with(settings: &str, subsystems: &str) -> Host {
    host_in(TempDir::new().unwrap(), settings, subsystems)
}

/// A host that finds what an older one left in its data folder.
pub fn host_in(folder: TempDir, settings: &str, subsystems: &str) -> Host {
    let created = create(folder.path(), settings, subsystems);
    let runtime = created.unwrap_or_else(|error| panic!("the host is not created: {error}"));
    let (ready, is_ready) = mpsc::channel();
    let serving = thread::spawn(move || runtime.serve(|| ready.send(()).unwrap()));
    let host = Host { runtime, folder, serving: Some(serving) };
    is_ready.recv_timeout(PATIENCE).expect("the host serves");
    host
}

/// A host that does not serve yet.
pub fn create(
    folder: &Path,
    settings: &str,
    subsystems: &str,
) -> Result<&'static Runtime, StartError> {
    let text = config(folder, settings, subsystems);
    let config = Config::parse("test.ron", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Runtime::create(&config, Path::new("test.ron"), 1)
}

/// The text of a config; what `settings` leave out is small, for a test.
pub fn config(folder: &Path, settings: &str, subsystems: &str) -> String {
    let data = folder.join("data").display().to_string();
    let workers = if settings.contains("workers:") { "" } else { "workers: 2," };
    let pool = if settings.contains("pool:") { "" } else { "pool: \"64MiB\"," };
    format!("({workers} {pool} data: {data:?}, {settings} subsystems: {{ {subsystems} }})")
}

impl Host {
    /// Sends as the operator.
    pub fn send(&self, path: &str, body: &str) -> Result<(), Error> {
        self.runtime.send(path, body.as_bytes())
    }

    /// Sends as the operator what must be accepted.
    pub fn sends(&self, path: &str) {
        self.send(path, "").unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Asks as the operator, and waits for what it is told.
    pub fn ask(&self, path: &str, body: &str) -> Told {
        told(&self.ask_within(path, body, None))
    }

    /// Begins to ask as the operator.
    pub fn ask_within(&self, path: &str, body: &str, within: Option<Duration>) -> Receiver<Told> {
        let (done, outcome) = mpsc::channel();
        // A test that no longer listens has failed already.
        self.runtime.ask(
            path,
            body.as_bytes(),
            within,
            Box::new(move |told| drop(done.send(told))),
        );
        outcome
    }

    /// Asks for a JSON value.
    pub fn value<T: DeserializeOwned>(&self, path: &str, body: &str) -> T {
        let reply = self.ask(path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path} answers {text}: {error}"))
    }

    /// Asks for a tally of words.
    pub fn tally(&self, path: &str, body: &str) -> BTreeMap<String, u64> {
        self.value(path, body)
    }

    pub fn status_of(&self, name: &str) -> SubsystemStatus {
        self.runtime.named(name).unwrap().status()
    }

    pub fn ledger(&self, name: &str) -> LedgerStatus {
        self.status_of(name).ledger
    }

    pub fn requests(&self, name: &str) -> RequestsStatus {
        self.status_of(name).requests
    }

    pub fn phase(&self, name: &str) -> Phase {
        self.status_of(name).phase
    }

    /// Waits until every message of a subsystem has come to its end.
    pub fn rest(&self, name: &str) {
        eventually(&format!("`{name}` has nothing to do"), || {
            let ledger = self.ledger(name);
            ledger.queued + ledger.in_flight == 0
        });
    }

    /// Blocks a faulty subsystem in a handler until the gate is opened, and waits until it is so.
    pub fn block(&self, name: &str, gate: &str) {
        self.sends(&format!("{name}://hold/{gate}"));
        eventually("the handler blocks", || self.ledger(name).in_flight == 1);
    }

    /// A file in a subsystem's data folder, which opens a gate.
    pub fn file(&self, name: &str, file: &str) -> PathBuf {
        self.folder.path().join("data").join(name).join(file)
    }

    pub fn open(&self, name: &str, gate: &str) {
        fs::write(self.file(name, gate), "").unwrap();
    }

    /// Where a gateway listens that was told to take a free port.
    pub fn address(&self, name: &str) -> SocketAddr {
        let listeners = self.runtime.named(name).unwrap().listeners.lock().unwrap();
        listeners.values().next().unwrap().local_addr().unwrap()
    }

    /// Stops in order; answers the last status and what is in the folder. Every message has ended by then.
    pub fn stop(mut self) -> (Status, TempDir) {
        self.end();
        let status = self.runtime.status();
        let readings = self.runtime.readings();
        for (name, one) in &status.subsystems {
            let routes = readings.subsystems[name].routes.values();
            let ends = routes.fold([0; 4], |[handled, failed, expired, dead], one| {
                [handled + one.handled, failed + one.failed, expired + one.expired, dead + one.dead]
            });
            let LedgerStatus { handled, failed, expired, dead, .. } = one.ledger;
            assert_eq!(ends, [handled, failed, expired, dead], "the routes of `{name}`");
            assert!(one.ledger.balances(), "{name}: {:?}", one.ledger);
            assert_eq!((one.ledger.queued, one.ledger.in_flight), (0, 0), "{name}");
            assert_eq!(one.queue.depth, 0, "{name}");
            assert_eq!(one.requests.pending, 0, "{name}");
        }
        assert_eq!(self.runtime.pool.used(), 0, "blocks are lost");
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        (status, folder)
    }

    fn end(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        self.runtime.stop();
        let ended = serving.join().unwrap_or_else(|_| panic!("the host panicked"));
        ended.unwrap_or_else(|error| panic!("the host did not start: {error}"));
    }
}

/// A test that failed must not leave threads in files that are gone.
impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(serving) = self.serving.take()
        {
            self.runtime.stop();
            drop(serving.join());
        } else {
            self.end();
        }
    }
}

/// Waits for what the operator is told.
pub fn told(outcome: &Receiver<Told>) -> Told {
    outcome.recv_timeout(PATIENCE).expect("a request ends")
}

/// An outcome's error in two words: what, and whether it was handled.
pub fn refusal(told: Told) -> (ErrorCode, Handled) {
    let error = told.expect_err("an error is expected");
    (error.code, error.handled)
}

/// A ledger with these columns; `accepted` is their sum.
pub fn ledger(columns: LedgerStatus) -> LedgerStatus {
    let LedgerStatus { handled, failed, dropped_oldest, dropped_newest, expired, dead, .. } =
        columns;
    let ended = handled + failed + dropped_oldest + dropped_newest + expired + dead;
    LedgerStatus { accepted: ended + columns.queued + columns.in_flight, ..columns }
}

/// Numbers from JSON.
pub fn tally<const N: usize>(words: [(&str, u64); N]) -> BTreeMap<String, u64> {
    words.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}
