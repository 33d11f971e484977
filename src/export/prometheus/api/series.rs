//! Finds series by their names.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::families::{Distribution, Total};
use super::super::totals::Totals;
use super::identity::Identity;
use super::query::Query;
use crate::model::{Pattern, Percentile, Policies, PolicyId};

/// The number of series in an answer, unless the request wants another one.
const LIMIT: usize = 100;

/// The most series in an answer.
const MOST: usize = 10_000;

/// The most bytes of names and tags in an answer. With 10,000 series, they are 400 for each.
const MOST_BYTES: usize = 4 << 20;

/// A search for series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) pattern: Pattern,
    pub(super) limit: usize,
}

/// The answer to `/api/v1/series`.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// The number of series that match.
    matched: usize,
    /// The first of them, sorted by name and tags.
    series: Vec<Found>,
}

/// A series with its latest values.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    value: FoundValue,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum FoundValue {
    /// The sum since the series began.
    Counter { total: f64 },
    /// A set has the number of its members.
    Gauge { value: f64 },
    /// The percentiles are those of the page. The map is empty without samples.
    Distribution { count: f64, sum: f64, percentiles: Map<String, Value> },
}

impl Search {
    /// Reads the parameters of a search with at most `most` results.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is invalid.
    pub(super) fn take(query: &mut Query, most: usize) -> Result<Self, String> {
        let pattern = query.take("match").unwrap_or_else(|| "*".to_owned());
        let limit = match query.take("limit").map(|limit| limit.parse()) {
            None => LIMIT,
            Some(Ok(limit)) if limit <= most => limit,
            Some(_) => return Err(format!("limit must be a number from 0 to {most}")),
        };
        Ok(Self { pattern: Pattern::new(&pattern), limit })
    }

    /// Returns the series of the page whose names match.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown or invalid.
    pub(super) fn answer(mut query: Query, totals: &Totals) -> Result<Answer, String> {
        let search = Self::take(&mut query, MOST)?;
        query.end()?;
        let members = totals.placements.iter().filter_map(|(series, place)| Some((series, place.member()?)));
        let (mut matched, mut bytes, mut found) = (0, 0, Vec::new());
        for (series, member) in search.pattern.filter(members) {
            matched += 1;
            bytes += series.identity_len();
            if found.len() < search.limit && bytes <= MOST_BYTES {
                found.push(Found { identity: series.into(), value: value(member, totals) });
            }
        }
        Ok(Answer { matched, series: found })
    }
}

/// Returns the value of a member, in the units of the page.
fn value(number: u32, totals: &Totals) -> FoundValue {
    let member = totals.families.member(number);
    match &member.total {
        Total::Counter(total) => FoundValue::Counter { total: *total },
        Total::Gauge(value) => FoundValue::Gauge { value: *value },
        Total::Distribution(total) => {
            let Distribution { count, sum, quantiles, .. } = &**total;
            let percentiles = percentiles(&totals.policies, member.policy.id(), quantiles);
            FoundValue::Distribution { count: *count, sum: *sum, percentiles }
        }
    }
}

/// Names the percentiles of a series.
pub(super) fn percentiles(policies: &Policies, policy: PolicyId, values: &[f64]) -> Map<String, Value> {
    let percentiles = &policies.get(policy).statistics.percentiles;
    let key = |percentile: &Percentile| format!("p{}", percentile.percent());
    percentiles.iter().map(key).zip(values.iter().map(|&value| value.into())).collect()
}
