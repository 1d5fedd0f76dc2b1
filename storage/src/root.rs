//! The record of a checkpoint: everything that is needed to open the volume as it was at one point of the log.
//!
//! Owns: `RootRecord`, its explicit encoding with a checksum of its own. Must be true: ROOT-1 it is written only when all that it
//! names is durable (O4); ROOT-2 the references to the nodes that its own checkpoint wrote stand in it, not in its trees; ROOT-3
//! `low` is not above `cut`, which is not above the record's own place in the log. Fails: other bytes are a `RootError`.

use crate::address::{Address, Cluster, Generation, Place, RegionId};
use crate::limits::NODE_MAX_CLUSTERS;
use crate::row::RegionKind;
use crate::state::State;
use crate::vat::{DirtyGauge, NodePtr, Tree};
use crate::wal::Lsn;
use crate::wire::{Put, Reader};

/// Why bytes are no root record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    #[error("these bytes are not a root record")]
    NotARoot,
    #[error("the root record is of format version {0}, newer than this program knows; use a newer program")]
    Newer(u16),
    #[error("the root record does not match its checksum")]
    Checksum,
    #[error("a field of the root record is missing or out of range")]
    Field,
}

const MAGIC: [u8; 8] = *b"IMAPROOT";
const VERSION: u16 = 1;

/// One complete, consistent, durable pair of trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRecord {
    pub volume_uuid: [u8; 16],
    /// Generation of the checkpoint: everything in its trees was born in it or before.
    pub generation: Generation,
    /// Every change up to here is in the trees.
    pub cut: Lsn,
    /// All data up to here is placed.
    pub low: Lsn,
    pub names: Option<NodePtr>,
    pub volume: Option<NodePtr>,
    pub next_inode: u64,
    pub frontier: Place,
    pub inodes: u64,
    pub live_clusters: u64,
    /// Images that this checkpoint wrote, each with the first cluster and the clusters of every node in it. The last carries this record.
    pub images: Vec<(RegionId, Vec<(Cluster, u8)>)>,
    /// Regions that were being written when the trees were frozen; some may turn out to be empty.
    pub open: Vec<(RegionId, RegionKind)>,
}

impl RootRecord {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.put(&MAGIC);
        out.put_u16(VERSION);
        out.put(&self.volume_uuid);
        for v in [self.generation.0, self.cut.0, self.low.0, self.next_inode, self.inodes, self.live_clusters] {
            out.put_u64(v);
        }
        out.put_u32(self.frontier.0);
        for root in [&self.names, &self.volume] {
            out.put_u8(u8::from(root.is_some()));
            out.put(&root.map_or([0; NodePtr::ENCODED_BYTES], |ptr| ptr.encode()));
        }
        out.put_u32(self.images.len() as u32);
        for (id, nodes) in &self.images {
            put_region(&mut out, *id);
            out.put_u32(nodes.len() as u32);
            for (first, clusters) in nodes {
                out.put_u16(first.number() as u16);
                out.put_u8(*clusters);
            }
        }
        out.put_u32(self.open.len() as u32);
        for (id, kind) in &self.open {
            put_region(&mut out, *id);
            out.put_u8(*kind as u8);
        }
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        out
    }

    /// # Errors
    /// See [`RootError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RootError> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(RootError::NotARoot)?;
        let mut r = Reader::new(body);
        if r.array() != Some(MAGIC) {
            return Err(RootError::NotARoot);
        }
        let version = r.u16().ok_or(RootError::Field)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(RootError::Checksum);
        }
        if version != VERSION {
            return Err(RootError::Newer(version));
        }
        Self::decode_fields(&mut r).filter(|root| r.is_empty() && root.low <= root.cut).ok_or(RootError::Field)
    }

    fn decode_fields(r: &mut Reader<'_>) -> Option<Self> {
        let volume_uuid = r.array()?;
        let (generation, cut, low) = (Generation(r.u64()?), Lsn(r.u64()?), Lsn(r.u64()?));
        let (next_inode, inodes, live_clusters, frontier) = (r.u64()?, r.u64()?, r.u64()?, Place(r.u32()?));
        let mut pointer = || {
            let present = r.u8()?;
            let bytes = r.array()?;
            match present {
                0 => Some(None),
                1 => NodePtr::decode(&bytes).map(Some),
                _ => None,
            }
        };
        let (names, volume) = (pointer()?, pointer()?);
        let node = |r: &mut Reader<'_>| {
            let (first, clusters) = (Cluster::new(usize::from(r.u16()?))?, r.u8()?);
            let last = first.number() + usize::from(clusters).checked_sub(1)?;
            (usize::from(clusters) <= NODE_MAX_CLUSTERS && Cluster::new(last).is_some()).then_some((first, clusters))
        };
        let images = list(r, |r| Some((region(r)?, list(r, node)?)))?;
        let open = list(r, |r| Some((region(r)?, RegionKind::from_number(r.u8()?)?)))?;
        Some(Self { volume_uuid, generation, cut, low, names, volume, next_inode, frontier, inodes, live_clusters, images, open })
    }

    /// The state that this root describes, to be changed from `generation` on (the first of a new mount epoch).
    #[must_use]
    pub fn open(&self, generation: Generation) -> State {
        let gauge = std::sync::Arc::new(DirtyGauge::default());
        let mut state = State {
            names: Tree::open(self.names, gauge.clone()),
            volume: Tree::open(self.volume, gauge.clone()),
            gauge,
            generation,
            next_inode: self.next_inode,
            frontier: self.frontier,
            inodes: self.inodes,
            live_clusters: self.live_clusters,
            deltas: crate::space::SpaceDeltas::default(),
            given_up: 0,
            pending: Vec::new(),
        };
        for (region, nodes) in &self.images {
            state.deltas.grant(*region, RegionKind::Node);
            for &(cluster, clusters) in nodes {
                state.deltas.born(Address { region: *region, cluster }, clusters);
            }
        }
        for &(region, kind) in &self.open {
            state.deltas.grant(region, kind);
        }
        state
    }
}

fn put_region(out: &mut Vec<u8>, id: RegionId) {
    out.put_u32(id.place.0);
    out.put_u64(id.generation.0);
}

fn region(r: &mut Reader<'_>) -> Option<RegionId> {
    Some(RegionId { place: Place(r.u32()?), generation: Generation(r.u64()?) })
}

/// A counted list; nothing is allocated for entries that are not there.
fn list<T>(r: &mut Reader<'_>, mut one: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let count = r.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(one(r)?);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    prop_compose! {
        fn any_region()(place: u32, generation: u64) -> RegionId {
            RegionId { place: Place(place), generation: Generation(generation) }
        }
    }

    prop_compose! {
        fn any_node()(first in 0usize..1020, clusters in 1u8..=5) -> (Cluster, u8) {
            (Cluster::new(first.min(1024 - usize::from(clusters))).unwrap(), clusters)
        }
    }

    prop_compose! {
        fn any_root()(
            volume_uuid: [u8; 16],
            numbers: [u64; 6],
            frontier: u32,
            names in proptest::option::of((any_region(), any_node(), any::<u32>(), any::<u64>())),
            images in proptest::collection::vec((any_region(), proptest::collection::vec(any_node(), 0..20)), 0..4),
            open in proptest::collection::vec((any_region(), prop_oneof![Just(RegionKind::Data), Just(RegionKind::Node)]), 0..5),
        ) -> RootRecord {
            let [generation, cut, low, next_inode, inodes, live_clusters] = numbers;
            let pointer = names.map(|(region, (cluster, clusters), crc, birth)| NodePtr {
                address: Address { region, cluster },
                clusters,
                crc,
                birth: Generation(birth),
            });
            RootRecord {
                volume_uuid,
                generation: Generation(generation),
                cut: Lsn(cut.max(low)),
                low: Lsn(low.min(cut)),
                names: pointer,
                volume: None,
                next_inode,
                frontier: Place(frontier),
                inodes,
                live_clusters,
                images,
                open,
            }
        }
    }

    /// A root with a checksum that fits, whatever its bytes are.
    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        let crc = crc32fast::hash(&body);
        body.put_u32(crc);
        body
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_root_survives_encoding_and_every_flip_is_refused(root in any_root(), bit: prop::sample::Index) {
            let mut bytes = root.encode();
            prop_assert_eq!(RootRecord::decode(&bytes), Ok(root));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(RootRecord::decode(&bytes).is_err());
        }

        #[test]
        fn a_root_that_ends_early_or_is_hostile_is_an_error(root in any_root(), cut: prop::sample::Index, noise: [u8; 4], at: prop::sample::Index) {
            let bytes = root.encode();
            let body = &bytes[..bytes.len() - 4];
            prop_assert!(RootRecord::decode(&sealed(body[..cut.index(body.len())].to_vec())).is_err());
            // With a checksum that fits the decoder meets every byte: it must not panic, nor take what it would not write.
            let mut hostile = body.to_vec();
            let at = at.index(hostile.len() - 4);
            hostile[at..at + 4].copy_from_slice(&noise);
            if let Ok(root) = RootRecord::decode(&sealed(hostile.clone())) {
                prop_assert!(root.encode() == sealed(hostile) || root.names.is_none() || root.volume.is_none());
            }
        }
    }

    #[test]
    fn a_newer_root_and_marks_in_the_wrong_order_are_named() {
        let mut root = any_root().new_tree(&mut proptest::test_runner::TestRunner::deterministic()).unwrap().current();
        let mut newer = root.encode();
        newer.truncate(newer.len() - 4);
        newer[8] = 2;
        assert_eq!(RootRecord::decode(&sealed(newer)), Err(RootError::Newer(2)));
        (root.low, root.cut) = (Lsn(9), Lsn(8));
        assert_eq!(RootRecord::decode(&root.encode()), Err(RootError::Field));
    }
}
