//! A page of `infmap top`: figures in, lines out.
//!
//! Must be true: what is not known is a dash. Fails: never.

use super::super::figures::{Between, time};
use super::super::output::{human, span};
use super::super::status::mode_text;
use crate::control::protocol::Status;
use serde::Serialize;

/// Operations that are shown.
const OPERATIONS: usize = 12;

/// A page.
#[derive(Debug, Serialize)]
pub struct Page {
    #[serde(skip)]
    head: Vec<String>,
    operations: Vec<Operation>,
    mailboxes: Vec<Mailbox>,
    caches: Vec<Cache>,
    resident_bytes: Option<f64>,
    budget_bytes: Option<f64>,
    log_bytes: Option<f64>,
    log_sync_p99_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Operation {
    op: String,
    per_second: f64,
    errors_per_second: f64,
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    in_flight: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Mailbox {
    pool: String,
    waiting: f64,
    capacity: Option<f64>,
    bytes: Option<f64>,
    handled_per_second: Option<f64>,
    wait_p99_seconds: Option<f64>,
    /// Threads that were busy, in the mean.
    busy_threads: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Cache {
    tier: String,
    bytes: f64,
    limit_bytes: Option<f64>,
    hit_ratio: Option<f64>,
}

impl Page {
    pub fn of(between: &Between<'_>, status: &Status) -> Self {
        let after = between.after;
        let mut operations: Vec<Operation> = after
            .values("infmap_fuse_requests_total", "op")
            .into_iter()
            .map(|op| operation(between, op))
            .filter(|op| op.per_second > 0.0 || op.in_flight.unwrap_or(0.0) > 0.0)
            .collect();
        operations.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
        Self {
            head: head(status),
            operations,
            mailboxes: after.values("infmap_actor_mailbox_depth", "pool").into_iter().map(|pool| mailbox(between, pool)).collect(),
            caches: after.values("infmap_cache_bytes", "tier").into_iter().map(|tier| cache(between, tier)).collect(),
            resident_bytes: after.sum("process_resident_memory_bytes"),
            budget_bytes: after.sum("infmap_memory_budget_bytes"),
            log_bytes: after.sum("infmap_wal_bytes"),
            log_sync_p99_seconds: between.quantile("infmap_wal_fsync_duration_seconds", &[], 0.99),
        }
    }

    /// As they are drawn, from the top on; what is further down is what may be missing.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.head.clone();
        lines.push(format!(
            "memory {} in RAM, budget {}; log {}, sync p99 {}",
            bytes(self.resident_bytes),
            bytes(self.budget_bytes),
            bytes(self.log_bytes),
            duration(self.log_sync_p99_seconds)
        ));
        lines.push(String::new());
        lines.push("OPERATION              /s  errors/s       p50       p99  under way".into());
        lines.extend(self.operations.iter().take(OPERATIONS).map(Operation::line));
        if self.operations.is_empty() {
            lines.push("nothing was asked for".into());
        }
        lines.push(String::new());
        lines.push("MAILBOX         waiting  capacity      bytes  handled/s  wait p99   busy".into());
        lines.extend(self.mailboxes.iter().map(Mailbox::line));
        lines.push(String::new());
        lines.push("CACHE              held      limit    hit".into());
        lines.extend(self.caches.iter().map(Cache::line));
        lines
    }
}

fn head(status: &Status) -> Vec<String> {
    let mut head = vec![
        format!("{} at {}, process {}, for {}", status.volume, status.mountpoint, status.pid, span(status.uptime_seconds)),
        format!("{}; {} free, {} in images", mode_text(status), human(status.space.available_bytes), human(status.space.image_bytes)),
    ];
    head.extend(
        status.stuck.iter().map(|stuck| format!("STUCK {}, for {}: waits for {}", stuck.who, span(stuck.seconds), stuck.waits_for)),
    );
    head
}

fn operation(between: &Between<'_>, op: String) -> Operation {
    let by = [("op", op.as_str())];
    let all = between.rate("infmap_fuse_requests_total", &by).unwrap_or(0.0);
    let good = between.rate("infmap_fuse_requests_total", &[("op", &op), ("errno", "ok")]).unwrap_or(0.0);
    let quantile = |part| between.quantile("infmap_fuse_request_duration_seconds", &by, part);
    let (p50_seconds, p99_seconds) = (quantile(0.5), quantile(0.99));
    let in_flight = between.after.sum_with("infmap_fuse_requests_in_flight", &by);
    Operation { per_second: all, errors_per_second: (all - good).max(0.0), p50_seconds, p99_seconds, in_flight, op }
}

fn mailbox(between: &Between<'_>, pool: String) -> Mailbox {
    let by = [("pool", pool.as_str())];
    let after = between.after;
    Mailbox {
        waiting: after.sum_with("infmap_actor_mailbox_depth", &by).unwrap_or(0.0),
        capacity: after.sum_with("infmap_actor_mailbox_capacity", &by),
        bytes: after.sum_with("infmap_actor_mailbox_bytes", &by),
        handled_per_second: between.rate("infmap_actor_messages_total", &by),
        wait_p99_seconds: between.quantile("infmap_actor_queue_wait_seconds", &by, 0.99),
        busy_threads: between.rate("infmap_actor_busy_seconds_total", &by),
        pool,
    }
}

fn cache(between: &Between<'_>, tier: String) -> Cache {
    let by = [("tier", tier.as_str())];
    let hit = [("tier", tier.as_str()), ("result", "hit")];
    Cache {
        bytes: between.after.sum_with("infmap_cache_bytes", &by).unwrap_or(0.0),
        limit_bytes: between.after.sum_with("infmap_cache_limit_bytes", &by),
        hit_ratio: between.share("infmap_cache_requests_total", &hit, &by),
        tier,
    }
}

impl Operation {
    fn line(&self) -> String {
        format!(
            "{:<16} {:>8.0} {:>9.0} {:>9} {:>9} {:>10}",
            self.op,
            self.per_second,
            self.errors_per_second,
            duration(self.p50_seconds),
            duration(self.p99_seconds),
            number(self.in_flight)
        )
    }
}

impl Mailbox {
    fn line(&self) -> String {
        format!(
            "{:<15} {:>7.0} {:>9} {:>10} {:>10} {:>9} {:>6}",
            self.pool,
            self.waiting,
            number(self.capacity),
            bytes(self.bytes),
            number(self.handled_per_second),
            duration(self.wait_p99_seconds),
            self.busy_threads.map_or("-".into(), |busy| format!("{busy:.2}"))
        )
    }
}

impl Cache {
    fn line(&self) -> String {
        let hit = self.hit_ratio.map_or("-".into(), |hit| format!("{:.0} %", 100.0 * hit));
        format!("{:<12} {:>10} {:>10} {hit:>6}", self.tier, bytes(Some(self.bytes)), bytes(self.limit_bytes))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]
fn bytes(figure: Option<f64>) -> String {
    figure.map_or("-".into(), |bytes| human(bytes as u64))
}

fn duration(figure: Option<f64>) -> String {
    figure.map_or("-".into(), time)
}

fn number(figure: Option<f64>) -> String {
    figure.map_or("-".into(), |number| format!("{number:.0}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::figures::Figures;
    use super::*;

    #[test]
    fn a_page_has_operations_by_rate_mailboxes_and_caches() {
        let before = Figures::read("");
        let after = Figures::read(
            "infmap_fuse_requests_total{op=\"read\",errno=\"ok\"} 10\ninfmap_fuse_requests_total{op=\"lookup\",errno=\"ok\"} 50\n\
             infmap_fuse_requests_total{op=\"lookup\",errno=\"ENOENT\"} 50\ninfmap_fuse_requests_total{op=\"mkdir\",errno=\"ok\"} 0\n\
             infmap_actor_mailbox_depth{pool=\"vat\",member=\"0\",lane=\"data\"} 3\ninfmap_actor_mailbox_depth{pool=\"vat\",member=\"0\",lane=\"foreground\"} 4\n\
             infmap_cache_bytes{tier=\"l1\"} 1024\ninfmap_cache_requests_total{tier=\"l1\",result=\"hit\"} 3\n\
             infmap_cache_requests_total{tier=\"l1\",result=\"miss\"} 1\n",
        );
        let page = Page::of(&Between { before: &before, after: &after, seconds: 1.0 }, &Status::default());
        let lines = page.lines().join("\n");
        let (lookup, read) = (lines.find("\nlookup").expect("shown"), lines.find("\nread  ").expect("shown"));
        assert!(lookup < read && !lines.contains("mkdir"), "{lines}");
        assert!(lines.contains("\nlookup                100        50") && lines.contains("\nvat                   7"), "{lines}");
        assert!(lines.contains("\nl1              1.0 KiB          -   75 %"), "{lines}");
        let json = serde_json::to_value(&page).expect("JSON");
        assert_eq!(json["mailboxes"][0]["waiting"].as_f64(), Some(7.0));
    }
}
