//! The loop behind the saves: one event at a time, one cargo at a time.
//!
//! A build that is due while cargo runs waits for it, and however often its sources are saved meanwhile, it runs once.

use super::{
    cargo::{Running, until_ended},
    plan::Build,
};
use crate::run::say;
use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// How long nothing is saved before a build begins: editors save by several steps, and people several files.
const QUIET: Duration = Duration::from_millis(50);

/// What a session waits for.
#[derive(Debug)]
pub enum Event {
    /// Something happened to this file.
    Saved(PathBuf),
    /// Something may have happened to any file.
    Missed,
    /// The running cargo has ended.
    Built,
    /// The host ends, by this signal or like by it.
    Stop(i32),
}

/// What is to be done about an event.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Go,
    Stop(i32),
}

/// The builds of a plan, and the saves that lead to them.
pub struct Session {
    builds: Vec<Build>,
    due: Due,
    /// The build that runs, by its place in `builds`.
    running: Option<(usize, Running, Stamps)>,
    /// Which builds failed last time.
    failed: Vec<bool>,
    is_serving: bool,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

/// What the libraries of a build were before it, as hashes: a copy or an equal library is no new one.
type Stamps = Vec<Option<blake3::Hash>>;

impl Session {
    /// A session in which everything is yet to be built.
    pub fn new(builds: Vec<Build>, sender: Sender<Event>, events: Receiver<Event>) -> Session {
        Session {
            due: Due::all(builds.len(), Instant::now()),
            failed: vec![false; builds.len()],
            running: None,
            is_serving: false,
            builds,
            sender,
            events,
        }
    }

    /// Builds until everything is built once, after as many saves as that takes.
    ///
    /// # Errors
    /// The exit code, when it is told to stop before.
    pub fn build_first(&mut self) -> Result<(), ExitCode> {
        while self.running.is_some() || self.due.is_any() || self.failed.contains(&true) {
            if let Flow::Stop(signal) = self.step() {
                self.running = None;
                return Err(ExitCode::from(128 + signal as u8));
            }
        }
        self.is_serving = true;
        Ok(())
    }

    /// Builds at each save, until it is told to stop.
    pub fn serve(mut self) {
        while self.step() == Flow::Go {}
    }

    fn step(&mut self) -> Flow {
        match self.next() {
            Some(Event::Saved(file)) => self.saved(&file),
            Some(Event::Missed) => self.due = Due::all(self.builds.len(), Instant::now()),
            Some(Event::Built) => self.built(),
            Some(Event::Stop(signal)) => return Flow::Stop(signal),
            None => self.begin(),
        }
        Flow::Go
    }

    /// The next event; none when a build is due before it.
    fn next(&self) -> Option<Event> {
        let due = self.due.at().filter(|_| self.running.is_none());
        let received = match due {
            Some(due) => {
                self.events.recv_timeout(due.saturating_duration_since(Instant::now())).map(Some)
            }
            None => self.events.recv().map(Some).map_err(RecvTimeoutError::from),
        };
        received.unwrap_or_else(|error| {
            assert_eq!(error, RecvTimeoutError::Timeout, "the session itself keeps a sender");
            None
        })
    }

    fn saved(&mut self, file: &Path) {
        for (index, build) in self.builds.iter().enumerate() {
            if build.sources.has(file) {
                self.due.add(index, Instant::now());
            }
        }
    }

    fn begin(&mut self) {
        let Some(index) = self.due.take() else { return };
        let stamps = stamps(&self.builds[index]);
        match self.start(index) {
            Ok(running) => self.running = Some((index, running, stamps)),
            Err(error) => {
                self.failed[index] = true;
                say(&format!("cannot run cargo: {error}; install Rust, or name it in CARGO"));
            }
        }
    }

    fn start(&self, index: usize) -> io::Result<Running> {
        let running = Running::start(&self.builds[index], self.is_serving)?;
        let (pid, sender) = (running.pid(), self.sender.clone());
        let watch = move || {
            until_ended(pid);
            // Nobody listens when the session has ended.
            let _ = sender.send(Event::Built);
        };
        thread::Builder::new().name("mycelia-cargo".into()).spawn(watch)?;
        Ok(running)
    }

    fn built(&mut self) {
        let (index, running, before) = self.running.take().expect("only a running cargo ends");
        let build = &self.builds[index];
        let (status, took) = running.wait().expect("cargo is a child that was not waited for");
        self.failed[index] = !status.success();
        let after = stamps(build);
        let changed = (build.packages.iter().zip(before).zip(after))
            .filter(|((_, before), after)| before != after)
            .map(|(((package, _), _), _)| package.as_str());
        let outcome = Outcome { status, took, changed: &changed.collect::<Vec<_>>() };
        let goes_on = if self.is_serving {
            "the running generation serves on"
        } else {
            "the host starts when a save has mended it"
        };
        outcome.lines(goes_on).iter().for_each(|line| say(line));
    }
}

fn stamps(build: &Build) -> Stamps {
    let stamp = |library: &Path| Some(blake3::hash(&std::fs::read(library).ok()?));
    build.packages.iter().map(|(_, library)| stamp(library)).collect()
}

/// What one call of cargo came to.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// Its exit code.
    pub status: ExitStatus,
    /// How long cargo ran.
    pub took: Duration,
    /// The packages whose libraries are others now.
    pub changed: &'a [&'a str],
}

impl Outcome<'_> {
    /// What the user is told, cargo's own words apart.
    pub fn lines(&self, goes_on: &str) -> Vec<String> {
        let took = format!("{:.2} s", self.took.as_secs_f64());
        let built = match self.changed {
            [] if self.status.success() => Some(format!("cargo changed no library in {took}")),
            [] => None,
            changed => Some(format!("cargo built {} in {took}", changed.join(", "))),
        };
        let fails = || format!("cargo failed after {took} ({}): {goes_on}", ended(self.status));
        built.into_iter().chain((!self.status.success()).then(fails)).collect()
    }
}

fn ended(status: ExitStatus) -> impl Display {
    status.code().map_or(status.to_string(), |code| format!("exit code {code}"))
}

/// Which builds are due, and since when nothing was saved.
#[derive(Debug, Default)]
pub struct Due {
    builds: Vec<usize>,
    last: Option<Instant>,
}

impl Due {
    /// All of them.
    pub fn all(count: usize, now: Instant) -> Due {
        Due { builds: (0..count).collect(), last: Some(now) }
    }

    /// Something of this build was saved.
    pub fn add(&mut self, build: usize, now: Instant) {
        self.last = Some(now);
        if !self.builds.contains(&build) {
            self.builds.push(build);
        }
    }

    /// Whether anything is.
    pub fn is_any(&self) -> bool {
        !self.builds.is_empty()
    }

    /// When the next one may begin.
    pub fn at(&self) -> Option<Instant> {
        self.is_any().then(|| self.last.map(|last| last + QUIET))?
    }

    /// The build to begin with.
    pub fn take(&mut self) -> Option<usize> {
        self.is_any().then(|| self.builds.remove(0))
    }
}
