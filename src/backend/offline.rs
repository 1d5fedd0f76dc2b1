//! The verbs that need no mount: making a volume, its facts, drawing it.
//!
//! Must be true: only making a volume writes into one.

use super::{BackendError, CreateOptions, Progress, Rendered, VolumeFacts, refusal};
use infmap_storage::check::Offline;
use infmap_storage::device::{Access, Device, FileDevice, HostDirectory, write_whole};
use infmap_storage::map_view::{self, MapPicture, MapView};
use infmap_storage::row::Time;
use infmap_storage::volume_file::{self, MAP_DIRECTORY, VOLUME_FILE, VolumeFile, VolumeFileError, create_directories, uuid_text};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory for nodes of a volume that is only read.
pub(super) const NODE_BYTES: u64 = 64 << 20;
/// What its owner calls a volume.
const LABEL_FILE: &str = "label";
/// Bytes of a label at most.
pub const LABEL_MAX_BYTES: u64 = 256;

/// Makes a volume at `path`, which does not exist, is an empty directory, or is what an interrupted making has left.
pub fn create_volume(path: &Path, options: &CreateOptions) -> Result<VolumeFacts, BackendError> {
    let at = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |source: io::Error| BackendError::Io { what, source }
    };
    if let Err(error) = std::fs::read_dir(path) {
        match error.kind() {
            io::ErrorKind::NotFound => make_directory(path).map_err(at("making"))?,
            _ => return Err(at("reading")(error)),
        }
    }
    // What one that is at work has made until now looks like what an interrupted one has left.
    let _alone = alone_in(path).map_err(at("making"))?;
    let device: Arc<dyn Device> = Arc::new(FileDevice::new(path).map_err(at("opening"))?);
    let uuid = new_uuid().map_err(at("a random number for"))?;
    create_directories(device.as_ref()).map_err(|error| volume_file_error(path, error))?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    infmap_actors::volume::create(&device, uuid, uid, gid).map_err(|error| refusal::opening(path, error))?;
    // Last: what has it is a volume.
    VolumeFile::new(uuid, now()).write(device.as_ref()).map_err(|error| volume_file_error(path, error))?;
    if let Some(label) = &options.label {
        write_whole(device.as_ref(), LABEL_FILE, label.as_bytes()).map_err(at("naming"))?;
    }
    facts(path)
}

fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Keeps others that make volumes out of a directory until it is dropped.
fn alone_in(path: &Path) -> io::Result<std::fs::File> {
    let directory = std::fs::File::open(path)?;
    match rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is making a volume there")),
        // Filesystems of other machines lock no directories.
        _ => Ok(directory),
    }
}

/// A random uuid (version 4).
fn new_uuid() -> io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())?;
    uuid[6] = (uuid[6] & 0x0f) | 0x40;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    Ok(uuid)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

/// Reads what makes a directory a volume.
pub(super) fn read_volume_file(path: &Path) -> Result<VolumeFile, BackendError> {
    if !path.is_dir() {
        return Err(BackendError::Missing(path.to_path_buf()));
    }
    let device = FileDevice::new(path).map_err(|source| BackendError::Io { what: path.display().to_string(), source })?;
    VolumeFile::read(&device).map_err(|error| volume_file_error(path, error))
}

/// Whether this directory is what an interrupted making of a volume has left.
#[must_use]
pub fn is_unfinished(dir: &Path) -> bool {
    FileDevice::new(dir).and_then(|device| volume_file::is_unfinished(&device)).unwrap_or(false)
}

/// Whether this directory is a volume, or was one before its `volume.yaml` was damaged.
#[must_use]
pub fn is_volume(dir: &Path) -> bool {
    let has_file = std::fs::symlink_metadata(dir.join(VOLUME_FILE)).is_ok_and(|found| found.is_file());
    let foreign = |found| matches!(found, Err(VolumeFileError::Foreign | VolumeFileError::Damaged(_)));
    let is_ours = || FileDevice::new(dir).is_ok_and(|device| !foreign(VolumeFile::read(&device)));
    has_file && (dir.join(MAP_DIRECTORY).is_dir() || is_ours())
}

fn volume_file_error(path: &Path, error: VolumeFileError) -> BackendError {
    let path = path.to_path_buf();
    match error {
        VolumeFileError::Newer { found, known } => BackendError::Version { path, found, newest: known },
        VolumeFileError::NotEmpty { .. } => BackendError::Exists(path),
        VolumeFileError::Io { path: what, source } => BackendError::Io { what: format!("{}: {what}", path.display()), source },
        other => BackendError::NotAVolume { path, why: other.to_string() },
    }
}

/// Opens a volume to read it.
pub(super) fn open(path: &Path) -> Result<(VolumeFile, Offline), BackendError> {
    let file = read_volume_file(path)?;
    let device: Arc<dyn Device> =
        Arc::new(FileDevice::new(path).map_err(|source| BackendError::Io { what: path.display().to_string(), source })?);
    let offline = Offline::open(&device, file.uuid, NODE_BYTES).map_err(|error| refusal::recovering(path, error))?;
    Ok((file, offline))
}

/// What the volume at `path` is, without its lock: it may be mounted.
pub fn facts(path: &Path) -> Result<VolumeFacts, BackendError> {
    let (file, offline) = open(path)?;
    let what = || path.display().to_string();
    let facts = map_view::VolumeFacts::read(&file, &offline).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => BackendError::Damaged { path: path.to_path_buf(), what: source.to_string(), help: refusal::CHECK },
        _ => BackendError::Io { what: what(), source },
    })?;
    Ok(VolumeFacts {
        path: path.to_path_buf(),
        uuid: uuid_text(facts.uuid),
        label: label(path),
        format_version: facts.format,
        created: infmap_storage::volume_file::time_text(facts.created),
        clean: Some(facts.logged_blocks == 0 && !facts.log_is_corrupt),
        images: facts.image_files,
        image_bytes: facts.image_bytes,
        used_bytes: Some(facts.live_bytes),
        inodes: Some(facts.inodes),
        log_bytes: facts.replayed_bytes,
        snapshots: 0,
    })
}

/// What a volume is called: as its owner said, in one line, or as its directory is.
pub(super) fn label(path: &Path) -> String {
    let name = || path.file_name().map(|name| name.to_string_lossy().into_owned());
    said(path).ok().flatten().or_else(name).unwrap_or_default()
}

/// What the file says, which goes into every figure: a file of the volume, text, and no longer than a name.
fn said(path: &Path) -> io::Result<Option<String>> {
    let file: File = HostDirectory::open(path)?.file(LABEL_FILE, Access::Read)?.into();
    let mut bytes = Vec::new();
    file.take(LABEL_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= LABEL_MAX_BYTES);
    Ok(text.map(|text| text.lines().next().unwrap_or("").trim().to_string()).filter(|label| !label.is_empty()))
}

/// What is to be said of a volume that was left by its mount and has no log ([`has_no_log`]).
pub const LOG_GONE: &str =
    "the last mount ended without finishing, and its log is gone: what it promised after its last checkpoint is lost";

/// Whether there is no segment of a log.
pub fn has_no_log(path: &Path) -> Result<bool, BackendError> {
    match FileDevice::new(path).and_then(|device| device.list("wal")) {
        Ok(entries) => Ok(entries.is_empty()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(BackendError::Io { what: path.join("wal").display().to_string(), source }),
    }
}

/// Draws the whole map. Images never change, so the volume may be mounted.
pub fn draw(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(Rendered, MapPicture), BackendError> {
    let (_, offline) = open(path)?;
    progress(Progress { phase: "images", done: 0, total: 0 });
    let damaged = |what: String| BackendError::Damaged { path: path.to_path_buf(), what, help: refusal::CHECK };
    let view = MapView::read(&offline).map_err(|error| damaged(error.to_string()))?;
    let why = if view.regions.is_empty() { "no image was written yet" } else { "the map is too large for one" };
    let picture = MapPicture::draw(&view).ok_or_else(|| BackendError::NoPicture { path: path.to_path_buf(), why })?;
    let images = view.regions.len() as u64;
    progress(Progress { phase: "images", done: images, total: images });
    Ok((Rendered { width_px: picture.width as u32, height_px: picture.height as u32, images }, picture))
}

/// Writes a picture as a PNG.
pub fn write_png(picture: &MapPicture, out: &mut dyn io::Write) -> io::Result<()> {
    let mut encoder = png::Encoder::new(out, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    // The kind of the error decides what is said of it.
    let plain = |error| match error {
        png::EncodingError::IoError(error) => error,
        error => error.into(),
    };
    let mut writer = encoder.write_header().map_err(plain)?;
    writer.write_image_data(&picture.rgba).map_err(plain)?;
    writer.finish().map_err(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail when the file was read by its path to its end: a link had a file of root published, and a FIFO hung the mount.
    #[test]
    fn a_label_is_a_line_of_a_file_of_the_volume_or_the_name_of_its_directory() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let temp = tempfile::tempdir().expect("a directory");
        let volume = temp.path().join("name");
        let file = volume.join(LABEL_FILE);
        std::fs::create_dir(&volume).expect("made");
        assert_eq!(label(&volume), "name");
        let long = "x".repeat(LABEL_MAX_BYTES as usize);
        for (text, shown) in [(" mine \nmore\n", "mine"), ("", "name"), ("\n", "name"), (&long, &long), (&format!("{long}y"), "name")] {
            std::fs::write(&file, text).expect("written");
            assert_eq!(label(&volume), shown);
        }
        std::fs::write(&file, b"\xff").expect("written");
        assert_eq!(label(&volume), "name");
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(temp.path().join("secret"), "of root").expect("written");
        std::os::unix::fs::symlink(temp.path().join("secret"), &file).expect("linked");
        assert_eq!(label(&volume), "name");
        std::fs::remove_file(&file).expect("removed");
        mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        assert_eq!(label(&volume), "name");
    }
}
