//! An author's first hour: `mycelia new`, with the real cargo and the real host, in a folder and in a clone.

use crate::{
    process::{Ended, mycelia, plugins, private_folder, run, start},
    support::eventually,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of this repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs cargo without a network.
fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(folder).args(arguments).env("CARGO_NET_OFFLINE", "true");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Changes a file in one place.
fn edit(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(old).count(), 1, "{old}: {text}");
    fs::write(file, text.replace(old, new)).unwrap();
}

/// The row, the method and the test that the author's guide tells its readers to add.
fn changes_of_the_guide() -> [String; 3] {
    let guide = fs::read_to_string(repository().join("plugin-api/README.md")).unwrap();
    let blocks = guide.split("```rust,ignore\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect::<Vec<_>>().try_into().expect("the guide changes three things")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_plugin_is_written_tested_served_and_changed() {
    let folder = private_folder();
    let written = run(folder.path(), &["new", "first-hour"]);
    assert_eq!((written.code, written.out.as_str()), (Some(0), ""), "{written:?}");
    for next in ["cargo test --manifest-path first-hour/Cargo.toml\n", "ask first-hour://add"] {
        assert!(written.err.contains(next), "{written:?}");
    }
    cargo(&folder.path().join("first-hour"), &["fmt", "--check"]);

    let plugin = folder.path().join("first-hour");
    fs::copy(repository().join("Cargo.lock"), plugin.join("Cargo.lock")).unwrap();
    // What is built for this test lies in `target/debug/deps`.
    symlink(plugins().ancestors().nth(2).unwrap(), plugin.join("target")).unwrap();
    let dependencies = r#"profile.dev.package."*".opt-level=1"#;
    cargo(&plugin, &["test", "--config", dependencies]);
    cargo(&plugin, &["build", "--benches", "--lib", "--config", dependencies]);

    let config = plugin.join("first-hour.ron");
    edit(&config, "target/release", "target/debug");
    edit(&config, "subsystems:", r#"control: (listen: "127.0.0.1:0"), subsystems:"#);
    let command = mycelia(folder.path(), &["run", "first-hour/first-hour.ron"]);
    let host = start(command, folder);
    eventually("the plugin serves", || host.err().contains("ask first-hour://add/visits 2"));
    let added = host.run(&["ask", "first-hour://add/visits", "2"]);
    assert_eq!(added.out.trim_end(), "2", "{added:?}");

    let [row, method, test] = changes_of_the_guide();
    let source = plugin.join("src/lib.rs");
    let (add_row, add_method) = ("on(\"add/", "/// Answers with the new count.");
    edit(&source, add_row, &format!("{row}{add_row}"));
    edit(&source, add_method, &format!("{method}{add_method}"));
    let tests = plugin.join("tests/counter.rs");
    fs::write(&tests, fs::read_to_string(&tests).unwrap() + &test).unwrap();
    let tested = cargo(&plugin, &["test", "--config", dependencies]);
    assert!(tested.contains("a_reset_begins_anew ... ok"), "{tested}");
    cargo(&plugin, &["build", "--lib", "--config", dependencies]);
    eventually("the new build serves", || host.err().contains("generation 2"));
    let ask = |route: &str| host.run(&["ask", &format!("first-hour://{route}/visits")]).out;
    assert_eq!([ask("reset"), ask("value")].map(|count| count.trim_end().to_owned()), ["2", "0"]);
    assert_eq!(host.run(&["why", "first-hour://reset/visits"]).code, Some(0));
    let stopped = host.run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(host.ended().0, Some(0));
}

/// A clone whose packages are those of this repository.
fn clone_in(root: &Path) {
    for name in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(repository().join(name), root.join(name)).unwrap();
    }
    for name in ["kernel", "plugin-api", "host", "benches"] {
        symlink(repository().join(name), root.join(name)).unwrap();
    }
    fs::create_dir(root.join("plugins")).unwrap();
    for name in names(&repository().join("plugins")) {
        symlink(repository().join("plugins").join(&name), root.join("plugins").join(&name))
            .unwrap();
    }
}

#[test]
fn in_a_clone_a_plugin_is_a_member() {
    let folder = private_folder();
    clone_in(folder.path());
    let before = (names(folder.path()), names(&folder.path().join("plugins")));
    fs::create_dir(folder.path().join("deeper")).unwrap();
    let written = run(&folder.path().join("deeper"), &["new", "first_hour"]);
    assert_eq!(written.code, Some(0), "{written:?}");
    fs::remove_dir(folder.path().join("deeper")).unwrap();

    let metadata = cargo(folder.path(), &["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "first_hour").unwrap();
    let targets = package["targets"].as_array().unwrap();
    let has = |kind: &str| targets.iter().any(|target| target["kind"][0] == kind);
    assert!(has("cdylib") && has("test") && has("bench"), "{package}");
    let tree = cargo(folder.path(), &["tree", "--package", "first_hour"]);
    assert!(tree.contains("mycelia-plugin") && tree.contains("iai-callgrind"), "{tree}");

    let after = (names(folder.path()), names(&folder.path().join("plugins")));
    assert_eq!(after.0, before.0);
    let added: Vec<_> = after.1.iter().filter(|name| !before.1.contains(name)).collect();
    assert_eq!((added.len(), after.1.len()), (1, before.1.len() + 1));
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = private_folder();
    let new = |arguments: &str| run(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    let refused = |ended: Ended, code, part: &str| {
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.err.contains(part), "{ended:?}");
    };
    refused(new("new Hour"), 2, "such as rate-limiter");
    refused(new("new kernel"), 2, "reserved");
    refused(new("new hour --plugin-api nowhere"), 2, "name the folder plugin-api of a clone");
    fs::create_dir(folder.path().join("hour")).unwrap();
    refused(new("new hour"), 1, "is there already; choose another name");
    // A link to nowhere is found only when the draft is moved.
    symlink("nowhere", folder.path().join("later")).unwrap();
    refused(new("new later"), 1, "nothing was changed");
    assert_eq!(names(folder.path()), ["hour", "later"]);

    // A clone without a folder for plugins, and one whose members are on one line.
    clone_in(folder.path());
    fs::rename(folder.path().join("plugins"), folder.path().join("hidden")).unwrap();
    let manifest = folder.path().join("Cargo.toml");
    let (text, before) = (fs::read_to_string(&manifest).unwrap(), names(folder.path()));
    refused(new("new hour"), 1, "nothing was changed");
    assert_eq!((fs::read_to_string(&manifest).unwrap(), names(folder.path())), (text, before));
    fs::write(&manifest, "[workspace]\nmembers = [\"kernel\"]\n").unwrap();
    refused(new("new hour"), 1, "to which the plugin would be added");
}
