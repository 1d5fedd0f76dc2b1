//! Clients that mean no good, and those beside them.

use super::*;
use crate::control::protocol::Status;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts what it is asked, and panics over figures.
#[derive(Default)]
struct Counting(AtomicU64);

impl Facts for Counting {
    fn status(&self) -> Status {
        self.0.fetch_add(1, Ordering::Relaxed);
        Status { is_mounted: true, volume: "v".repeat(200_000), ..Status::default() }
    }
    fn metrics(&self) -> String {
        panic!("on purpose")
    }
}

fn served() -> (Server, Arc<Counting>) {
    let facts = Arc::<Counting>::default();
    let server = Server::open(SocketAddr::from(([127, 0, 0, 1], 0)), facts.clone()).expect("a free port");
    (server, facts)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("connected");
    stream.set_read_timeout(Some(PATIENCE * 4)).expect("set");
    stream
}

/// Sends this, and hears everything until the end; nothing if the connection was cut.
fn talk(server: &Server, sent: &[u8]) -> String {
    let mut stream = connect(server);
    // It may be cut in the middle of it.
    let _ = stream.write_all(sent);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

fn get(server: &Server, path: &str) -> String {
    talk(server, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

#[test]
fn requests_of_every_form_are_answered_as_they_deserve() {
    let (server, _) = served();
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(2 * REQUEST_MAX_BYTES));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    let cases: [(&[u8], &str); 11] = [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        (b"GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nxxx", "HTTP/1.1 405 Method Not Allowed"),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 500 Internal Server Error"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (long.as_bytes(), "HTTP/1.1 431 "),
        (many.as_bytes(), "HTTP/1.1 431 "),
    ];
    for (sent, expected) in cases {
        let heard = talk(&server, sent);
        let what = String::from_utf8_lossy(&sent[..sent.len().min(60)]).into_owned();
        // What is cut while it still sends may not hear why.
        assert!(heard.starts_with(expected) || heard.is_empty() && sent.len() > REQUEST_MAX_BYTES, "{what}: {heard}");
    }
    let allowed = talk(&server, b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n").to_ascii_lowercase();
    assert!(allowed.contains("allow: get, head"), "{allowed}");
    let head = talk(&server, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("content-length: 3") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(get(&server, "/livez").ends_with("\r\n\r\nok\n"), "after all that");
}

#[test]
fn whoever_is_slow_is_in_nobodys_way() {
    let (server, facts) = served();
    // They begin, and never end.
    let mut slow: Vec<TcpStream> = (0..5 * CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET /livez HT");
    }
    // They ask for much, and take nothing of it.
    let greedy: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = connect(&server);
            let _ = stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n");
            stream
        })
        .collect();
    let began = Instant::now();
    for _ in 0..50 {
        assert!(get(&server, "/readyz").starts_with("HTTP/1.1 200 OK"));
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(facts.0.load(Ordering::Relaxed) >= 50);
    drop((slow, greedy));
}

#[test]
fn whoever_says_nothing_or_takes_nothing_is_cut_in_time() {
    let patience = Duration::from_millis(200);
    let server = Server::open_patiently(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::<Counting>::default(), patience).expect("a free port");
    for begun in [&b""[..], b"GET /livez HTTP/1.1\r\nHost", b"GET /livez HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = connect(&server);
        stream.write_all(begun).expect("sent");
        let (began, mut heard) = (Instant::now(), Vec::new());
        let _ = stream.read_to_end(&mut heard);
        assert!(!heard.starts_with(b"HTTP/1.1 200"), "{heard:?}");
        assert!((patience / 2..patience * 20).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

#[test]
fn an_end_waits_for_nobody_and_frees_the_port() {
    let (server, _) = served();
    let address = server.address();
    let mut idle = connect(&server);
    idle.write_all(b"GET /").expect("sent");
    let taken = Server::open(address, Arc::<Counting>::default()).err().expect("it is taken");
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let mut rest = Vec::new();
    assert!(matches!(idle.read_to_end(&mut rest), Ok(0) | Err(_)) && rest.is_empty());
    let _ = idle.shutdown(Shutdown::Both);
    drop(Server::open(address, Arc::<Counting>::default()).expect("it is free again"));
}
