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

/// Bytes from which on a buffer is large.
const LARGE_BYTES: usize = 512 * 1024;
/// Where a large buffer begins: at a multiple of more than a page, so that an allocator of many sizes puts it among others in huge pages.
/// The kernel takes bytes out of such a buffer in one piece; out of single pages it looks up each (11 % of a sequential read).
const LARGE_ALIGN: usize = 64 * 1024;

/// Zeroed bytes at an address and of a length that O_DIRECT accepts.
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer is owned by this value alone, like a `Box<[u8]>`.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access is read-only, like a `Box<[u8]>`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A zeroed buffer of at least `len` bytes, rounded up to a multiple of [`DIRECT_ALIGN`], and at least one.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let len = len.max(1).next_multiple_of(DIRECT_ALIGN);
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        let align = if len >= LARGE_BYTES { LARGE_ALIGN } else { DIRECT_ALIGN };
        match Layout::from_size_align(len, align) {
            Ok(layout) => layout,
            Err(_) => handle_alloc_error(Layout::new::<u8>()),
        }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` initialised bytes for as long as self lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// A stock of buffers of one size. Clones share it.
#[derive(Clone)]
pub struct BufferPool {
    stock: Arc<Mutex<Vec<AlignedBuf>>>,
    size_bytes: usize,
    keep: usize,
}

impl BufferPool {
    /// A pool of buffers of `size_bytes` that keeps at most `keep` unused ones. Nothing is allocated yet.
    #[must_use]
    pub fn new(size_bytes: usize, keep: usize) -> Self {
        Self { stock: Arc::default(), size_bytes, keep }
    }

    /// A buffer; its bytes are whatever its last user left (zero when fresh). It returns to the pool when dropped.
    #[must_use]
    pub fn take(&self) -> PooledBuf {
        let reused = self.stock.lock().pop();
        PooledBuf { buf: Some(reused.unwrap_or_else(|| AlignedBuf::zeroed(self.size_bytes))), pool: self.clone() }
    }
}

/// A buffer on loan from a [`BufferPool`].
pub struct PooledBuf {
    buf: Option<AlignedBuf>,
    pool: BufferPool,
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
        let mut stock = self.pool.stock.lock();
        if stock.len() < self.pool.keep {
            stock.extend(self.buf.take());
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
        assert_eq!(pool.stock.lock().len(), 1);
        assert_eq!(pool.take()[0], 7);
    }
}
