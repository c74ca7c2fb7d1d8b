//! A host with its worker threads, as `mycelia run` has them: for what crosses threads.

use mycelia::{
    config::Config,
    operator::{Operator, OperatorReply},
    runtime::{Runtime, StartError},
};
use mycelia_plugin::Error;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        PoisonError,
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host that serves until it is dropped.
pub struct Serving {
    /// The host.
    pub runtime: &'static Runtime,
    thread: Option<JoinHandle<Result<(), StartError>>>,
}

impl Serving {
    /// A host for this config, once everything serves.
    ///
    /// # Panics
    /// If it does not start: there is nothing to measure then.
    pub fn start(config: &str) -> Serving {
        let config =
            Config::parse("bench.ron", config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let created = Runtime::create(&config, Path::new("bench.ron"), crate::SEED);
        let runtime = created.unwrap_or_else(|error| panic!("{error}"));
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || runtime.serve(|| _ = ready.send(())));
        is_ready.recv_timeout(PATIENCE).expect("the host serves");
        Serving { runtime, thread: Some(thread) }
    }

    /// Asks as the operator.
    pub fn request(&self, path: &str, body: &[u8]) -> Receiver<Result<OperatorReply, Error>> {
        let (sender, outcome) = mpsc::channel();
        // Who does not wait for the outcome has no use for it.
        self.runtime.ask(path, body, None, Box::new(move |told| drop(sender.send(told))));
        outcome
    }

    /// Asks as the operator, and sleeps until the reply is there.
    ///
    /// # Panics
    /// If the outcome is an error.
    pub fn ask(&self, path: &str, body: &[u8]) -> Vec<u8> {
        let told = self.request(path, body).recv().expect("a request has an outcome");
        told.unwrap_or_else(|error| panic!("{path}: {error}")).body
    }

    /// How many messages were handled, once none waits any more; an answer may be there before it is in the ledger.
    ///
    /// # Panics
    /// As [`crate::handled`].
    pub fn handled(&self) -> u64 {
        let until = Instant::now() + PATIENCE;
        let waits = || {
            let ledgers = self.runtime.subsystems().map(|slot| slot.ledger());
            ledgers.map(|ledger| ledger.queued + ledger.in_flight).sum::<u64>()
        };
        while waits() > 0 && Instant::now() < until {
            thread::yield_now();
        }
        crate::handled(self.runtime)
    }

    /// Where a gateway listens that was told to take a free port.
    ///
    /// # Panics
    /// If it does not.
    pub fn address(&self, name: &str) -> SocketAddr {
        let slot = self.runtime.named(name).unwrap_or_else(|| panic!("no subsystem `{name}`"));
        let listeners = slot.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = listeners.values().next().expect("a gateway listens");
        listener.local_addr().expect("a listener has an address")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.runtime.stop();
        // It has printed why, if it failed.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
