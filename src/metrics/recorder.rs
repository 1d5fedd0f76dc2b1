//! The recorder: what the macros of `metrics` write to, and the text that Prometheus reads.
//!
//! Owns: `Recorder`, `Exposition`, the one of this process. Counters, gauges and their text are those of the exporter; histograms are our
//! own (`buckets`). Must be true: MET-5 it is installed before anything asks for a handle, and memory does not grow with what is recorded.
//! Fails: `install`, if the process has another recorder.

use super::buckets::Histograms;
use super::catalogue::{self, Kind};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::sync::{Arc, OnceLock};

static INSTALLED: OnceLock<Option<Exposition>> = OnceLock::new();

struct Recorder {
    plain: PrometheusRecorder,
    histograms: Arc<Histograms>,
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.plain.describe_counter(name, unit, help);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.plain.describe_gauge(name, unit, help);
    }
    /// What a histogram is about stands in the catalogue.
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.plain.register_counter(key, metadata)
    }
    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.plain.register_gauge(key, metadata)
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.of(key))
    }
}

/// What was recorded, as text.
#[derive(Clone)]
pub struct Exposition {
    plain: PrometheusHandle,
    histograms: Arc<Histograms>,
}

impl Exposition {
    /// Everything, in the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.plain.render();
        self.histograms.render(&mut text);
        text
    }
}

/// Installs the recorder of this process, once. `None` if it has another one.
#[must_use]
pub fn install() -> Option<Exposition> {
    let make = || {
        let recorder = make();
        let exposition = Exposition { plain: recorder.plain.handle(), histograms: recorder.histograms.clone() };
        metrics::set_global_recorder(recorder).ok()?;
        Some(exposition)
    };
    INSTALLED.get_or_init(make).clone()
}

fn make() -> Recorder {
    let recorder = Recorder { plain: PrometheusBuilder::new().build_recorder(), histograms: Arc::default() };
    metrics::with_local_recorder(&recorder, describe);
    recorder
}

/// Tells the recorder what the catalogue says.
fn describe() {
    for metric in catalogue::all() {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => {}
        }
    }
}
