//! The names of the simulated disk: directories as seen, directories as they are on the medium, and the changes between them.
//!
//! Owns: `Names`. Must be true: DSN-1 a name is durable only after a sync of the directory that holds it; DSN-2 a rename within one
//! directory is atomic; DSN-3 a rename between two leaves the old name, the new, or both, never neither: the old one goes only
//! where the new one has come; both are settled when both directories are synced; DSN-4 changes of
//! one name survive in their order. Fails: with `NotFound` and its like, as the host does.

use super::fate::{Choice, Fate};
use crate::device::split_path;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Number of a file or directory of a simulated disk; never used again.
pub type Inode = u64;
/// The volume directory itself.
pub const ROOT: Inode = 0;

type Entries = BTreeMap<Arc<str>, Inode>;

#[derive(Clone, Debug, Default)]
struct Directory {
    cached: Arc<Entries>,
    /// With the number of the change that put the name there.
    durable: Arc<BTreeMap<Arc<str>, (Inode, u64)>>,
}

/// A change of names that is not durable yet, and its number.
#[derive(Clone, Debug)]
struct Pending {
    number: u64,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Link { directory: Inode, name: Arc<str>, inode: Inode },
    Unlink { directory: Inode, name: Arc<str> },
    Rename { directory: Inode, from: Arc<str>, to: Arc<str>, inode: Inode },
    Move { from: (Inode, Arc<str>), to: (Inode, Arc<str>), inode: Inode, left: bool, arrived: bool },
}

/// The tree of names. Files are known by number only.
#[derive(Clone, Debug)]
pub struct Names {
    directories: BTreeMap<Inode, Directory>,
    pending: Vec<Pending>,
    last_number: u64,
}

fn fail(kind: ErrorKind, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path}: {kind}"))
}

impl Names {
    pub fn new() -> Self {
        Self { directories: BTreeMap::from([(ROOT, Directory::default())]), pending: Vec::new(), last_number: 0 }
    }

    fn note(&mut self, change: Change) {
        self.last_number += 1;
        self.pending.push(Pending { number: self.last_number, change });
    }

    pub fn is_directory(&self, inode: Inode) -> bool {
        self.directories.contains_key(&inode)
    }

    /// What stands at a path, if anything; "" is the root.
    pub fn look_up(&self, path: &str) -> io::Result<Option<Inode>> {
        if path.is_empty() {
            return Ok(Some(ROOT));
        }
        let mut inode = ROOT;
        for part in path.split('/') {
            let Some(directory) = self.directories.get(&inode) else { return Err(fail(ErrorKind::NotADirectory, path)) };
            let Some(&next) = directory.cached.get(part) else { return Ok(None) };
            inode = next;
        }
        Ok(Some(inode))
    }

    /// The directory at a path.
    pub fn directory(&self, path: &str) -> io::Result<Inode> {
        let inode = self.look_up(path)?.ok_or_else(|| fail(ErrorKind::NotFound, path))?;
        if self.is_directory(inode) { Ok(inode) } else { Err(fail(ErrorKind::NotADirectory, path)) }
    }

    /// The names in a directory.
    pub fn entries(&self, inode: Inode) -> impl Iterator<Item = (&Arc<str>, Inode)> {
        self.directories.get(&inode).into_iter().flat_map(|directory| directory.cached.iter().map(|(name, &inode)| (name, inode)))
    }

    fn cached_mut(&mut self, directory: Inode) -> &mut Entries {
        Arc::make_mut(&mut self.directories.entry(directory).or_default().cached)
    }

    fn put_durable(&mut self, directory: Inode, name: &Arc<str>, inode: Inode, number: u64) {
        let durable = &mut self.directories.entry(directory).or_default().durable;
        if durable.get(name).is_none_or(|&(_, put_by)| put_by < number) {
            Arc::make_mut(durable).insert(Arc::clone(name), (inode, number));
        }
    }

    /// Takes a name off the medium, unless a later change put it there: the departure of a move can come late.
    fn cut_durable(&mut self, directory: Inode, name: &str, number: u64) {
        let durable = &mut self.directories.entry(directory).or_default().durable;
        if durable.get(name).is_some_and(|&(_, put_by)| put_by < number) {
            Arc::make_mut(durable).remove(name);
        }
    }

    /// Gives a new file or directory its name, which is free.
    pub fn link(&mut self, path: &str, inode: Inode, is_directory: bool) -> io::Result<()> {
        let (parent, name) = split_path(path);
        let directory = self.directory(parent)?;
        let name: Arc<str> = name.into();
        if is_directory {
            self.directories.insert(inode, Directory::default());
        }
        self.cached_mut(directory).insert(Arc::clone(&name), inode);
        self.note(Change::Link { directory, name, inode });
        Ok(())
    }

    fn check_empty(&self, inode: Inode, path: &str) -> io::Result<()> {
        if self.entries(inode).next().is_some() { Err(fail(ErrorKind::DirectoryNotEmpty, path)) } else { Ok(()) }
    }

    /// Takes a name away.
    pub fn unlink(&mut self, path: &str) -> io::Result<()> {
        let inode = self.look_up(path)?.ok_or_else(|| fail(ErrorKind::NotFound, path))?;
        self.check_empty(inode, path)?;
        let (parent, name) = split_path(path);
        let directory = self.directory(parent)?;
        self.cached_mut(directory).remove(name);
        self.note(Change::Unlink { directory, name: name.into() });
        Ok(())
    }

    /// Gives another name, replacing what has it.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.look_up(from)?.ok_or_else(|| fail(ErrorKind::NotFound, from))?;
        let ((from_parent, from_name), (to_parent, to_name)) = (split_path(from), split_path(to));
        let (source, target) = (self.directory(from_parent)?, self.directory(to_parent)?);
        if crate::device::is_below(to, from) {
            return Err(fail(ErrorKind::InvalidInput, to));
        }
        if let Some(replaced) = self.look_up(to)? {
            match (self.is_directory(inode), self.is_directory(replaced)) {
                // POSIX: two names of one file stay as they are.
                _ if replaced == inode => return Ok(()),
                (false, true) => return Err(fail(ErrorKind::IsADirectory, to)),
                (true, false) => return Err(fail(ErrorKind::NotADirectory, to)),
                _ => self.check_empty(replaced, to)?,
            }
        }
        let (from_name, to_name): (Arc<str>, Arc<str>) = (from_name.into(), to_name.into());
        self.cached_mut(source).remove(&from_name);
        self.cached_mut(target).insert(Arc::clone(&to_name), inode);
        self.note(if source == target {
            Change::Rename { directory: source, from: from_name, to: to_name, inode }
        } else {
            Change::Move { from: (source, from_name), to: (target, to_name), inode, left: false, arrived: false }
        });
        Ok(())
    }

    /// Makes the names of a directory durable.
    pub fn sync(&mut self, synced: Inode) {
        let pending = std::mem::take(&mut self.pending);
        for mut pending in pending {
            let number = pending.number;
            if let Some(name) = pending.change.put_in(synced) {
                self.finish_moves_from(synced, &name);
            }
            let done = match &mut pending.change {
                Change::Link { directory, .. } | Change::Unlink { directory, .. } | Change::Rename { directory, .. } => {
                    *directory == synced
                }
                Change::Move { from, to, left, arrived, inode } => {
                    *left |= from.0 == synced;
                    if to.0 == synced && !*arrived {
                        *arrived = true;
                        self.put_durable(to.0, &to.1, *inode, number);
                    }
                    *left && *arrived
                }
            };
            if done {
                self.apply_durable(&pending);
            } else {
                self.pending.push(pending);
            }
        }
    }

    /// A name is about to be given anew for good: a file that moved away from it must have arrived before.
    fn finish_moves_from(&mut self, directory: Inode, name: &str) {
        let waits = |pending: &Pending| matches!(&pending.change, Change::Move { from, .. } if from.0 == directory && *from.1 == *name);
        while let Some(at) = self.pending.iter().position(waits) {
            let pending = self.pending.remove(at);
            if let Change::Move { to, inode, .. } = &pending.change {
                self.put_durable(to.0, &to.1, *inode, pending.number);
            }
            self.apply_durable(&pending);
        }
    }

    /// Puts a change on the medium; of a move only the end, the departure.
    fn apply_durable(&mut self, pending: &Pending) {
        let number = pending.number;
        match &pending.change {
            Change::Link { directory, name, inode } => self.put_durable(*directory, name, *inode, number),
            Change::Unlink { directory, name } => {
                self.cut_durable(*directory, name, number);
            }
            Change::Rename { directory, from, to, inode } => {
                self.cut_durable(*directory, from, number);
                self.put_durable(*directory, to, *inode, number);
            }
            Change::Move { from, .. } => {
                self.cut_durable(from.0, &from.1, number);
            }
        }
    }

    /// The names as they are found after the power failed.
    pub fn settle(&self, fate: &mut Fate) -> Self {
        let mut found = Self { directories: self.directories.clone(), pending: Vec::new(), last_number: self.last_number };
        let mut counts: BTreeMap<Inode, usize> = BTreeMap::new();
        for pending in &self.pending {
            let (first, second) = pending.change.directories();
            *counts.entry(first).or_default() += 1;
            if let Some(second) = second {
                *counts.entry(second).or_default() += 1;
            }
        }
        let mut choices: BTreeMap<Inode, Choice> = counts.into_iter().map(|(directory, count)| (directory, fate.choose(count))).collect();
        // Changes of one name keep their order: where one is lost, so are the later ones.
        let mut lost: BTreeSet<(Inode, Arc<str>)> = BTreeSet::new();
        for pending in &self.pending {
            match &pending.change {
                Change::Move { from, to, inode, left, arrived } => {
                    let mut keeps = |side: &(Inode, Arc<str>)| {
                        choices.get_mut(&side.0).is_some_and(|choice| fate.keeps(choice)) && !lost.contains(side)
                    };
                    let (departs, arrives) = (keeps(from), keeps(to));
                    let (departs, arrives) = (departs || *left, arrives || *arrived);
                    match (arrives, *arrived) {
                        (true, false) => found.put_durable(to.0, &to.1, *inode, pending.number),
                        (true, true) => {}
                        (false, _) => {
                            lost.insert(to.clone());
                        }
                    }
                    // A directory never has two names.
                    if arrives && (departs || self.is_directory(*inode)) {
                        found.apply_durable(pending);
                    } else {
                        lost.insert(from.clone());
                    }
                }
                Change::Link { directory, .. } | Change::Unlink { directory, .. } | Change::Rename { directory, .. } => {
                    let names = pending.change.names().map(|name| (*directory, Arc::clone(name)));
                    let kept = choices.get_mut(directory).is_some_and(|choice| fate.keeps(choice));
                    if kept && !names.clone().any(|name| lost.contains(&name)) {
                        found.apply_durable(pending);
                    } else {
                        lost.extend(names);
                    }
                }
            }
        }
        // Where nothing was pending, both are the same.
        for touched in choices.keys() {
            if let Some(directory) = found.directories.get_mut(touched) {
                directory.cached = Arc::new(directory.durable.iter().map(|(name, &(inode, _))| (Arc::clone(name), inode)).collect());
            }
        }
        let reached = found.reachable();
        found.directories.retain(|inode, _| reached.contains(inode));
        found
    }

    /// All that a path leads to.
    pub fn reachable(&self) -> BTreeSet<Inode> {
        let mut reached = BTreeSet::from([ROOT]);
        let mut left = vec![ROOT];
        while let Some(inode) = left.pop() {
            left.extend(self.entries(inode).map(|(_, inode)| inode).filter(|&inode| reached.insert(inode)));
        }
        reached
    }

    /// All that a path leads to, or may lead to after a crash.
    pub fn referenced(&self) -> BTreeSet<Inode> {
        let of_directories = self
            .directories
            .values()
            .flat_map(|directory| directory.cached.values().chain(directory.durable.values().map(|(inode, _)| inode)));
        let of_changes = self.pending.iter().filter_map(|pending| match &pending.change {
            Change::Link { inode, .. } | Change::Rename { inode, .. } | Change::Move { inode, .. } => Some(inode),
            Change::Unlink { .. } => None,
        });
        of_directories.chain(of_changes).copied().collect()
    }
}

impl Change {
    /// The names that a change within one directory touches.
    fn names(&self) -> impl Iterator<Item = &Arc<str>> + Clone {
        let (first, second) = match self {
            Change::Link { name, .. } | Change::Unlink { name, .. } => (name, None),
            Change::Rename { from, to, .. } => (from, Some(to)),
            Change::Move { from, to, .. } => (&from.1, Some(&to.1)),
        };
        std::iter::once(first).chain(second)
    }

    /// The name that this gives in a directory, if it gives one there.
    fn put_in(&self, synced: Inode) -> Option<Arc<str>> {
        match self {
            Change::Link { directory, name, .. } if *directory == synced => Some(Arc::clone(name)),
            Change::Rename { directory, to, .. } if *directory == synced => Some(Arc::clone(to)),
            Change::Move { to, .. } if to.0 == synced => Some(Arc::clone(&to.1)),
            _ => None,
        }
    }

    fn directories(&self) -> (Inode, Option<Inode>) {
        match self {
            Change::Link { directory, .. } | Change::Unlink { directory, .. } | Change::Rename { directory, .. } => (*directory, None),
            Change::Move { from, to, .. } => (from.0, Some(to.0)),
        }
    }
}
