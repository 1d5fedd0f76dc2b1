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
}

/// All of them.
pub struct Paths {
    named: IntoIter<PathBuf>,
    /// A list, while it is read.
    list: Option<BufReader<Stdin>>,
    /// What a pattern means.
    expanded: Option<glob::Paths>,
    /// Directories that are walked, the deepest last, each with its filesystem.
    open: Vec<(ReadDir, u64)>,
}

impl Paths {
    pub fn new(named: Vec<PathBuf>) -> Self {
        Self { named: named.into_iter(), list: None, expanded: None, open: Vec::new() }
    }

    /// The next path that was named; a list and a pattern name many.
    fn next_named(&mut self) -> Option<Result<PathBuf, CliError>> {
        loop {
            if let Some(paths) = &mut self.expanded {
                match paths.find_map(Result::ok) {
                    Some(path) => return Some(Ok(path)),
                    None => self.expanded = None,
                }
            }
            if let Some(list) = &mut self.list {
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
                continue;
            }
            let path = self.named.next()?;
            if path.as_os_str() == "-" {
                self.list = Some(BufReader::new(std::io::stdin()));
                continue;
            }
            match pattern(&path) {
                None => return Some(Ok(path)),
                Some(paths) => match paths {
                    Ok(paths) => self.expanded = Some(paths),
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }

    /// Goes into a directory, or gives a file.
    fn visit(&mut self, path: PathBuf, meta: &Metadata) -> Option<Warmable> {
        if meta.is_dir() {
            self.open.extend(fs::read_dir(&path).ok().map(|entries| (entries, meta.dev())));
        }
        meta.is_file().then(|| Warmable { path, device: meta.dev(), inode: meta.ino() })
    }
}

/// What a path means that is none but looks like a pattern: at least one path.
fn pattern(path: &Path) -> Option<Result<glob::Paths, CliError>> {
    let text = path.to_str().filter(|text| text.contains(['*', '?', '[']))?;
    if path.symlink_metadata().is_ok() {
        return None;
    }
    let expand = || glob::glob(text).map_err(|error| CliError::new(Code::Usage, format!("`{text}` is no pattern: {error}")));
    Some(expand().and_then(|mut paths| {
        let first = paths.find_map(Result::ok);
        first.ok_or_else(|| CliError::new(Code::NothingThere, format!("`{text}` fits no path")))?;
        // Anew, with the first.
        expand()
    }))
}

impl Iterator for Paths {
    type Item = Result<Warmable, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((entries, device)) = self.open.last_mut() {
                let device = *device;
                let Some(entry) = entries.next() else {
                    self.open.pop();
                    continue;
                };
                // Of a link its own facts.
                let Some((path, meta)) = entry.ok().and_then(|entry| Some((entry.path(), entry.metadata().ok()?))) else { continue };
                if meta.dev() == device
                    && let Some(file) = self.visit(path, &meta)
                {
                    return Some(Ok(file));
                }
                continue;
            }
            let path = match self.next_named()? {
                Ok(path) => path,
                Err(error) => return Some(Err(error)),
            };
            match fs::metadata(&path) {
                Ok(meta) => {
                    if let Some(file) = self.visit(path, &meta) {
                        return Some(Ok(file));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Some(Err(CliError::new(Code::NothingThere, format!("there is no {}", path.display()))));
                }
                Err(error) => return Some(Err(CliError::io(format!("cannot look at {}", path.display()))(error))),
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
        assert_eq!(names(root, &["[odd]"]), ["[odd]"], "a file may look like a pattern");
        let refused = |name: &str| Paths::new(vec![root.join(name)]).next().expect("told").expect_err("refused").code;
        assert_eq!([refused("none"), refused("none*"), refused("a[")], [Code::NothingThere, Code::NothingThere, Code::Usage]);
    }
}
