//! Folding: bringing gathered changes of space into the volume tree, region by region.
//!
//! Must be true: REG-1 holds in the volume tree when everything is folded; REG-2 a region is called dead only when it has no live
//! cluster and nobody can still claim one; REG-9 a region of nodes is folded when its checkpoint has ended, not before: a node may be
//! superseded as soon as it has a place, and then loses its reference before that is counted. A fold changes nodes of the volume tree,
//! and so makes a few deltas itself; since each node is superseded once in a generation, repeating it ends.
//! Fails: `Miss`: the regions folded so far stay folded, go on later.

use super::{State, StateError};
use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::row::{Key, LiveBits, RegionKind, RegionRow};
use crate::space::ReferenceDelta;
use crate::vat::{NodeSource, Released};

/// How far a fold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldProgress {
    /// Call again.
    More,
    /// The volume tree says everything that is known.
    Settled,
}

/// Who may still claim a part of a region.
pub trait Foldable {
    /// Whether somebody may still put a row that claims a part of this region: it is being written, or reports of it are under way.
    /// A region of nodes: from its grant until all its nodes are [born](crate::space::SpaceDeltas::born), for ever if they never are.
    fn is_open(&self, region: RegionId) -> bool;
}

/// Nobody writes: the state of affairs after a crash and in a model.
impl Foldable for () {
    fn is_open(&self, _: RegionId) -> bool {
        false
    }
}

impl State {
    /// Folds at most `max_regions` regions.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn fold(&mut self, source: &dyn NodeSource, writers: &dyn Foldable, max_regions: usize) -> Result<FoldProgress, StateError> {
        for _ in 0..max_regions {
            let Some(region) = self.next_to_fold(writers) else { return Ok(FoldProgress::Settled) };
            self.fold_region(source, writers, region)?;
        }
        Ok(if self.next_to_fold(writers).is_none() { FoldProgress::Settled } else { FoldProgress::More })
    }

    fn next_to_fold(&self, writers: &dyn Foldable) -> Option<RegionId> {
        let waits = |region: &RegionId| self.is_unborn(writers, *region);
        let referenced = self.deltas.references.keys().map(|first| first.region).find(|region| !waits(region));
        let granted = || self.deltas.granted.keys().find(|region| !waits(region)).copied();
        let closed = || self.deltas.suspects.iter().find(|region| !writers.is_open(**region)).copied();
        referenced.or_else(granted).or_else(closed)
    }

    /// REG-9: whether a region of nodes is being written, so that neither its image nor what refers to it counts yet.
    fn is_unborn(&self, writers: &dyn Foldable, region: RegionId) -> bool {
        self.deltas.granted.get(&region) == Some(&RegionKind::Node) && writers.is_open(region)
    }

    /// The first region from a place on that has references which are not folded yet, of those whose images are durable.
    #[must_use]
    pub fn next_unfolded(&self, writers: &dyn Foldable, from: Place) -> Option<RegionId> {
        let first = Address { region: RegionId { place: from, generation: Generation(0) }, cluster: Cluster::FIRST };
        let regions = self.deltas.references.range(first..).map(|(first, _)| first.region);
        regions.into_iter().find(|region| !self.is_unborn(writers, *region))
    }

    fn fold_region(&mut self, source: &dyn NodeSource, writers: &dyn Foldable, region: RegionId) -> Result<(), StateError> {
        let deltas: Vec<(Address, ReferenceDelta)> =
            self.deltas.references.range(Address::all_of(region)).map(|(first, delta)| (*first, *delta)).collect();
        let held = (self.volume.clone(), self.live_clusters, self.frontier);
        let mut released = Released::default();
        match self.fold_rows(source, writers, region, &deltas, &mut released) {
            Ok(dead_or_alive) => {
                for (first, _) in &deltas {
                    self.deltas.references.remove(first);
                }
                self.deltas.granted.remove(&region);
                if dead_or_alive == Verdict::Decided {
                    self.deltas.suspects.remove(&region);
                }
                self.note_released(released);
                Ok(())
            }
            Err(error) => {
                (self.volume, self.live_clusters, self.frontier) = held;
                Err(error)
            }
        }
    }

    fn fold_rows(
        &mut self,
        source: &dyn NodeSource,
        writers: &dyn Foldable,
        region: RegionId,
        deltas: &[(Address, ReferenceDelta)],
        released: &mut Released,
    ) -> Result<Verdict, StateError> {
        let key = Key::Region(region.place).encode();
        let granted = self.deltas.granted.get(&region).copied();
        if granted.is_some() {
            // Nobody has replayed the grants of the images of a root that was found without its log.
            self.claim_place(source, region.place, released)?;
        }
        let mut row = match (self.volume.get(source, &key)?, granted) {
            (Some(row), _) => RegionRow::decode(row.value())?,
            (None, Some(kind)) => RegionRow { generation: region.generation, kind, live: LiveBits::default() },
            // Judged dead before: there is nothing left to say of it.
            (None, None) if deltas.is_empty() => return Ok(Verdict::Decided),
            (None, None) => return Err(StateError::Contradiction("an extent or node lies in a region that has no row")),
        };
        if row.generation != region.generation {
            return if deltas.is_empty() {
                Ok(Verdict::Decided)
            } else {
                Err(StateError::Contradiction("an extent or node lies in an image that was replaced"))
            };
        }
        if deltas.is_empty() && !row.live.is_empty() {
            return Ok(Verdict::Decided);
        }
        for (first, delta) in deltas {
            self.fold_reference(source, *first, *delta, &mut row, released)?;
        }
        if row.live.is_empty() && !writers.is_open(region) {
            self.volume.remove(source, self.generation, &key, released)?;
            self.volume.put(source, self.generation, &Key::Dead(region).encode(), &[], released)?;
            return Ok(Verdict::Decided);
        }
        self.volume.put(source, self.generation, &key, &row.encode(), released)?;
        Ok(if row.live.is_empty() { Verdict::Open } else { Verdict::Decided })
    }

    fn fold_reference(
        &mut self,
        source: &dyn NodeSource,
        first: Address,
        delta: ReferenceDelta,
        row: &mut RegionRow,
        released: &mut Released,
    ) -> Result<(), StateError> {
        let key = Key::Count(first).encode();
        let stored = self.volume.get(source, &key)?.map(|row| count(row.value())).transpose()?;
        // Without a count the live bits say whether there is one reference or none.
        let alive = row.live.get(first.cluster.number());
        let before = stored.unwrap_or(i64::from(alive));
        if delta.born && before > 0 {
            return Err(StateError::Contradiction("an extent or node was placed where another one is alive"));
        }
        let after = before + delta.change;
        if after < 0 {
            return Err(StateError::Contradiction("more references to an extent or node were removed than there were"));
        }
        let changed = row.live.set(first.cluster.number(), usize::from(delta.clusters), after > 0) as u64;
        match (before > 0, after > 0) {
            (false, true) => self.live_clusters += changed,
            (true, false) => self.live_clusters = self.live_clusters.saturating_sub(changed),
            _ => {}
        }
        if after > 1 {
            self.volume.put(source, self.generation, &key, &after.to_le_bytes(), released)?;
        } else if stored.is_some() {
            self.volume.remove(source, self.generation, &key, released)?;
        }
        Ok(())
    }
}

/// Whether a region needs to be looked at again.
#[derive(PartialEq, Eq)]
enum Verdict {
    Decided,
    /// Empty, but somebody may still claim a part.
    Open,
}

fn count(value: &[u8]) -> Result<i64, StateError> {
    let count = value.try_into().map(i64::from_le_bytes).map_err(|_| StateError::Contradiction("a count is not a number"))?;
    if count > 1 { Ok(count) } else { Err(StateError::Contradiction("a count is below two")) }
}
