//! The catalogue: the mount, and the process that serves it.

use super::Metric;

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge("infmap_mode", &["mode"], "1 for what the mount does with changes: `rw`, `ro`, or `degraded`, which needs attention."),
    Metric::gauge("infmap_uptime_seconds", &[], "Time since the mount.").seconds(),
];
