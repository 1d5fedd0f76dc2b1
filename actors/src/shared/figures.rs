//! Figures that one actor knows and whoever serves metrics shows: kept where everybody may read them.
//!
//! Owns: `Figures`. Must be true: to set one is a store, to read them waits for nobody. Fails: never.

use infmap_storage::device::Space;
use infmap_storage::vat::DirtyGauge;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What is known of a volume.
#[derive(Default)]
pub struct Figures {
    /// Bytes of the files of the log, and how many they are.
    wal_bytes: AtomicU64,
    wal_segments: AtomicU64,
    /// Bytes of log that wait for a checkpoint.
    wal_pending: AtomicU64,
    /// Clusters that are alive, as of the newest root.
    live_clusters: AtomicU64,
    /// Bytes of the medium, and those that nobody uses, as last seen.
    medium_bytes: AtomicU64,
    medium_free: AtomicU64,
    /// Nodes of the trees that no checkpoint has written.
    dirty_nodes: OnceLock<Arc<DirtyGauge>>,
}

impl Figures {
    /// How the log is: bytes of its files, their number, bytes that wait for a checkpoint.
    pub fn set_wal(&self, bytes: u64, segments: usize, pending: u64) {
        self.wal_bytes.store(bytes, Ordering::Relaxed);
        self.wal_segments.store(segments as u64, Ordering::Relaxed);
        self.wal_pending.store(pending, Ordering::Relaxed);
    }

    /// The same.
    #[must_use]
    pub fn wal(&self) -> (u64, u64, u64) {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        (of(&self.wal_bytes), of(&self.wal_segments), of(&self.wal_pending))
    }

    /// A root says that so many clusters are alive.
    pub fn set_live_clusters(&self, clusters: u64) {
        self.live_clusters.store(clusters, Ordering::Relaxed);
    }

    /// Clusters that are alive, as of the newest root.
    #[must_use]
    pub fn live_clusters(&self) -> u64 {
        self.live_clusters.load(Ordering::Relaxed)
    }

    /// The medium was asked.
    pub fn set_medium(&self, space: &Space) {
        self.medium_bytes.store(space.total_bytes, Ordering::Relaxed);
        self.medium_free.store(space.free_bytes, Ordering::Relaxed);
    }

    /// Bytes of the medium, and those that nobody uses.
    #[must_use]
    pub fn medium(&self) -> (u64, u64) {
        (self.medium_bytes.load(Ordering::Relaxed), self.medium_free.load(Ordering::Relaxed))
    }

    /// What counts dirty nodes. The first one counts.
    pub fn count_dirty_nodes(&self, gauge: &Arc<DirtyGauge>) {
        let _ = self.dirty_nodes.set(gauge.clone());
    }

    /// Bytes of nodes that no checkpoint has written, at most.
    #[must_use]
    pub fn dirty_node_bytes(&self) -> u64 {
        self.dirty_nodes.get().map_or(0, |gauge| gauge.bytes())
    }
}
