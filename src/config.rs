//! From what a person wrote to [`Settings`](infmap_actors::settings::Settings), or to exact places of what is wrong with it.
//!
//! Owns: the table of keys (`schema`), the reading of YAML (`yaml`), the mistakes and how they are shown (`mistake`), and the
//! order of the sources (`layers`, `sources`): default < preset < file < environment < command line. Must be true: CFG-1 the table is the only
//! list of keys; parsing, `config show` and `config/default.yaml` follow it; CFG-2 nothing is ignored: an unknown key, a wrong
//! type, a value out of range, a repeated key are refused, all at once, each with its place. Fails: with a list of [`Mistake`].

pub mod json_schema;
pub mod layers;
pub mod migrate;
pub mod mistake;
pub mod preset;
pub mod reload;
pub mod schema;
pub mod show;
pub mod sources;
pub mod table;
pub mod value;
pub mod yaml;

mod read;

pub use layers::{Layers, Loaded, Origin};
pub use mistake::{Mistake, Source};

/// The nearest of `known` to what was written, if it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, &name.to_lowercase().replace('-', "_")), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
