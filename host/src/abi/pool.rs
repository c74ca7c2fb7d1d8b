//! Host-owned blocks for contents that do not fit into an envelope.
//!
//! One mapping holds a region for each power of two from 64 bytes to 64 MiB, each region as long as the whole budget and
//! backed by memory only where it was touched. So every block, small or large, is named by its distance from one base,
//! and no envelope holds a pointer. The last eight bytes of a block name its owner, whose quota it counts against, and,
//! where several envelopes share it, how many do.
//! Each worker holds some small blocks in a [`Magazine`] of its own.

use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::abi::{BLOCK_UNIT, Envelope};
use std::{
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The smallest block.
const SMALLEST: usize = BLOCK_UNIT;
/// Classes of 64 B, 128 B, … 64 MiB.
const CLASSES: usize = 21;
/// What a block keeps for its owner's number.
const TRAILER: usize = 8;
/// One envelope of those that share a block, as it is counted above its owner's number; nobody has a number that large.
const HOLDER: u64 = 1 << 32;
/// The most bytes that the content of a message takes.
pub const MAX_CONTENT: usize = (SMALLEST << (CLASSES - 1)) - TRAILER;
/// Block numbers are 32 bits of 64-byte units, so a region is at most this long.
const MAX_REGION: usize =
    ((u32::MAX as usize + 1) * BLOCK_UNIT / CLASSES) & !(MAX_CONTENT + TRAILER - 1);
/// From this size on a freed block gives its memory back to the system.
const RETURNED: usize = 256 * 1024;
/// The classes that magazines hold: 64 B to 4 KiB.
const SMALL: usize = 7;
/// Blocks of a class that a magazine takes or gives back at once; it holds twice as many at most.
const ROUND: usize = 16;
/// The least budget of which magazines may hold blocks back: each holds 260 KB at most.
const SPARE: u64 = 16 << 20;

/// The number of a block, in [`BLOCK_UNIT`]s from the base.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Block(pub u32);

/// Why no block was lent.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// The pool is used up.
    Pool,
    /// The owner's quota is used up.
    Quota,
    /// No block is that large.
    TooLarge,
}

/// The pool.
pub struct Pool {
    base: *mut u8,
    /// Bytes of one region; a multiple of every block size.
    region: usize,
    budget: u64,
    /// Bytes that are lent or in a magazine.
    reserved: AtomicU64,
    classes: [Mutex<Class>; CLASSES],
    owners: Box<[Owner]>,
}

/// Free blocks that one thread holds for itself, so that it seldom asks for the lists that all share.
#[derive(Debug)]
pub struct Magazine {
    free: [Vec<u32>; SMALL],
}

impl Magazine {
    /// One that holds nothing yet.
    pub fn new() -> Magazine {
        Magazine { free: std::array::from_fn(|_| Vec::with_capacity(2 * ROUND + 1)) }
    }
}

impl Default for Magazine {
    fn default() -> Self {
        Magazine::new()
    }
}

/// Free blocks of one size.
struct Class {
    free: Vec<u32>,
    /// Blocks from here on were never lent.
    fresh: u32,
    limit: u32,
}

/// What one subsystem may have lent.
struct Owner {
    quota: u64,
    used: AtomicU64,
}

// SAFETY: the mapping lives as long as the pool, and a block belongs to whoever holds its message.
unsafe impl Send for Pool {}
// SAFETY: as above; the lists are behind locks.
unsafe impl Sync for Pool {}

impl Pool {
    /// A pool of `budget` bytes; `quotas` are those of the subsystems, by number.
    ///
    /// # Errors
    /// If the system does not map it.
    pub fn new(budget: u64, quotas: impl IntoIterator<Item = u64>) -> std::io::Result<Pool> {
        let largest = SMALLEST << (CLASSES - 1);
        let region = (budget as usize).next_multiple_of(largest).min(MAX_REGION);
        // SAFETY: an anonymous mapping at an address that the system chooses touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                region * CLASSES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let class = |class: usize| {
            Mutex::new(Class {
                free: Vec::new(),
                fresh: 0,
                limit: (region / (SMALLEST << class)) as u32,
            })
        };
        let owners =
            quotas.into_iter().map(|quota| Owner { quota, used: AtomicU64::new(0) }).collect();
        let classes = std::array::from_fn(class);
        let reserved = AtomicU64::new(0);
        Ok(Pool { base: base.cast(), region, budget, reserved, classes, owners })
    }

    /// Where block 0 begins.
    pub fn base(&self) -> *const u8 {
        self.base
    }

    /// Most bytes that are lent.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Bytes that are lent.
    pub fn used(&self) -> u64 {
        self.owners.iter().map(|owner| owner.used.load(Ordering::Relaxed)).sum()
    }

    /// Bytes that are lent to one subsystem.
    pub fn used_by(&self, owner: SubsystemId) -> u64 {
        self.owners[owner.index()].used.load(Ordering::Relaxed)
    }

    /// Lends a block with room for `length` bytes, at the cost of `owner`.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn lend(&self, owner: SubsystemId, length: usize) -> Result<Block, PoolError> {
        let class = class_of(length).ok_or(PoolError::TooLarge)?;
        let size = (SMALLEST << class) as u64;
        take(&self.reserved, size, self.budget).ok_or(PoolError::Pool)?;
        let account = &self.owners[owner.index()];
        let index =
            take(&account.used, size, account.quota).ok_or(PoolError::Quota).and_then(|()| {
                self.class(class)
                    .take()
                    .ok_or(PoolError::Pool)
                    .inspect_err(|_| give(&account.used, size))
            });
        let index = index.inspect_err(|_| give(&self.reserved, size))?;
        Ok(self.signed(owner, class, index))
    }

    /// As [`Self::lend`], from the blocks that the caller's thread holds; it takes more where it has none.
    ///
    /// What other threads hold is not lent: of the budget, 260 KB a thread may be missing.
    ///
    /// # Errors
    /// See [`PoolError`].
    #[inline]
    pub fn lend_by(
        &self,
        magazine: &mut Magazine,
        owner: SubsystemId,
        length: usize,
    ) -> Result<Block, PoolError> {
        let class = class_of(length).ok_or(PoolError::TooLarge)?;
        let Some(free) = self.magazine_for(magazine, class) else {
            return self.lend(owner, length);
        };
        if free.is_empty() && !self.load(class, free) {
            return self.lend(owner, length);
        }
        let account = &self.owners[owner.index()];
        take(&account.used, (SMALLEST << class) as u64, account.quota).ok_or(PoolError::Quota)?;
        let index = free.pop().ok_or(PoolError::Pool)?;
        Ok(self.signed(owner, class, index))
    }

    /// A magazine's list of a class, if magazines hold it.
    #[inline]
    fn magazine_for<'m>(
        &self,
        magazine: &'m mut Magazine,
        class: usize,
    ) -> Option<&'m mut Vec<u32>> {
        if self.budget < SPARE {
            return None;
        }
        magazine.free.get_mut(class)
    }

    /// Takes a round of blocks from the shared list, if the budget has as much left; whether there are some.
    #[cold]
    fn load(&self, class: usize, free: &mut Vec<u32>) -> bool {
        let size = (SMALLEST << class) as u64;
        if take(&self.reserved, ROUND as u64 * size, self.budget).is_none() {
            return false;
        }
        let mut shared = self.class(class);
        free.extend(std::iter::from_fn(|| shared.take()).take(ROUND));
        give(&self.reserved, (ROUND - free.len()) as u64 * size);
        !free.is_empty()
    }

    /// Gives a round of blocks back to the shared list.
    #[cold]
    fn unload(&self, class: usize, free: &mut Vec<u32>) {
        self.class(class).free.extend(free.drain(..ROUND));
        give(&self.reserved, (ROUND * (SMALLEST << class)) as u64);
    }

    /// Gives everything back that a thread holds, which ends.
    pub fn unload_all(&self, magazine: &mut Magazine) {
        for (class, free) in magazine.free.iter_mut().enumerate() {
            give(&self.reserved, (free.len() * (SMALLEST << class)) as u64);
            self.class(class).free.append(free);
        }
    }

    /// A block with its owner's number.
    #[inline]
    fn signed(&self, owner: SubsystemId, class: usize, index: u32) -> Block {
        let block = self.block(class, index);
        self.trailer(block, class).store(u64::from(owner.0), Ordering::Relaxed);
        block
    }

    /// The class of a lent block, its place there, and its owner; the number of a shared one is nobody's.
    #[inline]
    fn lent(&self, block: Block) -> (usize, u32, usize) {
        let offset = block.0 as usize * BLOCK_UNIT;
        let class = offset / self.region;
        let owner = self.trailer(block, class).load(Ordering::Relaxed) as usize;
        (class, ((offset % self.region) / (SMALLEST << class)) as u32, owner)
    }

    /// Lets so many copies of an envelope share its block, which the last of them that ends frees: until then it counts once
    /// against its owner. To be called before there are copies.
    pub fn share(&self, envelope: &Envelope, holders: usize) {
        let Some(block) = envelope.block().filter(|_| holders > 1).map(Block) else { return };
        let (class, ..) = self.lent(block);
        // Relaxed: the queues that the copies go by bring this along.
        self.trailer(block, class).fetch_add(holders as u64 * HOLDER, Ordering::Relaxed);
    }

    /// One holder less of a shared block.
    #[cold]
    fn free_shared(&self, block: Block, class: usize) {
        // AcqRel: whoever frees the block does so behind all that have read it.
        let before = self.trailer(block, class).fetch_sub(HOLDER, Ordering::AcqRel);
        if before / HOLDER == 1 {
            self.free(block);
        }
    }

    /// The memory of a block.
    pub fn memory(&self, block: Block) -> *mut u8 {
        self.base.wrapping_add(block.0 as usize * BLOCK_UNIT)
    }

    /// Takes a block back. To be called once, by whoever ends the message that holds it.
    pub fn free(&self, block: Block) {
        let (class, index, owner) = self.lent(block);
        let Some(account) = self.owners.get(owner) else { return self.free_shared(block, class) };
        let size = SMALLEST << class;
        if size >= RETURNED {
            // SAFETY: the block is ours; its contents are not needed any more.
            unsafe { libc::madvise(self.memory(block).cast(), size, libc::MADV_DONTNEED) };
        }
        give(&account.used, size as u64);
        give(&self.reserved, size as u64);
        self.class(class).free.push(index);
    }

    /// As [`Self::release`] for many, into what the caller's thread holds.
    pub fn release_by<'e>(
        &self,
        magazine: &mut Magazine,
        envelopes: impl IntoIterator<Item = &'e Envelope>,
    ) {
        // Messages often come from one sender: its account is settled once for those that follow each other.
        let (mut owner, mut bytes) = (0, 0);
        for block in envelopes.into_iter().filter_map(Envelope::block).map(Block) {
            let (class, index, of) = self.lent(block);
            let Some(free) = self.magazine_for(magazine, class) else {
                self.free(block);
                continue;
            };
            if of != owner {
                if of >= self.owners.len() {
                    self.free_shared(block, class);
                    continue;
                }
                give(&self.owners[owner].used, bytes);
                (owner, bytes) = (of, 0);
            }
            bytes += (SMALLEST << class) as u64;
            free.push(index);
            if free.len() > 2 * ROUND {
                self.unload(class, free);
            }
        }
        give(&self.owners[owner].used, bytes);
    }

    /// Puts content into an envelope, inline or in a block at the cost of `owner`.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn fill(
        &self,
        envelope: &mut Envelope,
        owner: SubsystemId,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), PoolError> {
        fill_inline(envelope, prefix, body).unwrap_or_else(|| {
            self.fill_lent(envelope, prefix, body, |length| self.lend(owner, length))
        })
    }

    /// As [`Self::fill`], with a block that the caller's thread holds.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn fill_by(
        &self,
        magazine: &mut Magazine,
        envelope: &mut Envelope,
        owner: SubsystemId,
        body: &[u8],
    ) -> Result<(), PoolError> {
        fill_inline(envelope, &[], body).unwrap_or_else(|| {
            self.fill_lent(envelope, &[], body, |length| self.lend_by(magazine, owner, length))
        })
    }

    /// As [`Self::fill`], but always in a block.
    pub fn fill_block(
        &self,
        envelope: &mut Envelope,
        owner: SubsystemId,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), PoolError> {
        self.fill_lent(envelope, prefix, body, |length| self.lend(owner, length))
    }

    fn fill_lent(
        &self,
        envelope: &mut Envelope,
        prefix: &[u8],
        body: &[u8],
        lend: impl FnOnce(usize) -> Result<Block, PoolError>,
    ) -> Result<(), PoolError> {
        let length = prefix.len() + body.len();
        envelope.length = u32::try_from(length).map_err(|_| PoolError::TooLarge)?;
        let block = lend(length)?;
        // SAFETY: the block has room for both, and is ours until the envelope is passed on.
        unsafe {
            ptr::copy_nonoverlapping(prefix.as_ptr(), self.memory(block), prefix.len());
            ptr::copy_nonoverlapping(
                body.as_ptr(),
                self.memory(block).add(prefix.len()),
                body.len(),
            );
        }
        envelope.set_block(block.0);
        Ok(())
    }

    /// The content of an envelope that the caller holds.
    pub fn content<'a>(&'a self, envelope: &'a Envelope) -> &'a [u8] {
        // SAFETY: whoever holds an envelope owns its block, which lies in this pool.
        unsafe { envelope.content(self.base) }
    }

    /// Frees the block of an envelope that ends, if it has one.
    pub fn release(&self, envelope: &Envelope) {
        if let Some(block) = envelope.block() {
            self.free(Block(block));
        }
    }

    fn class(&self, class: usize) -> MutexGuard<'_, Class> {
        self.classes[class].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, class: usize, index: u32) -> Block {
        Block(((class * self.region + index as usize * (SMALLEST << class)) / BLOCK_UNIT) as u32)
    }

    #[inline]
    fn trailer(&self, block: Block, class: usize) -> &AtomicU64 {
        let place = self.memory(block).wrapping_add((SMALLEST << class) - TRAILER);
        // SAFETY: it lies within the mapping, at a multiple of eight bytes, and is only ever used atomically.
        unsafe { AtomicU64::from_ptr(place.cast()) }
    }

    /// The bytes of a block, for tests.
    #[cfg(test)]
    fn bytes(&self, block: Block, length: usize) -> &[u8] {
        // SAFETY: the tests ask for what they wrote.
        unsafe { std::slice::from_raw_parts(self.memory(block), length) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody holds a block any more.
        unsafe { libc::munmap(self.base.cast(), self.region * CLASSES) };
    }
}

impl Class {
    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let fresh = self.fresh;
            (fresh < self.limit).then(|| self.fresh += 1).map(|()| fresh)
        })
    }
}

/// Puts content into an envelope; `None` if it is too long.
#[inline]
fn fill_inline(
    envelope: &mut Envelope,
    prefix: &[u8],
    body: &[u8],
) -> Option<Result<(), PoolError>> {
    let length = prefix.len() + body.len();
    let room = envelope.inline.get_mut(..length)?;
    let (start, rest) = room.split_at_mut(prefix.len());
    start.copy_from_slice(prefix);
    rest.copy_from_slice(body);
    envelope.length = length as u32;
    Some(Ok(()))
}

/// The class whose blocks have room for `length` bytes.
fn class_of(length: usize) -> Option<usize> {
    let size = length.checked_add(TRAILER)?.max(SMALLEST).checked_next_power_of_two()?;
    let class = (size / SMALLEST).trailing_zeros() as usize;
    (class < CLASSES).then_some(class)
}

fn take(used: &AtomicU64, size: u64, limit: u64) -> Option<()> {
    let fits = |used: u64| used.checked_add(size).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok().map(drop)
}

fn give(used: &AtomicU64, size: u64) {
    used.fetch_sub(size, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mycelia_plugin::abi::INLINE;

    const OWNER: SubsystemId = SubsystemId(1);

    fn pool(budget: u64, quota: u64) -> Pool {
        Pool::new(budget, [0, quota]).unwrap()
    }

    #[test]
    fn contents_come_back_whatever_their_size() {
        let pool = pool(256 << 20, 256 << 20);
        for length in [0, 1, 24, 25, 56, 57, 120, 4_000, 4_096, 70_000, 1 << 20, 40 << 20] {
            let body: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut envelope = Envelope::EMPTY;
            pool.fill(&mut envelope, OWNER, &body[..length / 3], &body[length / 3..]).unwrap();
            assert_eq!(envelope.block().is_some(), length > INLINE);
            assert!(pool.content(&envelope) == body, "{length}");
            pool.release(&envelope);
            assert_eq!((pool.used(), pool.used_by(OWNER)), (0, 0), "{length}");
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_are_used_again() {
        let pool = pool(1 << 20, 1 << 20);
        let blocks: Vec<Block> = (0..100).map(|_| pool.lend(OWNER, 100).unwrap()).collect();
        for (index, block) in blocks.iter().enumerate() {
            // SAFETY: the block was lent with that much room.
            unsafe { pool.memory(*block).write_bytes(index as u8, 100) };
        }
        for (index, block) in blocks.iter().enumerate() {
            assert!(pool.bytes(*block, 100).iter().all(|byte| *byte == index as u8));
        }
        blocks.iter().for_each(|block| pool.free(*block));
        assert!(blocks.contains(&pool.lend(OWNER, 100).unwrap()));
    }

    #[test]
    fn budget_quota_and_size_are_kept() {
        let pool = pool(1 << 20, 4096);
        assert_eq!(pool.lend(OWNER, MAX_CONTENT + 1), Err(PoolError::TooLarge));
        assert_eq!(pool.lend(OWNER, usize::MAX), Err(PoolError::TooLarge));
        assert_eq!(pool.lend(OWNER, 2 << 20), Err(PoolError::Pool));
        assert_eq!(pool.lend(OWNER, 5_000), Err(PoolError::Quota));
        let first = pool.lend(OWNER, 2_000).unwrap();
        let second = pool.lend(OWNER, 2_000).unwrap();
        assert_eq!(pool.lend(OWNER, 1), Err(PoolError::Quota));
        pool.free(first);
        assert!(pool.lend(OWNER, 1).is_ok());
        pool.free(second);
        assert_eq!(pool.used(), 64);
    }

    /// An envelope with a block of its own.
    fn message(block: Block) -> Envelope {
        let mut message = Envelope::EMPTY;
        message.set_block(block.0);
        message
    }

    #[test]
    fn a_shared_block_is_freed_by_its_last_holder() {
        for budget in [SPARE, SPARE / 2] {
            let pool = pool(budget, budget);
            let mut magazine = Magazine::new();
            for (length, holders) in [(100, 1), (100, 2), (1 << 20, 3)] {
                let mut message = Envelope::EMPTY;
                pool.fill(&mut message, OWNER, &[], &vec![7; length]).unwrap();
                let used = pool.used_by(OWNER);
                pool.share(&message, holders);
                for left in (0..holders).rev() {
                    assert_eq!(pool.used_by(OWNER), used, "it counts once");
                    assert_eq!(pool.content(&message), vec![7; length]);
                    match left % 2 {
                        0 => pool.release(&message),
                        _ => pool.release_by(&mut magazine, [&message]),
                    }
                }
                assert_eq!((pool.used(), pool.used_by(OWNER)), (0, 0), "{length} {holders}");
            }
            let mut inline = Envelope::EMPTY;
            pool.fill(&mut inline, OWNER, &[], b"x").unwrap();
            pool.share(&inline, 5);
            pool.release(&inline);
        }
    }

    #[test]
    fn holders_on_many_threads_free_a_block_once() {
        let pool = pool(SPARE, SPARE);
        for _ in 0..200 {
            let mut message = Envelope::EMPTY;
            pool.fill(&mut message, OWNER, &[], &[7; 100]).unwrap();
            pool.share(&message, 4);
            std::thread::scope(|scope| {
                for holder in 0..4 {
                    let (pool, message) = (&pool, &message);
                    scope.spawn(move || match holder % 2 {
                        0 => pool.release(message),
                        _ => pool.release_by(&mut Magazine::new(), [message]),
                    });
                }
            });
            assert_eq!((pool.used(), pool.used_by(OWNER)), (0, 0));
        }
    }

    #[test]
    fn a_magazine_gives_back_what_it_need_not_hold() {
        let pool = pool(SPARE, SPARE);
        let (mut sender, mut handler) = (Magazine::new(), Magazine::new());
        let size = 1_024;
        for _ in 0..3 {
            let lent: Vec<Envelope> = (0..200)
                .map(|_| message(pool.lend_by(&mut sender, OWNER, 1_000).unwrap()))
                .collect();
            assert_eq!(pool.used_by(OWNER), 200 * size);
            let mut blocks: Vec<u32> = lent.iter().filter_map(Envelope::block).collect();
            blocks.sort_unstable();
            blocks.dedup();
            assert_eq!(blocks.len(), 200, "no block is lent twice");
            pool.release_by(&mut handler, &lent);
            assert_eq!((pool.used(), pool.used_by(OWNER)), (0, 0));
            let held = pool.reserved.load(Ordering::Relaxed);
            assert!(held <= 2 * 2 * ROUND as u64 * size, "{held} bytes are held back");
        }
    }

    #[test]
    fn a_magazine_that_is_given_up_leaves_nothing() {
        let pool = pool(SPARE, SPARE);
        let mut magazine = Magazine::new();
        for length in [10, 1_000, 4_000] {
            let block = pool.lend_by(&mut magazine, OWNER, length).unwrap();
            pool.release_by(&mut magazine, &[message(block)]);
        }
        assert!(pool.reserved.load(Ordering::Relaxed) > 0);
        pool.unload_all(&mut magazine);
        assert_eq!(pool.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_magazine_keeps_quota_and_budget() {
        let tight = pool(SPARE, 4 * 1_024);
        let mut magazine = Magazine::new();
        let lent: Vec<Envelope> =
            std::iter::from_fn(|| tight.lend_by(&mut magazine, OWNER, 1_000).ok().map(message))
                .collect();
        assert_eq!((lent.len(), tight.used_by(OWNER)), (4, 4 * 1_024));
        assert_eq!(tight.lend_by(&mut magazine, OWNER, 1_000), Err(PoolError::Quota));
        tight.release_by(&mut magazine, &lent);
        assert!(tight.lend_by(&mut magazine, OWNER, 1_000).is_ok());

        let wide = pool(SPARE, 2 * SPARE);
        let mut magazine = Magazine::new();
        let lent: Vec<Envelope> =
            std::iter::from_fn(|| wide.lend_by(&mut magazine, OWNER, 4_000).ok().map(message))
                .collect();
        assert_eq!(lent.len() as u64 * 4_096, SPARE, "all of it");
        assert_eq!(wide.lend_by(&mut magazine, OWNER, 4_000), Err(PoolError::Pool));
        wide.release_by(&mut magazine, &lent);
        assert_eq!(wide.used(), 0);
        assert!(wide.lend_by(&mut magazine, OWNER, 4_000).is_ok());
    }
}
