//! `infmap profile LOG...`: what an access log says.
//!
//! Must be true: nothing but the logs is read, so that it works anywhere; lines that are none are counted. Fails: as the system does, when a log
//! cannot be read.

use super::error::CliError;
use super::output::{columns, human};
use super::{Context, output};
use crate::backend::access;
use crate::profile::{self, OpReport, Report, Stream};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Say of an access log which requests took the time, and which inodes, sizes and orders they had.
#[derive(clap::Args)]
pub struct Profile {
    /// Access logs, oldest first; `-` is stdin. Of a volume: the logs that a mount with log.access has left in it.
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// So many of the inodes that took the most time.
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
}

impl Profile {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let mut profile = profile::Profile::default();
        for log in &self.logs {
            let failed = || CliError::io(format!("cannot read {}", log.display()));
            if log == Path::new("-") {
                profile.read(&mut std::io::stdin().lock()).map_err(failed())?;
                continue;
            }
            for file in files(log).map_err(failed())? {
                profile.read(&mut BufReader::new(file)).map_err(failed())?;
            }
        }
        let report = profile.report(self.top);
        if context.json {
            return output::json("profile", &report);
        }
        show(&report)
    }
}

/// The logs that are meant: those of a volume, or this one.
fn files(log: &Path) -> io::Result<Vec<File>> {
    if log.is_dir() { access::left(log) } else { Ok(vec![File::open(log)?]) }
}

fn show(report: &Report) -> Result<(), CliError> {
    let Report { requests, seconds, bad_lines, dropped, .. } = report;
    let note = |count: &u64, what: &str| if *count > 0 { format!(", {count} {what}") } else { String::new() };
    let lines = note(bad_lines, "lines that are none");
    output::text_line(&format!("{requests} requests in {seconds:.1} s{}{lines}.", note(dropped, "more that were not noted")))?;
    if report.ops.is_empty() {
        return Ok(());
    }
    output::text_line("")?;
    let head = ["OPERATION", "COUNT", "ERRORS", "TIME", "P50 us", "P90 us", "P99 us", "MAX us", "BYTES"];
    columns(&head, &report.ops.iter().map(op_cells).collect::<Vec<_>>())?;
    for (name, stream) in [("Reads", &report.reads), ("Writes", &report.writes)].iter().filter(|(_, stream)| stream.count > 0) {
        output::text_line(&format!("\n{name}: {}", stream_text(stream)))?;
    }
    output::text_line("")?;
    let cells = |hot: &profile::Hot| {
        let inode = hot.inode.map_or_else(|| "others".into(), |inode| inode.to_string());
        vec![inode, hot.requests.to_string(), human(hot.bytes), format!("{:.1} ms", hot.total_us as f64 / 1e3)]
    };
    columns(&["INODE", "REQUESTS", "BYTES", "TIME"], &report.inodes.iter().map(cells).collect::<Vec<_>>())
}

fn op_cells(op: &OpReport) -> Vec<String> {
    let errors: u64 = op.errors.values().sum();
    let numbers = [op.p50_us, op.p90_us, op.p99_us, op.max_us].map(|number| number.to_string());
    let bytes = if op.bytes > 0 { human(op.bytes) } else { "-".into() };
    let head = [op.op.clone(), op.count.to_string(), errors.to_string(), format!("{:.1}%", op.share * 100.0)];
    head.into_iter().chain(numbers).chain([bytes]).collect()
}

fn stream_text(stream: &Stream) -> String {
    let order =
        stream.sequential.map_or_else(|| "no two of one inode".into(), |share| format!("{:.1}% one after the other", share * 100.0));
    let sizes: Vec<String> = stream.sizes.iter().map(|size| format!("{} up to {}", size.count, human(size.bytes))).collect();
    format!("{}, {order}; {}", human(stream.bytes), sizes.join(", "))
}
