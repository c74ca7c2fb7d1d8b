//! What a plugin author adds stays small.

use std::{collections::BTreeSet, process::Command};

/// The most crates that a plugin may get by way of this one, itself included.
const MOST: usize = 60;

#[test]
fn the_dependency_tree_is_small() {
    let arguments = [
        "tree",
        "--package",
        "mycelia-plugin",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--offline",
    ];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    println!("mycelia-plugin brings {} crates, itself included", crates.len());
    assert!(crates.len() <= MOST, "{} crates: {crates:#?}", crates.len());
    let told = format!("brings {} crates, itself included", crates.len());
    assert!(include_str!("../../README.md").contains(&told), "README.md should say: {told}");
}

#[test]
fn no_host_and_no_runtime_is_in_it() {
    let manifest = include_str!("../../Cargo.toml");
    let (_, after) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (normal, _) = after.split_once("\n[").unwrap();
    for banned in ["mycelia", "tokio", "tracing.", "tracing-subscriber", "crossbeam"] {
        assert!(!normal.contains(banned), "`{banned}` is among the dependencies of every plugin");
    }
}
