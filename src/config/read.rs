//! Lays the values of one tree over settings, by the table of keys.
//!
//! Owns: the walk. Must be true: every part of the tree either sets one key or is a mistake. Fails: with all mistakes of the
//! tree; the settings then hold the values that were right.

use super::mistake::{Mistake, Place, Source};
use super::nearest;
use super::schema::{self, Key};
use super::yaml::{Node, NodeKind};
use infmap_actors::settings::Settings;

/// A key that was set, and where.
pub struct Hit {
    pub path: &'static str,
    pub place: Place,
}

/// What one tree said.
#[derive(Default)]
pub struct Outcome {
    pub hits: Vec<Hit>,
    pub mistakes: Vec<Mistake>,
}

struct Walk<'a> {
    source: &'a Source,
    settings: &'a mut Settings,
    outcome: Outcome,
}

/// Lays `root` over `settings`.
pub fn apply(source: &Source, root: &Node, settings: &mut Settings) -> Outcome {
    let mut walk = Walk { source, settings, outcome: Outcome::default() };
    walk.section("", root);
    walk.outcome
}

/// Sets the key at `path` to the text, as `--set` and the environment do.
pub fn apply_one(source: &Source, path: (&str, Place), text: (&str, Place), settings: &mut Settings) -> Outcome {
    let mut walk = Walk { source, settings, outcome: Outcome::default() };
    match schema::key(path.0) {
        Some(key) => walk.scalar(key, text.0, false, text.1),
        None => {
            let known = || schema::KEYS.iter().map(|key| key.path);
            let last = |key: &'static str| key.rsplit('.').next() == path.0.rsplit('.').next();
            let guess = nearest(path.0, known()).or_else(|| known().find(|key| last(key)));
            walk.unknown(path.0, path.1, guess);
        }
    }
    walk.outcome
}

impl Walk<'_> {
    fn section(&mut self, path: &str, node: &Node) {
        let names = schema::names_below(path);
        let NodeKind::Section(entries) = &node.kind else {
            let what = if path.is_empty() { "the file".into() } else { format!("`{path}`") };
            let found = format!("{what} is a section, but here is {}", describe(node));
            return self.mistake(node.place, found, Some(format!("keys {}", names.join(", "))), None);
        };
        for (key, value) in entries {
            let below = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
            if let Some(known) = schema::key(&below) {
                self.value(known, value);
            } else if names.contains(&key.name.as_str()) {
                self.section(&below, value);
            } else {
                // A key of another section is the other likely slip.
                let elsewhere = || schema::KEYS.iter().map(|key| key.path).find(|path| path.rsplit('.').next() == Some(&*key.name));
                let guess = nearest(&key.name, names.iter().copied()).or_else(elsewhere);
                self.unknown(&key.name, key.place, guess);
            }
        }
    }

    fn value(&mut self, key: &'static Key, node: &Node) {
        match &node.kind {
            NodeKind::Scalar { text, quoted } => self.scalar(key, text, *quoted, node.place),
            _ => {
                let found = format!("`{}` takes {}, but here is {}", key.path, key.kind.noun(), describe(node));
                self.mistake(node.place, found, Some(key.kind.allowed()), None);
            }
        }
    }

    fn scalar(&mut self, key: &'static Key, text: &str, quoted: bool, place: Place) {
        match key.kind.parse(text, quoted) {
            Ok(value) => {
                (key.set)(self.settings, value);
                self.outcome.hits.push(Hit { path: key.path, place });
            }
            Err(refused) => {
                let found = format!("`{}`: {}", key.path, refused.found);
                self.mistake(place, found, Some(key.kind.allowed()), refused.help);
            }
        }
    }

    fn unknown(&mut self, name: &str, place: Place, guess: Option<&str>) {
        let help = match guess {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => "`infmap config show` lists the keys".into(),
        };
        self.mistake(place, format!("unknown key `{name}`"), None, Some(help));
    }

    fn mistake(&mut self, place: Place, found: String, allowed: Option<String>, help: Option<String>) {
        self.outcome.mistakes.push(Mistake { source: self.source.clone(), place, found, allowed, help });
    }
}

fn describe(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::Nothing => "nothing",
        NodeKind::Scalar { .. } => "a single value",
        NodeKind::List => "a list",
        NodeKind::Section(_) => "a section",
    }
}
