//! Bytes of files: read, written, cleared, looked for.

use super::durable::Covers;
use super::{Front, ReadData, Volume};
use crate::api::{Answer, ClearRange, Refusal, SeekWhat, WriteHow};
use crate::cache::{CacheMessage, Piece, PieceContent, Write};
use crate::pixel_reader::{ReadMessage, Reading};
use crate::replier::Replier;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::row::Inode;

impl Volume {
    /// Bytes of a file; fewer than asked for only at its end.
    pub fn read(&self, inode: Inode, offset: u64, length: u32, replier: Replier<Answer<ReadData>>) {
        self.front.read(inode, offset, length, replier);
    }

    /// Writes bytes; they are copied before this returns.
    pub fn write(&self, inode: Inode, offset: u64, data: &[u8], how: WriteHow, replier: Replier<Answer<u32>>) {
        let replier = self.front.durable(Covers::File(inode), replier);
        self.front.write(inode, offset, data, how, replier);
    }

    /// Makes bytes of a file zero, or the file longer.
    pub fn clear(&self, inode: Inode, range: ClearRange, replier: Replier<Answer<()>>) {
        if range.length == 0 {
            return replier.reply(Err(Refusal::Invalid));
        }
        let replier = self.front.durable(Covers::File(inode), replier);
        self.front.shard(inode).post(CacheMessage::Clear { inode, range, replier });
    }

    /// Where data of a file begins, or a hole, from an offset on: [`Refusal::NoData`] if nowhere.
    pub fn seek(&self, inode: Inode, offset: u64, what: SeekWhat, replier: Replier<Answer<u64>>) {
        self.front.shard(inode).post(CacheMessage::Seek { inode, offset, what, replier });
    }
}

impl Front {
    #[expect(clippy::indexing_slicing, reason = "`reader` is below the number of readers")]
    pub(super) fn read(&self, inode: Inode, offset: u64, length: u32, replier: Replier<Answer<ReadData>>) {
        let reading = Reading::new(inode, offset, length, replier);
        // Without a live row nothing is dirty: its shard has nothing to add.
        if self.shared.live.get(inode).is_some() {
            self.shard(inode).post(CacheMessage::Read(reading));
        } else {
            let gate = &self.readers[reading.reader(self.readers.len())];
            if gate.is_open() {
                reading.begin(&self.shared, &self.reader_slots);
            } else {
                gate.hold(ReadMessage::Read(reading));
            }
        }
    }

    pub(super) fn write(&self, inode: Inode, offset: u64, data: &[u8], how: WriteHow, replier: Replier<Answer<u32>>) {
        if data.is_empty() {
            // It would move the end of the file.
            return replier.reply(Ok(0));
        }
        if offset.checked_add(data.len() as u64).is_none() {
            return replier.reply(Err(Refusal::FileTooBig));
        }
        let pieces = self.pieces(offset, data);
        let write = Write { inode, offset, length: data.len() as u32, pieces, how, replier };
        self.shard(inode).post(CacheMessage::Write(write));
    }

    fn pieces(&self, offset: u64, data: &[u8]) -> Vec<Piece> {
        let block = CLUSTER_BYTES as u64;
        let mut pieces = Vec::with_capacity(data.len() / CLUSTER_BYTES + 2);
        let (mut rest, mut at) = (data, offset);
        while !rest.is_empty() {
            let within = (at % block) as usize;
            let (piece, others) = rest.split_at(rest.len().min(CLUSTER_BYTES - within));
            let content = if piece.len() == CLUSTER_BYTES {
                PieceContent::Whole(self.shared.blocks.holding(0, piece))
            } else {
                PieceContent::Part(within, piece.to_vec())
            };
            pieces.push(Piece { number: at / block, content });
            at += piece.len() as u64;
            rest = others;
        }
        pieces
    }
}
