//! Walks over rows in key order, both ways, and the nearest row to a key.
//!
//! Owns: [`Range`], [`RangeBack`], the cursor under them. Must be true: RANGE-1 a walk holds the nodes of one path and nothing
//! else; RANGE-2 after an error it is over: go on with a new one from the last key. Fails: with [`NodeError`].

use super::link::{Link, NodeError, NodeSource};
use super::node::{Node, Position};
use super::page::Row;
use super::tree::Tree;
use std::sync::Arc;

impl Tree {
    /// The first row whose key is at or after `key`.
    ///
    /// # Errors
    /// When a node on the way cannot be used.
    pub fn first_at_or_after<S: NodeSource + ?Sized>(&self, source: &S, key: &[u8]) -> Result<Option<Row>, NodeError> {
        Cursor::default().seek_at_or_after(self, source, key)
    }

    /// The last row whose key is before `key`.
    ///
    /// # Errors
    /// When a node on the way cannot be used.
    pub fn last_before<S: NodeSource + ?Sized>(&self, source: &S, key: &[u8]) -> Result<Option<Row>, NodeError> {
        Cursor::default().seek_before(self, source, key)
    }

    /// The rows from `from` (included) up to `to` (excluded; `None` for all), ascending.
    pub fn range<'a, S: NodeSource + ?Sized>(&'a self, source: &'a S, from: &[u8], to: Option<&[u8]>) -> Range<'a, S> {
        Range { tree: self, source, from: Some(from.to_vec()), to: to.map(<[u8]>::to_vec), cursor: Some(Cursor::default()) }
    }

    /// The rows below `to` (excluded) down to `from` (included), descending.
    pub fn range_back<'a, S: NodeSource + ?Sized>(&'a self, source: &'a S, from: &[u8], to: &[u8]) -> RangeBack<'a, S> {
        RangeBack { tree: self, source, from: from.to_vec(), to: Some(to.to_vec()), cursor: Some(Cursor::default()) }
    }
}

/// The path to one row, from the root down.
#[derive(Default)]
struct Cursor {
    path: Vec<(Arc<Node>, Position)>,
}

impl Cursor {
    /// Goes down to the leaf that covers a key; the position there is left to the caller.
    fn descend<S: NodeSource + ?Sized>(&mut self, tree: &Tree, source: &S, key: &[u8]) -> Result<Option<Arc<Node>>, NodeError> {
        self.path.clear();
        let Some(root) = tree.root() else { return Ok(None) };
        let mut node = root.load(source, None)?;
        while let Some(level) = node.level().checked_sub(1) {
            let at = node.covering(key);
            let child = load(node.child(at), source, level)?;
            self.path.push((node, at));
            node = child;
        }
        Ok(Some(node))
    }

    fn seek_at_or_after<S: NodeSource + ?Sized>(&mut self, tree: &Tree, source: &S, key: &[u8]) -> Result<Option<Row>, NodeError> {
        let Some(leaf) = self.descend(tree, source, key)? else { return Ok(None) };
        let (Ok(at) | Err(at)) = leaf.search(key);
        let row = leaf.page(at.page).and_then(|page| Row::new(page, at.slot));
        self.path.push((leaf, at));
        if row.is_some() { Ok(row) } else { self.next(source) }
    }

    fn seek_before<S: NodeSource + ?Sized>(&mut self, tree: &Tree, source: &S, key: &[u8]) -> Result<Option<Row>, NodeError> {
        let Some(leaf) = self.descend(tree, source, key)? else { return Ok(None) };
        let (Ok(at) | Err(at)) = leaf.search(key);
        self.path.push((leaf, at));
        self.previous(source)
    }

    fn next<S: NodeSource + ?Sized>(&mut self, source: &S) -> Result<Option<Row>, NodeError> {
        self.step(source, Node::after, |_| Some(Position { page: 0, slot: 0 }))
    }

    fn previous<S: NodeSource + ?Sized>(&mut self, source: &S) -> Result<Option<Row>, NodeError> {
        self.step(source, Node::before, Node::end)
    }

    /// One row on: up until a node has a further entry, then down along its edge.
    fn step<S: NodeSource + ?Sized>(
        &mut self,
        source: &S,
        beside: impl Fn(&Node, Position) -> Option<Position>,
        edge: impl Fn(&Node) -> Option<Position>,
    ) -> Result<Option<Row>, NodeError> {
        while let Some((node, at)) = self.path.pop() {
            let Some(mut at) = beside(&node, at) else { continue };
            let mut node = node;
            while let Some(level) = node.level().checked_sub(1) {
                let child = load(node.child(at), source, level)?;
                self.path.push((node, at));
                at = edge(&child).unwrap_or(Position { page: 0, slot: 0 });
                node = child;
            }
            let row = node.page(at.page).and_then(|page| Row::new(page, at.slot));
            self.path.push((node, at));
            return Ok(row);
        }
        Ok(None)
    }
}

fn load<S: NodeSource + ?Sized>(child: Option<&Arc<Link>>, source: &S, level: u8) -> Result<Arc<Node>, NodeError> {
    child.ok_or(NodeError::Inconsistent("an inner node without children"))?.load(source, Some(level))
}

/// Ascending rows of a tree, see [`Tree::range`].
pub struct Range<'a, S: ?Sized> {
    tree: &'a Tree,
    source: &'a S,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    cursor: Option<Cursor>,
}

impl<S: NodeSource + ?Sized> Iterator for Range<'_, S> {
    type Item = Result<Row, NodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.cursor.take()?;
        let step = match self.from.take() {
            Some(from) => cursor.seek_at_or_after(self.tree, self.source, &from),
            None => cursor.next(self.source),
        };
        match step.transpose()? {
            Ok(row) if self.to.as_deref().is_some_and(|to| row.key() >= to) => None,
            Ok(row) => {
                self.cursor = Some(cursor);
                Some(Ok(row))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Descending rows of a tree, see [`Tree::range_back`].
pub struct RangeBack<'a, S: ?Sized> {
    tree: &'a Tree,
    source: &'a S,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    cursor: Option<Cursor>,
}

impl<S: NodeSource + ?Sized> Iterator for RangeBack<'_, S> {
    type Item = Result<Row, NodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.cursor.take()?;
        let step = match self.to.take() {
            Some(to) => cursor.seek_before(self.tree, self.source, &to),
            None => cursor.previous(self.source),
        };
        match step.transpose()? {
            Ok(row) if row.key() < self.from.as_slice() => None,
            Ok(row) => {
                self.cursor = Some(cursor);
                Some(Ok(row))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
