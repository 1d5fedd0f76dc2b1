//! `infmap config ...`: what settings there are, what is wrong with them, and putting them into force.

mod migrating;
mod reloading;

use super::error::{CliError, Code};
use super::settings::{self, SettingsArguments};
use super::status::Behind;
use super::{Context, output};
use crate::config::show::Row;
use crate::config::{Layers, json_schema, preset, show, table};
use crate::control::client::{self, ControlError};
use crate::control::protocol::KeyInForce;
use infmap_actors::settings::Preset;
use std::path::{Path, PathBuf};

/// Check, show, describe, migrate or reload settings.
#[derive(clap::Args)]
pub struct Config {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(clap::Subcommand)]
enum ConfigVerb {
    /// Say what is wrong with a file; it is not used.
    Check { file: PathBuf },
    /// Print all settings as YAML that can be read back: those that a mount has in force; those that the next mount of a volume would have;
    /// or, without a path, those of this machine and user.
    Show {
        /// Where it is mounted, or the volume's directory.
        #[arg(value_name = "DIR|VOLUME")]
        path: Option<PathBuf>,
        #[command(flatten)]
        settings: SettingsArguments,
        /// Print where each value came from instead of what is allowed.
        #[arg(long)]
        origin: bool,
    },
    /// List the presets: whole configurations to begin with, and what each is for.
    Presets,
    /// Print the JSON Schema of a file of settings, for editors.
    Schema {
        /// Print a table of all keys in Markdown instead.
        #[arg(long)]
        markdown: bool,
    },
    /// Bring a file to the newest version; the file as it was stays beside it.
    Migrate(migrating::Migrate),
    /// Have a mount read its settings again, and say what became of each that differs.
    Reload(reloading::Reload),
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
                    return output::json("config", &shown(&show::rows(&loaded)));
                }
                output::done(&format!("{}: {} settings, no mistakes", file.display(), loaded.origins.len()), context)
            }
            ConfigVerb::Show { path, settings, origin } => {
                let rows = rows(path.as_deref(), &settings)?;
                if context.json { output::json("config", &shown(&rows)) } else { output::text_line(&show::yaml(&rows, origin)) }
            }
            ConfigVerb::Presets => presets(context),
            ConfigVerb::Schema { markdown } => {
                let text = if markdown { table::markdown().trim_end().to_string() } else { json_schema::text() };
                if !context.json {
                    return output::text_line(&text);
                }
                let schema = if markdown { text.into() } else { serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default() };
                output::json("config_schema", &serde_json::json!({ "schema": schema }))
            }
            ConfigVerb::Migrate(verb) => verb.run(context),
            ConfigVerb::Reload(verb) => verb.run(context),
        }
    }
}

/// The keys are below one field, for `version` is one of them.
fn shown(rows: &[Row]) -> serde_json::Value {
    serde_json::json!({ "settings": show::json(rows) })
}

/// What is in force, or would be.
fn rows(path: Option<&Path>, arguments: &SettingsArguments) -> Result<Vec<Row>, CliError> {
    let Some(path) = path else { return Ok(show::rows(&settings::load(arguments, None, &[])?)) };
    let behind = Behind::of(path)?;
    if !behind.is_mounted()? {
        return Ok(show::rows(&settings::load(arguments, Some(&behind.volume), &[])?));
    }
    if arguments.config.is_some() || arguments.preset.is_some() || !arguments.set.is_empty() {
        let message = format!("{} is mounted, with settings of its own", behind.volume.display());
        return Err(CliError::new(Code::Usage, message).help("leave --config, --preset and --set out, or unmount it first"));
    }
    in_force(&behind.volume).map_err(|error| behind.unanswered(&error))
}

/// What a mount has in force.
pub fn in_force(volume: &Path) -> Result<Vec<Row>, ControlError> {
    let row = |KeyInForce { key, value, origin }| Row { path: key, value, origin };
    Ok(client::config(volume)?.into_iter().map(row).collect())
}

fn presets(context: &Context) -> Result<(), CliError> {
    if context.json {
        let row = |preset: &Preset| serde_json::json!({ "name": preset.name(), "purpose": preset::purpose(*preset), "text": &*preset::source(*preset).text });
        return output::json("presets", &serde_json::json!({ "presets": Preset::ALL.iter().map(row).collect::<Vec<_>>() }));
    }
    let paragraph = |preset: &Preset| format!("{}\n  {}", preset.name(), preset::purpose(*preset).join("\n  "));
    let all: Vec<String> = Preset::ALL.iter().map(paragraph).collect();
    output::text_line(&format!("{}\n\nSay `preset: NAME` in a file, or --preset NAME.", all.join("\n\n")))
}
