//! Counts the outcome of every datagram, line and sample.

use enum_map::EnumMap;

use crate::model::{AlertType, Kind, Priority};
use crate::protocol::{Note, RejectReason, Status};
use crate::resolve::{OverflowLimit, RefuseReason};

/// The counts of one interval.
///
/// Every line counts once in `rejected` or in `events`, or else each of its samples counts in `samples`,
/// `service_checks`, `refused` or `relay_probes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestCounts {
    /// Datagrams received.
    pub datagrams: u64,
    /// Bytes of datagrams, and bytes read from streams.
    pub bytes: u64,
    /// Datagrams that were longer than the buffer.
    pub datagrams_truncated: u64,
    /// Bytes of truncated datagrams that were not read. They do not count in `bytes`.
    pub datagram_bytes_truncated: u64,
    /// Lines that lost their end because their stream broke, or because their datagram was truncated. They do not count
    /// in `lines`. A truncated datagram counts as one, although it can lose many.
    pub lines_truncated: u64,
    /// Non-empty lines received.
    pub lines: u64,
    /// Samples recorded.
    pub samples: EnumMap<Kind, u64>,
    /// Events received.
    pub events: EnumMap<Priority, EnumMap<AlertType, u64>>,
    /// Events that no exporter shows, because the buffer had no room. They also count in `events`.
    pub events_dropped: u64,
    /// Service checks recorded.
    pub service_checks: EnumMap<Status, u64>,
    /// Lines rejected.
    pub rejected: EnumMap<RejectReason, u64>,
    /// Notes about accepted lines of which a part has no effect.
    pub noted: EnumMap<Note, u64>,
    /// Samples refused.
    pub refused: EnumMap<RefuseReason, u64>,
    /// Samples of probes, by which relays find loops. They are not recorded.
    pub relay_probes: u64,
    /// Samples and service checks recorded in overflow series. They also count in `samples` or `service_checks`.
    pub overflowed: EnumMap<OverflowLimit, u64>,
    /// Values whose magnitude is outside the range of histograms.
    pub clamped: u64,
    /// Samples that changed nothing, because a sum absorbed them. They also count in `samples`.
    pub absorbed: EnumMap<Kind, u64>,
}

impl IngestCounts {
    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &IngestCounts) {
        // All fields are listed, so that a new one cannot be forgotten.
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
        } = other;
        self.datagrams += datagrams;
        self.bytes += bytes;
        self.datagrams_truncated += datagrams_truncated;
        self.datagram_bytes_truncated += datagram_bytes_truncated;
        self.lines_truncated += lines_truncated;
        self.lines += lines;
        self.clamped += clamped;
        self.events_dropped += events_dropped;
        self.relay_probes += relay_probes;
        for (own, others) in self.events.values_mut().zip(events.values()) {
            add_all(own.as_mut_slice(), others.as_slice());
        }
        add_all(self.samples.as_mut_slice(), samples.as_slice());
        add_all(self.absorbed.as_mut_slice(), absorbed.as_slice());
        add_all(self.service_checks.as_mut_slice(), service_checks.as_slice());
        add_all(self.rejected.as_mut_slice(), rejected.as_slice());
        add_all(self.noted.as_mut_slice(), noted.as_slice());
        add_all(self.refused.as_mut_slice(), refused.as_slice());
        add_all(self.overflowed.as_mut_slice(), overflowed.as_slice());
    }
}

fn add_all(sums: &mut [u64], counts: &[u64]) {
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}
