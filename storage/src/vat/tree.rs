//! The tree: reading, changing, cloning, and what a checkpoint has to write.
//!
//! Owns: [`Tree`]. A clone is one more reference to the root: a published tree, a lease, the tree that a checkpoint writes, or
//! the way back from a change that failed. Must be true: TREE-1 a change walks down and makes every node on its way its own:
//! in place when nobody else reaches it and it is dirty and of this birth, else as a new version; TREE-2 the birth given to a
//! change is above that of every tree frozen for a checkpoint; TREE-3 recursion follows levels that fall by one (VAT-4).
//! Fails: with [`NodeError`], contents unchanged; what `Released` holds is right for the tree as it is then.
//!
//! Ascending keys leave full nodes behind: a node splits where the run goes on, not in the middle.

use super::link::{DirtyGauge, Link, NodeError, NodePtr, NodeSource, Released};
use super::node::{Entry, Node, Position};
use super::page::{Page, Row};
use crate::address::Generation;
use crate::limits::{ROW_MAX_BYTES, TREE_MAX_LEVELS};
use std::sync::Arc;

/// A copy-on-write B-tree of byte keys and values, key and value together up to `ROW_MAX_BYTES`.
#[derive(Clone)]
pub struct Tree {
    root: Option<Arc<Link>>,
    gauge: Arc<DirtyGauge>,
}

impl Tree {
    /// A tree without rows; `gauge` counts what becomes dirty.
    #[must_use]
    pub fn empty(gauge: Arc<DirtyGauge>) -> Self {
        Self { root: None, gauge }
    }

    /// The tree that a root names; nothing is read. `None` is the empty tree.
    #[must_use]
    pub fn open(root: Option<NodePtr>, gauge: Arc<DirtyGauge>) -> Self {
        Self { root: root.map(Link::placed), gauge }
    }

    /// True when there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The link to the root node; `None` when empty. Its `ptr` is what a root record names once the tree is written.
    #[must_use]
    pub fn root(&self) -> Option<&Arc<Link>> {
        self.root.as_ref()
    }

    /// True when both are the same version.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.root.as_ref().map(Arc::as_ptr) == other.root.as_ref().map(Arc::as_ptr)
    }

    /// Levels, 0..=`TREE_MAX_LEVELS`.
    ///
    /// # Errors
    /// When the root node cannot be used.
    pub fn height<S: NodeSource + ?Sized>(&self, source: &S) -> Result<u8, NodeError> {
        self.root.as_ref().map_or(Ok(0), |root| Ok(root.load(source, None)?.level() + 1))
    }

    /// The row of a key.
    ///
    /// # Errors
    /// When a node on the way cannot be used.
    pub fn get<S: NodeSource + ?Sized>(&self, source: &S, key: &[u8]) -> Result<Option<Row>, NodeError> {
        let Some(root) = &self.root else { return Ok(None) };
        let mut node = root.load(source, None)?;
        while let Some(level) = node.level().checked_sub(1) {
            let child = node.child(node.covering(key)).ok_or(NO_CHILD)?;
            node = child.load(source, Some(level))?;
        }
        let found = node.search(key).ok();
        Ok(found.and_then(|at| Row::new(node.page(at.page)?, at.slot)))
    }

    /// Where a key is: the position in the node of each level on the way, by level.
    fn find<S: NodeSource + ?Sized>(&self, source: &S, key: &[u8]) -> Result<Option<Path>, NodeError> {
        let Some(root) = &self.root else { return Ok(None) };
        let mut path = [Position { page: 0, slot: 0 }; TREE_MAX_LEVELS as usize];
        let mut node = root.load(source, None)?;
        while let Some(below) = node.level().checked_sub(1) {
            let at = node.covering(key);
            *path.get_mut(usize::from(node.level())).ok_or(NodeError::TooDeep)? = at;
            node = node.child(at).ok_or(NO_CHILD)?.load(source, Some(below))?;
        }
        let Ok(at) = node.search(key) else { return Ok(None) };
        *path.first_mut().ok_or(NodeError::TooDeep)? = at;
        Ok(Some(path))
    }

    /// The stored nodes from the root to the leaf of a key, to hold them in a [`super::Pinned`] before trying again.
    ///
    /// # Errors
    /// When a node on the way cannot be used.
    pub fn path<S: NodeSource + ?Sized>(&self, source: &S, key: &[u8]) -> Result<Vec<(NodePtr, Arc<Node>)>, NodeError> {
        let mut path = Vec::new();
        let Some(mut link) = self.root.clone() else { return Ok(path) };
        let mut level = None;
        loop {
            let node = link.load(source, level)?;
            path.extend(link.ptr().map(|ptr| (ptr, Arc::clone(&node))));
            level = node.level().checked_sub(1);
            if level.is_none() {
                return Ok(path);
            }
            link = Arc::clone(node.child(node.covering(key)).ok_or(NO_CHILD)?);
        }
    }

    /// Puts a row; gives the value back that it replaces. `birth` is the current generation (TREE-2).
    ///
    /// # Errors
    /// `RowTooLong`, `TooDeep`, or when a node on the way cannot be used. The contents are then unchanged.
    pub fn put<S: NodeSource + ?Sized>(
        &mut self,
        source: &S,
        birth: Generation,
        key: &[u8],
        value: &[u8],
        released: &mut Released,
    ) -> Result<Option<Vec<u8>>, NodeError> {
        let bytes = key.len().saturating_add(value.len());
        if bytes > ROW_MAX_BYTES {
            return Err(NodeError::RowTooLong { bytes });
        }
        let gauge = Arc::clone(&self.gauge);
        let Some(root) = &mut self.root else {
            let mut page = Page::new();
            page.insert(0, key, value, None);
            self.root = Some(Link::dirty(Node::new(0, birth, vec![Arc::new(page)]), &gauge));
            return Ok(None);
        };
        let mut change = Change { source, birth, gauge: &gauge, released };
        let node = change.writable(root, None)?;
        let level = node.level() + 1;
        if level >= TREE_MAX_LEVELS && node.is_full() {
            return Err(NodeError::TooDeep);
        }
        let (old, split) = change.put(root, None, key, value)?;
        if let Some(right) = split {
            let left = (Vec::new(), Arc::clone(root));
            self.root = Some(Link::dirty(Node::of(level, birth, [left, right]), &gauge));
        }
        Ok(old)
    }

    /// Takes a row out; gives its value back. A key that is not there changes nothing.
    ///
    /// # Errors
    /// When a node on the way cannot be used. The contents are then unchanged.
    pub fn remove<S: NodeSource + ?Sized>(
        &mut self,
        source: &S,
        birth: Generation,
        key: &[u8],
        released: &mut Released,
    ) -> Result<Option<Vec<u8>>, NodeError> {
        // Looked for first: a key that is not there must not make nodes dirty.
        let Some(path) = self.find(source, key)? else { return Ok(None) };
        let gauge = Arc::clone(&self.gauge);
        let Some(root) = &mut self.root else { return Ok(None) };
        let old = Change { source, birth, gauge: &gauge, released }.remove(root, None, &path)?;
        self.collapse(birth);
        Ok(old)
    }

    /// Drops a root without rows, and roots with a single child. They are of this birth and dirty: nothing is released.
    fn collapse(&mut self, birth: Generation) {
        while let Some(node) = self.root.as_mut().and_then(|root| root.editable(birth)) {
            if node.page_count() == 0 {
                self.root = None;
            } else if node.level() > 0 && node.entries() == 1 {
                let child = node.children().next().cloned();
                self.root = child;
            } else {
                return;
            }
        }
    }

    /// The dirty nodes of this tree, children before parents, the root last: what a checkpoint writes, in this order.
    /// Call it on a frozen clone.
    #[must_use]
    pub fn dirty_links(&self) -> Vec<Arc<Link>> {
        let (mut found, mut todo) = (Vec::new(), Vec::new());
        todo.extend(self.root.clone());
        while let Some(link) = todo.pop() {
            if link.ptr().is_none() {
                if let Some(node) = link.held() {
                    todo.extend(node.children().filter(|child| child.ptr().is_none()).cloned());
                }
                found.push(link);
            }
        }
        found.reverse();
        found
    }
}

const NO_CHILD: NodeError = NodeError::Inconsistent("an inner node without children");
const NOT_OURS: NodeError = NodeError::Inconsistent("a new version is shared");

/// The position in the node of each level on the way to a row.
type Path = [Position; TREE_MAX_LEVELS as usize];

/// A row's old value, and the upper part of a node that split, with its separator.
type Put = (Option<Vec<u8>>, Option<(Vec<u8>, Arc<Link>)>);

/// One change on its way down.
struct Change<'a, S: ?Sized> {
    source: &'a S,
    birth: Generation,
    gauge: &'a Arc<DirtyGauge>,
    released: &'a mut Released,
}

impl<S: NodeSource + ?Sized> Change<'_, S> {
    /// The node of a link, as a version that may be edited; the link is replaced when it was not (TREE-1).
    fn writable<'l>(&mut self, link: &'l mut Arc<Link>, level: Option<u8>) -> Result<&'l mut Node, NodeError> {
        if link.editable(self.birth).is_none() {
            let node = link.load(self.source, level)?;
            self.released.superseded(link, node.birth(), self.birth);
            *link = Link::dirty(node.reborn(self.birth), self.gauge);
        }
        link.editable(self.birth).ok_or(NOT_OURS)
    }

    fn put(&mut self, link: &mut Arc<Link>, level: Option<u8>, key: &[u8], value: &[u8]) -> Result<Put, NodeError> {
        let node = self.writable(link, level)?;
        let (old, right) = match node.level().checked_sub(1) {
            None => put_row(node, key, value),
            below => {
                let at = node.covering(key);
                let child = node.child_mut(at).ok_or(NO_CHILD)?;
                let (old, split) = self.put(child, below, key, value)?;
                let next = Position { page: at.page, slot: at.slot + 1 };
                (old, split.and_then(|(key, link)| node.insert(next, Entry { key: &key, value: &[], child: Some(link) })))
            }
        };
        let split = right.map(|mut right| (node.separator(&mut right), Link::dirty(right, self.gauge)));
        let pages = node.page_count();
        link.recharge(pages);
        Ok((old, split))
    }

    fn remove(&mut self, link: &mut Arc<Link>, level: Option<u8>, path: &Path) -> Result<Option<Vec<u8>>, NodeError> {
        let node = self.writable(link, level)?;
        let at = *path.get(usize::from(node.level())).ok_or(NodeError::TooDeep)?;
        let old = match node.level().checked_sub(1) {
            None => remove_row(node, at),
            below => {
                let child = node.child_mut(at).ok_or(NO_CHILD)?;
                let old = self.remove(child, below, path)?;
                self.tend(node, at);
                old
            }
        };
        let pages = node.page_count();
        link.recharge(pages);
        Ok(old)
    }

    /// Drops a child that became empty; merges one that became small with a neighbour, if one is in memory and small enough.
    fn tend(&mut self, parent: &mut Node, at: Position) {
        let Some(child) = parent.child_mut(at).and_then(|link| link.editable(self.birth)) else { return };
        if child.page_count() == 0 {
            parent.remove_child(at);
        } else if child.is_small() {
            let after = parent.after(at).map(|next| (at, next, next));
            let before = parent.before(at).map(|previous| (previous, at, previous));
            let _merged =
                [after, before].into_iter().flatten().any(|(left, right, other)| self.merge(parent, at, left, right, other).is_some());
        }
    }

    /// Joins the child at `at`, which is ours, with its neighbour `other`; they stand at `left` and `right`.
    fn merge(&mut self, parent: &mut Node, at: Position, left: Position, right: Position, other: Position) -> Option<()> {
        let level = parent.level().checked_sub(1)?;
        let (mine, neighbour) = (parent.child(at)?.held()?, parent.child(other)?.resident(self.source, level)?);
        let separator = parent.page(right.page)?.key(right.slot);
        let pages = if at == left { mine.merged_pages(separator, &neighbour) } else { neighbour.merged_pages(separator, &mine) }?;
        drop(mine);
        let count = pages.len() as u32;
        let link = parent.child_mut(at)?;
        link.editable(self.birth)?.set_pages(pages);
        link.recharge(count);
        self.released.superseded(parent.child(other)?, neighbour.birth(), self.birth);
        let merged = parent.child(at).cloned()?;
        *parent.child_mut(left)? = merged;
        parent.remove(right);
        Some(())
    }
}

fn put_row(node: &mut Node, key: &[u8], value: &[u8]) -> (Option<Vec<u8>>, Option<Node>) {
    let entry = Entry { key, value, child: None };
    let at = match node.search(key) {
        Err(at) => return (None, node.insert(at, entry)),
        Ok(at) => at,
    };
    let Some(page) = node.page_mut(at.page) else { return (None, None) };
    let old = page.value(at.slot).to_vec();
    if page.replace(at.slot, value) {
        return (Some(old), None);
    }
    page.remove(at.slot);
    (Some(old), node.insert(at, entry))
}

fn remove_row(node: &mut Node, at: Position) -> Option<Vec<u8>> {
    let old = node.page(at.page)?.value(at.slot).to_vec();
    node.remove(at);
    Some(old)
}
