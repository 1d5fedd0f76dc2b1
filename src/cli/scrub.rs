//! `infmap scrub VERB DIR`: has a mount verify its images and put right what is damaged, and says how far that is and what it found.
//!
//! Must be true: it waits for a daemon no longer than `control::client::PATIENCE` for each answer. Fails: with [`Code::ScrubFound`] or
//! [`Code::ScrubMended`] behind the facts when something was found, with [`Code::ScrubBusy`] or [`Code::ScrubIdle`] when an order does not
//! fit.

mod shown;

pub use shown::short;

use super::error::{CliError, Code};
use super::progress::Shown;
use super::status::Behind;
use super::{Context, output, status};
use crate::backend::Progress;
use crate::config::value::parse_rate;
use crate::control::client::{self, ControlError};
use crate::control::protocol::{Mode, Reply, Request, Scrub as Facts, ScrubFound, ScrubPlan, ScrubReason, ScrubRun, ScrubState};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why what can be put back is not.
pub const NOT_PUT_BACK: &str = "this mount changes nothing, or the disk took nothing";
/// Time between two looks at a run that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Verify the images of a mounted volume, and put back as they were those that are damaged.
#[derive(clap::Args)]
pub struct Scrub {
    #[command(subcommand)]
    verb: ScrubVerb,
}

#[derive(clap::Subcommand)]
enum ScrubVerb {
    /// Begin. Exits with 4, with --wait, if damage was put right, with 3 if some could not be.
    Start {
        #[command(flatten)]
        mount: MountArgument,
        /// Wait for its end, and say how it ended.
        #[arg(long, short = 'B')]
        wait: bool,
        /// If a run has begun already, take that one for it, whatever it looks at.
        #[arg(long, conflicts_with_all = ["path", "region", "limit"])]
        join: bool,
        /// Only the images that hold bytes of what is at this path, as in the mount, and below.
        #[arg(long, value_name = "PATH", conflicts_with = "region")]
        path: Option<PathBuf>,
        /// Only the image at this place of the map.
        #[arg(long, value_name = "X,Y", allow_hyphen_values = true, value_parser = parse_place)]
        region: Option<(i64, i64)>,
        /// At most so fast, instead of `actors.scanner.io_limit`: 50MiB/s.
        #[arg(long, value_name = "RATE", value_parser = parse_limit)]
        limit: Option<u64>,
    },
    /// Stop where it is; it goes on with `resume`, also after another mount.
    Pause {
        #[command(flatten)]
        mount: MountArgument,
    },
    /// Go on where it was paused.
    Resume {
        #[command(flatten)]
        mount: MountArgument,
    },
    /// End it.
    Cancel {
        #[command(flatten)]
        mount: MountArgument,
    },
    /// Say how far it is, or how the last one ended. Exits with 4 if damage was put right, with 3 if some could not be.
    Status {
        #[command(flatten)]
        mount: MountArgument,
        /// Also the runs before.
        #[arg(long)]
        history: bool,
    },
    /// Wait for its end. Exits as `status` does.
    Wait {
        #[command(flatten)]
        mount: MountArgument,
    },
}

#[derive(clap::Args)]
struct MountArgument {
    /// Where it is mounted, or the volume's directory.
    #[arg(value_name = "DIR|VOLUME")]
    place: PathBuf,
}

pub fn parse_place(text: &str) -> Result<(i64, i64), String> {
    let place = text.split_once(',').and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
    place.ok_or_else(|| "a place is two numbers: 3,-1".into())
}

fn parse_limit(text: &str) -> Result<u64, String> {
    parse_rate(text).filter(|rate| *rate > 0).ok_or_else(|| "a rate is a size a second: 50MiB/s".into())
}

impl Scrub {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        match self.verb {
            ScrubVerb::Start { mount, wait, join, path, region, limit } => {
                let path_hex =
                    path.map(|path| inside(&mount.place, &path)).transpose()?.map(|path| hex::encode(path.as_os_str().as_bytes()));
                // Looked for once: when it is unmounted meanwhile, the place leads to no volume.
                let behind = Behind::of(&mount.place)?;
                let order = |request| order_at(&behind, &mount.place, request);
                let facts = match order(Request::ScrubStart(ScrubPlan { limit, path_hex, place: region })) {
                    Err(error) if join && error.code == Code::ScrubBusy => order(Request::Scrub)?,
                    facts => facts?,
                };
                if wait { wait_for_end(&behind, &mount.place, true, context) } else { say(&facts, "It began", context) }
            }
            ScrubVerb::Pause { mount } => say(&order(&mount.place, Request::ScrubPause)?, "It is paused", context),
            ScrubVerb::Resume { mount } => say(&order(&mount.place, Request::ScrubResume)?, "It goes on", context),
            ScrubVerb::Cancel { mount } => say(&order(&mount.place, Request::ScrubCancel)?, "It was cancelled", context),
            ScrubVerb::Status { mount, history } => {
                let facts = order(&mount.place, Request::Scrub)?;
                show(&facts, history, context)?;
                judge(&facts)
            }
            ScrubVerb::Wait { mount } => wait_for_end(&Behind::of(&mount.place)?, &mount.place, false, context),
        }
    }
}

/// Sends an order, or a question.
fn order(path: &Path, request: Request) -> Result<Facts, CliError> {
    order_at(&Behind::of(path)?, path, request)
}

fn order_at(place: &Behind, path: &Path, request: Request) -> Result<Facts, CliError> {
    let reply = client::ask(&place.volume, &request).map_err(|error| match place.unanswered(&error) {
        error @ CliError { code: Code::NotMounted, .. } => {
            error.help(format!("a volume that is not mounted is verified by `infmap check {}`", path.display()))
        }
        error => error,
    })?;
    match reply {
        Reply::Scrub(facts) => Ok(*facts),
        Reply::ScrubRefused { reason, why } => Err(refused(reason, &why)),
        other => Err(place.unanswered(&ControlError::Refused(format!("{other:?} is no answer to that")))),
    }
}

fn refused(reason: ScrubReason, why: &str) -> CliError {
    match reason {
        ScrubReason::Busy => CliError::new(Code::ScrubBusy, why),
        ScrubReason::Idle => CliError::new(Code::ScrubIdle, why),
        ScrubReason::NoTarget => CliError::new(Code::Usage, why)
            .help("name a path as it is in the mount, from the top of the volume on, or a place that `infmap check --path PATH` names"),
        ScrubReason::Failed => CliError::new(Code::ScrubFailed, why),
    }
}

/// A path from the top of the volume on: one that begins with the mountpoint is taken as what it is called from outside.
fn inside(mount: &Path, path: &Path) -> Result<PathBuf, CliError> {
    let mountpoint = PathBuf::from(status::ask(mount)?.mountpoint);
    Ok(path.strip_prefix(&mountpoint).map_or_else(|_| path.to_path_buf(), Path::to_path_buf))
}

/// What an order did.
fn say(facts: &Facts, what: &str, context: &Context) -> Result<(), CliError> {
    if context.json {
        return output::json("scrub", &shown::json(facts, false));
    }
    let run = facts.run.as_ref().or(facts.history.first());
    let far = run.map_or_else(String::new, |run| format!(", {} done", shown::part(run)));
    output::done(&format!("{what}{far}."), context)
}

fn show(facts: &Facts, history: bool, context: &Context) -> Result<(), CliError> {
    if context.json { output::json("scrub", &shown::json(facts, history)) } else { output::text_line(&shown::text(facts, history)) }
}

/// Waits until no run of the volume that was found at `path` is running (`begun`: one was a moment ago), shows how it ended, and judges it.
fn wait_for_end(place: &Behind, path: &Path, begun: bool, context: &Context) -> Result<(), CliError> {
    let mut progress = Shown::new(context);
    let mut was_running = begun;
    let facts = loop {
        let facts = match order_at(place, path, Request::Scrub) {
            Err(_) if was_running && place.is_ending() => return Err(unmounted(place)),
            facts => facts?,
        };
        was_running = facts.run.is_some();
        match &facts.run {
            // The daemon goes on with it in some seconds, unless nothing may be changed.
            Some(run) if run.state == ScrubState::Interrupted && status::ask(path).is_ok_and(|status| status.mode == Mode::Ro) => {
                break facts;
            }
            Some(run) if run.state == ScrubState::Running || run.state == ScrubState::Interrupted => {
                progress.step(Progress { phase: "bytes", done: run.bytes, total: run.total_bytes });
            }
            _ => break facts,
        }
        std::thread::sleep(LOOK_EVERY);
    };
    drop(progress);
    if facts.run.is_none() && facts.history.is_empty() {
        return Err(CliError::new(Code::ScrubIdle, "no scrub was ever begun"));
    }
    show(&facts, false, context)?;
    if let Some(run) = &facts.run {
        let why = match run.state {
            ScrubState::Interrupted => {
                "the scrub was interrupted, and goes on when the volume is mounted to be changed: this mount is read-only"
            }
            _ => "the scrub is paused: it does not end by itself",
        };
        return Err(CliError::new(Code::ScrubIdle, why));
    }
    judge(&facts)?;
    match facts.history.first() {
        Some(run) if run.state == ScrubState::Aborted => Err(CliError::new(Code::ScrubFailed, shown::aborted(run))),
        _ => Ok(()),
    }
}

/// The volume was unmounted while its run was waited for.
fn unmounted(place: &Behind) -> CliError {
    let message = format!("{} was unmounted: the scrub goes on with the next mount", place.volume.display());
    CliError::new(Code::NotMounted, message).help("mount it again, and wait again")
}

/// Whether all is well, by the run that is under way or else by the last one.
fn judge(facts: &Facts) -> Result<(), CliError> {
    let Some(ScrubRun { found, .. }) = facts.run.as_ref().or(facts.history.first()) else { return Ok(()) };
    let ScrubFound { corrected, mendable, uncorrectable, .. } = found;
    match (*uncorrectable, *mendable, *corrected) {
        (0, 0, 0) => Ok(()),
        (0, 0, corrected) => {
            Err(CliError::new(Code::ScrubMended, format!("{corrected} image(s) were damaged, and were put back as they were")))
        }
        (0, mendable, _) => {
            let message = format!("{mendable} image(s) are damaged and can be put back, and were not: {NOT_PUT_BACK}");
            Err(CliError::new(Code::Repairable, message))
        }
        (uncorrectable, ..) => Err(CliError::new(Code::ScrubFound, format!("{uncorrectable} image(s) are damaged and cannot be put back"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(found: ScrubFound) -> Facts {
        Facts { history: vec![ScrubRun { found, ..ScrubRun::default() }], ..Facts::default() }
    }

    #[test]
    fn the_exit_code_says_what_was_found_and_the_worst_counts() {
        let exit = |found| judge(&facts(found)).err().map(|error| error.exit_code());
        let found = ScrubFound::default();
        assert_eq!(exit(found), None);
        assert_eq!(exit(ScrubFound { corrected: 1, ..found }), Some(4));
        assert_eq!(exit(ScrubFound { corrected: 1, mendable: 1, ..found }), Some(4));
        assert_eq!(exit(ScrubFound { corrected: 1, mendable: 1, uncorrectable: 1, ..found }), Some(3));
        assert_eq!(judge(&Facts::default()), Ok(()));
    }

    #[test]
    fn places_have_two_signs_and_rates_a_unit() {
        assert_eq!(parse_place("3,-1"), Ok((3, -1)));
        assert_eq!(parse_place("-3, 1"), Ok((-3, 1)));
        assert!(["3", "3,", "a,b", "3,1,2", ""].iter().all(|text| parse_place(text).is_err()));
        assert_eq!((parse_limit("50MiB/s"), parse_limit("1GiB")), (Ok(50 << 20), Ok(1 << 30)));
        assert!(["0MiB/s", "50", "fast", ""].iter().all(|text| parse_limit(text).is_err()));
    }

    #[test]
    fn a_refusal_has_the_code_that_says_what_to_do() {
        let code = |reason| refused(reason, "why").code;
        assert_eq!(
            [ScrubReason::Busy, ScrubReason::Idle, ScrubReason::NoTarget, ScrubReason::Failed].map(code),
            [Code::ScrubBusy, Code::ScrubIdle, Code::Usage, Code::ScrubFailed]
        );
    }
}
