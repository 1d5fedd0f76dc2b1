//! The cleaner: moves what is alive out of images that are mostly dead, so that these come free as a whole.
//!
//! Owns: the round under way, its images, what was gained. Accepts: `Clean`, `Look`, `End`; answers of the Vat `Surveyed`, `Granted`,
//! `Moved`, `Rewritten`, `RootMade`; to itself `GoOn`. Sends: `Survey`, `GrantPlaces`, `Move`, `Rewrite`, `MakeRoom` to the Vat, one at a
//! time. Full: it asks for one thing at a time, so it holds no more than one place in any mailbox. Fails: a round ends where it is: each of
//! its steps leaves a volume that is whole.
//!
//! Must be true: CLN-1 to CLN-3; O3 rows are moved when the image that they name is durable; what cannot be verified stays where it is;
//! CLN-4 what lives is in one stream of images, what is written in another. A round: look at all images, choose, ask for places, copy image
//! by image, make two roots. It remembers which images cannot be emptied; all else the next one looks at anew, as one after a crash does.

mod copy;

pub use copy::Gained;

use crate::api::{Answer, Refusal};
use crate::keeper::look_for_space;
use crate::mailbox::{Envelope, Lane};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::{Address, Context, Role, WeakAddress};
use crate::vat::{Grant, MoveRows, Survey, VatMessage};
use copy::{Copying, used_clusters};
use infmap_storage::address::{Cluster, RegionId};
use infmap_storage::clean::{Candidate, Wish, census, choose, is_live};
use infmap_storage::limits::{REGION_BYTES, REGION_CLUSTERS};
use infmap_storage::vat::TreeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Images that a round writes at most: each round costs two roots, and what it holds free must be there.
const ROUND_IMAGES: u64 = 8;
/// Clusters of an image that are sure to be used, although no unit is cut in two.
const SURE_CLUSTERS: u64 = REGION_CLUSTERS as u64 - 64;
/// Percent of an image that must be dead when room is short, or somebody asked.
const LEAST_DEAD_PERCENT: u64 = 5;
/// Roots after which what a round left dead has come free.
const ROOTS: u32 = 2;

/// Why a round is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Much is dead, and nobody waits: slowly.
    Background,
    /// Somebody asked, or waits for room.
    Asked,
}

/// What the cleaner is told.
pub enum CleanMessage {
    /// Make a round, and answer when what it gained is free.
    Clean {
        replier: Replier<Answer<Gained>>,
    },
    /// Much may be dead by now.
    Look,
    Surveyed(Answer<Survey>),
    Granted(Answer<Vec<Grant>>),
    Moved(Answer<u64>),
    Rewritten(Answer<()>),
    RootMade,
    GoOn,
    /// The volume is about to be closed: leave off.
    End,
}

impl Envelope for CleanMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Clean { .. } => "clean",
            Self::Look => "look",
            Self::Surveyed(_) => "surveyed",
            Self::Granted(_) => "granted",
            Self::Moved(_) => "moved",
            Self::Rewritten(_) => "rewritten",
            Self::RootMade => "root_made",
            Self::GoOn => "go_on",
            Self::End => "end",
        }
    }

    /// It reads and writes images.
    fn inline(&self) -> bool {
        false
    }
}

enum Stage {
    Idle,
    Survey,
    Places(Vec<Candidate>),
    Copy(Box<Copying>),
    Roots { left: u32 },
}

/// The role of the cleaner.
pub struct Cleaner {
    shared: Arc<Shared>,
    own: WeakAddress<CleanMessage>,
    vat: Address<VatMessage>,
    stage: Stage,
    why: Why,
    gained: Gained,
    /// Who waits for this round, and for the next.
    waiting: Vec<Replier<Answer<Gained>>>,
    next: Vec<Replier<Answer<Gained>>>,
    ended: bool,
    /// Images with an extent that is lost in part, by its first cluster: no victims while that is alive (CLN-5). Those of them that a census
    /// has, no more.
    lost: HashMap<RegionId, Cluster>,
}

impl Cleaner {
    #[must_use]
    pub fn new(shared: Arc<Shared>, own: WeakAddress<CleanMessage>, vat: Address<VatMessage>) -> Self {
        let (waiting, next) = (Vec::new(), Vec::new());
        Self {
            shared,
            own,
            vat,
            stage: Stage::Idle,
            why: Why::Background,
            gained: Gained::default(),
            waiting,
            next,
            ended: false,
            lost: HashMap::new(),
        }
    }

    /// A replier whose answer comes back as a message.
    fn back<T: Send + 'static>(&self, wrap: impl FnOnce(Answer<T>) -> CleanMessage + Send + 'static) -> Replier<Answer<T>> {
        let own = self.own.clone();
        Replier::from_fn(move |answer| {
            if let Some(own) = own.upgrade() {
                own.post(Lane::Background, wrap(answer));
            }
        })
    }

    fn begin(&mut self, why: Why, cx: &mut Context<'_>) {
        if self.ended || self.shared.health.is_read_only() {
            return self.finish(Err(Refusal::ReadOnly), cx);
        }
        self.why = why;
        self.gained = Gained::default();
        self.stage = Stage::Survey;
        let replier = self.back(CleanMessage::Surveyed);
        cx.post(&self.vat, Lane::Background, VatMessage::Survey { replier });
    }

    fn surveyed(&mut self, survey: Answer<Survey>, cx: &mut Context<'_>) {
        let chosen = survey.and_then(|survey| self.choose(&survey));
        match chosen {
            Ok(victims) if victims.is_empty() => self.finish(Ok(()), cx),
            Ok(victims) => {
                let clusters: u64 = victims.iter().map(|victim| victim.live_clusters).sum();
                let count = clusters.div_ceil(SURE_CLUSTERS) as usize + 1;
                self.stage = Stage::Places(victims);
                let replier = self.back(CleanMessage::Granted);
                cx.post(&self.vat, Lane::Background, VatMessage::GrantPlaces { count, replier });
            }
            Err(refusal) => self.finish(Err(refusal), cx),
        }
    }

    fn choose(&mut self, survey: &Survey) -> Answer<Vec<Candidate>> {
        let shared = self.shared.clone();
        let census = census(&survey.volume, &shared.nodes.loading(TreeId::Volume), survey.generation).map_err(|e| shared.refuse(&e))?;
        let size = |candidate: Candidate| {
            let metadata = shared.device.metadata(&candidate.region.path()).ok().flatten()?;
            Some((candidate, metadata.size_bytes))
        };
        let clusters = self.images_that_fit().min(ROUND_IMAGES) * SURE_CLUSTERS;
        let wish = match self.why {
            Why::Background => {
                let dead_percent = shared.settings().actors.cleaner.victim_dead_percent();
                Wish { clusters, dead_percent, worth_bytes: REGION_BYTES as u64 / 4, worth_part: 16 }
            }
            // Whoever waits is helped by little too.
            Why::Asked => Wish { clusters, dead_percent: LEAST_DEAD_PERCENT, worth_bytes: REGION_BYTES as u64 / 16, worth_part: 64 },
        };
        self.lost.retain(|region, first| census.candidates.iter().any(|one| one.region == *region && is_live(&one.live, *first)));
        let candidates = census.candidates.into_iter().filter(|candidate| !self.lost.contains_key(&candidate.region));
        let mut candidates: Vec<_> = candidates.filter_map(size).collect();
        let chosen = choose(candidates.clone(), wish);
        if !chosen.is_empty() || self.why == Why::Background {
            return Ok(chosen);
        }
        // The tables count an extent as a whole while any row uses a part of it. Before anybody is refused, it is looked at what is used.
        for (candidate, _) in &mut candidates {
            candidate.live_clusters = used_clusters(&shared, candidate).unwrap_or(candidate.live_clusters);
        }
        Ok(choose(candidates, wish))
    }

    /// Images for which there is room, of that which writes never get too: but for one, which a checkpoint may need.
    fn images_that_fit(&self) -> u64 {
        let shared = &self.shared;
        let on_disk = shared.device.space().map_or(0, |space| space.free_bytes) + shared.spares.held_bytes();
        let of_limit = shared.settings().limit.map_or(u64::MAX, |limit| limit.saturating_sub(shared.spares.image_bytes()));
        (on_disk.min(of_limit) / (REGION_BYTES as u64 + REGION_BYTES as u64 / 8)).saturating_sub(1)
    }

    /// One step of the copying: something to ask of the Vat, or one image.
    fn step(&mut self, cx: &mut Context<'_>) {
        let Stage::Copy(copying) = &mut self.stage else { return };
        if self.ended || self.shared.health.is_read_only() {
            return self.finish(Err(Refusal::ReadOnly), cx);
        }
        if let Some((moves, grant)) = copying.next_moves() {
            let replier = self.back(CleanMessage::Moved);
            let rows = Box::new(MoveRows { moves, grant, replier });
            return cx.post(&self.vat, Lane::Background, VatMessage::Move(rows));
        }
        if let Some(nodes) = copying.next_nodes() {
            let replier = self.back(CleanMessage::Rewritten);
            return cx.post(&self.vat, Lane::Background, VatMessage::Rewrite { nodes, replier });
        }
        let began_us = cx.now_us();
        let copied = copying.copy_next(&self.shared, &mut self.gained);
        self.lost.extend(copying.take_lost().into_iter().map(|first| (first.region, first.cluster)));
        match copied {
            Ok(true) => self.go_on(cx.now_us().saturating_sub(began_us), cx),
            Ok(false) => self.make_root(ROOTS, cx),
            Err(error) => {
                tracing::error!(%error, "cleaning stops: an image cannot be written");
                self.make_root(ROOTS, cx);
            }
        }
    }

    /// Goes on, after a pause that leaves the disk to others for its share of the time.
    fn go_on(&self, busy_us: u64, cx: &mut Context<'_>) {
        let Some(own) = self.own.upgrade() else { return };
        let share = self.shared.settings().actors.cleaner.io_share_percent.max(1);
        let pause_us = if self.why == Why::Asked { 0 } else { busy_us * (100 - share.min(100)) / share };
        match pause_us {
            0 => cx.post(&own, Lane::Background, CleanMessage::GoOn),
            us => cx.post_after(Duration::from_micros(us), &own, Lane::Background, CleanMessage::GoOn),
        }
    }

    /// What was left dead comes free with the roots.
    fn make_root(&mut self, left: u32, cx: &mut Context<'_>) {
        if left == 0 || self.gained.images == 0 {
            return self.finish(Ok(()), cx);
        }
        self.stage = Stage::Roots { left: left - 1 };
        let replier = self.back(|_| CleanMessage::RootMade);
        cx.post(&self.vat, Lane::Background, VatMessage::MakeRoom { anyway: true, replier });
    }

    fn finish(&mut self, how: Answer<()>, cx: &mut Context<'_>) {
        self.stage = Stage::Idle;
        let gained = std::mem::take(&mut self.gained);
        self.shared.reclaim.cleaned(&gained);
        look_for_space(&self.shared);
        for replier in std::mem::take(&mut self.waiting) {
            cx.reply(replier, how.map(|()| gained));
        }
        self.waiting = std::mem::take(&mut self.next);
        if !self.waiting.is_empty() {
            self.begin(Why::Asked, cx);
        }
    }

    fn asked(&mut self, replier: Replier<Answer<Gained>>, cx: &mut Context<'_>) {
        if matches!(self.stage, Stage::Idle) {
            self.waiting.push(replier);
            return self.begin(Why::Asked, cx);
        }
        // What is under way was chosen for somebody who is in no hurry: from here on it hurries.
        self.why = Why::Asked;
        self.next.push(replier);
    }
}

impl Role for Cleaner {
    type Message = CleanMessage;

    fn handle(&mut self, message: CleanMessage, cx: &mut Context<'_>) {
        match (message, std::mem::replace(&mut self.stage, Stage::Idle)) {
            (CleanMessage::Surveyed(survey), Stage::Survey) => self.surveyed(survey, cx),
            (CleanMessage::Granted(Ok(grants)), Stage::Places(victims)) => {
                self.stage = Stage::Copy(Box::new(Copying::new(victims, grants)));
                self.step(cx);
            }
            (CleanMessage::Granted(Err(refusal)), Stage::Places(_)) => self.finish(Err(refusal), cx),
            (CleanMessage::Moved(moved), Stage::Copy(copying)) => {
                self.stage = Stage::Copy(copying);
                self.gained.rows += moved.unwrap_or(0);
                self.step(cx);
            }
            (CleanMessage::Rewritten(_) | CleanMessage::GoOn, stage @ Stage::Copy(_)) => {
                self.stage = stage;
                self.step(cx);
            }
            (CleanMessage::RootMade, Stage::Roots { left }) => self.make_root(left, cx),
            (CleanMessage::Look, Stage::Idle) => self.begin(Why::Background, cx),
            (message, stage) => {
                self.stage = stage;
                match message {
                    CleanMessage::Clean { replier } => self.asked(replier, cx),
                    CleanMessage::End => self.ended = true,
                    _ => {}
                }
            }
        }
    }

    fn dead(&mut self) {
        tracing::error!("the actor that cleans has failed: nothing is lost, and nothing is cleaned until the next mount");
        self.shared.reclaim.cleaned(&Gained::default());
    }
}
