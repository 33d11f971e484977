//! All series of a recorder, by name and labels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key};

use super::series::{CounterSeries, GaugeSeries, HistogramSeries, Identity, RefusedSeries};
use crate::poison::ignore_poison;
use crate::sink::Sink;

/// The largest number of series of each type. The recorder removes no series while the application runs, because an
/// increment needs the value before it. So it needs a limit.
const MAX_SERIES: usize = 100_000;
/// The time after which gauges are sent again. A gauge that rarely changes is then right even if a datagram was lost,
/// and servers do not forget it.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);

pub(crate) struct Registry {
    sink: Arc<Sink>,
    counters: SeriesByKey<CounterSeries>,
    gauges: SeriesByKey<GaugeSeries>,
    histograms: SeriesByKey<HistogramSeries>,
    /// The time at which all gauges were last sent.
    repeated: Mutex<Instant>,
}

impl Registry {
    pub(crate) fn new(sink: Arc<Sink>, now: Instant) -> Self {
        Self {
            sink,
            counters: SeriesByKey::default(),
            gauges: SeriesByKey::default(),
            histograms: SeriesByKey::default(),
            repeated: Mutex::new(now),
        }
    }

    pub(super) fn counter(&self, key: &Key) -> Counter {
        if !self.sink.is_enabled() {
            return Counter::noop();
        }
        match self.counters.find_or_add(key, || CounterSeries::new(self.identity(key))) {
            Some(series) => Counter::from_arc(series),
            None => Counter::from_arc(self.refused(key)),
        }
    }

    pub(super) fn gauge(&self, key: &Key) -> Gauge {
        if !self.sink.is_enabled() {
            return Gauge::noop();
        }
        match self.gauges.find_or_add(key, || GaugeSeries::new(self.identity(key))) {
            Some(series) => Gauge::from_arc(series),
            None => Gauge::from_arc(self.refused(key)),
        }
    }

    pub(super) fn histogram(&self, key: &Key) -> Histogram {
        if !self.sink.is_enabled() {
            return Histogram::noop();
        }
        match self.histograms.find_or_add(key, || HistogramSeries::new(self.identity(key))) {
            Some(series) => Histogram::from_arc(series),
            None => Histogram::from_arc(self.refused(key)),
        }
    }

    fn identity(&self, key: &Key) -> Identity {
        Identity::new(Arc::clone(&self.sink), key)
    }

    fn refused(&self, key: &Key) -> Arc<RefusedSeries> {
        Arc::new(RefusedSeries::new(self.identity(key), "the recorder has too many series"))
    }

    /// Hands counters and gauges that changed to the exporters, and all gauges once per [`REPEAT_INTERVAL`].
    pub(crate) fn export(&self, now: Instant) {
        self.counters.for_each(CounterSeries::export);
        let repeat = self.is_repetition_due(now);
        self.gauges.for_each(|gauge| gauge.export(repeat));
    }

    fn is_repetition_due(&self, now: Instant) -> bool {
        let mut repeated = ignore_poison(self.repeated.lock());
        let is_due = now.saturating_duration_since(*repeated) >= REPEAT_INTERVAL;
        if is_due {
            *repeated = now;
        }
        is_due
    }
}

/// The series of one type.
struct SeriesByKey<S>(RwLock<HashMap<Key, Arc<S>>>);

impl<S> Default for SeriesByKey<S> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<S> SeriesByKey<S> {
    /// Returns the series of a key, and adds it if it is new. Returns `None` if there is no room for a new series.
    fn find_or_add(&self, key: &Key, make: impl FnOnce() -> S) -> Option<Arc<S>> {
        if let Some(series) = ignore_poison(self.0.read()).get(key) {
            return Some(Arc::clone(series));
        }
        let mut all = ignore_poison(self.0.write());
        if all.len() >= MAX_SERIES && !all.contains_key(key) {
            return None;
        }
        Some(Arc::clone(all.entry(key.to_retained()).or_insert_with(|| Arc::new(make()))))
    }

    /// Passes each series to `visit`. It holds no lock meanwhile, because an exporter can write to a log that itself
    /// records metrics.
    fn for_each(&self, visit: impl Fn(&S)) {
        let all: Vec<_> = ignore_poison(self.0.read()).values().map(Arc::clone).collect();
        all.iter().for_each(|series| visit(series));
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::config::Config;
    use crate::metrics::Metrics;

    /// Starts metrics whose series are exported only when the test asks for it. Returns the socket that receives the
    /// lines, too.
    fn start() -> (Arc<Metrics>, UdpSocket) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let config = Config::new()
            .statsd_address(socket.local_addr().unwrap().to_string())
            .statsd_flush_interval(Duration::from_hours(1));
        (Metrics::start(&config).unwrap(), socket)
    }

    /// Exports at a time, with a gauge that marks the end. Returns all other lines.
    fn exported(metrics: &Arc<Metrics>, socket: &UdpSocket, now: Instant) -> Vec<String> {
        metrics.registry().export(now);
        metrics.collector("").record_gauge("end", 1, &[]);
        metrics.flush();
        let (mut lines, mut datagram) = (Vec::new(), vec![0; 65536]);
        while lines.last().is_none_or(|line| line != "end:1|g") {
            let length = socket.recv(&mut datagram).unwrap();
            let text = std::str::from_utf8(&datagram[..length]).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.pop();
        lines
    }

    #[test]
    fn gauge_is_sent_when_it_changes_and_once_per_minute() {
        let (metrics, socket) = start();
        // The metrics have started a little earlier, so the fiftieth second is surely in the first minute.
        let now = Instant::now();
        let [changed, _never_set, not_a_number] = ["changed", "never_set", "not_a_number"]
            .map(|name| metrics.registry().gauge(&Key::from_static_name(name)));
        changed.set(1);
        not_a_number.set(f64::NAN);
        for (seconds, expected) in [(0, &["changed:1|g"][..]), (50, &[]), (60, &["changed:1|g"]), (61, &[])] {
            let time = now + Duration::from_secs(seconds);
            assert_eq!(exported(&metrics, &socket, time), expected, "after {seconds} s");
        }
        changed.decrement(3);
        let time = now + Duration::from_secs(62);
        assert_eq!(exported(&metrics, &socket, time), ["changed:0|g", "changed:-2|g"]);
        assert_eq!(metrics.lost(), 1, "NaN counts as lost once");
    }

    #[test]
    fn calls_of_series_beyond_the_limit_count_as_lost() {
        let (metrics, _socket) = start();
        let registry = metrics.registry();
        let name = |number: usize| Key::from_name(format!("n{number}"));
        (0..MAX_SERIES).for_each(|number| drop(registry.counter(&name(number))));
        let beyond = registry.counter(&name(MAX_SERIES));
        beyond.increment(5);
        beyond.absolute(7);
        assert_eq!(metrics.lost(), 2);
        registry.counter(&name(0)).increment(1);
        registry.gauge(&name(MAX_SERIES)).set(1);
        registry.histogram(&name(MAX_SERIES)).record(1);
        assert_eq!(metrics.lost(), 2, "known series and other types have room");
    }
}
