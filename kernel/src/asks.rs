//! The host-owned table of one asker's requests: each ends exactly once, whoever is first.
//!
//! Not the outcome's way back: whoever ends a request gets the outcome's template, fills it in, and delivers it to the
//! asker's lane. The slot is free again only when the outcome was claimed from there, so the lane cannot overflow.
//!
//! A slot's word is, from the lowest bit, its phase (2 bits), slot (16), asker (16) and generation (30), and while a request
//! is pending that is its id. Answer, deadline and cancel compete for the step from pending to ended; an id carries its
//! generation, so one that is late finds another word and loses.

use crate::{
    ids::SubsystemId,
    sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release, SeqCst, handshake_fence},
};
use crossbeam_utils::CachePadded;
use std::{array, fmt, marker::PhantomData};

/// One request of one asker: the word that travels as the envelope's `reply`.
///
/// Holding one does not prove that the request is still pending: only [`Asks::end`] tells.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct AskId(u64);

impl AskId {
    /// The word, always odd.
    #[inline]
    #[must_use]
    pub fn pack(self) -> u64 {
        self.0
    }

    /// The id in a word; `None` for a message that wants no answer, and for any other word that is no id.
    #[inline]
    #[must_use]
    pub fn unpack(word: u64) -> Option<Self> {
        (word & PHASE == PENDING).then_some(AskId(word))
    }

    /// Whose table it is in.
    #[inline]
    #[must_use]
    pub fn asker(self) -> SubsystemId {
        SubsystemId((self.0 >> 18) as u16)
    }

    /// The slot of that table.
    #[inline]
    fn slot(self) -> u16 {
        (self.0 >> 2) as u16
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
    /// `taken << 16 | top`: how many slots were ever taken, modulo 2^48, and the free one to take next; the others hang
    /// behind it by their links. Last in, first out: a table that is mostly idle touches few slots.
    free: CachePadded<AtomicU64>,
    /// Not above the deadline of any pending request; the request it was taken from may have ended since.
    earliest: CachePadded<AtomicU64>,
    /// By `End`.
    ends: [AtomicU64; 4],
    late: AtomicU64,
}

struct Slot<M> {
    word: AtomicU64,
    /// Written by `begin`, before the word says pending, and by `renew`.
    deadline: AtomicU64,
    /// Written only by `begin`, before the word says pending; read by the one who ended the request. While the slot is free, the first is its link: the free
    /// slot behind it.
    target: [AtomicU64; 2],
    kind: PhantomData<fn(M) -> M>,
}

/// The link of the last free slot: no table has so many.
const NONE: u16 = u16::MAX;
/// One taken slot, in the word of the free list.
const TAKEN: u64 = 1 << 16;

/// The bits of a word that say what the slot is: 0 is free.
const PHASE: u64 = 3;
const PENDING: u64 = 1;
const ENDED: u64 = 2;
/// One generation, in the word.
const GENERATION: u64 = 1 << 34;

impl<M: Target> Asks<M> {
    /// A table of `max` slots; the asker's lane of outcomes has to be as large.
    #[must_use]
    pub fn new(asker: SubsystemId, max: u16) -> Self {
        Asks {
            asker,
            slots: (0..max).map(|slot| Slot::new(asker, slot, max)).collect(),
            free: CachePadded::new(AtomicU64::new(if max == 0 { NONE.into() } else { 0 })),
            earliest: CachePadded::new(AtomicU64::new(u64::MAX)),
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
        let slot = self.take().ok_or(Busy)?;
        let due = if deadline == 0 { u64::MAX } else { deadline };
        let id = slot.begin(due, target);
        handshake_fence();
        // SeqCst, as the swap of the word before it, against `expire`, which clears the minimum and then reads the words:
        // it sees this request pending, or the minimum is found cleared here and noted anew.
        if due < self.earliest.load(SeqCst) {
            self.note(due);
        }
        Ok(id)
    }

    #[cold]
    fn note(&self, due: u64) {
        self.earliest.fetch_min(due, AcqRel);
    }

    /// Takes a slot from the free list.
    #[inline(always)]
    fn take(&self) -> Option<&Slot<M>> {
        // Acquire, here and where the exchange fails, pairs with the Release of `give`: the links are there, and whoever
        // ended the last request of the slot has read its target.
        let mut free = self.free.load(Acquire);
        loop {
            let slot = self.slots.get(usize::from(free as u16))?;
            // Somebody else may have taken the slot, and then this is no link; but then the count has moved on, too.
            let link = slot.target[0].load(Relaxed) & u64::from(NONE);
            let rest = (free & !u64::from(NONE)).wrapping_add(TAKEN) | link;
            match self.free.compare_exchange_weak(free, rest, Acquire, Acquire) {
                Ok(_) => return Some(slot),
                Err(now) => free = now,
            }
        }
    }

    /// Puts slots on the free list that hang together from `first` to `last`.
    fn give(&self, first: u16, last: &Slot<M>) {
        let mut free = self.free.load(Relaxed);
        loop {
            last.link(free as u16);
            let more = free & !u64::from(NONE) | u64::from(first);
            match self.free.compare_exchange_weak(free, more, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }

    /// Ends a request, and gives its outcome's template to the one who was first; everybody else is counted as late.
    ///
    /// Who gets the template delivers the outcome; once it is claimed from the lane, the slot is to be released.
    #[must_use = "the asker waits for the outcome made from this template"]
    #[inline]
    pub fn end(&self, id: AskId, how: End) -> Option<M> {
        let template = self.slot(id).filter(|slot| slot.end(id)).map(Slot::target);
        let count = if template.is_some() { &self.ends[how as usize] } else { &self.late };
        // Release pairs with the Acquire of `counts`: behind a counted end lies the counted beginning.
        count.fetch_add(1, Release);
        template
    }

    /// Puts off the deadline of a request, as when a part of its answer came.
    ///
    /// The slot must not be released meanwhile: then it would be another request's deadline. One that has ended stays ended.
    pub fn renew(&self, id: AskId, deadline: u64) {
        if let Some(slot) = self.slot(id) {
            // Relaxed: `expire` may read the time before, as if the part had come too late.
            slot.deadline.store(if deadline == 0 { u64::MAX } else { deadline }, Relaxed);
        }
    }

    /// Frees the slot of a request that ended and whose outcome was claimed from the lane: whether it was that.
    pub fn release(&self, id: AskId) -> bool {
        self.release_all([id]) == 1
    }

    /// As [`Self::release`] for several, in one step; answers how many it freed.
    #[inline]
    pub fn release_all(&self, ids: impl IntoIterator<Item = AskId>) -> usize {
        let (mut first, mut last, mut freed) = (NONE, None, 0);
        for id in ids {
            let Some(slot) = self.slot(id).filter(|slot| slot.release(id)) else {
                continue;
            };
            slot.link(first);
            first = id.slot();
            last = last.or(Some(slot));
            freed += 1;
        }
        if let Some(last) = last {
            self.give(first, last);
        }
        freed
    }

    /// Ends every request whose deadline is not after `now`, and answers when to come again (`u64::MAX`: never).
    ///
    /// The time answered may be early, never late. Looks at the slots only when something may be due.
    pub fn expire(&self, now: u64, expired: &mut impl FnMut(AskId, M)) -> u64 {
        if self.earliest() > now {
            return self.earliest();
        }
        // SeqCst, as the reads of the words below: see `begin`.
        self.earliest.swap(u64::MAX, SeqCst);
        handshake_fence();
        let mut next = u64::MAX;
        for slot in &self.slots {
            let Some((id, due)) = slot.pending() else { continue };
            if due > now {
                next = next.min(due);
            } else if slot.end(id) {
                self.ends[End::TimedOut as usize].fetch_add(1, Release);
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
        let ended = answered + failed + timed_out + cancelled;
        // Last, so that it is not below the ends. There are never 2^48 pending, so the difference modulo that is right.
        let pending = (self.free.load(Relaxed) >> 16).wrapping_sub(ended) & u64::MAX >> 16;
        Requests { asked: ended + pending, answered, failed, timed_out, cancelled, pending, late }
    }

    /// The slot of an id. One of another table finds a word there that is not its own.
    #[inline]
    fn slot(&self, id: AskId) -> Option<&Slot<M>> {
        self.slots.get(usize::from(id.slot()))
    }
}

impl<M: Target> Slot<M> {
    /// The slot of this number, in a table of `max`.
    fn new(asker: SubsystemId, slot: u16, max: u16) -> Self {
        let behind = if slot + 1 == max { NONE } else { slot + 1 };
        Slot {
            word: AtomicU64::new(u64::from(asker.0) << 18 | u64::from(slot) << 2),
            deadline: AtomicU64::new(0),
            target: [AtomicU64::new(behind.into()), AtomicU64::new(0)],
            kind: PhantomData,
        }
    }

    /// For the one who has the slot and gives it back: the free slot behind it.
    #[inline]
    fn link(&self, next: u16) {
        self.target[0].store(next.into(), Relaxed);
    }

    /// For the one who took the slot from the free list.
    #[inline(always)]
    fn begin(&self, due: u64, target: M) -> AskId {
        let id = self.word.load(Relaxed) | PENDING;
        self.deadline.store(due, Relaxed);
        let [first, second] = target.into_words();
        self.target[0].store(first, Relaxed);
        self.target[1].store(second, Relaxed);
        // Release pairs with the Acquire of `pending` and `end`: deadline and target are there. SeqCst for `Asks::begin`.
        self.word.swap(id, SeqCst);
        AskId(id)
    }

    /// A pending request and its deadline. They belong together for whoever then ends that request.
    fn pending(&self) -> Option<(AskId, u64)> {
        // Acquire pairs with `begin`. SeqCst for `Asks::expire`.
        let id = AskId::unpack(self.word.load(SeqCst))?;
        Some((id, self.deadline.load(Relaxed)))
    }

    /// The step that answer, deadline and cancel compete for: whether the caller was first.
    #[inline]
    fn end(&self, id: AskId) -> bool {
        let ended = id.0 ^ PENDING ^ ENDED;
        // Acquire pairs with the Release of `begin`. Release: the next step sees what was done before this one.
        self.word.compare_exchange(id.0, ended, AcqRel, Relaxed).is_ok()
    }

    /// For the one who claimed the outcome: a slot whose request ended is nobody else's, so that it takes no exchange.
    #[inline]
    fn release(&self, id: AskId) -> bool {
        let is_ended = self.word.load(Relaxed) == id.0 ^ PENDING ^ ENDED;
        if is_ended {
            self.word.store((id.0 ^ PENDING).wrapping_add(GENERATION), Relaxed);
        }
        is_ended
    }

    /// For the one who ended it, whose step was an Acquire; `begin` writes again only after `release`, a step after that.
    #[inline]
    fn target(&self) -> M {
        M::from_words([self.target[0].load(Relaxed), self.target[1].load(Relaxed)])
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
