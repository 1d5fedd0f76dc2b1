//! All keys as a table for people: `docs/configuration.md`.
//!
//! Owns: the table, and the reasons, which stand in `config/default.yaml` as `Why: ...` above each key. Must be true: CFG-1 as `config`.
//! Fails: never; a key without a reason has an empty cell, which a test forbids.

use super::mistake::Source;
use super::schema::KEYS;
use super::yaml::{self, Node, NodeKind};
use infmap_actors::settings::Settings;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

const DEFAULT: &str = include_str!("../../config/default.yaml");

/// Why a key has the default that it has.
#[must_use]
pub fn reason(path: &str) -> Option<&'static str> {
    static REASONS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    REASONS.get_or_init(|| reasons(DEFAULT)).get(path).map(String::as_str)
}

fn reasons(text: &str) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    if let Ok(Some(root)) = yaml::read(&Source::new("default", text)) {
        note(&root, "", &mut lines);
    }
    let text: Vec<&str> = text.lines().collect();
    let above = |line: usize| {
        let comment = text.iter().take(line - 1).rev().map_while(|line| line.trim_start().strip_prefix('#')).map(str::trim);
        let mut comment: Vec<&str> = comment.collect();
        comment.reverse();
        comment.join(" ").split_once("Why: ").map(|(_, why)| why.to_string())
    };
    lines.into_iter().filter_map(|(path, line)| Some((path, above(line)?))).collect()
}

/// The line of each key.
fn note(node: &Node, path: &str, lines: &mut BTreeMap<String, usize>) {
    let NodeKind::Section(entries) = &node.kind else { return };
    for (key, value) in entries {
        let below = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        note(value, &below, lines);
        lines.insert(below, key.place.line);
    }
}

/// The table, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let defaults = Settings::default();
    let mut out = String::from("| key | what it does | unit | range | default | applies | why |\n|---|---|---|---|---|---|---|\n");
    for key in KEYS {
        let cell = |text: &str| text.replace('|', "\\|");
        let (unit, range, default) = (key.kind.unit(), cell(&key.kind.allowed()), key.show(&defaults));
        let why = cell(reason(key.path).unwrap_or(""));
        let _ = writeln!(out, "| `{}` | {} | {unit} | {range} | {default} | {} | {why} |", key.path, cell(key.doc), key.class.name());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_reason() {
        for key in KEYS {
            assert!(reason(key.path).is_some_and(|why| why.len() > 10), "{}", key.path);
        }
    }
}
