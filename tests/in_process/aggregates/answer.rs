//! The statistics that peers report, as numbers of tallyd's.

use tallyd::model::{Kind, Summary, Value};

use crate::replay::Replay;
use crate::row::Fact;

/// A number that tallyd reports, or that follows from those that it reports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statistic {
    /// A counter's increase, a gauge's value, a set's members.
    Scalar,
    /// The same, where the peer only states a lower bound, or an upper one.
    AtLeast,
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
    /// Over the lowest values, as many as have the rank of that percentile, or over the highest ones, ranked downwards.
    Lowest(f64, Part),
    Highest(f64, Part),
    /// The weight of the values above one bound, up to another.
    Between(f64, f64),
    PerSecond(Box<Statistic>),
    /// How many samples of the series' kind came.
    Samples,
    Datagrams,
    Lines,
    Rejected,
    /// How many series are reported.
    Series,
}

/// What is reported of a part of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Part {
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

/// Of more values no parts are computed; they are few wherever a peer was asked for parts.
const MAX_RANKS: f64 = 1000.0;

impl Statistic {
    /// The percentiles from which it follows; `counts` are those of the row's results.
    pub(crate) fn percentiles(&self, counts: &[f64]) -> Vec<f64> {
        match self {
            Percentile(percent) => vec![*percent],
            Lowest(..) | Highest(..) => counts.iter().flat_map(|&count| ranks(count)).collect(),
            PerSecond(inner) => inner.percentiles(counts),
            _ => Vec::new(),
        }
    }

    /// The bounds of buckets from which it follows.
    pub(crate) fn bounds(&self) -> Vec<f64> {
        match self {
            Between(above, up_to) => [*above, *up_to].into_iter().filter(|bound| bound.is_finite()).collect(),
            _ => Vec::new(),
        }
    }

    /// tallyd's number; `None` if it reports none.
    pub(crate) fn value(&self, replay: &Replay, fact: &Fact) -> Option<f64> {
        let Some(interval) = fact.interval else {
            return (*self == Series).then_some(0.0);
        };
        let tally = replay.tally(interval);
        let number = |count: u64| Some(count as f64);
        match self {
            Series => return Some(replay.snapshots[interval].rows.len() as f64),
            Datagrams => return number(tally.datagrams),
            Lines => return number(tally.lines),
            Rejected => return number(tally.rejected.iter().sum()),
            PerSecond(inner) => {
                return Some(replay.snapshots[interval].rate(inner.value(replay, fact)?));
            }
            _ => {}
        }
        let row = replay.find(interval, &fact.subject)?;
        let kind = row.series.kind();
        if *self == Samples {
            return number(tally.samples[kind as usize]);
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
                // Percentiles at every rank are all the values.
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

/// The percentile at each rank of so many values.
fn ranks(count: f64) -> impl Iterator<Item = f64> {
    assert!(count <= MAX_RANKS, "{count} values");
    let count = count.round() as u32;
    (1..=count).map(move |rank| f64::from(rank) * 100.0 / f64::from(count))
}
