//! Measures the cost of a daemon that has little or nothing to do.
//!
//! The daemon should sleep until a datagram arrives or an interval ends, without further timers or polling. With little
//! traffic, each datagram should wake it once. CPU time alone does not show this. A thread that wakes up ten times per
//! second in vain takes only about 100 us per second. So the bench also counts how often threads go to sleep, which is
//! once per wake-up.
//!
//! tallyd runs with its default flush interval. The measured time equals one interval, so it contains one flush,
//! wherever it begins.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::client::Client;
use crate::generator;
use crate::measurement::settle;
use crate::null_sink;
use crate::process::{Cores, Error, Process};
use crate::ring::Ring;
use crate::streams::{Content, Pace, Stream};
use crate::tallyd::{Tallyd, settings};

/// The name for `--stream`.
pub(crate) const NAME: &str = "idle";

/// A row of the report.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    /// True if a line arrives every tenth of a second.
    trickle: bool,
}

pub(crate) const CASES: [Case; 2] = [
    Case { title: "no traffic", trickle: false },
    Case { title: "10 datagrams of one line per second, evenly spaced", trickle: true },
];

/// Returns a stream of ten lines per second. Each burst of the generator is a single line.
fn trickle() -> Stream {
    let pace = Pace::LinesPerSecond(10);
    Stream { lines_per_datagram: 1, ..Stream::new(NAME, "", Content::Counters, pace) }
}

/// The cost of a process per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu_microseconds: f64,
    /// The number of times that its threads go to sleep.
    pub(crate) sleeps: f64,
}

/// The result of a case.
pub(crate) struct Measured {
    pub(crate) null_sink: Cost,
    pub(crate) tallyd: Cost,
}

pub(crate) fn measure(case: &Case, arguments: &Arguments, cores: Cores) -> Result<Measured, Error> {
    let interval = Duration::from_secs(if arguments.test { 1 } else { 10 });
    let null_sink = null_sink::start(cores, None)?;
    let tallyd = Tallyd::start(cores, &settings(interval, arguments))?;
    let stream = trickle();
    let ring = Ring::of(&stream);
    let client = |receiver: &Process| Client::new(&stream, &ring, receiver.address);
    let mut clients = [client(&null_sink)?, client(&tallyd.process)?];
    // After this pass, all threads have started.
    pass(case, &stream, &mut clients, Duration::from_secs(1))?;
    let before = [Reading::of(&null_sink)?, Reading::of(&tallyd.process)?];
    pass(case, &stream, &mut clients, interval)?;
    let after = [Reading::of(&null_sink)?, Reading::of(&tallyd.process)?];
    tallyd.stop()?.check_counters(clients[1].sent(), stream.lines_per_datagram)?;
    Ok(Measured { null_sink: after[0].since(before[0]), tallyd: after[1].since(before[1]) })
}

fn pass(case: &Case, stream: &Stream, clients: &mut [Client<'_>], time: Duration) -> io::Result<()> {
    if case.trickle {
        generator::run(clients, stream, time)
    } else {
        thread::sleep(time);
        Ok(())
    }
}

/// The cost of a process up to a moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    sleeps: u64,
}

impl Reading {
    /// Takes a reading once the process has received all datagrams.
    fn of(process: &Process) -> Result<Self, Error> {
        settle(process)?;
        Ok(Self { at: Instant::now(), cpu: process.cpu()?, sleeps: process.sleeps()? })
    }

    fn since(self, before: Self) -> Cost {
        let seconds = (self.at - before.at).as_secs_f64();
        Cost {
            cpu_microseconds: self.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / seconds,
            sleeps: (self.sleeps - before.sleeps) as f64 / seconds,
        }
    }
}
