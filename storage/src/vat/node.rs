//! A node in memory: one level, one key range, one birth, and up to four pages in key order.
//!
//! Owns: [`Node`]: where a key belongs, splitting and joining of pages, splitting of a node in two.
//! Must be true: NODE-1 keys ascend strictly over all pages; NODE-2 no page is empty, and only a root leaf may have none;
//! NODE-3 in an inner node, a child covers the keys from its own up to the next one; the first key is empty: the lower bound of
//! a node is what its parent says, so a change of it touches no child. Fails: never; a node that is full gives its upper part
//! back.

use super::link::Link;
use super::page::{ENTRY_MAX_BYTES, Page};
use crate::address::Generation;
use crate::limits::{NODE_MAX_PAGES, PAGE_BYTES};
use std::sync::Arc;

/// A page below this joins a neighbour; a node below this tries to merge.
const PAGE_SMALL_BYTES: usize = PAGE_BYTES / 4;
/// Two pages join up to this, so that the next insert does not part them again.
const PAGE_JOIN_BYTES: usize = PAGE_BYTES * 3 / 4;
const NODE_SMALL_BYTES: usize = PAGE_BYTES;
/// Two nodes merge up to this: packed evenly into four pages, every page still takes one more row.
const NODE_MERGE_BYTES: usize = 2 * PAGE_BYTES + PAGE_BYTES * 7 / 8;
/// A full node up to this is packed anew instead of split; then every page has room for any row.
const NODE_REPACK_BYTES: usize = NODE_MAX_PAGES * (PAGE_BYTES - 2 * ENTRY_MAX_BYTES) - NODE_MAX_PAGES;

const _: () = assert!(NODE_MERGE_BYTES / NODE_MAX_PAGES + 1 + ENTRY_MAX_BYTES <= PAGE_BYTES);
const _: () = assert!(NODE_REPACK_BYTES > PAGE_BYTES);

/// A page of a node, and a slot of that page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) page: usize,
    pub(super) slot: usize,
}

/// One entry on its way into a node.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) child: Option<Arc<Link>>,
}

impl Entry<'_> {
    fn cost(&self) -> usize {
        Page::cost(self.key, self.value, self.child.is_some())
    }

    fn put(self, page: &mut Page, slot: usize) {
        let fits = page.insert(slot, self.key, self.value, self.child);
        debug_assert!(fits, "NODE: an entry did not fit a page that was made for it");
    }
}

/// A node: level 0 is a leaf. Its pages are shared by the versions that do not differ in them.
#[derive(Clone)]
pub struct Node {
    level: u8,
    birth: Generation,
    pages: Vec<Arc<Page>>,
}

impl Node {
    pub(super) fn new(level: u8, birth: Generation, pages: Vec<Arc<Page>>) -> Self {
        Self { level, birth, pages }
    }

    /// A node with a single page of these entries, which must fit.
    pub(super) fn of(level: u8, birth: Generation, entries: impl IntoIterator<Item = (Vec<u8>, Arc<Link>)>) -> Self {
        let mut page = Page::new();
        for (slot, (key, child)) in entries.into_iter().enumerate() {
            Entry { key: &key, value: &[], child: Some(child) }.put(&mut page, slot);
        }
        Self::new(level, birth, vec![Arc::new(page)])
    }

    /// The next version of this node: same pages, another birth.
    pub(super) fn reborn(&self, birth: Generation) -> Self {
        Self { level: self.level, birth, pages: self.pages.clone() }
    }

    /// 0 for a leaf, below `TREE_MAX_LEVELS`.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The generation in which this version came to be.
    #[must_use]
    pub fn birth(&self) -> Generation {
        self.birth
    }

    /// Rows of a leaf, children of an inner node.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.pages.iter().map(|page| page.count()).sum()
    }

    /// The links to the children, in key order; none in a leaf.
    pub fn children(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.pages.iter().flat_map(|page| page.children().iter())
    }

    /// The rows of a leaf, or the separators of an inner node (with empty values), in key order.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pages.iter().flat_map(|page| (0..page.count()).map(|slot| (page.key(slot), page.value(slot))))
    }

    /// Bytes of memory that this node keeps.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let children: usize = self.pages.iter().map(|page| page.children().len()).sum();
        size_of::<Self>() + self.pages.len() * (size_of::<Page>() + 24) + children * (size_of::<Link>() + 24)
    }

    pub(super) fn page_count(&self) -> u32 {
        self.pages.len() as u32
    }

    pub(super) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    pub(super) fn page(&self, page: usize) -> Option<&Arc<Page>> {
        self.pages.get(page)
    }

    /// A page for an edit: itself when nobody else has it, else a copy.
    pub(super) fn page_mut(&mut self, page: usize) -> Option<&mut Page> {
        self.pages.get_mut(page).map(Arc::make_mut)
    }

    pub(super) fn used(&self) -> usize {
        self.pages.iter().map(|page| page.used()).sum()
    }

    pub(super) fn is_small(&self) -> bool {
        self.used() < NODE_SMALL_BYTES
    }

    pub(super) fn is_full(&self) -> bool {
        self.pages.len() >= NODE_MAX_PAGES
    }

    pub(super) fn first_key(&self) -> Option<&[u8]> {
        self.pages.first()?.first_key()
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.pages.last()?.last_key()
    }

    /// The page whose keys begin last at or before this key; the first if all begin behind it.
    fn page_of(&self, key: &[u8]) -> usize {
        let begins = |page: &&Arc<Page>| page.first_key().is_some_and(|first| first <= key);
        self.pages.iter().skip(1).take_while(begins).count()
    }

    /// Where this key is, or where it belongs.
    pub(super) fn search(&self, key: &[u8]) -> Result<Position, Position> {
        let page = self.page_of(key);
        match self.pages.get(page).map_or(Err(0), |found| found.search(key)) {
            Ok(slot) => Ok(Position { page, slot }),
            Err(slot) => Err(Position { page, slot }),
        }
    }

    /// The child that covers this key.
    pub(super) fn covering(&self, key: &[u8]) -> Position {
        let page = self.page_of(key);
        let slot = match self.pages.get(page).map_or(Err(0), |found| found.search(key)) {
            Ok(slot) => slot,
            Err(slot) => slot.saturating_sub(1),
        };
        Position { page, slot }
    }

    pub(super) fn child(&self, at: Position) -> Option<&Arc<Link>> {
        self.pages.get(at.page)?.child(at.slot)
    }

    pub(super) fn child_mut(&mut self, at: Position) -> Option<&mut Arc<Link>> {
        self.page_mut(at.page)?.child_mut(at.slot)
    }

    /// The entry behind a position.
    pub(super) fn after(&self, at: Position) -> Option<Position> {
        let next = Position { page: at.page, slot: at.slot + 1 };
        if next.slot < self.pages.get(at.page)?.count() {
            return Some(next);
        }
        self.pages.get(at.page + 1).map(|_| Position { page: at.page + 1, slot: 0 })
    }

    /// The entry before a position.
    pub(super) fn before(&self, at: Position) -> Option<Position> {
        if let Some(slot) = at.slot.checked_sub(1) {
            return Some(Position { page: at.page, slot });
        }
        let page = at.page.checked_sub(1)?;
        Some(Position { page, slot: self.pages.get(page)?.count().checked_sub(1)? })
    }

    /// The last entry.
    pub(super) fn end(&self) -> Option<Position> {
        self.before(Position { page: self.pages.len(), slot: 0 })
    }

    /// Puts an entry at its position. Gives the upper part back as a node of its own when this one was full.
    pub(super) fn insert(&mut self, at: Position, entry: Entry<'_>) -> Option<Self> {
        let cost = entry.cost();
        if let Some(page) = self.pages.get_mut(at.page).filter(|page| page.room() >= cost) {
            entry.put(Arc::make_mut(page), at.slot);
            return None;
        }
        if !self.is_full() {
            self.insert_into_new_page(at, entry);
            return None;
        }
        if self.used() <= NODE_REPACK_BYTES {
            self.pages = packed(self.used(), self.all_entries());
            let (Ok(at) | Err(at)) = self.search(entry.key);
            if let Some(page) = self.page_mut(at.page) {
                entry.put(page, at.slot);
            }
            return None;
        }
        Some(self.split(at, entry))
    }

    /// Divides the page of the position, or opens one behind it for a run of ascending keys, which leaves it full.
    fn insert_into_new_page(&mut self, at: Position, entry: Entry<'_>) {
        let Some(page) = self.pages.get_mut(at.page).filter(|page| at.slot < page.count()) else {
            let mut page = Page::new();
            entry.put(&mut page, 0);
            self.pages.insert((at.page + 1).min(self.pages.len()), Arc::new(page));
            return;
        };
        let left = Arc::make_mut(page);
        let middle = left.middle();
        let mut right = left.split_off(middle);
        match at.slot.checked_sub(middle) {
            Some(slot) if slot > 0 || right.room() > left.room() => entry.put(&mut right, slot),
            _ => entry.put(left, at.slot),
        }
        self.pages.insert(at.page + 1, Arc::new(right));
    }

    /// Splits a full node: behind the run of ascending keys that the entry continues, else in the middle.
    fn split(&mut self, at: Position, entry: Entry<'_>) -> Self {
        let continues = self.pages.get(at.page).is_some_and(|page| at.slot == page.count());
        let cut = if continues { at.page + 1 } else { self.pages.len() / 2 };
        let mut right = Self::new(self.level, self.birth, self.pages.split_off(cut));
        if continues {
            let mut page = Page::new();
            entry.put(&mut page, 0);
            right.pages.insert(0, Arc::new(page));
        } else if let Some(page) = at.page.checked_sub(cut) {
            right.insert_into_new_page(Position { page, slot: at.slot }, entry);
        } else {
            self.insert_into_new_page(at, entry);
        }
        right
    }

    /// Takes a row out and joins what has become small.
    pub(super) fn remove(&mut self, at: Position) -> Option<Arc<Link>> {
        let page = self.page_mut(at.page)?;
        let child = page.remove(at.slot);
        let used = page.used();
        if used == 0 {
            self.pages.remove(at.page);
        } else if used < PAGE_SMALL_BYTES {
            let joins = |other: usize| self.pages.get(other).is_some_and(|page| page.used() + used <= PAGE_JOIN_BYTES);
            match at.page.checked_sub(1).filter(|&left| joins(left)) {
                Some(left) => self.join(left),
                None if joins(at.page + 1) => self.join(at.page),
                None => {}
            }
        }
        child
    }

    /// Appends the page behind `left` to it. The caller has made sure that it fits.
    fn join(&mut self, left: usize) {
        let right = self.pages.remove(left + 1);
        if let Some(left) = self.page_mut(left) {
            let moved = left.append(&right, 0, right.count());
            debug_assert_eq!(moved, right.count());
        }
    }

    /// Takes a child out; what it covered goes to the child before it, or, for the first, to the one behind (NODE-3).
    pub(super) fn remove_child(&mut self, at: Position) -> Option<Arc<Link>> {
        if self.before(at).is_some() {
            return self.remove(at);
        }
        let Some(next) = self.after(at) else { return self.remove(at) };
        let heir = self.child(next).cloned()?;
        let child = std::mem::replace(self.child_mut(at)?, heir);
        self.remove(next);
        Some(child)
    }

    fn all_entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.pages.iter().flat_map(|page| {
            (0..page.count()).map(|slot| Entry { key: page.key(slot), value: page.value(slot), child: page.child(slot).cloned() })
        })
    }

    /// The pages of this node and its right sibling as one node's, if they are few enough. `separator` is the parent's key of
    /// the sibling.
    pub(super) fn merged_pages(&self, separator: &[u8], right: &Self) -> Option<Vec<Arc<Page>>> {
        let used = self.used() + right.used() + if self.level > 0 { separator.len() } else { 0 };
        if used > NODE_MERGE_BYTES || self.level != right.level {
            return None;
        }
        if self.level == 0 && self.pages.len() + right.pages.len() <= NODE_MAX_PAGES {
            return Some(self.pages.iter().chain(&right.pages).cloned().collect());
        }
        let mut upper = right.all_entries();
        let first = upper.next().map(|entry| if self.level > 0 { Entry { key: separator, ..entry } } else { entry });
        Some(packed(used, self.all_entries().chain(first).chain(upper)))
    }

    pub(super) fn set_pages(&mut self, pages: Vec<Arc<Page>>) {
        self.pages = pages;
    }

    /// The key that divides this node from its new right sibling; the first key of an inner sibling is made empty (NODE-3).
    pub(super) fn separator(&self, right: &mut Self) -> Vec<u8> {
        let first = right.first_key().unwrap_or_default().to_vec();
        if self.level > 0 {
            let page = right.page_mut(0).map(|page| (page.remove(0), page));
            if let Some((child, page)) = page {
                Entry { key: &[], value: &[], child }.put(page, 0);
            }
            return first;
        }
        let last = self.last_key().unwrap_or_default();
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        first.into_iter().take(common + 1).collect()
    }
}

/// Entries that take `used` bytes, at most `NODE_MERGE_BYTES`, on at most four pages, evenly filled: then every one fits.
fn packed<'a>(used: usize, entries: impl Iterator<Item = Entry<'a>>) -> Vec<Arc<Page>> {
    let target = used / NODE_MAX_PAGES + 1;
    let (mut full, mut page) = (Vec::with_capacity(NODE_MAX_PAGES), Page::new());
    for entry in entries {
        if page.used() >= target {
            full.push(Arc::new(std::mem::replace(&mut page, Page::new())));
        }
        let slot = page.count();
        entry.put(&mut page, slot);
    }
    if page.count() > 0 {
        full.push(Arc::new(page));
    }
    full
}
