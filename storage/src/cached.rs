//! What a cache says of itself.
//!
//! Owns: `CacheUse`, and the count of what left a cache because others needed the room. Must be true: counting costs an addition where
//! something is lost, and none where something is found that the cache does not make anyway. Fails: never.

use quick_cache::Lifecycle;
use quick_cache::sync::DefaultLifecycle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A cache at one moment; sums since it was made where a past participle says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    pub bytes: u64,
    pub entries: u64,
    /// Look-ups that found something.
    pub hits: u64,
    /// Look-ups that found nothing, so that the disk was read, or something decoded.
    pub missed: u64,
    /// Entries that others displaced before they were found twice, or that were too large to be kept.
    pub evicted_cold: u64,
    /// Entries that had been found again and again, and were displaced all the same.
    pub evicted_hot: u64,
}

/// Counts what is displaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evictions(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    cold: AtomicU64,
    hot: AtomicU64,
}

impl Evictions {
    /// Displaced so far: cold, hot.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.0.cold.load(Ordering::Relaxed), self.0.hot.load(Ordering::Relaxed))
    }
}

impl<K, V> Lifecycle<K, V> for Evictions {
    type RequestState = <DefaultLifecycle<K, V> as Lifecycle<K, V>>::RequestState;

    fn on_evict_cold(&self, state: &mut Self::RequestState, key: K, value: V) {
        self.0.cold.fetch_add(1, Ordering::Relaxed);
        DefaultLifecycle::default().on_evict(state, key, value);
    }

    fn on_evict_hot(&self, state: &mut Self::RequestState, key: K, value: V) {
        self.0.hot.fetch_add(1, Ordering::Relaxed);
        DefaultLifecycle::default().on_evict(state, key, value);
    }
}
