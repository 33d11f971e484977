//! How much memory many series take.

use std::thread;
use std::time::Duration;

use crate::Failure;
use crate::cores::Cores;
use crate::generator::{self, Client};
use crate::process::Memory;
use crate::round::{settle, wait_for_multiple_of};
use crate::streams::{Content, Pace, Ring, Stream};
use crate::tallyd::Tallyd;

/// For `--stream`.
pub(crate) const NAME: &str = "memory";

/// A row of the report.
pub(crate) struct Case {
    pub(crate) stream: Stream,
    /// How many samples each series gets, all in one interval.
    samples: usize,
    /// The name of the series' type in the telemetry.
    kind: &'static str,
    interval: Duration,
}

impl Case {
    /// How long it takes to send all samples; rounded up, so a few series get one more.
    fn duration(&self) -> Duration {
        let lines = (self.samples * self.stream.series) as f64;
        match self.stream.pace {
            Pace::LinesASecond(rate) => {
                Duration::from_secs_f64(lines / f64::from(rate)) + Duration::from_millis(1)
            }
            Pace::FlatOut => unreachable!("at that pace datagrams would be lost"),
        }
    }
}

/// What a case came to.
pub(crate) struct Measured {
    /// When all samples had been recorded, before the flush.
    pub(crate) recorded: Memory,
    /// After the snapshot had been merged, rendered and written.
    pub(crate) flushed: Memory,
    /// Of the datagrams.
    pub(crate) percent_lost: f64,
}

/// `brief`: with a hundredth of the series.
pub(crate) fn cases(brief: bool) -> [Case; 2] {
    let part = if brief { 100 } else { 1 };
    let interval = |seconds| Duration::from_secs(if brief { 1 } else { seconds });
    let counters = Stream {
        name: NAME,
        title: "1,000,000 counter series with names of 30 bytes",
        content: Content::Counters,
        series: 1_000_000 / part,
        lines_a_datagram: 20,
        pace: Pace::LinesASecond(400_000),
    };
    let timings = Stream {
        name: NAME,
        title: "100,000 timing series, 100 samples each",
        content: Content::Timings,
        series: 100_000 / part,
        lines_a_datagram: 20,
        pace: Pace::LinesASecond(1_000_000),
    };
    [
        Case { stream: counters, samples: 1, kind: "counter", interval: interval(5) },
        Case { stream: timings, samples: 100, kind: "timing", interval: interval(12) },
    ]
}

pub(crate) fn measure(case: &Case, cores: Cores) -> Result<Measured, Failure> {
    let Case { stream, kind, interval, .. } = case;
    let ring = Ring::of(stream);
    let mut tallyd = Tallyd::start(cores, *interval)?;
    wait_for_multiple_of(*interval);
    let mut client = [Client::new(&ring, tallyd.process.address)?];
    generator::run(&mut client, stream, case.duration())?;
    settle(&tallyd.process)?;
    let recorded = tallyd.process.memory()?;
    let series = tallyd.wait_for(|row| {
        let is_it = row["name"] == "tallyd.series" && row["tags"]["type"] == *kind;
        row["value"].as_f64().filter(|&series| is_it && series > 0.0)
    })?;
    if series < stream.series as f64 {
        return Err(format!("only {series} of {} series arrived; is the machine busy?", stream.series).into());
    }
    // The row stands near the end of the snapshot, which is freed once it has been written.
    thread::sleep(Duration::from_millis(500));
    let flushed = tallyd.process.memory()?;
    let dropped = tallyd.process.socket()?.dropped;
    tallyd.stop()?.check(client[0].sent(), stream.lines_a_datagram)?;
    let datagrams_lost = dropped as f64 / client[0].sent() as f64;
    Ok(Measured { recorded, flushed, percent_lost: 100.0 * datagrams_lost })
}
