//! Reading parts of many files, for whoever asks for them together.
//!
//! Must be true: RD-1, as of any read; a part is read under a lease of its own, taken after it was seen that nothing dirty lies over it.
//! Fails: each part for itself.

use super::{noticing, reader, refusal, size_of};
use crate::api::{Answer, Refusal};
use crate::shared::Shared;
use infmap_storage::limits::UNIT_BYTES;
use infmap_storage::read::bring::{Keep, bring, pieces};
use infmap_storage::read::{FileReader, ReadError};
use infmap_storage::row::Inode;
use infmap_storage::state::View;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of images that are brought by one read at most, so that they are still there when they are asked for.
const BRING_BYTES: usize = 1024 * 1024;

/// Bytes of a file, as many as are there; `None`: it takes leave to touch the disk, and `may_wait` does not give it. What is given is taken
/// from `room`; without any the part is refused as `BatchTooBig`.
pub fn read_part(shared: &Shared, inode: Inode, offset: u64, length: u32, room: &AtomicU64, may_wait: bool) -> Option<Answer<Vec<u8>>> {
    let lease = shared.published.load_full();
    let source = shared.names();
    let view = if may_wait { View::new(&lease.names, &source) } else { View::new(&lease.names, &shared.nodes.resident) };
    let read = || {
        let size = size_of(view, inode)?;
        let length = size.saturating_sub(offset).min(u64::from(length));
        if !take(room, length) {
            return Err(ReadError::State(Refusal::BatchTooBig.into()));
        }
        let mut bytes = vec![0; length as usize];
        let reader = reader(shared, view);
        let read = match may_wait {
            true => noticing::read(shared, reader, inode, offset, &[], &mut bytes),
            false => FileReader { images: None, ..reader }.read(inode, offset, &[], &mut bytes),
        };
        if read.is_err() {
            room.fetch_add(length, Ordering::Relaxed);
        }
        read?;
        Ok(bytes)
    };
    match read() {
        Err(ReadError::NotResident) if !may_wait => None,
        done => Some(done.map_err(|error| refusal(shared, inode, offset, &error))),
    }
}

/// Takes so many bytes of what there is room for; false: there is not.
pub fn take(room: &AtomicU64, bytes: u64) -> bool {
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
}

/// Brings what small parts of files need, in the order in which it lies in the images. Waits for the disk.
pub fn bring_small(shared: &Shared, parts: impl Iterator<Item = (Inode, u64, u32)>) {
    let lease = shared.published.load_full();
    let source = shared.names();
    let view = View::new(&lease.names, &source);
    let mut found = Vec::new();
    let mut bytes = 0;
    let bring_them = |found| bring(&shared.images, &shared.tiers, &shared.blocks, found, Keep::Decoded);
    for (inode, offset, length) in parts {
        let Ok(size) = size_of(view, inode) else { continue };
        let end = size.min(offset.saturating_add(u64::from(length)));
        // More is read by itself as fast.
        if end.saturating_sub(offset) > UNIT_BYTES as u64 {
            continue;
        }
        let mut more = pieces(view, &shared.tiers, inode, offset, end).unwrap_or_default();
        bytes += more.iter().map(infmap_storage::read::bring::Piece::bytes).sum::<usize>();
        found.append(&mut more);
        if bytes >= BRING_BYTES {
            bring_them(std::mem::take(&mut found));
            bytes = 0;
        }
    }
    bring_them(found);
}
