//! Which bytes of which files are lost with clusters that cannot be had, and how those files are called.
//!
//! Owns: `tell`, `name`. Must be true: DMG-1; names are looked up once, when all damages are known. Fails: never; a name whose directory
//! cannot be read is left out.

use super::claims::Claim;
use super::finding::Findings;
use crate::address::Address;
use crate::damage::{self, Damage, Found, NameSearch};
use crate::state::{State, View};
use crate::vat::NodeSource;
use std::collections::HashMap;

/// Tells which bytes of the claims are lost; `found` says of a cluster what is there in place of the bytes with this checksum.
pub(super) fn tell(claims: &[Claim], found: impl Fn(Address, u32) -> Option<Found>, findings: &mut Findings) {
    for claim in claims {
        let Claim::Extent { inode, offset, row } = claim else { continue };
        damage::of_row(*inode, *offset, row, &found, &mut |damage| findings.lost(damage));
    }
}

/// Gives all damages the names of their files.
pub(super) fn name(state: &State, nodes: &dyn NodeSource, damages: &mut [Damage]) {
    let mut search = NameSearch::new(damages.iter().map(|damage| damage.inode));
    while search.step(View::new(&state.names, nodes)) {}
    let mut paths = HashMap::new();
    for damage in damages {
        damage.paths = paths.entry(damage.inode).or_insert_with(|| search.paths(damage.inode).0).clone();
    }
}
