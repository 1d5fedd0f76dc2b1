//! Bit rot, by the thousand: what the format covers comes back as the identical bytes, and nothing else is ever taken for sound.
//!
//! Must be true, for every case: the survey finds it; mending gives the file as it was written; a reader gets the bytes that were
//! stored. Beyond what parity covers: the survey finds it, mending names exactly the clusters that are lost, a reader gets all others.
//! `cargo test` runs some hundreds, `make rot` all; both fail when they checked nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use infmap_storage::address::{Address, Cluster, Generation, Place, RegionId};
use infmap_storage::device::{Device, DeviceFile, MemoryDevice, Open};
use infmap_storage::images::{ImageError, Images};
use infmap_storage::limits::*;
use infmap_storage::region::chunk::Chunks;
use infmap_storage::region::layout::*;
use infmap_storage::region::{
    Codec, IMAGE_MAX_BYTES, Identity, Mender, Owner, OwnerKind, ParityEncoder, RawRegion, RegionBuilder, RegionKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

const BURST_MAX: usize = 124 * 1024;

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ (self.0 >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// An image, what must be read of it, and the volume that it is put into.
struct Sample {
    name: &'static str,
    image: Vec<u8>,
    identity: Identity,
    /// CRC of each cluster that somebody has.
    crcs: BTreeMap<usize, u32>,
    used_rows: usize,
    /// Ranges of the file by kind of byte.
    kinds: BTreeMap<&'static str, Vec<Range<usize>>>,
    file: Arc<dyn DeviceFile>,
    images: Images,
    mender: Mender,
    checked: usize,
}

impl Sample {
    fn new(name: &'static str, runs: &[usize], root: usize) -> Self {
        let region = RegionId { place: Place(6), generation: Generation(0x1_0000_0002) };
        let identity = Identity { volume: *b"0123456789abcdef", region, kind: RegionKind::Data };
        let mut open = RegionBuilder::new(vec![0xEE; IMAGE_MAX_BYTES], identity).unwrap();
        let (mut dice, mut crcs) = (Dice(77), BTreeMap::new());
        for (n, &size) in runs.iter().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|_| dice.next() as u8).collect();
            let (kind, codec) = (OwnerKind::Extent, if n % 3 == 0 { Codec::Zstd } else { Codec::Raw });
            let owner = Owner { kind, codec, inode: n as u64, offset_bytes: 0, decoded_bytes: size as u32, sequence: 1, home: None };
            let placed = open.place(owner, &[&bytes]).unwrap();
            crcs.extend((placed.first.number()..).zip(placed.crcs.iter().copied()));
        }
        if root > 0 {
            open.set_root(&(0..root).map(|_| dice.next() as u8).collect::<Vec<_>>()).unwrap();
        }
        let sealed = open.finish(&mut ParityEncoder::new());
        let (image, used_rows) = (sealed.bytes().to_vec(), sealed.tables().used_bands * 4);
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
        device.create_dir("map").unwrap();
        device.create_dir(&region.place.directory()).unwrap();
        let file = device.open(&region.path(), Open::CREATE).unwrap();
        let (kinds, images) = (kinds(&image, used_rows / 4), Images::new(device, 1));
        Self { name, image, identity, crcs, used_rows, kinds, file, images, mender: Mender::default(), checked: 0 }
    }

    fn all() -> Vec<Self> {
        let mixed: Vec<usize> = (0..90).map(|n| 1 + n * 7919 % 66_000).collect();
        vec![
            Self::new("mixed, with a root", &mixed, 700),
            Self::new("full", &[UNIT_BYTES; 64], 0),
            Self::new("full of single clusters", &[100; REGION_CLUSTERS], 0),
            Self::new("a little, with a long root", &[5000, 70_000, 300], 65_536),
            Self::new("empty, with a root", &[], 4096),
        ]
    }

    /// A damaged file that parity covers.
    fn check_mended(&mut self, damaged: &[u8], what: &str) {
        if damaged == self.image {
            return;
        }
        let what = format!("{}: {what}", self.name);
        let raw = RawRegion::new(damaged);
        assert!(!raw.survey().is_sound(), "not found: {what}");
        let mended = raw.mend(Some(&self.identity), &mut self.mender).unwrap_or_else(|error| panic!("not mended: {what}: {error}"));
        assert!(mended.bytes() == self.image, "mended to other bytes: {what}");
        assert_eq!(self.read(damaged), BTreeSet::new(), "not read: {what}");
        self.checked += 1;
    }

    /// Reads clusters out of a file: those near to the damage and some others. Returns those that are refused; no other bytes may come.
    fn read(&self, damaged: &[u8]) -> BTreeSet<usize> {
        let near = |number: usize| {
            let pieces = cluster_pieces(Cluster::new(number).unwrap());
            pieces.iter().any(|&at| damaged.get(at..at + PIECE_BYTES) != self.image.get(at..at + PIECE_BYTES))
        };
        let mut touched: Vec<usize> = self.crcs.keys().copied().filter(|n| near(*n)).take(1).collect();
        touched.extend(self.crcs.keys().copied().step_by(500));
        self.read_of(damaged, &touched)
    }

    fn read_of(&self, damaged: &[u8], clusters: &[usize]) -> BTreeSet<usize> {
        self.file.write_at(damaged, 0).unwrap();
        self.file.set_len(damaged.len() as u64).unwrap();
        let mut refused = BTreeSet::new();
        for number in clusters {
            let address = Address { region: self.identity.region, cluster: Cluster::new(*number).unwrap() };
            let mut out = [0; CLUSTER_BYTES];
            match self.images.read(address, &[self.crcs[number]], &mut out) {
                Ok(()) => {
                    let stored = cluster_pieces(address.cluster).map(|at| &self.image[at..at + PIECE_BYTES]).concat();
                    assert!(out[..] == stored, "{}: wrong bytes of cluster {number}", self.name);
                }
                Err(ImageError::Damaged { .. }) => drop(refused.insert(*number)),
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
        refused
    }
}

/// Where every kind of byte stands.
fn kinds(image: &[u8], used_bands: usize) -> BTreeMap<&'static str, Vec<Range<usize>>> {
    let mut kinds: BTreeMap<&'static str, Vec<Range<usize>>> = BTreeMap::new();
    kinds.entry("signature").or_default().push(0..SIGNATURE.len());
    let mut seen = BTreeMap::<[u8; 4], usize>::new();
    for chunk in Chunks::of(image).map(Result::unwrap) {
        let data = chunk.offset + 8..chunk.end() - 4;
        let copy = seen.entry(chunk.kind).or_insert(0);
        *copy += 1;
        kinds.entry("chunk length").or_default().push(chunk.offset..chunk.offset + 4);
        kinds.entry("chunk type").or_default().push(chunk.offset + 4..chunk.offset + 8);
        kinds.entry("chunk checksum").or_default().push(data.end..chunk.end());
        let kind = match (&chunk.kind, *copy) {
            (b"IHDR", _) => "IHDR",
            (b"imID", _) => "identity",
            (b"tEXt", _) => "text",
            (b"IDAT", n) if n > used_bands => "closing block and Adler-32",
            (b"IDAT", _) => continue,
            (b"imTB", 1) => "tables",
            (b"imTB", _) => "tables again",
            (b"imRT", 1) => "root",
            (b"imRT", _) => "root again",
            (b"imPY", _) => "parity",
            (b"imPD", _) => "pad",
            _ => continue,
        };
        kinds.entry(kind).or_default().push(data);
    }
    for row in 0..used_bands * 4 {
        let pixels = row_range(row);
        kinds.entry("filter byte").or_default().push(pixels.start - 1..pixels.start);
        if row % 4 == 0 {
            kinds.entry("deflate header").or_default().push(pixels.start - 6..pixels.start - 1);
        }
        kinds.entry("pixels").or_default().push(pixels);
    }
    kinds.values_mut().for_each(|ranges| ranges.retain(|range| !range.is_empty()));
    kinds.retain(|_, ranges| !ranges.is_empty());
    kinds
}

fn flips(count: usize, seed: u64) {
    let (mut samples, mut dice, mut by_kind) = (Sample::all(), Dice(seed), BTreeMap::<&str, usize>::new());
    for n in 0..count {
        let number = dice.below(samples.len());
        let sample = &mut samples[number];
        // Every kind of byte equally often, however few there are of it.
        let (kind, ranges) = sample.kinds.iter().nth(n % sample.kinds.len()).unwrap();
        let range = &ranges[dice.below(ranges.len())];
        let (at, bit) = (range.start + dice.below(range.len()), dice.below(8));
        let (kind, what) = (*kind, format!("bit {bit} of byte {at}, {kind}"));
        let mut damaged = sample.image.clone();
        damaged[at] ^= 1 << bit;
        sample.check_mended(&damaged, &what);
        *by_kind.entry(kind).or_default() += 1;
    }
    let checked: usize = samples.iter().map(|sample| sample.checked).sum();
    println!("{checked} flipped bits, all found, read right and mended to the identical bytes: {by_kind:?}");
    assert_eq!(checked, count);
    assert!(by_kind.len() >= 17, "kinds of bytes: {by_kind:?}");
}

/// Overwrites a range: with noise, with zeros, with ones, or with what stood elsewhere in the file.
fn strike(image: &[u8], range: Range<usize>, dice: &mut Dice) -> Vec<u8> {
    let mut damaged = image.to_vec();
    let range = range.start.min(image.len())..range.end.min(image.len());
    match dice.below(4) {
        0 => damaged[range].iter_mut().for_each(|byte| *byte = dice.next() as u8),
        1 => damaged[range].fill(0),
        2 => damaged[range].fill(0xFF),
        _ => {
            let from = dice.below(image.len() - range.len() + 1);
            damaged.copy_within(from..from + range.len(), range.start);
        }
    }
    damaged
}

fn bursts(count: usize, boundary_step: usize, seed: u64) {
    let (mut samples, mut dice) = (Sample::all(), Dice(seed));
    for sample in &mut samples {
        let boundaries: Vec<usize> = Chunks::of(&sample.image).map(Result::unwrap).map(|chunk| chunk.offset).collect();
        // All around the chunks that differ, some or all between bands.
        let bands = 4..boundaries.len() - 8;
        let kept = boundaries.iter().enumerate().filter(|(n, _)| !bands.contains(n) || n % boundary_step == 0);
        for (_, &at) in kept {
            for start in [at, at.saturating_sub(BURST_MAX), at.saturating_sub(BURST_MAX / 2), at.saturating_sub(2)] {
                let length = if start + 2 == at { 4 } else { BURST_MAX };
                let damaged = strike(&sample.image, start..start + length, &mut dice);
                sample.check_mended(&damaged, &format!("a burst of {length} bytes from {start}, at a boundary"));
            }
        }
    }
    for _ in 0..count {
        let number = dice.below(samples.len());
        let sample = &mut samples[number];
        let length = if dice.below(3) == 0 { BURST_MAX } else { 1 + dice.below(BURST_MAX) };
        let start = dice.below(sample.image.len());
        let damaged = strike(&sample.image, start..start + length, &mut dice);
        sample.check_mended(&damaged, &format!("a burst of {length} bytes from {start}"));
    }
    let checked: usize = samples.iter().map(|sample| sample.checked).sum();
    println!("{checked} bursts of up to {BURST_MAX} bytes, all found, read right and mended to the identical bytes");
    assert!(checked >= count);
}

/// File range of a row: 0..1024 pixels, 1024..1056 parity.
fn row_in_file(sample: &Sample, row: usize) -> Range<usize> {
    let parity = sample.kinds["parity"][0].start;
    row.checked_sub(REGION_SIDE_PX).map_or_else(|| row_range(row), |n| parity + n * ROW_BYTES..parity + (n + 1) * ROW_BYTES)
}

fn some_rows(sample: &Sample, count: usize, dice: &mut Dice) -> BTreeSet<usize> {
    let mut rows = BTreeSet::new();
    let of_parity = count <= PARITY_ROWS && dice.below(5) == 0;
    while rows.len() < count {
        let n = if of_parity { sample.used_rows + dice.below(PARITY_ROWS) } else { dice.below(sample.used_rows + PARITY_ROWS) };
        rows.insert(if n < sample.used_rows { n } else { n - sample.used_rows + REGION_SIDE_PX });
    }
    rows
}

fn damage_rows(sample: &Sample, rows: &BTreeSet<usize>, dice: &mut Dice) -> Vec<u8> {
    let mut damaged = sample.image.clone();
    for row in rows {
        let range = row_in_file(sample, *row);
        if dice.below(2) == 0 {
            damaged[range].iter_mut().for_each(|byte| *byte = dice.next() as u8);
        } else {
            damaged[range.start + dice.below(ROW_BYTES)] ^= 1 << dice.below(8);
        }
    }
    damaged
}

fn rows(count: usize, seed: u64) {
    let (mut samples, mut dice) = (Sample::all(), Dice(seed));
    for _ in 0..count {
        let number = dice.below(samples.len());
        let sample = &mut samples[number];
        let rows = some_rows(sample, PARITY_ROWS, &mut dice);
        let damaged = damage_rows(sample, &rows, &mut dice);
        sample.check_mended(&damaged, &format!("the rows {rows:?}"));
    }
    let checked: usize = samples.iter().map(|sample| sample.checked).sum();
    println!("{checked} times 32 damaged rows, all found, read right and mended to the identical bytes");
    assert_eq!(checked, count);
}

/// More than parity restores: found, and exactly the clusters whose bytes are gone are refused and named.
fn beyond(count: usize, seed: u64) {
    let (samples, mut dice, mut lost_in_all) = (Sample::all(), Dice(seed), 0);
    let mut mender = Mender::default();
    let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.used_rows >= 100).collect();
    for _ in 0..count {
        let sample = samples[dice.below(samples.len())];
        let number = PARITY_ROWS + 1 + dice.below(60);
        let rows = some_rows(sample, number.min(sample.used_rows), &mut dice);
        // Of single bits and whole rows, so that some clusters of a damaged row are sound.
        let damaged = damage_rows(sample, &rows, &mut dice);
        let raw = RawRegion::new(damaged.as_slice());
        assert!(!raw.survey().is_sound() && !raw.survey().is_repairable());
        let error = raw.mend(Some(&sample.identity), &mut mender).err().expect("nothing can bring it back");
        let differs = |number: &usize| {
            let pieces = cluster_pieces(Cluster::new(*number).unwrap());
            pieces.iter().any(|&at| damaged[at..at + PIECE_BYTES] != sample.image[at..at + PIECE_BYTES])
        };
        let lost: BTreeSet<usize> = sample.crcs.keys().copied().filter(differs).collect();
        let named: BTreeSet<usize> = error.lost.iter().map(|cluster| cluster.number()).filter(|n| sample.crcs.contains_key(n)).collect();
        assert_eq!(named, lost, "{}: the rows {rows:?}", sample.name);
        let around: Vec<usize> = sample.crcs.keys().copied().filter(|n| lost.contains(n) || n % 37 == 0).step_by(7).take(12).collect();
        let refused = sample.read_of(&damaged, &around);
        assert_eq!(refused, around.iter().copied().filter(|n| lost.contains(n)).collect(), "{}: the rows {rows:?}", sample.name);
        lost_in_all += lost.len();
    }
    println!("{count} times more than 32 damaged rows, all found; {lost_in_all} clusters lost, exactly these refused and named");
    assert!(lost_in_all > count);
}

fn lengths(count: usize, seed: u64) {
    let (mut samples, mut dice) = (Sample::all(), Dice(seed));
    for n in 0..count {
        let number = dice.below(samples.len());
        let sample = &mut samples[number];
        let by = 1 + dice.below(BURST_MAX);
        let mut damaged = sample.image.clone();
        match n % 3 {
            0 => damaged.truncate(sample.image.len() - by),
            1 => damaged.extend((0..by).map(|_| dice.next() as u8)),
            _ => damaged.resize(sample.image.len() + by, 0),
        }
        sample.check_mended(&damaged, &format!("a length of {} instead of {}", damaged.len(), sample.image.len()));
    }
    assert_eq!(samples.iter().map(|sample| sample.checked).sum::<usize>(), count);
}

#[test]
fn a_flipped_bit_of_any_kind_of_byte_is_found_and_mended() {
    flips(120, 1);
}

#[test]
fn a_burst_of_up_to_124_kib_at_any_offset_is_mended() {
    bursts(40, 256, 2);
}

#[test]
fn any_32_damaged_rows_are_mended() {
    rows(30, 3);
}

#[test]
fn beyond_parity_exactly_what_is_lost_is_refused_and_named() {
    beyond(20, 4);
}

#[test]
fn a_file_that_is_too_short_or_too_long_is_mended() {
    lengths(15, 5);
}

#[test]
#[ignore = "2,000 bits take a minute: make rot"]
fn all_flipped_bits() {
    flips(2_000, 11);
}

#[test]
#[ignore = "every boundary between chunks takes a minute: make rot"]
fn all_bursts() {
    bursts(2_000, 1, 12);
}

#[test]
#[ignore = "a thousand sets of rows take a minute: make rot"]
fn all_rows() {
    rows(1_000, 13);
    beyond(500, 14);
    lengths(300, 15);
}
