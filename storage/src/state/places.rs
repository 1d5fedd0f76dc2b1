//! Places on the map: giving them out and taking them back.
//!
//! Must be true: GRT-1 a place is given out with the current generation, and never while an image at it may still be read (O8);
//! GRT-2 nodes prefer the places nearest to the origin, data keeps away from the first `NODE_PLACES`.

use super::change::Change;
use super::{State, StateError};
use crate::address::{Generation, Place, RegionId};
use crate::limits::NODE_PLACES;
use crate::refusal::Refusal;
use crate::row::{Key, RegionKind};
use crate::vat::{NodeSource, Released};

/// Places between two grants at most: those that one checkpoint's images can have left behind (a damaged record must not loop).
const MAX_SKIPPED: u32 = 1 << 16;

impl State {
    /// Grants a place for an image of this kind. The payload must be logged and synced before the image gets its name.
    ///
    /// # Errors
    /// See [`StateError`]; nothing is changed then.
    pub fn grant(&mut self, source: &dyn NodeSource, kind: RegionKind) -> Result<(RegionId, Vec<u8>), StateError> {
        let least = if kind == RegionKind::Node { Place(0) } else { Place(NODE_PLACES) };
        let place = match self.free_place_from(source, least)? {
            Some(place) => place,
            None => self.unused_place_from(self.frontier.max(least)).ok_or(StateError::Refused(Refusal::NoSpace))?,
        };
        let region = RegionId { place, generation: self.generation };
        let change = Change::Grant { region, kind };
        self.replay_place(source, &change)?;
        let mut payload = Vec::new();
        change.encode(&mut payload);
        Ok((region, payload))
    }

    /// The images of dead regions are gone: their places are free. Regions that are not dead are passed over. The caller waits until
    /// neither of the two newest roots reaches the image (O8): a region that was dead in the trees of the older of them.
    ///
    /// # Errors
    /// See [`StateError`]; nothing is changed then.
    pub fn free(&mut self, source: &dyn NodeSource, regions: &[RegionId]) -> Result<Vec<u8>, StateError> {
        let mut payload = Vec::new();
        let held = self.volume.clone();
        let mut released = Released::default();
        for &region in regions {
            match self.give_back(source, region, &mut released) {
                Ok(true) => Change::Freed { region }.encode(&mut payload),
                Ok(false) => {}
                Err(error) => {
                    self.volume = held;
                    return Err(error);
                }
            }
        }
        self.note_released(released);
        Ok(payload)
    }

    /// Applies a change of places, now or at replay.
    ///
    /// # Errors
    /// See [`StateError`]; nothing is changed then.
    pub fn replay_place(&mut self, source: &dyn NodeSource, change: &Change<'_>) -> Result<(), StateError> {
        let held = (self.volume.clone(), self.frontier);
        let mut released = Released::default();
        let done = match *change {
            Change::Grant { region, kind } => self.take_place(source, region, kind, &mut released),
            Change::Freed { region } => self.give_back(source, region, &mut released).map(drop),
            _ => Ok(()),
        };
        match done {
            Ok(()) => self.note_released(released),
            Err(_) => (self.volume, self.frontier) = held,
        }
        done
    }

    fn take_place(
        &mut self,
        source: &dyn NodeSource,
        region: RegionId,
        kind: RegionKind,
        released: &mut Released,
    ) -> Result<(), StateError> {
        self.claim_place(source, region.place, released)?;
        self.deltas.grant(region, kind);
        Ok(())
    }

    /// Makes the tree say that a place is in use. Once more changes nothing.
    pub(super) fn claim_place(&mut self, source: &dyn NodeSource, place: Place, released: &mut Released) -> Result<(), StateError> {
        if place < self.frontier {
            self.volume.remove(source, self.generation, &Key::Free(place).encode(), released)?;
            return Ok(());
        }
        let behind = Place(place.0.checked_add(1).ok_or(StateError::Refused(Refusal::NoSpace))?);
        if place.0 - self.frontier.0 > MAX_SKIPPED {
            return Err(StateError::Contradiction("a place was granted far beyond all others"));
        }
        for skipped in (self.frontier.0..place.0).map(Place) {
            if !self.is_granted(skipped) {
                self.volume.put(source, self.generation, &Key::Free(skipped).encode(), &[], released)?;
            }
        }
        self.frontier = behind;
        Ok(())
    }

    /// Returns whether the region was dead.
    fn give_back(&mut self, source: &dyn NodeSource, region: RegionId, released: &mut Released) -> Result<bool, StateError> {
        if self.volume.remove(source, self.generation, &Key::Dead(region).encode(), released)?.is_none() {
            return Ok(false);
        }
        self.volume.put(source, self.generation, &Key::Free(region.place).encode(), &[], released)?;
        Ok(true)
    }

    /// Whether an image of this place was granted since the last fold.
    fn is_granted(&self, place: Place) -> bool {
        let at = |generation| RegionId { place, generation: Generation(generation) };
        self.deltas.granted.range(at(0)..=at(u64::MAX)).next().is_some()
    }

    fn unused_place_from(&self, from: Place) -> Option<Place> {
        (from.0..u32::MAX).map(Place).find(|place| !self.is_granted(*place))
    }

    fn free_place_from(&self, source: &dyn NodeSource, least: Place) -> Result<Option<Place>, StateError> {
        let (from, to) = Key::free_from(least);
        for row in self.volume.range(source, &from, Some(&to)) {
            match Key::decode(row?.key()) {
                Some(Key::Free(place)) if !self.is_granted(place) => return Ok(Some(place)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Images that the tree calls dead, at most `max`.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn dead(&self, source: &dyn NodeSource, max: usize) -> Result<Vec<RegionId>, StateError> {
        let (from, to) = Key::dead();
        let mut found = Vec::new();
        for row in self.volume.range(source, &from, Some(&to)).take(max) {
            if let Some(Key::Dead(region)) = Key::decode(row?.key()) {
                found.push(region);
            }
        }
        Ok(found)
    }
}
