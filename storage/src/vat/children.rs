//! The child links of a page of an inner node, in slot order, shared piecewise between the versions of the page.
//!
//! Owns: [`Children`]. A change that is published copies every page on its way; a page has up to a hundred links, and to count each up
//! and, with the old version, down again cost more than the copy of the page. So a copy of a page shares its links in chunks, and only
//! the chunk of a child that changes is copied. Must be true: CHI-1 all chunks but the last hold `CHUNK_LINKS`; VAT-1 whoever gets at a link
//! to change it has the chunk to itself, so the link counts each version that reaches it. Fails: never.

use super::link::Link;
use std::sync::Arc;

/// Links of a chunk: of a hundred, a copy counts 13 chunks and 8 links.
const CHUNK_LINKS: usize = 8;

type Chunk = Vec<Arc<Link>>;

#[derive(Clone, Default)]
pub(super) struct Children {
    chunks: Vec<Arc<Chunk>>,
}

impl Children {
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK_LINKS + last.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Arc<Link>> {
        self.chunks.get(slot / CHUNK_LINKS)?.get(slot % CHUNK_LINKS)
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Arc<Link>> {
        Arc::make_mut(self.chunks.get_mut(slot / CHUNK_LINKS)?).get_mut(slot % CHUNK_LINKS)
    }

    /// Puts a link at a slot, 0..=len; those behind it move on by one.
    pub(super) fn insert(&mut self, slot: usize, link: Arc<Link>) {
        let first = slot / CHUNK_LINKS;
        let mut moved = link;
        for (n, chunk) in self.chunks.iter_mut().enumerate().skip(first) {
            let chunk = Arc::make_mut(chunk);
            let at = if n == first { slot % CHUNK_LINKS } else { 0 };
            chunk.insert(at.min(chunk.len()), moved);
            if chunk.len() <= CHUNK_LINKS {
                return;
            }
            let Some(last) = chunk.pop() else { return };
            moved = last;
        }
        let mut chunk = Vec::with_capacity(CHUNK_LINKS + 1);
        chunk.push(moved);
        self.chunks.push(Arc::new(chunk));
    }

    /// Takes the link at a slot out, if there is one; those behind it move up by one.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Arc<Link>> {
        let first = slot / CHUNK_LINKS;
        self.get(slot)?;
        let removed = Arc::make_mut(self.chunks.get_mut(first)?).remove(slot % CHUNK_LINKS);
        for n in first..self.chunks.len() {
            let next = self.chunks.get_mut(n + 1).map(|next| Arc::make_mut(next).remove(0));
            if let (Some(chunk), Some(next)) = (self.chunks.get_mut(n), next) {
                Arc::make_mut(chunk).push(next);
            }
        }
        if self.chunks.last().is_some_and(|last| last.is_empty()) {
            self.chunks.pop();
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Generation};
    use crate::limits::CLUSTER_BYTES;
    use crate::vat::NodePtr;
    use proptest::prelude::*;

    fn link(number: u8) -> Arc<Link> {
        let address =
            Address::decode([number; Address::ENCODED_BYTES]).unwrap_or_else(|| Address::decode([0; Address::ENCODED_BYTES]).unwrap());
        Link::placed(NodePtr { address, clusters: 1, crc: CLUSTER_BYTES as u32, birth: Generation(u64::from(number)) })
    }

    fn same(children: &Children, model: &[Arc<Link>]) -> bool {
        children.len() == model.len()
            && children.iter().map(Arc::as_ptr).eq(model.iter().map(Arc::as_ptr))
            && (0..=model.len()).all(|slot| children.get(slot).map(Arc::as_ptr) == model.get(slot).map(Arc::as_ptr))
    }

    proptest! {
        #[test]
        fn children_are_a_list_and_a_clone_of_them_never_changes(ops in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4), 1..200)) {
            let (mut children, mut model) = (Children::default(), Vec::new());
            let mut clones = Vec::new();
            for (number, (at, what)) in ops.into_iter().enumerate() {
                match what {
                    0 if !model.is_empty() => {
                        let slot = at.index(model.len());
                        prop_assert_eq!(children.remove(slot).map(|link| Arc::as_ptr(&link)), Some(Arc::as_ptr(&model.remove(slot))));
                    }
                    1 if !model.is_empty() => {
                        let slot = at.index(model.len());
                        model[slot] = link(number as u8);
                        *children.get_mut(slot).unwrap() = Arc::clone(&model[slot]);
                    }
                    _ => {
                        let slot = at.index(model.len() + 1);
                        model.insert(slot, link(number as u8));
                        children.insert(slot, Arc::clone(&model[slot]));
                    }
                }
                prop_assert!(same(&children, &model));
                if number % 16 == 0 {
                    clones.push((children.clone(), model.clone()));
                }
            }
            prop_assert!(children.remove(model.len()).is_none());
            prop_assert!(clones.iter().all(|(children, model)| same(children, model)));
        }
    }
}
