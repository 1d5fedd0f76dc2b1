//! The catalogue: caches, log, images, integrity, room.

use super::{CALLERS, Metric, Unit, WAITED, WORKED, WRITTEN};

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        "infmap_cache_bytes",
        &["tier"],
        "Bytes in a cache: `l1` decoded, `l2` compressed, `nodes` of the tables, `dirty` blocks.",
    )
    .bytes(),
    Metric::gauge("infmap_cache_limit_bytes", &["tier"], "Bytes that it may have.").bytes(),
    Metric::gauge("infmap_cache_entries", &["tier"], "Entries of a cache; of `images`, files that are open."),
    Metric::gauge("infmap_cache_limit_entries", &["tier"], "Entries that it may have, where they are what is limited."),
    Metric::counter(
        "infmap_cache_requests_total",
        &["tier", "result"],
        "Look-ups that found something (`hit`) or had to fetch it (`miss`).",
    ),
    Metric::counter(
        "infmap_cache_evictions_total",
        &["tier", "reason"],
        "Entries that others displaced: `cold` ones were hardly used, or too large to be kept; `hot` ones were, and had to go all the same.",
    ),
    Metric::gauge("infmap_cache_compression_ratio", &[], "Bytes of the units that came into L2, decoded, for each byte as stored.").ratio(),
    Metric::counter("infmap_prefetch_issued_total", &[], "Pieces that were read ahead of a stream, and were not in the cache."),
    Metric::counter("infmap_prefetch_used_total", &[], "Pieces of which something was asked for."),
    Metric::counter("infmap_prefetch_wasted_total", &[], "Pieces that left the cache before anybody asked for them."),
    Metric::gauge("infmap_wal_bytes", &[], "Bytes of the files of the write-ahead log.").bytes(),
    Metric::gauge("infmap_wal_segments", &[], "Files of the log, those ready to be used included."),
    Metric::gauge("infmap_wal_pending_bytes", &[], "Bytes of log that the next checkpoint makes free.").bytes(),
    Metric::gauge("infmap_wal_checkpoint_bytes", &[], "Bytes of log that start a checkpoint.").bytes(),
    Metric::gauge("infmap_wal_limit_bytes", &[], "Bytes of log at which writes wait for a checkpoint.").bytes(),
    Metric::counter("infmap_wal_written_bytes_total", &[], "Bytes that were written into the log.").bytes(),
    Metric::histogram("infmap_wal_fsync_duration_seconds", WAITED, &[], "Time of one sync of the log, which many callers share.").seconds(),
    Metric::histogram("infmap_wal_group_bytes", WRITTEN, &[], "Bytes that were written into the log at once.").bytes(),
    Metric::histogram("infmap_wal_group_callers", CALLERS, &[], "Callers that one write or sync of the log answered."),
    Metric::gauge("infmap_wal_replay_seconds", &[], "Time that the mount took to find the newest root and replay the log.").seconds(),
    Metric::gauge("infmap_wal_replayed_bytes", &[], "Bytes that it replayed.").bytes(),
    Metric::histogram("infmap_checkpoint_duration_seconds", WORKED, &[], "Time from the beginning of a checkpoint until it is durable.")
        .seconds(),
    Metric::gauge("infmap_region_count", &[], "Images of the map."),
    Metric::gauge("infmap_region_bytes", &[], "Bytes of their files.").bytes(),
    Metric::gauge("infmap_region_live_ratio", &[], "Share of those bytes that is in use, as of the newest root.").ratio(),
    Metric::histogram("infmap_region_seal_seconds", WORKED, &[], "Time to write an image and make it durable.").seconds(),
    Metric::gauge(
        "infmap_clusters",
        &["state"],
        "Clusters of 4 KiB: `live` as of the newest root, and room for others that are `dead`, estimated.",
    ),
    Metric::counter("infmap_cleaner_written_bytes_total", &[], "Bytes of images that cleaning wrote.").bytes(),
    Metric::counter("infmap_cleaner_freed_bytes_total", &[], "Bytes of images that cleaning made free.").bytes(),
    Metric::counter("infmap_integrity_checked_total", &["source"], "Images that were verified whole."),
    Metric::counter("infmap_integrity_errors_total", &["source"], "Reads that could not be answered; images that a scrub found damaged."),
    Metric::counter("infmap_integrity_repaired_total", &["source"], "Reads that parity saved; images that a scrub put back."),
    Metric::counter("infmap_integrity_unrepairable_total", &["source"], "Places of files that were found to be lost since the mount."),
    Metric::gauge("infmap_integrity_poisoned", &[], "Places of files on the list of damage, those of earlier mounts included."),
    Metric::gauge("infmap_scrub_progress_ratio", &[], "How far the scrub is that runs, or ran last.").ratio(),
    Metric::gauge("infmap_scrub_rate_bytes_per_second", &[], "How fast images are verified now.").unit(Unit::BytesPerSecond),
    Metric::gauge("infmap_scrub_last_completed_timestamp_seconds", &[], "When a scrub last came to its end, in seconds since 1970.")
        .seconds()
        .happened(),
    Metric::counter("infmap_device_retries_total", &[], "Reads of the disk that failed in passing and were tried again."),
    Metric::gauge("infmap_capacity_bytes", &[], "Bytes that the volume may grow to: those of the disk, or its limit if that is less.")
        .bytes(),
    Metric::gauge("infmap_capacity_used_bytes", &[], "Bytes of its images.").bytes(),
    Metric::gauge("infmap_capacity_available_bytes", &[], "Bytes that can still be written.").bytes(),
    Metric::gauge("infmap_capacity_disk_free_bytes", &[], "Bytes of the disk that nobody uses, as last seen.").bytes(),
    Metric::gauge("infmap_capacity_limit_bytes", &[], "The setting `limit`, if there is one.").bytes().happened(),
    Metric::gauge("infmap_capacity_inodes", &[], "Files, directories and all else that has an inode."),
    Metric::gauge("infmap_capacity_available_inodes", &[], "How many more there is room for."),
];
