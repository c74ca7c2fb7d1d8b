//! The host's configuration: one RON file, read whole, with every mistake listed at once.
//!
//! Reading goes level by level, so that each value keeps its place in the file: a mistake that is found
//! later, by a plugin in its own `config` say, is shown in the same way as one that is found here.

pub mod amounts;
mod effective;
mod fields;
mod mistakes;
mod read;
mod syntax;
mod value;
mod words;

#[cfg(test)]
mod tests;

pub use mistakes::{Mistake, Mistakes};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the operator's file says, with every default filled in.
///
/// Holding one proves that each value is of its kind and in its range, and that names are unique and not
/// reserved; it does not prove that a plugin exists or accepts its part.
/// Two configs are equal when they say the same, wherever it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Threads that run handlers, 1 to 1,024.
    pub workers: usize,
    /// The control server.
    pub control: Control,
    /// Folder of the subsystems' own folders; may be relative to where the host runs.
    pub data: PathBuf,
    /// Bytes for the bodies of all messages.
    pub pool: u64,
    /// How long a request may take that names no deadline.
    pub ask_deadline: Duration,
    /// How long a stop waits for the queues to empty.
    pub drain_timeout: Duration,
    /// How long an idle worker looks for work before it parks.
    pub spin: Duration,
    /// What is kept of messages that nobody could handle.
    pub dead_letters: DeadLetters,
    /// Every subsystem with its name, in the order of the file.
    pub subsystems: Vec<(String, Subsystem)>,
    source: Aside<Arc<mistakes::Source>>,
}

impl Config {
    /// Reads a config from text, with the defaults of this machine.
    ///
    /// # Errors
    /// Every mistake of the text.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Mistakes> {
        Self::parse_with(file_name, text, &Defaults::of_host())
    }

    /// Reads a config from text.
    ///
    /// # Errors
    /// Every mistake of the text.
    pub fn parse_with(file_name: &str, text: &str, defaults: &Defaults) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::new(file_name, text);
        // Some editors put a byte order mark before the text.
        let ron = text.trim_start_matches('\u{feff}');
        let offset = text.len() - ron.len();
        if ron.trim().is_empty() {
            mistakes.push_file(
                "the config is empty",
                format!("write at least {}", fields::CONFIG.example),
            );
            return Err(mistakes);
        }
        if !syntax::is_ron(ron, offset, &mut mistakes) {
            return Err(mistakes);
        }
        let config = read::config(value::Value::document(ron, offset), defaults, &mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes.sorted()) }
    }

    /// Reads a config from a file, with the defaults of this machine.
    ///
    /// # Errors
    /// Every mistake of the file; also when it cannot be read, or is not text.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Mistakes> {
        let path = path.as_ref();
        let file_name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| unreadable(&file_name, &error))?;
        let text = String::from_utf8(bytes).map_err(|error| not_text(&file_name, &error))?;
        Self::parse(&file_name, &text)
    }

    /// The config as RON, every default spelled out and explained; reading it gives an equal config.
    pub fn effective(&self) -> String {
        effective::text(self)
    }

    /// The subsystem of this name.
    pub fn subsystem(&self, name: &str) -> Option<&Subsystem> {
        self.subsystems.iter().find(|(other, _)| other == name).map(|(_, subsystem)| subsystem)
    }

    /// No mistakes yet in the file that this config was read from, to add those that are found later.
    pub fn mistakes(&self) -> Mistakes {
        Mistakes::of(Arc::clone(&self.source))
    }
}

/// The control server: status, actions, and the CLI's other end.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Where it listens; anything but loopback was asked for explicitly.
    pub listen: SocketAddr,
    /// Full scope names that the operator has, or `*` for all.
    pub grants: Vec<String>,
}

/// What is kept of messages that nobody could handle; the newest stay.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetters {
    /// Most that are kept.
    pub count: usize,
    /// Most bytes that they take.
    pub bytes: u64,
    /// Where they outlive the host; may be relative to the folder `data`. None for nowhere.
    pub file: Option<PathBuf>,
}

/// One subsystem: which plugin serves it, and within which limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Subsystem {
    /// A name in the plugin path, or the path of a library.
    pub plugin: String,
    /// What waits, and what happens when it is full.
    pub queue: Queue,
    /// Most messages handed over in one call, 1 to 4,096.
    pub batch: usize,
    /// Share of the workers, 1 to 1,000.
    pub weight: u32,
    /// Whether the host refuses to start without it.
    pub required: bool,
    /// Longest time for one message or lifecycle call.
    pub handler_limit: Duration,
    /// Most requests of its own that may be open at once, 1 to 65,535.
    pub max_asks: usize,
    /// What follows a panic.
    pub restart: Restart,
    /// How often the state is kept for a restart; none for never.
    pub snapshot: Option<Duration>,
    /// What a restart continues from.
    pub on_restart: OnRestart,
    /// What becomes of the state when a new build takes over.
    pub on_reload: OnReload,
    /// How long the old build stands by after a reload.
    pub probation: Probation,
    /// Full names of other subsystems' scopes that it may use.
    pub grants: Vec<String>,
    /// Most bytes of the pool that its messages may take; at most the pool.
    pub pool_quota: u64,
    /// Most bytes of the plugin's own heap; none for no limit.
    pub memory: Option<u64>,
    /// The plugin's own part.
    pub config: Fragment,
    /// Where its parts stand in the file.
    pub places: Aside<Places>,
}

/// The bounded queue of a subsystem.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Most messages that wait, 1 to 16,777,216.
    pub capacity: usize,
    /// What happens to one more.
    pub policy: Policy,
}

/// What happens to a message that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The oldest makes room.
    DropOldest,
    /// The new one is dropped.
    DropNewest,
    /// The sender gets an error and its message back.
    Reject,
    /// An outside sender waits this long; for a worker it is `Reject`.
    Block(Duration),
}

/// How often a subsystem may be restarted after a panic.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// Most restarts within the time below; one more stops the subsystem.
    pub max: u32,
    /// The time in which restarts are counted.
    pub within: Duration,
    /// Wait before the first restart.
    pub backoff: Duration,
}

/// What a restart continues from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRestart {
    /// The last snapshot.
    Snapshot,
    /// Nothing.
    Fresh,
}

/// What becomes of a subsystem's state when a new build takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReload {
    /// The new build gets it, and is refused if it does not take it; one that keeps no state starts fresh.
    Keep,
    /// The new build starts fresh.
    Reset,
    /// As `Keep`, but a build that keeps no state is refused, too, and so is one when the old build cannot save.
    RefuseIfLost,
}

/// How long the old build stands by after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Probation {
    /// Over after so many messages.
    pub messages: u64,
    /// Or after this time, whichever is first.
    pub for_: Duration,
    /// More panics than this bring the old build back.
    pub panics: u32,
}

/// A plugin's own part of the file, as it stands there; `()` if the file gives none.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// RON text, whose syntax is good.
    pub text: String,
    /// Bytes of the file before it; those before the subsystem's name if the file gives none.
    pub offset: usize,
}

impl Fragment {
    /// The bytes of the file for a range of this text, to point at what the plugin found wrong.
    pub fn place(&self, within: Range<usize>) -> Range<usize> {
        let end = within.end.min(self.text.len());
        self.offset + within.start.min(end)..self.offset + end
    }
}

impl PartialEq for Fragment {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Byte ranges of a subsystem's parts in the file, for mistakes that are found later.
#[derive(Clone, Debug)]
pub struct Places {
    /// Its name.
    pub name: Range<usize>,
    /// Its plugin.
    pub plugin: Range<usize>,
    /// Each of its grants, in order.
    pub grants: Vec<Range<usize>>,
}

/// Something beside the point: takes no part in comparisons.
#[derive(Clone, Debug)]
pub struct Aside<T>(pub T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The defaults that are not the same everywhere.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// See [`Config::workers`].
    pub workers: usize,
    /// See [`Config::data`].
    pub data: PathBuf,
}

impl Defaults {
    /// Those of this process: all cores, and the folder that its supervisor gives it.
    pub fn of_host() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, std::env::var_os("STATE_DIRECTORY"))
    }

    /// Those for so many cores and this value of `$STATE_DIRECTORY`, of which the first folder counts.
    pub fn new(cores: usize, state_directory: Option<OsString>) -> Self {
        let folders = state_directory.unwrap_or_default();
        let first = std::env::split_paths(&folders).find(|folder| !folder.as_os_str().is_empty());
        Self { workers: cores.clamp(1, 1024), data: first.unwrap_or_else(|| "mycelia-data".into()) }
    }
}

fn unreadable(file_name: &str, error: &std::io::Error) -> Mistakes {
    let mut mistakes = Mistakes::new(file_name, "");
    mistakes.push_file(
        format!("cannot be read: {error}"),
        "give the path of a RON file that exists and may be read",
    );
    mistakes
}

fn not_text(file_name: &str, error: &std::string::FromUtf8Error) -> Mistakes {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes()[at];
    let mut mistakes = Mistakes::new(file_name, &String::from_utf8_lossy(error.as_bytes()));
    let message = format!("the file is not UTF-8 text: byte 0x{byte:02x} at offset {at}");
    mistakes.add(at..at, message, "a config is RON text; is this the right file?");
    mistakes
}
