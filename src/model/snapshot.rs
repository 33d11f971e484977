//! Snapshots: the immutable results of one interval, which exporters render.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Claim, Event, Memory, MemoryPart, NativeHistogram, Policies, Policy, PolicyId, RESERVED_PREFIX,
    RejectedLine, Series, Summary, Talkers, finite,
};

/// The results of one interval.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The end of the interval.
    pub time: SystemTime,
    /// The actual length of the interval; never zero.
    pub interval: Duration,
    /// The policies that the rows refer to. They say, for example, which percentiles a [`Summary`] holds.
    pub policies: Arc<Policies>,
    /// One row per series, in the order of the series.
    pub rows: Rows,
    /// The events, sorted by timestamp. Events without a timestamp come first.
    pub events: Vec<Event>,
    /// The latest lines that were not recorded, by reason.
    pub rejected: Vec<RejectedLine>,
    /// The values of the series that people look at, if these had samples: timings, histograms and distributions.
    pub distributions: Vec<(Series, NativeHistogram)>,
    /// The senders and the names that took most of the interval.
    pub talkers: Arc<Talkers>,
    /// The totals of the interval.
    pub overview: Overview,
}

/// The result of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// The name, tags and kind.
    pub series: &'a Series,
    /// The result of its samples.
    pub value: &'a Value,
    /// The policy of the series.
    pub policy: PolicyId,
}

impl Row<'_> {
    /// Returns true for one of tallyd's own metrics with the value 0. The console leaves them out, because there are
    /// many.
    pub(crate) fn is_own_zero(&self) -> bool {
        matches!(self.value, Value::Counter(0.0) | Value::Gauge(0.0))
            && self.series.name().starts_with(RESERVED_PREFIX)
    }
}

/// The results of all series that have one.
///
/// Most series live for many intervals. Successive snapshots share one list of series until a series is added or
/// dropped.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    series: Arc<Vec<Series>>,
    /// The policy of each series.
    policies: Arc<Vec<PolicyId>>,
    /// The result of each series; `None` if it has no row.
    values: Vec<Option<Value>>,
    /// Accounts for the memory of the snapshot until the last copy of the rows is dropped.
    _claim: Option<Arc<Claim>>,
}

impl Rows {
    /// Creates rows from sorted series, the policy of each, and the value of each.
    pub(crate) fn new(
        series: Arc<Vec<Series>>,
        policies: Arc<Vec<PolicyId>>,
        values: Vec<Option<Value>>,
    ) -> Self {
        debug_assert_eq!(series.len(), values.len(), "each series has a value");
        Self { series, policies, values, _claim: None }
    }

    /// Counts the memory of the rows until their last copy is dropped. `more` are the bytes of summaries and events, which
    /// are elsewhere.
    #[must_use]
    pub(crate) fn counted_in(self, memory: &Memory, more: usize) -> Self {
        // The lists of series and policies are shared until they change.
        let of_row = size_of::<Series>() + size_of::<PolicyId>() + size_of::<Option<Value>>();
        let bytes = self.values.len() * of_row + more;
        Self { _claim: Some(Arc::new(memory.claim(MemoryPart::Snapshots, bytes))), ..self }
    }

    /// Returns the rows in the order of the series.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rows: self, next: 0 }
    }

    /// Returns the series in order, including those without a row.
    pub(crate) fn series(&self) -> &Arc<Vec<Series>> {
        &self.series
    }

    /// Returns the policies, in the order of the series.
    pub(crate) fn policies(&self) -> &Arc<Vec<PolicyId>> {
        &self.policies
    }

    /// Returns the rows of tallyd's own metrics.
    pub(crate) fn own(&self) -> impl Iterator<Item = Row<'_>> {
        let next = self.series.partition_point(|series| series.name() < RESERVED_PREFIX);
        // An identity begins with the name.
        Iter { rows: self, next }.take_while(|row| row.series.identity().starts_with(RESERVED_PREFIX))
    }

    /// Returns all live series in order, each with its row if it has one. A series that is missing has been dropped.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Series, Option<Row<'_>>)> {
        let series = self.series.iter().zip(&*self.policies).zip(&self.values);
        series.map(|((series, &policy), value)| {
            (series, value.as_ref().map(|value| Row { series, value, policy }))
        })
    }

    /// Counts the rows, in time proportional to the number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns true if there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromIterator<(Series, Value)> for Rows {
    /// Creates rows from sorted series and their values. All rows have the first policy.
    fn from_iter<T: IntoIterator<Item = (Series, Value)>>(rows: T) -> Self {
        let (series, values): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|(series, value)| (series, Some(value))).unzip();
        Self::new(Arc::new(series), Arc::new(vec![PolicyId::default(); values.len()]), values)
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over rows in the order of their series.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rows: &'a Rows,
    next: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Row<'a>;

    #[inline]
    fn next(&mut self) -> Option<Row<'a>> {
        let Rows { series, policies, values, .. } = self.rows;
        loop {
            let index = self.next;
            let value = values.get(index)?;
            self.next += 1;
            if let Some(value) = value {
                return Some(Row { series: &series[index], value, policy: policies[index] });
            }
        }
    }
}

/// The result of a series' samples in an interval.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The weighted sum.
    Counter(f64),
    /// The value at the end of the interval.
    Gauge(f64),
    /// The number of distinct members.
    Set(f64),
    /// The statistics of a timing, histogram or distribution.
    Summary(Box<Summary>),
}

/// The totals of an interval, for people who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overview {
    /// The number of series that are alive.
    pub series: u64,
    /// The number of lines received.
    pub lines: u64,
    /// The number of samples recorded.
    pub samples: u64,
    /// The number of lines rejected.
    pub rejected: u64,
    /// The number of samples refused.
    pub refused: u64,
    /// The number of datagrams that the kernel dropped, or `None` if the kernel does not report it.
    pub datagrams_dropped: Option<u64>,
}

impl Default for Overview {
    fn default() -> Self {
        Self { series: 0, lines: 0, samples: 0, rejected: 0, refused: 0, datagrams_dropped: Some(0) }
    }
}

impl Snapshot {
    /// Returns the end of the interval as [`time_text`] writes it.
    pub(crate) fn time_text(&self) -> String {
        time_text(self.time)
    }

    /// Returns the rate per second of a counter's increase.
    #[must_use]
    pub fn rate(&self, increase: f64) -> f64 {
        finite(increase / self.interval.as_secs_f64())
    }

    /// Returns the policy of a row.
    #[must_use]
    pub fn policy(&self, row: &Row<'_>) -> &Policy {
        self.policies.get(row.policy)
    }
}

/// Returns a time as RFC 3339 writes it, in UTC: `2026-11-29T16:29:50Z`. If it is not a whole second, the text has
/// milliseconds: `2026-11-29T16:29:50.250Z`.
pub(crate) fn time_text(time: SystemTime) -> String {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since_1970.subsec_millis() == 0 {
        humantime::format_rfc3339_seconds(time).to_string()
    } else {
        humantime::format_rfc3339_millis(time).to_string()
    }
}

#[cfg(test)]
impl From<Rows> for Snapshot {
    /// Creates a snapshot for tests. Its interval ends at the beginning of 1970 and is ten seconds long. It has the
    /// default policy, and no events.
    fn from(rows: Rows) -> Self {
        Self {
            time: UNIX_EPOCH,
            interval: Duration::from_secs(10),
            policies: Arc::default(),
            rows,
            events: Vec::new(),
            rejected: Vec::new(),
            distributions: Vec::new(),
            talkers: Arc::default(),
            overview: Overview::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot_at(micros: u64) -> Snapshot {
        Snapshot { time: UNIX_EPOCH + Duration::from_micros(micros), ..Rows::default().into() }
    }

    #[test]
    fn a_time_has_milliseconds_only_if_there_are_some() {
        for (micros, expected) in [
            (1_795_969_790_000_000, "2026-11-29T16:29:50Z"),
            (1_795_969_790_000_999, "2026-11-29T16:29:50Z"),
            (1_795_969_790_250_000, "2026-11-29T16:29:50.250Z"),
            (1_795_969_790_007_999, "2026-11-29T16:29:50.007Z"),
        ] {
            assert_eq!(snapshot_at(micros).time_text(), expected);
        }
    }

    #[test]
    fn a_rate_that_overflows_is_still_a_number() {
        let snapshot = snapshot_at(0);
        assert_eq!(snapshot.rate(5.0), 0.5);
        let short = Snapshot { interval: Duration::from_millis(100), ..snapshot };
        assert_eq!(short.rate(1e308), f64::MAX);
    }
}
