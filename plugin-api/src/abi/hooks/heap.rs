//! The library's allocator: libc's, with a list of the blocks that are held, so that they are counted, and freed at unload.
//!
//! A block is preceded by a header, which lies in the list if the block was made after the heap was attached.

use super::libc;
use std::{
    alloc::{GlobalAlloc, Layout},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// The heap of this library.
pub static HEAP: Heap = Heap::new();

/// What the export macro makes the global allocator.
pub struct Allocator;

// SAFETY: as for `Heap`, to which it passes everything on.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller vouches, here and below.
        unsafe { HEAP.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { HEAP.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { HEAP.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { HEAP.realloc(block, layout, size) }
    }
}

/// At the start of what libc gave, which is before the block by the block's alignment, or by its own size if that is more.
struct Header {
    next: *mut Header,
    /// Itself in the first of a list, null outside of any.
    previous: *mut Header,
}

/// What malloc aligns to, too.
const HEADER: usize = size_of::<Header>();

impl Header {
    const UNLISTED: Header = Header { next: ptr::null_mut(), previous: ptr::null_mut() };
}

fn offset(layout: Layout) -> usize {
    layout.align().max(HEADER)
}

struct Held {
    first: *mut Header,
    blocks: u64,
    bytes: u64,
}

// SAFETY: the headers of a list are touched only by whoever has locked it.
unsafe impl Send for Held {}

impl Held {
    const NOTHING: Held = Held { first: ptr::null_mut(), blocks: 0, bytes: 0 };

    /// # Safety
    /// `header` must be valid and in no list, and `bytes` be what it is taken out with.
    unsafe fn insert(&mut self, header: *mut Header, bytes: usize) {
        // SAFETY: the caller vouches for the header, and those of the list are valid.
        unsafe {
            header.write(Header { next: self.first, previous: header });
            if let Some(next) = self.first.as_mut() {
                next.previous = header;
            }
        }
        self.first = header;
        self.blocks += 1;
        self.bytes += bytes as u64;
    }

    /// # Safety
    /// `header` must be valid, and in this list or in none.
    unsafe fn remove(&mut self, header: *mut Header, bytes: usize) {
        // SAFETY: the caller vouches for the header, and those of the list are valid.
        unsafe {
            let Header { next, previous } = header.replace(Header::UNLISTED);
            if previous.is_null() {
                return;
            }
            let is_first = previous == header;
            if let Some(next) = next.as_mut() {
                next.previous = if is_first { ptr::from_mut(next) } else { previous };
            }
            if is_first {
                self.first = next;
            } else {
                (*previous).next = next;
            }
        }
        self.blocks -= 1;
        self.bytes -= bytes as u64;
    }
}

/// One list of many, so that threads seldom wait for each other; on a cache line of its own.
#[repr(align(64))]
struct Shard(Mutex<Held>);

const SHARDS: usize = 16;

/// An allocator that knows what it has given out since it was attached.
pub struct Heap {
    /// Relaxed throughout: who frees a block learned of it from whoever saw the heap attached.
    attached: AtomicBool,
    shards: [Shard; SHARDS],
}

impl Heap {
    const fn new() -> Heap {
        Heap {
            attached: AtomicBool::new(false),
            shards: [const { Shard(Mutex::new(Held::NOTHING)) }; SHARDS],
        }
    }

    /// From here on blocks are listed. Those from before stay out of the list, and may be freed all the same.
    pub fn attach(&self) {
        self.attached.store(true, Relaxed);
    }

    /// Blocks and bytes that are held, as they were asked for.
    pub fn held(&self) -> (u64, u64) {
        self.shards
            .iter()
            .map(lock)
            .fold((0, 0), |(blocks, bytes), held| (blocks + held.blocks, bytes + held.bytes))
    }

    /// Frees every listed block.
    ///
    /// # Safety
    /// None of them may be used again.
    pub unsafe fn free_all(&self) {
        for shard in &self.shards {
            let held = std::mem::replace(&mut *lock(shard), Held::NOTHING);
            let mut header = held.first;
            while !header.is_null() {
                // SAFETY: a listed header is valid and at the start of what libc gave; the caller has given it up.
                unsafe {
                    let next = (*header).next;
                    libc::free(header.cast());
                    header = next;
                }
            }
        }
    }

    /// The list for a header, by its address.
    fn shard(&self, header: *mut Header) -> MutexGuard<'_, Held> {
        lock(&self.shards[header.addr() / 64 % SHARDS])
    }

    /// The block of a fresh header, or null.
    ///
    /// # Safety
    /// `header` must be null or the start of memory for this layout.
    #[inline]
    unsafe fn enter(&self, header: *mut Header, layout: Layout) -> *mut u8 {
        if header.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: the caller vouches; a fresh header is in no list.
        unsafe {
            if self.attached.load(Relaxed) {
                self.shard(header).insert(header, layout.size());
            } else {
                header.write(Header::UNLISTED);
            }
            header.byte_add(offset(layout)).cast()
        }
    }

    /// The header of a block, now in no list.
    ///
    /// # Safety
    /// The block must come from `enter` with this layout.
    #[inline]
    unsafe fn leave(&self, block: *mut u8, layout: Layout) -> *mut Header {
        // SAFETY: `enter` put the block there, and listed it by its address.
        unsafe {
            let header = block.sub(offset(layout)).cast::<Header>();
            if self.attached.load(Relaxed) {
                self.shard(header).remove(header, layout.size());
            }
            header
        }
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, Held> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory from libc for a header and a block; malloc aligns to a header's size.
fn take_aligned(layout: Layout) -> *mut Header {
    let mut memory = ptr::null_mut();
    // SAFETY: the alignment is a power of two and more than a word's; the place is ours.
    let status = unsafe {
        libc::posix_memalign(&mut memory, layout.align(), layout.size() + offset(layout))
    };
    if status == 0 { memory.cast() } else { ptr::null_mut() }
}

// SAFETY: a block is memory of libc's, behind a header of its own, aligned since the header's distance is.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size may be asked for; a layout's size leaves room for twice its alignment.
        unsafe {
            let header = if layout.align() <= HEADER {
                libc::malloc(layout.size() + HEADER).cast()
            } else {
                take_aligned(layout)
            };
            self.enter(header, layout)
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`; what is zeroed is the block.
        unsafe {
            if layout.align() <= HEADER {
                return self.enter(libc::calloc(1, layout.size() + HEADER).cast(), layout);
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's block is ours, and its header at the start of what libc gave.
        unsafe { libc::free(self.leave(block, layout).cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the size is a layout's with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller's block is ours; libc moves the header with it, and leaves both where they are when it fails.
        unsafe {
            if layout.align() > HEADER {
                return self.move_aligned(block, layout, wanted);
            }
            let header = self.leave(block, layout);
            let moved = libc::realloc(header.cast(), size + HEADER);
            if moved.is_null() {
                self.enter(header, layout);
            }
            self.enter(moved.cast(), wanted)
        }
    }
}

impl Heap {
    /// libc's realloc would lose the alignment.
    unsafe fn move_aligned(&self, block: *mut u8, layout: Layout, wanted: Layout) -> *mut u8 {
        // SAFETY: the caller's block is ours and as large as its layout; the other is new.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(wanted.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::mpsc,
        thread::{self, scope},
    };

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// A block of a heap, with the layout that it was made with.
    struct Block<'a> {
        heap: &'a Heap,
        start: *mut u8,
        layout: Layout,
    }

    // SAFETY: as for a box.
    unsafe impl Send for Block<'_> {}

    impl<'a> Block<'a> {
        fn new(heap: &'a Heap, layout: Layout) -> Self {
            // SAFETY: this heap makes a block of no size, too.
            Block { heap, start: unsafe { heap.alloc(layout) }, layout }
        }

        fn zeroed(heap: &'a Heap, layout: Layout) -> Self {
            // SAFETY: as above.
            Block { heap, start: unsafe { heap.alloc_zeroed(layout) }, layout }
        }

        fn resize(&mut self, size: usize) {
            // SAFETY: the block is of this heap and layout.
            self.start = unsafe { self.heap.realloc(self.start, self.layout, size) };
            self.layout = layout(size, self.layout.align());
        }

        /// # Safety
        /// The bytes must have been written.
        unsafe fn bytes(&mut self) -> &mut [u8] {
            assert!(!self.start.is_null() && self.start.addr().is_multiple_of(self.layout.align()));
            // SAFETY: the block is as large as its layout.
            unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
        }

        fn fill(&mut self) {
            // SAFETY: the block is as large as its layout.
            unsafe { self.start.write_bytes(0xa5, self.layout.size()) };
        }

        fn is_filled(&mut self, length: usize) -> bool {
            // SAFETY: the test has filled it.
            let bytes = unsafe { self.bytes() };
            bytes[..length].iter().all(|&byte| byte == 0xa5)
        }
    }

    impl Drop for Block<'_> {
        fn drop(&mut self) {
            // SAFETY: the block is of this heap and layout.
            unsafe { self.heap.dealloc(self.start, self.layout) }
        }
    }

    fn attached() -> Heap {
        let heap = Heap::new();
        heap.attach();
        heap
    }

    const ALIGNMENTS: [usize; 9] = [1, 2, 8, 16, 32, 64, 4096, 65_536, 2 << 20];

    #[test]
    fn blocks_are_aligned_and_counted_as_they_were_asked_for() {
        let heap = attached();
        for align in ALIGNMENTS {
            for size in [0, 1, 15, 16, 17, 5_000] {
                let mut block = Block::new(&heap, layout(size, align));
                block.fill();
                assert!(block.is_filled(size), "{size} at {align}");
                assert_eq!(heap.held(), (1, size as u64), "{size} at {align}");
            }
        }
        assert_eq!(heap.held(), (0, 0));
    }

    #[test]
    fn a_zeroed_block_is_zero_where_another_was_before() {
        let heap = attached();
        for align in ALIGNMENTS {
            Block::new(&heap, layout(5_000, align)).fill();
            let mut block = Block::zeroed(&heap, layout(5_000, align));
            // SAFETY: it was zeroed.
            assert!(unsafe { block.bytes() }.iter().all(|&byte| byte == 0), "at {align}");
        }
    }

    #[test]
    fn a_resized_block_keeps_its_content_and_alignment() {
        let heap = attached();
        let _before = Block::new(&heap, layout(10, 1));
        for align in ALIGNMENTS {
            let mut block = Block::new(&heap, layout(100, align));
            let _after = Block::new(&heap, layout(10, 1));
            block.fill();
            for size in [200, 1 << 20, 50, 1, 300] {
                let kept = size.min(block.layout.size());
                block.resize(size);
                assert!(block.is_filled(kept), "{size} at {align}");
                block.fill();
                assert_eq!(heap.held(), (3, size as u64 + 20), "{size} at {align}");
            }
        }
        assert_eq!(heap.held(), (1, 10));
    }

    #[test]
    fn a_block_that_is_too_large_leaves_the_old_one() {
        let heap = attached();
        let huge = isize::MAX as usize - 4095;
        for align in [8, 4096] {
            let mut block = Block::new(&heap, layout(100, align));
            block.fill();
            // SAFETY: the block is of this heap and layout; it stays as it is, since there is no such memory.
            let moved = unsafe { heap.realloc(block.start, block.layout, huge) };
            assert!(moved.is_null() && block.is_filled(100));
            assert_eq!(heap.held(), (1, 100));
            // SAFETY: as for `Block::new`.
            assert!(unsafe { heap.alloc(layout(huge, align)) }.is_null());
        }
    }

    #[test]
    fn a_block_from_before_is_freed_after() {
        let heap = Heap::new();
        let old: Vec<Block<'_>> =
            ALIGNMENTS.map(|align| Block::new(&heap, layout(100, align))).into();
        let mut resized = Block::new(&heap, layout(100, 8));
        assert_eq!(heap.held(), (0, 0));
        heap.attach();
        let new = Block::new(&heap, layout(7, 1));
        drop(old);
        assert_eq!(heap.held(), (1, 7));
        resized.resize(200);
        assert_eq!(heap.held(), (2, 207));
        drop((resized, new));
        assert_eq!(heap.held(), (0, 0));
    }

    #[test]
    fn any_block_of_a_list_may_go_first() {
        const SIZES: u64 = 1 + 2 + 3;
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut held = Held::NOTHING;
            let mut headers = [Header::UNLISTED, Header::UNLISTED, Header::UNLISTED];
            let base = headers.as_mut_ptr();
            // SAFETY: three headers that outlive the list.
            unsafe {
                (0..3).for_each(|index| held.insert(base.add(index), index + 1));
                let mut bytes = SIZES;
                for index in order {
                    held.remove(base.add(index), index + 1);
                    held.remove(base.add(index), index + 1);
                    bytes -= index as u64 + 1;
                    assert_eq!(held.bytes, bytes, "{order:?}");
                    let mut listed = (0, held.first);
                    while let Some(header) = listed.1.as_ref() {
                        listed = (listed.0 + 1, header.next);
                    }
                    assert_eq!(listed.0, held.blocks, "{order:?}");
                }
            }
            assert!(held.first.is_null());
        }
    }

    #[test]
    fn what_is_left_is_freed_at_once() {
        let heap = attached();
        for align in ALIGNMENTS {
            (0..100).for_each(|size| std::mem::forget(Block::new(&heap, layout(size, align))));
        }
        assert_eq!(heap.held(), (900, 9 * 4_950));
        // SAFETY: the blocks were forgotten.
        unsafe { heap.free_all() };
        assert_eq!(heap.held(), (0, 0));
        drop(Block::new(&heap, layout(7, 1)));
    }

    #[test]
    fn threads_share_it() {
        let heap = attached();
        scope(|scope| {
            let (give, take) = mpsc::channel::<Block<'_>>();
            scope.spawn(move || take.into_iter().for_each(|mut block| assert!(block.is_filled(1))));
            for thread in 0..3 {
                let (heap, give) = (&heap, give.clone());
                scope.spawn(move || {
                    for size in 1..2_000 {
                        let mut block = Block::new(heap, layout(size, 8 << thread));
                        block.fill();
                        block.resize(size / 2 + 1);
                        give.send(block).unwrap();
                        thread::yield_now();
                    }
                });
            }
        });
        assert_eq!(heap.held(), (0, 0));
    }
}
