//! Bringing files into the caches before anybody asks for them.
//!
//! Must be true: it is done behind whatever somebody waits for, a step at a time, and brings no more than the caches hold. Fails: what cannot be brought is
//! counted; whoever reads it hears why.

use super::join::Join;
use super::{FILES_A_MESSAGE, FILES_MAX, Which};
use crate::api::{Answer, Refusal};
use crate::mailbox::Lane;
use crate::pixel_reader::ReadMessage;
use crate::replier::{Replier, Unanswered};
use crate::shared::Shared;
use crate::slot::Address;
use crate::volume::Volume;
use infmap_storage::read::bring::{Keep, Piece, bring, pieces};
use infmap_storage::row::{FileKind, Inode};
use infmap_storage::state::{StateError, View};
use std::collections::VecDeque;
use std::ops::{Add, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of files that are looked at in one message: a reader has no time for anybody else as long, and no image that is dead by then is
/// taken away.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// As many of them a file takes at least.
const FILE_COST_BYTES: u64 = STEP_BYTES / FILES_A_MESSAGE as u64;

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

/// Room that is left for what is brought: as it is, in L1, and for compressed units, in L2.
struct Room {
    raw: AtomicU64,
    units: AtomicU64,
}

impl Room {
    /// Takes room for all of these, or for none.
    fn take(&self, pieces: &[Piece]) -> bool {
        let bytes = |is_unit: bool| pieces.iter().filter(|piece| piece.is_unit() == is_unit).map(|piece| piece.bytes() as u64).sum();
        let (raw, units) = (bytes(false), bytes(true));
        let take = |room: &AtomicU64, wanted: u64| {
            room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(wanted)).is_ok()
        };
        if !take(&self.raw, raw) {
            return false;
        }
        let has_both = take(&self.units, units);
        if !has_both {
            self.raw.fetch_add(raw, Ordering::Relaxed);
        }
        has_both
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
        let room = Arc::new(Room { raw: AtomicU64::new(plan.l1), units: AtomicU64::new(plan.l2) });
        let messages = files.chunks(FILES_A_MESSAGE).count();
        let join = Join::new(messages, move |parts| replier.reply(Ok(parts.into_iter().fold(Warmed::default(), |sum, part| sum + part))));
        let readers = self.front.reader_slots.iter().cycle();
        for ((message, chunk), reader) in files.chunks(FILES_A_MESSAGE).enumerate().zip(readers) {
            let (files, replier) = (chunk.iter().cloned().collect(), join.replier(message));
            Work { files, at: 0, warmed: Warmed::default(), room: room.clone(), replier }.post(reader.clone());
        }
    }
}

/// What became of a part of a file.
enum Step {
    /// So many bytes of it were looked at, and there are no more.
    Done(u64),
    /// There is more of it from here on.
    More(u64),
    NoRoom,
}

/// Files that are brought one after the other, a step a message.
struct Work {
    files: VecDeque<Which>,
    /// Bytes of the first of them that were brought.
    at: u64,
    warmed: Warmed,
    room: Arc<Room>,
    replier: Replier<Warmed>,
}

impl Work {
    fn post(self, reader: Address<ReadMessage>) {
        let again = reader.clone();
        reader.post(Lane::Background, ReadMessage::Query(Box::new(move |shared: &Shared| self.go_on(shared, again))));
    }

    /// Brings as much as a step may, with a lease of its own; the rest comes back behind those who wait.
    fn go_on(mut self, shared: &Shared, reader: Address<ReadMessage>) {
        let lease = shared.published.load_full();
        let source = shared.names();
        let view = View::new(&lease.names, &source);
        let mut left = STEP_BYTES;
        while left > 0
            && let Some(which) = self.files.front()
        {
            let (at, bytes) = (self.at, left);
            let step =
                which.find(view).and_then(|inode| bring_part(shared, view, inode, at..at + bytes, &self.room, &mut self.warmed.bytes));
            let looked = match step {
                Ok(Step::More(to)) => {
                    self.at = to;
                    break;
                }
                Ok(Step::Done(looked)) => {
                    self.warmed.files += 1;
                    looked
                }
                Ok(Step::NoRoom) => {
                    self.warmed.left_out += 1;
                    0
                }
                Err(_) => {
                    self.warmed.refused += 1;
                    0
                }
            };
            left = left.saturating_sub(looked.max(FILE_COST_BYTES));
            self.files.pop_front();
            self.at = 0;
        }
        if self.files.is_empty() { self.replier.reply(self.warmed) } else { self.post(reader) }
    }
}

fn bring_part(shared: &Shared, view: View<'_>, inode: Inode, part: Range<u64>, room: &Room, brought: &mut u64) -> Result<Step, StateError> {
    let row = view.inode(inode)?;
    let size = if row.kind() == FileKind::Regular { row.size } else { 0 };
    if part.start >= size || view.inline_content(inode)?.is_some() {
        return Ok(Step::Done(0));
    }
    let end = size.min(part.end);
    let found = pieces(view, &shared.tiers, inode, part.start, end)?;
    let wanted: u64 = found.iter().map(|piece| piece.bytes() as u64).sum();
    if !room.take(&found) {
        return Ok(Step::NoRoom);
    }
    let got = bring(&shared.images, &shared.tiers, &shared.blocks, found, Keep::Stored);
    *brought += got;
    if got < wanted {
        return Err(Refusal::Damaged.into());
    }
    Ok(if end < size { Step::More(end) } else { Step::Done(end - part.start) })
}
