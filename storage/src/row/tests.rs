//! Promises of the typed rows: what was written is read, order is kept, and hostile bytes are refused.

use super::*;
use crate::address::{Address, Cluster, Generation, Place, RegionId};
use proptest::prelude::*;

fn address() -> impl Strategy<Value = Address> {
    (any::<u32>(), any::<u64>(), 0usize..900).prop_map(|(p, g, c)| Address {
        region: RegionId { place: Place(p), generation: Generation(g) },
        cluster: Cluster::new(c).unwrap(),
    })
}

fn keys() -> impl Strategy<Value = Key> {
    let (i, name) = (any::<u64>().prop_map(Inode), proptest::collection::vec(1u8..=255, 1..255));
    prop_oneof![
        i.clone().prop_map(Key::Inode),
        (i.clone(), name.clone()).prop_map(|(i, n)| Key::Entry(i, n)),
        (i.clone(), any::<u64>()).prop_map(|(i, c)| Key::Cookie(i, c)),
        (i.clone(), any::<u64>()).prop_map(|(i, o)| Key::Extent(i, o)),
        (i.clone(), name, any::<u16>()).prop_map(|(i, n, p)| Key::Xattr(i, n, p)),
        (i.clone(), any::<u16>()).prop_map(|(i, p)| Key::Target(i, p)),
        (i.clone(), any::<u16>()).prop_map(|(i, p)| Key::Content(i, p)),
        (i.clone(), any::<u16>()).prop_map(|(i, p)| Key::LargeContent(i, p)),
        i.clone().prop_map(Key::Orphan),
        i.prop_map(Key::Work),
        address().prop_map(Key::Count),
        address().prop_map(|a| Key::Region(a.region.place)),
        address().prop_map(|a| Key::Dead(a.region)),
        address().prop_map(|a| Key::Free(a.region.place)),
    ]
}

fn inode_row() -> impl Strategy<Value = InodeRow> {
    let time = (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Time { seconds, nanos });
    (any::<[u32; 5]>(), any::<[u64; 6]>(), proptest::array::uniform4(time)).prop_map(|(a, b, t)| InodeRow {
        mode: a[0],
        uid: a[1],
        gid: a[2],
        links: a[3],
        rdev: a[4],
        size: b[0],
        blocks: b[1],
        version: b[2],
        parent: Inode(b[3]),
        next_cookie: b[4],
        entries: b[5],
        accessed: t[0],
        modified: t[1],
        changed: t[2],
        created: t[3],
    })
}

fn raw_extent() -> impl Strategy<Value = ExtentRow> {
    (address(), 1u8..=64, any::<u64>(), proptest::collection::vec(any::<u32>(), 64)).prop_map(|(first, clusters, sequence, mut crcs)| {
        crcs.truncate(clusters.into());
        let bytes = u32::from(clusters) * 4096;
        ExtentRow {
            first,
            clusters,
            codec: Codec::Raw,
            stored_bytes: bytes,
            decoded_bytes: bytes,
            skip: 0,
            length: bytes,
            sequence,
            birth: Generation(3),
            crcs_from: 0,
            crcs,
        }
    })
}

proptest! {
    #[test]
    fn keys_are_read_as_written(key in keys()) {
        prop_assert_eq!(Key::decode(&key.encode()), Some(key));
    }

    #[test]
    fn extents_and_cookies_sort_by_number(i: u64, a: u64, b: u64) {
        let (ka, kb) = (Key::Extent(Inode(i), a).encode(), Key::Extent(Inode(i), b).encode());
        prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
        let (from, to) = Key::extents_of(Inode(i));
        prop_assert!(from <= ka && ka < to);
    }

    #[test]
    fn inode_rows_are_read_as_written(row in inode_row()) {
        prop_assert_eq!(InodeRow::decode(&row.encode()), Ok(row));
    }

    #[test]
    fn a_part_of_an_extent_row_is_sound_and_carries_its_checksums(row in raw_extent(), a in 0u32..262_144, b in 0u32..262_144) {
        prop_assert_eq!(ExtentRow::decode(&row.encode()), Ok(row.clone()));
        let (from, to) = (a.min(b) % row.length, a.max(b) % row.length + 1);
        prop_assume!(from < to);
        let part = row.part(from, to).unwrap();
        prop_assert_eq!(ExtentRow::decode(&part.encode()), Ok(part.clone()));
        let (first, count) = part.touched_clusters();
        for n in first..first + count {
            prop_assert_eq!(part.crc(n), row.crc(n));
        }
    }

    #[test]
    fn hostile_values_are_refused_or_sound(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = bytes.clone();
        if let Some(first) = versioned.first_mut() { *first = 1; }
        for b in [&bytes, &versioned] {
            let _ = Key::decode(b);
            if let Ok(row) = InodeRow::decode(b) { prop_assert_eq!(&row.encode(), b); }
            if let Ok(row) = EntryRow::decode(b) { prop_assert_eq!(&row.encode(), b); }
            if let Ok(row) = CookieRow::decode(b) { prop_assert_eq!(&row.encode(), b); }
            if let Ok(row) = ExtentRow::decode(b) { prop_assert_eq!(&row.encode(), b); }
            if let Ok(row) = RegionRow::decode(b) { prop_assert_eq!(&row.encode(), b); }
        }
    }

    #[test]
    fn live_bits_count_what_was_set(first in 0usize..1024, count in 0usize..1100) {
        let mut bits = LiveBits::default();
        prop_assert_eq!(bits.set(first, count, true), count.min(1024 - first));
        prop_assert_eq!(bits.count(), count.min(1024 - first));
        prop_assert_eq!(bits.set(0, 1024, false), count.min(1024 - first));
        prop_assert!(bits.is_empty());
    }
}
