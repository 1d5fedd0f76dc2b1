//! What the door answers by itself: names and attributes that are resident cost no message to any actor.
//!
//! Owns: this process's recorder of metrics, so it is one test alone. Must be true: the kernel asked as often as is claimed. Fails: a
//! machine without `/dev/fuse` skips, and says so.

use infmap::fuse::{MountSettings, Mounted, Unmount};
use infmap_actors::Volume;
use infmap_actors::settings::Settings;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Counts requests by operation, and nothing else.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<HashMap<String, Arc<Count>>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    fn absolute(&self, to: u64) {
        self.0.fetch_max(to, Ordering::SeqCst);
    }
}

impl Recorder for Requests {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let op = key.labels().find(|label| label.key() == "op");
        match op.filter(|_| key.name() == "infmap_fuse_requests_total") {
            Some(op) => Counter::from_arc(self.0.lock().unwrap().entry(op.value().into()).or_default().clone()),
            None => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Requests {
    fn of(&self, op: &str) -> u64 {
        self.0.lock().unwrap().get(op).map_or(0, |count| count.0.load(Ordering::SeqCst))
    }
}

#[test]
fn getattr_and_lookup_of_resident_names_post_no_message() {
    const FILES: u64 = 100;
    const ROUNDS: u64 = 20;
    let mountpoint = tempfile::tempdir().unwrap();
    if !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: there is no /dev/fuse");
        return;
    }
    let requests = Requests::default();
    metrics::set_global_recorder(requests.clone()).unwrap_or_else(|_| panic!("another recorder"));
    let volume = Arc::new(Volume::in_memory(Settings::default()).unwrap());
    // The kernel trusts nothing that it was told, so it asks for each name and each stat.
    let settings = MountSettings { entry_lifetime: Duration::ZERO, attribute_lifetime: Duration::ZERO, ..MountSettings::default() };
    let mounted = match Mounted::start(volume.clone(), mountpoint.path(), &settings) {
        Ok(mounted) => mounted,
        Err(error) if error.to_string().contains("ermi") => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let path = |number: u64| mountpoint.path().join("dir").join(number.to_string());
    fs::create_dir(mountpoint.path().join("dir")).unwrap();
    for number in 0..FILES {
        fs::write(path(number), number.to_string()).unwrap();
    }
    let open: Vec<fs::File> = (0..FILES).map(|number| fs::File::open(path(number)).unwrap()).collect();
    rustix::fs::syncfs(&open[0]).unwrap();

    let before = (volume.posted(), requests.of("lookup"), requests.of("getattr"));
    for _ in 0..ROUNDS {
        for (number, file) in (0..FILES).zip(&open) {
            let size = number.to_string().len() as u64;
            assert_eq!((fs::metadata(path(number)).unwrap().len(), file.metadata().unwrap().len()), (size, size));
            assert!(fs::metadata(path(number).with_extension("missing")).is_err());
        }
    }
    let asked = (requests.of("lookup") - before.1, requests.of("getattr") - before.2);
    assert!(asked.0 >= 2 * FILES * ROUNDS && asked.1 >= FILES * ROUNDS, "the kernel asked only {asked:?} times");
    assert_eq!(volume.posted() - before.0, 0, "messages for {asked:?} lookups and getattrs");
    // The counter counts: a change of one name costs at least a message.
    fs::remove_file(path(0)).unwrap();
    assert!(volume.posted() > before.0);

    drop(open);
    mounted.unmount(Unmount::Lazy).unwrap();
    mounted.join().unwrap();
}
