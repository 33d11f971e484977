//! Remembers the values of ten minutes.

use std::collections::VecDeque;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value as Json};
use strum::VariantArray;

use super::distribution::Watched;
use super::identity::Identity;
use super::query::Query;
use super::series::percentiles;
use crate::model::{
    Claim, FlushRequests, Kind, MILLISECONDS, Memory, MemoryPart, Named, Pattern, Policies, PolicyId, Series,
    Snapshot, Summary, Value, time_text,
};

/// The time for which values are kept.
const KEPT: Duration = Duration::from_mins(10);

/// The most intervals that are kept.
pub(super) const MOST_INTERVALS: usize = 600;

/// The series whose distributions are collected at a time. If there is one more, the one about which nobody has asked for
/// the longest time gives way.
const MOST_WATCHED: usize = 16;

/// The values of all series in the latest intervals, as far as the memory allows.
#[derive(Debug)]
pub(super) struct History {
    /// Oldest first.
    intervals: VecDeque<Interval>,
    /// The series of the latest interval.
    series: Arc<Vec<Series>>,
    /// The end of the latest interval.
    time: SystemTime,
    watched: Vec<Watched>,
    requests: FlushRequests,
    memory: Memory,
}

/// The values of one interval.
#[derive(Debug)]
struct Interval {
    end: SystemTime,
    length: Duration,
    series: Arc<Vec<Series>>,
    policies: Arc<Policies>,
    policy_ids: Arc<Vec<PolicyId>>,
    /// The value of each series. It is NaN without samples. For a distribution, it is the position of its numbers.
    values: Vec<f64>,
    /// For each distribution: the count, the mean, the maximum and the percentiles.
    numbers: Vec<f64>,
    _claim: Claim,
}

/// The answer to `/api/v1/history`.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    identity: Identity,
    /// Oldest first. An interval without samples has none.
    points: Vec<Point>,
    /// `null` unless values were collected.
    distribution: Option<super::distribution::Answer>,
}

/// The answer to `/api/v1/delete`.
#[derive(Debug, Serialize)]
pub(super) struct Deleted {
    /// The number of series.
    deleted: usize,
}

#[derive(Debug, Serialize)]
struct Point {
    /// The end of the interval.
    time: String,
    /// The length of the interval in seconds.
    seconds: f64,
    #[serde(flatten)]
    value: PointValue,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PointValue {
    Number { value: f64 },
    Distribution { count: f64, mean: f64, max: f64, percentiles: Map<String, Json> },
}

impl History {
    pub(super) fn new(requests: FlushRequests, memory: Memory) -> Self {
        Self {
            intervals: VecDeque::new(),
            series: Arc::default(),
            time: SystemTime::UNIX_EPOCH,
            watched: Vec::new(),
            requests,
            memory,
        }
    }

    /// Adds the values of an interval. The oldest intervals give way to it.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        self.time = snapshot.time;
        self.series = Arc::clone(snapshot.rows.series());
        while self.intervals.len() == MOST_INTERVALS
            || self.intervals.front().is_some_and(|oldest| is_old(oldest.end, self.time))
        {
            self.intervals.pop_front();
        }
        let bytes = Interval::bytes(snapshot, self.intervals.back());
        let claim = loop {
            match self.memory.try_claim(MemoryPart::History, bytes) {
                Some(claim) => break Some(claim),
                None if self.intervals.pop_front().is_none() => break None,
                None => {}
            }
        };
        self.intervals.extend(claim.map(|claim| Interval::new(snapshot, claim)));
        self.watch(snapshot);
    }

    fn watch(&mut self, snapshot: &Snapshot) {
        let before = self.watched.len();
        self.watched.retain(|watched| !is_old(watched.asked, snapshot.time));
        for (series, values) in &snapshot.distributions {
            if let Some(watched) = self.watched.iter_mut().find(|watched| watched.series == *series) {
                let begin = snapshot.time.checked_sub(snapshot.interval).unwrap_or(snapshot.time);
                watched.add(begin..snapshot.time, values, &self.memory);
            }
        }
        let earliest = snapshot.time.checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH);
        self.watched.iter_mut().for_each(|watched| watched.forget(earliest));
        if self.watched.len() < before {
            self.tell_flush();
        }
    }

    fn tell_flush(&self) {
        self.requests.watch(self.watched.iter().map(|watched| watched.series.clone()));
    }

    /// Asks the flush to forget the series of clients whose names match.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown, missing or invalid.
    pub(super) fn delete(&self, mut query: Query) -> Result<Deleted, String> {
        let pattern = query.take("match").ok_or("the parameter match is missing")?;
        let kind = query.take("type").map(|name| kind_of(&name)).transpose()?;
        query.end()?;
        let kinds = kind.as_ref().map_or(Kind::VARIANTS, slice::from_ref);
        let deleted = self.requests.delete(&self.series, &Pattern::new(&pattern), kinds);
        Ok(Deleted { deleted: deleted.len() })
    }

    /// Returns the history of a series, and collects its values from now on. Returns `None` if there is no such series.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown or missing.
    pub(super) fn answer(&mut self, mut query: Query) -> Result<Option<Answer>, String> {
        let text = query.take("series").ok_or("the parameter series is missing")?;
        query.end()?;
        let Some(series) = find(&self.series, &text) else { return Ok(None) };
        let points = self.intervals.iter().filter_map(|interval| interval.point(&series)).collect();
        let distribution = match series.kind() {
            Kind::Timing | Kind::Histogram | Kind::Distribution => self.ask(&series).answer(),
            Kind::Counter | Kind::Gauge | Kind::Set => None,
        };
        Ok(Some(Answer { identity: (&series).into(), points, distribution }))
    }

    /// Notes that somebody asked about a series with a distribution.
    fn ask(&mut self, series: &Series) -> &Watched {
        let known = self.watched.iter().position(|watched| watched.series == *series);
        let index = known.unwrap_or_else(|| {
            if self.watched.len() == MOST_WATCHED {
                let longest = (0..MOST_WATCHED).min_by_key(|&index| self.watched[index].asked);
                self.watched.remove(longest.unwrap_or_default());
            }
            self.watched.push(Watched::new(series.clone(), self.time));
            self.tell_flush();
            self.watched.len() - 1
        });
        self.watched[index].asked = self.time;
        &self.watched[index]
    }
}

fn kind_of(name: &str) -> Result<Kind, String> {
    let kinds = Kind::VARIANTS.iter().copied();
    kinds
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| "type must be counter, gauge, timing, histogram, distribution or set".to_owned())
}

pub(super) fn is_old(time: SystemTime, now: SystemTime) -> bool {
    now.duration_since(time).is_ok_and(|age| age > KEPT)
}

/// Finds the series that is written as `text`.
fn find(series: &[Series], text: &str) -> Option<Series> {
    // The name may contain a `|`, so each beginning of the text is tried.
    text.match_indices('|').find_map(|(end, _)| {
        let name = &text[..end];
        let begin = series.partition_point(|series| series.name() < name);
        let named = series[begin..].iter().take_while(|series| series.name() == name);
        named.into_iter().find(|series| format!("{series:?}") == text).cloned()
    })
}

impl Interval {
    /// Returns the bytes that an interval takes. A list of series that the `previous` interval has, too, is shared.
    fn bytes(snapshot: &Snapshot, previous: Option<&Self>) -> usize {
        let series = snapshot.rows.series();
        let is_shared = previous.is_some_and(|previous| Arc::ptr_eq(&previous.series, series));
        let of_series = if is_shared { 0 } else { size_of::<Series>() + size_of::<PolicyId>() };
        let numbers = |row: crate::model::Row<'_>| match row.value {
            Value::Summary(summary) => 3 + summary.percentiles.len(),
            _ => 0,
        };
        let numbers: usize = snapshot.rows.iter().map(numbers).sum();
        series.len() * (of_series + size_of::<f64>()) + numbers * size_of::<f64>()
    }

    fn new(snapshot: &Snapshot, claim: Claim) -> Self {
        let mut values = Vec::with_capacity(snapshot.rows.series().len());
        let mut numbers = Vec::new();
        for (series, row) in snapshot.rows.live() {
            values.push(match row.map(|row| row.value) {
                None => f64::NAN,
                Some(Value::Counter(value) | Value::Gauge(value) | Value::Set(value)) => *value,
                Some(Value::Summary(summary)) => {
                    let begin = numbers.len() as f64;
                    let Summary { count, mean, max, percentiles, .. } = &**summary;
                    let unit = unit(series);
                    numbers.push(*count);
                    numbers.extend([mean, max].into_iter().chain(percentiles).map(|value| value / unit));
                    begin
                }
            });
        }
        Self {
            end: snapshot.time,
            length: snapshot.interval,
            series: Arc::clone(snapshot.rows.series()),
            policies: Arc::clone(&snapshot.policies),
            policy_ids: Arc::clone(snapshot.rows.policies()),
            values,
            numbers,
            _claim: claim,
        }
    }

    fn point(&self, series: &Series) -> Option<Point> {
        let position = self.series.binary_search(series).ok()?;
        let value = Some(self.values[position]).filter(|value| !value.is_nan())?;
        let value = match series.kind() {
            Kind::Counter | Kind::Gauge | Kind::Set => PointValue::Number { value },
            Kind::Timing | Kind::Histogram | Kind::Distribution => {
                let [count, mean, max, values @ ..] = &self.numbers[value as usize..] else { return None };
                let percentiles = percentiles(&self.policies, self.policy_ids[position], values);
                PointValue::Distribution { count: *count, mean: *mean, max: *max, percentiles }
            }
        };
        Some(Point { time: time_text(self.end), seconds: self.length.as_secs_f64(), value })
    }
}

/// Returns the unit of a series' values in answers, in the unit of snapshots.
pub(super) fn unit(series: &Series) -> f64 {
    if series.kind() == Kind::Timing { MILLISECONDS } else { 1.0 }
}
