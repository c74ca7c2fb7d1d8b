//! The directories of the files, and the system's notifications of them.
//!
//! The system watches what a path led to once; so it is compared with what the path leads to now, again and again.

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher, recommended_watcher};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Device and inode.
type Id = (u64, u64);

/// The watched directories.
pub struct Folders {
    /// Absolute, with what each led to when the system was asked to watch it.
    watched: Vec<(PathBuf, Option<Id>)>,
    /// Nothing if the files are polled alone.
    watcher: Option<RecommendedWatcher>,
    is_logged: bool,
}

impl Folders {
    /// No directory: the files are polled.
    pub fn polled() -> Self {
        Folders { watched: Vec::new(), watcher: None, is_logged: false }
    }

    /// These directories, with what to call on an event. None is watched before [`Folders::keep`].
    pub fn notified(
        paths: BTreeSet<PathBuf>,
        notifier: impl Fn(notify::Result<notify::Event>) + Send + 'static,
    ) -> Self {
        let mut folders = Self::polled();
        match recommended_watcher(notifier) {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.log(&error),
        }
        folders.watched = paths.into_iter().map(|path| (path, None)).collect();
        folders
    }

    /// Whether this path is one of them.
    pub fn contains(&self, path: &Path) -> bool {
        self.watched.iter().any(|(folder, _)| folder == path)
    }

    /// What is watched is no longer known: a directory is gone, and what takes its place may have its number.
    pub fn forget(&mut self) {
        self.watched.iter_mut().for_each(|(_, id)| *id = None);
    }

    /// Watches all of them anew if one leads elsewhere than it did.
    /// All, because two paths to one directory share a watch, and lose it together.
    pub fn keep(&mut self) {
        let is_kept = self.watched.iter().all(|(path, known)| id(path) == *known);
        let Some(watcher) = self.watcher.as_mut().filter(|_| !is_kept) else { return };
        let mut refused = None;
        for (path, known) in &mut self.watched {
            // First, so that one which is replaced meanwhile is seen to differ the next time.
            *known = id(path);
            // It is an error if it was not watched, or is gone.
            let _ = watcher.unwatch(path);
            match known.map_or(Ok(()), |_| watcher.watch(path, RecursiveMode::NonRecursive)) {
                Ok(()) => {}
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => *known = None,
                Err(error) => refused = Some(error),
            }
        }
        refused.iter().for_each(|error| self.log(error));
    }

    fn log(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::warn!(
                "the system does not tell of changed plugins, so their files are looked at once a second: {error}; \
                 if a limit is reached, raise fs.inotify.max_user_instances or fs.inotify.max_user_watches"
            );
        }
    }
}

fn id(path: &Path) -> Option<Id> {
    fs::metadata(path).ok().map(|folder| (folder.dev(), folder.ino()))
}
