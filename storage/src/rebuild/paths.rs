//! The paths of some inodes.
//!
//! Must be true: a path is built of the entries that lead from the root directory to the inode; a chain that does not reach it, or does not
//! end, gives none. Memory: the name of each directory, and those of the inodes that are asked for. Fails: never.

use crate::row::{EntryRow, FileKind, Key, ROOT_INODE};
use std::collections::{BTreeSet, HashMap};

/// Directories on a way at most: a path of the kernel has 4096 bytes.
const DEPTH_MAX: usize = 4096;
/// Names of one inode that are kept.
const NAMES_MAX: usize = 16;

type Name = (u64, Vec<u8>);

/// Entries that lead to directories, and to the inodes that are wanted.
pub(super) struct Paths {
    wanted: BTreeSet<u64>,
    names: HashMap<u64, Vec<Name>>,
}

impl Paths {
    pub fn to(wanted: BTreeSet<u64>) -> Self {
        Self { wanted, names: HashMap::new() }
    }

    /// Takes a row of the name tree.
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        let Some(Key::Entry(directory, name)) = Key::decode(key) else { return };
        let Ok(entry) = EntryRow::decode(value) else { return };
        if entry.kind == FileKind::Directory || self.wanted.contains(&entry.inode.0) {
            let names = self.names.entry(entry.inode.0).or_default();
            if names.len() < NAMES_MAX {
                names.push((directory.0, name));
            }
        }
    }

    /// The paths of an inode, without a leading slash.
    pub fn of(&self, inode: u64) -> Vec<Vec<u8>> {
        self.names.get(&inode).into_iter().flatten().filter_map(|(directory, name)| self.resolve(*directory, name)).collect()
    }

    /// The path of a name in a directory.
    pub fn resolve(&self, directory: u64, name: &[u8]) -> Option<Vec<u8>> {
        let mut parts: Vec<&[u8]> = vec![name];
        let mut at = directory;
        while at != ROOT_INODE.0 {
            let (above, name) = self.names.get(&at)?.first()?;
            parts.push(name);
            at = *above;
            if parts.len() > DEPTH_MAX {
                return None;
            }
        }
        parts.reverse();
        Some(parts.join(&b'/'))
    }
}
