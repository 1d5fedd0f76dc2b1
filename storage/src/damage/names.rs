//! How files are called: all names of some inodes, found by one walk over the names in small steps.
//!
//! Owns: `NameSearch`. Must be true: a step reads a bounded part of the tree, which may be another version each time: whoever serves others
//! meanwhile holds a version for one step; a name whose directory cannot be read, or has no place, is left out; beyond 16 names of a file,
//! or 64 KiB of them, it is counted. Names that are changed during the search may be missed. Fails: never. Memory: the names that are
//! found, and one for each directory above them.

use crate::check::tree::{Event, walk_part};
use crate::row::{CookieRow, EntryRow, Inode, Key, ROOT_INODE};
use crate::state::View;
use std::collections::{BTreeSet, HashMap};

/// Directories above a name at most: a path of Linux has fewer.
const DEPTH_MAX: usize = 4096;
/// Names of one file that are told, and their bytes.
const NAMES_MAX: usize = 16;
const NAMES_MAX_BYTES: usize = 64 * 1024;
/// Leaves of the tree that one step reads.
const STEP_LEAVES: usize = 64;
/// Entries that are fetched at a time, to find what a directory is called in the one above.
const STEP_ENTRIES: usize = 256;

/// A directory and a name in it.
type Name = (Inode, Vec<u8>);

/// Looks for the names of some inodes.
pub struct NameSearch {
    wanted: BTreeSet<Inode>,
    names: HashMap<Inode, Vec<Name>>,
    /// How many more there are of an inode than stand in `names`.
    more: HashMap<Inode, u64>,
    /// Where the walk goes on.
    next: Option<Vec<u8>>,
    /// Directories above what was found, each with how it is called in its own, once that is known.
    above: HashMap<Inode, Option<Name>>,
    /// Those of which it is not known yet.
    todo: Vec<Climb>,
}

/// A directory of which it is being looked for what it is called.
struct Climb {
    directory: Inode,
    parent: Option<Inode>,
    after: u64,
}

impl NameSearch {
    #[must_use]
    pub fn new(wanted: impl IntoIterator<Item = Inode>) -> Self {
        let wanted: BTreeSet<Inode> = wanted.into_iter().collect();
        let next = (!wanted.is_empty()).then(Vec::new);
        Self { wanted, names: HashMap::new(), more: HashMap::new(), next, above: HashMap::new(), todo: Vec::new() }
    }

    /// Goes on for one step. Returns whether there is more to do.
    pub fn step(&mut self, view: View<'_>) -> bool {
        if let Some(from) = self.next.take() {
            self.next = self.walk(view, &from);
        } else if let Some(climb) = self.todo.pop() {
            self.climb(view, climb);
        }
        self.next.is_some() || !self.todo.is_empty()
    }

    /// The paths of an inode that were found, from the root of the volume on, without a slash before, in order; and how many more there are.
    #[must_use]
    pub fn paths(&self, inode: Inode) -> (Vec<Vec<u8>>, u64) {
        let names = self.names.get(&inode).map_or(&[][..], Vec::as_slice);
        let mut paths: Vec<Vec<u8>> = names.iter().filter_map(|(directory, name)| self.path(*directory, name)).collect();
        let all = paths.len();
        // The shortest are told.
        paths.sort_unstable_by_key(Vec::len);
        let mut bytes = 0;
        paths.retain(|path| {
            bytes += path.len();
            bytes <= NAMES_MAX_BYTES
        });
        paths.sort_unstable();
        let left_out = self.more.get(&inode).copied().unwrap_or(0) + (all - paths.len()) as u64;
        (paths, left_out)
    }

    fn path(&self, directory: Inode, name: &[u8]) -> Option<Vec<u8>> {
        let (mut parts, mut at) = (vec![name], directory);
        while at != ROOT_INODE {
            let (parent, name) = self.above.get(&at)?.as_ref()?;
            parts.push(name);
            at = *parent;
            (parts.len() < DEPTH_MAX).then_some(())?;
        }
        parts.reverse();
        Some(parts.join(&b'/'))
    }

    fn walk(&mut self, view: View<'_>, from: &[u8]) -> Option<Vec<u8>> {
        let mut last_extent = None;
        let next = walk_part(view.tree(), view.source(), from, STEP_LEAVES, &mut |event| {
            let Event::Row(key, value) = event else { return };
            match Key::decode(key) {
                Some(Key::Entry(directory, name)) => self.entry(directory, name, value),
                Some(Key::Extent(inode, _)) => last_extent = Some(inode),
                _ => {}
            }
        })?;
        // Behind the extents of a file there is no name of its own: a large one is passed over.
        match (last_extent, Key::decode(&next)) {
            (Some(last), Some(Key::Extent(inode, _))) if inode == last => Some(Key::all_of(inode).1),
            _ => Some(next),
        }
    }

    fn entry(&mut self, directory: Inode, name: Vec<u8>, value: &[u8]) {
        let Ok(row) = EntryRow::decode(value) else { return };
        if !self.wanted.contains(&row.inode) {
            return;
        }
        let known = self.names.entry(row.inode).or_default();
        if known.len() < NAMES_MAX {
            known.push((directory, name));
            self.look_for(directory);
        } else {
            *self.more.entry(row.inode).or_default() += 1;
        }
    }

    fn look_for(&mut self, directory: Inode) {
        if directory != ROOT_INODE && !self.above.contains_key(&directory) {
            self.above.insert(directory, None);
            self.todo.push(Climb { directory, parent: None, after: 0 });
        }
    }

    /// A directory says what is above it, and that how it is called there.
    fn climb(&mut self, view: View<'_>, mut climb: Climb) {
        let Some(parent) = climb.parent.or_else(|| view.directory(climb.directory).ok().map(|row| row.parent)) else { return };
        climb.parent = Some(parent);
        let Ok(entries) = view.entries_after(parent, climb.after, STEP_ENTRIES) else { return };
        let is_it = |(_, row): &&(u64, CookieRow)| row.inode == climb.directory;
        if let Some((_, row)) = entries.iter().find(is_it) {
            self.above.insert(climb.directory, Some((parent, row.name.clone())));
            self.look_for(parent);
        } else if let Some((last, _)) = entries.last() {
            climb.after = *last;
            self.todo.push(climb);
        }
    }
}

#[cfg(test)]
mod tests;
