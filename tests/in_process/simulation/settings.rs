//! Random settings, and what their rules mean in plain words.

use std::time::Duration;

use fastrand::Rng;
use tallyd::flush::{IdleReporting, ReloadableSettings};
use tallyd::mapping::HistogramOptions;
use tallyd::model::{Kind, Percentile, Policy, Series, Statistics};
use tallyd::resolve::{Limits, RefuseReason};

use crate::pipeline;

/// The settings that a reload changes.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) interval: Duration,
    pub(super) rules: Rules,
    pub(super) percentiles: Vec<f64>,
    /// The lifetime of idle counters, and that of all other idle series.
    pub(super) lifetimes: (Duration, Duration),
    pub(super) idle: IdleReporting,
    pub(super) max_series: usize,
    pub(super) max_bytes: usize,
}

/// The rules of a mapping file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    None,
    /// The rule drops all metrics named `noise.…`.
    Drop,
    /// The rule turns `db.x.time` into `db_time` with the tag `table:x`.
    Rename,
}

impl Rules {
    fn yaml(self) -> &'static str {
        match self {
            Rules::None => "",
            Rules::Drop => "mappings:\n- match: noise.*\n  name: noise\n  action: drop\n",
            Rules::Rename => "mappings:\n- match: db.*.time\n  name: db_time\n  labels:\n    table: $1\n",
        }
    }

    /// Returns the series that the rules make of a series.
    pub(super) fn apply(self, series: Series) -> Result<Series, RefuseReason> {
        let table = series.name().strip_prefix("db.").and_then(|rest| rest.strip_suffix(".time"));
        match (self, table) {
            (Rules::Drop, _) if series.name().starts_with("noise.") => Err(RefuseReason::MappingDrop),
            (Rules::Rename, Some(table)) => Ok(Series::new(series.kind(), "db_time", &[("table", table)])),
            _ => Ok(series),
        }
    }
}

impl Settings {
    /// Returns random settings. If `are_limited`, series run into the limits.
    pub(super) fn random(rng: &mut Rng, are_limited: bool) -> Self {
        let seconds = |rng: &mut Rng| Duration::from_secs(rng.u64(1..60));
        let percentiles = [&[][..], &[50.0], &[50.0, 99.0], &[10.0, 50.0, 90.0, 99.9]];
        let limited = [(12, 1 << 20), (25, 1 << 20), (1000, 200), (1000, 400)];
        let (max_series, max_bytes) = if are_limited { limited[rng.usize(..4)] } else { (100_000, 1 << 24) };
        Self {
            interval: Duration::from_millis([500, 1000, 10_000][rng.usize(..3)]),
            rules: [Rules::None, Rules::Drop, Rules::Rename][rng.usize(..3)],
            percentiles: percentiles[rng.usize(..4)].to_vec(),
            lifetimes: (if rng.bool() { Policy::NEVER } else { seconds(rng) }, seconds(rng)),
            idle: IdleReporting { zero_counters: rng.bool(), zero_sets: rng.bool(), last_gauges: rng.bool() },
            max_series,
            max_bytes,
        }
    }

    /// Returns the lifetime of an idle series.
    pub(super) fn lifetime(&self, kind: Kind) -> Duration {
        if kind == Kind::Counter { self.lifetimes.0 } else { self.lifetimes.1 }
    }

    /// Returns the settings as tallyd takes them.
    pub(super) fn reloadable(&self) -> ReloadableSettings {
        let percentiles = self.percentiles.iter().copied().filter_map(Percentile::new).collect();
        let mut expire_after = [self.lifetimes.1; 6];
        expire_after[Kind::Counter as usize] = self.lifetimes.0;
        let statistics = Statistics { percentiles, ..Statistics::default() };
        let policy = Policy { statistics, expire_after, ..Policy::default() };
        ReloadableSettings {
            idle: self.idle,
            limits: Limits { series: self.max_series, bytes: self.max_bytes },
            telemetry: true,
            ..pipeline::settings(self.rules.yaml(), &policy, &HistogramOptions::default())
        }
    }
}
