//! `infmap clean VOLUME`: moves what lives out of images that are mostly dead, so that their room comes back.

use super::error::CliError;
use super::output::human;
use super::progress::Shown;
use super::settings::{SettingsArguments, load};
use super::{Context, info, output};
use crate::backend::{self, Cleaned, Left};
use crate::mount::lock::VolumeLock;
use std::path::PathBuf;
use std::time::Duration;

/// Move what lives out of images that are mostly dead, so that their room comes back. A mounted volume does it by itself.
#[derive(clap::Args)]
pub struct Clean {
    /// The volume's directory; it must not be mounted.
    volume: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Clean {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let volume = info::volume(&self.volume)?;
        let loaded = load(&self.settings, Some(&volume), &[])?;
        let lock = VolumeLock::take(&volume, None, Duration::ZERO)?;
        let mut shown = Shown::new(context);
        let (left, cleaned) = backend::clean(&volume, loaded.settings, &mut |progress| shown.step(progress));
        drop(shown);
        match left {
            Left::AsFound => lock.give_back(),
            Left::Finished => lock.finish(),
            Left::Unfinished => drop(lock),
        }
        let cleaned = cleaned?;
        if context.json {
            return output::json(&serde_json::json!({ "message_type": "cleaned", "cleaned": cleaned }));
        }
        output::text_line(&text(&cleaned))
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
        text += &format!("\n{damaged} extents cannot be verified and stay where they are: `infmap check` names them.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_free_is_said_and_so_is_what_could_not_be_moved() {
        let cleaned = Cleaned { images: 9, image_bytes: 36 << 20, written: 2, written_bytes: 8 << 20, damaged: 0 };
        assert!(text(&cleaned).ends_with("28 MiB came free."), "{}", text(&cleaned));
        assert!(text(&Cleaned { damaged: 3, ..cleaned }).contains("3 extents"));
        assert_eq!(text(&Cleaned::default()), "Nothing is worth cleaning.");
    }
}
