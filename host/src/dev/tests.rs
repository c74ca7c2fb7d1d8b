//! The parts of `mycelia dev` without cargo; with one, `host/tests/host/dev.rs` tests the whole.

use super::{
    cargo::{CargoError, arguments, is_of_an_outer_cargo},
    packages::{Output, Workspace},
    plan::{Place, Plan, plan},
    session::{Due, Event, Outcome},
    sources::saves,
};
use crate::config::Config;
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What cargo says of a workspace whose plugins are `tally`, built from a folder of its own, and `echo-tcp`, which
/// need `api` and `wire`; it leaves out what is not read.
const METADATA: &str = r#"{
    "workspace_root": "/ws", "target_directory": "/ws/target", "version": 1,
    "packages": [
        {"name": "tally", "manifest_path": "/ws/tally/Cargo.toml",
         "targets": [
            {"name": "tally", "kind": ["cdylib", "rlib"], "src_path": "/ws/tally/code/lib.rs"},
            {"name": "cli", "kind": ["bin"], "src_path": "/ws/tally/bin/cli.rs"},
            {"name": "build-script-build", "kind": ["custom-build"], "src_path": "/ws/tally/build.rs"}],
         "dependencies": [
            {"name": "api", "kind": null, "path": "/ws/api"},
            {"name": "serde", "kind": null},
            {"name": "testkit", "kind": "dev", "path": "/ws/testkit"}]},
        {"name": "echo", "manifest_path": "/ws/echo/Cargo.toml",
         "targets": [{"name": "echo-tcp", "kind": ["cdylib"], "src_path": "/ws/echo/src/lib.rs"}],
         "dependencies": [{"name": "api", "kind": null, "path": "/ws/api"}]},
        {"name": "api", "manifest_path": "/ws/api/Cargo.toml",
         "targets": [
            {"name": "api", "kind": ["lib"], "src_path": "/ws/api/src/lib.rs"},
            {"name": "counter", "kind": ["example"], "src_path": "/ws/api/examples/counter.rs"}],
         "dependencies": [{"name": "wire", "kind": "build", "path": "/elsewhere/wire"}]},
        {"name": "testkit", "manifest_path": "/ws/testkit/Cargo.toml",
         "targets": [], "dependencies": [{"name": "api", "kind": null, "path": "/ws/api"}]}
    ]}"#;

fn workspace() -> Workspace {
    serde_json::from_str(METADATA).unwrap()
}

#[test]
fn packages_are_found_by_their_libraries() {
    let workspace = workspace();
    let package = |library| workspace.package_of(library).map(|package| package.name.as_str());
    assert_eq!(package("tally"), Some("tally"));
    assert_eq!(package("echo_tcp"), Some("echo"));
    assert_eq!(package("api"), None, "it makes no shared library");
    assert_eq!(package("counter"), None, "an example is none that a host loads");
}

#[test]
fn profiles_are_read_from_paths() {
    let of = |file: &str| workspace().output(Path::new(file));
    let output = |folder: &str, profile: &str, triple: Option<&str>| {
        let (folder, triple) = (folder.into(), triple.map(str::to_owned));
        Some(Output { folder, profile: profile.into(), triple })
    };
    let debug = output("/ws/target/debug", "dev", None);
    for (file, expect) in [
        ("/ws/target/release/libtally.so", output("/ws/target/release", "release", None)),
        ("/ws/target/debug/libtally.so", debug.clone()),
        ("/ws/target/debug/deps/libtally.so", debug),
        ("/ws/target/fast/libtally.so", output("/ws/target/fast", "fast", None)),
        ("/ws/target/arm/debug/libtally.so", output("/ws/target/arm/debug", "dev", Some("arm"))),
        ("/ws/target/libtally.so", None),
        ("/ws/plugins/libtally.so", None),
        ("/opt/libtally.so", None),
    ] {
        assert_eq!(of(file), expect, "{file}");
    }
}

#[test]
fn sources_are_those_of_the_package_and_of_its_paths() {
    let workspace = workspace();
    let sources = workspace.sources(workspace.package_of("tally").unwrap());
    let (folders, trees) = sources.folders();
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(folders, paths(&["/ws", "/ws/tally", "/ws/api", "/elsewhere/wire"]));
    let expect = ["/ws/tally/src", "/ws/tally/code", "/ws/api/src", "/elsewhere/wire/src"];
    assert_eq!(trees, paths(&expect));
    for (file, expect) in [
        ("/ws/tally/code/lib.rs", true),
        ("/ws/tally/code/deep/words.txt", true),
        ("/ws/tally/src/sql", true),
        ("/ws/tally/Cargo.toml", true),
        ("/ws/tally/build.rs", true),
        ("/ws/Cargo.toml", true),
        ("/elsewhere/wire/src/lib.rs", true),
        ("/ws/Cargo.lock", false),
        ("/ws/tally/README.md", false),
        ("/ws/tally/bin/cli.rs", false),
        ("/ws/target/debug/build.rs", false),
        ("/ws/echo/src/lib.rs", false),
        ("/ws/testkit/src/lib.rs", false),
        ("/ws/tally/src/.lib.rs.swp", false),
        ("/ws/tally/src/lib.rs~", false),
        ("/ws/tally/src/4913", false),
        ("/ws/tally/src/.#lib.rs", false),
        ("/ws/tally/src/#lib.rs#", false),
        ("/ws/tally/src/.git/index", false),
        ("/ws/tally/.#build.rs", false),
    ] {
        assert_eq!(sources.has(Path::new(file)), expect, "{file}");
    }
}

/// A folder with a manifest, a library in `target/release`, and what cargo says of it.
fn on_disk() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("target/release")).unwrap();
    fs::write(root.join("Cargo.toml"), "").unwrap();
    fs::write(root.join("target/release/libtally.so"), "").unwrap();
    (folder, METADATA.replace("/ws", &root.display().to_string()))
}

fn plan_of(folder: &Path, metadata: &str, plugins: &[&str]) -> Plan {
    let entries: String = plugins
        .iter()
        .enumerate()
        .map(|(index, plugin)| format!("\"s{index}\": (plugin: {plugin:?}), "))
        .collect();
    let config = Config::parse("a.ron", &format!("(subsystems: {{ {entries} }})")).unwrap();
    let search = [folder.join("target/release")];
    let place = Place { base: folder, search: &search, folders: &[folder.to_owned()] };
    let read = |folder: &Path| match serde_json::from_str(metadata) {
        Ok(workspace) => Ok(workspace),
        Err(error) => Err(CargoError::Form { folder: folder.to_owned(), error }),
    };
    plan(&config, &place, &read)
}

#[test]
fn one_call_builds_all_that_one_folder_holds() {
    let (folder, metadata) = on_disk();
    let root = folder.path().canonicalize().unwrap();
    // By name, by name though never built, by name again, and by paths.
    let plugins =
        ["tally", "echo_tcp", "tally", "target/release/libtally.so", "target/debug/libtally.so"];
    let Plan { builds, remarks } = plan_of(&root, &metadata, &plugins);
    assert_eq!(remarks, [""; 0]);
    let [release, debug] = &builds[..] else { panic!("{builds:?}") };
    let target = root.join("target").display().to_string();
    let line = |build, is_quiet| arguments(build, is_quiet).join(" ");
    assert_eq!(
        line(release, false),
        format!(
            "build --keep-going --profile release --target-dir {target} --package tally --package echo"
        )
    );
    assert_eq!(
        line(debug, true),
        format!("build --quiet --keep-going --profile dev --target-dir {target} --package tally")
    );
    assert_eq!(release.packages[1].1, root.join("target/release/libecho_tcp.so"));
    assert!(release.sources.has(&root.join("echo/src/lib.rs")));
    assert!(!debug.sources.has(&root.join("echo/src/lib.rs")));
}

#[test]
fn what_cargo_does_not_write_is_not_built() {
    let (folder, metadata) = on_disk();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    fs::write(folder.path().join("plugins/libtally.so"), "").unwrap();
    for (plugin, metadata, part) in [
        ("kv", metadata.as_str(), "s0 is served but not watched: no package has the library `kv`"),
        ("plugins/libtally.so", &metadata, "plugins/libtally.so, but cargo writes to /"),
        ("tally", "{}", "in an unknown form: missing field"),
    ] {
        let plan = plan_of(folder.path(), metadata, &[plugin]);
        assert!(plan.builds.is_empty(), "{plan:?}");
        assert!(plan.remarks[0].contains(part), "{plan:?}");
    }
    // A link into the folder that cargo writes is as good as the file.
    std::os::unix::fs::symlink("../target/release/libtally.so", folder.path().join("plugins/l.so"))
        .unwrap();
    fs::rename(folder.path().join("plugins/l.so"), folder.path().join("plugins/libtally.so"))
        .unwrap();
    let plan = plan_of(folder.path(), &metadata, &["plugins/libtally.so"]);
    assert_eq!(plan.builds.len(), 1, "{plan:?}");
}

/// Cargo reads every source, so that it would build for ever if reading counted.
#[test]
fn reading_is_no_save() {
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, Flag, ModifyKind};
    let told = |kind| saves(Ok(notify::Event::new(kind).add_path("/a.rs".into())));
    for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read)] {
        assert!(told(notify::EventKind::Access(kind)).is_empty(), "{kind:?}");
    }
    for kind in [
        notify::EventKind::Create(CreateKind::File),
        notify::EventKind::Modify(ModifyKind::Data(DataChange::Any)),
    ] {
        let told = told(kind);
        assert!(matches!(&told[..], [Event::Saved(file)] if file == "/a.rs"), "{told:?}");
    }
    let overflow = notify::Event::new(notify::EventKind::Other).set_flag(Flag::Rescan);
    for missed in [Ok(overflow), Err(notify::Error::generic("x"))] {
        let told = saves(missed);
        assert!(matches!(told[..], [Event::Missed]), "{told:?}");
    }
}

#[test]
fn saves_in_a_burst_are_one_build() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut due = Due::default();
    assert_eq!((due.at(), due.take()), (None, None));
    for (build, now) in [(1, 0), (1, 30), (0, 60), (1, 70)] {
        due.add(build, at(now));
    }
    assert_eq!(due.at(), Some(at(120)));
    assert_eq!([due.take(), due.take(), due.take()], [Some(1), Some(0), None]);
    assert_eq!(due.at(), None);
    // A save while the build runs makes one more.
    due.add(0, at(200));
    assert_eq!((due.at(), due.take()), (Some(at(250)), Some(0)));
    assert!(!due.is_any());
}

#[test]
fn what_the_user_is_told() {
    let took = Duration::from_millis(2314);
    let lines = |code: i32, changed: &[&str]| {
        Outcome { status: ExitStatus::from_raw(code << 8), took, changed }.lines("all is well")
    };
    assert_eq!(lines(0, &["tally", "echo"]), ["cargo built tally, echo in 2.31 s"]);
    assert_eq!(lines(0, &[]), ["cargo changed no library in 2.31 s"]);
    let failed = "cargo failed after 2.31 s (exit code 101): all is well";
    assert_eq!(lines(101, &[]), [failed]);
    assert_eq!(lines(101, &["echo"]), ["cargo built echo in 2.31 s", failed]);
    let killed = Outcome { status: ExitStatus::from_raw(9), took, changed: &[] };
    assert!(killed.lines("")[0].contains("signal: 9"), "{killed:?}");
}

#[test]
fn an_outer_cargo_leaves_no_trace() {
    for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "OUT_DIR"] {
        assert!(is_of_an_outer_cargo(name), "{name}");
    }
    for name in ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_PROFILE_DEV_DEBUG", "PATH"] {
        assert!(!is_of_an_outer_cargo(name), "{name}");
    }
}

#[test]
fn paths_are_made_real_as_far_as_they_exist() {
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    for (path, expect) in [
        ("", here.clone()),
        ("nowhere", here.join("nowhere")),
        ("src/nowhere/a.so", here.join("src/nowhere/a.so")),
        ("src/../src", here.join("src")),
    ] {
        assert_eq!(super::real(Path::new(path)), expect, "{path:?}");
    }
}
