//! `infmap stats DIR`: one line of figures after the other, as dstat has them.
//!
//! Must be true: a line says what happened since the one before; it goes on until --count, or until nobody reads. Fails: with
//! [`Code::NotMeasured`](super::error::Code::NotMeasured), and as a daemon does.

use super::Context;
use super::error::CliError;
use super::figures::{self, Between, Figures, time};
use super::mount::duration;
use super::output::{self, human};
use super::status::Behind;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Lines after which the head is repeated.
const HEAD_EVERY: u64 = 20;
const HEAD: &str = "   ops/s     read/s    write/s       p99    hit  waiting      dirty        log";

/// Show what a mount does, a line for each second: requests, bytes, times, cache, mailboxes.
#[derive(clap::Args)]
pub struct Stats {
    /// Where it is mounted, or the volume's directory.
    #[arg(value_name = "DIR|VOLUME")]
    path: PathBuf,
    /// Between two lines.
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// Lines; without end if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A line.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Line {
    seconds: f64,
    operations_per_second: Option<f64>,
    read_bytes_per_second: Option<f64>,
    written_bytes_per_second: Option<f64>,
    /// Of all requests that were answered.
    p99_seconds: Option<f64>,
    /// Of look-ups in L1; `None`: there was none.
    hit_ratio: Option<f64>,
    /// Messages in all mailboxes.
    waiting_messages: Option<f64>,
    dirty_bytes: Option<f64>,
    log_bytes: Option<f64>,
}

impl Stats {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let behind = Behind::of(&self.path)?;
        let mut before = figures::ask(&behind)?;
        for number in 0..self.count.unwrap_or(u64::MAX) {
            std::thread::sleep(self.interval.max(Duration::from_millis(10)));
            let after = figures::ask(&behind)?;
            let line = Line::of(&Between::new(&before, &after));
            let is_read = if context.json {
                output::still_read(&output::json_text("stats", &line)?)?
            } else {
                let head = if number % HEAD_EVERY == 0 && !context.quiet { format!("{HEAD}\n") } else { String::new() };
                output::still_read(&format!("{head}{}", text(&line)))?
            };
            if !is_read {
                break;
            }
            before = after;
        }
        Ok(())
    }
}

impl Line {
    pub fn of(between: &Between<'_>) -> Self {
        let dirty = |figures: &Figures| figures.sum_with("infmap_cache_bytes", &[("tier", "dirty")]);
        Self {
            seconds: between.seconds,
            operations_per_second: between.rate("infmap_fuse_requests_total", &[]),
            read_bytes_per_second: between.rate("infmap_fuse_io_bytes_total", &[("direction", "read")]),
            written_bytes_per_second: between.rate("infmap_fuse_io_bytes_total", &[("direction", "write")]),
            p99_seconds: between.quantile("infmap_fuse_request_duration_seconds", &[], 0.99),
            hit_ratio: between.share("infmap_cache_requests_total", &[("tier", "l1"), ("result", "hit")], &[("tier", "l1")]),
            waiting_messages: between.after.sum("infmap_actor_mailbox_depth"),
            dirty_bytes: dirty(between.after),
            log_bytes: between.after.sum("infmap_wal_bytes"),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]
fn text(line: &Line) -> String {
    let bytes = |figure: Option<f64>| figure.map_or("-".into(), |bytes| human(bytes as u64));
    let number = |figure: Option<f64>| figure.map_or("-".into(), |number| format!("{number:.0}"));
    let hit = line.hit_ratio.map_or("-".into(), |hit| format!("{:.0} %", 100.0 * hit));
    format!(
        "{:>8} {:>10} {:>10} {:>9} {:>6} {:>8} {:>10} {:>10}",
        number(line.operations_per_second),
        bytes(line.read_bytes_per_second),
        bytes(line.written_bytes_per_second),
        line.p99_seconds.map_or("-".into(), time),
        hit,
        number(line.waiting_messages),
        bytes(line.dirty_bytes),
        bytes(line.log_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_under_its_head_and_what_is_not_known_is_a_dash() {
        let line = Line { operations_per_second: Some(1234.4), p99_seconds: Some(0.002), hit_ratio: Some(0.5), ..Line::default() };
        let text = text(&line);
        assert_eq!(text, "    1234          -          -    2.0 ms   50 %        -          -          -");
        assert_eq!(text.len(), HEAD.len());
        let json: serde_json::Value = serde_json::from_str(&output::json_text("stats", &line).expect("JSON")).expect("JSON");
        assert_eq!((&json["message_type"], &json["read_bytes_per_second"]), (&"stats".into(), &serde_json::Value::Null));
    }
}
