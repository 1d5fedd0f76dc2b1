//! What images hold that are younger than the names that were found.
//!
//! Owns: `Newer`. Must be true: RBL-10 an inode or a name of which a younger image says something else than the names do is told, if that can be
//! read. Memory: so many numbers and names as files are told by name. Fails: never; what cannot be read is passed over.

use super::Found;
use super::orphans::{Leaves, inode_of};
use crate::address::RegionId;
use crate::check::tail::read_tables;
use crate::images::Images;
use crate::region::OwnerKind;
use crate::row::Key;
use crate::vat::{NodeSource, Tree};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Inodes that have something in younger images, and names that stand only there, each with its directory.
#[derive(Default)]
pub(super) struct Newer {
    pub inodes: BTreeSet<u64>,
    pub names: BTreeSet<(u64, Vec<u8>)>,
}

impl Newer {
    /// Looks through `regions`; `names` is the tree that was found.
    pub fn find(found: &Found, regions: &[RegionId], names: &Tree, source: &dyn NodeSource) -> Self {
        let mut newer = Self::default();
        for id in regions {
            if newer.inodes.len() >= found.files_max {
                return newer;
            }
            if let Ok(Some(tables)) = read_tables(found.device.as_ref(), found.uuid, *id) {
                let owners = tables.owners().iter().filter(|entry| entry.owner.kind == OwnerKind::Extent);
                newer.inodes.extend(owners.map(|entry| entry.owner.inode).take(found.files_max));
            }
        }
        let images = Images::new(Arc::clone(&found.device), 1);
        Leaves::find(found, &images, regions, &mut |_, _| {}).for_each_row(&images, |key, value| {
            let held = names.get(source, key);
            if held.as_ref().is_ok_and(|held| held.as_ref().is_some_and(|held| held.value() == value)) {
                return;
            }
            match Key::decode(key) {
                Some(Key::Entry(directory, name)) if matches!(held, Ok(None)) && newer.names.len() < found.files_max => {
                    newer.names.insert((directory.0, name));
                }
                // A directory has these beside its names.
                Some(Key::Cookie(..) | Key::Orphan(_) | Key::Work(_)) | None => {}
                _ if newer.inodes.len() < found.files_max => newer.inodes.extend(inode_of(key)),
                _ => {}
            }
        });
        newer
    }
}
