//! A real Prometheus that is this test's own child.
//!
//! Owns: `Prometheus`, its directory, its port. It runs the configuration and the rules of `config/prometheus`, with shorter times, and asks
//! the mount that a test names. Must be true: only the child that was started here is ended, by its own handle, however the test ends.
//! Fails: by panic, with what Prometheus said.

use crate::common::{Listener, SOURCE};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long Prometheus may take to start, and a test to see what it waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at the same thing.
const AGAIN: Duration = Duration::from_millis(200);

/// A value with its labels, which are for whoever reads why a test failed.
#[derive(Debug)]
pub struct Sample {
    #[expect(dead_code, reason = "it is printed")]
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// The directory of the configuration that is shipped.
pub fn shipped() -> PathBuf {
    Path::new(SOURCE).join("config/prometheus")
}

/// A Prometheus that asks one mount each second.
pub struct Prometheus {
    child: Child,
    address: String,
    listener: Listener,
    /// One comes when it is ready; none can come any more when it has ended.
    messages: Receiver<()>,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it; `shorten` may change the text of the rules.
    pub fn start(mount: &str, shorten: impl Fn(String) -> String) -> Self {
        let dir = tempfile::Builder::new().prefix("infmap-observe-").tempdir().expect("a directory");
        let read = |name: &str| fs::read_to_string(shipped().join(name)).expect("shipped");
        let write = |name: &str, text: String| fs::write(dir.path().join(name), text).expect("written");
        fs::create_dir(dir.path().join("targets")).expect("a directory");
        write("prometheus.yml", read("prometheus.yml").replace("_interval: 15s", "_interval: 1s").replace("_timeout: 5s", "_timeout: 1s"));
        write("rules.yml", shorten(read("rules.yml")));
        let targets = read("targets/local.yml");
        assert!(targets.contains("127.0.0.1:9568"), "the shipped target is where a mount listens by default");
        write("targets/local.yml", targets.replace("127.0.0.1:9568", mount));
        let address = free_address();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("prometheus starts");
        let (listener, messages) = Listener::new(child.stderr.take().expect("piped"), "Server is ready to receive web requests");
        let prometheus = Self { child, address, listener, messages, _dir: dir };
        let is_ready = prometheus.messages.recv_timeout(PATIENCE).is_ok();
        assert!(is_ready, "Prometheus is not ready:\n{}", prometheus.said());
        prometheus
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn said(&self) -> String {
        self.listener.said()
    }

    /// Lets it go on for a moment, if it lives.
    pub fn pause(&self) {
        let heard = self.messages.recv_timeout(AGAIN);
        assert!(heard != Err(RecvTimeoutError::Disconnected), "Prometheus has ended:\n{}", self.said());
    }

    /// An answer of its API.
    pub fn api(&self, path: &str) -> Value {
        let (code, body) = get(&self.address, &format!("/api/v1/{path}")).unwrap_or_else(|| panic!("no answer to {path}\n{}", self.said()));
        assert_eq!(code, 200, "{path}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].clone()
    }

    /// Evaluates a query now. Values that are no numbers are left out.
    pub fn query(&self, query: &str) -> Vec<Sample> {
        let data = self.api(&format!("query?query={}", escaped(query)));
        let results = data["result"].as_array().expect("a list").iter();
        let samples = results.map(|result| {
            let labels = serde_json::from_value(result["metric"].clone()).expect("labels");
            let value = result["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
            Sample { labels, value }
        });
        samples.filter(|sample| !sample.value.is_nan()).collect()
    }

    /// The sum of a query's values; 0 if there is none.
    pub fn sum(&self, query: &str) -> f64 {
        self.query(query).iter().map(|sample| sample.value).sum()
    }

    /// Asks again and again until the answer is as wanted.
    pub fn wait_for(&self, query: &str, is_wanted: impl Fn(&[Sample]) -> bool) -> Vec<Sample> {
        let began = Instant::now();
        loop {
            let found = self.query(query);
            if is_wanted(&found) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{query} does not become what is wanted, but is {found:?}\n{}", self.said());
            self.pause();
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine that nobody listens at now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// Code and body of an answer; `None` while nobody listens.
fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard).ok()?;
    let (head, body) = heard.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.into()))
}

/// A text as a part of a URL.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
