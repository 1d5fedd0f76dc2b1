//! `recover`: a volume out of nothing but its images.
//!
//! Must be true: RCV-1 `from` is only read; RCV-2 `to` is a volume when everything in it is durable, and not before: `volume.yaml` comes
//! last, and until then a file says what the directory is; RCV-3 an image is written as it was: what parity restores is restored, what it
//! cannot is poison. Fails: with a [`RecoveryError`]; what was made of `to` until then stays, and says so.

use super::gather::{self, Gathered};
use super::{Progress, path_text};
use infmap_storage::address::RegionId;
use infmap_storage::device::{Device, FileDevice, Open, split_path, write_whole};
use infmap_storage::rebuild::{Found, How, ImageFacts, Inspected, Rebuilt, Report, rebuild};
use infmap_storage::region::{IMAGE_MAX_BYTES, Mender, RawRegion};
use infmap_storage::volume_file::{VolumeFile, VolumeFileError, create_directories, parse_uuid, time_text, uuid_text};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use infmap_storage::rebuild::{By, RebuildError};

/// Says of a directory that it is no volume yet.
pub const RECOVERING: &str = "recovering";
const RECOVERING_TEXT: &str = "`infmap recover` is making a volume here, or was interrupted. This is no volume, and nothing here is the only copy of \
     anything.\nIf nobody is at work: remove this directory and begin anew.\n";
/// Memory for nodes.
const NODE_BYTES: u64 = 256 << 20;
/// Files that are told by name at most.
const FILES_MAX: usize = 100_000;

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("there is no image of a volume in {}", .0.display())]
    NoImages(PathBuf),
    #[error("there is no image of the volume {volume} in {}; there are: {found}", from.display())]
    NotThere { from: PathBuf, volume: String, found: String },
    #[error("{} holds images of {} volumes: {found}", from.display(), volumes)]
    Several { from: PathBuf, volumes: usize, found: String },
    #[error("{} and {} both say that they are the same image, both are sound, and they differ", .0.display(), .1.display())]
    Conflict(PathBuf, PathBuf),
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("{} is what an interrupted `recover` has left: no volume, and not to be gone on with", .0.display())]
    Unfinished(PathBuf),
    #[error("{} lies inside of {}: one must not change the other", .0.display(), .1.display())]
    Overlap(PathBuf, PathBuf),
    #[error("nothing can be rebuilt: {0}")]
    Rebuild(#[from] RebuildError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> RecoveryError {
    let what = what.into();
    move |source| RecoveryError::Io { what, source }
}

/// What is to be done.
pub struct Recovery<'a> {
    pub from: &'a Path,
    pub to: &'a Path,
    /// Which volume, where there are images of several.
    pub volume: Option<[u8; 16]>,
    /// `None`: the best way there is.
    pub by: Option<By>,
    /// Only look.
    pub dry_run: bool,
}

/// A file that has lost bytes.
#[derive(Clone, Debug, Serialize)]
pub struct LostBytes {
    pub inode: u64,
    /// Without a leading slash. None: no name leads to it. What is not UTF-8 shows as U+FFFD.
    pub paths: Vec<String>,
    pub size: u64,
    /// First byte, and the first behind it.
    pub ranges: Vec<(u64, u64)>,
}

/// What was found and made.
#[derive(Clone, Debug, Serialize)]
pub struct Recovered {
    #[serde(serialize_with = "path_text")]
    pub to: PathBuf,
    pub uuid: String,
    pub dry_run: bool,
    /// `root`, `nodes` or `owners`.
    pub found_by: &'static str,
    /// Generation of the root that was taken, hexadecimal.
    pub root: Option<String>,
    pub roots_passed_over: usize,
    /// The youngest change that the volume knows of, UTC.
    pub newest_change: Option<String>,
    pub images: usize,
    pub files_looked_at: u64,
    pub duplicates: u64,
    pub restored_images: u64,
    pub damaged_images: u64,
    pub images_without_tables: u64,
    pub unused_images: usize,
    pub files: u64,
    pub directories: u64,
    pub file_bytes: u64,
    /// Names of images that are needed and not there.
    pub missing_images: Vec<String>,
    pub lost_bytes: u64,
    pub lost: Vec<LostBytes>,
    pub lost_more: u64,
    /// Images made after the root.
    pub newer_images: usize,
    pub newer_files: Vec<String>,
    /// Names that are in younger tables only, or that lead to nothing that is left.
    pub lost_names: Vec<String>,
    /// What is no image, although it looks like one, with the reason.
    pub unusable: Vec<String>,
    pub dropped_names: u64,
    pub dropped_attributes: u64,
    /// What was put into `lost+found` under its number.
    pub nameless: u64,
    /// Files and directories whose owner, mode and times are made up.
    pub made_up: u64,
    /// Files that are shorter than they were.
    pub cut: u64,
    /// Files and directories that may not be as they were: older, shorter, longer, or without some of their attributes or names.
    pub uncertain_files: Vec<String>,
    /// Whether nothing is known to be lost.
    pub whole: bool,
}

/// Recovers, or finds out what could be.
pub fn recover(asked: &Recovery<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Recovered, RecoveryError> {
    let from = asked.from.canonicalize().map_err(at(format!("cannot open {}", asked.from.display())))?;
    let to = destination(asked.to, &from)?;
    let mut seen = |done| progress(Progress { phase: "files", done, total: 0 });
    let mut gathered = Gathered::below(&from, &mut seen).map_err(at(format!("cannot read {}", from.display())))?;
    let uuid = choose(&gathered, &from, asked.volume)?;
    let images = gathered.catalogue.volumes.remove(&uuid).unwrap_or_default();
    if let Some((_, one, other)) = gathered.conflicts.iter().find(|(of, _, _)| *of == uuid) {
        return Err(RecoveryError::Conflict(one.clone(), other.clone()));
    }
    let found = found_in(&images, uuid);
    let rebuilt = rebuild(found, asked.by, &mut |phase, done| progress(Progress { phase, done, total: 0 }))?;
    let told = told(&to, uuid, asked.dry_run, &gathered, &images, &rebuilt.report);
    if !asked.dry_run {
        write(&to, uuid, &images, rebuilt, progress)?;
    }
    Ok(told)
}

/// What a rebuild starts from.
pub(super) fn found_in(images: &BTreeMap<RegionId, (PathBuf, Inspected)>, uuid: [u8; 16]) -> Found {
    Found {
        device: Arc::new(gather::device(images)),
        uuid,
        images: images.iter().map(|(id, (_, seen))| (*id, facts(seen))).collect(),
        roots: images.values().filter_map(|(_, seen)| seen.root.clone()).collect(),
        replayed: None,
        node_bytes: NODE_BYTES,
        files_max: FILES_MAX,
    }
}

fn facts(seen: &Inspected) -> ImageFacts {
    ImageFacts { kind: seen.identity.kind, condition: seen.condition.clone() }
}

/// Where the volume is to be made: nothing stands there, and neither place lies in the other.
fn destination(to: &Path, from: &Path) -> Result<PathBuf, RecoveryError> {
    let absolute = std::path::absolute(to).map_err(at(format!("cannot use {}", to.display())))?;
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    let parent = parent.canonicalize().map_err(at(format!("cannot use {}", parent.display())))?;
    let Some(name) = absolute.file_name() else { return Err(RecoveryError::Exists(absolute)) };
    let path = parent.join(name);
    if path.starts_with(from) {
        return Err(RecoveryError::Overlap(path, from.into()));
    }
    if from.starts_with(&path) {
        return Err(RecoveryError::Overlap(from.into(), path));
    }
    match std::fs::symlink_metadata(&path) {
        Ok(_) if is_unfinished(&path) => Err(RecoveryError::Unfinished(path)),
        Ok(_) => Err(RecoveryError::Exists(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        Err(error) => Err(at(format!("cannot look at {}", path.display()))(error)),
    }
}

/// Whether a directory is what an interrupted recovery has left.
#[must_use]
pub fn is_unfinished(dir: &Path) -> bool {
    dir.join(RECOVERING).is_file() && !dir.join(super::VOLUME_FILE).exists()
}

pub(super) fn choose(gathered: &Gathered, from: &Path, wanted: Option<[u8; 16]>) -> Result<[u8; 16], RecoveryError> {
    let volumes = &gathered.catalogue.volumes;
    let describe = |(uuid, images): (&[u8; 16], &BTreeMap<_, _>)| format!("{} ({} images)", uuid_text(*uuid), images.len());
    let found = volumes.iter().map(describe).collect::<Vec<_>>().join(", ");
    match (wanted, volumes.len()) {
        (_, 0) => Err(RecoveryError::NoImages(from.into())),
        (Some(uuid), _) if volumes.contains_key(&uuid) => Ok(uuid),
        (Some(uuid), _) => Err(RecoveryError::NotThere { from: from.into(), volume: uuid_text(uuid), found }),
        (None, 1) => volumes.keys().next().copied().ok_or_else(|| RecoveryError::NoImages(from.into())),
        (None, volumes) => Err(RecoveryError::Several { from: from.into(), volumes, found }),
    }
}

/// Reads a uuid as `--volume` has it.
#[must_use]
pub fn uuid_of(text: &str) -> Option<[u8; 16]> {
    parse_uuid(&text.to_ascii_lowercase())
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn told(
    to: &Path,
    uuid: [u8; 16],
    dry_run: bool,
    gathered: &Gathered,
    images: &BTreeMap<RegionId, (PathBuf, Inspected)>,
    report: &Report,
) -> Recovered {
    let (restored_images, damaged_images, images_without_tables) = gather::conditions(images);
    Recovered {
        to: to.into(),
        uuid: uuid_text(uuid),
        dry_run,
        found_by: match report.how {
            How::Root { .. } => "root",
            How::Nodes { .. } => "nodes",
            How::Owners => "owners",
        },
        root: report.how.root().map(|generation| generation.to_string()),
        roots_passed_over: report.roots_passed_over,
        newest_change: report.newest_change.map(time_text),
        images: images.len(),
        files_looked_at: gathered.files,
        duplicates: gathered.duplicates,
        restored_images,
        damaged_images,
        images_without_tables,
        unused_images: report.unused_images,
        files: report.files,
        directories: report.directories,
        file_bytes: report.file_bytes,
        missing_images: report.missing.iter().map(|(id, _)| id.path()).collect(),
        lost_bytes: report.lost_bytes,
        lost: report
            .lost
            .iter()
            .map(|file| LostBytes {
                inode: file.inode,
                paths: file.paths.iter().map(|path| shown(path)).collect(),
                size: file.size,
                ranges: file.ranges.iter().map(|range| (range.start, range.end)).collect(),
            })
            .collect(),
        lost_more: report.lost_more,
        newer_images: report.newer_images.len(),
        newer_files: report.newer_files.iter().map(|path| shown(path)).collect(),
        lost_names: report.lost_names.iter().map(|path| shown(path)).collect(),
        unusable: gathered.unusable.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect(),
        dropped_names: report.dropped_names,
        dropped_attributes: report.dropped_attributes,
        nameless: report.nameless,
        made_up: report.made_up,
        cut: report.cut,
        uncertain_files: report.uncertain_files.iter().map(|path| shown(path)).collect(),
        whole: report.is_whole(),
    }
}

fn write(
    to: &Path,
    uuid: [u8; 16],
    images: &BTreeMap<RegionId, (PathBuf, Inspected)>,
    rebuilt: Rebuilt,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), RecoveryError> {
    let failed = |what: &str| at(format!("{what} {}", to.display()));
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(to).map_err(failed("making"))?;
    let device = FileDevice::new(to).map_err(failed("opening"))?;
    let volume_file = |error: VolumeFileError| failed("making a volume of")(io::Error::other(error));
    create_directories(&device).map_err(volume_file)?;
    write_whole(&device, RECOVERING, RECOVERING_TEXT.as_bytes()).map_err(failed("writing into"))?;
    let mut target = Target { device: &device, known: BTreeSet::new() };
    let mut anew = Anew { mender: Mender::default() };
    let total = rebuilt.kept.len() as u64;
    for (done, id) in rebuilt.kept.iter().enumerate() {
        progress(Progress { phase: "images", done: done as u64, total });
        let Some((path, _)) = images.get(id) else { continue };
        let bytes = gather::read_image(path).map_err(at(format!("cannot read {}", path.display())))?;
        anew.write(*id, bytes, &mut target).map_err(at(format!("copying {} into {}", path.display(), to.display())))?;
    }
    let created = rebuilt.created;
    rebuilt.seal(&mut |id, bytes| target.put(id, bytes)).map_err(RecoveryError::Rebuild)?;
    target.sync().map_err(failed("making durable"))?;
    device.remove(RECOVERING).and_then(|()| device.sync_dir("")).map_err(failed("finishing"))?;
    // Last: what has it is a volume.
    VolumeFile::new(uuid, created).write(&device).map_err(volume_file)?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(at(format!("making durable {}", parent.display())))
}

/// The map of the volume that is being made.
struct Target<'a> {
    device: &'a FileDevice,
    known: BTreeSet<String>,
}

impl Target<'_> {
    /// Writes an image under its name. The names become durable with [`Self::sync`].
    fn put(&mut self, id: RegionId, bytes: &[u8]) -> io::Result<()> {
        let path = id.path();
        let (directory, _) = split_path(&path);
        if self.known.insert(directory.to_string()) {
            self.device.create_dir(directory)?;
        }
        let file = self.device.open(&path, Open::CREATE_NEW)?;
        file.write_at(bytes, 0)?;
        file.sync()
    }

    fn sync(&self) -> io::Result<()> {
        self.known.iter().try_for_each(|directory| self.device.sync_dir(directory))?;
        self.device.sync_dir("map")
    }
}

/// Writes images as they were.
struct Anew {
    mender: Mender,
}

impl Anew {
    fn write(&mut self, id: RegionId, bytes: Vec<u8>, target: &mut Target<'_>) -> io::Result<()> {
        let as_found = bytes.clone();
        match RawRegion::new(bytes).salvage(&mut self.mender) {
            Ok(salvaged) if salvaged.identity().region != id => {
                Err(io::Error::other("the file was changed meanwhile: it is another image"))
            }
            Ok(salvaged) if !salvaged.is_sound() => {
                let sealed = salvaged.write_anew(vec![0; IMAGE_MAX_BYTES], &mut self.mender);
                target.put(id, sealed.ok_or_else(|| io::Error::other("the image cannot be written anew"))?.bytes())
            }
            // What tells right from wrong is in the rows that name its clusters.
            _ => target.put(id, &as_found),
        }
    }
}
