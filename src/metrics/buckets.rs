//! Histograms that take as much memory after ten million samples as after one.
//!
//! Owns: `Histograms`, `Buckets`. The storage of the exporter keeps every sample until somebody scrapes, and a clock reading with each;
//! here a sample is two additions. Must be true: MET-3 recording allocates nothing and waits for nobody; MET-4 a bucket counts what is at
//! most its bound, and the count of all is that of the last bucket, however many record meanwhile. Fails: never.

use super::catalogue::{self, Kind, Unit};
use super::text::{family, labels};
use metrics::{HistogramFn, Key};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bounds of a histogram that the catalogue does not know.
const OTHERWISE: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0];
/// Parts of one that a sum is counted in: nanoseconds, where the unit is a second.
const PARTS: f64 = 1e9;

/// One histogram.
pub(super) struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all.
    counts: Box<[AtomicU64]>,
    /// In parts, if the samples are seconds.
    sum: AtomicU64,
    parts: f64,
}

impl Buckets {
    fn new(bounds: &'static [f64], parts: f64) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0), parts }
    }

    /// Counts up to each bound, with all behind them.
    fn cumulated(&self) -> Vec<u64> {
        let mut before = 0;
        let add = |count: &AtomicU64| {
            before += count.load(Ordering::Relaxed);
            before
        };
        self.counts.iter().map(add).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
    fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / self.parts
    }
}

impl HistogramFn for Buckets {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sample below zero counts as zero")]
    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add((value * self.parts) as u64, Ordering::Relaxed);
    }
}

/// All histograms, by name and labels.
#[derive(Default)]
pub(super) struct Histograms {
    by_name: Mutex<BTreeMap<String, BTreeMap<Key, Arc<Buckets>>>>,
}

impl Histograms {
    /// The histogram of a key, which is made if there is none.
    pub(super) fn of(&self, key: &Key) -> Arc<Buckets> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = by_name.entry(key.name().to_string()).or_default();
        let make = || {
            let metric = catalogue::find(key.name());
            let bounds = metric.and_then(|metric| if let Kind::Histogram(bounds) = metric.kind { Some(bounds) } else { None });
            let parts = if metric.is_some_and(|metric| metric.unit != Unit::Seconds) { 1.0 } else { PARTS };
            Arc::new(Buckets::new(bounds.unwrap_or(OTHERWISE), parts))
        };
        of_name.entry(key.clone()).or_insert_with(make).clone()
    }

    /// Writes those in which something was measured.
    pub(super) fn render(&self, out: &mut String) {
        for (name, of_name) in self.by_name.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut is_first = true;
            for (key, buckets) in of_name {
                let counts = buckets.cumulated();
                let count = counts.last().copied().unwrap_or(0);
                if count == 0 {
                    continue;
                }
                if std::mem::take(&mut is_first) {
                    family(out, name, Kind::Histogram(buckets.bounds));
                }
                let bounds = buckets.bounds.iter().map(f64::to_string).chain(["+Inf".into()]);
                for (bound, count) in bounds.zip(&counts) {
                    let _ = writeln!(out, "{name}_bucket{} {count}", labels(key, Some(&bound)));
                }
                let labels = labels(key, None);
                let _ = writeln!(out, "{name}_sum{labels} {}\n{name}_count{labels} {count}", buckets.sum());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_counted_in_its_bucket_and_in_all_above() {
        let all = Histograms::default();
        let key = Key::from_parts("infmap_wal_fsync_duration_seconds", &[("pool", "a\"b")]);
        for value in [0.000_01, 0.000_011, 0.3, 9.9, 1000.0, -1.0, f64::NAN] {
            all.of(&key).record(value);
        }
        let _ = all.of(&Key::from_name("infmap_region_seal_seconds"));
        let mut text = String::new();
        all.render(&mut text);
        let line = |line: &str| assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        line("# TYPE infmap_wal_fsync_duration_seconds histogram");
        line(r#"infmap_wal_fsync_duration_seconds_bucket{pool="a\"b",le="0.00001"} 3"#);
        line(r#"infmap_wal_fsync_duration_seconds_bucket{pool="a\"b",le="0.000025"} 4"#);
        line(r#"infmap_wal_fsync_duration_seconds_bucket{pool="a\"b",le="0.5"} 5"#);
        line(r#"infmap_wal_fsync_duration_seconds_bucket{pool="a\"b",le="10"} 6"#);
        line(r#"infmap_wal_fsync_duration_seconds_bucket{pool="a\"b",le="+Inf"} 7"#);
        line(r#"infmap_wal_fsync_duration_seconds_count{pool="a\"b"} 7"#);
        line(r#"infmap_wal_fsync_duration_seconds_sum{pool="a\"b"} 1010.200021"#);
        assert!(!text.contains("seal"), "nothing was measured there");
    }
}
