//! The recorder: what the macros of `metrics` write to, and the text that Prometheus reads.
//!
//! Owns: `Recorder`, `Exposition`, the one of this process. Counters, gauges and their text are those of the exporter; histograms are our
//! own (`buckets`). Must be true: MET-5 it is installed before anything asks for a handle, and memory does not grow with what is recorded.
//! Fails: `install`, if the process has another recorder.

use super::buckets::Histograms;
use super::catalogue::{self, Kind};
use super::floats::Floats;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::sync::{Arc, OnceLock};

static INSTALLED: OnceLock<Option<Exposition>> = OnceLock::new();

struct Recorder {
    plain: PrometheusRecorder,
    floats: Arc<Floats>,
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
        match catalogue::find(key.name()) {
            Some(metric) if metric.kind == Kind::Counter => Gauge::from_arc(self.floats.of(key)),
            _ => self.plain.register_gauge(key, metadata),
        }
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.of(key))
    }
}

/// What was recorded, as text.
#[derive(Clone)]
pub struct Exposition {
    plain: PrometheusHandle,
    floats: Arc<Floats>,
    histograms: Arc<Histograms>,
}

impl Exposition {
    /// Everything, in the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.plain.render();
        self.floats.render(&mut text);
        self.histograms.render(&mut text);
        text
    }
}

/// Installs the recorder of this process, once. `None` if it has another one.
#[must_use]
pub fn install() -> Option<Exposition> {
    let make = || {
        let recorder = make();
        let exposition = recorder.exposition();
        metrics::set_global_recorder(recorder).ok()?;
        Some(exposition)
    };
    INSTALLED.get_or_init(make).clone()
}

impl Recorder {
    fn exposition(&self) -> Exposition {
        Exposition { plain: self.plain.handle(), floats: self.floats.clone(), histograms: self.histograms.clone() }
    }
}

fn make() -> Recorder {
    let plain = PrometheusBuilder::new().build_recorder();
    let recorder = Recorder { plain, floats: Arc::default(), histograms: Arc::default() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_written_as_what_the_catalogue_says() {
        let recorder = make();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("infmap_fuse_panics_total").increment(3);
            metrics::gauge!("infmap_mode", "mode" => "rw").set(1.0);
            metrics::gauge!("process_cpu_seconds_total").set(1.25);
            metrics::histogram!("infmap_wal_group_bytes").record(5000.0);
        });
        let text = recorder.exposition().render();
        for line in [
            "# HELP infmap_fuse_panics_total Requests whose callback panicked; they were answered EIO.",
            "# TYPE infmap_fuse_panics_total counter",
            "infmap_fuse_panics_total 3",
            "# TYPE infmap_mode gauge",
            "infmap_mode{mode=\"rw\"} 1",
            "# TYPE process_cpu_seconds_total counter",
            "process_cpu_seconds_total 1.25",
            "# TYPE infmap_wal_group_bytes histogram",
            "infmap_wal_group_bytes_bucket{le=\"4096\"} 0",
            "infmap_wal_group_bytes_bucket{le=\"16384\"} 1",
            "infmap_wal_group_bytes_sum 5000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
