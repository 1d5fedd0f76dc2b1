//! Where a picture goes: a regular file that is replaced whole, or stdout.
//!
//! Owns: the look at the place, and the way to it. Must be true: nothing but a regular file is ever replaced, and nothing inside of a
//! volume is made or replaced: there a picture would take the place of what the volume is made of. A file is the old one or the
//! new one. Fails: with [`Code::Output`] before anything is drawn, or the system's error.

use super::error::{CliError, Code};
use super::output;
use crate::backend;
use crate::mount::point;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names that are tried for a file in the making.
const NAMES_TRIED: u32 = 100;

/// A place that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    /// In a canonical directory.
    File(PathBuf),
}

impl Destination {
    /// The place that `out` names, `-` is stdout; for a picture of `volume`, whose path is canonical.
    pub fn of(out: &Path, volume: &Path) -> Result<Self, CliError> {
        let refused = |why: &str| CliError::new(Code::Output, format!("cannot write to {}: {why}", out.display()));
        if out.as_os_str() == OsStr::new("-") {
            return match io::stdout().is_terminal() {
                true => {
                    Err(refused("stdout is a terminal").help("name a file, or send stdout to one: `infmap map render VOLUME - >OUT.png`"))
                }
                false => Ok(Self::Stdout),
            };
        }
        let name = out.file_name().filter(|_| !out.as_os_str().as_bytes().ends_with(b"/")).ok_or_else(|| refused("it names no file"))?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = parent.canonicalize().map_err(CliError::io(format!("cannot write to {}", out.display())))?;
        let inside = parent.ancestors().find(|dir| backend::is_volume(dir));
        if let Some(found) = inside.or(point::is_inside(&parent, volume).then_some(volume)) {
            return Err(refused(&format!("it would lie in the volume {}", found.display())));
        }
        let path = parent.join(name);
        match what_is_in_the_way(&path) {
            Ok(None) => Ok(Self::File(path)),
            Ok(Some(what)) => Err(refused(&format!("it is {what}"))),
            Err(error) => Err(CliError::io(format!("cannot look at {}", out.display()))(error)),
        }
    }

    /// Hands over what `draw` writes. A file has its name only when all of it is there.
    pub fn write(&self, draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
        match self {
            Self::Stdout => into(io::stdout().lock(), draw).map(drop).or_else(output::unless_left).map_err(CliError::output("stdout")),
            Self::File(path) => replace(path, draw).map_err(CliError::output(&path.display().to_string())),
        }
    }
}

/// What stands there that must not be replaced; `None`: nothing, or a regular file.
fn what_is_in_the_way(path: &Path) -> io::Result<Option<&'static str>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    Ok(match FileType::from_raw_mode(found.mode()) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Symlink => Some("a symbolic link, which would be replaced and not followed"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("no regular file"),
    })
}

fn into<W: Write>(out: W, draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<W> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    draw(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

fn replace(path: &Path, draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let (partial, file) = beside(path)?;
    let done = into(file, draw).and_then(|file| {
        // Whoever may read the old one may read the new one.
        if let Ok(old) = fs::symlink_metadata(path) {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
        }
        // Drawing took a while: somebody may have put something else there.
        match what_is_in_the_way(path)? {
            None => fs::rename(&partial, path),
            Some(what) => Err(io::Error::other(format!("meanwhile it is {what}"))),
        }
    });
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done
}

/// A new file in the directory of another.
fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut last = io::Error::from(ErrorKind::AlreadyExists);
    for number in 0..NAMES_TRIED {
        let partial = path.with_file_name(format!(".infmap-{}-{number}.new", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Ok(file) => return Ok((partial, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
