//! Repairing a volume that is not mounted: images first, then what is to become of files whose bytes are lost.
//!
//! Must be true: an image is only ever replaced by the identical file that was written there (FIX-1); names and sizes of files change only
//! through the ordinary volume, so that its log covers them; whatever interrupts it, the next run goes on; the caller holds the lock.

use super::{BackendError, Progress, offline, refusal};
use infmap_actors::Volume;
use infmap_actors::api::{AttributeChange, ClearHow, ClearRange, NewNode, Refusal, Rename, RenameMode};
use infmap_actors::settings::Settings;
use infmap_actors::volume::OpenOptions;
use infmap_storage::check::{self, CheckError, CheckOptions, Step};
use infmap_storage::damage::Damage;
use infmap_storage::device::{Device, FileDevice};
use infmap_storage::limits::{CLUSTER_BYTES, NAME_MAX_BYTES};
use infmap_storage::repair::{Outcome, repair_images};
use infmap_storage::row::{FileKind, Inode, ROOT_INODE};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where files go whose bytes are lost, if that is wished for.
const LOST_FOUND: &[u8] = b"lost+found";

/// What becomes of files of which bytes are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Damaged {
    /// They stay as they are: lost blocks give EIO, all else is read.
    #[default]
    Keep,
    /// The lost blocks read as zeros from now on.
    Zero,
    /// The file ends before its first lost block.
    Truncate,
    /// The file moves to /lost+found, with its old path in its name.
    #[value(name = "lost+found")]
    LostFound,
}

/// What became of a damaged image.
#[derive(Debug, Serialize)]
pub struct RepairedImage {
    pub image: String,
    /// It is as it was written again, or would be.
    pub restored: bool,
    pub what: String,
    /// Clusters of it that are lost, whoever has them.
    pub lost_clusters: Vec<usize>,
}

/// What became of a file whose bytes are lost.
#[derive(Debug, Serialize)]
pub struct ChangedFile {
    pub inode: u64,
    pub path: String,
    pub what: String,
    pub done: bool,
}

/// What a repair did, or would do.
#[derive(Debug, Default, Serialize)]
pub struct RepairReport {
    pub dry_run: bool,
    pub images: Vec<RepairedImage>,
    /// Bytes of files that are lost, each as a sentence and as JSON.
    pub lost: Vec<String>,
    pub lost_json: Vec<serde_json::Value>,
    pub lost_not_shown: u64,
    pub files: Vec<ChangedFile>,
    /// Findings that no repair of an image puts right, beside lost bytes of files: `infmap check` lists them.
    pub other_findings: u64,
    /// Why the files could not be looked at.
    pub unchecked: Option<String>,
}

impl RepairReport {
    /// Something is wrong still.
    #[must_use]
    pub fn leaves_damage(&self) -> bool {
        let lost = (!self.lost.is_empty() || self.lost_not_shown > 0) && !self.files_settled();
        // An image that is left as it is counts if something is in use there: then the check has found it too.
        lost || self.other_findings > 0 || self.unchecked.is_some()
    }

    /// Something was put right, or would be.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        self.images.iter().any(|image| image.restored) || self.files.iter().any(|file| file.done)
    }

    fn files_settled(&self) -> bool {
        !self.files.is_empty() && self.files.iter().all(|file| file.done)
    }
}

/// Repairs the volume at `path`. Returns what was done, and whether the volume was opened and closed in order (else it was not opened).
///
/// # Errors
/// The device cannot be read, or the volume does not open although files are to be changed.
pub fn repair(
    path: &Path,
    dry_run: bool,
    damaged: Damaged,
    progress: &mut dyn FnMut(Progress),
) -> Result<(RepairReport, bool), BackendError> {
    let file = offline::read_volume_file(path)?;
    let io = |source| BackendError::Io { what: path.display().to_string(), source };
    let device: Arc<dyn Device> = Arc::new(FileDevice::new(path).map_err(io)?);
    let mut seen = |done, total| progress(Progress { phase: "repair", done, total });
    let repairs = repair_images(device.as_ref(), file.uuid, dry_run, &mut seen).map_err(io)?;
    let mut report = RepairReport { dry_run, ..RepairReport::default() };
    report.images = repairs.into_iter().map(|repair| image(repair.region.path(), repair.outcome)).collect();
    let mut show = |seen: check::Progress| {
        let phase = if seen.step == Step::Trees { "nodes" } else { "images" };
        progress(Progress { phase, done: seen.done, total: seen.of });
    };
    let mut check = || check::check(&device, file.uuid, &CheckOptions::default(), &mut show);
    let checked = match check() {
        Ok(checked) => checked,
        Err(CheckError::Open(error)) => {
            report.unchecked = Some(error.to_string());
            return Ok((report, false));
        }
        Err(CheckError::Images(source)) => return Err(io(source)),
    };
    report.lost = checked.lost.iter().map(ToString::to_string).collect();
    report.lost_json = checked.lost.iter().filter_map(|damage| serde_json::from_str(&damage.to_json()).ok()).collect();
    report.lost_not_shown = checked.lost_count.saturating_sub(report.lost.len() as u64);
    report.other_findings = left_by(&checked, dry_run);
    tell_of_unused(&mut report.images, &checked);
    if checked.lost.is_empty() || damaged == Damaged::Keep {
        return Ok((report, false));
    }
    let files = by_file(&checked.lost);
    if dry_run {
        let settled = if checked.lost_count > 0 { files_of(&checked.findings) } else { 0 };
        report.other_findings = report.other_findings.saturating_sub(settled);
        report.files = files.values().map(|damages| planned(damaged, damages)).collect();
        return Ok((report, false));
    }
    let options = OpenOptions { uuid: file.uuid, settings: Settings::default(), read_only: false };
    let volume = Volume::open(device.clone(), options).map_err(|error| refusal::opening(path, error))?;
    report.files = files.values().map(|damages| change(&volume, damaged, damages)).collect();
    volume.close().map_err(|error| {
        let what = volume.shared().health.reason().unwrap_or_else(|| error.to_string());
        BackendError::Damaged { path: path.to_path_buf(), what, help: refusal::STOPPED }
    })?;
    drop(volume);
    // What is left is what is found now: files that were settled use nothing of the images any more.
    match check() {
        Ok(checked) => {
            // A file that was moved aside is as it was.
            let aside = if damaged == Damaged::LostFound && checked.lost_count > 0 { files_of(&checked.findings) } else { 0 };
            report.other_findings = left_by(&checked, false).saturating_sub(aside);
            tell_of_unused(&mut report.images, &checked);
        }
        Err(error) => report.unchecked = Some(error.to_string()),
    }
    Ok((report, true))
}

/// Findings that are not put right by this repair.
fn left_by(checked: &check::CheckReport, dry_run: bool) -> u64 {
    let mended = if dry_run { checked.repairable } else { 0 };
    (checked.damage + checked.warnings).saturating_sub(mended)
}

/// Says of images that are left as they are whether anybody would miss them.
fn tell_of_unused(images: &mut [RepairedImage], checked: &check::CheckReport) {
    let is_said = |image: &str| checked.findings.iter().any(|finding| finding.place == image);
    let is_all_said = checked.findings.len() as u64 >= checked.damage + checked.warnings;
    for image in images.iter_mut().filter(|image| !image.restored && is_all_said) {
        if !is_said(&image.image) && !image.what.ends_with(UNUSED) {
            image.what.push_str(UNUSED);
        }
    }
}

const UNUSED: &str = "; nothing that is used is in it, and it goes by itself";

/// Findings about images that say what lost bytes of files say too.
fn files_of(findings: &[check::Finding]) -> u64 {
    findings.iter().filter(|finding| !finding.repairable && ["IMG-3", "IMG-4", "REG-7"].contains(&finding.invariant)).count() as u64
}

fn image(image: String, outcome: Outcome) -> RepairedImage {
    let lost = |clusters: Vec<infmap_storage::address::Cluster>| clusters.iter().map(|cluster| cluster.number()).collect();
    match outcome {
        Outcome::Restored { rows } => {
            let what = format!("as it was written ({rows} rows from parity)");
            RepairedImage { image, restored: true, what, lost_clusters: Vec::new() }
        }
        Outcome::Left { why, lost: clusters } => {
            RepairedImage { image, restored: false, what: format!("left as it is: {why}"), lost_clusters: lost(clusters) }
        }
        Outcome::Failed(error) => {
            RepairedImage { image, restored: false, what: format!("left as it is: {error}"), lost_clusters: Vec::new() }
        }
    }
}

fn by_file(lost: &[Damage]) -> BTreeMap<u64, Vec<&Damage>> {
    let mut files: BTreeMap<u64, Vec<&Damage>> = BTreeMap::new();
    lost.iter().for_each(|damage| files.entry(damage.inode.0).or_default().push(damage));
    files
}

fn planned(damaged: Damaged, damages: &[&Damage]) -> ChangedFile {
    let (inode, path) = name_of(damages);
    let blocks = damages.len();
    let first = damages.iter().map(|damage| damage.offset).min().unwrap_or_default();
    let what = match damaged {
        Damaged::Keep => "stays as it is".into(),
        Damaged::Zero => format!("{blocks} lost ranges read as zeros"),
        Damaged::Truncate => format!("ends at byte {first}"),
        Damaged::LostFound => "moves to /lost+found".into(),
    };
    ChangedFile { inode, path, what, done: false }
}

fn name_of(damages: &[&Damage]) -> (u64, String) {
    let first = damages.first();
    let path = first.and_then(|damage| damage.paths.first()).map_or_else(String::new, |path| String::from_utf8_lossy(path).into_owned());
    (first.map_or(0, |damage| damage.inode.0), path)
}

fn change(volume: &Volume, damaged: Damaged, damages: &[&Damage]) -> ChangedFile {
    let plan = planned(damaged, damages);
    let done = match damaged {
        Damaged::Keep => Ok(()),
        Damaged::Zero => damages.iter().try_for_each(|damage| zero(volume, damage)),
        Damaged::Truncate => truncate(volume, damages),
        Damaged::LostFound => set_aside(volume, damages),
    };
    match done {
        Ok(()) => ChangedFile { done: true, ..plan },
        Err(error) => ChangedFile { what: format!("could not be changed: {error}"), ..plan },
    }
}

/// Whole blocks, so that nothing of a lost one has to be read.
fn zero(volume: &Volume, damage: &Damage) -> Result<(), Refusal> {
    let block = CLUSTER_BYTES as u64;
    let offset = damage.offset / block * block;
    let length = (damage.offset + damage.length).next_multiple_of(block) - offset;
    let range = ClearRange { offset, length, how: ClearHow::Zero { keep_size: true }, clear_privileges: false };
    volume.ask(|replier| volume.clear(damage.inode, range, replier)).wait_blocking()
}

fn truncate(volume: &Volume, damages: &[&Damage]) -> Result<(), Refusal> {
    let Some(first) = damages.iter().min_by_key(|damage| damage.offset) else { return Ok(()) };
    let change = AttributeChange { size: Some(first.offset), ..AttributeChange::default() };
    volume.ask(|replier| volume.change_attributes(first.inode, change, replier)).wait_blocking().map(drop)
}

/// Moves every name of the file; one that is there already stays.
fn set_aside(volume: &Volume, damages: &[&Damage]) -> Result<(), Refusal> {
    let Some(first) = damages.first() else { return Ok(()) };
    let into = lost_found(volume)?;
    let inside = [LOST_FOUND, b"/"].concat();
    for path in first.paths.iter().filter(|path| !path.starts_with(&inside)) {
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => path.split_at(at),
            None => (&[][..], path.as_slice()),
        };
        let parent = find(volume, directory)?;
        let name = name.strip_prefix(b"/").unwrap_or(name).to_vec();
        let rename = Rename { parent, name, new_parent: into, new_name: name_aside(first.inode, path), mode: RenameMode::NoReplace };
        volume.ask(|replier| volume.rename(rename, replier)).wait_blocking()?;
    }
    Ok(())
}

/// `#INODE.a.b.c`: the end of the path, since a name is 255 bytes at most.
fn name_aside(inode: Inode, path: &[u8]) -> Vec<u8> {
    let mut name = format!("#{inode}.").into_bytes();
    let room = NAME_MAX_BYTES - name.len();
    let end = path.get(path.len().saturating_sub(room)..).unwrap_or(path);
    name.extend(end.iter().map(|byte| if *byte == b'/' { b'.' } else { *byte }));
    name
}

fn lost_found(volume: &Volume) -> Result<Inode, Refusal> {
    match find(volume, LOST_FOUND) {
        Err(Refusal::NotFound) => {
            let mode = FileKind::Directory.mode_bits() | 0o700;
            let node = NewNode { parent: ROOT_INODE, name: LOST_FOUND.to_vec(), mode, umask: 0, uid: 0, gid: 0, rdev: 0 };
            volume.ask(|replier| volume.create(node, replier)).wait_blocking().map(|made| made.inode)
        }
        found => found,
    }
}

fn find(volume: &Volume, path: &[u8]) -> Result<Inode, Refusal> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .try_fold(ROOT_INODE, |at, part| volume.ask(|replier| volume.lookup(at, part, replier)).wait_blocking().map(|found| found.inode))
}
