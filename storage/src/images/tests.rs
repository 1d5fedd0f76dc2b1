//! What is called lost, and how often parity is asked for it.

use super::*;
use crate::address::{Cluster, Generation, Place};
use crate::device::{DirEntry, MemoryDevice, Metadata, Space, write_whole};
use crate::region::layout::cluster_pieces;
use crate::region::{Codec, IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RegionBuilder, RegionKind};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::sync::atomic::{AtomicU32, Ordering};

const REGION: RegionId = RegionId { place: Place(9), generation: Generation(5) };
const FIRST: Address = Address { region: REGION, cluster: Cluster::FIRST };

/// What a device refuses, and how.
#[derive(Clone, Copy)]
enum Mood {
    Open(Errno),
    Read(Errno),
}

/// A device that refuses, and counts what is opened.
struct Moody {
    inner: MemoryDevice,
    mood: Arc<Mutex<Option<Mood>>>,
    opened: AtomicU32,
}

struct MoodyFile(Arc<dyn DeviceFile>, Arc<Mutex<Option<Mood>>>);

impl DeviceFile for MoodyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(Mood::Read(errno)) = *self.1.lock() { Err(errno.into()) } else { self.0.read_at(buf, offset) }
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
}

impl Device for Moody {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        if let Some(Mood::Open(errno)) = *self.mood.lock() {
            return Err(errno.into());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(MoodyFile(self.inner.open(path, how)?, self.mood.clone())))
    }
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.inner.metadata(path)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

/// An image of 64 clusters, and their checksums.
fn bed() -> (Arc<Moody>, Images, Vec<u32>) {
    let identity = Identity { volume: [3; 16], region: REGION, kind: RegionKind::Data };
    let mut builder = RegionBuilder::new(vec![0u8; IMAGE_MAX_BYTES], identity).unwrap();
    let bytes: Vec<u8> = (0..64 * CLUSTER_BYTES).map(|n| (n * n / 300) as u8).collect();
    let decoded_bytes = bytes.len() as u32;
    let owner = Owner { kind: OwnerKind::Extent, codec: Codec::Raw, inode: 3, offset_bytes: 0, decoded_bytes, sequence: 1, home: None };
    let crcs = builder.place(owner, &[&bytes]).unwrap().crcs.to_vec();
    let device = Arc::new(Moody { inner: MemoryDevice::new(), mood: Arc::default(), opened: AtomicU32::new(0) });
    device.create_dir("map").unwrap();
    device.create_dir(&REGION.place.directory()).unwrap();
    write_whole(device.as_ref(), &REGION.path(), builder.finish(&mut ParityEncoder::new()).bytes()).unwrap();
    let images = Images::new(device.clone(), 1);
    (device, images, crcs)
}

/// Damages a byte in each of the first clusters.
fn damage(device: &Moody, clusters: usize) {
    let file = device.inner.open(&REGION.path(), Open::WRITE).unwrap();
    for piece in (0..clusters).flat_map(|n| cluster_pieces(Cluster::new(n).unwrap())) {
        let mut byte = [0];
        file.read_at(&mut byte, piece as u64 + 9).unwrap();
        file.write_at(&[!byte[0]], piece as u64 + 9).unwrap();
    }
}

#[test]
fn only_what_the_medium_does_not_give_is_lost() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        for mood in [Mood::Open(errno), Mood::Read(errno)] {
            let (device, images, crcs) = bed();
            *device.mood.lock() = Some(mood);
            let mut out = vec![0; crcs.len() * CLUSTER_BYTES];
            assert!(matches!(images.read_what_is(FIRST, &crcs, &mut out), Err(ImageError::Io { .. })), "{errno}");
            *device.mood.lock() = None;
            assert_eq!(images.read_what_is(FIRST, &crcs, &mut out).unwrap(), [], "{errno}");
        }
    }
    let (device, images, crcs) = bed();
    *device.mood.lock() = Some(Mood::Read(Errno::IO));
    let mut out = vec![0; crcs.len() * CLUSTER_BYTES];
    assert_eq!(images.read_what_is(FIRST, &crcs, &mut out).unwrap().len(), crcs.len());
}

/// Too many open files when parity is asked: that it would have helped is not known, and so nothing is said to be lost.
#[test]
fn what_parity_may_have_is_not_lost_while_it_cannot_be_asked() {
    let (device, images, crcs) = bed();
    let mut out = vec![0; CLUSTER_BYTES];
    images.read(FIRST, &crcs[..1], &mut out).unwrap();
    damage(&device, 1);
    *device.mood.lock() = Some(Mood::Open(Errno::MFILE));
    assert!(matches!(images.read_what_is(FIRST, &crcs[..1], &mut out), Err(ImageError::Io { .. })));
    *device.mood.lock() = None;
    assert_eq!(images.read_what_is(FIRST, &crcs[..1], &mut out).unwrap(), []);
}

#[test]
fn parity_that_cannot_help_is_asked_once_for_many_requests() {
    let (device, images, crcs) = bed();
    damage(&device, 64);
    let mut out = vec![0; CLUSTER_BYTES];
    let before = device.opened.load(Ordering::Relaxed);
    for (n, crc) in crcs.iter().enumerate() {
        let at = Address { region: REGION, cluster: Cluster::new(n).unwrap() };
        assert_eq!(images.read_what_is(at, &[*crc], &mut out).unwrap().len(), 1);
    }
    // Once by whoever reads, once for parity.
    assert_eq!(device.opened.load(Ordering::Relaxed) - before, 2);
    // An image that is put back as it was is read at once, and one that is another is asked anew.
    damage(&device, 64);
    assert_eq!(images.read_what_is(FIRST, &crcs[..1], &mut out).unwrap(), []);
    damage(&device, 1);
    assert_eq!(images.read_what_is(FIRST, &crcs[..1], &mut out).unwrap().len(), 1);
    images.forget(REGION);
    assert_eq!(images.read_what_is(FIRST, &crcs[..1], &mut out).unwrap(), []);
}
