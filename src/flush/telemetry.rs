//! Reports the counts of the shards, and turns tallyd's telemetry into ordinary series.

use enum_map::EnumMap;

use super::catalog::Catalog;
use crate::aggregate::IngestCounts;
use crate::model::{
    AlertType, Counter, Gauge, Kind, Named, PolicyId, Priority, RESERVED_PREFIX, Telemetry, Value,
};
use crate::protocol::{Note, RejectReason, Status};
use crate::resolve::{AggregateKind, OverflowLimit, RefuseReason, Registry, SeriesId};

/// The telemetry handles for the counts of the shards.
#[derive(Debug)]
pub(super) struct IngestTelemetry {
    datagrams: Counter,
    bytes: Counter,
    datagrams_truncated: Counter,
    datagram_bytes_truncated: Counter,
    lines_truncated: Counter,
    lines: Counter,
    clamped: Counter,
    absorbed: EnumMap<Kind, Counter>,
    samples: EnumMap<Kind, Counter>,
    events: EnumMap<Priority, EnumMap<AlertType, Counter>>,
    events_dropped: Counter,
    service_checks: EnumMap<Status, Counter>,
    rejected: EnumMap<RejectReason, Counter>,
    noted: EnumMap<Note, Counter>,
    refused: EnumMap<RefuseReason, Counter>,
    relay_probes: Counter,
    overflowed: EnumMap<OverflowLimit, Counter>,
    series: EnumMap<Kind, Gauge>,
    series_expired: EnumMap<Kind, Counter>,
    series_limit: Gauge,
}

impl IngestTelemetry {
    pub(super) fn new(telemetry: &Telemetry) -> Self {
        let counter = |name| telemetry.counter(name, &[]);
        Self {
            datagrams: counter("datagrams"),
            bytes: counter("bytes"),
            datagrams_truncated: counter("datagrams_truncated"),
            datagram_bytes_truncated: counter("datagram_bytes_truncated"),
            lines_truncated: counter("lines_truncated"),
            lines: counter("lines"),
            clamped: counter("values_clamped"),
            absorbed: telemetry.counters("samples_absorbed", &[], "type"),
            samples: telemetry.counters("samples", &[], "type"),
            events: EnumMap::from_fn(|priority: Priority| {
                telemetry.counters("events", &[("priority", priority.name())], "alert_type")
            }),
            events_dropped: counter("events_dropped"),
            service_checks: telemetry.counters("service_checks", &[], "status"),
            rejected: telemetry.counters("lines_rejected", &[], "reason"),
            noted: telemetry.counters("lines_noted", &[], "note"),
            refused: telemetry.counters("series_refused", &[], "reason"),
            relay_probes: counter("relay_probes"),
            overflowed: telemetry.counters("samples_overflowed", &[], "limit"),
            series: EnumMap::from_fn(|kind: Kind| telemetry.gauge("series", &[("type", kind.name())])),
            series_expired: telemetry.counters("series_expired", &[], "type"),
            series_limit: telemetry.gauge("series_limit", &[]),
        }
    }

    /// Reports the counts of an interval, the number of series that are alive, and their limit.
    pub(super) fn report(&self, counts: &IngestCounts, alive: &EnumMap<Kind, u64>, series_limit: usize) {
        // This lists all fields, so the compiler reports a new one that is forgotten.
        let IngestCounts {
            datagrams,
            bytes,
            datagrams_truncated,
            datagram_bytes_truncated,
            lines_truncated,
            lines,
            samples,
            events,
            events_dropped,
            service_checks,
            rejected,
            noted,
            refused,
            relay_probes,
            overflowed,
            clamped,
            absorbed,
        } = counts;
        self.datagrams.add(*datagrams);
        self.bytes.add(*bytes);
        self.datagrams_truncated.add(*datagrams_truncated);
        self.datagram_bytes_truncated.add(*datagram_bytes_truncated);
        self.lines_truncated.add(*lines_truncated);
        self.lines.add(*lines);
        self.clamped.add(*clamped);
        self.events_dropped.add(*events_dropped);
        self.relay_probes.add(*relay_probes);
        for (priority, counts) in events {
            add_all(&self.events[priority], counts);
        }
        add_all(&self.samples, samples);
        add_all(&self.absorbed, absorbed);
        add_all(&self.service_checks, service_checks);
        add_all(&self.rejected, rejected);
        add_all(&self.noted, noted);
        add_all(&self.refused, refused);
        add_all(&self.overflowed, overflowed);
        for (kind, alive) in alive {
            self.series[kind].set(*alive as f64);
        }
        self.series_limit.set(series_limit as f64);
    }

    /// Reports the number of series that were dropped, per kind. The next interval shows them.
    pub(super) fn report_expired(&self, dropped: &EnumMap<Kind, u64>) {
        add_all(&self.series_expired, dropped);
    }
}

fn add_all<E: Named>(counters: &EnumMap<E, Counter>, counts: &EnumMap<E, u64>) {
    counters.values().zip(counts.values()).for_each(|(counter, count)| counter.add(*count));
}

/// The numbers of tallyd's own series.
#[derive(Debug, Default)]
pub(super) struct OwnSeries {
    /// The kinds and numbers, in the order in which the series were registered with [`Telemetry`].
    numbers: Vec<(AggregateKind, SeriesId)>,
}

impl OwnSeries {
    /// Registers the series that are not registered yet.
    pub(super) fn register(&mut self, telemetry: &Telemetry, registry: &Registry, policy: PolicyId) {
        telemetry.for_each_series(|position, series| {
            if position >= self.numbers.len() {
                let kind = AggregateKind::of(series.kind());
                let id = registry.resolve(kind, series.identity(), policy);
                self.numbers.push((kind, id.expect("limits do not apply to tallyd's own series")));
            }
        });
    }

    /// Reads the telemetry of an interval that ended at `now`, in seconds, and stores it in `values`. Skips series that
    /// are not registered yet. Returns the number of datagrams that the kernel dropped, or `None` if it does not report
    /// it for a socket.
    pub(super) fn read(
        &self,
        telemetry: &Telemetry,
        catalog: &mut Catalog,
        now: u32,
        values: &mut [Option<Value>],
    ) -> Option<u64> {
        // A series without a value counts as seen, too. Otherwise it would expire, and another series could get its
        // number.
        for &(kind, id) in &self.numbers {
            catalog.mark_seen(kind, id, now);
        }
        let mut datagrams_dropped = Some(0.0);
        telemetry.read(|position, series, value| {
            match (series.name().strip_prefix(RESERVED_PREFIX), &value) {
                (Some("datagrams_dropped"), Value::Counter(count)) => {
                    datagrams_dropped = datagrams_dropped.map(|sum| sum + count);
                }
                (Some("drops_unreadable"), Value::Gauge(1.0)) => datagrams_dropped = None,
                _ => {}
            }
            if let Some((kind, id)) = self.numbers.get(position) {
                values[catalog.position(*kind, *id)] = Some(value);
            }
        });
        datagrams_dropped.map(|sum| sum as u64)
    }
}
