//! `infmap umount DIR`: unmounts, and returns when everything is durable.

use super::error::{CliError, Code};
use super::{Context, mount::duration, output};
use crate::backend;
use crate::control::client;
use crate::control::protocol::Status;
use crate::mount::server::{self, Ending};
use crate::mount::{mountinfo, point, unmount};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Unmount, and wait until everything is written.
#[derive(clap::Args)]
pub struct Umount {
    /// Where it is mounted, or the volume's directory.
    #[arg(value_name = "DIR|VOLUME")]
    dir: PathBuf,
    /// Detach it although processes still use it; it ends when they do.
    #[arg(short = 'l', long, alias = "force")]
    lazy: bool,
    /// How long to wait until everything is written.
    #[arg(long, default_value = "5m", value_parser = duration, allow_hyphen_values = true)]
    wait: Duration,
}

impl Umount {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let path = mountpoint(point::absolute(&self.dir))?;
        // Who serves it is asked before: afterwards nothing says so any more.
        let mounted = mountinfo::at(&path)?.filter(mountinfo::Mounted::is_ours);
        let server = mounted.map(|mounted| server::of(&mounted)).transpose()?;
        // So is how the volume is. One that does not answer is unmounted all the same.
        let living = server.as_ref().filter(|server| server.is_held()).and_then(|server| server.volume.as_deref());
        let turned = living.and_then(|volume| client::status(volume).ok()).filter(|status| status.failed);
        // Called from inside of the mount, this process would be one that holds it.
        std::env::set_current_dir("/").map_err(CliError::io("cannot leave the directory"))?;
        unmount::unmount(&path, self.lazy)?;
        let volume = server.as_ref().and_then(|server| server.volume.clone());
        let ending = match server.filter(|_| !self.lazy) {
            Some(server) => Some(server.ended(self.wait)?),
            None => None,
        };
        if let Some(ending) = ending {
            judge(ending, &path, volume.as_deref(), turned.as_ref())?;
        }
        if context.json {
            let volume = volume.map(|volume| volume.display().to_string());
            let shown = serde_json::json!({ "unmounted": path.display().to_string(), "volume": volume, "durable": ending.is_some() });
            return output::json("unmounted", &shown);
        }
        Ok(())
    }
}

/// Where it is mounted, if it is called by the volume's directory.
fn mountpoint(path: PathBuf) -> Result<PathBuf, CliError> {
    if mountinfo::at(&path)?.is_some() || !backend::is_volume(&path) {
        return Ok(path);
    }
    Ok(client::status(&path).map_or(path, |status| PathBuf::from(status.mountpoint)))
}

/// What a caller must know of how it ended.
fn judge(ending: Ending, path: &Path, volume: Option<&Path>, turned: Option<&Status>) -> Result<(), CliError> {
    let path = path.display();
    let name = volume.map_or_else(|| "its volume".into(), |volume| volume.display().to_string());
    let unfinished = |what: String| CliError::new(Code::Unfinished, format!("{path} is unmounted, but {what}"));
    match ending {
        Ending::Unfinished | Ending::InOrder if turned.is_some() => {
            let why = turned.and_then(|turned| turned.reason.as_deref()).unwrap_or("no reason given");
            Err(CliError::new(Code::ReadOnly, format!("{path} is unmounted, but {name} had turned read-only: {why}")))
        }
        Ending::InOrder => Ok(()),
        Ending::Late { pid } => {
            let pid = pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
            Err(CliError::new(Code::UnmountLate, format!("{pid} still writes to {name}")))
        }
        Ending::Unfinished => Err(unfinished(format!("the daemon of {name} ended without finishing"))),
        Ending::Removed => {
            let what =
                format!("{name}, or the lock in it, was removed while it was mounted: nobody knows whether what was written is safe");
            Err(unfinished(what)
                .help("if there is a volume at its place, `infmap check VOLUME` says whether it is whole; else take it from a backup"))
        }
        Ending::Unknown => {
            let what = "no volume is found behind it: nobody knows whether what was written is safe";
            Err(unfinished(what.into())
                .help("look for the process that served it, and let `infmap check VOLUME` say whether the volume is whole"))
        }
    }
}
