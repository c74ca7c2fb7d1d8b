//! Storms short enough for every run of the tests.

use mycelia_benches::storm::{Plan, broken, kills, mishaps, run};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Each has the process to itself, since libraries, open files and memory are counted in all of it.
static ALONE: Mutex<()> = Mutex::new(());

fn check(plan: Plan) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = run(plan).expect("the host of the storm starts");
    println!("{}", outcome.to_text());
    assert!(outcome.faults.is_empty(), "{}", outcome.faults.join("\n"));
}

/// Past the 1,020 at which the process would be out of pthread keys, if builds left theirs.
#[test]
fn fifteen_hundred_builds_lose_nothing() {
    check(Plan { reloads: 1500, bad: 0, only: None });
}

#[test]
fn bad_builds_among_good_ones_are_turned_away() {
    check(Plan { reloads: 60, bad: 60, only: None });
}

#[test]
fn broken_libraries_end_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = broken::run(broken::Breakage { count: 400, seed: 1 }).expect("it begins");
    println!("{}", broken.to_text());
    assert!(broken.faults.is_empty(), "{}", broken.faults.join("\n"));
    let reached = |step| broken.steps.get(step).copied().unwrap_or(0);
    assert!(reached("preflight") > 100 && reached("probe") > 2 && reached("passed") > 40);
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Path::new(env!("CARGO_BIN_EXE_kill-storm"));
    let killed = kills::run(program, 3, 1).expect("it begins");
    println!("{}", killed.to_text());
    assert!(killed.faults.is_empty(), "{}", killed.faults.join("\n"));
    assert!(killed.kills == 3 && killed.puts > 0);
}

#[test]
fn faults_stay_where_they_happen() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = mishaps::Mishaps { faults: 400, seed: 1 };
    let weathered = mishaps::run(plan).expect("it begins");
    println!("{}", weathered.to_text());
    assert!(weathered.faults.is_empty(), "{}", weathered.faults.join("\n"));
    assert_eq!(weathered.kinds.values().sum::<u64>(), 400);
    assert_eq!(weathered.kinds.len(), 7, "of every kind");
    assert!(weathered.beside > 0);
}
