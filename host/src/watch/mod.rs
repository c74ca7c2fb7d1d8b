//! Notices that a plugin's file has new content, and hands its bytes over once they are whole.
//!
//! What becomes of the bytes is decided elsewhere; nothing here knows a plugin or the runtime.
//! An event only says when to look, and the hash of what was read decides: a file that is touched, or comes back as it
//! was, is no change. Directories are watched and not files, since a build replaces its file and does not write to it.
//!
//! Once a second the files are also compared with how they were last seen. That finds what no event tells of: a symlink
//! on the way that points elsewhere, a directory that was replaced, a network file system, a lost event.
//! Such a change is noticed within a second, any other within a millisecond.

mod file;
mod folders;
#[cfg(test)]
mod tests;

use crate::loader::{Image, LoadError};
use file::File;
use folders::Folders;
use notify::{
    Event,
    EventKind::{Access, Modify, Remove},
    event::{AccessKind, AccessMode, ModifyKind},
};
use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

/// Watches the files of plugins. Dropping it ends its thread, which it waits for: a [`Change`] is not the place for that.
pub struct Watch {
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// A file to watch.
pub struct Watched {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// BLAKE3, in hex, of the bytes that were loaded from it.
    pub hash: String,
}

/// A file with other content than was last tried.
pub struct Change {
    /// As it was given to [`Watch::start`].
    pub path: PathBuf,
    /// Its bytes, which nobody has checked; or why there are none, which includes that it stays incomplete.
    pub result: Result<Image, LoadError>,
    /// When the content was first noticed: the event that completed it, or the look that found it.
    pub seen: Instant,
}

impl Watch {
    /// Watches these files from now on; `changed` is called on a thread of the watch.
    /// A file that is given twice is reported once. One whose content is no longer what was loaded is reported at once.
    /// A system without notifications is no error: it is polled, and that is logged.
    ///
    /// # Errors
    /// The thread cannot start.
    pub fn start(
        files: Vec<Watched>,
        changed: impl FnMut(Change) + Send + 'static,
    ) -> io::Result<Watch> {
        Self::start_with(files, Pace::default(), changed)
    }

    fn start_with(
        files: Vec<Watched>,
        pace: Pace,
        changed: impl FnMut(Change) + Send + 'static,
    ) -> io::Result<Watch> {
        let (signals, inbox) = channel();
        let folders = files.iter().map(|file| folder(&file.path)).collect::<io::Result<_>>()?;
        let folders = match pace.is_notified {
            true => Folders::notified(folders, notifier(&signals)),
            false => Folders::polled(),
        };
        let files = tracked(files);
        let watcher = Watcher { files, folders, changed, pace, next_poll: Instant::now() };
        let thread =
            Builder::new().name("mycelia-watch".into()).spawn(move || watcher.run(&inbox))?;
        Ok(Watch { signals, thread: Some(thread) })
    }

    /// This content is tried by other means, so that it is not reported.
    pub fn tried(&self, path: &Path, hash: &str) {
        // A thread that has ended reports nothing.
        let _ = self.signals.send(Signal::Tried { path: path.into(), hash: hash.into() });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its hook.
            let _ = thread.join();
        }
    }
}

/// How often, and how long.
struct Pace {
    /// Between two comparisons of all files.
    poll: Duration,
    /// For a file that is incomplete, from its last change.
    patience: Duration,
    is_notified: bool,
}

impl Default for Pace {
    fn default() -> Self {
        let [poll, patience] = [1, 10].map(Duration::from_secs);
        Pace { poll, patience, is_notified: true }
    }
}

enum Signal {
    Event { at: Instant, event: notify::Result<Event> },
    Tried { path: PathBuf, hash: String },
    Stop,
}

/// What notify calls, on a thread of its own.
fn notifier(signals: &Sender<Signal>) -> impl Fn(notify::Result<Event>) + Send + 'static {
    let signals = signals.clone();
    move |event| {
        let is_of_use = event.as_ref().map_or(true, |event| match event.kind {
            // Reading a file opens it, which is an event too.
            Access(access) => access == AccessKind::Close(AccessMode::Write),
            Modify(ModifyKind::Metadata(_)) => false,
            _ => true,
        });
        if is_of_use {
            // Nobody listens once the watch has ended.
            let _ = signals.send(Signal::Event { at: Instant::now(), event });
        }
    }
}

/// The directory of a file, as notify names it in events.
fn folder(file: &Path) -> io::Result<PathBuf> {
    let file = std::path::absolute(file)?;
    Ok(file.parent().unwrap_or(&file).to_owned())
}

/// Each path once. If two subsystems loaded different content from one path, whatever is there is new to one of them.
fn tracked(files: Vec<Watched>) -> Vec<File> {
    let mut hashes = BTreeMap::new();
    for Watched { path, hash } in files {
        let known = hashes.entry(path).or_insert_with(|| hash.clone());
        if *known != hash {
            known.clear();
        }
    }
    hashes.into_iter().map(|(path, hash)| File::new(path, hash)).collect()
}

/// The thread and what it knows.
struct Watcher<F> {
    files: Vec<File>,
    folders: Folders,
    changed: F,
    pace: Pace,
    next_poll: Instant,
}

impl<F: FnMut(Change)> Watcher<F> {
    fn run(mut self, inbox: &Receiver<Signal>) {
        loop {
            self.look(Instant::now());
            let wait = self.next_look().saturating_duration_since(Instant::now());
            let next = match inbox.recv_timeout(wait) {
                Ok(signal) => self.take(signal),
                Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
                Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
            };
            if next.is_break() {
                return;
            }
        }
    }

    fn next_look(&self) -> Instant {
        let due = self.files.iter().filter_map(File::due);
        due.fold(self.next_poll, Instant::min)
    }

    fn take(&mut self, signal: Signal) -> ControlFlow<()> {
        match signal {
            Signal::Event { at, event: Ok(event) } if !event.need_rescan() => {
                self.take_event(at, &event);
            }
            // Events were lost, so each file may have changed.
            Signal::Event { at, .. } => {
                self.next_poll = at;
                self.files.iter_mut().for_each(|file| file.replaced(at));
            }
            Signal::Tried { path, hash } => {
                let file = self.files.iter_mut().find(|file| file.path() == path);
                file.into_iter().for_each(|file| file.tried(&hash));
            }
            Signal::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// A file is known by its name alone: a directory that has two paths has its events under one of them.
    fn take_event(&mut self, at: Instant, event: &Event) {
        let is_gone = matches!(event.kind, Remove(_) | Modify(ModifyKind::Name(_)));
        for path in &event.paths {
            if is_gone && self.folders.contains(path) {
                self.folders.forget();
                self.next_poll = at;
            }
            let same_name = |file: &&mut File| file.path().file_name() == path.file_name();
            for file in self.files.iter_mut().filter(same_name) {
                match event.kind {
                    Modify(ModifyKind::Data(_)) => file.written(at),
                    _ => file.replaced(at),
                }
            }
        }
    }

    /// Looks at every file that is due.
    fn look(&mut self, now: Instant) {
        if self.next_poll <= now {
            self.next_poll = now + self.pace.poll;
            self.folders.keep();
            self.files.iter_mut().for_each(|file| file.compare(now));
        }
        for file in &mut self.files {
            if file.due().is_some_and(|due| due <= now)
                && let Some(change) = file.look(Instant::now(), &self.pace)
            {
                (self.changed)(change);
            }
        }
    }
}
