//! The shards of the cache: each owns the bytes, sizes and times of its inodes from the write to the published row.
//!
//! Owns: dirty blocks and live rows of the inodes that map to this slot. Accepts: writes, reads over dirty blocks, attribute changes and
//! syncs of regular files, reports of pixel writers, what the Vat published. Sends: settlements to the Vat, blocks to pixel writers,
//! misses to pixel readers. Full: a write without room is parked with its replier and tried again when bytes are free. Fails: a block
//! that could not be placed stays here; who waits for it hears an error.
//!
//! Must be true: O1 changes of one file happen here, in order, each with the next write sequence; O6 the live row is set before the
//! answer leaves; O10 no late report moves size or times back.

mod change;
mod damage;
mod file;
mod flush;
mod message;
mod range;
mod write;

pub use damage::note_lost;
pub use message::{CacheMessage, Piece, PieceContent, Write};

use crate::api::{Answer, Refusal};
use crate::cleaner::CleanMessage;
use crate::mailbox::Lane;
use crate::pixel_reader::{ReadMessage, Reading};
use crate::pixel_writer::WriteMessage;
use crate::replier::Replier;
use crate::shared::{Shared, has_content};
use crate::slot::{Address, Context, Role, WeakAddress};
use crate::vat::VatMessage;
use file::{Entry, File, Op};
use infmap_storage::blocks::Block;
use infmap_storage::file_buffer::FileBuffer;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::row::{Inode, InodeRow};
use infmap_storage::state::StateError;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const BLOCK: u64 = CLUSTER_BYTES as u64;

/// The shard that an inode maps to, for ever.
#[must_use]
pub fn shard_of(inode: Inode, shards: usize) -> usize {
    (inode.0 % shards as u64) as usize
}

/// Whom a shard speaks to.
#[derive(Clone)]
pub struct ShardPeers {
    pub vat: Address<VatMessage>,
    pub readers: Vec<Address<ReadMessage>>,
    pub writers: Vec<Address<WriteMessage>>,
    pub cleaner: Address<CleanMessage>,
}

/// The role of a shard.
pub struct Cache {
    shared: Arc<Shared>,
    own: WeakAddress<CacheMessage>,
    peers: ShardPeers,
    files: HashMap<Inode, Entry>,
    /// Files whose first operation waits for room.
    waiting: VecDeque<Inode>,
    /// Room was asked for.
    asked_for_room: bool,
    /// Files that a commit or checkpoint waits for.
    draining: usize,
    gathering: bool,
    /// Settlements of this shard that the Vat has refused, as far as was heard.
    refusals_heard: u64,
}

impl Cache {
    #[must_use]
    pub fn new(shared: Arc<Shared>, own: WeakAddress<CacheMessage>, peers: ShardPeers) -> Self {
        let (files, waiting) = (HashMap::new(), VecDeque::new());
        Self { shared, own, peers, files, waiting, asked_for_room: false, draining: 0, gathering: false, refusals_heard: 0 }
    }

    /// Takes what recovery found in the log for a file.
    pub fn restore(&mut self, inode: Inode, row: &InodeRow, blocks: Vec<(u64, Block, u64)>) {
        let mut buffer = FileBuffer::new(row);
        for (number, block, sequence) in blocks {
            buffer.restore(number, block, sequence);
        }
        self.shared.budget.force(buffer.held_bytes());
        self.shared.live.set(inode, buffer.live());
        self.files.insert(inode, Entry::Open(Box::new(File::new(buffer, row))));
    }

    /// Runs an operation on a file, or lets it wait until the file can take it.
    fn submit(&mut self, inode: Inode, op: Op, cx: &mut Context<'_>) {
        match self.files.get_mut(&inode) {
            Some(Entry::Loading(queue)) => queue.push_back(op),
            Some(Entry::Open(file)) if file.is_busy() => file.queue.push_back(op),
            Some(Entry::Open(_)) => self.run(inode, op, cx),
            None => self.open(inode, op, cx),
        }
    }

    fn open(&mut self, inode: Inode, op: Op, cx: &mut Context<'_>) {
        match self.shared.query(|view| view.find_inode(inode)) {
            Ok(row) => self.opened(inode, Ok(row), VecDeque::from([op]), cx),
            Err(StateError::Miss(_)) => {
                self.files.insert(inode, Entry::Loading(VecDeque::from([op])));
                self.load(inode, cx);
            }
            Err(error) => op.refuse(self.shared.refuse(&error), cx),
        }
    }

    /// Asks a reader for the row of an inode.
    fn load(&self, inode: Inode, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        // A replier, because a reader may die with it: what waits here is answered then too.
        let then = Replier::from_fn(move |row| own.post(Lane::Foreground, CacheMessage::RowLoaded { inode, row }));
        let query = move |shared: &Shared| {
            then.reply(shared.query_waiting(|view| view.find_inode(inode)).map_err(|error| shared.refuse(&error)));
        };
        cx.post(self.reader(inode), Lane::Foreground, ReadMessage::Query(Box::new(query)));
    }

    fn reader(&self, inode: Inode) -> &Address<ReadMessage> {
        &self.peers.readers[inode.0 as usize % self.peers.readers.len()]
    }

    fn opened(&mut self, inode: Inode, row: Answer<Option<InodeRow>>, queue: VecDeque<Op>, cx: &mut Context<'_>) {
        match row {
            Ok(Some(row)) if has_content(row.kind()) => {
                let mut file = File::new(FileBuffer::new(&row), &row);
                file.queue = queue;
                self.files.insert(inode, Entry::Open(Box::new(file)));
                self.run_queue(inode, cx);
                self.close_if_settled(inode);
            }
            Ok(Some(row)) => queue.into_iter().for_each(|op| self.forward(inode, &row, op, cx)),
            Ok(None) => queue.into_iter().for_each(|op| op.refuse(Refusal::Stale, cx)),
            Err(refusal) => queue.into_iter().for_each(|op| op.refuse(refusal, cx)),
        }
    }

    /// Runs what waits, until something makes the file busy again.
    fn run_queue(&mut self, inode: Inode, cx: &mut Context<'_>) {
        while let Some(Entry::Open(file)) = self.files.get_mut(&inode) {
            if file.is_busy() {
                return;
            }
            let Some(op) = file.queue.pop_front() else { return };
            self.run(inode, op, cx);
        }
    }

    fn run(&mut self, inode: Inode, op: Op, cx: &mut Context<'_>) {
        let Some(Entry::Open(_)) = self.files.get(&inode) else { return op.refuse(Refusal::Stale, cx) };
        match op {
            Op::Write(write) => self.write(inode, write, cx),
            Op::Read(reading) => self.read(inode, reading),
            Op::Change { change, replier } => self.change(inode, change, replier, cx),
            Op::Accessed(at) => self.accessed(inode, at, cx),
            Op::Clear { range, looked, replier } => self.clear_range(inode, range, looked, replier, cx),
            Op::Seek { offset, what, replier } => self.seek(inode, offset, what, replier, cx),
            Op::Sync(replier) => self.sync(inode, file::After::Answer(replier), cx),
            Op::Then(message) => self.sync(inode, file::After::Post(message), cx),
        }
    }

    /// What is not a regular file has no bytes here: its attributes are the Vat's alone.
    fn forward(&mut self, inode: Inode, row: &InodeRow, op: Op, cx: &mut Context<'_>) {
        let is_directory = row.kind() == infmap_storage::row::FileKind::Directory;
        match op {
            Op::Change { change, replier } => {
                let refusal = match change.size {
                    Some(_) if is_directory => Refusal::IsDirectory,
                    Some(_) => Refusal::Invalid,
                    None => return self.change_in_vat(inode, change, replier, cx),
                };
                cx.reply(replier, Err(refusal));
            }
            Op::Sync(replier) => cx.post(&self.peers.vat, Lane::Foreground, VatMessage::Sync { replier }),
            Op::Then(message) => cx.post(&self.peers.vat, Lane::Foreground, *message),
            other => other.refuse(if is_directory { Refusal::IsDirectory } else { Refusal::Invalid }, cx),
        }
    }

    /// Reads over dirty blocks.
    fn read(&mut self, inode: Inode, mut reading: Reading) {
        if let Some(Entry::Open(file)) = self.files.get(&inode) {
            let live = file.buffer.live();
            let end = reading.offset.saturating_add(u64::from(reading.length));
            reading.size = Some(live.size);
            reading.dirty = file.buffer.blocks_in(reading.offset, end.min(live.size)).map(|(n, block)| (n, block.clone())).collect();
        }
        reading.begin(&self.shared, &self.peers.readers);
    }

    fn file(&mut self, inode: Inode) -> Option<&mut File> {
        match self.files.get_mut(&inode) {
            Some(Entry::Open(file)) => Some(file),
            _ => None,
        }
    }

    /// Shows the live row of a file.
    fn show(&mut self, inode: Inode) {
        if let Some(Entry::Open(file)) = self.files.get(&inode) {
            self.shared.live.set(inode, file.buffer.live());
        }
    }

    /// Lets a file go when its row says everything and nothing is under way.
    fn close_if_settled(&mut self, inode: Inode) {
        let settled = matches!(self.files.get(&inode), Some(Entry::Open(file)) if file.is_idle());
        if settled {
            self.files.remove(&inode);
            self.shared.live.remove(inode);
        }
    }

    /// Forgets everything about an inode that nobody uses, and has its rows removed.
    fn drop_inode(&mut self, inode: Inode, cx: &mut Context<'_>) {
        match self.files.remove(&inode) {
            Some(Entry::Open(mut file)) => {
                self.shared.budget.give(file.buffer.held_bytes());
                self.one_drained(file.buffer.end_drain(), cx);
                file.queue.into_iter().for_each(|op| op.refuse(Refusal::Stale, cx));
                file.after.into_iter().for_each(|(_, after)| after.refuse(Refusal::Stale, cx));
            }
            Some(Entry::Loading(queue)) => queue.into_iter().for_each(|op| op.refuse(Refusal::Stale, cx)),
            None => {}
        }
        self.shared.live.remove(inode);
        cx.post(&self.peers.vat, Lane::Foreground, VatMessage::Drop { inode });
    }
}

impl Role for Cache {
    type Message = CacheMessage;

    fn handle(&mut self, message: CacheMessage, cx: &mut Context<'_>) {
        match message {
            CacheMessage::Write(write) => self.submit(write.inode, Op::Write(write), cx),
            CacheMessage::Read(reading) => match self.files.get_mut(&reading.inode) {
                // While bytes are being cut, the tree still shows them.
                Some(Entry::Open(file)) if file.cutting.is_some() => file.queue.push_back(Op::Read(reading)),
                _ => self.read(reading.inode, reading),
            },
            CacheMessage::Change { inode, change, replier } => self.submit(inode, Op::Change { change, replier }, cx),
            CacheMessage::Accessed { inode, at } => self.submit(inode, Op::Accessed(at), cx),
            CacheMessage::Clear { inode, range, replier } => self.submit(inode, Op::Clear { range, looked: false, replier }, cx),
            CacheMessage::Seek { inode, offset, what, replier } => self.submit(inode, Op::Seek { offset, what, replier }, cx),
            CacheMessage::Sync { inode, replier } => self.sync_message(inode, replier, cx),
            CacheMessage::Closed { inode } => self.closed(inode, cx),
            CacheMessage::FlushThen { inode, message } => self.submit(inode, Op::Then(message), cx),
            CacheMessage::RowLoaded { inode, row } => {
                if let Some(Entry::Loading(_)) = self.files.get(&inode)
                    && let Some(Entry::Loading(queue)) = self.files.remove(&inode)
                {
                    self.opened(inode, row, queue, cx);
                }
            }
            CacheMessage::Filled { inode, blocks } => self.filled(inode, blocks, cx),
            CacheMessage::RowsKnown { inode, known } => self.rows_known(inode, known, cx),
            CacheMessage::Placed { inode, ticket, extents, grant } => self.placed(inode, ticket, &extents, &grant, cx),
            CacheMessage::NotPlaced { inode, ticket, refusal } => self.not_placed(inode, ticket, refusal, cx),
            CacheMessage::Settled { inode, ticket, done } => self.settled(inode, ticket, done, cx),
            CacheMessage::Commit { place } => self.commit(place, cx),
            CacheMessage::Room => self.room(cx),
            CacheMessage::ActorDied => self.actor_died(cx),
            CacheMessage::ReviewDamage { replier } => {
                self.review_damage();
                cx.reply(replier, Ok(()));
            }
            CacheMessage::FoundLost { damage } => self.found_lost(&damage),
            CacheMessage::Drop { inode } => self.drop_inode(inode, cx),
        }
    }

    fn dead(&mut self) {
        self.shared.health.died("an actor that owns bytes of files has failed");
    }
}

/// Bytes of so many blocks.
fn bytes_of(blocks: usize) -> u64 {
    (blocks * CLUSTER_BYTES) as u64
}
