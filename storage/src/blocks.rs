//! Blocks of files in memory: 4 KiB each, shared until edited, from a pool.
//!
//! Owns: `Block`, `BlockPool`. Must be true: BLK-1 a block that somebody else holds is never edited: the editor gets a copy; BLK-2
//! bytes of a block behind the end of its file are zero. Fails: never; a pool that is empty allocates.

use crate::limits::CLUSTER_BYTES;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Bytes = Box<[u8; CLUSTER_BYTES]>;

/// A stock of unused blocks. Clones share it.
#[derive(Clone)]
pub struct BlockPool {
    stock: Arc<Mutex<Vec<Bytes>>>,
    keep: Arc<AtomicUsize>,
}

impl BlockPool {
    /// A pool that keeps at most `keep` unused blocks.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { stock: Arc::default(), keep: Arc::new(AtomicUsize::new(keep)) }
    }

    /// Makes blocks until `blocks` are unused, or as many as the pool may keep.
    pub fn fill(&self, blocks: usize) {
        while self.stock.lock().len() < blocks.min(self.keep.load(Ordering::Relaxed)) {
            let made = fresh();
            self.stock.lock().push(made);
        }
    }

    /// Bytes of blocks that nobody uses.
    #[must_use]
    pub fn unused_bytes(&self) -> u64 {
        (self.stock.lock().len() * CLUSTER_BYTES) as u64
    }

    /// Keeps so many unused blocks from now on. Those beyond are freed: at once, or when they come back.
    pub fn set_keep(&self, keep: usize) {
        let mut stock = self.stock.lock();
        self.keep.store(keep, Ordering::Relaxed);
        let stay = keep.min(stock.len());
        let freed = stock.split_off(stay);
        stock.shrink_to_fit();
        drop(stock);
        drop(freed);
    }

    /// A block of zeros.
    #[must_use]
    pub fn zeroed(&self) -> Block {
        let bytes = match self.stock.lock().pop() {
            Some(mut used) => {
                used.fill(0);
                used
            }
            None => fresh(),
        };
        self.lend(bytes)
    }

    /// A block whose bytes from `at` on are `content`, cut at the end of the block; the rest is zero.
    #[must_use]
    pub fn holding(&self, at: usize, content: &[u8]) -> Block {
        let used = self.stock.lock().pop();
        let mut bytes = used.unwrap_or_else(fresh);
        let at = at.min(CLUSTER_BYTES);
        let (head, rest) = bytes.split_at_mut(at);
        let (middle, tail) = rest.split_at_mut(content.len().min(CLUSTER_BYTES - at));
        head.fill(0);
        for (to, from) in middle.iter_mut().zip(content) {
            *to = *from;
        }
        tail.fill(0);
        self.lend(bytes)
    }

    fn lend(&self, bytes: Bytes) -> Block {
        Block(Arc::new(Loan { bytes: Some(bytes), pool: self.clone() }))
    }
}

fn fresh() -> Bytes {
    Box::new([0; CLUSTER_BYTES])
}

struct Loan {
    bytes: Option<Bytes>,
    pool: BlockPool,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            let mut stock = self.pool.stock.lock();
            if stock.len() < self.pool.keep.load(Ordering::Relaxed) {
                stock.push(bytes);
            }
        }
    }
}

/// Content of one block of a file.
#[derive(Clone)]
pub struct Block(Arc<Loan>);

impl Block {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; CLUSTER_BYTES] {
        static ZEROS: [u8; CLUSTER_BYTES] = [0; CLUSTER_BYTES];
        self.0.bytes.as_deref().unwrap_or(&ZEROS)
    }

    /// Overwrites bytes from `at` on, cut at the end of the block. A block that is shared is copied first.
    pub fn overwrite(&mut self, at: usize, content: &[u8]) {
        if Arc::get_mut(&mut self.0).is_none() {
            let copy = self.0.pool.holding(0, self.bytes());
            *self = copy;
        }
        if let Some(bytes) = Arc::get_mut(&mut self.0).and_then(|loan| loan.bytes.as_deref_mut()) {
            for (to, from) in bytes.iter_mut().skip(at).zip(content) {
                *to = *from;
            }
        }
    }

    /// Zeroes the bytes from `at` on.
    pub fn clear_from(&mut self, at: usize) {
        self.clear(at..CLUSTER_BYTES);
    }

    /// Zeroes the bytes of a range, as far as it lies in the block.
    pub fn clear(&mut self, range: std::ops::Range<usize>) {
        static ZEROS: [u8; CLUSTER_BYTES] = [0; CLUSTER_BYTES];
        self.overwrite(range.start, ZEROS.get(..range.len()).unwrap_or(&ZEROS));
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({:08x})", crc32fast::hash(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_block_is_copied_before_it_is_edited() {
        let pool = BlockPool::new(2);
        let mut mine = pool.holding(4090, b"abcdefghij");
        let theirs = mine.clone();
        mine.overwrite(0, b"x");
        assert_eq!((mine.bytes()[0], &mine.bytes()[4090..]), (b'x', &b"abcdef"[..]));
        assert_eq!(theirs.bytes()[0], 0);
        mine.clear_from(4092);
        assert_eq!(&mine.bytes()[4088..], b"\0\0ab\0\0\0\0");
    }

    #[test]
    fn a_stock_that_is_made_smaller_frees_what_it_has_and_what_comes_back() {
        let pool = BlockPool::new(8);
        pool.fill(5);
        let out = pool.zeroed();
        pool.set_keep(2);
        drop(out);
        assert_eq!(pool.stock.lock().len(), 2);
        pool.set_keep(9);
        pool.fill(9);
        assert_eq!(pool.stock.lock().len(), 9);
    }

    #[test]
    fn used_blocks_come_back_clean() {
        let pool = BlockPool::new(1);
        drop(pool.holding(0, &[7; 4096]));
        assert_eq!(pool.stock.lock().len(), 1);
        assert!(pool.zeroed().bytes().iter().all(|&b| b == 0));
    }
}
