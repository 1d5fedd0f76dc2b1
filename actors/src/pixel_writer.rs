//! The pixel writers: gather blocks into open regions, seal them, make them durable, and report where everything is.
//!
//! Owns: one open region a slot, its image buffer, a compressor. Accepts: `Expect`, `Place`, `Flush`, `Granted`, `ActorDied`. Sends:
//! `Placed` or `NotPlaced` to shards, `Grant` to the Vat. Full: what has no place yet waits in the backlog; the door holds large writes
//! back while it is long. Fails: an image that cannot be written is abandoned and its blocks go to another; after three in a row the
//! volume is read-only. Where there is no room, blocks go back to where they came from, and are tried again with the next commit.
//!
//! Must be true: O3 a shard hears of a place only when the image is durable under its name; an image gets its name only after its
//! grant was synced, which the Vat sees to; PW-1 where an image found no room, no place is used up before there is more: each is a record,
//! and a log that cannot grow would come to its end by trying again.

mod gather;

use crate::api::Refusal;
use crate::cache::CacheMessage;
use crate::keeper::look_at_space;
use crate::mailbox::{Envelope, Lane};
use crate::settings::Compression;
use crate::shared::Shared;
use crate::slot::{Address, Context, Role, WeakAddress};
use crate::vat::{Grant, VatMessage};
use gather::{Effort, Gathered, OpenRegion};
use infmap_storage::file_buffer::{Run, Ticket};
use infmap_storage::region::IMAGE_MAX_BYTES;
use infmap_storage::row::{Inode, RegionKind};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

/// Places that are asked for at once, and the number left at which more are asked for.
const GRANTS: usize = 8;
const FEW_GRANTS: usize = 3;
/// Images that may fail in a row.
const MAX_FAILURES: u32 = 3;
/// Messages that wait at which `auto` stores raw: the processors have no time.
const BUSY_BACKLOG: usize = 24;

/// Blocks of one file to be placed.
pub struct PlaceJob {
    pub from: Address<CacheMessage>,
    pub inode: Inode,
    pub ticket: Ticket,
    pub runs: VecDeque<Run>,
}

impl PlaceJob {
    /// Bytes that are not gathered yet.
    pub(crate) fn bytes(&self) -> u64 {
        self.runs.iter().map(Run::bytes).sum()
    }
}

/// What a pixel writer is told.
pub enum WriteMessage {
    /// There will be something to place: get ready.
    Expect,
    Place(PlaceJob),
    /// Seal what is open, although it is not full.
    Flush,
    Granted(Vec<Grant>),
    /// Nothing is placed any more.
    ActorDied,
}

impl Envelope for WriteMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Expect => "expect",
            Self::Place(_) => "place",
            Self::Flush => "flush",
            Self::Granted(_) => "granted",
            Self::ActorDied => "actor_died",
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Place(job) => job.bytes() as usize,
            _ => 0,
        }
    }
}

/// The role of a pixel writer.
pub struct PixelWriter {
    shared: Arc<Shared>,
    own: WeakAddress<WriteMessage>,
    vat: Address<VatMessage>,
    /// Its slot.
    number: usize,
    open: Option<OpenRegion>,
    grants: VecDeque<Grant>,
    asked: bool,
    /// Something will come.
    expecting: bool,
    backlog: VecDeque<PlaceJob>,
    flush: bool,
    failures: u32,
    /// Bytes that there were for images when one found no room.
    full_at: Option<u64>,
    effort: Option<Effort>,
}

impl PixelWriter {
    #[must_use]
    pub fn new(shared: Arc<Shared>, own: WeakAddress<WriteMessage>, vat: Address<VatMessage>, number: usize) -> Self {
        Self {
            shared,
            own,
            vat,
            number,
            open: None,
            grants: VecDeque::new(),
            asked: false,
            expecting: false,
            backlog: VecDeque::new(),
            flush: false,
            failures: 0,
            full_at: None,
            effort: None,
        }
    }

    /// Places as much as there are places for.
    fn pump(&mut self, cx: &mut Context<'_>) {
        while let Some(mut job) = self.backlog.pop_front() {
            if self.shared.health.is_read_only() {
                self.shared.budget.gathered(job.bytes());
                give_up(job, Refusal::Damaged);
                continue;
            }
            if self.open.is_none() && self.is_full() {
                self.shared.budget.gathered(job.bytes());
                give_up(job, Refusal::NoSpace);
                continue;
            }
            let Some(mut open) = self.open.take().or_else(|| self.open_region()) else {
                self.backlog.push_front(job);
                break;
            };
            let before = job.bytes();
            let gathered = open.gather(&mut job, self.effort());
            self.shared.budget.gathered(before - job.bytes());
            self.open = Some(open);
            if gathered == Gathered::Full {
                self.backlog.push_front(job);
                self.seal(cx);
            }
        }
        // One that gets no work any more keeps nothing open.
        self.flush |= self.number >= self.shared.writers();
        if self.flush && self.backlog.is_empty() {
            self.flush = false;
            self.seal(cx);
        }
        self.ask_for_grants(cx);
    }

    /// Whether there is no more room than when an image found none. One that found none where there seems to be enough, as with a quota of
    /// the medium, is tried again: nobody would say when there is more.
    fn is_full(&mut self) -> bool {
        let Some(full_at) = self.full_at else { return false };
        look_at_space(&self.shared);
        let room = self.shared.spares.room();
        if room > full_at || room >= IMAGE_MAX_BYTES as u64 {
            self.full_at = None;
        }
        self.full_at.is_some()
    }

    fn open_region(&mut self) -> Option<OpenRegion> {
        OpenRegion::new(&self.shared, self.grants.pop_front()?)
    }

    fn effort(&mut self) -> Option<&mut Effort> {
        let compression = self.shared.settings().compression;
        let wanted = match compression {
            Compression::Off => false,
            Compression::Always => true,
            Compression::Auto => self.own.upgrade().is_none_or(|own| own.stats().depth < BUSY_BACKLOG),
        };
        wanted.then(|| self.effort.get_or_insert_with(|| Effort::new(compression == Compression::Always)))
    }

    /// Gets ready while the first bytes gather: places, and the tables of the parity code.
    fn prepare(&mut self) {
        self.expecting = true;
        self.shared.encoders.lend(|_| ());
    }

    fn ask_for_grants(&mut self, cx: &mut Context<'_>) {
        let content = self.grants.len() >= FEW_GRANTS || (self.backlog.is_empty() && self.open.is_none() && !self.expecting);
        // A log that has failed refuses every grant: asking again would be asking for ever.
        if self.asked || content || self.shared.health.is_read_only() {
            return;
        }
        if let Some(to) = self.own.upgrade() {
            self.asked = true;
            cx.post(&self.vat, Lane::Foreground, VatMessage::Grant { kind: RegionKind::Data, count: GRANTS, to });
        }
    }

    /// Finishes the open region, makes it durable and reports. Nothing if it is empty.
    fn seal(&mut self, cx: &mut Context<'_>) {
        let Some(open) = self.open.take_if(|open| !open.is_empty()) else { return };
        let start = self.shared.clock.now_us();
        let installed = open.install(&self.shared);
        // Before the bytes stop counting as waiting: a fast writer fills a disk between two ticks.
        look_at_space(&self.shared);
        match installed {
            Ok(reports) => {
                (self.failures, self.full_at) = (0, None);
                let took_us = self.shared.clock.now_us().saturating_sub(start);
                metrics::histogram!("infmap_region_seal_seconds").record(took_us as f64 / 1e6);
                for report in reports {
                    cx.post(
                        &report.from,
                        Lane::Data,
                        CacheMessage::Placed { inode: report.inode, ticket: report.ticket, extents: report.extents, grant: report.grant },
                    );
                }
            }
            Err((jobs, error)) if error.kind() == ErrorKind::StorageFull => {
                tracing::warn!(%error, "there is no room for an image: its blocks wait until there is");
                self.shared.budget.set_space(0);
                self.full_at = Some(self.shared.spares.room());
                jobs.into_iter().for_each(|job| give_up(job, Refusal::NoSpace));
                self.give_up_backlog(Refusal::NoSpace);
            }
            Err((jobs, error)) => {
                self.failures += 1;
                tracing::error!(%error, failures = self.failures, "an image could not be written; its blocks go to another");
                if self.failures >= MAX_FAILURES {
                    self.shared.health.fail(format!("images cannot be written: {error}"));
                }
                for job in jobs.into_iter().rev() {
                    self.shared.budget.queued(job.bytes());
                    self.backlog.push_front(job);
                }
                self.flush = true;
                if let Some(own) = self.own.upgrade() {
                    cx.post(&own, Lane::Data, WriteMessage::Flush);
                }
            }
        }
    }

    /// Gives up everything: what is open goes where the rest is.
    fn give_up_all(&mut self) {
        self.open.take().into_iter().flat_map(OpenRegion::into_jobs).for_each(|job| give_up(job, Refusal::Damaged));
        self.give_up_backlog(Refusal::Damaged);
    }

    fn give_up_backlog(&mut self, refusal: Refusal) {
        for job in self.backlog.drain(..) {
            self.shared.budget.gathered(job.bytes());
            give_up(job, refusal);
        }
    }
}

fn give_up(job: PlaceJob, refusal: Refusal) {
    job.from.post(Lane::Data, CacheMessage::NotPlaced { inode: job.inode, ticket: job.ticket, refusal });
}

impl Role for PixelWriter {
    type Message = WriteMessage;

    fn handle(&mut self, message: WriteMessage, cx: &mut Context<'_>) {
        match message {
            WriteMessage::Expect => self.prepare(),
            WriteMessage::Place(job) => self.backlog.push_back(job),
            WriteMessage::Flush => self.flush = true,
            WriteMessage::Granted(grants) => {
                (self.asked, self.expecting) = (false, false);
                self.grants.extend(grants);
            }
            WriteMessage::ActorDied => self.give_up_all(),
        }
        self.pump(cx);
    }

    fn dead(&mut self) {
        self.shared.health.died("an actor that writes images has failed");
        self.give_up_all();
    }
}
