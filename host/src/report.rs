//! What is told of a reload: in the log, on the command line, and to programs.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A reload that was committed. Its JSON form is a stable interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whose.
    pub subsystem: String,
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Which build serves now, counted from 1.
    pub generation: u32,
    /// BLAKE3 of the library's bytes, in hex.
    pub hash: String,
    /// What became of the old build's state.
    pub state: StateFate,
    /// How large it is.
    pub state_bytes: u64,
    /// How long it took.
    pub times: ReloadTimes,
}

/// What became of the state of the old build.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateFate {
    /// The new build has it.
    Kept,
    /// The new build has it in another form.
    Migrated,
    /// The new build started with none.
    Fresh,
}

/// The phases of a reload; microseconds in JSON. Nothing of the subsystem runs in `snapshot` and `pause`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadTimes {
    /// From the moment when the file was whole, or the reload was asked for, until the new build served.
    #[serde(rename = "total_us", with = "micros")]
    pub total: Duration,
    /// Until its bytes were read, waiting for other reloads included.
    #[serde(rename = "read_us", with = "micros")]
    pub read: Duration,
    /// Checking them without executing any.
    #[serde(rename = "check_us", with = "micros")]
    pub check: Duration,
    /// Trying them in a child process.
    #[serde(rename = "probe_us", with = "micros")]
    pub probe: Duration,
    /// Loading them into this one.
    #[serde(rename = "load_us", with = "micros")]
    pub load: Duration,
    /// Restoring the old build's state into a throw-away instance.
    #[serde(rename = "rehearsal_us", with = "micros")]
    pub rehearsal: Duration,
    /// The pause in which the state for that was saved.
    #[serde(rename = "snapshot_us", with = "micros")]
    pub snapshot: Duration,
    /// The plugin's part of it.
    #[serde(rename = "snapshot_save_us", with = "micros")]
    pub snapshot_save: Duration,
    /// Creating the instance that was to serve.
    #[serde(rename = "create_us", with = "micros")]
    pub create: Duration,
    /// Waiting for the batch that ran.
    #[serde(rename = "wait_us", with = "micros")]
    pub wait: Duration,
    /// The pause in which the new build took over.
    #[serde(rename = "pause_us", with = "micros")]
    pub pause: Duration,
    /// The plugin's part of it: until its threads had ended and `stop` returned.
    #[serde(rename = "stop_us", with = "micros")]
    pub stop: Duration,
    /// Likewise.
    #[serde(rename = "save_us", with = "micros")]
    pub save: Duration,
    /// Likewise.
    #[serde(rename = "restore_us", with = "micros")]
    pub restore: Duration,
    /// Likewise.
    #[serde(rename = "start_us", with = "micros")]
    pub start: Duration,
}

impl ReloadTimes {
    /// The host's share of both pauses.
    pub fn host_pause(&self) -> Duration {
        let plugins = self.stop + self.save + self.restore + self.start + self.snapshot_save;
        (self.pause + self.snapshot).saturating_sub(plugins)
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReloadReport { plugin, version, generation, hash, times, .. } = self;
        let short = &hash[..hash.len().min(12)];
        write!(f, "reloaded: generation {generation} ({plugin} {version}, {short}) serves after ")?;
        write!(f, "{}; state {}", Millis(times.total), self.state)?;
        if self.state != StateFate::Fresh {
            write!(f, " ({} bytes)", self.state_bytes)?;
        }
        let (pause, host) = (times.pause + times.snapshot, times.host_pause());
        write!(f, "; paused {}, of which the host's {}", Millis(pause), Millis(host))?;
        write!(f, "; probed in {}", Millis(times.probe))
    }
}

impl fmt::Display for StateFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateFate::Kept => "kept",
            StateFate::Migrated => "migrated",
            StateFate::Fresh => "fresh",
        })
    }
}

/// A duration in milliseconds.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms", self.0.as_secs_f64() * 1e3)
    }
}

mod micros {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        (time.as_micros() as u64).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
