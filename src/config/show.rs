//! `config show`: settings, as YAML that can be read back, or as JSON.
//!
//! Owns: the two forms, of settings that were read here or that a mount says are in force. Must be true: CFG-3 the YAML, read back, gives
//! the same settings. Fails: never.

use super::layers::Loaded;
use super::schema::{self, KEYS};
use std::fmt::Write as _;

/// A key with its value, and where that came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub path: String,
    pub value: String,
    pub origin: String,
}

/// All keys, in the order of the schema.
#[must_use]
pub fn rows(loaded: &Loaded) -> Vec<Row> {
    let row = |key: &schema::Key| Row { path: key.path.into(), value: key.show(&loaded.settings), origin: origin(loaded, key.path) };
    KEYS.iter().map(row).collect()
}

/// The rows as YAML, with what is allowed, or where each value came from if `origins`.
#[must_use]
pub fn yaml(rows: &[Row], origins: bool) -> String {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    for Row { path, value, origin } in rows {
        let mut parts: Vec<&str> = path.split('.').collect();
        let name = parts.pop().unwrap_or(path);
        let shared = open.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        for (depth, part) in parts.iter().enumerate().skip(shared) {
            let _ = writeln!(out, "{}{part}:", "  ".repeat(depth));
        }
        // An address of IPv6 would begin a list.
        let value = if value.starts_with('[') { format!("\"{value}\"") } else { value.clone() };
        let line = format!("{}{name}: {value}", "  ".repeat(parts.len()));
        // A mount of another release may have a key that this one does not know.
        let allowed = || schema::key(path).map_or_else(|| "not known to this program".into(), |key| key.kind.to_string());
        let note = if origins { origin.clone() } else { allowed() };
        let _ = writeln!(out, "{line:<36} # {note}");
        open = parts;
    }
    out
}

/// The rows as one JSON object: path to value, unit, allowed, default, class, origin and meaning.
#[must_use]
pub fn json(rows: &[Row]) -> serde_json::Value {
    let defaults = infmap_actors::settings::Settings::default();
    let row = |row: &Row| {
        let known = schema::key(&row.path);
        let facts = serde_json::json!({
            "value": row.value,
            "default": known.map(|key| key.show(&defaults)),
            "unit": known.map(|key| key.kind.unit()),
            "allowed": known.map(|key| key.kind.allowed()),
            "applies": known.map(|key| key.class.name()),
            "origin": row.origin,
            "meaning": known.map(|key| key.doc),
        });
        (row.path.clone(), facts)
    };
    serde_json::Value::Object(rows.iter().map(row).collect())
}

fn origin(loaded: &Loaded, path: &str) -> String {
    match loaded.origins.get(path) {
        Some(origin) => format!("{}:{}:{}", origin.source.name, origin.place.line, origin.place.column),
        None => "default".into(),
    }
}
