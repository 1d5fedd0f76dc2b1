//! `infmap info VOLUME|DIR`: what a volume is and holds.

use super::error::{CliError, Code};
use super::output::{human, table};
use super::settings::{self, SettingsArguments};
use super::status::{self, judge_writable};
use super::{Context, output};
use crate::backend::{self, VolumeFacts};
use crate::control::client::{self, ControlError};
use crate::control::protocol::Status;
use crate::mount::lock::{self, Owner};
use crate::mount::{IDENTITY_FILE, mountinfo, point, server};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Say what a volume is and holds.
#[derive(clap::Args)]
pub struct Info {
    /// The volume's directory, or the directory where it is mounted.
    #[arg(value_name = "VOLUME|DIR")]
    path: PathBuf,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    facts: VolumeFacts,
    limit_bytes: Option<u64>,
    /// Why the settings, and with them the limit, are not known.
    settings_error: Option<String>,
    mounted: bool,
    mounted_at: Option<String>,
    pid: Option<u32>,
    /// What its daemon says; `null` if it is not mounted, or does not answer.
    mount: Option<serde_json::Value>,
}

impl Info {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let volume = volume_of(&self.path)?;
        let mut facts = backend::facts(&volume)?;
        // What the log holds of small files looks like any other change: only the mount's own word says that it ended in order.
        let was_left = lock::was_left(&volume)?;
        let owner = lock::held(&volume)?;
        facts.clean = facts.clean.filter(|_| owner.is_none()).map(|clean| clean && !was_left);
        let owner = owner.unwrap_or_default();
        let mount = owner.mountpoint.is_some().then(|| client::status(&volume));
        // The facts do not hang on the settings, of which only the limit is one.
        let limit = settings::load(&SettingsArguments::default(), Some(&volume), &[]).map(|loaded| loaded.settings.limit);
        if context.json {
            let mounted = owner.mountpoint.is_some();
            let mounted_at = owner.mountpoint.map(|mountpoint| mountpoint.display().to_string());
            let settings_error = limit.as_ref().err().map(|error| error.message.clone());
            let (limit_bytes, pid, status) = (limit.ok().flatten(), owner.pid, mount.and_then(Result::ok));
            let mount = status.as_ref().map(Status::shown);
            let shown = Shown { facts, limit_bytes, settings_error, mounted, mounted_at, pid, mount };
            output::json("info", &shown)?;
            return status.as_ref().map_or(Ok(()), judge_writable);
        }
        table(&rows(&facts, limit.as_ref().ok().copied(), &owner, mount.as_ref()))?;
        if let Err(error) = limit {
            output::note(&format!("the settings are refused, and a mount will be: {}", error.message), context);
        }
        mount.and_then(Result::ok).as_ref().map_or(Ok(()), judge_writable)
    }
}

/// `limit`: outer `None`, it is not known.
fn rows(
    facts: &VolumeFacts,
    limit: Option<Option<u64>>,
    owner: &Owner,
    mount: Option<&Result<Status, ControlError>>,
) -> Vec<(&'static str, String)> {
    let mode = mount.map(|mount| mount.as_ref().map_or_else(|error| format!("unknown: {error}"), status::mode_text));
    let state = match (&owner.mountpoint, owner.pid, facts.clean) {
        (Some(mountpoint), pid, _) => format!("mounted at {} by process {}", mountpoint.display(), pid.unwrap_or(0)),
        (None, Some(pid), _) => format!("in use by process {pid}"),
        (None, None, Some(true)) => "clean".into(),
        (None, None, None) => "in use".into(),
        (None, None, Some(false)) => "not unmounted in order; the next mount replays the log".into(),
    };
    let mut rows = vec![
        ("volume", facts.path.display().to_string()),
        ("label", facts.label.clone()),
        ("uuid", facts.uuid.clone()),
        ("format", facts.format_version.to_string()),
        ("created", facts.created.clone()),
        ("state", state),
        ("images", format!("{}, {}", facts.images, human(facts.image_bytes))),
        ("data", facts.used_bytes.map_or("unknown".into(), human)),
        ("inodes", facts.inodes.map_or("unknown".into(), |inodes| inodes.to_string())),
        ("limit", limit.map_or("unknown".into(), |limit| limit.map_or("none".into(), human))),
        ("log", human(facts.log_bytes)),
        ("snapshots", facts.snapshots.to_string()),
    ];
    if let Some(mode) = mode {
        let at = rows.iter().position(|(name, _)| *name == "state").map_or(rows.len(), |at| at + 1);
        rows.insert(at, ("mode", mode));
    }
    rows
}

/// The volume that is meant by its own directory or by its mountpoint.
pub fn volume_of(path: &Path) -> Result<PathBuf, CliError> {
    let absolute = point::absolute(path);
    if let Some(mounted) = mountinfo::at(&absolute)?.filter(mountinfo::Mounted::is_ours) {
        let lost = || CliError::new(Code::VolumeMissing, format!("cannot find the volume that is mounted at {}", path.display()));
        return server::of(&mounted)?.volume.ok_or_else(|| lost().help("name the volume's directory instead"));
    }
    volume(path)
}

/// The canonical path of a directory that claims to be a volume.
pub fn volume(path: &Path) -> Result<PathBuf, CliError> {
    let missing = |why: &str| CliError::new(Code::VolumeMissing, format!("there is no volume at {}: {why}", path.display()));
    let canonical = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing("no such directory"),
        _ => CliError::new(Code::System, format!("cannot open {}: {error}", path.display())),
    })?;
    if !canonical.is_dir() {
        return Err(missing("it is not a directory"));
    }
    match std::fs::symlink_metadata(canonical.join(IDENTITY_FILE)) {
        Ok(_) => Ok(canonical),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && backend::is_unfinished(&canonical) => {
            let message = format!("{} is not a volume yet: it is what an `init` that was interrupted has left", path.display());
            let help = format!("`infmap init {}` makes it one; nothing was ever stored in it", path.display());
            Err(CliError::new(Code::NotAVolume, message).help(help))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && backend::recover::is_unfinished(&canonical) => {
            let message = format!("{} is not a volume yet: a `recover` is making it, or was interrupted", path.display());
            Err(CliError::new(Code::HalfRecovered, message))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("{} is not a volume: it holds no {IDENTITY_FILE}", path.display());
            Err(CliError::new(Code::NotAVolume, message))
        }
        Err(error) => Err(CliError::io(format!("cannot read {}", path.display()))(error)),
    }
}
