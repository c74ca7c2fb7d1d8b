//! The bounded queue of one subsystem: what its policy answers when it is full, and who runs the subsystem next.
//!
//! Nothing here waits, parks or wakes: a full queue gives the message back, and a wake-up is a returned [`Wake`].
//! The idea needed to read it is the run state, one atomic word:
//!
//! ```text
//!          wake               begin              leave, nothing left
//!   IDLE ───────▶ READY ─────────────▶ RUNNING ─────────────────────▶ IDLE
//!    │              ▲ ╲ requeue ───────╱   │
//!    │ try_hold     │   (wanted) begin, leave, requeue
//!    ▼              │                      ▼
//!   HELD ───────────┴───────────────────  HELD      release: READY if something came meanwhile, else IDLE
//! ```
//!
//! **The sleep handshake.** A sender reserves, publishes, then loads the run state; a holder that leaves stores IDLE,
//! then loads the *reserved* tail and the bits, one of which says that a lane has something. All are SeqCst, so at least
//! one of the two sees the other: either the sender finds IDLE and makes the subsystem ready, or the holder finds the
//! reservation or the bit and takes it back.

use crate::{
    ring::Ring,
    sync::{self, AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release, SeqCst},
};
use crossbeam_utils::CachePadded;

/// What a full queue does with one message more.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Policy {
    /// The oldest queued message makes room.
    DropOldest,
    /// The new message is dropped, and its sender is not told.
    DropNewest,
    /// The sender gets its message back.
    Reject,
    /// As `Reject` here; an *outside* sender then waits up to so many nanoseconds and tries again.
    Block(u64),
}

/// The sizes of a queue, fixed for the life of the host.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Limits {
    /// What happens when the queue is full.
    pub policy: Policy,
    /// The most queued messages, at least 1.
    pub capacity: usize,
    /// The most messages claimed at a time.
    pub batch: usize,
    /// The most requests of this subsystem whose outcome may be on its way (`max_asks`).
    pub outcomes: usize,
    /// The most timer messages that may wait.
    pub timers: usize,
}

/// Which of the three ways in: they are claimed apart, and served in this order.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Lane {
    /// Outcomes of the subsystem's own requests; as large as its table of requests, so never full.
    Outcomes,
    /// Messages of the subsystem's own timers.
    Timers,
    /// Messages of anybody, under the policy.
    Queue,
}

/// Which message a full queue dropped.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Dropped {
    /// One that had waited longest.
    Oldest,
    /// The one just sent.
    Newest,
}

/// Whether a call made the subsystem ready.
#[must_use = "a subsystem that was made ready and is not put on the ready list never runs again"]
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Wake {
    /// Nothing to do: it is ready, running or held already.
    None,
    /// This call made it ready: the caller puts it on the ready list, exactly once.
    Ready,
}

/// What a worker that popped a subsystem from the ready list may do.
#[must_use = "a subsystem that was begun is the caller's until it leaves"]
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Begin {
    /// Run it: the caller is its holder.
    Run,
    /// It was handed over to the lifecycle thread, which waits to hear of it; the caller lets go.
    HandOver,
}

/// What became of a subsystem that a worker is done with for now.
#[must_use = "a subsystem that is still held must be requeued or left again"]
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Leave {
    /// It is no longer the caller's.
    Idle,
    /// Something came meanwhile and the caller still holds it. It may be reserved but not yet published, so that a
    /// claim finds nothing: then requeue, instead of spinning for a peer that was preempted.
    More,
    /// It was handed over to the lifecycle thread, which waits to hear of it; the caller lets go.
    HandOver,
}

/// The message that did not fit.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("the queue is full")]
pub struct Full<M>(pub M);

/// How many messages a queue dropped since the host started.
#[derive(Copy, Clone, Default, Eq, PartialEq, Debug)]
pub struct Drops {
    /// Messages evicted by newer ones.
    pub oldest: u64,
    /// Messages dropped as they came.
    pub newest: u64,
}

/// A system bit: stop.
pub const STOP: u32 = 1;
/// A system bit: take a snapshot of the state.
pub const SAVE: u32 = 1 << 1;
/// A system bit: ask for the health.
pub const HEALTH: u32 = 1 << 2;
/// Beside the system bits: a lane has something. So one word tells of all that is rare.
const LANES: u32 = 1 << 31;

const IDLE: u32 = 0;
const READY: u32 = 1;
const RUNNING: u32 = 2;
const HELD: u32 = 3;
/// Beside READY or RUNNING: the lifecycle thread takes over at the next boundary.
const WANTED: u32 = 1 << 2;

/// Everything that can come to one subsystem, and the word that says who may run it.
///
/// Holding a reference proves nothing but that the slot exists: it outlives every generation of the subsystem.
/// Messages of one sender come out in the order in which they went in.
#[derive(Debug)]
pub struct Queue<M> {
    /// Read by every sender after it published.
    run: CachePadded<Run>,
    /// Counted by senders, only when the queue is full.
    drops: CachePadded<DropCounters>,
    messages: Ring<M>,
    outcomes: Ring<M>,
    timers: Ring<M>,
}

#[derive(Debug)]
struct Run {
    state: AtomicU32,
    bits: AtomicU32,
    // Here because senders ask for it beside the state.
    policy: Policy,
}

#[derive(Debug)]
struct DropCounters {
    oldest: AtomicU64,
    newest: AtomicU64,
}

impl<M> Queue<M> {
    /// An empty queue of an idle subsystem.
    ///
    /// # Panics
    /// If the capacity is 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let Limits { policy, capacity, batch, outcomes, timers } = limits;
        Queue {
            run: CachePadded::new(Run {
                state: AtomicU32::new(IDLE),
                bits: AtomicU32::new(0),
                policy,
            }),
            drops: CachePadded::new(DropCounters {
                oldest: AtomicU64::new(0),
                newest: AtomicU64::new(0),
            }),
            messages: Ring::new(capacity, batch),
            outcomes: Ring::new(outcomes.max(1), batch),
            timers: Ring::new(timers.max(1), batch),
        }
    }

    /// Puts an outcome on its way to the subsystem that asked.
    ///
    /// # Errors
    /// The outcome comes back when the lane is full: a request was begun elsewhere than in this subsystem's table, or
    /// its slot was released before the outcome was claimed.
    pub fn deliver(&self, outcome: M) -> Result<Wake, Full<M>> {
        self.outcomes.try_push(outcome).map_err(Full)?;
        Ok(self.raise(LANES))
    }

    /// Puts the message of a timer that is due on its way.
    ///
    /// # Errors
    /// The message comes back when as many wait already; the timer should stay due.
    pub fn ring_timer(&self, message: M) -> Result<Wake, Full<M>> {
        self.timers.try_push(message).map_err(Full)?;
        Ok(self.raise(LANES))
    }

    /// Raises system bits, which the holder takes before its next batch.
    pub fn raise(&self, bits: u32) -> Wake {
        // SeqCst: the first access of the sleep handshake.
        self.run.bits.fetch_or(bits, SeqCst);
        self.wake()
    }

    /// The bits raised since they were last taken; for the holder.
    #[must_use = "bits that were taken are gone"]
    pub fn take_bits(&self) -> u32 {
        // Acquire pairs with `raise`, so that what was written before a bit is seen behind it.
        self.run.bits.fetch_and(LANES, AcqRel) & !LANES
    }

    /// Whether a bit is raised or a lane has something: one load for all that is rare, before the queue is claimed from.
    ///
    /// For the holder, whose `leave` answers `More` if it looked too early.
    #[inline]
    pub fn has_more_than_messages(&self) -> bool {
        self.run.bits.load(Relaxed) != 0
    }

    /// Moves up to `max` messages of a lane into `out`, and answers how many; for the holder.
    ///
    /// The slots are free before it returns. Allocates only if `out` lacks the capacity.
    #[inline]
    pub fn claim(&self, lane: Lane, max: usize, out: &mut Vec<M>) -> usize {
        match lane {
            Lane::Queue => self.messages.claim(max, out),
            Lane::Outcomes => self.claim_lane(&self.outcomes, max, out),
            Lane::Timers => self.claim_lane(&self.timers, max, out),
        }
    }

    fn claim_lane(&self, lane: &Ring<M>, max: usize, out: &mut Vec<M>) -> usize {
        // Before the look: what comes after it raises the bit anew. Acquire pairs with `raise`, so that what came before
        // the bit is seen.
        self.run.bits.fetch_and(!LANES, AcqRel);
        let claimed = lane.claim(max, out);
        if !(self.outcomes.is_empty() && self.timers.is_empty()) {
            self.run.bits.fetch_or(LANES, SeqCst);
        }
        claimed
    }

    /// How many messages wait in the queue itself, lanes not counted; never above the capacity.
    pub fn depth(&self) -> usize {
        self.messages.len()
    }

    /// The most messages that wait in the queue itself.
    pub fn capacity(&self) -> usize {
        self.messages.capacity()
    }

    /// What it does when it is full.
    pub fn policy(&self) -> Policy {
        self.run.policy
    }

    /// Whether nothing waits and nothing is even reserved: no message, outcome, timer or bit.
    ///
    /// The second access of a holder in the sleep handshake: the tail and the bits are loaded SeqCst, while a stale
    /// head can only make it look busier than it is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.run.bits.load(SeqCst) == 0
    }

    /// The drops so far.
    pub fn drops(&self) -> Drops {
        // Acquire pairs with the Release of `count_oldest`, for the ledger: behind a counted eviction lies its
        // reservation.
        Drops { oldest: self.drops.oldest.load(Acquire), newest: self.drops.newest.load(Acquire) }
    }

    /// How much was ever claimed by holders or evicted, in the queue and in the lanes: unchanged, nothing was handled.
    pub fn claimed_in_all(&self) -> u64 {
        self.messages.claimed() + self.outcomes.claimed() + self.timers.claimed()
    }

    /// How many messages ever went into the queue itself.
    pub(crate) fn reserved(&self) -> u64 {
        self.messages.reserved()
    }

    /// How many messages were ever claimed from the queue itself or evicted.
    pub(crate) fn claimed(&self) -> u64 {
        self.messages.claimed()
    }
}

impl<M: Copy> Queue<M> {
    /// Sends one message under the policy; what is dropped goes to `dropped` and is counted.
    ///
    /// `dropped` runs while no slot is reserved, so it may panic, and may send elsewhere.
    ///
    /// # Errors
    /// The message comes back when the queue is full and the policy is `Reject` or `Block`.
    #[inline]
    pub fn send(&self, message: M, dropped: &mut impl FnMut(M, Dropped)) -> Result<Wake, Full<M>> {
        match self.run.policy {
            Policy::DropOldest => {
                let mut evicted = |oldest| self.drop_oldest(oldest, dropped);
                self.messages.push_evicting(message, &mut evicted);
            }
            Policy::DropNewest => {
                if let Err(newest) = self.messages.try_push(message) {
                    self.drop_newest(&[newest], dropped);
                    return Ok(Wake::None);
                }
            }
            Policy::Reject | Policy::Block(_) => self.messages.try_push(message).map_err(Full)?,
        }
        Ok(self.wake())
    }

    /// What [`Self::send`] does under every policy while there is room, straight from where the message lies.
    ///
    /// `None` when the queue is full: the message is the caller's, who may `send` it.
    #[inline]
    pub fn try_send(&self, message: &M) -> Option<Wake> {
        self.messages.try_push_copy(message).then(|| self.wake())
    }

    /// Sends messages in order under the policy, with one reservation, and answers how many were accepted.
    ///
    /// Fewer than all only under `Reject` and `Block`: `messages[accepted..]` stay the caller's.
    pub fn send_many(&self, messages: &[M], dropped: &mut impl FnMut(M, Dropped)) -> (Wake, usize) {
        let sent = match self.run.policy {
            Policy::DropOldest => {
                let mut evicted = |oldest| self.drop_oldest(oldest, dropped);
                self.messages.push_many_evicting(messages, &mut evicted);
                messages.len()
            }
            _ => self.messages.try_push_many(messages),
        };
        let wake = if sent > 0 { self.wake() } else { Wake::None };
        if sent == messages.len() || self.run.policy != Policy::DropNewest {
            return (wake, sent);
        }
        self.drop_newest(&messages[sent..], dropped);
        (wake, messages.len())
    }

    /// As [`Self::deliver`] for several outcomes in order, with one reservation; answers how many had room.
    pub fn deliver_many(&self, outcomes: &[M]) -> (Wake, usize) {
        match self.outcomes.try_push_many(outcomes) {
            0 => (Wake::None, 0),
            delivered => (self.raise(LANES), delivered),
        }
    }

    #[cold]
    fn drop_oldest(&self, message: M, dropped: &mut impl FnMut(M, Dropped)) {
        // Release pairs with the Acquire of `drops`.
        self.drops.oldest.fetch_add(1, Release);
        dropped(message, Dropped::Oldest);
    }

    #[cold]
    fn drop_newest(&self, messages: &[M], dropped: &mut impl FnMut(M, Dropped)) {
        self.drops.newest.fetch_add(messages.len() as u64, Release);
        for message in messages {
            dropped(*message, Dropped::Newest);
        }
    }
}

/// Who runs the subsystem. Between `begin` and `leave` the caller is its only holder.
impl<M> Queue<M> {
    /// Takes a subsystem that was popped from the ready list.
    #[inline]
    pub fn begin(&self) -> Begin {
        // Acquire, here and in every step by which a holder gets the subsystem, pairs with the Release of the step by
        // which the one before let go; steps of senders in between are RMWs and carry it on.
        match self.step(READY, RUNNING) {
            HELD => Begin::HandOver,
            _ => Begin::Run,
        }
    }

    /// Whether the lifecycle thread waits for the subsystem: a holder between two batches then leaves or requeues.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.run.state.load(Relaxed) & WANTED != 0
    }

    /// Lets the subsystem go, unless something came meanwhile.
    #[inline]
    pub fn leave(&self) -> Leave {
        if self.step(RUNNING, IDLE) == HELD {
            return Leave::HandOver;
        }
        sync::handshake_fence();
        if self.is_empty() {
            return Leave::Idle;
        }
        // On failure a sender made it ready, or the lifecycle thread holds it: either way it is not ours.
        match self.run.state.compare_exchange(IDLE, RUNNING, SeqCst, Relaxed) {
            Ok(_) => Leave::More,
            Err(_) => Leave::Idle,
        }
    }

    /// Ends a turn with more to do: on `Wake::Ready` the caller puts the subsystem on the ready list again, behind the
    /// others. On `Wake::None` it was handed over to the lifecycle thread, which waits to hear of it.
    #[inline]
    pub fn requeue(&self) -> Wake {
        match self.step(RUNNING, READY) {
            HELD => Wake::None,
            _ => Wake::Ready,
        }
    }

    /// Takes the subsystem out of circulation, for the one lifecycle thread: whether it is held now.
    ///
    /// If not, a worker has it or will pop it; the wish stands, and the worker's `begin`, `leave` or `requeue` hands it
    /// over (at a batch boundary) and says so. Asking again then answers true.
    /// While it is held, senders still send, and wake nobody.
    #[must_use = "a subsystem that is held must be released"]
    pub fn try_hold(&self) -> bool {
        let wish = |state| match state {
            IDLE => HELD,
            READY | RUNNING => state | WANTED,
            _ => state,
        };
        self.change(wish) == HELD
    }

    /// Takes back the wish of `try_hold`: whether it came too late, so that the subsystem is held and to be released.
    #[must_use = "a subsystem that is held must be released"]
    pub fn withdraw(&self) -> bool {
        self.change(|state| state & !WANTED) == HELD
    }

    /// Whether the lifecycle thread holds the subsystem.
    pub fn is_held(&self) -> bool {
        self.run.state.load(Acquire) == HELD
    }

    /// Takes the subsystem from a worker that hangs in a handler.
    ///
    /// The caller must have settled with that worker (the `revoked` flag of its report) that it will never call
    /// `leave` or `requeue` for this turn: the kernel cannot tell its call from that of the next holder.
    pub fn seize(&self) {
        self.run.state.swap(HELD, SeqCst);
    }

    /// Puts a held subsystem back into circulation, and makes it ready if something came meanwhile.
    pub fn release(&self) -> Wake {
        let held = self.run.state.swap(IDLE, SeqCst);
        debug_assert_eq!(held, HELD, "only a subsystem that is held is released");
        sync::handshake_fence();
        if self.is_empty() { Wake::None } else { self.make_ready() }
    }

    /// After a publication or a bit: makes the subsystem ready if nobody has it.
    #[inline]
    fn wake(&self) -> Wake {
        sync::handshake_fence();
        // SeqCst: the second access of the sleep handshake.
        match self.run.state.load(SeqCst) {
            IDLE => self.make_ready(),
            _ => Wake::None,
        }
    }

    #[cold]
    fn make_ready(&self) -> Wake {
        match self.run.state.compare_exchange(IDLE, READY, SeqCst, Relaxed) {
            Ok(_) => Wake::Ready,
            Err(_) => Wake::None,
        }
    }

    /// The holder's step from `from` to `to`, or to HELD if the lifecycle thread wants it; answers the new state.
    #[inline]
    fn step(&self, from: u32, to: u32) -> u32 {
        self.change(|state| {
            debug_assert_eq!(state & !WANTED, from, "only the holder of a subsystem moves it on");
            if state & WANTED == 0 { to } else { HELD }
        })
    }

    /// Changes the run state in one step and answers the new one. SeqCst: leaving is a first access of the handshake.
    #[inline]
    fn change(&self, next: impl Fn(u32) -> u32) -> u32 {
        let mut state = self.run.state.load(Relaxed);
        loop {
            let new = next(state);
            match self.run.state.compare_exchange(state, new, SeqCst, Relaxed) {
                Ok(_) => return new,
                Err(now) => state = now,
            }
        }
    }
}
