//! Cleaning a volume: a round of it, rounds until nothing is worth it, and those on a volume that nobody has mounted.
//!
//! Must be true: BCK-2. Fails: what was cleaned before stays so; closing makes everything durable, or says that it is not.

use super::{BackendError, Left, Progress, offline, refusal, serving};
use crate::control::protocol::Cleaned;
use infmap_actors::Volume;
use infmap_actors::settings::Settings;
use infmap_actors::volume::OpenOptions;
use infmap_storage::device::{Device, FileDevice};
use std::path::Path;
use std::sync::Arc;

/// Cleans a volume that nobody has mounted. Returns what was gained, and what was left of the volume.
pub fn clean(path: &Path, settings: Settings, progress: &mut dyn FnMut(Progress)) -> (Left, Result<Cleaned, BackendError>) {
    match open(path, settings) {
        Ok(volume) => {
            let damaged = |what| BackendError::Damaged { path: path.to_path_buf(), what, help: refusal::READ_ONLY };
            let cleaned = rounds(|| round(&volume).map_err(damaged), progress);
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

/// One round, or why there is none.
pub(super) fn round(volume: &Volume) -> Result<Cleaned, String> {
    let reason = |refusal: infmap_actors::api::Refusal| volume.shared().health.reason().unwrap_or_else(|| refusal.to_string());
    let gained = volume.ask(|replier| volume.clean(replier)).wait_blocking().map_err(reason)?;
    Ok(Cleaned {
        images: gained.images,
        image_bytes: gained.image_bytes,
        written: gained.written,
        written_bytes: gained.written_bytes,
        damaged: gained.damaged,
    })
}

/// Rounds until one brings nothing.
pub fn rounds<E>(mut round: impl FnMut() -> Result<Cleaned, E>, progress: &mut dyn FnMut(Progress)) -> Result<Cleaned, E> {
    let mut all = Cleaned::default();
    loop {
        let gained = round()?;
        all.images += gained.images;
        all.image_bytes += gained.image_bytes;
        all.written += gained.written;
        all.written_bytes += gained.written_bytes;
        all.damaged = all.damaged.max(gained.damaged);
        progress(Progress { phase: "images", done: all.images, total: 0 });
        if gained.image_bytes <= gained.written_bytes {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_end_with_one_that_brings_nothing_and_are_added_up() {
        let mut left = vec![(3, 100, 40), (2, 60, 60), (9, 900, 0)].into_iter();
        let round = || {
            let (images, image_bytes, written_bytes) = left.next().ok_or("asked too often")?;
            Ok::<_, &str>(Cleaned { images, image_bytes, written: 1, written_bytes, damaged: images })
        };
        let all = rounds(round, &mut |_| {}).expect("two rounds");
        assert_eq!(all, Cleaned { images: 5, image_bytes: 160, written: 2, written_bytes: 100, damaged: 3 });
    }
}
