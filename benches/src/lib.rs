//! What the measurements share: a host without worker threads, driven by hand on one thread, and its journeys; one with
//! them; the reload storm; and what the bench `memory` keeps.

pub mod journey;
pub mod memory;
pub mod serving;
pub mod storm;

use mycelia::{
    config::Config,
    operator::Operator,
    runtime::{Runtime, Worker},
    status::LedgerStatus,
};
use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

/// A seed for the path cache that makes counts repeat.
const SEED: u64 = 1;

/// Whether a benchmark is only to show that it runs: it is not `cargo bench` that started it, or it was told so.
pub fn is_test() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    !has("--bench") || has("--test")
}

/// The bytes of a library that cargo built with this executable: in `deps`, since what lies beside may be older.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn library(name: &str) -> io::Result<Vec<u8>> {
    fs::read(library_file(name)?)
}

/// The same without debug information, of which a benchmark's libraries have 15 MB, and so as large as an operator's.
///
/// # Errors
/// If there is none, or `strip` does not run.
pub fn bare_library(name: &str) -> io::Result<Vec<u8>> {
    let bare = tempfile::NamedTempFile::new()?;
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").args([bare.path(), &library_file(name)?]);
    let ended = strip.status().map_err(|error| {
        io::Error::other(format!(
            "cannot run strip: {error}; install it with `apt-get install binutils`"
        ))
    })?;
    if !ended.success() {
        return Err(io::Error::other(format!("strip of `{name}` ended with {ended}")));
    }
    fs::read(bare.path())
}

/// The instructions of this program when it is run with these arguments, counted by callgrind.
///
/// # Errors
/// If valgrind does not run, or the program fails.
pub fn instructions(arguments: &[&str]) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(arguments)
        // Variants of glibc that depend on the processor would make the counts differ between machines.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM")
        .output()
        .map_err(|error| {
            format!("cannot run valgrind: {error}; install it with `apt-get install valgrind`")
        })?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    collected
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("callgrind counted nothing:\n{text}"))
}

fn library_file(name: &str) -> io::Result<PathBuf> {
    let mut search = mycelia::loader::search_path(None, &std::env::current_exe()?);
    search.reverse();
    mycelia::loader::find(name, Path::new("."), &search).map_err(io::Error::other)
}

/// How many messages a host has handled.
///
/// # Panics
/// If any ended otherwise, or waits: then what is measured is not what was meant.
pub fn handled(runtime: &Runtime) -> u64 {
    let handled = |slot: &mycelia::runtime::Slot| {
        let ledger = slot.ledger();
        let is_whole = ledger.balances() && ledger.handled == ledger.accepted;
        assert!(is_whole && ledger.rejected == 0, "`{}`: {ledger:?}", slot.name);
        ledger.handled
    };
    runtime.subsystems().map(handled).sum()
}

/// The real host with plugins from real libraries, run by the calling thread alone.
pub struct Bench {
    runtime: &'static Runtime,
    worker: RefCell<Worker>,
}

impl Bench {
    /// A host for this config.
    ///
    /// # Panics
    /// If it does not start: there is nothing to measure then.
    pub fn new(config: &str) -> Bench {
        let config =
            Config::parse("bench.ron", config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let created = Runtime::create(&config, Path::new("bench.ron"), SEED);
        let runtime = created.unwrap_or_else(|error| panic!("{error}"));
        runtime.start_without_workers().unwrap_or_else(|error| panic!("{error}"));
        Bench { runtime, worker: RefCell::new(Worker::new(runtime)) }
    }

    /// Sends a message as the operator, and runs until nothing is left to do.
    ///
    /// # Panics
    /// If it is refused.
    pub fn run(&self, path: &str) {
        self.send(path);
        self.drain();
    }

    /// Sends a message as the operator; nothing runs.
    ///
    /// # Panics
    /// If it is refused.
    pub fn send(&self, path: &str) {
        self.runtime.send(path, b"").unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Asks as the operator, and gives the reply as text.
    ///
    /// # Panics
    /// If the outcome is an error.
    pub fn ask(&self, path: &str) -> String {
        let (sender, outcome) = mpsc::channel();
        // The receiver lives until the outcome has come, below.
        self.runtime.ask(path, b"", None, Box::new(move |result| drop(sender.send(result))));
        self.drain();
        let reply = outcome.try_recv().expect("a drained host has answered");
        let reply = reply.unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8_lossy(&reply.body).into_owned()
    }

    /// How long it takes to do something so many times, each of which is so many messages.
    ///
    /// # Panics
    /// If it was another number of messages, or not all of them were handled.
    pub fn time(&self, times: u64, messages: u64, once: impl Fn(&Bench)) -> Duration {
        let before = handled(self.runtime);
        let begin = Instant::now();
        (0..times).for_each(|_| once(self));
        let took = begin.elapsed();
        assert_eq!(handled(self.runtime) - before, times * messages, "messages are missing");
        took
    }

    /// Lets the host's clock stand still, so that nothing depends on how long anything takes.
    pub fn stop_clock(&self) {
        self.runtime.stop_clock();
    }

    /// The host itself.
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// Runs until nothing is left to do.
    pub fn drain(&self) {
        while self.turn() {}
    }

    /// Gives one ready subsystem its turn; whether there was one.
    pub fn turn(&self) -> bool {
        self.runtime.work_once(&mut self.worker.borrow_mut())
    }

    /// The ledger of a subsystem.
    ///
    /// # Panics
    /// If there is no such subsystem.
    pub fn ledger(&self, name: &str) -> LedgerStatus {
        self.runtime.named(name).unwrap_or_else(|| panic!("no subsystem `{name}`")).ledger()
    }

    /// The ledgers of all subsystems, in the order of the config.
    pub fn ledgers(&self) -> impl Iterator<Item = LedgerStatus> {
        self.runtime.subsystems().map(|slot| slot.ledger())
    }
}
