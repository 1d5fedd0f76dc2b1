//! The scanner: verifies every byte of every image that is in use, slowly, and puts right what is damaged, in place.
//!
//! Owns: the run under way, the image that it is at, what it remembers. Accepts: `Order`, `Suspect`, `Due`, `End`; answers of the Vat
//! `Seen`, `Missing`; to itself `GoOn`. Sends: `Sight` to the Vat, one at a time, `FoundLost` to shards. Full: it asks for one thing at a
//! time, so it holds no more than one place in any mailbox. Fails: without the tables that say what is in use the run ends, and says why;
//! if it is dead, nothing is verified until the next mount.
//!
//! Must be true: SCN-1 to SCN-4, SCR-1 to SCR-3. One step a message, and a pause behind each: RAT-1, and its share of the time while others
//! read and write. An image that reads complained of goes first; then the run begins the image that it was at again, and comes to its end
//! before the next of those. See docs/decisions/0018.

mod board;
mod course;
mod look;
mod memory;
mod run;
mod suspects;

pub use board::{Board, Scrub};
pub use memory::HISTORY_MAX;
pub use run::{Order, Plan, Run, RunState, Scope, ScrubRefusal, Tally};
pub use suspects::Suspects;

use crate::api::Answer;
use crate::cache::{CacheMessage, note_lost, shard_of};
use crate::mailbox::{Envelope, Lane};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::{Address, Context, Role, WeakAddress};
use crate::vat::{Sight, VatMessage};
use infmap_storage::address::{Place, RegionId};
use infmap_storage::damage::Damage;
use infmap_storage::rate::{Bucket, pause_for_share};
use infmap_storage::region::IMAGE_MAX_BYTES;
use infmap_storage::row::RegionRow;
use infmap_storage::scan::Below;
use infmap_storage::scan::Lost;
use look::{Blind, Look, Outcome, nearest};
use memory::Memory;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What an order answers.
pub type ScrubAnswer = Result<(), ScrubRefusal>;

/// What the scanner is told.
pub enum ScanMessage {
    Order {
        order: Order,
        replier: Replier<ScrubAnswer>,
    },
    /// An order about a place at which there is no file, and what is in use from there on.
    Missing {
        order: Order,
        replier: Replier<ScrubAnswer>,
        sight: Answer<Sight>,
    },
    /// Reads complained of an image.
    Suspect,
    /// A run may be due.
    Due,
    /// What is in use from a place on.
    Seen {
        ticket: u64,
        sight: Answer<Sight>,
    },
    GoOn {
        ticket: u64,
    },
    /// The volume is about to be closed: leave off, and answer when it is written down how far it came.
    End {
        replier: Replier<()>,
    },
}

impl Envelope for ScanMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Order { .. } => "order",
            Self::Missing { .. } => "missing",
            Self::Suspect => "suspect",
            Self::Due => "due",
            Self::Seen { .. } => "seen",
            Self::GoOn { .. } => "go_on",
            Self::End { .. } => "end",
        }
    }

    /// It reads and writes images.
    fn inline(&self) -> bool {
        false
    }
}

/// Why an image is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// It stands next in the run, at this place or behind it.
    Next(Place),
    Suspect(RegionId),
}

impl Target {
    fn from(self) -> Place {
        match self {
            Self::Next(place) => place,
            Self::Suspect(region) => region.place,
        }
    }
}

enum Stage {
    Idle,
    /// Through the files of the run's path.
    Gather(Box<Below>),
    /// The Vat was asked what stands there.
    Seek(Target),
    Read(Target, Box<Look>),
    /// It is not as it was written: the Vat was asked whether it is still in use.
    Confirm(Target, Box<Look>),
    /// A pause behind an image.
    Rest,
}

/// The role of the scanner.
pub struct Scanner {
    shared: Arc<Shared>,
    own: WeakAddress<ScanMessage>,
    vat: Address<VatMessage>,
    shards: Vec<Address<CacheMessage>>,
    stage: Stage,
    /// Of what is waited for: an answer or a pause with another one is of a step that was given up.
    ticket: u64,
    run: Option<Run>,
    /// The images of a run over a path, once they are known.
    wanted: Option<BTreeSet<RegionId>>,
    pace: Bucket,
    /// That of a run with a limit of its own.
    run_pace: Option<Bucket>,
    memory: Memory,
    tally: Tally,
    suspected: u64,
    /// The last image that was looked at was no image of the run: the next one is.
    is_turn_of_run: bool,
    /// What others did on the disk when it last looked.
    used: u64,
    /// Up to when the time of the run is counted.
    counted_us: u64,
    /// When what it remembers was written down, and when it was shown.
    kept_us: u64,
    shown_us: u64,
    /// Bytes that it has read since it was shown, and how fast that went before.
    read_bytes: u64,
    bytes_per_second: u64,
    began_us: u64,
    /// Reads that had failed, and that parity had saved, when the run began in this mount.
    met: Option<(u64, u64)>,
    ended: bool,
}

impl Scanner {
    #[must_use]
    pub fn new(shared: Arc<Shared>, own: WeakAddress<ScanMessage>, vat: Address<VatMessage>, shards: Vec<Address<CacheMessage>>) -> Self {
        let (memory, run) = Memory::load(shared.device.as_ref(), shared.uuid);
        let now_us = shared.clock.now_us();
        let pace = Bucket::new(shared.settings().actors.scanner.io_limit, now_us);
        let used = shared.scrub.used();
        let mut scanner = Self {
            shared,
            own,
            vat,
            shards,
            stage: Stage::Idle,
            ticket: 0,
            run,
            wanted: None,
            pace,
            run_pace: None,
            memory,
            tally: Tally::default(),
            suspected: 0,
            is_turn_of_run: false,
            used,
            counted_us: now_us,
            kept_us: now_us,
            shown_us: now_us,
            read_bytes: 0,
            bytes_per_second: 0,
            began_us: now_us,
            met: None,
            ended: false,
        };
        scanner.show(now_us);
        scanner
    }

    /// What is looked at is not for the run.
    fn is_at_suspect(&self) -> bool {
        let (Stage::Seek(target) | Stage::Read(target, _) | Stage::Confirm(target, _)) = &self.stage else { return false };
        matches!(target, Target::Suspect(_))
    }

    /// Gives up what is being done: answers and pauses of it that come later mean nothing.
    fn stop(&mut self) {
        self.ticket += 1;
        self.stage = Stage::Idle;
    }

    /// A run that is running has its turn.
    fn is_turn_of_run(&self) -> bool {
        self.is_turn_of_run && self.run.as_ref().is_some_and(|run| run.state == RunState::Running)
    }

    /// What is to be done next: an image that reads complained of, else what the run is at. They take turns.
    fn next(&mut self, cx: &mut Context<'_>) {
        self.stop();
        if self.ended {
            return;
        }
        if self.is_turn_of_run() {
            self.next_of_run(cx);
            if !matches!(self.stage, Stage::Idle) {
                return;
            }
        }
        match self.shared.suspects.next() {
            Some(region) => self.seek(Target::Suspect(region), cx),
            None => self.next_of_run(cx),
        }
    }

    fn seek(&mut self, target: Target, cx: &mut Context<'_>) {
        self.stage = Stage::Seek(target);
        self.ask(target.from(), cx);
    }

    fn ask(&self, from: Place, cx: &mut Context<'_>) {
        let (own, ticket) = (self.own.clone(), self.ticket);
        let replier = Replier::from_fn(move |sight| {
            if let Some(own) = own.upgrade() {
                own.post(Lane::Background, ScanMessage::Seen { ticket, sight });
            }
        });
        cx.post(&self.vat, Lane::Background, VatMessage::Sight { from, replier });
    }

    fn go_on(&self, pause_us: u64, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        let message = ScanMessage::GoOn { ticket: self.ticket };
        match pause_us {
            0 => cx.post(&own, Lane::Background, message),
            us => cx.post_after(Duration::from_micros(us), &own, Lane::Background, message),
        }
    }

    fn seen(&mut self, sight: Answer<Sight>, cx: &mut Context<'_>) {
        match (sight, std::mem::replace(&mut self.stage, Stage::Idle)) {
            (Ok(sight), Stage::Seek(target)) => {
                let found = nearest(&self.shared, &sight, target.from());
                // So that reading keeps no room from coming back.
                drop(sight);
                match found {
                    Ok(found) => self.found(target, found, cx),
                    Err(error) => self.blind(target, Blind::of_tables(&self.shared, &error), cx),
                }
            }
            (Ok(sight), Stage::Confirm(target, look)) => {
                let began_us = cx.now_us();
                match look.settle(&self.shared, &sight, &mut |damage| self.note(damage)) {
                    Ok(outcome) => self.done(target, &look, outcome, cx.now_us().saturating_sub(began_us), cx),
                    Err(blind) => self.blind(target, blind, cx),
                }
            }
            (Err(refusal), Stage::Seek(target) | Stage::Confirm(target, _)) => self.blind(target, Blind::refused(refusal), cx),
            (_, stage) => self.stage = stage,
        }
    }

    /// Without a live row nothing of a file is dirty. Else its shard knows whether the lost bytes were written over.
    fn note(&self, damage: Damage) {
        let shard = self.shards.get(shard_of(damage.inode, self.shards.len()));
        match shard.filter(|_| self.shared.live.get(damage.inode).is_some()) {
            Some(shard) => shard.post(Lane::Background, CacheMessage::FoundLost { damage: Box::new(damage) }),
            None => note_lost(&self.shared, damage),
        }
    }

    /// The tables do not say what is in use, or an image cannot be looked at.
    fn blind(&mut self, target: Target, blind: Blind, cx: &mut Context<'_>) {
        let Blind { why, are_tables_lost } = blind;
        self.is_turn_of_run = matches!(target, Target::Suspect(_));
        match target {
            Target::Suspect(region) => {
                tracing::warn!(%region, why, "an image that reads complained of cannot be looked at");
                self.shared.suspects.rests(region, cx.now_us());
            }
            Target::Next(_) => {
                if let Some(run) = self.run.as_mut().filter(|_| are_tables_lost) {
                    run.tally.lost_tables();
                }
                self.end_run(RunState::Aborted, Some(why), cx);
            }
        }
        self.next(cx);
    }

    fn found(&mut self, target: Target, found: Option<(RegionId, Option<RegionRow>)>, cx: &mut Context<'_>) {
        let is_wanted = |region: &RegionId| match (target, self.run.as_ref().map(|run| &run.scope)) {
            (Target::Suspect(suspect), _) => suspect == *region,
            (Target::Next(place), Some(Scope::Place(_))) => region.place == place,
            (Target::Next(_), Some(Scope::Path(_))) => self.wanted.as_ref().is_some_and(|wanted| wanted.contains(region)),
            (Target::Next(_), _) => true,
        };
        match found.filter(|(region, _)| is_wanted(region)) {
            Some((region, row)) => {
                let look = Look::begin(&self.shared, region, row);
                self.read(target, Box::new(look), cx);
            }
            None => {
                self.is_turn_of_run = matches!(target, Target::Suspect(_));
                match (target, &mut self.run) {
                    (Target::Suspect(region), _) => self.shared.suspects.settled(region),
                    // It was moved since, or there is nothing more.
                    (Target::Next(place), Some(run)) => run.skip(if run.scope == Scope::All { Place(u32::MAX) } else { place }),
                    (Target::Next(_), None) => {}
                }
                self.next(cx);
            }
        }
    }

    /// Reads a piece; at the end of the image it is judged.
    fn read(&mut self, target: Target, mut look: Box<Look>, cx: &mut Context<'_>) {
        let began_us = cx.now_us();
        let bytes = look.read_next() as u64;
        self.read_bytes += bytes;
        if look.has_more() {
            let pause_us = self.pause_us(target, bytes, cx.now_us().saturating_sub(began_us), cx);
            self.stage = Stage::Read(target, look);
            self.keep_up(cx);
            return self.go_on(pause_us, cx);
        }
        let _ = self.pace_of(target, cx.now_us()).take(bytes, cx.now_us());
        if look.is_sound(&self.shared) {
            let busy_us = cx.now_us().saturating_sub(began_us);
            return self.done(target, &look, Outcome::Sound, busy_us, cx);
        }
        let place = look.region.place;
        self.stage = Stage::Confirm(target, look);
        self.ask(place, cx);
    }

    fn pace_of(&mut self, target: Target, now_us: u64) -> &mut Bucket {
        let limit = self.shared.settings().actors.scanner.io_limit;
        if self.pace.bytes_per_second() != limit {
            self.pace = Bucket::new(limit, now_us);
        }
        match (target, &mut self.run_pace) {
            (Target::Next(_), Some(pace)) => pace,
            _ => &mut self.pace,
        }
    }

    /// How long to leave the disk to others. What a reader waits for is read as fast as the limit allows.
    fn pause_us(&mut self, target: Target, bytes: u64, busy_us: u64, cx: &Context<'_>) -> u64 {
        let limit_us = self.pace_of(target, cx.now_us()).take(bytes, cx.now_us());
        let used = self.shared.scrub.used();
        let is_alone = std::mem::replace(&mut self.used, used) == used;
        let share = self.shared.settings().actors.scanner.io_share_percent;
        match target {
            Target::Next(_) if !is_alone => limit_us.max(pause_for_share(busy_us, share)),
            _ => limit_us,
        }
    }

    /// An image is done.
    fn done(&mut self, target: Target, look: &Look, outcome: Outcome, busy_us: u64, cx: &mut Context<'_>) {
        let (region, suspects) = (look.region, &self.shared.suspects);
        self.is_turn_of_run = matches!(target, Target::Suspect(_));
        if outcome == Outcome::Sound {
            // Somebody may have copied it back from a backup: reads may have the file open that it was before.
            self.shared.damage.mended(region);
            self.shared.images.forget(region);
        }
        match (outcome, target) {
            (Outcome::Gone, _) => suspects.settled(region),
            (Outcome::Corrected(lost), _) if lost == Lost::default() => suspects.settled(region),
            (Outcome::Sound, Target::Next(_)) => {}
            _ => suspects.rests(region, cx.now_us()),
        }
        outcome.count(&mut self.tally, look.is_refused());
        outcome.tell();
        match (target, &mut self.run) {
            (Target::Suspect(_), _) => self.suspected += 1,
            (Target::Next(_), Some(run)) if outcome == Outcome::Gone => run.skip(region.place),
            (Target::Next(_), Some(run)) => {
                outcome.count(&mut run.tally, look.is_refused());
                run.passed(region.place, look.size_bytes());
            }
            (Target::Next(_), None) => {}
        }
        self.stage = Stage::Rest;
        // What was written and read back.
        let is_moved = matches!(outcome, Outcome::Corrected(_) | Outcome::Mendable(_)) && !self.shared.health.is_read_only();
        let moved = if is_moved { 2 * IMAGE_MAX_BYTES as u64 } else { 0 };
        let pause_us = self.pause_us(target, moved, busy_us, cx);
        self.keep_up(cx);
        self.go_on(pause_us, cx);
    }
}

impl Role for Scanner {
    type Message = ScanMessage;

    fn handle(&mut self, message: ScanMessage, cx: &mut Context<'_>) {
        match message {
            ScanMessage::Order { order, replier } => self.ordered(order, replier, cx),
            ScanMessage::Missing { order, replier, sight } => {
                let answer = self.order_at_missing(order, sight, cx);
                cx.reply(replier, answer);
            }
            // It is in a hurry: the image that the run is at is begun again behind it, and then comes to its end.
            ScanMessage::Suspect if !self.is_at_suspect() && !self.is_turn_of_run() => self.next(cx),
            ScanMessage::Suspect => {}
            ScanMessage::Due => self.due(cx),
            ScanMessage::Seen { ticket, sight } if ticket == self.ticket => self.seen(sight, cx),
            ScanMessage::GoOn { ticket } if ticket == self.ticket => match std::mem::replace(&mut self.stage, Stage::Idle) {
                Stage::Gather(below) => self.gather(below, cx),
                Stage::Read(target, look) => self.read(target, look, cx),
                Stage::Rest => self.next(cx),
                stage => self.stage = stage,
            },
            ScanMessage::Seen { .. } | ScanMessage::GoOn { .. } => {}
            ScanMessage::End { replier } => {
                self.end(cx);
                cx.reply(replier, ());
            }
        }
    }

    fn dead(&mut self) {
        tracing::error!("the actor that verifies images has failed: nothing is lost, and nothing is verified until the next mount");
        self.give_up("the scanner has failed");
    }
}
