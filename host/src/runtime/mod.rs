//! The running host: slots, workers, timers and the lifecycle thread, around the kernel's pure parts.
//!
//! A message enters by `send`, waits in its slot's queue, and is handled in `batch`; its answer leaves by `outcome`.
//! Everything lives as long as the process, so that a plugin's host calls are always good.

mod attend;
mod batch;
mod completions;
mod dead;
mod events;
mod generation;
mod guests;
mod kernel;
mod lifecycle;
mod lost;
mod memory;
mod operate;
mod outcome;
mod plan;
mod probation;
mod pulse;
mod reload;
mod restart;
mod retire;
mod scopes;
mod send;
mod slot;
mod snapshot;
mod start;
mod stop;
mod streams;
mod tally;
mod template;
mod timing;
mod trace;
mod watchdog;
mod why;
mod work;
mod workers;

pub use lifecycle::Lifecycle;
pub use operate::{cpu, rss};
pub use slot::{Handle, OPEN_REQUESTS, Slot};
pub use start::{StartError, search_path};
pub use trace::subsystem_of;
pub use work::Worker;

use crate::{
    abi::{Magazine, Message, Pool},
    config::Config,
    letters::Letters,
    loader::Prober,
    status::RetainedGeneration,
    watch::Watch,
};
use mycelia_kernel::{
    cache::{CacheLimits, PathCache},
    ids::SubsystemId,
    queue::Wake,
    ready::Ready,
    table::Tables,
};
use mycelia_plugin::abi::host::{OutboxBuffer, ReportBuffer};
use rustix::time::{ClockId, clock_gettime};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Messages that an outbox holds before it is published.
const OUTBOX: usize = 64;
/// Bytes of blocks behind them.
const OUTBOX_BYTES: usize = 64 * 1024;
/// The path cache of a worker.
const CACHE: CacheLimits = CacheLimits { entries: 4096, bytes: 1 << 20 };

/// The running host.
pub struct Runtime {
    /// The path table that is published.
    pub tables: Tables,
    /// Every subsystem, by number; the operator is number 0, and the kernel the last.
    pub slots: Box<[Slot]>,
    /// The blocks of messages.
    pub pool: Pool,
    ready: Ready,
    workers: workers::Workers,
    watchdog: watchdog::Watchdog,
    plan: plan::Plan,
    timing: timing::Timing,
    waiting: operate::Waiting,
    /// The messages that could not be handled.
    letters: Letters,
    lifecycle: Lifecycle,
    attendant: attend::Attendant,
    errands: retire::Errands,
    kernel_desk: kernel::Desk,
    /// The number of the kernel's slot, at hand for whoever wakes a subsystem.
    kernel_id: SubsystemId,
    /// Tries libraries before they are loaded; none where the program for it is not there.
    prober: Option<Prober>,
    watch: Mutex<Option<Watch>>,
    retained: Mutex<Vec<RetainedGeneration>>,
    /// The text of the config, and where it was read.
    config: ConfigFile,
    /// The system's monotonic time when the host began.
    started: u64,
    /// The time at which the clock stands still; 0 lets it go.
    stands_still: AtomicU64,
    ask_deadline: u64,
    drain_timeout: Duration,
    cache_seed: u64,
    /// No timer fires any more.
    quiet: AtomicBool,
    stopping: AtomicBool,
    /// The workers are to end.
    finished: AtomicBool,
    worker_count: usize,
    /// Counts the instances that were ever made.
    incarnations: AtomicU32,
}

impl Runtime {
    /// A host for the subsystems of a config, none of which is loaded yet. `cache_seed` is random, but in benchmarks.
    ///
    /// # Errors
    /// If the system does not map the pool.
    fn new(
        config: &Config,
        file: &Path,
        prober: Option<Prober>,
        cache_seed: u64,
        open_requests: usize,
    ) -> std::io::Result<Runtime> {
        let numbered = config.subsystems.iter().zip(1..);
        let kernel = SubsystemId(config.subsystems.len() as u16 + 1);
        let slots: Box<[Slot]> = std::iter::once(Slot::operator(open_requests))
            .chain(numbered.map(|((name, settings), number)| {
                Slot::new(SubsystemId(number), name, settings, &config.data)
            }))
            .chain([Slot::kernel(kernel)])
            .collect();
        let quotas = config.subsystems.iter().map(|(_, settings)| settings.pool_quota);
        let quotas = std::iter::once(config.pool).chain(quotas).chain([config.pool]);
        Ok(Runtime {
            tables: Tables::default(),
            pool: Pool::new(config.pool, quotas)?,
            ready: Ready::new(slots.len()),
            workers: workers::Workers::new(config.workers, config.spin),
            watchdog: watchdog::Watchdog::new(config),
            plan: plan::Plan::default(),
            timing: timing::Timing::default(),
            waiting: operate::Waiting::default(),
            letters: Letters::new(&config.dead_letters, &config.data),
            lifecycle: Lifecycle::default(),
            attendant: attend::Attendant::default(),
            errands: retire::Errands::default(),
            kernel_desk: kernel::Desk::default(),
            kernel_id: kernel,
            prober,
            watch: Mutex::default(),
            retained: Mutex::default(),
            config: ConfigFile::read(file),
            started: monotonic(),
            stands_still: AtomicU64::new(0),
            ask_deadline: config.ask_deadline.as_nanos() as u64,
            drain_timeout: config.drain_timeout,
            cache_seed,
            quiet: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            worker_count: config.workers,
            incarnations: AtomicU32::new(0),
            slots,
        })
    }

    /// Nanoseconds since the host began, never 0.
    #[inline]
    pub fn now(&self) -> u64 {
        match self.stands_still.load(Ordering::Relaxed) {
            0 => monotonic() - self.started + 1,
            now => now,
        }
    }

    /// Lets the clock stand still from here on: where instructions are counted, nothing may depend on time.
    pub fn stop_clock(&self) {
        self.stands_still.store(self.now(), Ordering::Relaxed);
    }

    /// The slot of a subsystem.
    pub fn slot(&self, id: SubsystemId) -> &Slot {
        &self.slots[id.index()]
    }

    /// The slot of this name.
    pub fn named(&self, name: &str) -> Option<&Slot> {
        self.subsystems().find(|slot| slot.name == name)
    }

    /// Every subsystem of the config.
    pub fn subsystems(&self) -> impl Iterator<Item = &Slot> {
        self.slots[1..self.slots.len() - 1].iter()
    }

    /// Puts a subsystem that became ready on the list, and sees to it that a worker comes.
    #[inline]
    fn wake(&self, id: SubsystemId, wake: Wake) {
        if wake == Wake::Ready {
            self.enlist(id);
        }
    }

    #[cold]
    fn enlist(&self, id: SubsystemId) {
        if id == self.kernel_id {
            return self.kernel_desk.ring(true);
        }
        self.ready.push(id).expect("the run state lists a subsystem once");
        self.workers.wake_one();
    }

    /// This content of a plugin's file has been tried, so that the watch does not report it.
    fn note_tried(&self, file: &Path, hash: &str) {
        if let Some(watch) = &*self.watch.lock().unwrap_or_else(PoisonError::into_inner) {
            watch.tried(file, hash);
        }
    }

    fn show_retained(&self, retained: Vec<RetainedGeneration>) {
        *self.retained.lock().unwrap_or_else(PoisonError::into_inner) = retained;
    }

    /// Whether it ends.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Nanoseconds of the system's monotonic clock.
// Not by `Instant`, of which a difference takes three times as many instructions: this is asked once a batch.
#[inline]
fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The config's file as it was when the host started.
struct ConfigFile {
    path: PathBuf,
    text: Option<Vec<u8>>,
}

impl ConfigFile {
    fn read(path: &Path) -> ConfigFile {
        ConfigFile { path: path.to_owned(), text: std::fs::read(path).ok() }
    }

    /// Whether the file says something else by now; it takes a restart to have an effect.
    fn is_changed(&self) -> bool {
        std::fs::read(&self.path).ok() != self.text
    }
}

/// What the host keeps of a call into a plugin: [`mycelia_plugin::abi::host::Host::Turn`].
pub struct Turn {
    /// The subsystem that is called.
    caller: SubsystemId,
    now: u64,
    /// What is sent is stamped with; 0, unless the call is timed.
    stamp: u32,
    /// The table that holds for the whole call.
    table: Arc<mycelia_kernel::table::Table>,
    cache: PathCache,
    /// Answers that wait for the commit and for which the desk had no room any more: those before its own.
    replies: Vec<Message>,
    /// Free blocks at hand.
    magazine: Magazine,
    /// What the messages failed with that nobody waits for, in their order.
    failures: Vec<String>,
    /// Whether the batch is still this thread's.
    report: Arc<ReportBuffer>,
}

/// A turn with the host memory that goes with it; each worker has one, and the lifecycle thread.
struct Desk {
    turn: Turn,
    outbox: OutboxBuffer,
    replies: OutboxBuffer,
    report: Arc<ReportBuffer>,
}

impl Desk {
    fn new(runtime: &Runtime, batch: usize) -> Desk {
        let replies = OutboxBuffer::new(batch, 0);
        let report = Arc::new(ReportBuffer::new(batch, &replies));
        let turn = Turn {
            caller: SubsystemId::OPERATOR,
            now: 0,
            stamp: 0,
            table: runtime.tables.snapshot(),
            cache: PathCache::new(CACHE, runtime.cache_seed),
            replies: Vec::new(),
            magazine: Magazine::new(),
            failures: Vec::new(),
            report: Arc::clone(&report),
        };
        Desk { turn, outbox: OutboxBuffer::new(OUTBOX, OUTBOX_BYTES), replies, report }
    }

    /// Prepares for a call into the instance of a slot at `now`.
    fn sit_down(&mut self, runtime: &Runtime, slot: &Slot, now: u64) {
        if runtime.tables.version() != self.turn.table.version() {
            self.turn.table = runtime.tables.snapshot();
        }
        self.turn.caller = slot.id;
        self.turn.now = now;
    }
}
