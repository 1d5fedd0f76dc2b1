//! A page of a node: 4 KiB of slots and rows, searched in place; and the row that a reader holds.
//!
//! Owns: [`Page`], [`Row`]. Slots grow from the front, in key order: offset u16, and the head, the four bytes of the key behind
//! the prefix that all keys of the page share (big-endian, zero-filled), so that a search touches few rows: a cache line each.
//! Rows grow from the back: key length and value length (u16 each), key, value. In a page of an inner node the values are empty and the child links stand beside the
//! bytes, in slot order; each is charged with the bytes of its pointer on disk, so that a node always fits its clusters.
//! Must be true: PAGE-1 keys ascend strictly; PAGE-2 `used() <= PAGE_BYTES`; PAGE-4 all keys but an
//! empty first one begin with the same `prefix` bytes; PAGE-3 offsets come from this file alone, never
//! from outside. Fails: an insert that does not fit is refused, and nothing changes.
#![expect(clippy::indexing_slicing, reason = "PAGE-3: offsets and lengths are written here alone, within PAGE_BYTES")]

use super::children::Children;
use super::link::{Link, NodePtr};
use crate::limits::{PAGE_BYTES, ROW_MAX_BYTES};
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

const SLOT_BYTES: usize = OFFSET_BYTES + 4;
const OFFSET_BYTES: usize = 2;
const LENGTHS_BYTES: usize = 4;

/// Bytes that one entry takes of a page at most.
pub(super) const ENTRY_MAX_BYTES: usize = SLOT_BYTES + LENGTHS_BYTES + ROW_MAX_BYTES + NodePtr::ENCODED_BYTES;

#[derive(Clone)]
pub(super) struct Page {
    count: u16,
    /// Where the rows begin; behind the last slot.
    heap: u16,
    /// Bytes of removed rows among the rows.
    dead: u16,
    /// Bytes that all keys have in common, or fewer.
    prefix: u16,
    children: Children,
    bytes: [u8; PAGE_BYTES],
}

impl Page {
    pub(super) fn new() -> Self {
        Self { count: 0, heap: PAGE_BYTES as u16, dead: 0, prefix: 0, children: Children::default(), bytes: [0; PAGE_BYTES] }
    }

    /// Bytes that an entry takes of a page.
    pub(super) fn cost(key: &[u8], value: &[u8], inner: bool) -> usize {
        SLOT_BYTES + LENGTHS_BYTES + key.len() + value.len() + if inner { NodePtr::ENCODED_BYTES } else { 0 }
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes taken by entries, 0..=`PAGE_BYTES`.
    pub(super) fn used(&self) -> usize {
        let rows = PAGE_BYTES - usize::from(self.heap) - usize::from(self.dead);
        rows + self.count() * SLOT_BYTES + self.children.len() * NodePtr::ENCODED_BYTES
    }

    /// Bytes that are left for entries.
    pub(super) fn room(&self) -> usize {
        PAGE_BYTES - self.used()
    }

    fn u16_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    fn set_u16(&mut self, at: usize, to: usize) {
        self.bytes[at..at + 2].copy_from_slice(&(to as u16).to_le_bytes());
    }

    /// Start of the row of a slot, and the lengths of its key and value.
    fn row_at(&self, slot: usize) -> (usize, usize, usize) {
        assert!(slot < self.count(), "slot of another page");
        let start = self.u16_at(slot * SLOT_BYTES);
        (start, self.u16_at(start), self.u16_at(start + 2))
    }

    pub(super) fn key(&self, slot: usize) -> &[u8] {
        let (start, key, _) = self.row_at(slot);
        &self.bytes[start + LENGTHS_BYTES..][..key]
    }

    pub(super) fn value(&self, slot: usize) -> &[u8] {
        let (start, key, value) = self.row_at(slot);
        &self.bytes[start + LENGTHS_BYTES + key..][..value]
    }

    pub(super) fn first_key(&self) -> Option<&[u8]> {
        (self.count > 0).then(|| self.key(0))
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.count().checked_sub(1).map(|last| self.key(last))
    }

    /// The child links in slot order; none in a page of a leaf.
    pub(super) fn children(&self) -> &Children {
        &self.children
    }

    pub(super) fn child(&self, slot: usize) -> Option<&Arc<Link>> {
        self.children.get(slot)
    }

    pub(super) fn child_mut(&mut self, slot: usize) -> Option<&mut Arc<Link>> {
        self.children.get_mut(slot)
    }

    /// The slot of a key, or the slot where it belongs.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let first = self.first_full();
        if key.is_empty() {
            return if first > 0 { Ok(0) } else { Err(0) };
        }
        if first == self.count() {
            return Err(first);
        }
        let shared = self.shared(first);
        let prefix = shared.len();
        match key[..prefix.min(key.len())].cmp(shared) {
            Ordering::Less => return Err(first),
            Ordering::Greater => return Err(self.count()),
            Ordering::Equal => {}
        }
        let head = head(&key[prefix..]);
        let (mut low, mut high) = (first, self.count());
        while low < high {
            let middle = low.midpoint(high);
            match self.head_at(middle).cmp(&head).then_with(|| self.key(middle).cmp(key)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The first slot whose key is not empty: 0 or 1.
    fn first_full(&self) -> usize {
        usize::from(self.count > 0 && self.key(0).is_empty())
    }

    /// The prefix, as the key of the first full slot has it.
    fn shared(&self, first: usize) -> &[u8] {
        let key = self.key(first);
        &key[..usize::from(self.prefix).min(key.len())]
    }

    fn head_at(&self, slot: usize) -> u32 {
        let at = slot * SLOT_BYTES + OFFSET_BYTES;
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    /// Takes the longest prefix that the keys, one more included, have in common with each other and the present prefix.
    fn shorten_prefix(&mut self, key: &[u8]) {
        let first = self.first_full();
        if key.is_empty() {
            return;
        }
        if first == self.count() {
            self.prefix = key.len() as u16;
            return;
        }
        let shared = self.shared(first);
        let common = shared.iter().zip(key).take_while(|(a, b)| a == b).count();
        if common < shared.len() {
            self.set_prefix(common);
        }
    }

    /// Makes the prefix as long as it can be. Looks at every key: a hostile tree has pages that are not in order.
    fn tighten_prefix(&mut self) {
        let first = self.first_full();
        if first < self.count() {
            let common = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
            let all = (first..self.count()).map(|slot| common(self.key(first), self.key(slot)));
            let shortest = all.min().unwrap_or(0);
            self.set_prefix(shortest);
        }
    }

    fn set_prefix(&mut self, bytes: usize) {
        self.prefix = bytes as u16;
        for slot in self.first_full()..self.count() {
            let head = self.key(slot).get(bytes..).map_or(0, head);
            self.set_head(slot, head);
        }
    }

    fn set_head(&mut self, slot: usize, head: u32) {
        self.bytes[slot * SLOT_BYTES + OFFSET_BYTES..][..4].copy_from_slice(&head.to_be_bytes());
    }

    /// Puts an entry at a slot. False, and nothing changes, when it does not fit.
    pub(super) fn insert(&mut self, slot: usize, key: &[u8], value: &[u8], child: Option<Arc<Link>>) -> bool {
        if slot > self.count() || self.room() < Self::cost(key, value, child.is_some()) {
            return false;
        }
        let row = LENGTHS_BYTES + key.len() + value.len();
        if usize::from(self.heap) < (self.count() + 1) * SLOT_BYTES + row {
            self.compact();
        }
        self.shorten_prefix(key);
        let start = self.append_row(key, value);
        let end = self.count() * SLOT_BYTES;
        self.bytes.copy_within(slot * SLOT_BYTES..end, (slot + 1) * SLOT_BYTES);
        self.set_u16(slot * SLOT_BYTES, start);
        self.set_head(slot, key.get(usize::from(self.prefix)..).map_or(0, head));
        self.count += 1;
        if let Some(link) = child {
            self.children.insert(slot, link);
        }
        true
    }

    /// Writes a row in front of the others. The caller has made sure of the room.
    fn append_row(&mut self, key: &[u8], value: &[u8]) -> usize {
        let start = usize::from(self.heap) - (LENGTHS_BYTES + key.len() + value.len());
        self.set_u16(start, key.len());
        self.set_u16(start + 2, value.len());
        let body = start + LENGTHS_BYTES;
        self.bytes[body..body + key.len()].copy_from_slice(key);
        self.bytes[body + key.len()..body + key.len() + value.len()].copy_from_slice(value);
        self.heap = start as u16;
        start
    }

    /// Gives an entry another value. False, and nothing changes, when it does not fit.
    pub(super) fn replace(&mut self, slot: usize, value: &[u8]) -> bool {
        let (start, key_len, old_len) = self.row_at(slot);
        if value.len() <= old_len {
            let body = start + LENGTHS_BYTES + key_len;
            self.bytes[body..body + value.len()].copy_from_slice(value);
            self.set_u16(start + 2, value.len());
            self.dead += (old_len - value.len()) as u16;
            return true;
        }
        if self.room() < value.len() - old_len {
            return false;
        }
        let key = self.key(slot).to_vec();
        self.remove(slot);
        self.insert(slot, &key, value, None)
    }

    /// Takes an entry out, with its child link if it has one.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Arc<Link>> {
        let (start, key, value) = self.row_at(slot);
        let row = LENGTHS_BYTES + key + value;
        if start == usize::from(self.heap) {
            self.heap += row as u16;
        } else {
            self.dead += row as u16;
        }
        let end = self.count() * SLOT_BYTES;
        self.bytes.copy_within((slot + 1) * SLOT_BYTES..end, slot * SLOT_BYTES);
        self.count -= 1;
        if self.count == 0 {
            (self.heap, self.dead) = (PAGE_BYTES as u16, 0);
        }
        self.children.remove(slot)
    }

    /// Appends entries `from..to` of another page; all of them, or those up to the first that does not fit. How many.
    pub(super) fn append(&mut self, other: &Self, from: usize, to: usize) -> usize {
        (from..to).take_while(|&slot| self.insert(self.count(), other.key(slot), other.value(slot), other.child(slot).cloned())).count()
    }

    /// Moves the entries from a slot on into a new page.
    pub(super) fn split_off(&mut self, slot: usize) -> Self {
        let mut right = Self::new();
        right.append(self, slot, self.count());
        while self.count() > slot {
            self.remove(self.count() - 1);
        }
        self.compact();
        self.tighten_prefix();
        right
    }

    /// The slot that divides the bytes most evenly, 1..count; the page has two entries or more.
    pub(super) fn middle(&self) -> usize {
        let inner = self.children.len() > 0;
        let (half, mut left) = (self.used() / 2, 0);
        for slot in 0..self.count() {
            let cost = Self::cost(self.key(slot), self.value(slot), inner);
            if left + cost / 2 >= half {
                return slot.clamp(1, self.count().saturating_sub(1).max(1));
            }
            left += cost;
        }
        self.count().saturating_sub(1).max(1)
    }

    /// Closes the gaps that removed rows left.
    fn compact(&mut self) {
        if self.dead == 0 {
            return;
        }
        let old = self.bytes;
        (self.heap, self.dead) = (PAGE_BYTES as u16, 0);
        for slot in 0..self.count() {
            let start = self.u16_at(slot * SLOT_BYTES);
            let length = |at: usize| usize::from(u16::from_le_bytes([old[at], old[at + 1]]));
            let row = LENGTHS_BYTES + length(start) + length(start + 2);
            let to = usize::from(self.heap) - row;
            self.bytes[to..to + row].copy_from_slice(&old[start..start + row]);
            self.set_u16(slot * SLOT_BYTES, to);
            self.heap = to as u16;
        }
    }
}

/// The first four bytes as a number that orders as they do; equal heads decide nothing.
fn head(rest: &[u8]) -> u32 {
    let byte = |at: usize| rest.get(at).copied().unwrap_or(0);
    rest.first_chunk().map_or_else(|| u32::from_be_bytes([byte(0), byte(1), byte(2), byte(3)]), |head| u32::from_be_bytes(*head))
}

/// One row of a tree, held by its page: it stays as it is for as long as it is held. Derefs to the value.
///
/// A held row keeps its page from being edited in place: hold it briefly.
#[derive(Clone)]
pub struct Row {
    page: Arc<Page>,
    slot: u16,
}

impl Row {
    /// The row of a slot; `None` when the page has no such slot.
    pub(super) fn new(page: &Arc<Page>, slot: usize) -> Option<Self> {
        (slot < page.count()).then(|| Self { page: Arc::clone(page), slot: slot as u16 })
    }

    /// The key, 0..=`ROW_MAX_BYTES` bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.page.key(usize::from(self.slot))
    }

    /// The value, 0..=`ROW_MAX_BYTES` bytes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.page.value(usize::from(self.slot))
    }
}

impl Deref for Row {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.value()
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("key", &self.key()).field("value", &self.value()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Keys with long shared prefixes, zero bytes, and now and then none.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        (0usize..3, prop::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..9))
            .prop_map(|(prefix, rest)| [vec![7; prefix * 6], rest].concat())
    }

    proptest! {
        #[test]
        fn a_page_is_a_sorted_map_that_never_overflows(
            ops in prop::collection::vec((key(), 0usize..600, 0u8..3), 1..300)
        ) {
            let (mut page, mut model) = (Page::new(), BTreeMap::new());
            for (key, length, what) in ops {
                let value = vec![length as u8; length];
                match (page.search(&key), what) {
                    (Ok(slot), 0) => {
                        page.remove(slot);
                        model.remove(&key);
                    }
                    (Ok(slot), _) => if page.replace(slot, &value) { model.insert(key, value); },
                    (Err(slot), _) => if page.insert(slot, &key, &value, None) { model.insert(key, value); },
                }
                let used: usize = model.iter().map(|(k, v)| Page::cost(k, v, false)).sum();
                prop_assert_eq!(page.used(), used);
                for key in model.keys() {
                    prop_assert!(page.search(key).is_ok());
                }
                let rows: Vec<_> = (0..page.count()).map(|s| (page.key(s).to_vec(), page.value(s).to_vec())).collect();
                prop_assert_eq!(rows, model.clone().into_iter().collect::<Vec<_>>());
            }
            if page.count() > 1 {
                let (middle, all) = (page.middle(), page.used());
                let right = page.split_off(middle);
                prop_assert_eq!(page.used() + right.used(), all);
                prop_assert!(page.used().max(right.used()) <= all / 2 + ENTRY_MAX_BYTES / 2 + 1);
            }
        }
    }
}
