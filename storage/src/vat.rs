//! The Visual Allocation Table: copy-on-write B-trees of all metadata, over raw byte keys and values.
//!
//! Owns: trees in memory ([`Tree`]), their nodes and pages, the pointers between them ([`Link`], [`NodePtr`]), their bytes on
//! disk ([`encode_node`], [`decode_node`]) and the bounded cache of clean ones ([`NodeCache`]).
//! Must be true:
//! VAT-1 A clone of a tree never changes: a node version is edited in place only when one tree alone reaches it.
//! VAT-2 A node version is written once: a link gets its place once, and a placed version is never edited.
//! VAT-3 Every version that a mutation supersedes and that has, or will get, a place is reported once in [`Released`].
//! VAT-4 Levels fall by one from parent to child, so every walk ends after at most `TREE_MAX_LEVELS` steps.
//! VAT-5 A node always fits `NODE_MAX_CLUSTERS` clusters, compressed or not.
//! Fails: with [`NodeError`]; a change that fails leaves the contents of the tree as they were.

mod cache;
mod children;
mod codec;
mod link;
mod node;
mod page;
mod range;
mod tree;

#[cfg(test)]
mod tests;

pub use cache::{LoadingSource, NodeCache, NodeLoader, Pinned};
pub use codec::{EncodedNode, NodeHeader, TreeId, decode_node, decode_orphan, encode_node, encode_node_with, fuzz_node};
pub use link::{DirtyGauge, Link, NodeError, NodePtr, NodeSource, Released, ReleasedNode};
pub use node::Node;
pub use page::Row;
pub use range::{Range, RangeBack};
pub use tree::Tree;
