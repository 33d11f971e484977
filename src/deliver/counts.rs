//! Counts the points of an endpoint.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

use crate::model::{Counter, Gauge, Telemetry};

/// The reason why points were dropped before a server answered for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DropReason {
    /// The queue was full, and these points were the oldest.
    QueueFull,
    /// Their file could not be read, or it was incomplete.
    Unreadable,
    /// tallyd stopped, or the endpoint was removed from the configuration, and no directory keeps the queue.
    Stopped,
}

/// tallyd's own series about one endpoint.
///
/// At each moment, `queued` (those now rendered, and those that an earlier process left) is the sum of `acknowledged`,
/// `refused`, `dropped` and `waiting`.
#[derive(Debug)]
pub(super) struct Counts {
    /// The points that entered the queue.
    pub(super) queued: Counter,
    /// The points that the server has stored.
    pub(super) acknowledged: Counter,
    /// The points that the server will never store.
    pub(super) refused: Counter,
    pub(super) dropped: EnumMap<DropReason, Counter>,
    /// The points in the queue.
    pub(super) waiting: Gauge,
    pub(super) memory_bytes: Gauge,
    pub(super) disk_bytes: Gauge,
    /// The requests that failed and were repeated.
    pub(super) retries: Counter,
    /// The requests that a server answered, whatever it said.
    pub(super) requests: Counter,
}

impl Counts {
    /// Registers the series of an endpoint.
    pub(super) fn register(telemetry: &Telemetry, exporter: &str, endpoint: &str) -> Self {
        let tags = [("exporter", exporter), ("endpoint", endpoint)];
        let counter = |name| telemetry.counter(name, &tags);
        let gauge = |name, place: &[(&str, &str)]| {
            let gauge = telemetry.gauge(name, &[&tags, place].concat());
            gauge.set(0.0);
            gauge
        };
        Self {
            queued: counter("points_queued"),
            acknowledged: counter("points_acknowledged"),
            refused: counter("points_refused"),
            dropped: telemetry.counters("points_dropped", &tags, "reason"),
            waiting: gauge("points_waiting", &[]),
            memory_bytes: gauge("delivery_queue_bytes", &[("place", "memory")]),
            disk_bytes: gauge("delivery_queue_bytes", &[("place", "disk")]),
            retries: counter("delivery_retries"),
            requests: counter("delivery_requests"),
        }
    }
}
