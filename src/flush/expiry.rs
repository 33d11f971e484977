//! Drops series that have been idle for too long.

use std::time::Duration;

use enum_map::EnumMap;
use strum::VariantArray;

use super::catalog::Catalog;
use crate::aggregate::SharedState;
use crate::model::{Kind, Policies, PolicyId};
use crate::resolve::{AggregateKind, SeriesId};

/// Drops idle series, in two steps.
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
}

impl Expiry {
    /// Returns true if the shards must forget their line patterns at the next rotation.
    pub(super) fn needs_reset(&self) -> bool {
        self.announced.is_some()
    }

    /// Returns the share of all series that are likely to live on.
    pub(super) fn share_kept(&self) -> f64 {
        self.announced.as_ref().map_or(1.0, |Announced { dying, of }| 1.0 - *dying as f64 / *of as f64)
    }

    /// Takes the next step after a rotation at `now`. `was_reset` is true if the rotation made the shards forget their
    /// line patterns.
    pub(super) fn advance(
        &mut self,
        shared: &SharedState,
        catalog: &mut Catalog,
        policies: &Policies,
        now: Duration,
        was_reset: bool,
    ) {
        if was_reset && self.announced.take().is_some() {
            drop_idle(shared, catalog, policies, now);
        } else if self.announced.is_none() && now >= self.next_search {
            let shortest = policies.iter().flat_map(|policy| policy.expire_after).min();
            self.next_search = now + shortest.unwrap_or_default() / 8;
            self.announced = announce_idle(shared, catalog, policies, now);
        }
    }
}

/// Announces the idle series to the registry. Returns `None` if no series is idle.
fn announce_idle(
    shared: &SharedState,
    catalog: &Catalog,
    policies: &Policies,
    now: Duration,
) -> Option<Announced> {
    let idle = EnumMap::<AggregateKind, _>::from_fn(|aggregate| {
        catalog.ids(aggregate, |id, kind, policy| {
            is_idle(catalog.seen(aggregate, id), kind, policies, policy, now)
        })
    });
    let dying = idle.values().map(Vec::len).sum();
    if dying == 0 {
        return None;
    }
    for (kind, ids) in idle {
        shared.registry.mark_dying(kind, ids);
    }
    Some(Announced { dying, of: catalog.entries().len() })
}

fn drop_idle(shared: &SharedState, catalog: &mut Catalog, policies: &Policies, now: Duration) {
    let SharedState { registry, gauges, .. } = shared;
    let dropped = EnumMap::<AggregateKind, _>::from_fn(|aggregate| {
        let is_idle = |id: SeriesId| {
            let (kind, policy) = (catalog.kind(aggregate, id), catalog.policy(aggregate, id));
            is_idle(catalog.seen(aggregate, id), kind, policies, policy, now)
        };
        match aggregate {
            // The store forgets the gauge at once. Otherwise a new gauge with this number could lose its first samples.
            AggregateKind::Gauge => registry.drop_dying(aggregate, is_idle, |id| gauges.forget(id)),
            _ => registry.drop_dying(aggregate, is_idle, |_| ()),
        }
    });
    if dropped.values().all(Vec::is_empty) {
        return;
    }
    for &kind in AggregateKind::VARIANTS {
        let moved = registry.compact(kind);
        catalog.remove(kind, &dropped[kind], &moved);
    }
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
