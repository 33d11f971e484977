//! Restores the state of an earlier process, and hands the state of this one to its keeper.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::export::prometheus::{SavedTotals, Totals};
use crate::flush::{Aggregator, CLOCK_ORIGIN, LiveSeries, RestoredSeries, SavedSeries};
use crate::listen::CountedDrops;
use crate::model::{Decoder, Encoder, InvalidState, Series};
use crate::state::{Disk, PartSender, Parts, SavedState, StateFile, StateKeeper, StateTelemetry};

/// The name of the part with all series. The parts of exporters have the names of the exporters.
const SERIES: &str = "series";

/// The name of the part with the drops that the kernel has counted for each socket.
const SOCKETS: &str = "sockets";

/// The decoded state of an earlier process.
struct Decoded<'a> {
    time: SystemTime,
    series: Option<SavedSeries<'a>>,
    /// The counted drops of each socket, by its cookie.
    drops: BTreeMap<u64, u32>,
    /// The totals of each exporter, by name.
    totals: BTreeMap<&'a str, SavedTotals<'a>>,
}

impl<'a> Decoded<'a> {
    fn new(saved: &'a SavedState) -> Result<Self, InvalidState> {
        let Parts { time, mut parts } = saved.parts()?;
        let series = parts.remove(SERIES).map(SavedSeries::decode).transpose()?;
        let drops = parts.remove(SOCKETS).map(decode_drops).transpose()?.unwrap_or_default();
        let totals = parts.into_iter().map(|(name, bytes)| Ok((name, SavedTotals::decode(bytes)?)));
        Ok(Self { time, series, drops, totals: totals.collect::<Result<_, _>>()? })
    }
}

/// The totals of an earlier process that exporters have not continued yet.
#[derive(Debug, Default)]
pub struct Restoring<'a> {
    totals: BTreeMap<&'a str, SavedTotals<'a>>,
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
        let Decoded { time, series, drops, totals } = match Decoded::new(saved) {
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
        Self { totals, downtime, live: Arc::clone(aggregator.series()) }
    }

    /// Continues the totals of an exporter.
    pub fn continue_totals(&mut self, exporter: &str, totals: &mut Totals) {
        if let Some(saved) = self.totals.remove(exporter)
            && !totals.restore(saved, self.downtime, &self.live)
        {
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
    sockets: PartSender,
    counted: CountedDrops,
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
        counted: CountedDrops,
        now: Instant,
    ) -> Self {
        let [series, sockets] = [SERIES, SOCKETS].map(|part| keeper.add_owner(part));
        Self { series, sockets, counted, interval, latest: now }
    }

    /// Returns true if the state after the interval that ended at `now` is to be written. A stop always writes the state.
    pub fn is_due(&mut self, now: Instant, is_last: bool) -> bool {
        let is_due = is_last || now - self.latest >= self.interval && self.series.is_idle();
        if is_due {
            self.latest = now;
        }
        is_due
    }

    /// Hands over the series and the drops. The keeper encodes them.
    pub fn hand_over(&self, live: LiveSeries) {
        self.series.hand_over(|| live.encode());
        let drops = self.counted.get();
        self.sockets.hand_over(move || encode_drops(&drops));
    }
}

fn encode_drops(drops: &BTreeMap<u64, u32>) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.push(drops);
    encoder.finish()
}

fn decode_drops(bytes: &[u8]) -> Result<BTreeMap<u64, u32>, InvalidState> {
    let mut decoder = Decoder::new(bytes);
    let drops = decoder.take()?;
    decoder.end()?;
    Ok(drops)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;

    use super::*;
    use crate::app::config::{Environment, Occasion, Ready, prepare};
    use crate::export::prometheus::{Format, Naming};
    use crate::model::Telemetry;

    /// The state that [`encoded`] returned when version 1 was made. If this test fails, other versions of tallyd can no
    /// longer read the state: raise the version in `state/file.rs`, and write a new file with `TALLYD_STATE=new`.
    const VERSION_1: &[u8] = include_bytes!("../../tests/data/state.1");

    /// Returns an aggregator with rules for all types of the page.
    fn aggregator() -> Aggregator {
        let rules = "mapping.mappings=[\
            { match = 'window.*', name = 'window', observer_type = 'summary', summary_options = { max_age = '1m' } }, \
            { match = 'buckets.*', name = 'buckets', observer_type = 'histogram', help = 'é' }, \
            { match = 'native.*', name = 'native', observer_type = 'native' }]";
        // Without telemetry, new series of tallyd do not change the state.
        let settings =
            [rules, "exporters.textfile.enabled=true", "telemetry.enabled=false"].map(str::to_owned);
        let prepared = prepare(Occasion::Start, None, &Environment::default(), &settings);
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
    fn a_file_of_version_1_is_read_and_written_as_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let ([series, totals], saved) = encoded();
        let mut file = StateFile::open(&path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(23_500);
        let parts = [(SERIES, series), ("prometheus", totals)].into();
        file.write(time, &parts).unwrap();
        let written = fs::read(&path).unwrap();
        if std::env::var_os("TALLYD_STATE").is_some() {
            fs::write("tests/data/state.1", &written).unwrap();
        }
        assert!(written == VERSION_1, "the format has changed");
        fs::write(&path, VERSION_1).unwrap();
        let read = file.read().unwrap();
        let Parts { time: read_time, parts } = read.parts().unwrap();
        assert_eq!(read_time, time);
        assert_eq!(restore([parts[SERIES], parts["prometheus"]]).unwrap()[0], saved);
    }
}
