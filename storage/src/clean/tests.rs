//! The decisions of the cleaner: what is chosen, and what a copy looks like.

use super::*;
use crate::address::Place;

fn region(place: u32) -> RegionId {
    RegionId { place: Place(place), generation: Generation(7) }
}

fn candidate(place: u32, live: usize, age: u64) -> Candidate {
    let mut bits = LiveBits::default();
    bits.set(0, live, true);
    Candidate { region: region(place), kind: RegionKind::Data, live: bits, live_clusters: live as u64, age }
}

const FULL: u64 = 4_500_000;
const ANY: Wish = Wish { clusters: 100_000, dead_percent: 10, worth_bytes: 1 << 20, worth_part: 16 };

fn places(chosen: &[Candidate]) -> Vec<u32> {
    chosen.iter().map(|candidate| candidate.region.place.0).collect()
}

#[test]
fn the_emptiest_comes_first_and_of_two_alike_the_older() {
    let chosen = choose(vec![(candidate(1, 900, 3), FULL), (candidate(2, 100, 3), FULL), (candidate(3, 100, 300), FULL)], ANY);
    assert_eq!(places(&chosen), [3, 2, 1]);
}

#[test]
fn no_more_is_chosen_than_may_be_written() {
    let all: Vec<_> = (0..10).map(|n| (candidate(n, 300, 1), FULL)).collect();
    assert_eq!(choose(all.clone(), Wish { clusters: 1000, ..ANY }).len(), 3);
    assert_eq!(choose(all, Wish { clusters: 200, ..ANY }).len(), 0);
}

#[test]
fn what_gives_back_less_than_it_costs_is_left_alone() {
    assert_eq!(choose(vec![(candidate(1, 1000, 9), FULL)], ANY), []);
    // A survivor of the last round that could only be written again as it is.
    assert_eq!(choose(vec![(candidate(1, 50, 9), 50 * 4096 + OVERHEAD_BYTES)], ANY), []);
    // But ten of them are one.
    let small: Vec<_> = (0..10).map(|n| (candidate(n, 50, 9), 50 * 4096 + OVERHEAD_BYTES)).collect();
    assert_eq!(choose(small, ANY).len(), 10);
}

#[test]
fn images_below_the_wanted_share_of_dead_are_left_alone() {
    let wish = Wish { dead_percent: 50, ..ANY };
    assert_eq!(places(&choose(vec![(candidate(1, 600, 1), FULL), (candidate(2, 300, 1), FULL)], wish)), [2]);
}

fn entry(codec: Codec, clusters: usize, stored: u32, decoded: u32) -> OwnerEntry {
    let owner = Owner { kind: OwnerKind::Extent, codec, inode: 5, offset_bytes: 65_536, decoded_bytes: decoded, sequence: 9, home: None };
    OwnerEntry { first: Cluster::new(32).unwrap(), clusters, stored_bytes: stored, owner }
}

fn row(codec: Codec, clusters: u8, stored: u32, decoded: u32) -> ExtentRow {
    ExtentRow {
        first: Address { region: region(1), cluster: Cluster::new(32).unwrap() },
        clusters,
        codec,
        stored_bytes: stored,
        decoded_bytes: decoded,
        skip: 0,
        length: decoded,
        sequence: 9,
        birth: Generation(7),
        crcs_from: 0,
        crcs: (0..u32::from(clusters)).collect(),
    }
}

#[test]
fn of_raw_bytes_each_row_takes_the_clusters_that_it_touches() {
    let (entry, whole) = (entry(Codec::Raw, 16, 65_536, 65_536), row(Codec::Raw, 16, 65_536, 65_536));
    let (left, right) = (whole.part(0, 5000).unwrap(), whole.part(40_000, 65_536).unwrap());
    let rows = [(65_536, left.clone()), (65_536 + 40_000, right.clone())];
    let copies = copies(region(1), &entry, &rows);
    assert_eq!(copies.len(), 2);
    assert_eq!((copies[0].from.cluster.number(), copies[0].crcs.as_slice()), (32, [0, 1].as_slice()));
    assert_eq!((copies[1].from.cluster.number(), copies[1].crcs.as_slice()), (41, [9, 10, 11, 12, 13, 14, 15].as_slice()));
    for (copy, (offset, old)) in copies.into_iter().zip(rows) {
        let at = Address { region: region(8), cluster: Cluster::new(100).unwrap() };
        let owner = copy.owner;
        let moved: Vec<_> = copy.placed(at).collect();
        let [Move { new, .. }] = moved.as_slice() else { panic!("one row each") };
        assert_eq!((moved[0].offset, &moved[0].old), (offset, &old));
        assert_eq!(ExtentRow::decode(&new.encode()).as_ref(), Ok(new), "it is a sound row");
        assert_eq!((new.length, new.sequence, new.first), (old.length, old.sequence, at));
        // What `check` compares: the image says where in the file its bytes are.
        assert_eq!(owner.offset_bytes + u64::from(new.skip), offset);
    }
}

#[test]
fn a_compressed_unit_moves_once_for_all_its_rows() {
    let (entry, whole) = (entry(Codec::Zstd, 3, 10_000, 65_536), row(Codec::Zstd, 3, 10_000, 65_536));
    let rows = [(65_536, whole.part(0, 100).unwrap()), (70_000, whole.part(4464, 65_536).unwrap())];
    let copies = copies(region(1), &entry, &rows);
    assert_eq!(copies.len(), 1);
    assert_eq!((copies[0].crcs.len(), copies[0].stored_bytes, copies[0].rows.len()), (3, 10_000, 2));
}

#[test]
fn rows_of_other_extents_are_not_moved() {
    let other =
        ExtentRow { first: Address { region: region(2), cluster: Cluster::new(32).unwrap() }, ..row(Codec::Raw, 16, 65_536, 65_536) };
    assert_eq!(copies(region(1), &entry(Codec::Raw, 16, 65_536, 65_536), &[(65_536, other)]), []);
}
