//! Holds the values of one interval, as one shard recorded them.

use enum_map::EnumMap;

use super::AggregationOptions;
use super::absorbed::Absorbed;
use super::counters::Counters;
use super::counts::IngestCounts;
use super::distribution::Distribution;
use super::events::Events;
use super::frequent_names::FrequentNames;
use super::line_sample::{LineSample, Recorded};
use super::members::Members;
use super::rejected::RejectedLines;
use super::value_buffers::{Supplies, ValueBuffers};
use crate::model::{MILLISECONDS, Origin};
use crate::resolve::{AggregateKind, Excess, NewSlot, SeriesId};

/// The values of an interval. At its end, the shard exchanges them for empty columns.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) counters: Counters,
    pub(crate) timings: ValueBuffers<Distribution>,
    /// The values of histograms and distributions.
    pub(crate) values: ValueBuffers<Distribution>,
    pub(crate) members: ValueBuffers<Members>,
    pub(crate) events: Events,
    pub(crate) counts: IngestCounts,
    pub(crate) excess: EnumMap<Excess, FrequentNames>,
    pub(crate) absorbed: Absorbed,
    pub(crate) rejected: RejectedLines,
    /// The names in rejected lines.
    pub(crate) rejected_names: FrequentNames,
    pub(crate) recorded_sample: LineSample<Recorded>,
    /// The origins of lines, from those whose origins are known.
    pub(crate) origin_sample: LineSample<Origin>,
}

/// Memory that the flush returns to the shard for reuse.
#[derive(Debug)]
pub(crate) struct Recycled {
    timings: Supplies<Distribution>,
    values: Supplies<Distribution>,
    members: Supplies<Members>,
}

/// The number of slots in each column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    counters: usize,
    timings: usize,
    values: usize,
    members: usize,
}

impl Lengths {
    /// Returns each length multiplied by `share`.
    pub(crate) fn scaled(self, share: f64) -> Self {
        let scaled = |length: usize| (length as f64 * share) as usize;
        let Self { counters, timings, values, members } = self;
        Self {
            counters: scaled(counters),
            timings: scaled(timings),
            values: scaled(values),
            members: scaled(members),
        }
    }
}

impl Columns {
    pub(crate) fn new(options: &AggregationOptions) -> Self {
        let memory = || options.memory.clone();
        let values =
            |unit| ValueBuffers::new(Distribution::new(options.digits, unit), options.exact_values, memory());
        Self {
            counters: Counters::default(),
            timings: values(MILLISECONDS),
            values: values(1.0),
            members: ValueBuffers::new(Members::new(options.exact_members), 0, memory()),
            events: Events::new(options.event_buffer),
            counts: IngestCounts::default(),
            excess: EnumMap::default(),
            absorbed: Absorbed::default(),
            rejected: RejectedLines::default(),
            rejected_names: FrequentNames::default(),
            recorded_sample: LineSample::default(),
            origin_sample: LineSample::default(),
        }
    }

    pub(crate) fn lengths(&self) -> Lengths {
        Lengths {
            counters: self.counters.len(),
            timings: self.timings.len(),
            values: self.values.len(),
            members: self.members.len(),
        }
    }

    /// Reserves memory for slots, so that opening them does not reallocate.
    pub(crate) fn reserve(&mut self, lengths: Lengths) {
        self.counters.reserve(lengths.counters);
        self.timings.reserve(lengths.timings);
        self.values.reserve(lengths.values);
        self.members.reserve(lengths.members);
    }

    /// Opens a slot at the end of its column. Gauges have no column.
    pub(super) fn open(&mut self, NewSlot { kind, owner, weight }: NewSlot) {
        match kind {
            AggregateKind::Counter => self.counters.open(owner),
            AggregateKind::Timing => self.timings.open(owner, weight),
            AggregateKind::Distribution => self.values.open(owner, weight),
            AggregateKind::Set => self.members.open(owner, weight),
            AggregateKind::Gauge => {}
        }
    }

    /// Returns the series of a slot. The slot of a gauge is its number, because gauges have no column.
    pub(crate) fn owner(&self, kind: AggregateKind, slot: u32) -> SeriesId {
        match kind {
            AggregateKind::Counter => self.counters.owner(slot),
            AggregateKind::Timing => self.timings.owner(slot),
            AggregateKind::Distribution => self.values.owner(slot),
            AggregateKind::Set => self.members.owner(slot),
            AggregateKind::Gauge => SeriesId(slot),
        }
    }

    /// Opens slots that `other` has and these columns lack, at most `limit` per column. Returns true if no slot is
    /// missing afterwards.
    pub(super) fn catch_up(&mut self, other: &Self, limit: usize) -> bool {
        self.counters.catch_up(&other.counters, limit)
            & self.timings.catch_up(&other.timings, limit)
            & self.values.catch_up(&other.values, limit)
            & self.members.catch_up(&other.members, limit)
    }

    /// Returns the values of timings, or else those of histograms and distributions. `kind` must be one of the two.
    pub(crate) fn distributions(&self, kind: AggregateKind) -> &ValueBuffers<Distribution> {
        if kind == AggregateKind::Timing { &self.timings } else { &self.values }
    }

    /// Takes the memory that `other` holds in reserve.
    pub(super) fn take_reserve(&mut self, other: &mut Self) {
        self.timings.take_reserve(&mut other.timings);
        self.values.take_reserve(&mut other.values);
        self.members.take_reserve(&mut other.members);
    }

    /// Forgets the values of timings, histograms, distributions and sets, all counts, rejected lines and the samples. Returns
    /// the memory that held the values.
    pub(crate) fn clear(&mut self) -> Recycled {
        self.counts = IngestCounts::default();
        self.absorbed.clear();
        self.rejected.clear();
        self.recorded_sample.clear();
        self.origin_sample.clear();
        Recycled { timings: self.timings.clear(), values: self.values.clear(), members: self.members.clear() }
    }

    /// Takes recycled memory. Returns the surplus memory, which the caller should free.
    pub(super) fn resupply(&mut self, recycled: Recycled) -> Recycled {
        Recycled {
            timings: self.timings.resupply(recycled.timings),
            values: self.values.resupply(recycled.values),
            members: self.members.resupply(recycled.members),
        }
    }
}
