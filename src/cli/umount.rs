//! `infmap umount DIR`: unmounts, and returns when everything is durable.

use super::error::{CliError, Code};
use super::{Context, mount::duration, output};
use crate::mount::{lock, mountinfo, point, unmount};
use std::path::PathBuf;
use std::time::Duration;

/// Unmount, and wait until everything is written.
#[derive(clap::Args)]
pub struct Umount {
    /// Where it is mounted.
    dir: PathBuf,
    /// Detach it although processes still use it; it ends when they do.
    #[arg(short = 'l', long, alias = "force")]
    lazy: bool,
    /// How long to wait until everything is written.
    #[arg(long, default_value = "5m", value_parser = duration)]
    wait: Duration,
}

impl Umount {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let path = point::absolute(&self.dir);
        // Who serves it is asked before: afterwards nothing says so any more.
        let volume = mountinfo::at(&path)?.filter(mountinfo::Mounted::is_ours).and_then(|mounted| lock::volume_behind(&mounted));
        // Called from inside of the mount, this process would be one that holds it.
        std::env::set_current_dir("/").map_err(CliError::io("cannot leave the directory"))?;
        unmount::unmount(&path, self.lazy)?;
        if let Some(volume) = &volume
            && !self.lazy
            && let Some(owner) = lock::wait_for_release(volume, self.wait)?
        {
            let pid = owner.pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
            return Err(CliError::new(Code::UnmountLate, format!("{pid} still writes to {}", volume.display())));
        }
        if let Some(volume) = volume.as_ref().filter(|_| !self.lazy)
            && lock::was_left(volume)?
        {
            let message = format!("{} is unmounted, but the daemon of {} ended without finishing", path.display(), volume.display());
            return Err(CliError::new(Code::Unfinished, message));
        }
        if context.json {
            let durable = !self.lazy && volume.is_some();
            let volume = volume.map(|volume| volume.display().to_string());
            return output::json(&serde_json::json!({ "unmounted": path.display().to_string(), "volume": volume, "durable": durable }));
        }
        Ok(())
    }
}
