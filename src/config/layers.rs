//! The sources of settings, in order: default < preset < files < environment < command line.
//!
//! Owns: the order, and for each key where its value came from. Must be true: a later source wins; every mistake of every
//! source is reported, and then no settings are given. Fails: with the list of mistakes, never empty.

use super::mistake::{Mistake, Place, Source};
use super::{preset, read, schema, yaml};
use infmap_actors::settings::{Preset, Settings};
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

/// What a source says.
enum Input {
    Yaml(Source),
    /// `a.b=c`, and where it stood.
    Assignment(Source),
}

/// Sources of settings, the later above the earlier.
#[derive(Default)]
pub struct Layers {
    inputs: Vec<Input>,
}

impl Layers {
    /// Lays a YAML text over what is there.
    pub fn yaml(&mut self, source: &Source) {
        self.inputs.push(Input::Yaml(source.clone()));
    }

    /// Lays `a.b=c` over what is there; `name` says where it stood (`--set`).
    pub fn assignment(&mut self, name: &str, text: &str) {
        self.inputs.push(Input::Assignment(Source::new(name, text)));
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

    /// The settings, if no source held a mistake and they do not contradict each other. The preset that the sources name, wherever they
    /// do, lies below all of them.
    pub fn finish(self) -> Result<Loaded, Vec<Mistake>> {
        let pile = Pile::default().with(&self.inputs);
        match pile.loaded.settings.preset {
            Preset::General => pile.finish(),
            named => Pile::default().with(&[Input::Yaml(preset::source(named))]).with(&self.inputs).finish(),
        }
    }
}

/// Settings in the making.
#[derive(Default)]
struct Pile {
    loaded: Loaded,
    mistakes: Vec<Mistake>,
}

impl Pile {
    fn with(mut self, inputs: &[Input]) -> Self {
        for input in inputs {
            match input {
                Input::Yaml(source) => self.yaml(source),
                Input::Assignment(source) => self.assignment(source),
            }
        }
        self
    }

    fn yaml(&mut self, source: &Source) {
        match yaml::read(source) {
            Ok(Some(root)) => {
                let outcome = read::apply(source, &root, &mut self.loaded.settings);
                self.take(source, outcome);
            }
            Ok(None) => {}
            Err(mistake) => self.mistakes.push(*mistake),
        }
    }

    fn assignment(&mut self, source: &Source) {
        let text = &*source.text;
        let Some((path, value)) = text.split_once('=') else {
            let (source, place) = (source.clone(), Place { line: 1, column: 1, width: text.chars().count().max(1) });
            let help = Some("write it as key=value, for example memory.budget=1GiB".into());
            return self.mistakes.push(Mistake { source, place, found: "there is no = in it".into(), allowed: None, help });
        };
        let key = Place { line: 1, column: 1, width: path.chars().count().max(1) };
        let place = Place { line: 1, column: path.chars().count() + 2, width: value.chars().count().max(1) };
        let outcome = read::apply_one(source, (path, key), (value, place), &mut self.loaded.settings);
        self.take(source, outcome);
    }

    fn take(&mut self, source: &Source, outcome: read::Outcome) {
        let origin = |place| Origin { source: source.clone(), place };
        self.loaded.origins.extend(outcome.hits.into_iter().map(|hit| (hit.path, origin(hit.place))));
        self.mistakes.extend(outcome.mistakes);
    }

    fn finish(mut self) -> Result<Loaded, Vec<Mistake>> {
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
