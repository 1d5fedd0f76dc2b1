//! `config show`: the settings in force, as YAML that can be read back, or as JSON.
//!
//! Owns: the two forms. Must be true: CFG-3 the YAML, read back, gives the same settings. Fails: never.

use super::layers::Loaded;
use super::schema::KEYS;
use std::fmt::Write as _;

/// The settings as YAML, with what is allowed, and where each value came from if `origins`.
#[must_use]
pub fn yaml(loaded: &Loaded, origins: bool) -> String {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    for key in KEYS {
        let mut parts: Vec<&str> = key.path.split('.').collect();
        let name = parts.pop().unwrap_or(key.path);
        let shared = open.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        for (depth, part) in parts.iter().enumerate().skip(shared) {
            let _ = writeln!(out, "{}{part}:", "  ".repeat(depth));
        }
        let value = key.show(&loaded.settings);
        // An address of IPv6 would begin a list.
        let value = if value.starts_with('[') { format!("\"{value}\"") } else { value };
        let line = format!("{}{name}: {value}", "  ".repeat(parts.len()));
        let note = if origins { origin(loaded, key.path) } else { key.kind.to_string() };
        let _ = writeln!(out, "{line:<36} # {note}");
        open = parts;
    }
    out
}

/// The settings as one JSON object: path to value, unit, allowed, default, class, origin and meaning.
#[must_use]
pub fn json(loaded: &Loaded) -> serde_json::Value {
    let defaults = infmap_actors::settings::Settings::default();
    let rows = KEYS.iter().map(|key| {
        let row = serde_json::json!({
            "value": key.show(&loaded.settings),
            "default": key.show(&defaults),
            "unit": key.kind.unit(),
            "allowed": key.kind.allowed(),
            "applies": key.class.name(),
            "origin": origin(loaded, key.path),
            "meaning": key.doc,
        });
        (key.path.to_string(), row)
    });
    serde_json::Value::Object(rows.collect())
}

fn origin(loaded: &Loaded, path: &str) -> String {
    match loaded.origins.get(path) {
        Some(origin) => format!("{}:{}:{}", origin.source.name, origin.place.line, origin.place.column),
        None => "default".into(),
    }
}
