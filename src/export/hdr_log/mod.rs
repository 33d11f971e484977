//! Writes timings, histograms and distributions to an interval log of HdrHistogram.
//!
//! ```text
//!  Summary::values --> Counts (whole numbers) --> Histogram --> a line --> LogFile
//! ```

mod counts;
mod header;
mod log_file;
mod tag;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use enum_map::EnumMap;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::exporter::{ExportError, Exporter, PIECE};
use super::outcome::ExportOutcome;
use crate::model::{
    Claim, Counter, Kind, Memory, MemoryPart, Named, Repeated, Series, Snapshot, Telemetry, Thinned, Value,
    WarnOnce,
};
use counts::{Clamped, Counts, LARGEST};
use header::{Precision, TIMING_SCALE, header};
use log_file::{LogFile, Notice, Rotation};

pub(crate) use header::Units;
pub(crate) use tag::series_of;

/// The options of the exporter `hdr_log`.
#[derive(Debug, Clone)]
pub(crate) struct HdrLogOptions {
    /// The path of the file, which ends in `.hlog`.
    pub(crate) path: PathBuf,
    /// The significant decimal digits of the log, from 1 to 5.
    pub(crate) digits: u8,
    /// The numbers of the log that make 1 of a histogram or a distribution.
    pub(crate) scale: u64,
    /// The size in bytes from which on the file is renamed.
    pub(crate) max_size: u64,
    /// The age from which on the file is renamed.
    pub(crate) max_age: Duration,
    /// The number of old files that stay.
    pub(crate) keep: usize,
    /// The largest number of values per series and interval that tallyd does not round.
    pub(crate) exact_values: usize,
    /// The significant decimal digits of more values.
    pub(crate) internal_digits: u8,
}

/// The exporter `hdr_log`.
pub(crate) struct HdrLog {
    digits: u8,
    units: Units,
    precision: Precision,
    file: LogFile,
    serializer: V2DeflateSerializer,
    carried: Carried,
    telemetry: HdrLogTelemetry,
    warned: WarnOnce,
    not_rotated: Thinned,
    left_out: Thinned,
}

impl HdrLog {
    /// Creates an exporter. It opens the file with the first snapshot.
    pub(crate) fn new(options: HdrLogOptions, memory: &Memory, telemetry: &Telemetry) -> Self {
        let HdrLogOptions { path, digits, scale, max_size, max_age, keep, exact_values, internal_digits } =
            options;
        Self {
            digits,
            units: Units::of_scale(scale),
            precision: Precision { digits, exact_values, internal_digits },
            file: LogFile::new(path, Rotation { max_size, max_age, keep }),
            serializer: V2DeflateSerializer::new(),
            carried: Carried::new(memory),
            telemetry: HdrLogTelemetry::register(telemetry),
            warned: WarnOnce::default(),
            not_rotated: Thinned::default(),
            left_out: Thinned::default(),
        }
    }

    /// Writes an interval. After an error, the file may have a part of it.
    fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let start = snapshot.time.checked_sub(snapshot.interval).unwrap_or(UNIX_EPOCH);
        let (units, precision, path) = (self.units, self.precision, self.file.path().display().to_string());
        let mut not_rotated = None;
        self.file.begin(
            (start, snapshot.time),
            || header(units, precision, start),
            |notice| match notice {
                Notice::Moved => {
                    tracing::info!(path, "the HDR log was moved or deleted; tallyd opens its path again");
                }
                Notice::CutOff(bytes) => {
                    tracing::warn!(
                        path,
                        bytes,
                        "the HDR log ended with an incomplete line, which tallyd removed"
                    );
                }
                Notice::NotRotated(reason) => not_rotated = Some(reason),
            },
        )?;
        if let Some(reason) = not_rotated {
            self.telemetry.rotation_errors.increment();
            if self.not_rotated.add(1).is_some() {
                tracing::warn!(
                    path,
                    reason,
                    "the HDR log was not rotated; tallyd tries it again in each interval"
                );
            }
        }
        let time = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (mut lines, mut left_out) = (Vec::new(), 0);
        for row in &snapshot.rows {
            let Value::Summary(summary) = row.value else { continue };
            let Some(values) = &summary.values else {
                left_out += summary.count.round() as u64;
                continue;
            };
            let counts =
                Counts::of(values.iter(), self.scale(row.series.kind()), self.carried.take(row.series));
            self.carried.put(row.series, counts.carried);
            self.note_clamped(row.series, &counts.clamped);
            let Some(histogram) = histogram(&counts.by_number, self.digits)? else { continue };
            let tag = tag::tag_of(row.series);
            IntervalLogWriterBuilder::new()
                .begin_log_with(&mut lines, &mut self.serializer)?
                .write_histogram(&histogram, time, snapshot.interval, Tag::new(&tag))
                .map_err(|error| io::Error::other(error.to_string()))?;
            if lines.len() >= PIECE {
                self.file.write(&lines)?;
                lines.clear();
            }
        }
        self.telemetry.left_out.add(left_out);
        if let Some(Repeated { amount, .. }) = self.left_out.round(left_out) {
            tracing::error!(
                samples = amount,
                "the HDR log lacks samples, because their values took too much memory; raise memory.max"
            );
        }
        self.file.write(&lines)
    }

    /// Returns the numbers of the log that make 1 of a series of this kind.
    fn scale(&self, kind: Kind) -> f64 {
        if kind == Kind::Timing { TIMING_SCALE } else { self.units.histogram as f64 }
    }

    /// Counts what the log does not show as it is, and logs the series once for each reason.
    fn note_clamped(&mut self, series: &Series, clamped: &EnumMap<Clamped, u64>) {
        for (reason, &count) in clamped.iter().filter(|&(_, &count)| count > 0) {
            self.telemetry.clamped[reason].add(count);
            if self.warned.is_new((series, reason.name())) {
                tracing::warn!(
                    series = series.shortened(),
                    reason = reason.name(),
                    count,
                    "values of a series do not fit into the HDR log"
                );
            }
        }
    }
}

impl std::fmt::Debug for HdrLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HdrLog").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Exporter for HdrLog {
    fn name(&self) -> &'static str {
        "hdr_log"
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let written = self.write(snapshot);
        self.carried.forget_dead(snapshot.rows.series());
        if self.warned.end_snapshot() > 0 {
            tracing::warn!(
                "values of more series do not fit into the HDR log; tallyd.hdr_log_clamped counts them"
            );
        }
        written.map(|()| ExportOutcome::default()).map_err(|error| {
            self.file.undo();
            ExportError::new(format!("cannot write to {}", self.file.path().display()), error)
        })
    }
}

/// Returns a histogram with these counts, or `None` if there are none. It reaches just as far as the largest number, so
/// that readers need little memory.
fn histogram(counts: &[(u64, u64)], digits: u8) -> io::Result<Option<Histogram<u64>>> {
    let Some(&(largest, _)) = counts.last() else { return Ok(None) };
    let reach = (u64::MAX >> largest.leading_zeros().min(62)).min(LARGEST);
    let mut histogram = Histogram::new_with_bounds(1, reach, digits).map_err(io::Error::other)?;
    for &(number, count) in counts {
        histogram.record_n(number, count).map_err(io::Error::other)?;
    }
    Ok(Some(histogram))
}

/// The weight that each series has left from the interval before, if its weights are not whole.
#[derive(Debug)]
struct Carried {
    weights: HashMap<Series, f64>,
    /// The number of entries from which on those of dropped series are forgotten.
    most: usize,
    /// Accounts for the entries.
    claim: Claim,
}

impl Carried {
    /// The least number of entries among which dropped series are looked for.
    const FEW: usize = 1024;

    fn new(memory: &Memory) -> Self {
        let claim = memory.claim(MemoryPart::Series, 0);
        Self { weights: HashMap::new(), most: Self::FEW, claim }
    }

    fn take(&mut self, series: &Series) -> f64 {
        if self.weights.is_empty() { 0.0 } else { self.weights.remove(series).unwrap_or_default() }
    }

    fn put(&mut self, series: &Series, weight: f64) {
        if weight != 0.0 {
            self.weights.insert(series.clone(), weight);
        }
    }

    /// Forgets the series that are not in `live`, which is sorted, if there are many entries.
    fn forget_dead(&mut self, live: &[Series]) {
        if self.weights.len() > self.most {
            self.weights.retain(|series, _| live.binary_search(series).is_ok());
            self.most = Self::FEW.max(self.weights.len() * 2);
        }
        self.claim.resize(self.weights.capacity() * size_of::<(Series, f64)>());
    }
}

/// tallyd's own series about the log.
#[derive(Debug)]
struct HdrLogTelemetry {
    clamped: EnumMap<Clamped, Counter>,
    left_out: Counter,
    rotation_errors: Counter,
}

impl HdrLogTelemetry {
    fn register(telemetry: &Telemetry) -> Self {
        Self {
            clamped: telemetry.counters("hdr_log_clamped", &[], "reason"),
            left_out: telemetry.counter("hdr_log_left_out", &[]),
            rotation_errors: telemetry.counter("hdr_log_rotation_errors", &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Rows, Summary, WeightedValues};
    use base64::Engine;

    fn exporter(path: PathBuf, digits: u8) -> HdrLog {
        let options = HdrLogOptions {
            path,
            digits,
            scale: 1000,
            max_size: 1 << 30,
            max_age: Duration::from_hours(1),
            keep: 1,
            exact_values: 512,
            internal_digits: 2,
        };
        HdrLog::new(options, &Memory::default(), &Telemetry::default())
    }

    fn snapshot(seconds: u64, values: Vec<(Series, Option<Vec<(f64, f64)>>)>) -> Arc<Snapshot> {
        let row = |(series, values): (Series, Option<Vec<(f64, f64)>>)| {
            let values = values.map(|values| Box::new(values.into_iter().collect::<WeightedValues>()));
            (series, Value::Summary(Box::new(Summary { values, count: 3.0, ..Summary::default() })))
        };
        let rows: Rows = values.into_iter().map(row).collect();
        Arc::new(Snapshot { time: UNIX_EPOCH + Duration::from_secs(seconds), ..rows.into() })
    }

    /// Returns the tag, the start and the histogram of each line.
    fn read(path: &std::path::Path) -> Vec<(String, Duration, Histogram<u64>)> {
        let log = std::fs::read(path).unwrap();
        let entries = IntervalLogIterator::new(&log).map(Result::unwrap);
        let intervals = entries.filter_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        });
        intervals
            .map(|interval| {
                let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram());
                let histogram = Deserializer::new().deserialize(&mut &*bytes.unwrap()).unwrap();
                (interval.tag().unwrap().to_string(), interval.start_timestamp(), histogram)
            })
            .collect()
    }

    #[test]
    fn each_series_has_a_line_per_interval_in_its_unit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        let mut log = exporter(path.clone(), 3);
        let [timing, size] =
            [Series::new(Kind::Timing, "time", &[("zone", "b")]), Series::new(Kind::Histogram, "size", &[])];
        for seconds in [1010, 1020] {
            let values = vec![
                (size.clone(), Some(vec![(0.25, 1.0), (5e12, 1.0)])),
                (timing.clone(), Some(vec![(0.25, 1.0), (20.0, 2.0)])),
            ];
            log.export(&snapshot(seconds, values)).unwrap();
        }
        let lines = read(&path);
        let heads: Vec<_> = lines.iter().map(|(tag, start, _)| (tag.as_str(), start.as_secs())).collect();
        let [timing, size] = ["timing:time;zone:b", "histogram:size"];
        assert_eq!(heads, [(size, 1000), (timing, 1000), (size, 1010), (timing, 1010)]);
        let (of_size, of_timing) = (&lines[0].2, &lines[1].2);
        assert_eq!(
            (of_size.len(), of_size.count_at(250), of_size.count_at(5_000_000_000_000_000)),
            (2, 1, 1)
        );
        assert_eq!((of_timing.len(), of_timing.count_at(250), of_timing.count_at(20_000)), (3, 1, 2));
        assert_eq!(of_timing.sigfig(), 3);
    }

    #[test]
    fn samples_without_values_are_counted_as_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        let mut log = exporter(path.clone(), 3);
        log.export(&snapshot(10, vec![(Series::new(Kind::Timing, "time", &[]), None)])).unwrap();
        assert_eq!(log.telemetry.left_out.pending(), 3);
        assert!(read(&path).is_empty());
    }

    #[test]
    fn fractions_of_dropped_series_are_forgotten() {
        let memory = Memory::default();
        let mut carried = Carried::new(&memory);
        let series: Vec<_> =
            (0..3000).map(|n| Series::new(Kind::Timing, &format!("time.{n:04}"), &[])).collect();
        series.iter().for_each(|series| carried.put(series, 0.25));
        carried.forget_dead(&series[..10]);
        assert_eq!((carried.weights.len(), carried.take(&series[9])), (10, 0.25));
        assert!(memory.used(MemoryPart::Series) > 0);
        drop(carried);
        assert_eq!(memory.used(MemoryPart::Series), 0);
    }

    proptest! {
        #[test]
        fn the_log_reads_back_as_what_was_written(
            digits in 1_u8..=4,
            intervals in proptest::collection::vec(proptest::collection::vec((0.0..1e12, 0.05..=1.0), 1..30), 1..5),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.hlog");
            let mut log = exporter(path.clone(), digits);
            let series = Series::new(Kind::Distribution, "d", &[]);
            let mut weight = 0.0;
            for (index, interval) in intervals.iter().enumerate() {
                let mut values: Vec<_> = interval.iter().map(|&(value, rate): &(f64, f64)| (value, 1.0 / rate)).collect();
                values.sort_by(|a, b| a.0.total_cmp(&b.0));
                weight += values.iter().map(|pair| pair.1).sum::<f64>();
                log.export(&snapshot(10 * (index as u64 + 1), vec![(series.clone(), Some(values))])).unwrap();
            }
            let lines = read(&path);
            prop_assert_eq!(lines.len(), intervals.len());
            let counted: u64 = lines.iter().map(|line| line.2.len()).sum();
            prop_assert!((counted as f64 - weight).abs() <= 0.5 + 1e-6, "{counted} of {weight}");
            for (line, interval) in lines.iter().zip(&intervals) {
                // The extremes are within the stated error: the digits, and half a unit.
                let largest = interval.iter().map(|pair| pair.0).fold(0.0, f64::max);
                let error = largest * 10_f64.powi(-i32::from(digits)) + 0.5e-3;
                prop_assert!((line.2.max() as f64 / 1000.0 - largest).abs() <= error, "{} for {largest}", line.2.max());
            }
        }
    }
}
