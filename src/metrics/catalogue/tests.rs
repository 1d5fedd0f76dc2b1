//! Tests of the catalogue alone.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_name_stands_once_and_keeps_the_conventions() {
    let mut seen = BTreeSet::new();
    for Metric { name, kind, unit, labels, help, .. } in all() {
        assert!(seen.insert(*name), "{name} stands twice");
        assert!(name.starts_with("infmap_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}: counters and only they end in _total");
        let stem = name.strip_suffix("_total").unwrap_or(name);
        match unit {
            Unit::Bytes => assert!(stem.ends_with("_bytes"), "{name} is in bytes"),
            Unit::BytesPerSecond => assert!(stem.ends_with("_bytes_per_second"), "{name} is in bytes per second"),
            Unit::Seconds => assert!(stem.ends_with("_seconds"), "{name} is in seconds"),
            Unit::Ratio => assert!(stem.ends_with("_ratio"), "{name} is a ratio"),
            Unit::Number => {
                assert!(
                    !["_bytes", "_seconds", "_ratio", "_us", "_ms", "_percent", "_per_second"].iter().any(|end| stem.ends_with(end)),
                    "{name}"
                )
            }
        }
        assert!(help.ends_with('.') && !help.contains('\n') && !help.contains('|'), "{name}: {help}");
        for label in *labels {
            assert!(!["path", "file", "inode", "uid", "user", "le", "quantile"].contains(label), "{name}: {label}");
        }
        if let Kind::Histogram(bounds) = kind {
            assert!(!bounds.is_empty() && bounds.is_sorted_by(|a, b| a < b), "{name}: {bounds:?}");
        }
    }
}

#[test]
fn what_people_wait_for_is_told_apart_from_ten_microseconds_to_ten_seconds() {
    let Some(Metric { kind: Kind::Histogram(bounds), .. }) = find("infmap_fuse_request_duration_seconds") else { panic!("a histogram") };
    assert_eq!((bounds.first(), bounds.last()), (Some(&0.000_01), Some(&10.0)));
    assert!(find("infmap_nothing").is_none());
}
