//! Watching costs a message nothing: the committed counts of journeys that are watched are those of the same journeys that are
//! not, to less than 1%. The gate holds the committed counts to the code.

use mycelia_gate::{Baseline, Counts};
use std::path::Path;

/// What watching may add.
const MOST: f64 = 0.01;

/// What watching adds to each journey of `watched`, as a share; an error names the journey that is nowhere else.
fn added(counts: &Counts) -> Result<Vec<(&str, f64)>, String> {
    let watched = counts
        .0
        .iter()
        .filter_map(|(bench, count)| Some((bench.strip_prefix("watched::")?, *count as f64)));
    let added = watched.map(|(journey, count)| {
        let alone = counts.0.get(&format!("journeys::{journey}"));
        let alone = *alone.ok_or(format!("nobody counts journeys::{journey}"))? as f64;
        Ok((journey, count / alone - 1.0))
    });
    added.collect()
}

fn dear(counts: &Counts) -> Vec<String> {
    let added = added(counts).unwrap_or_else(|error| panic!("{error}"));
    assert!(added.len() >= 4, "only {added:?} are watched");
    let dear = added.into_iter().filter(|(_, share)| share.abs() >= MOST);
    dear.map(|(journey, share)| format!("{journey}: {:+.2}%", 100.0 * share)).collect()
}

fn baseline() -> Baseline {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.ron");
    Baseline::read(&path).expect("it is a baseline").expect("it is committed")
}

#[test]
fn the_committed_counts_are_the_same_watched_and_unwatched() {
    for counts in baseline().0.values() {
        assert_eq!(dear(counts), Vec::<String>::new());
    }
}

#[test]
fn one_instruction_more_in_fifty_is_seen() {
    for mut counts in baseline().0.into_values() {
        let bench = "watched::kept_recipient::batch_64";
        let planted = counts.0[bench] * 51 / 50;
        counts.0.insert(bench.into(), planted);
        assert_eq!(dear(&counts).len(), 1);
        counts.0.remove("journeys::kept_recipient::batch_64");
        assert!(added(&counts).is_err());
    }
}
