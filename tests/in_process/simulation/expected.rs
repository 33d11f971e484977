//! What an interval must contain: the plain model, fed with the same datagrams in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tallyd::aggregate::IngestCounts;
use tallyd::model::{Kind, Named, RESERVED_PREFIX, Row, Series, Snapshot, Value};

use super::plain_registry::PlainRegistry;
use super::plain_state::PlainSeries;
use super::settings::Settings;
use crate::model::{Model, State, nearest_rank};

/// The plain model behind the plain registry.
pub(super) struct Expected {
    model: Model,
    pub(super) registry: PlainRegistry,
    /// Up to this many values of a series, percentiles are exact. Beyond, they are within a hundredth.
    exact_values: usize,
}

impl Expected {
    pub(super) fn new(settings: Settings, exact_values: usize) -> Self {
        Self { model: Model::default(), registry: PlainRegistry::new(settings), exact_values }
    }

    /// Records a datagram of which the receiver had room for `max_datagram` bytes.
    pub(super) fn record(&mut self, datagram: &[u8], max_datagram: usize) {
        let mut complete = datagram;
        if datagram.len() > max_datagram {
            let line_feed = datagram[..max_datagram].iter().rposition(|&byte| byte == b'\n');
            complete = &datagram[..line_feed.map_or(0, |at| at + 1)];
            self.model.counts.datagrams_truncated += 1;
            self.model.counts.datagram_bytes_truncated += (datagram.len() - complete.len()) as u64;
            self.model.counts.lines_truncated += 1;
        }
        let Self { model, registry, .. } = self;
        model.record_admitted(complete, &mut |series| registry.admit(series));
    }

    /// Begins with the state of an earlier life.
    pub(super) fn restore(&mut self, saved: &PlainSeries, downtime: Duration, now: Duration) {
        self.registry.restore(saved, downtime, now);
        for (series, value) in
            saved.gauges.iter().filter(|(series, _)| self.registry.live.contains_key(series))
        {
            self.model.series.insert(series.clone(), State::Gauge(*value));
        }
    }

    /// Returns the state of all series after the interval that ended at `now`.
    pub(super) fn state(&self, now: Duration) -> PlainSeries {
        let gauges = self.registry.live.keys().filter_map(|series| match self.model.series.get(series)? {
            State::Gauge(value) => Some((series.clone(), *value)),
            _ => None,
        });
        PlainSeries { gauges: gauges.collect(), ..self.registry.state(now) }
    }

    /// Returns the values and weights of a series in the open interval, if it is a distribution.
    pub(super) fn values(&self, series: &Series) -> Option<Vec<(f64, f64)>> {
        match self.model.series.get(series)? {
            State::Values(values) => Some(values.clone()),
            _ => None,
        }
    }

    /// Returns the samples recorded in the open interval.
    pub(super) fn samples(&self) -> u64 {
        self.model.counts.samples.values().sum()
    }

    /// Ends the interval at `now`, and asserts that the snapshot is what it must be. `dropped` is the number of datagrams
    /// that the kernel dropped in the interval.
    pub(super) fn assert_is(&mut self, snapshot: &Snapshot, now: Duration, dropped: u64) {
        self.registry.mark_seen(now);
        self.assert_rows(snapshot);
        assert_counts(snapshot, &self.model.counts, dropped);
        assert_eq!(snapshot.overview.series, self.registry.live.len() as u64, "live series");
        self.model.events.sort();
        assert_eq!(snapshot.events, self.model.events);
        for series in self.registry.end(now) {
            self.model.series.remove(&series);
        }
        self.model.end();
    }

    fn assert_rows(&self, snapshot: &Snapshot) {
        let is_own = |row: &Row<'_>| row.series.name().starts_with(RESERVED_PREFIX);
        let mut rows = snapshot.rows.iter().filter(|row| !is_own(row));
        for series in self.registry.live.keys() {
            let zero = match series.kind() {
                Kind::Counter => State::Counter(0.0),
                _ => State::Set(BTreeSet::new()),
            };
            let idle = self.registry.settings.idle;
            let state = match series.kind() {
                _ if self.registry.sampled.contains(series) => &self.model.series[series],
                Kind::Gauge if idle.last_gauges => &self.model.series[series],
                Kind::Counter if idle.zero_counters => &zero,
                Kind::Set if idle.zero_sets => &zero,
                _ => continue,
            };
            let row = rows.next().unwrap_or_else(|| panic!("no row of {series:?}"));
            assert_eq!(row.series, series);
            self.assert_value(series, row.value, state);
        }
        assert_eq!(rows.next(), None, "a row too many");
    }

    fn assert_value(&self, series: &Series, value: &Value, state: &State) {
        match (value, state) {
            (Value::Counter(got), State::Counter(expected)) | (Value::Gauge(got), State::Gauge(expected)) => {
                assert_eq!(got, expected, "{series:?}");
            }
            (Value::Set(got), State::Set(members)) => assert_eq!(*got, members.len() as f64, "{series:?}"),
            (Value::Summary(summary), State::Values(values)) => {
                let count: f64 = values.iter().map(|(_, weight)| weight).sum();
                let sum: f64 = values.iter().map(|(value, weight)| value * weight).sum();
                let min = values.iter().map(|pair| pair.0).fold(f64::INFINITY, f64::min);
                let max = values.iter().map(|pair| pair.0).fold(f64::NEG_INFINITY, f64::max);
                let got = (summary.count, summary.sum, summary.min, summary.max);
                assert_eq!(got, (count, sum, min, max), "{series:?}");
                let percentiles = &self.registry.in_force.percentiles;
                assert_eq!(summary.percentiles.len(), percentiles.len(), "{series:?}");
                let error = if values.len() > self.exact_values { 0.01 } else { 0.0 };
                for (got, percent) in summary.percentiles.iter().zip(percentiles) {
                    let exact = nearest_rank(values, *percent);
                    assert!(
                        (got - exact).abs() <= error * exact.abs(),
                        "{series:?} {percent}: {got} for {exact}"
                    );
                }
            }
            (got, expected) => panic!("{series:?}: {got:?} for {expected:?}"),
        }
    }
}

/// Returns the values of tallyd's own counters in a snapshot, by name and value of the last tag.
pub(super) fn own_counters(snapshot: &Snapshot) -> BTreeMap<(String, String), u64> {
    let mut counters = BTreeMap::new();
    for row in &snapshot.rows {
        if let (Some(name), Value::Counter(count)) =
            (row.series.name().strip_prefix(RESERVED_PREFIX), row.value)
        {
            let tag = row.series.tags().last().map_or("", |(_, value)| value);
            *counters.entry((name.to_owned(), tag.to_owned())).or_default() += *count as u64;
        }
    }
    counters
}

/// Asserts that the snapshot has these counts, both as totals and as tallyd's own series.
fn assert_counts(snapshot: &Snapshot, counts: &IngestCounts, dropped: u64) {
    let own = own_counters(snapshot);
    let sum =
        |name: &str| own.iter().filter(|((known, _), _)| known == name).map(|(_, count)| count).sum::<u64>();
    let get = |name: &str, tag: &str| own[&(name.to_owned(), tag.to_owned())];
    let events: u64 = counts.events.values().flat_map(|of_priority| of_priority.values()).sum();
    for (name, expected) in [
        ("datagrams", counts.datagrams),
        ("datagrams_dropped", dropped),
        ("bytes", counts.bytes),
        ("datagrams_truncated", counts.datagrams_truncated),
        ("datagram_bytes_truncated", counts.datagram_bytes_truncated),
        ("lines_truncated", counts.lines_truncated),
        ("lines", counts.lines),
        ("events", events),
        ("events_dropped", 0),
        ("service_checks", counts.service_checks.values().sum()),
        ("samples_absorbed", 0),
    ] {
        assert_eq!(sum(name), expected, "tallyd.{name}");
    }
    for (kind, &count) in &counts.samples {
        assert_eq!(get("samples", kind.name()), count, "samples of {kind:?}");
    }
    for (reason, &count) in &counts.rejected {
        assert_eq!(get("lines_rejected", reason.name()), count, "rejected for {reason:?}");
    }
    for (reason, &count) in &counts.refused {
        assert_eq!(get("series_refused", reason.name()), count, "refused for {reason:?}");
    }
    for (limit, &count) in &counts.overflowed {
        assert_eq!(get("samples_overflowed", limit.name()), count, "overflowed for {limit:?}");
    }
    for (note, &count) in &counts.noted {
        assert_eq!(get("lines_noted", note.name()), count, "noted for {note:?}");
    }
    let overview = snapshot.overview;
    assert_eq!(overview.lines, counts.lines);
    assert_eq!(overview.samples, counts.samples.values().sum::<u64>());
    assert_eq!(overview.rejected, counts.rejected.values().sum::<u64>());
    assert_eq!(overview.refused, counts.refused.values().sum::<u64>());
    assert_eq!(overview.datagrams_dropped, Some(dropped));
}
