//! What a process counts, for Prometheus and its like.
//!
//! There is no global registry: a process makes one, hands out the metrics to those who count, and the endpoint
//! ([`crate::http`]) shows it. What is known anyway (how long a queue is) is not counted but read when it is shown
//! ([`Reading`]). Names are documented in docs/operations.md.

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::{Registry, Unit};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Whether and how metrics are shown.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub struct Options {
    /// The address to serve `GET /metrics` on, without authentication; loopback is advised. Off when not given.
    #[arg(long, env = "DIACHRON_METRICS_LISTEN", value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,

    /// Databases with metrics of their own, the first by name; the others are shown together.
    #[arg(long, env = "DIACHRON_METRICS_DATABASES", value_name = "COUNT", default_value_t = 100)]
    pub metrics_databases: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { metrics_listen: None, metrics_databases: 100 }
    }
}

/// The label value that stands for all that have no series of their own; no name can be the same.
pub const OTHERS: &str = "(others)";

/// A registry of a process of Diachron: every name begins with `diachron_`.
pub fn registry() -> Registry {
    Registry::with_prefix("diachron")
}

/// The registry as text, in the OpenMetrics format.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // A String takes all that is written.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

/// From 10 µs to 10 s, about three to a decade: what people wait for, and what makes them wait.
const SECONDS: [f64; 19] = [
    0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
    5.0, 10.0,
];
/// Powers of four.
const COUNTS: [f64; 13] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0];

/// Durations, as seconds.
pub fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(SECONDS);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

/// Durations of one kind of work in a histogram that a collector shows.
pub fn unregistered_seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// How many at once.
pub fn counts(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(COUNTS);
    registry.register(name, help, histogram.clone());
    histogram
}

/// How large.
pub fn bytes(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(COUNTS.into_iter().skip(2));
    registry.register_with_unit(name, help, Unit::Bytes, histogram.clone());
    histogram
}

/// How often something happened; the name is shown with `_total`.
pub fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Counts a duration.
pub fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}

/// What a series of a reading is called: names and values of its labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Metrics that are read where they stand when the registry is shown.
pub fn readings(registry: &mut Registry, read: impl Fn(&mut Readings<'_>) + Send + Sync + 'static) {
    registry.register_collector(Box::new(Reading(read)));
}

struct Reading<F>(F);

impl<F> fmt::Debug for Reading<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

impl<F: Fn(&mut Readings<'_>) + Send + Sync + 'static> Collector for Reading<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut readings = Readings { encoder, written: Ok(()) };
        (self.0)(&mut readings);
        readings.written
    }
}

/// Where readings are written.
pub struct Readings<'a> {
    encoder: DescriptorEncoder<'a>,
    written: fmt::Result,
}

impl Readings<'_> {
    /// A metric without labels that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.gauges(name, help, |one| one(&[], value as f64));
    }

    /// Series of a metric that goes up and down.
    pub fn gauges(&mut self, name: &str, help: &str, series: impl FnOnce(&mut dyn FnMut(Labels<'_>, f64))) {
        self.write(name, help, MetricType::Gauge, |encoder, value: f64| encoder.encode_gauge(&value), series);
    }

    /// Series of a metric that only goes up.
    pub fn counters(&mut self, name: &str, help: &str, series: impl FnOnce(&mut dyn FnMut(Labels<'_>, u64))) {
        let encode =
            |encoder: &mut MetricEncoder<'_>, value: u64| encoder.encode_counter::<NoLabelSet, _, u64>(&value, None);
        self.write(name, help, MetricType::Counter, encode, series);
    }

    /// Histograms of one name, each with labels.
    pub fn histograms(&mut self, name: &str, help: &str, series: impl FnOnce(&mut dyn FnMut(Labels<'_>, &Histogram))) {
        let Ok(mut encoder) = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram) else { return };
        let mut written = Ok(());
        series(&mut |labels, histogram| {
            if written.is_ok() {
                written = encoder.encode_family(&labels).and_then(|encoder| histogram.encode(encoder));
            }
        });
        self.written = self.written.and(written);
    }

    fn write<V>(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        encode: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
        series: impl FnOnce(&mut dyn FnMut(Labels<'_>, V)),
    ) {
        let Ok(mut encoder) = self.encoder.encode_descriptor(name, help, None, metric_type) else { return };
        let mut written = Ok(());
        series(&mut |labels, value| {
            if written.is_ok() {
                written = match labels {
                    [] => encode(&mut encoder, value),
                    _ => encoder.encode_family(&labels).and_then(|mut encoder| encode(&mut encoder, value)),
                };
            }
        });
        self.written = self.written.and(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_and_what_is_read_is_shown_with_its_name_type_and_labels() {
        let mut registry = registry();
        let done = counter(&mut registry, "done", "Done");
        let took = seconds(&mut registry, "work", "How long it took");
        done.inc_by(3);
        observe(&took, Duration::from_millis(3));
        let kept = unregistered_seconds();
        observe(&kept, Duration::from_secs(60));
        readings(&mut registry, move |readings| {
            readings.gauge("waiting", "Waiting", 7);
            readings.counters("seen", "Seen", |one| one(&[("name", "a \"b\"")], 2));
            readings.histograms("kept_seconds", "Kept", |one| one(&[("name", "a")], &kept));
        });
        let text = text(&registry);
        for line in [
            "# TYPE diachron_done counter",
            "diachron_done_total 3",
            "# TYPE diachron_work_seconds histogram",
            "diachron_work_seconds_count 1",
            "diachron_work_seconds_bucket{le=\"0.002\"} 0",
            "diachron_work_seconds_bucket{le=\"0.005\"} 1",
            "# TYPE diachron_waiting gauge",
            "diachron_waiting 7.0",
            "diachron_seen_total{name=\"a \\\"b\\\"\"} 2",
            "diachron_kept_seconds_bucket{le=\"10.0\",name=\"a\"} 0",
            "diachron_kept_seconds_bucket{le=\"+Inf\",name=\"a\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
