//! Bytes of files of which is known that they were there and nothing else: poison in images of their own.
//!
//! Owns: `Voids`. Must be true: RBL-2 what lies over a void cannot be read: its cluster has a checksum that its bytes do not have, in an image
//! that is sound. A void of one cluster stands for up to 64 KiB. Memory: the images, `VOIDS_MAX` clusters at most. Fails: `None` when
//! there are so many; the file is then cut there.

use super::RebuildError;
use crate::address::{Address, Generation, Place, RegionId};
use crate::limits::{CLUSTER_BYTES, UNIT_BYTES};
use crate::region::{Codec, IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RegionBuilder};
use crate::row::{ExtentRow, RegionKind};
use std::collections::BTreeMap;

/// Clusters of all voids: 64 MiB of images, for 1 GiB of files.
const VOIDS_MAX: usize = 16 * 1024;
const ZEROS: [u8; CLUSTER_BYTES] = [0; CLUSTER_BYTES];

pub(super) struct Voids {
    uuid: [u8; 16],
    generation: Generation,
    next_place: Place,
    open: Option<(RegionId, RegionBuilder<Vec<u8>>)>,
    /// Images that are finished.
    pub images: BTreeMap<RegionId, Vec<u8>>,
    made: usize,
    encoder: ParityEncoder,
}

impl Voids {
    /// The images stand at `next_place` and behind.
    pub fn new(uuid: [u8; 16], generation: Generation, next_place: Place) -> Self {
        Self { uuid, generation, next_place, open: None, images: BTreeMap::new(), made: 0, encoder: ParityEncoder::new() }
    }

    /// A row for bytes from `offset` on up to the end of their unit or to `end`. `None`: there are too many.
    pub fn row(&mut self, inode: u64, offset: u64, end: u64) -> Result<Option<ExtentRow>, RebuildError> {
        if self.made >= VOIDS_MAX {
            return Ok(None);
        }
        let unit = offset - offset % UNIT_BYTES as u64;
        let (skip, length) = ((offset - unit) as u32, end.min(unit.saturating_add(UNIT_BYTES as u64)) - offset);
        let owner = Owner {
            kind: OwnerKind::Extent,
            codec: Codec::Zstd,
            inode,
            offset_bytes: unit,
            decoded_bytes: UNIT_BYTES as u32,
            sequence: 0,
            home: None,
        };
        let poison = !crc32fast::hash(&ZEROS);
        for _ in 0..2 {
            if self.open.is_none() {
                self.begin()?;
            }
            let Some((region, builder)) = &mut self.open else { break };
            if let Ok(placed) = builder.place_moved(owner, &[&ZEROS], &[poison]) {
                self.made += 1;
                return Ok(Some(ExtentRow {
                    first: Address { region: *region, cluster: placed.first },
                    clusters: 1,
                    codec: Codec::Zstd,
                    stored_bytes: CLUSTER_BYTES as u32,
                    decoded_bytes: UNIT_BYTES as u32,
                    skip,
                    length: length as u32,
                    sequence: 0,
                    birth: self.generation,
                    crcs_from: 0,
                    crcs: vec![poison],
                }));
            }
            self.seal();
        }
        Err(RebuildError::Defect("a void does not fit into an empty image"))
    }

    fn begin(&mut self) -> Result<(), RebuildError> {
        let region = RegionId { place: self.next_place, generation: self.generation };
        self.next_place = Place(self.next_place.0.checked_add(1).ok_or(RebuildError::NoPlace)?);
        let identity = Identity { volume: self.uuid, region, kind: RegionKind::Data };
        let builder = RegionBuilder::new(vec![0; IMAGE_MAX_BYTES], identity);
        self.open = Some((region, builder.ok_or(RebuildError::Defect("an image buffer is too small"))?));
        Ok(())
    }

    /// Finishes the image that is open.
    pub fn seal(&mut self) {
        if let Some((region, builder)) = self.open.take() {
            self.images.insert(region, builder.finish(&mut self.encoder).bytes().to_vec());
        }
    }
}
