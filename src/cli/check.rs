//! `infmap check VOLUME`: verifies everything that is stored, and changes nothing.

use super::error::{CliError, Code};
use super::output::human;
use super::progress::Shown;
use super::{Context, info, output};
use crate::backend::{self, CheckReport, Finding};
use crate::mount::lock::VolumeLock;
use std::path::PathBuf;
use std::time::Duration;

/// Verify everything that a volume stores; nothing is changed. Exits with 4 if `infmap repair` puts right all that is found, with 3 if
/// something is lost.
#[derive(clap::Args)]
pub struct Check {
    /// The volume's directory; it must not be mounted.
    volume: PathBuf,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let volume = info::volume(&self.volume)?;
        let lock = VolumeLock::take_to_read(&volume, None, Duration::ZERO)?;
        lock.note().into_iter().for_each(|note| output::note(note, context.json));
        let mut shown = Shown::new(context);
        let report = backend::check(&volume, &mut |progress| shown.step(progress));
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
            output::json(&serde_json::json!({ "message_type": "report", "report": report }))?;
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
