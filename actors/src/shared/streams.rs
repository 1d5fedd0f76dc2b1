//! Which files are being read in order.
//!
//! Must be true: a file that nobody reads any more is forgotten when others need its place.

use infmap_storage::read_ahead::Stream;
use infmap_storage::row::Inode;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARDS: usize = 16;
/// Files of a shard that are remembered.
const FILES: usize = 256;

/// The streams of a volume.
pub struct Streams {
    shards: [Mutex<HashMap<Inode, Stream>>; SHARDS],
    /// Bytes that may be fetched ahead of a stream; 0: none.
    window: AtomicU64,
}

impl Streams {
    #[must_use]
    pub fn new(window: u64) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), window: AtomicU64::new(window) }
    }

    /// Fetches so many bytes ahead from now on.
    pub fn set_window(&self, window: u64) {
        self.window.store(window, Ordering::Relaxed);
    }

    /// Takes notice of a read, and says what to fetch.
    #[expect(clippy::indexing_slicing, reason = "a number modulo the length of the array")]
    pub fn read(&self, inode: Inode, offset: u64, length: u64) -> Option<(u64, u64)> {
        let window = self.window.load(Ordering::Relaxed);
        if window == 0 {
            return None;
        }
        let mut shard = self.shards[inode.0 as usize % SHARDS].lock();
        if shard.len() >= FILES && !shard.contains_key(&inode) {
            shard.clear();
        }
        shard.entry(inode).or_default().read(offset, length, window)
    }
}
