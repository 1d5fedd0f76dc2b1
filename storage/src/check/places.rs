//! The rows of the volume tree: regions, counts, dead images, free places.
//!
//! Owns: `Places`, what those rows say together. Must be true: PLC-1 each place below the frontier is one of region, dead or free,
//! and none above it is anything; REG-2 a region without live clusters is dead; SPC-1 a count stands under its region and is above
//! one. Memory: 16 to 40 bytes a place. Fails: never.

use super::finding::{Findings, HELP_HARMLESS, HELP_REPORT};
use super::tree::hex;
use crate::address::{Place, RegionId};
use crate::row::{Key, RegionRow};
use std::collections::BTreeSet;

/// Which places are what.
#[derive(Default)]
pub(super) struct Places {
    pub regions: BTreeSet<RegionId>,
    pub dead: BTreeSet<RegionId>,
    pub free: BTreeSet<Place>,
    /// Clusters that the region rows call live.
    pub live_clusters: u64,
    last: Option<RegionId>,
}

impl Places {
    /// Takes a row of the volume tree.
    pub fn row(&mut self, key: &[u8], value: &[u8], findings: &mut Findings) {
        match Key::decode(key) {
            Some(Key::Region(place)) => self.region(place, value, findings),
            Some(Key::Count(at)) => {
                let count = value.try_into().map(i64::from_le_bytes);
                if self.last != Some(at.region) {
                    findings.damage("SPC-1", at, "a count of references stands under no region", HELP_REPORT);
                } else if count.is_ok_and(|count| count < 2) || count.is_err() {
                    findings.damage("SPC-1", at, "its count of references is no number above one", HELP_REPORT);
                }
            }
            Some(Key::Dead(id)) if value.is_empty() => drop(self.dead.insert(id)),
            Some(Key::Free(place)) if value.is_empty() => drop(self.free.insert(place)),
            Some(Key::Dead(_) | Key::Free(_)) => findings.damage("ROW-2", hex(key), "a row without value has one", HELP_REPORT),
            Some(_) => findings.damage("VAT-3", hex(key), "a row of the name tree stands in the volume tree", HELP_REPORT),
            None => findings.damage("ROW-1", hex(key), "the volume tree holds a key that means nothing", HELP_REPORT),
        }
    }

    fn region(&mut self, place: Place, value: &[u8], findings: &mut Findings) {
        self.last = None;
        match RegionRow::decode(value) {
            Err(error) => findings.damage("ROW-2", format!("the region at {place}"), error.to_string(), HELP_REPORT),
            Ok(row) => {
                let id = RegionId { place, generation: row.generation };
                self.last = Some(id);
                self.regions.insert(id);
                self.live_clusters += row.live.count() as u64;
                if row.live.is_empty() {
                    findings.warning("REG-2", id, "the region has no live cluster and is not called dead", HELP_HARMLESS);
                }
            }
        }
    }

    /// Compares what was gathered with the frontier and the number of live clusters that the root carries.
    pub fn finish(&self, frontier: Place, live_clusters: u64, findings: &mut Findings) {
        findings.report.counts.live_clusters = self.live_clusters;
        findings.report.counts.free_places = self.free.len() as u64;
        if live_clusters != self.live_clusters {
            let what = format!("the root counts {live_clusters} live clusters, the regions {}", self.live_clusters);
            findings.warning("SPC-4", "the root", what, HELP_HARMLESS);
        }
        let regions = self.regions.iter().map(|id| id.place);
        let mut all: Vec<Place> = regions.chain(self.dead.iter().map(|id| id.place)).chain(self.free.iter().copied()).collect();
        all.sort_unstable();
        let mut expected = Some(0u32);
        for place in all {
            match expected {
                Some(next) if place.0 == next => {}
                Some(next) if place.0 > next => self.unaccounted(next, place.0, findings),
                _ => findings.damage("PLC-1", place, "it is called two of region, dead and free at once", HELP_REPORT),
            }
            if place >= frontier {
                findings.damage(
                    "PLC-1",
                    place,
                    "it is in use although it lies behind the frontier, and will be given out again",
                    HELP_REPORT,
                );
            }
            expected = place.0.checked_add(1);
        }
        if let Some(next) = expected.filter(|&next| next < frontier.0) {
            self.unaccounted(next, frontier.0, findings);
        }
    }

    fn unaccounted(&self, from: u32, to: u32, findings: &mut Findings) {
        let what = format!("{} places from here on are neither region nor dead nor free: they will never be used again", to - from);
        findings.warning("PLC-1", Place(from), what, HELP_HARMLESS);
    }
}
