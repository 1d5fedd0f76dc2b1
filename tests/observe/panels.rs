//! The dashboard as the test reads it: what is asked in which panel.
//!
//! Owns: `Query`, [`queries`], [`MAY_BE_EMPTY`], [`names`]. Must be true: a panel that is not on the list has data after a mixed load. Fails: by panic, if
//! the dashboard is not what Grafana reads.

use crate::common::SOURCE;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Panels without data on a mount that is well, and why.
pub const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("Marks: Began anew", "it did not"),
    ("Overview: Alerts", "nothing is wrong"),
    ("Process: Settings", "settings were not changed since the mount"),
    ("Process: Reloads", "settings were not changed since the mount"),
];

/// A query of a panel.
pub struct Query {
    /// Its row and title.
    pub panel: String,
    pub query: String,
}

impl Query {
    pub fn may_be_empty(&self) -> bool {
        MAY_BE_EMPTY.iter().any(|(panel, _)| *panel == self.panel)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

/// The dashboard.
pub fn dashboard() -> Value {
    let path = Path::new(SOURCE).join("config/grafana/infmap.json");
    serde_json::from_str(&fs::read_to_string(path).expect("shipped")).expect("JSON")
}

/// The titles of its rows.
pub fn rows() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    panels.filter(|panel| text(panel, "type") == "row").map(|panel| text(panel, "title").to_string()).collect()
}

/// What its panels and marks ask, with all instances chosen, and rates over ten seconds.
pub fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let (mut row, mut found) = (String::new(), Vec::new());
    let chosen = |query: &str| query.replace("$instance", ".*").replace("$__rate_interval", "10s");
    for mark in dashboard["annotations"]["list"].as_array().expect("marks") {
        found.push(Query { panel: format!("Marks: {}", text(mark, "name")), query: chosen(text(mark, "expr")) });
    }
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = text(panel, "title");
        if text(panel, "type") == "row" {
            row = title.into();
            continue;
        }
        assert!(!text(panel, "description").is_empty(), "{title} is not described");
        assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{title} has no unit");
        for target in panel["targets"].as_array().expect("targets") {
            found.push(Query { panel: format!("{row}: {title}"), query: chosen(text(target, "expr")) });
        }
    }
    found
}

/// Names of metrics in a query, without the endings of histograms.
pub fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
    let named = words.filter(|word| !word.contains(':') && (word.starts_with("infmap_") || word.starts_with("process_")));
    let ends = ["_bucket", "_sum", "_count"];
    let stem = |word: &str| {
        let is_known = infmap::metrics::catalogue::find(word).is_some();
        let stem = ends.iter().find_map(|end| word.strip_suffix(end)).filter(|_| !is_known);
        stem.unwrap_or(word).to_string()
    };
    named.map(stem).collect()
}
