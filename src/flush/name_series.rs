//! Reports the metric names that take the most as tallyd's own series.

use std::collections::{BTreeMap, BTreeSet};

use enum_map::EnumMap;

use super::catalog::Catalog;
use crate::aggregate::FrequentNames;
use crate::model::{Estimate, Kind, PolicyId, Sender, Talkers, Telemetry, Value};
use crate::resolve::{AggregateKind, Excess, Registry, SeriesId};
use crate::text::visible::shortened;

/// The share of the rejected lines, or of the samples beyond a limit, that a name must certainly have to be reported: one in this many.
/// Names that come once say nothing, and each would be another series in Prometheus.
pub(super) const LEAST_SHARE: u64 = 100;

/// The same share of all lines. Among many names that are alike, others are the largest each time.
const LEAST_SHARE_OF_ALL: u64 = 20;

/// The number of names in each list.
const LISTED: usize = 5;

/// The largest number of own series that are held for names. The lists have 30 names and senders at a time, so names that come and
/// go seldom change the catalog.
const MOST_HELD: usize = 120;

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
        (talkers, excess): (&Talkers, &EnumMap<Excess, FrequentNames>),
    ) {
        let listed = listed(talkers, excess);
        let identity = |(list, key, value): &(&str, &str, String)| {
            telemetry.series(Kind::Gauge, list, &[(key, value)]).identity().to_owned()
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

/// Returns the number of each name and sender in a list, with the name of the list's own series, and its tag.
fn listed(
    talkers: &Talkers,
    excess: &EnumMap<Excess, FrequentNames>,
) -> BTreeMap<(&'static str, &'static str, String), u64> {
    let Talkers { lines, samples, series, added, rejected, senders, .. } = talkers;
    let least = *lines as f64 / LEAST_SHARE_OF_ALL as f64;
    let is_certain = |estimate: &Estimate| estimate.number - estimate.error >= least;
    let mut listed = BTreeMap::new();
    // The ports of an address, and the processes of a user, change too often to be tags.
    for (origin, estimate) in senders.iter().filter(|(_, estimate)| is_certain(estimate)).take(LISTED) {
        if let Some(sender) = without_port(origin.sender) {
            *listed.entry(("top_senders", "sender", sender)).or_default() += estimate.number as u64;
        }
    }
    let mut add = |list, names: &mut dyn Iterator<Item = (&str, u64)>| {
        for (name, count) in names.take(LISTED) {
            // A long name is shortened, and two long names can become one.
            *listed.entry((list, "name", shortened(name))).or_default() += count;
        }
    };
    let certain = samples.iter().filter(|(_, estimate)| is_certain(estimate));
    add("top_samples", &mut certain.map(|(name, estimate)| (name.as_str(), estimate.number as u64)));
    add("top_series", &mut series.iter());
    add("top_series_added", &mut added.iter());
    add("top_lines_rejected", &mut rejected.iter());
    let mut beyond = FrequentNames::default();
    excess.values().for_each(|names| beyond.add_all(names));
    add("top_samples_excess", &mut beyond.with_share(LEAST_SHARE));
    listed
}

/// Returns the address or the user of a sender, if it is known.
fn without_port(sender: Sender) -> Option<String> {
    match sender {
        Sender::Unknown => None,
        Sender::Address(address) => Some(address.ip().to_canonical().to_string()),
        Sender::Host(_) => Some(sender.to_string()),
        Sender::Process { uid, .. } => Some(format!("uid {uid}")),
    }
}
