//! Memory that disks accept: buffers aligned for O_DIRECT, and a pool of them, because the first touch of a fresh page is dear.
//!
//! Owns: `AlignedBuf`, `BufferPool`. Must be true: BUF-1 a buffer starts at a multiple of `DIRECT_ALIGN` and its length is one;
//! BUF-2 a pool keeps at most as many as it was told. Fails: never; an empty pool allocates.

use crate::limits::DIRECT_ALIGN;
use parking_lot::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a huge page. A buffer that begins at a multiple of it may be put into huge pages by an allocator that knows this sign.
pub const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Zeroed bytes at an address and of a length that O_DIRECT accepts.
pub struct AlignedBuf {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer is owned by this value alone, like a `Box<[u8]>`.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access is read-only, like a `Box<[u8]>`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A zeroed buffer of at least `len` bytes, rounded up to a multiple of [`DIRECT_ALIGN`], and at least one.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self::aligned(len, DIRECT_ALIGN)
    }

    /// As [`Self::zeroed`], and if it takes half of a huge page or more it begins at a multiple of [`HUGE_PAGE_BYTES`]: for what the kernel
    /// fills or empties again and again, a read of 1 MiB too. It takes a huge page in one piece, and looks up each of the others (11 % of a
    /// sequential read). The first touch can be dear, though: 4 ms for each, in a virtual machine whose host has taken unused memory back.
    #[must_use]
    pub fn huge(len: usize) -> Self {
        Self::aligned(len, if len >= HUGE_PAGE_BYTES / 2 { HUGE_PAGE_BYTES } else { DIRECT_ALIGN })
    }

    fn aligned(len: usize, align: usize) -> Self {
        let len = len.max(1).next_multiple_of(DIRECT_ALIGN);
        let layout = match Layout::from_size_align(len, align) {
            Ok(layout) => layout,
            Err(_) => handle_alloc_error(Layout::new::<u8>()),
        };
        // SAFETY: the layout has a size above zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `aligned` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for so many initialised bytes for as long as self lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

/// A stock of buffers of one size. Clones share it.
#[derive(Clone)]
pub struct BufferPool {
    stock: Arc<Mutex<Vec<AlignedBuf>>>,
    make: fn(usize) -> AlignedBuf,
    size_bytes: usize,
    keep: Arc<AtomicUsize>,
    /// Buffers that there are, those on loan included.
    made: Arc<AtomicUsize>,
}

impl BufferPool {
    /// A pool of buffers of `size_bytes` that keeps at most `keep` unused ones. Nothing is allocated yet.
    #[must_use]
    pub fn new(size_bytes: usize, keep: usize) -> Self {
        Self { stock: Arc::default(), make: AlignedBuf::zeroed, size_bytes, keep: Arc::new(AtomicUsize::new(keep)), made: Arc::default() }
    }

    /// As [`Self::new`], of buffers made by [`AlignedBuf::huge`].
    #[must_use]
    pub fn huge(size_bytes: usize, keep: usize) -> Self {
        Self { make: AlignedBuf::huge, ..Self::new(size_bytes, keep) }
    }

    /// Makes all buffers that the pool may keep, and touches their pages.
    pub fn fill(&self) {
        let mut made: Vec<_> = (0..self.keep.load(Ordering::Relaxed)).map(|_| self.take()).collect();
        for buffer in &mut made {
            buffer.iter_mut().step_by(DIRECT_ALIGN).for_each(|byte| *byte = 0);
        }
    }

    /// Keeps so many unused ones from now on. Those beyond are freed: at once, or when they come back.
    pub fn set_keep(&self, keep: usize) {
        let mut stock = self.stock.lock();
        self.keep.store(keep, Ordering::Relaxed);
        let stay = keep.min(stock.len());
        let freed = stock.split_off(stay);
        drop(stock);
        drop(freed);
    }

    /// A buffer; its bytes are whatever its last user left (zero when fresh). It returns to the pool when dropped.
    #[must_use]
    pub fn take(&self) -> PooledBuf {
        let reused = self.stock.lock().pop();
        let make = || {
            self.made.fetch_add(1, Ordering::Relaxed);
            (self.make)(self.size_bytes)
        };
        PooledBuf { buf: Some(reused.unwrap_or_else(make)), pool: Some(self.clone()) }
    }

    /// Bytes of all its buffers, those on loan included.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        (self.made.load(Ordering::Relaxed) * self.size_bytes) as u64
    }

    /// A buffer of at least `len` bytes: one of the pool, or if those are smaller one of its own, which is freed when dropped.
    #[must_use]
    pub fn take_for(&self, len: usize) -> PooledBuf {
        if len <= self.size_bytes { self.take() } else { PooledBuf { buf: Some(AlignedBuf::zeroed(len)), pool: None } }
    }
}

/// A buffer on loan from a [`BufferPool`].
pub struct PooledBuf {
    buf: Option<AlignedBuf>,
    /// `None`: it is larger than those of the pool.
    pool: Option<BufferPool>,
}

impl Deref for PooledBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buf.as_deref().unwrap_or(&[])
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buf.as_deref_mut().unwrap_or(&mut [])
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        let Some(pool) = &self.pool else { return };
        let mut stock = pool.stock.lock();
        if stock.len() < pool.keep.load(Ordering::Relaxed) {
            stock.extend(self.buf.take());
        } else {
            pool.made.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_whole_and_reused() {
        let pool = BufferPool::new(10_000, 1);
        let (mut first, second) = (pool.take(), pool.take());
        assert_eq!((first.len(), first.as_ptr() as usize % DIRECT_ALIGN), (12_288, 0));
        first[0] = 7;
        drop(first);
        drop(second);
        assert_eq!((pool.stock.lock().len(), pool.held_bytes()), (1, 10_000));
        assert_eq!(pool.take()[0], 7);
    }

    /// Seen to fail when half of a huge page was too little: what reads are answered from is exactly that.
    #[test]
    fn what_holds_the_largest_read_begins_at_a_huge_page_and_small_buffers_do_not() {
        let buffers: Vec<_> = (0..4).map(|_| AlignedBuf::huge(1 << 20)).collect();
        assert!(buffers.iter().all(|buffer| (buffer.as_ptr() as usize).is_multiple_of(HUGE_PAGE_BYTES)));
        assert_eq!(AlignedBuf::huge(128 << 10).layout.align(), DIRECT_ALIGN);
    }

    #[test]
    fn a_pool_that_is_made_smaller_frees_what_it_has_and_what_comes_back() {
        let pool = BufferPool::new(4096, 3);
        let out = pool.take();
        drop([pool.take(), pool.take()]);
        assert_eq!(pool.stock.lock().len(), 2);
        pool.set_keep(1);
        assert_eq!(pool.stock.lock().len(), 1);
        drop(out);
        assert_eq!(pool.stock.lock().len(), 1);
    }

    #[test]
    fn a_buffer_that_is_larger_than_those_of_the_pool_does_not_stay_in_it() {
        let pool = BufferPool::new(4096, 1);
        let large = pool.take_for(5000);
        assert!(large.len() >= 5000);
        drop(large);
        drop(pool.take_for(4096));
        assert_eq!(pool.take_for(1).len(), 4096);
    }
}
