//! How much memory many series take while traffic goes on, and how much of it they give back once they are idle.
//!
//! One interval would not tell: only the second has another set of columns, and only after some has memory gone round
//! between receiver and flush. So a case lasts for 20 intervals. In each of them every series gets its samples, spread
//! over all of it, while the interval before is merged and rendered.
//!
//! ```text
//! interval  |-- 1 --|-- 2 --| ... |-- 20 --|--------|--------|--------| ...
//! stream    ============= ... ============= --- few series go on, the others expire ---
//! flush             ####    ####  ####     ####     #        #        #
//! read                                    ^    ^                                   ^
//!                                    recorded  flushed                          expired
//! ```
//!
//! Intervals are as short as the receivers' core allows, so that both cases take less than four minutes, not ten. While
//! flush and exporter are busy, a receiver on the same core gets a third of it, and would lose datagrams if it had more
//! than that to do. So datagrams are as long here as a network lets them be; on a busy machine some are lost all the
//! same, which changes little. Short intervals flatter nobody: a flush takes a larger part of them, and what arrives
//! meanwhile takes memory besides what is being flushed.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;
use crate::cores::Cores;
use crate::generator::{self, Client};
use crate::process::{Memory, Process};
use crate::round::{settle, wait_for_multiple_of};
use crate::streams::{Content, Pace, Ring, Stream};
use crate::tallyd::{Tallyd, settings};

/// For `--stream`.
pub(crate) const NAME: &str = "memory";

/// 1,100 to 1,500 bytes.
const LINES_A_DATAGRAM: usize = 40;

/// Series that go on when the others are idle.
const FEW: usize = 1000;

/// A row of the report.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    content: Content,
    series: usize,
    /// Of each series in each interval.
    samples: usize,
    interval: Duration,
    intervals: u32,
}

impl Case {
    /// A stream to the first `series`.
    fn stream(&self, series: usize, samples: usize) -> Stream {
        let rate = (series * samples) as f64 / self.interval.as_secs_f64();
        Stream {
            name: NAME,
            title: self.title,
            content: self.content,
            series,
            lines_a_datagram: LINES_A_DATAGRAM,
            pace: Pace::LinesASecond(rate as u32),
        }
    }

    /// The name of the series' type, in the telemetry and in the settings.
    fn kind(&self) -> &'static str {
        match self.content {
            Content::Counters => "counter",
            Content::Timings => "timing",
            Content::Mixed => unreachable!("no case has many types"),
        }
    }

    /// At least "1s". No series is without samples for so long as long as the traffic goes on.
    fn expire_after(&self) -> Duration {
        self.interval * 2
    }
}

/// What a case came to.
pub(crate) struct Measured {
    /// Bytes that were resident when all samples of the last interval had been recorded, before its flush.
    pub(crate) recorded: u64,
    /// When its snapshot had been merged, rendered, written and freed.
    pub(crate) flushed: Memory,
    /// Bytes that were resident when only [`FEW`] series were left.
    pub(crate) expired: u64,
    /// Of the datagrams.
    pub(crate) percent_lost: f64,
}

/// `brief`: with a fiftieth of the series, and for three short intervals.
pub(crate) fn cases(brief: bool) -> [Case; 2] {
    let counters = Case {
        title: "1,000,000 counter series with names of 30 bytes",
        content: Content::Counters,
        series: 1_000_000,
        samples: 1,
        interval: Duration::from_secs(2),
        intervals: 20,
    };
    let timings = Case {
        title: "100,000 timing series, 100 samples each in an interval",
        content: Content::Timings,
        series: 100_000,
        samples: 100,
        interval: Duration::from_secs(6),
        intervals: 20,
    };
    let shortened = |case: Case| Case {
        series: case.series / 50,
        interval: Duration::from_millis(500),
        intervals: 3,
        ..case
    };
    [counters, timings].map(|case| if brief { shortened(case) } else { case })
}

pub(crate) fn measure(case: &Case, cores: Cores) -> Result<Measured, Failure> {
    let mut settings = settings(case.interval);
    let expire_after = case.expire_after().as_millis();
    settings.push(format!("aggregation.expire_after.{}={expire_after}ms", case.kind()));
    let mut tallyd = Tallyd::start(cores, &settings)?;

    let stream = case.stream(case.series, case.samples);
    let ring = Ring::of(&stream);
    let mut client = [Client::new(&ring, tallyd.process.address)?];
    wait_for_multiple_of(case.interval);
    // Ends before the interval does, or the last samples would be in one of their own.
    generator::run(&mut client, &stream, case.interval.mul_f64(f64::from(case.intervals) - 0.1))?;
    settle(&tallyd.process)?;
    let recorded = tallyd.process.memory()?.resident;
    let received = client[0].sent() - tallyd.process.socket()?.dropped;
    tallyd.wait_for_lines(received * LINES_A_DATAGRAM as u64)?;
    let series = tallyd.wait_for(|row| live(row, case.kind()))?;
    if series < case.series as f64 {
        return Err(format!("only {series} of {} series arrived; is the machine busy?", case.series).into());
    }
    wait_for_rest(&tallyd.process)?;
    let flushed = tallyd.process.memory()?;

    let few_sent = leave_alone(case, &mut tallyd)?;
    let expired = tallyd.process.memory()?.resident;

    let dropped = tallyd.process.socket()?.dropped;
    let sent = client[0].sent() + few_sent;
    tallyd.stop()?.check(sent, LINES_A_DATAGRAM)?;
    Ok(Measured { recorded, flushed, expired, percent_lost: 100.0 * dropped as f64 / sent as f64 })
}

/// Sends to a few series only until all others have expired. How many datagrams that took.
fn leave_alone(case: &Case, tallyd: &mut Tallyd) -> Result<u64, Failure> {
    let stream = case.stream(FEW, 1);
    let ring = Ring::of(&stream);
    let mut client = [Client::new(&ring, tallyd.process.address)?];
    // One interval more than it takes until they are announced, dropped, and what held them is replaced.
    generator::run(&mut client, &stream, case.expire_after() + case.interval * 4)?;
    tallyd.wait_for(|row| live(row, case.kind()).filter(|&series| series == FEW as f64))?;
    wait_for_rest(&tallyd.process)?;
    Ok(client[0].sent())
}

/// How many series of a type are alive, if a row tells that.
fn live(row: &Value, kind: &str) -> Option<f64> {
    let is_it = row["name"] == "tallyd.series" && row["tags"]["type"] == kind;
    row["value"].as_f64().filter(|_| is_it)
}

/// Waits until a process that gets no more samples has flushed, and sleeps. Nothing but its CPU clock tells when an
/// exporter has freed what it wrote.
fn wait_for_rest(process: &Process) -> Result<(), Failure> {
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
    Err("tallyd does not come to rest".into())
}
