//! `infmap restore VOLUME TO [PATH...]`: copies files out of a volume, mounted or not, whole or not.
//!
//! Must be true: what is not as it was is named, and makes the exit code 3; all else is there.

use super::error::{CliError, Code};
use super::output::human;
use super::progress::Shown;
use super::recover::{self, Names};
use super::{Context, output};
use crate::backend;
use crate::backend::restore::{self, Restored, Restoring};
use crate::mount::lock;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Files that people are told of by name.
const NAMES_SHOWN: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  infmap restore my.map out/                       all files
  infmap restore my.map out/ letters '**/*.odt'    a directory, and all files of a kind
  infmap restore --dry-run my.map out/             read everything, write nothing

The volume is only read: its log may be damaged, volume.yaml may be gone, tables may be damaged. Modes, times, links, holes and extended
attributes come back; owners and devices if you are root. Blocks of 4 KiB that cannot be read are holes in their file, which is
named on stderr with the bytes; then the exit code is 3. TO is made, or is an empty directory: nothing is ever replaced.";

/// Copy files out of a volume that need not mount; nothing in it is changed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Restore {
    /// The volume's directory; it must not be mounted.
    volume: PathBuf,
    /// The directory to fill: it is made, or is empty.
    to: PathBuf,
    /// What to restore, from the root of the volume: names or patterns (`*`, `?`, `**`); all if left out.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// The uuid of the volume, where volume.yaml is gone and there are images of several.
    #[arg(long, value_name = "UUID")]
    volume_uuid: Option<String>,
    /// Where names come from, if not from the log and the newest root; see `infmap recover --help`.
    #[arg(long, value_enum, default_value_t = Names::Best)]
    by: Names,
    /// Read everything, write nothing, and say what would be incomplete.
    #[arg(long)]
    dry_run: bool,
}

impl Restore {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let uuid = self.volume_uuid.as_deref().map(recover::uuid).transpose()?;
        if !self.volume.is_dir() {
            return Err(CliError::new(Code::VolumeMissing, format!("there is no directory {}", self.volume.display())));
        }
        if let Some(owner) = lock::held(&self.volume)? {
            let who = owner.pid.map_or("another process".into(), |pid| format!("process {pid}"));
            return Err(CliError::new(Code::VolumeLocked, format!("{} is in use by {who}", self.volume.display())));
        }
        let paths = self.paths.into_iter().map(OsString::into_vec).collect();
        let asked = Restoring { volume: &self.volume, to: &self.to, paths, uuid, by: self.by.by(), dry_run: self.dry_run };
        let mut shown = Shown::new(context);
        let restored = restore::restore(&asked, &mut |progress| shown.step(progress));
        drop(shown);
        let mut restored = restored?;
        if self.by.by().is_none() && lock::was_left(&self.volume)? && backend::has_no_log(&self.volume)? {
            restored.notes.push(backend::LOG_GONE.into());
            restored.whole = false;
        }
        if context.json {
            output::json("restored", &serde_json::json!({ "restored": restored }))?;
        } else {
            restored.notes.iter().for_each(|note| output::note(note, context));
            tell(&restored);
            output::done(&text(&restored), context)?;
        }
        if restored.whole {
            return Ok(());
        }
        let incomplete = restored.incomplete.len() as u64 + restored.incomplete_more;
        let message = match (incomplete, restored.lost_names.len()) {
            (0, 0) => "the newest names or the log could not be read whole: files may be older than they were, or missing".into(),
            (incomplete, 0) => format!("{incomplete} file(s) or directories are not as they were"),
            (incomplete, lost) => {
                format!("{incomplete} file(s) or directories are not as they were, and {lost} are lost but for their names")
            }
        };
        Err(CliError::new(Code::Lost, message))
    }
}

/// Names on stderr what is incomplete.
fn tell(restored: &Restored) {
    for name in restored.lost_names.iter().take(NAMES_SHOWN) {
        output::say(&output::plain(&format!("lost: {name}: only its name is left")));
    }
    for one in restored.incomplete.iter().take(NAMES_SHOWN) {
        let ranges = one.ranges.iter().map(|(from, to)| format!("bytes {from}..{to} cannot be read"));
        let what: Vec<String> = ranges.chain(one.why.iter().cloned()).collect();
        output::say(&output::plain(&format!("incomplete: {}: {}", one.path, what.join("; "))));
    }
    let more = restored.incomplete_more + restored.incomplete.len().saturating_sub(NAMES_SHOWN) as u64;
    let more = more + restored.lost_names.len().saturating_sub(NAMES_SHOWN) as u64;
    if more > 0 {
        output::say(&format!("and {more} more (--json names up to 100000)"));
    }
}

fn text(restored: &Restored) -> String {
    let Restored { files, directories, others, bytes, damaged_bytes, dry_run, .. } = restored;
    let verb = if *dry_run { "Would restore" } else { "Restored" };
    let lost = if *damaged_bytes > 0 { format!(" {} of them cannot be read.", human(*damaged_bytes)) } else { String::new() };
    let to = restored.to.display();
    format!("{verb} {files} files, {directories} directories, {others} links and others into {to}: {}.{lost}", human(*bytes))
}
