//! The catalogue: actors and their mailboxes.

use super::{Metric, WAITED};

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge("infmap_actor_mailbox_depth", &["pool", "member", "lane"], "Messages that wait."),
    Metric::gauge("infmap_actor_mailbox_capacity", &["pool", "member"], "Messages beyond which requests of the kernel are held back."),
    Metric::gauge("infmap_actor_mailbox_bytes", &["pool", "member", "lane"], "Bytes of file data in messages that wait.").bytes(),
    Metric::histogram("infmap_actor_queue_wait_seconds", WAITED, &["pool"], "Time from posting a message to its turn.").seconds(),
    Metric::histogram("infmap_actor_handle_seconds", WAITED, &["pool", "message"], "Time that a message was handled.").seconds(),
    Metric::gauge("infmap_actor_workers", &["pool", "state"], "Threads that are `idle` or `busy`, and members that are `dead`."),
    Metric::counter("infmap_actor_rejected_total", &["pool"], "Requests that were held back because a mailbox was full."),
    Metric::counter("infmap_actor_panics_total", &["pool"], "Panics of actors, and of what they leave behind (`effects`)."),
    Metric::counter("infmap_actor_restarts_total", &["pool"], "Panics after which the actor went on."),
    Metric::counter("infmap_replies_dropped_total", &[], "Answers that nobody gave: the caller heard an error.").happened(),
    Metric::gauge("infmap_watchdog_stuck", &["kind"], "Actors and requests that take longer than their deadline, at the last look."),
    Metric::counter("infmap_watchdog_stuck_total", &["kind"], "Actors and requests that took longer than their deadline.").happened(),
];
