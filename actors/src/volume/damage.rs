//! The list of damage, as it is shown: with the names that files have now, and without what is no damage any more.
//!
//! Must be true: a lease is held for one small step, and no actor is asked. Fails: never.

use super::Volume;
use crate::cache::CacheMessage;
use crate::shared::Noted;
use infmap_storage::damage::{Damage, Resolved, resolve};
use infmap_storage::row::Inode;
use infmap_storage::state::View;
use std::collections::{BTreeMap, HashSet};

/// Entries that are looked at for one page.
const PAGE: usize = 4096;

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamagePage {
    /// In the order of inodes and offsets, with names.
    pub noted: Vec<Noted>,
    /// How many names of an inode are not told, if there are such.
    pub unnamed: BTreeMap<Inode, u64>,
    /// Damages that were noticed when the list was full.
    pub not_kept: u64,
    /// Behind what the next page begins; `None`: this was the last.
    pub next: Option<(Inode, u64)>,
}

impl Volume {
    /// What earlier mounts noticed. Waits for the shards, which know what was written over it since.
    pub fn know_damage(&self, noted: Vec<Noted>, not_kept: u64) {
        if noted.is_empty() && not_kept == 0 {
            return;
        }
        self.shared().damage.restore(noted, not_kept);
        for shard in &self.front.shards {
            let _ = self.ask(|replier| shard.post(CacheMessage::ReviewDamage { replier })).wait_blocking();
        }
    }

    /// The entries behind an inode and an offset, a few thousand at a time. What turns out to be no damage any more leaves the list. Waits
    /// for the disk: only on threads that may.
    #[must_use]
    pub fn damage_page(&self, after: Option<(Inode, u64)>) -> DamagePage {
        let shared = self.shared();
        let (page, not_kept) = shared.damage.behind(after, PAGE);
        let next = page.last().map(|last| (last.damage.inode, last.damage.offset)).filter(|_| page.len() >= PAGE);
        let damages: Vec<Damage> = page.iter().map(|noted| noted.damage.clone()).collect();
        let is_used = |inode| self.front.holds.is_held(inode);
        let Resolved { damages: left, unnamed } = resolve(&damages, &shared.images, &is_used, &mut |step| {
            let (lease, source) = (shared.published.load_full(), shared.names());
            step(View::new(&lease.names, &source));
        });
        let is_left: HashSet<usize> = left.iter().map(|(n, _)| *n).collect();
        let gone: Vec<Damage> = damages.into_iter().enumerate().filter(|(n, _)| !is_left.contains(n)).map(|(_, damage)| damage).collect();
        if !gone.is_empty() {
            shared.damage.forget_these(&gone);
        }
        let noted = left.into_iter().filter_map(|(n, damage)| Some(Noted { source: page.get(n)?.source, damage })).collect();
        DamagePage { noted, unnamed, not_kept, next }
    }
}
