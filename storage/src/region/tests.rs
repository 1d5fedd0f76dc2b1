//! Promises of the region image as a whole. Fails: as tests do.

use super::layout::*;
use super::*;
use crate::address::{Generation, Place};
use crate::buffer::AlignedBuf;
use crate::limits::*;
use proptest::prelude::*;
use std::io::Cursor;
use std::process::Command;

fn identity() -> Identity {
    let region = RegionId { place: Place(6), generation: Generation(0x1_0000_0002) };
    Identity { volume: *b"0123456789abcdef", region, kind: RegionKind::Data }
}

fn extent(inode: u64, bytes: usize, codec: Codec) -> Owner {
    Owner { kind: OwnerKind::Extent, codec, inode, offset_bytes: inode << 16, decoded_bytes: bytes as u32, sequence: inode + 7, home: None }
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A builder over a buffer that is full of somebody else's bytes.
fn builder() -> RegionBuilder<AlignedBuf> {
    let mut buffer = AlignedBuf::zeroed(IMAGE_MAX_BYTES);
    buffer.fill(0xEE);
    RegionBuilder::new(buffer, identity()).unwrap()
}

/// Places runs of the given sizes in bytes; returns the builder and what each cluster must hold.
fn filled(sizes: &[usize]) -> (RegionBuilder<AlignedBuf>, Vec<(Cluster, Vec<u8>)>) {
    let (mut open, mut expected) = (builder(), Vec::new());
    for (n, &size) in sizes.iter().enumerate() {
        let bytes = noise(size, n as u64);
        let codec = if n % 3 == 0 { Codec::Zstd } else { Codec::Raw };
        let (head, tail) = bytes.split_at(size / 3);
        let placed = open.place(extent(n as u64, size, codec), &[head, &[], tail]).unwrap();
        let (first, crcs) = (placed.first.number(), placed.crcs.to_vec());
        for (i, block) in bytes.chunks(CLUSTER_BYTES).enumerate() {
            let mut cluster = block.to_vec();
            cluster.resize(CLUSTER_BYTES, 0);
            assert_eq!(crcs[i], crc32fast::hash(&cluster));
            expected.push((Cluster::new(first + i).unwrap(), cluster));
        }
    }
    (open, expected)
}

fn cases() -> [(&'static str, Vec<usize>); 5] {
    let mixed = (0..90).map(|n| 1 + n * 7919 % 66_000).collect();
    [("empty", vec![]), ("one cluster", vec![100]), ("mixed", mixed), ("a quarter", vec![UNIT_BYTES; 16]), ("full", vec![UNIT_BYTES; 64])]
}

fn image_of(sizes: &[usize], root: Option<&[u8]>) -> Vec<u8> {
    let (mut open, _) = filled(sizes);
    root.into_iter().for_each(|root| open.set_root(root).unwrap());
    open.finish(&mut ParityEncoder::new()).bytes().to_vec()
}

/// The identity of [`sample_image`].
pub(super) fn sample_identity() -> Identity {
    identity()
}

/// An image with a root and runs of many sizes.
pub(super) fn sample_image() -> Vec<u8> {
    image_of(&cases()[2].1, Some(b"a root"))
}

fn copied(pieces: ClusterPieces<'_>) -> Vec<u8> {
    pieces.pieces().map(|piece| &piece[..]).concat()
}

#[test]
fn a_stock_decoder_sees_the_stored_bytes_as_pixels() {
    let mut encoder = ParityEncoder::new();
    for (name, sizes) in cases() {
        let (open, expected) = filled(&sizes);
        let sealed = open.finish(&mut encoder);
        let mut options = png::DecodeOptions::default();
        options.set_ignore_checksums(false);
        let mut reader = png::Decoder::new_with_options(Cursor::new(sealed.bytes()), options).read_info().unwrap();
        let mut pixels = vec![0xAA; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        reader.finish().unwrap();
        assert_eq!((info.width, info.height, info.color_type), (1024, 1024, png::ColorType::Rgba), "{name}");
        for (cluster, bytes) in &expected {
            let Tile { band, column } = tile(*cluster);
            for (line, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
                let at = (band * 4 + line) * ROW_BYTES + column * PIECE_BYTES;
                assert_eq!(pixels[at..at + PIECE_BYTES], *piece, "{name}, {cluster:?}");
                pixels[at..at + PIECE_BYTES].fill(0);
            }
        }
        assert!(pixels.iter().all(|b| *b == 0), "{name}: what nobody has is zero");
    }
}

#[test]
fn pngcheck_accepts_every_image() {
    if Command::new("pngcheck").output().is_err() {
        return println!("skipped: pngcheck is not installed");
    }
    for (name, sizes) in cases() {
        let file = tempfile::Builder::new().suffix(".png").tempfile().unwrap();
        std::fs::write(file.path(), image_of(&sizes, Some(b"root"))).unwrap();
        let output = Command::new("pngcheck").arg("-v").arg(file.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("No errors detected"), "{name}: {text}");
    }
}

#[test]
fn finished_images_verify_and_give_back_every_cluster_and_owner() {
    let mut encoder = ParityEncoder::new();
    let mut tables_crcs = std::collections::HashSet::new();
    for (name, sizes) in cases() {
        let (open, expected) = filled(&sizes);
        assert!(expected.iter().all(|(cluster, bytes)| copied(open.cluster(*cluster).unwrap()) == *bytes), "{name}: open");
        assert_eq!((open.clusters_used(), open.clusters_free()), (expected.len(), REGION_CLUSTERS - expected.len()));
        let sealed = open.finish(&mut encoder);
        assert_eq!(sealed.bytes().len() % DIRECT_ALIGN, 0);
        assert!(expected.iter().all(|(cluster, bytes)| copied(sealed.cluster(*cluster).unwrap()) == *bytes), "{name}: sealed");
        let raw = RawRegion::new(sealed.bytes());
        let survey = raw.survey();
        assert!(survey.is_sound(), "{name}: {survey:?}");
        let region = raw.verify(Some(&identity())).unwrap();
        assert_eq!((region.tables(), region.identity(), region.root()), (sealed.tables(), &identity(), Ok(None)));
        assert_eq!(region.tables().crc(), sealed.tables_crc());
        assert!(tables_crcs.insert(sealed.tables_crc()), "{name}: the checksum tells tables apart");
        assert_eq!(region.tables().owners().len(), sizes.len());
        for (cluster, bytes) in &expected {
            assert_eq!(copied(region.cluster(*cluster).unwrap()), *bytes, "{name}");
            let owner = region.tables().owner_of(*cluster).unwrap();
            assert_eq!(owner.stored_bytes as usize, sizes[owner.owner.inode as usize]);
        }
    }
}

#[test]
fn a_quarter_full_region_is_a_quarter_of_a_file() {
    let whole = image_of(&[UNIT_BYTES; 64], None).len();
    let quarter = image_of(&[UNIT_BYTES; 16], None).len();
    assert!(quarter < REGION_BYTES / 4 + 180 * 1024, "{quarter}");
    assert!(whole < IMAGE_MAX_BYTES, "{whole}");
}

#[test]
fn the_fullest_image_fits_the_buffer_and_a_longer_root_is_refused() {
    let (mut open, _) = filled(&[CLUSTER_BYTES; REGION_CLUSTERS]);
    assert_eq!(open.place(extent(1, 1, Codec::Raw), &[&[1]]), Err(PlaceError::Full { clusters: 1 }));
    assert_eq!(open.set_root(&vec![0; ROOT_MAX_BYTES + 1]), Err(RootTooLarge { bytes: ROOT_MAX_BYTES + 1 }));
    open.set_root(&vec![7; ROOT_MAX_BYTES]).unwrap();
    let sealed = open.finish(&mut ParityEncoder::new());
    let region = RawRegion::new(sealed.bytes()).verify(None).unwrap();
    assert_eq!(region.root(), Ok(Some(&[7; ROOT_MAX_BYTES][..])));
    assert!(RegionBuilder::new(vec![0; IMAGE_MAX_BYTES - 1], identity()).is_none());
}

#[test]
fn impossible_sizes_are_refused_without_taking_clusters() {
    let mut open = builder();
    assert!(open.place(extent(1, 1, Codec::Raw), &[]).is_err());
    assert!(open.place(extent(1, 1, Codec::Raw), &[&noise(EXTENT_MAX_CLUSTERS * CLUSTER_BYTES + 1, 1)]).is_err());
    assert!(open.place(extent(1, 0, Codec::Raw), &[&[1]]).is_err());
    assert!(open.place_moved(extent(1, 1, Codec::Raw), &[&[1]], &[1, 2]).is_err());
    assert_eq!(open.clusters_used(), 0);
}

#[test]
fn poison_travels_in_the_cluster_checksum_and_nowhere_else() {
    let mut open = builder();
    let bytes = noise(3 * CLUSTER_BYTES, 4);
    let mut crcs = bytes.chunks(CLUSTER_BYTES).map(crc32fast::hash).collect::<Vec<_>>();
    crcs[1] ^= 1;
    assert_eq!(open.place_moved(extent(1, bytes.len(), Codec::Raw), &[&bytes], &crcs).unwrap().crcs, crcs);
    let sealed = open.finish(&mut ParityEncoder::new());
    let survey = RawRegion::new(sealed.bytes()).survey();
    assert!(survey.is_sound());
    assert_eq!(survey.poisoned, [Cluster::new(1).unwrap()]);
    let region = RawRegion::new(sealed.bytes()).verify(None).unwrap();
    assert_eq!(region.poisoned(), survey.poisoned);
    assert_eq!(region.cluster(Cluster::new(1).unwrap()), None);
    assert_eq!(copied(region.cluster(Cluster::new(2).unwrap()).unwrap()), bytes[2 * CLUSTER_BYTES..]);
}

#[test]
fn single_clusters_are_read_and_verified_without_the_rest_of_the_file() {
    let (open, expected) = filled(&cases()[2].1);
    let sealed = open.finish(&mut ParityEncoder::new());
    for (cluster, bytes) in &expected {
        let crc = sealed.tables().cluster_crc(*cluster);
        for range in [read_range(*cluster, 1), direct_range(&read_range(*cluster, 1))] {
            let bands = RawBands::new(&sealed.bytes()[range.clone()], range.start);
            assert_eq!(bands.cluster(*cluster, crc).map(copied), Ok(bytes.clone()));
            assert_eq!(bands.cluster(*cluster, !crc), Err(RegionError::ClusterDamaged(*cluster)));
            assert_eq!(RawBands::new(&[], range.start).cluster(*cluster, crc), Err(RegionError::NotCovered(*cluster)));
        }
    }
    for entry in sealed.tables().owners() {
        let crcs = (entry.first.number()..)
            .take(entry.clusters)
            .map(|n| sealed.tables().cluster_crc(Cluster::new(n).unwrap()))
            .collect::<Vec<_>>();
        let range = read_range(entry.first, entry.clusters);
        let bands = RawBands::new(&sealed.bytes()[range.clone()], range.start);
        let mut out = vec![0; entry.clusters * CLUSTER_BYTES];
        bands.copy_run(entry.first, &crcs, &mut out).unwrap();
        assert_eq!(out[..entry.stored_bytes as usize], noise(entry.stored_bytes as usize, entry.owner.inode));
        assert!(bands.copy_run(entry.first, &crcs, &mut out[1..]).is_err());
    }
}

#[test]
fn a_renamed_or_foreign_image_is_refused_by_name() {
    let image = image_of(&[100], None);
    assert_eq!(read_identity(&image[..HEADER_BYTES]), Ok(identity()));
    let elsewhere = Identity { region: RegionId { place: Place(9), ..identity().region }, ..identity() };
    let strange = Identity { volume: [0; 16], ..identity() };
    for (expected, words) in [(elsewhere, "renamed or copied"), (strange, "of another volume")] {
        let error = RawRegion::new(&image[..]).verify(Some(&expected)).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn foreign_chunks_are_skipped_and_named() {
    let image = image_of(&[5000, 70_000], Some(b"the root"));
    let mut foreign = vec![0; 12 + 7];
    chunk::frame(&mut foreign, 0, *b"tIME", 7);
    let first_after_pixels = image.windows(4).skip(HEADER_BYTES).position(|w| w == b"imTB").unwrap() + HEADER_BYTES - 4;
    for at in [IDENTITY_OFFSET, HEADER_BYTES, first_after_pixels] {
        let with_foreign = [&image[..at], &foreign, &image[at..]].concat();
        let survey = RawRegion::new(&with_foreign[..]).survey();
        assert_eq!((survey.foreign_chunks, survey.is_sound(), survey.damaged_rows.len()), (1, false, 0));
        assert_eq!(survey.moved_by, if at <= HEADER_BYTES { foreign.len() } else { 0 });
        let region = RawRegion::new(&with_foreign[..]).verify(Some(&identity())).unwrap();
        assert_eq!(region.root(), Ok(Some(&b"the root"[..])));
        assert_eq!(copied(region.cluster(Cluster::new(0).unwrap()).unwrap()), noise(5000, 0)[..4096]);
        assert_eq!(read_identity(&with_foreign), Ok(identity()));
    }
}

#[test]
fn a_burst_of_124_kib_at_any_offset_is_repaired() {
    let image = image_of(&cases()[2].1, Some(b"the root"));
    let sound = RawRegion::new(&image[..]).verify(None).unwrap();
    let mut restorer = RowRestorer::new();
    let burst = 124 * 1024;
    let offsets = (0..image.len() - burst).step_by(97_001).chain([image.len() - burst]);
    for start in offsets {
        let mut damaged = image.clone();
        damaged[start..start + burst].iter_mut().for_each(|byte| *byte ^= 0x5A);
        let survey = RawRegion::new(&damaged[..]).survey();
        assert!(!survey.is_sound() && survey.is_repairable(), "burst at {start}: {:?}", survey.damaged_rows);
        let (region, rows) = RawRegion::new(damaged).repair(Some(&identity()), &mut restorer).unwrap();
        assert_eq!(region.tables(), sound.tables());
        assert_eq!(rows, survey.damaged_rows.iter().copied().filter(|row| *row < 1024).collect::<Vec<_>>());
        let same = (0..REGION_CLUSTERS).filter_map(Cluster::new).all(|c| region.cluster(c) == sound.cluster(c));
        assert!(same, "burst at {start}");
    }
}

#[test]
fn more_damage_than_parity_carries_is_named_and_not_mended() {
    let mut image = image_of(&[UNIT_BYTES; 8], None);
    (0..33).for_each(|row| image[row_range(row * 3).start] ^= 1);
    let raw = RawRegion::new(&image[..]);
    let survey = raw.survey();
    assert!(!survey.is_repairable());
    assert_eq!(survey.damaged_rows, (0..33).map(|row| row * 3).collect::<Vec<_>>());
    assert!(survey.damaged_clusters.iter().all(|cluster| tile(*cluster).column == 0));
    assert_eq!(raw.verify(None).err(), Some(RegionError::RowsDamaged { first: 0, rows: 33 }));
    let mended = RawRegion::new(image).repair(None, &mut RowRestorer::new());
    assert_eq!(mended.err(), Some(RegionError::RowsDamaged { first: 0, rows: 33 }));
}

#[test]
fn every_flipped_bit_is_found() {
    let image = image_of(&[100], Some(b"the root"));
    let mut starts = Vec::new();
    let mut at = 8;
    while let Some(chunk) = chunk::RawChunk::at(&image, at) {
        starts.push(at);
        at = chunk.end();
    }
    assert_eq!(at, image.len());
    // Every byte around the borders of chunks, and a sample of what is between.
    let borders = starts.iter().flat_map(|start| start.saturating_sub(6)..(start + 24).min(image.len()));
    let mut flipped = image.clone();
    for (n, position) in (0..20).chain(borders).chain((0..image.len()).step_by(311)).enumerate() {
        let bit = 1 << (n % 8);
        flipped[position] ^= bit;
        let survey = RawRegion::new(&flipped[..]).survey();
        assert!(!survey.is_sound(), "bit {bit:#x} of byte {position}");
        assert!(RawRegion::new(&flipped[..]).damage_is_bearable(), "byte {position}");
        flipped[position] ^= bit;
    }
    assert!(RawRegion::new(&flipped[..]).survey().is_sound());
}

impl RawRegion<&[u8]> {
    /// Whether the clusters can be had in spite of the damage, and `verify` refuses exactly what the survey names.
    fn damage_is_bearable(&self) -> bool {
        let survey = self.survey();
        let pixels_sound = survey.damaged_rows.iter().all(|row| *row >= REGION_SIDE_PX);
        survey.is_repairable() && pixels_sound == self.verify(None).is_ok()
    }
}

#[test]
fn tables_are_found_behind_broken_framing() {
    let mut image = image_of(&[100, 9000], None);
    image[HEADER_BYTES] ^= 0x40;
    let survey = RawRegion::new(&image[..]).survey();
    assert_eq!((survey.broken_at, survey.tables_sound, survey.damaged_rows.len()), (Some(HEADER_BYTES), [false, true], 0));
    let region = RawRegion::new(&image[..]).verify(Some(&identity())).unwrap();
    assert_eq!(copied(region.cluster(Cluster::new(1).unwrap()).unwrap()), noise(9000, 1)[..4096]);
}

#[test]
fn bytes_of_a_file_that_look_like_an_image_are_not_taken_for_one() {
    let inner = image_of(&[100], Some(b"inner root"));
    let mut open = builder();
    for part in inner.chunks(UNIT_BYTES) {
        open.place(extent(5, part.len(), Codec::Raw), &[part]).unwrap();
    }
    let mut image = open.finish(&mut ParityEncoder::new()).bytes().to_vec();
    image[HEADER_BYTES] ^= 0x40;
    let region = RawRegion::new(&image[..]).verify(None).unwrap();
    assert_eq!((region.tables().owners().len(), region.root()), (inner.len().div_ceil(UNIT_BYTES), Ok(None)));
}

#[test]
fn every_cut_of_a_file_is_found() {
    let image = image_of(&cases()[2].1, None);
    for end in (0..image.len()).step_by(4001) {
        let cut = RawRegion::new(&image[..end]);
        assert!(!cut.survey().is_sound(), "cut at {end}");
    }
    let longer = [&image[..], &[0; 4096]].concat();
    assert_eq!(RawRegion::new(&longer[..]).survey().trailing_bytes, 4096);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000), signed: bool) {
        let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
        fuzz_region(&bytes);
        fuzz_tables(&bytes);
        prop_assert!(RawRegion::new(&bytes[..]).verify(None).is_err());
        prop_assert!(!RawRegion::new(&bytes[..]).survey().is_sound());
    }

    #[test]
    fn damaged_images_never_panic_and_never_give_wrong_bytes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..40),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (open, expected) = filled(&[100, 70_000, 9000]);
        let mut image = open.finish(&mut ParityEncoder::new()).bytes().to_vec();
        for (position, value) in changes {
            let at = position.index(image.len() - 4);
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        cut.into_iter().for_each(|cut| image.truncate(cut.index(image.len())));
        fuzz_region(&image);
        if let Ok((region, _)) = RawRegion::new(image).repair(Some(&identity()), &mut RowRestorer::new()) {
            prop_assert!(expected.iter().all(|(cluster, bytes)| copied(region.cluster(*cluster).unwrap()) == *bytes));
        }
    }
}
