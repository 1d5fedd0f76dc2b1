//! A name tree made of loose rows and loose bytes.
//!
//! Owns: `mend`, `Mended`; what is in a file is the matter of `fill`. Must be true: RBL-9 an inode of which a row may be missing is told, and
//! each name that is left out. Memory: the tree, and names that are left out. Fails: with the tree's error.

use super::RebuildError;
use super::orphans::{KeyRanges, Rows};
use super::owners::Pieces;
use super::people::{Inodes, Known, value};
use super::voids::Voids;
use crate::address::RegionId;
use crate::limits::{SYMLINK_MAX_BYTES, XATTR_MAX_BYTES, XATTR_NAME_MAX_BYTES};
use crate::names::acl::{ACCESS, Acl, DEFAULT};
use crate::nodes::NodeStore;
use crate::row::{CookieRow, EntryRow, ExtentRow, FileKind, Inode, InodeRow, Key};
use crate::state::{State, StateError, Txn};
use crate::vat::TreeId;
use std::collections::BTreeSet;

/// Rows put in one step.
const SLICE: usize = 200;

/// What became of it.
#[derive(Default)]
pub(super) struct Mended {
    /// Names that lead nowhere, each with its directory.
    pub dropped: Vec<(u64, Vec<u8>)>,
    pub dropped_attributes: u64,
    pub nameless: u64,
    pub made_up: u64,
    /// Inodes of which rows may be missing, or are made up.
    pub uncertain: BTreeSet<u64>,
    /// Files that were cut because there was too much of them of which nothing is known.
    pub cut: u64,
}

pub(super) struct Mender<'a> {
    pub rows: &'a Rows,
    pub unknown: &'a KeyRanges,
    pub nodes: &'a NodeStore,
    pub state: &'a mut State,
    pub voids: &'a mut Voids,
    pub mended: Mended,
}

/// Puts rows into the empty name tree of `state`. `unknown`: keys of which the tree itself says nothing. `is_stale`: the region was used again.
pub(super) fn mend(
    rows: &Rows,
    unknown: &KeyRanges,
    mut pieces: Pieces,
    is_stale: &dyn Fn(RegionId) -> bool,
    nodes: &NodeStore,
    state: &mut State,
    voids: &mut Voids,
) -> Result<Mended, RebuildError> {
    for (key, row) in rows {
        if let (Some(Key::Extent(inode, offset)), Ok(row)) = (Key::decode(key), ExtentRow::decode(row))
            && !is_stale(row.first.region)
        {
            pieces.entry(inode.0).or_default().push((offset, row));
        }
    }
    let inodes = Inodes::of(rows, unknown, &pieces);
    let Inodes { all, dropped, home, nameless, made_up } = inodes;
    let mended = Mended { dropped, nameless, made_up, ..Mended::default() };
    let mut mender = Mender { rows, unknown, nodes, state, voids, mended };
    for (inode, known) in &all {
        let (from, to) = Key::all_of(Inode(*inode));
        if home != Some(*inode) && (known.is_made_up || !unknown.between(&from, &to).is_empty()) {
            mender.mended.uncertain.insert(*inode);
        }
        mender.inode(Inode(*inode), known, pieces.remove(inode).unwrap_or_default())?;
    }
    mender.voids.seal();
    Ok(mender.mended)
}

impl Mender<'_> {
    pub fn put(&mut self, body: impl FnOnce(&mut Txn<'_>) -> Result<(), StateError>) -> Result<(), RebuildError> {
        let source = self.nodes.loading(TreeId::Name);
        Ok(self.state.transact(&source, body).map(drop)?)
    }

    fn inode(&mut self, inode: Inode, known: &Known, pieces: Vec<(u64, ExtentRow)>) -> Result<(), RebuildError> {
        let mut row = known.row.clone();
        match row.kind() {
            FileKind::Directory => self.entries(inode, known)?,
            FileKind::Regular => self.file(inode, &mut row, known.is_made_up, pieces)?,
            FileKind::Symlink => {
                let target = value(self.rows, |part| Key::Target(inode, part)).unwrap_or_default();
                let target = target.get(..SYMLINK_MAX_BYTES).unwrap_or(&target);
                (row.size, row.blocks) = (target.len() as u64, 0);
                self.put(|txn| txn.put_target(inode, target))?;
            }
            _ => {}
        }
        self.attributes(inode, &row)?;
        self.put(|txn| txn.put_inode(inode, &row))
    }

    fn entries(&mut self, directory: Inode, known: &Known) -> Result<(), RebuildError> {
        let children: Vec<_> = known.children.iter().zip(3u64..).collect();
        for slice in children.chunks(SLICE) {
            self.put(|txn| {
                for ((name, (inode, kind)), cookie) in slice {
                    let (inode, kind, cookie) = (Inode(*inode), *kind, *cookie);
                    txn.put(&Key::Entry(directory, (*name).clone()), &EntryRow { inode, kind, cookie }.encode())?;
                    txn.put(&Key::Cookie(directory, cookie), &CookieRow { inode, kind, name: (*name).clone() }.encode())?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn attributes(&mut self, inode: Inode, row: &InodeRow) -> Result<(), RebuildError> {
        let (from, to) = Key::xattrs_of(inode);
        let names = self.rows.range(from..to).filter_map(|(key, _)| match Key::decode(key) {
            Some(Key::Xattr(_, name, 0)) => Some(name),
            _ => None,
        });
        for name in names.collect::<Vec<_>>() {
            let value = value(self.rows, |part| Key::Xattr(inode, name.clone(), part));
            let fits = |value: &Vec<u8>| {
                let is_list = name == ACCESS || name == DEFAULT;
                let list = || Acl::decode(value).ok().flatten();
                let list_fits = !is_list || list().is_some_and(|list| name == DEFAULT || list.permissions() == row.mode & 0o777);
                value.len() <= XATTR_MAX_BYTES && name.len() <= XATTR_NAME_MAX_BYTES && list_fits
            };
            match value.filter(fits) {
                Some(value) => self.put(|txn| txn.put_xattr(inode, &name, &value))?,
                None => {
                    self.mended.dropped_attributes += 1;
                    self.mended.uncertain.insert(inode.0);
                }
            }
        }
        Ok(())
    }
}
