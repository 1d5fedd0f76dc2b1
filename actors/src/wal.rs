//! The Wal: writes batches of the log and makes them durable.
//!
//! Owns: the segments. Accepts: `Write`, `Sync`, `Recycle`, `Shrink`, `Reserve`, `Prepared`. Sends: `Written` to the Vat, errands to a reader. Full:
//! the Vat keeps one batch under way, so at most a few messages wait. Fails: a failed write or sync is never repeated: the volume is
//! read-only from then on, and everybody who waits hears it.

use crate::api::{Answer, Refusal};
use crate::keeper::{is_room_held, is_room_short, look_at_space};
use crate::mailbox::{Envelope, Lane};
use crate::pixel_reader::ReadMessage;
use crate::replier::Replier;
use crate::settings::Sync as SyncMode;
use crate::shared::Shared;
use crate::slot::{Address, Context, Role, WeakAddress};
use crate::vat::{VatMessage, Written};
use infmap_storage::wal::{Batch, LogWriter, Lsn, Spare};
use metrics::{Counter, Histogram};
use std::io::ErrorKind;
use std::sync::Arc;

/// Files that are kept ready for the log where room is short.
const KEEP_SHORT: usize = 1;

/// What the Wal is told.
pub enum WalMessage {
    /// Write a batch, and sync if somebody waits for it: then answer them. `order`: what may follow (O3, O4, O8) hangs on that sync.
    Write { batch: Batch, sync: bool, order: bool, answers: Vec<Replier<Answer<()>>> },
    /// Sync what was written before.
    Sync { order: bool, answers: Vec<Replier<Answer<()>>> },
    /// Records below `below` are not needed any more; all data up to `low` is placed.
    Recycle { below: Lsn, low: Lsn },
    /// Keep no more files ready than are needed next.
    Shrink { replier: Replier<Answer<()>> },
    /// Have a segment ready, for a log that is begun when others have filled the medium. `NoSpace`: there is no room for one.
    Reserve { replier: Replier<Answer<()>> },
    /// A segment was made ready ahead, or could not be.
    Prepared(std::io::Result<Spare>),
}

impl Envelope for WalMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::Sync { .. } => "sync",
            Self::Recycle { .. } => "recycle",
            Self::Shrink { .. } => "shrink",
            Self::Reserve { .. } => "reserve",
            Self::Prepared(_) => "prepared",
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Self::Write { batch, .. } => batch.bytes().len(),
            _ => 0,
        }
    }
}

/// The role of the Wal.
pub struct Wal {
    shared: Arc<Shared>,
    /// None on a volume that is read-only from the start.
    writer: Option<LogWriter>,
    vat: Address<VatMessage>,
    /// A reader that nobody reads through, on the Keeper's thread: writing a segment's zeros takes tens of milliseconds, and no answer
    /// is to wait for it.
    errands: Address<ReadMessage>,
    own: WeakAddress<WalMessage>,
    /// All data up to here is placed.
    low: Lsn,
    /// There was no room for a segment: none is made ready before something has come free.
    no_room: bool,
    /// The last segment that was to be made ready found no room.
    starved: bool,
    /// Who waits for one to be ready.
    reserving: Vec<Replier<Answer<()>>>,
    /// Roots that were asked for since, so that old segments come free.
    asked: u32,
    meters: Meters,
}

/// What is measured of the log.
struct Meters {
    sync_seconds: Histogram,
    group_bytes: Histogram,
    group_callers: Histogram,
    written_bytes: Counter,
}

impl Meters {
    fn new() -> Self {
        Self {
            sync_seconds: metrics::histogram!("infmap_wal_fsync_duration_seconds"),
            group_bytes: metrics::histogram!("infmap_wal_group_bytes"),
            group_callers: metrics::histogram!("infmap_wal_group_callers"),
            written_bytes: metrics::counter!("infmap_wal_written_bytes_total"),
        }
    }
}

/// Roots after which every segment that can come free has.
const ROOTS: u32 = 2;

impl Wal {
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        writer: Option<LogWriter>,
        vat: Address<VatMessage>,
        errands: Address<ReadMessage>,
        own: WeakAddress<WalMessage>,
        low: Lsn,
    ) -> Self {
        if let Some(writer) = &writer {
            shared.figures.set_wal(writer.file_bytes(), writer.segments(), writer.bytes_above(low));
            shared.budget.set_log_room(writer.room_ahead());
        }
        let meters = Meters::new();
        Self { shared, writer, vat, errands, own, low, no_room: false, starved: false, reserving: Vec::new(), asked: 0, meters }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), String> {
        let writer = self.writer.as_mut().ok_or("the volume is read-only")?;
        writer.write(batch).map_err(|error| error.to_string())?;
        self.meters.group_bytes.record(batch.bytes().len() as f64);
        self.meters.written_bytes.increment(batch.bytes().len() as u64);
        Ok(())
    }

    /// Under `none` people are answered without a sync, but no image and no root goes by a record that may not be there after a cut.
    fn sync(&mut self, order: bool) -> Result<(), String> {
        let writer = self.writer.as_mut().ok_or("the volume is read-only")?;
        if !order && self.shared.settings().durability.sync == SyncMode::None {
            return Ok(());
        }
        let start = self.shared.clock.now_us();
        writer.sync().map_err(|error| error.to_string())?;
        let took_us = self.shared.clock.now_us().saturating_sub(start);
        self.meters.sync_seconds.record(took_us as f64 / 1e6);
        Ok(())
    }

    fn finish(&mut self, done: Result<(), String>, batch: Option<Batch>, answers: Vec<Replier<Answer<()>>>, cx: &mut Context<'_>) {
        let failed = done.is_err();
        if let Err(error) = done {
            self.shared.health.fail(format!("the log cannot be written: {error}"));
        }
        if !answers.is_empty() {
            self.meters.group_callers.record(answers.len() as f64);
        }
        for replier in answers {
            cx.reply(replier, if failed { Err(Refusal::Damaged) } else { Ok(()) });
        }
        let bytes_above_low = self.watch_length();
        let report = Written {
            // Never more than is true: the next records say it, and recovery calls a torn record below it corruption (WAL-5).
            synced: self.writer.as_ref().map_or(Lsn::NONE, LogWriter::synced),
            low: self.low,
            bytes_above_low,
            buffer: batch.map(Batch::into_buffer),
            failed,
        };
        cx.post(&self.vat, Lane::Foreground, VatMessage::Written(report));
    }

    /// Withholds writes while the log is over its hard limit. Said here only, so that no older news comes later.
    fn watch_length(&self) -> u64 {
        let bytes = self.writer.as_ref().map_or(0, |writer| writer.bytes_above(self.low));
        if let Some(writer) = &self.writer {
            self.shared.figures.set_wal(writer.file_bytes(), writer.segments(), bytes);
        }
        self.shared.budget.set_log_full(bytes > self.shared.settings().log_limit());
        // What is answered from here on might find no place in the log: it is refused, and the volume can still be changed when there is room.
        self.shared.budget.set_log_starved(self.starved && self.writer.as_ref().is_some_and(|writer| !writer.has_ready()));
        let is_at_its_end = self.starved && self.writer.as_ref().is_some_and(LogWriter::is_running_out);
        self.shared.budget.set_log_at_end(is_at_its_end);
        self.shared.budget.set_log_room(self.writer.as_ref().map_or(u64::MAX, LogWriter::room_ahead));
        bytes
    }

    fn recycle(&mut self, below: Lsn) {
        let Some(writer) = &mut self.writer else { return };
        let freed = writer.recycle(below).unwrap_or_else(|error| {
            tracing::warn!(%error, "log segments could not be recycled");
            0
        });
        if is_room_short(&self.shared) {
            writer.shrink(KEEP_SHORT);
        }
        // After a crash, too, the log is begun in it where others have filled the medium.
        if freed > 0 && is_room_held(&self.shared) {
            self.blank();
        }
    }

    /// Has a segment made ready ahead, if it is time.
    fn prepare(&mut self, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        // Where room may become short, one is always ready: others may have filled the medium when it is needed.
        let early = is_room_held(&self.shared) || self.starved || !self.reserving.is_empty();
        let Some(job) = self.writer.as_mut().filter(|_| !self.no_room).and_then(|writer| writer.spare_job(early)) else { return };
        let errand = move |shared: &Shared| {
            let made = job.run();
            // A fast writer fills a disk between two ticks.
            look_at_space(shared);
            own.post(Lane::Background, WalMessage::Prepared(made));
        };
        cx.post(&self.errands, Lane::Background, ReadMessage::Query(Box::new(errand)));
    }

    /// Has the next mount know that the segment which is ready is free.
    fn blank(&mut self) {
        if let Some(Err(error)) = self.writer.as_mut().map(LogWriter::blank_ready) {
            tracing::warn!(%error, "a log segment that is ready for use keeps its old header");
        }
    }

    fn reserve(&mut self, replier: Replier<Answer<()>>, cx: &mut Context<'_>) {
        if self.writer.as_ref().is_none_or(LogWriter::has_ready) {
            self.blank();
            return cx.reply(replier, Ok(()));
        }
        self.no_room = false;
        self.reserving.push(replier);
        self.prepare(cx);
        if !self.writer.as_ref().is_some_and(LogWriter::is_preparing) {
            self.reserved(Err(Refusal::Damaged), cx);
        }
    }

    fn reserved(&mut self, answer: Answer<()>, cx: &mut Context<'_>) {
        std::mem::take(&mut self.reserving).into_iter().for_each(|replier| cx.reply(replier, answer));
    }

    fn prepared(&mut self, made: std::io::Result<Spare>, cx: &mut Context<'_>) {
        self.starved = made.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull);
        let answer = made.as_ref().map(drop).map_err(|_| if self.starved { Refusal::NoSpace } else { Refusal::Damaged });
        self.reserved(answer, cx);
        let Some(writer) = &mut self.writer else { return };
        match made {
            Ok(spare) => {
                writer.spare_done(&spare);
                self.asked = 0;
            }
            Err(error) => {
                tracing::warn!(%error, "no log segment could be made ready ahead");
                writer.spare_failed();
                self.no_room = self.starved;
                self.ask_for_room(cx);
            }
        }
        self.watch_length();
    }

    /// Has old segments come free, which two roots see to.
    fn ask_for_room(&mut self, cx: &mut Context<'_>) {
        let has_ready = self.writer.as_ref().is_none_or(LogWriter::has_ready);
        if self.no_room && !has_ready && self.asked < ROOTS {
            self.asked += 1;
            cx.post(&self.vat, Lane::Foreground, VatMessage::MakeRoom { anyway: true, replier: Replier::ignored() });
        }
        self.no_room &= !has_ready;
    }
}

impl Role for Wal {
    type Message = WalMessage;

    fn handle(&mut self, message: WalMessage, cx: &mut Context<'_>) {
        match message {
            WalMessage::Write { batch, sync, order, answers } => {
                self.shared.scrub.use_disk();
                let done = self.write(&batch).and_then(|()| if sync { self.sync(order) } else { Ok(()) });
                self.finish(done, Some(batch), answers, cx);
            }
            WalMessage::Sync { order, answers } => {
                let done = self.sync(order);
                self.finish(done, None, answers, cx);
            }
            WalMessage::Recycle { below, low } => {
                self.low = low;
                self.recycle(below);
                self.watch_length();
                self.ask_for_room(cx);
                if self.shared.budget.is_log_full() {
                    // It grew while the checkpoint ran, and who might write more waits for it.
                    cx.post(&self.vat, Lane::Foreground, VatMessage::LogFull);
                }
            }
            WalMessage::Shrink { replier } => {
                self.no_room = false;
                if let Some(writer) = &mut self.writer {
                    writer.shrink(KEEP_SHORT);
                }
                look_at_space(&self.shared);
                cx.reply(replier, Ok(()));
                // Nothing is written any more while changes are refused: who has it looked at again is the Keeper, with each tick until there is
                // a segment.
                if !self.starved {
                    return;
                }
            }
            WalMessage::Reserve { replier } => return self.reserve(replier, cx),
            // One that failed is tried again with the next batch, not at once.
            WalMessage::Prepared(made) => return self.prepared(made, cx),
        }
        self.prepare(cx);
    }

    fn dead(&mut self) {
        self.shared.health.died("the actor that writes the log has failed");
    }
}
