//! What the daemon answers about the scanner.
//!
//! Must be true: CTL-3: what is shown is read from the board; orders wait for the scanner, which is at one piece of an image at most.
//! Fails: with `Reply::ScrubRefused`.

use crate::control::protocol::{Reply, Scrub, ScrubFound, ScrubPlan, ScrubReason, ScrubRun, ScrubState, ScrubSummary};
use infmap_actors::Volume;
use infmap_actors::scanner::{Order, Plan, Run, RunState, Scope, ScrubRefusal, Tally};
use infmap_storage::address::{MapCell, Place};
use infmap_storage::row::Time;
use infmap_storage::volume_file::time_text;

/// Carries an order out, and says how the scanner is then.
pub(super) fn order(volume: &Volume, order: Order, base: Scrub) -> Reply {
    match volume.ask(|replier| volume.scrub(order, replier)).wait_blocking() {
        Ok(()) => Reply::Scrub(Box::new(facts(volume, base))),
        Err(refusal) => refused(refusal),
    }
}

/// Begins a run, and says how the scanner is then.
pub(super) fn start(volume: &Volume, plan: ScrubPlan, base: Scrub) -> Reply {
    match scope(&plan) {
        Ok(scope) => order(volume, Order::Start(Plan { scope, limit: plan.limit }), base),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: ScrubRefusal) -> Reply {
    let reason = match refusal {
        ScrubRefusal::Running | ScrubRefusal::Paused => ScrubReason::Busy,
        ScrubRefusal::NotRunning | ScrubRefusal::NotPaused => ScrubReason::Idle,
        ScrubRefusal::NoPath | ScrubRefusal::NoImage => ScrubReason::NoTarget,
        ScrubRefusal::Unreadable | ScrubRefusal::Gone => ScrubReason::Failed,
    };
    Reply::ScrubRefused { reason, why: refusal.to_string() }
}

fn scope(plan: &ScrubPlan) -> Result<Scope, ScrubRefusal> {
    match (&plan.path_hex, plan.place) {
        (Some(path), _) => hex::decode(path).map(Scope::Path).map_err(|_| ScrubRefusal::NoPath),
        (None, Some((x, y))) => Place::at(MapCell { x, y }).map(|place| Scope::Place(place.0)).ok_or(ScrubRefusal::NoImage),
        (None, None) => Ok(Scope::All),
    }
}

/// How the scanner is; `base` says whose.
pub(super) fn facts(volume: &Volume, base: Scrub) -> Scrub {
    let shown = volume.shared().scrub.shown();
    Scrub {
        run: shown.run.as_ref().map(|run| run_facts(run, shown.bytes_per_second)),
        history: shown.history.iter().map(|run| run_facts(run, 0)).collect(),
        suspected: shown.suspected,
        found: found(&shown.tally),
        ..base
    }
}

/// The same in short.
pub(super) fn summary(volume: &Volume) -> ScrubSummary {
    let shown = volume.shared().scrub.shown();
    ScrubSummary {
        run: shown.run.as_ref().map(|run| run_facts(run, shown.bytes_per_second)),
        last: shown.history.first().map(|run| run_facts(run, 0)),
    }
}

fn found(tally: &Tally) -> ScrubFound {
    let Tally { corrected, mendable, uncorrectable, unreadable, lost_ranges, lost_nodes } = *tally;
    ScrubFound { corrected, mendable, uncorrectable, unreadable, lost_ranges, lost_nodes }
}

/// `lately`: bytes a second, 0 if that is not known.
fn run_facts(run: &Run, lately: u64) -> ScrubRun {
    let seconds = run.active_us as f64 / 1e6;
    let average = if seconds > 0.0 { (run.bytes as f64 / seconds) as u64 } else { 0 };
    let bytes_per_second = if lately > 0 { lately } else { average };
    let left = run.total_bytes.saturating_sub(run.bytes);
    let is_running = run.state == RunState::Running && average > 0;
    let (path, place) = match &run.scope {
        Scope::All => (None, None),
        Scope::Path(path) => (Some(path), None),
        Scope::Place(place) => (None, Some(Place(*place).cell())),
    };
    ScrubRun {
        state: match run.state {
            RunState::Running => ScrubState::Running,
            RunState::Paused => ScrubState::Paused,
            RunState::Finished => ScrubState::Finished,
            RunState::Aborted => ScrubState::Aborted,
            RunState::Interrupted => ScrubState::Interrupted,
        },
        is_scheduled: run.is_scheduled,
        path: path.map(|path| String::from_utf8_lossy(path).into_owned()),
        path_hex: path.map(hex::encode),
        place: place.map(|cell| (cell.x, cell.y)),
        started: second_text(run.began_s),
        ended: run.ended_s.map(second_text),
        seconds,
        total_bytes: run.total_bytes,
        bytes: run.bytes,
        images: run.images,
        bytes_per_second,
        limit: run.limit,
        seconds_left: is_running.then(|| left / average.max(1)),
        found: found(&run.tally),
        why: run.why.clone(),
    }
}

/// A second since 1970, in RFC 3339 without fractions.
pub fn second_text(seconds: i64) -> String {
    let text = time_text(Time { seconds, nanos: 0 });
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_no_fractions() {
        assert_eq!(second_text(1_000_000_000), "2001-09-09T01:46:40Z");
    }

    #[test]
    fn what_is_left_is_told_of_a_run_that_moves() {
        let run = Run { active_us: 2_000_000, bytes: 100, total_bytes: 400, scope: Scope::Place(1), ..Run::default() };
        let shown = run_facts(&run, 0);
        assert_eq!((shown.bytes_per_second, shown.seconds_left, shown.place), (50, Some(6), Some((-1, 0))));
        let paused = run_facts(&Run { state: RunState::Paused, ..run }, 0);
        assert_eq!((paused.seconds_left, paused.state), (None, ScrubState::Paused));
    }
}
