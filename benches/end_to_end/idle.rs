//! What a daemon costs that has nothing to do, or next to nothing.
//!
//! It should sleep until a datagram comes or an interval ends: no timer, no polling. CPU alone would not tell, since a
//! thread that wakes ten times a second in vain takes some 100 us of it. So the times that threads go to sleep are
//! counted, too: one for each wake-up.
//!
//! tallyd flushes as seldom as by default. The measured time is a whole number of intervals, and so holds as many
//! flushes, wherever it begins.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::cores::Cores;
use crate::generator::{self, Client};
use crate::null_sink;
use crate::process::Process;
use crate::round::settle;
use crate::streams::{Content, Pace, Ring, Stream};
use crate::tallyd::{Tallyd, settings};

/// For `--stream`.
pub(crate) const NAME: &str = "idle";

/// A row of the report.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    /// Whether a lone line comes every millisecond.
    trickle: bool,
}

pub(crate) const CASES: [Case; 2] = [
    Case { title: "no traffic", trickle: false },
    Case { title: "1,000 datagrams of one line a second, evenly spaced", trickle: true },
];

/// A burst of the generator each millisecond, so each line is alone.
const TRICKLE: Stream = Stream {
    name: NAME,
    title: "",
    content: Content::Counters,
    series: 1000,
    lines_a_datagram: 1,
    pace: Pace::LinesASecond(1000),
};

/// What a process cost each second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) microseconds: f64,
    /// How often a thread went to sleep.
    pub(crate) sleeps: f64,
}

/// What a case came to.
pub(crate) struct Measured {
    pub(crate) null_sink: Cost,
    pub(crate) tallyd: Cost,
}

pub(crate) fn measure(case: &Case, brief: bool, cores: Cores) -> Result<Measured, Failure> {
    let interval = Duration::from_secs(if brief { 1 } else { 10 });
    let null_sink = null_sink::start(cores)?;
    let tallyd = Tallyd::start(cores, &settings(interval))?;
    let ring = Ring::of(&TRICKLE);
    let mut clients = [Client::new(&ring, null_sink.address)?, Client::new(&ring, tallyd.process.address)?];
    // All threads have started after that, and every series has had its first sample.
    pass(case, &mut clients, Duration::from_secs(1))?;
    let before = [Reading::of(&null_sink)?, Reading::of(&tallyd.process)?];
    pass(case, &mut clients, interval)?;
    let after = [Reading::of(&null_sink)?, Reading::of(&tallyd.process)?];
    tallyd.stop()?.check(clients[1].sent(), TRICKLE.lines_a_datagram)?;
    Ok(Measured { null_sink: after[0].since(before[0]), tallyd: after[1].since(before[1]) })
}

fn pass(case: &Case, clients: &mut [Client<'_>], time: Duration) -> io::Result<()> {
    if case.trickle {
        generator::run(clients, &TRICKLE, time)
    } else {
        thread::sleep(time);
        Ok(())
    }
}

/// What a process has cost until a moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    sleeps: u64,
}

impl Reading {
    /// When it has worked off all that was sent.
    fn of(process: &Process) -> Result<Self, Failure> {
        settle(process)?;
        Ok(Self { at: Instant::now(), cpu: process.cpu()?, sleeps: process.sleeps()? })
    }

    fn since(self, before: Self) -> Cost {
        let seconds = (self.at - before.at).as_secs_f64();
        Cost {
            microseconds: self.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / seconds,
            sleeps: (self.sleeps - before.sleeps) as f64 / seconds,
        }
    }
}
