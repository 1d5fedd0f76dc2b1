//! A file that a shard holds, and the operations that wait for it.

use super::damage::RowsKnown;
use super::message::Write;
use crate::api::{Answer, AttributeChange, Attributes, ClearRange, Refusal, SeekWhat};
use crate::pixel_reader::Reading;
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::Context;
use crate::vat::VatMessage;
use infmap_storage::file_buffer::{FileBuffer, Ticket};
use infmap_storage::names::CAPABILITY;
use infmap_storage::row::{Inode, InodeRow, Time};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// What a shard knows of an inode.
pub(super) enum Entry {
    /// Its row is being loaded; these wait.
    Loading(VecDeque<Op>),
    Open(Box<File>),
}

/// An operation on one file.
pub(super) enum Op {
    Write(Write),
    Read(Reading),
    Change {
        change: AttributeChange,
        replier: Replier<Answer<Attributes>>,
    },
    Accessed(Time),
    /// `looked`: the blocks at its edges that have old content are held.
    Clear {
        range: ClearRange,
        looked: bool,
        replier: Replier<Answer<()>>,
    },
    Seek {
        offset: u64,
        what: SeekWhat,
        replier: Replier<Answer<u64>>,
    },
    Sync(Replier<Answer<()>>),
    Then(Box<VatMessage>),
}

impl Op {
    pub(super) fn refuse(self, refusal: Refusal, cx: &mut Context<'_>) {
        match self {
            Self::Write(write) => cx.reply(write.replier, Err(refusal)),
            Self::Read(reading) => cx.reply(reading.replier, Err(refusal)),
            Self::Change { replier, .. } => cx.reply(replier, Err(refusal)),
            Self::Clear { replier, .. } | Self::Sync(replier) => cx.reply(replier, Err(refusal)),
            Self::Seek { replier, .. } => cx.reply(replier, Err(refusal)),
            Self::Accessed(_) => {}
            Self::Then(message) => After::Post(message).refuse(refusal, cx),
        }
    }
}

/// What follows when a file is safe.
pub(super) enum After {
    Answer(Replier<Answer<()>>),
    Post(Box<VatMessage>),
}

impl After {
    pub(super) fn refuse(self, refusal: Refusal, cx: &mut Context<'_>) {
        match self {
            Self::Answer(replier) => cx.reply(replier, Err(refusal)),
            Self::Post(message) => {
                if let VatMessage::Names { replier, .. } = *message {
                    cx.reply(replier, Err(refusal));
                }
            }
        }
    }
}

/// A file with changes under way.
pub(super) struct File {
    pub(super) buffer: FileBuffer,
    /// Operations that wait, in order.
    pub(super) queue: VecDeque<Op>,
    /// Old content is being read for the first of them.
    pub(super) filling: bool,
    /// The first of them waits for room.
    pub(super) parked: bool,
    /// Bytes are being cut: the settlement that does it.
    pub(super) cutting: Option<Ticket>,
    /// A cut was refused, so that bytes which are gone still stand in the tree: were the file to grow, they would come back.
    pub(super) uncut: bool,
    /// What follows when everything up to a sequence is safe.
    pub(super) after: Vec<(u64, After)>,
    /// Settlements that were posted and not published yet.
    pub(super) outstanding: usize,
    /// Permission bits, or capabilities, that a write may have to clear.
    pub(super) privileged: bool,
    /// How many capabilities had ever been given on the volume when this file was looked at for one; `None`: it never was.
    pub(super) capability_looked: Option<u64>,
    /// Bytes whose rows were seen to be readable (DAM-1).
    pub(super) rows_known: RowsKnown,
    /// It was cut to nothing, to be written anew: until that is safe, a power cut would leave an empty file.
    pub(super) emptied: bool,
}

impl File {
    pub(super) fn new(buffer: FileBuffer, row: &InodeRow) -> Self {
        Self {
            buffer,
            queue: VecDeque::new(),
            filling: false,
            parked: false,
            cutting: None,
            uncut: false,
            after: Vec::new(),
            outstanding: 0,
            privileged: is_privileged(row.mode),
            capability_looked: None,
            rows_known: RowsKnown::of(row),
            // A file that is new has version 0.
            emptied: row.size == 0 && row.version > 0,
        }
    }

    /// Whether there is something for a write to clear. Once: the caller sees to it.
    pub(super) fn clears_privileges(&mut self, inode: Inode, shared: &Shared) -> bool {
        let given = shared.capabilities_given.load(Ordering::Acquire);
        if self.capability_looked.replace(given) != Some(given) {
            // Where the answer is not in memory, to clear nothing costs less than to wait.
            self.privileged |= shared.query(|view| view.has_xattr(inode, CAPABILITY)).unwrap_or(true);
        }
        std::mem::take(&mut self.privileged)
    }

    /// Refuses what waits until the file is safe.
    pub(super) fn refuse_after(&mut self, refusal: Refusal, cx: &mut Context<'_>) {
        for (_, after) in std::mem::take(&mut self.after) {
            after.refuse(refusal, cx);
        }
    }

    /// Whether the next operation has to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.filling || self.parked || self.cutting.is_some()
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0
            && !self.uncut
            && self.after.is_empty()
            && self.queue.is_empty()
            && !self.is_busy()
            && self.buffer.is_settled()
    }
}

/// Whether a mode has suid or sgid.
pub(super) fn is_privileged(mode: u32) -> bool {
    mode & 0o6000 != 0
}
