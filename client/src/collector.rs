//! Where an application says what it measured.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Metrics, global};
use crate::sample::{Sample, Tags, Value};
use crate::{Number, Tag, Timer};

/// Measures one component of an application. Its name stands before those of its metrics: `ResumeParser.resumes`.
///
/// Until [`configure`](crate::configure) was called, each method does nothing but look whether it was.
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
/// One that has more than a name is made at its first use:
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
    sample_rate: f64,
    /// If they are not those of the application.
    metrics: Option<Arc<Metrics>>,
}

impl MetricsCollector {
    /// For a component whose name is written in the code.
    #[must_use]
    pub const fn new(component: &'static str) -> Self {
        Self { component: Cow::Borrowed(component), tags: Vec::new(), sample_rate: 1.0, metrics: None }
    }

    /// For a component whose name is made while the application runs.
    #[must_use]
    pub fn named(component: String) -> Self {
        Self { component: Cow::Owned(component), ..Self::new("") }
    }

    pub(crate) fn of(metrics: Arc<Metrics>, component: String) -> Self {
        Self { metrics: Some(metrics), ..Self::named(component) }
    }

    /// Adds a tag to all that this collector measures. One with the same key that a call gives takes its place, as it takes
    /// that of one in the configuration.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Sends only this share of the calls of counters, timings, histograms and distributions, each of which then stands for
    /// several: for paths so hot that it would cost too much to send all of them. Between 0, which sends none, and 1; what lies
    /// outside counts as the nearer end, and what is no number as 1. The rate in the configuration is multiplied by it. The
    /// exporter `prometheus`, which sends nothing, has all calls.
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

    /// Sets a gauge, such as the length of a queue. A [`Duration`] is in milliseconds.
    #[inline]
    pub fn record_gauge(&self, name: &str, value: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Gauge(value.number()), tags);
    }

    /// Adds to a timing how long something took, in milliseconds or as a [`Duration`].
    #[inline]
    pub fn record_timing(&self, name: &str, value_ms: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Timing(value_ms.number()), tags);
    }

    /// Adds a value to a histogram, such as the size of a request. A [`Duration`] is in milliseconds.
    #[inline]
    pub fn record_histogram(&self, name: &str, value: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Histogram(value.number()), tags);
    }

    /// Adds a value to a distribution: what Datadog calls a histogram whose percentiles are those of all machines. A
    /// [`Duration`] is in milliseconds.
    #[inline]
    pub fn record_distribution(&self, name: &str, value: impl Number, tags: &[Tag<'_>]) {
        self.record(name, Value::Distribution(value.number()), tags);
    }

    /// Adds a member to a set, of which the different ones are counted in each interval, such as the users that were seen.
    #[inline]
    pub fn record_set(&self, name: &str, member: &str, tags: &[Tag<'_>]) {
        self.record(name, Value::Set(member), tags);
    }

    /// Starts a timer that records when it is dropped, or [stopped](Timer::stop). Tags that are made while the application runs
    /// must outlive it: `let tags = [("source", source)];` on a line of its own, before this one.
    #[inline]
    pub fn start_timer<'a>(&'a self, name: &'a str, tags: &'a [Tag<'a>]) -> Timer<'a> {
        Timer::start(self, name, tags)
    }

    /// Whether anything becomes of a call of a timing that begins now: the rate of its sample.
    #[inline]
    pub(crate) fn take(&self) -> Option<f64> {
        self.metrics()?.take(self.sample_rate)
    }

    #[inline]
    fn record(&self, name: &str, value: Value<'_>, tags: &[Tag<'_>]) {
        let Some(metrics) = self.metrics() else { return };
        let rate = if value.can_be_sampled() { metrics.take(self.sample_rate) } else { Some(1.0) };
        if let Some(rate) = rate {
            self.hand_on(metrics, name, value, [tags, &[]], rate);
        }
    }

    /// Records a timing for which [`take`](Self::take) gave this rate, with tags from its start and from its end.
    pub(crate) fn record_timer(&self, name: &str, elapsed: Duration, tags: [&[Tag<'_>]; 2], rate: f64) {
        if let Some(metrics) = self.metrics() {
            self.hand_on(metrics, name, Value::Timing(elapsed.number()), tags, rate);
        }
    }

    /// Not inlined, so that a call site is small.
    #[inline(never)]
    fn hand_on(&self, metrics: &Metrics, name: &str, value: Value<'_>, tags: [&[Tag<'_>]; 2], rate: f64) {
        metrics.record(Sample {
            component: &self.component,
            name,
            value,
            tags: [Tags::NONE, Tags::Kept(&self.tags), Tags::Given(tags[0]), Tags::Given(tags[1])],
            rate,
        });
    }

    /// The exporters, if there are any.
    #[inline]
    fn metrics(&self) -> Option<&Metrics> {
        match &self.metrics {
            Some(metrics) => Some(&**metrics).filter(|metrics| metrics.are_enabled()),
            None => global(),
        }
    }
}
