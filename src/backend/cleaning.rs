//! Cleaning a volume that nobody has mounted: it is opened as for a mount, cleaned until nothing is worth it, and closed.
//!
//! Must be true: BCK-2. Fails: what was cleaned before stays so; closing makes everything durable, or says that it is not.

use super::{BackendError, Left, Progress, offline, refusal, serving};
use infmap_actors::Volume;
use infmap_actors::settings::Settings;
use infmap_actors::volume::OpenOptions;
use infmap_storage::device::{Device, FileDevice};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// What cleaning gained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Images that were emptied, and bytes of their files.
    pub images: u64,
    pub image_bytes: u64,
    /// Images that hold now what lived in them, and bytes of their files.
    pub written: u64,
    pub written_bytes: u64,
    /// Extents that stay where they are because their bytes cannot be verified.
    pub damaged: u64,
}

/// Cleans a volume. Returns what was gained, and what was left of the volume.
pub fn clean(path: &Path, settings: Settings, progress: &mut dyn FnMut(Progress)) -> (Left, Result<Cleaned, BackendError>) {
    match open(path, settings) {
        Ok(volume) => {
            let cleaned = rounds(&volume, path, progress);
            let closed = serving::close(&volume, path, refusal::STOPPED);
            let left = if closed.is_ok() { Left::Finished } else { Left::Unfinished };
            (left, closed.and(cleaned))
        }
        Err(error) => (Left::AsFound, Err(error)),
    }
}

fn open(path: &Path, settings: Settings) -> Result<Volume, BackendError> {
    let file = offline::read_volume_file(path)?;
    let device: Arc<dyn Device> = Arc::new(FileDevice::new(path).map_err(serving::io_at(path))?);
    let options = OpenOptions { uuid: file.uuid, settings, read_only: false };
    Volume::open(device, options).map_err(|error| refusal::opening(path, error))
}

fn rounds(volume: &Volume, path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Cleaned, BackendError> {
    let mut all = Cleaned::default();
    loop {
        let gained = volume.ask(|replier| volume.clean(replier)).wait_blocking().map_err(|refusal| {
            let what = volume.shared().health.reason().unwrap_or_else(|| refusal.to_string());
            BackendError::Damaged { path: path.to_path_buf(), what, help: refusal::READ_ONLY }
        })?;
        all.images += gained.images;
        all.image_bytes += gained.image_bytes;
        all.written += gained.written;
        all.written_bytes += gained.written_bytes;
        all.damaged = all.damaged.max(gained.damaged);
        progress(Progress { phase: "images", done: all.images, total: 0 });
        if gained.bytes() == 0 {
            return Ok(all);
        }
    }
}
