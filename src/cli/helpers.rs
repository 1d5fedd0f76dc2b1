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
        for name in NAMES {
            let link = self.into.join(name);
            let what = format!("cannot change {}", link.display());
            if is_replaceable(&link)? {
                std::fs::remove_file(&link).map_err(CliError::io(what.clone()))?;
            }
            if !self.remove {
                std::os::unix::fs::symlink(&program, &link).map_err(CliError::io(what))?;
            }
        }
        if context.json {
            return output::json(
                &serde_json::json!({ "directory": self.into.display().to_string(), "names": NAMES, "installed": !self.remove }),
            );
        }
        let done = if self.remove { "Removed" } else { "Installed" };
        output::text_line(&format!("{done} {} in {}.", NAMES.join(", "), self.into.display()))
    }
}

/// Whether there is a link that may be replaced; what is no link is somebody's.
fn is_replaceable(link: &Path) -> Result<bool, CliError> {
    match std::fs::symlink_metadata(link) {
        Ok(found) if found.file_type().is_symlink() => Ok(true),
        Ok(_) => Err(CliError::new(Code::Helper, format!("{} is there already and no link of ours", link.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::io(format!("cannot look at {}", link.display()))(error)),
    }
}
