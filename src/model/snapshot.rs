//! All results of one interval, immutable, in sorted order: what exporters render.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Event, Policies, Policy, PolicyId, Series, Summary, finite};

/// The results of one interval.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The end of the interval.
    pub time: SystemTime,
    /// How long the interval really was; never zero.
    pub interval: Duration,
    /// What was wanted of the series: the meaning of the numbers in each [`Summary`], among others.
    pub policies: Arc<Policies>,
    /// One row a series, in the order of the series.
    pub rows: Rows,
    /// What happened, in the order of their own times, and those without time first.
    pub events: Vec<Event>,
    /// How the interval went.
    pub overview: Overview,
}

/// One series' result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Whose.
    pub series: &'a Series,
    /// What its samples came to.
    pub value: &'a Value,
    /// The number of its policy.
    pub policy: PolicyId,
}

/// The results of all series that have one.
///
/// Most series live for many intervals, so all snapshots of that time share one list of them.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    series: Arc<Vec<Series>>,
    /// Of each series.
    policies: Arc<Vec<PolicyId>>,
    /// Of each series; `None` if it has no row.
    values: Vec<Option<Value>>,
    /// More series with their values, and the place at which they stand among the others.
    more: Vec<(Series, Value)>,
    more_at: usize,
    /// Of all of them.
    more_policy: PolicyId,
    /// Whether a series has another policy than it had in the snapshot before.
    pub(crate) have_new_policies: bool,
}

impl Rows {
    /// `values` and `policies` are those of `series`, which are sorted.
    pub(crate) fn new(
        series: Arc<Vec<Series>>,
        policies: Arc<Vec<PolicyId>>,
        values: Vec<Option<Value>>,
    ) -> Self {
        debug_assert_eq!(series.len(), values.len(), "one value a series");
        Self { series, policies, values, ..Self::default() }
    }

    /// Adds sorted rows of one policy, between which none of the present ones stands.
    pub(crate) fn insert(&mut self, rows: Vec<(Series, Value)>, policy: PolicyId) {
        self.more_at =
            rows.first().map_or(0, |(first, _)| self.series.partition_point(|series| series < first));
        self.more = rows;
        self.more_policy = policy;
    }

    /// In the order of the series.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rows: self, series: 0, more: 0 }
    }

    /// How many there are. They are counted, which takes time in proportion to their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromIterator<(Series, Value)> for Rows {
    /// Of rows that are sorted, and have the first policy.
    fn from_iter<T: IntoIterator<Item = (Series, Value)>>(rows: T) -> Self {
        let mut all = Self::default();
        all.insert(rows.into_iter().collect(), PolicyId::default());
        all
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Rows in the order of their series.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rows: &'a Rows,
    /// The next one of each.
    series: usize,
    more: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Row<'a>;

    #[inline]
    fn next(&mut self) -> Option<Row<'a>> {
        let Rows { series, policies, values, more, more_at, more_policy, .. } = self.rows;
        loop {
            if self.series == *more_at
                && let Some((series, value)) = more.get(self.more)
            {
                self.more += 1;
                return Some(Row { series, value, policy: *more_policy });
            }
            let at = self.series;
            let value = values.get(at)?;
            self.series += 1;
            if let Some(value) = value {
                return Some(Row { series: &series[at], value, policy: policies[at] });
            }
        }
    }
}

/// What the samples of a series came to in an interval.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The weighted sum.
    Counter(f64),
    /// The value at the end of the interval.
    Gauge(f64),
    /// The number of distinct members.
    Set(f64),
    /// Statistics of a timing, histogram or distribution.
    Summary(Box<Summary>),
}

/// Sums up an interval for people who watch it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// The number of datagrams that the kernel dropped.
    pub datagrams_dropped: u64,
}

impl Snapshot {
    /// A counter's increase per second.
    #[must_use]
    pub fn rate(&self, increase: f64) -> f64 {
        finite(increase / self.interval.as_secs_f64())
    }

    /// What was wanted of a row's series.
    #[must_use]
    pub fn policy(&self, row: &Row<'_>) -> &Policy {
        self.policies.get(row.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_overflows_is_a_number_all_the_same() {
        let snapshot = Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_millis(100),
            policies: Arc::default(),
            rows: Rows::default(),
            events: Vec::new(),
            overview: Overview::default(),
        };
        assert_eq!(snapshot.rate(1e308), f64::MAX);
        assert_eq!(snapshot.rate(5.0), 50.0);
    }
}
