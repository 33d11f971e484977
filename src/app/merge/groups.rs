//! Adds up the histograms of many files, series and intervals.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hdrhistogram::Histogram;

use super::read::{Decoder, Interval};
use crate::export::hdr_log::{Units, series_of};
use crate::model::{Kind, Pattern, Percentile, Series};
use crate::text::visible::visible;

/// The most different numbers of all groups. Each takes about 30 bytes.
const MOST_NUMBERS: usize = 1 << 25;

/// The intervals to merge, and how.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) pattern: Pattern,
    /// The tags that a series must have.
    pub(super) tags: Vec<(String, Option<String>)>,
    pub(super) grouping: Grouping,
    /// The first time at which an interval may begin, in seconds since 1970.
    pub(super) from: Option<f64>,
    /// The time before which an interval must begin.
    pub(super) to: Option<f64>,
}

/// How series become groups.
#[derive(Debug)]
pub(super) enum Grouping {
    /// Each series is a group.
    Series,
    /// The series of a metric with the same value of this tag are a group.
    Tag(String),
    /// All series are one group.
    All,
}

/// The name of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A series of tallyd. If it is grouped by a tag, it has only this tag.
    Series(Series),
    /// The tag of another program, which is empty if the interval has none.
    Other(String),
    /// All series.
    All,
}

/// Writes a series as `tallyd series` does, for example `page.time{zone:b}`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Series(series) => {
                f.write_str(&visible(series.name()))?;
                let tag = |(key, value): (&str, Option<&str>)| {
                    let text = value.map_or_else(|| key.to_owned(), |value| format!("{key}:{value}"));
                    visible(&text).into_owned()
                };
                let tags: Vec<_> = series.tags_as_sent().map(tag).collect();
                if tags.is_empty() { Ok(()) } else { write!(f, "{{{}}}", tags.join(",")) }
            }
            Subject::Other(tag) => f.write_str(&visible(tag)),
            Subject::All => f.write_str("*"),
        }
    }
}

/// The numbers of an interval log that make one unit, for example one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) per_unit: u64,
    pub(super) is_time: bool,
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}{}", self.per_unit, if self.is_time { " s" } else { "" })
    }
}

/// The merged histograms of a group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) scale: Scale,
    /// The least digits of all histograms.
    pub(super) digits: u8,
    /// The number of histograms.
    pub(super) intervals: u64,
    /// The seconds since 1970 at which the first interval begins and the last one ends.
    pub(super) range: (f64, f64),
    /// The largest number of each bucket, and its count.
    counts: BTreeMap<u64, u64>,
    /// The count times the middle of each bucket.
    sum: f64,
}

impl Group {
    fn new(scale: Scale) -> Self {
        let range = (f64::INFINITY, f64::NEG_INFINITY);
        Self { scale, digits: 5, intervals: 0, range, counts: BTreeMap::new(), sum: 0.0 }
    }

    /// Adds a histogram. Returns the number of new buckets.
    fn add(&mut self, histogram: &Histogram<u64>, interval: &Interval<'_>) -> usize {
        let before = self.counts.len();
        for bucket in histogram.iter_recorded() {
            let (number, count) = (bucket.value_iterated_to(), bucket.count_at_value());
            let sum = self.counts.entry(number).or_default();
            *sum = sum.saturating_add(count);
            self.sum += histogram.median_equivalent(number) as f64 * count as f64;
        }
        self.digits = self.digits.min(histogram.sigfig());
        self.intervals += 1;
        let (from, to) = self.range;
        self.range = (from.min(interval.start), to.max(interval.start + interval.length));
        self.counts.len() - before
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.values().fold(0, |sum, &count| sum.saturating_add(count))
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count() as f64 / self.scale.per_unit as f64
    }

    pub(super) fn max(&self) -> f64 {
        self.counts.last_key_value().map_or(0.0, |(&number, _)| self.unscaled(number))
    }

    /// Returns percentiles by nearest rank. Like all implementations of HdrHistogram, it returns the largest number of the
    /// bucket.
    pub(super) fn percentiles(&self, percentiles: &[Percentile]) -> Vec<f64> {
        let count = self.count() as f64;
        let value = |percentile: &Percentile| {
            let (rank, mut below) = (percentile.rank(count), 0.0);
            let found = self.counts.iter().find(|&(_, &count)| {
                below += count as f64;
                below >= rank
            });
            found.map_or(self.max(), |(&number, _)| self.unscaled(number))
        };
        percentiles.iter().map(value).collect()
    }

    /// Returns the merged histogram.
    pub(super) fn histogram(&self) -> Option<Histogram<u64>> {
        let mut histogram = Histogram::new(self.digits).ok()?;
        for (&number, &count) in &self.counts {
            histogram.record_n(number, count).ok()?;
        }
        Some(histogram)
    }

    fn unscaled(&self, number: u64) -> f64 {
        number as f64 / self.scale.per_unit as f64
    }
}

/// Merges intervals into groups.
pub(super) struct Merger {
    selection: Selection,
    /// The group of each tag, or `None` if it is not selected.
    subjects: HashMap<String, Option<(Subject, Option<Kind>)>>,
    groups: BTreeMap<Subject, Group>,
    numbers: usize,
    decoder: Decoder,
}

/// The selected series take too much memory.
#[derive(Debug)]
pub(super) struct TooMany;

impl Merger {
    pub(super) fn new(selection: Selection) -> Self {
        let decoder = Decoder::default();
        Self { selection, subjects: HashMap::new(), groups: BTreeMap::new(), numbers: 0, decoder }
    }

    /// Adds an interval if it is selected. Returns the reason in words if that is impossible.
    pub(super) fn add(&mut self, interval: &Interval<'_>) -> Result<Result<(), String>, TooMany> {
        let Selection { from, to, .. } = self.selection;
        if from.is_some_and(|from| interval.start < from) || to.is_some_and(|to| interval.start >= to) {
            return Ok(Ok(()));
        }
        let tag = interval.tag.unwrap_or_default();
        if !self.subjects.contains_key(tag) {
            self.subjects.insert(tag.to_owned(), self.selection.subject(tag));
            self.numbers += 4 + tag.len() / 16;
        }
        let Some(Some((subject, kind))) = self.subjects.get(tag) else { return Ok(Ok(())) };
        let scale = match scale(*kind, interval.units) {
            Ok(scale) => scale,
            Err(problem) => return Ok(Err(problem)),
        };
        let histogram = match self.decoder.decode(interval.encoded) {
            Ok(histogram) => histogram,
            Err(problem) => return Ok(Err(problem)),
        };
        if !self.groups.contains_key(subject) {
            self.groups.insert(subject.clone(), Group::new(scale));
        }
        let Some(group) = self.groups.get_mut(subject) else { return Ok(Ok(())) };
        if group.scale != scale {
            let problem = format!(
                "its unit is {scale}, and that of earlier lines of {subject} is {}; merge them separately",
                group.scale
            );
            return Ok(Err(problem));
        }
        self.numbers += group.add(&histogram, interval);
        if self.numbers > MOST_NUMBERS { Err(TooMany) } else { Ok(Ok(())) }
    }

    /// Returns the groups in order.
    pub(super) fn into_groups(self) -> BTreeMap<Subject, Group> {
        self.groups
    }
}

impl Selection {
    /// Returns the group of a tag with the type of its series, or `None` if the tag is not selected.
    fn subject(&self, tag: &str) -> Option<(Subject, Option<Kind>)> {
        let Some(series) = series_of(tag) else {
            let is_selected = self.tags.is_empty() && self.pattern.matches(tag);
            let subject = match self.grouping {
                Grouping::All => Subject::All,
                Grouping::Series | Grouping::Tag(_) => Subject::Other(tag.to_owned()),
            };
            return is_selected.then_some((subject, None));
        };
        let has = |(key, value): &(String, Option<String>)| {
            series.tags_as_sent().any(|(own, of_own)| own == key && of_own == value.as_deref())
        };
        if !self.pattern.matches(series.name()) || !self.tags.iter().all(has) {
            return None;
        }
        let kind = series.kind();
        let subject = match &self.grouping {
            Grouping::All => Subject::All,
            Grouping::Series => Subject::Series(series),
            Grouping::Tag(by) => {
                let tags: Vec<_> = series.tags_as_sent().filter(|(key, _)| key == by).collect();
                Subject::Series(Series::with_tags(kind, series.name(), &tags))
            }
        };
        Some((subject, Some(kind)))
    }
}

/// Returns the scale of a series. Numbers of other programs have no unit.
fn scale(kind: Option<Kind>, units: Option<Units>) -> Result<Scale, String> {
    let Some(kind) = kind else { return Ok(Scale { per_unit: 1, is_time: false }) };
    let per_unit = units
        .ok_or("the log states no unit before this line; its header is missing")?
        .of(kind)
        .ok_or("the log has no unit for this type")?;
    Ok(Scale { per_unit, is_time: kind == Kind::Timing })
}
