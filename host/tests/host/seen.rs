//! What an operator sees of reloads: one line in the log for each, and the counters of `status`.

use crate::{
    process::{Served, private_folder, serve_in, write_config},
    shelf::faulty,
    support::eventually,
};
use mycelia::status::{ReloadsStatus, Status};
use std::fs;

fn status(host: &Served) -> Status {
    serde_json::from_str(&host.run(&["status", "--json"]).out).unwrap()
}

/// The lines of the log with this word in it.
fn lines(host: &Served, word: &str) -> Vec<String> {
    host.err().lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

/// Waits for the only line with this word, and checks that it says all of these.
fn has_line(host: &Served, word: &str, parts: &[&str]) {
    eventually(&format!("the log has `{word}`"), || !lines(host, word).is_empty());
    let lines = lines(host, word);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}

/// Code of plugins in the host's process, by its name in the maps.
fn mapped(host: &Served) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", host.id())).unwrap();
    let code = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains("/memfd:"));
    code.map(|line| line.split("/memfd:").nth(1).unwrap().replace(" (deleted)", "")).collect()
}

#[test]
fn every_reload_refusal_and_retained_build_is_seen() {
    let folder = private_folder();
    let (file, release) = (folder.path().join("libf.so"), folder.path().join("release"));
    fs::write(&file, faulty("good 1 stray")).unwrap();
    let config = format!(
        r#""f": (plugin: {file:?}, probation: (messages: 0), config: (release: {release:?}))"#
    );
    write_config(folder.path(), &config);
    let host = serve_in(folder);
    let put = |build: &str| {
        let new = host.folder.path().join("new");
        fs::write(&new, faulty(build)).unwrap();
        fs::rename(new, &file).unwrap();
    };
    assert_eq!(mapped(&host), ["f@1"]);

    put("good 2");
    has_line(
        &host,
        "reloaded: ",
        &["generation 2 (mycelia-faulty", "state kept", "paused", "subsystem=\"f\""],
    );
    has_line(&host, "retained: ", &["a thread that it started has not ended", "generation=1"]);
    let retained = status(&host).retained_generations;
    assert_eq!((retained.len(), retained[0].generation), (1, 1));
    assert_eq!(retained[0].phase, "retained");
    let shown = host.run(&["status"]).out;
    assert!(shown.contains("a thread that it started has not ended"), "{shown}");
    fs::write(&release, "").unwrap();
    has_line(&host, "unloaded after", &["generation=1"]);
    assert_eq!(mapped(&host), ["f@2"]);

    put("good 3 fail:start");
    has_line(&host, "reload refused", &["ms: ", "its `start` fails", "generation 2 serves on"]);
    let refused = host.run(&["reload", "f"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("generation 2 serves on"), "{}", refused.err);

    put("good 4");
    eventually("it serves", || status(&host).subsystems["f"].generation == 5);
    let told = host.run(&["reload", "f"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(told.err.contains("generation 6"), "{}", told.err);
    let one = &status(&host).subsystems["f"];
    assert_eq!(one.reloads, ReloadsStatus { committed: 3, refused: 2, rolled_back: 0 });
    // Nothing has changed, so a hangup does nothing; then something has.
    host.hang_up();
    fs::write(host.folder.path().join("host.ron"), "()").unwrap();
    assert!(status(&host).config_changed);
    eventually("only the last one is left", || mapped(&host) == ["f@6"]);
}
