//! Counters of seconds.
//!
//! Owns: `Floats`. A counter of `metrics` is a whole number, and so is one of the exporter: a counter of seconds is written by the macro for
//! gauges, and becomes what the catalogue says it is here. Must be true: as of a gauge, the last value counts. Fails: never.

use super::catalogue;
use super::text::{family, labels};
use metrics::Key;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All of them, by name and labels.
#[derive(Default)]
pub(super) struct Floats {
    by_name: Mutex<BTreeMap<String, BTreeMap<Key, Arc<AtomicU64>>>>,
}

impl Floats {
    /// The counter of a key, which is made if there is none.
    pub(super) fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.entry(key.name().to_string()).or_default().entry(key.clone()).or_default().clone()
    }

    pub(super) fn render(&self, out: &mut String) {
        for (name, of_name) in self.by_name.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            family(out, name, catalogue::Kind::Counter);
            for (key, bits) in of_name {
                let _ = writeln!(out, "{name}{} {}", labels(key, None), f64::from_bits(bits.load(Ordering::Relaxed)));
            }
        }
    }
}
