//! `infmap repair VOLUME`: puts damaged images back as they were written, and settles what becomes of files whose bytes are lost.
//!
//! Must be true: it exits with 0 only if nothing was wrong, with 4 if all that was is put right, with 3 if damage is left; with
//! `--dry-run` it writes nothing. Fails: with the backend's code.

use super::error::{CliError, Code};
use super::progress::Shown;
use super::{Context, info, output};
use crate::backend::{self, Damaged, RepairReport};
use crate::mount::lock::VolumeLock;
use std::path::PathBuf;
use std::time::Duration;

/// Put damaged images back as they were written. What is beyond that is named, and left as it is unless `--damaged` says otherwise.
#[derive(clap::Args)]
pub struct Repair {
    /// The volume's directory; it must not be mounted.
    volume: PathBuf,
    /// Say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// What becomes of files of which bytes are lost for good.
    #[arg(long, value_enum, default_value = "keep")]
    damaged: Damaged,
}

impl Repair {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let volume = info::volume(&self.volume)?;
        let lock = match self.dry_run {
            true => VolumeLock::take_to_read(&volume, None, Duration::ZERO)?,
            false => VolumeLock::take(&volume, None, Duration::ZERO)?,
        };
        let mut shown = Shown::new(context);
        let done = backend::repair(&volume, self.dry_run, self.damaged, &mut |progress| shown.step(progress));
        drop(shown);
        match &done {
            // The log was replayed and everything is durable.
            Ok((_, true)) => lock.finish(),
            Ok((_, false)) => lock.give_back(),
            Err(_) => drop(lock),
        }
        let (report, _) = done?;
        if context.json {
            output::json("repaired", &serde_json::json!({ "report": report }))?;
        } else if report.leaves_damage() || report.changes_something() {
            output::text_line(&text(&report))?;
        } else {
            output::done(&text(&report), context)?;
        }
        match (report.leaves_damage(), report.changes_something()) {
            (true, _) => Err(CliError::new(Code::CheckFound, format!("damage is left in {}", self.volume.display())).help(HELP)),
            (false, true) => Err(CliError { silent: true, ..CliError::new(Code::Repaired, "") }),
            (false, false) => Ok(()),
        }
    }
}

const HELP: &str = "take what is named from a backup; `--damaged zero`, `truncate` or `lost+found` settles files that have none; `infmap check \
     VOLUME` lists everything, and says where `infmap clean VOLUME` moves what is sound out of a damaged image";

fn text(report: &RepairReport) -> String {
    let would = if report.dry_run { "would be " } else { "" };
    let mut lines: Vec<String> = Vec::new();
    for image in &report.images {
        let verb = if image.restored { would } else { "" };
        lines.push(format!("{}: {verb}{}", image.image, image.what));
    }
    lines.extend(report.lost.iter().cloned());
    if report.lost_not_shown > 0 {
        lines.push(format!("{} more lost ranges are not shown", report.lost_not_shown));
    }
    for file in &report.files {
        lines.push(format!(
            "/{} (inode {}): {}{}",
            file.path,
            file.inode,
            if report.dry_run { "would be changed: " } else { "" },
            file.what
        ));
    }
    if let Some(why) = &report.unchecked {
        lines.push(format!("The files were not looked at, the volume does not open: {why}"));
    }
    let restored = report.images.iter().filter(|image| image.restored).count();
    let left = report.images.len() - restored;
    lines.push(match (restored, left, report.leaves_damage()) {
        (0, 0, false) if report.files.is_empty() => "Nothing is to be repaired.".into(),
        _ if report.dry_run => format!("{restored} images would be restored, {left} are beyond repair; nothing was written."),
        _ => format!("{restored} images were restored, {left} are beyond repair."),
    });
    lines.join("\n")
}
