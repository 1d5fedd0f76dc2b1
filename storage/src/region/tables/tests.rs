//! Promises of the tables. Fails: as tests do.

use super::super::identity::RegionKind;
use super::*;
use crate::address::{Generation, Place, RegionId};
use proptest::prelude::*;

fn region() -> RegionId {
    RegionId { place: Place(7), generation: Generation(3) }
}

prop_compose! {
    fn any_owner()(node: bool, zstd: bool, inode: u64, offset_bytes: u64, decoded_bytes in 1u32..=262_144, sequence: u64, home in proptest::option::of((any::<u32>(), 0usize..1024))) -> Owner {
        Owner {
            kind: if node { OwnerKind::Node } else { OwnerKind::Extent },
            codec: if zstd { Codec::Zstd } else { Codec::Raw },
            inode, offset_bytes, decoded_bytes, sequence,
            home: home.map(|(place, cluster)| Address { region: RegionId { place: Place(place), generation: Generation(99) }, cluster: Cluster::new(cluster).unwrap() }),
        }
    }
}

prop_compose! {
    fn any_tables()(used_bands in 0usize..=256, runs in proptest::collection::vec((0usize..20, 1u32..=262_144, any_owner()), 0..200), root in proptest::option::of((1u32..9, any::<u32>())), seed: u32) -> Tables {
        let mut owners = Vec::new();
        let mut at = 0;
        for (gap, stored_bytes, owner) in runs {
            let (first, clusters) = (at + gap, clusters_for(stored_bytes as usize).unwrap());
            if first + clusters > used_bands.next_multiple_of(4) * 4 { break; }
            owners.push(OwnerEntry { first: Cluster::new(first).unwrap(), clusters, stored_bytes, owner });
            at = first + clusters;
        }
        Tables {
            identity: Identity { volume: [9; 16], region: region(), kind: RegionKind::Data },
            used_bands,
            root: root.map(|(bytes, crc)| RootMark { bytes, crc }),
            cluster_crcs: (0..1024).map(|n: u32| n.wrapping_mul(seed)).collect(),
            row_crcs: (0..1056).map(|n: u32| n.wrapping_mul(!seed)).collect(),
            owners,
        }
    }
}

/// Gives bytes the checksum that they ask for, as a forger would.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tables_survive_encoding_and_every_flip_is_refused(tables in any_tables(), position: prop::sample::Index, bit in 0u32..8) {
        let mut bytes = tables.encode();
        prop_assert_eq!(bytes.len(), tables_bytes(tables.owners.len()));
        prop_assert_eq!(Tables::decode(&bytes), Some(tables));
        let at = position.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(Tables::decode(&bytes), None);
    }

    #[test]
    fn each_cluster_finds_its_owner(tables in any_tables()) {
        for cluster in (0..1024).filter_map(Cluster::new) {
            let owner = tables.owners.iter().find(|e| (e.first.number()..e.first.number() + e.clusters).contains(&cluster.number()));
            prop_assert_eq!(tables.owner_of(cluster), owner);
        }
    }

    #[test]
    fn forged_tables_are_refused_or_keep_the_rules(tables in any_tables(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), owners_only: bool) {
        let mut bytes = tables.encode();
        for (position, value) in changes {
            let from = if owners_only { OWNERS_OFFSET } else { 0 };
            let at = from + position.index(bytes.len() - from);
            bytes[at] = value;
        }
        if let Some(read) = Tables::decode(&resealed(bytes)) {
            let mut free_from = 0;
            for entry in read.owners() {
                prop_assert!(entry.first.number() >= free_from);
                free_from = entry.first.number() + entry.clusters;
                prop_assert!(free_from <= read.used_bands.next_multiple_of(4) * 4);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        prop_assert_eq!(Tables::decode(&bytes), None);
    }
}
