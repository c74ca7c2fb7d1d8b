//! What the command says and exits with when a tool is missing, or there is nothing to guard; nothing is counted here.
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const MANIFEST: &str = "[package]\nname = \"fixture\"\nedition = \"2024\"\n[workspace]\n";
const BENCH: &str = "[[bench]]\nname = \"instructions\"\nharness = false\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"iai-callgrind\"\nversion = \"0.16.1\"\n";

/// A package in a folder of its own, and another folder for programs.
struct Setting {
    folder: TempDir,
}

impl Setting {
    fn new() -> Setting {
        let setting = Setting { folder: tempfile::tempdir().unwrap() };
        setting.write("package/Cargo.toml", &format!("{MANIFEST}{BENCH}"));
        setting.write("package/Cargo.lock", LOCK);
        setting.write("package/src/lib.rs", "");
        setting.write("package/benches/instructions.rs", "fn main() {}");
        setting.write("bin/none", "");
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(&format!("bin/{name}")), executable).unwrap();
    }

    /// The exit code and what it says on stderr, with no program in the search path but those of this setting.
    fn gate(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_mycelia-gate"))
            .args(arguments)
            .current_dir(self.path("package"))
            .env("CARGO", env!("CARGO"))
            .env("PATH", self.path("bin"))
            .env_remove("IAI_CALLGRIND_RUNNER")
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn expect(&self, arguments: &[&str], code: i32, said: &str) {
        let (found, text) = self.gate(arguments);
        assert!(text.contains(said), "{said:?} is not in: {text}");
        assert_eq!(found, code, "{text}");
    }
}

const INSTALL: &str = "`cargo install iai-callgrind-runner --version 0.16.1 --locked`";

#[test]
fn a_missing_valgrind_is_named_with_its_remedy() {
    let setting = Setting::new();
    setting.expect(&[], 2, "valgrind is not installed; install it with `apt-get install valgrind`");
}

#[test]
fn a_missing_runner_is_named_with_its_version() {
    let setting = Setting::new();
    setting.program("valgrind", "exit 0");
    setting.expect(&[], 2, INSTALL);
}

#[test]
fn a_runner_of_another_version_is_named_with_the_right_one() {
    let setting = Setting::new();
    setting.program("valgrind", "exit 0");
    setting.program(
        "iai-callgrind-runner",
        "echo 'runner (0.15.0) is older than 0.16.1.' >&2; exit 1",
    );
    setting.expect(&[], 2, INSTALL);
    setting.expect(&[], 2, "runner (0.15.0) is older than 0.16.1)");
}

#[test]
fn a_package_without_the_bench_is_named_with_those_that_have_it() {
    let setting = Setting::new();
    setting.expect(
        &["--package", "kv"],
        2,
        "no package `kv` has a bench `instructions`; these have: fixture",
    );
    setting.expect(&["--bench", "other"], 2, "no package has a bench `other`; write one");
}

#[test]
fn a_workspace_without_iai_callgrind_is_told_to_add_it() {
    let setting = Setting::new();
    setting.write("package/Cargo.lock", "version = 4\n");
    setting.expect(&[], 2, "names no iai-callgrind; add it with");
}

#[test]
fn wrong_arguments_are_a_misuse() {
    let setting = Setting::new();
    setting.expect(&["--bless", "--against", "main"], 2, "cannot be used with");
    setting.expect(&["--messages", "0"], 2, "0 is not in 1..");
}

/// Where the report goes to a file, the reason stands there too.
#[test]
fn the_summary_also_tells_of_what_went_wrong() {
    let setting = Setting::new();
    let summary = setting.path("summary.md");
    setting.gate(&["--markdown", summary.to_str().unwrap()]);
    let text = fs::read_to_string(Path::new(&summary)).unwrap();
    assert!(text.starts_with("**No verdict**: valgrind is not installed"), "{text}");
}
