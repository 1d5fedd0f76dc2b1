//! Giving bytes of a file: dirty blocks over extents over zeros, from memory if they are there, else from the images.
//!
//! Owns: `FileReader`. Must be true: RD-1 every byte comes from a dirty block, a verified cluster, the tree, or is a zero that nothing
//! covers; RD-2 without leave to touch the disk nothing is read: `NotResident` comes before any byte is promised;
//! RD-3 what stands for a cluster that cannot be had is told to whoever wants it so, and never kept.
//! Fails: see `ReadError`; what was asked for is then undefined.

pub mod bring;

use crate::address::Address;
use crate::ahead::Ahead;
use crate::blocks::{Block, BlockPool};
use crate::damage::{Found, LostCluster};
use crate::images::{ImageError, Images, RUN_CLUSTERS};
use crate::limits::{CLUSTER_BYTES, INLINE_FILE_BYTES, UNIT_BYTES};
use crate::row::{Codec, ExtentRow, Inode};
use crate::state::{StateError, View};
use crate::tiers::{Decoded, Tiers};
use crate::unit::decode_unit;
use bytes::Bytes;
use std::cell::RefCell;
use std::sync::Arc;

/// Why bytes cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Ask again with leave to touch the disk.
    #[error("not in memory")]
    NotResident,
    #[error(transparent)]
    State(StateError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{at}: the compressed unit does not decode to what its row says; run `infmap check`")]
    Undecodable { at: Address },
}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Miss(_) => Self::NotResident,
            other => Self::State(other),
        }
    }
}

/// Reads at most so many bytes leave their clusters in L1: larger ones are streams, which the kernel keeps.
const KEEP_BYTES: usize = 16 * 1024;
/// Extents that one step of a read touches at most; a read of 1 MiB over single blocks touches 256.
const MAX_EXTENTS: usize = 4096;

/// A reader of one version of the tree.
pub struct FileReader<'a> {
    pub view: View<'a>,
    pub tiers: &'a Tiers,
    pub pool: &'a BlockPool,
    /// Leave to touch the disk.
    pub images: Option<&'a Images>,
    /// It is read ahead: everything is kept in L1, whatever its size.
    pub ahead: Option<Arc<Ahead>>,
    /// Who hears of clusters that cannot be had; zeros stand for them in what is read. Without it they are an error.
    pub lost: Option<&'a RefCell<Vec<LostCluster>>>,
}

impl FileReader<'_> {
    /// Fills `out` with the bytes of the file from `offset` on. `dirty` gives the blocks that lie over the tree, in ascending order.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, inode: Inode, offset: u64, dirty: &[(u64, Block)], out: &mut [u8]) -> Result<(), ReadError> {
        let end = offset + out.len() as u64;
        let mut at = offset;
        for (number, block) in dirty {
            let start = number * CLUSTER_BYTES as u64;
            // What a dirty block replaces is not read: it may be damaged.
            self.read_tree(inode, at, slice(out, at - offset, start.min(end).saturating_sub(at)))?;
            at = at.max((start + CLUSTER_BYTES as u64).min(end));
            copy_over(out, offset, start, block.bytes());
        }
        self.read_tree(inode, at, slice(out, at - offset, end - at))
    }

    fn read_tree(&self, inode: Inode, offset: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let (mut at, end) = (offset, offset + out.len() as u64);
        while at < end {
            let extents = self.view.extents(inode, at, end, MAX_EXTENTS)?;
            let behind = extents.last().map_or(end, |(start, row)| end.min(start + u64::from(row.length)));
            let to = if extents.len() < MAX_EXTENTS { end } else { behind };
            let part = slice(out, at - offset, to - at);
            self.fill_gaps(inode, at, &extents, part)?;
            self.fill_extents(at, &extents, part)?;
            at = to;
        }
        Ok(())
    }

    /// Zeros, and content that stands in the tree, where no extent is.
    fn fill_gaps(&self, inode: Inode, offset: u64, extents: &[(u64, ExtentRow)], out: &mut [u8]) -> Result<(), ReadError> {
        let (end, mut at, mut gaps) = (offset + out.len() as u64, offset, Vec::new());
        for (start, row) in extents {
            gaps.extend((at < *start).then_some((at, *start)));
            at = at.max(start + u64::from(row.length));
        }
        gaps.extend((at < end).then_some((at, end)));
        let small = gaps.first().is_some_and(|gap| gap.0 < INLINE_FILE_BYTES as u64);
        let inline = if small { self.view.inline_content(inode)? } else { None };
        for (from, to) in gaps {
            let gap = (from - offset) as usize..(to.min(end) - offset) as usize;
            let Some(gap) = out.get_mut(gap) else { continue };
            gap.fill(0);
            if let Some(content) = &inline {
                copy_over(gap, from, 0, content);
            }
        }
        Ok(())
    }

    fn fill_extents(&self, offset: u64, extents: &[(u64, ExtentRow)], out: &mut [u8]) -> Result<(), ReadError> {
        let end = offset + out.len() as u64;
        let mut pending: Option<RawRun> = None;
        for (start, row) in extents {
            let (from, to) = (offset.max(*start), end.min(start + u64::from(row.length)));
            let Some(part) = row.part((from - start) as u32, (to - start) as u32) else { continue };
            match part.codec {
                Codec::Zstd => self.fill_unit(&part, slice(out, from - offset, u64::from(part.length)))?,
                Codec::Raw => {
                    let next = RawRun::of(&part, (from - offset) as usize)?;
                    if !pending.as_mut().is_some_and(|run| run.absorbs(&next)) {
                        self.fill_raw(pending.replace(next), out)?;
                    }
                }
            }
        }
        self.fill_raw(pending, out)
    }

    /// What reads ahead asks for nothing itself, and is not counted.
    fn decoded(&self, at: Address) -> Option<Decoded> {
        if self.ahead.is_some() { self.tiers.peek_decoded(at) } else { self.tiers.decoded(at) }
    }

    fn missed(&self, entries: u64) {
        if self.ahead.is_none() {
            self.tiers.missed_decoded(entries);
        }
    }

    fn fill_unit(&self, part: &ExtentRow, out: &mut [u8]) -> Result<(), ReadError> {
        let unit = self.unit(part)?;
        let wanted = unit.get(part.skip as usize..(part.skip + part.length) as usize);
        out.copy_from_slice(wanted.filter(|w| w.len() == out.len()).ok_or(ReadError::Undecodable { at: part.first })?);
        Ok(())
    }

    fn unit(&self, row: &ExtentRow) -> Result<Bytes, ReadError> {
        if let Some(Decoded::Unit(unit)) = self.decoded(row.first) {
            return Ok(unit);
        }
        let images = self.images.ok_or(ReadError::NotResident)?;
        self.missed(1);
        let stored = match self.tiers.stored(row.first) {
            Some(stored) => stored,
            None => {
                let mut clusters = vec![0; usize::from(row.clusters) * CLUSTER_BYTES];
                if !self.read_clusters(images, row.first, &row.crcs, &mut clusters)? {
                    return Ok(vec![0; row.decoded_bytes as usize].into());
                }
                clusters.truncate(row.stored_bytes as usize);
                let stored = Bytes::from(clusters);
                self.tiers.keep_stored(row.first, stored.clone(), u64::from(row.decoded_bytes));
                stored
            }
        };
        let Some(unit) = decode_unit(&stored, row.decoded_bytes as usize) else { return self.undecodable(row) };
        let unit = Bytes::from(unit);
        // A unit that was read only in part is likely to be asked for again.
        if self.ahead.is_some() || (row.length as usize) < UNIT_BYTES {
            self.tiers.keep_decoded(row.first, Decoded::Unit(unit.clone()), self.ahead.as_ref());
        }
        Ok(unit)
    }

    /// A unit that has its checksums and does not decode is lost like another.
    fn undecodable(&self, row: &ExtentRow) -> Result<Bytes, ReadError> {
        let at = row.first;
        let (Some(lost), Some(expected_crc)) = (self.lost, row.crc(0)) else { return Err(ReadError::Undecodable { at }) };
        lost.borrow_mut().push(LostCluster { at, expected_crc, found: Found::Undecodable });
        Ok(vec![0; row.decoded_bytes as usize].into())
    }

    fn fill_raw(&self, run: Option<RawRun>, out: &mut [u8]) -> Result<(), ReadError> {
        let Some(run) = run else { return Ok(()) };
        let out = slice(out, run.at as u64, run.length as u64);
        if self.fill_from_l1(&run, out) {
            return Ok(());
        }
        let images = self.images.ok_or(ReadError::NotResident)?;
        self.missed(run.crcs.len() as u64);
        let aligned = run.skip == 0 && out.len() == run.crcs.len() * CLUSTER_BYTES;
        if aligned && run.crcs.len() <= RUN_CLUSTERS {
            if self.read_clusters(images, run.first, &run.crcs, out)? {
                self.keep(&run, out);
            }
            return Ok(());
        }
        let mut is_whole = true;
        let mut scratch = vec![0; run.crcs.len() * CLUSTER_BYTES];
        for (n, (crcs, clusters)) in run.crcs.chunks(RUN_CLUSTERS).zip(scratch.chunks_mut(RUN_CLUSTERS * CLUSTER_BYTES)).enumerate() {
            let first = run.address(n * RUN_CLUSTERS).ok_or(ReadError::Undecodable { at: run.first })?;
            is_whole &= self.read_clusters(images, first, crcs, clusters)?;
        }
        if is_whole {
            self.keep(&run, &scratch);
        }
        let wanted = scratch.get(run.skip..run.skip + out.len()).ok_or(ReadError::Undecodable { at: run.first })?;
        out.copy_from_slice(wanted);
        Ok(())
    }

    /// Returns whether all of it could be had: what could not must not be kept (TIR-1).
    fn read_clusters(&self, images: &Images, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<bool, ReadError> {
        let Some(lost) = self.lost else {
            images.read(first, crcs, out)?;
            return Ok(true);
        };
        let missing = images.read_what_is(first, crcs, out)?;
        let is_whole = missing.is_empty();
        lost.borrow_mut().extend(missing);
        Ok(is_whole)
    }

    fn fill_from_l1(&self, run: &RawRun, out: &mut [u8]) -> bool {
        let mut whole = Vec::with_capacity(run.crcs.len());
        for n in 0..run.crcs.len() {
            match run.address(n).and_then(|at| self.decoded(at)) {
                Some(Decoded::Cluster(block)) => whole.push(block),
                _ => return false,
            }
        }
        for (n, block) in whole.iter().enumerate() {
            copy_over(out, run.skip as u64, (n * CLUSTER_BYTES) as u64, block.bytes());
        }
        true
    }

    fn keep(&self, run: &RawRun, clusters: &[u8]) {
        if clusters.len() > KEEP_BYTES && self.ahead.is_none() {
            return;
        }
        for (n, cluster) in clusters.chunks_exact(CLUSTER_BYTES).enumerate() {
            if let Some(at) = run.address(n) {
                self.tiers.keep_decoded(at, Decoded::Cluster(self.pool.holding(0, cluster)), self.ahead.as_ref());
            }
        }
    }
}

/// Consecutive raw clusters of one image that give consecutive bytes.
struct RawRun {
    first: Address,
    crcs: Vec<u32>,
    /// Bytes of the first cluster that are not wanted.
    skip: usize,
    /// Bytes wanted.
    length: usize,
    /// Where they go.
    at: usize,
}

impl RawRun {
    fn of(part: &ExtentRow, at: usize) -> Result<Self, ReadError> {
        let undecodable = ReadError::Undecodable { at: part.first };
        let (first, count) = part.touched_clusters();
        let crcs = (first..first + count).map(|n| part.crc(n)).collect::<Option<Vec<_>>>();
        match (part.address(first), crcs) {
            (Some(address), Some(crcs)) => {
                Ok(Self { first: address, crcs, skip: part.skip as usize % CLUSTER_BYTES, length: part.length as usize, at })
            }
            _ => Err(undecodable),
        }
    }

    fn address(&self, n: usize) -> Option<Address> {
        Some(Address { region: self.first.region, cluster: crate::address::Cluster::new(self.first.cluster.number() + n)? })
    }

    /// Takes the next run in if it goes on where this one ends, on disk and in the file.
    fn absorbs(&mut self, next: &Self) -> bool {
        let whole = (self.skip + self.length).is_multiple_of(CLUSTER_BYTES);
        let follows = whole && next.skip == 0 && self.at + self.length == next.at && self.address(self.crcs.len()) == Some(next.first);
        if follows && self.crcs.len() + next.crcs.len() <= RUN_CLUSTERS {
            self.crcs.extend_from_slice(&next.crcs);
            self.length += next.length;
            return true;
        }
        false
    }
}

fn slice(out: &mut [u8], at: u64, length: u64) -> &mut [u8] {
    let start = (at as usize).min(out.len());
    let end = (start + length as usize).min(out.len());
    out.get_mut(start..end).unwrap_or_default()
}

/// Copies the part of `content`, which lies at `content_at`, that falls into `out`, which lies at `out_at`.
fn copy_over(out: &mut [u8], out_at: u64, content_at: u64, content: &[u8]) {
    let from = out_at.saturating_sub(content_at) as usize;
    let to = content_at.saturating_sub(out_at) as usize;
    if let (Some(content), Some(out)) = (content.get(from..), out.get_mut(to..)) {
        let n = content.len().min(out.len());
        if let (Some(content), Some(out)) = (content.get(..n), out.get_mut(..n)) {
            out.copy_from_slice(content);
        }
    }
}

#[cfg(test)]
mod tests;
