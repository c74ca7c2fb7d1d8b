//! Load tests: what `mycelia load-test --json` tells of them, and two short ones that this command makes itself.

use crate::plan::RUN_ALL;
use mycelia::load::{self, Percentiles, Plan, Sample, Scenario};
use serde::Deserialize;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// A load test, as far as the report tells of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Load {
    /// The scenario's name.
    pub scenario: String,
    /// What was sent, in words.
    pub load: String,
    /// Where, and when.
    pub environment: Environment,
    /// How long messages were sent, in seconds.
    pub took_s: f64,
    /// How long it took after that until all was done, in seconds.
    #[serde(default)]
    pub drained_s: Option<f64>,
    /// Whether it was ended before its time.
    pub ended_early: bool,
    /// How messages ended.
    pub messages: Messages,
    /// From the intended send until handled.
    pub latency_ms: Option<Percentiles>,
    /// What of that is the generator's.
    pub late_ms: Option<Percentiles>,
    /// Percent of a core.
    pub cpu: f64,
    /// What of that is the generator's.
    pub generator_cpu: f64,
    /// What each figure is worth.
    pub verdicts: Vec<Verdict>,
    /// Once a second.
    pub samples: Vec<Moment>,
    /// The latency that a share of the messages did not exceed.
    pub distribution_ms: Vec<Point>,
    /// The command that makes it.
    #[serde(skip)]
    pub command: String,
}

/// Where, and when.
#[derive(Clone, Debug, Deserialize)]
pub struct Environment {
    /// The processor's own name.
    pub processor: String,
    /// Whether its figures say little.
    pub is_debug_build: bool,
    /// Seconds since 1970.
    pub began_unix_s: u64,
}

/// How messages ended.
#[derive(Clone, Debug, Deserialize)]
pub struct Messages {
    /// Those that were sent.
    pub offered: u64,
    /// Those whose handler returned Ok.
    pub handled: u64,
}

/// What a figure is worth.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "they are those of the load test")]
pub struct Verdict {
    pub figure: String,
    pub verdict: String,
    pub found: String,
    pub target: String,
    pub acceptable: String,
    pub why: String,
}

/// One second of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Moment {
    /// Seconds since the beginning.
    pub at_s: f64,
    /// Messages handled, a second.
    pub handled: f64,
    /// Resident memory, in bytes.
    pub memory: f64,
}

/// A point of the distribution.
#[derive(Copy, Clone, Debug, Deserialize)]
pub struct Point {
    /// Of the messages.
    pub share: f64,
    /// Milliseconds.
    pub ms: f64,
}

/// Reads what a load test printed.
///
/// # Errors
/// A file that is not there, or is none, with the command that makes one.
pub fn read(path: &Path) -> Result<Load, String> {
    let remedy = "make it with `mycelia load-test FILE --json`";
    let text = fs::read(path).map_err(|error| {
        format!("cannot read the load test {}: {error}; {remedy}", path.display())
    })?;
    let load: Load = serde_json::from_slice(&text)
        .map_err(|error| format!("{} is no load test: {error}; {remedy}", path.display()))?;
    let command = format!("mycelia load-test FILE --scenario {} --json", load.scenario);
    Ok(Load { command, ..load })
}

/// A load test that this command makes itself: its name, and its scenario.
pub struct Own {
    /// Its file's name, without the ending.
    pub name: &'static str,
    text: &'static str,
}

/// At the rate at which the plan asks for CPU, with a warm-up that leaves enough for memory; and the highest rate.
pub const OWN: [Own; 2] = [
    Own { name: "steady", text: include_str!("steady.ron") },
    Own { name: "highest", text: include_str!("highest.ron") },
];

/// On a port that the system chooses, so that no other host is in the way.
const CONFIG: &str = "(control: (listen: \"127.0.0.1:0\"), subsystems: {})";

impl Own {
    /// Where its outcome is kept.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("load-{}.json", self.name))
    }

    /// Its outcome, if it was made.
    ///
    /// # Errors
    /// A file that is damaged.
    pub fn read(&self, folder: &Path) -> Result<Option<Load>, String> {
        let file = self.file(folder);
        let remedy = |why| format!("{why}; remove the file, and this command makes it anew");
        let load = file.exists().then(|| read(&file)).transpose().map_err(remedy)?;
        Ok(load.map(|load| Load { command: RUN_ALL.into(), ..load }))
    }

    /// Makes it, in a process of its own: what it measures is a host's memory and CPU, and not the report's.
    ///
    /// # Errors
    /// What that process could not do; it has told its user.
    pub fn run(&self, folder: &Path) -> Result<(), String> {
        let ended = env::current_exe().and_then(|own| {
            Command::new(own).arg(CHILD).arg(self.name).arg(self.file(folder)).status()
        });
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!(
                "the load test `{}` ended with {status}; what it said stands above",
                self.name
            )),
            Err(error) => Err(format!("the load test `{}` does not start: {error}", self.name)),
        }
    }
}

/// The first argument of that process.
const CHILD: &str = "--load-test-child";

/// What that process does, if this is one.
pub fn answer_child() -> Option<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [word, name, file] = &arguments[..] else { return None };
    let own = OWN.iter().find(|own| word == CHILD && own.name == name)?;
    Some(
        match load_test(own).and_then(|json| {
            fs::write(file, json).map_err(|error| format!("cannot write {file}: {error}"))
        }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    )
}

fn load_test(own: &Own) -> Result<Vec<u8>, String> {
    let folder =
        tempfile::tempdir().map_err(|error| format!("no room for temporary files: {error}"))?;
    let file = folder.path().join("host.ron");
    fs::write(&file, CONFIG)
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let scenario = Scenario::parse(own.name, own.text)?;
    eprintln!("load test `{}`, about {} s:", own.name, scenario.for_.as_secs());
    let plan = Plan { file, name: own.name.into(), scenario, folder: folder.path().into() };
    let outcome = load::run(plan, Box::new(show));
    let outcome = outcome.map_err(|failure| failure.text)?;
    if outcome.ended_early {
        return Err(format!(
            "the load test `{}` was ended early, so nothing is kept of it",
            own.name
        ));
    }
    serde_json::to_vec(&outcome).map_err(|error| error.to_string())
}

/// A line every ten seconds.
fn show(sample: &Sample) {
    if (sample.at_s as u64).is_multiple_of(10) {
        eprintln!("  {:>3.0} s: {:.0} messages a second handled", sample.at_s, sample.handled);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// What a load test prints, with more in it than the report takes.
    pub fn printed() -> serde_json::Value {
        let percentiles = json!({"p50": 0.1, "p95": 0.9, "p99": 2.0, "p99_9": 3.0, "max": 4.5});
        json!({
            "scenario": "sustained", "load": "1000 msg/s for 5m", "took_s": 300.0, "ended_early": false,
            "environment": {"processor": "a <fast> one", "is_debug_build": false, "began_unix_s": 5, "cores": 2},
            "messages": {"offered": 300_000, "handled": 299_999, "errors": {"dropped": 1}},
            "latency_ms": percentiles, "late_ms": null, "cpu": 12.5, "generator_cpu": 2.5,
            "verdicts": [{"figure": "memory growth", "verdict": "acceptable", "found": "7 MB/h",
                "target": "5 MB/h", "acceptable": "20 MB/h", "why": ""}],
            "samples": [{"at_s": 1.0, "handled": 1000.0, "memory": 5_000_000}],
            "distribution_ms": [{"share": 0.5, "ms": 0.1}, {"share": 1.0, "ms": 4.5}],
        })
    }

    #[test]
    fn what_a_load_test_printed_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("load.json");
        fs::write(&file, printed().to_string()).unwrap();
        let load = read(&file).unwrap();
        assert_eq!((load.messages.handled, load.latency_ms.unwrap().max), (299_999, 4.5));
        assert_eq!(load.command, "mycelia load-test FILE --scenario sustained --json");
        fs::write(&file, "{\"scenario\": 5}").unwrap();
        for (file, cause) in
            [(file, "is no load test"), (folder.path().join("none"), "cannot read")]
        {
            let error = read(&file).unwrap_err();
            assert!(
                error.contains(cause) && error.ends_with("`mycelia load-test FILE --json`"),
                "{error}"
            );
        }
    }

    #[test]
    fn every_own_load_test_is_a_scenario() {
        OWN.iter()
            .for_each(|own| assert!(Scenario::parse(own.name, own.text).is_ok(), "{}", own.name));
    }
}
