//! The reader against the bytes of a file: raw and compressed extents, gaps, inline content, dirty blocks, both tiers, and damage.

use super::*;
use crate::address::{Cluster, Generation, Place, RegionId};
use crate::device::{Device, MemoryDevice, Open, write_whole};
use crate::region::layout::cluster_pieces;
use crate::region::{IMAGE_MAX_BYTES, Identity, Owner, OwnerKind, ParityEncoder, RegionBuilder, RegionKind};
use crate::row::ROOT_INODE;
use crate::state::State;
use crate::state::tests::kit::{NOW, Store, file, new_state};
use crate::unit::Compressor;
use std::sync::Arc;

const SIZE: usize = 2 << 20;

/// A pseudo-random number (splitmix64).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct World {
    store: Store,
    state: State,
    device: Arc<dyn Device>,
    images: Images,
    tiers: Tiers,
    pool: BlockPool,
    inode: Inode,
    bytes: Vec<u8>,
    region: RegionId,
}

/// Where the compressed units lie, and where nothing does.
const UNITS: [usize; 3] = [2, 3, 6];
const GAP: std::ops::Range<usize> = 60_000..70_001;

impl World {
    fn new() -> Self {
        let region = RegionId { place: Place(9), generation: Generation(5) };
        let identity = Identity { volume: [3; 16], region, kind: RegionKind::Data };
        let mut builder = RegionBuilder::new(vec![0u8; IMAGE_MAX_BYTES], identity).unwrap();
        let mut bytes: Vec<u8> = (0..SIZE / 8).flat_map(|n| mix(n as u64).to_le_bytes()).collect();
        for unit in UNITS {
            bytes[unit * UNIT_BYTES..][..UNIT_BYTES].iter_mut().enumerate().for_each(|(n, byte)| *byte = (n / 300) as u8);
        }
        let store = Store::default();
        let mut state = new_state(&store).0;
        let inode = state.transact(&store, |txn| crate::names::create(txn, &file(ROOT_INODE, b"f"), NOW)).unwrap().value.0;
        let mut at = 0;
        while at < SIZE {
            let unit = UNITS.contains(&(at / UNIT_BYTES));
            // Single blocks in the first unit; long extents, one after the other, behind the units.
            let length = if at < UNIT_BYTES / 2 {
                4096
            } else if at < UNIT_BYTES * 8 {
                UNIT_BYTES
            } else {
                4 * UNIT_BYTES
            };
            let length = if at < UNIT_BYTES { length.min(UNIT_BYTES - at) } else { length }.min(SIZE - at);
            let row = place(&mut builder, inode, at, &bytes[at..at + length], unit);
            state.transact(&store, |txn| txn.put_extent(inode, at as u64, &row, true)).unwrap();
            at += length;
        }
        state.transact(&store, |txn| txn.cut_extents(inode, GAP.start as u64, GAP.end as u64, 1)).unwrap();
        bytes[GAP].fill(0);
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
        device.create_dir("map").unwrap();
        device.create_dir(&region.place.directory()).unwrap();
        write_whole(device.as_ref(), &region.path(), builder.finish(&mut ParityEncoder::new()).bytes()).unwrap();
        let images = Images::new(Arc::clone(&device), 2);
        Self { store, state, device, images, tiers: Tiers::new(1 << 20, 1 << 20), pool: BlockPool::new(4), inode, bytes, region }
    }

    fn read(&self, offset: usize, length: usize, dirty: &[(u64, Block)], disk: bool) -> Result<Vec<u8>, ReadError> {
        let images = disk.then_some(&self.images);
        let reader =
            FileReader { view: self.state.view(&self.store), tiers: &self.tiers, pool: &self.pool, images, ahead: None, lost: None };
        // What the buffer held before must not shine through.
        let mut out = vec![0xEE; length];
        reader.read(self.inode, offset as u64, dirty, &mut out).map(|()| out)
    }

    fn image(&self) -> Vec<u8> {
        crate::device::read_all(self.device.as_ref(), &self.region.path(), IMAGE_MAX_BYTES).unwrap()
    }

    /// Damages both copies of the tables, so that parity cannot be used.
    fn lose_tables(&self) {
        let image = self.image();
        let file = self.device.open(&self.region.path(), Open::WRITE).unwrap();
        let tables = image.windows(4).enumerate().filter(|(_, bytes)| *bytes == b"imTB");
        assert!(tables.map(|(at, _)| file.write_at(&[!image[at + 50]], at as u64 + 50).unwrap()).count() >= 2);
    }

    /// Damages the stored byte `at` of the cluster that holds byte `offset` of the file; returns its address.
    fn damage(&self, offset: usize) -> Address {
        let (start, row) = self.state.view(&self.store).extents(self.inode, offset as u64, offset as u64 + 1, 1).unwrap().pop().unwrap();
        let at = row.address(if row.codec == Codec::Zstd { 0 } else { (row.skip as usize + offset - start as usize) / 4096 }).unwrap();
        let position = cluster_pieces(at.cluster)[1] + 17;
        let byte = self.image()[position] ^ 4;
        self.device.open(&self.region.path(), Open::WRITE).unwrap().write_at(&[byte], position as u64).unwrap();
        at
    }
}

fn place(builder: &mut RegionBuilder<Vec<u8>>, inode: Inode, at: usize, bytes: &[u8], compress: bool) -> ExtentRow {
    let mut compressor = Compressor::default();
    let (codec, stored) = if compress { (Codec::Zstd, compressor.compress(bytes).unwrap()) } else { (Codec::Raw, bytes) };
    let decoded_bytes = bytes.len() as u32;
    let owner = Owner { kind: OwnerKind::Extent, codec, inode: inode.0, offset_bytes: at as u64, decoded_bytes, sequence: 1, home: None };
    let region = builder.identity().region;
    let placed = builder.place(owner, &[stored]).unwrap();
    ExtentRow {
        first: Address { region, cluster: placed.first },
        clusters: placed.crcs.len() as u8,
        codec,
        stored_bytes: stored.len() as u32,
        decoded_bytes,
        skip: 0,
        length: decoded_bytes,
        sequence: 1,
        birth: Generation(1),
        crcs_from: 0,
        crcs: placed.crcs.to_vec(),
    }
}

/// A range of the file, short or long, anywhere.
fn range(r: u64) -> (usize, usize) {
    let offset = (r % SIZE as u64) as usize;
    let length = match r >> 60 {
        0..=5 => 1 + (r >> 24) as usize % 9000,
        6..=9 => 4096 * (1 + (r >> 24) as usize % 20),
        10..=13 => 1 + (r >> 24) as usize % (1 << 18),
        _ => 1 << 20,
    };
    let offset = if r >> 50 & 1 == 0 { offset } else { offset / 4096 * 4096 };
    (offset, length.min(SIZE - offset))
}

#[test]
fn every_read_gives_the_bytes_of_the_file() {
    let world = World::new();
    let mut resident = 0;
    for n in 0..600 {
        let (offset, length) = range(mix(n));
        let mut expected = world.bytes[offset..offset + length].to_vec();
        let mut dirty = Vec::new();
        for number in offset / 4096..(offset + length).div_ceil(4096) {
            if mix(n << 20 | number as u64) % 5 < n % 4 {
                let block = world.pool.holding(0, &[(number % 251) as u8; 4096]);
                copy_over(&mut expected, offset as u64, number as u64 * 4096, block.bytes());
                dirty.push((number as u64, block));
            }
        }
        match world.read(offset, length, &dirty, false) {
            Ok(bytes) => {
                assert!(bytes == expected, "resident read of {length} at {offset}");
                resident += 1;
            }
            Err(ReadError::NotResident) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(world.read(offset, length, &dirty, true).unwrap() == expected, "read of {length} at {offset}");
    }
    assert!(resident > 5, "nothing was ever resident");
    let [l1, l2] = world.tiers.state().map(|tier| tier.bytes);
    assert!((1..=1 << 20).contains(&l1) && (1..=1 << 20).contains(&l2));
}

#[test]
fn without_leave_nothing_is_read_and_what_was_read_stays() {
    let world = World::new();
    for (offset, length) in [(100, 1000), (UNITS[0] * UNIT_BYTES + 5, 10_000)] {
        assert!(matches!(world.read(offset, length, &[], false), Err(ReadError::NotResident)));
        world.read(offset, length, &[], true).unwrap();
        assert_eq!(world.read(offset, length, &[], false).unwrap(), &world.bytes[offset..offset + length], "L1");
    }
    let stored = world.state.view(&world.store).extents(world.inode, (UNITS[0] * UNIT_BYTES) as u64, u64::MAX, 1).unwrap();
    assert!(world.tiers.stored(stored[0].1.first).is_some(), "L2 has the stored form");
    // A stream leaves L1 alone.
    let before = world.tiers.state()[0].bytes;
    world.read(SIZE / 2, SIZE / 2, &[], true).unwrap();
    assert_eq!(world.tiers.state()[0].bytes, before);
    // Gaps, and what lies in dirty blocks, need no disk.
    assert_eq!(world.read(GAP.start + 1, 9000, &[], false).unwrap(), [0; 9000]);
    let dirty = [(300, world.pool.holding(0, &[1; 4096])), (301, world.pool.holding(0, &[2; 4096]))];
    assert_eq!(world.read(300 * 4096 + 4000, 200, &dirty, false).unwrap(), [[1; 96].as_slice(), &[2; 104]].concat());
}

#[test]
fn l2_serves_without_the_disk_only_where_leave_is_given() {
    let world = World::new();
    let offset = UNITS[1] * UNIT_BYTES;
    // A whole unit is a stream: only its stored form stays.
    world.read(offset, UNIT_BYTES, &[], true).unwrap();
    world.damage(offset);
    assert_eq!(world.read(offset + 7, 100, &[], true).unwrap(), &world.bytes[offset + 7..offset + 107]);
}

#[test]
fn what_parity_can_restore_is_read_as_if_nothing_were_damaged() {
    let world = World::new();
    for (n, offset) in [8192, 20 * UNIT_BYTES + 3 * 4096, UNITS[2] * UNIT_BYTES].into_iter().enumerate() {
        world.damage(offset);
        assert!(world.read(offset - 5000, 20_000, &[], true).unwrap() == world.bytes[offset - 5000..offset + 15_000]);
        assert!(world.images.restored() > n as u64);
    }
    assert!(world.read(0, world.bytes.len(), &[], true).unwrap() == world.bytes);
}

#[test]
fn an_image_that_is_cut_off_in_its_parity_still_gives_its_pixels() {
    let world = World::new();
    let length = world.image().len() as u64;
    world.device.open(&world.region.path(), Open::WRITE).unwrap().set_len(length - 100_000).unwrap();
    assert!(world.read(0, world.bytes.len(), &[], true).unwrap() == world.bytes);
    assert_eq!(world.images.restored(), 0);
}

#[test]
fn damage_is_named_by_its_cluster_and_spares_its_neighbours() {
    let world = World::new();
    world.lose_tables();
    for offset in [8192, 20 * UNIT_BYTES + 3 * 4096, UNITS[2] * UNIT_BYTES] {
        let at = world.damage(offset);
        match world.read(offset, 1, &[], true) {
            Err(ReadError::Image(ImageError::Damaged { at: named })) => assert_eq!(named, at),
            other => panic!("{other:?}"),
        }
        // A read that does not need the cluster, or has a dirty block over it, is served.
        let (number, dirty) = (offset as u64 / 4096, world.pool.holding(0, &[9; 4096]));
        let raw = !UNITS.contains(&(offset / UNIT_BYTES));
        if raw {
            assert_eq!(world.read(offset - 4096, 4096, &[], true).unwrap(), &world.bytes[offset - 4096..offset]);
            let over = world.read(offset - 10, 4116, &[(number, dirty)], true).unwrap();
            let expected = [&world.bytes[offset - 10..offset], &[9; 4096], &world.bytes[offset + 4096..offset + 4106]].concat();
            assert!(over == expected);
        }
    }
}

#[test]
fn another_image_under_the_name_is_not_called_damage() {
    let world = World::new();
    let found = RegionId { generation: Generation(6), ..world.region };
    let identity = Identity { volume: [3; 16], region: found, kind: RegionKind::Data };
    let other = RegionBuilder::new(vec![0u8; IMAGE_MAX_BYTES], identity).unwrap().finish(&mut ParityEncoder::new());
    world.device.remove(&world.region.path()).unwrap();
    assert!(matches!(world.read(0, 10, &[], true), Err(ReadError::Image(ImageError::Missing { region })) if region == world.region));
    write_whole(world.device.as_ref(), &world.region.path(), other.bytes()).unwrap();
    match world.read(0, 10, &[], true) {
        Err(ReadError::Image(ImageError::Other { region, found: named })) => assert_eq!((region, named), (world.region, found)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_long_run_of_clusters_fits_one_read() {
    let world = World::new();
    for first in 0..40 {
        let count = RUN_CLUSTERS;
        let first = Address { region: world.region, cluster: Cluster::new(first).unwrap() };
        assert_eq!(world.images.read_unverified(first, count).unwrap().len(), count * 4096);
    }
}

#[test]
fn inline_content_lies_under_extents_and_over_nothing() {
    let mut world = World::new();
    let content: Vec<u8> = (0..2000).map(|n| n as u8 | 1).collect();
    let inode = world.state.transact(&world.store, |txn| crate::names::create(txn, &file(ROOT_INODE, b"g"), NOW)).unwrap().value.0;
    world.state.transact(&world.store, |txn| txn.put_inline_content(inode, &content, 1)).unwrap();
    world.inode = inode;
    let expected = [content.as_slice(), &[0; 8000]].concat();
    for (offset, length) in [(0, 10_000), (0, 1), (1999, 1), (1999, 2), (2000, 50), (100, 1800), (5000, 100)] {
        assert_eq!(world.read(offset, length, &[], false).unwrap(), &expected[offset..offset + length]);
    }
}

#[test]
fn what_is_lost_is_told_cluster_by_cluster_and_the_rest_of_the_read_is_given() {
    let world = World::new();
    let unit = UNITS[0] * UNIT_BYTES;
    let at = [world.damage(5 * 4096), world.damage(7 * 4096 + 100), world.damage(unit)];
    world.lose_tables();
    let read = |offset: usize, length: usize| {
        let lost = RefCell::new(Vec::new());
        let (view, images) = (world.state.view(&world.store), Some(&world.images));
        let reader =
            FileReader { view, tiers: &world.tiers, pool: &world.pool, images, ahead: Some(world.tiers.ahead()), lost: Some(&lost) };
        let mut out = vec![0xEE; length];
        reader.read(world.inode, offset as u64, &[], &mut out).unwrap();
        let lost = lost.into_inner();
        let damages = crate::damage::of_clusters(view, world.inode, offset as u64, (offset + length) as u64, &lost).unwrap();
        (out, lost.iter().map(|lost| lost.at).collect::<Vec<_>>(), damages)
    };
    // Again and again: nothing of it is kept as if it were sound.
    for _ in 0..2 {
        let (out, lost, damages) = read(0, 10 * 4096);
        let mut expected = world.bytes[..10 * 4096].to_vec();
        [5, 7].into_iter().for_each(|n| expected[n * 4096..(n + 1) * 4096].fill(0));
        assert!(out == expected && lost == at[..2], "{lost:?}");
        let ranges: Vec<(u64, u64)> = damages.iter().map(|damage| (damage.offset, damage.length)).collect();
        assert_eq!(ranges, [(5 * 4096, 4096), (7 * 4096, 4096)]);
        let (out, lost, damages) = read(unit + 100, 1000);
        assert!(out == [0; 1000] && lost == at[2..]);
        assert!(damages.len() == 1 && damages[0].offset <= unit as u64 + 100 && damages[0].length > 1000);
        assert_eq!(read(5 * 4096 + 10, 20).2[0].length, 4096, "a damage names the whole block");
        assert_eq!(read(8 * 4096, 4096), (world.bytes[8 * 4096..9 * 4096].to_vec(), Vec::new(), Vec::new()));
    }
    assert!(matches!(world.read(5 * 4096, 4096, &[], true), Err(ReadError::Image(ImageError::Damaged { .. }))));
}

#[test]
fn a_unit_that_does_not_decode_is_told_as_lost_or_an_error() {
    let mut world = World::new();
    let at = (UNITS[0] * UNIT_BYTES) as u64;
    let (start, row) = world.state.view(&world.store).extents(world.inode, at, at + 1, 1).unwrap().pop().unwrap();
    let wrong = ExtentRow { decoded_bytes: row.decoded_bytes - 1, length: row.length - 1, ..row };
    world.state.transact(&world.store, |txn| txn.put_extent(world.inode, start, &wrong, false)).unwrap();
    assert!(matches!(world.read(at as usize, 100, &[], true), Err(ReadError::Undecodable { .. })));
    let lost = RefCell::new(Vec::new());
    let (view, images) = (world.state.view(&world.store), Some(&world.images));
    let reader = FileReader { view, tiers: &world.tiers, pool: &world.pool, images, ahead: Some(world.tiers.ahead()), lost: Some(&lost) };
    for _ in 0..2 {
        let mut out = vec![0xEE; 2 * CLUSTER_BYTES];
        reader.read(world.inode, at, &[], &mut out).unwrap();
        assert!(out.iter().all(|byte| *byte == 0));
        assert_eq!(lost.take().iter().map(|lost| lost.found.clone()).collect::<Vec<_>>(), [Found::Undecodable]);
    }
}
