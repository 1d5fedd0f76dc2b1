//! `infmap check VOLUME`: verifies everything that is stored, and changes nothing.

use super::error::{CliError, Code};
use super::output::human;
use super::progress::Shown;
use super::{Context, info, output};
use crate::backend::{self, CheckReport, Finding, Progress};
use crate::mount::lock::VolumeLock;
use infmap_storage::check::{FileSeen, PathReport, PathStep};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Verify everything that a volume stores; nothing is changed. Exits with 4 if `infmap repair` puts right all that is found, with 3 if
/// something is lost.
#[derive(clap::Args)]
pub struct Check {
    /// The volume's directory; it must not be mounted.
    volume: PathBuf,
    /// Go on where a check that was called with this too was interrupted; how far it came stands in run/check.state.
    #[arg(long)]
    resume: bool,
    /// Read only what is at this path in the volume, and below, and say where on the map it lies.
    #[arg(long, value_name = "PATH", conflicts_with = "resume")]
    path: Option<PathBuf>,
}

/// What to do where the volume is mounted.
fn in_use(error: CliError) -> CliError {
    if error.code != Code::VolumeLocked {
        return error;
    }
    error.help("unmount it, or wait for the process that works on it; `infmap scrub start DIR` verifies it while it is mounted")
}

impl Check {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let volume = info::volume(&self.volume)?;
        let lock = VolumeLock::take_to_read(&volume, None, Duration::ZERO).map_err(|error| in_use(error.into()))?;
        lock.note().into_iter().for_each(|note| output::note(note, context));
        if let Some(inside) = &self.path {
            return self.check_path(&volume, inside, context);
        }
        let mut shown = Shown::new(context);
        let report = backend::check(&volume, self.resume, &mut |progress| shown.step(progress));
        drop(shown);
        let mut report = report?;
        if lock.was_left() && backend::has_no_log(&volume)? {
            report.findings.push(Finding {
                invariant: "REC-6".into(),
                r#where: "wal".into(),
                what: backend::LOG_GONE.into(),
                help: "Put the files of wal/ back if there is a copy of them; else what the images hold is all there is.".into(),
                repairable: false,
            });
        }
        if context.json {
            output::json("checked", &serde_json::json!({ "report": report }))?;
        } else if report.findings.is_empty() && report.not_shown == 0 {
            output::done(&text(&report), context)?;
        } else {
            output::text_line(&text(&report))?;
        }
        match report.findings.len() as u64 + report.not_shown {
            0 => Ok(()),
            count if report.all_repairable && report.findings.iter().all(|finding| finding.repairable) => {
                Err(CliError::new(Code::Repairable, format!("{count} finding(s) in {}, and nothing is lost", self.volume.display())))
            }
            count => Err(CliError::new(Code::CheckFound, format!("{count} finding(s) in {}", self.volume.display()))),
        }
    }
}

impl Check {
    /// One line a file, as they come; then the sums.
    fn check_path(&self, volume: &Path, inside: &Path, context: &Context) -> Result<(), CliError> {
        let (mut printed, mut shown) = (Ok(()), Shown::new(context));
        let print = |file: &FileSeen| match context.json {
            true => output::json("checked_file", &file_json(file)),
            false => output::text_line(&file_text(file)),
        };
        let report = backend::check_path(volume, inside.as_os_str().as_bytes(), &mut |step| match step {
            PathStep::Read { done, total } => shown.step(Progress { phase: "bytes", done, total }),
            PathStep::Seen(file) if printed.is_ok() => printed = shown.beside(|| print(&file)),
            PathStep::Seen(_) => {}
        });
        drop(shown);
        let report = report?;
        printed?;
        if !report.found {
            return Err(CliError::new(Code::Usage, format!("there is no {} in {}", inside.display(), self.volume.display()))
                .help("name a path as it is in the mount, from the top of the volume on"));
        }
        let PathReport { files, directories, bytes, clusters, restored, lost, unreadable, .. } = &report;
        if context.json {
            let unreadable: Vec<&String> = unreadable.iter().map(|(what, _)| what).collect();
            output::json(
                "checked_path",
                &serde_json::json!({
                    "files": files, "directories": directories, "bytes": bytes, "clusters": clusters,
                    "restored": restored, "lost": lost, "unreadable": unreadable,
                }),
            )?;
        } else {
            let mut lines: Vec<String> = unreadable.iter().map(|(what, help)| format!("{what}\n  help: {help}")).collect();
            let found = match (*lost, *restored) {
                (0, 0) => "nothing is wrong".to_string(),
                (0, restored) => format!("nothing is lost, and {restored} reads needed parity"),
                (lost, _) => format!("{lost} ranges are lost"),
            };
            lines.push(format!("Read {files} files, {clusters} clusters, {}: {found}.", human(*bytes)));
            let text = lines.join("\n");
            if lines.len() == 1 && (*lost, *restored) == (0, 0) { output::done(&text, context) } else { output::text_line(&text) }?;
        }
        match (lost + unreadable.len() as u64, restored) {
            (0, 0) => Ok(()),
            (0, _) => Err(CliError::new(Code::Repairable, format!("images under {} are damaged, and nothing is lost", inside.display()))),
            _ => Err(CliError::new(Code::CheckFound, format!("bytes under {} are lost", inside.display()))),
        }
    }
}

fn file_json(file: &FileSeen) -> serde_json::Value {
    let places: Vec<serde_json::Value> = file
        .places
        .iter()
        .map(|(region, clusters)| {
            let cell = region.place.cell();
            serde_json::json!({ "x": cell.x, "y": cell.y, "image": region.path(), "clusters": clusters })
        })
        .collect();
    let lost: Vec<serde_json::Value> = file.lost.iter().filter_map(|damage| serde_json::from_str(&damage.to_json()).ok()).collect();
    serde_json::json!({
        "path": String::from_utf8_lossy(&file.path), "inode": file.inode.0, "size": file.size, "places": places,
        "lost": lost,
    })
}

fn file_text(file: &FileSeen) -> String {
    let places: Vec<String> = file.places.iter().map(|(region, clusters)| format!("{clusters} clusters at {}", region.place)).collect();
    let places = if places.is_empty() { "in the tables or the log".into() } else { places.join(", ") };
    let mut lines = vec![format!("/{}: {}, {places}", file.path.escape_ascii(), human(file.size))];
    lines.extend(file.lost.iter().map(|damage| format!("  {damage}")));
    lines.join("\n")
}

fn text(report: &CheckReport) -> String {
    let mut lines: Vec<String> = Vec::new();
    for finding in &report.findings {
        lines.push(format!("[{}] {}: {}\n  help: {}", finding.invariant, finding.r#where, finding.what, finding.help));
    }
    lines.extend(report.lost_text.iter().cloned());
    if report.lost_not_shown > 0 {
        lines.push(format!("{} more lost ranges are not shown", report.lost_not_shown));
    }
    let CheckReport { images, clusters, nodes, files, bytes, findings, not_shown, .. } = report;
    let found = match (findings.len(), not_shown) {
        (0, 0) => "nothing is wrong".into(),
        (shown, 0) => format!("{shown} finding(s)"),
        (shown, hidden) => format!("{shown} finding(s), and {hidden} more that are not shown"),
    };
    lines.push(format!("Checked {images} images, {clusters} clusters, {nodes} nodes, {files} files, {}: {found}.", human(*bytes)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_its_invariant_its_place_and_what_to_do() {
        let finding = Finding {
            invariant: "REG-1".into(),
            r#where: "(0, 0).1".into(),
            what: "torn".into(),
            help: "restore it".into(),
            repairable: false,
        };
        let text = text(&CheckReport { findings: vec![finding], images: 2, ..CheckReport::default() });
        assert!(text.starts_with("[REG-1] (0, 0).1: torn\n  help: restore it\nChecked 2 images"), "{text}");
        assert!(text.ends_with(": 1 finding(s)."), "{text}");
    }

    #[test]
    fn findings_that_are_not_shown_are_counted() {
        assert!(text(&CheckReport { not_shown: 3, ..CheckReport::default() }).ends_with("0 finding(s), and 3 more that are not shown."));
    }
}
