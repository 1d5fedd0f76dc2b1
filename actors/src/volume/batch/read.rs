//! Parts of many files, read together.
//!
//! Must be true: what is in memory is read where it is asked; the rest on the readers' threads side by side: first it is looked for what all
//! names lead to, then the parts are read in the order in which they lie in the images, about. A file with dirty bytes is asked of its shard, as by
//! a read (O6). Fails: each part for itself.

use super::join::Join;
use super::look::Look;
use super::{FILES_A_MESSAGE, FILES_MAX, Which};
use crate::api::{Answer, Refusal};
use crate::cache::shard_of;
use crate::pixel_reader::{ReadData, bring_small, read_part, take};
use crate::replier::Replier;
use crate::volume::{Front, Volume};
use infmap_storage::row::Inode;
use infmap_storage::state::StateError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// One part in so many of the memory budget may be answers.
const ANSWERS_SHARE: u64 = 8;

/// Bytes of a file that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPart {
    pub which: Which,
    pub offset: u64,
    /// More than there are is all of them.
    pub length: u32,
}

impl ReadPart {
    /// All of a small file.
    #[must_use]
    pub fn whole(which: Which) -> Self {
        Self { which, offset: 0, length: u32::MAX }
    }
}

/// The answers that are waited for.
struct Reads {
    front: Arc<Front>,
    join: Arc<Join<Answer<Vec<u8>>>>,
    /// Bytes that may still be answered.
    room: AtomicU64,
}

/// A part, and which of all it is.
struct Asked {
    number: usize,
    part: ReadPart,
}

/// The same, of a file that is known, whose bytes are not in memory.
#[derive(Clone, Copy)]
struct Found {
    number: usize,
    inode: Inode,
    offset: u64,
    length: u32,
}

impl Volume {
    /// Reads each of these parts, and answers in their order; fewer bytes than were asked for only at the end of a file. Together they may be
    /// an eighth of the memory budget: what has no room there is answered `BatchTooBig`, and can be asked for again.
    ///
    /// # Errors
    /// `BatchTooBig` for more than 65,536.
    pub fn read_many(&self, parts: Vec<ReadPart>, replier: Replier<Answer<Vec<Answer<Vec<u8>>>>>) {
        if parts.len() > FILES_MAX {
            return replier.reply(Err(Refusal::BatchTooBig));
        }
        let room = AtomicU64::new(self.front.shared.settings().memory.budget / ANSWERS_SHARE);
        let join = Join::new(parts.len(), move |answers| replier.reply(Ok(answers)));
        let reads = Arc::new(Reads { front: self.front.clone(), join, room });
        let found = Arc::new(Mutex::new(Vec::new()));
        let (seen, noted, after) = (reads.clone(), found.clone(), reads.clone());
        let look = Look {
            front: self.front.clone(),
            ask: |_, view, one: &Asked| one.part.which.find(view),
            answer: Box::new(move |_, one, inode| noted.lock().extend(seen.read_from_memory(one, inode))),
            then: Box::new(move || after.read_found(std::mem::take(&mut *found.lock()))),
        };
        Arc::new(look).at(parts.into_iter().enumerate().map(|(number, part)| Asked { number, part }).collect());
    }
}

impl Reads {
    /// Answers a part, or has its shard answer it, unless its bytes are not in memory.
    fn read_from_memory(&self, asked: Asked, inode: Result<Inode, StateError>) -> Option<Found> {
        let shared = &self.front.shared;
        let Asked { number, part } = asked;
        let inode = match inode {
            Ok(inode) => inode,
            Err(error) => {
                self.join.put(number, Err(shared.refuse(&error)));
                return None;
            }
        };
        if self.is_dirty(number, inode, &part) {
            return None;
        }
        match read_part(shared, inode, part.offset, part.length, &self.room, false) {
            Some(answer) => self.join.put(number, answer),
            None => return Some(Found { number, inode, offset: part.offset, length: part.length }),
        }
        None
    }

    /// Whether something dirty lies over a file: then its shard answers.
    fn is_dirty(&self, number: usize, inode: Inode, part: &ReadPart) -> bool {
        let Some(live) = self.front.shared.live.get(inode) else { return false };
        let length = live.size.saturating_sub(part.offset).min(u64::from(part.length));
        if take(&self.room, length) {
            let replier = self.join.replier(number).map(|data: Answer<ReadData>| data.map(|data| data.to_vec()));
            // No more than there was, should it have grown meanwhile.
            self.front.read(inode, part.offset, length as u32, replier);
        } else {
            self.join.put(number, Err(Refusal::BatchTooBig));
        }
        true
    }

    /// Reads what was found. A shard hands its small files to the pixel writers together: they lie side by side.
    fn read_found(self: &Arc<Self>, mut found: Vec<Found>) {
        let shards = self.front.shards.len();
        found.sort_unstable_by_key(|one| (shard_of(one.inode, shards), one.inode, one.offset));
        for (message, chunk) in found.chunks(FILES_A_MESSAGE).enumerate() {
            let (reads, chunk) = (self.clone(), chunk.to_vec());
            self.front.on_reader(message, move |shared| {
                bring_small(shared, chunk.iter().map(|one| (one.inode, one.offset, one.length)));
                for Found { number, inode, offset, length } in chunk {
                    let answer = read_part(shared, inode, offset, length, &reads.room, true);
                    reads.join.put(number, answer.unwrap_or(Err(Refusal::Damaged)));
                }
            });
        }
    }
}
