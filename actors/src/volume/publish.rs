//! Everything that is known of an open volume, handed to the recorder of metrics: for whoever is about to show what that has.
//!
//! Must be true: nothing here posts, waits for an actor, or asks a disk; whoever does not serve metrics pays nothing. Fails: never.

use super::Volume;
use crate::shared::{Shared, Source, dead};
use infmap_storage::buffer::BufferPool;
use infmap_storage::cached::CacheUse;
use infmap_storage::images::OPEN_IMAGES;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::region::{CODE_TABLES_BYTES, ENCODER_BYTES};
use metrics::{counter, gauge};

impl Volume {
    /// Hands it over.
    pub fn publish(&self) {
        self.runtime.publish();
        self.watchdog.publish();
        let shared = self.shared();
        caches(shared);
        let messages = self.runtime.slots().iter().map(|slot| slot.stats().bytes as u64).sum();
        memory(shared, messages);
        log(shared);
        regions(shared);
        capacity(shared);
        integrity(shared);
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
fn number(number: u64) -> f64 {
    number as f64
}

/// A share of a whole; 1 where there is nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { number(part) / number(whole) }
}

fn caches(shared: &Shared) {
    let plan = shared.settings().memory_plan();
    let [l1, l2] = shared.tiers.state();
    for (tier, state, limit) in [("l1", l1, plan.l1), ("l2", l2, plan.l2), ("nodes", shared.nodes.resident.state(), plan.nodes / 2)] {
        gauge!("infmap_cache_bytes", "tier" => tier).set(number(state.bytes));
        gauge!("infmap_cache_limit_bytes", "tier" => tier).set(number(limit));
        cache(tier, &state);
    }
    gauge!("infmap_cache_bytes", "tier" => "dirty").set(number(shared.budget.used()));
    gauge!("infmap_cache_limit_bytes", "tier" => "dirty").set(number(shared.budget.limit()));
    cache("images", &shared.images.state());
    gauge!("infmap_cache_limit_entries", "tier" => "images").set(number(OPEN_IMAGES as u64));
    let (decoded, stored) = shared.tiers.compressed_bytes();
    gauge!("infmap_cache_compression_ratio").set(ratio(decoded, stored));
    let (issued, used, wasted) = shared.tiers.ahead_counts().counts();
    counter!("infmap_prefetch_issued_total").absolute(issued);
    counter!("infmap_prefetch_used_total").absolute(used);
    counter!("infmap_prefetch_wasted_total").absolute(wasted);
}

fn cache(tier: &'static str, state: &CacheUse) {
    gauge!("infmap_cache_entries", "tier" => tier).set(number(state.entries));
    counter!("infmap_cache_requests_total", "tier" => tier, "result" => "hit").absolute(state.hits);
    counter!("infmap_cache_requests_total", "tier" => tier, "result" => "miss").absolute(state.missed);
    counter!("infmap_cache_evictions_total", "tier" => tier, "reason" => "cold").absolute(state.evicted_cold);
    counter!("infmap_cache_evictions_total", "tier" => tier, "reason" => "hot").absolute(state.evicted_hot);
}

/// What each part of the budget holds, and may hold.
fn memory(shared: &Shared, messages: u64) {
    let plan = shared.settings().memory_plan();
    let [l1, l2] = shared.tiers.state();
    let held = |pool: &BufferPool| pool.held_bytes();
    let parity = (plan.encoders * ENCODER_BYTES + CODE_TABLES_BYTES) as u64;
    let parts = [
        ("l1", l1.bytes, plan.l1),
        ("l2", l2.bytes, plan.l2),
        ("dirty", shared.budget.used() + shared.blocks.unused_bytes(), plan.dirty),
        ("nodes", shared.nodes.resident.resident_bytes() + shared.figures.dirty_node_bytes(), plan.nodes),
        ("messages", messages + held(&shared.reads), plan.messages),
        ("prefetch", shared.images.buffer_bytes(), plan.prefetch),
        ("image_buffers", held(&shared.image_buffers), plan.image_buffers as u64 * infmap_storage::region::IMAGE_MAX_BYTES as u64),
        ("parity", parity, parity),
    ];
    for (component, bytes, limit) in parts {
        gauge!("infmap_memory_bytes", "component" => component).set(number(bytes));
        gauge!("infmap_memory_limit_bytes", "component" => component).set(number(limit));
    }
    gauge!("infmap_memory_budget_bytes").set(number(plan.budget));
}

fn log(shared: &Shared) {
    let (bytes, segments, pending) = shared.figures.wal();
    gauge!("infmap_wal_bytes").set(number(bytes));
    gauge!("infmap_wal_segments").set(number(segments));
    gauge!("infmap_wal_pending_bytes").set(number(pending));
    gauge!("infmap_wal_checkpoint_bytes").set(number(shared.settings().checkpoint_at()));
    gauge!("infmap_wal_limit_bytes").set(number(shared.settings().log_limit()));
}

fn regions(shared: &Shared) {
    let image_bytes = shared.spares.image_bytes();
    let live = shared.figures.live_clusters();
    let live_bytes = live * CLUSTER_BYTES as u64;
    gauge!("infmap_region_count").set(number(shared.spares.images()));
    gauge!("infmap_region_bytes").set(number(image_bytes));
    gauge!("infmap_region_live_ratio").set(ratio(live_bytes, image_bytes).min(1.0));
    gauge!("infmap_clusters", "state" => "live").set(number(live));
    gauge!("infmap_clusters", "state" => "dead").set(number(dead(live_bytes, image_bytes) / CLUSTER_BYTES as u64));
    let (written, freed) = shared.reclaim.cleaner_bytes();
    counter!("infmap_cleaner_written_bytes_total").absolute(written);
    counter!("infmap_cleaner_freed_bytes_total").absolute(freed);
}

fn capacity(shared: &Shared) {
    let (medium, free) = shared.figures.medium();
    let limit = shared.settings().limit;
    let total = limit.unwrap_or(medium).min(medium);
    let available = shared.budget.space().min(total);
    gauge!("infmap_capacity_bytes").set(number(total));
    gauge!("infmap_capacity_used_bytes").set(number(shared.spares.image_bytes()));
    gauge!("infmap_capacity_available_bytes").set(number(available));
    gauge!("infmap_capacity_disk_free_bytes").set(number(free));
    if let Some(limit) = limit {
        gauge!("infmap_capacity_limit_bytes").set(number(limit));
    }
    let inodes = shared.published.load().inodes;
    gauge!("infmap_capacity_inodes").set(number(inodes));
    gauge!("infmap_capacity_available_inodes").set(number(available / super::INODE_BYTES));
}

/// Counters that nobody has counted in yet say so: an alert on what is new must know that there was none.
fn integrity(shared: &Shared) {
    gauge!("infmap_integrity_poisoned").set(number(shared.damage.len() as u64));
    counter!("infmap_integrity_checked_total", "source" => "scrub").increment(0);
    for source in [Source::Read, Source::Scrub] {
        counter!("infmap_integrity_errors_total", "source" => source.name()).increment(0);
        counter!("infmap_integrity_repaired_total", "source" => source.name()).increment(0);
        counter!("infmap_integrity_unrepairable_total", "source" => source.name()).increment(0);
    }
    counter!("infmap_device_retries_total").increment(0);
    counter!("infmap_replies_dropped_total").increment(0);
    for kind in ["actor", "request"] {
        counter!("infmap_watchdog_stuck_total", "kind" => kind).increment(0);
    }
}
