//! Where the settings of a mount come from, so that they can be read once more exactly as they were the first time.
//!
//! Owns: the paths of the files, the variables and the assignments of a call. Must be true: a file that was named must be there, one of the
//! usual places need not; nothing is asked of the environment when they are read; SRC-1 what is no regular file is refused and not waited for,
//! and nothing is read beyond a limit; SRC-2 links are followed, people keep settings elsewhere, but not in a volume of another user, who would
//! choose what is read and shown. Fails: with a file that cannot be read, or with all mistakes of all sources.

use super::layers::{Layers, Loaded, VARIABLE_PREFIX};
use super::mistake::{Mistake, Place, Source};
use infmap_storage::device::{Access, HostDirectory};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Settings longer than this are not settings.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Those of a volume, in it.
const OF_VOLUME: &str = "config.yaml";

/// What a file looks like from outside: device, number, size, time of its last change.
pub type Look = Option<(u64, u64, u64, i64, i64)>;

/// The sources of the settings of one call.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Read where there is a file, the later above the earlier.
    pub usual: Vec<PathBuf>,
    /// The directory of a volume, whose settings lie above those.
    pub volume: Option<PathBuf>,
    /// Must be there.
    pub named: Option<PathBuf>,
    /// Those that begin with [`VARIABLE_PREFIX`].
    pub variables: Vec<(String, String)>,
    /// What is wrong with those that are no text.
    pub no_texts: Vec<Mistake>,
    /// `a.b=c`, and where it stood.
    pub assignments: Vec<(&'static str, String)>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum Unread {
    File(PathBuf, Error),
    /// Never empty.
    Mistakes(Vec<Mistake>),
}

impl Sources {
    /// The usual places: of the system, of the user whose settings are in `home`, of the volume.
    #[must_use]
    pub fn usual(home: Option<PathBuf>, volume: Option<&Path>) -> Self {
        let system = PathBuf::from("/etc/infmap/config.yaml");
        let user = home.map(|home| home.join("infmap/config.yaml"));
        let usual = [Some(system), user].into_iter().flatten().collect();
        Self { usual, volume: volume.map(Into::into), ..Self::default() }
    }

    /// Takes the variables that are settings.
    pub fn take_variables(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables.filter(|(name, _)| name.as_bytes().starts_with(VARIABLE_PREFIX.as_bytes())) {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => self.variables.push((name.into(), value.into())),
                _ => self.no_texts.push(no_text(&name.to_string_lossy(), &value.to_string_lossy())),
            }
        }
    }

    /// Makes them good for a process that leaves its directory.
    pub fn make_absolute(&mut self) {
        for path in self.usual.iter_mut().chain(&mut self.volume).chain(&mut self.named) {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
    }

    /// The files, whether they are there or not.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let of_volume = self.volume.as_deref().map(|volume| volume.join(OF_VOLUME));
        self.usual.iter().cloned().chain(of_volume).chain(self.named.clone())
    }

    /// What the files look like now. To be asked before they are read, or a change in between is missed.
    #[must_use]
    pub fn looks(&self) -> Vec<Look> {
        let look = |path: PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
        };
        self.files().map(look).collect()
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// See [`Unread`].
    pub fn read(&self) -> Result<Loaded, Unread> {
        let mut layers = Layers::default();
        let usual = self.usual.iter().map(|path| (path.clone(), file(path)));
        let of_volume = self.volume.as_deref().map(|volume| (volume.join(OF_VOLUME), of_volume(volume)));
        for (path, read) in usual.chain(of_volume) {
            match read {
                Ok(source) => layers.yaml(&source),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(Unread::File(path, error)),
            }
        }
        if let Some(path) = &self.named {
            layers.yaml(&file(path).map_err(|error| Unread::File(path.clone(), error))?);
        }
        layers.variables(self.variables.iter().cloned());
        self.assignments.iter().for_each(|(name, text)| layers.assignment(name, text));
        match layers.finish() {
            Ok(loaded) if self.no_texts.is_empty() => Ok(loaded),
            finished => Err(Unread::Mistakes(self.no_texts.iter().cloned().chain(finished.err().into_iter().flatten()).collect())),
        }
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Mistakes(mistakes) => {
                let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join("\n\n"))
            }
        }
    }
}

/// Reads a file of settings.
///
/// # Errors
/// The system's, or that it is too long or no text.
pub fn file(path: &Path) -> std::io::Result<Source> {
    // A FIFO is opened at once, and then refused.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    read_from(OpenOptions::new().read(true).custom_flags(flags).open(path)?, path)
}

/// Reads the settings of a volume.
fn of_volume(volume: &Path) -> std::io::Result<Source> {
    let path = volume.join(OF_VOLUME);
    let directory = HostDirectory::open(volume)?;
    if directory.is_of_another() { read_from(directory.file(OF_VOLUME, Access::Read)?.into(), &path) } else { file(&path) }
}

fn read_from(file: File, path: &Path) -> std::io::Result<Source> {
    let refused = |why| Err(Error::new(ErrorKind::InvalidData, why));
    if !file.metadata()?.is_file() {
        return refused("it is no regular file");
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return refused("it is longer than 1 MiB");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(&path.to_string_lossy(), &text)),
        Err(_) => refused("it is not UTF-8"),
    }
}

/// A variable that would be a setting if it could be read.
fn no_text(name: &str, value: &str) -> Mistake {
    let place = Place { line: 1, column: 1, width: value.chars().count().max(1) };
    Mistake { source: Source::new(name, value), place, found: "it is not UTF-8".into(), allowed: None, help: Some(format!("unset {name}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_again_as_they_were_and_a_named_file_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let (usual, named) = (dir.path().join("usual.yaml"), dir.path().join("named.yaml"));
        std::fs::write(&named, "compression: off\nlimit: 1GiB\n").unwrap();
        let mut sources = Sources { usual: vec![usual.clone()], named: Some(named.clone()), ..Sources::default() };
        sources.take_variables([("INFMAP__LIMIT", "2GiB"), ("HOME", "/")].map(|(name, value)| (name.into(), value.into())).into_iter());
        sources.assignments.push(("--set", "log.level=warn".into()));
        let first = sources.read().unwrap().settings;
        assert_eq!((first.limit, first.log.level.name(), first.memory.budget), (Some(2 << 30), "warn", 512 << 20));
        std::fs::write(&usual, "memory: { budget: 1GiB }\ncompression: auto\n").unwrap();
        let second = sources.read().unwrap().settings;
        assert_eq!((second.memory.budget, second.compression.name()), (1 << 30, "off"));
        std::fs::remove_file(&named).unwrap();
        assert!(matches!(sources.read(), Err(Unread::File(path, _)) if path == named));
    }

    /// Meant to fail when it was left out as if it were not there.
    #[test]
    fn a_variable_that_is_no_text_is_a_mistake() {
        use std::os::unix::ffi::OsStringExt;
        let mut sources = Sources::default();
        let bad = |text: &[u8]| OsString::from_vec(text.to_vec());
        sources.take_variables(
            [("INFMAP__LIMIT".into(), bad(b"1\xff")), (bad(b"INFMAP__\xff"), "1".into()), (bad(b"\xff"), bad(b"\xff"))].into_iter(),
        );
        sources.assignments.push(("--set", "nonsense".into()));
        let Err(Unread::Mistakes(mistakes)) = sources.read() else { panic!("read") };
        assert_eq!(mistakes.len(), 3, "all are told: {mistakes:?}");
        assert!(mistakes[0].to_string().contains("it is not UTF-8\n  --> INFMAP__LIMIT:1:1"), "{}", mistakes[0]);
    }

    /// Seen to fail when the length was asked of the name and the rest was read to its end: a FIFO was waited for, a device never ended.
    #[test]
    fn what_is_no_file_of_settings_is_refused_and_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("endless")).unwrap();
        std::fs::write(at("long"), vec![b'#'; FILE_MAX_BYTES as usize + 1]).unwrap();
        for (name, why) in [("pipe", "no regular file"), ("endless", "no regular file"), ("long", "longer"), ("", "no regular file")] {
            let refused = file(&at(name)).expect_err(name).to_string();
            assert!(refused.contains(why), "{name}: {refused}");
        }
    }

    /// Seen to fail when links were followed everywhere: the owner of a volume had root read, and show in its messages, what he chose.
    #[test]
    fn settings_may_be_a_link_but_not_in_the_volume_of_another_user() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(dir.path().join("elsewhere.yaml"), "limit: 1GiB\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere.yaml"), volume.join(OF_VOLUME)).unwrap();
        let sources = Sources { volume: Some(volume.clone()), ..Sources::default() };
        assert_eq!(sources.read().unwrap().settings.limit, Some(1 << 30));
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root can give a directory to another user");
        }
        std::os::unix::fs::chown(&volume, Some(65_534), Some(65_534)).unwrap();
        assert!(
            matches!(sources.read(), Err(Unread::File(path, error)) if path == volume.join(OF_VOLUME) && error.to_string().contains("link"))
        );
        std::fs::remove_file(volume.join(OF_VOLUME)).unwrap();
        assert_eq!(sources.read().unwrap().settings.limit, None);
        std::fs::write(volume.join(OF_VOLUME), "limit: 2GiB\n").unwrap();
        assert_eq!(sources.read().unwrap().settings.limit, Some(2 << 30), "root may have written it");
    }

    #[test]
    fn a_look_from_before_the_settings_were_read_differs_if_they_change_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { volume: Some(dir.path().into()), named: Some(dir.path().join("named.yaml")), ..Sources::default() };
        let before = sources.looks();
        assert_eq!(before, [None, None]);
        for name in [OF_VOLUME, "named.yaml"] {
            std::fs::write(dir.path().join(name), "limit: 2GiB\n").unwrap();
        }
        assert!(sources.looks().iter().all(Option::is_some));
    }
}
