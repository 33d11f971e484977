//! The limits and the lifetimes of series in their simplest form: one map of the series that are alive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tallyd::model::{RESERVED_PREFIX, Series};
use tallyd::resolve::{OverflowLimit, RefuseReason};

use super::plain_state::PlainSeries;
use super::settings::{Rules, Settings};
use crate::model::{Admitted, is_tagged, overflow_of, share_metric};

/// The time after which idle series of a full metric or rule give way to others of it.
const IDLE_IN_GROUP: Duration = Duration::from_hours(1);

/// The series that are alive, and the settings that decide which live on.
pub(super) struct PlainRegistry {
    /// Each series, with the second in which it last had samples.
    pub(super) live: BTreeMap<Series, u32>,
    /// The series that have samples in the open interval.
    pub(super) sampled: BTreeSet<Series>,
    /// The overflow series, except restored ones.
    overflow: BTreeSet<Series>,
    /// The series that share the limit of a rule.
    ruled: BTreeSet<Series>,
    /// The latest settings. Their limits and idle values apply at once.
    pub(super) settings: Settings,
    /// The settings whose rules, percentiles and lifetimes apply to the open interval.
    pub(super) in_force: Settings,
    /// The series without samples in the latest interval. New series may take their room.
    idle: Usage,
    dying: Option<Dying>,
    next_search: Duration,
}

/// A number of series, and of the bytes of their identities.
#[derive(Debug, Clone, Copy)]
struct Usage {
    series: usize,
    bytes: usize,
}

impl Usage {
    fn of<'a>(series: impl Iterator<Item = &'a Series>) -> Self {
        let add = |Self { series, bytes }, one| Self { series: series + 1, bytes: bytes + identity_len(one) };
        series.fold(Self { series: 0, bytes: 0 }, add)
    }
}

/// The series that are dropped at the end of the open interval, unless they have samples until then.
struct Dying {
    at: u32,
    /// Each series, and whether it only gives way to others.
    series: Vec<(Series, bool)>,
}

/// Returns the number of bytes that count against the limit: name, keys and values, each with one byte behind it, and
/// the type. A tag without a value takes one byte for it.
fn identity_len(series: &Series) -> usize {
    let tags = series.tags().map(|(key, value)| key.len() + 1 + value.len().max(1) + 1);
    series.name().len() + 1 + tags.sum::<usize>() + 1
}

impl PlainRegistry {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            live: BTreeMap::new(),
            sampled: BTreeSet::new(),
            overflow: BTreeSet::new(),
            ruled: BTreeSet::new(),
            in_force: settings.clone(),
            settings,
            idle: Usage::of([].iter()),
            dying: None,
            next_search: Duration::ZERO,
        }
    }

    /// Makes the series of an earlier life alive again. They count as idle, whatever the limits are.
    pub(super) fn restore(&mut self, saved: &PlainSeries, downtime: Duration, now: Duration) {
        for (series, idle) in &saved.idle {
            let idle = u64::from(*idle) + downtime.as_secs();
            if idle < self.in_force.lifetime(series.kind()).as_secs() {
                self.live.insert(series.clone(), (now.as_secs() - idle) as u32);
            }
        }
        self.idle = Usage::of(self.live.keys());
        if self.in_force.shares_with(&saved.settings) {
            let is_alive = |series: &&Series| self.live.contains_key(series);
            self.ruled = saved.ruled.iter().filter(is_alive).cloned().collect();
        }
    }

    /// Returns the state of all series after the interval that ended at `now`.
    pub(super) fn state(&self, now: Duration) -> PlainSeries {
        let idle = |(series, seen): (&Series, &u32)| (series.clone(), now.as_secs() as u32 - seen);
        PlainSeries {
            idle: self.live.iter().map(idle).collect(),
            gauges: BTreeMap::new(),
            ruled: self.ruled.clone(),
            settings: self.in_force.clone(),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        self.in_force.rules
    }

    /// Returns the series that records a sample, or the reason for refusing the sample.
    pub(super) fn admit(&mut self, series: Series) -> Result<Admitted, RefuseReason> {
        if series.name().starts_with(RESERVED_PREFIX) {
            return Err(RefuseReason::ReservedName);
        }
        let (series, is_ruled) = self.rules().apply(series)?;
        let mut admitted = (series, None);
        let (series, _) = &admitted;
        if !self.live.contains_key(series) {
            if series.name().len() > self.settings.max_name {
                return Err(RefuseReason::NameTooLong);
            }
            if let Err(limit) = self.check_room(series, is_ruled) {
                let overflow = if is_ruled {
                    overflow_of(&Series::new(series.kind(), "calls_overflow", &[]))
                } else {
                    overflow_of(series)
                };
                admitted = (overflow, Some(limit));
                let (overflow, _) = &admitted;
                if !self.live.contains_key(overflow) {
                    self.check_total(overflow, self.total()).map_err(|limit| match limit {
                        OverflowLimit::MaxSeries => RefuseReason::MaxSeries,
                        _ => RefuseReason::MaxSeriesBytes,
                    })?;
                }
                self.overflow.insert(overflow.clone());
            }
        }
        if is_ruled {
            self.ruled.insert(admitted.0.clone());
        }
        self.live.entry(admitted.0.clone()).or_insert(0);
        self.sampled.insert(admitted.0.clone());
        Ok(admitted)
    }

    /// Checks whether there is room for a new series. `is_ruled` is true if it shares the limit of a rule.
    fn check_room(&self, series: &Series, is_ruled: bool) -> Result<(), OverflowLimit> {
        let Settings { max_series, max_bytes, max_series_per_metric, .. } = self.settings;
        let mut used = Usage::of(self.live.keys().filter(|other| share_metric(series, other)));
        if is_ruled {
            used = Usage::of(self.ruled.iter());
            if used.series >= self.rule_limit() {
                return Err(OverflowLimit::RuleMaxSeries);
            }
        } else if is_tagged(series) && used.series >= max_series_per_metric {
            return Err(OverflowLimit::MaxSeriesPerMetric);
        }
        let mut total = self.total();
        let is_small = used.series < (max_series / 100).max(1) && used.bytes < (max_bytes / 100).max(1);
        if !is_small {
            total = Usage { series: total.series - max_series / 10, bytes: total.bytes - max_bytes / 10 };
        }
        self.check_total(series, total)
    }

    /// Returns the limit that the series of the rule share.
    fn rule_limit(&self) -> usize {
        if let Rules::Share(limit) = self.rules() { limit } else { usize::MAX }
    }

    /// Returns true if two series count towards one limit: that of the rule, or that of a metric.
    fn share_limit(&self, one: &Series, other: &Series) -> bool {
        match [one, other].map(|series| self.ruled.contains(series)) {
            [false, false] => share_metric(one, other),
            [one, other] => one && other,
        }
    }

    fn check_total(&self, series: &Series, total: Usage) -> Result<(), OverflowLimit> {
        let used = Usage::of(self.live.keys());
        if used.series >= total.series {
            return Err(OverflowLimit::MaxSeries);
        }
        let bytes = used.bytes + identity_len(series);
        if bytes > total.bytes { Err(OverflowLimit::MaxSeriesBytes) } else { Ok(()) }
    }

    /// Returns what all series may use, with the room of those that are idle.
    fn total(&self) -> Usage {
        let Settings { max_series, max_bytes, .. } = self.settings;
        let Usage { series, bytes } = self.idle;
        Usage { series: max_series + series.min(max_series), bytes: max_bytes + bytes.min(max_bytes) }
    }

    /// Notes which series had samples in the interval that ends at `now`.
    pub(super) fn mark_seen(&mut self, now: Duration) {
        for series in &self.sampled {
            self.live.insert(series.clone(), now.as_secs() as u32);
        }
    }

    /// Takes the step after an interval that ended at `now`: announces idle series, or drops the announced ones. Returns
    /// the series that are dropped.
    pub(super) fn end(&mut self, now: Duration) -> Vec<Series> {
        let earlier = std::mem::replace(&mut self.in_force, self.settings.clone());
        if !self.in_force.shares_with(&earlier) {
            self.ruled.clear();
        }
        let dropped: Vec<_> = if let Some(dying) = self.dying.take() {
            let gone = |(series, gives_way): (Series, bool)| {
                let seen = self.live[&series];
                (self.is_expired(&series, now) || gives_way && seen < dying.at).then_some(series)
            };
            dying.series.into_iter().filter_map(gone).collect()
        } else {
            self.announce(now);
            Vec::new()
        };
        for series in &dropped {
            self.live.remove(series);
            self.overflow.remove(series);
            self.ruled.remove(series);
        }
        self.idle = Usage::of(self.live.keys().filter(|series| !self.sampled.contains(series)));
        self.sampled.clear();
        dropped
    }

    fn announce(&mut self, now: Duration) {
        let Settings { max_series, max_bytes, max_series_per_metric, .. } = self.settings;
        let used = Usage::of(self.live.keys());
        let mut excess = used.series.saturating_sub(max_series);
        let mut excess_bytes = used.bytes.saturating_sub(max_bytes);
        if now < self.next_search && excess == 0 && excess_bytes == 0 {
            return;
        }
        let lifetimes = self.in_force.lifetimes;
        self.next_search = now + lifetimes.0.min(lifetimes.1).min(IDLE_IN_GROUP) / 8;
        let at = now.as_secs() as u32;
        // The overflow series that had samples, each with the number of series of its metric or rule that give way at a time.
        let overflowing = self.overflow.iter().filter(|series| self.live[series] == at);
        let limit =
            |series| if self.ruled.contains(series) { self.rule_limit() } else { max_series_per_metric };
        let mut give_way: Vec<_> = overflowing.map(|series| (series, limit(series).div_ceil(10))).collect();
        let mut idle: Vec<_> = self.live.iter().filter(|(_, seen)| **seen < at).collect();
        idle.sort_by_key(|(_, seen)| **seen);
        let mut series = Vec::new();
        for (one, seen) in idle {
            let is_expired = self.is_expired(one, now);
            let mut is_chosen = is_expired || excess > 0 || excess_bytes > 0;
            if !is_chosen
                && u64::from(at - seen) >= IDLE_IN_GROUP.as_secs()
                && let Some((_, left)) =
                    give_way.iter_mut().find(|(overflow, left)| *left > 0 && self.share_limit(overflow, one))
            {
                *left -= 1;
                is_chosen = true;
            }
            if is_chosen {
                excess = excess.saturating_sub(1);
                excess_bytes = excess_bytes.saturating_sub(identity_len(one));
                series.push((one.clone(), !is_expired));
            }
        }
        self.dying = (!series.is_empty()).then_some(Dying { at, series });
    }

    fn is_expired(&self, series: &Series, now: Duration) -> bool {
        let idle = now.as_secs() - u64::from(self.live[series]);
        idle >= self.in_force.lifetime(series.kind()).as_secs()
    }
}
