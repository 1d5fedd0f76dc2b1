//! Images that parity did not bring back: that is found out once for the many requests that meet lost clusters in one of them, since each
//! time the whole image is read and decoded.
//!
//! Owns: `Hopeless`. Must be true: HOP-1 it is bounded, and each entry is believed so often and no more: a device may give again what it
//! refused; whoever asks has read the clusters themselves before. Fails: never.

use crate::address::RegionId;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Images that are remembered at most.
const IMAGES: usize = 16;
/// How often one is believed.
const ASKS: u32 = 256;

struct Entry {
    region: RegionId,
    /// Those that did not come back, by number; `None`: nothing of the image does.
    clusters: Option<BTreeSet<usize>>,
    asks: u32,
}

#[derive(Default)]
pub(super) struct Hopeless(Mutex<Vec<Entry>>);

impl Hopeless {
    /// Whether parity need not be asked for any of these clusters.
    pub fn knows(&self, region: RegionId, clusters: impl IntoIterator<Item = usize>) -> bool {
        let mut entries = self.0.lock();
        let Some(at) = entries.iter().position(|entry| entry.region == region) else { return false };
        let Some(entry) = entries.get_mut(at) else { return false };
        let is_known = entry.clusters.as_ref().is_none_or(|known| clusters.into_iter().all(|cluster| known.contains(&cluster)));
        if is_known {
            entry.asks -= 1;
            if entry.asks == 0 {
                entries.remove(at);
            }
        }
        is_known
    }

    /// These did not come back; `None`: nothing of the image does.
    pub fn add(&self, region: RegionId, clusters: Option<BTreeSet<usize>>) {
        let mut entries = self.0.lock();
        let before = entries.iter().position(|entry| entry.region == region).map(|at| entries.remove(at));
        let clusters = clusters.map(|new| new.into_iter().chain(before.and_then(|entry| entry.clusters).unwrap_or_default()).collect());
        if entries.len() >= IMAGES {
            entries.remove(0);
        }
        entries.push(Entry { region, clusters, asks: ASKS });
    }

    /// The file of an image is another.
    pub fn forget(&self, region: RegionId) {
        self.0.lock().retain(|entry| entry.region != region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Generation, Place};

    #[test]
    fn what_did_not_come_back_is_believed_so_often_and_of_so_many_images() {
        let hopeless = Hopeless::default();
        let region = |n| RegionId { place: Place(n), generation: Generation(1) };
        assert!(!hopeless.knows(region(0), [1]));
        hopeless.add(region(0), Some([1, 2].into()));
        hopeless.add(region(0), Some([7].into()));
        assert!(hopeless.knows(region(0), [1, 7]) && !hopeless.knows(region(0), [1, 3]) && !hopeless.knows(region(1), [1]));
        hopeless.add(region(1), None);
        assert_eq!((0..2 * ASKS).filter(|n| hopeless.knows(region(1), [*n as usize])).count(), ASKS as usize);
        hopeless.forget(region(0));
        assert!(!hopeless.knows(region(0), [1]));
        (0..=IMAGES as u32).for_each(|n| hopeless.add(region(n), None));
        assert!(!hopeless.knows(region(0), [1]) && hopeless.knows(region(1), [1]));
    }
}
