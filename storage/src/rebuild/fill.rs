//! The bytes of a regular file out of loose rows and loose pieces, and voids between them.
//!
//! Must be true: RBL-2 bytes of which it is not known whether they were ever there are voids, never zeros: a gap is a hole only where no row
//! about it can be missing, neither an extent that reaches into it nor a part of the content of a small file; EXT-4 of pieces that lie
//! over each other the higher write sequence wins; content that the tree itself names wins over all. Memory: the file's pieces. Fails: with
//! the tree's error.

use super::RebuildError;
use super::mend::Mender;
use super::people::value;
use crate::limits::{CLUSTER_BYTES, EXTENT_MAX_CLUSTERS, FILE_MAX_BYTES, INLINE_FILE_BYTES};
use crate::row::{ExtentRow, Inode, InodeRow, Key};
use crate::vat::TreeId;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a file that one extent gives at most.
const EXTENT_MAX_BYTES: u64 = (EXTENT_MAX_CLUSTERS * CLUSTER_BYTES) as u64;
const SMALL_BYTES: u64 = INLINE_FILE_BYTES as u64;

/// What is known of the content that stands in the tree.
struct Small {
    content: Vec<u8>,
    /// All its rows are there, and are those of the tree itself: what they do not give is a hole.
    is_known: bool,
}

impl Small {
    fn length(&self) -> u64 {
        self.content.len() as u64
    }
}

impl Mender<'_> {
    /// Puts what is in a file, and says in `row` how long it is.
    pub fn file(&mut self, inode: Inode, row: &mut InodeRow, is_made_up: bool, pieces: Vec<(u64, ExtentRow)>) -> Result<(), RebuildError> {
        let end_of = |(offset, row): &(u64, ExtentRow)| offset.saturating_add(u64::from(row.length));
        let mut small = self.small(inode);
        if is_made_up {
            row.size = pieces.iter().map(end_of).max().unwrap_or(0).max(small.length());
            row.version = pieces.iter().map(|(_, row)| row.sequence).max().unwrap_or(0);
        }
        row.blocks = 0;
        if is_made_up && row.size == 0 {
            // It may have had bytes: an empty file would say that it had none.
            if let Some(void) = self.voids.row(inode.0, 0, CLUSTER_BYTES as u64)? {
                row.size = CLUSTER_BYTES as u64;
                row.blocks = 0u64.saturating_add_signed(self.extent(inode, 0, &void)?);
            }
            return Ok(());
        }
        row.size = row.size.min(FILE_MAX_BYTES);
        small.content.truncate(usize::try_from(row.size).unwrap_or(usize::MAX));
        let mut covered = Covered::default();
        if !small.content.is_empty() {
            covered.add(0..small.length());
            self.put(|txn| txn.put_inline_content(inode, &small.content, row.version).map(drop))?;
        }
        let from = if small.is_known { small.length() } else { 0 };
        let gained = self.place(inode, from..row.size, pieces, &mut covered)?;
        let voids = self.fill(inode, row, &small, &covered)?;
        row.blocks = row.blocks.saturating_add_signed(gained).saturating_add_signed(voids);
        Ok(())
    }

    fn extent(&mut self, inode: Inode, offset: u64, row: &ExtentRow) -> Result<i64, RebuildError> {
        let source = self.nodes.loading(TreeId::Name);
        Ok(self.state.transact(&source, |txn| txn.put_extent(inode, offset, row, true))?.value)
    }

    /// The content of a small file: that of which the tree itself has all rows, or else any that is whole.
    fn small(&self, inode: Inode) -> Small {
        let forms: [&dyn Fn(u16) -> Key; 2] = [&|part| Key::Content(inode, part), &|part| Key::LargeContent(inode, part)];
        let (mut content, mut is_known) = (None, true);
        for form in forms {
            let (first, last) = (form(0).encode(), form(u16::MAX).encode());
            let is_complete = self.unknown.between(&first, &last).is_empty();
            let found = value(self.rows, form).filter(|content| !content.is_empty() && content.len() <= INLINE_FILE_BYTES);
            match found {
                Some(content) if is_complete => return Small { content, is_known: true },
                // Rows that do not give a value were one.
                None if is_complete && self.rows.range(first..=last).next().is_none() => {}
                found => {
                    is_known = false;
                    content = content.or(found);
                }
            }
        }
        Small { content: content.unwrap_or_default(), is_known }
    }

    /// Puts the parts of pieces that lie within a range, the older ones first. Gives the blocks that were gained.
    fn place(
        &mut self,
        inode: Inode,
        within: Range<u64>,
        mut pieces: Vec<(u64, ExtentRow)>,
        covered: &mut Covered,
    ) -> Result<i64, RebuildError> {
        pieces.sort_by_key(|(offset, row)| (row.sequence, row.first, *offset));
        let end = within.end.div_ceil(CLUSTER_BYTES as u64).saturating_mul(CLUSTER_BYTES as u64);
        let mut gained = 0;
        for (offset, row) in pieces {
            let skipped = within.start.saturating_sub(offset).min(u64::from(row.length)) as u32;
            let length = end.saturating_sub(offset).min(u64::from(row.length)) as u32;
            let Some(part) = row.part(skipped, length) else { continue };
            let offset = offset + u64::from(skipped);
            covered.add(offset..offset + u64::from(part.length));
            gained += self.extent(inode, offset, &part)?;
        }
        Ok(gained)
    }

    /// Puts voids where bytes may have been: below the size of the file, over keys of which nothing is known.
    fn fill(&mut self, inode: Inode, row: &mut InodeRow, small: &Small, covered: &Covered) -> Result<i64, RebuildError> {
        let mut gained = 0;
        for gap in covered.gaps(row.size) {
            for hole in self.unknown_of(inode, &gap, small) {
                let mut at = hole.start;
                while at < hole.end {
                    let Some(void) = self.voids.row(inode.0, at, hole.end)? else {
                        row.size = at;
                        self.mended.cut += 1;
                        return Ok(gained);
                    };
                    gained += self.extent(inode, at, &void)?;
                    at += u64::from(void.length);
                }
            }
        }
        Ok(gained)
    }

    /// The parts of a gap of which it is not known that they are holes, ascending and apart.
    fn unknown_of(&self, inode: Inode, gap: &Range<u64>, small: &Small) -> Vec<Range<u64>> {
        let mut covered = Covered::default();
        if !small.is_known && gap.start < SMALL_BYTES {
            covered.add(gap.start..gap.end.min(SMALL_BYTES));
        }
        // An extent that begins before the gap may reach into it, unless it would lie over one that the tree itself names.
        let (lowest, _) = Key::extents_of(inode);
        let from = Key::Extent(inode, gap.start).encode();
        let known = self.rows.range(lowest..from).rev().find(|(key, _)| !self.unknown.has(key));
        let known_end = known.and_then(|(key, row)| Some(offset_of(key) + u64::from(ExtentRow::decode(row).ok()?.length)));
        let first = gap.start.saturating_sub(EXTENT_MAX_BYTES - 1).max(known_end.unwrap_or(0)).min(gap.start);
        let (from, to) = (Key::Extent(inode, first).encode(), Key::Extent(inode, gap.end).encode());
        let unknown = self.unknown.between(&from, &to).into_iter().map(|(start, end)| (offset_of(&start), offset_of(&end)));
        // Rows that gave nothing for the gap: not whole, or of an image that is there no more.
        let useless = self.rows.range(from..to).map(|(key, row)| (offset_of(key), ExtentRow::decode(row).is_ok()));
        let useless = useless.filter(|(offset, is_whole)| *offset >= gap.start || !is_whole).map(|(offset, _)| (offset, offset));
        for (start, end) in unknown.chain(useless) {
            let reach = end.saturating_add(EXTENT_MAX_BYTES).min(gap.end);
            covered.add(start.max(gap.start)..reach);
        }
        covered.merged()
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

    /// The ranges, ascending and apart.
    fn merged(&self) -> Vec<Range<u64>> {
        let mut merged: Vec<Range<u64>> = Vec::new();
        for (start, end) in self.0.iter().filter(|(start, end)| start < end) {
            match merged.last_mut() {
                Some(last) if *start <= last.end => last.end = last.end.max(*end),
                _ => merged.push(*start..*end),
            }
        }
        merged
    }
}
