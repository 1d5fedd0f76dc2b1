//! What the system says of this process.
//!
//! Owns: the reading of `/proc/self`. Must be true: it waits for no disk. Fails: a figure that the system does not give is left out.

use metrics::gauge;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::sync::OnceLock;

/// Hands it to the recorder.
pub(super) fn sample() {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::of) {
        let (ticks, page) = (ticks_per_second(), page_size() as f64);
        gauge!("process_cpu_seconds_total").set(stat.cpu_ticks / ticks);
        gauge!("process_threads").set(stat.threads);
        gauge!("process_virtual_memory_bytes").set(stat.virtual_bytes);
        gauge!("process_resident_memory_bytes").set(stat.resident_pages * page);
        if let Some(boot_seconds) = boot_seconds() {
            gauge!("process_start_time_seconds").set(boot_seconds + stat.start_ticks / ticks);
        }
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // The one that lists them is among them.
        gauge!("process_open_fds").set(u32::try_from(files.count().saturating_sub(1)).unwrap_or(u32::MAX));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        gauge!("process_max_fds").set(u32::try_from(limit).unwrap_or(u32::MAX));
    }
}

fn ticks_per_second() -> f64 {
    clock_ticks_per_second() as f64
}

/// When the machine was started, in seconds since 1970.
fn boot_seconds() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| fs::read_to_string("/proc/stat").ok()?.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()))
}

/// What `/proc/PID/stat` has (proc_pid_stat(5)).
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    /// The name of the process may hold anything, parentheses too.
    fn of(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        // The third field of the whole is the first here.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_system_is_read_whatever_the_process_is_called() {
        let text =
            "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 2046 0 0 0 30 12 0 0 20 0 9 0 12345 60000000 1500 18446744073709551615 1 1\n";
        let stat = Stat::of(text).expect("read");
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (42.0, 9.0, 12345.0));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (60_000_000.0, 1500.0));
        assert!(Stat::of("").is_none() && Stat::of("1 (x) S 1").is_none());
        let own = fs::read_to_string("/proc/self/stat").expect("Linux");
        assert!(Stat::of(&own).is_some_and(|own| own.threads >= 1.0 && own.resident_pages > 10.0));
        assert!(boot_seconds().is_some_and(|seconds| seconds > 1e9) && ticks_per_second() >= 100.0);
    }
}
