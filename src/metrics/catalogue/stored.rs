//! The catalogue: log, images, integrity.

use super::{Metric, WAITED, WORKED};

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge("infmap_wal_bytes", &[], "Bytes of the files of the write-ahead log.").bytes(),
    Metric::histogram("infmap_wal_fsync_duration_seconds", WAITED, &[], "Time of one sync of the log, which many callers share.").seconds(),
    Metric::histogram("infmap_region_seal_seconds", WORKED, &[], "Time to write an image and make it durable.").seconds(),
    Metric::counter("infmap_prefetch_issued_total", &[], "Pieces that were read ahead of a stream.").happened(),
    Metric::counter("infmap_integrity_checked_total", &["source"], "Images that were verified whole.").happened(),
    Metric::counter("infmap_integrity_errors_total", &["source"], "Reads that could not be answered, images that were damaged.").happened(),
    Metric::counter("infmap_integrity_repaired_total", &["source"], "Reads that parity saved, images that were put back.").happened(),
    Metric::counter("infmap_integrity_unrepairable_total", &["source"], "Places of files that are lost, as far as noticed.").happened(),
    Metric::gauge("infmap_scrub_progress_ratio", &[], "How far the scrub is that runs, or ran last.").ratio().happened(),
    Metric::gauge("infmap_scrub_rate_bytes_per_second", &[], "How fast that was.").happened(),
    Metric::gauge("infmap_scrub_last_completed_timestamp_seconds", &[], "When a scrub of everything last ended.").seconds().happened(),
    Metric::counter("infmap_device_retries_total", &[], "Reads of the disk that failed in passing and were tried again.").happened(),
];
