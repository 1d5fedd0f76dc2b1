//! A mount tells of itself while everything that works in it is stuck.

use super::*;
use crate::backend::Reload;
use crate::config::Loaded;
use crate::config::sources::Sources;
use crate::control::client;
use crate::logging::Logging;
use infmap_actors::mailbox::{Envelope, Lane};
use infmap_actors::runtime::actix_pool::ActixPools;
use infmap_actors::runtime::{Home, Runtime};
use infmap_actors::slot::{Context, Role, spawn};
use infmap_actors::volume::{OpenOptions, create};
use infmap_storage::device::{Device, MemoryDevice};
use infmap_storage::volume_file::create_directories;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A member of a pool that no actor of a volume has.
const STRANGER: usize = 990;
const POOLS: [(&str, usize); 9] = [
    ("vat", 1),
    ("cache", 2),
    ("pixel_writer", 3),
    ("pixel_reader", 4),
    ("wal", 1),
    ("checkpointer", 1),
    ("cleaner", 1),
    ("scanner", 1),
    ("keeper", 1),
];

/// Says that it has begun, and waits for a word.
struct Block(Sender<()>, Option<Receiver<()>>);

impl Envelope for Block {
    fn kind(&self) -> &'static str {
        "block"
    }
    fn payload_bytes(&self) -> usize {
        1000
    }
}

struct Blocker;

impl Role for Blocker {
    type Message = Block;
    fn handle(&mut self, Block(begun, word): Block, _: &mut Context<'_>) {
        let _ = begun.send(());
        if let Some(word) = word {
            let _ = word.recv();
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("sent");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).expect("answered");
    heard
}

/// The value of a series.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

fn volume(runtime: &Arc<dyn Runtime>) -> Arc<Volume> {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new());
    create_directories(device.as_ref()).expect("made");
    let uuid = *b"all of it stuck!";
    create(&device, uuid, 0, 0).expect("made");
    let mut settings = Settings::default();
    settings.actors.pixel_writer.threads = 3;
    settings.http.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Arc::new(Volume::open_on(runtime, device, OpenOptions { uuid, settings, read_only: false }).expect("opened"))
}

#[test]
fn a_mount_tells_of_itself_while_every_thread_of_every_pool_is_stuck() {
    let measured = metrics::install().map(|exposition| (exposition, Name { label: "v".into(), uuid: "u".into(), format: 1 }));
    assert!(measured.is_some());
    let pools = ActixPools::start(&POOLS).expect("started");
    let runtime: Arc<dyn Runtime> = pools.clone();
    let volume = volume(&runtime);
    let temp = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(temp.path().join("run")).expect("made");
    let from = Reload { sources: Sources::default(), looks: Vec::new(), loaded: Loaded::default(), logging: Logging::nowhere() };
    let reloader = Arc::new(Reloader::new(volume.clone(), from, false, Settings::default()));
    let told = begin(&volume, temp.path(), Path::new("/not/really"), measured, reloader).expect("told");
    let address = told.desk.http.get().and_then(|http| http.address.clone()).expect("it listens");

    let (begun, begins) = channel();
    let mut words = Vec::new();
    let mut slots = Vec::new();
    for (pool, threads) in POOLS {
        for thread in 0..threads {
            // The thread of a slot is its number modulo theirs.
            let index = (STRANGER / threads) * threads + thread;
            let slot = spawn(&runtime, Home { pool, index }, 10, |_| Blocker).expect("spawned");
            let (word, waits) = channel();
            slot.post(Lane::Foreground, Block(begun.clone(), Some(waits)));
            words.push(word);
            slots.push((pool, index, slot));
        }
    }
    let threads: usize = POOLS.iter().map(|(_, threads)| threads).sum();
    (0..threads).for_each(|_| begins.recv().expect("it has begun"));
    for (_, _, slot) in &slots {
        (0..5).for_each(|_| slot.post(Lane::Data, Block(begun.clone(), None)));
    }

    let began = Instant::now();
    let known = Duration::from_millis(300);
    while began.elapsed() < known {
        // Nobody else gets anywhere meanwhile, and this takes its time.
        assert!(get(&address, "/livez").starts_with("HTTP/1.1 200 OK"));
    }
    let text = get(&address, "/metrics");
    for (pool, index, _) in &slots {
        let of = |name: &str| value(&text, &format!("infmap_actor_mailbox_{name}{{pool=\"{pool}\",member=\"{index}\",lane=\"data\"}}"));
        assert_eq!((of("depth"), of("bytes")), (5.0, 5000.0), "{pool} {index}");
        assert_eq!(value(&text, &format!("infmap_actor_mailbox_capacity{{pool=\"{pool}\",member=\"{index}\"}}")), 10.0);
        let oldest = value(&text, &format!("infmap_actor_oldest_message_seconds{{pool=\"{pool}\"}}"));
        assert!((0.3..20.0).contains(&oldest), "{pool}: {oldest}");
    }
    let busy = |pool: &str, state: &str| value(&text, &format!("infmap_actor_workers{{pool=\"{pool}\",state=\"{state}\"}}"));
    POOLS.iter().for_each(|(pool, threads)| assert_eq!((busy(pool, "busy"), busy(pool, "idle")), (*threads as f64, 0.0), "{pool}"));
    assert!(get(&address, "/status").contains("\"mountpoint\":\"/not/really\""));
    let ready = get(&address, "/readyz?verbose");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("[-]door failed: it is not mounted"), "{ready}");
    assert_eq!(client::status(temp.path()).expect("answered").http.address.as_deref(), Some(&*address));
    assert!(client::metrics(temp.path()).expect("answered").contains("infmap_mode{mode=\"rw\"} 1"));

    drop(words);
    (0..threads * 5).for_each(|_| begins.recv().expect("it goes on"));
    let waited =
        |text: &str, end: &str| value(text, &format!("infmap_actor_queue_wait_seconds_{end}{{pool=\"checkpointer\",lane=\"data\"}}"));
    let text = get(&address, "/metrics");
    assert!(waited(&text, "count") >= 5.0 && waited(&text, "sum") >= 5.0 * known.as_secs_f64(), "those five waited so long");
    drop(told);
    volume.close().expect("closed");
    drop(slots);
    pools.stop();
}

#[test]
fn a_mount_goes_on_without_a_port_that_is_taken_and_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let cases = [
        (address, format!("another program listens at {address}, perhaps another mount")),
        (SocketAddr::from(([192, 0, 2, 1], 9)), "192.0.2.1 is no address of this machine".into()),
    ];
    for (address, why) in cases {
        let Err(error) = std::net::TcpListener::bind(address) else { panic!("{address} can be had") };
        assert_eq!(why_not(address, &error), why);
    }
}
