//! Bringing files into the caches before anybody asks for them.
//!
//! Must be true: it is done behind whatever somebody waits for, and brings no more than the caches hold. Fails: what cannot be brought is
//! counted; whoever reads it hears why.

use super::join::Join;
use super::{FILES_A_MESSAGE, FILES_MAX, Which};
use crate::api::{Answer, Refusal};
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::replier::{Replier, Unanswered};
use crate::shared::Shared;
use crate::volume::Volume;
use infmap_storage::read::bring::{Keep, bring, pieces};
use infmap_storage::row::{FileKind, Inode};
use infmap_storage::state::{StateError, View};
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a file that are looked at in one step.
const STEP_BYTES: u64 = 16 * 1024 * 1024;

/// What was done to bring files into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Files whose attributes and bytes are in memory.
    pub files: u64,
    /// Bytes of images that were read for it; what was in memory already counts for nothing.
    pub bytes: u64,
    /// Files that are not, or not wholly, for want of room in the caches.
    pub left_out: u64,
    /// Files that are not there, or cannot be read.
    pub refused: u64,
}

/// Of a part of the files whose reader failed nothing is known.
impl Unanswered for Warmed {
    fn unanswered() -> Self {
        Self::default()
    }
}

impl Add for Warmed {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            left_out: self.left_out + other.left_out,
            refused: self.refused + other.refused,
        }
    }
}

impl Volume {
    /// Brings the attributes and bytes of these files into memory, as far as the caches have room.
    ///
    /// # Errors
    /// `BatchTooBig` for more than 65,536.
    pub fn warm(&self, files: Vec<Which>, replier: Replier<Answer<Warmed>>) {
        if files.len() > FILES_MAX {
            return replier.reply(Err(Refusal::BatchTooBig));
        }
        let plan = self.front.shared.settings().memory_plan();
        let room = Arc::new(AtomicU64::new(plan.l1 + plan.l2));
        let messages = files.chunks(FILES_A_MESSAGE).count();
        let join = Join::new(messages, move |parts| replier.reply(Ok(parts.into_iter().fold(Warmed::default(), |sum, part| sum + part))));
        let readers = self.front.reader_slots.iter().cycle();
        for ((message, chunk), reader) in files.chunks(FILES_A_MESSAGE).enumerate().zip(readers) {
            let (chunk, replier, room) = (chunk.to_vec(), join.replier(message), room.clone());
            let work = move |shared: &Shared| {
                replier.reply(chunk.iter().map(|which| warm(shared, which, &room)).fold(Warmed::default(), Warmed::add))
            };
            reader.post(Lane::Background, ReadMessage::Query(Box::new(work)));
        }
    }
}

fn warm(shared: &Shared, which: &Which, room: &AtomicU64) -> Warmed {
    let lease = shared.published.load_full();
    let source = shared.names();
    let view = View::new(&lease.names, &source);
    let mut warmed = Warmed::default();
    let brought = which.find(view).and_then(|inode| {
        let row = view.inode(inode)?;
        let bytes = if row.kind() == FileKind::Regular { row.size } else { 0 };
        bring_all(shared, view, inode, bytes, room, &mut warmed.bytes)
    });
    match brought {
        Ok(true) => warmed.files = 1,
        Ok(false) => warmed.left_out = 1,
        Err(_) => warmed.refused = 1,
    }
    warmed
}

/// Whether all of a file had room.
fn bring_all(shared: &Shared, view: View<'_>, inode: Inode, size: u64, room: &AtomicU64, brought: &mut u64) -> Result<bool, StateError> {
    let mut at = 0;
    if size > 0 && view.inline_content(inode)?.is_some() {
        return Ok(true);
    }
    while at < size {
        let end = size.min(at + STEP_BYTES);
        let found = pieces(view, &shared.tiers, inode, at, end)?;
        let wanted = found.iter().map(|piece| piece.bytes() as u64).sum();
        if room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(wanted)).is_err() {
            return Ok(false);
        }
        let got = bring(&shared.images, &shared.tiers, &shared.blocks, found, Keep::Stored);
        *brought += got;
        if got < wanted {
            return Err(Refusal::Damaged.into());
        }
        at = end;
    }
    Ok(true)
}
