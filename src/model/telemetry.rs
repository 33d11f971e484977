//! The metrics that tallyd reports about itself.
//!
//! Each part of the program registers its series once at startup, and counts with the handles that it gets. At the end
//! of each interval, the flush reads all handles and adds their values to the snapshot as ordinary series.
//!
//! ```text
//!  listeners --+                        register                       read
//!  exporters --+--> Counter, Gauge <------------- Telemetry <------------------ flush
//!  endpoint ---+
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use enum_map::EnumMap;
use parking_lot::Mutex;

use super::{Kind, Named, RESERVED_PREFIX, Series, Value};

/// A counter of tallyd's own metrics. Clones share one count.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds 1.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Returns the count since the flush last read the counter.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter whose count comes from elsewhere, for example from the kernel. It has no value until the count was first
/// read, and while the count cannot be read. So a count that is unknown never reads 0. Clones share one count.
#[derive(Debug, Clone, Default)]
pub(crate) struct FetchedCounter {
    counter: Counter,
    is_known: Arc<AtomicBool>,
}

impl FetchedCounter {
    /// Adds `count`, which was read successfully.
    pub(crate) fn add(&self, count: u64) {
        self.counter.add(count);
        self.is_known.store(true, Relaxed);
    }

    /// Takes the value away until the next successful reading.
    pub(crate) fn set_unknown(&self) {
        self.is_known.store(false, Relaxed);
    }

    /// Returns the count since the flush last read the counter, or `None` if it is unknown.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> Option<u64> {
        self.is_known.load(Relaxed).then(|| self.counter.pending())
    }
}

/// A gauge of tallyd's own metrics. It has no value until [`set`](Self::set) is first called. Clones share one value.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<AtomicU64>);

impl Default for Gauge {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(f64::NAN.to_bits())))
    }
}

impl Gauge {
    /// Sets the value. NaN removes it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Adds `change` to the value, which must have been set before.
    pub fn add(&self, change: f64) {
        let sum = |bits| Some((f64::from_bits(bits) + change).to_bits());
        // The closure always returns a value, so the update never fails.
        _ = self.0.fetch_update(Relaxed, Relaxed, sum);
    }

    /// Returns the value, or `None` if it is not set.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        let value = f64::from_bits(self.0.load(Relaxed));
        (!value.is_nan()).then_some(value)
    }
}

/// A part of the program that must fetch its figures before the flush reads them.
pub(crate) trait Source: fmt::Debug + Send {
    /// Brings its counters and gauges up to date. The flush calls it at the end of each interval.
    fn update(&mut self);
}

/// All series that tallyd reports about itself. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Telemetry(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The tags of every series, which tell several tallyds apart.
    tags: Vec<(String, String)>,
    series: Vec<(Series, Handle)>,
    sources: Vec<Box<dyn Source>>,
}

#[derive(Debug, Clone)]
enum Handle {
    Counter(Counter),
    FetchedCounter(FetchedCounter),
    /// A counter of milliseconds whose value is in seconds.
    Seconds(Counter),
    Gauge(Gauge),
}

impl Handle {
    fn counter(&self) -> Option<&Counter> {
        match self {
            Handle::Counter(counter)
            | Handle::Seconds(counter)
            | Handle::FetchedCounter(FetchedCounter { counter, .. }) => Some(counter),
            Handle::Gauge(_) => None,
        }
    }
}

impl Telemetry {
    /// Creates an empty list whose series all have these tags, which are keys and values.
    #[must_use]
    pub fn with_tags(tags: Vec<(String, String)>) -> Self {
        Self(Arc::new(Mutex::new(Inner { tags, ..Inner::default() })))
    }

    /// Registers a counter. `name` omits the prefix `tallyd.`; `tags` are keys and values.
    #[must_use]
    pub fn counter(&self, name: &str, tags: &[(&str, &str)]) -> Counter {
        let counter = Counter::default();
        self.register(Kind::Counter, name, tags, Handle::Counter(counter.clone()));
        counter
    }

    /// Registers a counter whose count comes from elsewhere. `name` omits the prefix `tallyd.`; `tags` are keys and
    /// values.
    #[must_use]
    pub(crate) fn fetched_counter(&self, name: &str, tags: &[(&str, &str)]) -> FetchedCounter {
        let counter = FetchedCounter::default();
        self.register(Kind::Counter, name, tags, Handle::FetchedCounter(counter.clone()));
        counter
    }

    /// Registers a counter of seconds, to which the caller adds milliseconds. `name` omits the prefix `tallyd.`; `tags` are
    /// keys and values.
    #[must_use]
    pub(crate) fn seconds(&self, name: &str, tags: &[(&str, &str)]) -> Counter {
        let counter = Counter::default();
        self.register(Kind::Counter, name, tags, Handle::Seconds(counter.clone()));
        counter
    }

    /// Registers a gauge. `name` omits the prefix `tallyd.`; `tags` are keys and values.
    #[must_use]
    pub fn gauge(&self, name: &str, tags: &[(&str, &str)]) -> Gauge {
        let gauge = Gauge::default();
        self.register(Kind::Gauge, name, tags, Handle::Gauge(gauge.clone()));
        gauge
    }

    /// Registers a counter for each variant of an enum. The variant's name is the value of the tag `key`.
    #[must_use]
    pub fn counters<E: Named>(&self, name: &str, tags: &[(&str, &str)], key: &str) -> EnumMap<E, Counter> {
        EnumMap::from_fn(|variant: E| self.counter(name, &[tags, &[(key, variant.name())]].concat()))
    }

    /// Adds a source, which the flush updates before it reads any figures.
    pub(crate) fn add_source(&self, source: impl Source + 'static) {
        self.0.lock().sources.push(Box::new(source));
    }

    /// Calls `each` with the position of each series and the series. Positions count from 0 in the order of
    /// registration.
    pub(crate) fn for_each_series(&self, mut each: impl FnMut(usize, &Series)) {
        let inner = self.0.lock();
        inner.series.iter().enumerate().for_each(|(position, (series, _))| each(position, series));
    }

    /// Updates all sources, then calls `each` with the position, the series and the value of each series that has a
    /// value. Counters restart from 0. A series keeps its position.
    pub(crate) fn read(&self, mut each: impl FnMut(usize, &Series, Value)) {
        let Inner { series, sources, .. } = &mut *self.0.lock();
        sources.iter_mut().for_each(|source| source.update());
        for (position, (series, handle)) in series.iter().enumerate() {
            match handle {
                Handle::Counter(counter) => {
                    each(position, series, Value::Counter(counter.0.swap(0, Relaxed) as f64));
                }
                Handle::FetchedCounter(FetchedCounter { counter, is_known }) => {
                    // A count that was read before the failure waits for the next success.
                    if is_known.load(Relaxed) {
                        each(position, series, Value::Counter(counter.0.swap(0, Relaxed) as f64));
                    }
                }
                Handle::Seconds(counter) => {
                    each(position, series, Value::Counter(counter.0.swap(0, Relaxed) as f64 / 1e3));
                }
                Handle::Gauge(gauge) => {
                    if let Some(value) = gauge.get() {
                        each(position, series, Value::Gauge(value));
                    }
                }
            }
        }
    }

    /// Returns the counters with a count that the flush has not read, as their series and the count.
    pub(crate) fn pending(&self) -> Vec<(Series, u64)> {
        let inner = self.0.lock();
        let counts =
            inner.series.iter().filter_map(|(series, handle)| Some((series, handle.counter()?.pending())));
        counts.filter(|(_, count)| *count > 0).map(|(series, count)| (series.clone(), count)).collect()
    }

    /// Adds a count that [`pending`](Self::pending) returned in an earlier process. A counter that this process does not
    /// have is registered.
    pub(crate) fn add_pending(&self, series: &Series, count: u64) {
        let mut inner = self.0.lock();
        let known = inner.series.iter().find(|(known, _)| known == series);
        if let Some(counter) = known.and_then(|(_, handle)| handle.counter()) {
            counter.add(count);
        } else {
            let counter = Counter::default();
            counter.add(count);
            inner.series.push((series.clone(), Handle::Counter(counter)));
        }
    }

    /// Returns the series with the tags that all of tallyd's own series have. `name` omits the prefix `tallyd.`; `tags`
    /// are keys and values.
    pub(crate) fn series(&self, kind: Kind, name: &str, tags: &[(&str, &str)]) -> Series {
        let Inner { tags: common, .. } = &*self.0.lock();
        let common = common.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let tags: Vec<_> = common.chain(tags.iter().copied()).collect();
        Series::new(kind, &format!("{RESERVED_PREFIX}{name}"), &tags)
    }

    fn register(&self, kind: Kind, name: &str, tags: &[(&str, &str)], handle: Handle) {
        let series = self.series(kind, name, tags);
        self.0.lock().series.push((series, handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(telemetry: &Telemetry) -> Vec<(usize, String, Value)> {
        let mut values = Vec::new();
        telemetry.read(|position, series, value| values.push((position, format!("{series:?}"), value)));
        values
    }

    #[test]
    fn counters_restart_from_zero_and_gauges_keep_their_value() {
        let telemetry = Telemetry::default();
        let lines = telemetry.counter("lines", &[]);
        let open = telemetry.gauge("connections", &[("listener", "tcp")]);
        lines.add(3);
        let zero = (0, "tallyd.lines|c".to_owned(), Value::Counter(0.0));
        assert_eq!(read(&telemetry), [(0, "tallyd.lines|c".to_owned(), Value::Counter(3.0))]);
        open.set(1.0);
        open.add(1.0);
        let gauge = (1, "tallyd.connections|g|#listener:tcp".to_owned(), Value::Gauge(2.0));
        assert_eq!(read(&telemetry), [zero.clone(), gauge.clone()]);
        open.set(f64::NAN);
        assert_eq!(read(&telemetry), [zero]);
    }

    #[test]
    fn every_series_has_the_common_tags() {
        let telemetry = Telemetry::with_tags(vec![("site".to_owned(), "a".to_owned())]);
        telemetry.gauge("connections", &[("listener", "tcp")]).set(1.0);
        assert_eq!(read(&telemetry)[0].1, "tallyd.connections|g|#listener:tcp,site:a");
    }

    #[test]
    fn counts_that_no_flush_has_read_are_added_to_the_counters_of_the_next_process() {
        let [earlier, later] = [Telemetry::default(), Telemetry::default()];
        let [lost, _read, gone] = ["lost", "read", "gone"].map(|name| earlier.counter(name, &[]));
        lost.add(3);
        gone.add(5);
        let counter = later.counter("lost", &[]);
        counter.add(1);
        earlier.pending().iter().for_each(|(series, count)| later.add_pending(series, *count));
        let expected = [(0, "tallyd.lost|c".to_owned(), 4.0), (1, "tallyd.gone|c".to_owned(), 5.0)];
        assert_eq!(read(&later), expected.map(|(at, series, count)| (at, series, Value::Counter(count))));
    }

    #[test]
    fn a_source_is_updated_before_its_counters_are_read() {
        #[derive(Debug)]
        struct Dropped(Counter);
        impl Source for Dropped {
            fn update(&mut self) {
                self.0.add(7);
            }
        }
        let telemetry = Telemetry::default();
        telemetry.add_source(Dropped(telemetry.counter("datagrams_dropped", &[])));
        assert_eq!(read(&telemetry)[0].2, Value::Counter(7.0));
    }
}
