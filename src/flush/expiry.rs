//! Drops series that have been idle for too long.

use std::time::Duration;

use enum_map::EnumMap;
use strum::VariantArray;

use super::catalog::{Catalog, IdleSeries};
use crate::aggregate::SharedState;
use crate::model::{Kind, Policies, PolicyId};
use crate::resolve::{AggregateKind, Limits, SeriesId};

/// Drops idle series, in two steps: those that have been idle for their whole lifetime, and those that give way to new
/// series beyond a limit.
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
    /// Whether identities have moved since the shards forgot their line patterns. Patterns learned before the move keep
    /// the old pages in memory.
    has_moved: bool,
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
}

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
        self.announced.is_some() || self.has_moved
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
        if was_reset {
            self.has_moved = false;
        }
        if was_reset && let Some(announced) = self.announced.take() {
            let (dropped, has_moved) = drop_idle(&announced, shared, catalog, policies, now);
            self.has_moved = has_moved;
            return dropped;
        }
        let excess = shared.registry.excess();
        let is_due = now >= self.next_search || excess.series > 0 || excess.bytes > 0;
        if self.announced.is_none() && is_due {
            let shortest = policies.iter().flat_map(|policy| policy.expire_after).min();
            self.next_search = now + shortest.unwrap_or_default() / 8;
            self.announced = announce_idle(shared, catalog, policies, now, excess);
        }
        Dropped::default()
    }
}

/// Announces to the registry the series whose lifetime has ended, and as many others as exceed the limits. Returns
/// `None` if there are none.
fn announce_idle(
    shared: &SharedState,
    catalog: &Catalog,
    policies: &Policies,
    now: Duration,
    mut excess: Limits,
) -> Option<Announced> {
    let at = seconds(now);
    let mut dying = EnumMap::<AggregateKind, Vec<SeriesId>>::default();
    let mut giving_way = EnumMap::<AggregateKind, Vec<SeriesId>>::default();
    for IdleSeries { seen, aggregate, id, bytes } in catalog.longest_idle(at) {
        let (kind, policy) = (catalog.kind(aggregate, id), catalog.policy(aggregate, id));
        let has_expired = is_idle(seen, kind, policies, policy, now);
        if !has_expired && excess.series == 0 && excess.bytes == 0 {
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
    Some(Announced { dying: count, of: catalog.entries().len(), at, giving_way })
}

/// Drops the announced series that are still idle. Also returns whether identities of other series have moved.
fn drop_idle(
    announced: &Announced,
    shared: &SharedState,
    catalog: &mut Catalog,
    policies: &Policies,
    now: Duration,
) -> (Dropped, bool) {
    let SharedState { registry, gauges, .. } = shared;
    let dropped = EnumMap::<AggregateKind, _>::from_fn(|aggregate| {
        let is_idle = |id: SeriesId| {
            let seen = catalog.seen(aggregate, id);
            let gives_way = || announced.giving_way[aggregate].binary_search(&id).is_ok();
            let (kind, policy) = (catalog.kind(aggregate, id), catalog.policy(aggregate, id));
            is_idle(seen, kind, policies, policy, now) || seen < announced.at && gives_way()
        };
        match aggregate {
            // The store forgets the gauge at once. Otherwise a new gauge with this number could lose its first samples.
            AggregateKind::Gauge => registry.drop_dying(aggregate, is_idle, |id| gauges.forget(id)),
            _ => registry.drop_dying(aggregate, is_idle, |_| ()),
        }
    });
    let mut result = Dropped::default();
    if dropped.values().all(Vec::is_empty) {
        return (result, false);
    }
    for (aggregate, ids) in &dropped {
        for &id in ids {
            result.series[catalog.kind(aggregate, id)] += 1;
            result.bytes += catalog.series()[catalog.position(aggregate, id)].identity_len();
        }
    }
    let mut has_moved = false;
    for &kind in AggregateKind::VARIANTS {
        let moved = registry.compact(kind);
        has_moved |= !moved.is_empty();
        catalog.remove(kind, &dropped[kind], &moved);
    }
    (result, has_moved)
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
