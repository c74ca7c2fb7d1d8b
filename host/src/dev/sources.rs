//! Which files are sources, and the watch on them.
//!
//! Folders are watched by what they are for rather than whole: a package's folder may hold `target`, with files by the thousand.

use super::session::Event;
use crate::run::say;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::Sender,
};

/// Where the sources of a build lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    packages: Vec<PathBuf>,
    /// Whose own Rust and TOML files count: manifests, build scripts.
    folders: Vec<PathBuf>,
    /// In which every file counts, at any depth.
    trees: Vec<PathBuf>,
}

impl Sources {
    /// Counts the manifest and the `src` of this package.
    pub fn add_package(&mut self, folder: &Path) {
        self.packages.push(folder.to_owned());
        self.add_folder(folder);
        self.add_tree(&folder.join("src"));
    }

    /// Whether this package is counted.
    pub fn has_package(&self, folder: &Path) -> bool {
        self.packages.iter().any(|package| package == folder)
    }

    /// Counts the Rust and TOML files of this folder, and none below it.
    pub fn add_folder(&mut self, folder: &Path) {
        add(&mut self.folders, folder);
    }

    /// Counts every file in this folder.
    pub fn add_tree(&mut self, folder: &Path) {
        add(&mut self.trees, folder);
    }

    /// Counts those of another build as well.
    pub fn extend(&mut self, other: &Sources) {
        self.packages.extend(other.packages.iter().cloned());
        other.folders.iter().for_each(|folder| self.add_folder(folder));
        other.trees.iter().for_each(|tree| self.add_tree(tree));
    }

    /// Whether a change of this file is a reason to build.
    pub fn has(&self, file: &Path) -> bool {
        let in_tree = |tree: &PathBuf| {
            file.strip_prefix(tree).is_ok_and(|below| !below.iter().any(is_of_an_editor))
        };
        self.trees.iter().any(in_tree) || self.has_beside(file)
    }

    fn has_beside(&self, file: &Path) -> bool {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return false };
        let counts = file.extension().is_some_and(|ending| ending == "rs" || ending == "toml");
        counts && !is_of_an_editor(name) && self.folders.iter().any(|own| own == folder)
    }

    #[cfg(test)]
    pub fn folders(&self) -> (&[PathBuf], &[PathBuf]) {
        (&self.folders, &self.trees)
    }
}

fn add(folders: &mut Vec<PathBuf>, folder: &Path) {
    if !folders.iter().any(|own| own == folder) {
        folders.push(folder.to_owned());
    }
}

/// Hidden files, and what vim, Emacs, Kate and the JetBrains editors write beside a file while they save it.
fn is_of_an_editor(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    let endings = ["~", ".swp", ".swx", ".tmp", ".bak", "___jb_tmp___", "___jb_old___"];
    name.starts_with(['.', '#'])
        || name == "4913"
        || endings.iter().any(|ending| name.ends_with(ending))
}

/// Tells of every save, as long as what it answers is kept.
///
/// # Errors
/// If the system gives no watch at all; a folder that cannot be watched is told of.
pub fn watch(sources: &[&Sources], sender: Sender<Event>) -> io::Result<RecommendedWatcher> {
    let tell = move |told: notify::Result<notify::Event>| {
        for event in saves(told) {
            // Nobody listens when the host has ended.
            let _ = sender.send(event);
        }
    };
    let mut watcher = notify::recommended_watcher(tell).map_err(io::Error::other)?;
    for one in sources {
        watch_each(&mut watcher, &one.folders, RecursiveMode::NonRecursive);
        watch_each(&mut watcher, &one.trees, RecursiveMode::Recursive);
    }
    Ok(watcher)
}

fn watch_each(watcher: &mut RecommendedWatcher, folders: &[PathBuf], mode: RecursiveMode) {
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        if let Err(error) = watcher.watch(folder, mode) {
            say(&format!("cannot watch {}: {error}; restart after a change", folder.display()));
        }
    }
}

/// Reading is no save, and cargo reads the sources itself.
pub fn saves(told: notify::Result<notify::Event>) -> Vec<Event> {
    match told {
        Ok(event) if event.need_rescan() => vec![Event::Missed],
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => Vec::new(),
        Ok(event) => event.paths.into_iter().map(Event::Saved).collect(),
        Err(_) => vec![Event::Missed],
    }
}
