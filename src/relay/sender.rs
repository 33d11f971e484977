//! Sends the datagrams of one target, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chunk::Chunk;
use super::connection::{Connection, Lost};
use super::counts::{DropReason, Outcome};
use super::loops::PROBE_INTERVAL;
use super::queue::{Next, Queue};
use crate::model::{Named, Repeated, Thinned};
use crate::net::{Backoff, ListenerUrl};

/// A connection that lived for less than this was not a success. The next attempt to connect waits.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// The time after which the address of a UDP target is looked up again if sending fails.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// Sends datagrams until the queue ends.
#[derive(Debug)]
pub(super) struct Sender {
    url: ListenerUrl,
    queue: Arc<Queue>,
    /// The probe that finds loops, unless the target must not see it.
    probe: Option<Chunk>,
    backoff: Backoff,
    /// The datagrams that the latest connection did not take: a chunk, and the first of them.
    rest: Option<(Arc<Chunk>, usize)>,
    failures: Thinned,
    drops: Thinned,
    /// True if the latest message says that the server cannot be reached.
    is_failing: bool,
    /// When the next report and the next probe are due.
    next_tick: Instant,
}

/// The reason why a connection is no longer used.
enum Ended {
    /// No more datagrams come.
    Queue,
    Connection(io::Error),
    /// The address is to be looked up again.
    Address,
}

impl Sender {
    pub(super) fn new(url: ListenerUrl, queue: Arc<Queue>, probe: Option<&str>) -> Self {
        Self {
            url,
            queue,
            probe: probe.map(|probe| Chunk::of(probe.as_bytes())),
            backoff: Backoff::default(),
            rest: None,
            failures: Thinned::default(),
            drops: Thinned::default(),
            is_failing: false,
            next_tick: Instant::now(),
        }
    }

    /// Runs until the queue is closed and empty, or its deadline is over.
    pub(super) fn run(mut self) {
        while let Some(mut connection) = self.connect() {
            let begin = Instant::now();
            match self.serve(&mut connection) {
                Ended::Queue => {
                    connection.finish();
                    return;
                }
                Ended::Address => {}
                Ended::Connection(error) => {
                    self.note_failure(&error);
                    if begin.elapsed() >= SHORT_LIFE {
                        self.backoff.reset();
                    } else if !self.queue.pause(self.backoff.next(None)) {
                        return;
                    }
                }
            }
        }
    }

    /// Connects, however long it takes. Returns `None` if the queue ends meanwhile.
    fn connect(&mut self) -> Option<Connection> {
        loop {
            match Connection::open(&self.url) {
                Ok(connection) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(server = %self.url, "connected; tallyd relays to it again");
                    }
                    self.next_tick = Instant::now();
                    return Some(connection);
                }
                Err(error) => {
                    self.note_failure(&error);
                    let goes_on = self.queue.pause(self.backoff.next(None));
                    self.report_drops();
                    if !goes_on {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends over a connection until it or the queue ends.
    fn serve(&mut self, connection: &mut Connection) -> Ended {
        let opened = Instant::now();
        loop {
            let (chunk, first) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.queue.next(self.next_tick) {
                    Next::Send(chunk) => (chunk, 0),
                    Next::Wake => {
                        self.next_tick = Instant::now() + PROBE_INTERVAL;
                        self.report_drops();
                        // A connection that works ends a series of failures.
                        _ = self.failures.rest();
                        let probe = self.probe.as_ref();
                        // A probe is no datagram of a client, so it does not count.
                        if let Some(Err(lost)) =
                            probe.map(|probe| connection.send(probe, 0, &mut Outcome::default()))
                        {
                            return Ended::Connection(lost.error);
                        }
                        continue;
                    }
                    Next::End => return Ended::Queue,
                },
            };
            let mut outcome = Outcome::default();
            let sent = connection.send(&chunk, first, &mut outcome);
            self.queue.settle(&outcome);
            if let Err(Lost { next, error }) = sent {
                self.rest = (next < chunk.len()).then_some((chunk, next));
                return Ended::Connection(error);
            }
            if outcome.total_dropped() > 0 && opened.elapsed() > LOOKUP_INTERVAL {
                return Ended::Address;
            }
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        if let Some(Repeated { times, .. }) = self.failures.add(1) {
            self.is_failing = true;
            tracing::warn!(server = %self.url, times, "cannot relay to a server: {error}; tallyd tries again");
        }
    }

    /// Logs how many datagrams were dropped since the previous call.
    fn report_drops(&mut self) {
        let dropped = self.queue.take_dropped();
        // A loop has a message of its own.
        let counts: Vec<_> = dropped
            .iter()
            .filter(|&(reason, count)| *count > 0 && reason != DropReason::Loop)
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect();
        let total: u64 = dropped.values().sum::<u64>() - dropped[DropReason::Loop];
        if let Some(Repeated { amount, .. }) = self.drops.round(total) {
            let latest = counts.join(", ");
            tracing::error!(server = %self.url, datagrams = amount, latest, "datagrams for a server were dropped");
        }
    }
}
