//! Changing attributes, and settling what an inode's shard knows about its bytes.
//!
//! Must be true: O10: size, blocks and version come only through a `Settlement` of the shard that owns them; a late one never moves
//! them back.

use super::xattr::{CAPABILITY, follow_permissions};
use crate::limits::CLUSTER_BYTES;
use crate::refusal::Refusal;
use crate::row::{FileKind, Inode, InodeRow, Key, Time};
use crate::state::{StateError, Txn};

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    Now,
    At(Time),
}

impl SetTime {
    /// The moment that is meant.
    #[must_use]
    pub fn resolve(self, now: Time) -> Time {
        match self {
            Self::Now => now,
            Self::At(time) => time,
        }
    }
}

/// What to change of an inode's attributes. What is `None` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AttributeChange {
    /// Permission bits (12).
    pub permissions: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Bytes; cuts or extends with zeros. The shard of the inode acts on it, not the row.
    pub size: Option<u64>,
    pub accessed: Option<SetTime>,
    pub modified: Option<SetTime>,
    /// Set by the kernel when it owns the times (writeback cache); otherwise the time of the change.
    pub changed: Option<Time>,
    /// Clear suid, sgid of a group-executable file, and capabilities (a size change by somebody without privilege).
    pub clear_privileges: bool,
}

impl AttributeChange {
    /// Whether the times that are to be set are times at all: a row with others could not be read again.
    #[must_use]
    pub fn has_possible_times(&self) -> bool {
        let at = |set: Option<SetTime>| if let Some(SetTime::At(time)) = set { Some(time) } else { None };
        [at(self.accessed), at(self.modified), self.changed].into_iter().flatten().all(|time| time.nanos < 1_000_000_000)
    }
}

/// What the shard of a file says about it; never more than is durable or stands in the same record (O3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Write sequence that these values reflect.
    pub version: u64,
    pub size: u64,
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
}

impl Settlement {
    /// What a row says already.
    #[must_use]
    pub fn of(row: &InodeRow) -> Self {
        Self { version: row.version, size: row.size, accessed: row.accessed, modified: row.modified, changed: row.changed }
    }
}

/// The end of the block in which a file of this size ends.
pub(super) fn blocks_end(size: u64) -> u64 {
    size.checked_next_multiple_of(CLUSTER_BYTES as u64).unwrap_or(u64::MAX)
}

/// Seconds after which a reading is noted although nothing changed since the last one.
const ACCESS_NOTED_S: i64 = 24 * 60 * 60;

/// Whether a reading at `now` is worth an access time (`relatime` of Linux, `relatime_need_update`): the last one is not after the last
/// change, or a day old.
#[must_use]
pub fn is_access_due(accessed: Time, modified: Time, changed: Time, now: Time) -> bool {
    accessed <= modified || accessed <= changed || now.seconds.saturating_sub(accessed.seconds) >= ACCESS_NOTED_S
}

/// Notes that somebody read what is no regular file; those keep their times with their shard.
///
/// # Errors
/// `Stale`.
pub fn note_access(txn: &mut Txn<'_>, inode: Inode, at: Time) -> Result<InodeRow, StateError> {
    let mut row = txn.view().inode(inode)?;
    row.accessed = row.accessed.max(at);
    txn.put_inode(inode, &row)?;
    Ok(row)
}

/// Clears suid, and sgid where the group may execute, as Linux does on a write (`setattr_should_drop_suidgid`).
#[must_use]
pub fn clear_privileges(mode: u32) -> u32 {
    let mode = mode & !0o4000;
    if mode & 0o010 != 0 { mode & !0o2000 } else { mode }
}

/// Changes permissions, owners and times. A size is not looked at.
///
/// # Errors
/// `Stale`, `Invalid` for times that cannot be.
pub fn change_attributes(txn: &mut Txn<'_>, inode: Inode, change: &AttributeChange, now: Time) -> Result<InodeRow, StateError> {
    let mut row = txn.view().inode(inode)?;
    if let Some(permissions) = change.permissions {
        row.mode = (row.mode & !0o7777) | (permissions & 0o7777);
        follow_permissions(txn, inode, row.mode)?;
    }
    let owner_changes = change.uid.is_some() || change.gid.is_some();
    row.uid = change.uid.unwrap_or(row.uid);
    row.gid = change.gid.unwrap_or(row.gid);
    let drop_for_owner = owner_changes && row.kind() != FileKind::Directory && change.permissions.is_none();
    if change.clear_privileges || drop_for_owner {
        row.mode = clear_privileges(row.mode);
        txn.delete_xattr(inode, CAPABILITY)?;
    }
    if !change.has_possible_times() {
        return Err(Refusal::Invalid.into());
    }
    row.accessed = change.accessed.map_or(row.accessed, |t| t.resolve(now));
    row.modified = change.modified.map_or(row.modified, |t| t.resolve(now));
    row.changed = change.changed.unwrap_or(now);
    txn.put_inode(inode, &row)?;
    Ok(row)
}

/// Brings the row of a file up to what its shard says, and its blocks by what its extents gained. A settlement of an older version
/// changes the blocks only. Comes after the extents that it goes with: while some lie behind a size that is held back, a row of work
/// says so, and [`super::trim`] cuts them if power goes before the size arrives.
///
/// # Errors
/// `Stale`.
pub fn settle(txn: &mut Txn<'_>, inode: Inode, settlement: &Settlement, blocks_gained: i64) -> Result<InodeRow, StateError> {
    let mut row = txn.view().inode(inode)?;
    row.blocks = row.blocks.saturating_add_signed(blocks_gained);
    if settlement.version >= row.version {
        row.version = settlement.version;
        row.size = settlement.size;
        row.accessed = settlement.accessed;
        row.modified = settlement.modified;
        // A change of name or owner may be younger than the newest write.
        row.changed = row.changed.max(settlement.changed);
    }
    txn.put_inode(inode, &row)?;
    // Without blocks there are no extents (EXT-6).
    let beyond = row.blocks > 0 && !txn.view().extents(inode, blocks_end(row.size), u64::MAX, 1)?.is_empty();
    match (beyond, txn.view().value(&Key::Work(inode))?) {
        (true, None) => txn.put(&Key::Work(inode), &[])?,
        (false, Some(value)) if value.is_empty() => txn.delete(&Key::Work(inode))?,
        _ => {}
    }
    Ok(row)
}
