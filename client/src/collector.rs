//! The collector, with which an application records values.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::global::global;
use crate::metrics::Metrics;
use crate::number::Number;
use crate::sample::{Rate, Sample, Tag, Tags, Value};
use crate::sink::Sink;

/// Records values for one component of an application. The names of its metrics begin with the name of the component,
/// as in `ResumeParser.resumes`.
///
/// Until the application calls [`configure`](crate::configure), every method returns at once.
///
/// ```
/// use tallyd_client::MetricsCollector;
///
/// static METRICS: MetricsCollector = MetricsCollector::new("ResumeParser");
///
/// METRICS.increment_counter("resumes", 1, &[("source", "upload")]);
/// METRICS.record_gauge("queue.length", 17, &[]);
/// METRICS.record_timing("parse.time", 12.5, &[]);
/// ```
///
/// A collector with tags or a sample rate is built at its first use:
///
/// ```
/// # use std::sync::LazyLock;
/// # use tallyd_client::MetricsCollector;
/// static METRICS: LazyLock<MetricsCollector> =
///     LazyLock::new(|| MetricsCollector::new("ResumeParser").with_tag("team", "cv").with_sample_rate(0.1));
/// # METRICS.increment_counter("resumes", 1, &[]);
/// ```
#[derive(Debug, Clone)]
pub struct MetricsCollector {
    component: Cow<'static, str>,
    tags: Vec<(String, String)>,
    /// From 0 to 1.
    sample_rate: f64,
    /// `None` for the metrics of the application.
    metrics: Option<Arc<Metrics>>,
}

impl MetricsCollector {
    /// Makes a collector for a component whose name is a constant.
    #[must_use]
    pub const fn new(component: &'static str) -> Self {
        Self { component: Cow::Borrowed(component), tags: Vec::new(), sample_rate: 1.0, metrics: None }
    }

    /// Makes a collector for a component whose name is built at run time.
    #[must_use]
    pub fn named(component: String) -> Self {
        Self { component: Cow::Owned(component), ..Self::new("") }
    }

    /// Adds a tag to all samples of this collector. The tag takes precedence over a tag of the configuration with the
    /// same key. A tag of a call takes precedence over this tag.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Sets the share of calls that are sent. Use it in hot code, if sending every call costs too much. Servers scale
    /// the sent calls up by the rate.
    ///
    /// The rate applies to counters, timings, histograms and distributions. It is multiplied by the rate in the
    /// configuration. At 0, the collector sends none of these. A rate below 0 counts as 0. A rate above 1 counts as 1,
    /// and so does NaN. [`Config::sample_rate`](crate::Config::sample_rate) is stricter: it must be above 0 and at most
    /// 1. The `prometheus` exporter sends nothing, so it counts every call.
    #[must_use]
    pub fn with_sample_rate(mut self, rate: f64) -> Self {
        self.sample_rate = if rate.is_nan() { 1.0 } else { rate.clamp(0.0, 1.0) };
        self
    }

    /// Adds `value` to a counter.
    #[inline]
    pub fn increment_counter(&self, name: &str, value: u64, tags: &[Tag<'_>]) {
        self.record(name, Value::Counter(value), tags);
    }

    /// Sets a gauge, such as the length of a queue. A [`Duration`] is sent in milliseconds.
    #[inline]
    pub fn record_gauge(&self, name: &str, value: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Gauge(value.number()), tags);
    }

    /// Adds an elapsed time to a timing, in milliseconds or as a [`Duration`].
    #[inline]
    pub fn record_timing(&self, name: &str, value_ms: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Timing(value_ms.number()), tags);
    }

    /// Adds a value to a histogram, such as the size of a request. A [`Duration`] is sent in milliseconds.
    #[inline]
    pub fn record_histogram(&self, name: &str, value: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Histogram(value.number()), tags);
    }

    /// Adds a value to a distribution. This is Datadog's name for a histogram with percentiles over all machines. A
    /// [`Duration`] is sent in milliseconds.
    #[inline]
    pub fn record_distribution(&self, name: &str, value: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Distribution(value.number()), tags);
    }

    /// Adds a member to a set, such as the name of an active user. Servers count the different members of each
    /// interval.
    #[inline]
    pub fn record_set(&self, name: &str, member: &str, tags: &[Tag<'_>]) {
        self.record(name, Value::Set(member), tags);
    }

    /// Decides whether a timing that starts now is recorded. Returns the rate of its sample, or `None` if no exporter
    /// wants it.
    #[inline]
    pub(crate) fn sample_call(&self) -> Option<Rate> {
        self.sink()?.sample_call(self.sample_rate)
    }

    #[inline]
    fn record(&self, name: &str, value: Value<'_>, tags: &[Tag<'_>]) {
        let Some(sink) = self.sink() else { return };
        let is_sampled = value.can_be_sampled();
        let rate = if is_sampled { sink.sample_call(self.sample_rate) } else { Some(Rate::Sent(1.0)) };
        if let Some(rate) = rate {
            self.export(sink, name, value, [tags, &[]], rate);
        }
    }

    /// Records a timing with the rate that [`sample_call`](Self::sample_call) returned. `tags` holds the tags of its
    /// start and the tags of its end.
    pub(crate) fn record_elapsed(&self, name: &str, elapsed: Duration, tags: [&[Tag<'_>]; 2], rate: Rate) {
        if let Some(sink) = self.sink() {
            self.export(sink, name, Value::Timing(elapsed.number()), tags, rate);
        }
    }

    /// Passes a sample to the exporters. It is not inlined, so that call sites stay small.
    #[inline(never)]
    fn export(&self, sink: &Sink, name: &str, value: Value<'_>, tags: [&[Tag<'_>]; 2], rate: Rate) {
        sink.record(&Sample {
            component: &self.component,
            name,
            value,
            tags: [sink.tags(), Tags::Owned(&self.tags), Tags::Borrowed(tags[0]), Tags::Borrowed(tags[1])],
            rate,
            calls: 1,
        });
    }

    /// Returns the destination of this collector's samples, if they are exported.
    #[inline]
    fn sink(&self) -> Option<&Sink> {
        match &self.metrics {
            Some(metrics) => Some(metrics.sink()).filter(|sink| sink.is_enabled()),
            None => global(),
        }
    }
}

impl Metrics {
    /// Makes a collector that uses these exporters instead of those of the application.
    #[must_use]
    pub fn collector(self: &Arc<Self>, component: impl Into<String>) -> MetricsCollector {
        MetricsCollector { metrics: Some(Arc::clone(self)), ..MetricsCollector::named(component.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::{flush, lost};

    /// This works because no unit test configures the metrics of the application.
    #[test]
    fn calls_before_configure_do_nothing() {
        let collector = MetricsCollector::new("Library");
        collector.increment_counter("calls", 1, &[]);
        flush();
        assert_eq!((lost(), collector.sample_call()), (0, None));
        #[cfg(feature = "metrics")]
        assert!(crate::global::recorder().unwrap_err().to_string().contains("call configure"));
    }
}
