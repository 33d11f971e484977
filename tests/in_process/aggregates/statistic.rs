//! Computes the statistics that peers report, from tallyd's results.

use tallyd::model::{Kind, Summary, Value};

use super::replay::Replay;
use super::row::Fact;

/// A number that tallyd reports, or that can be computed from numbers that tallyd reports.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statistic {
    /// The increase of a counter, the value of a gauge, or the number of members of a set.
    Scalar,
    /// The same number, if the peer states only a lower bound.
    AtLeast,
    /// The same number, if the peer states only an upper bound.
    AtMost,
    Count,
    Sum,
    Mean,
    Min,
    Max,
    Stddev,
    Variance,
    SumOfSquares,
    Percentile(f64),
    /// A statistic of the lowest values, up to the rank of a percentile.
    Lowest(f64, Part),
    /// A statistic of the highest values, ranked downwards.
    Highest(f64, Part),
    /// The weight of the values above one bound and up to another.
    Between(f64, f64),
    PerSecond(Box<Statistic>),
    /// The number of samples of the series' kind.
    Samples,
    Datagrams,
    Lines,
    Rejected,
    /// The number of series reported.
    Series,
}

/// A statistic of a part of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    Count,
    Sum,
    Mean,
    SumOfSquares,
    Least,
}

use Statistic::{
    AtLeast, AtMost, Between, Count, Datagrams, Highest, Lines, Lowest, Max, Mean, Min, PerSecond,
    Percentile, Rejected, Samples, Scalar, Series, Stddev, Sum, SumOfSquares, Variance,
};

/// The most values for which a percentile is computed at each rank. No case has more.
const MAX_RANKS: f64 = 1000.0;

impl Statistic {
    /// Returns the percentiles that tallyd must report for this number. `counts` are the counts of all summaries of the
    /// row.
    pub(super) fn percentiles(&self, counts: &[f64]) -> Vec<f64> {
        match self {
            Percentile(percent) => vec![*percent],
            Lowest(..) | Highest(..) => counts.iter().flat_map(|&count| ranks(count)).collect(),
            PerSecond(inner) => inner.percentiles(counts),
            _ => Vec::new(),
        }
    }

    /// Returns the bounds of the buckets that tallyd must report for this number.
    pub(super) fn bounds(&self) -> Vec<f64> {
        match self {
            Between(above, up_to) => [*above, *up_to].into_iter().filter(|bound| bound.is_finite()).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns tallyd's number, or `None` if tallyd does not report it.
    pub(super) fn value(&self, replay: &Replay, fact: &Fact) -> Option<f64> {
        let Some(interval) = fact.interval else {
            return (*self == Series).then_some(0.0);
        };
        let counted = replay.counts(interval);
        let number = |count: u64| Some(count as f64);
        match self {
            Series => return Some(replay.snapshots[interval].rows.len() as f64),
            Datagrams => return number(counted.datagrams),
            Lines => return number(counted.lines),
            Rejected => return number(counted.rejected.values().sum()),
            PerSecond(inner) => {
                return Some(replay.snapshots[interval].rate(inner.value(replay, fact)?));
            }
            _ => {}
        }
        let row = replay.find(interval, &fact.subject)?;
        let kind = row.series.kind();
        if *self == Samples {
            return number(counted.samples[kind]);
        }
        Some(match &row.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Set(value) => match self {
                AtLeast => value.min(fact.expected?),
                AtMost => value.max(fact.expected?),
                Scalar => *value,
                _ => unreachable!("{self:?} is of a distribution"),
            },
            Value::Summary(summary) => self.of_summary(replay, kind, summary),
        })
    }

    fn of_summary(&self, replay: &Replay, kind: Kind, summary: &Summary) -> f64 {
        let &Summary { count, sum, mean, min, max, stddev, .. } = summary;
        let unit = replay.unit(kind);
        match *self {
            Count => count,
            Sum => sum / unit,
            Mean => mean / unit,
            Min => min / unit,
            Max => max / unit,
            Stddev => stddev / unit,
            Variance => (stddev / unit).powi(2),
            SumOfSquares => count * (stddev.powi(2) + mean.powi(2)) / unit.powi(2),
            Percentile(percent) => replay.percentile(summary, percent) / unit,
            Between(above, up_to) => {
                let below = if above.is_finite() { replay.weight_up_to(kind, summary, above) } else { 0.0 };
                replay.weight_up_to(kind, summary, up_to) - below
            }
            Lowest(percent, part) | Highest(percent, part) => {
                // The percentiles at all ranks are the values themselves.
                let values: Vec<_> =
                    ranks(count).map(|percent| replay.percentile(summary, percent) / unit).collect();
                let rank = (percent * count / 100.0 * (1.0 - 1e-9)).ceil() as usize;
                part.of(match self {
                    Lowest(..) => &values[..rank],
                    _ => &values[values.len() - rank..],
                })
            }
            _ => unreachable!("{self:?} is not of a distribution"),
        }
    }
}

impl Part {
    fn of(self, values: &[f64]) -> f64 {
        let count = values.len() as f64;
        let sum: f64 = values.iter().sum();
        match self {
            Self::Count => count,
            Self::Sum => sum,
            Self::Mean => sum / count,
            Self::SumOfSquares => values.iter().map(|value| value * value).sum(),
            Self::Least => values[0],
        }
    }
}

/// Returns the percentile at each rank of `count` values.
fn ranks(count: f64) -> impl Iterator<Item = f64> {
    assert!(count <= MAX_RANKS, "{count} values");
    let count = count.round() as u32;
    (1..=count).map(move |rank| f64::from(rank) * 100.0 / f64::from(count))
}
