//! Measures receivers that take turns, each alone on its core: the null sink, tallyd, and other servers.
//!
//! Other servers need this, because some of them take the whole core at a pace that tallyd handles easily.

use crate::arguments::Arguments;
use crate::client::Client;
use crate::measurement::{ReceiverCost, measure};
use crate::null_sink;
use crate::peers::{self, Peer, Server};
use crate::process::{Cores, Error, Process};
use crate::ring::Ring;
use crate::streams::Stream;
use crate::tallyd::{Tallyd, settings};

/// A receiver to measure.
#[derive(Clone, Copy)]
pub(crate) enum Candidate {
    NullSink,
    Tallyd,
    Peer(&'static Peer),
}

/// The costs of a stream for one receiver, in all rounds.
pub(crate) struct Entry {
    pub(crate) candidate: Candidate,
    pub(crate) costs: Vec<ReceiverCost>,
    /// Resident bytes of its main process at the end of each round.
    pub(crate) resident: Vec<u64>,
}

/// Measures the null sink, then tallyd, then all installed peers.
pub(crate) fn measure_all(stream: &Stream, arguments: &Arguments, cores: Cores) -> Result<Vec<Entry>, Error> {
    let peers = peers::ALL.iter().filter(|peer| peer.is_installed()).map(Candidate::Peer);
    let candidates = [Candidate::NullSink, Candidate::Tallyd].into_iter().chain(peers);
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
        Self { candidate, costs: Vec::new(), resident: Vec::new() }
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
        let mut client = Client::new(ring, process.address)?;
        self.costs.extend(measure(stream, &[process], std::slice::from_mut(&mut client), arguments)?);
        self.resident.push(process.memory()?.resident);
        running.stop(client.sent(), stream.lines_per_datagram)
    }
}

impl Candidate {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NullSink => "null sink",
            Self::Tallyd => "tallyd",
            Self::Peer(peer) => peer.name,
        }
    }

    fn start(self, arguments: &Arguments, cores: Cores) -> Result<Running, Error> {
        Ok(match self {
            Self::NullSink => Running::NullSink(null_sink::start(cores)?),
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
