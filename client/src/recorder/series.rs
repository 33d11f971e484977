//! The series of a recorder. The handles of the facade are references to them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key};

use crate::poison::ignore_poison;
use crate::sample::{Rate, Sample, Tags, Value};
use crate::sink::Sink;

/// The name and the tags of a series, and the destination of its samples.
pub(super) struct Identity {
    sink: Arc<Sink>,
    name: String,
    tags: Vec<(String, String)>,
}

impl Identity {
    pub(super) fn new(sink: Arc<Sink>, key: &Key) -> Self {
        let tags = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        Self { sink, name: key.name().to_owned(), tags }
    }

    fn record(&self, value: Value<'_>, rate: Rate, calls: u64) {
        self.sink.record(&self.sample(value, rate, calls));
    }

    fn sample<'a>(&'a self, value: Value<'a>, rate: Rate, calls: u64) -> Sample<'a> {
        Sample {
            component: "",
            name: &self.name,
            value,
            tags: [self.sink.tags(), Tags::Owned(&self.tags), Tags::NONE, Tags::NONE],
            rate,
            calls,
        }
    }
}

/// A counter, which adds up increments until the next flush.
pub(super) struct CounterSeries {
    identity: Identity,
    /// The sum of all increments. It wraps around, and so do differences of it.
    total: AtomicU64,
    /// The number of calls. A call counts itself before it adds to `total`, so that each increment that is sent has been
    /// counted.
    calls: AtomicU64,
    exported: Mutex<Exported>,
}

/// The part of a counter that the exporters already have.
#[derive(Default)]
struct Exported {
    total: u64,
    calls: u64,
}

impl CounterSeries {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, total: AtomicU64::new(0), calls: AtomicU64::new(0), exported: Mutex::default() }
    }

    /// Hands the increase since the last call to the exporters.
    pub(super) fn export(&self) {
        let mut exported = ignore_poison(self.exported.lock());
        let total = self.total.load(Ordering::Acquire);
        if total == exported.total {
            return;
        }
        let calls = self.calls.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut *exported, Exported { total, calls });
        // The lock ends here, because an exporter can write to a log that itself uses this client.
        drop(exported);
        let increase = Value::Counter(total.wrapping_sub(before.total));
        self.identity.record(increase, Rate::Sent(1.0), calls - before.calls);
    }
}

impl CounterFn for CounterSeries {
    fn increment(&self, value: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(value, Ordering::Release);
    }

    fn absolute(&self, value: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_max(value, Ordering::Release);
    }
}

/// A handle can outlive the recorder and the `Metrics`. Its last increments are sent when it is dropped.
impl Drop for CounterSeries {
    fn drop(&mut self) {
        self.export();
    }
}

/// A gauge, which keeps its last value.
pub(super) struct GaugeSeries {
    identity: Identity,
    /// The bits of an `f64`.
    value: AtomicU64,
    /// True if the exporters do not have the value yet.
    is_changed: AtomicBool,
    /// True if the exporters have got a value that can be sent again.
    is_repeatable: AtomicBool,
}

impl GaugeSeries {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            value: AtomicU64::new(0.0_f64.to_bits()),
            is_changed: AtomicBool::new(false),
            is_repeatable: AtomicBool::new(false),
        }
    }

    /// Hands the value to the exporters if it has changed, or if it must be repeated.
    pub(super) fn export(&self, repeat: bool) {
        let is_changed = self.is_changed.swap(false, Ordering::Acquire);
        let is_due = is_changed || (repeat && self.is_repeatable.load(Ordering::Relaxed));
        if !is_due {
            return;
        }
        let bits = self.value.load(Ordering::Relaxed);
        let value = f64::from_bits(bits);
        self.is_repeatable.store(value.is_finite(), Ordering::Relaxed);
        self.identity.record(Value::Gauge(value), Rate::Sent(1.0), 1);
        // Two threads can flush at once, and the older value may then be sent last. The next flush corrects that.
        if self.value.load(Ordering::Relaxed) != bits {
            self.is_changed.store(true, Ordering::Release);
        }
    }

    fn add(&self, change: f64) {
        self.value
            .update(Ordering::Relaxed, Ordering::Relaxed, |bits| (f64::from_bits(bits) + change).to_bits());
        self.is_changed.store(true, Ordering::Release);
    }
}

impl GaugeFn for GaugeSeries {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
        self.is_changed.store(true, Ordering::Release);
    }
}

/// A handle can outlive the recorder and the `Metrics`. Its last value is sent when it is dropped.
impl Drop for GaugeSeries {
    fn drop(&mut self) {
        self.export(false);
    }
}

/// A histogram, which sends each value.
pub(super) struct HistogramSeries(Identity);

impl HistogramSeries {
    pub(super) fn new(identity: Identity) -> Self {
        Self(identity)
    }
}

impl HistogramFn for HistogramSeries {
    fn record(&self, value: f64) {
        if let Some(rate) = self.0.sink.sample_call(1.0) {
            self.0.record(Value::Histogram(value), rate, 1);
        }
    }
}

/// A series for which the recorder has no room. Its calls count as lost.
pub(super) struct RefusedSeries {
    identity: Identity,
    reason: &'static str,
}

impl RefusedSeries {
    pub(super) fn new(identity: Identity, reason: &'static str) -> Self {
        Self { identity, reason }
    }

    fn lose(&self, value: Value<'_>) {
        let sample = self.identity.sample(value, Rate::NotSent, 1);
        self.identity.sink.lose(&sample, self.reason);
    }
}

impl CounterFn for RefusedSeries {
    fn increment(&self, value: u64) {
        self.lose(Value::Counter(value));
    }

    fn absolute(&self, value: u64) {
        self.lose(Value::Counter(value));
    }
}

impl GaugeFn for RefusedSeries {
    fn increment(&self, value: f64) {
        self.lose(Value::Gauge(value));
    }

    fn decrement(&self, value: f64) {
        self.lose(Value::Gauge(value));
    }

    fn set(&self, value: f64) {
        self.lose(Value::Gauge(value));
    }
}

impl HistogramFn for RefusedSeries {
    fn record(&self, value: f64) {
        self.lose(Value::Histogram(value));
    }
}
