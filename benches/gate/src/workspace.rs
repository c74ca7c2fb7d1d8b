//! The packages that are guarded, as cargo knows them.

use crate::{Error, tools::said};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A workspace, and its packages.
#[derive(Debug)]
pub struct Workspace {
    /// Its folder.
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
    /// The bench target that is counted.
    pub bench: String,
    packages: Vec<Package>,
}

/// A package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether it has the bench to count.
    pub has_bench: bool,
}

impl Package {
    /// Its baseline: `benches/baseline.ron`, or `baseline.ron` if its folder is itself called `benches`.
    pub fn baseline(&self) -> PathBuf {
        match self.folder.ends_with("benches") {
            true => self.folder.join("baseline.ron"),
            false => self.folder.join("benches/baseline.ron"),
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Described {
    fn has(&self, bench: &str) -> bool {
        let is_it = |target: &Target| {
            target.name == bench && target.kind.iter().any(|kind| kind == "bench")
        };
        self.targets.iter().any(is_it)
    }
}

impl Workspace {
    /// Asks cargo about the workspace that this folder is in, and which of its packages have this bench target.
    ///
    /// # Errors
    /// If cargo finds no workspace there.
    pub fn open(folder: &Path, bench: &str) -> Result<Workspace, Error> {
        let metadata = said(
            cargo().args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(folder),
        )?;
        let metadata: Metadata = serde_json::from_str(&metadata).map_err(|cause| {
            Error::Failed { command: "cargo metadata".into(), text: cause.to_string() }
        })?;
        let packages = metadata.packages.into_iter().map(|package| Package {
            has_bench: package.has(bench),
            folder: package.manifest_path.parent().unwrap_or(&metadata.workspace_root).into(),
            name: package.name,
        });
        Ok(Workspace {
            packages: packages.collect(),
            root: metadata.workspace_root,
            target: metadata.target_directory,
            bench: bench.into(),
        })
    }

    /// The packages of these names, or all that have the bench; also those that have a baseline without it, so that no
    /// bench goes unseen.
    ///
    /// # Errors
    /// If a name has neither, or no package has.
    pub fn guarded(&self, names: &[String]) -> Result<Vec<&Package>, Error> {
        let all: Vec<&Package> = self
            .packages
            .iter()
            .filter(|package| package.has_bench || package.baseline().exists())
            .collect();
        let missing = |name: Option<&String>| Error::NoBench {
            name: name.cloned(),
            bench: self.bench.clone(),
            candidates: all.iter().map(|package| package.name.clone()).collect(),
        };
        match names {
            [] if all.is_empty() => Err(missing(None)),
            [] => Ok(all),
            names => names
                .iter()
                .map(|name| {
                    all.iter()
                        .copied()
                        .find(|package| package.name == *name)
                        .ok_or_else(|| missing(Some(name)))
                })
                .collect(),
        }
    }

    /// The package of this name.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The version of iai-callgrind that Cargo.lock names.
    ///
    /// # Errors
    /// If there is no Cargo.lock, or it names none.
    pub fn iai_callgrind(&self) -> Result<String, Error> {
        let path = self.root.join("Cargo.lock");
        let lock = fs::read_to_string(&path).unwrap_or_default();
        version(&lock, "iai-callgrind").ok_or(Error::NoLibrary { path })
    }

    /// A path as it is shown: within the workspace if it is there.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// The cargo that runs this program, if one does.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn version(lock: &str, name: &str) -> Option<String> {
    let name = format!("name = \"{name}\"");
    let line = lock.lines().skip_while(|line| *line != name).nth(1)?;
    Some(line.strip_prefix("version = \"")?.strip_suffix('"')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_package_itself() {
        let lock = "[[package]]\nname = \"iai-callgrind-runner\"\nversion = \"9.9.9\"\n\n\
                    [[package]]\nname = \"iai-callgrind\"\nversion = \"0.16.1\"\n";
        assert_eq!(version(lock, "iai-callgrind").as_deref(), Some("0.16.1"));
        assert_eq!(version(lock, "iai"), None);
        assert_eq!(version("", "iai-callgrind"), None);
    }

    #[test]
    fn a_baseline_lies_with_the_benches() {
        for (folder, expected) in [
            ("/repository/plugins/kv", "/repository/plugins/kv/benches/baseline.ron"),
            ("/repository/benches", "/repository/benches/baseline.ron"),
            ("/repository", "/repository/benches/baseline.ron"),
        ] {
            let package = Package { name: "any".into(), folder: folder.into(), has_bench: true };
            assert_eq!(package.baseline(), Path::new(expected));
        }
    }
}
