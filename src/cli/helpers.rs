//! `infmap install-helpers`: the names by which mount(8), umount(8), fsck(8) and mkfs(8) find this program.
//!
//! Owns: the list of names. Must be true: only links of ours are replaced. Fails: with the system's error, or [`Code::Helper`] for a file
//! that somebody else put there.

use super::error::{CliError, Code};
use super::{Context, output};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Under each of these the program knows what it is asked for (`alias`).
const NAMES: &[&str] = &["mount.infmap", "mount.fuse.infmap", "umount.infmap", "umount.fuse.infmap", "fsck.infmap", "mkfs.infmap"];

/// Let mount(8), umount(8), fsck(8) and mkfs(8) find this program: `mount -t infmap VOLUME DIR`, and lines of fstab.
#[derive(clap::Args)]
pub struct InstallHelpers {
    /// Where they look for helpers.
    #[arg(long, value_name = "DIR", default_value = "/sbin")]
    into: PathBuf,
    /// Take the names away again.
    #[arg(long)]
    remove: bool,
}

impl InstallHelpers {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let program = std::env::current_exe().map_err(CliError::io("cannot tell where this program is"))?;
        let links: Vec<_> = NAMES.iter().map(|name| self.into.join(name)).collect();
        // All are looked at before the first is changed.
        let there = links.iter().map(|link| is_there(link, &program)).collect::<Result<Vec<_>, _>>()?;
        for (link, is_there) in links.into_iter().zip(there) {
            let what = format!("cannot change {}", link.display());
            if is_there {
                std::fs::remove_file(&link).map_err(CliError::io(what.clone()))?;
            }
            if !self.remove {
                std::os::unix::fs::symlink(&program, &link).map_err(CliError::io(what))?;
            }
        }
        if context.json {
            let shown = serde_json::json!({ "directory": self.into.display().to_string(), "names": NAMES, "installed": !self.remove });
            return output::json("helpers", &shown);
        }
        let done = if self.remove { "Removed" } else { "Installed" };
        output::done(&format!("{done} {} in {}.", NAMES.join(", "), self.into.display()), context)
    }
}

/// Whether there is a link of ours: to a program of this name, wherever that was. Whatever else is there is somebody's.
fn is_there(link: &Path, program: &Path) -> Result<bool, CliError> {
    match std::fs::read_link(link) {
        Ok(target) if target.file_name() == program.file_name() => Ok(true),
        Ok(_) => Err(foreign(link)),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(foreign(link)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::io(format!("cannot look at {}", link.display()))(error)),
    }
}

fn foreign(link: &Path) -> CliError {
    CliError::new(Code::Helper, format!("{} is there already and no link of ours", link.display()))
}
