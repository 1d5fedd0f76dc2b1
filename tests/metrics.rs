//! The figures of a mount: the catalogue, the sources, docs/metrics.md and what a mount really says agree with each other.
//!
//! docs/metrics.md is written anew by `INFMAP_WRITE_DOCUMENTS=1 cargo test --test metrics`.

mod common;

use common::{Mount, Numbers, SOURCE, Volume, infmap};
use infmap::control::client::{self, ControlError};
use infmap::metrics::catalogue::{self, Kind, Metric, Presence, Stability};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// The document, from the catalogue.
fn document() -> String {
    let mut out = String::from(
        "# Metrics\n\nEvery figure that a mount gives to Prometheus, at `http.listen` under `/metrics`, or over the control socket\n\
         (`{\"version\":1,\"verb\":\"metrics\"}`). Written from `src/metrics/catalogue`, which a test compares with the sources and with a mount.\n\n\
         * Units are base units: bytes, seconds, ratios. Counters end in `_total` and begin at zero with each mount.\n\
         * No label holds a path, an inode or a user.\n\
         * `stable`: name, unit and labels stay; labels may get more values. `experimental`: it may change with any version.\n\
         * Histograms have buckets (`_bucket`), a sum and a count; a series is there once something was measured. What is called *when it\n\
         \x20 happens* is there from then on; all else from the mount on.\n\
         * `pool` is a kind of actor, `member` one of its slots, `lane` one of the four queues of its mailbox; see\n\
         \x20 [architecture.md](architecture.md). The busy ratio of a pool is\n\
         \x20 `rate(infmap_actor_busy_seconds_total[1m]) \n\
         \x20 / on(instance, pool) group_left sum by (instance, pool) (infmap_actor_workers{state!=\"dead\"})`.\n\
         * Nothing is sampled unless somebody looks. `http.listen: off` leaves out the recorder, and with it everything here.\n",
    );
    for (heading, metrics) in catalogue::parts() {
        let _ = writeln!(out, "\n## {heading}\n\n| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|");
        for Metric { name, kind, unit, labels, help, stability, presence } in metrics {
            let experimental = if *stability == Stability::Experimental { " *Experimental.*" } else { "" };
            let late = if *presence == Presence::Happened && !matches!(kind, Kind::Histogram(_)) { " *When it happens.*" } else { "" };
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(out, "| `{name}` | {} | {} | {} | {help}{late}{experimental} |", kind.name(), unit.name(), labels.join(", "));
        }
    }
    out.push_str("\n## Buckets\n\n| histogram | upper bounds |\n|---|---|\n");
    for metric in catalogue::all() {
        if let Kind::Histogram(bounds) = metric.kind {
            let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
            let _ = writeln!(out, "| `{}` | {} |", metric.name, bounds.join(" "));
        }
    }
    out
}

#[test]
fn the_document_says_what_the_catalogue_says() {
    let path = Path::new(SOURCE).join("docs/metrics.md");
    if std::env::var_os("INFMAP_WRITE_DOCUMENTS").is_some() {
        fs::write(&path, document()).expect("written");
    }
    let found = fs::read_to_string(&path).expect("docs/metrics.md");
    assert!(found == document(), "docs/metrics.md is old: INFMAP_WRITE_DOCUMENTS=1 cargo test --test metrics writes it anew");
}

/// Names that the macros of `metrics` are called with, by what is called.
fn recorded(text: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for kind in ["counter", "gauge", "histogram"] {
        for called in text.split(&format!("{kind}!(")).skip(1) {
            let name = called.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(name.map(|name| (kind, name.to_string())));
        }
    }
    found
}

#[test]
fn what_is_recorded_and_what_the_catalogue_has_are_the_same() {
    let sources = ["src", "actors/src", "storage/src"].map(|dir| common::walk(&Path::new(SOURCE).join(dir)));
    let sources = sources.into_iter().flatten().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut seen = BTreeSet::new();
    for path in sources.filter(|path| !path.ends_with("metrics/recorder.rs")) {
        for (kind, name) in recorded(&fs::read_to_string(&path).expect("readable")) {
            let metric = catalogue::find(&name).unwrap_or_else(|| panic!("{}: {name} is not in the catalogue", path.display()));
            // A counter of seconds is written as a gauge; see `metrics/floats.rs`.
            let is_float = metric.kind == Kind::Counter && metric.unit == catalogue::Unit::Seconds;
            let expected = if is_float { "gauge" } else { metric.kind.name() };
            assert_eq!(kind, expected, "{}: {name}", path.display());
            seen.insert(name);
        }
    }
    let missing: Vec<&str> = catalogue::all().map(|metric| metric.name).filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "nobody records {missing:?}");
    assert_eq!(recorded("x!(\"a\") counter!(\n \"b\", 1) gauge!(name)"), [("counter", "b".to_string())]);
}

/// What is answered to a request: head and body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).expect("sent");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).expect("answered");
    let (head, body) = heard.split_once("\r\n\r\n").expect("a head");
    (head.to_string(), body.to_string())
}

/// Where a mount listens, as it says itself.
fn address(volume: &Volume) -> String {
    client::status(&volume.path()).expect("it answers").http.address.expect("it listens")
}

/// One series: the name with its suffix, the labels, the value.
type Series = (String, BTreeMap<String, String>, f64);

/// Reads the text format, which must be well formed: each family in one piece, described before its series.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Series>) {
    let (mut kinds, mut series, mut helped) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    let mut family = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped.insert(rest.split(' ').next().expect("a name").to_string());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(kinds.insert(name.to_string(), kind.to_string()).is_none(), "{name} comes twice");
            assert!(helped.contains(name), "{name} is not described");
            family = name.into();
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
            assert!(name.starts_with(&family), "{line} is among those of {family}");
            let labels = labels.strip_suffix('}').expect("closed").split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.trim_end_matches('"').split_once("=\"").expect("a label"));
            let labels = labels.map(|(name, value)| (name.to_string(), value.to_string())).collect();
            series.push((name.to_string(), labels, value.parse().expect("a number")));
        }
    }
    (kinds, series)
}

fn work(mount: &Mount) {
    let dir = mount.path("dir");
    fs::create_dir(&dir).expect("made");
    for n in 0..40 {
        fs::write(dir.join(format!("{n}")), vec![n; 3000 * usize::from(n)]).expect("written");
    }
    let file = dir.join("synced");
    fs::write(&file, vec![7; 3 << 20]).expect("written");
    fs::File::open(&file).expect("open").sync_all().expect("synced");
    fs::rename(&file, dir.join("renamed")).expect("renamed");
    fs::remove_file(dir.join("0")).expect("removed");
    assert!(fs::metadata(dir.join("nothing")).is_err());
    assert!(fs::read_dir(&dir).expect("listed").count() == 40);
}

#[test]
fn after_a_load_every_figure_is_there_and_is_what_the_catalogue_says() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount();
    work(&mount);
    mount.unmount();
    // What is read from now on the kernel does not have.
    let mount = volume.mount_with(&["--set", "limit=8GiB", "--set", "durability.commit_interval=100ms"]);
    for n in 1..40 {
        assert_eq!(fs::read(mount.path(&format!("dir/{n}"))).expect("read").len(), 3000 * n);
    }
    let open = fs::File::open(mount.path("dir/renamed")).expect("open");
    work_again(&mount);
    assert!(infmap().args(["scrub", "start", "--wait"]).arg(mount.dir()).output().expect("scrubbed").status.success());
    assert!(infmap().arg("clean").arg(mount.dir()).output().expect("cleaned").status.success());
    assert!(infmap().args(["config", "reload"]).arg(mount.dir()).output().expect("read again").status.success());

    let address = address(&volume);
    // What was removed is worth a checkpoint, with the next tick.
    common::until("a checkpoint", || get(&address, "/metrics").1.contains("infmap_checkpoint_duration_seconds_count"));
    let (head, text) = get(&address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    let (kinds, series) = parse(&text);
    for metric in catalogue::all() {
        let Some(kind) = kinds.get(metric.name) else {
            assert!(metric.presence == Presence::Happened, "{} is missing", metric.name);
            continue;
        };
        assert_eq!(kind, metric.kind.name(), "{}", metric.name);
    }
    for (name, labels, _) in &series {
        let stem =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end).filter(|stem| catalogue::find(stem).is_some()));
        let metric = catalogue::find(stem.unwrap_or(name)).unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        let labels: BTreeSet<&str> = labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
        assert_eq!(labels, metric.labels.iter().copied().collect(), "{name}");
    }
    buckets_are_right(&series);
    let missing: Vec<&str> = catalogue::all().map(|metric| metric.name).filter(|name| !kinds.contains_key(*name)).collect();
    assert!(missing.is_empty(), "nothing was seen of {missing:?}");

    let value = |wanted: &str, label: &str| {
        let found =
            series.iter().filter(|(name, labels, _)| name == wanted && (label.is_empty() || labels.values().any(|value| value == label)));
        found.map(|(_, _, value)| *value).sum::<f64>()
    };
    assert_eq!(value("infmap_fuse_open_handles", "file"), 1.0);
    assert!(value("infmap_fuse_requests_total", "write") > 0.0 && value("infmap_fuse_requests_total", "ENOENT") > 0.0);
    assert!(value("infmap_fuse_io_bytes_total", "read") >= 2_000_000.0, "{}", value("infmap_fuse_io_bytes_total", "read"));
    assert!(value("infmap_cache_requests_total", "miss") > 0.0 && value("infmap_cache_requests_total", "hit") > 0.0);
    assert_eq!(value("infmap_mode", "rw"), 1.0);
    assert_eq!(value("infmap_capacity_limit_bytes", ""), (8u64 << 30) as f64);
    images_are_counted(&volume, &address);
    let resident = mount.memory_kib("VmRSS") as f64 * 1024.0;
    assert!((value("process_resident_memory_bytes", "") / resident - 1.0).abs() < 0.3, "{resident}");
    assert!(!text.contains("renamed") && !text.contains(&volume.path().display().to_string()), "no name of a file");

    let told = client::metrics(&volume.path()).expect("told");
    let names = |series: &[Series]| series.iter().map(|(name, ..)| name.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&parse(&told).1), names(&series), "over the control socket");
    assert_eq!(
        get(&address, "/readyz?verbose").1,
        "[+]mode ok\n[+]log ok\n[+]integrity ok\n[+]actors ok\n[+]door ok\nreadyz check passed\n"
    );
    let status: serde_json::Value = serde_json::from_str(&get(&address, "/status").1).expect("JSON");
    assert_eq!((&status["mode"], status["pid"].as_u64()), (&"rw".into(), Some(mount.pid().into())));
    drop(open);
    mount.unmount();
}

/// The daemon counts the images that there are. It makes and removes some meanwhile.
fn images_are_counted(volume: &Volume, address: &str) {
    common::until("that all images that are there are shown", || {
        let sizes: Vec<u64> = volume.images().iter().filter_map(|image| fs::metadata(image).ok()).map(|found| found.len()).collect();
        let (_, series) = parse(&get(address, "/metrics").1);
        let value = |wanted: &str| series.iter().find(|(name, ..)| name == wanted).expect(wanted).2;
        let (shown, there) =
            ((value("infmap_region_count"), value("infmap_region_bytes")), (sizes.len() as f64, sizes.iter().sum::<u64>() as f64));
        shown == there && there.0 > 0.0
    });
}

fn work_again(mount: &Mount) {
    let mut much = vec![0; 24 << 20];
    Numbers(5).fill(&mut much);
    fs::write(mount.path("more"), &much).expect("written");
    fs::File::open(mount.path("more")).expect("open").sync_all().expect("synced");
    fs::remove_file(mount.path("more")).expect("removed");
    fs::write(mount.path("small"), b"x").expect("written");
    fs::File::open(mount.path("small")).expect("open").sync_all().expect("synced");
}

/// Buckets grow, end in all, and the sum fits to them.
fn buckets_are_right(series: &[Series]) {
    let mut last: BTreeMap<(String, BTreeMap<String, String>), (f64, f64)> = BTreeMap::new();
    for (name, labels, value) in series {
        let Some(stem) = name.strip_suffix("_bucket") else { continue };
        let bound: f64 = labels["le"].parse().expect("a bound");
        let others = labels.iter().filter(|(label, _)| *label != "le").map(|(label, value)| (label.clone(), value.clone())).collect();
        let before = last.insert((stem.to_string(), others), (bound, *value)).unwrap_or((f64::NEG_INFINITY, 0.0));
        assert!(bound > before.0 && *value >= before.1, "{name} {labels:?}");
    }
    assert!(last.len() > 10, "{} histograms", last.len());
    for ((stem, labels), (bound, value)) in last {
        let of = |end: &str| series.iter().find(|(name, found, _)| *name == format!("{stem}_{end}") && *found == labels).expect(end).2;
        assert!(bound.is_infinite() && of("count") == value && value > 0.0, "{stem} {labels:?}");
        assert!(of("sum") >= 0.0);
    }
}

#[test]
fn a_second_mount_goes_on_without_the_port_that_the_first_one_has_and_off_measures_nothing() {
    let (Some(volume), Some(other)) = (Volume::if_mountable(), Volume::if_mountable()) else { return };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = taken.local_addr().expect("bound").to_string();
    let mount = volume.mount_with(&["--set", &format!("http.listen={at}")]);
    assert!(mount.said().contains(&format!("no HTTP: another program listens at {at}, perhaps another mount")), "{}", mount.said());
    let shown = String::from_utf8(infmap().arg("status").arg(mount.dir()).output().expect("shown").stdout).expect("UTF-8");
    assert!(shown.contains(&format!("http      none: another program listens at {at}")), "{shown}");
    assert!(client::metrics(&volume.path()).expect("told").contains("infmap_uptime_seconds"), "it is measured all the same");
    mount.unmount();

    let mount = other.mount_with(&["--set", "http.listen=off"]);
    let shown = String::from_utf8(infmap().arg("status").arg(mount.dir()).output().expect("shown").stdout).expect("UTF-8");
    assert!(shown.contains("\nhttp      off\n"), "{shown}");
    assert!(matches!(client::metrics(&other.path()), Err(ControlError::Refused(why)) if why.contains("http.listen was off")));
    mount.unmount();
}
