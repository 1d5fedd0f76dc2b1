//! `infmap config migrate FILE`: a file of settings of the newest version, and the old one beside it.
//!
//! Must be true: MIG-4 the file is replaced whole or not at all, and only when its backup is durable; no backup is ever overwritten; MIG-5 the
//! new file and the backup have the owner and the mode of the file, where this user may give them.
//! Fails: with [`Code::Config`] where the file cannot be migrated; with an error of the system, and the file is as it was.

use crate::cli::error::{CliError, Code};
use crate::cli::{Context, output, settings};
use crate::config::migrate::{self, Migrated, NEWEST, Stuck};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Backups of one version of one file at most.
const BACKUPS_MAX: u32 = 1000;

/// Bring a file of settings to the newest version, with its comments.
#[derive(clap::Args)]
pub struct Migrate {
    file: PathBuf,
    /// Print what the file would become, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Migrate {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let source = settings::named(&self.file)?;
        let Migrated { from, to, text } = migrate::migrate(&source).map_err(|stuck| self.refused(stuck))?;
        let facts = |backup: Option<&Path>| {
            let (file, backup) = (self.file.display().to_string(), backup.map(|backup| backup.display().to_string()));
            serde_json::json!({ "file": file, "from": from, "to": to, "backup": backup, "text": text })
        };
        if self.dry_run || from == to {
            return match (context.json, self.dry_run) {
                (true, _) => output::json("migrated", &facts(None)),
                (false, true) => output::text_line(text.trim_end()),
                (false, false) => output::done(&format!("{} has version {to} already", self.file.display()), context),
            };
        }
        let file = self.file.canonicalize().map_err(CliError::io(format!("cannot find {}", self.file.display())))?;
        let backup = back_up(&file, from, &source.text).map_err(CliError::io(format!("cannot keep {} as it is", file.display())))?;
        replace(&file, &text).map_err(CliError::io(format!("cannot write {}", file.display())))?;
        if context.json {
            return output::json("migrated", &facts(Some(&backup)));
        }
        output::done(&format!("{}: version {from} -> {to}; as it was: {}", self.file.display(), backup.display()), context)
    }

    fn refused(&self, stuck: Stuck) -> CliError {
        match stuck {
            Stuck::Mistakes(mistakes) => CliError::mistakes(&mistakes),
            Stuck::Newer { version } => {
                let (file, program) = (self.file.display(), env!("CARGO_PKG_VERSION"));
                let message = format!("{file} has version {version}; infmap {program} reads versions up to {NEWEST}");
                CliError::new(Code::Config, message).help(format!("use the release of infmap that wrote it; it is later than {program}"))
            }
        }
    }
}

/// Writes the text beside the file, under a name that nothing has.
fn back_up(file: &Path, version: u32, text: &str) -> io::Result<PathBuf> {
    let like = fs::metadata(file)?;
    for number in 1..=BACKUPS_MAX {
        let mut name = file.as_os_str().to_os_string();
        name.push(format!(".v{version}.bak"));
        if number > 1 {
            name.push(format!(".{number}"));
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name) {
            Ok(backup) => {
                // A part of one is none.
                let whole = write(backup, text, &like).inspect_err(|_| drop(fs::remove_file(&name)));
                return whole.and_then(|()| sync_directory(file)).map(|()| name.into());
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "there are too many backups"))
}

/// Puts a new text in the file's place: the old one or the new one is there, whatever happens.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.as_os_str().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(name);
    let like = fs::metadata(file)?;
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|out| {
        write(out, text, &like)?;
        fs::rename(&fresh, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.and_then(|()| sync_directory(file))
}

/// Writes the text into a new file, with the owner and the mode of another.
fn write(mut out: File, text: &str, like: &fs::Metadata) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    let found = out.metadata()?;
    let is_given = (found.uid(), found.gid()) == (like.uid(), like.gid()) || fchown(&out, Some(like.uid()), Some(like.gid())).is_ok();
    let mode = like.permissions().mode() & 0o7777;
    // Behind the owner, whose change takes bits away. What cannot be given to a group is not shown to another one.
    out.set_permissions(fs::Permissions::from_mode(if is_given { mode } else { mode & 0o7707 }))?;
    out.sync_all()
}

fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meant to fail when the owner was left out: what root migrated of a user was closed to that user.
    #[test]
    fn the_new_file_and_its_backup_belong_to_whom_the_file_did() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.yaml");
        fs::write(&file, "limit: none\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(65_534), Some(65_533)).expect("given away");
        }
        let seen = |path: &Path| {
            let found = fs::metadata(path).expect("there");
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        let before = seen(&file);
        let backup = back_up(&file, 0, "limit: none\n").expect("kept");
        replace(&file, "version: 1\nlimit: none\n").expect("replaced");
        assert_eq!((seen(&backup), seen(&file)), (before, before));
        assert_eq!(fs::read_to_string(&backup).expect("read"), "limit: none\n");
    }
}
