//! Which images hold the bytes of a file, or of all files below a directory.
//!
//! Owns: `Below`, a walk in steps, each on whatever version of the tree is given to it: what is removed between them is passed over. Must
//! be true: a directory is entered once, whatever the tables say. Memory: an inode for each entry that waits, and the images. Fails: with
//! the state's errors; the step can be repeated.

use crate::address::RegionId;
use crate::row::{ExtentRow, FileKind, Inode, ROOT_INODE};
use crate::state::{StateError, View};
use std::collections::BTreeSet;

/// Rows that a step fetches at a time.
const ROWS: usize = 256;

/// The walk.
#[derive(Debug, Default)]
pub struct Below {
    /// What is to be visited: an inode, and the offset or cookie behind which it goes on.
    todo: Vec<(Inode, u64)>,
    entered: BTreeSet<Inode>,
    regions: BTreeSet<RegionId>,
}

impl Below {
    /// What is at `path`, with `/` between names; `None` if nothing is.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn find(view: View<'_>, path: &[u8]) -> Result<Option<Self>, StateError> {
        let mut at = ROOT_INODE;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match view.entry(at, name)? {
                Some(entry) => at = entry.inode,
                None => return Ok(None),
            }
        }
        Ok(Some(Self { todo: vec![(at, 0)], ..Self::default() }))
    }

    /// One step. True: there is more to do.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn step(&mut self, view: View<'_>) -> Result<bool, StateError> {
        let Some(&(inode, after)) = self.todo.last() else { return Ok(false) };
        let next = match view.find_inode(inode)?.map(|row| row.kind()) {
            Some(FileKind::Directory) if after > 0 || !self.entered.contains(&inode) => self.entries(view, inode, after)?,
            Some(FileKind::Regular) => self.extents(view, inode, after)?,
            _ => None,
        };
        // What was found below it stands above it by now.
        let at = self.todo.iter().rposition(|waiting| *waiting == (inode, after));
        match (at.and_then(|at| self.todo.get_mut(at)), next) {
            (Some(waiting), Some(next)) => waiting.1 = next,
            _ => drop(at.map(|at| self.todo.remove(at))),
        }
        Ok(!self.todo.is_empty())
    }

    fn entries(&mut self, view: View<'_>, directory: Inode, after: u64) -> Result<Option<u64>, StateError> {
        let entries = view.entries_after(directory, after, ROWS)?;
        self.entered.insert(directory);
        self.todo.extend(entries.iter().map(|(_, row)| (row.inode, 0)));
        Ok(entries.last().map(|(cookie, _)| *cookie))
    }

    fn extents(&mut self, view: View<'_>, inode: Inode, from: u64) -> Result<Option<u64>, StateError> {
        let extents = view.extents(inode, from, u64::MAX, ROWS)?;
        self.regions.extend(extents.iter().map(|(_, row)| row.first.region));
        let end = |(start, row): &(u64, ExtentRow)| start.saturating_add(u64::from(row.length));
        Ok(extents.last().map(end).filter(|end| *end > from))
    }

    /// The images that were found.
    #[must_use]
    pub fn into_regions(self) -> BTreeSet<RegionId> {
        self.regions
    }
}
