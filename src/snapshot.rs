//! All results of one interval, immutable, in sorted order: what exporters render.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::aggregate::{Percentile, Statistics, Summary, Tally, finite};
use crate::series::Series;

/// The results of one interval.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The end of the interval.
    pub time: SystemTime,
    /// How long the interval really was; never zero.
    pub interval: Duration,
    /// What was asked of distributions: the meaning of the numbers in each [`Summary`].
    pub statistics: Arc<Statistics>,
    /// One row a series, in the order of the series.
    pub rows: Vec<Row>,
    /// How the interval went.
    pub overview: Overview,
}

/// One series' result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Whose.
    pub series: Series,
    /// What its samples came to.
    pub value: Value,
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

/// How an interval went, for people who watch.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Series that are alive.
    pub series: u64,
    /// What became of datagrams, lines and samples.
    pub tally: Tally,
    /// Datagrams that the kernel dropped for want of buffer.
    pub datagrams_dropped: u64,
}

impl Snapshot {
    /// A counter's increase per second.
    #[must_use]
    pub fn rate(&self, increase: f64) -> f64 {
        finite(increase / self.interval.as_secs_f64())
    }

    /// The percentiles in each [`Summary`].
    #[must_use]
    pub fn percentiles(&self) -> &[Percentile] {
        &self.statistics.percentiles
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
            statistics: Arc::default(),
            rows: Vec::new(),
            overview: Overview::default(),
        };
        assert_eq!(snapshot.rate(1e308), f64::MAX);
        assert_eq!(snapshot.rate(5.0), 50.0);
    }
}
