//! `infmap bench DIR`: how fast a mount is, and the disk below it, in a minute.
//!
//! Must be true: every byte that is read is compared with what was written; what it makes is taken away again, however it ends. Fails: with
//! [`Code::BenchWrong`] if a byte was another; with 130 by the first signal that asks for the end; as the system does.

mod work;

use super::error::{CliError, Code};
use super::output::{self, columns, human};
use super::progress::Shown;
use super::{Context, locate};
use crate::backend::Progress;
use crate::config::value::parse_size;
use crate::mount::server;
use std::path::{Path, PathBuf};
use work::{Ended, Measured, Plan, Trouble, measure};

/// Measure a mount: write, read, random reads, small files; beside the disk that holds the volume.
#[derive(clap::Args)]
#[command(
    after_help = "The kernel's cache of the large file is emptied before it is read; what is read at random comes from wherever it is. \
                        Run it twice: the first run makes images, the second may reuse them."
)]
pub struct Bench {
    /// A directory in a mount; everything is done in a directory below it, which is taken away at the end.
    dir: PathBuf,
    /// Bytes of the large file.
    #[arg(long, default_value = "256MiB", value_parser = size)]
    size: u64,
    /// How many small files, of 4 KiB each.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    files: u32,
    /// Another directory to compare with, instead of one beside the volume.
    #[arg(long, value_name = "DIR", conflicts_with = "alone")]
    beside: Option<PathBuf>,
    /// Compare with nothing.
    #[arg(long)]
    alone: bool,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).filter(|bytes| (1 << 20..=1 << 40).contains(bytes)).ok_or_else(|| "write it as 64MiB or 1GiB, at least 1MiB".into())
}

impl Bench {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let plan = Plan { bytes: self.size, files: u64::from(self.files) };
        let other = match (&self.beside, self.alone) {
            (_, true) => None,
            (Some(dir), false) => Some(dir.clone()),
            (None, false) => host_of(&self.dir),
        };
        let mut shown = Shown::new(context);
        let total = if other.is_some() { 2 } else { 1 } * work::STEPS;
        let mut done = 0;
        let mut step = || {
            done += 1;
            shown.step(Progress { phase: "steps", done, total });
        };
        let ended = Ended::listen().map_err(|trouble| refused(&self.dir, trouble))?;
        let here = measure(&self.dir, plan, &ended, &mut step).map_err(|trouble| refused(&self.dir, trouble))?;
        let beside = match &other {
            Some(dir) => match measure(dir, plan, &ended, &mut step) {
                Ok(measured) => Some(measured),
                Err(trouble @ (Trouble::Wrong(_) | Trouble::Interrupted)) => return Err(refused(dir, trouble)),
                Err(Trouble::Io(what, error)) => {
                    output::note(&format!("nothing to compare with: {what} in {}: {error}", dir.display()), context);
                    None
                }
            },
            None => None,
        };
        drop(shown);
        show(&here, beside.as_ref(), other.as_deref(), context)
    }
}

/// The directory that holds the volume of a mount: the disk below it.
fn host_of(dir: &Path) -> Option<PathBuf> {
    let (mounted, _) = locate::reached(dir).ok()?;
    let volume = server::of(&mounted).ok()?.volume?;
    volume.parent().map(Path::to_path_buf)
}

fn refused(dir: &Path, trouble: Trouble) -> CliError {
    match trouble {
        Trouble::Wrong(what) => CliError::new(Code::BenchWrong, format!("{}: {what}", dir.display())),
        Trouble::Interrupted => {
            CliError { exit: Some(130), ..CliError::new(Code::System, "interrupted; what was made is taken away").help("call it again") }
        }
        Trouble::Io(what, error) => CliError::io(format!("{what} in {}", dir.display()))(error),
    }
}

fn show(here: &Measured, beside: Option<&Measured>, other: Option<&Path>, context: &Context) -> Result<(), CliError> {
    if context.json {
        let other = beside.and(other).map(|dir| dir.display().to_string());
        return output::json(
            "bench",
            &serde_json::json!({
                "mount": here, "beside": beside, "beside_dir": other,
            }),
        );
    }
    let rows: Vec<Vec<String>> = here
        .rows()
        .into_iter()
        .enumerate()
        .map(|(number, (what, figure, unit))| {
            let other = beside.and_then(|beside| beside.rows().get(number).map(|row| row.1));
            let share = other.filter(|other| *other > 0.0).map_or("-".into(), |other| format!("{:.0} %", 100.0 * figure / other));
            vec![what.into(), text(figure, unit), other.map_or("-".into(), |other| text(other, unit)), share]
        })
        .collect();
    columns(&["WHAT", "HERE", "DISK BELOW", "SHARE"], &rows)?;
    output::done(&format!("Every byte that was read is what was written ({}, {} files).", human(here.bytes), here.files), context)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]
fn text(figure: f64, unit: &str) -> String {
    if unit == "B/s" { format!("{}/s", human(figure as u64)) } else { format!("{figure:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_within_reason() {
        assert_eq!([size("1MiB"), size("2GiB")], [Ok(1 << 20), Ok(2 << 30)]);
        assert!(["0", "1KiB", "2TiB", "x"].iter().all(|text| size(text).is_err()));
        assert_eq!([text(1536.0, "B/s"), text(10.4, "files/s")], ["1.5 KiB/s", "10 files/s"]);
    }
}
