//! Counts the datagrams of a target.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

use crate::model::{Counter, Gauge, Telemetry};

/// The reason why a datagram did not reach a target. Telemetry shows the names of the reasons, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum DropReason {
    /// The queue had no room, and this datagram was the newest.
    QueueFull,
    /// Nothing listens there.
    Refused,
    /// The network has no way to the address.
    Unreachable,
    /// The server did not make room in time.
    Timeout,
    /// The kernel had no memory for it.
    NoBuffers,
    /// It is longer than the transport permits.
    TooLong,
    /// The connection broke while it was being written. It may have arrived.
    Broken,
    /// The kernel refused it for another reason, for example because of a firewall.
    Failed,
    /// It was received while relaying was suspended because of a loop.
    Loop,
    /// tallyd stopped, or the target was removed from the configuration.
    Stopped,
}

/// tallyd's own series about one target.
///
/// At each moment, `received` is the sum of `sent`, `dropped` and `waiting`.
#[derive(Debug)]
pub(super) struct Counts {
    /// The datagrams for the target.
    pub(super) received: Counter,
    /// The datagrams that the kernel has taken.
    pub(super) sent: Counter,
    /// The bytes of these datagrams.
    pub(super) bytes_sent: Counter,
    pub(super) dropped: EnumMap<DropReason, Counter>,
    /// The datagrams in the queue.
    pub(super) waiting: Gauge,
    /// The memory of the queue.
    pub(super) queue_bytes: Gauge,
}

impl Counts {
    /// Registers the series of a target. `url` is its name.
    pub(super) fn register(telemetry: &Telemetry, url: &str) -> Self {
        let tags = [("target", url)];
        let counter = |name| telemetry.counter(name, &tags);
        let gauge = |name| {
            let gauge = telemetry.gauge(name, &tags);
            gauge.set(0.0);
            gauge
        };
        Self {
            received: counter("relay_datagrams"),
            sent: counter("relay_datagrams_sent"),
            bytes_sent: counter("relay_bytes_sent"),
            dropped: telemetry.counters("relay_datagrams_dropped", &tags, "reason"),
            waiting: gauge("relay_datagrams_waiting"),
            queue_bytes: gauge("relay_queue_bytes"),
        }
    }
}

/// The outcome of sending datagrams.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) sent: u64,
    /// The bytes of those sent.
    pub(super) bytes: u64,
    pub(super) dropped: EnumMap<DropReason, u64>,
}

impl Outcome {
    /// Returns the number of dropped datagrams.
    pub(super) fn total_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}
