//! The catalogue: actors and their mailboxes.

use super::{Metric, WAITED};

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge("infmap_actor_mailbox_depth", &["pool", "member", "lane"], "Messages that wait."),
    Metric::gauge("infmap_actor_mailbox_capacity", &["pool", "member"], "Messages beyond which requests of the kernel are held back."),
    Metric::gauge("infmap_actor_mailbox_bytes", &["pool", "member", "lane"], "Bytes of file data in messages that wait.").bytes(),
    Metric::histogram(
        "infmap_actor_queue_wait_seconds",
        WAITED,
        &["pool", "lane"],
        "Time from posting a message to its turn. Of those that the poster may handle itself, one in 16 is timed.",
    )
    .seconds(),
    Metric::histogram(
        "infmap_actor_handle_seconds",
        WAITED,
        &["pool", "message"],
        "Time that a message was handled; of the same messages.",
    )
    .seconds(),
    Metric::counter(
        "infmap_actor_messages_total",
        &["pool", "by"],
        "Messages handled, `by` a thread of the pool (`owner`) or the `poster`.",
    ),
    Metric::gauge("infmap_actor_oldest_message_seconds", &["pool"], "Age of the message that is longest under way; 0 if there is none.")
        .seconds(),
    Metric::gauge("infmap_actor_workers", &["pool", "state"], "Threads that are `idle` or `busy`, and members that are `dead`."),
    Metric::counter(
        "infmap_actor_busy_seconds_total",
        &["pool"],
        "Time that threads of the pool were busy. Its rate is the busy ratio, times threads.",
    )
    .seconds(),
    Metric::counter("infmap_actor_rejected_total", &["pool"], "Admissions withheld: requests that waited because a mailbox was full."),
    Metric::counter("infmap_actor_panics_total", &["pool"], "Panics of actors, and of what they leave behind (`effects`)."),
    Metric::counter("infmap_actor_restarts_total", &["pool"], "Panics after which the actor went on."),
    Metric::counter("infmap_replies_dropped_total", &[], "Answers that nobody gave: the caller heard an error."),
    Metric::gauge("infmap_watchdog_stuck", &["kind"], "Actors and requests that take longer than their deadline, at the last look."),
    Metric::counter("infmap_watchdog_stuck_total", &["kind"], "Actors and requests that took longer than their deadline."),
];
