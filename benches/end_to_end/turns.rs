//! Measures receivers that take turns, each alone on its core: null sinks, tallyd, and other servers.
//!
//! Single datagrams need this, because each of them wakes its receiver, and waking a core costs more than waking a
//! thread on a busy core. Other servers need it, because some of them take the whole core at a pace that tallyd handles
//! easily.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::client::Client;
use crate::measurement::{ReceiverCost, measure};
use crate::null_sink;
use crate::peers::{self, Peer, Server};
use crate::process::{Cores, Error, Process};
use crate::ring::Ring;
use crate::streams::{Pace, Stream};
use crate::tallyd::{Tallyd, settings};
use crate::waits;

/// A receiver to measure.
#[derive(Clone, Copy)]
pub(crate) enum Candidate {
    NullSink,
    RestingNullSink,
    Tallyd,
    Peer(&'static Peer),
}

/// The costs of a stream for one receiver, in all rounds.
pub(crate) struct Entry {
    pub(crate) candidate: Candidate,
    pub(crate) costs: Vec<ReceiverCost>,
    /// Resident bytes of its main process at the end of each round.
    pub(crate) resident: Vec<u64>,
    /// The longest wait of a datagram in each round, if the stream consists of single datagrams.
    pub(crate) longest_waits: Vec<Duration>,
}

/// Measures the blocking null sink, then the other receivers. The other servers are among them only with `--peers`.
pub(crate) fn measure_all(stream: &Stream, arguments: &Arguments, cores: Cores) -> Result<Vec<Entry>, Error> {
    // In bursts that fill the receive buffer within milliseconds, a sink that rests for a fixed time loses datagrams.
    let resting = matches!(stream.pace, Pace::Singles(_)).then_some(Candidate::RestingNullSink);
    let peers = peers::ALL.iter().filter(|peer| arguments.peers && peer.is_installed()).map(Candidate::Peer);
    let candidates = [Candidate::NullSink].into_iter().chain(resting).chain([Candidate::Tallyd]).chain(peers);
    let mut entries: Vec<_> = candidates.map(Entry::new).collect();
    let ring = Ring::of(stream);
    for _ in 0..arguments.rounds {
        for entry in &mut entries {
            entry.add_round(stream, &ring, arguments, cores)?;
        }
    }
    Ok(entries)
}

impl Entry {
    fn new(candidate: Candidate) -> Self {
        Self { candidate, costs: Vec::new(), resident: Vec::new(), longest_waits: Vec::new() }
    }

    /// Sends the stream to a new process.
    fn add_round(
        &mut self,
        stream: &Stream,
        ring: &Ring,
        arguments: &Arguments,
        cores: Cores,
    ) -> Result<(), Error> {
        let running = self.candidate.start(arguments, cores)?;
        let process = running.process();
        let mut client = Client::new(stream, ring, process.address)?;
        self.costs.extend(measure(stream, &[process], std::slice::from_mut(&mut client), arguments)?);
        self.resident.push(process.memory()?.resident);
        if let Pace::Singles(singles) = stream.pace {
            self.longest_waits.push(waits::longest(process, &mut client, singles, ring, arguments.measured)?);
        }
        running.stop(client.sent(), stream.lines_per_datagram)
    }
}

impl Candidate {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NullSink => "null sink",
            Self::RestingNullSink => "resting null sink",
            Self::Tallyd => "tallyd",
            Self::Peer(peer) => peer.name,
        }
    }

    fn start(self, arguments: &Arguments, cores: Cores) -> Result<Running, Error> {
        Ok(match self {
            Self::NullSink => Running::NullSink(null_sink::start(cores, None)?),
            Self::RestingNullSink => Running::NullSink(null_sink::start(cores, Some(arguments.rest()))?),
            Self::Tallyd => Running::Tallyd(Tallyd::start(cores, &settings(arguments.interval, arguments))?),
            Self::Peer(peer) => Running::Peer(Server::start(peer, cores)?),
        })
    }
}

/// A running receiver.
enum Running {
    NullSink(Process),
    Tallyd(Tallyd),
    Peer(Server),
}

impl Running {
    fn process(&self) -> &Process {
        match self {
            Self::NullSink(process) => process,
            Self::Tallyd(tallyd) => &tallyd.process,
            Self::Peer(server) => &server.process,
        }
    }

    /// Stops the receiver. Fails if tallyd's counters do not add up.
    fn stop(self, datagrams_sent: u64, lines_per_datagram: usize) -> Result<(), Error> {
        match self {
            Self::NullSink(_) => Ok(()),
            Self::Tallyd(tallyd) => tallyd.stop()?.check_counters(datagrams_sent, lines_per_datagram),
            Self::Peer(server) => server.stop(),
        }
    }
}
