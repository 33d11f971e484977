//! A page in the application that Prometheus can scrape, by `metrics-exporter-prometheus`.
//!
//! A metric has the name, the type and the labels that tallyd gives it by default, so dashboards fit either way: counters end in
//! `_total`, timings are seconds and end in `_seconds`, and percentiles are those of a summary. What that crate does otherwise:
//! it guesses whether a backslash in a label's value was meant to be one.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::text::{before_names, push_key, push_name, push_value};
use crate::measurement::{Measurement, Value};

/// tallyd's own, as its configuration is shipped.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];
/// How long the different members of a set are counted together; tallyd's interval, as its configuration is shipped.
const INTERVAL: Duration = Duration::from_secs(10);
/// The crate wants to know where a metric is registered, and makes nothing of it.
const METADATA: Metadata<'static> = Metadata::new("tallyd_client", Level::INFO, None);

type StartError = Box<dyn Error + Send + Sync>;

/// The registry, and what it does not know: sets.
pub(super) struct Prometheus {
    prefix: String,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    sets: Mutex<Sets>,
}

/// Of the present interval.
struct Sets {
    /// Hashes of members.
    members: HashMap<Key, HashSet<u64>>,
    hasher: RandomState,
    began: Instant,
}

impl Prometheus {
    /// With a page at an address, if there is one.
    pub(super) fn start(prefix: &str, address: Option<SocketAddr>) -> Result<Self, StartError> {
        let builder = PrometheusBuilder::new().set_quantiles(&QUANTILES)?;
        let recorder = match address {
            Some(address) => serve(builder.with_http_listener(address))?,
            None => builder.build_recorder(),
        };
        Ok(Self {
            prefix: before_names(prefix),
            handle: recorder.handle(),
            recorder,
            sets: Mutex::new(Sets {
                members: HashMap::new(),
                hasher: RandomState::new(),
                began: Instant::now(),
            }),
        })
    }

    pub(super) fn record(&self, measurement: &Measurement<'_>) {
        let Measurement { component, name, value, rate, .. } = *measurement;
        let suffix = match value {
            Value::Counter(_) => "_total",
            Value::Timing(_) => "_seconds",
            _ => "",
        };
        let mut text = self.prefix.clone();
        push_name(&mut text, component);
        text.push('.');
        push_name(&mut text, name);
        let mut name = legal(&text);
        if !name.ends_with(suffix) {
            name.push_str(suffix);
        }
        let is_observed = matches!(value, Value::Timing(_) | Value::Histogram(_) | Value::Distribution(_));
        let labels = measurement.tags().map(|(key, value)| {
            let (mut own_key, mut own_value) = (String::new(), String::new());
            push_key(&mut own_key, key);
            // A label without a value is no label.
            push_value(&mut own_value, if value.is_empty() { "true" } else { value });
            Label::new(label(&own_key, is_observed), own_value)
        });
        let mut labels: Vec<_> = labels.collect();
        labels.sort();
        let key = Key::from_parts(name, labels);
        match value {
            Value::Counter(value) => {
                self.recorder.register_counter(&key, &METADATA).increment(value.saturating_mul(times(rate)));
            }
            Value::Gauge(value) => self.recorder.register_gauge(&key, &METADATA).set(value),
            Value::Timing(value) => self.observe(&key, value / 1e3, rate),
            Value::Histogram(value) | Value::Distribution(value) => self.observe(&key, value, rate),
            Value::Set(member) => self.add_member(key, member),
        }
    }

    fn observe(&self, key: &Key, value: f64, rate: f64) {
        let histogram = self.recorder.register_histogram(key, &METADATA);
        // One at a time is what the crate does, too; a share of a millionth is not worth more.
        histogram.record_many(value, usize::try_from(times(rate)).unwrap_or(usize::MAX).min(1_000_000));
    }

    fn add_member(&self, key: Key, member: &str) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = sets.hasher.hash_one(member);
        sets.members.entry(key).or_default().insert(hash);
    }

    /// Moves what was observed into summaries, and shows sets whose interval has ended.
    pub(super) fn maintain(&self) {
        self.handle.run_upkeep();
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.began.elapsed() < INTERVAL {
            return;
        }
        sets.began = Instant::now();
        sets.members.retain(|key, members| {
            self.recorder.register_gauge(key, &METADATA).set(members.len() as f64);
            let was_used = !members.is_empty();
            members.clear();
            was_used
        });
    }
}

/// Serves the page, on a thread of its own, until the process ends.
fn serve(builder: PrometheusBuilder) -> Result<PrometheusRecorder, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (recorder, server) = {
        let _context = runtime.enter();
        builder.build()?
    };
    thread::Builder::new().name("tallyd-client-http".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(server) {
            tracing::warn!(?error, "metrics cannot be scraped any more");
        }
    })?;
    Ok(recorder)
}

/// How many calls one stands for: 1/rate, which is rounded up or down by chance, so that it is right over many.
fn times(rate: f64) -> u64 {
    (1.0 / rate + fastrand::f64() * f64::from(u8::from(rate < 1.0))) as u64
}

/// A legal name: `_` stands for each character that is not.
fn legal(name: &str) -> String {
    let mut legal = String::with_capacity(name.len());
    for (place, character) in name.chars().enumerate() {
        if place == 0 && character.is_ascii_digit() {
            legal.push('_');
        }
        legal.push(if character.is_ascii_alphanumeric() || character == '_' || character == ':' {
            character
        } else {
            '_'
        });
    }
    legal
}

/// A tag's key as a label's name. What Prometheus keeps for itself becomes `exported_…`.
fn label(key: &str, is_observed: bool) -> String {
    let name = legal(key).replace(':', "_");
    if name.starts_with("__") || (is_observed && (name == "le" || name == "quantile")) {
        return format!("exported_{name}");
    }
    name
}
