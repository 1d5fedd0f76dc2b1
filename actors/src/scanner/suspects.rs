//! Images that did not give a reader what they should: each is looked at soon, and not again and again.
//!
//! Owns: `Suspects`. Must be true: SUS-1 an image is waiting once, however often it is read; SUS-2 one that could not be put right is
//! looked at again after [`AGAIN_US`] at the earliest. Memory: [`SUSPECTS_MAX`] entries. Fails: never; what finds no room is suspected
//! again by the next read.

use infmap_storage::address::RegionId;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Microseconds before an image is looked at once more that reads complain of and that could not be put right.
pub const AGAIN_US: u64 = 5 * 60 * 1_000_000;
/// Images that are remembered at most.
pub const SUSPECTS_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspect {
    Waiting,
    /// It was looked at: not again before this time.
    Rests(u64),
}

/// The images that are to be looked at, or were lately.
#[derive(Default)]
pub struct Suspects {
    inner: Mutex<BTreeMap<RegionId, Suspect>>,
}

impl Suspects {
    /// Somebody read something from this image that was not right. Returns whether the scanner is to be told.
    pub fn add(&self, region: RegionId, now_us: u64) -> bool {
        let mut suspects = self.inner.lock();
        match suspects.get(&region) {
            Some(Suspect::Waiting) => return false,
            Some(Suspect::Rests(until_us)) if now_us < *until_us => return false,
            _ => {}
        }
        if suspects.len() >= SUSPECTS_MAX {
            suspects.retain(|_, suspect| !matches!(suspect, Suspect::Rests(until_us) if *until_us <= now_us));
            if suspects.len() >= SUSPECTS_MAX {
                return false;
            }
        }
        suspects.insert(region, Suspect::Waiting);
        true
    }

    /// One that waits.
    #[must_use]
    pub fn next(&self) -> Option<RegionId> {
        self.inner.lock().iter().find(|(_, suspect)| **suspect == Suspect::Waiting).map(|(region, _)| *region)
    }

    /// It was put right, or is gone: whatever is read from it next counts anew.
    pub fn settled(&self, region: RegionId) {
        self.inner.lock().remove(&region);
    }

    /// It was looked at, and reads may complain of it again.
    pub fn rests(&self, region: RegionId, now_us: u64) {
        let mut suspects = self.inner.lock();
        if suspects.len() < SUSPECTS_MAX || suspects.contains_key(&region) {
            suspects.insert(region, Suspect::Rests(now_us.saturating_add(AGAIN_US)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_storage::address::{Generation, Place};

    fn region(place: usize) -> RegionId {
        RegionId { place: Place(place as u32), generation: Generation(1) }
    }

    #[test]
    fn an_image_waits_once_and_one_that_was_left_comes_again_after_minutes() {
        let suspects = Suspects::default();
        assert!(suspects.add(region(7), 0) && !suspects.add(region(7), 1) && suspects.next() == Some(region(7)));
        suspects.rests(region(7), 10);
        assert!(suspects.next().is_none() && !suspects.add(region(7), AGAIN_US + 9) && suspects.add(region(7), AGAIN_US + 10));
        suspects.settled(region(7));
        assert!(suspects.next().is_none() && suspects.add(region(7), AGAIN_US + 11));
    }

    #[test]
    fn the_list_is_bounded_and_what_rested_long_enough_makes_room() {
        let suspects = Suspects::default();
        assert!((0..SUSPECTS_MAX).all(|n| suspects.add(region(n), 0)) && !suspects.add(region(SUSPECTS_MAX), 0));
        suspects.rests(region(3), 0);
        assert!(!suspects.add(region(SUSPECTS_MAX), 1) && suspects.add(region(SUSPECTS_MAX), AGAIN_US));
    }
}
