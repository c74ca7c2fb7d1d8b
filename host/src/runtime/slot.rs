//! What the host keeps of one subsystem. A slot outlives every instance, and is never freed while the host runs.

use crate::{
    abi::Message,
    config,
    status::{LedgerStatus, Phase, QueueStatus, RequestsStatus, SubsystemStatus},
};
use mycelia_kernel::{
    asks::Asks,
    ids::SubsystemId,
    ledger::Ledger,
    queue::{Limits, Policy, Queue},
    timers::Timers,
};
use mycelia_plugin::abi::{Envelope, Module_Ref, host::Guest};
use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Most timers that a subsystem may have set, beside those of its table.
const MAX_TIMERS: usize = 1024;

/// One subsystem.
pub struct Slot {
    /// Its number, which is also its place.
    pub id: SubsystemId,
    /// Its name.
    pub name: String,
    /// What waits for it.
    pub queue: Queue<Message>,
    /// Where its messages went.
    pub ledger: Ledger,
    /// Its own requests.
    pub asks: Asks<Message>,
    /// Its timers, and when the host looks at them and at the requests next.
    pub timers: Mutex<Timers<Message>>,
    /// `u64::MAX` when nothing is planned.
    pub planned: AtomicU64,
    /// Whether the timers of its table are set: they go on across instances.
    pub timers_armed: AtomicBool,
    /// The instance and its batch; whoever holds the subsystem locks it, so nobody ever waits.
    pub cell: Mutex<Cell>,
    /// Counts instances; a handle with another one is stale. 0 while there is none.
    pub incarnation: AtomicU32,
    /// The instance that is being destroyed; 0 for none. Of its calls only the responders that it drops still count.
    pub ending: AtomicU32,
    /// The most verbose level that the plugin's lines are logged at.
    pub level: AtomicU8,
    /// Outcomes for the plugin's own threads.
    pub completions: Completions,
    /// Own threads of others that wait for room in the queue.
    pub room: Room,
    /// What people ask about it.
    pub info: Mutex<Info>,
    /// Listening sockets, by address, which outlive every instance.
    pub listeners: Mutex<HashMap<String, TcpListener>>,
    /// Its part of the config.
    pub settings: Settings,
}

/// What the host needs of the config while it runs.
pub struct Settings {
    /// Most messages a call.
    pub batch: usize,
    /// Its share of a worker.
    pub weight: usize,
    /// Longest time for a lifecycle call.
    pub limit: Duration,
    /// How many restarts within how long.
    pub restarts: (u32, Duration),
    /// Whether the host is not ready without it.
    pub required: bool,
}

/// The instance that serves, and the batch that it is at.
#[derive(Default)]
pub struct Cell {
    /// None while it is replaced, and after it was stopped.
    pub guest: Option<Guest>,
    /// Claimed and not yet decided: more than nothing only after a panic or an early return.
    pub batch: Vec<Message>,
    /// How `batch` came in.
    pub lane: Option<mycelia_kernel::queue::Lane>,
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
    /// The restarts that count against the budget.
    pub recent: VecDeque<Instant>,
    pub last_error: Option<String>,
    /// What a new instance is made from.
    pub source: Option<Source>,
}

/// What a new instance is made from.
#[derive(Clone)]
pub struct Source {
    pub module: Module_Ref,
    pub config: String,
    pub data: String,
    pub routes: Vec<u16>,
    /// Route and period of each timer of the table.
    pub every: Vec<(u16, u64)>,
}

/// Outcomes for a plugin's own threads, and whether more may come.
#[derive(Default)]
pub struct Completions {
    state: Mutex<CompletionState>,
    came: Condvar,
}

#[derive(Default)]
struct CompletionState {
    incarnation: u32,
    waiting: VecDeque<(u64, Message)>,
}

impl Completions {
    fn lock(&self) -> MutexGuard<'_, CompletionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it for an incarnation, or closes it with 0; what waited comes back.
    pub fn open(&self, incarnation: u32) -> Vec<Message> {
        let mut state = self.lock();
        state.incarnation = incarnation;
        self.came.notify_all();
        state.waiting.drain(..).map(|(_, outcome)| outcome).collect()
    }

    /// Adds an outcome, which comes back if it is for another incarnation.
    pub fn push(&self, incarnation: u32, token: u64, outcome: Message) -> Result<(), Message> {
        let mut state = self.lock();
        if state.incarnation != incarnation {
            return Err(outcome);
        }
        state.waiting.push_back((token, outcome));
        self.came.notify_one();
        Ok(())
    }

    /// Waits for outcomes; `None` when the incarnation is over.
    pub fn take(&self, incarnation: u32) -> Option<VecDeque<(u64, Message)>> {
        let mut state = self.lock();
        while state.incarnation == incarnation && state.waiting.is_empty() {
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (state.incarnation == incarnation).then(|| std::mem::take(&mut state.waiting))
    }
}

/// Where outside senders wait for room in a queue that blocks.
#[derive(Default)]
pub struct Room {
    waiters: AtomicU32,
    lock: Mutex<()>,
    freed: Condvar,
}

impl Room {
    /// Tries until `until`; whether it worked in time.
    pub fn wait<T>(&self, until: Instant, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        // SeqCst: pairs with `freed`, so that either the waiter finds the room or the holder finds the waiter.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let result = loop {
            if let Some(done) = attempt() {
                break Some(done);
            }
            let Some(left) =
                until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                break None;
            };
            guard = self.freed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Tells those who wait that messages were claimed.
    pub fn freed(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            // Locked, so that a waiter is either before its attempt or in its wait.
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.freed.notify_all();
        }
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
    /// A slot for a subsystem of the config.
    pub fn new(id: SubsystemId, name: &str, settings: &config::Subsystem) -> Slot {
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
                restarts: (settings.restart.max, settings.restart.within),
                required: settings.required,
            },
        )
    }

    /// The operator's slot: it only asks.
    pub fn operator() -> Slot {
        let limits =
            Limits { policy: Policy::Reject, capacity: 1, batch: 1, outcomes: 1024, timers: 1 };
        let settings = Settings {
            batch: 1,
            weight: 1,
            limit: Duration::ZERO,
            restarts: (0, Duration::ZERO),
            required: false,
        };
        Slot::with(SubsystemId::OPERATOR, "operator", limits, settings)
    }

    fn with(id: SubsystemId, name: &str, limits: Limits, settings: Settings) -> Slot {
        Slot {
            id,
            name: name.to_owned(),
            queue: Queue::new(limits),
            ledger: Ledger::new(),
            asks: Asks::new(id, u16::try_from(limits.outcomes).unwrap_or(u16::MAX)),
            timers: Mutex::new(Timers::new(limits.timers)),
            planned: AtomicU64::new(u64::MAX),
            timers_armed: AtomicBool::new(false),
            cell: Mutex::new(Cell { batch: Vec::with_capacity(limits.batch), ..Cell::default() }),
            incarnation: AtomicU32::new(0),
            ending: AtomicU32::new(0),
            level: AtomicU8::new(0),
            completions: Completions::default(),
            room: Room::default(),
            info: Mutex::default(),
            listeners: Mutex::default(),
            settings,
        }
    }

    /// What people ask about it.
    pub fn info(&self) -> MutexGuard<'_, Info> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance and its batch; for the holder.
    pub fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timers.
    pub fn timers(&self) -> MutexGuard<'_, Timers<Message>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the queue answers its senders at once.
    pub fn is_direct(&self) -> bool {
        matches!(self.queue.policy(), Policy::Reject | Policy::Block(_))
    }

    /// The handle of the present instance.
    pub fn handle(&self) -> Handle {
        Handle { id: self.id, incarnation: self.incarnation.load(Ordering::Acquire) }
    }

    /// Notes what went wrong.
    pub fn note_error(&self, text: &str) {
        self.info().last_error = Some(text.to_owned());
    }

    /// The policy's word, as in the config.
    pub fn policy_word(&self) -> String {
        match self.queue.policy() {
            Policy::DropOldest => "DropOldest".into(),
            Policy::DropNewest => "DropNewest".into(),
            Policy::Reject => "Reject".into(),
            Policy::Block(nanos) => format!("Block({:?})", Duration::from_nanos(nanos)),
        }
    }

    /// How it is.
    pub fn status(&self) -> SubsystemStatus {
        let ledger = self.ledger();
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
                policy: self.policy_word(),
            },
            ledger,
            requests: self.requests(),
            restarts: info.restarts,
            reloads: Default::default(),
            last_error: info.last_error.clone(),
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

fn policy(policy: config::Policy) -> Policy {
    match policy {
        config::Policy::DropOldest => Policy::DropOldest,
        config::Policy::DropNewest => Policy::DropNewest,
        config::Policy::Reject => Policy::Reject,
        config::Policy::Block(limit) => Policy::Block(limit.as_nanos() as u64),
    }
}

/// The route number of a template whose outcome goes to an own thread rather than to a route.
pub const OUTSIDE: u16 = u16::MAX;

/// The template of a request of an own thread.
pub fn outside_template(incarnation: u32, token: u64) -> Message {
    Message(Envelope { route: OUTSIDE, sender: incarnation, trace: token, ..Envelope::EMPTY })
}
