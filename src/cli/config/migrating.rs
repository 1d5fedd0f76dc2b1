//! `infmap config migrate FILE`: a file of settings of the newest version, and the old one beside it.
//!
//! Must be true: MIG-4 the file is replaced whole or not at all, and only when its backup is durable; no backup is ever overwritten.
//! Fails: with [`Code::Config`] where the file cannot be migrated; with an error of the system, and the file is as it was.

use crate::cli::error::{CliError, Code};
use crate::cli::{Context, output, settings};
use crate::config::migrate::{self, Migrated, NEWEST, Stuck};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
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
    let mode = fs::metadata(file)?.permissions().mode();
    for number in 1..=BACKUPS_MAX {
        let mut name = file.as_os_str().to_os_string();
        name.push(format!(".v{version}.bak"));
        if number > 1 {
            name.push(format!(".{number}"));
        }
        match OpenOptions::new().write(true).create_new(true).mode(mode & 0o7777).open(&name) {
            Ok(backup) => {
                write(backup, text)?;
                sync_directory(file)?;
                return Ok(name.into());
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
    let permissions = fs::metadata(file)?.permissions();
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|out| {
        out.set_permissions(permissions)?;
        write(out, text)?;
        fs::rename(&fresh, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.and_then(|()| sync_directory(file))
}

fn write(mut out: File, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}
