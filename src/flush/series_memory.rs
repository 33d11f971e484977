//! Keeps the memory of series within its share.

use enum_map::EnumMap;

use crate::model::{Claim, Memory, MemoryPart};
use crate::resolve::{AggregateKind, Registry, SeriesMemory};

/// The share of the memory that series may take, and what they are expected to take.
///
/// A series has entries in the registry, in the list of the flush, in each receiver and in each exporter that keeps totals.
/// All of these grow with it, some of them only at the end of the interval. So the registry admits a series if there is
/// room for everything that it will take (`docs/design/memory.md`).
#[derive(Debug)]
pub(super) struct SeriesBudget {
    memory: Memory,
    receivers: usize,
    /// Accounts for the entries. The totals of distributions have claims of their own.
    claim: Claim,
}

/// The bytes that a series of any type takes: its entries, and those in the totals of two exporters.
const PER_SERIES: usize = 400;
/// The bytes that the totals of a distribution take in addition.
const PER_DISTRIBUTION: usize = 200;
/// The bytes of the slots for a counter in a receiver, and of those for a list of values. There are two of each: one for
/// the open interval, and one for the interval that is merged.
const COUNTER_SLOTS: usize = 2 * 12;
const LIST_SLOTS: usize = 2 * 104;
/// The number of copies of an identity: in the registry, and as labels in the totals of two exporters.
const COPIES: usize = 3;

impl SeriesBudget {
    pub(super) fn new(memory: &Memory) -> Self {
        Self { memory: memory.clone(), receivers: 0, claim: memory.claim(MemoryPart::Series, 0) }
    }

    /// Counts a receiver, and tells the registry what a series then takes.
    pub(super) fn add_receiver(&mut self, registry: &Registry) {
        self.receivers += 1;
        self.update(registry);
    }

    /// Counts the memory of all series, and tells the registry how much new ones may take.
    pub(super) fn update(&mut self, registry: &Registry) {
        self.claim.resize(registry.memory_taken());
        let of_totals = self.memory.used(MemoryPart::Series).saturating_sub(self.claim.bytes());
        registry.set_memory(SeriesMemory {
            max: self.memory.max(MemoryPart::Series).saturating_sub(of_totals),
            per_series: EnumMap::from_fn(|kind| per_series(kind, self.receivers)),
            per_byte: COPIES,
        });
    }
}

fn per_series(kind: AggregateKind, receivers: usize) -> usize {
    PER_SERIES
        + match kind {
            AggregateKind::Gauge => 0,
            AggregateKind::Counter => receivers * COUNTER_SLOTS,
            AggregateKind::Timing | AggregateKind::Distribution => PER_DISTRIBUTION + receivers * LIST_SLOTS,
            AggregateKind::Set => receivers * LIST_SLOTS,
        }
}
