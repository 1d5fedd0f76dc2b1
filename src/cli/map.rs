//! `infmap map`: looks at the map as a whole.

use super::error::CliError;
use super::progress::Shown;
use super::{Context, info, output};
use crate::backend;
use std::path::PathBuf;

/// Look at the map as a whole.
#[derive(clap::Args)]
pub struct Map {
    #[command(subcommand)]
    verb: MapVerb,
}

#[derive(clap::Subcommand)]
enum MapVerb {
    /// Draw the whole map into one PNG.
    Render {
        /// The volume's directory, or where it is mounted.
        volume: PathBuf,
        /// The file to write.
        #[arg(value_name = "OUT.png")]
        out: PathBuf,
    },
}

impl Map {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let MapVerb::Render { volume, out } = self.verb;
        let volume = info::volume_of(&volume)?;
        let mut shown = Shown::new(context);
        let rendered = backend::render(&volume, &out, &mut |progress| shown.step(progress));
        drop(shown);
        let rendered = rendered?;
        if context.json {
            return output::json(&rendered);
        }
        let size = format!("{} x {} pixels", rendered.width_px, rendered.height_px);
        output::text_line(&format!("Drew {} images into {} ({size}).", rendered.images, out.display()))
    }
}
