//! The fault storm: subsystems that fail in every way there is, beside others whose counts must stay exact.
//!
//! Of 20 subsystems ten misbehave, each told to by a thread of its own that knows from a seed what comes next and counts
//! what must come of it. One has a budget of restarts and uses it up, one waits longer before each restart, and eight are
//! bystanders under load.

use super::Slope;
use crate::{library_file, serving::Serving};
use mycelia::{
    operator::{Operator, OperatorReply},
    status::{LedgerStatus, Phase, Status, SubsystemStatus},
};
use mycelia_plugin::{Error, ErrorCode, Handled};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

/// What to do.
#[derive(Copy, Clone, Debug)]
pub struct Mishaps {
    /// How many faults.
    pub faults: u64,
    /// Decides which.
    pub seed: u64,
}

/// What came of it.
pub struct Weathered {
    /// How often there was which fault.
    pub kinds: BTreeMap<Kind, u64>,
    /// Messages to bystanders.
    pub beside: u64,
    /// The threads that were lost for good.
    pub lost_threads: u64,
    /// Resident memory against faults, after those that cost a thread.
    pub slope: Slope,
    took: Duration,
    /// What is wrong; nothing, if it went well.
    pub faults: Vec<String>,
}

/// What a subsystem is told to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its handler returns an error.
    Error,
    /// Its handler panics.
    Panic,
    /// A thread of its own panics.
    Thread,
    /// More comes than its queue has room for, while it is busy.
    Flood,
    /// It takes more memory than it may have.
    Leak,
    /// Its handler runs past the limit, and returns later.
    Hang,
    /// Its handler calls `abort` or `exit`.
    End,
}

/// How many of a thousand faults are of which kind. Those that end a thread come in the first part of a storm alone: each
/// keeps a thread and a copy of its library for good, which is no growth that the rest of the storm has.
const MIX: [(Kind, u64); 7] = [
    (Kind::Error, 420),
    (Kind::Panic, 300),
    (Kind::Thread, 30),
    (Kind::Flood, 170),
    (Kind::Leak, 40),
    (Kind::Hang, 20),
    (Kind::End, 20),
];
/// The first so many of a hundred faults.
const FIRST: u64 = 20;

const VICTIMS: u64 = 10;
const BYSTANDERS: u64 = 8;
const WORKERS: usize = 2;
/// Messages of a flood, to a queue that takes so many.
const FLOOD: u64 = 60;
const CAPACITY: u64 = 16;
/// What a victim's handler may take, and one that hangs does.
const LIMIT: Duration = Duration::from_secs(1);
const HANGS: Duration = Duration::from_millis(1_300);
/// The restarts of the subsystem with a budget, and the wait of the one that waits, which doubles each time.
const BUDGET: u64 = 3;
const WAIT: Duration = Duration::from_millis(20);
const WAITS: u32 = 5;
/// Every request's deadline; and the longest that anything else is waited for.
const WITHIN: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);
/// How much later than its deadline a request may end.
const TICK: Duration = Duration::from_secs(2);
/// Bytes of memory that a fault may cost, at the upper end of what the measurements allow.
const MOST_A_FAULT: f64 = 1024.0;
/// Points of memory that are measured.
const POINTS: u64 = 100;
/// Faults below which a growth would be that of caches, arenas and stacks that find their size.
const ENOUGH: u64 = 5_000;

/// What the counts of a subsystem must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Expected {
    ledger: LedgerStatus,
    restarts: u64,
    hung: u64,
    lost_threads: u64,
}

struct Storm<'h> {
    host: &'h Serving,
    done: AtomicU64,
    faults: Mutex<Vec<String>>,
    kinds: Mutex<BTreeMap<Kind, u64>>,
}

/// Runs a storm.
///
/// # Errors
/// If there is no folder for its files, or a plugin's library is missing.
///
/// # Panics
/// If the host does not start.
pub fn run(plan: Mishaps) -> io::Result<Weathered> {
    let folder = tempfile::Builder::new().prefix("mycelia-faults-").tempdir()?;
    let host = Serving::start(&config(folder.path())?);
    let storm = Storm {
        host: &host,
        done: AtomicU64::new(0),
        faults: Mutex::default(),
        kinds: Mutex::default(),
    };
    let (began, is_over) = (Instant::now(), AtomicBool::new(false));
    let mut slope = Slope::default();
    let (mut expected, beside) = thread::scope(|scope| {
        let (storm, is_over) = (&storm, &is_over);
        let victims: Vec<_> =
            (0..VICTIMS).map(|victim| scope.spawn(move || storm.torment(victim, plan))).collect();
        let others = [scope.spawn(|| storm.use_up()), scope.spawn(|| storm.wait_longer())];
        let bystanders: Vec<_> =
            (0..2).map(|half| scope.spawn(move || storm.load(half, is_over))).collect();
        storm.measure(plan, &mut slope, || victims.iter().all(|one| one.is_finished()));
        let ends = victims.into_iter().chain(others).map(|one| one.join());
        let expected: Vec<_> = ends.map(|one| one.expect("it panics nowhere")).collect();
        is_over.store(true, Ordering::Relaxed);
        let sent = bystanders.into_iter().map(|one| one.join().expect("it panics nowhere"));
        (expected, sent.flatten().collect::<Vec<_>>())
    });
    let took = began.elapsed();
    let sent = beside.iter().map(|(_, expected)| expected.ledger.accepted).sum();
    expected.extend(beside);
    storm.check(&expected);
    let lost_threads = expected.iter().map(|(_, one)| one.lost_threads).sum();
    let mut faults = storm.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    let bound = slope.upper_bound().filter(|_| plan.faults >= ENOUGH);
    if let Some(bound) = bound.filter(|bound| *bound > MOST_A_FAULT) {
        faults.push(format!(
            "memory grows by up to {bound:.0} bytes a fault, more than {MOST_A_FAULT:.0}"
        ));
    }
    let kinds = storm.kinds.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Weathered { kinds, beside: sent, lost_threads, slope, took, faults })
}

fn config(folder: &Path) -> io::Result<String> {
    let (faulty, counter) = (library_file("mycelia_faulty")?, library_file("mycelia_counter")?);
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    let mut subsystems = String::new();
    let mut add = |name: &str, plugin: &Path, settings: &str| {
        let _ = write!(subsystems, "{name:?}: (plugin: {plugin:?}, {settings}), ");
    };
    let common = format!(r#"handler_limit: "{LIMIT:?}", snapshot: None, on_restart: Fresh,"#);
    for victim in 0..VICTIMS {
        let policy = ["Reject", "DropOldest", "DropNewest"][victim as usize % 3];
        let settings = format!(
            r#"{common} memory: "2MiB", queue: (capacity: {CAPACITY}, policy: {policy}),
            restart: (max: 1000000, within: "2s", backoff: "1ms")"#
        );
        add(&format!("victim-{victim}"), &faulty, &settings);
    }
    let restart = format!(r#"restart: (max: {BUDGET}, within: "1h", backoff: "1ms")"#);
    add("budget", &faulty, &format!("{common} {restart}"));
    let restart = format!(r#"restart: (max: 100, within: "1h", backoff: "{WAIT:?}")"#);
    add("waiting", &faulty, &format!("{common} {restart}"));
    for bystander in 0..BYSTANDERS {
        add(&format!("bystander-{bystander}"), &counter, "queue: (capacity: 4096, policy: Reject)");
    }
    Ok(format!(
        r#"(workers: {WORKERS}, pool: "64MiB", data: {data:?}, dead_letters: (count: 200, bytes: "256KiB"),
            subsystems: {{ {subsystems} }})"#
    ))
}

type Told = Result<OperatorReply, Error>;
type Ended = (String, Expected);

impl Storm<'_> {
    fn fault(&self, fault: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        // The first ones say what is wrong.
        if faults.len() < 20 {
            faults.push(fault);
        }
    }

    fn begin(&self, path: &str) -> Receiver<Told> {
        let (sender, outcome) = mpsc::channel();
        let done = Box::new(move |told| drop(sender.send(told)));
        self.host.runtime.ask(path, b"", Some(WITHIN), done);
        outcome
    }

    /// The outcome of a request, which there must be.
    fn outcome(&self, path: &str, outcome: &Receiver<Told>) -> Option<Told> {
        let told = outcome.recv_timeout(WITHIN + TICK).ok();
        if told.is_none() {
            self.fault(format!("a request to {path} has no outcome {TICK:?} past its deadline"));
        }
        told
    }

    /// Asks, and expects an answer, or an error with this code that says so of the message.
    fn ask(&self, path: &str, expect: Result<(), (ErrorCode, Handled)>) {
        let Some(told) = self.outcome(path, &self.begin(path)) else { return };
        let told = told.map(drop).map_err(|error| (error.code, error.handled));
        if told != expect {
            self.fault(format!("{path} came to {told:?} instead of {expect:?}"));
        }
    }

    fn status(&self, name: &str) -> SubsystemStatus {
        self.host.runtime.named(name).expect("it is in the config").status()
    }

    /// Waits until a subsystem has been restarted so often, and serves.
    fn restarted(&self, name: &str, restarts: u64) {
        let is_back =
            |one: &SubsystemStatus| (one.restarts, one.phase) == (restarts, Phase::Running);
        let until = Instant::now() + PATIENCE;
        while !is_back(&self.status(name)) {
            if Instant::now() > until {
                let SubsystemStatus { restarts: found, phase, last_error, .. } = self.status(name);
                return self.fault(format!(
                    "`{name}` has {found} restarts instead of {restarts}, and is {}: {last_error:?}",
                    phase.word()
                ));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells a victim its share of the faults, and counts what must come of them.
    fn torment(&self, victim: u64, plan: Mishaps) -> Ended {
        let name = format!("victim-{victim}");
        let (mut expected, mut random) = (Expected::default(), Random(plan.seed ^ victim << 32));
        let share = (plan.faults + VICTIMS - 1 - victim) / VICTIMS;
        for number in 0..share {
            let kind = kind_of(random.next(), number * 100 < share * FIRST);
            self.befall(&name, kind, random.next(), &mut expected);
            // It serves on, or again.
            self.ask(&format!("{name}://note/{number}"), Ok(()));
            expected.ledger.handled += 1;
            *self.kinds.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() +=
                1;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        (name, expected)
    }

    fn befall(&self, name: &str, kind: Kind, random: u64, expected: &mut Expected) {
        let lost = |code| Err((code, Handled::Unknown));
        match kind {
            Kind::Error => {
                self.ask(&format!("{name}://fail/failed"), Err((ErrorCode::Failed, Handled::Yes)));
                expected.ledger.failed += 1;
            }
            Kind::Panic => {
                self.ask(&format!("{name}://panic"), lost(ErrorCode::Panicked));
                expected.ledger.dead += 1;
                expected.restarts += 1;
            }
            Kind::Thread => {
                self.ask(&format!("{name}://thread/panic"), Ok(()));
                expected.ledger.handled += 1;
                expected.restarts += 1;
                self.restarted(name, expected.restarts);
            }
            Kind::Flood => self.flood(name, expected),
            Kind::Leak => {
                self.ask(&format!("{name}://hoard/{}", 4 << 20), Ok(()));
                expected.ledger.handled += 1;
                expected.restarts += 1;
                self.restarted(name, expected.restarts);
            }
            Kind::Hang => {
                let path = format!("{name}://sleep/{}", HANGS.as_micros());
                self.ask(&path, lost(ErrorCode::Deadline));
                expected.ledger.dead += 1;
                expected.restarts += 1;
                expected.hung += 1;
            }
            Kind::End => {
                let how = ["abort", "exit"][random as usize % 2];
                self.ask(&format!("{name}://end/{how}"), lost(ErrorCode::Panicked));
                expected.ledger.dead += 1;
                expected.restarts += 1;
                expected.lost_threads += 1;
            }
        }
    }

    /// Sends more than there is room for while a handler is busy; what became of each is told.
    fn flood(&self, name: &str, expected: &mut Expected) {
        let busy = format!("{name}://sleep/5000");
        let busy = (self.begin(&busy), busy);
        let path = format!("{name}://note/0");
        let flood: Vec<_> = (0..FLOOD).map(|_| self.begin(&path)).collect();
        let flood = flood.iter().map(|outcome| (outcome, &path)).chain([(&busy.0, &busy.1)]);
        let before = self.status(name).queue.policy;
        let ledger = &mut expected.ledger;
        for (outcome, path) in flood {
            match self.outcome(path, outcome) {
                Some(Ok(_)) => ledger.handled += 1,
                Some(Err(error)) if error.code == ErrorCode::Full => ledger.rejected += 1,
                Some(Err(error)) if error.code == ErrorCode::Dropped => match &*before {
                    "DropOldest" => ledger.dropped_oldest += 1,
                    _ => ledger.dropped_newest += 1,
                },
                Some(Err(error)) => self.fault(format!("{path} in a flood came to {error}")),
                None => {}
            }
        }
    }

    /// Fails once more often than its budget allows.
    fn use_up(&self) -> Ended {
        for _ in 0..=BUDGET {
            self.ask("budget://panic", Err((ErrorCode::Panicked, Handled::Unknown)));
        }
        let until = Instant::now() + PATIENCE;
        while self.status("budget").phase != Phase::Stopped && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        self.ask("budget://note/1", Err((ErrorCode::Gone, Handled::No)));
        let ledger = LedgerStatus { dead: BUDGET + 1, ..LedgerStatus::default() };
        ("budget".into(), Expected { ledger, restarts: BUDGET, ..Expected::default() })
    }

    /// Fails a few times in a row, and is not back before its time.
    fn wait_longer(&self) -> Ended {
        for failure in 0..WAITS {
            self.ask("waiting://panic", Err((ErrorCode::Panicked, Handled::Unknown)));
            let failed = Instant::now();
            self.ask("waiting://note/1", Ok(()));
            let (took, least) = (failed.elapsed(), WAIT * (1 << failure));
            if took < least {
                self.fault(format!("restart {failure} came after {took:?} instead of {least:?}"));
            }
        }
        let count = u64::from(WAITS);
        let ledger = LedgerStatus { dead: count, handled: count, ..LedgerStatus::default() };
        ("waiting".into(), Expected { ledger, restarts: count, ..Expected::default() })
    }

    /// Sends to and asks its half of the bystanders until the others are done.
    fn load(&self, half: u64, is_over: &AtomicBool) -> Vec<Ended> {
        let mut counts = vec![0; BYSTANDERS as usize];
        while !is_over.load(Ordering::Relaxed) {
            for bystander in (half..BYSTANDERS).step_by(2) {
                let path = format!("bystander-{bystander}://add/load");
                let count = &mut counts[bystander as usize];
                for _ in 0..4 {
                    match self.host.runtime.send(&path, b"1") {
                        Ok(()) => *count += 1,
                        Err(error) => self.fault(format!("{path} is refused: {error}")),
                    }
                }
                *count += 1;
                let told = self.outcome(&path, &self.begin_body(&path, b"1"));
                let value = told.and_then(Result::ok).map(|reply| reply.body);
                if value.as_deref() != Some(count.to_string().as_bytes()) {
                    self.fault(format!("{path} is at {value:?} instead of {count}"));
                }
            }
            // So that the victims get their turns on two cores.
            thread::sleep(Duration::from_micros(200));
        }
        let mine = (half..BYSTANDERS).step_by(2);
        mine.map(|bystander| {
            let handled = counts[bystander as usize];
            let ledger = LedgerStatus { handled, accepted: handled, ..LedgerStatus::default() };
            (format!("bystander-{bystander}"), Expected { ledger, ..Expected::default() })
        })
        .collect()
    }

    fn begin_body(&self, path: &str, body: &[u8]) -> Receiver<Told> {
        let (sender, outcome) = mpsc::channel();
        let done = Box::new(move |told| drop(sender.send(told)));
        self.host.runtime.ask(path, body, Some(WITHIN), done);
        outcome
    }

    /// Measures memory as faults go by, behind those that cost a thread.
    fn measure(&self, plan: Mishaps, slope: &mut Slope, is_over: impl Fn() -> bool) {
        let each = (plan.faults / POINTS).max(1);
        let (mut next, mut least) = (plan.faults * (FIRST + 10) / 100, u64::MAX);
        while !is_over() {
            thread::sleep(Duration::from_millis(2));
            let done = self.done.load(Ordering::Relaxed);
            least = least.min(mycelia::runtime::rss());
            if done >= next {
                slope.add(done as f64, least as f64);
                (next, least) = (done + each, u64::MAX);
            }
        }
    }

    /// Holds the host against what must have come of it all.
    fn check(&self, expected: &[Ended]) {
        let ends: u64 = expected.iter().map(|(_, one)| one.lost_threads).sum();
        let status = self.rest(ends);
        for (name, expected) in expected {
            judge(name, &status.subsystems[name.as_str()], expected)
                .into_iter()
                .for_each(|fault| self.fault(fault));
        }
        let retained = status.retained_generations.len() as u64;
        if retained != ends {
            let left = &status.retained_generations;
            self.fault(format!(
                "{retained} builds are retained, and {ends} threads lost: {left:?}"
            ));
        }
        if status.lost_threads != ends {
            let lost = status.lost_threads;
            self.fault(format!("{lost} threads are lost instead of {ends}"));
        }
        let used = self.host.runtime.pool.used();
        if used > 0 {
            self.fault(format!("{used} bytes of the pool are not free"));
        }
        for (name, one) in &status.subsystems {
            let phase = if name == "budget" { Phase::Stopped } else { Phase::Running };
            if one.phase != phase {
                self.fault(format!("`{name}` is {}", one.phase.word()));
            }
        }
        let workers = workers_of_this_process();
        if workers != WORKERS as u64 + ends {
            self.fault(format!("{workers} threads are workers, of which {ends} should be lost"));
        }
    }

    /// Waits until nothing runs, what hung has returned, and nothing more is retained than what is lost.
    fn rest(&self, ends: u64) -> Status {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.host.runtime.status();
            let is_idle = |one: &SubsystemStatus| {
                one.ledger.queued + one.ledger.in_flight == 0 && one.requests.pending == 0
            };
            let is_at_rest = status.subsystems.values().all(is_idle)
                && status.lost_threads == ends
                && status.retained_generations.len() as u64 == ends
                && self.host.runtime.pool.used() == 0;
            if is_at_rest || Instant::now() > until {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What is wrong with a subsystem that should have come to this.
fn judge(name: &str, found: &SubsystemStatus, expected: &Expected) -> Vec<String> {
    let mut faults = Vec::new();
    let SubsystemStatus { ledger, .. } = found;
    if !ledger.balances() {
        faults.push(format!("the ledger of `{name}` does not balance: {ledger:?}"));
    }
    let mut ends = expected.ledger;
    ends.accepted =
        ends.handled + ends.failed + ends.dead + ends.dropped_oldest + ends.dropped_newest;
    if *ledger != ends {
        faults.push(format!("`{name}` has {ledger:?} instead of {ends:?}"));
    }
    let counts = (found.restarts, found.hung, found.lost_threads);
    let expect = (expected.restarts, expected.hung, expected.lost_threads);
    if counts != expect {
        faults.push(format!(
            "`{name}` has {counts:?} restarts, hung handlers and lost threads instead of {expect:?}"
        ));
    }
    faults
}

/// The threads of this process that are, or were, workers.
fn workers_of_this_process() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("mycelia-worker-")).count() as u64
}

fn kind_of(random: u64, with_ends: bool) -> Kind {
    let mix = MIX.iter().filter(|(kind, _)| with_ends || *kind != Kind::End);
    let all: u64 = mix.clone().map(|(_, share)| share).sum();
    let mut left = random % all;
    for (kind, share) in mix {
        if left < *share {
            return *kind;
        }
        left -= share;
    }
    unreachable!("the shares add up to all of them")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Weathered {
    /// What it was, for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (kind, count) in &self.kinds {
            let kind = format!("{kind:?}").to_lowercase();
            let _ = writeln!(text, "{kind:<8} {count:>8}");
        }
        let (all, took): (u64, f64) = (self.kinds.values().sum(), self.took.as_secs_f64());
        let _ = writeln!(
            text,
            "{all} faults in {took:.1} s, beside {} messages to bystanders; {} threads are lost for good",
            self.beside, self.lost_threads
        );
        if let (Some(slope), Some(bound)) = (self.slope.slope(), self.slope.upper_bound()) {
            let _ = writeln!(text, "memory: {slope:+.0} bytes a fault, at most {bound:+.0} (95%)");
        }
        for fault in &self.faults {
            let _ = writeln!(text, "FAULT: {fault}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_is_a_fault() {
        let good = SubsystemStatus {
            ledger: LedgerStatus {
                accepted: 5,
                handled: 3,
                dead: 2,
                rejected: 1,
                ..Default::default()
            },
            restarts: 2,
            hung: 1,
            lost_threads: 1,
            ..Default::default()
        };
        let ledger = LedgerStatus { handled: 3, dead: 2, rejected: 1, ..Default::default() };
        let expected = Expected { ledger, restarts: 2, hung: 1, lost_threads: 1 };
        assert!(judge("a", &good, &expected).is_empty());
        let spoils: [fn(&mut SubsystemStatus); 6] = [
            |one| one.ledger.accepted += 1,
            |one| (one.ledger.accepted, one.ledger.handled) = (6, 4),
            |one| one.ledger.rejected = 0,
            |one| one.restarts += 1,
            |one| one.hung = 0,
            |one| one.lost_threads += 1,
        ];
        for spoil in spoils {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(!judge("a", &bad, &expected).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn the_mix_is_what_it_says() {
        let mut random = Random(1);
        let mut counts = BTreeMap::<Kind, u64>::new();
        (0..100_000).for_each(|_| *counts.entry(kind_of(random.next(), true)).or_default() += 1);
        for (kind, share) in MIX {
            assert!(counts[&kind].abs_diff(share * 100) < 1_000, "{counts:?}");
        }
        assert!((0..1_000).all(|_| kind_of(random.next(), false) != Kind::End));
    }
}
