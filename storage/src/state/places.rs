//! Places on the map: giving them out and taking them back.
//!
//! Must be true: PLC-1 a place is given out with the current generation, and never while an image at it may still be read (O8);
//! PLC-2 nodes prefer the places nearest to the origin, data keeps away from the first `NODE_PLACES`.

use super::change::Change;
use super::{State, StateError};
use crate::address::{Place, RegionId};
use crate::limits::NODE_PLACES;
use crate::row::{Key, RegionKind};
use crate::vat::{NodeSource, Released};

impl State {
    /// Grants a place for an image of this kind. The payload must be logged and synced before the image gets its name.
    ///
    /// # Errors
    /// See [`StateError`]; nothing is changed then.
    pub fn grant(&mut self, source: &dyn NodeSource, kind: RegionKind) -> Result<(RegionId, Vec<u8>), StateError> {
        let least = if kind == RegionKind::Node { Place(0) } else { Place(NODE_PLACES) };
        let place = match self.free_place_from(source, least)? {
            Some(place) => place,
            None if kind == RegionKind::Node || self.frontier >= least => self.frontier,
            None => least,
        };
        let region = RegionId { place, generation: self.generation };
        let change = Change::Grant { region, kind };
        self.replay_place(source, &change)?;
        let mut payload = Vec::new();
        change.encode(&mut payload);
        Ok((region, payload))
    }

    /// The images of dead regions are gone: their places are free.
    ///
    /// # Errors
    /// See [`StateError`]; nothing is changed then.
    pub fn free(&mut self, source: &dyn NodeSource, regions: &[RegionId]) -> Result<Vec<u8>, StateError> {
        let mut payload = Vec::new();
        let held = self.volume.clone();
        for &region in regions {
            let change = Change::Freed { region };
            if let Err(error) = self.replay_place(source, &change) {
                self.volume = held;
                return Err(error);
            }
            change.encode(&mut payload);
        }
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
            Change::Freed { region } => self.give_back(source, region, &mut released),
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
        let place = region.place;
        if place < self.frontier {
            self.volume.remove(source, self.generation, &Key::Free(place).encode(), released)?;
        } else {
            for skipped in self.frontier.0..place.0 {
                self.volume.put(source, self.generation, &Key::Free(Place(skipped)).encode(), &[], released)?;
            }
            self.frontier = Place(place.0.checked_add(1).ok_or(StateError::Refused(crate::refusal::Refusal::NoSpace))?);
        }
        self.deltas.grant(region, kind);
        Ok(())
    }

    fn give_back(&mut self, source: &dyn NodeSource, region: RegionId, released: &mut Released) -> Result<(), StateError> {
        if self.volume.remove(source, self.generation, &Key::Dead(region).encode(), released)?.is_some() {
            self.volume.put(source, self.generation, &Key::Free(region.place).encode(), &[], released)?;
        }
        Ok(())
    }

    fn free_place_from(&self, source: &dyn NodeSource, least: Place) -> Result<Option<Place>, StateError> {
        let (from, to) = Key::free_from(least);
        match self.volume.range(source, &from, Some(&to)).next() {
            None => Ok(None),
            Some(row) => Ok(match Key::decode(row?.key()) {
                Some(Key::Free(place)) => Some(place),
                _ => None,
            }),
        }
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
