//! Ends intervals: rotates all shards at one moment, and merges what they recorded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use enum_map::EnumMap;
use parking_lot::Mutex;

use super::catalog::Catalog;
use super::expiry::{Expiry, seconds};
use super::merge::{Interval, Merged, Merger};
use super::name_series::NameSeries;
use super::saved_series::{LiveSeries, RestoredSeries, SavedSeries, idle_for};
use super::series_memory::SeriesBudget;
use super::talkers::talkers;
use super::telemetry::{IngestTelemetry, OwnSeries};
use crate::aggregate::{
    AggregationOptions, Columns, FIRST_INTERVAL, FrequentNames, INTERVAL_BEFORE_START, IngestCounts, Shard,
    ShardReset, SharedState,
};
use crate::mapping::Mapping;
use crate::model::{
    Event, HeldPolicy, Kind, NativeHistogram, Overview, Policies, PolicyId, RejectedLine, Rows, Series,
    Snapshot, Talkers, Telemetry, Value,
};
use crate::resolve::{AggregateKind, Excess, Limits, Usage};

/// The number of slots that `rotate` prepares under one hold of a shard's lock, which takes a few microseconds.
const SLOTS_PER_STEP: usize = 4096;

/// The settings that a reload can change.
#[derive(Debug, Default)]
pub struct ReloadableSettings {
    /// The rules that give series other names and labels.
    pub mapping: Mapping,
    /// The policies of the rules, as [`Mapping::build_policies`] returns them.
    pub policies: Policies,
    /// The values that are reported for series without samples.
    pub idle: IdleReporting,
    /// The limits on series.
    pub limits: Limits,
    /// Whether tallyd's own metrics are among the results.
    pub telemetry: bool,
    /// Whether each summary holds the values themselves, for exporters that need them.
    pub hands_out_values: bool,
}

/// The values that are reported for series without samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleReporting {
    /// Whether a counter without samples is reported as 0.
    pub zero_counters: bool,
    /// Whether a set without samples is reported as 0.
    pub zero_sets: bool,
    /// Whether a gauge without samples is reported with its last value.
    pub last_gauges: bool,
}

/// The defaults equal the shipped configuration.
impl Default for IdleReporting {
    fn default() -> Self {
        Self { zero_counters: false, zero_sets: false, last_gauges: true }
    }
}

/// Merges the samples that shards record, one interval at a time. It reads no clock and knows no exporter.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tallyd::aggregate::AggregationOptions;
/// use tallyd::flush::{Aggregator, ReloadableSettings};
/// use tallyd::model::Telemetry;
///
/// let settings = ReloadableSettings::default();
/// let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, Telemetry::default());
/// let shard = aggregator.add_shard();
/// shard.lock().record(b"page.views:1|c\npage.views:2|c");
/// let results = aggregator.end_interval(Duration::from_secs(10));
/// assert_eq!(results.counts.lines, 2);
/// let snapshot = results.into_snapshot(SystemTime::now(), Duration::from_secs(10));
/// assert_eq!(snapshot.rows.iter().next().unwrap().series.name(), "page.views");
/// ```
#[derive(Debug)]
pub struct Aggregator {
    shared: Arc<SharedState>,
    shards: Vec<Arc<Mutex<Shard>>>,
    /// One set of empty columns per shard. The next interval is recorded in them.
    spares: Vec<Columns>,
    /// The number of the open interval, counted from [`FIRST_INTERVAL`].
    interval: u32,
    rules: Rules,
    /// The rules that take effect with the next interval.
    next_rules: Option<Rules>,
    idle: IdleReporting,
    hands_out_values: bool,
    merger: Merger,
    catalog: Catalog,
    expiry: Expiry,
    telemetry: Telemetry,
    ingest: IngestTelemetry,
    /// `None` if tallyd's own metrics are not among the results.
    own_series: Option<OwnSeries>,
    name_series: NameSeries,
    budget: SeriesBudget,
}

/// One generation of rules, and their policies.
#[derive(Debug)]
struct Rules {
    mapping: Arc<Mapping>,
    policies: Arc<Policies>,
}

/// The merged results of one interval.
#[derive(Debug)]
pub struct IntervalResults {
    /// One row per series, sorted.
    pub rows: Rows,
    /// The policies that the rows refer to.
    pub policies: Arc<Policies>,
    /// The events, ordered by their timestamps.
    pub events: Vec<Event>,
    /// The counts of the interval's datagrams, lines and samples.
    pub counts: IngestCounts,
    /// The latest lines that were not recorded, by reason.
    pub rejected: Vec<RejectedLine>,
    /// The values of the watched series, if these had samples: timings, histograms and distributions.
    pub distributions: Vec<(Series, NativeHistogram)>,
    /// The metric names with the most samples beyond a limit.
    pub excess: EnumMap<Excess, FrequentNames>,
    /// The senders and the names that took most of the interval.
    pub talkers: Talkers,
    /// Some of the series that absorbed samples: their sums are so large that the samples changed nothing.
    pub absorbed: Vec<Series>,
    /// The summary of the interval.
    pub overview: Overview,
}

impl IntervalResults {
    /// Returns the snapshot of an interval that ended at `time` and was `interval` long.
    #[must_use]
    pub fn into_snapshot(self, time: SystemTime, interval: Duration) -> Snapshot {
        let Self { rows, policies, events, rejected, distributions, talkers, overview, .. } = self;
        let talkers = Arc::new(talkers);
        Snapshot { time, interval, policies, rows, events, rejected, distributions, talkers, overview }
    }
}

impl Aggregator {
    /// Creates an aggregator without shards. It reports its counts to `telemetry`.
    #[must_use]
    pub fn new(options: AggregationOptions, settings: ReloadableSettings, telemetry: Telemetry) -> Self {
        let ReloadableSettings { mapping, policies, idle, limits, telemetry: report_own, hands_out_values } =
            settings;
        let budget = SeriesBudget::new(&options.memory);
        let shared = Arc::new(SharedState::new(options, limits));
        shared.registry.set_policies(&policies);
        Self {
            merger: Merger::new(Arc::clone(&shared)),
            shared,
            shards: Vec::new(),
            spares: Vec::new(),
            interval: FIRST_INTERVAL,
            rules: Rules { mapping: Arc::new(mapping), policies: Arc::new(policies) },
            next_rules: None,
            idle,
            hands_out_values,
            catalog: Catalog::default(),
            expiry: Expiry::default(),
            ingest: IngestTelemetry::new(&telemetry),
            telemetry,
            own_series: report_own.then(OwnSeries::default),
            name_series: NameSeries::default(),
            budget,
        }
    }

    /// Adds a shard for one receiver. All shards must be added before the first interval ends.
    pub fn add_shard(&mut self) -> Arc<Mutex<Shard>> {
        debug_assert_eq!(self.interval, FIRST_INTERVAL, "a later shard would miss intervals");
        let mapping = Arc::clone(&self.rules.mapping);
        let shard = Arc::new(Mutex::new(Shard::new(Arc::clone(&self.shared), mapping)));
        self.shards.push(Arc::clone(&shard));
        self.budget.add_receiver(&self.shared.registry);
        self.spares.push(Columns::new(&self.shared.options));
        shard
    }

    /// Returns the state of the series after the latest interval, which ended at `now`.
    #[must_use]
    pub fn live_series(&self, now: Duration) -> LiveSeries {
        let now = seconds(now);
        let mut gauges = Vec::new();
        self.shared.gauges.read(self.interval - 1, |id, reading| {
            gauges.push((self.catalog.position(AggregateKind::Gauge, id), reading.value));
        });
        LiveSeries {
            policies: Arc::clone(&self.rules.policies),
            series: Arc::clone(self.catalog.series()),
            policy_ids: Arc::clone(self.catalog.policies()),
            idle: self.catalog.idle(now),
            gauges,
        }
    }

    /// Returns all live series in sorted order.
    #[must_use]
    pub fn series(&self) -> &Arc<Vec<Series>> {
        self.catalog.series()
    }

    /// Makes the series of an earlier process alive again, before the first line arrives. They count as idle, and gauges
    /// keep their values. A series whose lifetime ended during `downtime` stays away. `now` is as for
    /// [`end_interval`](Self::end_interval), and must be later than any series has been idle.
    ///
    /// As after a reload, a series keeps its policy if the rules contain an equal one, until a line names it.
    pub fn restore(&mut self, saved: &SavedSeries<'_>, downtime: Duration, now: Duration) -> RestoredSeries {
        debug_assert_eq!(self.interval, FIRST_INTERVAL, "samples may have arrived");
        let policies = Arc::clone(&self.rules.policies);
        let carried = policies.carried_from(&saved.policies);
        let SharedState { registry, gauges, .. } = &*self.shared;
        let alive: Vec<_> = saved
            .rows
            .iter()
            .filter_map(|row| {
                let policy = HeldPolicy::assigned(row.policy()).carry_over(&carried);
                let kind = Series::kind_of(row.identity);
                let idle_for = idle_for(row, downtime);
                let lifetime = policies.get(policy.id()).expire_after[kind as usize].as_secs();
                (u64::from(idle_for) < lifetime).then_some((row, AggregateKind::of(kind), policy, idle_for))
            })
            .collect();
        let series: Vec<_> =
            alive.iter().map(|(row, aggregate, policy, _)| (*aggregate, row.identity, *policy)).collect();
        let ids = registry.restore(&series);
        let mut idle = Usage::default();
        for ((row, ..), &id) in alive.iter().zip(&ids) {
            if let Some(value) = row.gauge {
                gauges.set(id, INTERVAL_BEFORE_START, value);
            }
            idle.series += 1;
            idle.bytes += row.identity.len();
        }
        self.catalog.update(registry, seconds(now));
        for (&(_, aggregate, _, idle_for), &id) in alive.iter().zip(&ids) {
            self.catalog.mark_seen(aggregate, id, seconds(now).saturating_sub(idle_for));
        }
        // New series may take the room of restored ones in the first interval already.
        registry.set_idle(idle);
        RestoredSeries { alive: alive.len(), expired: saved.rows.len() - alive.len() }
    }

    /// Returns the rules of the latest settings.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.latest_rules().mapping
    }

    fn latest_rules(&self) -> &Rules {
        self.next_rules.as_ref().unwrap_or(&self.rules)
    }

    /// Changes the settings. New rules take effect with the next interval, all other settings at once.
    ///
    /// New rules start a new generation: the shards forget their line patterns, and the old rules leave memory. Until a
    /// line names a series again, the series keeps its policy if the new rules contain an equal one. Otherwise it gets
    /// the policy of series that no rule matches.
    pub fn reload(&mut self, settings: ReloadableSettings) {
        let ReloadableSettings { mapping, policies, idle, limits, telemetry, hands_out_values } = settings;
        self.shared.registry.set_limits(limits);
        self.idle = idle;
        self.hands_out_values = hands_out_values;
        if telemetry != self.own_series.is_some() {
            self.own_series = telemetry.then(OwnSeries::default);
        }
        let latest = self.latest_rules();
        if mapping != *latest.mapping || policies != *latest.policies {
            self.next_rules = Some(Rules { mapping: Arc::new(mapping), policies: Arc::new(policies) });
        }
    }

    /// Ends the interval in all shards at one moment, and merges what they recorded. `now` is the time since any fixed
    /// moment. It decides which series are idle.
    pub fn end_interval(&mut self, now: Duration) -> IntervalResults {
        if let Some(own) = &mut self.own_series {
            own.register(&self.telemetry, &self.shared.registry, self.rules.policies.unmatched());
        }
        let end = seconds(now);
        let is_full = self.shards.iter().any(|shard| shard.lock().is_full());
        let next_rules = self.next_rules.take();
        let is_reset = is_full || next_rules.is_some() || self.expiry.needs_reset();
        let (mut columns, carried) =
            if is_reset { self.rotate_and_reset(next_rules.as_ref(), end) } else { (self.rotate(), None) };
        if carried.is_none() {
            self.catalog.update(&self.shared.registry, end);
        }
        let most_series = self.catalog.count_names();
        let talkers = talkers(&mut columns, &self.catalog, most_series);
        let excess = take_excess(&mut columns);
        // With new rules, the registry has the new policies already, and the catalog still has the old ones.
        if self.own_series.is_some() && carried.is_none() {
            let Self { telemetry, shared, catalog, rules, name_series, .. } = self;
            let policy = rules.policies.unmatched();
            name_series.update(telemetry, &shared.registry, catalog, (policy, end), (&talkers, &excess));
        }
        let (results, mut idle) = self.merge(&mut columns, end, talkers, excess);
        if let (Some(rules), Some(carried)) = (next_rules, carried) {
            self.catalog.carry_policies_over(&carried);
            self.rules = rules;
        }
        let dropped =
            self.expiry.advance(&self.shared, &mut self.catalog, &self.rules.policies, now, is_reset);
        self.ingest.report_expired(&dropped.series);
        // All dropped series were idle.
        idle.series = idle.series.saturating_sub(dropped.series.values().sum::<u64>() as usize);
        idle.bytes = idle.bytes.saturating_sub(dropped.bytes);
        self.shared.registry.set_idle(idle);
        self.interval += 1;
        self.recycle(columns, is_reset);
        self.budget.update(&self.shared.registry);
        results
    }

    /// Ends the interval in all shards. The shards keep their line patterns.
    fn rotate(&mut self) -> Vec<Columns> {
        let mut spares = std::mem::take(&mut self.spares);
        for (shard, spare) in self.shards.iter().zip(&mut spares) {
            shard.lock().reserve_in(spare);
            while !shard.lock().prepare(spare, SLOTS_PER_STEP) {}
        }
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.lock()).collect();
        shards.into_iter().zip(spares).map(|(mut shard, spare)| shard.rotate(spare)).collect()
    }

    /// Ends the interval in all shards, which then forget their line patterns. It reserves room for the line patterns
    /// of the series that are likely to live on. With new rules, it also returns the new id of each old policy.
    fn rotate_and_reset(
        &mut self,
        next_rules: Option<&Rules>,
        end: u32,
    ) -> (Vec<Columns>, Option<Vec<PolicyId>>) {
        let kept = self.expiry.share_kept();
        let mapping = next_rules.map(|rules| &rules.mapping);
        let mut resets = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let size = shard.lock().size();
            resets.push(ShardReset::new(&self.shared.options, size, kept, mapping.cloned()));
        }
        let carried = next_rules.map(|rules| rules.policies.carried_from(&self.rules.policies));
        if carried.is_some() {
            // Most of the update happens now, so little is left to do while the shards are locked.
            self.catalog.update(&self.shared.registry, end);
        }
        let mut shards: Vec<_> = self.shards.iter().map(|shard| shard.lock()).collect();
        if let Some(carried) = &carried {
            // The old policies apply to the interval that ends. So the catalog must know all series of that interval
            // first.
            self.catalog.update(&self.shared.registry, end);
            let policies = next_rules.map_or(&self.rules.policies, |rules| &rules.policies);
            self.shared.registry.carry_policies_over(carried, policies);
        }
        shards.iter_mut().zip(&mut resets).for_each(|(shard, reset)| shard.rotate_and_reset(reset));
        drop(shards);
        (resets.into_iter().map(ShardReset::into_columns).collect(), carried)
    }

    /// Merges the columns. Also returns the number of series without samples, and the bytes of their identities.
    fn merge(
        &mut self,
        columns: &mut [Columns],
        end: u32,
        talkers: Talkers,
        excess: EnumMap<Excess, FrequentNames>,
    ) -> (IntervalResults, Usage) {
        let policies = Arc::clone(&self.rules.policies);
        let interval = Interval {
            number: self.interval,
            end,
            policies: &policies,
            last_gauges: self.idle.last_gauges,
            hands_out_values: self.hands_out_values,
        };
        let Merged {
            mut values,
            events,
            counts,
            summary_bytes,
            distributions,
            absorbed,
            idle_gauges: mut idle,
        } = self.merger.merge(columns, &mut self.catalog, interval);
        let alive = self.fill_idle(&mut values, &mut idle);
        self.ingest.report(&counts, &alive, self.shared.registry.limits().series);
        let no_series = OwnSeries::default();
        let own = self.own_series.as_ref().unwrap_or(&no_series);
        let datagrams_dropped = own.read(&self.telemetry, &mut self.catalog, end, &mut values);
        self.name_series.read(&self.catalog, &mut values);
        let overview = Overview {
            series: alive.values().sum(),
            lines: counts.lines,
            samples: counts.samples.values().sum(),
            rejected: counts.rejected.values().sum(),
            refused: counts.refused.values().sum(),
            datagrams_dropped,
        };
        let (series, ids) = (Arc::clone(self.catalog.series()), Arc::clone(self.catalog.policies()));
        let absorbed = absorbed
            .series
            .iter()
            .map(|&(kind, id)| series[self.catalog.position(kind, id)].clone())
            .collect();
        let named = |(position, values): (usize, _)| (series[position].clone(), values);
        let distributions = distributions.into_iter().map(named).collect();
        let event_bytes: usize = events.iter().map(Event::bytes).sum();
        let rows = Rows::new(series, ids, values)
            .counted_in(&self.shared.options.memory, summary_bytes + event_bytes);
        let rejected = columns.iter().flat_map(|columns| columns.rejected.lines()).cloned().collect();
        (
            IntervalResults {
                rows,
                policies,
                events,
                counts,
                rejected,
                distributions,
                excess,
                talkers,
                absorbed,
                overview,
            },
            idle,
        )
    }

    /// Fills in the values that are reported for series without samples, and adds these series to `idle`. Returns the
    /// number of live series of clients, per kind.
    fn fill_idle(&self, values: &mut [Option<Value>], idle: &mut Usage) -> EnumMap<Kind, u64> {
        let IdleReporting { zero_counters, zero_sets, .. } = self.idle;
        let mut alive = EnumMap::default();
        let series = self.catalog.series();
        for ((entry, series), value) in self.catalog.entries().iter().zip(&**series).zip(values) {
            if entry.is_own {
                continue;
            }
            alive[entry.kind] += 1;
            if value.is_none() {
                idle.series += 1;
                idle.bytes += series.identity_len();
                *value = match entry.kind {
                    Kind::Counter if zero_counters => Some(Value::Counter(0.0)),
                    Kind::Set if zero_sets => Some(Value::Set(0.0)),
                    _ => None,
                };
            }
        }
        alive
    }

    /// Gives the memory of merged columns back to the shards, and keeps the columns for the next rotation.
    fn recycle(&mut self, mut columns: Vec<Columns>, was_reset: bool) {
        for (shard, columns) in self.shards.iter().zip(&mut columns) {
            let recycled = columns.clear();
            let left_over = shard.lock().resupply(recycled);
            // This frees memory while no lock is held.
            drop(left_over);
        }
        if was_reset {
            // The shards have other slots now, and possibly far fewer.
            columns.iter_mut().for_each(|columns| *columns = Columns::new(&self.shared.options));
        }
        self.spares = columns;
    }
}

/// Takes the names with the most samples beyond a limit out of the columns.
fn take_excess(columns: &mut [Columns]) -> EnumMap<Excess, FrequentNames> {
    let mut excess = EnumMap::<Excess, FrequentNames>::default();
    for columns in columns {
        excess.iter_mut().for_each(|(way, names)| names.merge(&mut columns.excess[way]));
    }
    excess
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;

    #[test]
    fn a_telemetry_gauge_without_a_value_keeps_its_number() {
        let telemetry = Telemetry::default();
        let settings = ReloadableSettings { telemetry: true, ..ReloadableSettings::default() };
        let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, telemetry.clone());
        let shard = aggregator.add_shard();
        let own = telemetry.gauge("unset", &[]);
        // These intervals exceed the lifetime of idle series. Dropping a series takes two flushes.
        for hour in [0, 2, 2, 2] {
            aggregator.end_interval(Duration::from_hours(hour));
        }
        own.set(1.0);
        shard.lock().record(b"client:7|g");
        let rows = aggregator.end_interval(Duration::from_hours(2)).rows;
        let value = |name| rows.iter().find(|row| row.series.name() == name).map(|row| row.value.clone());
        assert_eq!(value("tallyd.unset"), Some(Value::Gauge(1.0)));
        assert_eq!(value("client"), Some(Value::Gauge(7.0)));
    }

    /// Returns an aggregator whose series expire after an hour, except counters.
    fn aggregator(limits: Limits) -> Aggregator {
        let settings = ReloadableSettings { limits, ..ReloadableSettings::default() };
        Aggregator::new(AggregationOptions::default(), settings, Telemetry::default())
    }

    fn rows(aggregator: &mut Aggregator, now: Duration) -> Vec<(String, Value)> {
        let rows = aggregator.end_interval(now).rows;
        rows.iter().map(|row| (format!("{:?}", row.series), row.value.clone())).collect()
    }

    #[test]
    fn restored_gauges_keep_their_values_and_idle_times_go_on() {
        const HOUR: Duration = Duration::from_hours(1);
        let mut earlier = aggregator(Limits::default());
        let shard = earlier.add_shard();
        shard.lock().record(b"old:1|g\ncounter:1|c\nset:1|s");
        earlier.end_interval(HOUR);
        shard.lock().record(b"gauge:100|g\ngauge:+10|g");
        earlier.end_interval(HOUR * 3 / 2);
        let bytes = earlier.live_series(HOUR * 3 / 2).encode();
        let saved = SavedSeries::decode(&bytes).unwrap();

        let mut later = aggregator(Limits::default());
        let shard = later.add_shard();
        let start = HOUR * 9;
        let restored = later.restore(&saved, HOUR / 2, start);
        assert_eq!(restored, RestoredSeries { alive: 2, expired: 2 });
        assert_eq!(later.live_series(start).encode(), {
            let mut live = later.live_series(start);
            live.gauges = vec![(1, 110.0)];
            live.idle = vec![3600, 1800];
            live.encode()
        });
        assert_eq!(rows(&mut later, start), [("gauge|g".to_owned(), Value::Gauge(110.0))]);
        shard.lock().record(b"gauge:+5|g\ncounter:2|c");
        let expected =
            [("counter|c".to_owned(), Value::Counter(2.0)), ("gauge|g".to_owned(), Value::Gauge(115.0))];
        assert_eq!(rows(&mut later, start), expected);
    }

    #[test]
    fn restored_series_give_way_to_new_ones_at_a_limit() {
        let mut earlier = aggregator(Limits::default());
        earlier.add_shard().lock().record(b"a:1|c\nb:1|c\nc:1|c");
        earlier.end_interval(Duration::ZERO);
        let bytes = earlier.live_series(Duration::ZERO).encode();

        let mut later = aggregator(Limits { series: 2, ..Limits::default() });
        let shard = later.add_shard();
        later.restore(&SavedSeries::decode(&bytes).unwrap(), Duration::ZERO, Duration::from_secs(9));
        shard.lock().record(b"d:1|c");
        let counts = later.end_interval(Duration::from_secs(10)).counts;
        assert_eq!(counts.refused.values().sum::<u64>(), 0, "restored series are idle");
        later.end_interval(Duration::from_secs(20));
        let left: Vec<_> = later.series().iter().map(Series::name).collect();
        assert_eq!(left, ["c", "d"], "those that give way are the first ones that are idle longest");
    }

    #[test]
    fn restored_series_keep_an_equal_policy_of_other_rules() {
        let rules = |policies: &[&str]| {
            let policy = |help: &&str| Policy { help: (*help).into(), ..Policy::default() };
            Policies::new(policies.iter().map(policy).collect())
        };
        let with = |policies| {
            let settings = ReloadableSettings { policies, ..ReloadableSettings::default() };
            Aggregator::new(AggregationOptions::default(), settings, Telemetry::default())
        };
        let mut earlier = with(rules(&["none"]));
        earlier.add_shard().lock().record(b"a:1|c");
        earlier.end_interval(Duration::ZERO);
        let bytes = earlier.live_series(Duration::ZERO).encode();
        for (policies, expected) in [(["x", "none", "y"], 1), (["x", "y", "z"], 2)] {
            let mut later = with(rules(&policies));
            later.restore(&SavedSeries::decode(&bytes).unwrap(), Duration::ZERO, Duration::ZERO);
            assert_eq!(**later.catalog.policies(), [PolicyId::new(expected)], "{policies:?}");
        }
    }
}
