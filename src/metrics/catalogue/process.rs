//! The catalogue: the mount, and the process that serves it.

use super::Metric;

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge("infmap_mode", &["mode"], "1 for what the mount does with changes: `rw`, `ro`, or `degraded`, which needs attention."),
    Metric::gauge("infmap_uptime_seconds", &[], "Time since the mount.").seconds(),
    Metric::gauge(
        "infmap_config_generation",
        &[],
        "Number of the settings in force: 1 at the mount, one more with each reload that changed some.",
    ),
    Metric::counter("infmap_config_reload_total", &["result"], "Reloads of the settings, by what came of them.").happened(),
    Metric::gauge("infmap_config_last_reload_timestamp_seconds", &[], "When settings were last put into force by a reload.")
        .seconds()
        .happened(),
];
