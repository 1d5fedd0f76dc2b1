//! Which bytes of a file are lost with clusters that cannot be had, as its rows say.
//!
//! Must be true: DMG-1 a raw row loses the blocks of the clusters that are lost, a compressed one all that it gives. Fails: when rows
//! cannot be read.

use super::{Damage, Found, LostCluster};
use crate::address::Address;
use crate::limits::CLUSTER_BYTES;
use crate::row::{Codec, ExtentRow, Inode};
use crate::state::{StateError, View};

/// Rows that are looked at in one step.
const STEP: usize = 256;

/// Tells which bytes that a row gives from `offset` on are lost; `found` says of a cluster what is there in place of the bytes with this
/// checksum, if something else is.
pub fn of_row(inode: Inode, offset: u64, row: &ExtentRow, found: impl Fn(Address, u32) -> Option<Found>, lost: &mut dyn FnMut(Damage)) {
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

/// The same for all rows of a file that touch its bytes `from..to`.
///
/// # Errors
/// When rows cannot be read.
pub fn of_range(
    view: View<'_>,
    inode: Inode,
    from: u64,
    to: u64,
    found: impl Fn(Address, u32) -> Option<Found>,
    lost: &mut dyn FnMut(Damage),
) -> Result<(), StateError> {
    let mut at = from;
    while at < to {
        let rows = view.extents(inode, at, to, STEP)?;
        let Some((start, last)) = rows.last() else { break };
        at = start.saturating_add(u64::from(last.length)).max(at.saturating_add(1));
        rows.iter().for_each(|(offset, row)| of_row(inode, *offset, row, &found, lost));
    }
    Ok(())
}

/// What rows that touch the bytes `from..to` lose with these clusters.
///
/// # Errors
/// When rows cannot be read.
pub fn of_clusters(view: View<'_>, inode: Inode, from: u64, to: u64, lost: &[LostCluster]) -> Result<Vec<Damage>, StateError> {
    let mut damages = Vec::new();
    let found = |at: Address, crc: u32| lost.iter().find(|lost| (lost.at, lost.expected_crc) == (at, crc)).map(|lost| lost.found.clone());
    of_range(view, inode, from, to, found, &mut |damage| damages.push(damage))?;
    // The first and the last row may go on outside.
    damages.retain(|damage| damage.offset < to && from < damage.offset.saturating_add(damage.length));
    Ok(damages)
}

/// What is left of a damage by now: none where no row of the file uses the cluster for these bytes any more.
///
/// # Errors
/// When rows cannot be read.
pub fn still(view: View<'_>, damage: &Damage) -> Result<Vec<Damage>, StateError> {
    let lost = LostCluster { at: damage.at, expected_crc: damage.expected_crc, found: damage.found.clone() };
    let to = damage.offset.saturating_add(damage.length);
    let left = of_clusters(view, damage.inode, damage.offset, to, &[lost])?;
    Ok(left.into_iter().map(|left| Damage { when: damage.when, ..left }).collect())
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
