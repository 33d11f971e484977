//! The limits and the lifetimes of series in their simplest form: one map of the series that are alive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tallyd::model::{RESERVED_PREFIX, Series};
use tallyd::resolve::RefuseReason;

use super::settings::{Rules, Settings};

/// The series that are alive, and the settings that decide which live on.
pub(super) struct PlainRegistry {
    /// Each series, with the second in which it last had samples.
    pub(super) live: BTreeMap<Series, u32>,
    /// The series that have samples in the open interval.
    pub(super) sampled: BTreeSet<Series>,
    /// The latest settings. Their limits and idle values apply at once.
    pub(super) settings: Settings,
    /// The settings whose rules, percentiles and lifetimes apply to the open interval.
    pub(super) in_force: Settings,
    /// The series without samples in the latest interval, and the bytes of their identities. New series may take their
    /// room.
    idle: (usize, usize),
    dying: Option<Dying>,
    next_search: Duration,
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

fn bytes_of<'a>(series: impl Iterator<Item = &'a Series>) -> usize {
    series.map(identity_len).sum()
}

impl PlainRegistry {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            live: BTreeMap::new(),
            sampled: BTreeSet::new(),
            in_force: settings.clone(),
            settings,
            idle: (0, 0),
            dying: None,
            next_search: Duration::ZERO,
        }
    }

    pub(super) fn rules(&self) -> Rules {
        self.in_force.rules
    }

    /// Returns the series that records a sample, or the reason for refusing the sample.
    pub(super) fn admit(&mut self, series: Series) -> Result<Series, RefuseReason> {
        if series.name().starts_with(RESERVED_PREFIX) {
            return Err(RefuseReason::ReservedName);
        }
        let series = self.rules().apply(series)?;
        if !self.live.contains_key(&series) {
            let Settings { max_series, max_bytes, .. } = self.settings;
            if self.live.len() >= max_series + self.idle.0.min(max_series) {
                return Err(RefuseReason::MaxSeries);
            }
            let bytes = bytes_of(self.live.keys()) + identity_len(&series);
            if bytes > max_bytes + self.idle.1.min(max_bytes) {
                return Err(RefuseReason::MaxSeriesBytes);
            }
            self.live.insert(series.clone(), 0);
        }
        self.sampled.insert(series.clone());
        Ok(series)
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
        self.in_force = self.settings.clone();
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
        dropped.iter().for_each(|series| _ = self.live.remove(series));
        let idle = || self.live.keys().filter(|series| !self.sampled.contains(series));
        self.idle = (idle().count(), bytes_of(idle()));
        self.sampled.clear();
        dropped
    }

    fn announce(&mut self, now: Duration) {
        let Settings { max_series, max_bytes, lifetimes, .. } = self.settings;
        let mut excess = self.live.len().saturating_sub(max_series);
        let mut excess_bytes = bytes_of(self.live.keys()).saturating_sub(max_bytes);
        if now < self.next_search && excess == 0 && excess_bytes == 0 {
            return;
        }
        self.next_search = now + lifetimes.0.min(lifetimes.1) / 8;
        let at = now.as_secs() as u32;
        let mut idle: Vec<_> = self.live.iter().filter(|(_, seen)| **seen < at).collect();
        idle.sort_by_key(|(_, seen)| **seen);
        let mut series = Vec::new();
        for (one, _) in idle {
            let is_expired = self.is_expired(one, now);
            if is_expired || excess > 0 || excess_bytes > 0 {
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
