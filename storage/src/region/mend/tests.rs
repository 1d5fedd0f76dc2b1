//! What mending takes from where, one source at a time; damage by the thousand is in `storage/tests/rot.rs`. Fails: as tests do.

use super::*;
use crate::address::{Generation, Place, RegionId};
use crate::limits::{CLUSTER_BYTES, REGION_CLUSTERS};
use crate::region::chunk::Chunks;
use crate::region::{Codec, Owner, OwnerKind, ParityEncoder, RegionBuilder, RegionKind};

fn identity(place: u32) -> Identity {
    let region = RegionId { place: Place(place), generation: Generation(0x1_0000_0002) };
    Identity { volume: *b"0123456789abcdef", region, kind: RegionKind::Node }
}

fn image(place: u32, runs: usize, root: Option<&[u8]>) -> Vec<u8> {
    let mut open = RegionBuilder::new(vec![0xEE; IMAGE_MAX_BYTES], identity(place)).unwrap();
    for n in 0..runs {
        let bytes: Vec<u8> = (0..3000 + n * 977 % 60_000).map(|i| (i * 31 + n * 7 + i / 251) as u8).collect();
        let (kind, codec, decoded_bytes) = (OwnerKind::Extent, Codec::Raw, bytes.len() as u32);
        open.place(Owner { kind, codec, inode: 2, offset_bytes: n as u64, decoded_bytes, sequence: 1, home: None }, &[&bytes]).unwrap();
    }
    root.into_iter().for_each(|root| open.set_root(root).unwrap());
    open.finish(&mut ParityEncoder::new()).bytes().to_vec()
}

fn mend(bytes: &[u8], place: u32) -> Result<Vec<u8>, Unmendable> {
    RawRegion::new(bytes).mend(Some(&identity(place)), &mut Mender::default()).map(|mended| mended.bytes().to_vec())
}

/// Data of the chunks of this kind, as ranges of the file.
fn chunks(image: &[u8], kind: &[u8; 4]) -> Vec<std::ops::Range<usize>> {
    let all = Chunks::of(image).map(Result::unwrap).filter(|chunk| chunk.kind == *kind);
    all.map(|chunk| chunk.offset + CHUNK_HEAD_BYTES..chunk.end() - 4).collect()
}

#[test]
fn a_sound_image_is_given_back_as_it_is() {
    for (runs, root) in [(0, None), (1, None), (40, Some(&b"root"[..])), (0, Some(&[5; ROOT_MAX_BYTES][..]))] {
        let image = image(6, runs, root);
        assert!(mend(&image, 6).unwrap() == image, "{runs} runs");
    }
}

#[test]
fn the_copies_are_farther_apart_than_a_burst_reaches() {
    for root in [None, Some(&b"a root"[..]), Some(&[5; ROOT_MAX_BYTES][..])] {
        let image = image(6, 3, root);
        for kind in [b"imTB", b"imRT"] {
            let copies = chunks(&image, kind);
            assert_eq!(copies.len(), if kind == b"imRT" && root.is_none() { 0 } else { 2 });
            assert!(copies.windows(2).all(|pair| pair[0].end + 124 * 1024 <= pair[1].start), "{copies:?}");
            assert!(copies.windows(2).all(|pair| image[pair[0].clone()] == image[pair[1].clone()]));
        }
    }
}

#[test]
fn tables_and_roots_whose_copies_are_both_damaged_complete_each_other() {
    let image = image(6, 60, Some(&[9; 5000]));
    let (tables, roots) = (chunks(&image, b"imTB"), chunks(&image, b"imRT"));
    let mut damaged = image.clone();
    // In the magic number, in checksums of clusters and rows, in an owner, and in the checksum of the whole.
    for (copy, at) in [(0, 3), (1, 500), (0, 520), (0, 4190), (1, 6000), (1, 8500), (0, 9000), (0, tables[0].len() - 2)] {
        damaged[tables[copy].start + at] ^= 0x40;
    }
    (damaged[roots[0].start + 17], damaged[roots[1].start + 4000]) = (0, 0);
    // The same checksum of a row in both, differently: the row itself knows.
    (damaged[tables[0].start + 4300], damaged[tables[1].start + 4301]) = (!image[tables[0].start + 4300], !image[tables[1].start + 4301]);
    assert!(mend(&damaged, 6).unwrap() == image);
    let survey = RawRegion::new(damaged.as_slice()).survey();
    assert!(!survey.is_sound() && survey.tables_known && survey.tables_sound == [false; 2] && survey.is_repairable());
}

#[test]
fn tables_that_are_lost_twice_are_an_error_and_nothing_is_guessed() {
    let image = image(6, 60, None);
    let mut damaged = image.clone();
    // The same byte of the same owner in both copies.
    chunks(&image, b"imTB").into_iter().for_each(|copy| damaged[copy.start + 8500] ^= 1);
    assert_eq!(mend(&damaged, 6), Err(RegionError::TablesLost.into()));
    chunks(&image, b"imTB").into_iter().for_each(|copy| damaged[copy].fill(0));
    assert_eq!(mend(&damaged, 6), Err(RegionError::TablesLost.into()));
}

#[test]
fn another_image_is_not_mended_and_a_write_to_the_wrong_place_is() {
    let (ours, other) = (image(6, 40, None), image(7, 20, Some(b"root")));
    let error = mend(&ours, 7).unwrap_err();
    assert!(matches!(error.reason, RegionError::WrongIdentity { .. }) && error.lost.is_empty(), "{error}");
    let mut damaged = ours.clone();
    damaged[..100_000].copy_from_slice(&other[..100_000]);
    assert!(mend(&damaged, 6).unwrap() == ours);
    // Even where tables of the other image, which are sound, hide ours.
    let (place, theirs) = (chunks(&ours, b"imTB")[0].start, chunks(&other, b"imTB")[0].clone());
    let mut damaged = ours.clone();
    damaged[place - 8..place - 8 + theirs.len() + 12].copy_from_slice(&other[theirs.start - 8..theirs.end + 4]);
    assert!(mend(&damaged, 6).unwrap() == ours);
}

#[test]
fn chunks_that_were_added_are_taken_out_again() {
    let image = image(6, 40, Some(b"root"));
    let mut foreign = vec![0; 12 + 7];
    super::super::chunk::frame(&mut foreign, 0, *b"tIME", 7);
    for at in
        [IDENTITY_OFFSET, HEADER_BYTES, band_offset(3), ends_of(RawRegion::new(image.as_slice()).verify(None).unwrap().tables()).parity]
    {
        let with_foreign = [&image[..at], &foreign, &image[at..]].concat();
        assert!(mend(&with_foreign, 6).unwrap() == image, "at {at}");
    }
}

#[test]
fn words_of_another_version_are_kept_and_damaged_ones_written_anew() {
    let mut image = image(6, 2, None);
    image[TEXT_OFFSET + CHUNK_HEAD_BYTES + 20..][..5].copy_from_slice(b"Other");
    super::super::chunk::frame(&mut image, TEXT_OFFSET, KIND_TEXT, TEXT_BYTES);
    let mut damaged = image.clone();
    damaged[row_range(0).start] ^= 1;
    assert!(mend(&damaged, 6).unwrap() == image);
}

#[test]
fn poison_is_kept_and_is_no_loss() {
    let mut open = RegionBuilder::new(vec![0; IMAGE_MAX_BYTES], identity(6)).unwrap();
    let bytes = vec![7; 3 * CLUSTER_BYTES];
    let mut crcs: Vec<u32> = bytes.chunks(CLUSTER_BYTES).map(crc32fast::hash).collect();
    crcs[1] ^= 1;
    let (kind, codec, decoded_bytes) = (OwnerKind::Extent, Codec::Raw, bytes.len() as u32);
    let owner = Owner { kind, codec, inode: 2, offset_bytes: 0, decoded_bytes, sequence: 1, home: None };
    open.place_moved(owner, &[&bytes], &crcs).unwrap();
    let image = open.finish(&mut ParityEncoder::new()).bytes().to_vec();
    let mut damaged = image.clone();
    (0..12).for_each(|row| damaged[row_range(row)].fill(0));
    let mended = mend(&damaged, 6).unwrap();
    assert!(mended == image);
    assert_eq!(RawRegion::new(mended.as_slice()).survey().poisoned, [Cluster::new(1).unwrap()]);
}

#[test]
fn what_is_lost_is_named_cluster_by_cluster() {
    let image = image(6, 40, None);
    let mut damaged = image.clone();
    (0..40).for_each(|row| damaged[row_range(row * 4 + 1).start] ^= 1);
    let error = mend(&damaged, 6).unwrap_err();
    assert_eq!(error.reason, RegionError::RowsDamaged { first: 1, rows: 40 });
    let expected: Vec<Cluster> =
        (0..REGION_CLUSTERS).filter_map(Cluster::new).filter(|c| tile(*c).band < 40 && tile(*c).column == 0).collect();
    assert_eq!(error.lost, expected);
}
