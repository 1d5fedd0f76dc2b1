//! What of a list of damages still is so, and how its files are called now.
//!
//! Must be true: what no row uses any more is left out, and so is what has its checksum where it lies: an image that was put back as it was
//! written; and a file that is removed and only waits to be dropped. A version of the names is held for one small step. Fails: never: where
//! rows cannot be read, a damage stays as it was noted.

use super::{Damage, Found, NameSearch, still};
use crate::images::Images;
use crate::row::Inode;
use crate::state::View;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Damages that are looked at with one version of the names.
const STEP: usize = 64;

/// What is done with one version of the names.
pub type WithNames<'a> = dyn FnMut(View<'_>) + 'a;

/// What is left of a list of damages.
#[derive(Debug, Default)]
pub struct Resolved {
    /// With names, each behind the number that it has among those given: several, where its bytes are in several rows by now.
    pub damages: Vec<(usize, Damage)>,
    /// How many names of an inode are not told, if there are such.
    pub unnamed: BTreeMap<Inode, u64>,
}

/// Goes through damages; `is_used` says of an inode that has no name any more whether somebody has it open, `lend` gives a version of the
/// names for one step. Waits for the disk, for sectors that it refuses too, but never with a version of the names.
pub fn resolve(damages: &[Damage], images: &Images, is_used: &dyn Fn(Inode) -> bool, lend: &mut dyn FnMut(&mut WithNames<'_>)) -> Resolved {
    let (mut left, mut seen) = (Vec::new(), BTreeSet::new());
    for (step, some) in damages.chunks(STEP).enumerate() {
        let mut used = Vec::new();
        lend(&mut |view| used = some.iter().map(|damage| now(view, damage, is_used)).collect());
        for (n, (damage, now)) in some.iter().zip(used).enumerate() {
            let is_back = || damage.found != Found::Undecodable && images.has(damage.at, damage.expected_crc);
            if now.is_empty() || is_back() {
                continue;
            }
            let new = now.into_iter().filter(|damage| seen.insert((damage.inode, damage.offset, damage.at)));
            left.extend(new.map(|damage| (step * STEP + n, damage)));
        }
    }
    let mut search = NameSearch::new(left.iter().map(|(_, damage)| damage.inode));
    let mut goes_on = true;
    while goes_on {
        lend(&mut |view| goes_on = search.step(view));
    }
    let (mut paths, mut unnamed) = (HashMap::new(), BTreeMap::new());
    for (_, damage) in &mut left {
        let (told, left_out) = paths.entry(damage.inode).or_insert_with(|| search.paths(damage.inode));
        damage.paths.clone_from(told);
        if *left_out > 0 {
            unnamed.insert(damage.inode, *left_out);
        }
    }
    Resolved { damages: left, unnamed }
}

/// What rows say of a damage by now.
fn now(view: View<'_>, damage: &Damage, is_used: &dyn Fn(Inode) -> bool) -> Vec<Damage> {
    let is_removed = matches!(view.find_inode(damage.inode), Ok(Some(row)) if row.links == 0);
    if is_removed && !is_used(damage.inode) {
        return Vec::new();
    }
    still(view, damage).unwrap_or_else(|_| vec![damage.clone()])
}
