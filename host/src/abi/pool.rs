//! Host-owned blocks for contents that do not fit into an envelope.
//!
//! One mapping holds a region for each power of two from 64 bytes to 64 MiB, each region as long as the whole budget and
//! backed by memory only where it was touched. So every block, small or large, is named by its distance from one base,
//! and no envelope holds a pointer. The last eight bytes of a block name its owner, whose quota it counts against.

use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::abi::{BLOCK_UNIT, Envelope, INLINE};
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
/// The most bytes that the content of a message takes.
pub const MAX_CONTENT: usize = (SMALLEST << (CLASSES - 1)) - TRAILER;
/// Block numbers are 32 bits of 64-byte units, so a region is at most this long.
const MAX_REGION: usize =
    ((u32::MAX as usize + 1) * BLOCK_UNIT / CLASSES) & !(MAX_CONTENT + TRAILER - 1);
/// From this size on a freed block gives its memory back to the system.
const RETURNED: usize = 256 * 1024;

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
    used: AtomicU64,
    classes: [Mutex<Class>; CLASSES],
    owners: Box<[Owner]>,
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
        Ok(Pool { base: base.cast(), region, budget, used: AtomicU64::new(0), classes, owners })
    }

    /// Where block 0 begins.
    pub fn base(&self) -> *const u8 {
        self.base
    }

    /// Bytes that are lent.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
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
        take(&self.used, size, self.budget).ok_or(PoolError::Pool)?;
        let account = &self.owners[owner.index()];
        let index =
            take(&account.used, size, account.quota).ok_or(PoolError::Quota).and_then(|()| {
                self.class(class)
                    .take()
                    .ok_or(PoolError::Pool)
                    .inspect_err(|_| give(&account.used, size))
            });
        let index = index.inspect_err(|_| give(&self.used, size))?;
        let block = self.block(class, index);
        // SAFETY: the trailer lies within the block, which is ours until it is freed.
        unsafe { self.trailer(block, class).write(u64::from(owner.0)) };
        Ok(block)
    }

    /// The memory of a block.
    pub fn memory(&self, block: Block) -> *mut u8 {
        self.base.wrapping_add(block.0 as usize * BLOCK_UNIT)
    }

    /// Takes a block back. To be called once, by whoever ends the message that holds it.
    pub fn free(&self, block: Block) {
        let offset = block.0 as usize * BLOCK_UNIT;
        let (class, size) = (offset / self.region, SMALLEST << (offset / self.region));
        // SAFETY: the trailer was written when the block was lent.
        let owner = unsafe { self.trailer(block, class).read() } as usize;
        if size >= RETURNED {
            // SAFETY: the block is ours; its contents are not needed any more.
            unsafe { libc::madvise(self.memory(block).cast(), size, libc::MADV_DONTNEED) };
        }
        give(&self.owners[owner].used, size as u64);
        give(&self.used, size as u64);
        self.class(class).free.push(((offset % self.region) / size) as u32);
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
        let length = prefix.len() + body.len();
        envelope.length = u32::try_from(length).map_err(|_| PoolError::TooLarge)?;
        if length <= INLINE {
            envelope.inline[..prefix.len()].copy_from_slice(prefix);
            envelope.inline[prefix.len()..length].copy_from_slice(body);
            return Ok(());
        }
        self.fill_block(envelope, owner, prefix, body)
    }

    /// As [`Self::fill`], but always in a block.
    pub fn fill_block(
        &self,
        envelope: &mut Envelope,
        owner: SubsystemId,
        prefix: &[u8],
        body: &[u8],
    ) -> Result<(), PoolError> {
        let length = prefix.len() + body.len();
        envelope.length = u32::try_from(length).map_err(|_| PoolError::TooLarge)?;
        let block = self.lend(owner, length)?;
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

    fn trailer(&self, block: Block, class: usize) -> *mut u64 {
        self.memory(block).wrapping_add((SMALLEST << class) - TRAILER).cast()
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
}
