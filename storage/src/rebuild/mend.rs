//! A name tree made of loose rows and loose bytes.
//!
//! Owns: `mend`, `Mended`. Must be true: RBL-2 bytes of which it is not known whether they were ever there are voids, never zeros; EXT-4 of pieces
//! that lie over each other the higher write sequence wins. Memory: the tree. Fails: with the tree's error.

use super::RebuildError;
use super::orphans::{KeyRanges, Rows};
use super::owners::Pieces;
use super::people::{Inodes, Known, value};
use super::voids::Voids;
use crate::address::RegionId;
use crate::limits::{CLUSTER_BYTES, FILE_MAX_BYTES, INLINE_FILE_BYTES, SYMLINK_MAX_BYTES, XATTR_MAX_BYTES, XATTR_NAME_MAX_BYTES};
use crate::names::acl::{ACCESS, Acl, DEFAULT};
use crate::nodes::NodeStore;
use crate::row::{CookieRow, EntryRow, ExtentRow, FileKind, Inode, InodeRow, Key};
use crate::state::{State, StateError, Txn};
use crate::vat::TreeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Rows put in one step.
const SLICE: usize = 200;

/// What became of it.
#[derive(Default)]
pub(super) struct Mended {
    pub dropped_names: u64,
    pub dropped_attributes: u64,
    pub nameless: u64,
    pub made_up: u64,
    /// Regular files that may be older, shorter or longer than they were.
    pub uncertain: BTreeSet<u64>,
    /// Files that were cut because there was too much of them of which nothing is known.
    pub cut: u64,
}

struct Mender<'a> {
    rows: &'a Rows,
    unknown: &'a KeyRanges,
    nodes: &'a NodeStore,
    state: &'a mut State,
    voids: &'a mut Voids,
    mended: Mended,
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
    let mended = Mended { dropped_names: inodes.dropped_names, nameless: inodes.nameless, made_up: inodes.made_up, ..Mended::default() };
    let mut mender = Mender { rows, unknown, nodes, state, voids, mended };
    for (inode, known) in &inodes.all {
        mender.inode(Inode(*inode), known, pieces.remove(inode).unwrap_or_default())?;
    }
    mender.voids.seal();
    Ok(mender.mended)
}

impl Mender<'_> {
    fn put(&mut self, body: impl FnOnce(&mut Txn<'_>) -> Result<(), StateError>) -> Result<(), RebuildError> {
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
                None => self.mended.dropped_attributes += 1,
            }
        }
        Ok(())
    }

    fn file(&mut self, inode: Inode, row: &mut InodeRow, is_made_up: bool, pieces: Vec<(u64, ExtentRow)>) -> Result<(), RebuildError> {
        let end_of = |(offset, row): &(u64, ExtentRow)| offset.saturating_add(u64::from(row.length));
        let small = value(self.rows, |part| Key::Content(inode, part)).or_else(|| value(self.rows, |part| Key::LargeContent(inode, part)));
        let small = small.filter(|content| !content.is_empty() && content.len() <= INLINE_FILE_BYTES && pieces.is_empty());
        if is_made_up {
            let ends = pieces.iter().map(end_of).max().unwrap_or(0);
            row.size = ends.max(small.as_ref().map_or(0, |content| content.len() as u64));
            row.version = pieces.iter().map(|(_, row)| row.sequence).max().unwrap_or(0);
        }
        if is_made_up && row.size == 0 {
            // It may have had bytes: an empty file would say that it had none.
            row.size = CLUSTER_BYTES as u64;
            if let Some(void) = self.voids.row(inode.0, 0, row.size)? {
                let source = self.nodes.loading(TreeId::Name);
                let gained = self.state.transact(&source, |txn| txn.put_extent(inode, 0, &void, true))?.value;
                row.blocks = 0u64.saturating_add_signed(gained);
                return Ok(());
            }
            row.size = 0;
        }
        row.size = row.size.min(FILE_MAX_BYTES);
        row.blocks = 0;
        let mut covered = Covered::default();
        if let Some(content) = small.filter(|content| content.len() as u64 <= row.size) {
            covered.add(0..content.len() as u64);
            self.put(|txn| txn.put_inline_content(inode, &content, row.version).map(drop))?;
        }
        let gained = self.place(inode, row.size, pieces, &mut covered)?;
        let voids = self.fill(inode, row, &covered)?;
        row.blocks = row.blocks.saturating_add_signed(gained).saturating_add_signed(voids);
        Ok(())
    }

    /// Puts pieces, the older ones first. Gives the blocks that were gained.
    fn place(&mut self, inode: Inode, size: u64, mut pieces: Vec<(u64, ExtentRow)>, covered: &mut Covered) -> Result<i64, RebuildError> {
        pieces.sort_by_key(|(offset, row)| (row.sequence, row.first, *offset));
        let end = size.div_ceil(CLUSTER_BYTES as u64).saturating_mul(CLUSTER_BYTES as u64);
        let mut gained = 0;
        for (offset, row) in pieces {
            let length = end.saturating_sub(offset).min(u64::from(row.length)) as u32;
            let Some(part) = row.part(0, length) else { continue };
            covered.add(offset..offset + u64::from(length));
            let source = self.nodes.loading(TreeId::Name);
            gained += self.state.transact(&source, |txn| txn.put_extent(inode, offset, &part, true))?.value;
        }
        Ok(gained)
    }

    /// Puts voids where bytes may have been: below the size of the file, over keys of which nothing is known.
    fn fill(&mut self, inode: Inode, row: &mut InodeRow, covered: &Covered) -> Result<i64, RebuildError> {
        let mut gained = 0;
        for gap in covered.gaps(row.size) {
            for hole in self.unknown_of(inode, &gap, covered) {
                let mut at = hole.start;
                while at < hole.end {
                    let Some(void) = self.voids.row(inode.0, at, hole.end)? else {
                        row.size = at;
                        self.mended.cut += 1;
                        return Ok(gained);
                    };
                    let source = self.nodes.loading(TreeId::Name);
                    gained += self.state.transact(&source, |txn| txn.put_extent(inode, at, &void, true))?.value;
                    at += u64::from(void.length);
                }
            }
        }
        Ok(gained)
    }

    /// The parts of a gap of which it is not known that they are holes.
    fn unknown_of(&self, inode: Inode, gap: &Range<u64>, covered: &Covered) -> Vec<Range<u64>> {
        let may_be_small = gap.end <= INLINE_FILE_BYTES as u64 && covered.is_empty();
        let content = [Key::Content(inode, 0), Key::LargeContent(inode, 0)];
        if may_be_small && content.iter().any(|key| self.unknown.has(&key.encode())) {
            return vec![gap.clone()];
        }
        let (from, to) = (Key::Extent(inode, gap.start).encode(), Key::Extent(inode, gap.end).encode());
        // The extent that begins before the gap and reaches into it.
        let (lowest, _) = Key::extents_of(inode);
        let before = if gap.start > 0 { self.unknown.between(&lowest, &from).last().is_some_and(|(_, end)| *end == from) } else { false };
        let mut parts: Vec<Range<u64>> = self
            .unknown
            .between(&from, &to)
            .iter()
            .map(|(start, end)| offset_of(start).max(gap.start)..offset_of(end).min(gap.end))
            .filter(|part| !part.is_empty())
            .collect();
        if before && parts.first().is_none_or(|part| part.start > gap.start) {
            parts.insert(0, gap.start..parts.first().map_or(gap.end, |part| part.start));
        }
        parts
    }
}

/// The offset in the key of an extent, or in one that is cut short.
fn offset_of(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key.iter().skip(crate::limits::KEY_FIXED_BYTES)) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

/// Ranges of bytes that are there.
#[derive(Default)]
struct Covered(BTreeMap<u64, u64>);

impl Covered {
    fn add(&mut self, range: Range<u64>) {
        let held = self.0.entry(range.start).or_insert(range.end);
        *held = range.end.max(*held);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is between them, below `size`.
    fn gaps(&self, size: u64) -> Vec<Range<u64>> {
        let (mut gaps, mut at) = (Vec::new(), 0);
        for (start, end) in self.0.iter().chain([(&size, &size)]) {
            let start = (*start).min(size);
            if at < start {
                gaps.push(at..start);
            }
            at = at.max(*end);
        }
        gaps
    }
}
