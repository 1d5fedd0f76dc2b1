//! What the doctor says of one volume: whether it would be mounted, and how it lives.
//!
//! Must be true: looking changes nothing. Fails: never; whatever is wrong is a finding.

use super::super::output::human;
use super::super::settings::{self, SettingsArguments};
use super::super::{error::CliError, info};
use super::{Finding, Grade};
use crate::backend;
use crate::mount::lock;
use std::path::Path;

/// Room on the disk below which writes are refused before long: what is kept back for removals and checkpoints, and as much again.
const ROOM: u64 = 128 << 20;
/// Types of filesystems that forget everything (`include/uapi/linux/magic.h`): tmpfs, ramfs.
const OF_MEMORY: [rustix::fs::FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// Looks at what a path means: a volume, or where one is mounted.
pub fn examine(path: &Path) -> Vec<Finding> {
    let volume = match info::volume_of(path) {
        Ok(volume) => volume,
        Err(error) => return vec![bad("volume", &error)],
    };
    let mut findings = vec![whole(&volume), left(&volume), config(&volume), home(&volume), room(&volume)];
    findings.extend(rights(&volume));
    findings
}

fn bad(what: &'static str, error: &CliError) -> Finding {
    Finding::new(what, Grade::Bad, error.message.clone(), error.help_text())
}

/// Whether this program reads it, and its root and log.
fn whole(volume: &Path) -> Finding {
    match backend::facts(volume) {
        Ok(facts) => Finding::new("volume", Grade::Good, format!("format {}, {} images", facts.format_version, facts.images), ""),
        Err(error) => bad("volume", &error.into()),
    }
}

/// How its last mount ended.
fn left(volume: &Path) -> Finding {
    let what = "last mount";
    match (lock::held(volume), lock::was_left(volume), backend::has_no_log(volume)) {
        (Ok(Some(owner)), ..) => Finding::new(what, Grade::Good, format!("it goes on: {owner}"), ""),
        (_, Ok(true), Ok(true)) => Finding::new(
            what,
            Grade::Bad,
            backend::LOG_GONE,
            "put the files of wal/ back if there is a copy of them; else `infmap check VOLUME`, and mount it: what the images hold is there",
        ),
        (_, Ok(true), _) => Finding::new(
            what,
            Grade::Fair,
            "it ended without finishing: a crash, or kill -9",
            "mount it: what was synced is brought back from the log",
        ),
        (Err(error), ..) | (_, Err(error), _) => bad(what, &error.into()),
        (.., Err(error)) => bad(what, &error.into()),
        (_, Ok(false), _) => Finding::new(what, Grade::Good, "it ended in order", ""),
    }
}

/// Its own settings, with all others.
fn config(volume: &Path) -> Finding {
    match settings::load(&SettingsArguments::default(), Some(volume), &[]) {
        Ok(loaded) => match settings::too_large(&loaded.settings) {
            Some(what) => {
                Finding::new("its settings", Grade::Bad, what, "set memory.budget to what can be spared; `preset: small` runs in 32 MiB")
            }
            None => Finding::new("its settings", Grade::Good, "they are understood", ""),
        },
        Err(error) => bad("its settings", &error),
    }
}

/// What it lies on.
fn home(volume: &Path) -> Finding {
    let what = "its disk";
    match rustix::fs::statfs(volume) {
        Err(errno) => bad(what, &CliError::io("cannot be looked at")(errno.into())),
        Ok(found) if OF_MEMORY.contains(&found.f_type) => {
            Finding::new(what, Grade::Fair, "it is memory, and forgets everything at a restart", "put a volume that is to stay on a disk")
        }
        Ok(_) => Finding::new(what, Grade::Good, "it keeps what it is given", ""),
    }
}

fn room(volume: &Path) -> Finding {
    let what = "room";
    match rustix::fs::statvfs(volume) {
        Err(errno) => bad(what, &CliError::io("cannot be looked at")(errno.into())),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let grade = if free < ROOM { Grade::Bad } else { Grade::Good };
            Finding::new(
                what,
                grade,
                format!("{} are free on its disk", human(free)),
                "free room on that disk: below 64 MiB writes are refused",
            )
        }
    }
}

/// Whether a mount of this user could write to it.
fn rights(volume: &Path) -> Option<Finding> {
    let access = rustix::fs::access(volume.join("wal"), rustix::fs::Access::WRITE_OK);
    let advice = "mount it as the user who owns it, or read-only: -o ro";
    access.err().map(|errno| Finding::new("its rights", Grade::Fair, format!("this user cannot write to it: {errno}"), advice))
}
