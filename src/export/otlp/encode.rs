//! Encodes snapshots as requests of OpenTelemetry's protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::message::{
    AnyValue, Attribute, LogRecord, LogsRequest, Metric, MetricsRequest, Resource, ResourceLogs,
    ResourceMetrics, Scope, ScopeLogs, ScopeMetrics, TemporalityCode,
};
use super::point::{Points, Span, Values};
use super::running::{Running, Sum, Total};
use crate::deliver::{Batch, gzipped};
use crate::export::outcome::{ExportOutcome, QuarantineReason};
use crate::model::{AlertType, Event, Kind, NameFilter, Named, Policy, Series, Snapshot, Value};

/// The number of points after which a request is sent.
const REQUEST: u64 = 5000;

/// The content that an endpoint gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OtlpContent {
    pub(crate) temporality: Temporality,
    /// The attributes of the resource, which all metrics share.
    pub(crate) resource: Vec<(String, String)>,
    /// The names that are sent.
    pub(crate) names: NameFilter,
}

/// Whether counts are those of an interval, or totals since a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Temporality {
    Delta,
    Cumulative,
}

/// The first byte of a batch in the queue, which says where it is sent.
pub(super) const METRICS: u8 = b'm';
pub(super) const LOGS: u8 = b'l';

/// Encodes a snapshot, and the totals up to it if the endpoint wants those. Calls `push` with each request.
pub(super) fn encode(
    snapshot: &Snapshot,
    running: &Running,
    content: &OtlpContent,
    outcome: &mut ExportOutcome,
    push: &mut impl FnMut(Batch),
) {
    let end = nanos(snapshot.time);
    let interval = Span { start: end.saturating_sub(snapshot.interval.as_nanos() as u64), end };
    let mut request = MetricsBatch { content, time: snapshot.time, metrics: Vec::new(), points: 0, push };
    match content.temporality {
        Temporality::Delta => {
            for row in snapshot.rows.iter().filter(|row| content.names.has(row.series.name())) {
                if matches!(row.value, Value::Counter(increase) if *increase < 0.0) {
                    outcome.quarantined[QuarantineReason::NegativeIncrease] += 1;
                    continue;
                }
                let kind = row.series.kind();
                let value = match row.value {
                    Value::Counter(increase) => Sum::Counter(*increase),
                    Value::Gauge(value) | Value::Set(value) => Sum::Gauge(*value),
                    Value::Summary(summary) => Sum::Distribution(Box::new(Values::new(kind, summary))),
                };
                request.push_series(row.series, value, interval, snapshot.policy(&row));
            }
        }
        Temporality::Cumulative => {
            for (series, policy, Total { start, sum }) in running.iter() {
                if content.names.has(series.name()) {
                    request.push_series(series, sum.clone(), Span { start: *start, end }, policy);
                }
            }
        }
    }
    request.send();
    push_events(snapshot, content, push);
}

impl OtlpContent {
    fn resource(&self) -> Resource {
        Resource { attributes: self.resource.iter().map(|(key, value)| Attribute::new(key, value)).collect() }
    }
}

/// A request that is being filled.
struct MetricsBatch<'a, P> {
    content: &'a OtlpContent,
    time: SystemTime,
    /// The metrics, each with its kind.
    metrics: Vec<(String, Kind, Points)>,
    points: u64,
    push: &'a mut P,
}

impl<P: FnMut(Batch)> MetricsBatch<'_, P> {
    fn push_series(&mut self, series: &Series, value: Sum, span: Span, policy: &Policy) {
        let attributes = series.tags().map(|(key, value)| Attribute::new(key, value)).collect();
        let points = match value {
            Sum::Counter(value) => Points::sum(attributes, span, value),
            Sum::Gauge(value) => Points::gauge(attributes, span, value),
            Sum::Distribution(values) => {
                Points::distribution(attributes, span, values.limited(policy), policy)
            }
        };
        let (name, kind) = (series.name(), series.kind());
        // Series of one name follow each other.
        let left = match self.metrics.last_mut() {
            Some((latest, of_kind, present)) if latest == name && *of_kind == kind => present.append(points),
            _ => Err(points),
        };
        if let Err(points) = left {
            self.metrics.push((name.to_owned(), kind, points));
        }
        self.points += 1;
        if self.points == REQUEST {
            self.send();
        }
    }

    fn send(&mut self) {
        let points = std::mem::take(&mut self.points);
        if points == 0 {
            return;
        }
        let temporality = match self.content.temporality {
            Temporality::Delta => TemporalityCode::Delta,
            Temporality::Cumulative => TemporalityCode::Cumulative,
        };
        let metric = |(name, kind, points): (String, Kind, Points)| Metric {
            name,
            unit: if kind == Kind::Timing { "s".to_owned() } else { String::new() },
            data: Some(points.into_data(temporality)),
            ..Metric::default()
        };
        let metrics = self.metrics.drain(..).map(metric).collect();
        let request = MetricsRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.content.resource()),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics }],
            }],
        };
        (self.push)(Batch { body: compressed(METRICS, &request).into(), points, time: self.time });
    }
}

/// Encodes the events of a snapshot as log records.
fn push_events(snapshot: &Snapshot, content: &OtlpContent, push: &mut impl FnMut(Batch)) {
    let observed = nanos(snapshot.time);
    for events in snapshot.events.chunks(REQUEST as usize) {
        let log_records = events.iter().map(|event| log_record(event, observed)).collect();
        let request = LogsRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(content.resource()),
                scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records }],
            }],
        };
        let points = events.len() as u64;
        push(Batch { body: compressed(LOGS, &request).into(), points, time: snapshot.time });
    }
}

fn log_record(event: &Event, observed: u64) -> LogRecord {
    let Event { timestamp, title, text, alert_type, priority, hostname, aggregation_key, source_type, tags } =
        event;
    let (severity_number, severity_text) = match alert_type {
        AlertType::Info | AlertType::Success => (9, "INFO"),
        AlertType::Warning => (13, "WARN"),
        AlertType::Error => (17, "ERROR"),
    };
    let optional = [
        ("host.name", hostname.as_deref()),
        ("event.aggregation_key", aggregation_key.as_deref()),
        ("event.source_type", source_type.as_deref()),
    ];
    let own = [
        ("event.name", &**title),
        ("event.alert_type", alert_type.name()),
        ("event.priority", priority.name()),
    ];
    let own = own.into_iter().chain(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let tags = tags.iter().map(|(key, value)| (&**key, &**value));
    LogRecord {
        time_unix_nano: timestamp.map_or(observed, |seconds| seconds.saturating_mul(1_000_000_000)),
        observed_time_unix_nano: observed,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue::text(if text.is_empty() { title } else { text })),
        attributes: own.chain(tags).map(|(key, value)| Attribute::new(key, value)).collect(),
    }
}

fn scope() -> Scope {
    Scope { name: "tallyd".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Returns the body in the queue: a byte that says where the request is sent, and the request compressed by gzip.
fn compressed(place: u8, request: &impl Message) -> Vec<u8> {
    gzipped(vec![place], &request.encode_to_vec())
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
