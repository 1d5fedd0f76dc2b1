//! `infmap status [DIR|VOLUME]`: how a mount is, as its daemon says.
//!
//! Must be true: it waits for a daemon no longer than `control::client::PATIENCE`, and asks the mountpoint itself for nothing: whoever
//! serves it may be stuck. Fails: with [`Code::ReadOnly`] or [`Code::Degraded`] behind the facts, with [`Code::NoAnswer`] without any.

use super::error::{CliError, Code};
use super::output::{human, span, table, text_line};
use super::{Context, info, output, scrub};
use crate::control::client::{self, ControlError};
use crate::control::protocol::{ConfigStatus, Damage, Http, Mode, Pool, Status as Facts};
use crate::mount::{lock, mountinfo, point, server};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a daemon that does not answer any more has to let go of its volume.
const PATIENCE: Duration = Duration::from_secs(60);

/// Say how a mount is: whether it takes changes, and if not, why and since when; its space, its actors, damage.
#[derive(clap::Args)]
pub struct Status {
    /// Where it is mounted, or the volume's directory; all mounts if left out.
    #[arg(value_name = "DIR|VOLUME")]
    path: Option<PathBuf>,
}

impl Status {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let Some(path) = self.path else { return all(context) };
        let facts = ask(&path)?;
        show(&facts, context)?;
        judge(&facts)
    }
}

/// All mounts of ours; what is worst among them is how it ends.
fn all(context: &Context) -> Result<(), CliError> {
    let mounted: Vec<PathBuf> =
        mountinfo::all()?.into_iter().filter(mountinfo::Mounted::is_ours).map(|mounted| mounted.mountpoint).collect();
    if mounted.is_empty() && !context.json {
        return output::done("No volume is mounted.", context);
    }
    let mut worst: Option<CliError> = None;
    for (number, mountpoint) in mounted.iter().enumerate() {
        let judged = ask(mountpoint).and_then(|facts| {
            if number > 0 && !context.json {
                text_line("")?;
            }
            show(&facts, context)?;
            judge(&facts)
        });
        if let Err(error) = judged {
            if let Some(before) = worst.take() {
                before.print(context.json);
            }
            worst = Some(error);
        }
    }
    worst.map_or(Ok(()), Err)
}

/// What the daemon of a mount says.
pub fn ask(path: &Path) -> Result<Facts, CliError> {
    let place = Behind::of(path)?;
    client::status(&place.volume).map_err(|error| place.unanswered(&error))
}

/// The volume behind a path, which may be where it is mounted.
pub struct Behind {
    pub volume: PathBuf,
    /// The path is a mountpoint.
    is_mountpoint: bool,
}

impl Behind {
    /// # Errors
    /// There is no volume, or the path is a mount whose daemon has died.
    pub fn of(path: &Path) -> Result<Self, CliError> {
        let place = point::untouched(path);
        let mounted = mountinfo::at(&place)?.filter(mountinfo::Mounted::is_ours);
        let Some(mounted) = mounted else { return Ok(Self { volume: info::volume_of(path).map_err(not_mounted)?, is_mountpoint: false }) };
        let server = server::of(&mounted)?;
        let unknown = || CliError::new(Code::NoAnswer, format!("nobody knows who serves {}", place.display()));
        let volume = server.volume.clone().ok_or_else(unknown)?;
        if !server.is_held() && lock::held(&volume)?.is_none() {
            let message = format!("the daemon of {} has died", place.display());
            let help = format!("`infmap mount {} {}` clears it and brings back what was synced", volume.display(), place.display());
            return Err(CliError::new(Code::NoAnswer, message).help(help));
        }
        Ok(Self { volume, is_mountpoint: true })
    }

    /// Whether nobody has it mounted any more; whoever still has it is given time to finish.
    pub fn is_ending(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match lock::held(&self.volume) {
                Ok(None) => return true,
                // A daemon that answers did not end.
                _ if client::status(&self.volume).is_ok() || Instant::now() >= deadline => return false,
                _ => std::thread::sleep(lock::LOOK_AGAIN),
            }
        }
    }

    /// Whether a daemon has it mounted.
    ///
    /// # Errors
    /// The lock cannot be looked at.
    pub fn is_mounted(&self) -> Result<bool, CliError> {
        Ok(lock::held(&self.volume)?.is_some_and(|owner| owner.mountpoint.is_some()))
    }

    /// What it means that a daemon does not answer.
    pub fn unanswered(&self, error: &ControlError) -> CliError {
        let volume = self.volume.display();
        match lock::held(&self.volume) {
            Ok(Some(owner)) if !self.is_mountpoint && owner.pid.is_some() && owner.mountpoint.is_none() => {
                CliError::new(Code::NotMounted, format!("{volume} is not mounted: {owner}"))
            }
            Ok(None) if !self.is_mountpoint => CliError::new(Code::NotMounted, format!("{volume} is not mounted")),
            _ => CliError::new(Code::NoAnswer, format!("{volume} is mounted, but {error}")),
        }
    }
}

/// What it means for whoever asks for a mount that there is neither one nor a volume: it may have been there a moment ago.
fn not_mounted(error: CliError) -> CliError {
    let is_other = error.code == Code::NotAVolume && error.help.is_none();
    if is_other { CliError::new(Code::NotMounted, format!("nothing is mounted there, and {}", error.message)) } else { error }
}

/// Whether all is well.
pub fn judge(facts: &Facts) -> Result<(), CliError> {
    judge_writable(facts)?;
    let attention = facts.attention.as_deref().or((facts.mode == Mode::Degraded).then(|| reason(facts)));
    attention.map_or(Ok(()), |why| Err(CliError::new(Code::Degraded, format!("{}: {why}", facts.volume))))
}

/// Whether it has turned read-only without being asked to.
pub fn judge_writable(facts: &Facts) -> Result<(), CliError> {
    match facts.failed {
        true => Err(CliError::new(Code::ReadOnly, format!("{} is {}", facts.volume, mode_text(facts)))),
        false => Ok(()),
    }
}

fn reason(facts: &Facts) -> &str {
    facts.reason.as_deref().unwrap_or("no reason given")
}

/// The mode in words, with its reason.
pub fn mode_text(facts: &Facts) -> String {
    let since = facts.since.as_deref().map(|since| format!(" since {since}")).unwrap_or_default();
    match facts.mode {
        Mode::Rw => "read and write".into(),
        Mode::Ro => {
            let attention = facts.attention.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
            format!("read-only{since}: {}{attention}", reason(facts))
        }
        Mode::Degraded => format!("read and write, but {}", reason(facts)),
    }
}

fn show(facts: &Facts, context: &Context) -> Result<(), CliError> {
    if context.json {
        return output::json("status", &facts.shown());
    }
    let Facts { space, damage, .. } = facts;
    let limit = space.limit_bytes.map_or_else(String::new, |limit| format!(", limit {}", human(limit)));
    let waits = if space.is_log_full { ", the log is full: writes wait for a checkpoint" } else { "" };
    let stuck =
        facts.stuck.iter().map(|stuck| ("stuck", format!("{}, for {}, waits for {}", stuck.who, span(stuck.seconds), stuck.waits_for)));
    let rows = [
        ("volume", facts.volume.clone()),
        ("mounted", format!("at {} by process {}, for {}", facts.mountpoint, facts.pid, span(facts.uptime_seconds))),
        ("version", facts.version.clone()),
        ("mode", mode_text(facts)),
        ("space", format!("{} free, {} in images{limit}", human(space.available_bytes), human(space.image_bytes))),
        ("unplaced", format!("{} of {}{waits}", human(space.dirty_bytes), human(space.dirty_limit_bytes))),
        ("actors", actors(&facts.actors)),
        ("damage", damage_text(damage)),
        ("scrub", scrub::short(&facts.scrub)),
        ("http", http_text(&facts.http)),
        ("settings", config_text(&facts.config)),
    ];
    table(&rows.into_iter().chain(stuck).collect::<Vec<_>>())
}

fn http_text(http: &Http) -> String {
    match (&http.address, &http.why_not) {
        (Some(address), _) => format!("http://{address}"),
        (None, Some(why)) => format!("none: {why}"),
        (None, None) => "off".into(),
    }
}

fn damage_text(damage: &Damage) -> String {
    let zeroed = if damage.is_zeroed { "; lost bytes read as zeros" } else { "" };
    let listed = match damage.listed {
        0 => String::new(),
        listed => format!("; {listed} place(s) listed as lost by `infmap damage ls`"),
    };
    format!("{} read(s) failed, {} saved by parity{listed}{zeroed}", damage.unreadable, damage.restored)
}

fn config_text(config: &ConfigStatus) -> String {
    let ConfigStatus { generation, preset, reloads, failed, last, last_result, waiting } = config;
    let last = last.as_ref().map(|last| format!(", last at {last}: {}", last_result.name())).unwrap_or_default();
    let failed = if *failed == 0 { String::new() } else { format!(", {failed} in vain") };
    let waiting = if waiting.is_empty() { String::new() } else { format!("; at the next mount: {}", waiting.join(", ")) };
    format!("generation {generation}, preset {preset}; read again {reloads} time(s){failed}{last}{waiting}")
}

fn actors(pools: &[Pool]) -> String {
    let sum = |of: fn(&Pool) -> usize| pools.iter().map(of).sum::<usize>();
    let dead: Vec<&str> = pools.iter().filter(|pool| pool.dead > 0).map(|pool| pool.name.as_str()).collect();
    let dead = if dead.is_empty() { String::new() } else { format!("; dead: {}", dead.join(", ")) };
    let restarted: u64 = pools.iter().map(|pool| pool.restarted).sum();
    let restarted = if restarted == 0 { String::new() } else { format!("; restarts: {restarted}") };
    format!("{}, {} message(s) waiting{dead}{restarted}", sum(|pool| pool.slots), sum(|pool| pool.waiting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_what_the_mode_is() {
        let with = |mode, failed| Facts { mode, failed, reason: Some("why".into()), since: Some("then".into()), ..Facts::default() };
        assert_eq!(judge(&with(Mode::Rw, false)), Ok(()));
        assert_eq!(judge(&with(Mode::Ro, false)), Ok(()), "it was asked for");
        let turned = judge(&with(Mode::Ro, true)).expect_err("told");
        assert!(turned.code == Code::ReadOnly && turned.message.ends_with("read-only since then: why"), "{turned:?}");
        assert_eq!(judge(&with(Mode::Degraded, false)).expect_err("told").code, Code::Degraded);
        assert_eq!(judge_writable(&with(Mode::Degraded, false)), Ok(()));
        let damaged = |failed| Facts { attention: Some("lost".into()), ..with(Mode::Ro, failed) };
        assert_eq!(judge(&damaged(false)).expect_err("told").code, Code::Degraded, "asked for or not");
        assert_eq!(judge(&damaged(true)).expect_err("told").code, Code::ReadOnly, "the worst counts");
        assert!(mode_text(&damaged(false)).ends_with("why; lost"));
    }

    #[test]
    fn dead_actors_are_named() {
        let pool = |name: &str, dead| Pool { name: name.into(), slots: 2, dead, waiting: 1, ..Pool::default() };
        assert_eq!(actors(&[pool("vat", 0), pool("wal", 1)]), "4, 2 message(s) waiting; dead: wal");
    }
}
