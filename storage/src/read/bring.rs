//! Bringing bytes of many files into the caches: in the order in which they lie in the images, and what lies side by side in one read.
//!
//! Owns: `Piece`. Must be true: TIR-1 only verified bytes are kept; what a cache has already is not read. Fails: what cannot be read is not
//! brought: whoever asks for it hears why.

use super::MAX_EXTENTS;
use crate::address::{Address, Cluster};
use crate::blocks::BlockPool;
use crate::images::{Images, RUN_CLUSTERS};
use crate::limits::CLUSTER_BYTES;
use crate::row::{Codec, ExtentRow, Inode};
use crate::state::{StateError, View};
use crate::tiers::{Decoded, Tiers};
use crate::unit::decode_unit;
use bytes::Bytes;

/// Clusters that are to be brought together: those of a raw extent that are wanted, or all of a compressed unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    first: Address,
    crcs: Vec<u32>,
    /// Bytes of a compressed unit: as it is stored, and decoded.
    unit: Option<(usize, usize)>,
}

/// How compressed units are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Decoded, for whoever reads them next.
    Decoded,
    /// As they are stored: more of them have room.
    Stored,
}

impl Piece {
    /// Bytes in the image.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.crcs.len() * CLUSTER_BYTES
    }

    /// Whether it is a compressed unit.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        self.unit.is_some()
    }

    /// What must be brought for a row; `None` if a cache has it, or if the row contradicts itself, as a read will say.
    fn of(row: &ExtentRow, tiers: &Tiers) -> Option<Self> {
        let (number, count) = row.touched_clusters();
        let crcs = (number..number + count).map(|n| row.crc(n)).collect::<Option<Vec<_>>>()?;
        let first = row.address(number)?;
        let is_kept = match row.codec {
            Codec::Zstd => tiers.peek_decoded(first).is_some() || tiers.has_stored(first),
            Codec::Raw => (number..number + count).all(|n| row.address(n).is_some_and(|at| tiers.peek_decoded(at).is_some())),
        };
        let unit = (row.codec == Codec::Zstd).then_some((row.stored_bytes as usize, row.decoded_bytes as usize));
        (!is_kept).then_some(Self { first, crcs, unit })
    }

    fn last(&self) -> Option<Address> {
        let cluster = Cluster::new(self.first.cluster.number() + self.crcs.len())?;
        Some(Address { region: self.first.region, cluster })
    }

    /// Keeps verified clusters.
    fn keep(&self, clusters: &[u8], tiers: &Tiers, pool: &BlockPool, keep: Keep) {
        let Some((stored_bytes, decoded_bytes)) = self.unit else {
            for (cluster, bytes) in (self.first.cluster.number()..).zip(clusters.chunks_exact(CLUSTER_BYTES)) {
                if let Some(cluster) = Cluster::new(cluster) {
                    tiers.keep_decoded(Address { cluster, ..self.first }, Decoded::Cluster(pool.holding(0, bytes)), None);
                }
            }
            return;
        };
        let Some(stored) = clusters.get(..stored_bytes) else { return };
        match keep {
            Keep::Stored => tiers.keep_stored(self.first, Bytes::copy_from_slice(stored), decoded_bytes as u64),
            Keep::Decoded => {
                if let Some(unit) = decode_unit(stored, decoded_bytes) {
                    tiers.keep_decoded(self.first, Decoded::Unit(unit.into()), None);
                }
            }
        }
    }
}

/// What no cache has of the bytes `from..to` of a file, each piece once: a unit may have several rows.
///
/// # Errors
/// See [`StateError`].
pub fn pieces(view: View<'_>, tiers: &Tiers, inode: Inode, from: u64, to: u64) -> Result<Vec<Piece>, StateError> {
    let mut pieces = Vec::new();
    for (start, row) in view.extents(inode, from, to, MAX_EXTENTS)? {
        let (at, end) = (from.max(start), to.min(start.saturating_add(u64::from(row.length))));
        let part = row.part(at.saturating_sub(start) as u32, end.saturating_sub(start) as u32);
        pieces.extend(part.and_then(|part| Piece::of(&part, tiers)));
    }
    pieces.sort_unstable_by_key(|piece| piece.first);
    pieces.dedup();
    Ok(pieces)
}

/// Reads these pieces, and keeps what has its checksums. Returns the bytes that were brought.
pub fn bring(images: &Images, tiers: &Tiers, pool: &BlockPool, mut pieces: Vec<Piece>, keep: Keep) -> u64 {
    pieces.sort_unstable_by_key(|piece| piece.first);
    pieces.dedup();
    let (mut brought, mut rest) = (0, pieces.as_slice());
    while let Some(first) = rest.first() {
        let (mut crcs, mut next, mut taken) = (first.crcs.clone(), first.last(), 1);
        for piece in rest.iter().skip(1) {
            if next != Some(piece.first) || crcs.len() + piece.crcs.len() > RUN_CLUSTERS {
                break;
            }
            crcs.extend_from_slice(&piece.crcs);
            (next, taken) = (piece.last(), taken + 1);
        }
        let (run, others) = rest.split_at(taken);
        rest = others;
        let mut clusters = vec![0; crcs.len() * CLUSTER_BYTES];
        if images.read(first.first, &crcs, &mut clusters).is_err() {
            continue;
        }
        let mut left = clusters.as_slice();
        for piece in run {
            let Some((own, behind)) = left.split_at_checked(piece.bytes()) else { break };
            piece.keep(own, tiers, pool, keep);
            if keep == Keep::Decoded {
                tiers.missed_decoded(if piece.unit.is_some() { 1 } else { piece.crcs.len() as u64 });
            }
            (brought, left) = (brought + own.len() as u64, behind);
        }
    }
    brought
}
