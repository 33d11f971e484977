//! What became of every datagram, line and sample: the books behind the accounting law.

use crate::model::{AlertType, Kind, Priority};
use crate::protocol::{Name, Note, RejectReason, Status};
use crate::resolve::RefuseReason;

/// Counts of one interval. Every line is in `rejected` or in `events`, or all that it holds is in `samples`,
/// `service_checks` or `refused`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestCounts {
    /// Datagrams received.
    pub datagrams: u64,
    /// Their bytes, and those read from streams.
    pub bytes: u64,
    /// Datagrams that were longer than the buffer.
    pub truncated: u64,
    /// Lines whose end never came, because a stream broke. They are not among `lines`.
    pub cut: u64,
    /// Lines that are not empty.
    pub lines: u64,
    /// Samples recorded, by [`Kind`].
    pub samples: [u64; Kind::ALL.len()],
    /// Events, by [`Priority`] and [`AlertType`].
    pub events: [[u64; AlertType::ALL.len()]; Priority::ALL.len()],
    /// Those of them that no exporter is shown, for want of room.
    pub events_dropped: u64,
    /// Service checks recorded, by [`Status`].
    pub service_checks: [u64; Status::ALL.len()],
    /// Lines rejected, by [`RejectReason`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Lines that count but say something odd, by [`Note`].
    pub noted: [u64; Note::ALL.len()],
    /// Samples refused, by [`RefuseReason`].
    pub refused: [u64; RefuseReason::ALL.len()],
    /// Values outside the range in which percentiles tell magnitudes apart.
    pub clamped: u64,
}

impl IngestCounts {
    /// Adds another one up.
    pub fn add(&mut self, other: &IngestCounts) {
        // Taken apart, so that a new field cannot be forgotten.
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
        } = other;
        self.datagrams += datagrams;
        self.bytes += bytes;
        self.truncated += truncated;
        self.cut += cut;
        self.lines += lines;
        self.clamped += clamped;
        self.events_dropped += events_dropped;
        let sums = [
            (&mut self.samples[..], &samples[..]),
            (self.events.as_flattened_mut(), events.as_flattened()),
            (&mut self.service_checks, service_checks),
            (&mut self.rejected, rejected),
            (&mut self.noted, noted),
            (&mut self.refused, refused),
        ];
        for (own, others) in sums {
            own.iter_mut().zip(others).for_each(|(own, other)| *own += other);
        }
    }
}

/// The metric names of which most samples were refused for want of room for new series, by the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005):
/// a count is at most too high by the smallest one listed.
#[derive(Debug, Clone, Default)]
pub struct RefusedNames(Vec<(String, u64)>);

impl RefusedNames {
    /// Names that are watched at a time.
    const WATCHED: usize = 32;

    pub(super) fn add(&mut self, name: Name<'_>, samples: u64) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| name == **known) {
            *count += samples;
        } else if self.0.len() < Self::WATCHED {
            self.0.push((name.to_string(), samples));
        } else if let Some((least, count)) = self.0.iter_mut().min_by_key(|(_, count)| *count) {
            // In the memory that is there: a sender of ever new names costs no allocation for each.
            least.clear();
            least.extend(name.pieces());
            *count += samples;
        }
    }

    pub(crate) fn merge(&mut self, other: &mut RefusedNames) {
        for (name, samples) in other.0.drain(..) {
            self.add(name.as_str().into(), samples);
        }
        self.0.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }

    /// Names and samples, the most frequent first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, samples)| (name.as_str(), *samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_with_the_most_refused_samples_are_known_among_many() {
        let mut names = RefusedNames::default();
        for round in 0..1000 {
            names.add("often".into(), 3);
            names.add("sometimes".into(), 1);
            names.add(format!("once.{round}").as_str().into(), 1);
        }
        let mut total = RefusedNames::default();
        total.merge(&mut names);
        let first: Vec<_> = total.iter().map(|(name, _)| name).take(1).collect();
        assert_eq!(first, ["often"]);
        assert!(total.iter().any(|(name, _)| name == "sometimes"));
        // A name takes over the count of the one that it displaces, so no sample is missing from their sum.
        assert_eq!(total.iter().map(|(_, samples)| samples).sum::<u64>(), 5000);
    }
}
