//! One file: when to look at it, and whether what is there is news.

use super::{Change, Pace};
use crate::loader::{Image, LoadError};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The least time between two reads; more if a read takes longer.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits before each next look at an incomplete file, in milliseconds; the last one is repeated.
const STEPS: [u64; 7] = [5, 10, 20, 50, 100, 200, 500];

/// A watched file.
pub struct File {
    path: PathBuf,
    /// Hash of the content that was last reported, loaded or tried.
    tried: String,
    /// What was last reported without content, until the file can be read again.
    told: Option<Found>,
    /// The file as it was before the last look; nothing if there was none.
    stamp: Option<Stamp>,
    incomplete: Option<Incomplete>,
    due: Option<Instant>,
    /// Not read earlier.
    paused: Option<Instant>,
    /// Whether the last pause was cut short, so that the next is not.
    is_hurried: bool,
    /// The last event since the last look.
    event: Option<Instant>,
}

/// What a look found.
#[derive(Clone, PartialEq, Eq)]
enum Found {
    /// Bytes with this hash.
    Bytes(String),
    /// No bytes, for this reason, in a file of this time of modification.
    Nothing { why: String, modified: Option<(i64, i64)> },
}

/// A file that is being written, or was cut.
struct Incomplete {
    found: Found,
    since: Instant,
    looks: usize,
}

/// What changes with the content without being read: device, inode, size, times of modification and of change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let file = fs::metadata(path).ok()?;
        Some(Stamp {
            file: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl File {
    /// A file from which content of this hash was loaded.
    pub fn new(path: PathBuf, hash: String) -> Self {
        let [due, paused, event] = [None; 3];
        let (told, stamp, incomplete) = (None, None, None);
        File { path, tried: hash, told, stamp, incomplete, due, paused, is_hurried: false, event }
    }

    /// As it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When to look at it, if that is known.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// This content is known by other means.
    pub fn tried(&mut self, hash: &str) {
        self.tried = hash.into();
    }

    /// Something was written, and more may follow. The close that ends it may have no event, so this one counts too.
    pub fn written(&mut self, at: Instant) {
        self.event = Some(at);
        if self.incomplete.is_none() {
            self.wake(at + PAUSE);
        }
    }

    /// Whatever is there may be whole.
    pub fn replaced(&mut self, at: Instant) {
        self.event = Some(at);
        if !self.is_hurried {
            (self.paused, self.is_hurried) = (None, true);
        }
        self.wake(at);
    }

    /// Whether it still is what was last seen. What kept it from being read may be over without a trace in it.
    pub fn compare(&mut self, now: Instant) {
        let is_new = self.told.is_some() || Stamp::of(&self.path) != self.stamp;
        if is_new && self.incomplete.is_none() {
            self.wake(now);
        }
    }

    fn wake(&mut self, at: Instant) {
        let at = self.paused.map_or(at, |paused| paused.max(at));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Reads it, and says what is new.
    pub fn look(&mut self, now: Instant, pace: &Pace) -> Option<Change> {
        self.due = None;
        let seen = self.event.take().unwrap_or(now);
        self.restamp(now, pace);
        let result = Image::read(&self.path);
        self.pause(now, &result);
        let found = Found::of(&result, self.stamp);
        if is_missing(&result) || self.is_known(&found) {
            self.incomplete = None;
            return None;
        }
        let result = result.and_then(whole);
        if result.as_ref().is_err_and(LoadError::is_incomplete)
            && let Some(next) = self.wait(&found, &result, now, pace.patience)
        {
            self.wake(next);
            return None;
        }
        self.incomplete = None;
        match found {
            Found::Bytes(hash) => self.tried = hash,
            nothing => self.told = Some(nothing),
        }
        Some(Change { path: self.path.clone(), result, seen })
    }

    /// Two writes within a tick of the file system's clock, of some milliseconds, leave the same stamp.
    /// So a new one is not relied on until the file was read once more.
    fn restamp(&mut self, now: Instant, pace: &Pace) {
        let stamp = Stamp::of(&self.path);
        if stamp.is_some() && stamp != self.stamp {
            self.wake(now + pace.poll);
        }
        self.stamp = stamp;
    }

    /// However often the file changes, it is not read all the time.
    fn pause(&mut self, start: Instant, result: &Result<Image, LoadError>) {
        self.is_hurried &= self.paused.is_none();
        let has_read = matches!(result, Ok(_) | Err(LoadError::Changed { .. }));
        let end = Instant::now().max(start);
        self.paused = has_read.then(|| end + PAUSE.max(end - start));
    }

    fn is_known(&mut self, found: &Found) -> bool {
        match found {
            Found::Bytes(hash) => {
                self.told = None;
                *hash == self.tried
            }
            nothing => self.told.as_ref() == Some(nothing),
        }
    }

    /// When to look again at an incomplete file; nothing if it was left so for too long.
    fn wait(
        &mut self,
        found: &Found,
        result: &Result<Image, LoadError>,
        now: Instant,
        patience: Duration,
    ) -> Option<Instant> {
        let (before, looks) = match self.incomplete.take() {
            Some(before) => (Some((before.found, before.since)), before.looks),
            None => (None, 0),
        };
        let is_changing = matches!(result, Err(LoadError::Changed { .. }));
        let since = match before {
            Some((before, since)) if before == *found && !is_changing => since,
            _ => now,
        };
        let step = Duration::from_millis(STEPS[looks.min(STEPS.len() - 1)]);
        self.incomplete = Some(Incomplete { found: found.clone(), since, looks: looks + 1 });
        (now < since + patience).then(|| (now + step).min(since + patience))
    }
}

impl Found {
    fn of(result: &Result<Image, LoadError>, stamp: Option<Stamp>) -> Self {
        match result {
            Ok(image) => Found::Bytes(image.hash().into()),
            Err(error) => Found::Nothing {
                why: error.to_string(),
                modified: stamp.map(|stamp| stamp.modified),
            },
        }
    }
}

/// A file that is not there is neither a change nor an error: it may come back.
fn is_missing(result: &Result<Image, LoadError>) -> bool {
    use ErrorKind::{NotADirectory, NotFound};
    matches!(result, Err(LoadError::Unreadable { cause, .. }) if matches!(cause.kind(), NotFound | NotADirectory))
}

/// The image, unless it is incomplete. It may be wrong in any other way.
fn whole(image: Image) -> Result<Image, LoadError> {
    match image.check_complete() {
        Err(error) if error.is_incomplete() => Err(error),
        _ => Ok(image),
    }
}
