//! Holds the values of one interval, as one shard recorded them.

use enum_map::EnumMap;

use super::AggregationOptions;
use super::absorbed::Absorbed;
use super::counters::Counters;
use super::counts::{IngestCounts, RefusedNames};
use super::distribution::Distribution;
use super::events::Events;
use super::members::Members;
use super::push_exact;
use super::value_buffers::{Supplies, ValueBuffers};
use crate::model::MILLISECONDS;
use crate::resolve::{AggregateKind, NewSlot, SeriesId};

/// The values of an interval. At its end, the shard exchanges them for empty columns.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) counters: Counters,
    pub(crate) timings: ValueBuffers<Distribution>,
    /// The values of histograms and distributions.
    pub(crate) values: ValueBuffers<Distribution>,
    pub(crate) members: ValueBuffers<Members>,
    /// The series that the slots of each column belong to. The open columns know them only for slots of this interval.
    owners: Owners,
    pub(crate) events: Events,
    pub(crate) counts: IngestCounts,
    pub(crate) refused: RefusedNames,
    pub(crate) absorbed: Absorbed,
}

/// The series that the slots of each column belong to. The flush keeps one such list per shard. It is not copied with the
/// columns, because it would take as much memory as half of the counters.
pub(crate) type Owners = EnumMap<AggregateKind, Vec<SeriesId>>;

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
        let values = |unit| ValueBuffers::new(Distribution::new(options.digits, unit), options.exact_values);
        Self {
            counters: Counters::default(),
            timings: values(MILLISECONDS),
            values: values(1.0),
            members: ValueBuffers::new(Members::new(options.exact_members), 0),
            owners: Owners::default(),
            events: Events::new(options.event_buffer),
            counts: IngestCounts::default(),
            refused: RefusedNames::default(),
            absorbed: Absorbed::default(),
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
            AggregateKind::Counter => self.counters.open(),
            AggregateKind::Timing => self.timings.open(weight),
            AggregateKind::Distribution => self.values.open(weight),
            AggregateKind::Set => self.members.open(weight),
            AggregateKind::Gauge => return,
        }
        push_exact(&mut self.owners[kind], owner);
    }

    /// Takes the list of all owners, before the columns become the open ones.
    pub(crate) fn take_owners(&mut self) -> Owners {
        std::mem::take(&mut self.owners)
    }

    /// Completes the owners of columns that are no longer open. `earlier` are those of the slots that earlier intervals
    /// opened.
    pub(crate) fn complete_owners(&mut self, earlier: Owners) {
        for (all, mut earlier) in self.owners.values_mut().zip(earlier.into_values()) {
            earlier.reserve_exact(all.len());
            earlier.append(all);
            *all = earlier;
        }
    }

    /// Returns the series that each slot of a column belongs to.
    pub(crate) fn owners(&self, kind: AggregateKind) -> &[SeriesId] {
        &self.owners[kind]
    }

    /// Resets the counters. Calls `each` for each counter that has samples.
    pub(crate) fn drain_counters(&mut self, each: impl FnMut(SeriesId, f64)) {
        self.counters.drain(&self.owners[AggregateKind::Counter], each);
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

    /// Forgets the values of timings, histograms, distributions and sets, and all counts. Returns the memory that held
    /// the values.
    pub(crate) fn clear(&mut self) -> Recycled {
        self.counts = IngestCounts::default();
        self.absorbed.clear();
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
