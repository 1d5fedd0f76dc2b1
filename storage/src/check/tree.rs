//! Walking a tree node by node in the order of keys, going on behind what cannot be read.
//!
//! Must be true: TREE-4 a stored node is reached one way only, so a walk ends; VAT-4 levels fall by one; NODE-4 the keys of a child
//! lie in the range that its parent gives it. Fails: never; a subtree that cannot be used is told as a fault and passed over.
//!
//! Memory: one address for each node, and the keys of one path with its siblings.

use crate::address::Address;
use crate::limits::TREE_MAX_LEVELS;
use crate::vat::{Link, Node, NodeError, NodePtr, NodeSource, Tree};
use std::collections::HashSet;
use std::sync::Arc;

/// What a walk meets.
pub(crate) enum Event<'a> {
    /// A node that is stored.
    Node(NodePtr),
    /// A row, in the order of keys.
    Row(&'a [u8], &'a [u8]),
    /// Something that is not as it must be; `lost` if rows are missing for it.
    Fault { invariant: &'static str, place: String, what: String, lost: bool },
    /// Keys of a subtree that cannot be used, told behind the fault: from the first up to the second, if there is one.
    Unknown(&'a [u8], Option<&'a [u8]>),
}

struct Pending {
    link: Arc<Link>,
    level: Option<u8>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

impl Pending {
    fn unknown(&self) -> Event<'_> {
        Event::Unknown(&self.lower, self.upper.as_deref())
    }
}

/// Walks all of a tree.
pub(crate) fn walk(tree: &Tree, source: &dyn NodeSource, visit: &mut dyn FnMut(Event<'_>)) {
    walk_part(tree, source, &[], usize::MAX, visit);
}

/// Walks from a key on, through so many leaves. Returns the key from which to go on, if that was not all.
pub(crate) fn walk_part(
    tree: &Tree,
    source: &dyn NodeSource,
    from: &[u8],
    leaves: usize,
    visit: &mut dyn FnMut(Event<'_>),
) -> Option<Vec<u8>> {
    let mut seen: HashSet<Address> = HashSet::new();
    let (mut todo, mut left) = (Vec::new(), leaves);
    todo.extend(tree.root().map(|root| Pending { link: Arc::clone(root), level: None, lower: Vec::new(), upper: None }));
    while let Some(at) = todo.pop() {
        if at.upper.as_deref().is_some_and(|upper| upper <= from) {
            continue;
        }
        if left == 0 {
            return Some(at.lower);
        }
        let ptr = at.link.ptr();
        if let Some(ptr) = ptr {
            if !seen.insert(ptr.address) {
                visit(lost("TREE-4", ptr.to_string(), "it is reached from two places of the trees".into()));
                visit(at.unknown());
                continue;
            }
            visit(Event::Node(ptr));
        }
        let place = ptr.map_or_else(|| "a node of the replayed log".into(), |ptr| ptr.to_string());
        match load(&at.link, source) {
            Err(error) => {
                visit(lost("NOD-1", place, error.to_string()));
                visit(at.unknown());
            }
            Ok(node) if at.level.is_some_and(|level| level != node.level()) || node.level() >= TREE_MAX_LEVELS => {
                visit(lost("VAT-4", place, format!("it is of level {}, which does not fit its parent", node.level())));
                visit(at.unknown());
            }
            Ok(node) if node.level() == 0 => {
                left -= 1;
                leaf(&node, &at, &place, from, visit);
            }
            Ok(node) => inner(&node, &at, &place, &mut todo, visit),
        }
    }
    None
}

fn lost<'a>(invariant: &'static str, place: String, what: String) -> Event<'a> {
    Event::Fault { invariant, place, what, lost: true }
}

fn load(link: &Arc<Link>, source: &dyn NodeSource) -> Result<Arc<Node>, NodeError> {
    if let Some(node) = link.held() {
        return Ok(node);
    }
    source.node(&link.ptr().ok_or(NodeError::Inconsistent("it has neither a place nor bytes"))?)
}

fn is_inside(key: &[u8], at: &Pending) -> bool {
    key >= at.lower.as_slice() && at.upper.as_deref().is_none_or(|upper| key < upper)
}

fn leaf(node: &Node, at: &Pending, place: &str, from: &[u8], visit: &mut dyn FnMut(Event<'_>)) {
    let mut before: Option<&[u8]> = None;
    for (key, value) in node.rows() {
        if before.is_some_and(|before| before >= key) || !is_inside(key, at) {
            let what = format!("the key {} does not stand where it belongs, so nothing finds it", hex(key));
            visit(Event::Fault { invariant: "NODE-4", place: place.to_string(), what, lost: true });
        } else if key >= from {
            visit(Event::Row(key, value));
        }
        before = Some(key);
    }
}

fn inner(node: &Node, at: &Pending, place: &str, todo: &mut Vec<Pending>, visit: &mut dyn FnMut(Event<'_>)) {
    let keys: Vec<&[u8]> = node.rows().map(|(key, _)| key).collect();
    let first = todo.len();
    for (n, link) in node.children().enumerate() {
        let key = keys.get(n).copied().unwrap_or_default();
        let sound = if n == 0 { key.is_empty() } else { is_inside(key, at) && keys.get(n - 1).is_some_and(|before| *before < key) };
        if !sound {
            let what = format!("the key {} of its child {n} is not in the range of the node", hex(key));
            visit(lost("NODE-4", place.to_string(), what));
            continue;
        }
        let lower = if n == 0 { at.lower.clone() } else { key.to_vec() };
        let upper = keys.get(n + 1).map(|key| key.to_vec()).or_else(|| at.upper.clone());
        todo.push(Pending { link: Arc::clone(link), level: node.level().checked_sub(1), lower, upper });
    }
    // The first child is to be taken first.
    if let Some(pushed) = todo.get_mut(first..) {
        pushed.reverse();
    }
}

/// A key for people.
pub(super) fn hex(key: &[u8]) -> String {
    match key.get(..24) {
        Some(start) if key.len() > 24 => format!("{}..", hex::encode(start)),
        _ => hex::encode(key),
    }
}
