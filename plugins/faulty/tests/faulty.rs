//! What a reload keeps, without a host. What the words of the stamp do is seen only in other builds.

use mycelia_faulty::Faulty;
use mycelia_testkit::Kit;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

#[derive(Serialize, Deserialize, postcard_schema::Schema)]
struct Sequences {
    last: BTreeMap<String, u64>,
    total: u64,
    violations: u64,
    first: Vec<String>,
}

#[derive(Deserialize)]
struct Kept {
    ballast: Ballast,
}

#[derive(Deserialize)]
struct Ballast {
    checksum: u64,
}

#[test]
fn violations_of_a_sequence_are_counted_across_reloads() {
    let kit = Kit::<Faulty>::new("()").unwrap();
    for (sender, number) in [("a", 1), ("b", 1), ("a", 2), ("b", 3)] {
        kit.send(&format!("sequence/{sender}"), &number).unwrap();
    }
    kit.reload().unwrap();
    for (sender, number) in [("a", 3_u64), ("b", 3), ("c", 2), ("c", 2)] {
        assert_eq!(kit.ask::<u64>(&format!("count/{sender}"), &number).unwrap(), number);
    }
    let told: Sequences = kit.ask("sequences", &()).unwrap();
    assert_eq!((told.total, told.violations), (8, 4));
    assert_eq!(told.first, ["b: 3 after 1", "b: 3 after 3", "c: 2 after 0"]);
    assert_eq!(told.last, [("a", 3), ("b", 3), ("c", 2)].map(|(a, b)| (a.into(), b)).into());
    assert_eq!(kit.ask::<u64>("total", &()).unwrap(), 8);
}

#[test]
fn notes_and_waiting_requests_outlive_a_reload() {
    let kit = Kit::<Faulty>::new("()").unwrap();
    kit.send("note/7", &()).unwrap();
    let kept = kit.request("keep", &()).unwrap();
    let later = kit.request("later/1000/4", &()).unwrap();
    kit.reload().unwrap();
    assert_eq!(kit.ask::<Vec<u64>>("noted", &()).unwrap(), [7]);
    assert!(kept.is_open() && later.is_open());
    assert_eq!(kit.ask::<u64>("answer_kept", &()).unwrap(), 1);
    assert_eq!(kept.outcome::<u64>().unwrap(), 2);
    kit.advance(Duration::from_secs(1));
    assert_eq!(later.outcome::<u64>().unwrap(), 4);
}

#[test]
fn ballast_comes_through_reloads() {
    let kit = Kit::<Faulty>::new("(ballast: 100000)").unwrap();
    let saved = || kit.saved::<Kept>().unwrap().ballast.checksum;
    let first = saved();
    kit.reload().unwrap();
    kit.reload().unwrap();
    assert!(first != 0 && saved() == first);
}

#[test]
fn it_tells_its_build() {
    let kit = Kit::<Faulty>::new("()").unwrap();
    assert_eq!(kit.ask::<String>("build", &()).unwrap(), "good 1");
}
