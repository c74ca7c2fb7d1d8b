//! Truncated and flipped libraries by the thousand: none ends the process that looks at it, and none is left in it.
//!
//! What is tried where decides what this proves. Every one is read by `inspect`, and climbs the loading ladder as far as a
//! reload would take it before its code is in this process. One that fails before anything of it was executed is also put
//! in place of a plugin of a running host, which must refuse it and serve on. One that passes is tried in the probe's child
//! and goes no further: a flipped instruction that passes the probe too may do anything once it is loaded here, and no host
//! can be safe from it.

use super::{Host, MOST_A_RELOAD, PATIENCE, Slope, WARM_UP, shelf::Shelf};
use crate::bare_library;
use mycelia::{
    loader::{Image, LoadError, Prober, inspect},
    operator::Operator,
    report::ReloadReport,
};
use mycelia_faulty_builds as builds;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What to do.
#[derive(Copy, Clone, Debug)]
pub struct Breakage {
    /// How many libraries.
    pub count: u32,
    /// Decides how each is damaged.
    pub seed: u64,
}

/// What came of it.
pub struct Broken {
    /// How many ended at which step; `passed` are those that the probe let pass.
    pub steps: BTreeMap<&'static str, u32>,
    /// Resident memory against libraries.
    slope: Slope,
    took: Duration,
    /// What is wrong; nothing, if it went well.
    pub faults: Vec<String>,
}

/// Whose builds are broken.
const VICTIM: &str = "victim";
/// Libraries of which the least memory counts.
const EACH: u32 = 100;

/// Breaks libraries.
///
/// # Errors
/// If it cannot begin: the host does not start, or a library or the prober's program is missing.
pub fn run(plan: Breakage) -> io::Result<Broken> {
    let prober = Prober::find().ok_or_else(|| {
        io::Error::other(
            "there is no `mycelia` to try them with; build it with `cargo build -p mycelia`",
        )
    })?;
    let good = bare_library("mycelia_counter")?;
    let shelf = Shelf::new()?;
    let host = Host::start(&shelf)?;
    let folder = tempfile::tempdir()?;
    let mut bench = Bench { prober, good, shelf, host, folder };
    let (began, files) = (Instant::now(), open_files());
    let mut broken = Broken {
        steps: BTreeMap::new(),
        slope: Slope::default(),
        took: Duration::ZERO,
        faults: Vec::new(),
    };
    bench.break_all(plan, &mut broken);
    broken.took = began.elapsed();
    bench.check(files, &mut broken.faults);
    if let Some(bound) = broken.slope.upper_bound().filter(|bound| *bound > MOST_A_RELOAD) {
        broken.faults.push(format!("memory grows by up to {bound:.0} bytes a library"));
    }
    let _last = bench.host.stop();
    Ok(broken)
}

struct Bench {
    prober: Prober,
    good: Vec<u8>,
    shelf: Shelf,
    host: Host,
    folder: TempDir,
}

impl Bench {
    fn break_all(&mut self, plan: Breakage, broken: &mut Broken) {
        let mut least = u64::MAX;
        for number in 0..plan.count {
            let bytes = builds::damaged(&self.good, plan.seed.wrapping_add(number.into()));
            match self.try_out(&bytes) {
                Ok(step) => *broken.steps.entry(step).or_insert(0) += 1,
                Err(fault) => broken.faults.push(format!("library {number}: {fault}")),
            }
            least = least.min(mycelia::runtime::rss());
            if number % EACH == EACH - 1 {
                if f64::from(number) >= f64::from(plan.count) * WARM_UP {
                    broken.slope.add(f64::from(number), least as f64);
                }
                least = u64::MAX;
            }
            if broken.faults.len() > 20 {
                return broken.faults.push("too many faults to go on".into());
            }
        }
    }

    /// The step that turns it away; an error is a fault of ours.
    fn try_out(&self, bytes: &[u8]) -> Result<&'static str, String> {
        let path = self.path();
        fs::write(&path, bytes).map_err(|error| format!("it cannot be written: {error}"))?;
        let shown = inspect(&path);
        let climbed = self.climb(&path);
        match climbed {
            Ok(()) | Err(LoadError::Probed(_)) if shown.is_err() => {
                Err("`inspect` refuses what is loaded".into())
            }
            Ok(()) => Ok("passed"),
            Err(LoadError::NoProbe { cause, .. }) => Err(format!("it is not tried: {cause}")),
            Err(error) if error.step() == "probe" => Ok("probe"),
            Err(error) if error.step() == "stage" => Err(error.to_string()),
            Err(error) => self.refuse(bytes, error.step()),
        }
    }

    fn climb(&self, path: &Path) -> Result<(), LoadError> {
        Image::read(path)?.preflight()?.seal("broken@1")?.probe(&self.prober)
    }

    /// That the running host refuses it as well.
    fn refuse(&self, bytes: &[u8], step: &'static str) -> Result<&'static str, String> {
        self.shelf.put(VICTIM, bytes);
        match self.reload() {
            Some(Ok(_)) => Err(format!("the host serves what fails at {step}")),
            Some(Err(_)) => Ok(step),
            None => Err("the host does not answer".into()),
        }
    }

    fn reload(&self) -> Option<mycelia_plugin::Result<ReloadReport>> {
        let (tell, told) = mpsc::channel();
        self.host.runtime.reload(VICTIM, Box::new(move |result| drop(tell.send(result))));
        told.recv_timeout(PATIENCE).ok()
    }

    /// That nothing is left, and that a good build still takes over.
    fn check(&self, files: usize, faults: &mut Vec<String>) {
        let before = self.host.last(VICTIM).map_or(0, |report| report.generation);
        self.shelf.put(VICTIM, &self.shelf.good(VICTIM, 2));
        if self.host.await_report(VICTIM, before).is_none() {
            faults.push("a good build is not served after them".into());
        }
        let status = self.host.rest();
        let (mapped, serving) = (self.host.mapped(), status.subsystems.len());
        if mapped != serving {
            faults.push(format!("{mapped} libraries are mapped, and {serving} serve"));
        }
        let open = open_files();
        if open > files {
            faults.push(format!("{open} files are open, and {files} were before"));
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("lib.so")
    }
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

impl Broken {
    /// A table for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (step, count) in &self.steps {
            let _ = writeln!(text, "{step:<12} {count:>8}");
        }
        let _ = writeln!(text, "in {:.1} s", self.took.as_secs_f64());
        if let (Some(slope), Some(bound)) = (self.slope.slope(), self.slope.upper_bound()) {
            let _ =
                writeln!(text, "memory: {slope:+.0} bytes a library, at most {bound:+.0} (95%)");
        }
        for fault in &self.faults {
            let _ = writeln!(text, "FAULT: {fault}");
        }
        text
    }
}
