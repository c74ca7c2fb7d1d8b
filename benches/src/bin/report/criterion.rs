//! What criterion keeps of each figure: three files in a folder `new`, wherever that is below its own.
//!
//! Times come in nanoseconds an element, which is a message, a request or an order: criterion's own are of an iteration.

use crate::environment::modified;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Such as `queue/enqueue`.
    pub group: String,
    /// Such as `DropOldest`.
    pub function: Option<String>,
    /// Such as the capacity.
    pub value: Option<String>,
    /// Nanoseconds.
    pub median: f64,
    /// What the median lies between, with 95% confidence.
    pub between: (f64, f64),
    /// The mean of each sample, the fastest first.
    pub samples: Vec<f64>,
    /// When, in seconds since 1970.
    pub measured: u64,
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Throughput {
    elements: Option<u64>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Every figure below a folder, and what is wrong with those that cannot be read. No folder has no figures.
pub fn read(folder: &Path) -> (Vec<Figure>, Vec<String>) {
    let (mut figures, mut wrong) = (Vec::new(), Vec::new());
    for folder in results(folder) {
        match figure(&folder) {
            Ok(figure) => figures.push(figure),
            Err(why) => wrong.push(format!("{why}; {}", remedy(&folder))),
        }
    }
    (figures, wrong)
}

/// The folders called `new`.
fn results(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let (new, below): (Vec<PathBuf>, Vec<PathBuf>) =
        folders.into_iter().partition(|path| path.ends_with("new"));
    new.into_iter().chain(below.iter().flat_map(|folder| results(folder))).collect()
}

/// A folder begins with the name of its bench, as in `queue_enqueue`.
fn remedy(new: &Path) -> String {
    let below = new.ancestors().find(|path| path.ends_with("criterion"));
    let own = below.and_then(|below| new.strip_prefix(below).ok());
    let group = own.and_then(|own| own.iter().next()).unwrap_or_default().to_string_lossy();
    let bench = group.split('_').next().unwrap_or_default();
    let folder = new.parent().unwrap_or(new).display();
    format!("remove {folder} and run `{}`", crate::plan::bench_command(bench))
}

fn figure(folder: &Path) -> Result<Figure, String> {
    let benchmark: Benchmark = json(&folder.join("benchmark.json"))?;
    let Estimate { point_estimate, confidence_interval } =
        json::<Estimates>(&folder.join("estimates.json"))?.median;
    let path = folder.join("sample.json");
    let Sample { iters, times } = json(&path)?;
    let elements = benchmark.throughput.and_then(|throughput| throughput.elements).unwrap_or(1);
    let each = |nanos: f64| nanos / elements.max(1) as f64;
    let mut samples: Vec<f64> =
        times.iter().zip(&iters).map(|(time, iterations)| each(time / iterations)).collect();
    let is_whole = iters.len() == times.len() && !samples.is_empty();
    if !is_whole || samples.iter().any(|sample| !sample.is_finite() || *sample <= 0.0) {
        return Err(format!("{} has no whole samples", path.display()));
    }
    samples.sort_by(f64::total_cmp);
    Ok(Figure {
        group: benchmark.group_id,
        function: benchmark.function_id,
        value: benchmark.value_str,
        median: each(point_estimate),
        between: (each(confidence_interval.lower_bound), each(confidence_interval.upper_bound)),
        samples,
        measured: modified(&path),
    })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text =
        fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is damaged: {error}", path.display()))
}

impl Figure {
    /// What a share of the samples did not exceed: the nearest rank, so that it is one of them.
    pub fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.samples.len() as f64).ceil() as usize;
        self.samples[rank.clamp(1, self.samples.len()) - 1]
    }

    /// The name within its group.
    pub fn name(&self) -> String {
        let parts: Vec<&str> =
            [&self.function, &self.value].into_iter().flatten().map(String::as_str).collect();
        if parts.is_empty() { self.group.clone() } else { parts.join(", ") }
    }

    /// The value as a number, for the axis of a chart.
    pub fn number(&self) -> Option<f64> {
        self.value.as_ref()?.parse().ok().filter(|number| *number > 0.0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Writes a figure as criterion does, of samples with ten iterations each.
    pub fn plant(folder: &Path, group: &str, value: &str, elements: u64, nanos: &[f64]) {
        let new = folder.join(group.replace('/', "_")).join(value).join("new");
        fs::create_dir_all(&new).unwrap();
        let median = nanos[nanos.len() / 2];
        let write = |file: &str, json: serde_json::Value| {
            fs::write(new.join(file), json.to_string()).unwrap();
        };
        write(
            "benchmark.json",
            serde_json::json!({
                "group_id": group, "function_id": null, "value_str": value,
                "throughput": {"Elements": elements}, "full_id": format!("{group}/{value}"),
            }),
        );
        let interval = serde_json::json!({
            "confidence_level": 0.95, "lower_bound": median * 0.9, "upper_bound": median * 1.1,
        });
        write(
            "estimates.json",
            serde_json::json!({"median": {"point_estimate": median, "confidence_interval": interval}}),
        );
        let times: Vec<f64> = nanos.iter().map(|nanos| nanos * 10.0).collect();
        let iters = vec![10.0; nanos.len()];
        write(
            "sample.json",
            serde_json::json!({"sampling_mode": "Flat", "iters": iters, "times": times}),
        );
    }

    #[test]
    fn a_figure_is_of_an_element() {
        let folder = tempfile::tempdir().unwrap();
        plant(folder.path(), "dispatch/batch/outbox", "64", 4, &[400.0, 800.0, 1200.0]);
        let (figures, wrong) = read(folder.path());
        assert_eq!(wrong, [""; 0]);
        let figure = &figures[0];
        assert_eq!((figure.median, figure.between), (200.0, (180.0, 220.00000000000003)));
        assert_eq!(figure.samples, [100.0, 200.0, 300.0]);
        assert_eq!((figure.name().as_str(), figure.number()), ("64", Some(64.0)));
        assert!(figure.measured > 1_000_000_000);
    }

    #[test]
    fn percentiles_are_samples() {
        let folder = tempfile::tempdir().unwrap();
        let nanos: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        plant(folder.path(), "routing/scope", "granted", 1, &nanos);
        let figure = &read(folder.path()).0[0];
        let found = [0.0, 0.5, 0.95, 0.951, 1.0].map(|share| figure.percentile(share));
        assert_eq!(found, [1.0, 10.0, 19.0, 20.0, 20.0]);
    }

    #[test]
    fn what_is_damaged_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let criterion = folder.path().join("criterion");
        for value in ["1", "2", "3", "4"] {
            plant(&criterion, "queue/full", value, 1, &[1.0]);
        }
        let file = |value: &str, name: &str| {
            criterion.join("queue_full").join(value).join("new").join(name)
        };
        fs::write(file("1", "estimates.json"), "{\"median\": ").unwrap();
        fs::remove_file(file("2", "sample.json")).unwrap();
        fs::write(file("3", "sample.json"), "{\"iters\": [1.0, 2.0], \"times\": [5.0]}").unwrap();
        let (figures, wrong) = read(&criterion);
        assert_eq!((figures.len(), wrong.len()), (1, 3), "{wrong:?}");
        for (wrong, cause) in wrong.iter().zip(["is damaged", "cannot read", "no whole samples"]) {
            assert!(wrong.contains(cause), "{wrong}");
            assert!(
                wrong.ends_with("and run `cargo bench -p mycelia-benches --bench queue`"),
                "{wrong}"
            );
        }
        assert_eq!(read(&folder.path().join("nothing")), (Vec::new(), Vec::new()));
    }
}
