//! Who tells of a mount: the control socket, and HTTP.
//!
//! Owns: `Told`, which holds both open. Must be true: a mount serves without one where none can be made: no socket on a medium that cannot
//! be written to, no HTTP where the port is taken; it says so, and `infmap status` does. Fails: where the process has no descriptor or
//! thread to spare.

use super::desk::{Desk, Figures};
use super::reloading::Reloader;
use super::{BackendError, refusal};
use crate::control::protocol::Http;
use crate::control::server::Server;
use crate::fuse::{Pages, Stats, Traffic};
use crate::http;
use crate::metrics::{self, Exposition, Name, Sampler};
use infmap_actors::Volume;
use infmap_actors::settings::Settings;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Installs the recorder, unless nothing is to be measured. Before a volume is opened.
pub(super) fn install(settings: &Settings) -> Option<Exposition> {
    settings.http.listen?;
    let exposition = metrics::install();
    if exposition.is_none() {
        tracing::warn!("this process has another recorder of metrics: this mount shows none");
    }
    exposition
}

/// What is open.
pub(super) struct Told {
    desk: Arc<Desk>,
    _http: Option<http::Server>,
    _control: Option<Server>,
}

/// Opens both.
pub(super) fn begin(
    volume: &Arc<Volume>,
    path: &Path,
    mountpoint: &Path,
    measured: Option<(Exposition, Name)>,
    reloader: Arc<Reloader>,
) -> Result<Told, BackendError> {
    let figures = measured.map(|(exposition, name)| Figures { exposition, sampler: Sampler::new(volume.clone(), &name) });
    let desk = Arc::new(Desk {
        volume: volume.clone(),
        path: path.into(),
        mountpoint: mountpoint.into(),
        began: Instant::now(),
        reloader,
        figures,
        http: OnceLock::new(),
        is_mounted: AtomicBool::new(false),
        pages: OnceLock::new(),
    });
    let http = match volume.shared().settings().http.listen {
        Some(address) => listen(address, &desk)?,
        None => None,
    };
    let answering = desk.clone();
    let control = match Server::open(path, Box::new(move |request| answering.answer(request))) {
        Ok(control) => Some(control),
        Err(error) if refusal::is_shortage(&error) => {
            return Err(BackendError::Io { what: "cannot open the control socket".into(), source: error });
        }
        Err(error) => {
            tracing::warn!(%error, "no control socket: `infmap status` will not reach this mount");
            None
        }
    };
    Ok(Told { desk, _http: http, _control: control })
}

/// HTTP at this address, or none.
fn listen(address: SocketAddr, desk: &Arc<Desk>) -> Result<Option<http::Server>, BackendError> {
    match http::Server::open(address, desk.clone()) {
        Ok(server) => {
            let address = server.address().to_string();
            let _ = desk.http.set(Http { address: Some(address), why_not: None });
            Ok(Some(server))
        }
        Err(error) if refusal::is_shortage(&error) => Err(BackendError::Io { what: "cannot serve HTTP".into(), source: error }),
        Err(error) => {
            let why = why_not(address, &error);
            tracing::warn!(%address, "no HTTP: {why}; set http.listen to an address that is free, 127.0.0.1:0 takes any, off asks for none");
            let _ = desk.http.set(Http { address: None, why_not: Some(why) });
            Ok(None)
        }
    }
}

fn why_not(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!("another program listens at {address}, perhaps another mount"),
        ErrorKind::AddrNotAvailable => format!("{} is no address of this machine", address.ip()),
        ErrorKind::PermissionDenied => format!("this user may not listen at port {}", address.port()),
        _ => format!("cannot listen at {address}: {error}"),
    }
}

impl Told {
    pub(super) fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// What the mount's own file of figures says: the status, as JSON.
    pub(super) fn stats(&self) -> Stats {
        let desk = self.desk.clone();
        Stats(Arc::new(move || {
            let mut text = desk.status_text().into_bytes();
            text.push(b'\n');
            text
        }))
    }

    /// The kernel has been given the mount.
    pub(super) fn mounted(&self, traffic: Traffic, pages: Pages) {
        let _ = self.desk.pages.set(pages);
        if let Some(figures) = &self.desk.figures {
            figures.sampler.opened(traffic);
        }
        self.desk.is_mounted.store(true, Ordering::Release);
    }

    /// Says where it tells, to be called when messages go to where they stay.
    pub(super) fn say(&self) {
        if let Some(address) = self.desk.http.get().and_then(|http| http.address.as_deref()) {
            tracing::info!(address, "metrics and health are served by HTTP");
        }
    }

    /// It is gone, and what was written is made durable.
    pub(super) fn unmounted(&self) {
        self.desk.is_mounted.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
