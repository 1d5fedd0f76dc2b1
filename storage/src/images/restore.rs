//! Clusters of a damaged image, restored in memory from its parity.
//!
//! Owns: `Restorer`. Must be true: RST-1 nothing is written: the file stays as it is until it is repaired; RST-2 one image is restored or
//! judged at a time, so that the work space is that of one. Fails: `None` when parity cannot bring the clusters back, whatever the reason.

use super::hopeless::Hopeless;
use crate::address::{Address, Cluster, RegionId};
use crate::device::{Device, DeviceFile, Open, is_no_file, is_of_medium};
use crate::limits::CLUSTER_BYTES;
use crate::region::{IMAGE_MAX_BYTES, Mender, RawRegion, Region};
use crate::repair::{Judged, judge};
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are read at once; where that fails, single pages are.
const READ_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 4096;

/// Restores clusters of damaged images.
#[derive(Default)]
pub(super) struct Restorer {
    /// The work space, made by the first damage.
    mender: Mutex<Option<Mender>>,
    hopeless: Hopeless,
    restored: AtomicU64,
}

impl Restorer {
    /// How often clusters were given that had to be restored.
    pub fn restored(&self) -> u64 {
        self.restored.load(Ordering::Relaxed)
    }

    /// See [`judge`].
    pub fn judge(&self, bytes: &[u8], is_whole: bool, volume: [u8; 16], region: RegionId) -> Judged {
        judge(bytes, is_whole, volume, region, self.mender.lock().get_or_insert_default())
    }

    /// Fills `out` with the clusters from `first` on, unverified.
    pub fn restore(&self, device: &dyn Device, first: Address, out: &mut [u8]) -> Option<()> {
        self.mended(device, first.region, |region| {
            for (n, slot) in out.chunks_exact_mut(CLUSTER_BYTES).enumerate() {
                region.cluster(Cluster::new(first.cluster.number() + n)?)?.copy_to(slot.first_chunk_mut()?);
            }
            Some(())
        })
        .ok()
        .flatten()
    }

    /// The file of an image is another.
    pub fn forget(&self, region: RegionId) {
        self.hopeless.forget(region);
    }

    /// Fills those clusters of `out` that are `missing`, by their number from `first` on, if they have their checksums. Returns those that
    /// are missing still.
    ///
    /// # Errors
    /// The image cannot be opened, for a reason that says nothing of it.
    pub fn restore_some(
        &self,
        device: &dyn Device,
        first: Address,
        crcs: &[u32],
        missing: &[usize],
        out: &mut [u8],
    ) -> io::Result<Vec<usize>> {
        let mut left = missing.to_vec();
        let number = |n: usize| first.cluster.number() + n;
        if self.hopeless.knows(first.region, missing.iter().copied().map(number)) {
            return Ok(left);
        }
        let done = self.mended(device, first.region, |region| {
            left.retain(|&n| {
                let pieces = Cluster::new(first.cluster.number() + n).and_then(|cluster| region.cluster(cluster));
                let slot = out.chunks_exact_mut(CLUSTER_BYTES).nth(n).and_then(|slot| slot.first_chunk_mut());
                match (pieces, slot) {
                    (Some(pieces), Some(slot)) if crcs.get(n) == Some(&pieces.crc()) => {
                        pieces.copy_to(slot);
                        false
                    }
                    _ => true,
                }
            });
            (left.len() < missing.len()).then_some(())
        });
        done?;
        if !left.is_empty() && !self.hopeless.knows(first.region, left.iter().copied().map(number)) {
            self.hopeless.add(first.region, Some(left.iter().copied().map(number).collect()));
        }
        Ok(left)
    }

    /// Takes something out of an image whose damaged rows parity has given back.
    fn mended(&self, device: &dyn Device, id: RegionId, take: impl FnOnce(&Region<Vec<u8>>) -> Option<()>) -> io::Result<Option<()>> {
        let mut mender = self.mender.lock();
        // Who waited here may have waited for the same image.
        if self.hopeless.knows(id, std::iter::once(usize::MAX)) {
            return Ok(None);
        }
        let file = match device.open(&id.path(), Open::READ) {
            Ok(file) => file,
            Err(error) if is_no_file(&error) || is_of_medium(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = read_what_can_be(file.as_ref()).bytes;
        let Ok((region, _)) = RawRegion::new(bytes).repair(None, mender.get_or_insert_default().restorer()) else {
            self.hopeless.add(id, None);
            return Ok(None);
        };
        let taken = if region.identity().region == id { take(&region) } else { None };
        if taken.is_some() {
            self.restored.fetch_add(1, Ordering::Relaxed);
        }
        Ok(taken)
    }
}

/// What could be read of a file.
pub(crate) struct Found {
    /// At most as many as an image has, with zeros where the device refused: parity may know what stood there.
    pub bytes: Vec<u8>,
    /// Nothing was refused, and nothing stands behind these bytes.
    pub is_whole: bool,
}

/// Reads as much of a file as the device gives.
pub(crate) fn read_what_can_be(file: &dyn DeviceFile) -> Found {
    let size = file.len().ok().and_then(|size| usize::try_from(size).ok());
    let mut bytes = vec![0; size.unwrap_or_default().min(IMAGE_MAX_BYTES)];
    let mut is_whole = size == Some(bytes.len());
    for (n, piece) in bytes.chunks_mut(READ_BYTES).enumerate() {
        is_whole &= read_piece(file, piece, n * READ_BYTES).is_none();
    }
    Found { bytes, is_whole }
}

/// Fills a piece of an image from `at` on; what the device refuses, page by page, becomes zero, and its last words are given.
pub(crate) fn read_piece(file: &dyn DeviceFile, piece: &mut [u8], at: usize) -> Option<io::Error> {
    if fill(file, piece, at).is_ok() {
        return None;
    }
    let mut refused = None;
    for (page, piece) in piece.chunks_mut(PAGE_BYTES).enumerate() {
        if let Err(error) = fill(file, piece, at + page * PAGE_BYTES) {
            piece.fill(0);
            refused = Some(error);
        }
    }
    refused
}

/// Bytes of a file, and zeros from its end on.
fn fill(file: &dyn DeviceFile, piece: &mut [u8], at: usize) -> io::Result<()> {
    let read = file.read_at(piece, at as u64)?;
    piece.get_mut(read..).unwrap_or_default().fill(0);
    Ok(())
}
