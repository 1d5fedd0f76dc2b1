//! Which bytes of which files are lost with clusters that cannot be had, and how those files are called.
//!
//! Owns: `tell`, `tell_row`, `name`. Must be true: DMG-1 a raw extent loses the blocks of the clusters that are lost, a compressed one all that its row
//! gives; names are looked up once, when all damages are known, in one walk over the tree. Fails: never; a name whose directory
//! cannot be read is left out.

use super::claims::Claim;
use super::finding::Findings;
use super::tree::{Event, walk};
use crate::address::Address;
use crate::damage::{Damage, Found};
use crate::limits::CLUSTER_BYTES;
use crate::row::{Codec, ExtentRow, Inode, Key, ROOT_INODE};
use crate::state::State;
use crate::vat::NodeSource;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Directories above a name at most: a path of Linux has fewer.
const DEPTH_MAX: usize = 4096;
/// Names of one file that are told.
const NAMES_MAX: usize = 16;

/// Tells which bytes of the claims are lost; `found` says of a cluster what is there in place of the bytes with this checksum.
pub(super) fn tell(claims: &[Claim], found: impl Fn(Address, u32) -> Option<Found>, findings: &mut Findings) {
    for claim in claims {
        let Claim::Extent { inode, offset, row } = claim else { continue };
        tell_row(*inode, *offset, row, &found, &mut |damage| findings.lost(damage));
    }
}

/// The same for one row of a file.
pub(crate) fn tell_row(
    inode: Inode,
    offset: u64,
    row: &ExtentRow,
    found: impl Fn(Address, u32) -> Option<Found>,
    lost: &mut dyn FnMut(Damage),
) {
    let (first, count) = row.touched_clusters();
    for number in first..first + count {
        let (Some(at), Some(expected_crc)) = (row.address(number), row.crc(number)) else { continue };
        let Some(found) = found(at, expected_crc) else { continue };
        let (start, end) = bytes_of(row, number);
        lost(Damage {
            inode,
            paths: Vec::new(),
            offset: offset.saturating_add(start),
            length: end - start,
            at,
            expected_crc,
            found,
            when: None,
        });
        if row.codec == Codec::Zstd {
            break;
        }
    }
}

/// The bytes that a row gives out of a cluster of its extent, from the row's offset on.
fn bytes_of(row: &ExtentRow, number: usize) -> (u64, u64) {
    let (skip, length) = (u64::from(row.skip), u64::from(row.length));
    if row.codec == Codec::Zstd {
        return (0, length);
    }
    let at = (number * CLUSTER_BYTES) as u64;
    let clip = |byte: u64| byte.clamp(skip, skip + length) - skip;
    (clip(at), clip(at + CLUSTER_BYTES as u64))
}

/// Gives all damages the names of their files.
pub(super) fn name(state: &State, nodes: &dyn NodeSource, damages: &mut [Damage]) {
    let mut wanted: BTreeSet<u64> = damages.iter().map(|damage| damage.inode.0).collect();
    let mut names: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    // One walk finds the names of the files, one more for each level of directories above them.
    for _ in 0..DEPTH_MAX {
        if wanted.is_empty() {
            break;
        }
        let mut parents = BTreeSet::new();
        walk(&state.names, nodes, &mut |event| {
            let Event::Row(key, value) = event else { return };
            let Some(Key::Entry(directory, name)) = Key::decode(key) else { return };
            let Ok(row) = crate::row::EntryRow::decode(value) else { return };
            if wanted.contains(&row.inode.0) {
                let known = names.entry(row.inode.0).or_default();
                if known.len() < NAMES_MAX {
                    known.push((directory.0, name));
                    parents.insert(directory.0);
                }
            }
        });
        wanted = parents.into_iter().filter(|inode| *inode != ROOT_INODE.0 && !names.contains_key(inode)).collect();
    }
    let mut paths = HashMap::new();
    for damage in damages {
        damage.paths = paths.entry(damage.inode).or_insert_with(|| paths_of(damage.inode, &names)).clone();
    }
}

fn paths_of(inode: Inode, names: &BTreeMap<u64, Vec<(u64, Vec<u8>)>>) -> Vec<Vec<u8>> {
    let of_file = names.get(&inode.0).map_or(&[][..], Vec::as_slice);
    of_file
        .iter()
        .filter_map(|(directory, name)| {
            let (mut parts, mut above) = (vec![name.as_slice()], *directory);
            while above != ROOT_INODE.0 {
                let (parent, name) = names.get(&above)?.first()?;
                parts.push(name);
                above = *parent;
                (parts.len() < DEPTH_MAX).then_some(())?;
            }
            parts.reverse();
            Some(parts.join(&b'/'))
        })
        .collect()
}
