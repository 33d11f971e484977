//! Drops series that have been idle for too long.

use std::collections::BTreeSet;
use std::time::Duration;

use enum_map::EnumMap;
use strum::VariantArray;

use super::catalog::{Catalog, IdleSeries};
use crate::aggregate::SharedState;
use crate::model::{Kind, Policies, PolicyId, Series};
use crate::resolve::{AggregateKind, SeriesId, Usage};

/// Drops series, in two steps: those that have been idle for their whole lifetime, those that give way to new series beyond a
/// limit, and those that somebody deleted. The limit is that of all series, or that of a metric or rule.
///
/// A shard that knows a line pattern records without asking the registry. So the registry must not give a number to
/// another series while a shard may still use it.
///
/// 1. The flush announces idle series to the registry. At the next rotation all shards forget their line patterns. From
///    then on they ask the registry, which revives an announced series as soon as a shard asks for it.
/// 2. The flush drops the announced series that had no sample by that rotation and that no shard has asked for.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// The announced series that wait to be dropped, if any.
    announced: Option<Announced>,
    next_search: Duration,
}

#[derive(Debug)]
struct Announced {
    /// The number of announced series.
    dying: usize,
    /// The number of all series when they were announced.
    of: usize,
    /// The time of the announcement, in seconds.
    at: u32,
    /// The announced series that give way before the end of their lifetime, sorted.
    giving_way: EnumMap<AggregateKind, Vec<SeriesId>>,
    /// The announced series that somebody deleted, sorted. They are dropped even if they had samples until the rotation.
    deleted: EnumMap<AggregateKind, Vec<SeriesId>>,
}

/// The time for which a series must have been idle to give way to another series of its metric or rule. A
/// client with new tags in every line must not replace all series of a metric again and again, because Prometheus would
/// store them all.
const IDLE_IN_GROUP: Duration = Duration::from_hours(1);

/// The part of a metric's or rule's series that give way at a time: one in this many. Some may be rare rather than gone.
const PART_OF_GROUP: usize = 10;

/// The series that were dropped.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Their number, per kind.
    pub(super) series: EnumMap<Kind, u64>,
    /// The bytes of their identities.
    pub(super) bytes: usize,
}

impl Expiry {
    /// Returns true if the shards must forget their line patterns at the next rotation.
    pub(super) fn needs_reset(&self) -> bool {
        self.announced.is_some()
    }

    /// Returns the share of all series that are likely to live on.
    pub(super) fn share_kept(&self) -> f64 {
        self.announced.as_ref().map_or(1.0, |Announced { dying, of, .. }| 1.0 - *dying as f64 / *of as f64)
    }

    /// Takes the next step after a rotation at `now`. `was_reset` is true if the rotation made the shards forget their
    /// line patterns. Returns what was dropped.
    pub(super) fn advance(
        &mut self,
        shared: &SharedState,
        catalog: &mut Catalog,
        policies: &Policies,
        now: Duration,
        was_reset: bool,
    ) -> Dropped {
        if was_reset && let Some(announced) = self.announced.take() {
            return drop_idle(&announced, shared, catalog, policies, now);
        }
        if self.announced.is_some() {
            return Dropped::default();
        }
        let excess = shared.registry.excess();
        let deleted = find_deleted(&shared.options.requests.take_deleted(), catalog);
        let is_any_deleted = deleted.values().any(|ids| !ids.is_empty());
        if now >= self.next_search || excess.series > 0 || excess.bytes > 0 || is_any_deleted {
            let lifetimes = policies.iter().flat_map(|policy| policy.expire_after);
            let shortest = lifetimes.min().unwrap_or_default().min(IDLE_IN_GROUP);
            self.next_search = now + shortest / 8;
            self.announced = announce(shared, catalog, policies, now, (excess, deleted));
        }
        Dropped::default()
    }
}

/// Returns the numbers of series that somebody deleted and that are alive, sorted.
fn find_deleted(series: &BTreeSet<Series>, catalog: &Catalog) -> EnumMap<AggregateKind, Vec<SeriesId>> {
    let mut deleted = EnumMap::<AggregateKind, Vec<SeriesId>>::default();
    for (aggregate, id) in series.iter().filter_map(|series| catalog.number(series)) {
        deleted[aggregate].push(id);
    }
    deleted.values_mut().for_each(|ids| ids.sort_unstable());
    deleted
}

/// Announces to the registry the deleted series, those whose lifetime has ended, as many others as exceed the limits, and some
/// idle ones of metrics and rules that had samples for their overflow series. Returns `None` if there are none.
fn announce(
    shared: &SharedState,
    catalog: &Catalog,
    policies: &Policies,
    now: Duration,
    (mut excess, deleted): (Usage, EnumMap<AggregateKind, Vec<SeriesId>>),
) -> Option<Announced> {
    let at = seconds(now);
    let mut dying = deleted.clone();
    let mut giving_way = EnumMap::<AggregateKind, Vec<SeriesId>>::default();
    let mut overflowing = shared.registry.overflowing(|kind, id| catalog.is_seen_at(kind, id, at));
    overflowing.values_mut().for_each(|max_series| *max_series = max_series.div_ceil(PART_OF_GROUP));
    let mut gives_way_in_group = |seen: u32, aggregate, id| {
        if overflowing.is_empty() || u64::from(at.saturating_sub(seen)) < IDLE_IN_GROUP.as_secs() {
            return false;
        }
        let position = catalog.position(aggregate, id);
        let (identity, policy) = (catalog.series()[position].identity(), catalog.policies()[position]);
        let group = shared.registry.group(identity, policy);
        let left = group.and_then(|group| overflowing.get_mut(&group)).filter(|left| **left > 0);
        left.is_some_and(|left| {
            *left -= 1;
            true
        })
    };
    for IdleSeries { seen, aggregate, id, bytes } in catalog.longest_idle(at) {
        if deleted[aggregate].binary_search(&id).is_ok() {
            continue;
        }
        let (kind, policy) = (catalog.kind(aggregate, id), catalog.policy(aggregate, id));
        let has_expired = is_idle(seen, kind, policies, policy, now);
        let is_beyond_limit = excess.series > 0 || excess.bytes > 0;
        if !has_expired && !is_beyond_limit && !gives_way_in_group(seen, aggregate, id) {
            continue;
        }
        // A series that has expired makes room, too.
        excess.series = excess.series.saturating_sub(1);
        excess.bytes = excess.bytes.saturating_sub(bytes);
        dying[aggregate].push(id);
        if !has_expired {
            giving_way[aggregate].push(id);
        }
    }
    let count = dying.values().map(Vec::len).sum();
    if count == 0 {
        return None;
    }
    for (kind, ids) in dying {
        shared.registry.mark_dying(kind, ids);
    }
    giving_way.values_mut().for_each(|ids| ids.sort_unstable());
    Some(Announced { dying: count, of: catalog.entries().len(), at, giving_way, deleted })
}

fn drop_idle(
    announced: &Announced,
    shared: &SharedState,
    catalog: &mut Catalog,
    policies: &Policies,
    now: Duration,
) -> Dropped {
    let SharedState { registry, gauges, .. } = shared;
    let dropped = EnumMap::<AggregateKind, _>::from_fn(|aggregate| {
        let is_idle = |id: SeriesId| {
            let seen = catalog.seen(aggregate, id);
            let gives_way = || announced.giving_way[aggregate].binary_search(&id).is_ok();
            let is_deleted = announced.deleted[aggregate].binary_search(&id).is_ok();
            let (kind, policy) = (catalog.kind(aggregate, id), catalog.policy(aggregate, id));
            is_deleted || is_idle(seen, kind, policies, policy, now) || seen < announced.at && gives_way()
        };
        match aggregate {
            // The store forgets the gauge at once. Otherwise a new gauge with this number could lose its first samples.
            AggregateKind::Gauge => registry.drop_dying(aggregate, is_idle, |id| gauges.forget(id)),
            _ => registry.drop_dying(aggregate, is_idle, |_| ()),
        }
    });
    let mut result = Dropped::default();
    if dropped.values().all(Vec::is_empty) {
        return result;
    }
    for (aggregate, ids) in &dropped {
        for &id in ids {
            result.series[catalog.kind(aggregate, id)] += 1;
            result.bytes += catalog.series()[catalog.position(aggregate, id)].identity_len();
        }
    }
    for &kind in AggregateKind::VARIANTS {
        let moved = registry.compact(kind);
        catalog.remove(kind, &dropped[kind], &moved);
    }
    result
}

/// Returns true if a series that was last seen at `seen`, in seconds, is idle at `now`.
fn is_idle(seen: u32, kind: Kind, policies: &Policies, policy: PolicyId, now: Duration) -> bool {
    let idle = seconds(now).saturating_sub(seen);
    u64::from(idle) >= policies.get(policy).expire_after[kind as usize].as_secs()
}

/// Returns a time in whole seconds, which fit in 32 bits for 136 years.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
