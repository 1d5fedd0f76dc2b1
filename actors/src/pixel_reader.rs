//! The pixel readers: everything that waits for the disk to be read.
//!
//! Owns: nothing but its turn. Accepts: `Read`, `ReadAhead`, `Warm`, `Query`, `Fetch`. Sends: answers, straight to whoever asked. Full: readers
//! only ever hold the buffers of the reads they are at. Fails: a damaged cluster makes that read fail, and says which. A panic makes the
//! message fail that it came in, and the reader goes on; one that panics again and again is dead, and the volume read-only.
//!
//! Must be true: a read holds its lease from resolving to answering; bytes that are answered were verified (RD-1).

mod many;
mod noticing;

pub use many::{bring_small, read_part, take};
pub use noticing::notice;

use crate::api::{Answer, Refusal};
use crate::mailbox::{Envelope, Lane};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::{Address, Context, Role};
use infmap_storage::blocks::Block;
use infmap_storage::buffer::PooledBuf;
use infmap_storage::images::ImageError;
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::read::{FileReader, ReadError};
use infmap_storage::row::{FileKind, Inode};
use infmap_storage::state::View;
use infmap_storage::vat::{Node, NodePtr};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

/// Bytes that a read answers.
pub struct ReadData {
    buffer: PooledBuf,
    length: usize,
}

impl Deref for ReadData {
    type Target = [u8];
    #[expect(clippy::indexing_slicing, reason = "the buffer was taken for that length, in `gather`")]
    fn deref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// A read under way.
pub struct Reading {
    pub inode: Inode,
    pub offset: u64,
    pub length: u32,
    /// Size by the live row; `None`: the row says it.
    pub size: Option<u64>,
    /// Dirty blocks that lie over the tree.
    pub dirty: Vec<(u64, Block)>,
    pub replier: Replier<Answer<ReadData>>,
}

impl Reading {
    /// A read of a file as it is.
    #[must_use]
    pub fn new(inode: Inode, offset: u64, length: u32, replier: Replier<Answer<ReadData>>) -> Self {
        Self { inode, offset, length, size: None, dirty: Vec::new(), replier }
    }

    /// The reader, of so many, that it goes to.
    #[must_use]
    pub fn reader(&self, readers: usize) -> usize {
        slot_of(self.inode, self.offset, readers)
    }

    /// Answers from memory, or goes to a reader. A stream is read ahead of itself.
    #[expect(clippy::indexing_slicing, reason = "`slot_of` is below the number of readers")]
    pub fn begin(self, shared: &Shared, readers: &[Address<ReadMessage>]) {
        if let Some((offset, length)) = shared.streams.read(self.inode, self.offset, u64::from(self.length)) {
            let ahead = ReadMessage::ReadAhead { inode: self.inode, offset, length };
            readers[slot_of(self.inode, offset, readers.len())].post(Lane::Background, ahead);
        }
        match self.attempt(shared, false) {
            Err(ReadError::NotResident) => {
                readers[self.reader(readers.len())].post(Lane::Foreground, ReadMessage::Read(self));
            }
            done => self.answer(shared, done),
        }
    }

    fn finish(self, shared: &Shared) {
        let done = self.attempt(shared, true);
        self.answer(shared, done);
    }

    fn answer(self, shared: &Shared, done: Result<ReadData, ReadError>) {
        self.replier.reply(done.map_err(|error| refusal(shared, self.inode, self.offset, &error)));
    }

    fn attempt(&self, shared: &Shared, wait: bool) -> Result<ReadData, ReadError> {
        let lease = shared.published.load_full();
        if wait {
            let source = shared.names();
            self.gather(shared, View::new(&lease.names, &source), true)
        } else {
            self.gather(shared, View::new(&lease.names, &shared.nodes.resident), false)
        }
    }

    /// All that was asked for, up to the end of the file: the kernel takes what is missing of a page for zeros.
    #[expect(clippy::indexing_slicing, reason = "the buffer was taken for that length")]
    fn gather(&self, shared: &Shared, view: View<'_>, wait: bool) -> Result<ReadData, ReadError> {
        let size = match self.size {
            Some(size) => size,
            None => size_of(view, self.inode)?,
        };
        let length = size.saturating_sub(self.offset).min(u64::from(self.length)) as usize;
        let mut buffer = shared.reads.take_for(length);
        let reader = reader(shared, view);
        let out = &mut buffer[..length];
        if wait {
            noticing::read(shared, reader, self.inode, self.offset, &self.dirty, out)?;
        } else {
            FileReader { images: None, ..reader }.read(self.inode, self.offset, &self.dirty, out)?;
        }
        Ok(ReadData { buffer, length })
    }
}

/// The size of a regular file, as its row says.
fn size_of(view: View<'_>, inode: Inode) -> Result<u64, ReadError> {
    let row = view.inode(inode)?;
    match row.kind() {
        FileKind::Directory => Err(ReadError::State(Refusal::IsDirectory.into())),
        FileKind::Regular => Ok(row.size),
        _ => Err(ReadError::State(Refusal::Invalid.into())),
    }
}

/// What a caller hears of a read that failed.
fn refusal(shared: &Shared, inode: Inode, offset: u64, error: &ReadError) -> Refusal {
    match error {
        ReadError::State(error) => shared.refuse(error),
        error => unreadable(shared, inode, offset, error),
    }
}

fn reader<'a>(shared: &'a Shared, view: View<'a>) -> FileReader<'a> {
    FileReader { view, tiers: &shared.tiers, pool: &shared.blocks, images: Some(&shared.images), ahead: None, lost: None }
}

/// Somebody hears that bytes cannot be had. What is lost was said when it was noticed.
fn unreadable(shared: &Shared, inode: Inode, offset: u64, error: &ReadError) -> Refusal {
    shared.health.found_unreadable();
    if !matches!(error, ReadError::Image(ImageError::Damaged { .. })) {
        tracing::error!(inode = inode.0, offset, %error, "bytes of a file cannot be read");
    }
    Refusal::Damaged
}

/// The reader for a place in a file: different megabytes are read in parallel, one megabyte by one reader.
pub fn slot_of(inode: Inode, offset: u64, readers: usize) -> usize {
    (inode.0.wrapping_add(offset >> 20)) as usize % readers
}

/// Brings bytes of a file into L1 before they are asked for. What cannot be read will be said to whoever asks.
#[expect(clippy::indexing_slicing, reason = "the length is cut to that of the buffer")]
fn read_ahead(shared: &Shared, inode: Inode, offset: u64, length: u64) -> Answer<u64> {
    let lease = shared.published.load_full();
    let source = shared.names();
    let view = View::new(&lease.names, &source);
    let row = view.inode(inode).map_err(|error| shared.refuse(&error))?;
    let mut buffer = shared.reads.take();
    let length = row.size.saturating_sub(offset).min(length).min(buffer.len() as u64) as usize;
    // Not noted: dirty bytes may lie over it. Whoever asks for it meets it.
    let lost = RefCell::default();
    let reader = FileReader { lost: Some(&lost), ahead: Some(shared.tiers.ahead()), ..reader(shared, view) };
    let read = reader.read(inode, offset, &[], &mut buffer[..length]);
    match read {
        Ok(()) if lost.borrow().is_empty() => Ok(length as u64),
        Ok(()) => Err(Refusal::Damaged),
        Err(error) => {
            tracing::debug!(inode = inode.0, offset, %error, "reading ahead failed");
            Err(Refusal::Damaged)
        }
    }
}

/// One block of a file as the tree has it. Waits for the disk.
///
/// # Errors
/// `Damaged`, `Stale`.
pub fn read_block(shared: &Shared, inode: Inode, number: u64) -> Answer<Block> {
    let lease = shared.published.load_full();
    let source = shared.names();
    let view = View::new(&lease.names, &source);
    let (mut bytes, offset) = ([0; CLUSTER_BYTES], number * CLUSTER_BYTES as u64);
    let read = noticing::read(shared, reader(shared, view), inode, offset, &[], &mut bytes);
    read.map_err(|error| refusal(shared, inode, offset, &error))?;
    Ok(shared.blocks.holding(0, &bytes))
}

/// What a reader is told.
pub enum ReadMessage {
    Read(Reading),
    /// A stream will soon ask for these bytes.
    ReadAhead {
        inode: Inode,
        offset: u64,
        length: u64,
    },
    /// Somebody wants these bytes to be at hand, and to hear when they are.
    Warm {
        inode: Inode,
        offset: u64,
        length: u64,
        replier: Replier<Answer<u64>>,
    },
    /// Something that needs nodes which are not resident.
    Query(Box<dyn FnOnce(&Shared) + Send>),
    /// A node for a message of the Vat.
    Fetch {
        ptr: NodePtr,
        then: Replier<Answer<Arc<Node>>>,
    },
}

impl Envelope for ReadMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::ReadAhead { .. } => "read_ahead",
            Self::Warm { .. } => "warm",
            Self::Query(_) => "query",
            Self::Fetch { .. } => "fetch",
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Read(reading) => reading.length as usize,
            _ => 0,
        }
    }
}

/// Panics of one reader that are too many, and the time in which.
const PANICS_MAX: usize = 5;
const PANICS_WITHIN_US: u64 = 60_000_000;

/// The role of a reader.
pub struct PixelReader {
    shared: Arc<Shared>,
    /// Reads of all readers that parity had saved when this one last looked.
    restored: u64,
    /// When it panicked lately.
    panics_us: VecDeque<u64>,
    /// Somebody waits for what its messages post, and not for their answers.
    runs_errands: bool,
}

impl PixelReader {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, restored: 0, panics_us: VecDeque::new(), runs_errands: false }
    }

    /// One for work that reports by a post: if that is lost in a panic, somebody would wait for ever, so that it does not go on.
    #[must_use]
    pub fn for_errands(shared: Arc<Shared>) -> Self {
        Self { runs_errands: true, ..Self::new(shared) }
    }

    /// Says that an image is damaged although nobody has noticed.
    fn report_restored(&mut self) {
        let restored = self.shared.images.restored();
        if restored > std::mem::replace(&mut self.restored, restored) {
            tracing::warn!(restored, "an image is damaged; what was read of it was restored from its parity, and it is looked at next");
            metrics::counter!("infmap_integrity_repaired_total", "source" => "read").absolute(restored);
        }
    }
}

impl Role for PixelReader {
    type Message = ReadMessage;
    const RESTARTS: bool = true;

    fn handle(&mut self, message: ReadMessage, cx: &mut Context<'_>) {
        if !self.runs_errands {
            self.shared.scrub.use_disk();
        }
        match message {
            ReadMessage::Read(reading) => reading.finish(&self.shared),
            ReadMessage::ReadAhead { inode, offset, length } => drop(read_ahead(&self.shared, inode, offset, length)),
            ReadMessage::Warm { inode, offset, length, replier } => replier.reply(read_ahead(&self.shared, inode, offset, length)),
            ReadMessage::Query(query) => query(&self.shared),
            ReadMessage::Fetch { ptr, then } => {
                let node = self.shared.nodes.fetch(&ptr).map_err(|error| {
                    tracing::error!(%error, "a node of the tables cannot be read");
                    Refusal::Damaged
                });
                cx.reply(then, node);
            }
        }
        self.report_restored();
    }

    fn restart(&mut self, now_us: u64) -> bool {
        self.panics_us.push_back(now_us);
        self.panics_us.retain(|panic_us| now_us.saturating_sub(*panic_us) < PANICS_WITHIN_US);
        self.restored = self.shared.images.restored();
        !self.runs_errands && self.panics_us.len() < PANICS_MAX
    }

    fn dead(&mut self) {
        self.shared.health.died("an actor that reads images has failed");
    }
}
