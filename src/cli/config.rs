//! `infmap config check FILE` and `infmap config show`: what settings there are, and what is wrong with them.

use super::error::CliError;
use super::settings::{self, SettingsArguments};
use super::{Context, output};
use crate::config::{Layers, show};
use std::path::PathBuf;

/// Check a file of settings, or show the settings in force.
#[derive(clap::Args)]
pub struct Config {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(clap::Subcommand)]
enum ConfigVerb {
    /// Say what is wrong with a file; it is not used.
    Check { file: PathBuf },
    /// Print all settings as they are in force, as YAML that can be read back.
    Show {
        #[command(flatten)]
        settings: SettingsArguments,
        /// Print where each value came from instead of what is allowed.
        #[arg(long)]
        origin: bool,
    },
}

impl Config {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        match self.verb {
            ConfigVerb::Check { file } => {
                let mut layers = Layers::default();
                layers.yaml(&settings::named(&file)?);
                let loaded = layers.finish().map_err(|mistakes| CliError::mistakes(&mistakes))?;
                if let Some(what) = settings::too_large(&loaded.settings) {
                    output::note(&format!("{what}: a mount here would be refused"), context);
                }
                if context.json {
                    return output::json(&show::json(&loaded));
                }
                output::done(&format!("{}: {} settings, no mistakes", file.display(), loaded.origins.len()), context)
            }
            ConfigVerb::Show { settings, origin } => {
                let loaded = settings::load(&settings, None, &[])?;
                if context.json { output::json(&show::json(&loaded)) } else { output::text_line(&show::yaml(&loaded, origin)) }
            }
        }
    }
}
