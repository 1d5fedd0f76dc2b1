//! What a shard knows better than a list of damage: bytes that are dirty lie over those that are lost.

use super::file::Entry;
use super::{BLOCK, Cache};
use infmap_storage::damage::Damage;

impl Cache {
    /// Takes out of the list what lies below dirty blocks of this shard.
    pub(super) fn review_damage(&self) {
        let is_covered = |damage: &Damage| {
            let Some(Entry::Open(file)) = self.files.get(&damage.inode) else { return false };
            let blocks = damage.offset / BLOCK..damage.offset.saturating_add(damage.length).div_ceil(BLOCK);
            !blocks.is_empty() && blocks.into_iter().all(|number| file.buffer.block(number).is_some())
        };
        self.shared.damage.forget(|noted| is_covered(&noted.damage));
    }
}
