//! Sealed images on the device: which of them are open, and reading runs of clusters out of them.
//!
//! Owns: `Images`. Must be true: IMG-1 bytes are given only with the checksums that the caller brought; IMG-2 an image that is to be
//! recycled is forgotten here first, one that was put back after that; IMG-7 of an image that does not give what it should somebody is
//! told, also where parity helped. Fails: `ImageError`; what parity brings back is no failure; a checksum that does not match is reported
//! with what the file says it is.

mod hopeless;
mod restore;
mod salvage;

use crate::address::{Address, RegionId};
use crate::buffer::BufferPool;
use crate::cached::{CacheUse, Evictions};
use crate::damage::LostCluster;
use crate::device::{Device, DeviceFile, Open};
use crate::limits::{CLUSTER_BYTES, DIRECT_ALIGN, REGION_BYTES};
use crate::region::layout::{HEADER_BYTES, direct_range, read_range};
use crate::region::{RawBands, RegionError, Tables, find_tables, read_identity};
use crate::repair::Judged;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, UnitWeighter};
use restore::Restorer;
pub(crate) use restore::{read_piece, read_what_can_be};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Images whose files stay open at most.
pub const OPEN_IMAGES: usize = 256;
/// Bytes read at once at most: a quarter of a region, rounded up for its framing.
const READ_BYTES: usize = REGION_BYTES / 4 + 64 * 1024;
/// Clusters read at once at most.
pub const RUN_CLUSTERS: usize = REGION_BYTES / 4 / CLUSTER_BYTES;

/// Why clusters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{region}: {source}")]
    Io { region: RegionId, source: io::Error },
    #[error("{region}: there is no such image; was a file of the volume moved or deleted?")]
    Missing { region: RegionId },
    #[error("{region}: the file says that it is another image ({found}); was a file of the volume renamed?")]
    Other { region: RegionId, found: RegionId },
    #[error("{at}: the bytes do not have the checksum that the tables say; run `infmap check`")]
    Damaged { at: Address },
}

/// The images of a volume.
pub struct Images {
    device: Arc<dyn Device>,
    open: Cache<RegionId, Arc<dyn DeviceFile>, UnitWeighter, DefaultHashBuilder, Evictions>,
    evictions: Evictions,
    /// Files that were opened because they were not open.
    opened: AtomicU64,
    buffers: BufferPool,
    restorer: Restorer,
    suspected: OnceLock<Box<Suspected>>,
}

/// Who hears of images that did not give what they should.
type Suspected = dyn Fn(RegionId) + Send + Sync;

impl Images {
    /// `parallel`: reads that are under way at once, each with a buffer.
    #[must_use]
    pub fn new(device: Arc<dyn Device>, parallel: usize) -> Self {
        let (evictions, buffers) = (Evictions::default(), BufferPool::huge(READ_BYTES, parallel));
        let open = Cache::with(OPEN_IMAGES, OPEN_IMAGES as u64, UnitWeighter, DefaultHashBuilder::default(), evictions.clone());
        Self { device, open, evictions, opened: AtomicU64::new(0), buffers, restorer: Restorer::default(), suspected: OnceLock::new() }
    }

    /// Keeps buffers for so many reads at once from now on.
    pub fn set_parallel(&self, parallel: usize) {
        self.buffers.set_keep(parallel);
    }

    /// Has somebody told of each image that did not give what it should, from the thread that reads. The first one counts.
    pub fn on_suspect(&self, tell: impl Fn(RegionId) + Send + Sync + 'static) {
        let _ = self.suspected.set(Box::new(tell));
    }

    fn suspect(&self, region: RegionId) {
        if let Some(tell) = self.suspected.get() {
            tell(region);
        }
    }

    /// What the bytes of an image's file are: see [`crate::repair::judge`]. Its work space is the one that reads use for damage.
    #[must_use]
    pub fn judge(&self, bytes: &[u8], is_whole: bool, volume: [u8; 16], region: RegionId) -> Judged {
        self.restorer.judge(bytes, is_whole, volume, region)
    }

    /// Reads and verifies consecutive clusters, one for each of `crcs` (at most `RUN_CLUSTERS`), into `out` of 4096 bytes for each.
    ///
    /// # Errors
    /// See [`ImageError`]; `out` is then to be thrown away.
    pub fn read(&self, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<(), ImageError> {
        match self.read_stored(first, crcs, out) {
            Err(error @ (ImageError::Damaged { .. } | ImageError::Io { .. })) => {
                let lost = self.salvage(first, crcs, out)?;
                if lost.is_empty() { Ok(()) } else { Err(error) }
            }
            done => done,
        }
    }

    /// Reads and verifies as much as can be had of consecutive clusters, and gives zeros for the others, which are told.
    ///
    /// # Errors
    /// `Io` where the host refuses for a reason that says nothing of the bytes: they are not lost; `out` is then to be thrown away.
    pub fn read_what_is(&self, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<Vec<LostCluster>, ImageError> {
        match self.read_stored(first, crcs, out) {
            Ok(()) => Ok(Vec::new()),
            Err(_) => self.salvage(first, crcs, out),
        }
    }

    /// Whether a cluster has its checksum where it lies.
    #[must_use]
    pub fn has(&self, at: Address, crc: u32) -> bool {
        self.read_stored(at, &[crc], &mut [0; CLUSTER_BYTES]).is_ok()
    }

    fn read_stored(&self, first: Address, crcs: &[u32], out: &mut [u8]) -> Result<(), ImageError> {
        self.with_bands(first, crcs.len(), |bands| bands.copy_run(first.cluster, crcs, out).map_err(|e| damaged(first, &e)))
    }

    /// Consecutive clusters as parity gives them back, for bytes that turned out to be wrong; `None` if it cannot. Whoever decodes
    /// them verifies them.
    #[must_use]
    pub fn restore(&self, first: Address, count: usize) -> Option<Vec<u8>> {
        self.suspect(first.region);
        let mut out = vec![0; count * CLUSTER_BYTES];
        self.restorer.restore(self.device.as_ref(), first, &mut out).map(|()| out)
    }

    /// How often clusters were given that had to be restored from parity.
    #[must_use]
    pub fn restored(&self) -> u64 {
        self.restorer.restored()
    }

    /// How the cache of open images is; what they take is the system's.
    #[must_use]
    pub fn state(&self) -> CacheUse {
        let (evicted_cold, evicted_hot) = self.evictions.counts();
        let (hits, missed) = (self.open.hits(), self.opened.load(Ordering::Relaxed));
        CacheUse { bytes: 0, entries: self.open.len() as u64, hits, missed, evicted_cold, evicted_hot }
    }

    /// Bytes of the buffers that reads use.
    #[must_use]
    pub fn buffer_bytes(&self) -> u64 {
        self.buffers.held_bytes()
    }

    /// Reads consecutive clusters without verifying: whoever decodes them does.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn read_unverified(&self, first: Address, count: usize) -> Result<Vec<u8>, ImageError> {
        let mut out = vec![0; count * CLUSTER_BYTES];
        self.with_bands(first, count, |bands| {
            for (number, slot) in (first.cluster.number()..).zip(out.chunks_exact_mut(CLUSTER_BYTES)) {
                let cluster = crate::address::Cluster::new(number).ok_or(ImageError::Damaged { at: first })?;
                let pieces = bands.unverified(cluster).ok_or(ImageError::Damaged { at: first })?;
                if let Some(slot) = slot.first_chunk_mut() {
                    pieces.copy_to(slot);
                }
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// The tables of an image: whose each of its clusters is.
    ///
    /// # Errors
    /// See [`ImageError`]; `Damaged` if neither copy is found.
    pub fn tables(&self, region: RegionId) -> Result<Tables, ImageError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing { region },
            _ => ImageError::Io { region, source },
        };
        let file = self.file(region).map_err(io)?;
        let mut buffer = self.buffers.take();
        let length = file.len().map_err(io)?;
        // Everything that varies in size stands behind the pixels, and is less than this.
        let start = length.saturating_sub(buffer.len() as u64).next_multiple_of(DIRECT_ALIGN as u64);
        let got = file.read_at(&mut buffer, start).map_err(io)?;
        let tables = find_tables(buffer.get(..got).unwrap_or_default());
        let first = Address { region, cluster: crate::address::Cluster::FIRST };
        let tables = tables.ok_or(ImageError::Damaged { at: first })?;
        let found = tables.identity.region;
        if found == region { Ok(tables) } else { Err(ImageError::Other { region, found }) }
    }

    /// The paths of everything that stands where images do, in order.
    ///
    /// # Errors
    /// The device's.
    pub fn list(device: &dyn Device) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for block in device.list("map")? {
            if block.kind == crate::device::Kind::Directory {
                let directory = format!("map/{}", block.name);
                paths.extend(device.list(&directory)?.into_iter().map(|file| format!("{directory}/{}", file.name)));
            }
        }
        Ok(paths)
    }

    /// Forgets an image whose file is about to be taken away.
    pub fn forget(&self, region: RegionId) {
        self.open.remove(&region);
        self.restorer.forget(region);
    }

    fn with_bands(
        &self,
        first: Address,
        count: usize,
        take: impl FnOnce(RawBands<'_>) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let region = first.region;
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing { region },
            _ => ImageError::Io { region, source },
        };
        let file = self.file(region).map_err(io)?;
        let range = direct_range(&read_range(first.cluster, count));
        let mut buffer = self.buffers.take();
        let Some(target) = buffer.get_mut(..range.len()) else { return Err(ImageError::Damaged { at: first }) };
        let got = file.read_at(target, range.start as u64).map_err(io)?;
        let taken = take(RawBands::new(target.get(..got).unwrap_or_default(), range.start));
        match taken {
            // Before it is called damage: is it the image that was asked for at all?
            Err(ImageError::Damaged { at }) => Err(self.mistaken(region, file.as_ref()).unwrap_or(ImageError::Damaged { at })),
            done => done,
        }
    }

    fn file(&self, region: RegionId) -> io::Result<Arc<dyn DeviceFile>> {
        self.open.get_or_insert_with(&region, || {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.device.open(&region.path(), Open::READ.direct())
        })
    }

    fn mistaken(&self, region: RegionId, file: &dyn DeviceFile) -> Option<ImageError> {
        let mut head = [0; HEADER_BYTES];
        let got = file.read_at(&mut head, 0).ok()?;
        let found = read_identity(head.get(..got)?).ok()?.region;
        (found != region).then_some(ImageError::Other { region, found })
    }
}

fn damaged(first: Address, error: &RegionError) -> ImageError {
    match error {
        RegionError::ClusterDamaged(cluster) | RegionError::NotCovered(cluster) => {
            ImageError::Damaged { at: Address { region: first.region, cluster: *cluster } }
        }
        _ => ImageError::Damaged { at: first },
    }
}

#[cfg(test)]
mod tests;
