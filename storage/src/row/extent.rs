//! The row of an extent: a range of a file's bytes, where they are, and what each of their clusters must sum to.
//!
//! Owns: `ExtentRow`. Must be true: EXT-1 `skip + length` lies within the decoded extent; EXT-2 a raw row may carry the checksums
//! of only those clusters that its range touches, a compressed one carries all; EXT-3 `first` and `clusters` name the whole
//! extent as placed, whatever part of it the row still uses. Fails: see `RowError`.

use super::{RowError, decode};
use crate::address::{Address, Cluster, Generation};
use crate::limits::{CLUSTER_BYTES, EXTENT_MAX_CLUSTERS, UNIT_BYTES};
pub use crate::region::Codec;
use crate::wire::Put;

/// Where `length` bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentRow {
    /// First cluster of the extent as placed; also its name for counting.
    pub first: Address,
    /// Clusters of the extent as placed, 1..=64.
    pub clusters: u8,
    pub codec: Codec,
    /// Bytes of the stored form (a zstd frame); of a raw extent `clusters * 4096`.
    pub stored_bytes: u32,
    /// Bytes of the decoded extent.
    pub decoded_bytes: u32,
    /// Decoded bytes of the extent before those that this row uses.
    pub skip: u32,
    /// Bytes of the file that this row gives.
    pub length: u32,
    /// Write sequence of the newest of these bytes.
    pub sequence: u64,
    /// Generation in which the row was put.
    pub birth: Generation,
    /// Number within the extent of the cluster whose checksum comes first in `crcs`.
    pub crcs_from: u8,
    /// CRC32 over the 4,096 stored bytes of each cluster.
    pub crcs: Vec<u32>,
}

impl ExtentRow {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(56 + 4 * self.crcs.len());
        out.put_u8(super::ENCODING);
        out.put(&self.first.encode());
        out.put_u8(self.clusters);
        out.put_u8(self.codec as u8);
        for v in [self.stored_bytes, self.decoded_bytes, self.skip, self.length] {
            out.put_u32(v);
        }
        out.put_u64(self.sequence);
        out.put_u64(self.birth.0);
        out.put_u8(self.crcs_from);
        out.put_u8(self.crcs.len() as u8);
        self.crcs.iter().for_each(|&crc| out.put_u32(crc));
        out
    }

    /// # Errors
    /// [`RowError`] when the bytes are not such a row or it contradicts itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let row = decode("extent", bytes, |r| {
            let first = Address::decode(r.array()?)?;
            let (clusters, codec) = (r.u8()?, Codec::from_number(r.u8()?)?);
            let (stored_bytes, decoded_bytes, skip, length) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
            let (sequence, birth) = (r.u64()?, Generation(r.u64()?));
            let (crcs_from, count) = (r.u8()?, r.u8()?);
            if usize::from(count) > EXTENT_MAX_CLUSTERS {
                return None;
            }
            let crcs = (0..count).map(|_| r.u32()).collect::<Option<Vec<_>>>()?;
            Some(Self { first, clusters, codec, stored_bytes, decoded_bytes, skip, length, sequence, birth, crcs_from, crcs })
        })?;
        if row.is_sound() { Ok(row) } else { Err(RowError { row: "extent", what: "its lengths contradict each other" }) }
    }

    fn is_sound(&self) -> bool {
        let clusters = usize::from(self.clusters);
        let (first, touched) = self.touched_clusters();
        let fits = |bytes: u32| bytes as usize <= clusters * CLUSTER_BYTES;
        let codec_fits = match self.codec {
            Codec::Raw => fits(self.decoded_bytes) && self.stored_bytes == self.decoded_bytes,
            Codec::Zstd => {
                fits(self.stored_bytes) && self.decoded_bytes as usize <= UNIT_BYTES && self.crcs_from == 0 && self.crcs.len() == clusters
            }
        };
        (1..=EXTENT_MAX_CLUSTERS).contains(&clusters)
            && Cluster::new(self.first.cluster.number() + clusters - 1).is_some()
            && self.length > 0
            && self.skip.checked_add(self.length).is_some_and(|end| end <= self.decoded_bytes)
            && codec_fits
            && usize::from(self.crcs_from) <= first
            && usize::from(self.crcs_from) + self.crcs.len() >= first + touched
            && usize::from(self.crcs_from) + self.crcs.len() <= clusters
    }

    /// The clusters of the extent that must be read to give this row's bytes: number of the first, and how many.
    #[must_use]
    pub fn touched_clusters(&self) -> (usize, usize) {
        match self.codec {
            Codec::Zstd => (0, usize::from(self.clusters)),
            Codec::Raw => {
                let from = self.skip as usize / CLUSTER_BYTES;
                let to = (self.skip as usize + self.length as usize).div_ceil(CLUSTER_BYTES);
                (from, to.saturating_sub(from))
            }
        }
    }

    /// The checksum of cluster `number` of the extent, if this row carries it.
    #[must_use]
    pub fn crc(&self, number: usize) -> Option<u32> {
        self.crcs.get(number.checked_sub(usize::from(self.crcs_from))?).copied()
    }

    /// The address of cluster `number` of the extent.
    #[must_use]
    pub fn address(&self, number: usize) -> Option<Address> {
        (number < usize::from(self.clusters)).then_some(())?;
        Some(Address { region: self.first.region, cluster: Cluster::new(self.first.cluster.number() + number)? })
    }

    /// The part of this row that gives its bytes `from..to` (relative to its own first byte).
    #[must_use]
    pub fn part(&self, from: u32, to: u32) -> Option<Self> {
        if from >= to || to > self.length {
            return None;
        }
        let mut part = Self { skip: self.skip + from, length: to - from, ..self.clone() };
        if self.codec == Codec::Raw {
            let (first, count) = part.touched_clusters();
            part.crcs = (first..first + count).map(|n| self.crc(n)).collect::<Option<_>>()?;
            part.crcs_from = first as u8;
        }
        Some(part)
    }
}
