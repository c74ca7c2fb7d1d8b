//! Every target over its committed corpus, and over all that a file of it is cut to.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use mycelia_fuzz_targets::{TARGETS, Target};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Places at which a file is cut, at most.
const CUTS: usize = 300;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder().join("corpus").join(name)).unwrap();
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn check(name: &str, target: Target) {
    let corpus = corpus(name);
    let accepted = corpus.iter().filter(|data| target(data)).count();
    assert!(accepted >= 2 && accepted < corpus.len(), "{name}: {accepted} of {}", corpus.len());
    for data in &corpus {
        let step = data.len() / CUTS + 1;
        (0..data.len()).step_by(step).for_each(|end| _ = target(&data[..end]));
    }
}

#[test]
fn no_file_of_a_corpus_ends_its_target() {
    for (name, target) in TARGETS {
        check(name, *target);
    }
}

#[test]
fn every_target_has_a_fuzzer_and_a_corpus() {
    let names = |folder: PathBuf| {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let mut names: Vec<String> =
            files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(folder().join("fuzz_targets")), targets);
    assert_eq!(names(folder().join("corpus")), targets);
}
