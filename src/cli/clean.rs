//! `infmap clean VOLUME|DIR`: moves what lives out of images that are mostly dead, so that their room comes back.
//!
//! Must be true: a mounted volume is cleaned by its own daemon, beside whoever uses it; another is opened for it, under its lock. Whatever
//! interrupts it, what was cleaned stays so. Fails: with [`Code::NoAnswer`], [`Code::AskedReadOnly`] or [`Code::ReadOnly`] of a daemon.

use super::error::{CliError, Code};
use super::output::human;
use super::progress::Shown;
use super::settings::{SettingsArguments, load};
use super::status::Behind;
use super::{Context, info, output};
use crate::backend::{self, Left};
use crate::control::client::{self, ControlError};
use crate::control::protocol::{Cleaned, Mode};
use crate::mount::lock::VolumeLock;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Move what lives out of images that are mostly dead, so that their room comes back. A mounted volume also does it by itself.
#[derive(clap::Args)]
pub struct Clean {
    /// The volume's directory, or the directory where it is mounted.
    #[arg(value_name = "VOLUME|DIR")]
    path: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Clean {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let behind = Behind::of(&self.path)?;
        let mut shown = Shown::new(context);
        let round = || client::clean(&behind.volume).map_err(|error| unanswered(&behind, &error));
        let cleaned = match behind.is_mounted()? {
            true => backend::rounds(round, &mut |step| shown.step(step)),
            false => unmounted(&info::volume(&behind.volume)?, &self.settings, &mut shown),
        };
        drop(shown);
        let cleaned = cleaned?;
        if context.json {
            return output::json("cleaned", &serde_json::json!({ "cleaned": cleaned }));
        }
        output::done(&text(&cleaned), context)
    }
}

fn unmounted(volume: &Path, settings: &SettingsArguments, shown: &mut Shown) -> Result<Cleaned, CliError> {
    let loaded = load(settings, Some(volume), &[])?;
    let lock = VolumeLock::take(volume, None, Duration::ZERO)?;
    let (left, cleaned) = backend::clean(volume, loaded.settings, &mut |progress| shown.step(progress));
    match left {
        Left::AsFound => lock.give_back(),
        Left::Finished => lock.finish(),
        Left::Unfinished => drop(lock),
    }
    Ok(cleaned?)
}

fn unanswered(behind: &Behind, error: &ControlError) -> CliError {
    match error {
        // A round is refused where nothing may be changed: because somebody asked for that, or because something failed.
        ControlError::Refused(why) => {
            let is_asked = client::status(&behind.volume).is_ok_and(|status| status.mode == Mode::Ro && !status.failed);
            let code = if is_asked { Code::AskedReadOnly } else { Code::ReadOnly };
            CliError::new(code, format!("{} is not cleaned: {why}", behind.volume.display()))
        }
        _ => behind.unanswered(error),
    }
}

fn text(cleaned: &Cleaned) -> String {
    let Cleaned { images, image_bytes, written, written_bytes, damaged } = *cleaned;
    let mut text = match images {
        0 => "Nothing is worth cleaning.".into(),
        _ => format!(
            "Cleaned {images} images of {}; what lived in them is in {written} images of {}: {} came free.",
            human(image_bytes),
            human(written_bytes),
            human(image_bytes.saturating_sub(written_bytes))
        ),
    };
    if damaged > 0 {
        text += &format!("\n{damaged} images have extents that cannot be verified, and stay: `infmap damage ls` names the files.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_free_is_said_and_so_is_what_could_not_be_moved() {
        let cleaned = Cleaned { images: 9, image_bytes: 36 << 20, written: 2, written_bytes: 8 << 20, damaged: 0 };
        assert!(text(&cleaned).ends_with("28.0 MiB came free."), "{}", text(&cleaned));
        assert!(text(&Cleaned { damaged: 3, ..cleaned }).contains("3 images"));
        assert_eq!(text(&Cleaned::default()), "Nothing is worth cleaning.");
    }
}
