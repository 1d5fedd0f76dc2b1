//! The sources of settings, in order: default < files < environment < command line.
//!
//! Owns: the order, and for each key where its value came from. Must be true: a later source wins; every mistake of every
//! source is reported, and then no settings are given. Fails: with the list of mistakes, never empty.

use super::mistake::{Mistake, Place, Source};
use super::{read, schema, yaml};
use infmap_actors::settings::Settings;
use std::collections::BTreeMap;

/// Prefix of variables that set a key: `INFMAP__MEMORY__BUDGET=1GiB`.
pub const VARIABLE_PREFIX: &str = "INFMAP__";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: Source,
    pub place: Place,
}

/// Settings, and where those that are not defaults came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub settings: Settings,
    /// By key path.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// Settings in the making.
#[derive(Default)]
pub struct Layers {
    loaded: Loaded,
    mistakes: Vec<Mistake>,
}

impl Layers {
    /// Lays a YAML text over what is there.
    pub fn yaml(&mut self, source: &Source) {
        match yaml::read(source) {
            Ok(Some(root)) => {
                let outcome = read::apply(source, &root, &mut self.loaded.settings);
                self.take(source, outcome);
            }
            Ok(None) => {}
            Err(mistake) => self.mistakes.push(*mistake),
        }
    }

    /// Lays `a.b=c` over what is there; `name` says where it stood (`--set`).
    pub fn assignment(&mut self, name: &str, text: &str) {
        let source = Source::new(name, text);
        let Some((path, value)) = text.split_once('=') else {
            let place = Place { line: 1, column: 1, width: text.chars().count().max(1) };
            let help = Some("write it as key=value, for example memory.budget=1GiB".into());
            return self.mistakes.push(Mistake { source, place, found: "there is no = in it".into(), allowed: None, help });
        };
        let key = Place { line: 1, column: 1, width: path.chars().count().max(1) };
        let place = Place { line: 1, column: path.chars().count() + 2, width: value.chars().count().max(1) };
        let outcome = read::apply_one(&source, (path, key), (value, place), &mut self.loaded.settings);
        self.take(&source, outcome);
    }

    /// Lays the variables that begin with [`VARIABLE_PREFIX`] over what is there.
    pub fn variables(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            if let Some(path) = name.strip_prefix(VARIABLE_PREFIX) {
                let path = path.to_ascii_lowercase().replace("__", ".");
                self.assignment(&name, &format!("{path}={value}"));
            }
        }
    }

    fn take(&mut self, source: &Source, outcome: read::Outcome) {
        let origin = |place| Origin { source: source.clone(), place };
        self.loaded.origins.extend(outcome.hits.into_iter().map(|hit| (hit.path, origin(hit.place))));
        self.mistakes.extend(outcome.mistakes);
    }

    /// The settings, if no source held a mistake and they do not contradict each other.
    pub fn finish(mut self) -> Result<Loaded, Vec<Mistake>> {
        if self.mistakes.is_empty()
            && let Some(contradiction) = self.loaded.settings.contradiction()
        {
            let nowhere = || Origin { source: Source::new("defaults", ""), place: Place { line: 1, column: 1, width: 1 } };
            let Origin { source, place } = self.loaded.origins.get(contradiction.key).cloned().unwrap_or_else(|| {
                // The key itself was left at its default: show the one beside it that was set.
                let section = contradiction.key.split('.').next().unwrap_or("");
                let beside = self.loaded.origins.iter().find(|(path, _)| path.starts_with(section));
                beside.map_or_else(nowhere, |(_, origin)| origin.clone())
            });
            let allowed = schema::key(contradiction.key).map(|key| key.kind.allowed());
            self.mistakes.push(Mistake { source, place, found: contradiction.what, allowed, help: Some(contradiction.help) });
        }
        if self.mistakes.is_empty() { Ok(self.loaded) } else { Err(self.mistakes) }
    }
}
