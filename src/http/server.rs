//! The listener.
//!
//! Owns: `Server`, its thread, its connections. hyper reads requests and writes answers, on a runtime of one thread. Must be true: HTP-1,
//! HTP-2: of more than [`CONNECTIONS_MAX`] connections the oldest is cut, so that those who are slow are in nobody's way; a connection is
//! for one request, and has [`PATIENCE`] for all of it. Fails: `open` with the system's error; a page that panics is answered 500.

use super::pages::{Facts, Page, page};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// Bytes of a request's line and headers.
const REQUEST_MAX_BYTES: usize = 16 * 1024;
/// Time for a whole connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after an error that may stay, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The open listener. Dropping it ends everything that is under way.
pub struct Server {
    address: SocketAddr,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at an address of this machine; at any free port if that is 0.
    ///
    /// # Errors
    /// The system's: the port is taken, the address is none of this machine.
    pub fn open(address: SocketAddr, facts: Arc<dyn Facts>) -> io::Result<Self> {
        Self::open_patiently(address, facts, PATIENCE)
    }

    fn open_patiently(address: SocketAddr, facts: Arc<dyn Facts>, patience: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let run = move || serve(&runtime, listener, Asked { facts, patience }, &stopped);
        let thread = thread::Builder::new().name("infmap-http".into()).spawn(run)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who is asked, and how long it may take.
#[derive(Clone)]
struct Asked {
    facts: Arc<dyn Facts>,
    patience: Duration,
}

fn serve(runtime: &Runtime, listener: TcpListener, asked: Asked, stopped: &Notify) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(runtime.spawn(listen(listener, asked))),
            Err(error) => tracing::warn!(%error, "HTTP is not served"),
        }
        // What runs beside ends with the runtime.
        stopped.notified().await;
    });
}

async fn listen(listener: tokio::net::TcpListener, asked: Asked) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.retain(|connection| !connection.is_finished());
                if connections.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = connections.pop_front()
                {
                    oldest.abort();
                }
                connections.push_back(tokio::spawn(talk(stream, asked.clone())).abort_handle());
            }
            Err(error) => {
                tracing::debug!(%error, "a caller by HTTP could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, Asked { facts, patience }: Asked) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &*facts);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(REQUEST_MAX_BYTES).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    match tokio::time::timeout(patience, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a caller by HTTP was not answered"),
        Err(_) => tracing::debug!("a caller by HTTP was too slow"),
    }
}

fn respond(request: &Request<Incoming>, facts: &dyn Facts) -> Response<Full<Bytes>> {
    let uri = request.uri();
    let is_allowed = [Method::GET, Method::HEAD].contains(request.method());
    let found = || page(uri.path(), uri.query().unwrap_or(""), facts);
    let plain = |code, body: &str| Page { code, content_type: "text/plain; charset=utf-8", body: body.into() };
    let Page { code, content_type, body } = match is_allowed {
        true => catch_unwind(AssertUnwindSafe(found)).unwrap_or_else(|_| plain(500, "it panicked; the messages say where\n")),
        false => plain(405, "only GET and HEAD\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !is_allowed {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests;
