//! What the Prometheus page must show: valid text, and the sum of every snapshot that the exporter got.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tallyd::model::{Kind, Series, Snapshot, Value};
use tallyd_harness::strict;

use super::settings::Settings;
use crate::model::nearest_rank;

/// The number of parts of a window. Intervals that end in one part leave it together.
const PARTS: u32 = 5;

/// The running totals of the counters `hits.…` and the timings `time.…`, whose names collide with no others, and what was
/// scraped of them.
#[derive(Default)]
pub(super) struct PlainPage {
    pub(super) totals: PlainTotals,
    /// The counts of the page that was scraped last.
    scraped: BTreeMap<String, f64>,
    /// The counters that left the page since it was last written.
    gone: BTreeSet<String>,
    /// The counters that left the pages written since the last scrape. They may have begun again.
    may_fall: BTreeSet<String>,
}

/// Running totals. They outlive the process in the state.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PlainTotals {
    totals: BTreeMap<Series, Total>,
    /// The sum of all intervals that the exporter got, and of the time between processes.
    clock: Duration,
}

#[derive(Debug, Clone, PartialEq)]
struct Total {
    value: TotalValue,
    seen: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum TotalValue {
    Counter(f64),
    Summary(Summary),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Summary {
    count: f64,
    sum: f64,
    /// Each percentile with its value, and whether the value is exact.
    percentiles: Vec<(f64, f64, bool)>,
    window: Vec<Part>,
}

/// A part of a window.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// The ends of its first and its last interval.
    begin: Duration,
    end: Duration,
    /// The values in milliseconds, and their weights.
    values: Vec<(f64, f64)>,
}

impl Summary {
    fn add(
        &mut self,
        values: &[(f64, f64)],
        got: &tallyd::model::Summary,
        now: Duration,
        settings: &Settings,
    ) {
        self.count += got.count;
        self.sum += got.sum / 1000.0;
        if settings.window.is_zero() {
            let percentiles = settings.percentiles.iter().zip(&got.percentiles);
            self.percentiles = percentiles.map(|(percent, value)| (*percent, value / 1000.0, true)).collect();
            self.window.clear();
            return;
        }
        self.advance(now, settings);
        match self.window.last_mut() {
            Some(part) if now < part.begin + settings.window / PARTS => {
                part.values.extend_from_slice(values);
                part.end = now;
            }
            _ => self.window.push(Part { begin: now, end: now, values: values.to_vec() }),
        }
        self.compute(settings);
    }

    /// Notes an interval without samples.
    fn rest(&mut self, now: Duration, settings: &Settings) {
        self.advance(now, settings);
        self.compute(settings);
    }

    /// Drops the parts that have left the window.
    fn advance(&mut self, now: Duration, settings: &Settings) {
        self.window.retain(|part| part.end > now.saturating_sub(settings.window));
    }

    fn compute(&mut self, settings: &Settings) {
        let values: Vec<_> = self.window.iter().flat_map(|part| part.values.iter().copied()).collect();
        let percentile = |percent: &f64| (*percent, nearest_rank(&values, *percent) / 1000.0, false);
        self.percentiles = if values.is_empty() {
            Vec::new()
        } else {
            settings.percentiles.iter().map(percentile).collect()
        };
    }
}

/// Returns true for the series whose totals the page must show.
pub(super) fn is_followed(series: &Series) -> bool {
    match series.kind() {
        Kind::Counter => series.name().starts_with("hits."),
        Kind::Timing => series.name().starts_with("time."),
        _ => false,
    }
}

/// Returns the name of a line with its labels.
fn exposed(series: &Series, suffix: &str, quantile: Option<f64>) -> String {
    let mut labels: Vec<_> = series.tags().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    labels.extend(quantile.map(|percent| format!("quantile=\"{}\"", (percent * 1e9).round() / 1e11)));
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    format!("{}{suffix}{labels}", series.name().replace('.', "_"))
}

impl PlainTotals {
    /// Returns what the page shows: the name of each line, its value, and whether the value is exact.
    fn shown(&self) -> BTreeMap<String, (f64, bool)> {
        let mut shown = BTreeMap::new();
        for (series, Total { value, .. }) in &self.totals {
            match value {
                TotalValue::Counter(total) => {
                    shown.insert(exposed(series, "_total", None), (*total, true));
                }
                TotalValue::Summary(Summary { count, sum, percentiles, .. }) => {
                    shown.insert(exposed(series, "_seconds_count", None), (*count, true));
                    shown.insert(exposed(series, "_seconds_sum", None), (*sum, true));
                    for (percent, value, is_exact) in percentiles {
                        let name = exposed(series, "_seconds", Some(*percent));
                        shown.insert(name, (*value, *is_exact));
                    }
                }
            }
        }
        shown
    }
}

impl PlainPage {
    /// Begins another life. Only `saved` continues, as far as its series are alive. If `is_whole` is true, that is all that
    /// there was before.
    pub(super) fn restart(
        &mut self,
        saved: Option<&PlainTotals>,
        downtime: Duration,
        is_alive: impl Fn(&Series) -> bool,
        is_whole: bool,
    ) {
        let before = std::mem::take(&mut self.totals);
        if let Some(saved) = saved {
            self.totals = saved.clone();
            self.totals.clock += downtime;
            self.totals.totals.retain(|series, _| is_alive(series));
        }
        self.may_fall.append(&mut self.gone);
        if is_whole {
            // Nothing falls, unless its series expired meanwhile.
            let stays = |series: &Series| self.totals.totals.contains_key(series);
            let gone = before.totals.keys().filter(|series| !stays(series));
            self.may_fall.extend(gone.map(|series| exposed(series, "_total", None)));
            // The other life may have fewer receivers.
            self.scraped.retain(|name, _| !name.contains("receiver=\""));
        } else {
            self.scraped.clear();
        }
    }

    /// Adds a snapshot that the exporter got. `live` has the series that were alive at its end, under `settings`. `values`
    /// has the values of timings.
    pub(super) fn add(
        &mut self,
        snapshot: &Snapshot,
        live: &BTreeSet<Series>,
        values: &BTreeMap<Series, Vec<(f64, f64)>>,
        settings: &Settings,
    ) {
        let Self { totals: PlainTotals { totals, clock }, gone, .. } = self;
        *clock += snapshot.interval;
        let clock = *clock;
        for row in snapshot.rows.iter().filter(|row| is_followed(row.series)) {
            let total = totals.entry(row.series.clone()).or_insert_with(|| {
                let value = match row.series.kind() {
                    Kind::Counter => TotalValue::Counter(0.0),
                    _ => TotalValue::Summary(Summary::default()),
                };
                Total { value, seen: clock }
            });
            match (&mut total.value, row.value) {
                // A page cannot show a falling counter, so a negative sum is kept off it and counted.
                (TotalValue::Counter(_), Value::Counter(increase)) if *increase < 0.0 => continue,
                (TotalValue::Counter(total), Value::Counter(increase)) => *total += increase,
                (TotalValue::Summary(total), Value::Summary(got)) => {
                    total.add(&values[row.series], got, clock, settings);
                }
                (total, value) => panic!("{total:?}: {value:?}"),
            }
            total.seen = clock;
        }
        totals.retain(|series, total| {
            if let TotalValue::Summary(summary) = &mut total.value
                && total.seen < clock
            {
                summary.rest(clock, settings);
            }
            let lifetime = settings.lifetime(series.kind());
            let stays = live.contains(series) && clock.saturating_sub(total.seen) < lifetime;
            if !stays {
                gone.insert(exposed(series, "_total", None));
            }
            stays
        });
    }

    /// Asserts that a page shows these totals, and nothing that is invalid.
    pub(super) fn assert_is(&mut self, page: &str) {
        self.may_fall.append(&mut self.gone);
        strict::check(page).unwrap_or_else(|error| panic!("{error}"));
        let shown: BTreeMap<_, _> = page
            .lines()
            .filter(|line| line.starts_with("hits_") || line.starts_with("time_"))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse::<f64>().unwrap()))
            .collect();
        let expected = self.totals.shown();
        assert!(shown.keys().eq(expected.keys()), "the lines of the page: {shown:?} for {expected:?}");
        for ((name, got), (value, is_exact)) in shown.iter().zip(expected.values()) {
            // Windows keep values in buckets, which grow by less than a hundredth.
            let error = if *is_exact { 0.0 } else { 0.015 * value.abs() };
            assert!((got - value).abs() <= error, "{name} is {got}, and must be {value}");
        }
    }

    /// Scrapes a page. Asserts that no counter is lower than before, unless it left the page meanwhile.
    pub(super) fn scrape(&mut self, page: &str) {
        strict::check(page).unwrap_or_else(|error| panic!("{error}"));
        let mut counters = BTreeMap::new();
        let mut is_counter = false;
        for line in page.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                is_counter = family.ends_with(" counter");
            } else if is_counter
                && !line.starts_with('#')
                && let Some((name, value)) = line.rsplit_once(' ')
            {
                counters.insert(name.to_owned(), value.parse().unwrap());
            }
        }
        for (name, before) in std::mem::take(&mut self.scraped) {
            let is_steady = name.starts_with("hits_") || name.starts_with("tallyd_");
            let Some(now) = counters.get(&name).filter(|_| is_steady && !self.may_fall.contains(&name))
            else {
                continue;
            };
            assert!(*now >= before, "{name} fell from {before} to {now}");
        }
        self.may_fall.clear();
        self.scraped = counters;
    }
}
