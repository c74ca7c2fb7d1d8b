//! `mycelia dev` with a cargo that only says what it was asked, and leaves a library where cargo would.

use crate::{
    process::{Served, library, mycelia, private_folder, start, write_config},
    support::eventually,
};
use rustix::process::Signal;
use std::{fs, path::Path};
use tempfile::TempDir;

const CARGO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/fake-cargo");
const SERVES: &str = "Try, from a second terminal";
const SOURCE: &str = "tally/src/lib.rs";

/// A workspace with one plugin that was never built, and a config that names it.
fn workspace() -> TempDir {
    let folder = private_folder();
    let root = folder.path().canonicalize().unwrap();
    let metadata = serde_json::json!({
        "workspace_root": root,
        "target_directory": root.join("target"),
        "packages": [{
            "name": "tally",
            "manifest_path": root.join("tally/Cargo.toml"),
            "targets": [{
                "name": "tally",
                "kind": ["cdylib"],
                "src_path": root.join(SOURCE),
            }],
            "dependencies": [],
        }],
    });
    fs::create_dir_all(root.join("tally/src")).unwrap();
    for (file, text) in
        [("Cargo.toml", ""), (SOURCE, ""), ("metadata.json", &*metadata.to_string())]
    {
        fs::write(root.join(file), text).unwrap();
    }
    fs::copy(library("echo"), root.join("library")).unwrap();
    write_config(&root, "\"tally\": (plugin: \"tally\")");
    folder
}

/// Begins `mycelia dev` there.
fn dev(folder: TempDir) -> Served {
    let mut command = mycelia(folder.path(), &["dev", "host.ron"]);
    command.env("MYCELIA_PLUGIN_PATH", folder.path().join("target/debug"));
    command.env("CARGO", CARGO).env("FAKE_CARGO", folder.path());
    start(command, folder)
}

impl Served {
    /// Waits until it has said this so many times.
    fn says(&self, words: &str, times: usize) {
        eventually(words, || self.err().matches(words).count() >= times);
    }

    fn write(&self, file: &str) {
        fs::write(self.folder.path().join(file), "").unwrap();
    }

    /// Waits until cargo hangs, and answers the number of the process that it waits for.
    fn hung(&self) -> String {
        let file = self.folder.path().join("pid");
        eventually("cargo hangs", || file.exists());
        fs::read_to_string(file).unwrap().trim().to_owned()
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

#[test]
fn plugins_are_built_before_the_host_runs_and_at_each_save() {
    let host = dev(workspace());
    host.says(SERVES, 1);
    let built = "cargo built tally in ";
    assert!(host.err().find(built) < host.err().find(SERVES), "{}", host.err());
    assert_eq!(host.run(&["ask", "tally://any", "hi"]).out.trim_end(), "hi");

    host.write(SOURCE);
    host.says(built, 2);
    host.write("broken");
    host.write("tally/Cargo.toml");
    host.says("the running generation serves on", 1);
    let err = host.err();
    assert!(err.contains("error: expected one of many things\n"), "{err}");
    assert!(err.contains("(exit code 101)"), "{err}");
    assert_eq!(host.run(&["ask", "tally://any", "hi"]).out.trim_end(), "hi");

    fs::remove_file(host.folder.path().join("broken")).unwrap();
    host.write("tally/src/new.rs");
    host.says(built, 3);
    host.signal(Signal::TERM);
    let (code, err, folder) = host.ended();
    assert_eq!(code, Some(0), "{err}");
    let target = folder.path().canonicalize().unwrap().join("target");
    let rest =
        format!("--keep-going --profile dev --target-dir {} --package tally\n", target.display());
    let quiet = format!("build --quiet {rest}");
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    assert_eq!(calls, format!("build {rest}{quiet}{quiet}{quiet}"));
}

#[test]
fn a_plugin_that_does_not_build_at_first_is_waited_for() {
    let folder = workspace();
    fs::write(folder.path().join("broken"), "").unwrap();
    let host = dev(folder);
    host.says("the host starts when a save has mended it", 1);
    fs::remove_file(host.folder.path().join("broken")).unwrap();
    host.write(SOURCE);
    host.says(SERVES, 1);
    host.signal(Signal::INT);
    assert_eq!(host.ended().0, Some(0));
}

#[test]
fn no_cargo_outlives_the_host() {
    let host = dev(workspace());
    host.says(SERVES, 1);
    host.write("hangs");
    host.write(SOURCE);
    let pid = host.hung();
    assert!(is_alive(&pid));
    let stopped = host.run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(host.ended().0, Some(0));
    eventually("the compiler has ended", || !is_alive(&pid));
}

#[test]
fn a_signal_ends_the_first_build() {
    let folder = workspace();
    fs::write(folder.path().join("hangs"), "").unwrap();
    let host = dev(folder);
    let pid = host.hung();
    host.signal(Signal::TERM);
    let (code, err, _folder) = host.ended();
    assert_eq!(code, Some(128 + 15), "{err}");
    assert!(!err.contains(SERVES), "{err}");
    eventually("the compiler has ended", || !is_alive(&pid));
}

#[test]
fn a_plugin_of_no_package_is_served_all_the_same() {
    let folder = workspace();
    fs::rename(folder.path().join("library"), folder.path().join("libother.so")).unwrap();
    write_config(folder.path(), "\"other\": (plugin: \"libother.so\")");
    let host = dev(folder);
    host.says(SERVES, 1);
    let err = host.err();
    assert!(err.contains("other is served but not watched: no package has"), "{err}");
    assert!(err.contains("nothing is built, for"), "{err}");
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}
