//! Notes additions that change nothing, because a sum is too large for the value that is added.

use enum_map::EnumMap;

use crate::model::Kind;
use crate::resolve::{AggregateKind, SeriesId};

/// The additions of one interval that changed nothing.
///
/// An f64 holds 53 bits. So 2^53 + 1 is 2^53 again, and the 1 is lost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Absorbed {
    /// The number of such additions.
    pub(crate) counts: EnumMap<Kind, u64>,
    /// Some of their series.
    pub(crate) series: Vec<(AggregateKind, SeriesId)>,
}

impl Absorbed {
    /// The largest number of series to name per interval and shard.
    const NAMED: usize = 16;

    /// Notes additions to a series of this kind.
    #[cold]
    pub(crate) fn note(&mut self, kind: Kind, id: SeriesId, additions: u64) {
        self.counts[kind] += additions;
        let series = (AggregateKind::of(kind), id);
        if self.series.len() < Self::NAMED && !self.series.contains(&series) {
            self.series.push(series);
        }
    }

    /// Adds the notes of another shard.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, others) in self.counts.values_mut().zip(other.counts.values()) {
            *own += others;
        }
        for series in &other.series {
            if self.series.len() < Self::NAMED && !self.series.contains(series) {
                self.series.push(*series);
            }
        }
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.counts.clear();
        self.series.clear();
    }
}
