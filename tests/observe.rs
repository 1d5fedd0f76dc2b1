//! Prometheus and Grafana as they are shipped: a real Prometheus asks a real mount, and every panel and every alert is evaluated.
//!
//! Must be true: no query is refused, none is empty that should have data, each names figures that there are; a mailbox that is blocked for a
//! known time shows it in depth, waiting time and alerts. Fails: a machine without FUSE or Prometheus skips, and says so.

mod common;
#[path = "observe/panels.rs"]
mod panels;
#[path = "observe/prometheus.rs"]
mod prometheus;

use common::{Mount, Numbers, SOURCE, Volume, has, infmap, run};
use infmap::control::client;
use infmap::metrics::catalogue;
use panels::{names, queries};
use prometheus::{PATIENCE, Prometheus, escaped, shipped};
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const LEFT_OUT: &str = "no query of the dashboard and of the alerts is evaluated (scripts/setup observe installs it)";

fn has_prometheus() -> bool {
    has("prometheus", LEFT_OUT) && has("promtool", LEFT_OUT)
}

/// Where a mount listens, as it says itself.
fn address(volume: &Path) -> String {
    client::status(volume).expect("it answers").http.address.expect("it listens")
}

/// Whether a load is to go on, after a pause in which others have the processors.
fn goes_on(ends: &Receiver<()>, pause: Duration) -> bool {
    ends.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
}

/// A bit of everything, again and again, until nobody can tell it to end any more.
fn work(dir: &Path, ends: &Receiver<()>) {
    let (mut numbers, mut random) = (Numbers(4), vec![0; 300_000]);
    let text: Vec<u8> = (0..20_000).flat_map(|n: u32| format!("line {n} shrinks\n").into_bytes()).collect();
    while goes_on(ends, Duration::from_millis(5)) {
        let path = |number: u64| dir.join(number.to_string());
        let number = numbers.below(50);
        numbers.fill(&mut random);
        fs::write(path(100 + number), if number.is_multiple_of(2) { &random } else { &text }).expect("written");
        let file = File::open(path(100 + number)).expect("opened");
        if number.is_multiple_of(3) {
            file.sync_all().expect("synced");
        }
        fs::rename(path(100 + number), path(number)).expect("renamed");
        read_again(&path(number));
        assert!(fs::metadata(path(1000)).is_err() && fs::read_dir(dir).expect("listed").count() > 0);
        let _ = fs::remove_file(path(numbers.below(50)));
    }
}

/// Reads a file from the daemon and not from the kernel's pages.
fn read_again(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    file.sync_all().expect("synced");
    fadvise(&file, 0, None, Advice::DontNeed).expect("advised");
    let (mut at, mut piece) = (0, vec![0; 128 << 10]);
    while let Ok(read @ 1..) = file.read_at(&mut piece, at) {
        at += read as u64;
    }
}

#[test]
fn every_panel_and_every_alert_is_answered_by_a_real_prometheus() {
    if !has_prometheus() {
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    // Files that this mount finds, and the kernel does not have: the next one reads them ahead.
    let mount = volume.mount();
    let mut bytes = vec![0; 24 << 20];
    Numbers(1).fill(&mut bytes);
    fs::write(mount.path("large"), &bytes).expect("written");
    mount.unmount();
    let mount =
        volume.mount_with(&["--set", "durability.checkpoint_at=16MiB", "--set", "durability.commit_interval=100ms", "--set", "limit=8GiB"]);
    let prometheus = Prometheus::start(&address(&volume.path()), |rules| rules);
    // While others read it would take its time.
    run(infmap().args(["scrub", "start", "--wait"]).arg(mount.dir()));
    run(infmap().args(["config", "reload"]).arg(mount.dir()));
    thread::scope(|scope| {
        let ((_ends, end), (_ends_too, end_too)) = (mpsc::channel(), mpsc::channel());
        let dir = mount.dir();
        scope.spawn(move || work(dir, &end));
        scope.spawn(move || {
            while goes_on(&end_too, Duration::from_millis(100)) {
                read_again(&dir.join("large"));
            }
        });
        ask_everything(&prometheus);
        rules_are_evaluated(&prometheus);
        pictures_are_drawn(&prometheus);
    });
    mount.unmount();
}

/// Every panel has data, soon.
fn ask_everything(prometheus: &Prometheus) {
    let began = Instant::now();
    let mut missing = queries();
    assert!(missing.len() > 80, "{}", missing.len());
    loop {
        missing.retain(|query| prometheus.query(&query.query).is_empty() && !query.may_be_empty());
        if missing.is_empty() {
            break;
        }
        let empty: Vec<_> = missing.iter().map(|query| format!("{}\n  {}", query.panel, query.query)).collect();
        assert!(began.elapsed() < PATIENCE, "these are empty, and should not be:\n{}", empty.join("\n"));
        prometheus.pause();
    }
    println!("every panel had data after {:.1} s", began.elapsed().as_secs_f64());
    for choice in [
        "label/volume/values?match[]=infmap_volume_info".to_string(),
        format!("label/instance/values?match[]={}", escaped("infmap_volume_info{volume=~\".*\"}")),
    ] {
        assert_eq!(prometheus.api(&choice).as_array().map(Vec::len), Some(1), "{choice}");
    }
}

/// Every rule was evaluated without a complaint, and on a mount that is well none fires but those on the room of this machine's disk.
fn rules_are_evaluated(prometheus: &Prometheus) {
    let groups = prometheus.api("rules")["groups"].clone();
    let rules: Vec<_> =
        groups.as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect();
    assert!(rules.len() > 30, "{}", rules.len());
    for rule in &rules {
        let (name, query) = (rule["name"].as_str().expect("a name"), rule["query"].as_str().expect("a query"));
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        prometheus.query(query);
        let is_calm = rule["state"] == "inactive" || name.starts_with("InfmapSpace") || rule["type"] == "recording";
        assert!(is_calm, "{name} on a mount that is well: {rule}");
    }
}

/// A picture for each row, which are those of the README.
fn pictures_are_drawn(prometheus: &Prometheus) {
    if !has("python3", "no picture of the dashboard is drawn") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let script = Path::new(SOURCE).join("scripts/dashboard-pictures");
    let said = run(Command::new("python3").arg(script).arg(prometheus.url()).arg(dir.path()).args(["--minutes", "1"]));
    let (rows, drawn) = (panels::rows(), said.lines().count());
    assert_eq!(rows.len(), drawn, "{said}");
    for row in rows {
        let name = format!("dashboard-{}.png", row.to_lowercase());
        let file = File::open(dir.path().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        reader.next_frame(&mut pixels).expect("whole");
        let colours: BTreeSet<&[u8]> = pixels.chunks(3).collect();
        assert!(colours.len() > 10, "{name} shows nothing: {} colours", colours.len());
        assert!(Path::new(SOURCE).join("docs/images").join(&name).exists(), "{name} is not in docs/images");
    }
}

#[test]
fn every_figure_that_is_asked_for_is_in_the_catalogue() {
    let rules = fs::read_to_string(shipped().join("rules.yml")).expect("shipped");
    // Names of recorded series and of groups are not figures.
    let rules = rules.lines().filter(|line| !line.contains("record: ") && !line.contains("- name: "));
    let asked = queries().into_iter().map(|query| query.query).chain(rules.map(str::to_string));
    let asked: BTreeSet<String> = asked.flat_map(|text| names(&text)).collect();
    assert!(asked.len() > 60, "{}", asked.len());
    let unknown: Vec<_> = asked.iter().filter(|name| catalogue::find(name).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Meant to fail with three figures that nobody had given a panel.
#[test]
fn every_figure_has_a_panel() {
    let shown: BTreeSet<String> = queries().into_iter().flat_map(|query| names(&query.query)).collect();
    let is_shown = |name: &str| shown.iter().any(|shown| catalogue::find(shown).is_some_and(|metric| metric.name == name));
    let without: Vec<_> = catalogue::all().map(|metric| metric.name).filter(|name| !is_shown(name)).collect();
    assert!(without.is_empty(), "{without:?}");
}

/// The text behind a key of YAML, for each line that has it.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": "))
}

#[test]
fn every_alert_has_a_section_of_operations_md_and_cases_that_fire_and_do_not() {
    let read = |path: &str| fs::read_to_string(Path::new(SOURCE).join(path)).expect("shipped");
    let (rules, cases) = (read("config/prometheus/rules.yml"), read("config/prometheus/rules_test.yml"));
    let operations = read("docs/operations.md");
    let anchors: BTreeSet<String> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', ""))
        .collect();
    let alerts: Vec<_> = values(&rules, "alert").collect();
    let links: Vec<_> = values(&rules, "runbook_url").collect();
    assert!(alerts.len() > 25 && alerts.len() == links.len(), "{} alerts, {} links", alerts.len(), links.len());
    for (alert, link) in alerts.iter().zip(links) {
        assert_eq!(link, format!("docs/operations.md#{}", alert.to_lowercase()));
        assert!(anchors.contains(&alert.to_lowercase()), "docs/operations.md has no section {alert}");
        let tried: Vec<bool> = cases
            .split("alertname: ")
            .skip(1)
            .filter(|case| case.lines().next() == Some(*alert))
            .map(|case| case.contains("exp_labels"))
            .collect();
        assert!(tried.contains(&true) && tried.contains(&false), "{alert} has not both cases: {tried:?}");
    }
    for key in ["summary", "description", "severity"] {
        assert_eq!(values(&rules, key).count(), alerts.len(), "each alert has a {key}");
    }
    let runbooks = operations.lines().filter_map(|line| line.strip_prefix("### Infmap")).map(|rest| format!("Infmap{rest}"));
    assert_eq!(runbooks.collect::<Vec<_>>(), alerts, "sections and alerts, in one order");
}

#[test]
fn promtool_finds_nothing_wrong() {
    if !has_prometheus() {
        return;
    }
    let promtool = |arguments: [&str; 3]| run(Command::new("promtool").args(arguments).current_dir(shipped()));
    promtool(["check", "config", "prometheus.yml"]);
    promtool(["check", "rules", "rules.yml"]);
    promtool(["test", "rules", "rules_test.yml"]);
}

#[test]
fn the_dashboard_is_what_its_script_writes() {
    if has("python3", "the dashboard is not compared with scripts/dashboard") {
        run(Command::new("python3").arg(Path::new(SOURCE).join("scripts/dashboard")).arg("--check"));
    }
}

/// Meant to fail with an address of IPv6 that was not quoted, which YAML reads as a list: then no mount at all is asked.
#[test]
fn make_observe_asks_the_mounts_that_there_are_and_leaves_nothing_behind() {
    if !has_prometheus() || !has("python3", "scripts/observe is not run") {
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let temporary = tempfile::tempdir().expect("a directory");
    let is_there = std::net::TcpListener::bind("[::1]:0").is_ok();
    let mount = volume.mount_with(&["--set", if is_there { "http.listen=[::1]:0" } else { "http.listen=127.0.0.1:0" }]);
    let mut command = Command::new("bash");
    command.arg(Path::new(SOURCE).join("scripts/observe")).arg(common::INFMAP).env("TMPDIR", temporary.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("bash starts");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let lines: Vec<String> = said.by_ref().take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let found = lines.iter().find_map(|line| line.split_once("http://")?.1.split(' ').next().map(str::to_string));
    let wanted = address(&volume.path());
    let began = Instant::now();
    // It reads them a moment after it is ready.
    let asked = || prometheus::get(found.as_deref()?, "/api/v1/targets");
    let mut targets = asked();
    while targets.as_ref().is_some_and(|(_, body)| !body.contains(&wanted)) && began.elapsed() < PATIENCE {
        targets = asked();
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).expect("it lives");
    let ended = child.wait().expect("waited");
    let (code, body) = targets.unwrap_or_else(|| panic!("nothing answers: {lines:?}"));
    assert!(code == 200 && body.contains(&wanted), "{body}");
    assert!(ended.success(), "{ended}");
    assert_eq!(fs::read_dir(temporary.path()).expect("listed").count(), 0, "something is left in its directory");
    assert!(found.and_then(|address| prometheus::get(&address, "/-/ready")).is_none(), "it still listens");
    mount.unmount();
}

/// Goes on however the test ends.
struct Stopped<'a>(&'a Mount);

impl<'a> Stopped<'a> {
    fn new(mount: &'a Mount) -> Self {
        signal(mount, rustix::process::Signal::STOP);
        Self(mount)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        signal(self.0, rustix::process::Signal::CONT);
    }
}

fn signal(mount: &Mount, signal: rustix::process::Signal) {
    let pid = i32::try_from(mount.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, signal).expect("it lives");
}

/// Readers of one image, each of another part.
const READERS: u64 = 60;
/// Bytes between two parts: a unit, so that nobody reads what another one asks for.
const APART: u64 = 64 << 10;

/// A volume on the mount of another one, whose daemon can be stopped: a disk that does not answer, for as long as a test likes.
fn volume_on(outer: &Mount, outer_volume: &Volume, bytes: &[u8]) -> (std::path::PathBuf, std::path::PathBuf) {
    let (path, mountpoint) = (outer.path("inner.map"), outer_volume.beside("inner.mnt"));
    run(infmap().arg("init").arg(&path));
    fs::create_dir(&mountpoint).expect("a mountpoint");
    let inner = Mount::start(&path, &mountpoint, &["--set", "compression=off"]);
    fs::write(inner.path("cold"), bytes).expect("written");
    inner.unmount();
    (path, mountpoint)
}

#[test]
fn an_actor_that_is_blocked_for_a_known_time_shows_it_in_depth_waiting_time_and_alerts() {
    if !has_prometheus() {
        return;
    }
    let Some(outer_volume) = Volume::if_mountable() else { return };
    let outer = outer_volume.mount();
    let mut bytes = vec![0; usize::try_from((READERS + 1) * APART).expect("small")];
    Numbers(2).fill(&mut bytes);
    let (path, mountpoint) = volume_on(&outer, &outer_volume, &bytes);
    let inner = Mount::start(&path, &mountpoint, &["--set", "actors.pixel_reader.mailbox=16"]);
    let file = File::open(inner.path("cold")).expect("there");
    fadvise(&file, 0, None, Advice::Random).expect("advised");
    let part = |number: u64| {
        let mut found = vec![0; 4096];
        file.read_exact_at(&mut found, number * APART).expect("read");
        let at = usize::try_from(number * APART).expect("small");
        assert!(found == bytes[at..at + 4096], "part {number}");
    };
    // From now on the tables are in memory.
    part(READERS);

    let shorten = |rules: String| rules.replace("for: 5m", "for: 1s").replace("for: 30s", "for: 1s").replace("[5m]", "[5s]");
    let prometheus = Prometheus::start(&address(&path), shorten);
    let waited = "infmap_actor_queue_wait_seconds_sum{pool=\"pixel_reader\"}";
    let depth = "sum(infmap_actor_mailbox_depth{pool=\"pixel_reader\"})";
    let fires = |alert: &str, more: &str| {
        let query = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"{more}}}");
        prometheus.wait_for(&query, |found| !found.is_empty());
    };
    prometheus.wait_for(depth, |found| found.iter().any(|sample| sample.value == 0.0));
    let before = prometheus.sum(waited);
    let (blocked, waiting) = thread::scope(|scope| {
        let stopped = Stopped::new(&outer);
        let began = Instant::now();
        let readers: Vec<_> = (0..READERS).map(|number| scope.spawn(move || part(number))).collect();
        // Of each image one is being handled, others wait in its mailbox.
        fires("InfmapMailboxFull", ", pool=\"pixel_reader\"");
        fires("InfmapStuck", ", kind=\"actor\"");
        let waiting = prometheus.sum(depth);
        drop(stopped);
        let blocked = began.elapsed();
        readers.into_iter().for_each(|reader| reader.join().expect("it read what was written"));
        (blocked, waiting)
    });
    fires("InfmapQueueWaitLong", ", pool=\"pixel_reader\"");
    prometheus.wait_for(depth, |found| found.iter().any(|sample| sample.value == 0.0));
    let (waited, expected) = (prometheus.sum(waited) - before, waiting * blocked.as_secs_f64());
    println!("blocked for {:.1} s, {waiting} of {READERS} readers in mailboxes: they waited {waited:.0} s in all", blocked.as_secs_f64());
    assert!(waited > 0.9 * expected && waited < 1.1 * expected + READERS as f64, "{waited} s were measured, {expected} s it was");
    assert!(waiting >= 16.0, "of {READERS} readers only {waiting} wait in mailboxes");
    drop(file);
    inner.unmount();
    outer.unmount();
}
