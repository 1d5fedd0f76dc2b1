//! What the Vat is told, and what it answers.

use super::{Grant, MoveRows, NodeAt, Peers, Pins, RootWritten, Sight, Survey};
use crate::api::{Answer, Attributes, Refusal};
use crate::mailbox::Envelope;
use crate::pixel_writer::WriteMessage;
use crate::replier::Replier;
use crate::slot::Address;
use infmap_storage::address::{Place, RegionId};
use infmap_storage::buffer::AlignedBuf;
use infmap_storage::file_buffer::{Run, Ticket};
use infmap_storage::names::{AttributeChange, NewNode, Removed, Rename, SetXattr, Settlement, WholeContent, WholeFile};
use infmap_storage::row::{ExtentRow, Inode, RegionKind, Time};
use infmap_storage::vat::{Node, NodePtr};
use infmap_storage::wal::Lsn;
use std::sync::Arc;

/// Bytes of file data in a settlement that is handled where it is posted, and bytes of a file that one may cut there: with more, the
/// thread that posts is kept for longer than a request may take.
const INLINE_SETTLE_BYTES: usize = 64 * 1024;

/// Bytes of a value that is stored where it is posted, at most: it is stored as rows of less than a kilobyte.
const INLINE_VALUE_BYTES: usize = 8 * 1024;

/// A change of names or attributes.
#[derive(Clone, Debug)]
pub enum NameOp {
    Create(NewNode),
    Symlink(NewNode, Vec<u8>),
    Link {
        inode: Inode,
        parent: Inode,
        name: Vec<u8>,
    },
    Unlink {
        parent: Inode,
        name: Vec<u8>,
    },
    Rmdir {
        parent: Inode,
        name: Vec<u8>,
    },
    Rename(Rename),
    /// Attributes of anything but a regular file; those pass their shard first (O10).
    Change {
        inode: Inode,
        change: AttributeChange,
    },
    /// Somebody read it.
    Accessed {
        inode: Inode,
        at: Time,
    },
    SetXattr(SetXattr),
    RemoveXattr {
        inode: Inode,
        name: Vec<u8>,
    },
    /// A regular file without a name, that is written to before it is given one.
    Nameless(NewNode),
    /// Files that are made with their content.
    Whole(Vec<WholeFile>),
}

impl NameOp {
    /// Whether the tables grow by it: what a full volume refuses.
    #[must_use]
    pub fn adds(&self) -> bool {
        let makes = matches!(self, Self::Create(_) | Self::Symlink(..) | Self::Nameless(_) | Self::Whole(_));
        makes || matches!(self, Self::Link { .. } | Self::SetXattr(_))
    }

    /// Bytes of values in it.
    fn value_bytes(&self) -> usize {
        match self {
            Self::SetXattr(what) => what.value.len(),
            Self::Symlink(_, target) => target.len(),
            Self::Whole(files) => files.iter().map(content_bytes).sum(),
            _ => 0,
        }
    }
}

/// Bytes of a row, and of those of its names.
const ROWS_BYTES: usize = 512;

fn content_bytes(file: &WholeFile) -> usize {
    ROWS_BYTES + if let WholeContent::Inline(content) = &file.content { content.len() } else { 0 }
}

/// What a change of names gave.
#[derive(Clone, Debug)]
pub enum Done {
    Attributes(Attributes),
    /// What lost a name, if anything did.
    Removed(Option<Removed>),
    /// Files that were made, and what each of them is in place of.
    Made(Vec<(Attributes, Option<Removed>)>),
}

/// What a shard says of one of its files. Everything in it is one group of the log.
pub struct Settle {
    pub inode: Inode,
    /// The shard is told when it is published.
    pub ticket: Ticket,
    /// Refusals of settlements that the shard had heard of when it said this.
    pub refusals_heard: u64,
    /// Bytes to be cut first: from, to, sequence. More than a step can do goes on in further groups.
    pub cut: Option<(u64, u64, u64)>,
    /// Bytes of the file as it was that the cut takes away: they bound its rows.
    pub cut_bytes: u64,
    /// Rows of placed extents, each with whether it is the first that claims its placement.
    pub rows: Vec<(u64, ExtentRow, bool)>,
    /// Keep the regions of the rows open until they are put.
    pub grants: Vec<Grant>,
    /// The whole content, to be kept in the tree.
    pub inline: Option<Vec<u8>>,
    /// Bytes for the log only.
    pub data: Vec<Run>,
    /// Bytes in it that were said to be on their way into the log.
    pub log_bytes: u64,
    pub settlement: Settlement,
    pub change: Option<AttributeChange>,
    /// Answered when it is durable.
    pub syncs: Vec<Replier<Answer<()>>>,
    /// What must not overtake it: done when it is logged, refused when it is.
    pub then: Option<Box<VatMessage>>,
    /// Answered when it is published.
    pub answer: Option<Replier<Answer<Attributes>>>,
    /// A cut that goes on: the rest of it.
    pub resumed: bool,
}

/// What the Wal reports of a batch.
pub struct Written {
    pub synced: Lsn,
    /// All data up to here is placed, as far as the Wal has heard.
    pub low: Lsn,
    /// Bytes of log above it.
    pub bytes_above_low: u64,
    /// For the next batch.
    pub buffer: Option<AlignedBuf>,
    pub failed: bool,
}

/// What the Vat is told.
pub enum VatMessage {
    /// Whom to speak to. The first message.
    Join(Box<Peers>),
    Names {
        op: NameOp,
        replier: Replier<Answer<Done>>,
    },
    /// Several changes of names, done whole or not at all.
    Batch {
        ops: Vec<NameOp>,
        replier: Replier<Answer<Vec<Done>>>,
    },
    Settle(Box<Settle>),
    /// An inode without names is not used any more.
    Drop {
        inode: Inode,
    },
    /// It has more rows than one step drops.
    GoOnDropping {
        inode: Inode,
    },
    /// Answer when everything before is durable.
    Sync {
        replier: Replier<Answer<()>>,
    },
    /// Places for images.
    Grant {
        kind: RegionKind,
        count: usize,
        to: Address<WriteMessage>,
    },
    Written(Written),
    /// The log is over its hard limit although a checkpoint has just shortened it.
    LogFull,
    /// A node that a message missed.
    Fetched {
        message: Box<VatMessage>,
        ptr: NodePtr,
        node: Answer<Arc<Node>>,
        pins: Pins,
    },
    /// Make everything durable that was written up to now.
    Commit {
        replier: Replier<Answer<()>>,
    },
    /// A shard has posted what a commit or checkpoint asked for.
    Posted,
    /// A shard has blocks that could not be placed.
    NotPlaced {
        refusal: Refusal,
    },
    /// A shard holds nothing any more of what a commit or checkpoint asked for.
    Drained,
    Checkpoint {
        replier: Replier<Answer<()>>,
    },
    /// Make a root, and answer when what it lets go is gone from the device. `anyway`: although nothing changed since the newest.
    MakeRoom {
        anyway: bool,
        replier: Replier<Answer<()>>,
    },
    /// Keep no more files ready for the log than it needs next.
    Shrink {
        replier: Replier<Answer<()>>,
    },
    /// Have a segment of the log ready: see [`crate::wal::WalMessage::Reserve`].
    ReserveLog {
        replier: Replier<Answer<()>>,
    },
    /// Go on folding.
    Fold,
    /// What is there, for the cleaner to choose from.
    Survey {
        replier: Replier<Answer<Survey>>,
    },
    /// What is in use from a place on, for the scanner.
    Sight {
        from: Place,
        replier: Replier<Answer<Sight>>,
    },
    /// Places for images of file data, for whoever asks.
    GrantPlaces {
        count: usize,
        replier: Replier<Answer<Vec<Grant>>>,
    },
    /// Rows are to say another place, where the same bytes are durable.
    Move(Box<MoveRows>),
    /// Nodes are to find another place with the next root.
    Rewrite {
        nodes: Vec<NodeAt>,
        replier: Replier<Answer<()>>,
    },
    RootWritten(RootWritten),
    /// What waits for another actor may wait for one that is dead.
    ActorDied,
    /// Images of dead regions were taken away.
    Recycled {
        regions: Vec<RegionId>,
    },
}

impl VatMessage {
    /// The inode among whose messages order must hold although one of them waits for a node.
    pub(super) fn inode(&self) -> Option<Inode> {
        match self {
            Self::Settle(settle) => Some(settle.inode),
            Self::Drop { inode } | Self::GoOnDropping { inode } => Some(*inode),
            _ => None,
        }
    }
}

impl Envelope for VatMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Names { .. } => "names",
            Self::Batch { .. } => "batch",
            Self::Settle(_) => "settle",
            Self::Drop { .. } => "drop",
            Self::GoOnDropping { .. } => "go_on_dropping",
            Self::Sync { .. } => "sync",
            Self::Grant { .. } => "grant",
            Self::Written(_) => "written",
            Self::LogFull => "log_full",
            Self::Fetched { .. } => "fetched",
            Self::Commit { .. } => "commit",
            Self::Posted => "posted",
            Self::NotPlaced { .. } => "not_placed",
            Self::Drained => "drained",
            Self::Checkpoint { .. } => "checkpoint",
            Self::MakeRoom { .. } => "make_room",
            Self::Shrink { .. } => "shrink",
            Self::ReserveLog { .. } => "reserve_log",
            Self::Fold => "fold",
            Self::Survey { .. } => "survey",
            Self::Sight { .. } => "sight",
            Self::GrantPlaces { .. } => "grant_places",
            Self::Move(_) => "move",
            Self::Rewrite { .. } => "rewrite",
            Self::RootWritten(_) => "root_written",
            Self::ActorDied => "actor_died",
            Self::Recycled { .. } => "recycled",
        }
    }

    fn inline(&self) -> bool {
        match self {
            Self::Settle(settle) => self.payload_bytes() <= INLINE_SETTLE_BYTES && settle.cut_bytes <= INLINE_SETTLE_BYTES as u64,
            // Up to a slice of rows, or a whole batch.
            Self::GoOnDropping { .. } | Self::Batch { .. } | Self::Fold | Self::Recycled { .. } => false,
            Self::RootWritten(_) | Self::ActorDied | Self::Join(_) | Self::Move(_) | Self::Rewrite { .. } => false,
            Self::Names { op, .. } => op.value_bytes() <= INLINE_VALUE_BYTES,
            _ => true,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Settle(settle) => settle.data.iter().map(|run| run.bytes() as usize).sum(),
            Self::Names { op, .. } => op.value_bytes(),
            _ => 0,
        }
    }

    fn order_key(&self) -> Option<u64> {
        self.inode().map(|inode| inode.0)
    }
}
