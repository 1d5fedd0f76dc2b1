//! What a shard is told.

use super::damage::Known;
use crate::api::{Answer, AttributeChange, Attributes, ClearRange, Refusal, SeekWhat, WriteHow};
use crate::mailbox::Envelope;
use crate::pixel_reader::Reading;
use crate::replier::Replier;
use crate::vat::{Grant, VatMessage};
use infmap_storage::blocks::Block;
use infmap_storage::damage::Damage;
use infmap_storage::file_buffer::{PlacedExtent, Ticket};
use infmap_storage::limits::CLUSTER_BYTES;
use infmap_storage::row::{Inode, InodeRow, Time};

/// Bytes of a range that is cleared on the thread that posts it, at most.
const INLINE_CLEAR_BYTES: u64 = 256 * 1024;

/// Bytes for one block of a file.
pub struct Piece {
    pub number: u64,
    pub content: PieceContent,
}

/// How much of a block a piece is.
pub enum PieceContent {
    Whole(Block),
    /// From this byte of the block on.
    Part(usize, Vec<u8>),
}

/// A write, its bytes already copied.
pub struct Write {
    pub inode: Inode,
    pub offset: u64,
    pub length: u32,
    pub pieces: Vec<Piece>,
    pub how: WriteHow,
    pub replier: Replier<Answer<u32>>,
}

/// What a shard is told.
pub enum CacheMessage {
    Write(Write),
    Read(Reading),
    Change {
        inode: Inode,
        change: AttributeChange,
        replier: Replier<Answer<Attributes>>,
    },
    /// Somebody read the file.
    Accessed {
        inode: Inode,
        at: Time,
    },
    /// Make bytes zero, or the file longer.
    Clear {
        inode: Inode,
        range: ClearRange,
        replier: Replier<Answer<()>>,
    },
    /// Where data begins, or a hole.
    Seek {
        inode: Inode,
        offset: u64,
        what: SeekWhat,
        replier: Replier<Answer<u64>>,
    },
    /// Answer when the file is durable.
    Sync {
        inode: Inode,
        replier: Replier<Answer<()>>,
    },
    /// Somebody who had it open closed it.
    Closed {
        inode: Inode,
    },
    /// Log or place what is dirty of the file, then post this to the Vat: a rename must not overtake the bytes that it makes visible.
    FlushThen {
        inode: Inode,
        message: Box<VatMessage>,
    },
    RowLoaded {
        inode: Inode,
        row: Answer<Option<InodeRow>>,
    },
    /// Old content of blocks that are to be written in part.
    Filled {
        inode: Inode,
        blocks: Vec<(u64, Answer<Block>)>,
    },
    /// The rows of a file were read, so that what is written there can be put.
    RowsKnown {
        inode: Inode,
        known: Answer<Known>,
    },
    /// Durable in an image. The grant keeps its region open until the rows are put.
    Placed {
        inode: Inode,
        ticket: Ticket,
        extents: Vec<PlacedExtent>,
        grant: Grant,
    },
    /// Not durable: for want of room, or because the volume has become read-only.
    NotPlaced {
        inode: Inode,
        ticket: Ticket,
        refusal: Refusal,
    },
    /// A settlement was published (`done`), or refused.
    Settled {
        inode: Inode,
        ticket: Ticket,
        done: bool,
    },
    /// Log what is dirty, or place it, and say so to the Vat.
    Commit {
        place: bool,
    },
    /// There may be room now.
    Room,
    /// What waits for another actor may wait for one that is dead.
    ActorDied,
    /// The list of damage was filled with what earlier mounts noticed: dirty bytes lie over some of it.
    ReviewDamage {
        replier: Replier<Answer<()>>,
    },
    /// The scanner found bytes lost that a row gives: to be noted, unless dirty ones lie over them.
    FoundLost {
        damage: Box<Damage>,
    },
    /// An inode without names is not used any more.
    Drop {
        inode: Inode,
    },
}

impl Envelope for CacheMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Read(_) => "read",
            Self::Change { .. } => "change",
            Self::Accessed { .. } => "accessed",
            Self::Clear { .. } => "clear",
            Self::Seek { .. } => "seek",
            Self::Sync { .. } => "sync",
            Self::Closed { .. } => "closed",
            Self::FlushThen { .. } => "flush_then",
            Self::RowLoaded { .. } => "row_loaded",
            Self::Filled { .. } => "filled",
            Self::RowsKnown { .. } => "rows_known",
            Self::Placed { .. } => "placed",
            Self::NotPlaced { .. } => "not_placed",
            Self::Settled { .. } => "settled",
            Self::Commit { .. } => "commit",
            Self::Room => "room",
            Self::ActorDied => "actor_died",
            Self::ReviewDamage { .. } => "review_damage",
            Self::FoundLost { .. } => "found_lost",
            Self::Drop { .. } => "drop",
        }
    }

    fn inline(&self) -> bool {
        match self {
            Self::Placed { .. } | Self::Commit { .. } | Self::ActorDied => false,
            // It looks at all dirty blocks behind an offset, and this lets all in a range go.
            Self::Seek { .. } | Self::ReviewDamage { .. } => false,
            Self::Clear { range, .. } => range.length <= INLINE_CLEAR_BYTES,
            _ => true,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Write(write) => write.length as usize,
            Self::Placed { extents, .. } => extents.iter().map(|extent| extent.sequences.len() * CLUSTER_BYTES).sum(),
            _ => 0,
        }
    }
}
