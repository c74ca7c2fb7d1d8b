//! What `mycelia status --json` and `GET /status` say: a stable interface.

use crate::{letters::LettersStatus, readings::RouteReading};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Seconds since the host started.
    pub uptime_s: f64,
    /// Worker threads.
    pub workers: usize,
    /// Threads that are lost in subsystems; others have taken the places of workers among them.
    #[serde(default)]
    pub lost_threads: u64,
    /// By name.
    pub subsystems: BTreeMap<String, SubsystemStatus>,
    /// Generations that are no longer served and not yet unloaded.
    pub retained_generations: Vec<RetainedGeneration>,
    /// The messages that could not be handled and are kept.
    #[serde(default)]
    pub dead_letters: LettersStatus,
    /// Whether the config file no longer says what the host was started with; a restart takes it up.
    #[serde(default)]
    pub config_changed: bool,
    /// Resident memory of the process.
    pub memory_rss_bytes: u64,
}

/// Where a subsystem is in its life.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Phase {
    #[default]
    Starting,
    Running,
    Reloading,
    Restarting,
    Stopping,
    Stopped,
}

impl Phase {
    /// Whether a subsystem in it serves: one that is being reloaded accepts messages all along.
    pub fn serves(self) -> bool {
        matches!(self, Phase::Running | Phase::Reloading)
    }

    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Reloading => "reloading",
            Phase::Restarting => "restarting",
            Phase::Stopping => "stopping",
            Phase::Stopped => "stopped",
        }
    }
}

/// One subsystem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubsystemStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Counts the loaded builds, from 1.
    pub generation: u32,
    /// BLAKE3 of the library's bytes, in hex.
    pub hash: String,
    /// Its queue.
    pub queue: QueueStatus,
    /// Where its messages went.
    pub ledger: LedgerStatus,
    /// Where its own requests went.
    pub requests: RequestsStatus,
    /// How many events it has published.
    #[serde(default)]
    pub published: u64,
    /// Which instance serves, each of which has another number; 0 while none does.
    #[serde(default)]
    pub incarnation: u32,
    /// How often it was restarted after a fault.
    pub restarts: u64,
    /// How often a handler ran past `handler_limit`, so that its message was given up.
    #[serde(default)]
    pub hung: u64,
    /// Threads that are lost in it: those of handlers that hang, until they return, and those that it would have ended the
    /// host with, by `abort` or `exit`, which are parked for good.
    #[serde(default)]
    pub lost_threads: u64,
    /// Bytes that the plugin's own heap holds; 0 where it has an allocator of its own.
    #[serde(default)]
    pub memory: u64,
    /// How its reloads went.
    pub reloads: ReloadsStatus,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// What the plugin counts by itself, by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, u64>,
}

/// What `kernel://query/statistics` answers: of every subsystem, and of the kernel itself, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Where its messages went.
    pub ledger: LedgerStatus,
    /// Where its own requests went.
    pub requests: RequestsStatus,
    /// How many events it has published.
    pub published: u64,
}

/// What `kernel://query/subsystems` answers: one for each, in the order of the config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsystemSummary {
    /// As the config names it.
    pub name: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Counts the loaded builds, from 1.
    pub generation: u32,
}

/// What `kernel://query/health` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether every required subsystem runs and the host does not stop.
    pub ready: bool,
    /// The subsystems that do not run, required or not.
    pub down: Vec<String>,
}

/// A row of what `kernel://query/routes` answers: by subsystem, what it serves at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// As the plugin declares it.
    pub pattern: String,
    /// `anyone` sends to it, the `host` alone does, it is an `event`, or it is a `listener` of one.
    pub reach: String,
    /// The scope that it requires of others, by its full name.
    pub scope: Option<String>,
}

/// A row of what `GET /routes` answers: a route, and how its messages ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCounts {
    /// The route.
    #[serde(flatten)]
    pub route: RouteStatus,
    /// Of those that left the queue.
    #[serde(flatten)]
    pub ends: RouteReading,
}

/// What `kernel://subsystem/{name}/{restart,stop}` answers, and what anybody is answered who reloads itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Whom it was about.
    pub subsystem: String,
    /// Where it is in its life by then.
    pub phase: Phase,
    /// The build that serves it.
    pub generation: u32,
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Messages that wait.
    pub depth: u64,
    /// How many may.
    pub capacity: u64,
    /// What happens to the next one then.
    pub policy: String,
}

/// Every accepted message is in exactly one column; `rejected` and `denied` were never accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns of the ledger")]
pub struct LedgerStatus {
    pub accepted: u64,
    pub handled: u64,
    pub failed: u64,
    pub dropped_oldest: u64,
    pub dropped_newest: u64,
    pub expired: u64,
    pub dead: u64,
    pub queued: u64,
    pub in_flight: u64,
    pub rejected: u64,
    pub denied: u64,
}

impl LedgerStatus {
    /// Whether every accepted message is accounted for.
    pub fn balances(&self) -> bool {
        let ends = self.handled
            + self.failed
            + self.dropped_oldest
            + self.dropped_newest
            + self.expired
            + self.dead;
        self.accepted == ends + self.queued + self.in_flight
    }
}

/// A subsystem's own requests: `asked = answered + failed + timed_out + cancelled + pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns say it")]
pub struct RequestsStatus {
    pub asked: u64,
    pub answered: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub cancelled: u64,
    pub pending: u64,
}

/// How reloads went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns say it")]
pub struct ReloadsStatus {
    pub committed: u64,
    pub refused: u64,
    pub rolled_back: u64,
}

/// A generation that is no longer served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetainedGeneration {
    /// Whose.
    pub subsystem: String,
    /// Which.
    pub generation: u32,
    /// `retiring` or `retained`.
    pub phase: String,
    /// Why.
    pub reason: String,
}
