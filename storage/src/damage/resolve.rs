//! What of a list of damages still is so, and how its files are called now.
//!
//! Must be true: what no row uses any more is left out, and so is what has its checksum where it lies: an image that was put back as it was
//! written; and a file that is removed and only waits to be dropped. A version of the names is held for one small step. Fails: never: where rows cannot be read, a damage stays as it was noted.

use super::{Damage, NameSearch, still};
use crate::images::Images;
use crate::row::Inode;
use crate::state::View;
use std::collections::{BTreeSet, HashMap};

/// Damages that are looked at with one version of the names.
const STEP: usize = 64;

/// What is done with one version of the names.
pub type WithNames<'a> = dyn FnMut(View<'_>) + 'a;

/// Goes through damages; `is_used` says of an inode that has no name any more whether somebody has it open, `lend` gives a version of the names for one step. Each that still is so comes back, with its names, behind the
/// number that it has among those given: several, where its bytes are in several rows by now. Waits for the disk.
pub fn resolve(
    damages: &[Damage],
    images: &Images,
    is_used: &dyn Fn(Inode) -> bool,
    lend: &mut dyn FnMut(&mut WithNames<'_>),
) -> Vec<(usize, Damage)> {
    let (mut left, mut seen) = (Vec::new(), BTreeSet::new());
    for (step, some) in damages.chunks(STEP).enumerate() {
        lend(&mut |view| {
            for (n, damage) in some.iter().enumerate() {
                let is_removed = matches!(view.find_inode(damage.inode), Ok(Some(row)) if row.links == 0);
                if is_removed && !is_used(damage.inode) {
                    continue;
                }
                let now = still(view, damage).unwrap_or_else(|_| vec![damage.clone()]);
                if now.is_empty() || images.has(damage.at, damage.expected_crc) {
                    continue;
                }
                let new = now.into_iter().filter(|damage| seen.insert((damage.inode, damage.offset, damage.at)));
                left.extend(new.map(|damage| (step * STEP + n, damage)));
            }
        });
    }
    let mut search = NameSearch::new(left.iter().map(|(_, damage)| damage.inode));
    let mut goes_on = true;
    while goes_on {
        lend(&mut |view| goes_on = search.step(view));
    }
    let mut paths = HashMap::new();
    for (_, damage) in &mut left {
        damage.paths = paths.entry(damage.inode).or_insert_with(|| search.paths(damage.inode)).clone();
    }
    left
}
