//! Where the settings of a mount come from, so that they can be read once more exactly as they were the first time.
//!
//! Owns: the paths of the files, the variables and the assignments of a call. Must be true: a file that was named must be there, one of the
//! usual places need not; nothing is asked of the environment when they are read. Fails: with a file that cannot be read, or with all
//! mistakes of all sources.

use super::layers::{Layers, Loaded, VARIABLE_PREFIX};
use super::mistake::{Mistake, Source};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Settings longer than this are not settings.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The sources of the settings of one call.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Read where there is a file, the later above the earlier.
    pub usual: Vec<PathBuf>,
    /// Must be there.
    pub named: Option<PathBuf>,
    /// Those that begin with [`VARIABLE_PREFIX`].
    pub variables: Vec<(String, String)>,
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
        let of_volume = volume.map(|volume| volume.join("config.yaml"));
        Self { usual: [Some(system), user, of_volume].into_iter().flatten().collect(), ..Self::default() }
    }

    /// Takes the variables that are settings.
    pub fn take_variables(&mut self, variables: impl Iterator<Item = (String, String)>) {
        self.variables.extend(variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)));
    }

    /// Makes them good for a process that leaves its directory.
    pub fn make_absolute(&mut self) {
        for path in self.usual.iter_mut().chain(&mut self.named) {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
    }

    /// The files, whether they are there or not.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.usual.iter().chain(&self.named).map(PathBuf::as_path)
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// See [`Unread`].
    pub fn read(&self) -> Result<Loaded, Unread> {
        let mut layers = Layers::default();
        for path in self.files() {
            match file(path) {
                Ok(source) => layers.yaml(&source),
                Err(error) if self.is_absent(path, &error) => {}
                Err(error) => return Err(Unread::File(path.into(), error)),
            }
        }
        layers.variables(self.variables.iter().cloned());
        self.assignments.iter().for_each(|(name, text)| layers.assignment(name, text));
        layers.finish().map_err(Unread::Mistakes)
    }

    fn is_absent(&self, path: &Path, error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && self.named.as_deref() != Some(path)
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
    if std::fs::metadata(path)?.len() > FILE_MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, "it is longer than 1 MiB"));
    }
    let text = String::from_utf8(std::fs::read(path)?).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok(Source::new(&path.to_string_lossy(), &text))
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
        sources.take_variables([("INFMAP__LIMIT".into(), "2GiB".into()), ("HOME".into(), "/".into())].into_iter());
        sources.assignments.push(("--set", "log.level=warn".into()));
        let first = sources.read().unwrap().settings;
        assert_eq!((first.limit, first.log.level.name(), first.memory.budget), (Some(2 << 30), "warn", 512 << 20));
        std::fs::write(&usual, "memory: { budget: 1GiB }\ncompression: auto\n").unwrap();
        let second = sources.read().unwrap().settings;
        assert_eq!((second.memory.budget, second.compression.name()), (1 << 30, "off"));
        std::fs::remove_file(&named).unwrap();
        assert!(matches!(sources.read(), Err(Unread::File(path, _)) if path == named));
    }
}
