//! A round: a stream is sent to a null sink and to tallyd, both fresh, and part of it is measured.
//!
//! A paced stream leaves the receivers' core idle for most of the time, so both can have it: bursts go to one and the
//! other in turn, half a millisecond apart. What disturbs one then disturbs the other: on a virtual machine of 2 cores
//! the ratio was within 1.22 to 1.52 in 18 rounds, and within 0.93 to 1.71 where one had its stream a second after the
//! other. A heavy stream needs the whole core, so there they do come one after the other.
//!
//! The flush is part of the daemon, so the measured part must hold as much of it as the stream causes. It is as long
//! as an interval, and goes from the middle of the second to the middle of the third: it has exactly one flush, of a
//! whole interval, and by then memory has gone from one interval to the next once, as it will for ever.
//!
//! ```text
//! wall clock  |----- 1 -----|----- 2 -----|----- 3 -----|
//! stream      ===================================
//! measured                         <------------->
//! ```

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Failure;
use crate::arguments::Arguments;
use crate::cores::Cores;
use crate::generator::{self, Client};
use crate::null_sink;
use crate::process::Process;
use crate::streams::{Pace, Ring, Stream};
use crate::tallyd::{Tallyd, settings};

/// What one receiver did in the measured part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Of the process, all threads.
    cpu: Duration,
    elapsed: Duration,
    datagrams_sent: u64,
    datagrams_dropped: u64,
    lines_a_datagram: usize,
    /// For how long the main thread was ready, but another one had the core.
    waited: Duration,
}

impl Work {
    /// CPU for each line that was received.
    pub(crate) fn nanoseconds_a_line(&self) -> f64 {
        let received = self.datagrams_sent - self.datagrams_dropped;
        self.cpu.as_nanos() as f64 / (received as f64 * self.lines_a_datagram as f64)
    }

    /// Of the datagrams.
    pub(crate) fn percent_lost(&self) -> f64 {
        self.datagrams_dropped as f64 / self.datagrams_sent as f64 * 100.0
    }

    /// Of the time.
    pub(crate) fn percent_waited(&self) -> f64 {
        self.waited.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0
    }

    pub(crate) fn lines_a_second(&self) -> f64 {
        self.datagrams_sent as f64 * self.lines_a_datagram as f64 / self.elapsed.as_secs_f64()
    }
}

/// What a round came to.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) null_sink: Work,
    pub(crate) tallyd: Work,
    /// tallyd's resident memory at the end, in bytes.
    pub(crate) resident: u64,
}

pub(crate) fn all(stream: &Stream, arguments: &Arguments, cores: Cores) -> Result<Vec<Round>, Failure> {
    let ring = Ring::of(stream);
    (0..arguments.rounds).map(|_| round(stream, &ring, arguments, cores)).collect()
}

fn round(stream: &Stream, ring: &Ring, arguments: &Arguments, cores: Cores) -> Result<Round, Failure> {
    let null_sink = null_sink::start(cores)?;
    let tallyd = Tallyd::start(cores, &settings(arguments.interval))?;
    let receivers = [&null_sink, &tallyd.process];
    let mut clients = Vec::new();
    for receiver in receivers {
        clients.push(Client::new(ring, receiver.address)?);
    }
    let work = match stream.pace {
        Pace::LinesASecond(_) => measure(stream, &receivers, &mut clients, arguments)?,
        Pace::HeavyLinesASecond(_) | Pace::FlatOut => {
            let mut work = measure(stream, &receivers[..1], &mut clients[..1], arguments)?;
            work.extend(measure(stream, &receivers[1..], &mut clients[1..], arguments)?);
            work
        }
    };
    let resident = tallyd.process.memory()?.resident;
    tallyd.stop()?.check(clients[1].sent(), stream.lines_a_datagram)?;
    Ok(Round { null_sink: work[0], tallyd: work[1], resident })
}

/// Sends a stream to receivers, each with its client, and measures the second part of it.
pub(crate) fn measure(
    stream: &Stream,
    receivers: &[&Process],
    clients: &mut [Client<'_>],
    arguments: &Arguments,
) -> Result<Vec<Work>, Failure> {
    let Arguments { measured, interval, brief, .. } = *arguments;
    if !brief {
        wait_for_multiple_of(interval);
    }
    generator::run(clients, stream, measured * 3 / 2)?;
    let before = readings(receivers, clients)?;
    let begin = Instant::now();
    generator::run(clients, stream, measured)?;
    let elapsed = begin.elapsed();
    let after = readings(receivers, clients)?;
    let work = before.iter().zip(after).map(|(before, after)| Work {
        cpu: after.cpu.saturating_sub(before.cpu),
        elapsed,
        datagrams_sent: after.sent - before.sent,
        datagrams_dropped: after.dropped - before.dropped,
        lines_a_datagram: stream.lines_a_datagram,
        waited: after.waited.saturating_sub(before.waited),
    });
    Ok(work.collect())
}

/// What is known of a receiver at one moment.
struct Reading {
    cpu: Duration,
    waited: Duration,
    /// Datagrams, from the start.
    sent: u64,
    dropped: u64,
}

/// Waits until the receivers have worked off all that was sent, so that the CPU is that of the datagrams counted.
fn readings(receivers: &[&Process], clients: &[Client<'_>]) -> Result<Vec<Reading>, Failure> {
    for receiver in receivers {
        settle(receiver)?;
    }
    let read = |(receiver, client): (&&Process, &Client<'_>)| {
        Ok(Reading {
            cpu: receiver.cpu()?,
            waited: receiver.waited()?,
            sent: client.sent(),
            dropped: receiver.socket()?.dropped,
        })
    };
    receivers.iter().zip(clients).map(read).collect()
}

/// Waits until a receiver has worked off all that was sent.
pub(crate) fn settle(receiver: &Process) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while receiver.socket()?.queued > 0 {
        if Instant::now() > deadline {
            return Err("the receiver does not empty its socket".into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    // The last batch has left the queue before it is recorded: 32 datagrams of 20 lines, each less than 1 us.
    thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// Sleeps until an interval of tallyd's ends.
pub(crate) fn wait_for_multiple_of(interval: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let into = Duration::from_nanos((now.as_nanos() % interval.as_nanos()) as u64);
    thread::sleep(interval.saturating_sub(into));
}
