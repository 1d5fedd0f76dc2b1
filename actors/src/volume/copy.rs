//! Copying bytes from one file to another without a way through the kernel.
//!
//! Must be true: CPY-1 what is answered was copied, from the beginning of the range on; each piece is a read and a write as any other,
//! so their orders hold (O1). A piece begins on a reader's thread, so that the door, and what waits for the shards, have their turn
//! between any two. Fails: with the first refusal, if nothing was copied; otherwise the count says how far it came.

use super::durable::Covers;
use super::{Front, Volume};
use crate::api::{Answer, Refusal, WriteHow};
use crate::pixel_reader::ReadMessage;
use crate::replier::Replier;
use crate::shared::Shared;
use infmap_storage::row::Inode;
use std::sync::Arc;

/// Bytes that one call copies at most: who wants more asks again, and others have their turn.
const ONE_CALL_BYTES: u64 = 16 * 1024 * 1024;

/// A range to be copied. In one file the ranges must not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    pub from: Inode,
    pub from_offset: u64,
    pub to: Inode,
    pub to_offset: u64,
    pub length: u64,
    /// Clear suid, and sgid of a group-executable file, of the file that is written.
    pub clear_privileges: bool,
}

/// A copy under way.
struct Copying {
    front: Arc<Front>,
    range: CopyRange,
    done: u64,
    replier: Replier<Answer<u64>>,
}

impl Volume {
    /// Copies bytes; fewer than asked for at the end of the source, or above 16 MiB.
    pub fn copy(&self, range: CopyRange, replier: Replier<Answer<u64>>) {
        let length = range.length.min(ONE_CALL_BYTES);
        let ends = [range.from_offset, range.to_offset].map(|offset| offset.checked_add(length));
        let [Some(from_end), Some(to_end)] = ends else { return replier.reply(Err(Refusal::FileTooBig)) };
        if range.from == range.to && range.from_offset < to_end && range.to_offset < from_end {
            return replier.reply(Err(Refusal::Invalid));
        }
        let replier = self.front.durable(Covers::File(range.to), replier);
        Copying { front: self.front.clone(), range: CopyRange { length, ..range }, done: 0, replier }.go_on();
    }
}

impl Copying {
    #[expect(clippy::indexing_slicing, reason = "a number modulo the number of readers, which is a constant above zero")]
    fn go_on(self) {
        if self.done == self.range.length {
            return self.end(Ok(()));
        }
        let front = self.front.clone();
        let at = self.range.from.0 as usize % front.readers.len();
        let piece = Box::new(move |_: &Shared| self.piece());
        front.readers[at].post(ReadMessage::Query(piece));
    }

    fn piece(self) {
        let CopyRange { from, from_offset, length, .. } = self.range;
        let left = length - self.done;
        let (front, offset) = (self.front.clone(), from_offset + self.done);
        let piece = left.min(u64::from(front.shared.settings().max_write())) as u32;
        front.read(
            from,
            offset,
            piece,
            Replier::from_fn(move |data: Answer<super::ReadData>| match data {
                Ok(data) if data.is_empty() => self.end(Ok(())),
                Ok(data) => self.write(&data),
                Err(refusal) => self.end(Err(refusal)),
            }),
        );
    }

    fn write(mut self, data: &[u8]) {
        let CopyRange { to, to_offset, clear_privileges, .. } = self.range;
        let (front, offset) = (self.front.clone(), to_offset + self.done);
        let how = WriteHow { from_cache: false, clear_privileges };
        front.write(
            to,
            offset,
            data,
            how,
            Replier::from_fn(move |written: Answer<u32>| match written {
                Ok(written) => {
                    self.done += u64::from(written);
                    self.go_on();
                }
                Err(refusal) => self.end(Err(refusal)),
            }),
        );
    }

    fn end(self, how: Answer<()>) {
        self.replier.reply(if self.done > 0 { Ok(self.done) } else { how.map(|()| 0) });
    }
}
