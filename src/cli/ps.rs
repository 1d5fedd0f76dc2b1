//! `infmap ps`: every mount of ours on this machine, with the process behind it.
//!
//! Must be true: a mount that does not answer is listed with why; all are asked at the same time, so that ten that hang take as long as one;
//! the mountpoints themselves are asked for nothing. Fails: as the system does, when it does not say what is mounted.

use super::error::CliError;
use super::output::{columns, human, span};
use super::{Context, output};
use crate::control::client;
use crate::control::protocol::{Mode, Status};
use crate::mount::{lock, mountinfo, server};
use serde::Serialize;
use std::path::Path;

/// List the mounts of this machine: volume, process, mode, memory; those too that do not answer.
#[derive(clap::Args)]
pub struct Ps {}

/// A mount.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Row {
    mountpoint: String,
    volume: Option<String>,
    pid: Option<u32>,
    /// `rw`, `ro`, `degraded`, or `dead` or `silent` for one that does not answer.
    mode: &'static str,
    uptime_seconds: Option<u64>,
    program_version: Option<String>,
    /// Memory of the process that is in RAM.
    resident_bytes: Option<u64>,
    /// Why it does not answer, or is not `rw`.
    reason: Option<String>,
}

impl Ps {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let mounted: Vec<mountinfo::Mounted> = mountinfo::all()?.into_iter().filter(mountinfo::Mounted::is_ours).collect();
        let asked: Vec<_> = mounted.into_iter().map(|mounted| std::thread::spawn(move || row(&mounted))).collect();
        let rows: Vec<Row> = asked.into_iter().filter_map(|thread| thread.join().ok()).collect();
        if context.json {
            return output::json("ps", &serde_json::json!({ "mounts": rows }));
        }
        if rows.is_empty() {
            return output::done("No volume is mounted.", context);
        }
        columns(&["PID", "MODE", "UPTIME", "RSS", "VERSION", "MOUNTPOINT", "VOLUME"], &rows.iter().map(cells).collect::<Vec<_>>())?;
        for row in rows.iter().filter(|row| row.reason.is_some()) {
            output::note(&format!("{}: {}", row.mountpoint, row.reason.as_deref().unwrap_or_default()), context);
        }
        Ok(())
    }
}

fn row(mounted: &mountinfo::Mounted) -> Row {
    let base = Row { mountpoint: mounted.mountpoint.display().to_string(), mode: "silent", ..Row::default() };
    let server = match server::of(mounted) {
        Ok(server) => server,
        Err(error) => return Row { reason: Some(error.to_string()), ..base },
    };
    let is_held = server.is_held();
    let Some(volume) = server.volume else {
        return Row { reason: Some("nobody knows which volume it is, or who serves it".into()), ..base };
    };
    let owner = lock::held(&volume).ok().flatten();
    let base = Row { volume: Some(volume.display().to_string()), ..base };
    if !is_held && owner.is_none() {
        let reason = format!("its daemon has died: `infmap mount {} {}` brings it back", volume.display(), base.mountpoint);
        return Row { mode: "dead", reason: Some(reason), ..base };
    }
    match client::status(&volume) {
        Ok(status) => answered(base, status),
        Err(error) => {
            let pid = owner.and_then(|owner| owner.pid);
            Row { pid, resident_bytes: pid.and_then(resident), reason: Some(error.to_string()), ..base }
        }
    }
}

fn answered(base: Row, status: Status) -> Row {
    let mode = match status.mode {
        Mode::Rw => "rw",
        Mode::Ro => "ro",
        Mode::Degraded => "degraded",
    };
    Row {
        pid: Some(status.pid),
        mode,
        uptime_seconds: Some(status.uptime_seconds),
        program_version: Some(status.version),
        resident_bytes: resident(status.pid),
        reason: status.reason,
        ..base
    }
}

/// What the kernel says of a process's memory in RAM.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn cells(row: &Row) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        or_dash(row.pid.map(|pid| pid.to_string())),
        row.mode.into(),
        or_dash(row.uptime_seconds.map(span)),
        or_dash(row.resident_bytes.map(human)),
        or_dash(row.program_version.clone()),
        row.mountpoint.clone(),
        or_dash(row.volume.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_answers_shows_its_mode_and_one_that_does_not_a_dash() {
        let status =
            Status { pid: std::process::id(), mode: Mode::Degraded, reason: Some("why".into()), uptime_seconds: 61, ..Status::default() };
        let row = answered(Row { mountpoint: "/m".into(), ..Row::default() }, status);
        assert!(row.mode == "degraded" && row.resident_bytes > Some(1 << 20) && row.reason.as_deref() == Some("why"), "{row:?}");
        assert_eq!(cells(&row)[2], "1 min");
        let silent = Row { mountpoint: "/m".into(), mode: "silent", ..Row::default() };
        assert_eq!(cells(&silent), ["-", "silent", "-", "-", "-", "/m", "-"]);
        assert_eq!(resident(0), None);
    }
}
