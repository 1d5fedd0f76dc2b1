//! Checking a volume that is not mounted: all of it, or what is at one path.
//!
//! Must be true: nothing of the volume is changed; what is remembered of an interrupted check stands in `run/`, which means nothing to the
//! format, and counts only for the same state of the same volume.

use super::{BackendError, CheckReport, Finding, Progress, offline, refusal};
use infmap_storage::address::{Generation, Place, RegionId};
use infmap_storage::check::{self, CheckError, CheckOptions, Passed, PathReport, PathStep, Severity, Step};
use infmap_storage::device::{Device, FileDevice, read_all, write_whole};
use infmap_storage::volume_file::uuid_text;
use infmap_storage::wal::Lsn;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far a check came.
const STATE: &str = "run/check.state";
const STATE_MAX_BYTES: usize = 4096;
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// Memory for nodes.
const NODE_BYTES: u64 = 64 << 20;

/// Verifies everything that is stored and changes nothing. With `resume` it goes on where an earlier one was interrupted that was called
/// so too, and remembers in `run/` how far it came.
pub fn check(path: &Path, resume: bool, progress: &mut dyn FnMut(Progress)) -> Result<CheckReport, BackendError> {
    let file = offline::read_volume_file(path)?;
    let device: Arc<dyn Device> =
        Arc::new(FileDevice::new(path).map_err(|source| BackendError::Io { what: path.display().to_string(), source })?);
    let passed = if resume { read_state(device.as_ref(), &file.uuid) } else { None };
    let options = CheckOptions { deep: true, passed, ..CheckOptions::default() };
    let mut kept = Instant::now();
    let mut show = |seen: check::Progress| {
        let phase = match seen.step {
            Step::Trees => "nodes",
            Step::Images => "images",
        };
        if let Some(passed) = seen.passed.filter(|_| resume && kept.elapsed() >= KEEP_EVERY) {
            kept = Instant::now();
            keep_state(device.as_ref(), &file.uuid, &passed);
        }
        progress(Progress { phase, done: seen.done, total: seen.of });
    };
    let report = check::check(&device, file.uuid, &options, &mut show).map_err(|error| match error {
        CheckError::Open(error) => refusal::recovering(path, error),
        CheckError::Images(source) => BackendError::Io { what: path.display().to_string(), source },
    })?;
    if resume {
        // It came to its end.
        let _ = device.remove(STATE);
    }
    let counts = report.counts;
    let findings = report.findings.into_iter().filter(|finding| finding.severity != Severity::Info);
    let findings: Vec<Finding> = findings
        .map(|finding| Finding {
            invariant: finding.invariant.into(),
            r#where: finding.place,
            what: finding.what,
            help: finding.help.into(),
            repairable: finding.repairable,
        })
        .collect();
    Ok(CheckReport {
        not_shown: (report.damage + report.warnings).saturating_sub(findings.len() as u64),
        findings,
        lost: report.lost.iter().filter_map(|damage| serde_json::from_str(&damage.to_json()).ok()).collect(),
        lost_text: report.lost.iter().map(ToString::to_string).collect(),
        lost_not_shown: report.lost_count.saturating_sub(report.lost.len() as u64),
        all_repairable: report.lost_count == 0 && report.damage + report.warnings == report.repairable,
        images: counts.images,
        clusters: counts.live_clusters,
        nodes: counts.nodes,
        files: counts.inodes,
        bytes: counts.extent_bytes + counts.inline_bytes,
    })
}

/// Reads the data of one file, or of everything below a directory, and tells of each file where it lies and what of it is lost, and how far
/// it came.
pub fn check_path(path: &Path, inside: &[u8], step: &mut dyn FnMut(PathStep)) -> Result<PathReport, BackendError> {
    let file = offline::read_volume_file(path)?;
    let io = |source| BackendError::Io { what: path.display().to_string(), source };
    let device: Arc<dyn Device> = Arc::new(FileDevice::new(path).map_err(io)?);
    check::check_path(&device, file.uuid, inside, NODE_BYTES, step).map_err(|error| match error {
        CheckError::Open(error) => refusal::recovering(path, error),
        CheckError::Images(source) => io(source),
    })
}

/// `infmap check 1 UUID GENERATION LSN PLACE GENERATION`: hexadecimal, one line.
fn state_text(uuid: &[u8; 16], passed: &Passed) -> String {
    let RegionId { place, generation } = passed.region;
    format!("infmap check 1 {} {:x} {:x} {:x} {:x}\n", uuid_text(*uuid), passed.generation.0, passed.replayed.0, place.0, generation.0)
}

/// A volume that cannot be written is checked from the beginning next time.
fn keep_state(device: &dyn Device, uuid: &[u8; 16], passed: &Passed) {
    let _ = device.create_dir("run").and_then(|()| write_whole(device, STATE, state_text(uuid, passed).as_bytes()));
}

fn read_state(device: &dyn Device, uuid: &[u8; 16]) -> Option<Passed> {
    let text = String::from_utf8(read_all(device, STATE, STATE_MAX_BYTES).ok()?).ok()?;
    let mut numbers = text.split_whitespace().skip(4).map(|word| u64::from_str_radix(word, 16));
    let mut next = || numbers.next()?.ok();
    let (generation, replayed) = (Generation(next()?), Lsn(next()?));
    let region = RegionId { place: Place(u32::try_from(next()?).ok()?), generation: Generation(next()?) };
    let passed = Passed { generation, replayed, region };
    // Word for word what would be written: another volume, another version or a torn line is nothing.
    (text == state_text(uuid, &passed)).then_some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use infmap_storage::device::MemoryDevice;

    #[test]
    fn what_an_interrupted_check_has_passed_is_remembered_for_the_same_volume() {
        let device = MemoryDevice::new();
        let region = RegionId { place: Place(77), generation: Generation(0x3_0000_0001) };
        let passed = Passed { generation: Generation(0x3_0000_0009), replayed: Lsn(1234), region };
        assert_eq!(read_state(&device, &[7; 16]), None);
        keep_state(&device, &[7; 16], &passed);
        assert_eq!((read_state(&device, &[7; 16]), read_state(&device, &[8; 16])), (Some(passed), None));
        write_whole(&device, STATE, b"infmap check 2 x 1 1 1 1").expect("written");
        assert_eq!(read_state(&device, &[7; 16]), None);
    }
}
