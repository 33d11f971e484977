//! Finds series by their names.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::families::{Distribution, Total};
use super::super::totals::Totals;
use super::identity::Identity;
use super::query::Query;
use crate::model::{Pattern, Percentile, Policies, PolicyId, Series};

/// The number of series in an answer, unless the request wants another one.
const LIMIT: usize = 100;

/// The most series in an answer.
const MOST: usize = 10_000;

/// The most bytes of names and tags in an answer. With 10,000 series, they are 400 for each.
const MOST_BYTES: usize = 4 << 20;

/// A search for series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pattern: Pattern,
    limit: usize,
}

/// A series that was found, with its value.
#[derive(Debug, Serialize)]
pub(super) struct Found<V> {
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    value: V,
}

/// The answer to `/api/v1/series`.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// The number of series that match.
    matched: usize,
    /// The first of them, sorted by name and tags, or those with the largest values.
    series: Vec<Found<LatestValue>>,
}

/// The latest values of a series.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LatestValue {
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

    /// Returns the number of series whose names match, and the first of them with their values: as many as the request wants, and
    /// at most `most_bytes` of names and tags. All series of a name must follow each other.
    pub(super) fn find<'a, T, V>(
        &self,
        series: impl Iterator<Item = (&'a Series, T)>,
        most_bytes: usize,
        value: impl Fn(T) -> V,
    ) -> (usize, Vec<Found<V>>) {
        let (mut matched, mut bytes, mut found) = (0, 0, Vec::new());
        for (series, of_series) in self.pattern.filter(series) {
            matched += 1;
            bytes += series.identity_len();
            if found.len() < self.limit && bytes <= most_bytes {
                found.push(Found { identity: series.into(), value: value(of_series) });
            }
        }
        (matched, found)
    }

    /// Returns the number of series whose names match, and those with the largest values: as many as the request wants. Of equal
    /// values, the first names come first.
    fn find_largest<'a>(
        &self,
        members: impl Iterator<Item = (&'a Series, u32)>,
        totals: &Totals,
    ) -> (usize, Vec<(&'a Series, u32)>) {
        let mut largest = Vec::new();
        let descending = |(a, a_series, _): &(f64, &Series, u32), (b, b_series, _): &(f64, &Series, u32)| {
            b.total_cmp(a).then_with(|| a_series.cmp(b_series))
        };
        let mut matched = 0;
        for (series, member) in self.pattern.filter(members) {
            matched += 1;
            largest.push((main_number(member, totals), series, member));
            // The list stays short, and a series takes constant time on average.
            if largest.len() > 2 * self.limit {
                largest.select_nth_unstable_by(self.limit, descending);
                largest.truncate(self.limit);
            }
        }
        largest.sort_unstable_by(descending);
        largest.truncate(self.limit);
        (matched, largest.into_iter().map(|(_, series, member)| (series, member)).collect())
    }

    /// Returns the series of the page whose names match.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown or invalid.
    pub(super) fn answer(mut query: Query, totals: &Totals) -> Result<Answer, String> {
        let search = Self::take(&mut query, MOST)?;
        let by_value = match query.take("sort").as_deref() {
            None | Some("name") => false,
            Some("value") => true,
            Some(_) => return Err("sort must be name or value".to_owned()),
        };
        query.end()?;
        let members = totals.placements.iter().filter_map(|(series, place)| Some((series, place.member()?)));
        let value = |member| value(member, totals);
        let (matched, series) = if by_value {
            let (matched, largest) = search.find_largest(members, totals);
            let all = Self { pattern: Pattern::new("*"), ..search };
            (matched, all.find(largest.into_iter(), MOST_BYTES, value).1)
        } else {
            search.find(members, MOST_BYTES, value)
        };
        Ok(Answer { matched, series })
    }
}

/// Returns the number by which people compare series: a total, a value, or the number of values.
fn main_number(number: u32, totals: &Totals) -> f64 {
    match &totals.families.member(number).total {
        Total::Counter(number) | Total::Gauge(number) => *number,
        Total::Distribution(total) => total.count,
    }
}

/// Returns the value of a member, in the units of the page.
fn value(number: u32, totals: &Totals) -> LatestValue {
    let member = totals.families.member(number);
    match &member.total {
        Total::Counter(total) => LatestValue::Counter { total: *total },
        Total::Gauge(value) => LatestValue::Gauge { value: *value },
        Total::Distribution(total) => {
            let Distribution { count, sum, quantiles, .. } = &**total;
            let percentiles = percentiles(&totals.policies, member.policy.id(), quantiles);
            LatestValue::Distribution { count: *count, sum: *sum, percentiles }
        }
    }
}

/// Names the percentiles of a series.
pub(super) fn percentiles(policies: &Policies, policy: PolicyId, values: &[f64]) -> Map<String, Value> {
    let percentiles = &policies.get(policy).statistics.percentiles;
    let key = |percentile: &Percentile| format!("p{}", percentile.percent());
    percentiles.iter().map(key).zip(values.iter().map(|&value| value.into())).collect()
}
