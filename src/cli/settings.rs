//! Collects the settings of a call from their sources: files, variables, command line.
//!
//! Owns: where the files are. Must be true: a file that was named must exist, one of the usual places need not; the later
//! source wins. Fails: with [`Code::Config`] and every mistake, or an error of the system.

use super::error::{CliError, Code};
use super::output::human;
use crate::config::sources::{self, Sources, Unread};
use crate::config::{Loaded, Source, nearest, schema};
use crate::memory;
use infmap_actors::settings::Settings;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The options that every verb with settings has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SettingsArguments {
    /// A YAML file with settings; see config/default.yaml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A whole configuration to begin with; `infmap config presets` lists them.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// One setting, for example memory.budget=1GiB. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Reads all sources. `volume` may hold a config.yaml of its own; `more` are assignments of `-o`.
pub fn load(arguments: &SettingsArguments, volume: Option<&Path>, more: &[String]) -> Result<Loaded, CliError> {
    read(&sources(arguments, volume, more))
}

/// The sources of a call.
pub fn sources(arguments: &SettingsArguments, volume: Option<&Path>, more: &[String]) -> Sources {
    let home = std::env::var_os("XDG_CONFIG_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let mut sources = Sources::usual(home, volume);
    sources.named.clone_from(&arguments.config);
    sources.take_variables(std::env::vars_os());
    // Flags are last: -o is what mount(8) and fstab have instead of flags of our own.
    sources.assignments.extend(arguments.set.iter().map(|assignment| ("--set", assignment.clone())));
    sources.assignments.extend(more.iter().map(|assignment| ("-o", assignment.clone())));
    sources.assignments.extend(arguments.preset.iter().map(|preset| ("--preset", format!("preset={preset}"))));
    sources
}

/// Reads the sources of a call.
pub fn read(sources: &Sources) -> Result<Loaded, CliError> {
    sources.read().map_err(|unread| match unread {
        Unread::Mistakes(mistakes) => CliError::mistakes(&mistakes),
        Unread::File(path, error) if sources.named.as_ref() == Some(&path) => unreadable(&path, &error),
        Unread::File(path, error) => CliError::io(format!("cannot read {}", path.display()))(error),
    })
}

/// What is wrong with a budget of more memory than this process can have; nothing, if it is not.
pub fn too_large(settings: &Settings) -> Option<String> {
    let budget = settings.memory.budget;
    let limit = memory::limit().filter(|limit| limit.bytes < budget)?;
    Some(format!("memory.budget is {}, and {} is {}", human(budget), limit.by, human(limit.bytes)))
}

/// Reads a file that was named, so it must be there.
pub fn named(path: &Path) -> Result<Source, CliError> {
    sources::file(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    match error.kind() {
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
    }
}

/// The keys, for the help of the verbs.
pub fn keys_help() -> String {
    let keys: Vec<String> =
        schema::KEYS.iter().map(|key| format!("  {:<34} {} ({}; {})", key.path, key.doc, key.kind, key.class.name())).collect();
    format!("Settings (live: `infmap config reload` applies it; remount: at the next mount):\n{}", keys.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meant to fail when --set lay above -o.
    #[test]
    fn flags_beat_options_of_mount_8_and_those_beat_set() {
        let arguments = |set: &[&str], preset: Option<&str>| SettingsArguments {
            preset: preset.map(Into::into),
            set: set.iter().map(ToString::to_string).collect(),
            ..SettingsArguments::default()
        };
        let loaded = |arguments: &SettingsArguments, more: &[&str]| {
            let more: Vec<String> = more.iter().map(ToString::to_string).collect();
            let assignments = sources(arguments, None, &more).assignments;
            Sources { assignments, ..Sources::default() }.read().expect("no mistake").settings
        };
        let settings = loaded(&arguments(&["limit=1GiB", "limit=2GiB"], None), &["limit=4GiB"]);
        assert_eq!(settings.limit, Some(4 << 30));
        assert_eq!(loaded(&arguments(&["limit=1GiB", "limit=2GiB"], None), &[]).limit, Some(2 << 30), "of two the later");
        let settings = loaded(&arguments(&["preset=small", "limit=1GiB"], Some("database")), &["preset=laptop"]);
        assert_eq!((settings.preset.name(), settings.limit), ("database", Some(1 << 30)), "a preset lies below what is said");
    }
}
