//! Reports the metric names that take the most as tallyd's own series.

use std::collections::{BTreeMap, BTreeSet};

use enum_map::EnumMap;

use super::catalog::Catalog;
use super::top_names::{TopLists, TopNames};
use crate::aggregate::ExcessNames;
use crate::model::{Kind, PolicyId, Telemetry, Value};
use crate::resolve::{AggregateKind, Excess, Registry, SeriesId};
use crate::text::visible::shortened;

/// The share of the samples beyond a limit that a name must have to be reported: one in this many. Names that come once
/// say nothing, and each would be another series in Prometheus.
const LEAST_SHARE: u64 = 100;

/// The largest number of own series that are held for names. The lists have 15 names at a time, so names that come and
/// go seldom change the catalog.
const MOST_HELD: usize = 60;

/// The own series of names in the lists. Names that left the lists have no value.
#[derive(Debug, Default)]
pub(super) struct NameSeries {
    /// The numbers of the series, by identity. They are gauges.
    held: BTreeMap<String, SeriesId>,
    /// The series with a value in this interval.
    values: Vec<(SeriesId, f64)>,
}

impl NameSeries {
    /// Takes over the lists of an interval. Registers series for new names, and adds them to the catalog.
    pub(super) fn update(
        &mut self,
        telemetry: &Telemetry,
        registry: &Registry,
        catalog: &mut Catalog,
        (policy, now): (PolicyId, u32),
        (lists, excess): (&TopLists, &EnumMap<Excess, ExcessNames>),
    ) {
        let listed = listed(lists, excess);
        let identity = |(list, name): &(&str, String)| {
            telemetry.series(Kind::Gauge, list, &[("name", name)]).identity().to_owned()
        };
        let listed: BTreeMap<_, _> = listed.iter().map(|(key, count)| (identity(key), *count)).collect();
        let new: Vec<_> = listed.keys().filter(|identity| !self.held.contains_key(*identity)).collect();
        if self.held.len() + new.len() > MOST_HELD {
            self.drop_unlisted(&listed, registry, catalog);
        }
        for identity in &new {
            let id = registry.resolve(AggregateKind::Gauge, identity, policy);
            let id = id.expect("limits do not apply to tallyd's own series");
            self.held.insert((*identity).clone(), id);
        }
        if !new.is_empty() {
            catalog.update(registry, now);
        }
        self.values = listed.iter().map(|(identity, count)| (self.held[identity], *count as f64)).collect();
    }

    /// Drops the series of names that are in no list. No line leads to them, so no shard refers to their numbers.
    fn drop_unlisted(&mut self, listed: &BTreeMap<String, u64>, registry: &Registry, catalog: &mut Catalog) {
        let mut dropped = BTreeSet::new();
        self.held.retain(|identity, id| {
            let is_listed = listed.contains_key(identity);
            if !is_listed {
                dropped.insert(*id);
            }
            is_listed
        });
        let dropped: Vec<_> = dropped.into_iter().collect();
        registry.drop_own(AggregateKind::Gauge, &dropped);
        catalog.remove(AggregateKind::Gauge, &dropped, &[]);
    }

    /// Stores the values of this interval in `values`.
    pub(super) fn read(&mut self, catalog: &Catalog, values: &mut [Option<Value>]) {
        for (id, count) in self.values.drain(..) {
            values[catalog.position(AggregateKind::Gauge, id)] = Some(Value::Gauge(count));
        }
    }
}

/// Returns the count of each name in a list, with the name of the list's own series.
fn listed(lists: &TopLists, excess: &EnumMap<Excess, ExcessNames>) -> BTreeMap<(&'static str, String), u64> {
    let mut listed = BTreeMap::new();
    let TopLists { series, added } = lists;
    for (list, names) in [("top_series", series), ("top_series_added", added)] {
        for (name, count) in names.iter() {
            // A long name is shortened, and two long names can become one.
            *listed.entry((list, shortened(name))).or_default() += count;
        }
    }
    let mut beyond = ExcessNames::default();
    excess.values().for_each(|names| beyond.add_all(names));
    let total: u64 = beyond.iter().map(|(_, samples)| samples).sum();
    let names = beyond.iter().filter(|(_, samples)| samples.saturating_mul(LEAST_SHARE) >= total);
    for (name, samples) in names.take(TopNames::LENGTH) {
        *listed.entry(("top_samples_excess", shortened(name))).or_default() += samples;
    }
    listed
}
