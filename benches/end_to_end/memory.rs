//! Measures the memory of many series during traffic, and how much of it tallyd returns once they are idle.
//!
//! One interval is not enough. The second interval uses another set of columns, and memory circulates between receiver
//! and flush only after several intervals. So a case lasts for 20 intervals. In each interval, every series gets its
//! samples while tallyd merges and renders the previous interval.
//!
//! ```text
//! interval  |-- 1 --|-- 2 --| ... |-- 20 --|--------|--------|--------| ...
//! stream    ============= ... ============= ---- a few continue, the others expire ----
//! flush             ####    ####  ####     ####     #        #        #
//! read                                    ^    ^                                   ^
//!                                    recorded  flushed                          expired
//! ```
//!
//! Intervals are as short as the receivers' core allows, so that both cases take less than four minutes. While flush
//! and exporter are busy, a receiver on the same core gets a third of it. With more work, the receiver would lose
//! datagrams. So datagrams are as long here as a network allows. On a busy machine, tallyd loses some datagrams
//! nevertheless, which changes the result only a little. Short intervals do not make the result look better: a flush
//! takes a larger part of them, and the samples that arrive meanwhile take memory in addition to the data being
//! flushed.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::arguments::Arguments;
use crate::client::Client;
use crate::generator;
use crate::measurement::{settle, wait_for_multiple_of};
use crate::process::{Cores, Error, Memory, Process};
use crate::ring::Ring;
use crate::streams::{Content, Pace, Stream};
use crate::tallyd::{Tallyd, settings};

/// The name for `--stream`.
pub(crate) const NAME: &str = "memory";

/// A datagram has 1,100 to 1,500 bytes.
const LINES_PER_DATAGRAM: usize = 40;

/// The number of series that continue when the others are idle.
const CONTINUING: usize = 1000;

/// A row of the report.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    content: Content,
    series: usize,
    /// The number of samples of each series in each interval.
    samples: usize,
    interval: Duration,
    intervals: u32,
    /// The largest number of resident bytes after a flush that is good enough.
    pub(crate) target: u64,
}

impl Case {
    /// Returns a stream to the first `series`.
    fn stream(&self, series: usize, samples: usize) -> Stream {
        let rate = (series * samples) as f64 / self.interval.as_secs_f64();
        let pace = Pace::LinesPerSecond(rate as u32);
        Stream {
            series,
            lines_per_datagram: LINES_PER_DATAGRAM,
            ..Stream::new(NAME, self.title, self.content, pace)
        }
    }

    /// Returns the name of the series' type in telemetry and settings.
    fn kind(&self) -> &'static str {
        match self.content {
            Content::Counters => "counter",
            Content::Timings => "timing",
            Content::Mixed => unreachable!("each case has one type"),
        }
    }

    /// Returns the time after which idle series expire, at least one second. During traffic, no series is idle for that
    /// long.
    fn expire_after(&self) -> Duration {
        self.interval * 2
    }
}

/// The result of a case.
pub(crate) struct Measured {
    /// Resident bytes before the last flush, when all samples of its interval are recorded.
    pub(crate) recorded: u64,
    /// Memory after the last flush, when its snapshot is merged, rendered, written and freed.
    pub(crate) flushed: Memory,
    /// Resident bytes when only [`CONTINUING`] series are left.
    pub(crate) expired: u64,
    /// The percentage of datagrams lost.
    pub(crate) percent_lost: f64,
}

/// Returns the cases. In test mode, they have a fiftieth of the series and only three short intervals.
pub(crate) fn cases(test: bool) -> [Case; 2] {
    let counters = Case {
        title: "1,000,000 counter series with names of 30 bytes",
        content: Content::Counters,
        series: 1_000_000,
        samples: 1,
        interval: Duration::from_secs(2),
        intervals: 20,
        target: 170_000_000,
    };
    let timings = Case {
        title: "100,000 timing series, 100 samples each in an interval",
        content: Content::Timings,
        series: 100_000,
        samples: 100,
        interval: Duration::from_secs(6),
        intervals: 20,
        target: 140_000_000,
    };
    let shortened = |case: Case| Case {
        series: case.series / 50,
        interval: Duration::from_millis(500),
        intervals: 3,
        ..case
    };
    [counters, timings].map(|case| if test { shortened(case) } else { case })
}

pub(crate) fn measure(case: &Case, arguments: &Arguments, cores: Cores) -> Result<Measured, Error> {
    let mut settings = settings(case.interval, arguments);
    let expire_after = case.expire_after().as_millis();
    settings.push(format!("aggregation.expire_after.{}={expire_after}ms", case.kind()));
    let mut tallyd = Tallyd::start(cores, &settings)?;

    let stream = case.stream(case.series, case.samples);
    let ring = Ring::of(&stream);
    let mut client = [Client::new(&stream, &ring, tallyd.process.address)?];
    wait_for_multiple_of(case.interval);
    // The stream ends before the interval does. Otherwise the last samples would have an interval of their own.
    generator::run(&mut client, &stream, case.interval.mul_f64(f64::from(case.intervals) - 0.1))?;
    settle(&tallyd.process)?;
    let recorded = tallyd.process.memory()?.resident;
    let received = client[0].sent() - tallyd.process.socket()?.dropped;
    tallyd.wait_for_lines(received * LINES_PER_DATAGRAM as u64)?;
    let series = tallyd.wait_for(|row| live_series(row, case.kind()))?;
    if series < case.series as f64 {
        return Err(format!("only {series} of {} series arrived; is the machine busy?", case.series).into());
    }
    wait_until_idle(&tallyd.process)?;
    let flushed = tallyd.process.memory()?;

    let sent_later = expire_most(case, &mut tallyd)?;
    let expired = tallyd.process.memory()?.resident;

    let dropped = tallyd.process.socket()?.dropped;
    let sent = client[0].sent() + sent_later;
    tallyd.stop()?.check_counters(sent, LINES_PER_DATAGRAM)?;
    Ok(Measured { recorded, flushed, expired, percent_lost: 100.0 * dropped as f64 / sent as f64 })
}

/// Sends to a few series until all others have expired. Returns the number of datagrams sent.
fn expire_most(case: &Case, tallyd: &mut Tallyd) -> Result<u64, Error> {
    let stream = case.stream(CONTINUING, 1);
    let ring = Ring::of(&stream);
    let mut client = [Client::new(&stream, &ring, tallyd.process.address)?];
    // tallyd announces series as idle, drops them, and then replaces their memory. This time is one interval longer
    // than that takes.
    generator::run(&mut client, &stream, case.expire_after() + case.interval * 4)?;
    tallyd.wait_for(|row| live_series(row, case.kind()).filter(|&series| series == CONTINUING as f64))?;
    wait_until_idle(&tallyd.process)?;
    Ok(client[0].sent())
}

/// Returns the number of live series of a type, if the row holds it.
fn live_series(row: &Value, kind: &str) -> Option<f64> {
    let is_wanted = row["name"] == "tallyd.series" && row["tags"]["type"] == kind;
    row["value"].as_f64().filter(|_| is_wanted)
}

/// Waits until a process without traffic has flushed and sleeps. Only the CPU clock of the process shows when an
/// exporter has freed the data that it wrote.
fn wait_until_idle(process: &Process) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut before = process.cpu()?;
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
        let now = process.cpu()?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    Err("tallyd does not become idle".into())
}
