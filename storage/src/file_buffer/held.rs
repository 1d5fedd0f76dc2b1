//! The dirty blocks of a file, with the questions about them that every write asks answered without a walk.
//!
//! Owns: `HeldBlocks`: groups of 64 neighbours, each with a bit for every state that is asked for. Must be true: HLD-1 the bits, counts
//! and lists are what a walk over the blocks would find; so every change of a block goes through `insert`, `edit`, or one of the
//! removals. Fails: never.

use super::Ticket;
use crate::blocks::Block;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

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

/// Blocks of a group.
const GROUP_BLOCKS: u64 = u64::BITS as u64;

/// Up to 64 neighbours. A bit stands for each; `blocks` has those that are held, in order.
#[derive(Debug, Default)]
struct Group {
    held: u64,
    unplaced: u64,
    volatile: u64,
    blocks: Vec<DirtyBlock>,
}

impl Group {
    /// Where the block of `bit` stands among those held, or would stand.
    fn index(&self, bit: u64) -> usize {
        (self.held & (bit - 1)).count_ones() as usize
    }

    fn get(&self, bit: u64) -> Option<&DirtyBlock> {
        if self.held & bit == 0 { None } else { self.blocks.get(self.index(bit)) }
    }

    fn get_mut(&mut self, bit: u64) -> Option<&mut DirtyBlock> {
        let index = self.index(bit);
        if self.held & bit == 0 { None } else { self.blocks.get_mut(index) }
    }

    fn insert(&mut self, bit: u64, dirty: DirtyBlock) {
        let index = self.index(bit);
        self.note(bit, dirty.is_unplaced(), dirty.is_volatile());
        match self.blocks.get_mut(index).filter(|_| self.held & bit != 0) {
            Some(held) => *held = dirty,
            None => self.blocks.insert(index, dirty),
        }
        self.held |= bit;
    }

    fn note(&mut self, bit: u64, unplaced: bool, volatile: bool) {
        let with = |set: u64, belongs: bool| if belongs { set | bit } else { set & !bit };
        (self.unplaced, self.volatile) = (with(self.unplaced, unplaced), with(self.volatile, volatile));
    }

    /// Lets go of those among `bits` of which `wanted` says yes.
    fn remove(&mut self, bits: u64, wanted: impl Fn(&DirtyBlock) -> bool) {
        let mut gone = 0;
        let mut held = ones(self.held);
        self.blocks.retain(|dirty| {
            let bit = held.next().unwrap_or(0);
            let goes = bits & bit != 0 && wanted(dirty);
            gone |= if goes { bit } else { 0 };
            !goes
        });
        self.held &= !gone;
        self.unplaced &= !gone;
        self.volatile &= !gone;
    }
}

/// The single bits of a set, lowest first.
fn ones(mut set: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let lowest = set & set.wrapping_neg();
        set ^= lowest;
        (lowest != 0).then_some(lowest)
    })
}

/// The numbers of blocks that a set of group `group` stands for.
fn numbers_of(group: u64, set: u64) -> impl Iterator<Item = u64> {
    ones(set).map(move |bit| group * GROUP_BLOCKS + u64::from(bit.trailing_zeros()))
}

fn place_of(number: u64) -> (u64, u64) {
    (number / GROUP_BLOCKS, 1 << (number % GROUP_BLOCKS))
}

/// How many blocks are in a state, and which groups have some: kept as groups change.
#[derive(Debug, Default)]
struct Census {
    blocks: usize,
    groups: BTreeSet<u64>,
}

impl Census {
    fn changed(&mut self, group: u64, before: u64, after: u64) {
        self.blocks = self.blocks + after.count_ones() as usize - before.count_ones() as usize;
        match (before == 0, after == 0) {
            (true, false) => drop(self.groups.insert(group)),
            (false, true) => drop(self.groups.remove(&group)),
            _ => {}
        }
    }
}

/// Dirty blocks by number.
#[derive(Debug, Default)]
pub(super) struct HeldBlocks {
    groups: BTreeMap<u64, Group>,
    held: usize,
    /// Those that neither a pixel writer nor a settlement has.
    unplaced: Census,
    /// Those that neither the log nor a posted settlement has.
    volatile: Census,
    /// Those that a settlement was posted for, by group; some may have changed since.
    settling: HashMap<Ticket, Vec<(u64, u64)>>,
}

impl HeldBlocks {
    pub fn len(&self) -> usize {
        self.held
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    pub fn get(&self, number: u64) -> Option<&DirtyBlock> {
        let (group, bit) = place_of(number);
        self.groups.get(&group)?.get(bit)
    }

    pub fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    pub fn range(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &DirtyBlock)> {
        let groups = self.groups.range(range.start / GROUP_BLOCKS..range.end.div_ceil(GROUP_BLOCKS).max(range.start / GROUP_BLOCKS));
        let blocks = groups.flat_map(|(number, group)| numbers_of(*number, group.held).zip(&group.blocks));
        blocks.filter(move |(number, _)| range.contains(number))
    }

    pub fn values(&self) -> impl Iterator<Item = &DirtyBlock> {
        self.groups.values().flat_map(|group| &group.blocks)
    }

    /// How many neither a pixel writer nor a settlement has.
    pub fn unplaced(&self) -> usize {
        self.unplaced.blocks
    }

    /// How many neither the log nor a posted settlement has.
    pub fn volatile(&self) -> usize {
        self.volatile.blocks
    }

    /// The first `max` that nobody has.
    pub fn first_unplaced(&self, max: usize) -> Vec<u64> {
        let groups = self.unplaced.groups.iter().filter_map(|number| Some((*number, self.groups.get(number)?.unplaced)));
        groups.flat_map(|(number, set)| numbers_of(number, set)).take(max).collect()
    }

    /// Those from `first` on that neither the log nor a posted settlement has, in order.
    pub fn volatile_from(&self, first: u64) -> impl Iterator<Item = (u64, &DirtyBlock)> {
        let numbers = self.volatile.groups.range(first / GROUP_BLOCKS..);
        let groups = numbers.filter_map(|number| Some((*number, self.groups.get(number)?)));
        let blocks = groups.flat_map(|(number, group)| {
            let numbers = numbers_of(number, group.volatile);
            numbers.filter_map(|number| Some((number, group.get(place_of(number).1)?)))
        });
        blocks.filter(move |(number, _)| *number >= first)
    }

    /// Those of which `wanted` says yes.
    pub fn numbers(&self, wanted: impl Fn(&DirtyBlock) -> bool) -> Vec<u64> {
        self.range(0..u64::MAX).filter(|(_, dirty)| wanted(dirty)).map(|(number, _)| number).collect()
    }

    pub fn insert(&mut self, number: u64, dirty: DirtyBlock) {
        let (group, bit) = place_of(number);
        if let Some(ticket) = dirty.settling {
            self.is_settling(ticket, group, bit);
        }
        self.change(group, |blocks| blocks.insert(bit, dirty));
    }

    /// Changes a block that is held.
    pub fn edit<T>(&mut self, number: u64, change: impl FnOnce(&mut DirtyBlock) -> T) -> Option<T> {
        let (group, bit) = place_of(number);
        self.groups.get(&group)?.get(bit)?;
        let (outcome, settling) = self.change(group, |blocks| {
            let dirty = blocks.get_mut(bit)?;
            let before = dirty.settling;
            let outcome = change(dirty);
            let settling = dirty.settling.filter(|_| dirty.settling != before);
            let (unplaced, volatile) = (dirty.is_unplaced(), dirty.is_volatile());
            blocks.note(bit, unplaced, volatile);
            Some((outcome, settling))
        })?;
        if let Some(ticket) = settling {
            self.is_settling(ticket, group, bit);
        }
        Some(outcome)
    }

    fn is_settling(&mut self, ticket: Ticket, group: u64, bit: u64) {
        let settling = self.settling.entry(ticket).or_default();
        match settling.last_mut() {
            Some((last, bits)) if *last == group => *bits |= bit,
            _ => settling.push((group, bit)),
        }
    }

    /// Changes a group, and everything that is known of groups with it.
    fn change<T>(&mut self, number: u64, change: impl FnOnce(&mut Group) -> T) -> T {
        let group = self.groups.entry(number).or_default();
        let (held, unplaced, volatile) = (group.held, group.unplaced, group.volatile);
        let outcome = change(group);
        self.held = self.held + group.held.count_ones() as usize - held.count_ones() as usize;
        self.unplaced.changed(number, unplaced, group.unplaced);
        self.volatile.changed(number, volatile, group.volatile);
        if group.held == 0 {
            self.groups.remove(&number);
        }
        outcome
    }

    /// Lets go of all from `first` on and below `end`. Returns how many.
    pub fn cut(&mut self, first: u64, end: u64) -> usize {
        let before = self.held;
        let ((first, from), (last, to)) = (place_of(first), place_of(end));
        let touched: Vec<u64> = self.groups.range(first..).map(|(group, _)| *group).take_while(|group| *group <= last).collect();
        for group in touched {
            let above = if group == first { !(from - 1) } else { u64::MAX };
            let below = if group == last { to - 1 } else { u64::MAX };
            self.change(group, |blocks| blocks.remove(above & below, |_| true));
        }
        before - self.held
    }

    /// Lets go of those that still are what the settlement `ticket` claims. Returns how many.
    pub fn let_go(&mut self, ticket: Ticket) -> usize {
        let before = self.held;
        for (group, bits) in self.settling.remove(&ticket).unwrap_or_default() {
            self.change(group, |blocks| blocks.remove(bits, |dirty| dirty.settling == Some(ticket)));
        }
        before - self.held
    }
}
