//! Merges the columns of all shards into the rows of a snapshot, and decides which series live on.

use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::{
    Class, Columns, Members, Parameters, RefusedNames, SeriesId, Shared, Statistics, Summarizer, Tally,
    finite,
};
use crate::protocol::{self, Kind, Line};
use crate::series::Series;
use crate::snapshot::{Event, Row, Value};

/// What happens to series without samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Idle {
    /// Whether a counter without samples is reported as 0.
    pub zero_counters: bool,
    /// Whether a set without samples is reported as 0.
    pub zero_sets: bool,
    /// Whether a gauge without samples is reported with its last value.
    pub last_gauges: bool,
    /// How long a series without samples is remembered, by [`Kind`]; in whole seconds.
    pub expire_after: [Duration; Kind::ALL.len()],
}

/// The merged results of one interval.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) rows: Vec<Row>,
    pub(crate) events: Vec<Event>,
    pub(crate) tally: Tally,
    pub(crate) refused: RefusedNames,
    /// Series that are alive, by [`Kind`].
    pub(crate) live: [u64; Kind::ALL.len()],
}

/// Knows every series that is alive, in sorted order, and when each last had a sample.
#[derive(Debug)]
pub(crate) struct Collector {
    shared: Arc<Shared>,
    idle: Idle,
    summarizer: Summarizer,
    union: Members,
    /// In the order of the series.
    known: Vec<Known>,
    /// By number of the series, for each [`Class`].
    latest: [Vec<Latest>; 4],
    /// Series that have been told to the registry as dying.
    sweep: Sweep,
    next_sweep: Duration,
}

#[derive(Debug)]
struct Known {
    series: Series,
    id: SeriesId,
    class: Class,
}

/// What is known of the samples of one series.
#[derive(Debug, Clone)]
struct Latest {
    /// When it last had one, in seconds.
    time: u32,
    /// The results of this interval, until they go into a row.
    value: Option<Value>,
    kind: Kind,
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
    Announced,
}

impl Collector {
    pub(crate) fn new(shared: Arc<Shared>, statistics: Statistics, idle: Idle) -> Self {
        let parameters = &shared.parameters;
        Self {
            summarizer: Summarizer::new(statistics, parameters.digits),
            union: Members::new(parameters.exact_members),
            known: Vec::new(),
            latest: Default::default(),
            sweep: Sweep::Idle,
            next_sweep: Duration::ZERO,
            shared,
            idle,
        }
    }

    /// Whether the shards must forget their forms at the next cut.
    pub(crate) fn wants_renewal(&self) -> bool {
        self.sweep == Sweep::Announced
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
        self.learn_new_series(now);
        let mut tally = Tally::default();
        let mut refused = RefusedNames::default();
        for columns in columns.iter_mut() {
            tally.add(&columns.tally);
            refused.merge(&mut columns.refused);
        }
        self.add_counters(columns, now);
        self.read_gauges(interval, now);
        tally.clamped += self.summarize_distributions(columns, now);
        self.unite_sets(columns, now);
        let events = self.events(columns);
        let (rows, live) = self.rows();
        if renewed && self.sweep == Sweep::Announced {
            self.drop_idle(now);
        } else if self.sweep == Sweep::Idle && now >= self.next_sweep {
            self.announce_idle(now);
        }
        Collected { rows, events, tally, refused, live }
    }

    fn learn_new_series(&mut self, now: Duration) {
        let sorted = self.known.len();
        for class in Class::ALL {
            for (id, series) in self.shared.registry.take_added(class) {
                let latest = &mut self.latest[class as usize];
                let new = Latest { time: seconds(now), value: None, kind: series.kind() };
                if id.index() >= latest.len() {
                    latest.resize(id.index() + 1, new.clone());
                }
                latest[id.index()] = new;
                self.known.push(Known { series, id, class });
            }
        }
        // Two sorted runs: the standard sort merges them in linear time.
        self.known[sorted..].sort_unstable_by(|a, b| a.series.cmp(&b.series));
        if self.known.len() > sorted {
            self.known.sort_by(|a, b| a.series.cmp(&b.series));
        }
    }

    fn add_counters(&mut self, columns: &mut [Columns], now: Duration) {
        let latest = &mut self.latest[Class::Counter as usize];
        for columns in columns {
            columns.counters.drain(|id, sum| {
                let latest = &mut latest[id.index()];
                let before = match latest.value {
                    Some(Value::Counter(before)) => before,
                    _ => 0.0,
                };
                latest.value = Some(Value::Counter(finite(before + finite(sum))));
                latest.time = seconds(now);
            });
        }
    }

    fn read_gauges(&mut self, interval: u32, now: Duration) {
        let latest = &mut self.latest[Class::Gauge as usize];
        let last_gauges = self.idle.last_gauges;
        self.shared.gauges.read(interval, |id, reading| {
            let latest = &mut latest[id.index()];
            let is_new = reading.interval == interval;
            if is_new {
                latest.time = seconds(now);
            }
            if is_new || last_gauges {
                latest.value = Some(Value::Gauge(reading.value));
            }
        });
    }

    /// Returns how many values were clamped.
    fn summarize_distributions(&mut self, columns: &[Columns], now: Duration) -> u64 {
        let latest = &mut self.latest[Class::Distribution as usize];
        let mut clamped = 0;
        let parts = parts(columns, |columns| columns.values.occupied());
        let series: Vec<_> = parts.chunk_by(|a, b| a.id == b.id).collect();
        for batch in series.chunks(Summarizer::BATCH) {
            let mut parts = Vec::with_capacity(batch.len());
            for (number, cells) in batch.iter().enumerate() {
                parts.extend(
                    cells.iter().map(|part| (number, columns[part.shard].values.contents(part.cell))),
                );
            }
            let are_timings: Vec<_> =
                batch.iter().map(|cells| latest[cells[0].id.index()].kind == Kind::Timing).collect();
            self.summarizer.summarize(&parts, &are_timings, |number, summary, outside| {
                let latest = &mut latest[batch[number][0].id.index()];
                latest.value = Some(Value::Summary(Box::new(summary)));
                latest.time = seconds(now);
                clamped += outside;
            });
        }
        clamped
    }

    fn unite_sets(&mut self, columns: &[Columns], now: Duration) {
        let latest = &mut self.latest[Class::Set as usize];
        let parts = parts(columns, |columns| columns.members.occupied());
        for parts in parts.chunk_by(|a, b| a.id == b.id) {
            let latest = &mut latest[parts[0].id.index()];
            let contents = parts.iter().map(|part| columns[part.shard].members.contents(part.cell));
            latest.value = Some(Value::Set(self.union.union(contents) as f64));
            latest.time = seconds(now);
        }
    }

    /// Sorted, since which receiver took which is chance.
    fn events(&self, columns: &[Columns]) -> Vec<Event> {
        let Parameters { dialects, container_id_tag, .. } = self.shared.parameters;
        let lines = columns.iter().flat_map(|columns| columns.events.iter());
        let mut events: Vec<Event> = lines
            .filter_map(|line| match protocol::parse(line, dialects) {
                Ok(Line::Event(event)) => Some(Event::new(&event, container_id_tag)),
                // Nothing else was put there.
                _ => None,
            })
            .collect();
        events.sort_unstable();
        events
    }

    fn rows(&mut self) -> (Vec<Row>, [u64; Kind::ALL.len()]) {
        let mut live = [0; Kind::ALL.len()];
        let mut rows = Vec::with_capacity(self.known.len());
        for Known { series, id, class } in &self.known {
            let latest = &mut self.latest[*class as usize][id.index()];
            live[latest.kind as usize] += 1;
            let idle = || match class {
                Class::Counter if self.idle.zero_counters => Some(Value::Counter(0.0)),
                Class::Set if self.idle.zero_sets => Some(Value::Set(0.0)),
                _ => None,
            };
            if let Some(value) = latest.value.take().or_else(idle) {
                rows.push(Row { series: series.clone(), value });
            }
        }
        (rows, live)
    }

    fn announce_idle(&mut self, now: Duration) {
        let shortest = self.idle.expire_after.iter().min().copied().unwrap_or_default();
        self.next_sweep = now + shortest / 8;
        let mut dying: [Vec<SeriesId>; 4] = Default::default();
        for Known { id, class, .. } in &self.known {
            if self.is_idle(*class, *id, now) {
                dying[*class as usize].push(*id);
            }
        }
        if dying.iter().all(Vec::is_empty) {
            return;
        }
        for (class, ids) in Class::ALL.into_iter().zip(dying) {
            self.shared.registry.mark_dying(class, ids);
        }
        self.sweep = Sweep::Announced;
    }

    fn drop_idle(&mut self, now: Duration) {
        for class in Class::ALL {
            let Shared { registry, gauges, .. } = &*self.shared;
            let is_idle = |id| self.is_idle(class, id, now);
            let dropped = match class {
                // Otherwise a new gauge of the same number could be forgotten with its first samples.
                Class::Gauge => registry.drop_dying(class, is_idle, |id| gauges.forget(id)),
                _ => registry.drop_dying(class, is_idle, |_| ()),
            };
            if dropped.is_empty() {
                continue;
            }
            self.known.retain(|known| known.class != class || dropped.binary_search(&known.id).is_err());
            self.known.shrink_to(self.known.len() * 2);
        }
        self.sweep = Sweep::Idle;
    }

    fn is_idle(&self, class: Class, id: SeriesId, now: Duration) -> bool {
        let Latest { time, kind, .. } = &self.latest[class as usize][id.index()];
        u64::from(seconds(now).saturating_sub(*time)) >= self.idle.expire_after[*kind as usize].as_secs()
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
