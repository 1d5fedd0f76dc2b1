//! `config schema`: what a file of settings may hold, as JSON Schema (draft 2020-12), for editors.
//!
//! Owns: the form. Must be true: CFG-1 it is made of the table of keys and of nothing else but the reasons of `config/default.yaml`; what
//! it allows the parser takes, but for ranges of values with units and of the numbers of an address, which no pattern can say: they stand
//! in `x-range`. Fails: never.

use super::schema::{Key, names_below};
use super::table;
use super::value::{Kind, Value};
use infmap_actors::settings::Settings;
use serde_json::{Map, Value as Json, json};

const SIZE: &str = "[0-9]+(B|KiB|MiB|GiB|TiB|PiB|EiB)";
const DURATION: &str = "[0-9]+(ms|s|m|h|d)";

/// The schema.
#[must_use]
pub fn schema() -> Json {
    let mut root = section("");
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), "Settings of Infinite Map".into());
    Json::Object(root)
}

/// The schema as a file.
#[must_use]
pub fn text() -> String {
    format!("{:#}", schema())
}

fn section(path: &str) -> Map<String, Json> {
    let entry = |name: &str| {
        let below = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let value = super::schema::key(&below).map_or_else(|| section(&below), leaf);
        (name.to_string(), Json::Object(value))
    };
    let properties: Map<String, Json> = names_below(path).into_iter().map(entry).collect();
    let section = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    section.as_object().cloned().unwrap_or_default()
}

fn leaf(key: &Key) -> Map<String, Json> {
    let mut out = form(&key.kind);
    let why = table::reason(key.path).map(|why| format!(" {why}")).unwrap_or_default();
    out.insert("description".into(), format!("{}{why}", key.doc).into());
    out.insert("default".into(), default(key));
    out.insert("x-unit".into(), key.kind.unit().into());
    out.insert("x-range".into(), key.kind.allowed().into());
    out.insert("x-applies".into(), key.class.name().into());
    out
}

/// What a value looks like.
fn form(kind: &Kind) -> Map<String, Json> {
    let text = |pattern: String| json!({ "type": "string", "pattern": format!("^{pattern}$") });
    let form = match kind {
        Kind::Count { range, .. } => json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() }),
        Kind::Size { .. } => text(SIZE.into()),
        Kind::SizeOrNone { .. } => text(format!("(none|{SIZE})")),
        Kind::Rate { .. } => text(format!("{SIZE}/s")),
        Kind::Duration { .. } => text(DURATION.into()),
        Kind::DurationOrNever { .. } => text(format!("(never|{DURATION})")),
        Kind::Percent { .. } => text("[0-9]+%".into()),
        Kind::Address => text(r"(off|([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+)".into()),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "enum": words }),
    };
    form.as_object().cloned().unwrap_or_default()
}

fn default(key: &Key) -> Json {
    let settings = Settings::default();
    match (&key.kind, (key.get)(&settings)) {
        (Kind::Count { .. }, Value::Number(number)) => number.into(),
        (_, Value::Switch(on)) => on.into(),
        _ => key.show(&settings).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::KEYS;

    /// Meant to fail with a pattern that took whatever ends in a port: the parser takes no names of machines.
    #[test]
    fn the_pattern_of_an_address_has_no_room_for_a_name() {
        let form = form(&Kind::Address);
        assert_eq!(form["pattern"], r"^(off|([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+)$");
        let is_taken = |text: &str| Kind::Address.parse(text, false).is_ok();
        assert!(["off", "127.0.0.1:9568", "[::1]:0"].into_iter().all(is_taken));
        assert!(!["localhost:9568", "::1:9568"].into_iter().any(is_taken));
    }

    #[test]
    fn every_key_has_a_place_and_its_default_has_the_form_that_is_asked_for() {
        let schema = schema();
        for key in KEYS {
            let pointer = key.path.split('.').map(|part| format!("/properties/{part}")).collect::<String>();
            let leaf = schema.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
            assert_eq!(leaf["x-applies"], key.class.name());
            let default = &leaf["default"];
            match leaf["type"].as_str() {
                Some("integer") => {
                    let range = leaf["minimum"].as_u64().unwrap()..=leaf["maximum"].as_u64().unwrap();
                    assert!(range.contains(&default.as_u64().unwrap()), "{}", key.path);
                }
                Some("boolean") => assert!(default.is_boolean(), "{}", key.path),
                Some("string") => assert!(leaf["pattern"].is_string() && default.is_string(), "{}", key.path),
                _ => assert!(leaf["enum"].as_array().unwrap().contains(default), "{}", key.path),
            }
        }
    }
}
