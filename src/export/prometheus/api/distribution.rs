//! Collects the distribution of a series, for people who look at it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::model::{Claim, Memory, MemoryPart, NativeHistogram, Series, time_text};

/// The shortest time that a column of the heat map covers.
const COLUMN: Duration = Duration::from_secs(10);

/// The most buckets of a column. If there are more, pairs of them are joined.
const MOST_BUCKETS: usize = 400;

/// The resolution of the heat map. The bounds of a row differ by 19 %.
const ROWS_SCHEMA: i8 = 2;

/// A series whose values are collected, because somebody asked about it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) series: Series,
    since: SystemTime,
    /// The end of the interval in which somebody asked last.
    pub(super) asked: SystemTime,
    /// Oldest first.
    columns: VecDeque<Column>,
}

#[derive(Debug)]
struct Column {
    begin: SystemTime,
    end: SystemTime,
    values: NativeHistogram,
    claim: Claim,
}

/// The distribution in an answer.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// When somebody first asked about the series. Earlier values are not included.
    since: String,
    /// The number of values.
    count: f64,
    /// Quantiles and their values.
    spectrum: Vec<(f64, f64)>,
    heatmap: HeatMap,
}

#[derive(Debug, Serialize)]
struct HeatMap {
    /// The upper bounds of the rows, in ascending order.
    bounds: Vec<f64>,
    /// Oldest first.
    columns: Vec<HeatColumn>,
}

#[derive(Debug, Serialize)]
struct HeatColumn {
    /// The begin and the end of the time that the column covers.
    begin: String,
    time: String,
    /// The index of each row that is not empty, and the number of its values.
    counts: Vec<(usize, f64)>,
}

impl Watched {
    pub(super) fn new(series: Series, now: SystemTime) -> Self {
        Self { series, since: now, asked: now, columns: VecDeque::new() }
    }

    /// Adds the values of an interval. Without memory for them, the oldest column gives way.
    pub(super) fn add(
        &mut self,
        Range { start: begin, end }: Range<SystemTime>,
        values: &NativeHistogram,
        memory: &Memory,
    ) {
        let is_open = |column: &&mut Column| begin.duration_since(column.begin).is_ok_and(|age| age < COLUMN);
        if let Some(column) = self.columns.back_mut().filter(is_open) {
            column.values.add(values);
            column.values.limit(MOST_BUCKETS);
            column.end = end;
            column.claim.resize(column.values.bytes());
            return;
        }
        let mut values = values.clone();
        values.limit(MOST_BUCKETS);
        let claim = loop {
            match memory.try_claim(MemoryPart::History, values.bytes()) {
                Some(claim) => break claim,
                None if self.columns.pop_front().is_none() => return,
                None => {}
            }
        };
        self.columns.push_back(Column { begin, end, values, claim });
    }

    /// Forgets the columns that ended before `earliest`.
    pub(super) fn forget(&mut self, earliest: SystemTime) {
        while self.columns.front().is_some_and(|column| column.end < earliest) {
            self.columns.pop_front();
        }
    }

    /// Returns what was collected, or `None` if there is nothing yet.
    pub(super) fn answer(&self) -> Option<Answer> {
        let mut columns = self.columns.iter().map(|column| &column.values);
        let mut whole = columns.next()?.clone();
        columns.for_each(|values| whole.add(values));
        let heatmap = HeatMap::new(&self.columns);
        Some(Answer {
            since: time_text(self.since),
            count: whole.weight(),
            spectrum: spectrum(&whole),
            heatmap,
        })
    }
}

/// Returns the quantile and the upper bound of each bucket.
fn spectrum(values: &NativeHistogram) -> Vec<(f64, f64)> {
    let count = values.weight();
    let mut below = 0.0;
    let points = values.buckets().map(|(bound, weight)| {
        below += weight;
        ((below / count).min(1.0), bound)
    });
    points.collect()
}

impl HeatMap {
    fn new(columns: &VecDeque<Column>) -> Self {
        let coarse = columns.iter().map(|column| {
            let mut values = column.values.clone();
            values.reduce_to(ROWS_SCHEMA);
            (column, values)
        });
        let coarse: Vec<_> = coarse.collect();
        // Equal bounds have equal bits, because all of them are powers of two by the same formula.
        let mut bounds: Vec<_> =
            coarse.iter().flat_map(|(_, values)| values.buckets()).map(|(bound, _)| bound).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let row = |bound: f64| bounds.partition_point(|other| other.total_cmp(&bound).is_lt());
        let columns = coarse.iter().map(|(column, values)| HeatColumn {
            begin: time_text(column.begin),
            time: time_text(column.end),
            counts: values.buckets().map(|(bound, weight)| (row(bound), weight)).collect(),
        });
        Self { columns: columns.collect(), bounds }
    }
}
