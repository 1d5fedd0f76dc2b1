//! Figures that are read when somebody looks, from what actors and the door publish anyway.
//!
//! Owns: `Sampler`. Must be true: MET-6. Fails: never.

use super::process;
use crate::control::protocol::{Mode, Status};
use crate::fuse::Traffic;
use crate::http::health;
use infmap_actors::Volume;
use metrics::gauge;
use std::sync::{Arc, OnceLock};

/// What is looked at.
pub struct Sampler {
    volume: Arc<Volume>,
    /// The door, once it is open.
    traffic: OnceLock<Traffic>,
}

/// Who the volume is.
pub struct Name {
    /// As its owner calls it.
    pub label: String,
    pub uuid: String,
    pub format: u32,
}

impl Sampler {
    /// For a volume that is about to be mounted.
    #[must_use]
    pub fn new(volume: Arc<Volume>, name: &Name) -> Self {
        let Name { label, uuid, format } = name;
        gauge!("infmap_build_info", "version" => env!("CARGO_PKG_VERSION"), "rustc" => env!("INFMAP_RUSTC")).set(1.0);
        gauge!("infmap_volume_info", "volume" => label.clone(), "uuid" => uuid.clone(), "format" => format.to_string()).set(1.0);
        Self { volume, traffic: OnceLock::new() }
    }

    /// The door is open.
    pub fn opened(&self, traffic: Traffic) {
        let _ = self.traffic.set(traffic);
    }

    /// Hands everything to the recorder.
    pub fn sample(&self, status: &Status) {
        mount(status);
        self.volume.publish();
        process::sample();
        if let Some(traffic) = self.traffic.get() {
            door(traffic, self.volume.shared().clock.now_us());
        }
    }
}

fn mount(status: &Status) {
    for (name, mode) in [("rw", Mode::Rw), ("ro", Mode::Ro), ("degraded", Mode::Degraded)] {
        gauge!("infmap_mode", "mode" => name).set(flag(status.mode == mode));
    }
    for check in health::checks(status) {
        gauge!("infmap_health_check", "check" => check.name).set(flag(check.failed.is_none()));
    }
    gauge!("infmap_uptime_seconds").set(number(status.uptime_seconds));
}

fn door(traffic: &Traffic, now_us: u64) {
    for kind in traffic.under_way() {
        gauge!("infmap_fuse_requests_in_flight", "op" => kind.op).set(number(kind.requests));
        let age_us = kind.oldest_since_us.map_or(0, |since_us| now_us.saturating_sub(since_us));
        gauge!("infmap_fuse_oldest_request_seconds", "op" => kind.op).set(number(age_us) / 1e6);
    }
    let (files, directories) = traffic.open_handles();
    gauge!("infmap_fuse_open_handles", "kind" => "file").set(number(files));
    gauge!("infmap_fuse_open_handles", "kind" => "directory").set(number(directories));
}

fn flag(is_it: bool) -> f64 {
    f64::from(u8::from(is_it))
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating")]
fn number(number: u64) -> f64 {
    number as f64
}
