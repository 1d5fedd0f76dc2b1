//! Clusters out of an image of which some cannot be read: each by itself, and what parity gives back.
//!
//! Must be true: IMG-1; an image is restored once for all of its clusters that are asked for; lost is what has another checksum, lies in no
//! image, or is refused by the medium. Fails: where the host refuses for another reason; what cannot be had is told, with what was found in
//! its place.

use super::{ImageError, Images};
use crate::address::{Address, Cluster};
use crate::damage::{Found, LostCluster};
use crate::device::is_of_medium;
use crate::limits::CLUSTER_BYTES;

impl Images {
    /// Fills `out` cluster by cluster; zeros for those that are lost, which are told.
    pub(super) fn salvage(&self, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<Vec<LostCluster>, ImageError> {
        out.fill(0);
        let mut missing: Vec<(usize, Found)> = match self.each(first, crcs, out) {
            Ok(missing) => {
                self.suspect(first.region);
                missing
            }
            Err(ImageError::Missing { .. }) => crcs.iter().enumerate().map(|(n, _)| (n, Found::Missing)).collect(),
            Err(error @ ImageError::Other { .. }) => crcs.iter().enumerate().map(|(n, _)| (n, Found::Io(error.to_string()))).collect(),
            Err(error) if passes(&error) => return Err(error),
            Err(_) => {
                self.suspect(first.region);
                self.one_by_one(first, crcs, out)?
            }
        };
        if !missing.is_empty() {
            let numbers: Vec<usize> = missing.iter().map(|(n, _)| *n).collect();
            let left = self.restorer.restore_some(self.device.as_ref(), first, crcs, &numbers, out);
            let left = left.map_err(|source| ImageError::Io { region: first.region, source })?;
            missing.retain(|(n, _)| left.contains(n));
        }
        let lost = |(n, found): (usize, Found)| {
            let at = Address { region: first.region, cluster: Cluster::new(first.cluster.number() + n)? };
            Some(LostCluster { at, expected_crc: *crcs.get(n)?, found })
        };
        Ok(missing.into_iter().filter_map(lost).collect())
    }

    /// Takes what has its checksum out of one read; returns the others.
    fn each(&self, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<Vec<(usize, Found)>, ImageError> {
        let mut missing = Vec::new();
        let done = self.with_bands(first, crcs.len(), |bands| {
            for ((n, crc), slot) in crcs.iter().enumerate().zip(out.chunks_exact_mut(CLUSTER_BYTES)) {
                let pieces = Cluster::new(first.cluster.number() + n).and_then(|cluster| bands.unverified(cluster));
                match (pieces.map(|pieces| (pieces.crc(), pieces)), slot.first_chunk_mut()) {
                    (Some((found, pieces)), Some(slot)) if found == *crc => pieces.copy_to(slot),
                    (Some((found, _)), _) => missing.push((n, Found::Crc(found))),
                    (None, _) => missing.push((n, Found::Io("the file ends before".into()))),
                }
            }
            if missing.is_empty() { Ok(()) } else { Err(ImageError::Damaged { at: first }) }
        });
        match done {
            Ok(()) | Err(ImageError::Damaged { .. }) => Ok(missing),
            Err(error) => Err(error),
        }
    }

    /// A device that refuses one place of the run may give the others.
    fn one_by_one(&self, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<Vec<(usize, Found)>, ImageError> {
        let mut missing = Vec::new();
        for ((n, crc), slot) in crcs.iter().enumerate().zip(out.chunks_exact_mut(CLUSTER_BYTES)) {
            let Some(cluster) = Cluster::new(first.cluster.number() + n) else { continue };
            match self.each(Address { region: first.region, cluster }, std::slice::from_ref(crc), slot) {
                Ok(one) => missing.extend(one.into_iter().map(|(_, found)| (n, found))),
                Err(error) if passes(&error) => return Err(error),
                Err(error) => missing.push((n, Found::Io(error.to_string()))),
            }
        }
        Ok(missing)
    }
}

/// Whether an error says nothing of the bytes.
fn passes(error: &ImageError) -> bool {
    matches!(error, ImageError::Io { source, .. } if !is_of_medium(source))
}
