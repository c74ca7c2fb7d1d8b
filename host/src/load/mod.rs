//! `mycelia load-test`: a host from one file under load, and what it makes of that.
//!
//! The load is open: when each message is sent is fixed beforehand, and its latency counts from there. The pure parts
//! are the schedule, the search for the highest rate, the slope and the verdicts; this file and the conductor do the rest.

mod chart;
mod conductor;
mod environment;
mod generator;
pub mod html;
mod outcome;
mod recorder;
mod report;
mod sample;
mod scenario;
mod schedule;
mod search;
mod slope;
mod verdict;

pub use chart::{Along, Chart, Line};
pub use conductor::{Trial, Watch};
pub use environment::Environment;
pub use outcome::Outcome;
pub use recorder::Tally;
pub use report::page;
pub use sample::{Event, Percentiles, Sample};
pub use scenario::{BUILT_IN, Fixed, Overrides, Rate, Scenario, Size};
pub use slope::Slope;
pub use verdict::{Limit, Limits, Verdict, Word, against_plan, show};

use crate::{
    cli::Failure,
    config::Config,
    loader,
    operator::Operator,
    run::{Host, bad_config, no_signals},
    runtime::{Runtime, search_path},
    status::Status,
};
use conductor::Conductor;
use generator::Mix;
use outcome::Before;
use scenario::ECHO;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How long after the last message every queue has to be empty.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Requests that the operator may have open, in place of those of an ordinary host: as many as there can be, so that what
/// limits the load are the queues.
const OPEN_REQUESTS: usize = u16::MAX as usize;

/// The library that answers with what it gets.
const ECHO_PLUGIN: &str = "mycelia_echo";

/// A load test to be made.
pub struct Plan {
    /// The config.
    pub file: PathBuf,
    /// The name of the scenario.
    pub name: String,
    /// The scenario.
    pub scenario: Scenario,
    /// Where the files of bodies are.
    pub folder: PathBuf,
}

/// Told of each sample as it comes.
pub type Show = Box<dyn FnMut(&Sample) + Send>;

/// Runs a host, loads it, and stops it.
///
/// # Errors
/// Whatever keeps the host from starting, and a path that cannot be sent to.
pub fn run(plan: Plan, show: Show) -> Result<Outcome, Failure> {
    let kinds = plan.scenario.planned(&plan.folder).map_err(Failure::usage)?;
    let config = Config::read(&plan.file).map_err(|mistakes| bad_config(&mistakes))?;
    let config = with_echoes(config, plan.scenario.echo, &plan.file)?;
    let environment = Environment::read(config.workers);
    let host = Host::create(&config, &plan.file, OPEN_REQUESTS)?;
    let stop = stop_on_signals().map_err(no_signals)?;
    let test = Test {
        runtime: host.runtime,
        stop_host: StopHost(host.runtime),
        before: Before { name: plan.name, environment, status: Status::default() },
        scenario: plan.scenario,
        mix: Mix::new(kinds),
        stop: Arc::clone(&stop),
        show,
    };
    let (runtime, mut running) = (host.runtime, None);
    let served = host.serve(|_| {
        let thread = thread::Builder::new().name("mycelia-conduct".into());
        running = Some(thread.spawn(move || test.run()));
    });
    // A host that was stopped from elsewhere ends the test as well.
    stop.store(true, Ordering::Relaxed);
    served?;
    let running = running.expect("a host that served was ready").map_err(no_thread)?;
    let mut outcome = running.join().expect("the test does not panic")?;
    outcome.stopped(&runtime.status());
    Ok(outcome)
}

fn no_thread(error: io::Error) -> Failure {
    Failure::failed(format!("cannot start a thread: {error}"))
}

/// A test that is ready to begin.
struct Test {
    runtime: &'static Runtime,
    /// However the test ends, and when it does not begin, the host ends with it.
    stop_host: StopHost,
    before: Before,
    scenario: Scenario,
    mix: Mix,
    stop: Arc<AtomicBool>,
    show: Show,
}

impl Test {
    fn run(self) -> Result<Outcome, Failure> {
        let Test { runtime, stop_host: _ends_last, before, scenario, mix, stop, mut show } = self;
        check_paths(runtime, &mix)?;
        let before = Before { status: runtime.status(), ..before };
        let mut conductor = Conductor::new(runtime, &mix, &scenario, &stop);
        let conducted = conductor.conduct(&scenario, &mut *show);
        let after = runtime.status();
        Ok(Outcome::new(before, &scenario, &mix, &conductor, conducted, &after))
    }
}

struct StopHost(&'static Runtime);

impl Drop for StopHost {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A path that leads nowhere is known before anything is sent.
fn check_paths(runtime: &Runtime, mix: &Mix) -> Result<(), Failure> {
    for kind in 0..mix.kinds.len() {
        let path = mix.path(kind as u16, 0);
        let why =
            runtime.why(&path, "operator").map_err(|error| Failure::failed(error.to_string()))?;
        if !why.is_allowed() {
            let remedy = why.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
            return Err(Failure::failed(format!("cannot send to {path}: {}{remedy}", why.because)));
        }
    }
    Ok(())
}

/// The config with subsystems beside its own that answer with what they get.
fn with_echoes(mut config: Config, count: usize, file: &Path) -> Result<Config, Failure> {
    if count == 0 {
        return Ok(config);
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    loader::find(ECHO_PLUGIN, folder, &search_path()).map_err(|error| {
        Failure::failed(format!(
            "the scenario adds subsystems of `{ECHO_PLUGIN}`: {error}; \
             build it beside this binary with `cargo build --release -p mycelia-echo`, \
             or aim at a path of your own with --target PATH"
        ))
    })?;
    if let Some((name, _)) = config.subsystems.iter().find(|(name, _)| name.starts_with(ECHO)) {
        return Err(Failure::failed(format!(
            "the config has a subsystem `{name}`, and `{ECHO}…` are those that the scenario adds; rename it"
        )));
    }
    let added: Vec<String> = (1..=count)
        .map(|number| format!("\"{ECHO}{number}\": (plugin: {ECHO_PLUGIN:?})"))
        .collect();
    let text = format!("(subsystems: {{ {} }})", added.join(", "));
    let added =
        Config::parse("added subsystems", &text).map_err(|mistakes| bad_config(&mistakes))?;
    config.subsystems.extend(added.subsystems);
    Ok(config)
}

/// Raised by the first SIGINT or SIGTERM, which ends the test early; the second ends the process.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
