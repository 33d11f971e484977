//! Says who and what took most of an interval.

use super::{Origin, TopNames};

/// The senders and the metric names that took most of an interval.
#[derive(Debug, Clone, Default)]
pub struct Talkers {
    /// The number of lines in the interval.
    pub lines: u64,
    /// The number of lines in the sample from which the estimates come.
    pub sampled: u64,
    /// The names with the most samples, at most 20. The largest number comes first.
    pub samples: Vec<(String, Estimate)>,
    /// The names with the most live series, among those with several.
    pub series: TopNames,
    /// The names with the most series that were new in the interval, among those with several.
    pub added: TopNames,
    /// The names with the most rejected lines.
    pub rejected: TopNames,
    /// The senders of the most lines, at most 20. The largest number comes first.
    pub senders: Vec<(Origin, Estimate)>,
}

/// An estimated number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// The most likely number.
    pub number: f64,
    /// In 95 of 100 intervals, the true number differs by at most this much. 0 if the number is exact.
    pub error: f64,
}
