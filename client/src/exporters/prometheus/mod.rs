//! A page in the application that Prometheus can scrape, by `metrics-exporter-prometheus`.
//!
//! A metric has the name, the type and the labels that tallyd gives it by default, so dashboards fit either way: counters end in
//! `_total`, timings are seconds and end in `_seconds`, and percentiles are those of a summary. What that crate does otherwise:
//! it guesses whether a backslash in a label's value was meant to be one.
//!
//! ```text
//!  sample --> its text --> known series? --yes--> counter, gauge, summary or set
//!                               |no
//!                               +--> admitted by the families --> registered
//! ```

mod families;
mod names;
mod server;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use self::families::Families;
use self::server::Server;
use super::text::{before_names, push_metric, push_tags, with_text};
use crate::sample::{Sample, Value};

/// tallyd's own, as its configuration is shipped.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];
/// How long the different members of a set are counted together; tallyd's interval, as its configuration is shipped.
const INTERVAL: Duration = Duration::from_secs(10);
/// A page must not grow for ever, and none of its series is ever dropped.
const MAX_SERIES: usize = 100_000;
/// The crate wants to know where a metric is registered, and makes nothing of it.
const METADATA: Metadata<'static> = Metadata::new("tallyd_client", Level::INFO, None);

pub(super) type StartError = Box<dyn Error + Send + Sync>;

/// The registry, and what it does not know: sets.
pub(super) struct Prometheus {
    before_names: String,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    registry: RwLock<Registry>,
    hasher: RandomState,
    interval_began: Mutex<Instant>,
    /// Series that were kept off the page, which the log is told of ever more seldom.
    refused: AtomicU64,
    lost: AtomicU64,
    /// Runs as long as this.
    _server: Option<Server>,
}

/// What was measured so far.
#[derive(Default)]
struct Registry {
    /// By the metric, the type and the tags of a series, as they are on the wire.
    series: HashMap<String, Series>,
    families: Families,
}

/// Where the samples of one series go.
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    /// Milliseconds come in, and seconds are shown.
    Timing(Histogram),
    Observed(Histogram),
    /// Hashes of the members in the present interval. It has no gauge until one has ended.
    Set(Key, Mutex<HashSet<u64>>),
    /// It has no place on the page.
    Nowhere,
}

impl Prometheus {
    /// With a page at an address, if there is one.
    pub(super) fn start(prefix: &str, address: Option<SocketAddr>) -> Result<Self, StartError> {
        let builder = PrometheusBuilder::new().set_quantiles(&QUANTILES)?;
        let (recorder, server) = match address {
            Some(address) => {
                let (recorder, server) = Server::start(builder.with_http_listener(address))?;
                (recorder, Some(server))
            }
            None => (builder.build_recorder(), None),
        };
        Ok(Self {
            before_names: before_names(prefix),
            handle: recorder.handle(),
            recorder,
            registry: RwLock::default(),
            hasher: RandomState::new(),
            interval_began: Mutex::new(Instant::now()),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            _server: server,
        })
    }

    pub(super) fn record(&self, sample: &Sample<'_>) {
        with_text(|text| {
            push_metric(text, &self.before_names, sample);
            text.push('|');
            text.push_str(sample.value.wire_type());
            push_tags(text, "|", sample);
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = registry.series.get(&**text) {
                return self.add(series, sample.value);
            }
            drop(registry);
            self.add_first(text, sample);
        });
    }

    /// Adds the first sample of a series, as far as this thread knows.
    fn add_first(&self, series: &str, sample: &Sample<'_>) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let Registry { series: all, families } = &mut *registry;
        let mut refused = None;
        if !all.contains_key(series) {
            let registered = if all.len() < MAX_SERIES {
                self.register(families, sample)
            } else {
                Err("there are too many series already")
            };
            let place = registered.unwrap_or_else(|why| {
                refused = Some(why);
                Series::Nowhere
            });
            // Those beyond the limit are refused each time: to remember them would be to have no limit.
            if all.len() < MAX_SERIES {
                all.insert(series.to_owned(), place);
            }
        }
        self.add(all.get(series).unwrap_or(&Series::Nowhere), sample.value);
        // Only now, for the log may itself be measured.
        drop(registry);
        if let Some(why) = refused
            && (self.refused.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two()
        {
            tracing::warn!(
                series,
                why,
                "a series is kept off the page for Prometheus, and its samples are dropped"
            );
        }
    }

    /// Gives a series a place, or says why it has none.
    fn register(&self, families: &mut Families, sample: &Sample<'_>) -> Result<Series, &'static str> {
        let mut metric = String::new();
        push_metric(&mut metric, &self.before_names, sample);
        let family = names::family(&metric, sample.value);
        let key = Key::from_parts(family.clone(), names::labels(sample));
        families.admit(&family, &key, sample.value)?;
        Ok(match sample.value {
            Value::Counter(_) => Series::Counter(self.recorder.register_counter(&key, &METADATA)),
            Value::Gauge(_) => Series::Gauge(self.recorder.register_gauge(&key, &METADATA)),
            Value::Timing(_) => Series::Timing(self.recorder.register_histogram(&key, &METADATA)),
            Value::Histogram(_) | Value::Distribution(_) => {
                Series::Observed(self.recorder.register_histogram(&key, &METADATA))
            }
            Value::Set(_) => Series::Set(key, Mutex::default()),
        })
    }

    fn add(&self, series: &Series, value: Value<'_>) {
        match (series, value) {
            (Series::Counter(counter), Value::Counter(value)) => counter.increment(value),
            (Series::Gauge(gauge), Value::Gauge(value)) => gauge.set(value),
            (Series::Timing(summary), Value::Timing(value)) => summary.record(value / 1e3),
            (Series::Observed(summary), Value::Histogram(value) | Value::Distribution(value)) => {
                summary.record(value);
            }
            (Series::Set(_, members), Value::Set(member)) => {
                lock(members).insert(self.hasher.hash_one(member));
            }
            _ => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Moves what was observed into summaries, and shows sets whose interval has ended.
    pub(super) fn maintain(&self) {
        self.handle.run_upkeep();
        let mut began = lock(&self.interval_began);
        if began.elapsed() < INTERVAL {
            return;
        }
        *began = Instant::now();
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        for series in registry.series.values() {
            if let Series::Set(key, members) = series {
                let members = std::mem::take(&mut *lock(members));
                self.recorder.register_gauge(key, &METADATA).set(members.len() as f64);
            }
        }
    }

    /// The page.
    pub(super) fn render(&self) -> String {
        self.handle.render()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What it guards is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
