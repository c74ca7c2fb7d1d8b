//! What the measurements share: a host without worker threads, driven by hand on one thread; and the reload storm.

pub mod storm;

use mycelia::{
    config::Config,
    operator::Operator,
    runtime::{Runtime, Worker},
    status::LedgerStatus,
};
use std::{cell::RefCell, path::Path, sync::mpsc};

/// A seed for the path cache that makes counts repeat.
const SEED: u64 = 1;

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
        self.runtime.send(path, b"").unwrap_or_else(|error| panic!("{path}: {error}"));
        self.drain();
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

    fn drain(&self) {
        while self.runtime.work_once(&mut self.worker.borrow_mut()) {}
    }

    /// The ledger of a subsystem.
    ///
    /// # Panics
    /// If there is no such subsystem.
    pub fn ledger(&self, name: &str) -> LedgerStatus {
        self.runtime.named(name).unwrap_or_else(|| panic!("no subsystem `{name}`")).ledger()
    }
}
