//! Supports the tests of this directory, and compares the totals with the naive ones.

mod naive;
mod property;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Format, Naming, Totals};
use crate::export::outcome::ExportOutcome;
use crate::model::{
    Exposition, Kind, Named, Percentile, Policies, Policy, PolicyId, Rows, Series, Snapshot, Statistics,
    Summary, Value,
};

/// Creates totals with the policies of [`policies`].
pub(super) fn totals(naming: Naming, exposition: Exposition) -> Totals {
    let mut totals = Totals::new(naming);
    totals.policies = policies(exposition);
    totals
}

/// Creates one policy, whose series expire after a minute.
pub(super) fn policies(exposition: Exposition) -> Arc<Policies> {
    let statistics = Statistics {
        percentiles: [50.0, 99.9].into_iter().filter_map(Percentile::new).collect(),
        bounds: if exposition == Exposition::Histogram { vec![0.1, 1.0] } else { Vec::new() },
        ..Statistics::default()
    };
    let expire_after = [Duration::from_mins(1); 6];
    let policy = Policy { statistics, exposition, expire_after, ..Policy::default() };
    Arc::new(Policies::new(vec![policy]))
}

/// Adds an interval of ten seconds. The first one begins at 1000.25 s. Returns the number of quarantined or merged
/// rows, by the name of the reason.
pub(super) fn add(totals: &mut Totals, rows: Vec<(Series, Value)>) -> Vec<(&'static str, u64)> {
    let policies = Arc::clone(&totals.policies);
    add_under(totals, policies, rows)
}

/// Adds an interval with these policies. All rows have the first policy.
pub(super) fn add_under(
    totals: &mut Totals,
    policies: Arc<Policies>,
    rows: Vec<(Series, Value)>,
) -> Vec<(&'static str, u64)> {
    let idle: Vec<_> = totals.placements.iter().map(|(series, _)| series.clone()).collect();
    add_live(totals, policies, rows, &idle)
}

/// Adds an interval with these policies. Only the series of the rows and the idle ones are alive.
pub(super) fn add_live(
    totals: &mut Totals,
    policies: Arc<Policies>,
    rows: Vec<(Series, Value)>,
    idle: &[Series],
) -> Vec<(&'static str, u64)> {
    let mut live: BTreeMap<_, _> = idle.iter().map(|series| (series.clone(), None)).collect();
    live.extend(rows.into_iter().map(|(series, value)| (series, Some(value))));
    let ids = vec![PolicyId::default(); live.len()];
    let (series, values) = live.into_iter().unzip();
    let snapshot = Snapshot {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_010_250) + Duration::from_nanos(totals.clock),
        policies,
        ..Rows::new(Arc::new(series), Arc::new(ids), values).into()
    };
    let ExportOutcome { quarantined, merged, absorbed, .. } = totals.add(&snapshot);
    let quarantined = quarantined.into_iter().map(|(reason, count)| (reason.name(), count));
    let merged = merged.into_iter().map(|(reason, count)| (reason.name(), count));
    quarantined.chain(merged).chain([("absorbed", absorbed)]).filter(|&(_, count)| count > 0).collect()
}

/// Creates a row. A distribution has two samples of this value.
pub(super) fn row(kind: Kind, name: &str, tags: &[(&str, &str)], value: f64) -> (Series, Value) {
    let value = match kind {
        Kind::Counter => Value::Counter(value),
        Kind::Gauge => Value::Gauge(value),
        Kind::Set => Value::Set(value),
        Kind::Timing | Kind::Histogram | Kind::Distribution => Value::Summary(Box::new(Summary {
            count: 2.0,
            sum: 2.0 * value,
            percentiles: [value, value].into(),
            buckets: [1.0, 2.0].into(),
            ..Summary::default()
        })),
    };
    (Series::new(kind, name, tags), value)
}

/// Renders the page in one of the text formats.
pub(super) fn text(totals: &Totals, format: Format) -> String {
    String::from_utf8(page(totals, format)).unwrap()
}

/// Renders the page.
pub(super) fn page(totals: &Totals, format: Format) -> Vec<u8> {
    let mut page = Vec::new();
    let Ok(()) = format.render(totals, |piece| -> Result<(), Infallible> {
        page.extend_from_slice(piece);
        Ok(())
    });
    page
}
