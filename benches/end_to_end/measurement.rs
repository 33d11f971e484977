//! Measures what a part of a stream costs its receivers.
//!
//! The flush is a part of the daemon's work, so the measured part must contain its share of flushes. It is as long as
//! an interval, and lasts from the middle of the second interval to the middle of the third. So it contains exactly one
//! flush of a whole interval. By then, a later interval has reused memory once, as in a daemon that has run for a
//! while.
//!
//! ```text
//! wall clock  |----- 1 -----|----- 2 -----|----- 3 -----|
//! stream      ===================================
//! measured                         <------------->
//! ```

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::arguments::Arguments;
use crate::client::{Client, SendTime};
use crate::generator;
use crate::process::{Error, Process};
use crate::streams::Stream;

/// The cost of the measured part of a round for one receiver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiverCost {
    /// The CPU time of all threads of the process.
    cpu: Duration,
    elapsed: Duration,
    datagrams_sent: u64,
    datagrams_dropped: u64,
    lines_per_datagram: usize,
    /// The number of times that threads of the process went to sleep, which is once per wake-up.
    sleeps: u64,
    /// The time of the client's calls, if it sent single datagrams.
    send_time: SendTime,
    /// The time for which the main thread was ready while another thread had the core.
    waited: Duration,
}

impl ReceiverCost {
    /// Returns the CPU time per received line.
    pub(crate) fn nanoseconds_per_line(&self) -> f64 {
        let received = self.datagrams_sent - self.datagrams_dropped;
        self.cpu.as_nanos() as f64 / (received as f64 * self.lines_per_datagram as f64)
    }

    /// Returns the CPU time per received datagram.
    pub(crate) fn nanoseconds_per_datagram(&self) -> f64 {
        self.nanoseconds_per_line() * self.lines_per_datagram as f64
    }

    /// Returns the mean elapsed time of a client's call that sent a single datagram.
    pub(crate) fn nanoseconds_per_send(&self) -> f64 {
        self.send_time.nanoseconds()
    }

    pub(crate) fn wake_ups_per_second(&self) -> f64 {
        self.sleeps as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns the percentage of datagrams lost.
    pub(crate) fn percent_lost(&self) -> f64 {
        self.datagrams_dropped as f64 / self.datagrams_sent as f64 * 100.0
    }

    /// Returns the percentage of time for which the main thread waited for a core.
    pub(crate) fn percent_waited(&self) -> f64 {
        self.waited.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0
    }

    pub(crate) fn lines_per_second(&self) -> f64 {
        self.datagrams_per_second() * self.lines_per_datagram as f64
    }

    pub(crate) fn datagrams_per_second(&self) -> f64 {
        self.datagrams_sent as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends a stream to receivers, each through its own client. Measures only the second part of the stream.
pub(crate) fn measure(
    stream: &Stream,
    receivers: &[&Process],
    clients: &mut [Client<'_>],
    arguments: &Arguments,
) -> Result<Vec<ReceiverCost>, Error> {
    let Arguments { measured, interval, test, .. } = *arguments;
    if !test {
        wait_for_multiple_of(interval);
    }
    generator::run(clients, stream, measured * 3 / 2)?;
    let before = readings(receivers, clients)?;
    let begin = Instant::now();
    generator::run(clients, stream, measured)?;
    let elapsed = begin.elapsed();
    let after = readings(receivers, clients)?;
    let costs = before.iter().zip(after).map(|(before, after)| ReceiverCost {
        cpu: after.cpu.saturating_sub(before.cpu),
        elapsed,
        datagrams_sent: after.sent - before.sent,
        datagrams_dropped: after.dropped - before.dropped,
        lines_per_datagram: stream.lines_per_datagram,
        sleeps: after.sleeps - before.sleeps,
        send_time: after.send_time.since(before.send_time),
        waited: after.waited.saturating_sub(before.waited),
    });
    Ok(costs.collect())
}

/// The state of a receiver at one moment.
struct Reading {
    cpu: Duration,
    waited: Duration,
    /// The number of datagrams sent since the start.
    sent: u64,
    /// The number of datagrams dropped since the start.
    dropped: u64,
    sleeps: u64,
    send_time: SendTime,
}

/// Reads the state of the receivers once they have received all datagrams. So their CPU time matches the number of
/// datagrams.
fn readings(receivers: &[&Process], clients: &[Client<'_>]) -> Result<Vec<Reading>, Error> {
    for receiver in receivers {
        settle(receiver)?;
    }
    let read = |(receiver, client): (&&Process, &Client<'_>)| {
        Ok(Reading {
            cpu: receiver.cpu()?,
            waited: receiver.waited()?,
            sent: client.sent(),
            dropped: receiver.socket()?.dropped,
            sleeps: receiver.sleeps()?,
            send_time: client.send_time(),
        })
    };
    receivers.iter().zip(clients).map(read).collect()
}

/// Waits until a receiver has received all datagrams that were sent.
pub(crate) fn settle(receiver: &Process) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while receiver.socket()?.queued > 0 {
        if Instant::now() > deadline {
            return Err("the receiver does not empty its socket; is the machine busy?".into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    // The last batch leaves the queue before it is recorded. It has at most 32 datagrams of 20 lines, and each line
    // takes less than 1 us.
    thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// Sleeps until an interval of tallyd ends. tallyd aligns intervals to the wall clock.
pub(crate) fn wait_for_multiple_of(interval: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let into = Duration::from_nanos((now.as_nanos() % interval.as_nanos()) as u64);
    thread::sleep(interval.saturating_sub(into));
}
