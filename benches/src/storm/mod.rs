//! The reload storm: builds of three plugins swapped in a running host, under a stream of numbered messages and requests.
//!
//! It fails unless every number came once and in order, the ledgers have what the senders counted, the state went on
//! through every build, no build is left in the process, and memory stays flat.

pub mod broken;
mod figures;
pub mod kills;
mod load;
pub mod mishaps;
mod shelf;

pub use figures::Figures;
pub use mycelia::load::Slope;

use load::{Counts, Load};
use mycelia::{
    config::Config,
    operator::Operator,
    report::ReloadReport,
    runtime::{Runtime, StartError},
    status::Status,
};
use shelf::{BAD, Shelf};
use std::{
    fmt::Write,
    io,
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What to do.
#[derive(Copy, Clone, Debug)]
pub struct Plan {
    /// Good builds to swap in.
    pub reloads: u32,
    /// Bad builds and damaged files among them.
    pub bad: u32,
    /// The one subsystem whose builds are swapped, in place of all.
    pub only: Option<&'static str>,
}

/// What came of it.
pub struct Outcome {
    /// The committed reloads.
    pub figures: Figures,
    /// Resident memory against builds, good and bad.
    pub slope: Slope,
    /// How long it took.
    pub took: Duration,
    /// What was sent and told.
    counts: Counts,
    /// What is wrong; nothing, if it went well.
    pub faults: Vec<String>,
}

/// The longest wait for a single reload, and for the host to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a build serves.
const LOOK: Duration = Duration::from_micros(200);
/// The share of the reloads before memory is measured, in which caches, arenas and stacks find their size.
const WARM_UP: f64 = 0.15;
/// Reloads of which the least memory counts: a file of many megabytes that is just being read is no growth.
const EACH: u32 = 20;

/// The subsystems whose builds are swapped, in turn: half of all reloads are the counter's.
const TURNS: [&str; 10] = [
    "counter", "threads", "counter", "threads", "counter", "store", "counter", "threads",
    "counter", "threads",
];

/// Runs a storm.
///
/// # Errors
/// If it cannot begin: the host does not start, or a plugin's library is missing.
pub fn run(plan: Plan) -> io::Result<Outcome> {
    let shelf = Shelf::new()?;
    let host = Host::start(&shelf)?;
    let load = Load::start(host.runtime);
    let began = Instant::now();
    let mut storm = Storm {
        host,
        shelf,
        slope: Slope::default(),
        figures: Figures::new(plan.reloads as usize),
        faults: Vec::new(),
        number: 1,
    };
    storm.blow(plan);
    let counts = load.stop();
    let took = began.elapsed();
    storm.check(plan, &counts);
    let Storm { host, slope, figures, mut faults, .. } = storm;
    if let Some(bound) = slope.upper_bound().filter(|bound| *bound > MOST_A_RELOAD) {
        faults.push(format!(
            "memory grows by up to {bound:.0} bytes a reload, more than {MOST_A_RELOAD:.0}"
        ));
    }
    let _last = host.stop();
    Ok(Outcome { figures, slope, took, counts, faults })
}

/// Bytes of memory that a reload may cost, at the upper end of what the measurements allow.
const MOST_A_RELOAD: f64 = 1024.0;

struct Storm {
    host: Host,
    shelf: Shelf,
    slope: Slope,
    figures: Figures,
    faults: Vec<String>,
    /// The last build.
    number: u32,
}

impl Storm {
    fn blow(&mut self, plan: Plan) {
        let (mut bad, mut least) = (0, u64::MAX);
        for done in 0..plan.reloads {
            while u64::from(bad) * u64::from(plan.reloads) < u64::from(done) * u64::from(plan.bad) {
                self.bad(bad);
                bad += 1;
            }
            self.good(plan.only.unwrap_or(TURNS[done as usize % TURNS.len()]));
            least = least.min(mycelia::runtime::rss());
            if done % EACH == EACH - 1 {
                if f64::from(done) >= f64::from(plan.reloads) * WARM_UP {
                    self.slope.add(f64::from(done + bad), least as f64);
                }
                least = u64::MAX;
            }
            if self.faults.len() > 20 {
                return self.faults.push("too many faults to go on".into());
            }
        }
        for bad in bad..plan.bad {
            self.bad(bad);
        }
    }

    fn good(&mut self, name: &str) {
        self.number += 1;
        let before = self.host.last(name).map_or(0, |report| report.generation);
        let build = self.shelf.good(name, self.number);
        let whole = Instant::now();
        self.shelf.put(name, &build);
        match self.host.await_report(name, before) {
            Some(report) => self.figures.add(&report, whole.elapsed()),
            None => self.faults.push(format!("build {} of `{name}` does not serve", self.number)),
        }
    }

    /// Puts a bad build in place, waits until it is refused or rolled back, and sees the good one serve on.
    fn bad(&mut self, index: u32) {
        self.number += 1;
        let kind = BAD[index as usize % BAD.len()];
        let name = kind.subsystem();
        let before = self.host.turned_away(name);
        self.shelf.put(name, &self.shelf.bad(kind, self.number));
        if let shelf::Bad::Truncated = kind {
            // A file that may still be written is given time by itself; who asks is told at once.
            self.host.runtime.reload(name, Box::new(|_told| {}));
        }
        let until = Instant::now() + PATIENCE;
        while self.host.turned_away(name) == before {
            if Instant::now() > until {
                return self
                    .faults
                    .push(format!("a build that {kind:?} is neither refused nor rolled back"));
            }
            thread::sleep(LOOK);
        }
    }

    /// Holds everything against what the senders counted.
    fn check(&mut self, plan: Plan, counts: &Counts) {
        let status = self.host.rest();
        for (name, sent) in &counts.accepted {
            let one = &status.subsystems[name.as_str()];
            let ledger = one.ledger;
            if !ledger.balances() || ledger.queued + ledger.in_flight > 0 {
                self.faults.push(format!("the ledger of `{name}` does not balance: {ledger:?}"));
            }
            let expect = (sent.messages, sent.messages - counts.dead(name), counts.dead(name));
            if (ledger.accepted, ledger.handled, ledger.dead) != expect {
                self.faults.push(format!("`{name}` has {ledger:?}, its senders count {expect:?}"));
            }
        }
        self.faults.extend(counts.faults.iter().cloned());
        self.faults.extend(load::check_sequences(self.host.runtime, counts));
        let reloads = status.subsystems.values().map(|one| one.reloads);
        let (mut committed, mut turned_away) = (0, 0);
        for one in reloads {
            committed += one.committed;
            turned_away += one.refused + one.rolled_back;
        }
        // What is rolled back was committed before.
        let rolled_back: u64 = status.subsystems.values().map(|one| one.reloads.rolled_back).sum();
        let expect = (u64::from(plan.reloads) + rolled_back, u64::from(plan.bad));
        if (committed, turned_away) != expect {
            self.faults.push(format!(
                "{committed} reloads were committed and {turned_away} builds turned away, of {expect:?}"
            ));
        }
        if !status.retained_generations.is_empty() {
            self.faults.push(format!("builds are left: {:?}", status.retained_generations));
        }
        let mapped = self.host.mapped();
        if mapped != status.subsystems.len() {
            let serving = status.subsystems.len();
            self.faults.push(format!("{mapped} libraries are mapped, and {serving} serve"));
        }
    }
}

/// A host that serves.
struct Host {
    runtime: &'static Runtime,
    /// Libraries that were in the process before it.
    before: usize,
    serving: JoinHandle<Result<(), StartError>>,
}

impl Host {
    fn start(shelf: &Shelf) -> io::Result<Host> {
        let before = shelf::mapped_libraries();
        let text = shelf.config();
        let config = Config::parse("storm.ron", &text).map_err(io::Error::other)?;
        let runtime =
            Runtime::create(&config, Path::new("storm.ron"), 1).map_err(io::Error::other)?;
        let (ready, is_ready) = mpsc::channel();
        let serving = thread::spawn(move || runtime.serve(|| _ = ready.send(())));
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(Host { runtime, before, serving }),
            Err(_) => Err(io::Error::other("the host does not serve")),
        }
    }

    fn last(&self, name: &str) -> Option<ReloadReport> {
        self.runtime.last_reload(name)
    }

    fn await_report(&self, name: &str, before: u32) -> Option<ReloadReport> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let last = self.last(name).filter(|report| report.generation > before);
            if last.is_some() {
                return last;
            }
            thread::sleep(LOOK);
        }
        None
    }

    fn turned_away(&self, name: &str) -> u64 {
        let slot = self.runtime.named(name).expect("it is in the config");
        let reloads = slot.info().reloads;
        reloads.refused + reloads.rolled_back
    }

    /// Waits until nothing runs and no old build is left.
    fn rest(&self) -> Status {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.runtime.status();
            let is_idle = |one: &mycelia::status::SubsystemStatus| {
                one.ledger.queued + one.ledger.in_flight == 0 && one.requests.pending == 0
            };
            let is_at_rest = status.subsystems.values().all(is_idle)
                && status.retained_generations.is_empty()
                && self.mapped() == status.subsystems.len();
            if is_at_rest || Instant::now() > until {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn mapped(&self) -> usize {
        shelf::mapped_libraries() - self.before
    }

    fn stop(self) -> Status {
        self.runtime.stop();
        // What it was like until then has been checked; a host that fails to stop prints why.
        let _ended = self.serving.join();
        self.runtime.status()
    }
}

impl Outcome {
    /// A table for people.
    pub fn to_text(&self) -> String {
        let mut text = self.figures.to_text();
        let reloads = self.figures.count();
        let took = self.took.as_secs_f64();
        let messages: u64 = self.counts.accepted.values().map(|sent| sent.messages).sum();
        let _ = writeln!(
            text,
            "\n{reloads} reloads in {took:.1} s, under {messages} messages, {} of them requests",
            self.counts.requests()
        );
        if let (Some(slope), Some(bound)) = (self.slope.slope(), self.slope.upper_bound()) {
            let _ = writeln!(text, "memory: {slope:+.0} bytes a reload, at most {bound:+.0} (95%)");
        }
        for fault in &self.faults {
            let _ = writeln!(text, "FAULT: {fault}");
        }
        text
    }
}
