//! Plugins that cargo built, and libraries that a test builds, which pass for plugins until they are loaded.

use mycelia::loader::{Image, LoadError, Prober, Staged, find, search_path};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub fn plugin(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    find(name, Path::new(""), &search_path(None, &own)).unwrap_or_else(|error| panic!("{error}"))
}

/// A plugin without its debug information, which is most of it, so that many variants of it can be tried.
pub fn small_plugin(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.so");
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg(plugin(name)).arg("-o").arg(&small);
    assert!(strip.status().unwrap().success());
    fs::read(small).unwrap()
}

pub fn prober() -> Prober {
    Prober::new(env!("CARGO_BIN_EXE_mycelia").into())
}

pub fn staged(path: &Path) -> Result<Staged, LoadError> {
    Image::read(path)?.preflight()?.seal("test@1")
}

/// A library in C with a manifest and a symbol for its root module, in a folder that goes with it.
pub struct Fake {
    folder: TempDir,
}

impl Fake {
    /// `code` is the rest of its source, `flags` are for the linker.
    pub fn new(code: &str, flags: &[&str]) -> Fake {
        let fake = Fake { folder: tempfile::tempdir().unwrap() };
        let source = fake.folder.path().join("fake.c");
        fs::write(&source, format!("{OUTSIDE}{code}\n")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wl,--hash-style=gnu", "-o"]).arg(fake.path());
        let output = compiler.arg(source).args(flags).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fake
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("fake.so")
    }
}

/// What makes a library in C pass preflight.
const OUTSIDE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((section(".mycelia"), used)) const char manifest[] =
    "mycelia-manifest\t1\t0\nname\tfake\nversion\t1.0.0\nstate\t0\npanic\tunwind\nunload\thooks\nend\n";
const char _1as_0lib_1header_0root_bmodule_bloader[64] = "no header";
#define AT_LOAD __attribute__((constructor)) static void at_load(void)
#define AT_UNLOAD __attribute__((destructor)) static void at_unload(void)
"#;

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(30);
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
