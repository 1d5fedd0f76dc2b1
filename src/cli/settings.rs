//! Collects the settings of a call from their sources: files, variables, command line.
//!
//! Owns: where the files are. Must be true: a file that was named must exist, one of the usual places need not; the later
//! source wins. Fails: with [`Code::Config`] and every mistake, or an error of the system.

use super::error::{CliError, Code};
use super::output::human;
use crate::config::{Layers, Loaded, Source, nearest, schema};
use crate::memory;
use infmap_actors::settings::Settings;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Settings longer than this are not settings.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The options that every verb with settings has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SettingsArguments {
    /// A YAML file with settings; see config/default.yaml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, for example memory.budget=1GiB. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Reads all sources. `volume` may hold a config.yaml of its own; `more` are assignments of `-o`.
pub fn load(arguments: &SettingsArguments, volume: Option<&Path>, more: &[String]) -> Result<Loaded, CliError> {
    let mut layers = Layers::default();
    let home = std::env::var_os("XDG_CONFIG_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let usual = [
        Some(PathBuf::from("/etc/infmap/config.yaml")),
        home.map(|home| home.join("infmap/config.yaml")),
        volume.map(|volume| volume.join("config.yaml")),
    ];
    for path in usual.iter().flatten() {
        match file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => {}
            read => layers.yaml(&read.map_err(CliError::io(format!("cannot read {}", path.display())))?),
        }
    }
    if let Some(path) = &arguments.config {
        layers.yaml(&named(path)?);
    }
    layers.variables(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))));
    for assignment in more {
        layers.assignment("-o", assignment);
    }
    for assignment in &arguments.set {
        layers.assignment("--set", assignment);
    }
    layers.finish().map_err(|mistakes| CliError::mistakes(&mistakes))
}

/// What is wrong with a budget of more memory than this process can have; nothing, if it is not.
pub fn too_large(settings: &Settings) -> Option<String> {
    let budget = settings.memory.budget;
    let limit = memory::limit().filter(|limit| limit.bytes < budget)?;
    Some(format!("memory.budget is {}, and {} is {}", human(budget), limit.by, human(limit.bytes)))
}

/// Reads a file that was named, so it must be there.
pub fn named(path: &Path) -> Result<Source, CliError> {
    file(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let beside = std::fs::read_dir(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")));
            let names: Vec<String> =
                beside.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let error = CliError::new(Code::Config, format!("there is no file {}", path.display()));
            match nearest(&name, names.iter().map(String::as_str)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error,
            }
        }
        _ => CliError::new(Code::Config, format!("cannot read {}: {error}", path.display())).help("name a readable YAML file"),
    })
}

fn file(path: &Path) -> std::io::Result<Source> {
    if std::fs::metadata(path)?.len() > FILE_MAX_BYTES {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "it is longer than 1 MiB"));
    }
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok(Source::new(&path.to_string_lossy(), &text))
}

/// The keys, for the help of the verbs.
pub fn keys_help() -> String {
    let keys: Vec<String> = schema::KEYS.iter().map(|key| format!("  {:<30} {} ({})", key.path, key.doc, key.kind)).collect();
    format!("Settings:\n{}", keys.join("\n"))
}
