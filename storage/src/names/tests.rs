//! Names against a plain model of POSIX: inodes in a map, directories as maps of names, and everything compared after each step.

use super::*;
use crate::limits::{LINK_MAX, NAME_MAX_BYTES, SYMLINK_MAX_BYTES};
use crate::row::ROOT_INODE;
use crate::state::State;
use crate::state::tests::kit::{Store, new_state, rows};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Answer<T> = Result<T, Refusal>;

fn time(n: i64) -> Time {
    Time { seconds: n, nanos: 0 }
}

/// An inode as POSIX sees it.
#[derive(Clone, Debug)]
struct Node {
    mode: u32,
    gid: u32,
    links: u32,
    parent: Inode,
    changed: Time,
    target: Option<Vec<u8>>,
    children: BTreeMap<Vec<u8>, Inode>,
}

impl Node {
    fn kind(&self) -> FileKind {
        FileKind::of_mode(self.mode)
    }

    fn is_dir(&self) -> bool {
        self.kind() == FileKind::Directory
    }
}

/// The plain filesystem.
#[derive(Clone, Debug)]
struct Model {
    nodes: BTreeMap<Inode, Node>,
    next: u64,
}

impl Model {
    fn new() -> Self {
        let root = Node {
            mode: FileKind::Directory.mode_bits() | 0o755,
            gid: 0,
            links: 2,
            parent: ROOT_INODE,
            changed: time(0),
            target: None,
            children: BTreeMap::new(),
        };
        Self { nodes: BTreeMap::from([(ROOT_INODE, root)]), next: 2 }
    }

    fn get(&self, inode: Inode) -> Answer<&Node> {
        self.nodes.get(&inode).ok_or(Refusal::Stale)
    }

    fn dir(&self, inode: Inode) -> Answer<&Node> {
        Some(self.get(inode)?).filter(|node| node.is_dir()).ok_or(Refusal::NotDirectory)
    }

    fn child(&self, dir: Inode, name: &[u8]) -> Answer<Inode> {
        self.dir(dir)?.children.get(name).copied().ok_or(Refusal::NotFound)
    }

    fn set(&mut self, inode: Inode, change: impl FnOnce(&mut Node)) {
        change(self.nodes.get_mut(&inode).unwrap());
    }

    fn attach(&mut self, dir: Inode, name: &[u8], inode: Inode, now: Time) {
        let is_dir = self.nodes[&inode].is_dir();
        self.set(dir, |node| {
            node.children.insert(name.to_vec(), inode);
            node.links += u32::from(is_dir);
            node.changed = now;
        });
        self.set(inode, |node| node.parent = if is_dir { dir } else { node.parent });
    }

    fn detach(&mut self, dir: Inode, name: &[u8], now: Time) -> Inode {
        let inode = self.nodes[&dir].children[name];
        let is_dir = self.nodes[&inode].is_dir();
        self.set(dir, |node| {
            node.children.remove(name);
            node.links -= u32::from(is_dir);
            node.changed = now;
        });
        inode
    }

    fn lose(&mut self, inode: Inode, now: Time) -> Removed {
        self.set(inode, |node| {
            node.links = if node.is_dir() { 0 } else { node.links - 1 };
            node.changed = now;
        });
        Removed { inode, orphaned: self.nodes[&inode].links == 0 }
    }

    fn create(&mut self, node: &NewNode, target: Option<&[u8]>, now: Time) -> Answer<Inode> {
        let parent = self.dir(node.parent)?;
        if parent.children.contains_key(&node.name) {
            return Err(Refusal::Exists);
        }
        if parent.links == 0 {
            return Err(Refusal::NotFound);
        }
        let (mut mode, mut gid) = (node.mode, node.gid);
        if parent.mode & 0o2000 != 0 {
            gid = parent.gid;
            mode |= if FileKind::of_mode(mode) == FileKind::Directory { 0o2000 } else { 0 };
        }
        if target.is_some() {
            mode = FileKind::Symlink.mode_bits() | 0o777;
        }
        let links = if FileKind::of_mode(mode) == FileKind::Directory { 2 } else { 1 };
        let inode = Inode(self.next);
        self.next += 1;
        let target = target.map(<[u8]>::to_vec);
        self.nodes.insert(inode, Node { mode, gid, links, parent: Inode(0), changed: now, target, children: BTreeMap::new() });
        self.attach(node.parent, &node.name, inode, now);
        Ok(inode)
    }

    fn link(&mut self, inode: Inode, dir: Inode, name: &[u8], now: Time) -> Answer<()> {
        let node = self.get(inode)?;
        if node.is_dir() {
            return Err(Refusal::NotPermitted);
        }
        if self.dir(dir)?.children.contains_key(name) {
            return Err(Refusal::Exists);
        }
        if node.links == 0 || self.dir(dir)?.links == 0 {
            return Err(Refusal::NotFound);
        }
        self.attach(dir, name, inode, now);
        self.set(inode, |node| {
            node.links += 1;
            node.changed = now;
        });
        Ok(())
    }

    fn remove(&mut self, dir: Inode, name: &[u8], directory: bool, now: Time) -> Answer<Removed> {
        let inode = self.child(dir, name)?;
        match (directory, self.nodes[&inode].is_dir()) {
            (false, true) => return Err(Refusal::IsDirectory),
            (true, false) => return Err(Refusal::NotDirectory),
            (true, true) if !self.nodes[&inode].children.is_empty() => return Err(Refusal::NotEmpty),
            _ => {}
        }
        self.detach(dir, name, now);
        Ok(self.lose(inode, now))
    }

    fn is_below(&self, mut at: Inode, above: Inode) -> bool {
        while at != above {
            if at == ROOT_INODE {
                return false;
            }
            at = self.nodes[&at].parent;
        }
        true
    }

    fn rename(&mut self, what: &Rename, now: Time) -> Answer<Option<Removed>> {
        let source = self.child(what.parent, &what.name)?;
        if self.dir(what.new_parent)?.links == 0 {
            return Err(Refusal::NotFound);
        }
        let target = self.child(what.new_parent, &what.new_name).ok();
        let loops = |model: &Self, moved: Inode, into: Inode| model.nodes[&moved].is_dir() && model.is_below(into, moved);
        match (what.mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Refusal::Exists),
            (RenameMode::Exchange, None) => return Err(Refusal::NotFound),
            _ if loops(self, source, what.new_parent) => return Err(Refusal::Invalid),
            (_, Some(target)) if target == source => return Ok(None),
            (RenameMode::Exchange, Some(target)) => {
                if loops(self, target, what.parent) {
                    return Err(Refusal::Invalid);
                }
                self.detach(what.parent, &what.name, now);
                self.detach(what.new_parent, &what.new_name, now);
                self.attach(what.parent, &what.name, target, now);
                self.attach(what.new_parent, &what.new_name, source, now);
                self.set(target, |node| node.changed = now);
                self.set(source, |node| node.changed = now);
                return Ok(None);
            }
            _ => {}
        }
        let is_dir = self.nodes[&source].is_dir();
        let removed = target.map(|_| self.remove(what.new_parent, &what.new_name, is_dir, now)).transpose()?;
        self.detach(what.parent, &what.name, now);
        self.attach(what.new_parent, &what.new_name, source, now);
        self.set(source, |node| node.changed = now);
        Ok(removed)
    }

    fn drop_orphan(&mut self, inode: Inode) -> Answer<()> {
        if self.nodes.get(&inode).is_some_and(|node| node.links > 0) {
            return Err(Refusal::Busy);
        }
        self.nodes.remove(&inode);
        Ok(())
    }
}

/// A reader of a directory in the middle of it.
struct Listing {
    dir: Inode,
    after: u64,
    seen: Vec<Vec<u8>>,
    /// Names that were there all the time.
    steady: BTreeSet<Vec<u8>>,
}

struct World {
    store: Store,
    state: State,
    model: Model,
    clock: i64,
    /// Every cookie that was ever seen, with the name that it had then.
    cookies: BTreeMap<(Inode, u64), Vec<u8>>,
    listing: Option<Listing>,
}

impl World {
    fn new() -> Self {
        let store = Store::default();
        let state = new_state(&store).0;
        Self { store, state, model: Model::new(), clock: 2000, cookies: BTreeMap::new(), listing: None }
    }

    fn run<T>(&mut self, body: impl FnOnce(&mut Txn<'_>, Time) -> Result<T, StateError>) -> Answer<T> {
        let now = time(self.clock);
        match self.state.transact(&self.store, |txn| body(txn, now)) {
            Ok(outcome) => Ok(outcome.value),
            Err(StateError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// NAM-1 to NAM-4, and that the rows are the model's tree and nothing else.
    fn check(&mut self) {
        let view = self.state.view(&self.store);
        let mut expected = 0;
        for (inode, node) in &self.model.nodes {
            let row = view.inode(*inode).unwrap();
            assert_eq!(
                (row.mode, row.gid, row.links, row.entries),
                (node.mode, node.gid, node.links, node.children.len() as u64),
                "{inode}"
            );
            assert!(row.changed == node.changed || *inode == ROOT_INODE, "{inode} changed at {:?}", row.changed);
            assert_eq!(view.orphans(1000).unwrap().contains(inode), node.links == 0);
            let listed = view.entries_after(*inode, 0, 1000).unwrap();
            assert_eq!(listed.len(), node.children.len());
            for (cookie, entry) in listed {
                let by_name = view.entry(*inode, &entry.name).unwrap().unwrap();
                assert_eq!((by_name.inode, by_name.kind, by_name.cookie), (entry.inode, entry.kind, cookie));
                assert_eq!(node.children.get(&entry.name), Some(&entry.inode));
                assert_eq!(entry.kind, self.model.nodes[&entry.inode].kind());
                assert!((3..row.next_cookie).contains(&cookie));
                let first = self.cookies.entry((*inode, cookie)).or_insert_with(|| entry.name.clone());
                assert_eq!(*first, entry.name, "a cookie was used again");
            }
            if node.is_dir() {
                assert_eq!(row.parent, node.parent);
            }
            if let Some(target) = &node.target {
                assert_eq!((&view.target(*inode).unwrap(), row.size), (target, target.len() as u64));
                expected += (target.len() + 8).div_ceil(crate::limits::PART_BYTES);
            }
            expected += 1 + 2 * node.children.len() + usize::from(node.links == 0);
        }
        assert_eq!(rows(&self.state.names, &self.store).len(), expected, "rows without a meaning");
        assert_eq!((self.state.inodes, self.state.next_inode), (self.model.nodes.len() as u64, self.model.next));
    }

    fn list(&mut self, r: u64, dir: Inode) {
        let steady =
            |model: &Model, dir: Inode| model.nodes.get(&dir).map(|node| node.children.keys().cloned().collect()).unwrap_or_default();
        let mut listing =
            self.listing.take().unwrap_or_else(|| Listing { dir, after: 0, seen: Vec::new(), steady: steady(&self.model, dir) });
        let entries = self.state.view(&self.store).entries_after(listing.dir, listing.after, 1 + (r % 3) as usize).unwrap();
        let Some((last, _)) = entries.last() else {
            let times = |name: &Vec<u8>| listing.seen.iter().filter(|seen| *seen == name).count();
            assert!(listing.steady.iter().all(|name| times(name) == 1), "a name that was there all the time is listed once");
            return;
        };
        listing.after = *last;
        listing.seen.extend(entries.into_iter().map(|(_, entry)| entry.name));
        self.listing = Some(listing);
    }

    /// Names that are not there now were not there all the time.
    fn note_listing(&mut self) {
        if let Some(listing) = &mut self.listing {
            let children = self.model.nodes.get(&listing.dir).map(|node| &node.children);
            listing.steady.retain(|name| children.is_some_and(|children| children.contains_key(name)));
        }
    }
}

fn name(r: u64) -> Vec<u8> {
    match r % 16 {
        0 => vec![b'n'; NAME_MAX_BYTES],
        n => format!("{n}").into_bytes(),
    }
}

fn step(world: &mut World, op: u8, r: u64) {
    world.clock += 1;
    let now = time(world.clock);
    // Mostly inodes that exist, sometimes one that is gone.
    let pick = |r: u64| Inode(1 + r % (world.model.next + 1).min(12));
    let (a, b, n, m) = (pick(r >> 4), pick(r >> 12), name(r >> 20), name(r >> 28));
    match op {
        0..=5 => {
            let kind = [FileKind::Regular, FileKind::Directory, FileKind::Fifo][(r >> 36) as usize % 3];
            let mode = kind.mode_bits() | 0o644 | if r >> 40 & 3 == 0 { 0o2000 } else { 0 };
            let node = NewNode { parent: a, name: n, mode, uid: 1, gid: 3 + (r >> 44) as u32 % 3, rdev: 0, umask: 0 };
            if op == 5 {
                let target = vec![b't'; 1 + (r >> 46) as usize % SYMLINK_MAX_BYTES];
                let real = world.run(|txn, now| symlink(txn, &node, &target, now)).map(|(inode, _)| inode);
                assert_eq!(real, world.model.create(&node, Some(&target), now));
            } else {
                let real = world.run(|txn, now| create(txn, &node, now)).map(|(inode, _)| inode);
                assert_eq!(real, world.model.create(&node, None, now));
            }
        }
        6 | 7 => {
            let real = world.run(|txn, now| link(txn, a, b, &n, now)).map(drop);
            assert_eq!(real, world.model.link(a, b, &n, now));
        }
        8 => assert_eq!(world.run(|txn, now| unlink(txn, a, &n, now)), world.model.remove(a, &n, false, now)),
        9 => assert_eq!(world.run(|txn, now| rmdir(txn, a, &n, now)), world.model.remove(a, &n, true, now)),
        10..=14 => {
            let mode = [RenameMode::Replace, RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][(r >> 36) as usize % 4];
            let what = Rename { parent: a, name: n, new_parent: b, new_name: m, mode };
            assert_eq!(world.run(|txn, now| rename(txn, &what, now)), world.model.rename(&what, now));
        }
        15 => {
            let change = AttributeChange { permissions: Some((r >> 36) as u32 & 0o7777), ..AttributeChange::default() };
            let real = world.run(|txn, now| change_attributes(txn, a, &change, now)).map(drop);
            assert_eq!(real, world.model.get(a).map(drop));
            if real.is_ok() {
                world.model.set(a, |node| {
                    node.mode = (node.mode & !0o7777) | ((r >> 36) as u32 & 0o7777);
                    node.changed = now;
                });
            }
        }
        16 if a != ROOT_INODE => {
            let real = world.run(|txn, _| drop_orphan(txn, a)).map(|dropped| assert_eq!(dropped, Dropped::Wholly));
            assert_eq!(real, world.model.drop_orphan(a));
        }
        _ => world.list(r, a),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_are_as_posix_has_them(ops in proptest::collection::vec((0u8..20, any::<u64>()), 1..150)) {
        let mut world = World::new();
        for (op, r) in ops {
            step(&mut world, op, r);
            world.check();
            world.note_listing();
        }
    }
}

fn refused<T: std::fmt::Debug>(world: &mut World, body: impl FnOnce(&mut Txn<'_>, Time) -> Result<T, StateError>) -> Refusal {
    let before = rows(&world.state.names, &world.store);
    let refusal = world.run(body).unwrap_err();
    assert_eq!(rows(&world.state.names, &world.store), before, "a refusal changes nothing");
    refusal
}

fn regular(name: &[u8]) -> NewNode {
    NewNode { parent: ROOT_INODE, name: name.to_vec(), mode: FileKind::Regular.mode_bits() | 0o6755, uid: 1, gid: 1, rdev: 0, umask: 0 }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let mut world = World::new();
    let cases: [(&[u8], Refusal); 6] = [
        (b"", Refusal::NotFound),
        (b".", Refusal::Invalid),
        (b"..", Refusal::Invalid),
        (b"a/b", Refusal::Invalid),
        (b"a\0b", Refusal::Invalid),
        (&[b'n'; NAME_MAX_BYTES + 1], Refusal::NameTooLong),
    ];
    for (name, refusal) in cases {
        assert_eq!(refused(&mut world, |txn, now| create(txn, &regular(name), now)), refusal);
        assert_eq!(refused(&mut world, |txn, now| unlink(txn, ROOT_INODE, name, now)), refusal);
    }
    let too_long = vec![b't'; SYMLINK_MAX_BYTES + 1];
    assert_eq!(refused(&mut world, |txn, now| symlink(txn, &regular(b"s"), &too_long, now)), Refusal::NameTooLong);
    assert_eq!(refused(&mut world, |txn, now| symlink(txn, &regular(b"s"), b"", now)), Refusal::NotFound);
}

#[test]
fn a_file_has_only_so_many_names() {
    let mut world = World::new();
    let (inode, mut row) = world.run(|txn, now| create(txn, &regular(b"a"), now)).unwrap();
    row.links = LINK_MAX;
    world.run(|txn, _| txn.put_inode(inode, &row)).unwrap();
    assert_eq!(refused(&mut world, |txn, now| link(txn, inode, ROOT_INODE, b"b", now)), Refusal::TooManyLinks);
}

#[test]
fn a_change_of_owner_clears_what_would_lend_privilege() {
    let mut world = World::new();
    let (inode, _) = world.run(|txn, now| create(txn, &regular(b"a"), now)).unwrap();
    let owner = AttributeChange { uid: Some(7), ..AttributeChange::default() };
    let row = world.run(|txn, now| change_attributes(txn, inode, &owner, now)).unwrap();
    assert_eq!((row.uid, row.gid, row.mode & 0o7777), (7, 1, 0o755));
    assert_eq!(clear_privileges(0o6745), 0o2745, "sgid without group execution is a lock, not a privilege");
    let bad = AttributeChange { modified: Some(SetTime::At(Time { seconds: 0, nanos: 1_000_000_000 })), ..AttributeChange::default() };
    assert_eq!(refused(&mut world, |txn, now| change_attributes(txn, inode, &bad, now)), Refusal::Invalid);
}

#[test]
fn a_late_settlement_never_moves_size_or_times_back() {
    let mut world = World::new();
    let (inode, _) = world.run(|txn, now| create(txn, &regular(b"a"), now)).unwrap();
    let at = |version, size| Settlement { version, size, accessed: time(1), modified: time(size as i64), changed: time(9000) };
    world.run(|txn, _| settle(txn, inode, &at(5, 500), 8)).unwrap();
    let row = world.run(|txn, _| settle(txn, inode, &at(4, 400), -3)).unwrap();
    assert_eq!((row.version, row.size, row.modified, row.blocks), (5, 500, time(500), 5));
}
