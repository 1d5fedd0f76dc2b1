//! Figures that nobody looks at take no memory: ten million operations, and not one scrape.

use std::fs;
use std::time::Instant;

const OPERATIONS: u64 = 10_000_000;
const THREADS: u64 = 2;
/// Growth that is not of this: threads, pages that were touched for the first time.
const NOISE_KIB: u64 = 2048;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// As the door counts a request.
fn operate(rounds: u64) {
    let done = metrics::counter!("infmap_fuse_requests_total", "op" => "read", "errno" => "ok");
    let bytes = metrics::counter!("infmap_fuse_io_bytes_total", "direction" => "read");
    let seconds = metrics::histogram!("infmap_fuse_request_duration_seconds", "op" => "read");
    let waited = metrics::histogram!("infmap_actor_queue_wait_seconds", "pool" => "vat", "lane" => "foreground");
    for round in 0..rounds {
        done.increment(1);
        bytes.increment(4096);
        seconds.record((round % 1000) as f64 * 1e-6);
        waited.record(1e-5);
    }
}

/// Seen to fail with the histograms of the exporter without its upkeep: 315 MiB.
#[test]
fn ten_million_operations_without_a_scrape_take_no_memory() {
    let exposition = infmap::metrics::install().expect("the only recorder");
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(|| operate(1000)))));
    let (before, began) = (resident_kib(), Instant::now());
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(|| operate(OPERATIONS / THREADS)))));
    let (after, took) = (resident_kib(), began.elapsed());
    println!("{OPERATIONS} operations in {took:?}: {before} KiB before, {after} KiB after");
    assert!(after <= before + NOISE_KIB, "{before} KiB before, {after} KiB after");
    let text = exposition.render();
    let count = OPERATIONS + THREADS * 1000;
    for line in [
        format!("infmap_fuse_requests_total{{op=\"read\",errno=\"ok\"}} {count}"),
        format!("infmap_fuse_request_duration_seconds_count{{op=\"read\"}} {count}"),
        format!("infmap_fuse_request_duration_seconds_bucket{{op=\"read\",le=\"+Inf\"}} {count}"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
