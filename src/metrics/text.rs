//! The text format of Prometheus, version 0.0.4, for what the exporter does not write.
//!
//! Fails: never.

use super::catalogue::{self, Kind};
use metrics::Key;
use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};

/// The lines before the series of a metric.
pub(super) fn family(out: &mut String, name: &str, kind: Kind) {
    if let Some(metric) = catalogue::find(name) {
        write_help_line(out, name, None, None, metric.help);
    }
    write_type_line(out, name, None, None, kind.name());
}

/// The labels of a series in their braces, with the bound of a bucket.
pub(super) fn labels(key: &Key, bound: Option<&str>) -> String {
    let own = key.labels().map(|label| format!("{}=\"{}\"", label.key(), sanitize_label_value(label.value())));
    let all: Vec<String> = own.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}
