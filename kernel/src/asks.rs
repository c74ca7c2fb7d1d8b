//! The host-owned table of one asker's requests: each ends exactly once, whoever is first.
//!
//! Not the outcome's way back: whoever ends a request gets the outcome's template, fills it in, and delivers it to the
//! asker's lane. The slot is free again only when the outcome was claimed from there, so the lane cannot overflow.
//!
//! A slot's word is `generation << 32 | phase`. Answer, deadline and cancel compete for the step from pending to ended;
//! an id carries its generation, so one that is late finds another word and loses.

use crate::{
    ids::SubsystemId,
    sync::{self, AcqRel, Acquire, AtomicU64, Mutex, Relaxed, Release},
};
use crossbeam_utils::CachePadded;
use std::{array, fmt, marker::PhantomData};

/// One request of one asker: the envelope's `reply` word, unpacked.
///
/// Holding one does not prove that the request is still pending: only [`Asks::end`] tells.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct AskId {
    /// Whose table it is in.
    pub asker: SubsystemId,
    /// The slot of that table.
    pub slot: u16,
    /// Which use of the slot, never 0.
    generation: u32,
}

impl AskId {
    /// The word that travels: `asker << 48 | slot << 32 | generation`, never 0.
    #[inline]
    #[must_use]
    pub fn pack(self) -> u64 {
        u64::from(self.asker.0) << 48 | u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// The id in a word; `None` for a message that wants no answer, and for any other word that is no id.
    #[inline]
    #[must_use]
    pub fn unpack(word: u64) -> Option<Self> {
        let generation = word as u32;
        (generation != 0).then_some(AskId {
            asker: SubsystemId((word >> 48) as u16),
            slot: (word >> 32) as u16,
            generation,
        })
    }
}

/// How a request ended.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum End {
    /// With a reply.
    Answered,
    /// With an error, whether it was handled or not.
    Failed,
    /// At its deadline.
    TimedOut,
    /// By the asker.
    Cancelled,
}

/// As many requests are pending as the table has slots.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("too many requests or timers are pending")]
pub struct Busy;

/// The requests of an asker since the host started.
///
/// `asked = answered + failed + timed_out + cancelled + pending`, always: `pending` is the difference.
#[derive(Copy, Clone, Default, Eq, PartialEq, Debug)]
pub struct Requests {
    /// Requests begun.
    pub asked: u64,
    /// Ended with a reply.
    pub answered: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Ended by their deadline.
    pub timed_out: u64,
    /// Ended by the asker.
    pub cancelled: u64,
    /// Not ended yet.
    pub pending: u64,
    /// Attempts to end a request that had ended already; beside the balance.
    pub late: u64,
}

/// What a table keeps of where an outcome goes; two words, so that they are kept without a lock.
pub trait Target: Copy {
    /// The words.
    fn into_words(self) -> [u64; 2];
    /// What these words were made of.
    fn from_words(words: [u64; 2]) -> Self;
}

impl Target for () {
    fn into_words(self) -> [u64; 2] {
        [0; 2]
    }

    fn from_words(_: [u64; 2]) {}
}

impl Target for u64 {
    fn into_words(self) -> [u64; 2] {
        [self, 0]
    }

    fn from_words([word, _]: [u64; 2]) -> u64 {
        word
    }
}

/// The requests of one asker; `M` is the template of an outcome: the route and parameters where it goes.
///
/// Allocates nothing after `new`.
pub struct Asks<M> {
    asker: SubsystemId,
    slots: Box<[Slot<M>]>,
    /// Last in, first out: a table that is mostly idle touches few slots.
    free: Mutex<Vec<u16>>,
    /// Not above the deadline of any pending request; the request it was taken from may have ended since.
    earliest: CachePadded<AtomicU64>,
    asked: AtomicU64,
    /// By `End`.
    ends: [AtomicU64; 4],
    late: AtomicU64,
}

struct Slot<M> {
    word: AtomicU64,
    /// Written only by `begin`, before the word says pending.
    deadline: AtomicU64,
    /// As `deadline`; read by the one who ended the request.
    target: [AtomicU64; 2],
    kind: PhantomData<fn(M) -> M>,
}

const FREE: u64 = 0;
const PENDING: u64 = 1;
const ENDED: u64 = 2;

fn word(generation: u32, phase: u64) -> u64 {
    u64::from(generation) << 32 | phase
}

impl<M: Target> Asks<M> {
    /// A table of `max` slots; the asker's lane of outcomes has to be as large.
    #[must_use]
    pub fn new(asker: SubsystemId, max: u16) -> Self {
        Asks {
            asker,
            slots: (0..max).map(|_| Slot::new()).collect(),
            free: Mutex::new((0..max).rev().collect()),
            earliest: CachePadded::new(AtomicU64::new(u64::MAX)),
            asked: AtomicU64::new(0),
            ends: array::from_fn(|_| AtomicU64::new(0)),
            late: AtomicU64::new(0),
        }
    }

    /// Begins a request with an absolute `deadline` in nanoseconds (0: none), whose outcome will go to `target`.
    ///
    /// # Errors
    /// No slot is free.
    #[inline(always)]
    pub fn begin(&self, deadline: u64, target: M) -> Result<AskId, Busy> {
        let index = sync::lock(&self.free).pop().ok_or(Busy)?;
        let due = if deadline == 0 { u64::MAX } else { deadline };
        self.asked.fetch_add(1, Relaxed);
        let generation = self.slots[usize::from(index)].begin(due, target);
        // AcqRel pairs with `expire`: it either sees the slot pending, or leaves this minimum in place.
        self.earliest.fetch_min(due, AcqRel);
        Ok(AskId { asker: self.asker, slot: index, generation })
    }

    /// Ends a request, and gives its outcome's template to the one who was first; everybody else is counted as late.
    ///
    /// Who gets the template delivers the outcome; once it is claimed from the lane, the slot is to be released.
    #[must_use = "the asker waits for the outcome made from this template"]
    #[inline]
    pub fn end(&self, id: AskId, how: End) -> Option<M> {
        let template = self.slot(id).filter(|slot| slot.end(id.generation)).map(Slot::target);
        let count = if template.is_some() { &self.ends[how as usize] } else { &self.late };
        // Release pairs with the Acquire of `counts`: behind a counted end lies the counted beginning.
        count.fetch_add(1, Release);
        template
    }

    /// Frees the slot of a request that ended and whose outcome was claimed from the lane: whether it was that.
    pub fn release(&self, id: AskId) -> bool {
        self.release_all([id]) == 1
    }

    /// As [`Self::release`] for several; answers how many it freed.
    pub fn release_all(&self, ids: impl IntoIterator<Item = AskId>) -> usize {
        let mut free = sync::lock(&self.free);
        let before = free.len();
        for id in ids {
            if self.slot(id).is_some_and(|slot| slot.release(id.generation)) {
                free.push(id.slot);
            }
        }
        free.len() - before
    }

    /// Ends every request whose deadline is not after `now`, and answers when to come again (`u64::MAX`: never).
    ///
    /// The time answered may be early, never late. Looks at the slots only when something may be due.
    pub fn expire(&self, now: u64, expired: &mut impl FnMut(AskId, M)) -> u64 {
        if self.earliest() > now {
            return self.earliest();
        }
        // AcqRel pairs with `begin`: a minimum that is overwritten here belongs to a slot that is seen below.
        self.earliest.swap(u64::MAX, AcqRel);
        let mut next = u64::MAX;
        for (index, slot) in self.slots.iter().enumerate() {
            let Some((generation, due)) = slot.pending() else { continue };
            if due > now {
                next = next.min(due);
            } else if slot.end(generation) {
                self.ends[End::TimedOut as usize].fetch_add(1, Release);
                let id = AskId { asker: self.asker, slot: index as u16, generation };
                expired(id, slot.target());
            }
        }
        self.earliest.fetch_min(next, AcqRel).min(next)
    }

    /// When `expire` may next find something (`u64::MAX`: never); may be early, never late.
    #[inline]
    pub fn earliest(&self) -> u64 {
        self.earliest.load(Acquire)
    }

    /// The counts so far.
    pub fn counts(&self) -> Requests {
        let [answered, failed, timed_out, cancelled] =
            array::from_fn(|how| self.ends[how].load(Acquire));
        let late = self.late.load(Relaxed);
        // Last, so that it is not below the ends.
        let asked = self.asked.load(Relaxed);
        let pending = asked - (answered + failed + timed_out + cancelled);
        Requests { asked, answered, failed, timed_out, cancelled, pending, late }
    }

    #[inline]
    fn slot(&self, id: AskId) -> Option<&Slot<M>> {
        let own = id.asker == self.asker;
        self.slots.get(usize::from(id.slot)).filter(|_| own)
    }
}

impl<M: Target> Slot<M> {
    fn new() -> Self {
        Slot {
            word: AtomicU64::new(word(1, FREE)),
            deadline: AtomicU64::new(0),
            target: array::from_fn(|_| AtomicU64::new(0)),
            kind: PhantomData,
        }
    }

    /// For the one who took the slot from the free list; answers the generation.
    #[inline(always)]
    fn begin(&self, due: u64, target: M) -> u32 {
        let generation = (self.word.load(Relaxed) >> 32) as u32;
        self.deadline.store(due, Relaxed);
        let [first, second] = target.into_words();
        self.target[0].store(first, Relaxed);
        self.target[1].store(second, Relaxed);
        // Release pairs with the Acquire of `pending` and `end`: deadline and target are there.
        self.word.store(word(generation, PENDING), Release);
        generation
    }

    /// The generation and deadline of a pending request. They belong together for whoever then ends that generation.
    fn pending(&self) -> Option<(u32, u64)> {
        let word = self.word.load(Acquire);
        (word as u32 as u64 == PENDING).then(|| ((word >> 32) as u32, self.deadline.load(Relaxed)))
    }

    /// The step that answer, deadline and cancel compete for: whether the caller was first.
    #[inline]
    fn end(&self, generation: u32) -> bool {
        self.step(word(generation, PENDING), word(generation, ENDED))
    }

    #[inline]
    fn release(&self, generation: u32) -> bool {
        let next = generation.checked_add(1).unwrap_or(1);
        self.step(word(generation, ENDED), word(next, FREE))
    }

    /// For the one who ended it, whose step was an Acquire; `begin` writes again only after `release`, a step after that.
    #[inline]
    fn target(&self) -> M {
        M::from_words([self.target[0].load(Relaxed), self.target[1].load(Relaxed)])
    }

    #[inline]
    fn step(&self, from: u64, to: u64) -> bool {
        // Acquire pairs with the Release of `begin`. Release: the next step sees what was done before this one.
        self.word.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }
}

impl<M: Target> fmt::Debug for Asks<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asks")
            .field("asker", &self.asker)
            .field("max", &self.slots.len())
            .field("counts", &self.counts())
            .finish()
    }
}
