//! The files that paths, patterns, directories and lists mean, one by one.
//!
//! Owns: `Paths`. Must be true: memory grows with depth and not with the number of files; no symbolic link below a directory is followed, and
//! no other filesystem entered. Fails: with [`Code::NothingThere`] for what was named and is not there; what goes away during the walk is
//! passed over.

use super::super::error::{CliError, Code};
use std::ffi::OsString;
use std::fs::{self, Metadata, ReadDir};
use std::io::{BufRead, BufReader, Stdin};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

/// A file that can be read ahead.
#[derive(Debug, PartialEq, Eq)]
pub struct Warmable {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
}

/// All of them.
pub struct Paths {
    named: IntoIter<PathBuf>,
    /// A list, while it is read.
    list: Option<BufReader<Stdin>>,
    /// The pattern that is looked for.
    wanted: Option<Wanted>,
    /// Directories that are walked, the deepest last.
    open: Vec<Directory>,
}

struct Directory {
    entries: ReadDir,
    device: u64,
    /// All that is in it is meant, and not only what fits the pattern.
    is_meant: bool,
}

/// A pattern that is looked for below a directory.
struct Wanted {
    pattern: glob::Pattern,
    text: String,
    /// Directories below each other in which it can fit something; `**` has no end.
    depth: usize,
    found: bool,
}

/// `*` and `?` do not cross a `/`, `**` does.
const AS_A_SHELL: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Paths {
    pub fn new(named: Vec<PathBuf>) -> Self {
        Self { named: named.into_iter(), list: None, wanted: None, open: Vec::new() }
    }

    /// The next path that was named; a list names many.
    fn next_named(&mut self) -> Option<Result<PathBuf, CliError>> {
        loop {
            let Some(list) = &mut self.list else {
                let path = self.named.next()?;
                if path.as_os_str() != "-" {
                    return Some(Ok(path));
                }
                self.list = Some(BufReader::new(std::io::stdin()));
                continue;
            };
            let mut line = Vec::new();
            match list.read_until(b'\n', &mut line) {
                Ok(0) => self.list = None,
                Ok(_) => {
                    line.pop_if(|last| *last == b'\n');
                    if !line.is_empty() {
                        return Some(Ok(OsString::from_vec(line).into()));
                    }
                }
                Err(error) => return Some(Err(CliError::io("cannot read the list on stdin")(error))),
            }
        }
    }

    /// Begins with a path that was named: gives it if it is a file, walks it if it is a directory, looks for it if it is a pattern.
    fn begin(&mut self, path: PathBuf) -> Result<Option<Warmable>, CliError> {
        match fs::metadata(&path) {
            Ok(meta) => Ok(self.visit(path, &meta, true)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match path.to_str().filter(|text| text.contains(['*', '?', '[']))
            {
                Some(text) => self.look_for(text).map(|()| None),
                None => Err(CliError::new(Code::NothingThere, format!("there is no {}", path.display()))),
            },
            Err(error) => Err(CliError::io(format!("cannot look at {}", path.display()))(error)),
        }
    }

    /// Walks from the last directory on that a pattern names for sure.
    fn look_for(&mut self, text: &str) -> Result<(), CliError> {
        let refused = |error| CliError::new(Code::Usage, format!("`{text}` is no pattern: {error}"));
        let pattern = glob::Pattern::new(text).map_err(refused)?;
        let parts: Vec<&str> = text.split('/').collect();
        let sure = parts.iter().take_while(|part| !part.contains(['*', '?', '['])).count();
        let base = parts.get(..sure).unwrap_or_default().join("/");
        let base = match (base.is_empty(), text.starts_with('/')) {
            (true, true) => "/".into(),
            (true, false) => ".".into(),
            (false, _) => base,
        };
        let depth = if text.contains("**") { usize::MAX } else { parts.len() - sure };
        let nothing = || CliError::new(Code::NothingThere, format!("`{text}` fits no path"));
        let meta = fs::metadata(&base).map_err(|_| nothing())?;
        self.wanted = Some(Wanted { pattern, text: text.into(), depth, found: false });
        self.visit(base.into(), &meta, false);
        Ok(())
    }

    /// Goes into a directory, or gives a file that is meant.
    fn visit(&mut self, path: PathBuf, meta: &Metadata, is_meant: bool) -> Option<Warmable> {
        if meta.is_dir() && (is_meant || self.wanted.as_ref().is_some_and(|wanted| self.open.len() < wanted.depth)) {
            let directory = |entries| Directory { entries, device: meta.dev(), is_meant };
            self.open.extend(fs::read_dir(&path).ok().map(directory));
        }
        (meta.is_file() && is_meant).then(|| Warmable { path, device: meta.dev(), inode: meta.ino(), size: meta.size() })
    }

    /// The next file of the walk that is under way, if there is one.
    fn walk(&mut self) -> Option<Warmable> {
        while let Some(Directory { entries, device, is_meant }) = self.open.last_mut() {
            let (device, is_meant) = (*device, *is_meant);
            let Some(entry) = entries.next() else {
                self.open.pop();
                continue;
            };
            // Of a link its own facts.
            let Some((path, meta)) = entry.ok().and_then(|entry| Some((entry.path(), entry.metadata().ok()?))) else { continue };
            if meta.dev() != device {
                continue;
            }
            let fits = self.wanted.as_mut().is_some_and(|wanted| wanted.fits(&path));
            if let Some(file) = self.visit(path, &meta, is_meant || fits) {
                return Some(file);
            }
        }
        None
    }
}

impl Wanted {
    fn fits(&mut self, path: &Path) -> bool {
        let fits = self.pattern.matches_path_with(path.strip_prefix("./").unwrap_or(path), AS_A_SHELL);
        self.found |= fits;
        fits
    }
}

impl Iterator for Paths {
    type Item = Result<Warmable, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(file) = self.walk() {
                return Some(Ok(file));
            }
            if let Some(Wanted { text, found: false, .. }) = self.wanted.take() {
                return Some(Err(CliError::new(Code::NothingThere, format!("`{text}` fits no path"))));
            }
            match self.next_named()?.and_then(|path| self.begin(path)) {
                Ok(Some(file)) => return Some(Ok(file)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(root: &Path, named: &[&str]) -> Vec<String> {
        let all = Paths::new(named.iter().map(|name| root.join(name)).collect());
        let mut names: Vec<String> =
            all.map(|file| file.expect("there").path.strip_prefix(root).expect("below").to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_directories_and_patterns_are_walked_and_links_are_not() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path();
        fs::create_dir_all(root.join("a/b/c")).expect("made");
        for file in ["a/1", "a/b/2", "a/b/c/3", "x.raw", "[odd]"] {
            fs::write(root.join(file), file).expect("written");
        }
        symlink(root.join("x.raw"), root.join("a/link")).expect("linked");
        symlink(root.join("a"), root.join("a/b/round")).expect("linked");
        assert_eq!(names(root, &["a"]), ["a/1", "a/b/2", "a/b/c/3"]);
        assert_eq!(names(root, &["a/link"]), ["a/link"], "one that is named is meant");
        assert_eq!(names(root, &["*.raw", "a/**/3"]), ["a/b/c/3", "x.raw"]);
        assert_eq!(names(root, &["a/?"]), ["a/1", "a/b/2", "a/b/c/3"], "a directory that fits is meant with all that is below");
        assert_eq!(names(root, &["a/*/2"]), ["a/b/2"]);
        assert_eq!(names(root, &["[odd]"]), ["[odd]"], "a file may look like a pattern");
        let refused = |name: &str| Paths::new(vec![root.join(name)]).next().expect("told").expect_err("refused").code;
        assert_eq!([refused("none"), refused("none*"), refused("a[")], [Code::NothingThere, Code::NothingThere, Code::Usage]);
    }
}
