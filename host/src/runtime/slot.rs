//! What the host keeps of one subsystem. A slot outlives every instance, and is never freed while the host runs.

use super::{
    completions::{Completions, Room},
    generation::{Build, Generation, Instance},
    reload::State,
    streams::Streams,
    tally::Tally,
    template::Template,
};
use crate::{
    abi::Message,
    config::{self, OnReload, OnRestart, Probation, Restart},
    log,
    report::ReloadReport,
    status::{LedgerStatus, Phase, QueueStatus, ReloadsStatus, RequestsStatus, SubsystemStatus},
};
use crossbeam_utils::atomic::AtomicCell;
use mycelia_kernel::{
    asks::Asks,
    ids::SubsystemId,
    ledger::Ledger,
    queue::{Lane, Limits, Policy, Queue},
    scope::Grants,
    timers::{TimerId, Timers},
};
use mycelia_plugin::{
    Error, Handled,
    abi::host::{Counters, GuestThreads},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    net::TcpListener,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Most timers that a subsystem may have set, beside those of its table.
const MAX_TIMERS: usize = 1024;
/// Most requests that the operator of an ordinary host may have open.
pub const OPEN_REQUESTS: usize = 1024;

/// One subsystem.
// In this order in memory: what every turn asks for comes first and lies together, since with many subsystems each line of
// the cache that a turn touches has to be fetched.
#[repr(C)]
pub struct Slot {
    /// What waits for it.
    pub queue: Queue<Message>,
    /// Where its messages went.
    pub ledger: Ledger,
    /// The instance and what is left of its batch; whoever holds the subsystem takes it out and puts it back.
    // Not a lock: one whose handler hangs keeps what it took, and another one is put in its place.
    cell: AtomicCell<Option<Box<Cell>>>,
    /// Its number, which is also its place.
    pub id: SubsystemId,
    /// What is to be looked for in its batches, as bits of `looks`.
    pub looks: AtomicU8,
    /// The most verbose level that the plugin's lines are logged at.
    pub level: AtomicU8,
    /// Own threads of others that wait for room in the queue.
    pub room: Room,
    /// Its part of the config.
    pub settings: Settings,
    /// Counts instances; a handle with another one is stale. 0 while there is none.
    pub incarnation: AtomicU32,
    /// The instance that starts in place of the present one; 0 for none. Its handle is good, too.
    pub beside: AtomicU32,
    /// Its own requests.
    pub asks: Asks<Template>,
    /// Those of them that are answered in parts.
    pub streams: Streams,
    /// `u64::MAX` when nothing is planned.
    pub planned: AtomicU64,
    /// Its timers, and when the host looks at them and at the requests next.
    pub timers: Mutex<Timers<Message>>,
    /// The timers of its table, by route and period: they go on across instances.
    pub armed: Mutex<HashMap<(u16, u64), TimerId>>,
    /// The requests that a new instance has restored from saved state, or that one which is destroyed leaves behind.
    pub handover: Mutex<Handover>,
    /// Outcomes for the plugin's own threads.
    pub completions: Completions,
    /// What people ask about it.
    pub info: Mutex<Info>,
    threads: Mutex<Option<GuestThreads>>,
    /// Listening sockets, by address, which outlive every instance.
    pub listeners: Mutex<HashMap<String, TcpListener>>,
    /// Counts the events that it has published.
    pub published: AtomicU64,
    /// The plugin's own metrics, which go on across instances.
    pub counters: Counters,
    /// What is counted beside the ledger.
    pub tally: Tally,
    /// Its name.
    pub name: String,
    /// What a sender is told when the queue gives its message back: under load that is often, so it is made once.
    pub full: Error,
}

/// Bits of what the holder looks for in each batch, since few subsystems ever have it.
pub mod looks {
    /// Messages may wait for routes that this generation does not have.
    pub const LOST_ROUTES: u8 = 1;
    /// A message that is timed may wait.
    pub const STAMPS: u8 = 2;
}

/// What the host needs of the config while it runs.
// In this order for the same reason as `Slot`.
#[repr(C)]
pub struct Settings {
    /// Most messages a call.
    pub batch: usize,
    /// Its share of a worker.
    pub weight: usize,
    /// Longest time for one message or lifecycle call.
    pub limit: Duration,
    /// How many restarts within how long, and how long one waits.
    pub restart: config::Restart,
    /// How often the state is kept for a restart; none where a restart is to begin afresh.
    pub snapshot: Option<Duration>,
    /// The subsystem's own part of the config.
    pub config: String,
    /// The folder of its files.
    pub data: String,
    /// Most bytes of the plugin's own heap.
    pub memory: Option<u64>,
    /// What it may use of others.
    pub grants: Grants,
    /// What becomes of the state when a new build takes over.
    pub on_reload: OnReload,
    /// How long the old build stands by then.
    pub probation: Probation,
    /// Whether the host is not ready without it.
    pub required: bool,
}

/// The instance that serves, and what it has left to do.
#[derive(Default)]
pub struct Cell {
    /// None while it is replaced, and after it was stopped.
    pub instance: Option<Instance>,
    /// Claimed and not decided, by a panic or an early return: it runs first.
    pub left: Vec<Message>,
    /// How `left` came in.
    pub lane: Option<Lane>,
    /// What the instance failed with: it is only to be replaced.
    pub failed: Option<String>,
    /// The instance that is lost to a handler that hangs.
    pub hung: Option<Hung>,
}

/// An instance in a handler of which a thread hangs, until that returns.
pub struct Hung {
    /// Which instance.
    pub incarnation: u32,
    /// Its own threads.
    pub threads: Option<GuestThreads>,
    /// Its code.
    pub generation: Arc<Generation>,
    /// Where it hangs, and the remedy.
    pub reason: String,
}

/// The cell of a subsystem that the caller holds, which is put back when this is dropped.
pub struct CellGuard<'s> {
    slot: &'s Slot,
    cell: Option<Box<Cell>>,
}

const CELL: &str = "a guard has its cell until it is dropped";

impl Deref for CellGuard<'_> {
    type Target = Cell;

    fn deref(&self) -> &Cell {
        self.cell.as_ref().expect(CELL)
    }
}

impl DerefMut for CellGuard<'_> {
    fn deref_mut(&mut self) -> &mut Cell {
        self.cell.as_mut().expect(CELL)
    }
}

impl Drop for CellGuard<'_> {
    fn drop(&mut self) {
        self.slot.put_cell(self.cell.take().expect(CELL));
    }
}

/// Open requests on their way from one instance to the next.
#[derive(Default)]
pub struct Handover {
    /// The instance that is given saved state; 0 for none.
    pub restoring: u32,
    /// What it has restored, and will answer.
    pub restored: HashSet<u64>,
    /// The instance that is destroyed; 0 for none. Of its calls only the responders that it drops still count.
    pub ending: u32,
    /// Whether that is because another one has taken over.
    pub is_reload: bool,
    /// The requests that it left behind, while its successor may restore them from saved state.
    pub left: Option<Vec<u64>>,
}

/// What people ask about a subsystem.
#[derive(Default)]
pub struct Info {
    pub phase: Phase,
    pub plugin: String,
    pub version: String,
    pub generation: u32,
    pub hash: String,
    pub restarts: u64,
    /// Messages whose handler ran past its limit, and commits that did.
    pub hung: u64,
    /// The restarts that count against the budget.
    pub recent: VecDeque<Instant>,
    /// Restarts since it last served as long as the budget's time: each doubles the wait for the next.
    pub streak: u32,
    /// Since when the present instance serves.
    pub serves_since: Option<Instant>,
    /// What a restart continues from.
    pub snapshot: Option<State>,
    /// How many of an instance's own threads are lost, and never end.
    pub parked: HashMap<u32, u32>,
    /// Threads, of the host or of the plugin, that are lost in this subsystem.
    pub lost_threads: u64,
    pub last_error: Option<String>,
    /// Counts the generations that were ever loaded.
    pub generations: u32,
    /// Those whose code is in the process.
    pub loaded: Vec<u32>,
    pub reloads: ReloadsStatus,
    pub last_reload: Option<ReloadReport>,
    /// Where the plugin's file is.
    pub file: Option<PathBuf>,
    /// What a new instance is made from.
    pub build: Option<Arc<Build>>,
}

impl Info {
    /// This generation is the one that serves.
    pub fn describe(&mut self, generation: &Generation) {
        let manifest = generation.manifest();
        self.plugin.clone_from(&manifest.name);
        self.version.clone_from(&manifest.version);
        self.hash = generation.library.hash().to_owned();
        self.generation = generation.number;
    }
}

/// Names a subsystem and an incarnation in host calls.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Which subsystem.
    pub id: SubsystemId,
    /// Which of its instances; 0 is none.
    pub incarnation: u32,
}

impl Handle {
    /// The word that travels.
    pub fn pack(self) -> u64 {
        u64::from(self.incarnation) << 32 | u64::from(self.id.0)
    }

    /// The handle in a word.
    pub fn unpack(word: u64) -> Handle {
        Handle { id: SubsystemId(word as u16), incarnation: (word >> 32) as u32 }
    }
}

impl Slot {
    /// A slot for a subsystem of the config, whose files lie in a folder of `data`.
    pub fn new(id: SubsystemId, name: &str, settings: &config::Subsystem, data: &Path) -> Slot {
        let limits = Limits {
            policy: policy(settings.queue.policy),
            capacity: settings.queue.capacity,
            batch: settings.batch,
            outcomes: settings.max_asks,
            timers: MAX_TIMERS,
        };
        Slot::with(
            id,
            name,
            limits,
            Settings {
                batch: settings.batch,
                weight: settings.weight as usize,
                limit: settings.handler_limit,
                restart: settings.restart.clone(),
                memory: settings.memory,
                snapshot: settings.snapshot.filter(|_| settings.on_restart == OnRestart::Snapshot),
                config: settings.config.text.clone(),
                data: data.join(name).display().to_string(),
                grants: grants(&settings.grants),
                on_reload: settings.on_reload,
                probation: settings.probation.clone(),
                required: settings.required,
            },
        )
    }

    /// The operator's slot: it only asks, so many requests at a time.
    pub fn operator(open_requests: usize) -> Slot {
        let limits = Limits {
            policy: Policy::Reject,
            capacity: 1,
            batch: 1,
            outcomes: open_requests,
            timers: 1,
        };
        Slot::of_the_host(SubsystemId::OPERATOR, "operator", limits)
    }

    /// The kernel's slot: it is only asked.
    pub fn kernel(id: SubsystemId) -> Slot {
        let limits =
            Limits { policy: Policy::Reject, capacity: 1024, batch: 64, outcomes: 1, timers: 1 };
        let slot = Slot::of_the_host(id, "kernel", limits);
        *slot.info() = Info {
            phase: Phase::Running,
            plugin: "mycelia".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Info::default()
        };
        slot
    }

    fn of_the_host(id: SubsystemId, name: &str, limits: Limits) -> Slot {
        let settings = Settings {
            batch: limits.batch,
            weight: 1,
            limit: Duration::ZERO,
            restart: Restart { max: 0, within: Duration::ZERO, backoff: Duration::ZERO },
            snapshot: None,
            memory: None,
            config: String::new(),
            data: String::new(),
            grants: Grants::none(),
            on_reload: OnReload::Reset,
            probation: Probation { messages: 0, for_: Duration::ZERO, panics: 0 },
            required: false,
        };
        Slot::with(id, name, limits, settings)
    }

    fn with(id: SubsystemId, name: &str, limits: Limits, settings: Settings) -> Slot {
        let (capacity, policy) = (limits.capacity, policy_word(limits.policy));
        Slot {
            id,
            name: name.to_owned(),
            full: Error::full(format!(
                "the queue of `{name}` is full ({capacity} messages, policy {policy}); send slower, or raise its capacity"
            ))
            .handled(Handled::No)
            .retry_after(Duration::from_millis(100)),
            queue: Queue::new(limits),
            streams: Streams::default(),
            ledger: Ledger::new(),
            asks: Asks::new(id, u16::try_from(limits.outcomes).unwrap_or(u16::MAX)),
            timers: Mutex::new(Timers::new(limits.timers)),
            planned: AtomicU64::new(u64::MAX),
            armed: Mutex::default(),
            cell: AtomicCell::new(Some(Box::default())),
            threads: Mutex::default(),
            incarnation: AtomicU32::new(0),
            beside: AtomicU32::new(0),
            handover: Mutex::default(),
            looks: AtomicU8::new(0),
            level: AtomicU8::new(log::level_for(name)),
            completions: Completions::default(),
            room: Room::default(),
            info: Mutex::default(),
            listeners: Mutex::default(),
            published: AtomicU64::new(0),
            counters: Counters::default(),
            tally: Tally::default(),
            settings,
        }
    }

    /// What people ask about it.
    pub fn info(&self) -> MutexGuard<'_, Info> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance and what is left of its batch; for the holder.
    pub fn cell(&self) -> CellGuard<'_> {
        CellGuard { slot: self, cell: Some(self.take_cell()) }
    }

    /// As `cell`, for a holder that puts it back itself.
    #[inline]
    pub fn take_cell(&self) -> Box<Cell> {
        self.cell.take().expect("the holder of a subsystem finds its cell")
    }

    /// Puts the cell back, or another one in place of one that is lost to a handler that hangs.
    #[inline]
    pub fn put_cell(&self, cell: Box<Cell>) {
        // None, since its holder has taken it: `store` would look whether there is something to drop.
        mem::forget(self.cell.swap(Some(cell)));
    }

    /// The own threads of the instance that serves; none while there is no such instance.
    pub fn threads(&self) -> MutexGuard<'_, Option<GuestThreads>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests on their way to another instance.
    pub fn handover(&self) -> MutexGuard<'_, Handover> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timers.
    pub fn timers(&self) -> MutexGuard<'_, Timers<Message>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the queue answers its senders at once.
    pub fn is_direct(&self) -> bool {
        matches!(self.queue.policy(), Policy::Reject | Policy::Block(_))
    }

    /// The present instance; 0 for none.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Whether a call by this instance counts.
    pub fn is_live(&self, incarnation: u32) -> bool {
        incarnation != 0
            && (incarnation == self.incarnation()
                || incarnation == self.beside.load(Ordering::Acquire))
    }

    /// How many of this instance's own threads are lost, and never end.
    pub fn parked(&self, incarnation: u32) -> u32 {
        self.info().parked.get(&incarnation).copied().unwrap_or(0)
    }

    /// Notes what went wrong.
    pub fn note_error(&self, text: &str) {
        self.info().last_error = Some(text.to_owned());
    }

    /// How many bytes the plugin's own heap holds.
    pub fn memory(&self) -> u64 {
        let build = self.info().build.clone();
        build.map_or(0, |build| build.generation.library.heap())
    }

    /// How it is.
    pub fn status(&self) -> SubsystemStatus {
        let ledger = self.ledger();
        let memory = self.memory();
        let info = self.info();
        SubsystemStatus {
            phase: info.phase,
            plugin: info.plugin.clone(),
            version: info.version.clone(),
            generation: info.generation,
            hash: info.hash.clone(),
            queue: QueueStatus {
                depth: self.queue.depth() as u64,
                capacity: self.queue.capacity() as u64,
                policy: policy_word(self.queue.policy()),
            },
            ledger,
            requests: self.requests(),
            published: self.published.load(Ordering::Relaxed),
            incarnation: self.incarnation(),
            restarts: info.restarts,
            hung: info.hung,
            lost_threads: info.lost_threads,
            memory,
            reloads: info.reloads,
            last_error: info.last_error.clone(),
            metrics: self.counters.values(),
        }
    }

    /// Where its messages went.
    pub fn ledger(&self) -> LedgerStatus {
        let counts = self.ledger.snapshot(&self.queue);
        LedgerStatus {
            accepted: counts.accepted,
            handled: counts.handled,
            failed: counts.failed,
            dropped_oldest: counts.dropped_oldest,
            dropped_newest: counts.dropped_newest,
            expired: counts.expired,
            dead: counts.dead,
            queued: counts.queued,
            in_flight: counts.in_flight,
            rejected: counts.rejected,
            denied: counts.denied,
        }
    }

    fn requests(&self) -> RequestsStatus {
        let counts = self.asks.counts();
        RequestsStatus {
            asked: counts.asked,
            answered: counts.answered,
            failed: counts.failed,
            timed_out: counts.timed_out,
            cancelled: counts.cancelled,
            pending: counts.pending,
        }
    }
}

/// Grants as a config has them.
pub fn grants(scopes: &[String]) -> Grants {
    Grants::parse(scopes.iter().map(String::as_str)).expect("the config's grants are scopes")
}

fn policy(policy: config::Policy) -> Policy {
    match policy {
        config::Policy::DropOldest => Policy::DropOldest,
        config::Policy::DropNewest => Policy::DropNewest,
        config::Policy::Reject => Policy::Reject,
        config::Policy::Block(limit) => Policy::Block(limit.as_nanos() as u64),
    }
}

/// The policy's word, as in the config.
fn policy_word(policy: Policy) -> String {
    match policy {
        Policy::DropOldest => "DropOldest".into(),
        Policy::DropNewest => "DropNewest".into(),
        Policy::Reject => "Reject".into(),
        Policy::Block(nanos) => format!("Block({:?})", Duration::from_nanos(nanos)),
    }
}
