//! Finds series by their names.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::families::{Distribution, Total};
use super::super::totals::Totals;
use super::query::Query;
use crate::model::{Named, Percentile, Series};

/// The number of series in an answer, unless the request wants another one.
const LIMIT: usize = 100;

/// The most series in an answer.
const MOST: usize = 10_000;

/// A search for series.
#[derive(Debug)]
pub(super) struct Search {
    /// The parts of the pattern between its `*`.
    parts: Vec<String>,
    limit: usize,
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
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Several values of a key are a list.
    tags: Map<String, Value>,
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
    /// Reads the parameters of a search.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown or invalid.
    pub(super) fn new(mut query: Query) -> Result<Self, String> {
        let pattern = query.take("match").unwrap_or_else(|| "*".to_owned());
        let limit = match query.take("limit").map(|limit| limit.parse()) {
            None => LIMIT,
            Some(Ok(limit)) if limit <= MOST => limit,
            Some(_) => return Err(format!("limit must be a number from 0 to {MOST}")),
        };
        query.end()?;
        Ok(Self { parts: pattern.split('*').map(str::to_owned).collect(), limit })
    }

    /// Returns the series of the page whose names match.
    pub(super) fn answer(&self, totals: &Totals) -> Answer {
        let mut answer = Answer { matched: 0, series: Vec::new() };
        // All series of a name follow each other, so each name is compared once.
        let mut latest: Option<(&str, bool)> = None;
        let members = totals.placements.iter().filter_map(|(series, place)| Some((series, place.member()?)));
        for (series, member) in members {
            let name = series.name();
            let is_match = match latest {
                Some((same, is_match)) if same == name => is_match,
                _ => matches(&self.parts, name),
            };
            latest = Some((name, is_match));
            if is_match {
                answer.matched += 1;
                if answer.series.len() < self.limit {
                    answer.series.push(found(series, member, totals));
                }
            }
        }
        answer
    }
}

/// Returns true if a name has the parts in their order, the first at its beginning and the last at its end.
fn matches(parts: &[String], name: &str) -> bool {
    let [first, middle @ .., last] = parts else { return parts.concat() == name };
    let Some(mut rest) = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    middle.iter().all(|part| match rest.find(part.as_str()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Returns a series with the latest values of its member.
fn found(series: &Series, member: u32, totals: &Totals) -> Found {
    let mut tags = Map::new();
    for (key, value) in series.tags() {
        match tags.get_mut(key) {
            None => _ = tags.insert(key.to_owned(), value.into()),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(one) => *one = json!([one.take(), value]),
        }
    }
    Found { name: series.name().to_owned(), kind: series.kind().name(), tags, value: value(member, totals) }
}

/// Returns the value of a member, in the units of the page.
fn value(number: u32, totals: &Totals) -> FoundValue {
    let member = totals.families.member(number);
    match &member.total {
        Total::Counter(total) => FoundValue::Counter { total: *total },
        Total::Gauge(value) => FoundValue::Gauge { value: *value },
        Total::Distribution(total) => {
            let Distribution { count, sum, quantiles, .. } = &**total;
            let percentiles = &totals.policies.get(member.policy.id()).statistics.percentiles;
            let key = |percentile: &Percentile| format!("p{}", percentile.percent());
            let percentiles = percentiles.iter().map(key).zip(quantiles.iter().map(|&value| value.into()));
            FoundValue::Distribution { count: *count, sum: *sum, percentiles: percentiles.collect() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_pattern_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*", "a.b", true),
            ("", "", true),
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.b", true),
            ("*.b", "a.b", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            ("a**e", "abcde", true),
        ] {
            let parts: Vec<_> = pattern.split('*').map(str::to_owned).collect();
            assert_eq!(matches(&parts, name), expected, "{pattern} {name}");
        }
    }
}
