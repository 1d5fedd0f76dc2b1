//! Single clusters out of bytes of a file, without the rest of it: the path of a cold read.
//!
//! Owns: `ClusterPieces`, `RawBands`. Must be true: bytes are handed out only if they have the checksum that the caller brought,
//! which comes from the row of the extent. Fails: `ClusterDamaged` or `NotCovered`, with the cluster.

use super::RegionError;
use super::layout::cluster_pieces;
use crate::address::Cluster;
use crate::limits::{CLUSTER_BYTES, CLUSTER_HEIGHT_PX, PIECE_BYTES};

/// A cluster's 4096 bytes where they lie, in four pieces of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterPieces<'a>([&'a [u8; PIECE_BYTES]; CLUSTER_HEIGHT_PX]);

impl<'a> ClusterPieces<'a> {
    /// A cluster of zeros.
    pub(super) const ZERO: ClusterPieces<'static> = ClusterPieces([&[0; PIECE_BYTES]; CLUSTER_HEIGHT_PX]);

    /// The cluster in bytes that begin at file offset `base`; `None` if they do not hold it.
    pub(super) fn at(bytes: &'a [u8], base: usize, cluster: Cluster) -> Option<Self> {
        let [a, b, c, d] = cluster_pieces(cluster).map(|offset| bytes.get(offset.checked_sub(base)?..)?.first_chunk());
        Some(Self([a?, b?, c?, d?]))
    }

    /// The pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> [&'a [u8; PIECE_BYTES]; CLUSTER_HEIGHT_PX] {
        self.0
    }

    /// Copies the cluster.
    pub fn copy_to(&self, out: &mut [u8; CLUSTER_BYTES]) {
        out.chunks_exact_mut(PIECE_BYTES).zip(self.0).for_each(|(out, piece)| out.copy_from_slice(piece));
    }

    /// CRC32 of the 4096 bytes.
    #[must_use]
    pub fn crc(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        self.0.iter().for_each(|piece| hasher.update(&piece[..]));
        hasher.finalize()
    }
}

/// Unverified bytes of an image from some file offset on, read at [`super::layout::read_range`] or around it.
#[derive(Clone, Copy)]
pub struct RawBands<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> RawBands<'a> {
    /// `bytes` as they stand in the file at `offset`.
    #[must_use]
    pub fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// One cluster, verified, where it lies.
    ///
    /// # Errors
    /// `NotCovered`, `ClusterDamaged`.
    pub fn cluster(&self, cluster: Cluster, crc: u32) -> Result<ClusterPieces<'a>, RegionError> {
        let pieces = ClusterPieces::at(self.bytes, self.offset, cluster).ok_or(RegionError::NotCovered(cluster))?;
        if pieces.crc() == crc { Ok(pieces) } else { Err(RegionError::ClusterDamaged(cluster)) }
    }

    /// One cluster as it stands in the file, for whoever verifies in another way.
    #[must_use]
    pub fn unverified(&self, cluster: Cluster) -> Option<ClusterPieces<'a>> {
        ClusterPieces::at(self.bytes, self.offset, cluster)
    }

    /// Copies and verifies a run of clusters from `first` on, one for each of `crcs`, into `out` of 4096 bytes for each.
    ///
    /// # Errors
    /// `NotCovered` (also for an `out` that is too short), `ClusterDamaged`. `out` then holds unverified bytes: do not use it.
    pub fn copy_run(&self, first: Cluster, crcs: &[u32], out: &mut [u8]) -> Result<(), RegionError> {
        let mut slots = out.chunks_exact_mut(CLUSTER_BYTES);
        for (number, &crc) in (first.number()..).zip(crcs) {
            let cluster = Cluster::new(number).ok_or(RegionError::NotCovered(first))?;
            let not_covered = RegionError::NotCovered(cluster);
            let slot = slots.next().and_then(<[u8]>::first_chunk_mut).ok_or(not_covered)?;
            ClusterPieces::at(self.bytes, self.offset, cluster).ok_or(not_covered)?.copy_to(slot);
            if crc32fast::hash(slot) != crc {
                return Err(RegionError::ClusterDamaged(cluster));
            }
        }
        Ok(())
    }
}
