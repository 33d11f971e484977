//! The recorder for the `metrics` facade. It sends what `counter!`, `gauge!` and `histogram!` record.
//!
//! ```text
//!  counter! --> total --------+
//!  gauge! ----> last value ---+--> flush: a sample of what changed --> exporters
//!  histogram! --> a sample of each value ----------------------------> exporters
//! ```
//!
//! Counters and gauges are kept in the process, because the facade can set a counter to a total and change a gauge by
//! an amount. A server that misses such a change would show a wrong value forever.

mod registry;
mod series;

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

pub(crate) use self::registry::Registry;
use crate::metrics::Metrics;

/// Sends the metrics of an application that is instrumented with the crate [`metrics`](https://docs.rs/metrics).
///
/// [`recorder`](crate::recorder) makes the recorder of the application, and
/// [`metrics::set_global_recorder`] installs it:
///
/// ```
/// use metrics::{counter, gauge, histogram};
/// use tallyd_client::Config;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// tallyd_client::configure(&Config::new().prefix("shop"))?;
/// metrics::set_global_recorder(tallyd_client::recorder()?)?;
///
/// counter!("orders", "region" => "eu").increment(1);
/// gauge!("queue.length").set(17);
/// histogram!("request_duration_seconds").record(0.25);
///
/// tallyd_client::flush();
/// # Ok(())
/// # }
/// ```
///
/// The application can install only one recorder. If it already has one, `set_global_recorder` returns an error, and
/// the first recorder stays. If the application uses an incompatible version of `metrics`, the call does not compile.
///
/// | call | what is sent |
/// |---|---|
/// | `increment` of a counter | the sum of all increments since the last flush, as a counter (`c`) |
/// | `absolute` of a counter | the amount by which the value exceeds the counter, as a counter (`c`) |
/// | `set`, `increment` and `decrement` of a gauge | the last value, as a gauge (`g`), if it changed since the last flush; every value again once per minute |
/// | `record` of a histogram | each value as it is, as a histogram (`h`) |
///
/// - A counter begins at 0 in each process. If an external total outlives the process, report it as a gauge. As a
///   counter, it would be counted again after each start.
/// - A histogram in seconds stays in seconds. tallyd shows `request_duration_seconds` in Prometheus with the same name
///   and in the same unit as the recorder of `metrics-exporter-prometheus`. Units and descriptions have no effect,
///   because the protocol cannot carry them.
/// - Labels become tags, with the rules of all tags of this client: a label takes precedence over a tag of the
///   configuration, and `_` replaces characters that would break a line.
/// - The configured sample rate applies to histograms.
/// - [`lost`](crate::lost) counts each dropped value of a histogram, each call whose increment was in a dropped line of
///   a counter, and each dropped line of a gauge.
/// - The recorder holds at most 100,000 series of each type, and removes none of them while the application runs. Calls
///   for further series count as lost.
pub struct MetricsRecorder {
    registry: Arc<Registry>,
    /// Keeps the exporters running.
    _metrics: Arc<Metrics>,
}

impl Metrics {
    /// Makes a recorder that uses these exporters instead of those of the application. All recorders of the same
    /// exporters share their series.
    #[must_use]
    pub fn recorder(self: &Arc<Self>) -> MetricsRecorder {
        MetricsRecorder { registry: Arc::clone(self.registry()), _metrics: Arc::clone(self) }
    }
}

impl fmt::Debug for MetricsRecorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MetricsRecorder").finish_non_exhaustive()
    }
}

impl Recorder for MetricsRecorder {
    fn describe_counter(&self, _name: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn describe_gauge(&self, _name: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn describe_histogram(&self, _name: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        self.registry.counter(key)
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        self.registry.gauge(key)
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        self.registry.histogram(key)
    }
}
