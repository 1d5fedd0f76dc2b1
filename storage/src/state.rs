//! The state that the Vat owns: both trees, what they mean for space, and the numbers that are given out.
//!
//! Owns: `State`, and the ways to read (`View`) and to change (`Txn`) it. Must be true: VAT-1 a transaction is done whole or not at
//! all; VAT-2 what a transaction did is exactly what its log payload replays; VAT-3 names and extents change in the name tree only,
//! space in `SpaceDeltas` only, until a fold brings it into the volume tree. Fails: a node that is not resident is `StateError::Miss`:
//! nothing was changed, fetch it and ask again.

pub mod change;
mod content;
mod extents;
mod fold;
mod holes;
mod moves;
mod places;
mod txn;
mod view;

pub use fold::{FoldProgress, Foldable};
pub use txn::{Outcome, Txn};
pub use view::View;

use self::change::Change;
use crate::address::{Generation, Place};
use crate::refusal::Refusal;
use crate::row::RowError;
use crate::space::SpaceDeltas;
use crate::vat::{NodeError, NodePtr, NodeSource, Released, ReleasedNode, Tree};

/// Why a read or a change of the state did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The caller's fault, in the caller's words.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A node is needed that is not resident.
    #[error("node {} is not in memory", .0.address)]
    Miss(NodePtr),
    /// A node cannot be read.
    #[error(transparent)]
    Node(NodeError),
    /// A row is not what it must be.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Two rows contradict each other.
    #[error("the tables contradict each other: {0}")]
    Contradiction(&'static str),
}

impl From<NodeError> for StateError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Miss(ptr) => Self::Miss(ptr),
            other => Self::Node(other),
        }
    }
}

/// What the Vat owns.
pub struct State {
    /// Inodes, names, extents, contents.
    pub names: Tree,
    /// Regions, counts, dead and free places.
    pub volume: Tree,
    /// The current generation: rows, nodes and regions made now carry it.
    pub generation: Generation,
    /// The next inode to be given out.
    pub next_inode: u64,
    /// The least place that was never given out.
    pub frontier: Place,
    /// Inodes that exist.
    pub inodes: u64,
    /// Clusters that are alive according to the volume tree.
    pub live_clusters: u64,
    /// Counts the dirty nodes of both trees.
    pub gauge: std::sync::Arc<crate::vat::DirtyGauge>,
    /// Clusters that files gave up since the state was opened; those that something else refers to are counted too.
    pub given_up: u64,
    /// What changed about space since the last fold.
    pub deltas: SpaceDeltas,
    /// Versions of nodes that were superseded while a checkpoint was writing them; their clusters become known when it ends.
    pub pending: Vec<std::sync::Arc<crate::vat::Link>>,
}

impl State {
    /// Runs `body` on the trees; an error leaves everything as it was. Returns what it gave, and what the log must say.
    ///
    /// # Errors
    /// Whatever the body fails with.
    pub fn transact<T>(
        &mut self,
        source: &dyn NodeSource,
        body: impl FnOnce(&mut Txn<'_>) -> Result<T, StateError>,
    ) -> Result<Outcome<T>, StateError> {
        self.transact_within(source, None, body)
    }

    /// As [`Self::transact`], of more than one record holds: what the log must say is a group of records, of so many bytes at most.
    ///
    /// # Errors
    /// Whatever the body fails with.
    pub fn transact_group<T>(
        &mut self,
        source: &dyn NodeSource,
        group_bytes: usize,
        body: impl FnOnce(&mut Txn<'_>) -> Result<T, StateError>,
    ) -> Result<Outcome<T>, StateError> {
        self.transact_within(source, Some(group_bytes), body)
    }

    fn transact_within<T>(
        &mut self,
        source: &dyn NodeSource,
        group_bytes: Option<usize>,
        body: impl FnOnce(&mut Txn<'_>) -> Result<T, StateError>,
    ) -> Result<Outcome<T>, StateError> {
        let held = self.names.clone();
        let (next_inode, inodes) = (self.next_inode, self.inodes);
        let mut txn = Txn::new(self, source, group_bytes);
        match body(&mut txn) {
            Ok(value) => Ok(txn.finish(value)),
            Err(error) => {
                self.names = held;
                (self.next_inode, self.inodes) = (next_inode, inodes);
                Err(error)
            }
        }
    }

    /// Applies a change of the names that stands in the log. Unlike [`Self::transact`] it keeps nothing to go back to, so that nodes are
    /// not copied for each change.
    ///
    /// # Errors
    /// See [`StateError`]; the state is half changed then, and is to be thrown away.
    pub fn replay(&mut self, source: &dyn NodeSource, change: &Change<'_>) -> Result<(), StateError> {
        let mut txn = Txn::new(self, source, None);
        txn.replay_change(change)?;
        txn.finish(());
        Ok(())
    }

    /// A reader of the working trees.
    #[must_use]
    pub fn view<'a>(&'a self, source: &'a dyn NodeSource) -> View<'a> {
        View::new(&self.names, source)
    }

    /// Charges superseded nodes: those that were placed lose one reference, those being written wait for their place.
    fn note_released(&mut self, released: Released) {
        for one in released.0 {
            match one {
                ReleasedNode::Placed(ptr) => self.deltas.unreference(ptr.address, ptr.clusters),
                ReleasedNode::Pending(link) => self.pending.push(link),
            }
        }
    }

    /// A checkpoint ended: nodes that it wrote and that were superseded meanwhile lose their reference.
    pub fn settle_pending(&mut self) {
        for link in std::mem::take(&mut self.pending) {
            match link.ptr() {
                Some(ptr) => self.deltas.unreference(ptr.address, ptr.clusters),
                None => self.pending.push(link),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
