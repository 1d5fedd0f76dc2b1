//! `infmap map`: looks at the map as a whole.

use super::destination::Destination;
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
        /// The file to write, outside of all volumes; `-` is stdout.
        #[arg(value_name = "OUT.png|-")]
        out: PathBuf,
    },
}

impl Map {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let MapVerb::Render { volume, out } = self.verb;
        let volume = info::volume_of(&volume)?;
        let destination = Destination::of(&out, &volume)?;
        let mut shown = Shown::new(context);
        let drawn = backend::draw(&volume, &mut |progress| shown.step(progress));
        drop(shown);
        let (rendered, picture) = drawn?;
        destination.write(|out| backend::write_png(&picture, out))?;
        let place = if destination == Destination::Stdout { "stdout".into() } else { out.display().to_string() };
        let size = format!("{} x {} pixels", rendered.width_px, rendered.height_px);
        let text = format!("Drew {} images into {place} ({size}).", rendered.images);
        match (destination, context.json) {
            (Destination::File(_), true) => output::json("rendered", &rendered),
            (Destination::File(_), false) => output::done(&text, context),
            // There the picture is, and nothing else.
            (Destination::Stdout, _) => {
                output::note(&text, context);
                Ok(())
            }
        }
    }
}
