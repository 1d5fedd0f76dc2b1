//! An open region: gathering runs into it, compressed where it pays, and installing it.

use super::PlaceJob;
use crate::cache::CacheMessage;
use crate::shared::{FOR_ROOTS, Shared};
use crate::slot::Address;
use crate::vat::Grant;
use infmap_storage::address::Address as MapAddress;
use infmap_storage::address::Generation;
use infmap_storage::blocks::Block;
use infmap_storage::buffer::PooledBuf;
use infmap_storage::file_buffer::{PlacedExtent, Run, Ticket};
use infmap_storage::limits::{CLUSTER_BYTES, EXTENT_MAX_CLUSTERS, SQUARE_CLUSTERS};
use infmap_storage::region::{Codec, Identity, Owner, OwnerKind, RegionBuilder};
use infmap_storage::row::{ExtentRow, Inode, RegionKind};
use infmap_storage::unit::{Compressor, looks_like_noise};
use std::collections::VecDeque;
use std::io;

/// Units of a file that look like noise one after the other, after which the next are taken for the same.
const NOISY_UNITS: u32 = 8;
/// Of those, one in so many is looked at all the same: to look at all took a twentieth of the time of a stream.
const LOOK_EVERY: u32 = 4;

/// Compression, and how much is tried.
pub(super) struct Effort {
    compressor: Compressor,
    /// What looks like noise is tried too.
    try_noise: bool,
    /// How many units of this file looked like noise, one after the other up to now.
    noisy: (Inode, u32),
}

impl Effort {
    pub(super) fn new(try_noise: bool) -> Self {
        Self { compressor: Compressor::default(), try_noise, noisy: (Inode(0), 0) }
    }

    fn compress(&mut self, inode: Inode, unit: &[Block]) -> Option<&[u8]> {
        if !self.try_noise && self.is_noise(inode, || looks_like_noise(unit)) {
            return None;
        }
        self.compressor.compress_blocks(unit)
    }

    /// Whether a unit of this file is taken for noise.
    fn is_noise(&mut self, inode: Inode, look: impl FnOnce() -> bool) -> bool {
        let units = if self.noisy.0 == inode { self.noisy.1 } else { 0 };
        let is_noise = (units >= NOISY_UNITS && !units.is_multiple_of(LOOK_EVERY)) || look();
        self.noisy = (inode, if is_noise { units + 1 } else { 0 });
        is_noise
    }
}

/// Whether a job found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    All,
    /// The region is full: what is left is still in the job.
    Full,
}

/// What a shard will hear.
pub(super) struct Report {
    pub from: Address<CacheMessage>,
    pub inode: Inode,
    pub ticket: Ticket,
    pub extents: Vec<PlacedExtent>,
    pub grant: Grant,
}

/// A region being filled.
pub(super) struct OpenRegion {
    builder: RegionBuilder<PooledBuf>,
    grant: Grant,
    reports: Vec<Report>,
    /// What is in it, to be placed elsewhere should it fail.
    jobs: Vec<PlaceJob>,
}

impl OpenRegion {
    pub(super) fn new(shared: &Shared, grant: Grant) -> Option<Self> {
        let identity = Identity { volume: shared.uuid, region: grant.region(), kind: RegionKind::Data };
        let builder = RegionBuilder::new(shared.image_buffers.take(), identity)?;
        Some(Self { builder, grant, reports: Vec::new(), jobs: Vec::new() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Takes runs of a job as long as there is room.
    pub(super) fn gather(&mut self, job: &mut PlaceJob, mut effort: Option<&mut Effort>) -> Gathered {
        while let Some(run) = job.runs.pop_front() {
            let placed = self.gather_run(job, &run, effort.as_deref_mut());
            let (done, rest) = split(run, placed);
            if let Some(done) = done {
                self.remember(job, done);
            }
            if let Some(rest) = rest {
                job.runs.push_front(rest);
                return Gathered::Full;
            }
        }
        Gathered::All
    }

    /// Places the pieces of a run, and returns how many of its blocks found room.
    fn gather_run(&mut self, job: &PlaceJob, run: &Run, mut effort: Option<&mut Effort>) -> usize {
        let (mut raw_from, mut at) = (0, 0);
        while at < run.blocks.len() {
            let unit_end = unit_end(run, at);
            if let Some(effort) = effort.as_deref_mut()
                && let Some(stored) = effort.compress(job.inode, &run.blocks[at..unit_end])
            {
                if !self.place(job, run, raw_from, at, None) {
                    return raw_from;
                }
                if !self.place(job, run, at, unit_end, Some(stored)) {
                    return at;
                }
                raw_from = unit_end;
            }
            at = unit_end;
            if at - raw_from >= EXTENT_MAX_CLUSTERS || at == run.blocks.len() {
                let room = self.builder.clusters_free();
                // The last raw run of a region may be cut to fit it.
                let end = at.min(raw_from + room.max(1));
                if !self.place(job, run, raw_from, end, None) {
                    return raw_from;
                }
                raw_from = end;
                if end < at {
                    return end;
                }
            }
        }
        raw_from
    }

    /// Places blocks `from..to` of a run as one extent. True if it found room, or there was nothing to place.
    fn place(&mut self, job: &PlaceJob, run: &Run, from: usize, to: usize, stored: Option<&[u8]>) -> bool {
        let (Some(blocks), Some(sequences)) = (run.blocks.get(from..to), run.sequences.get(from..to)) else { return true };
        if blocks.is_empty() {
            return true;
        }
        let decoded_bytes = (blocks.len() * CLUSTER_BYTES) as u32;
        let offset = run.offset + (from * CLUSTER_BYTES) as u64;
        let sequence = sequences.iter().copied().max().unwrap_or(0);
        let codec = if stored.is_some() { Codec::Zstd } else { Codec::Raw };
        let owner = Owner { kind: OwnerKind::Extent, codec, inode: job.inode.0, offset_bytes: offset, decoded_bytes, sequence, home: None };
        let raw: Vec<&[u8]> = blocks.iter().map(|block: &Block| &block.bytes()[..]).collect();
        let pieces = stored.map_or(raw, |stored| vec![stored]);
        let stored_bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>() as u32;
        let Ok(placed) = self.builder.place(owner, &pieces) else { return false };
        let row = ExtentRow {
            first: MapAddress { region: self.grant.region(), cluster: placed.first },
            clusters: placed.crcs.len() as u8,
            codec,
            stored_bytes,
            decoded_bytes,
            skip: 0,
            length: decoded_bytes,
            sequence,
            birth: Generation(0),
            crcs_from: 0,
            crcs: placed.crcs.to_vec(),
        };
        self.report(job, PlacedExtent { offset, row, sequences: sequences.to_vec() });
        true
    }

    fn report(&mut self, job: &PlaceJob, extent: PlacedExtent) {
        match self.reports.last_mut() {
            Some(report) if report.inode == job.inode && report.ticket == job.ticket => report.extents.push(extent),
            _ => self.reports.push(Report {
                from: job.from.clone(),
                inode: job.inode,
                ticket: job.ticket,
                extents: vec![extent],
                grant: self.grant.clone(),
            }),
        }
    }

    fn remember(&mut self, job: &PlaceJob, run: Run) {
        match self.jobs.last_mut() {
            Some(last) if last.inode == job.inode && last.ticket == job.ticket => last.runs.push_back(run),
            _ => self.jobs.push(PlaceJob { from: job.from.clone(), inode: job.inode, ticket: job.ticket, runs: VecDeque::from([run]) }),
        }
    }

    /// What is in it, not to be placed here.
    pub(super) fn into_jobs(self) -> Vec<PlaceJob> {
        self.jobs
    }

    /// Finishes the image and makes it durable under its name.
    pub(super) fn install(self, shared: &Shared) -> Result<Vec<Report>, (Vec<PlaceJob>, io::Error)> {
        let sealed = shared.encoders.lend(|encoder| self.builder.finish(encoder));
        shared.scrub.use_disk();
        match shared.spares.install(shared.device.as_ref(), self.grant.region(), sealed.bytes(), FOR_ROOTS) {
            Ok(()) => Ok(self.reports),
            Err(error) => Err((self.jobs, error)),
        }
    }
}

/// The end of the unit of the file that block `at` of a run lies in, or of the run.
fn unit_end(run: &Run, at: usize) -> usize {
    let number = run.offset as usize / CLUSTER_BYTES + at;
    let left = SQUARE_CLUSTERS - number % SQUARE_CLUSTERS;
    (at + left).min(run.blocks.len())
}

/// The first `placed` blocks of a run, and the others.
fn split(mut run: Run, placed: usize) -> (Option<Run>, Option<Run>) {
    if placed >= run.blocks.len() {
        return (Some(run), None);
    }
    let rest = Run {
        offset: run.offset + (placed * CLUSTER_BYTES) as u64,
        blocks: run.blocks.split_off(placed),
        sequences: run.sequences.split_off(placed),
    };
    (Some(run).filter(|run| !run.blocks.is_empty()), Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_noise_is_looked_at_now_and_then_and_any_other_at_every_unit() {
        let mut effort = Effort::new(false);
        let looks = |effort: &mut Effort, inode, units, noise| {
            let mut looks = 0;
            for _ in 0..units {
                effort.is_noise(Inode(inode), || {
                    looks += 1;
                    noise
                });
            }
            looks
        };
        assert_eq!(looks(&mut effort, 1, 8 + 40, true), 8 + 10);
        assert_eq!(looks(&mut effort, 2, 5, true), 5, "another file");
        assert_eq!(looks(&mut effort, 1, 8, true), 8, "and the first again");
        assert!((1..=4).contains(&looks(&mut effort, 1, 4, false)), "what is no noise any more is seen soon");
        assert_eq!(looks(&mut effort, 1, 9, false), 9);
    }
}
