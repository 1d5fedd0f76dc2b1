//! Answers of the volume as replies of fuser.
//!
//! Must be true: DOOR-2 whoever is given an inode that the kernel will count is held for it, before the kernel hears of it. Fails: never.

use super::NO_HANDLE;
use super::answer::Shared;
use fuser::{FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyEmpty, ReplyEntry, ReplyStatfs};
use infmap_actors::api::{Attributes, SpaceUse};
use infmap_storage::limits::NAME_MAX_BYTES;

/// Inode numbers are never used again, so one generation is enough.
const GENERATION: Generation = Generation(0);
/// The unit of `statfs`, in bytes.
const STATFS_BLOCK: u32 = 4096;

pub(super) fn send_entry(shared: &Shared, reply: ReplyEntry, attributes: Attributes) {
    shared.volume.hold(attributes.inode);
    let (shown, lifetime) = shared.shown(&attributes);
    reply.entry_with_ttls(&lifetime, &shared.lifetimes.entry, &shown, GENERATION);
}

pub(super) fn send_created(shared: &Shared, reply: ReplyCreate, attributes: Attributes, handle: FopenFlags) {
    shared.volume.hold(attributes.inode);
    // fuser gives name and attributes one lifetime here; the shorter one is always right, but for the name of a file that is being written.
    let lifetime = shared.lifetimes.entry.min(shared.lifetimes.of(attributes.kind));
    let (shown, _) = shared.shown(&attributes);
    reply.created(&lifetime, &shown, GENERATION, NO_HANDLE, handle);
}

pub(super) fn send_attributes(shared: &Shared, reply: ReplyAttr, attributes: Attributes) {
    let (shown, lifetime) = shared.shown(&attributes);
    reply.attr(&lifetime, &shown);
}

pub(super) fn send_done(_: &Shared, reply: ReplyEmpty, (): ()) {
    reply.ok();
}

pub(super) fn send_space(_: &Shared, reply: ReplyStatfs, space: SpaceUse) {
    let blocks = |bytes: u64| bytes / u64::from(STATFS_BLOCK);
    let (total, free, available) = (blocks(space.total_bytes), blocks(space.free_bytes), blocks(space.available_bytes));
    reply.statfs(total, free, available, space.inodes, space.free_inodes, STATFS_BLOCK, NAME_MAX_BYTES as u32, STATFS_BLOCK);
}
