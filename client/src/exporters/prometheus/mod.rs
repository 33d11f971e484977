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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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
    /// The last series that was kept off the page, and why.
    refused: Mutex<Option<(String, &'static str)>>,
    lost: AtomicU64,
    /// How many lost samples the log was told of.
    told: AtomicU64,
    server: Mutex<Option<Server>>,
}

/// What was measured so far.
#[derive(Default)]
struct Registry {
    /// By the metric, the type and the tags, as calls have given them: in each order in which they did.
    series: HashMap<String, Arc<Series>>,
    families: Families,
    /// Those that are shown at the end of an interval.
    sets: Vec<(Key, Arc<Members>)>,
}

/// Hashes of the different members in the present interval.
type Members = Mutex<HashSet<u64>>;

/// Where the samples of one series go.
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    /// Milliseconds come in, and seconds are shown.
    Timing(Histogram),
    Observed(Histogram),
    /// It has no gauge until an interval has ended.
    Set(Arc<Members>),
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
            refused: Mutex::default(),
            lost: AtomicU64::new(0),
            told: AtomicU64::new(0),
            server: Mutex::new(server),
        })
    }

    pub(super) fn record(&self, sample: &Sample<'_>) {
        with_text(|text| {
            push_metric(text, &self.before_names, sample);
            let metric = text.len();
            text.push('|');
            text.push_str(sample.value.wire_type());
            push_tags(text, "|", sample);
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            let known = registry.series.get(&**text);
            // Those beyond the limit are refused each time: to remember them would be to have no limit.
            if known.is_some() || registry.series.len() >= MAX_SERIES {
                return self.add(known.map_or(&Series::Nowhere, |series| series), sample.value);
            }
            drop(registry);
            self.add(&self.find(text, &text[..metric], sample), sample.value);
        });
    }

    /// The series of a sample that comes for the first time, or for the first time with its tags in this order.
    fn find(&self, given: &str, metric: &str, sample: &Sample<'_>) -> Arc<Series> {
        let tags = names::sorted_tags(sample);
        let mut sorted = [metric, "|", sample.value.wire_type()].concat();
        for (place, (key, value)) in tags.iter().enumerate() {
            sorted.extend([if place == 0 { "|" } else { "," }, key, ":", value]);
        }
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let Registry { series: all, families, sets } = &mut *registry;
        let known = all.get(&sorted).map(Arc::clone);
        let series = known.unwrap_or_else(|| {
            Arc::new(self.register(families, sets, metric, sample.value, tags).unwrap_or_else(|why| {
                *lock(&self.refused) = Some((given.to_owned(), why));
                Series::Nowhere
            }))
        });
        for text in [given.to_owned(), sorted] {
            all.entry(text).or_insert_with(|| Arc::clone(&series));
        }
        series
    }

    /// Gives a series a place, or says why it has none.
    fn register(
        &self,
        families: &mut Families,
        sets: &mut Vec<(Key, Arc<Members>)>,
        metric: &str,
        value: Value<'_>,
        tags: Vec<(String, String)>,
    ) -> Result<Series, &'static str> {
        let family = names::family(metric, value);
        let key = Key::from_parts(family.clone(), names::labels(tags, value));
        families.admit(&family, &key, value)?;
        Ok(match value {
            Value::Counter(_) => Series::Counter(self.recorder.register_counter(&key, &METADATA)),
            Value::Gauge(_) => Series::Gauge(self.recorder.register_gauge(&key, &METADATA)),
            Value::Timing(_) => Series::Timing(self.recorder.register_histogram(&key, &METADATA)),
            Value::Histogram(_) | Value::Distribution(_) => {
                Series::Observed(self.recorder.register_histogram(&key, &METADATA))
            }
            Value::Set(_) => {
                let members = Arc::default();
                sets.push((key, Arc::clone(&members)));
                Series::Set(members)
            }
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
            (Series::Set(members), Value::Set(member)) => {
                lock(members).insert(self.hasher.hash_one(member));
            }
            _ => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Moves what was observed into summaries, and shows sets whose interval has ended.
    pub(super) fn keep_up(&self, now: Instant) {
        self.handle.run_upkeep();
        self.tell();
        let mut began = lock(&self.interval_began);
        if now.saturating_duration_since(*began) < INTERVAL {
            return;
        }
        *began = now;
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        for (key, members) in &registry.sets {
            let mut members = lock(members);
            self.recorder.register_gauge(key, &METADATA).set(members.len() as f64);
            members.clear();
        }
    }

    /// Logs that samples were lost: the first time, and then ever more seldom. Not within a call, for the log may be measured.
    fn tell(&self) {
        let lost = self.lost();
        let told = self.told.swap(lost, Ordering::Relaxed);
        if told.checked_ilog2() == lost.checked_ilog2() {
            return;
        }
        let (series, why) = lock(&self.refused)
            .take()
            .unwrap_or_else(|| (String::new(), "of them and others, there are too many series"));
        tracing::error!(
            lost,
            series,
            why,
            "samples of series that are kept off the page for Prometheus are dropped"
        );
    }

    /// Ends the server.
    pub(super) fn stop(&self) {
        drop(lock(&self.server).take());
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
