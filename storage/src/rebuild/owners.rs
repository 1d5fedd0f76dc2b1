//! Bytes of files by the owner tables of images, where no row says where they are.
//!
//! Owns: `Pieces`. Must be true: RBL-8 a piece is told with the checksums of its image's tables, and only if those were read whole. Memory: 80 bytes
//! a piece and 4 a cluster. Fails: never; images without tables are passed over.

use super::Found;
use super::people::INODE_END;
use crate::address::{Address, Cluster, Generation, RegionId};
use crate::check::tail::read_tables;
use crate::limits::FILE_MAX_BYTES;
use crate::region::OwnerKind;
use crate::row::{Codec, ExtentRow, RegionKind};
use std::collections::BTreeMap;

/// Extents by inode, each with its offset.
pub(super) type Pieces = BTreeMap<u64, Vec<(u64, ExtentRow)>>;

/// The pieces that `regions` hold of files that are wanted.
pub(super) fn pieces(found: &Found, regions: &[RegionId], wanted: impl Fn(u64) -> bool, step: super::Step<'_>) -> Pieces {
    let mut pieces = Pieces::new();
    let of_data = |id: &&RegionId| found.images.get(id).is_some_and(|facts| facts.kind == RegionKind::Data);
    for (done, id) in regions.iter().filter(of_data).enumerate() {
        step("images", done as u64);
        let Ok(Some(tables)) = read_tables(found.device.as_ref(), found.uuid, *id) else { continue };
        for entry in tables.owners().iter().filter(|entry| entry.owner.kind == OwnerKind::Extent && wanted(entry.owner.inode)) {
            let owner = &entry.owner;
            let numbers = entry.first.number()..entry.first.number() + entry.clusters;
            let row = ExtentRow {
                first: Address { region: *id, cluster: entry.first },
                clusters: entry.clusters as u8,
                codec: owner.codec,
                stored_bytes: if owner.codec == Codec::Raw { owner.decoded_bytes } else { entry.stored_bytes },
                decoded_bytes: owner.decoded_bytes,
                skip: 0,
                length: owner.decoded_bytes,
                sequence: owner.sequence,
                birth: Generation(0),
                crcs_from: 0,
                crcs: numbers.filter_map(Cluster::new).map(|cluster| tables.cluster_crc(cluster)).collect(),
            };
            let ends = owner.offset_bytes.checked_add(u64::from(row.length));
            // What a row may not say is refused by its decoder.
            let is_sound = ends.is_some_and(|end| end <= FILE_MAX_BYTES) && ExtentRow::decode(&row.encode()).is_ok();
            if is_sound && (1..INODE_END).contains(&owner.inode) {
                pieces.entry(owner.inode).or_default().push((owner.offset_bytes, row));
            }
        }
    }
    pieces
}
