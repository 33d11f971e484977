//! Merges the columns of all shards into one value per series.

use std::sync::Arc;

use super::catalog::Catalog;
use crate::aggregate::{Absorbed, Columns, IngestCounts, Members, SharedState, Summarizer};
use crate::model::{
    Event, Kind, MILLISECONDS, MemoryPart, NativeHistogram, NativeSettings, Policies, Series, Statistics,
    Summary, Value, absorbs, finite,
};
use crate::resolve::{AggregateKind, SeriesId, Usage};

/// Merges columns in buffers that it reuses.
#[derive(Debug)]
pub(super) struct Merger {
    shared: Arc<SharedState>,
    /// A summarizer for each aggregate kind that has distributions.
    summarizers: [(AggregateKind, Summarizer); 2],
    union: Members,
}

/// The merged columns of one interval.
#[derive(Debug)]
pub(super) struct Merged {
    /// The values, in the order of the catalog. A series without samples has `None`.
    pub(super) values: Vec<Option<Value>>,
    /// The events, ordered by their timestamps.
    pub(super) events: Vec<Event>,
    pub(super) counts: IngestCounts,
    /// The memory of the summaries among the values, in bytes.
    pub(super) summary_bytes: usize,
    /// The distributions of the watched series.
    pub(super) distributions: Vec<(usize, NativeHistogram)>,
    /// The additions that changed nothing.
    pub(super) absorbed: Absorbed,
    /// The number of gauges that keep a value without samples, and the bytes of their identities.
    pub(super) idle_gauges: Usage,
}

/// The interval to merge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval<'a> {
    pub(super) number: u32,
    /// The end of the interval, in seconds since any fixed moment.
    pub(super) end: u32,
    pub(super) policies: &'a Policies,
    /// Whether gauges without samples keep their last value.
    pub(super) last_gauges: bool,
    /// Whether each summary holds the values themselves.
    pub(super) hands_out_values: bool,
}

impl Merger {
    pub(super) fn new(shared: Arc<SharedState>) -> Self {
        let options = &shared.options;
        let summarizer = |unit| Summarizer::new(options.digits, options.exact_values, unit);
        Self {
            summarizers: [
                (AggregateKind::Timing, summarizer(MILLISECONDS)),
                (AggregateKind::Distribution, summarizer(1.0)),
            ],
            union: Members::new(options.exact_members),
            shared,
        }
    }

    /// Merges what the shards recorded in an interval. Distributions and sets stay in the columns until the caller
    /// clears them.
    pub(super) fn merge(
        &mut self,
        columns: &mut [Columns],
        catalog: &mut Catalog,
        interval: Interval<'_>,
    ) -> Merged {
        let mut counts = IngestCounts::default();
        let mut absorbed = Absorbed::default();
        let mut events = Vec::new();
        for columns in columns.iter_mut() {
            counts.add(&columns.counts);
            absorbed.merge(&columns.absorbed);
            events.append(&mut columns.events.take());
        }
        // Without sorting, the order would depend on which receiver got which event.
        events.sort_unstable();
        let mut values: Vec<_> = std::iter::repeat_with(|| None).take(catalog.entries().len()).collect();
        add_counters(columns, catalog, interval, &mut values, &mut absorbed);
        let idle_gauges = self.read_gauges(catalog, interval, &mut values);
        let mut distributions = Distributions::of(&self.shared.options.requests.watched(), catalog);
        let (clamped, summary_bytes) =
            self.summarize(columns, catalog, interval, &mut values, (&mut absorbed, &mut distributions));
        counts.clamped += clamped;
        self.unite_sets(columns, catalog, interval, &mut values);
        counts.absorbed = absorbed.counts;
        let distributions = distributions.found;
        Merged { values, events, counts, summary_bytes, distributions, absorbed, idle_gauges }
    }

    /// Reads the gauges. Returns the number of those that keep a value without samples, and the bytes of their
    /// identities.
    fn read_gauges(
        &self,
        catalog: &mut Catalog,
        interval: Interval<'_>,
        values: &mut [Option<Value>],
    ) -> Usage {
        let mut idle = Usage::default();
        self.shared.gauges.read(interval.number, |id, reading| {
            let has_samples = reading.interval == interval.number;
            if has_samples || interval.last_gauges {
                let position = if has_samples {
                    catalog.mark_seen(AggregateKind::Gauge, id, interval.end)
                } else {
                    let position = catalog.position(AggregateKind::Gauge, id);
                    idle.series += 1;
                    idle.bytes += catalog.series()[position].identity_len();
                    position
                };
                values[position] = Some(Value::Gauge(reading.value));
            }
        });
        idle
    }

    /// Summarizes timings, histograms and distributions. Returns the number of values that were clamped, and the bytes of
    /// the summaries.
    fn summarize(
        &mut self,
        columns: &[Columns],
        catalog: &mut Catalog,
        interval: Interval<'_>,
        values: &mut [Option<Value>],
        (absorbed, distributions): (&mut Absorbed, &mut Distributions),
    ) -> (u64, usize) {
        let (mut clamped, mut bytes) = (0, 0);
        // Without a limit, the values of one snapshot could take the memory of all that wait for exporters.
        let mut room = self.shared.options.memory.room(MemoryPart::Snapshots) / 2;
        for (kind, summarizer) in &mut self.summarizers {
            let kind = *kind;
            summarizer.hand_out_values(interval.hands_out_values);
            let slots = occupied_slots(columns, |columns| columns.distributions(kind).occupied());
            let series: Vec<_> = slots.chunk_by(|a, b| a.owner == b.owner).collect();
            for batch in series.chunks(Summarizer::BATCH) {
                let mut parts = Vec::with_capacity(batch.len());
                for (number, slots) in batch.iter().enumerate() {
                    let contents =
                        |slot: &OccupiedSlot| columns[slot.shard].distributions(kind).contents(slot.slot);
                    parts.extend(slots.iter().map(|slot| (number, contents(slot))));
                }
                let positions: Vec<_> =
                    batch.iter().map(|slots| catalog.mark_seen(kind, slots[0].owner, interval.end)).collect();
                let statistics =
                    |position: &usize| &interval.policies.get(catalog.policies()[*position]).statistics;
                let statistics: Vec<_> = positions.iter().map(statistics).collect();
                let widened = distributions.widened(&positions, &statistics);
                let asked: Vec<_> = widened
                    .iter()
                    .zip(&statistics)
                    .map(|(wide, plain)| wide.as_ref().unwrap_or(plain))
                    .collect();
                summarizer.summarize(&parts, &asked, |number, mut summary, inexact| {
                    if widened[number].is_some() {
                        distributions.take(positions[number], &mut summary, statistics[number]);
                    }
                    match summary.values.as_ref().map(|values| values.bytes()) {
                        Some(bytes) if bytes > room => summary.values = None,
                        Some(bytes) => room -= bytes,
                        None => {}
                    }
                    bytes += summary.bytes();
                    values[positions[number]] = Some(Value::Summary(Box::new(summary)));
                    clamped += inexact.clamped;
                    if inexact.absorbed > 0 {
                        let id = batch[number][0].owner;
                        absorbed.note(catalog.kind(kind, id), id, inexact.absorbed);
                    }
                });
            }
        }
        (clamped, bytes)
    }

    fn unite_sets(
        &mut self,
        columns: &[Columns],
        catalog: &mut Catalog,
        interval: Interval<'_>,
        values: &mut [Option<Value>],
    ) {
        let slots = occupied_slots(columns, |columns| columns.members.occupied());
        for slots in slots.chunk_by(|a, b| a.owner == b.owner) {
            let contents = slots.iter().map(|slot| columns[slot.shard].members.contents(slot.slot));
            let size = self.union.union(contents) as f64;
            values[catalog.mark_seen(AggregateKind::Set, slots[0].owner, interval.end)] =
                Some(Value::Set(size));
        }
    }
}

fn add_counters(
    columns: &mut [Columns],
    catalog: &mut Catalog,
    interval: Interval<'_>,
    values: &mut [Option<Value>],
    absorbed: &mut Absorbed,
) {
    for columns in columns {
        columns.counters.drain(|id, sum| {
            let value = &mut values[catalog.mark_seen(AggregateKind::Counter, id, interval.end)];
            let is_lost = if let Some(Value::Counter(total)) = value {
                absorbs(total, finite(sum))
            } else {
                *value = Some(Value::Counter(finite(sum)));
                false
            };
            if is_lost || !sum.is_finite() {
                absorbed.note(Kind::Counter, id, 1);
            }
        });
    }
}

/// The distributions of the watched series.
#[derive(Debug)]
struct Distributions {
    /// The positions of the watched series in the catalog, in ascending order.
    watched: Vec<usize>,
    /// The positions of those with samples, and their values.
    found: Vec<(usize, NativeHistogram)>,
}

impl Distributions {
    /// The resolution of the distributions. The bounds of a bucket differ by 2.2 %.
    const SCHEMA: i8 = 5;

    fn of(watched: &[Series], catalog: &Catalog) -> Self {
        let mut watched: Vec<_> = watched.iter().filter_map(|series| catalog.find(series)).collect();
        watched.sort_unstable();
        Self { watched, found: Vec::new() }
    }

    /// Returns statistics with a native histogram for the watched series at these positions, and `None` for the others.
    fn widened(&self, positions: &[usize], statistics: &[&Statistics]) -> Vec<Option<Statistics>> {
        let widen = |(position, statistics): (&usize, &&Statistics)| {
            self.watched.binary_search(position).ok()?;
            let asked = statistics.native.map_or(Self::SCHEMA, |native| native.schema.max(Self::SCHEMA));
            let native = Some(NativeSettings { schema: asked, max_buckets: 0 });
            Some(Statistics { native, ..(*statistics).clone() })
        };
        positions.iter().zip(statistics).map(widen).collect()
    }

    /// Takes the distribution out of a summary, and leaves the native histogram that `statistics` ask for.
    fn take(&mut self, position: usize, summary: &mut Summary, statistics: &Statistics) {
        let Some(mut native) = summary.native.take() else { return };
        summary.native = statistics.native.map(|asked| {
            let mut native = native.clone();
            native.reduce_to(asked.schema);
            Box::new(asked.limit(*native))
        });
        native.reduce_to(Self::SCHEMA);
        self.found.push((position, *native));
    }
}

/// A slot that holds values of a series.
#[derive(Debug, Clone, Copy)]
struct OccupiedSlot {
    owner: SeriesId,
    shard: usize,
    slot: u32,
}

/// Returns the slots of all shards that hold values, grouped by series.
fn occupied_slots<'a, I: Iterator<Item = (SeriesId, u32)>>(
    columns: &'a [Columns],
    occupied: impl Fn(&'a Columns) -> I,
) -> Vec<OccupiedSlot> {
    let mut slots = Vec::new();
    for (shard, columns) in columns.iter().enumerate() {
        slots.extend(occupied(columns).map(|(owner, slot)| OccupiedSlot { owner, shard, slot }));
    }
    slots.sort_unstable_by_key(|slot| (slot.owner, slot.shard, slot.slot));
    slots
}
