//! Many files made with their contents, all or none.
//!
//! Must be true: BAT-1 (O3) the names of a batch are one group of the log, and behind it: contents of up to 2 KiB stand in that group, longer ones
//! were durable before, in inodes without names that a crash leaves to be dropped. Of content that is on its way at once there are 4 MiB, or
//! one file. Fails: with the first refusal; no name is made then, and what was written is dropped.

use super::join::Join;
use crate::api::{Answer, Attributes, Done, NameOp, NewNode, Refusal, WriteHow};
use crate::cache::CacheMessage;
use crate::replier::Replier;
use crate::volume::durable::Covers;
use crate::volume::{Front, Volume};
use infmap_storage::limits::{GROUP_MAX_ROWS, INLINE_FILE_BYTES};
use infmap_storage::names::{WholeContent, WholeFile};
use infmap_storage::row::{FileKind, Inode};
use std::sync::Arc;

/// Bytes of contents that are written at once, if it is more than one file.
const AT_ONCE_BYTES: usize = 4 * 1024 * 1024;
/// Rows of a file at least: its own, two of its name, and one for its content or for it having had no name.
const LEAST_ROWS: usize = 4;

/// A file that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Directory, name, permissions and owner. Its mode says that it is a regular file.
    pub node: NewNode,
    pub content: Vec<u8>,
    /// In place of a file that has the name; else the name must be free.
    pub replace: bool,
}

impl Volume {
    /// Makes all of these files with their contents, or none: whoever finds one of the names, also after a crash, finds every name and all of
    /// the contents. The answers are in their order. As durable as a [`Volume::create`]: for more, [`Volume::sync`] one of the directories.
    ///
    /// # Errors
    /// `BatchTooBig` for more than a group of the log holds: some 990 files of up to 900 bytes, 660 of 2 KiB; longer contents do not
    /// count.
    /// `Invalid` for what is no regular file; else those of [`Volume::create`] and [`Volume::write`].
    pub fn write_many(&self, files: Vec<NewFile>, replier: Replier<Answer<Vec<Attributes>>>) {
        if files.is_empty() {
            return replier.reply(Ok(Vec::new()));
        }
        if files.len() * LEAST_ROWS > GROUP_MAX_ROWS {
            return replier.reply(Err(Refusal::BatchTooBig));
        }
        if files.iter().any(|file| FileKind::of_mode(file.node.mode) != FileKind::Regular) {
            return replier.reply(Err(Refusal::Invalid));
        }
        let replier = self.front.durable(Covers::Names, replier);
        let (mut whole, mut long) = (Vec::with_capacity(files.len()), Vec::new());
        for (number, NewFile { node, content, replace }) in files.into_iter().enumerate() {
            let content = if content.len() <= INLINE_FILE_BYTES {
                WholeContent::Inline(content)
            } else {
                long.push(Long { number, content });
                WholeContent::Held(Inode(0))
            };
            whole.push(WholeFile { node, content, replace });
        }
        Writing { front: self.front.clone(), whole, held: Vec::new(), replier }.begin(long);
    }
}

/// A content that is written ahead of its name.
struct Long {
    /// Of the file in the batch.
    number: usize,
    content: Vec<u8>,
}

/// A batch under way.
struct Writing {
    front: Arc<Front>,
    whole: Vec<WholeFile>,
    /// Inodes without names that we hold.
    held: Vec<Inode>,
    replier: Replier<Answer<Vec<Attributes>>>,
}

impl Writing {
    /// Makes inodes for what is too long for the tables.
    fn begin(mut self, long: Vec<Long>) {
        if long.is_empty() {
            return self.finish();
        }
        let node = |long: &Long| self.whole.get(long.number).map(|file| NameOp::Nameless(file.node.clone()));
        let ops = long.iter().filter_map(node).collect();
        let front = self.front.clone();
        let then = move |done: Answer<Vec<Done>>| {
            let made = match done {
                Ok(made) => made,
                Err(refusal) => return self.refuse(refusal),
            };
            for (done, long) in made.iter().zip(&long) {
                if let (Done::Attributes(attributes), Some(file)) = (done, self.whole.get_mut(long.number)) {
                    self.front.holds.add(attributes.inode);
                    self.held.push(attributes.inode);
                    file.content = WholeContent::Held(attributes.inode);
                }
            }
            self.write(long);
        };
        front.change_batch(ops, Replier::from_fn(then));
    }

    /// Writes the next contents, and syncs them.
    fn write(self, mut long: Vec<Long>) {
        let mut bytes = 0;
        let first = long.iter().take_while(|one| {
            let fits = bytes == 0 || bytes + one.content.len() <= AT_ONCE_BYTES;
            bytes += one.content.len();
            fits
        });
        let rest = long.split_off(first.count());
        let targets: Vec<(Inode, Vec<u8>)> = long.into_iter().filter_map(|one| Some((self.held_of(one.number)?, one.content))).collect();
        let piece_bytes = self.front.shared.settings().max_write() as usize;
        let pieces = targets.iter().map(|(_, content)| content.len().div_ceil(piece_bytes) + 1).sum();
        let front = self.front.clone();
        let join = Join::<Answer<()>>::new(pieces, move |done| match done.into_iter().find_map(Result::err) {
            Some(refusal) => self.refuse(refusal),
            None if rest.is_empty() => self.finish(),
            None => self.write(rest),
        });
        let mut number = 0;
        for (inode, content) in targets {
            for (n, piece) in content.chunks(piece_bytes).enumerate() {
                let written = join.replier(number).map(|written: Answer<u32>| written.map(drop));
                front.write(inode, (n * piece_bytes) as u64, piece, WriteHow::default(), written);
                number += 1;
            }
            // Behind the writes: they go through the same shard (O1).
            front.shard(inode).post(CacheMessage::Sync { inode, replier: join.replier(number) });
            number += 1;
        }
    }

    fn held_of(&self, number: usize) -> Option<Inode> {
        match self.whole.get(number)?.content {
            WholeContent::Held(inode) => Some(inode),
            WholeContent::Inline(_) => None,
        }
    }

    /// Gives all of them their names.
    fn finish(self) {
        let Self { front, whole, held, replier } = self;
        let ours = front.clone();
        let then = move |done: Answer<Vec<Done>>| {
            // Without a name they are dropped now.
            held.into_iter().for_each(|inode| ours.forget(inode, 1));
            let made = done.map(|done| match done.into_iter().next() {
                Some(Done::Made(made)) => made,
                _ => Vec::new(),
            });
            replier.reply(made.map(|made| {
                made.iter().for_each(|(_, replaced)| ours.drop_what_lost_its_name(*replaced));
                made.into_iter().map(|(attributes, _)| attributes).collect()
            }));
        };
        front.change_batch(vec![NameOp::Whole(whole)], Replier::from_fn(then));
    }

    fn refuse(self, refusal: Refusal) {
        self.held.iter().for_each(|inode| self.front.forget(*inode, 1));
        self.replier.reply(Err(refusal));
    }
}
