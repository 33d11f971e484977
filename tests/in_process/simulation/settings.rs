//! Random settings, and what their rules mean in plain words.

use std::time::Duration;

use fastrand::Rng;
use tallyd::flush::{IdleReporting, ReloadableSettings};
use tallyd::mapping::HistogramOptions;
use tallyd::model::{Kind, Percentile, Policy, Series, Statistics};
use tallyd::resolve::{Limits, RefuseReason};

use crate::pipeline;

/// The settings that a reload changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) interval: Duration,
    pub(super) rules: Rules,
    pub(super) percentiles: Vec<f64>,
    /// The time that the percentiles of timings cover on the page. Zero means the latest interval.
    pub(super) window: Duration,
    /// The lifetime of idle counters, and that of all other idle series.
    pub(super) lifetimes: (Duration, Duration),
    pub(super) idle: IdleReporting,
    pub(super) max_series: usize,
    pub(super) max_bytes: usize,
    pub(super) max_series_per_metric: usize,
    pub(super) max_name: usize,
}

/// The rules of a mapping file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    None,
    /// The rule drops all metrics named `noise.…`.
    Drop,
    /// The rule turns `db.x.time` into `db_time` with the tag `table:x`.
    Rename,
    /// The rule turns `calls.x` into `calls_x`. All series with such names share this limit.
    Share(usize),
}

impl Rules {
    fn yaml(self) -> String {
        let rule = match self {
            Rules::None => return String::new(),
            Rules::Drop => "match: noise.*\n  name: noise\n  action: drop".to_owned(),
            Rules::Rename => "match: db.*.time\n  name: db_time\n  labels:\n    table: $1".to_owned(),
            Rules::Share(limit) => format!("match: calls.*\n  name: calls_$1\n  max_series: {limit}"),
        };
        format!("mappings:\n- {rule}\n")
    }

    /// Returns the series that the rules make of a series, and whether it shares the limit of a rule.
    pub(super) fn apply(self, series: Series) -> Result<(Series, bool), RefuseReason> {
        let table = series.name().strip_prefix("db.").and_then(|rest| rest.strip_suffix(".time"));
        match (self, table) {
            (Rules::Drop, _) if series.name().starts_with("noise.") => Err(RefuseReason::MappingDrop),
            (Rules::Rename, Some(table)) => {
                Ok((Series::new(series.kind(), "db_time", &[("table", table)]), false))
            }
            (Rules::Share(_), _) if series.name().starts_with("calls.") => {
                let tags: Vec<_> = series.tags().collect();
                Ok((Series::new(series.kind(), &series.name().replace('.', "_"), &tags), true))
            }
            _ => Ok((series, false)),
        }
    }
}

impl Settings {
    /// Returns random settings. If `are_limited`, series run into the limits.
    pub(super) fn random(rng: &mut Rng, are_limited: bool) -> Self {
        let seconds = |rng: &mut Rng| match rng.u8(..4) {
            0 => Duration::from_hours(3),
            _ => Duration::from_secs(rng.u64(1..60)),
        };
        let percentiles = [&[][..], &[50.0], &[50.0, 99.0], &[10.0, 50.0, 90.0, 99.9]];
        let limited = [(12, 1 << 20), (25, 1 << 20), (1000, 200), (1000, 400)];
        let (max_series, max_bytes) = if are_limited { limited[rng.usize(..4)] } else { (100_000, 1 << 24) };
        let max_series_per_metric = if are_limited { [1, 3, 100_000][rng.usize(..3)] } else { 100_000 };
        let max_name = if are_limited && rng.u8(..4) == 0 { 8 } else { 1024 };
        Self {
            interval: Duration::from_millis([500, 1000, 10_000][rng.usize(..3)]),
            rules: [Rules::None, Rules::Drop, Rules::Rename, Rules::Share(rng.usize(1..5))][rng.usize(..4)],
            percentiles: percentiles[rng.usize(..4)].to_vec(),
            window: Duration::from_secs([0, 0, 5, 60][rng.usize(..4)]),
            lifetimes: (if rng.bool() { Policy::NEVER } else { seconds(rng) }, seconds(rng)),
            idle: IdleReporting { zero_counters: rng.bool(), zero_sets: rng.bool(), last_gauges: rng.bool() },
            max_series,
            max_bytes,
            max_series_per_metric,
            max_name,
        }
    }

    /// Returns settings of which some have other values.
    pub(super) fn changed(&self, rng: &mut Rng, are_limited: bool) -> Self {
        let other = Self::random(rng, are_limited);
        match rng.u8(..4) {
            0 => other,
            1 => Self { rules: other.rules, ..self.clone() },
            2 => Self { percentiles: other.percentiles, window: other.window, ..self.clone() },
            _ => Self {
                rules: self.rules,
                percentiles: self.percentiles.clone(),
                window: self.window,
                ..other
            },
        }
    }

    /// Returns the lifetime of an idle series.
    pub(super) fn lifetime(&self, kind: Kind) -> Duration {
        if kind == Kind::Counter { self.lifetimes.0 } else { self.lifetimes.1 }
    }

    /// Returns true if the series of a rule with a limit still share it under other settings, although no line has named them
    /// since. Their policies must be equal.
    pub(super) fn shares_with(&self, other: &Settings) -> bool {
        let policy = |settings: &Settings| {
            let Settings { rules, percentiles, window, lifetimes, .. } = settings;
            (*rules, percentiles.clone(), *window, *lifetimes)
        };
        matches!(self.rules, Rules::Share(_)) && policy(self) == policy(other)
    }

    /// Returns the settings as tallyd takes them.
    pub(super) fn reloadable(&self) -> ReloadableSettings {
        let percentiles = self.percentiles.iter().copied().filter_map(Percentile::new).collect();
        let mut expire_after = [self.lifetimes.1; 6];
        expire_after[Kind::Counter as usize] = self.lifetimes.0;
        let statistics = Statistics { percentiles, ..Statistics::default() };
        let policy = Policy { statistics, expire_after, percentile_window: self.window, ..Policy::default() };
        let limits = Limits {
            series: self.max_series,
            bytes: self.max_bytes,
            series_per_metric: self.max_series_per_metric,
            name: self.max_name,
        };
        ReloadableSettings {
            idle: self.idle,
            limits,
            telemetry: true,
            ..pipeline::settings(&self.rules.yaml(), &policy, &HistogramOptions::default())
        }
    }
}
