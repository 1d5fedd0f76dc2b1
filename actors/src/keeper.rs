//! The Keeper: what happens by the clock.
//!
//! Owns: the timers. Accepts: `GetReady`, `Stock`, `Tick`, `Retimed`, `Committed`. Sends: `Commit` and `Checkpoint` to the Vat, `Look` to the cleaner, `Due` to
//! the scanner. Full: a tick that finds the last commit unfinished sends none. Fails: without it nothing is committed by the clock: the
//! volume is read-only.

use crate::api::Answer;
use crate::cleaner::CleanMessage;
use crate::mailbox::{Envelope, Lane};
use crate::replier::Replier;
use crate::scanner::ScanMessage;
use crate::shared::Shared;
use crate::slot::{Context, Role, WeakAddress};
use crate::vat::VatMessage;
use infmap_storage::device::Space;
use infmap_storage::limits::REGION_BYTES;
use std::sync::Arc;

/// Time between checkpoints of a volume that changes a little.
const CHECKPOINT_EVERY_US: u64 = 5 * 60 * 1_000_000;
/// Bytes of the medium that writes never get: checkpoints, deletes and the log need them.
const RESERVE_BYTES: u64 = 16 * REGION_BYTES as u64;

/// Below this, room is held for what must go on when others have filled the medium.
const HOLD_BELOW_BYTES: u64 = 16 << 30;

/// One part in so many of a limit is kept back in the same way, if that is less. Where the limit is small, the images of a round that is
/// worth it, if that is not a greater part than the other.
const LIMIT_RESERVE_PART: u64 = 8;
const SMALL_LIMIT_RESERVE_BYTES: u64 = 6 * REGION_BYTES as u64;
const SMALL_LIMIT_RESERVE_PART: u64 = 4;

/// Dead bytes below which nothing is cleaned while there is room.
const CLEAN_LEAST_BYTES: u64 = 8 * REGION_BYTES as u64;

/// Spare files that are kept below that.
const KEEP_SHORT: usize = 1;

/// What the Keeper is told.
pub enum KeeperMessage {
    /// Touch the memory that a first stream of writes needs.
    GetReady { replier: Replier<Answer<()>> },
    /// The clock; one of an earlier series means nothing.
    Tick { series: u64 },
    /// The time between ticks was changed.
    Retimed,
    /// The share of dirty blocks was changed: keep as many unused ones as it has.
    Stock,
    /// A commit ended.
    Committed,
}

impl Envelope for KeeperMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::GetReady { .. } => "get_ready",
            Self::Tick { .. } => "tick",
            Self::Retimed => "retimed",
            Self::Stock => "stock",
            Self::Committed => "committed",
        }
    }
}

/// The role of the Keeper.
pub struct Keeper {
    shared: Arc<Shared>,
    own: WeakAddress<KeeperMessage>,
    vat: crate::slot::Address<VatMessage>,
    cleaner: crate::slot::Address<CleanMessage>,
    scanner: crate::slot::Address<ScanMessage>,
    committing: bool,
    /// Which ticks count.
    series: u64,
    last_checkpoint_us: u64,
}

impl Keeper {
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        own: WeakAddress<KeeperMessage>,
        vat: crate::slot::Address<VatMessage>,
        cleaner: crate::slot::Address<CleanMessage>,
        scanner: crate::slot::Address<ScanMessage>,
    ) -> Self {
        let last_checkpoint_us = shared.clock.now_us();
        Self { shared, own, vat, cleaner, scanner, committing: false, series: 0, last_checkpoint_us }
    }

    /// Whether so much is dead in images that live that it is worth moving what is not.
    fn is_cleaning_due(&self, is_short: bool) -> bool {
        let image_bytes = self.shared.spares.image_bytes();
        let dead = self.shared.reclaim.dead(image_bytes);
        let percent = self.shared.settings().actors.cleaner.start_at_dead_percent;
        let is_much = dead >= CLEAN_LEAST_BYTES && dead.saturating_mul(100) >= image_bytes.saturating_mul(percent);
        self.shared.reclaim.may_clean() && !self.shared.health.is_read_only() && (is_much || is_short && dead >= REGION_BYTES as u64)
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        look_for_space(&self.shared);
        if !self.committing && !self.shared.health.is_read_only() {
            self.committing = true;
            let to = own.clone();
            let replier = Replier::from_fn(move |_: Answer<()>| to.post(Lane::Background, KeeperMessage::Committed));
            cx.post(&self.vat, Lane::WriteBehind, VatMessage::Commit { replier });
        }
        // Removed files give their room back with the second root after them: not in minutes, when it is short, or when nobody is at work.
        let is_short = is_room_short(&self.shared);
        // Others may have made room between two ticks, so that it never was short when it was looked at: the log does not know.
        if is_short || self.shared.budget.is_log_starved() {
            cx.post(&self.vat, Lane::Background, VatMessage::Shrink { replier: Replier::ignored() });
        }
        let is_worth_it = is_short || self.shared.budget.used() == 0 && self.shared.reclaim.is_worth_a_root();
        if is_worth_it || cx.now_us().saturating_sub(self.last_checkpoint_us) > CHECKPOINT_EVERY_US {
            self.last_checkpoint_us = cx.now_us();
            cx.post(&self.vat, Lane::Background, VatMessage::Checkpoint { replier: Replier::ignored() });
        }
        if self.is_cleaning_due(is_short) {
            cx.post(&self.cleaner, Lane::Background, CleanMessage::Look);
        }
        cx.post(&self.scanner, Lane::Background, ScanMessage::Due);
        cx.post_after(
            self.shared.settings().durability.commit_interval,
            &own,
            Lane::Foreground,
            KeeperMessage::Tick { series: self.series },
        );
    }
}

/// As [`look_at_space`]; where there is too little, spare files are given back first, which others than writers of images can use too.
pub fn look_for_space(shared: &Shared) {
    look_at_space(shared);
    if is_room_short(shared) && shared.spares.unused_bytes() > 0 {
        shared.spares.shrink(shared.device.as_ref(), KEEP_SHORT);
        look_at_space(shared);
    }
}

/// Tells the door how much can still be taken: what the medium has, and no more than the limit of the volume leaves. To be called when
/// an image has come or gone.
pub fn look_at_space(shared: &Shared) {
    match shared.device.space() {
        Ok(space) => {
            let _ = note_space(shared, &space);
            if !shared.health.is_read_only() && may_become_short(&space) {
                shared.spares.hold(shared.device.as_ref());
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the medium does not say how much room it has");
            // Nobody else tells those who wait for room that the volume has become read-only.
            shared.budget.look_again();
        }
    }
}

/// The same for whoever has asked the medium and may not wait for it: no room is taken hold of. Returns the bytes that are free with all
/// that writes never get.
pub fn note_space(shared: &Shared, space: &Space) -> u64 {
    shared.figures.set_medium(space);
    // What is held counts as free: it is a part of the reserve.
    shared.spares.note_free(space.free_bytes);
    let held = if shared.health.is_read_only() { 0 } else { shared.spares.held_bytes() };
    let on_disk = space.free_bytes + held;
    let of_limit = shared.settings().limit.map(|limit| limit.saturating_sub(shared.spares.image_bytes()));
    let left = of_limit.map_or(u64::MAX, |left| left.saturating_sub(shared.settings().limit.map_or(0, reserve_of)));
    shared.budget.set_space(on_disk.saturating_sub(RESERVE_BYTES).min(left));
    // Images are written into spare files before they take other room.
    (on_disk + shared.spares.unused_bytes()).min(of_limit.unwrap_or(u64::MAX))
}

/// Whether the medium has so little left that room is held.
#[must_use]
pub fn may_become_short(space: &Space) -> bool {
    space.free_bytes < HOLD_BELOW_BYTES
}

/// Whether there is so little room that some is held.
#[must_use]
pub fn is_room_held(shared: &Shared) -> bool {
    shared.spares.held_bytes() > 0
}

/// Of a limit, what writes never get: the cleaner needs it to make room, and checkpoints for their images.
fn reserve_of(limit: u64) -> u64 {
    RESERVE_BYTES.min((limit / LIMIT_RESERVE_PART).max(SMALL_LIMIT_RESERVE_BYTES.min(limit / SMALL_LIMIT_RESERVE_PART)))
}

/// Whether writes are refused, or soon will be.
#[must_use]
pub fn is_room_short(shared: &Shared) -> bool {
    shared.budget.has_little_space()
}

impl Role for Keeper {
    type Message = KeeperMessage;

    fn handle(&mut self, message: KeeperMessage, cx: &mut Context<'_>) {
        match message {
            KeeperMessage::GetReady { replier } => {
                self.shared.get_ready();
                cx.reply(replier, Ok(()));
            }
            KeeperMessage::Tick { series } if series == self.series => self.tick(cx),
            KeeperMessage::Tick { .. } => {}
            // At once: what waits for the old time may have waited for longer than the new one.
            KeeperMessage::Retimed => {
                self.series += 1;
                self.tick(cx);
            }
            KeeperMessage::Stock => self.shared.stock_blocks(),
            KeeperMessage::Committed => self.committing = false,
        }
    }

    fn dead(&mut self) {
        self.shared.health.died("the actor that commits by the clock has failed");
    }
}
