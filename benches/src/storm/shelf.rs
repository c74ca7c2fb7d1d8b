//! The plugins' files, and the builds that are put there.

use crate::library;
use mycelia_faulty_builds as builds;
use std::{fs, io, path::PathBuf};
use tempfile::TempDir;

/// A folder with a library for each subsystem, and the bytes that their builds are made from.
pub(super) struct Shelf {
    folder: TempDir,
    faulty: Vec<u8>,
    kv: Vec<u8>,
}

/// Whose builds are swapped; the victim's are the ones that panic.
pub(super) const SUBSYSTEMS: [&str; 4] = ["counter", "threads", "store", "victim"];

/// What is bad about a build.
#[derive(Copy, Clone, Debug)]
pub(super) enum Bad {
    /// The text of its stamp, after its number.
    Stamp(&'static str),
    Truncated,
    OtherAbi,
    OtherLayout,
    AbortsAtLoad,
    Text,
}

/// Every kind, in turn.
pub(super) const BAD: &[Bad] = &[
    Bad::Stamp("refuse_state"),
    Bad::Truncated,
    Bad::Stamp("panic:create"),
    Bad::OtherAbi,
    Bad::Stamp("panic:restore"),
    Bad::AbortsAtLoad,
    Bad::Stamp("panic_first"),
    Bad::OtherLayout,
    Bad::Stamp("fail:start"),
    Bad::Text,
    Bad::Stamp("panic:start"),
    Bad::Stamp("fail:create"),
];

impl Bad {
    /// Which subsystem it is for: one that takes over before it fails loses what it did since, and so is not for one that
    /// counts.
    pub fn subsystem(self) -> &'static str {
        match self {
            Bad::Stamp("panic_first") => "victim",
            _ => "counter",
        }
    }
}

impl Shelf {
    pub fn new() -> io::Result<Shelf> {
        let folder = tempfile::Builder::new().prefix("mycelia-storm-").tempdir()?;
        let shelf =
            Shelf { folder, faulty: library("mycelia_faulty")?, kv: library("mycelia_kv")? };
        for name in SUBSYSTEMS {
            shelf.put(name, &shelf.good(name, 1));
        }
        Ok(shelf)
    }

    /// The config of the host that serves them.
    pub fn config(&self) -> String {
        let file = |name| self.file(name).display().to_string();
        let data = self.folder.path().join("data").display().to_string();
        let probation = r#"probation: (messages: 200, for: "300ms", panics: 1)"#;
        format!(
            r#"(workers: 2, pool: "64MiB", data: {data:?}, subsystems: {{
                "counter": (plugin: {:?}, {probation}, config: (ballast: 1048576)),
                "threads": (plugin: {:?}, {probation}),
                "store": (plugin: {:?}, {probation}),
                "victim": (plugin: {:?}, {probation}),
            }})"#,
            file("counter"),
            file("threads"),
            file("store"),
            file("victim"),
        )
    }

    /// A good build, which no other equals.
    pub fn good(&self, name: &str, number: u32) -> Vec<u8> {
        match name {
            "store" => [&self.kv[..], &number.to_le_bytes()].concat(),
            "threads" => builds::stamped(&self.faulty, &format!("good {number} threads:2 tls")),
            _ => builds::stamped(&self.faulty, &format!("good {number}")),
        }
    }

    /// A bad build, of the counter or the victim.
    pub fn bad(&self, kind: Bad, number: u32) -> Vec<u8> {
        let good = self.good("counter", number);
        match kind {
            Bad::Stamp(fault) => builds::stamped(&self.faulty, &format!("good {number} {fault}")),
            Bad::Truncated => builds::truncated(&good, good.len() / 2 + number as usize),
            Bad::OtherAbi => builds::other_abi(&good),
            Bad::OtherLayout => builds::other_layout(&good),
            Bad::AbortsAtLoad => builds::aborting_constructor(&good),
            Bad::Text => format!("this is text, for the {number}th time").into_bytes(),
        }
    }

    /// Puts a build in place, as a whole.
    pub fn put(&self, name: &str, build: &[u8]) {
        let new = self.folder.path().join("new");
        let put = fs::write(&new, build).and_then(|()| fs::rename(&new, self.file(name)));
        put.expect("the folder for temporary files has room");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("lib{name}.so"))
    }
}

/// How many libraries have code in this process that came out of memory, as those of plugins do.
pub(super) fn mapped_libraries() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_code = |line: &&str| line.contains(" r-xp ") && line.contains("/memfd:");
    maps.lines().filter(is_code).count()
}
