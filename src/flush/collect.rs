//! Merges the columns of all shards into the rows of a snapshot, and decides which series live on.

use std::sync::Arc;
use std::time::Duration;

use super::catalog::Catalog;
use crate::aggregate::{
    AggregationOptions, Columns, IngestCounts, Members, RefusedNames, SharedState, Summarizer,
};
use crate::model::{Event, Kind, MILLISECONDS, Policies, PolicyId, Rows, Value, finite};
use crate::protocol::{self, Line};
use crate::resolve;
use crate::resolve::{AggregateKind, SeriesId};

/// What is reported of series without samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleReporting {
    /// Whether a counter without samples is reported as 0.
    pub zero_counters: bool,
    /// Whether a set without samples is reported as 0.
    pub zero_sets: bool,
    /// Whether a gauge without samples is reported with its last value.
    pub last_gauges: bool,
}

/// What the shipped configuration says.
impl Default for IdleReporting {
    fn default() -> Self {
        Self { zero_counters: false, zero_sets: false, last_gauges: true }
    }
}

/// The merged results of one interval.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) rows: Rows,
    pub(crate) events: Vec<Event>,
    pub(crate) tally: IngestCounts,
    pub(crate) refused: RefusedNames,
    /// Series that are alive, by [`Kind`].
    pub(crate) live: [u64; Kind::ALL.len()],
}

/// Makes the rows of each interval, and remembers which series have been idle for how long.
#[derive(Debug)]
pub(crate) struct Collector {
    shared: Arc<SharedState>,
    policies: Arc<Policies>,
    idle: IdleReporting,
    /// Of each class that has distributions.
    summarizers: [(AggregateKind, Summarizer); 2],
    union: Members,
    catalog: Catalog,
    /// Series that have been told to the registry as dying.
    sweep: Sweep,
    next_sweep: Duration,
}

/// How far dropping idle series has come.
///
/// A shard that knows a series' form records without asking anyone, so a number cannot be given to another series as
/// long as a shard may still use it. Hence two steps. Idle series are announced to the registry; at the next cut all
/// shards forget their forms, so that from then on they ask the registry, where an announced series that is asked for
/// comes back to life. Those that had no sample by that cut, and were not asked for, are dropped.
#[derive(Debug, PartialEq)]
enum Sweep {
    Idle,
    /// So many series, of those that there were.
    Announced {
        dying: usize,
        of: usize,
    },
}

impl Collector {
    pub(crate) fn new(shared: Arc<SharedState>, policies: Policies, idle: IdleReporting) -> Self {
        let AggregationOptions { digits, exact_values, exact_members, .. } = shared.parameters;
        let summarizer = |unit| Summarizer::new(digits, exact_values, unit);
        Self {
            summarizers: [
                (AggregateKind::Timing, summarizer(MILLISECONDS)),
                (AggregateKind::Distribution, summarizer(1.0)),
            ],
            union: Members::new(exact_members),
            catalog: Catalog::default(),
            sweep: Sweep::Idle,
            next_sweep: Duration::ZERO,
            shared,
            policies: Arc::new(policies),
            idle,
        }
    }

    /// All that were ever in force.
    pub(crate) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Puts others in force. Series keep those that they have until a line gives them another one.
    pub(crate) fn renew(&mut self, policies: Policies, idle: IdleReporting) {
        self.policies = Arc::new(policies);
        self.idle = idle;
    }

    /// Whether the shards must forget their forms at the next cut.
    pub(crate) fn wants_renewal(&self) -> bool {
        matches!(self.sweep, Sweep::Announced { .. })
    }

    /// The part of all series that was not announced as idle.
    pub(crate) fn share_of_kept(&self) -> f64 {
        match self.sweep {
            Sweep::Announced { dying, of } => 1.0 - dying as f64 / of as f64,
            Sweep::Idle => 1.0,
        }
    }

    /// Merges what the shards recorded in an interval that ended at `now`, counted from any fixed moment. `renewed`
    /// says that they forgot their forms at its end. The columns keep their timings and sets, to be cleared.
    pub(crate) fn collect(
        &mut self,
        interval: u32,
        columns: &mut [Columns],
        now: Duration,
        renewed: bool,
    ) -> Collected {
        let mut have_new_policies = false;
        for class in AggregateKind::ALL {
            let changed = self.shared.registry.take_changed(class);
            self.catalog.add(class, self.shared.registry.take_added(class), seconds(now));
            have_new_policies |= !changed.is_empty();
            self.catalog.change(class, changed);
        }
        let mut tally = IngestCounts::default();
        let mut refused = RefusedNames::default();
        for columns in columns.iter_mut() {
            tally.add(&columns.tally);
            refused.merge(&mut columns.refused);
        }
        let mut values: Vec<_> = std::iter::repeat_with(|| None).take(self.catalog.entries().len()).collect();
        self.add_counters(columns, now, &mut values);
        self.read_gauges(interval, now, &mut values);
        tally.clamped += self.summarize_distributions(columns, now, &mut values);
        self.unite_sets(columns, now, &mut values);
        let events = self.events(columns);
        let live = self.settle(&mut values);
        let (series, policies) = (Arc::clone(self.catalog.series()), Arc::clone(self.catalog.policies()));
        let mut rows = Rows::new(series, policies, values);
        rows.have_new_policies = have_new_policies;
        if renewed && self.wants_renewal() {
            self.drop_idle(now);
        } else if self.sweep == Sweep::Idle && now >= self.next_sweep {
            self.announce_idle(now);
        }
        Collected { rows, events, tally, refused, live }
    }

    fn add_counters(&mut self, columns: &mut [Columns], now: Duration, values: &mut [Option<Value>]) {
        for columns in columns {
            columns.counters.drain(|id, sum| {
                let value = &mut values[self.catalog.see(AggregateKind::Counter, id, seconds(now))];
                let before = match value {
                    Some(Value::Counter(before)) => *before,
                    _ => 0.0,
                };
                *value = Some(Value::Counter(finite(before + finite(sum))));
            });
        }
    }

    fn read_gauges(&mut self, interval: u32, now: Duration, values: &mut [Option<Value>]) {
        let last_gauges = self.idle.last_gauges;
        self.shared.gauges.read(interval, |id, reading| {
            let is_new = reading.interval == interval;
            if is_new || last_gauges {
                let place = if is_new {
                    self.catalog.see(AggregateKind::Gauge, id, seconds(now))
                } else {
                    self.catalog.place(AggregateKind::Gauge, id)
                };
                values[place] = Some(Value::Gauge(reading.value));
            }
        });
    }

    /// Returns how many values were clamped.
    fn summarize_distributions(
        &mut self,
        columns: &[Columns],
        now: Duration,
        values: &mut [Option<Value>],
    ) -> u64 {
        let Self { catalog, summarizers, policies, .. } = self;
        let mut clamped = 0;
        for (class, summarizer) in summarizers {
            let class = *class;
            let parts = parts(columns, |columns| columns.distributions(class).occupied());
            let series: Vec<_> = parts.chunk_by(|a, b| a.id == b.id).collect();
            for batch in series.chunks(Summarizer::BATCH) {
                let mut parts = Vec::with_capacity(batch.len());
                for (number, cells) in batch.iter().enumerate() {
                    let contents = |part: &Part| columns[part.shard].distributions(class).contents(part.cell);
                    parts.extend(cells.iter().map(|part| (number, contents(part))));
                }
                let places: Vec<_> =
                    batch.iter().map(|cells| catalog.see(class, cells[0].id, seconds(now))).collect();
                let asked: Vec<_> =
                    places.iter().map(|place| &policies.get(catalog.policies()[*place]).statistics).collect();
                summarizer.summarize(&parts, &asked, |number, summary, outside| {
                    values[places[number]] = Some(Value::Summary(Box::new(summary)));
                    clamped += outside;
                });
            }
        }
        clamped
    }

    fn unite_sets(&mut self, columns: &[Columns], now: Duration, values: &mut [Option<Value>]) {
        let parts = parts(columns, |columns| columns.members.occupied());
        for parts in parts.chunk_by(|a, b| a.id == b.id) {
            let contents = parts.iter().map(|part| columns[part.shard].members.contents(part.cell));
            let size = self.union.union(contents) as f64;
            values[self.catalog.see(AggregateKind::Set, parts[0].id, seconds(now))] = Some(Value::Set(size));
        }
    }

    /// Sorted, since which receiver took which is chance.
    fn events(&self, columns: &[Columns]) -> Vec<Event> {
        let AggregationOptions { dialects, container_id_tag, .. } = self.shared.parameters;
        let lines = columns.iter().flat_map(|columns| columns.events.iter());
        let mut events: Vec<Event> = lines
            .filter_map(|line| match protocol::parse(line, dialects) {
                Ok(Line::Event(event)) => Some(resolve::event(&event, container_id_tag)),
                // Nothing else was put there.
                _ => None,
            })
            .collect();
        events.sort_unstable();
        events
    }

    /// Gives idle series the values that are wanted of them. Returns how many series are alive, by kind.
    fn settle(&self, values: &mut [Option<Value>]) -> [u64; Kind::ALL.len()] {
        let IdleReporting { zero_counters, zero_sets, .. } = self.idle;
        let mut live = [0; Kind::ALL.len()];
        for (entry, value) in self.catalog.entries().iter().zip(values) {
            live[entry.kind as usize] += 1;
            if value.is_none() {
                *value = match entry.kind {
                    Kind::Counter if zero_counters => Some(Value::Counter(0.0)),
                    Kind::Set if zero_sets => Some(Value::Set(0.0)),
                    _ => None,
                };
            }
        }
        live
    }

    fn announce_idle(&mut self, now: Duration) {
        let shortest = self.policies.in_force().iter().flat_map(|policy| policy.expire_after).min();
        self.next_sweep = now + shortest.unwrap_or_default() / 8;
        let dying = AggregateKind::ALL.map(|class| {
            self.catalog.ids(class, |id, kind, policy| self.is_idle(class, id, kind, policy, now))
        });
        let count = dying.iter().map(Vec::len).sum();
        if count == 0 {
            return;
        }
        for (class, ids) in AggregateKind::ALL.into_iter().zip(dying) {
            self.shared.registry.mark_dying(class, ids);
        }
        self.sweep = Sweep::Announced { dying: count, of: self.catalog.entries().len() };
    }

    fn drop_idle(&mut self, now: Duration) {
        let SharedState { registry, gauges, .. } = &*self.shared;
        let dropped = AggregateKind::ALL.map(|class| {
            let is_idle = |id| {
                let (kind, policy) = (self.catalog.kind(class, id), self.catalog.policy(class, id));
                self.is_idle(class, id, kind, policy, now)
            };
            match class {
                // Otherwise a new gauge of the same number could be forgotten with its first samples.
                AggregateKind::Gauge => registry.drop_dying(class, is_idle, |id| gauges.forget(id)),
                _ => registry.drop_dying(class, is_idle, |_| ()),
            }
        });
        if dropped.iter().any(|dropped| !dropped.is_empty()) {
            for (class, dropped) in AggregateKind::ALL.into_iter().zip(dropped) {
                let moved = registry.compact(class);
                self.catalog.remove(class, &dropped, &moved);
            }
        }
        self.sweep = Sweep::Idle;
    }

    fn is_idle(
        &self,
        class: AggregateKind,
        id: SeriesId,
        kind: Kind,
        policy: PolicyId,
        now: Duration,
    ) -> bool {
        let idle = seconds(now).saturating_sub(self.catalog.seen(class, id));
        u64::from(idle) >= self.policies.get(policy).expire_after[kind as usize].as_secs()
    }
}

/// Four bytes a series are enough for 136 years.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// A cell that holds values of a series.
#[derive(Debug, Clone, Copy)]
struct Part {
    id: SeriesId,
    shard: usize,
    cell: u32,
}

/// The cells of all shards that hold values, those of one series together.
fn parts<'a, I: Iterator<Item = (SeriesId, u32)>>(
    columns: &'a [Columns],
    occupied: impl Fn(&'a Columns) -> I,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for (shard, columns) in columns.iter().enumerate() {
        parts.extend(occupied(columns).map(|(id, cell)| Part { id, shard, cell }));
    }
    parts.sort_unstable_by_key(|part| (part.id, part.shard, part.cell));
    parts
}
