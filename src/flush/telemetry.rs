//! tallyd's own metrics, as rows like any other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::aggregate::IngestCounts;
use crate::export::prometheus::Format;
use crate::export::{Closing, Counts, MergeReason, QuarantineReason, RequestCounts, WebState};
use crate::listen::{Closed, Drops};
use crate::model::{AlertType, Kind, Named, Priority, RESERVED_PREFIX, Series, Value};
use crate::net::ConnectionCounts;
use crate::protocol::{Note, RejectReason, Status};
use crate::resolve::RefuseReason;

/// What became of a stream listener's connections.
pub(super) type StreamCounts = ConnectionCounts<{ Closed::ALL.len() }>;

/// What tallyd has to say of itself at the end of an interval. Counts are those of the interval.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) tally: &'a IngestCounts,
    /// Series alive, by [`Kind`].
    pub(super) live: &'a [u64; Kind::ALL.len()],
    /// How many may be.
    pub(super) series_limit: usize,
    /// By socket.
    pub(super) drops: &'a [Drops],
    /// By stream listener.
    pub(super) connections: &'a [(&'static str, StreamCounts)],
    /// By exporter.
    pub(super) exports: &'a [(&'static str, Counts)],
    /// Of the endpoint, if there is one.
    pub(super) requests: Option<&'a RequestCounts>,
    /// How long the previous flush took.
    pub(super) flush_duration: Duration,
    pub(super) flush_late: bool,
    pub(super) reloads: Reloads,
    pub(super) time: SystemTime,
}

/// How often the configuration was read again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reloads {
    pub(super) taken: u64,
    pub(super) refused: u64,
    /// Whether the one that was read last is in force.
    pub(super) last_was_taken: bool,
}

impl Reloads {
    /// Of an interval after which nothing was read yet.
    pub(super) fn none(last_was_taken: bool) -> Self {
        Self { taken: 0, refused: 0, last_was_taken }
    }
}

impl Report<'_> {
    /// The metrics in sorted order. All of them are in every report, so that rates can be taken from the first one.
    pub(super) fn rows(&self) -> Vec<(Series, Value)> {
        let mut rows = Rows(Vec::new());
        let IngestCounts {
            datagrams,
            bytes,
            truncated,
            cut,
            lines,
            samples,
            events,
            events_dropped,
            service_checks,
            rejected,
            noted,
            refused,
            clamped,
        } = self.tally;
        rows.counter("datagrams", &[], *datagrams);
        rows.counter("bytes", &[], *bytes);
        rows.counter("datagrams_truncated", &[], *truncated);
        rows.counter("lines", &[], *lines);
        rows.counter("lines_cut", &[], *cut);
        rows.counter("values_clamped", &[], *clamped);
        rows.counters("samples", "type", Kind::ALL.map(Kind::name).into_iter().zip(*samples));
        for (priority, counts) in Priority::ALL.into_iter().zip(events) {
            for (alert_type, count) in AlertType::ALL.into_iter().zip(counts) {
                let tags = [("alert_type", alert_type.name()), ("priority", priority.name())];
                rows.counter("events", &tags, *count);
            }
        }
        rows.counter("events_dropped", &[], *events_dropped);
        let statuses = Status::ALL.map(Status::name).into_iter();
        rows.counters("service_checks", "status", statuses.zip(*service_checks));
        rows.counters(
            "lines_rejected",
            "reason",
            RejectReason::ALL.map(RejectReason::name).into_iter().zip(*rejected),
        );
        rows.counters("lines_noted", "note", Note::ALL.map(Note::name).into_iter().zip(*noted));
        rows.counters(
            "series_refused",
            "reason",
            RefuseReason::ALL.map(RefuseReason::name).into_iter().zip(*refused),
        );
        for (kind, live) in Kind::ALL.into_iter().zip(self.live) {
            rows.gauge("series", &[("type", kind.name())], *live as f64);
        }
        rows.gauge("series_limit", &[], self.series_limit as f64);
        for Drops { listener, receiver, datagrams, buffer_bytes } in self.drops {
            let tags = [("listener", *listener), ("receiver", receiver.as_str())];
            rows.counter("datagrams_dropped", &tags, *datagrams);
            rows.gauge("receive_buffer_bytes", &tags, *buffer_bytes as f64);
        }
        for (listener, counts) in self.connections {
            rows.connections(
                "connections",
                &[("listener", *listener)],
                counts,
                Closed::ALL.map(Closed::name),
            );
        }
        for (exporter, counts) in self.exports {
            let tag = ("exporter", *exporter);
            rows.counter("snapshots_dropped", &[tag], counts.snapshots_dropped);
            rows.counter("export_errors", &[tag], counts.errors);
            for (reason, count) in QuarantineReason::ALL.into_iter().zip(counts.exported.quarantined) {
                rows.counter("series_quarantined", &[tag, ("reason", reason.name())], count);
            }
            for (merge, count) in MergeReason::ALL.into_iter().zip(counts.exported.merged) {
                rows.counter("series_merged", &[tag, ("by", merge.name())], count);
            }
        }
        if let Some(RequestCounts { answered, scrapes, connections, web }) = self.requests {
            for (code, count) in RequestCounts::CODES.into_iter().zip(*answered) {
                rows.counter("http_requests", &[("code", code.as_str())], count);
            }
            rows.counters("scrapes", "format", Format::ALL.map(Format::name).into_iter().zip(*scrapes));
            rows.connections("http_connections", &[], connections, Closing::ALL.map(Closing::name));
            if let Some(WebState { last_reload_successful, certificate_expiry }) = *web {
                rows.truth("web_config_last_reload_successful", last_reload_successful);
                if let Some(expiry) = certificate_expiry {
                    rows.gauge("tls_certificate_expiry_timestamp_seconds", &[], expiry as f64);
                }
            }
        }
        rows.gauge("flush_duration_seconds", &[], self.flush_duration.as_secs_f64());
        rows.counter("flush_late", &[], u64::from(self.flush_late));
        let Reloads { taken, refused, last_was_taken } = self.reloads;
        rows.counters("config_reloads", "outcome", [("taken", taken), ("refused", refused)]);
        rows.truth("config_last_reload_successful", last_was_taken);
        let unix = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        rows.gauge("last_flush_timestamp_seconds", &[], unix.as_secs_f64());
        rows.gauge("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        rows.0.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        rows.0
    }
}

struct Rows(Vec<(Series, Value)>);

impl Rows {
    fn connections<const REASONS: usize>(
        &mut self,
        name: &str,
        tags: &[(&str, &str)],
        counts: &ConnectionCounts<REASONS>,
        reasons: [&str; REASONS],
    ) {
        let ConnectionCounts { open, opened, refused, closed } = counts;
        self.gauge(name, tags, *open as f64);
        self.counter(&format!("{name}_opened"), tags, *opened);
        self.counter(&format!("{name}_refused"), tags, *refused);
        for (reason, count) in reasons.into_iter().zip(*closed) {
            self.counter(&format!("{name}_closed"), &[tags, &[("reason", reason)]].concat(), count);
        }
    }

    fn counters(&mut self, name: &str, tag: &str, counts: impl IntoIterator<Item = (&'static str, u64)>) {
        for (value, count) in counts {
            self.counter(name, &[(tag, value)], count);
        }
    }

    fn counter(&mut self, name: &str, tags: &[(&str, &str)], count: u64) {
        self.push(Kind::Counter, name, tags, Value::Counter(count as f64));
    }

    /// A gauge that is 1 or 0.
    fn truth(&mut self, name: &str, is_true: bool) {
        self.gauge(name, &[], f64::from(u8::from(is_true)));
    }

    fn gauge(&mut self, name: &str, tags: &[(&str, &str)], value: f64) {
        self.push(Kind::Gauge, name, tags, Value::Gauge(value));
    }

    fn push(&mut self, kind: Kind, name: &str, tags: &[(&str, &str)], value: Value) {
        self.0.push((Series::new(kind, &format!("{RESERVED_PREFIX}{name}"), tags), value));
    }
}
