//! The dirty blocks of a file, with the questions about them that every write asks answered without a walk.
//!
//! Must be true: the sets and lists beside the map are what a walk over the map would find; so every change of a block goes through
//! `insert`, `edit`, or one of the removals.

use super::Ticket;
use crate::blocks::Block;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeBounds;

/// A block that waits to be placed.
#[derive(Clone, Debug)]
pub(super) struct DirtyBlock {
    pub block: Block,
    /// Write sequence of its newest byte.
    pub sequence: u64,
    /// Write sequence since which it has been held without a break: what was logged of it from then on is not placed yet.
    pub since: u64,
    /// A pixel writer has it.
    pub placing: Option<Ticket>,
    /// A settlement that claims it was posted.
    pub settling: Option<Ticket>,
    /// Its bytes stand in the log.
    pub logged: bool,
}

impl DirtyBlock {
    /// New content, that nobody has yet.
    pub fn fresh(block: Block, sequence: u64, since: u64) -> Self {
        Self { block, sequence, since, placing: None, settling: None, logged: false }
    }

    fn is_unplaced(&self) -> bool {
        self.placing.is_none() && self.settling.is_none()
    }

    /// Whether neither the log nor a posted settlement has its bytes.
    pub fn is_volatile(&self) -> bool {
        !self.logged && self.settling.is_none()
    }

    /// Whether a size that covers it would be a lie after a power cut. Old content that was read for a write which has not come yet is
    /// where it was read from.
    pub fn holds_the_size_back(&self) -> bool {
        self.is_volatile() && self.since <= self.sequence
    }
}

/// Dirty blocks by number.
#[derive(Debug, Default)]
pub(super) struct HeldBlocks {
    map: BTreeMap<u64, DirtyBlock>,
    /// Those that neither a pixel writer nor a settlement has.
    unplaced: BTreeSet<u64>,
    /// Those that neither the log nor a posted settlement has.
    volatile: BTreeSet<u64>,
    /// Those that a settlement was posted for; some may have changed since.
    settling: HashMap<Ticket, Vec<u64>>,
}

impl HeldBlocks {
    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn get(&self, number: u64) -> Option<&DirtyBlock> {
        self.map.get(&number)
    }

    pub fn contains(&self, number: u64) -> bool {
        self.map.contains_key(&number)
    }

    pub fn range(&self, range: impl RangeBounds<u64>) -> impl Iterator<Item = (u64, &DirtyBlock)> {
        self.map.range(range).map(|(number, dirty)| (*number, dirty))
    }

    pub fn values(&self) -> impl Iterator<Item = &DirtyBlock> {
        self.map.values()
    }

    /// How many neither a pixel writer nor a settlement has.
    pub fn unplaced(&self) -> usize {
        self.unplaced.len()
    }

    /// How many neither the log nor a posted settlement has.
    pub fn volatile(&self) -> usize {
        self.volatile.len()
    }

    /// The first `max` that nobody has.
    pub fn first_unplaced(&self, max: usize) -> Vec<u64> {
        self.unplaced.iter().copied().take(max).collect()
    }

    /// The first `max` that neither the log nor a posted settlement has.
    pub fn first_volatile(&self, max: usize) -> Vec<u64> {
        self.volatile.iter().copied().take(max).collect()
    }

    /// Those of which `wanted` says yes, at most `max`.
    pub fn numbers(&self, max: usize, wanted: impl Fn(u64, &DirtyBlock) -> bool) -> Vec<u64> {
        self.map.iter().filter(|(number, dirty)| wanted(**number, dirty)).map(|(number, _)| *number).take(max).collect()
    }

    pub fn insert(&mut self, number: u64, dirty: DirtyBlock) {
        self.note(number, &dirty);
        self.map.insert(number, dirty);
    }

    /// Changes a block that is held.
    pub fn edit<T>(&mut self, number: u64, change: impl FnOnce(&mut DirtyBlock) -> T) -> Option<T> {
        let dirty = self.map.get_mut(&number)?;
        let before = dirty.settling;
        let outcome = change(dirty);
        let (unplaced, volatile, settling) = (dirty.is_unplaced(), dirty.is_volatile(), dirty.settling);
        mark(&mut self.unplaced, number, unplaced);
        mark(&mut self.volatile, number, volatile);
        if let Some(ticket) = settling.filter(|_| settling != before) {
            self.settling.entry(ticket).or_default().push(number);
        }
        Some(outcome)
    }

    fn note(&mut self, number: u64, dirty: &DirtyBlock) {
        mark(&mut self.unplaced, number, dirty.is_unplaced());
        mark(&mut self.volatile, number, dirty.is_volatile());
        if let Some(ticket) = dirty.settling {
            self.settling.entry(ticket).or_default().push(number);
        }
    }

    /// Lets go of all from `number` on. Returns how many.
    pub fn cut(&mut self, number: u64) -> usize {
        drop(self.unplaced.split_off(&number));
        drop(self.volatile.split_off(&number));
        self.map.split_off(&number).len()
    }

    /// Lets go of those that still are what the settlement `ticket` claims. Returns how many.
    pub fn let_go(&mut self, ticket: Ticket) -> usize {
        let mut gone = 0;
        for number in self.settling.remove(&ticket).unwrap_or_default() {
            if self.map.get(&number).is_some_and(|dirty| dirty.settling == Some(ticket)) {
                self.map.remove(&number);
                self.unplaced.remove(&number);
                self.volatile.remove(&number);
                gone += 1;
            }
        }
        gone
    }
}

fn mark(set: &mut BTreeSet<u64>, number: u64, belongs: bool) {
    if belongs {
        set.insert(number);
    } else {
        set.remove(&number);
    }
}
