//! Restores the state of an earlier process, and hands the state of this one to its keeper.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::export::prometheus::{SavedTotals, Totals};
use crate::flush::{Aggregator, CLOCK_ORIGIN, LiveSeries, RestoredSeries, SavedSeries};
use crate::listen::CountedDrops;
use crate::model::{Decoder, Encoder, InvalidState, Kind, Series, Telemetry};
use crate::state::{Disk, PartSender, Parts, SavedState, StateFile, StateKeeper, StateTelemetry};

/// The name of the part with all series. The parts of exporters have the names of the exporters.
const SERIES: &str = "series";

/// The name of the part with [`Counts`].
const COUNTS: &str = "counts";

/// What was counted and must not be counted twice, or be forgotten.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts<'a> {
    /// The drops that were counted for each socket, by its cookie. The kernel counts them for the life of the socket.
    drops: BTreeMap<u64, u32>,
    /// The counts that no flush has read, each with the identity of its counter. Only a stop leaves any.
    #[serde(borrow)]
    pending: Vec<(&'a str, u64)>,
}

/// The decoded state of an earlier process.
struct Decoded<'a> {
    time: SystemTime,
    series: Option<SavedSeries<'a>>,
    counts: Counts<'a>,
    /// The totals of each exporter, by name.
    totals: BTreeMap<&'a str, SavedTotals<'a>>,
}

impl<'a> Decoded<'a> {
    fn new(saved: &'a SavedState) -> Result<Self, InvalidState> {
        let Parts { time, mut parts } = saved.parts()?;
        let series = parts.remove(SERIES).map(SavedSeries::decode).transpose()?;
        let counts = parts.remove(COUNTS).map(Counts::decode).transpose()?.unwrap_or_default();
        let totals = parts.into_iter().map(|(name, bytes)| Ok((name, SavedTotals::decode(bytes)?)));
        Ok(Self { time, series, counts, totals: totals.collect::<Result<_, _>>()? })
    }
}

/// The totals of an earlier process that exporters have not continued yet.
#[derive(Debug, Default)]
pub struct Restoring<'a> {
    totals: BTreeMap<&'a str, SavedTotals<'a>>,
    /// The counts that no flush of the earlier process has read.
    pending: Vec<(&'a str, u64)>,
    downtime: Duration,
    live: Arc<Vec<Series>>,
}

impl<'a> Restoring<'a> {
    /// Makes the series in the state alive again at `now`. Everything is decoded before anything is restored, so a file is
    /// restored as a whole or not at all.
    pub fn new(
        file: &StateFile<impl Disk>,
        saved: &'a SavedState,
        aggregator: &mut Aggregator,
        counted: &CountedDrops,
        telemetry: &StateTelemetry,
        now: SystemTime,
    ) -> Self {
        let begin = Instant::now();
        let Decoded { time, series, counts: Counts { drops, pending }, totals } = match Decoded::new(saved) {
            Ok(decoded) => decoded,
            Err(error) => {
                file.set_aside(&error);
                return Self::default();
            }
        };
        telemetry.note(time, saved.size() as u64);
        counted.set(drops);
        // The clock may have been set back.
        let downtime = now.duration_since(time).unwrap_or_default();
        let restore = |series: &SavedSeries<'_>| aggregator.restore(series, downtime, CLOCK_ORIGIN);
        let RestoredSeries { alive, expired } = series.as_ref().map(restore).unwrap_or_default();
        let written = humantime::format_rfc3339_seconds(time);
        let took = begin.elapsed();
        tracing::info!(series = alive, expired, %written, ?took, "the state of an earlier tallyd was restored");
        let totals = if saved.has_latest_totals() {
            totals
        } else {
            tracing::warn!("totals begin again, because the earlier tallyd did not stop normally");
            BTreeMap::new()
        };
        Self { totals, pending, downtime, live: Arc::clone(aggregator.series()) }
    }

    /// Adds what the earlier process counted after its last flush. All counters must have been registered.
    pub fn add_counts(&self, telemetry: &Telemetry) {
        let series = |identity| Series::from_identity(identity);
        self.pending.iter().for_each(|(identity, count)| telemetry.add_pending(&series(identity), *count));
    }

    /// Continues the totals of an exporter.
    pub fn continue_totals(&mut self, exporter: &str, totals: &mut Totals) {
        let Some(saved) = self.totals.remove(exporter) else { return };
        let begin = Instant::now();
        if totals.restore(saved, self.downtime, &self.live) {
            let took = begin.elapsed();
            tracing::info!(exporter, ?took, "totals of an earlier tallyd continue");
        } else {
            tracing::warn!(
                exporter,
                "totals begin again, because exporters.prometheus.naming has changed since the state was written"
            );
        }
    }
}

/// Decides when the state is written, and hands the series to the keeper.
#[derive(Debug)]
pub struct StateSchedule {
    series: PartSender,
    counts: CountsSender,
    interval: Duration,
    /// The time of the latest write, or of the start.
    latest: Instant,
}

impl StateSchedule {
    /// Creates a schedule that begins at `now`, and adds the owners of the parts that it hands over.
    #[must_use]
    pub fn new(
        keeper: &mut StateKeeper<impl Disk>,
        interval: Duration,
        drops: CountedDrops,
        now: Instant,
    ) -> Self {
        let [series, counts] = [SERIES, COUNTS].map(|part| keeper.add_owner(part));
        Self { series, counts: CountsSender { part: counts, drops }, interval, latest: now }
    }

    /// Returns the sender of the counts at a stop.
    #[must_use]
    pub fn counts(&self) -> CountsSender {
        self.counts.clone()
    }

    /// Returns true if the state after the interval that ended at `now` is to be written. A stop always writes the state.
    pub fn is_due(&mut self, now: Instant, is_last: bool) -> bool {
        let is_due = is_last || now - self.latest >= self.interval && self.series.is_idle();
        if is_due {
            self.latest = now;
        }
        is_due
    }

    /// Hands over the series, which the keeper encodes. At a stop, the counts come later, from [`CountsSender`].
    pub fn hand_over(&self, live: LiveSeries, is_last: bool) {
        self.series.hand_over(is_last, || live.encode());
        if !is_last {
            self.counts.hand_over(false, Vec::new());
        }
    }
}

/// Hands over what was counted.
#[derive(Debug, Clone)]
pub struct CountsSender {
    part: PartSender,
    drops: CountedDrops,
}

impl CountsSender {
    /// Hands over the counts of a stop, after the last flush and once the exporters have finished.
    pub fn hand_over_last(&self, telemetry: &Telemetry) {
        self.hand_over(true, telemetry.pending());
    }

    fn hand_over(&self, is_last: bool, pending: Vec<(Series, u64)>) {
        let drops = self.drops.get();
        self.part.hand_over(is_last, move || {
            let pending = pending.iter().map(|(series, count)| (series.identity(), *count)).collect();
            Counts { drops, pending }.encode()
        });
    }
}

impl<'a> Counts<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.push(self);
        encoder.finish()
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, InvalidState> {
        let mut decoder = Decoder::new(bytes);
        let counts: Self = decoder.take()?;
        decoder.end()?;
        let is_counter =
            |identity: &str| Series::is_identity(identity) && Series::kind_of(identity) == Kind::Counter;
        if counts.pending.iter().all(|(identity, _)| is_counter(identity)) {
            Ok(counts)
        } else {
            Err(InvalidState)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;

    use super::*;
    use crate::app::config::{Environment, Occasion, Ready, prepare};
    use crate::export::prometheus::{Format, Naming};

    /// The state that [`encoded`] returned when version 2 was made. If this test fails, other versions of tallyd can no
    /// longer read the state: raise the version in `state/file.rs`, and write a new file with `TALLYD_STATE=new`.
    const VERSION_2: &[u8] = include_bytes!("../../tests/data/state.2");

    /// Returns an aggregator with rules for all types of the page.
    fn aggregator() -> Aggregator {
        let rules = "mapping.mappings=[\
            { match = 'window.*', name = 'window', observer_type = 'summary', summary_options = { max_age = '1m' } }, \
            { match = 'buckets.*', name = 'buckets', observer_type = 'histogram', help = 'é' }, \
            { match = 'native.*', name = 'native', observer_type = 'native' }]";
        // Without telemetry, new series of tallyd do not change the state.
        let settings =
            [rules, "exporters.textfile.enabled=true", "telemetry.enabled=false"].map(str::to_owned);
        let prepared = prepare(Occasion::Start, None, None, &Environment::default(), &settings);
        let Ready { config, mapping, .. } = prepared.unwrap();
        Aggregator::new(
            config.aggregation_options(),
            config.reloadable_settings(mapping),
            Telemetry::default(),
        )
    }

    /// Adds an interval of ten seconds to the totals.
    fn add_interval(aggregator: &mut Aggregator, totals: &mut Totals, end: Duration) {
        let results = aggregator.end_interval(CLOCK_ORIGIN + end);
        totals.add(&results.into_snapshot(SystemTime::UNIX_EPOCH + end, Duration::from_secs(10)));
    }

    /// Returns the two parts of a state with all types of totals, and the page.
    fn encoded() -> ([Vec<u8>; 2], String) {
        let (mut aggregator, mut totals) = (aggregator(), Totals::new(Naming::Prometheus));
        let shard = aggregator.add_shard();
        let lines = [
            "gauge:100|g|#k:v\nset:a|s\nhits:3|c\nadded.up:1|c\nadded-up:2|c\ntime:20:40|ms\nwindow.a:1:2|h\nnative.b:-1:0:1|d",
            "gauge:+10|g|#k:v\nset:b|s\nbuckets.c:0.3:7|h|@0.5\nwindow.a:5|h\nnative.b:9|d\nconflict:1|g\nconflict:1|h",
        ];
        for (lines, end) in lines.into_iter().zip([10, 20]) {
            shard.lock().record(lines.as_bytes());
            add_interval(&mut aggregator, &mut totals, Duration::from_secs(end));
        }
        let series = aggregator.live_series(CLOCK_ORIGIN + Duration::from_secs(23)).encode();
        ([series, totals.encode()], page(&totals, Format::OpenMetrics))
    }

    fn page(totals: &Totals, format: Format) -> String {
        let mut page = Vec::new();
        let Ok(()) = format.render(totals, |piece| -> Result<(), Infallible> {
            page.extend_from_slice(piece);
            Ok(())
        });
        String::from_utf8_lossy(&page).into_owned()
    }

    /// Restores a state and adds an interval. Returns the page before and after the interval.
    fn restore([series, totals]: [&[u8]; 2]) -> Result<[String; 2], InvalidState> {
        let (series, saved) = (SavedSeries::decode(series)?, SavedTotals::decode(totals)?);
        let mut aggregator = aggregator();
        let shard = aggregator.add_shard();
        aggregator.restore(&series, Duration::ZERO, CLOCK_ORIGIN);
        let mut totals = Totals::new(Naming::Prometheus);
        totals.restore(saved, Duration::ZERO, aggregator.series());
        let before = page(&totals, Format::OpenMetrics);
        shard
            .lock()
            .record(b"gauge:+5|g|#k:v\nhits:4|c\ntime:60|ms\nwindow.a:3|h\nbuckets.c:1|h\nnative.b:2|d");
        add_interval(&mut aggregator, &mut totals, Duration::from_secs(40));
        page(&totals, Format::Protobuf);
        Ok([before, page(&totals, Format::OpenMetrics)])
    }

    fn lines<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
        page.lines().filter(|line| line.starts_with(name)).collect()
    }

    #[test]
    fn a_restored_page_equals_the_saved_one_and_all_totals_continue() {
        let ([series, totals], saved) = encoded();
        let [before, after] = restore([&series, &totals]).unwrap();
        assert_eq!(before, saved);
        assert_eq!(lines(&after, "gauge{"), ["gauge{k=\"v\"} 115"]);
        assert_eq!(lines(&after, "hits_total"), ["hits_total 7"]);
        assert_eq!(lines(&after, "added_up_total"), ["added_up_total 3"]);
        assert_eq!(lines(&after, "time_seconds_count"), ["time_seconds_count 3"]);
        assert_eq!(lines(&after, "buckets_count"), ["buckets_count 5"]);
        assert_eq!(lines(&after, "native_count"), ["native_count 5"]);
        assert_eq!(lines(&after, "window_count"), ["window_count 4"]);
        let median = "window{quantile=\"0.5\"}";
        assert_eq!(lines(&after, median), lines(&saved, median), "of 1, 2, 3 and 5");
        for name in ["hits", "time_seconds", "buckets", "native", "window"] {
            let created = format!("{name}_created");
            assert!(lines(&saved, &created).len() == 1 && lines(&saved, &created) == lines(&after, &created));
        }
    }

    /// The checksum refuses damaged files. This shows that even a file with a right checksum causes no panic.
    #[test]
    fn damaged_parts_are_refused_or_restored_without_a_panic() {
        let ([series, totals], _) = encoded();
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..1000 {
            let mut parts = [series.clone(), totals.clone()];
            let part = &mut parts[round % 2];
            let at = random.usize(..part.len());
            match random.u8(..3) {
                0 => part.truncate(at),
                1 => part[at] ^= 1 << random.u8(..8),
                _ => part[at] = random.u8(..),
            }
            _ = restore([&parts[0], &parts[1]]);
        }
    }

    #[test]
    fn a_file_of_version_2_is_read_and_written_as_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let ([series, totals], saved) = encoded();
        let mut file = StateFile::open(&path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(23_500);
        let parts = [(SERIES, series), ("prometheus", totals)].into();
        file.write(time, &parts).unwrap();
        let written = fs::read(&path).unwrap();
        if std::env::var_os("TALLYD_STATE").is_some() {
            fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/state.2"), &written).unwrap();
        }
        assert!(written == VERSION_2, "the format has changed");
        fs::write(&path, VERSION_2).unwrap();
        let read = file.read().unwrap();
        let Parts { time: read_time, parts } = read.parts().unwrap();
        assert_eq!(read_time, time);
        assert_eq!(restore([parts[SERIES], parts["prometheus"]]).unwrap()[0], saved);
    }
}
