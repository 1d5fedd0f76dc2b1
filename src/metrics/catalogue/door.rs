//! The catalogue: requests of the kernel.

use super::{Metric, WAITED};

pub(super) const METRICS: &[Metric] = &[
    Metric::counter(
        "infmap_fuse_requests_total",
        &["op", "errno"],
        "Requests that were answered; `errno` is `ok` or the name of the error.",
    ),
    Metric::histogram("infmap_fuse_request_duration_seconds", WAITED, &["op"], "Time from taking a request to its answer.").seconds(),
    Metric::counter("infmap_fuse_io_bytes_total", &["direction"], "Bytes of files that were read and written.").bytes(),
    Metric::gauge("infmap_fuse_requests_in_flight", &["op"], "Requests that were taken and not answered yet."),
    Metric::gauge("infmap_fuse_oldest_request_seconds", &["op"], "Age of the oldest request that is not answered yet; 0 if there is none.")
        .seconds(),
    Metric::gauge("infmap_fuse_open_handles", &["kind"], "Open files and directories, as far as the kernel said that they were closed.")
        .experimental(),
    Metric::counter("infmap_fuse_panics_total", &[], "Requests whose callback panicked; they were answered EIO."),
];
