//! The bounded ring under every queue, lane and ready list: a data structure, with no policy and no waking.
//!
//! Positions count up for ever; a position's slot is its low bits. Two counters move: `tail` when producers reserve,
//! `head` when messages are claimed or evicted. Who moves a counter over a position owns that slot until it says so
//! in the slot's *word*, and only the word hands the value over:
//!
//! | word | the slot |
//! |---|---|
//! | `lap` (the position without its low bits; 0 in the first lap, so untouched memory is ready) | is free for the producer of that lap |
//! | `lap + n` | holds that lap's value, as do the `n - 1` slots behind it: a *run*, reserved and published in one step |
//!
//! Only the first slot of a run says so. Who takes some of a run writes the word of the first one that is left.
//!
//! Between reserving and publishing, and between claiming and freeing, runs nothing but a copy: no caller's code, so no
//! panic can leave a slot open. A *preempted* peer can still delay others for its time slice: they spin, because pure
//! code has nothing to park on.
#![allow(
    unsafe_code,
    reason = "values lie in uninitialised slots that the words hand from thread to thread"
)]

use crate::sync::{AcqRel, Acquire, AtomicU64, Relaxed, Release, SeqCst, UnsafeCell, spin_loop};
use crossbeam_utils::CachePadded;
use std::{fmt, mem, mem::MaybeUninit, ptr};

/// A bounded FIFO for any number of producers and consumers, holding exactly `capacity` items at most.
///
/// Its memory is reserved at once and touched as it is used, so a large ring that stays nearly empty costs little.
pub struct Ring<T> {
    /// Positions reserved so far. Its RMW is SeqCst because it takes part in the sleep handshake of `queue`.
    tail: CachePadded<AtomicU64>,
    /// Positions claimed or evicted so far; never above `tail`.
    // In one line of a cache with all below: whoever needs those asks for the head, too.
    head: AtomicU64,
    slots: Slots<T>,
    capacity: u64,
}

impl<T> Ring<T> {
    /// A ring of `capacity` items, with slots to spare for `batch` items that are being moved out.
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[must_use]
    pub fn new(capacity: usize, batch: usize) -> Self {
        assert!(capacity > 0, "a ring holds at least one item");
        Ring {
            tail: CachePadded::new(AtomicU64::new(0)),
            head: AtomicU64::new(0),
            slots: Slots::new((capacity + batch.max(1)).next_power_of_two()),
            capacity: capacity as u64,
        }
    }

    /// Puts `item` in.
    ///
    /// # Errors
    /// The item comes back when the ring is full.
    #[inline]
    pub fn try_push(&self, item: T) -> Result<(), T> {
        match self.reserve(1) {
            Some((position, _)) => {
                self.slots.put(position, item);
                Ok(())
            }
            None => Err(item),
        }
    }

    /// Puts `item` in, giving the oldest ones to `evicted` as far as needed to make room.
    ///
    /// `evicted` runs before the slot for `item` is reserved, so it may panic or use this ring.
    #[inline]
    pub fn push_evicting(&self, item: T, evicted: &mut impl FnMut(T)) {
        let position = self.reserve_evicting(1, evicted);
        self.slots.put(position, item);
    }

    /// Takes the oldest item, if it is published.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Acquire);
        loop {
            if self.slots.run_at(head) == 0 {
                head = self.moved_on(head)?;
            } else {
                match self.advance_head(head, 1) {
                    Ok(()) => return Some(self.slots.take(head)),
                    Err(now) => head = now,
                }
            }
        }
    }

    /// Moves up to `max` published items into `out`, oldest first, and answers how many; their slots are free again.
    ///
    /// Stops at an item that is reserved but not yet published. Allocates only if `out` lacks the capacity.
    #[inline]
    pub fn claim(&self, max: usize, out: &mut Vec<T>) -> usize {
        // Two loads tell of most empty rings, and of those with a single item, for which a pop costs a fourth. A stale
        // tail only hides what is reserved meanwhile.
        let head = self.head.load(Relaxed);
        match self.tail.load(Relaxed).saturating_sub(head) {
            0 => 0,
            1 if max > 0
                && out.len() < out.capacity()
                && self.slots.run_at(head) == 1
                && self.advance_head(head, 1).is_ok() =>
            {
                self.slots.take_to(head, out);
                1
            }
            _ => self.claim_some(max, out),
        }
    }

    #[inline(never)]
    fn claim_some(&self, max: usize, out: &mut Vec<T>) -> usize {
        let mut head = self.head.load(Acquire);
        loop {
            let (count, left) = self.slots.published(head, max);
            if count == 0 {
                match self.moved_on(head) {
                    Some(now) if max > 0 => head = now,
                    _ => return 0,
                }
                continue;
            }
            // Before the claim: nothing after it may panic.
            out.reserve(count);
            match self.advance_head(head, count as u64) {
                Ok(()) => {
                    self.slots.publish(head + count as u64, left);
                    self.slots.take_many(head, count, out);
                    return count;
                }
                Err(now) => head = now,
            }
        }
    }

    /// How many items are reserved and not yet claimed; a moment's truth, never above the capacity.
    #[inline]
    pub fn len(&self) -> usize {
        let head = self.claimed();
        self.reserved().saturating_sub(head).min(self.capacity) as usize
    }

    /// Whether no item is reserved or published.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let head = self.claimed();
        self.reserved() == head
    }

    /// How many items were ever reserved.
    ///
    /// SeqCst: the second access of a holder that goes to sleep, against a producer's reservation.
    #[inline]
    pub fn reserved(&self) -> u64 {
        self.tail.load(SeqCst)
    }

    /// How many items were ever claimed or evicted. `reserved`, read later, is never below it.
    #[inline]
    pub fn claimed(&self) -> u64 {
        // Acquire pairs with the Release of `advance_head`: behind it lies the reservation of what was claimed.
        self.head.load(Acquire)
    }

    /// The most items it holds.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Reserves up to `wanted` positions in one step: the first, and how many; `None` when the ring is full.
    #[inline]
    fn reserve(&self, wanted: u64) -> Option<(u64, u64)> {
        // A stale tail only makes the exchange fail, and a stale head only makes the ring look fuller:
        // what hands values over is the slot's word, so Relaxed would do for both.
        let mut tail = self.tail.load(Relaxed);
        loop {
            let count = wanted.min(self.room(tail, self.head.load(Acquire)));
            if count == 0 {
                return None;
            }
            match self.advance_tail(tail, count) {
                Ok(()) => return Some((tail, count)),
                Err(now) => tail = now,
            }
        }
    }

    /// Reserves `count` positions in one step, evicting one by one until they fit; answers the first.
    #[inline]
    fn reserve_evicting(&self, count: u64, evicted: &mut impl FnMut(T)) -> u64 {
        loop {
            let tail = self.tail.load(Relaxed);
            let head = self.head.load(Acquire);
            if self.room(tail, head) >= count {
                if self.advance_tail(tail, count).is_ok() {
                    return tail;
                }
            } else if self.advance_head(head, 1).is_ok() {
                // Nobody is evicted without need: the head was still `head`, and the tail at least `tail`.
                evicted(self.slots.take(head));
            }
        }
    }

    /// Free positions as seen from `tail`, which may be older than `head`.
    #[inline]
    fn room(&self, tail: u64, head: u64) -> u64 {
        self.capacity.saturating_sub(tail.saturating_sub(head))
    }

    #[inline]
    fn advance_tail(&self, tail: u64, count: u64) -> Result<(), u64> {
        // SeqCst: the first access of a producer that may have to wake the holder.
        let moved = self.tail.compare_exchange_weak(tail, tail + count, SeqCst, Relaxed);
        moved.map(drop)
    }

    /// Claims or evicts: whoever makes this step owns the `count` positions from `head`, alone.
    #[inline]
    fn advance_head(&self, head: u64, count: u64) -> Result<(), u64> {
        // Release pairs with the Acquire of `claimed`. On failure the slots of the new head are looked at anew.
        let moved = self.head.compare_exchange(head, head + count, AcqRel, Acquire);
        moved.map(drop)
    }

    /// The head, if it is no longer `head`.
    #[inline]
    fn moved_on(&self, head: u64) -> Option<u64> {
        let now = self.head.load(Acquire);
        (now != head).then_some(now)
    }
}

impl<T: Copy> Ring<T> {
    /// As [`Self::try_push`], straight from where `item` lies: whether it fitted.
    #[inline]
    pub fn try_push_copy(&self, item: &T) -> bool {
        let Some((position, _)) = self.reserve(1) else {
            return false;
        };
        self.slots.put_copy(position, item);
        true
    }

    /// Puts in as many of `items` as fit, from the front, with one reservation; answers how many.
    #[inline]
    pub fn try_push_many(&self, items: &[T]) -> usize {
        if let [item] = items {
            return usize::from(self.try_push_copy(item));
        }
        let Some((position, count)) = self.reserve(items.len() as u64) else {
            return 0;
        };
        self.slots.put_many(position, &items[..count as usize]);
        count as usize
    }

    /// Puts all `items` in, giving the oldest ones to `evicted` as far as needed to make room.
    ///
    /// One reservation for every `capacity` items; with more items than that, the first of them are evicted in turn.
    #[inline]
    pub fn push_many_evicting(&self, items: &[T], evicted: &mut impl FnMut(T)) {
        if let [item] = items {
            return self.push_evicting(*item, evicted);
        }
        for items in items.chunks(self.capacity()) {
            let position = self.reserve_evicting(items.len() as u64, evicted);
            self.slots.put_many(position, items);
        }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            while let Some(item) = self.pop() {
                drop(item);
            }
        }
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("claimed", &self.claimed())
            .field("reserved", &self.reserved())
            .field("capacity", &self.capacity)
            .finish()
    }
}

// SAFETY: a value is moved in by one thread and out by one other, so `T: Send` is all it takes; no `&T` is ever given
// out. That the two never meet in a slot is what the words and counters see to.
unsafe impl<T: Send> Sync for Ring<T> {}

/// The memory of a ring. Every function but `published` needs the position to be the caller's own.
struct Slots<T> {
    words: Box<[AtomicU64]>,
    values: Box<[Value<T>]>,
    /// `words.len() - 1`; both boxes have the same length, a power of two of at least 2.
    mask: u64,
}

type Value<T> = UnsafeCell<MaybeUninit<T>>;

/// How many words from the first on say `expected`.
#[inline]
fn beginning(words: &[AtomicU64], expected: u64) -> usize {
    // Acquire pairs with the Release of `publish` (the values are there) or of `free` (they are moved out).
    let says = |word: &AtomicU64| word.load(Acquire) == expected;
    // Eight at a time, which the compiler unrolls: nearly always all of them do.
    let (eights, _) = words.as_chunks::<8>();
    let whole = 8 * eights.iter().take_while(|eight| eight.iter().all(says)).count();
    whole + words[whole..].iter().take_while(|word| says(word)).count()
}

impl<T> Slots<T> {
    fn new(count: usize) -> Self {
        Slots { words: memory::words(count), values: memory::values(count), mask: count as u64 - 1 }
    }

    /// How many items from `head` on are published, up to `max`, and how many more the last of their runs has.
    #[inline]
    fn published(&self, head: u64, max: usize) -> (usize, u64) {
        let end = head + max.min(self.words.len()) as u64;
        let mut position = head;
        while position < end {
            let (start, length) = self.stretch(position, end);
            // Runs of one are looked at many at a time.
            let singles = beginning(&self.words[start..start + length], self.lap(position) + 1);
            position += singles as u64;
            if singles < length {
                match self.run_at(position) {
                    0 => break,
                    run => position += run,
                }
            }
        }
        let left = position.saturating_sub(end);
        ((position - head - left) as usize, left)
    }

    /// How long the published run is that begins at this position; 0 while none does.
    #[inline]
    fn run_at(&self, position: u64) -> u64 {
        // Acquire pairs with the Release of `publish`: the values are there.
        let run = self.word(position).load(Acquire).wrapping_sub(self.lap(position));
        // More, for a position that was claimed meanwhile: the slot is of the next lap.
        if run <= self.mask { run } else { 0 }
    }

    #[inline]
    fn put(&self, position: u64, item: T) {
        self.wait_for(self.word(position), self.lap(position));
        // SAFETY: the caller reserved the position, and the word says that the previous lap's value was moved out.
        self.value(position).with_mut(|value| unsafe { (*value).write(item) });
        self.publish(position, 1);
    }

    /// As `put`, straight from where the item lies.
    #[inline]
    fn put_copy(&self, position: u64, item: &T)
    where
        T: Copy,
    {
        self.wait_for(self.word(position), self.lap(position));
        // SAFETY: as for `put`.
        self.value(position).with_mut(|value| unsafe { (*value).write(*item) });
        self.publish(position, 1);
    }

    #[inline]
    fn take(&self, position: u64) -> T {
        let (word, lap) = (self.word(position), self.lap(position));
        // Acquire pairs with the Release of `publish`: the value is there.
        if word.load(Acquire) != lap + 1 {
            self.cut_run(position);
        }
        // SAFETY: the caller claimed the position, and the word says that its value is there; freeing it comes after.
        let item = self.value(position).with_mut(|value| unsafe { (*value).assume_init_read() });
        self.free(word, lap);
        item
    }

    /// Waits for the run that begins at a claimed position, and makes what follows that position a run of its own.
    #[cold]
    fn cut_run(&self, position: u64) {
        let run = loop {
            match self.run_at(position) {
                0 => spin_loop(),
                run => break run,
            }
        };
        self.publish(position + 1, run - 1);
    }

    /// Moves the item of a run of one to the end of `out`, which has room for it.
    #[inline]
    fn take_to(&self, position: u64, out: &mut Vec<T>) {
        let to = &mut out.spare_capacity_mut()[0];
        // SAFETY: the caller claimed the position and saw it published; the value counts as `out`'s from here on, and its
        // slot is free only after the move.
        unsafe {
            self.value(position)
                .with_mut(|value| to.as_mut_ptr().copy_from_nonoverlapping(value.cast(), 1));
            out.set_len(out.len() + 1);
        }
        self.free(self.word(position), self.lap(position));
    }

    /// Moves `count` published items to the end of `out`, which has room for them.
    #[inline]
    fn take_many(&self, mut position: u64, count: usize, out: &mut Vec<T>) {
        let end = position + count as u64;
        while position < end {
            let (start, length) = self.stretch(position, end);
            let to = out.spare_capacity_mut();
            assert!(length <= to.len(), "the caller reserved room for a claim");
            // SAFETY: the caller claimed these positions and saw them published; `to` has room for the run, which lies
            // in one piece. The values count as `out`'s from here on, and their slots are free only after the move.
            unsafe {
                memory::copy_out(&self.values, start, to.as_mut_ptr(), length);
                out.set_len(out.len() + length);
            }
            let lap = self.lap(position);
            self.words[start..start + length].iter().for_each(|word| self.free(word, lap));
            position += length as u64;
        }
    }

    /// Fills reserved positions from `position` on.
    #[inline]
    fn put_many(&self, mut position: u64, mut items: &[T])
    where
        T: Copy,
    {
        let (first, end) = (position, position + items.len() as u64);
        while position < end {
            let (start, length) = self.stretch(position, end);
            let (words, lap) = (&self.words[start..start + length], self.lap(position));
            let free = beginning(words, lap);
            words[free..].iter().for_each(|word| self.wait_for(word, lap));
            // SAFETY: the caller reserved these positions and the words say that they are free; the run lies in one
            // piece, `items` is as long as what is left of the reservation, and `T: Copy` makes a copy a value.
            unsafe { memory::copy_in(items.as_ptr(), &self.values, start, length) };
            position += length as u64;
            items = &items[length..];
        }
        self.publish(first, end - first);
    }

    /// The slots from `position` that lie in one piece, up to `end`: the first, and how many.
    #[inline]
    fn stretch(&self, position: u64, end: u64) -> (usize, usize) {
        let start = position & self.mask;
        let length = (end - position).min(self.mask + 1 - start);
        (start as usize, length as usize)
    }

    /// Spins until a peer that was preempted between its step and its word has gone on.
    ///
    /// It ends: a wait is always for a smaller position, or an earlier reservation, than one's own.
    #[inline]
    fn wait_for(&self, word: &AtomicU64, expected: u64) {
        // Acquire pairs with the Release of `free`: the value is moved out.
        while word.load(Acquire) != expected {
            spin_loop();
        }
    }

    /// Says that a run of `count` begins here; nothing where it is 0.
    ///
    /// The caller filled these positions, or claimed what lies before them in the run. Until then nobody gets past here.
    #[inline]
    fn publish(&self, position: u64, count: u64) {
        if count > 0 {
            // Release pairs with the Acquire of `run_at`: the values are written before they are seen.
            self.word(position).store(self.lap(position) + count, Release);
        }
    }

    #[inline]
    fn free(&self, word: &AtomicU64, lap: u64) {
        // Release pairs with the Acquire of `wait_for`: the value is moved out before the next lap overwrites it.
        word.store(lap + self.mask + 1, Release);
    }

    /// The position without its slot; a multiple of the number of slots, of which a run has fewer.
    #[inline]
    fn lap(&self, position: u64) -> u64 {
        position & !self.mask
    }

    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        // SAFETY: `mask` is the length less one.
        unsafe { self.words.get_unchecked((position & self.mask) as usize) }
    }

    #[inline]
    fn value(&self, position: u64) -> &Value<T> {
        // SAFETY: `mask` is the length less one.
        unsafe { self.values.get_unchecked((position & self.mask) as usize) }
    }
}

/// Memory as the operating system gives it: untouched, and copied in runs.
#[cfg(not(loom))]
mod memory {
    use super::{AtomicU64, Release, Value, ptr};
    use std::{mem::MaybeUninit, sync::atomic::compiler_fence};

    pub(super) fn words(count: usize) -> Box<[AtomicU64]> {
        // SAFETY: all zero is a valid `AtomicU64`.
        unsafe { Box::new_zeroed_slice(count).assume_init() }
    }

    pub(super) fn values<T>(count: usize) -> Box<[Value<T>]> {
        // SAFETY: a `Value` is a cell of `MaybeUninit`, for which any memory is valid.
        unsafe { Box::new_uninit_slice(count).assume_init() }
    }

    /// # Safety
    /// `length` values from `start` are the caller's alone and initialised; `to` has room for them.
    #[inline]
    pub(super) unsafe fn copy_out<T>(
        values: &[Value<T>],
        start: usize,
        to: *mut MaybeUninit<T>,
        length: usize,
    ) {
        let from = values[start..start + length].as_ptr();
        // SAFETY: by the caller; a `Value` is laid out as its `MaybeUninit`.
        unsafe { copy(from.cast(), to, length) };
    }

    /// # Safety
    /// `length` values from `start` are the caller's alone; `from` has as many to copy.
    #[inline]
    pub(super) unsafe fn copy_in<T: Copy>(
        from: *const T,
        values: &[Value<T>],
        start: usize,
        length: usize,
    ) {
        let to = values[start..start + length].as_ptr();
        // SAFETY: by the caller; a `Value` is laid out as a `T`, and being a cell may be written through a shared slice.
        unsafe { copy(from, to.cast_mut().cast(), length) };
    }

    /// As `ptr::copy_nonoverlapping`, but in steps that are compiled in place: libc's copy of many goes forwards or backwards
    /// as the two places lie to each other within a page, so that counts of instructions would not repeat.
    ///
    /// # Safety
    /// As for `ptr::copy_nonoverlapping`.
    #[inline]
    unsafe fn copy<T>(from: *const T, to: *mut T, length: usize) {
        for pair in 0..length / 2 {
            // SAFETY: by the caller.
            unsafe { ptr::copy_nonoverlapping(from.add(pair * 2), to.add(pair * 2), 2) };
            // No instruction, but the compiler does not make one copy of all.
            compiler_fence(Release);
        }
        if !length.is_multiple_of(2) {
            // SAFETY: by the caller.
            unsafe { ptr::copy_nonoverlapping(from.add(length - 1), to.add(length - 1), 1) };
        }
    }
}

/// The same, cell by cell, so that loom sees every access.
#[cfg(loom)]
mod memory {
    use super::{AtomicU64, Value, ptr};
    use std::mem::MaybeUninit;

    pub(super) fn words(count: usize) -> Box<[AtomicU64]> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    pub(super) fn values<T>(count: usize) -> Box<[Value<T>]> {
        (0..count).map(|_| Value::new(MaybeUninit::uninit())).collect()
    }

    /// # Safety
    /// As the twin above.
    pub(super) unsafe fn copy_out<T>(
        values: &[Value<T>],
        start: usize,
        to: *mut MaybeUninit<T>,
        length: usize,
    ) {
        for (index, value) in values[start..start + length].iter().enumerate() {
            // SAFETY: by the caller.
            value.with_mut(|value| unsafe { ptr::copy_nonoverlapping(value, to.add(index), 1) });
        }
    }

    /// # Safety
    /// As the twin above.
    pub(super) unsafe fn copy_in<T: Copy>(
        from: *const T,
        values: &[Value<T>],
        start: usize,
        length: usize,
    ) {
        for (index, value) in values[start..start + length].iter().enumerate() {
            // SAFETY: by the caller.
            value.with_mut(|value| unsafe { (*value).write(*from.add(index)) });
        }
    }
}
