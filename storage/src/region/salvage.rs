//! What is left of a damaged image, and the same image written anew.
//!
//! Owns: `Salvaged`. Must be true: SAL-1 a cluster that is handed out has its checksum; SAL-2 an image that `mend` gives back is written
//! anew exactly as it was; SAL-3 what is beyond parity is written as poison: its cluster checksums stay those of the bytes that were lost,
//! so nothing is ever taken for them, and what surrounds them is sound again. Fails: `RegionError` where no tables say what is right.

use super::anatomy::Anatomy;
use super::decode::{RawRegion, checked_tables, restore_rows};
use super::encode::{RegionBuilder, SealedRegion};
use super::layout::{row_range, tile};
use super::mend::{Mended, Mender};
use super::read::ClusterPieces;
use super::survey::{Pixels, hash_pieces, pixel_row};
use super::tables::Tables;
use super::{Identity, RegionError};
use crate::address::Cluster;
use crate::limits::{BAND_CLUSTERS, CLUSTER_HEIGHT_PX, REGION_SIDE_PX};
use std::ops::{DerefMut, Range};

/// An image as far as it can be had.
pub struct Salvaged<B> {
    bytes: B,
    /// The file as it was written, if that could be had: then it is what counts.
    mended: Option<Mended>,
    moved_by: usize,
    tables: Tables,
    root: Result<Option<Range<usize>>, RegionError>,
    /// Clusters whose bytes are gone, in order: lost here, or poisoned before.
    lost: Vec<Cluster>,
    /// Rows of pixels that were restored from parity.
    restored_rows: usize,
    is_sound: bool,
}

impl<B: DerefMut<Target = [u8]>> RawRegion<B> {
    /// Restores what parity can, in the buffer, and finds out what is left.
    ///
    /// # Errors
    /// `NotAnImage`, `Version`, and `TablesLost`: then only rows that name clusters with their checksums can tell what is right.
    pub fn salvage(mut self, mender: &mut Mender) -> Result<Salvaged<B>, RegionError> {
        let is_sound = self.survey().is_sound();
        if !is_sound && let Ok(mended) = self.mend(None, mender) {
            return Ok(Salvaged::whole(self.0, mended));
        }
        let mut anatomy = Anatomy::of(&self.0, false);
        let tables = checked_tables(&mut anatomy, None)?;
        let damaged = Pixels::compare(&self.0, anatomy.moved_by, &tables).damaged_rows;
        let restored = restore_rows(&mut self.0, &anatomy, &tables, &damaged, &mut mender.restorer);
        let Pixels { poisoned, damaged_clusters, .. } = Pixels::compare(&self.0, anatomy.moved_by, &tables);
        let mut lost = poisoned;
        lost.extend(damaged_clusters);
        lost.sort_unstable();
        let root = anatomy.root(&self.0, &tables);
        let restored_rows = if restored.is_ok() { damaged.len() } else { 0 };
        Ok(Salvaged { bytes: self.0, mended: None, moved_by: anatomy.moved_by, tables, root, lost, restored_rows, is_sound })
    }
}

impl<B: DerefMut<Target = [u8]>> Salvaged<B> {
    /// A damaged file of which everything came back.
    fn whole(bytes: B, mended: Mended) -> Self {
        let mut anatomy = Anatomy::of(mended.bytes(), false);
        let tables = anatomy.take_tables().unwrap_or_else(|_| mended.tables().clone());
        let root = anatomy.root(mended.bytes(), &tables);
        let lost = Pixels::compare(mended.bytes(), 0, &tables).poisoned;
        let restored_rows = mended.rows().iter().filter(|row| **row < REGION_SIDE_PX).count();
        Self { bytes, moved_by: 0, tables, root, lost, restored_rows, is_sound: false, mended: Some(mended) }
    }

    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.tables.identity
    }

    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The bytes of the file, restored where that could be done.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.mended.as_ref().map_or(&self.bytes, Mended::bytes)
    }

    /// Whether the file is exactly as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// Rows of pixels that were restored.
    #[must_use]
    pub fn restored_rows(&self) -> usize {
        self.restored_rows
    }

    /// Clusters whose bytes are gone, in order.
    #[must_use]
    pub fn lost(&self) -> &[Cluster] {
        &self.lost
    }

    /// The root that the image carries, opaque here; `None` also for one that is damaged.
    #[must_use]
    pub fn root(&self) -> Option<&[u8]> {
        self.bytes().get(self.root.clone().ok()??)
    }

    /// The bytes of a cluster, zeros for one in an unused band; `None` for one that is gone.
    #[must_use]
    pub fn cluster(&self, cluster: Cluster) -> Option<ClusterPieces<'_>> {
        if self.lost.binary_search(&cluster).is_ok() {
            return None;
        }
        if tile(cluster).band >= self.tables.used_bands {
            return Some(ClusterPieces::ZERO);
        }
        ClusterPieces::at(self.bytes().get(self.moved_by..)?, 0, cluster)
    }

    /// The image written anew, into a buffer of at least [`IMAGE_MAX_BYTES`](super::IMAGE_MAX_BYTES); `None` if it is shorter. A root that is damaged is left out.
    #[must_use]
    pub fn write_anew<I: DerefMut<Target = [u8]>>(&self, mut image: I, mender: &mut Mender) -> Option<SealedRegion<I>> {
        if let Some(mended) = &self.mended {
            let length = mended.bytes().len();
            image.get_mut(..length)?.copy_from_slice(mended.bytes());
            return Some(SealedRegion::of(image, length, &self.tables));
        }
        let mut builder = RegionBuilder::new(image, self.tables.identity)?;
        if let Some(root) = self.root() {
            builder.set_root(root).ok()?;
        }
        let used_rows = self.tables.used_bands * CLUSTER_HEIGHT_PX;
        for (row, crcs) in builder.piece_crcs.chunks_exact_mut(BAND_CLUSTERS).take(used_rows).enumerate() {
            let place = builder.image.get_mut(row_range(row))?;
            match pixel_row(self.bytes(), self.moved_by, row) {
                Some(bytes) => place.copy_from_slice(bytes),
                None => place.fill(0),
            }
            crcs.copy_from_slice(&hash_pieces(place.first_chunk()?));
        }
        builder.cluster_crcs.clone_from(&self.tables.cluster_crcs);
        builder.owners.clone_from(&self.tables.owners);
        Some(builder.complete(self.tables.used_bands, &mut mender.encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample_identity, sample_image};
    use super::*;
    use crate::region::IMAGE_MAX_BYTES;
    use crate::region::layout::row_range;
    use proptest::prelude::*;

    fn salvage(bytes: Vec<u8>) -> Salvaged<Vec<u8>> {
        RawRegion::new(bytes).salvage(&mut Mender::default()).unwrap()
    }

    fn anew(salvaged: &Salvaged<Vec<u8>>) -> Vec<u8> {
        salvaged.write_anew(vec![0xEE; IMAGE_MAX_BYTES], &mut Mender::default()).unwrap().bytes().to_vec()
    }

    #[test]
    fn what_parity_restores_is_written_as_it_was() {
        let image = sample_image();
        let whole = salvage(image.clone());
        assert!(whole.is_sound() && whole.lost().is_empty() && *whole.identity() == sample_identity());
        assert!(anew(&whole) == image);
        let mut damaged = image.clone();
        (3..35).for_each(|row| damaged[row_range(row)].fill(0x55));
        damaged[40] ^= 1;
        let restored = salvage(damaged);
        assert!(!restored.is_sound() && restored.restored_rows() == 32 && restored.lost().is_empty());
        assert!(anew(&restored) == image);
    }

    /// Seen to fail: the second chunk of pixels was taken for the first, and all pixels for moved.
    #[test]
    fn damage_to_the_frame_of_the_first_bands_moves_no_pixel() {
        let image = sample_image();
        for at in [1028, 1032, 1024, 17_431 + 4] {
            let mut damaged = image.clone();
            damaged[at] ^= 0x20;
            damaged[1028 + usize::from(at == 17_431 + 4)] ^= 0x20;
            let salvaged = salvage(damaged);
            assert!(salvaged.lost().is_empty() && anew(&salvaged) == image, "{at}");
        }
    }

    #[test]
    fn what_is_beyond_parity_is_poison_in_an_image_that_is_sound_again() {
        let image = sample_image();
        let mut damaged = image.clone();
        (0..40).for_each(|row| damaged[row_range(row)][..100].fill(0x55));
        let salvaged = salvage(damaged);
        assert!(!salvaged.lost().is_empty());
        let written = anew(&salvaged);
        let survey = RawRegion::new(&written[..]).survey();
        assert!(survey.is_sound(), "{survey:?}");
        assert_eq!(survey.poisoned, salvaged.lost());
        let again = salvage(written);
        let before = salvage(image);
        for owner in before.tables().owners() {
            for number in owner.first.number()..owner.first.number() + owner.clusters {
                let cluster = Cluster::new(number).unwrap();
                let is_same = again.cluster(cluster) == before.cluster(cluster);
                assert_eq!(is_same, salvaged.lost().binary_search(&cluster).is_err(), "{number}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hostile_images_give_an_error_or_bytes_with_their_checksum(at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60), cut: Option<prop::sample::Index>) {
            let image = sample_image();
            let mut hostile = image.clone();
            at.iter().for_each(|(at, byte)| hostile[at.index(image.len())] = *byte);
            if let Some(cut) = cut {
                hostile.truncate(cut.index(image.len()));
            }
            if let Ok(salvaged) = RawRegion::new(hostile).salvage(&mut Mender::default()) {
                let sound = RawRegion::new(&image[..]).verify(None).unwrap();
                for owner in sound.tables().owners() {
                    prop_assert!(salvaged.cluster(owner.first).is_none_or(|pieces| Some(pieces) == sound.cluster(owner.first)));
                }
                let written = anew(&salvaged);
                prop_assert!(RawRegion::new(&written[..]).survey().is_sound());
            }
        }
    }
}
