//! Counts the outcome of every datagram, line and sample.

use enum_map::EnumMap;

use crate::model::{AlertType, Kind, Priority};
use crate::protocol::{Name, Note, RejectReason, Status};
use crate::resolve::{OverflowLimit, RefuseReason};

/// The counts of one interval.
///
/// Every line counts once in `rejected` or in `events`, or else each of its samples counts in `samples`,
/// `service_checks` or `refused`.
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

/// The metric names that had the most samples beyond a limit.
///
/// The space-saving algorithm counts them (Metwally, Agrawal, El Abbadi 2005). A count is too high by at most the
/// smallest count in the list.
#[derive(Debug, Clone, Default)]
pub struct ExcessNames(Vec<(String, u64)>);

impl ExcessNames {
    /// The largest number of names in the list.
    const WATCHED: usize = 32;

    pub(super) fn add(&mut self, name: Name<'_>, samples: u64) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| name == **known) {
            *count += samples;
        } else if self.0.len() < Self::WATCHED {
            self.0.push((name.to_string(), samples));
        } else if let Some((least, count)) = self.0.iter_mut().min_by_key(|(_, count)| *count) {
            // The buffer is reused, so that a flood of new names costs no allocations.
            least.clear();
            least.extend(name.pieces());
            *count += samples;
        }
    }

    /// Moves the names of another shard into this list and sorts it.
    pub(crate) fn merge(&mut self, other: &mut ExcessNames) {
        self.add_all(other);
        other.0.clear();
    }

    /// Adds the names of another list and sorts this one.
    pub(crate) fn add_all(&mut self, other: &ExcessNames) {
        for (name, samples) in other.iter() {
            self.add(name.into(), samples);
        }
        self.0.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }

    /// Returns the names and their numbers of samples. After a merge, the largest number comes first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, samples)| (name.as_str(), *samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_with_the_most_samples_beyond_a_limit_is_found_among_many() {
        let mut names = ExcessNames::default();
        for round in 0..1000 {
            names.add("often".into(), 3);
            names.add("sometimes".into(), 1);
            names.add(format!("once.{round}").as_str().into(), 1);
        }
        let mut total = ExcessNames::default();
        total.merge(&mut names);
        let first: Vec<_> = total.iter().map(|(name, _)| name).take(1).collect();
        assert_eq!(first, ["often"]);
        assert!(total.iter().any(|(name, _)| name == "sometimes"));
        // A name takes over the count of the name that it replaces, so the sum stays exact.
        assert_eq!(total.iter().map(|(_, samples)| samples).sum::<u64>(), 5000);
    }
}
