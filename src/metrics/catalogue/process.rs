//! The catalogue: the mount, and the process that serves it. What every process has bears the names that Prometheus' own libraries use.

use super::Metric;

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge("infmap_mode", &["mode"], "1 for what the mount does with changes: `rw`, `ro`, or `degraded`, which needs attention."),
    Metric::gauge("infmap_health_check", &["check"], "1 if a check of `/readyz` is passed, 0 if it failed."),
    Metric::gauge("infmap_uptime_seconds", &[], "Time since the mount.").seconds(),
    Metric::gauge("infmap_build_info", &["version", "rustc"], "1; the labels say which program this is."),
    Metric::gauge("infmap_volume_info", &["volume", "uuid", "format"], "1; the labels say which volume this is."),
    Metric::gauge("infmap_memory_bytes", &["component"], "Bytes that a part of the memory budget holds.").bytes(),
    Metric::gauge("infmap_memory_limit_bytes", &["component"], "Bytes that it is meant to hold at most.").bytes(),
    Metric::gauge("infmap_memory_budget_bytes", &[], "The setting `memory.budget`.").bytes(),
    Metric::gauge("infmap_scrape_duration_seconds", &[], "Time that the scrape before this one took.").seconds().experimental().happened(),
    Metric::gauge("process_resident_memory_bytes", &[], "Memory that the process has in RAM.").bytes(),
    Metric::gauge("process_virtual_memory_bytes", &[], "Addresses that the process has in use.").bytes(),
    Metric::counter("process_cpu_seconds_total", &[], "Time that the processors spent on the process.").seconds(),
    Metric::gauge("process_open_fds", &[], "Files that the process has open."),
    Metric::gauge("process_max_fds", &[], "Files that it may have open."),
    Metric::gauge("process_threads", &[], "Threads of the process."),
    Metric::gauge("process_start_time_seconds", &[], "When the process began, in seconds since 1970.").seconds(),
    Metric::gauge(
        "infmap_config_generation",
        &[],
        "Number of the settings in force: 1 at the mount, one more with each reload that changed some.",
    ),
    Metric::counter("infmap_config_reload_total", &["result"], "Reloads of the settings, by what came of them."),
    Metric::gauge(
        "infmap_config_last_reload_successful",
        &[],
        "0 if the settings that were read last have a mistake, so that nothing was changed; else 1.",
    ),
    Metric::gauge("infmap_config_last_reload_timestamp_seconds", &[], "When settings were last put into force by a reload.")
        .seconds()
        .happened(),
];
