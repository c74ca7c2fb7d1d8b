//! A folder with plugins' files, in which builds are put in place of others.

use crate::support::{Host, Told, eventually, host_in};
use mycelia::{operator::Operator, report::ReloadReport, status::ReloadsStatus};
use mycelia_faulty_builds::stamped;
use mycelia_plugin::Error;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
};
use tempfile::TempDir;

/// A host whose subsystem `f` is made from a file of its own.
pub struct Reloading {
    pub host: Host,
    shelf: PathBuf,
}

/// The bytes of a library that lies beside this test.
pub fn library(name: &str) -> Vec<u8> {
    let binary = std::env::current_exe().unwrap();
    let search = mycelia::loader::search_path(None, &binary);
    fs::read(mycelia::loader::find(name, Path::new("."), &search).unwrap()).unwrap()
}

/// The faulty plugin with this stamp.
pub fn faulty(stamp: &str) -> Vec<u8> {
    stamped(&library("mycelia_faulty"), stamp)
}

/// A good build for `f`, with these settings in its part of the config, and whatever stands beside it.
pub fn reloading(settings: &str, beside: &str) -> Reloading {
    reloading_from(&faulty("good 1"), settings, beside)
}

/// As `reloading`, from these bytes.
pub fn reloading_from(build: &[u8], settings: &str, beside: &str) -> Reloading {
    let folder = TempDir::new().unwrap();
    let shelf = folder.path().join("plugins");
    fs::create_dir(&shelf).unwrap();
    let file = shelf.join("libf.so");
    fs::write(&file, build).unwrap();
    let release = folder.path().join("release").display().to_string();
    let settings = settings.replace("RELEASE", &format!("{release:?}"));
    let subsystems = format!(r#""f": (plugin: {:?}, {settings}), {beside}"#, file.display());
    Reloading { host: host_in(folder, "", &subsystems), shelf }
}

impl Reloading {
    pub fn file(&self) -> PathBuf {
        self.shelf.join("libf.so")
    }

    /// Puts a build in place, as a whole.
    pub fn put(&self, build: &[u8]) {
        let new = self.shelf.join("new");
        fs::write(&new, build).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Puts a build in place and waits until it serves.
    pub fn reload(&self, build: &[u8]) -> ReloadReport {
        let before = self.reloads();
        self.put(build);
        eventually("the new build serves", || {
            let after = self.reloads();
            let status = self.host.status_of("f");
            assert_eq!(after.refused, before.refused, "{:?}", status.last_error);
            after.committed > before.committed
        });
        self.host.runtime.last_reload("f").unwrap()
    }

    /// Puts a build in place and waits until it is refused; answers why.
    pub fn is_refused(&self, build: &[u8]) -> String {
        let before = self.reloads();
        self.put(build);
        eventually("the new build is refused", || self.reloads().refused > before.refused);
        assert_eq!(self.reloads().committed, before.committed);
        self.host.status_of("f").last_error.unwrap()
    }

    /// Reloads as the operator does, whatever the file holds.
    pub fn ask_reload(&self, name: &str) -> Result<ReloadReport, Error> {
        let (done, told) = mpsc::channel();
        self.host.runtime.reload(name, Box::new(move |report| drop(done.send(report))));
        told.recv_timeout(crate::support::PATIENCE).expect("a reload ends")
    }

    pub fn reloads(&self) -> ReloadsStatus {
        self.host.status_of("f").reloads
    }

    pub fn generation(&self) -> u32 {
        self.host.status_of("f").generation
    }

    /// The stamp of the build that serves.
    pub fn build(&self) -> String {
        self.host.value("f://build", "")
    }

    pub fn ask(&self, path: &str, body: &str) -> Told {
        self.host.ask(path, body)
    }

    /// Ends whatever hangs as it was told to.
    pub fn release(&self) {
        fs::write(self.host.folder.path().join("release"), "").unwrap();
    }

    /// What is left of builds that no longer serve, and why.
    pub fn retained(&self) -> Vec<(u32, String, String)> {
        let retained = self.host.runtime.status().retained_generations;
        retained.into_iter().map(|one| (one.generation, one.phase, one.reason)).collect()
    }

    /// Waits until nothing is left of this build. That the host is right about it, the storm looks up in the maps.
    pub fn is_unloaded(&self, number: u32) {
        let slot = self.host.runtime.named("f").unwrap();
        eventually("the build is unloaded", || {
            !slot.info().loaded.contains(&number) && self.retained().is_empty()
        });
    }
}
