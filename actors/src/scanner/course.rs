//! The course of runs: how they begin, pause, go on and end, when one is due, and what is written down and shown of them.
//!
//! Must be true: SCR-1; SCR-4 a run that has begun ends once: finished, or aborted with a reason; between mounts it is interrupted or
//! paused. Fails: an order that cannot be carried out changes nothing.

use super::look::nearest;
use super::run::{Order, Plan, Run, RunState, Scope, ScrubRefusal};
use super::{ScanMessage, Scanner, Scrub, ScrubAnswer, Stage, Target};
use crate::api::Answer;
use crate::mailbox::Lane;
use crate::replier::Replier;
use crate::shared::Shared;
use crate::slot::Context;
use crate::vat::{Sight, VatMessage};
use infmap_storage::address::{Place, RegionId};
use infmap_storage::rate::Bucket;
use infmap_storage::scan::Below;
use infmap_storage::state::View;

/// Microseconds between two times that what it remembers is written down.
const KEEP_EVERY_US: u64 = 10_000_000;
/// Microseconds between two times that how far it is is shown.
const SHOW_EVERY_US: u64 = 500_000;
/// Microseconds of a mount after which the schedule is written down although nothing was scrubbed.
const SETTLED_US: u64 = 10 * 60 * 1_000_000;
/// Seconds before a run over everything that did not come to its end is followed by one that nobody asked for.
const AGAIN_S: u64 = 24 * 60 * 60;
/// Steps through the files below a path, in one message.
const GATHER_STEPS: usize = 16;

impl Scanner {
    fn now_s(&self) -> i64 {
        self.shared.now().seconds
    }

    pub(super) fn ordered(&mut self, order: Order, replier: Replier<ScrubAnswer>, cx: &mut Context<'_>) {
        let Order::Start(Plan { scope: Scope::Place(place), .. }) = order else { return self.answer(order, replier, cx) };
        let place = Place(place);
        if bytes_at(&self.shared, place) > 0 {
            return self.answer(order, replier, cx);
        }
        // Without a file it is a place without an image, or an image that is missing: the Vat knows.
        let own = self.own.clone();
        let known = Replier::from_fn(move |sight| {
            if let Some(own) = own.upgrade() {
                own.post(Lane::Background, ScanMessage::Missing { order, replier, sight });
            }
        });
        cx.post(&self.vat, Lane::Background, VatMessage::Sight { from: place, replier: known });
    }

    fn answer(&mut self, order: Order, replier: Replier<ScrubAnswer>, cx: &mut Context<'_>) {
        let answer = self.order(order, cx);
        cx.reply(replier, answer);
    }

    /// The order to look at a place without a file.
    pub(super) fn order_at_missing(&mut self, order: Order, sight: Answer<Sight>, cx: &mut Context<'_>) -> ScrubAnswer {
        if let Order::Start(Plan { scope: Scope::Place(place), .. }) = order {
            let sight = sight.map_err(|_| ScrubRefusal::Unreadable)?;
            let found = nearest(&self.shared, &sight, Place(place)).map_err(|_| ScrubRefusal::Unreadable)?;
            found.filter(|(region, _)| region.place == Place(place)).ok_or(ScrubRefusal::NoImage)?;
        }
        self.order(order, cx)
    }

    fn order(&mut self, order: Order, cx: &mut Context<'_>) -> ScrubAnswer {
        if self.ended {
            return Err(ScrubRefusal::Gone);
        }
        match (order, self.run.as_ref().map(|run| run.state)) {
            (Order::Start(plan), None) => return self.begin(Run::new(plan, false, self.now_s()), cx),
            // Nobody goes on with it in this mount, and the next one that may write does not know of the new one.
            (Order::Start(plan), Some(RunState::Interrupted)) if self.shared.health.is_read_only() => {
                return self.begin(Run::new(plan, false, self.now_s()), cx);
            }
            (Order::Start(_), Some(RunState::Paused)) => return Err(ScrubRefusal::Paused),
            (Order::Start(_), Some(_)) => return Err(ScrubRefusal::Running),
            (Order::Pause, Some(RunState::Running | RunState::Interrupted)) => self.leave_off(RunState::Paused, cx),
            (Order::Resume, Some(RunState::Paused | RunState::Interrupted)) => return self.resume(cx),
            (Order::Cancel, Some(_)) => self.end_run(RunState::Aborted, Some("it was cancelled".into()), cx),
            (Order::Pause | Order::Cancel, _) => return Err(ScrubRefusal::NotRunning),
            (Order::Resume, _) => return Err(ScrubRefusal::NotPaused),
        }
        if !self.is_at_suspect() {
            self.next(cx);
        }
        Ok(())
    }

    fn begin(&mut self, mut run: Run, cx: &mut Context<'_>) -> ScrubAnswer {
        match run.scope {
            Scope::All => run.total_bytes = self.shared.spares.image_bytes(),
            Scope::Path(_) => {}
            Scope::Place(place) => {
                run.total_bytes = bytes_at(&self.shared, Place(place));
                run.next = u64::from(place);
            }
        }
        self.met = Some((self.shared.health.unreadable(), self.shared.images.restored()));
        self.set_out(run, cx)
    }

    fn resume(&mut self, cx: &mut Context<'_>) -> ScrubAnswer {
        let run = self.run.clone().ok_or(ScrubRefusal::NotPaused)?;
        self.set_out(Run { state: RunState::Running, ..run }, cx)
    }

    /// Lets a run go on from where it is.
    fn set_out(&mut self, run: Run, cx: &mut Context<'_>) -> ScrubAnswer {
        if let Scope::Path(path) = &run.scope {
            find(&self.shared, path)?;
        }
        self.run_pace = run.limit.map(|limit| Bucket::new(limit, cx.now_us()));
        (self.counted_us, self.wanted) = (cx.now_us(), None);
        self.run = Some(run);
        self.keep(cx.now_us());
        if !self.is_at_suspect() {
            self.next(cx);
        }
        Ok(())
    }

    /// A run that an unmount interrupted goes on; one over everything begins when it is time for it.
    pub(super) fn due(&mut self, cx: &mut Context<'_>) {
        if self.ended || self.shared.health.is_read_only() {
            return;
        }
        if matches!(self.stage, Stage::Idle) {
            // Whoever was to say that an image is suspect may have panicked.
            self.next(cx);
        }
        match self.run.as_ref().map(|run| run.state) {
            Some(RunState::Interrupted) => {
                tracing::info!("the scrub that the end of the last mount interrupted goes on");
                if let Err(why) = self.resume(cx) {
                    self.end_run(RunState::Aborted, Some(why.to_string()), cx);
                }
            }
            None if self.is_time(cx) => {
                tracing::info!("a scrub is due");
                let _ = self.begin(Run::new(Plan::default(), true, self.now_s()), cx);
            }
            _ if self.memory.since_s.is_none() && cx.now_us().saturating_sub(self.began_us) >= SETTLED_US => self.keep(cx.now_us()),
            _ => {}
        }
    }

    /// Whether so much time has passed since the last run over everything that came to its end, and since one that did not at least
    /// [`AGAIN_S`]. A clock that was set back far does not put it off for ever.
    fn is_time(&self, cx: &Context<'_>) -> bool {
        let Some(every) = self.shared.settings().integrity.scrub_every else { return false };
        let mounted_s = cx.now_us().saturating_sub(self.began_us) / 1_000_000;
        let last = |state| {
            let mut runs = self.memory.history.iter().filter(|run| run.scope == Scope::All);
            runs.find(|run| run.state == state).and_then(|run| run.ended_s).map(|last| self.now_s().abs_diff(last))
        };
        let since_s = self.memory.since_s.map_or(mounted_s, |since| self.now_s().abs_diff(since));
        let is_patient = last(RunState::Aborted).is_none_or(|passed_s| passed_s >= every.as_secs().min(AGAIN_S));
        is_patient && last(RunState::Finished).unwrap_or(since_s) >= every.as_secs()
    }

    /// Stops a run where it is. Of the image that it was at nothing is kept.
    fn leave_off(&mut self, state: RunState, cx: &mut Context<'_>) {
        self.halt(state, cx);
        self.keep(cx.now_us());
    }

    fn halt(&mut self, state: RunState, cx: &mut Context<'_>) {
        self.count_time(cx.now_us());
        if let Some(run) = &mut self.run {
            run.state = state;
        }
        if !self.is_at_suspect() {
            self.stop();
        }
    }

    pub(super) fn end_run(&mut self, state: RunState, why: Option<String>, cx: &mut Context<'_>) {
        // Nobody sees one that has ended among those that have not.
        self.halt(state, cx);
        let Some(mut run) = self.run.take() else { return };
        (run.ended_s, run.why) = (Some(self.now_s()), why);
        let leaves_nothing = run.tally.uncorrectable == 0 && run.tally.mendable == 0;
        if let Some((unreadable, restored)) = self.met.take()
            && run.scope == Scope::All
            && state == RunState::Finished
            && leaves_nothing
        {
            self.shared.health.settled(unreadable, restored);
        }
        tracing::info!(?state, images = run.images, tally = ?run.tally, why = ?run.why, "a scrub has ended");
        (self.wanted, self.run_pace) = (None, None);
        self.memory.add(run);
        self.keep(cx.now_us());
    }

    /// What the run is to look at next.
    pub(super) fn next_of_run(&mut self, cx: &mut Context<'_>) {
        let Some(run) = self.run.as_ref().filter(|run| run.state == RunState::Running) else { return };
        let next = match (&run.scope, &self.wanted) {
            (Scope::All, _) => u32::try_from(run.next).ok().map(Place),
            (Scope::Place(place), _) => (run.next <= u64::from(*place)).then_some(Place(*place)),
            (Scope::Path(_), Some(wanted)) => wanted.iter().map(|region| region.place).find(|place| u64::from(place.0) >= run.next),
            (Scope::Path(path), None) => {
                return match find(&self.shared, path) {
                    Ok(below) => self.gather(Box::new(below), cx),
                    Err(why) => self.end_run(RunState::Aborted, Some(why.to_string()), cx),
                };
            }
        };
        match next {
            Some(place) => self.seek(Target::Next(place), cx),
            None => self.end_run(RunState::Finished, None, cx),
        }
    }

    /// Some steps through what is below the run's path.
    pub(super) fn gather(&mut self, mut below: Box<Below>, cx: &mut Context<'_>) {
        match step(&self.shared, &mut below) {
            Ok(true) => {
                self.stage = Stage::Gather(below);
                self.keep_up(cx);
                self.go_on(0, cx);
            }
            Ok(false) => {
                let (wanted, device) = (below.into_regions(), &self.shared.device);
                let bytes = |region: &RegionId| device.metadata(&region.path()).ok().flatten().map_or(0, |found| found.size_bytes);
                let total_bytes = wanted.iter().map(bytes).sum();
                if let Some(run) = &mut self.run {
                    run.total_bytes = run.bytes.max(total_bytes);
                }
                self.wanted = Some(wanted);
                self.next(cx);
            }
            Err(why) => {
                self.end_run(RunState::Aborted, Some(why.to_string()), cx);
                self.next(cx);
            }
        }
    }

    fn count_time(&mut self, now_us: u64) {
        let passed_us = now_us.saturating_sub(std::mem::replace(&mut self.counted_us, now_us));
        if let Some(run) = self.run.as_mut().filter(|run| run.state == RunState::Running) {
            run.active_us = run.active_us.saturating_add(passed_us);
        }
    }

    /// Writes down what it remembers, unless nothing is to be changed.
    fn keep(&mut self, now_us: u64) {
        self.kept_us = now_us;
        if !self.shared.health.is_read_only() {
            self.memory.keep(self.shared.device.as_ref(), self.run.as_ref(), self.now_s());
        }
        self.show(now_us);
    }

    /// The same, and showing it, now and then.
    pub(super) fn keep_up(&mut self, cx: &Context<'_>) {
        let now_us = cx.now_us();
        self.count_time(now_us);
        if self.run.is_some() && now_us.saturating_sub(self.kept_us) >= KEEP_EVERY_US {
            self.keep(now_us);
        } else if now_us.saturating_sub(self.shown_us) >= SHOW_EVERY_US || matches!(self.stage, Stage::Rest) {
            self.show(now_us);
        }
    }

    pub(super) fn show(&mut self, now_us: u64) {
        let passed_us = now_us.saturating_sub(self.shown_us);
        if passed_us >= SHOW_EVERY_US {
            self.bytes_per_second = self.read_bytes.saturating_mul(1_000_000) / passed_us;
            (self.shown_us, self.read_bytes) = (now_us, 0);
        }
        let (run, history, tally) = (self.run.clone(), self.memory.history.clone(), self.tally);
        let bytes_per_second = if run.as_ref().is_some_and(|run| run.state == RunState::Running) { self.bytes_per_second } else { 0 };
        self.shared.scrub.show(Scrub { run, history, bytes_per_second, tally, suspected: self.suspected });
    }

    /// The volume is about to be closed.
    pub(super) fn end(&mut self, cx: &mut Context<'_>) {
        self.stop();
        if self.run.as_ref().is_some_and(|run| run.state == RunState::Running) {
            self.leave_off(RunState::Interrupted, cx);
        }
        self.ended = true;
    }

    /// Nobody will go on with the run.
    pub(super) fn give_up(&mut self, why: &str) {
        if let Some(run) = self.run.take() {
            self.memory.add(Run { state: RunState::Aborted, why: Some(why.into()), ended_s: Some(self.now_s()), ..run });
        }
        self.keep(self.shared.clock.now_us());
    }
}

/// Bytes of the images at a place.
fn bytes_at(shared: &Shared, place: Place) -> u64 {
    let files = shared.device.list(&place.directory()).unwrap_or_default();
    let of_place = files.iter().filter(|file| RegionId::from_file_name(&file.name).is_some_and(|region| region.place == place));
    of_place.map(|file| file.size_bytes).fold(0, u64::saturating_add)
}

fn find(shared: &Shared, path: &[u8]) -> Result<Below, ScrubRefusal> {
    let lease = shared.published.load_full();
    let found = Below::find(View::new(&lease.names, &shared.names()), path);
    found.map_err(|_| ScrubRefusal::Unreadable)?.ok_or(ScrubRefusal::NoPath)
}

fn step(shared: &Shared, below: &mut Below) -> Result<bool, ScrubRefusal> {
    let lease = shared.published.load_full();
    let source = shared.names();
    let view = View::new(&lease.names, &source);
    for _ in 0..GATHER_STEPS {
        if !below.step(view).map_err(|_| ScrubRefusal::Unreadable)? {
            return Ok(false);
        }
    }
    Ok(true)
}
