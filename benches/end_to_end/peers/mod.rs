//! Other StatsD servers, which get the streams that tallyd gets.
//!
//! Each runs as it is shipped but for what its configuration file here says: it flushes every second, computes
//! the percentiles that tallyd computes if it can, writes its results to standard output if it can, which goes nowhere,
//! and does nothing besides. Its receive buffer is the one that it asks for, or the kernel's default. What it makes of
//! lines that it does not understand is its own matter: nothing is known here but that it received them.
//!
//! A round has all servers, one after the other, since some need the core for themselves at a pace that leaves it idle
//! with tallyd.

mod server;

pub(crate) use server::Server;

use std::net::SocketAddr;

use crate::Failure;
use crate::arguments::Arguments;
use crate::cores::Cores;
use crate::generator::Client;
use crate::null_sink;
use crate::process::Process;
use crate::round::{self, Work};
use crate::streams::{Ring, Stream};
use crate::tallyd::{Tallyd, settings};

/// How a server is configured and started.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// As it is found in `PATH`.
    program: &'static str,
    /// What brings it.
    pub(crate) install: &'static str,
    /// The configuration, with `{port}` and `{folder}` to be filled in.
    configuration: &'static str,
    /// What keeps it in the foreground, with `{folder}` and the `{configuration}`'s file.
    arguments: &'static [&'static str],
}

/// Those that a package manager installs.
pub(crate) const ALL: [Peer; 3] = [
    Peer {
        name: "collectd",
        program: "collectd",
        install: "apt-get install collectd-core",
        configuration: include_str!("collectd.conf"),
        arguments: &["-f", "-C", "{configuration}"],
    },
    Peer {
        name: "netdata",
        program: "netdata",
        install: "apt-get install netdata-core",
        configuration: include_str!("netdata.conf"),
        arguments: &["-D", "-P", "{folder}/pid", "-c", "{configuration}"],
    },
    Peer {
        name: "statsd (Node)",
        program: "statsd",
        install: "npm install --global statsd",
        configuration: include_str!("statsd.js"),
        arguments: &["{configuration}"],
    },
];

/// What one receiver did with a stream, in all rounds.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) work: Vec<Work>,
    /// Bytes at the end, of its main process.
    pub(crate) resident: Vec<u64>,
}

/// The null sink comes first, then tallyd, then those of the peers that are installed.
pub(crate) fn measure(stream: &Stream, arguments: &Arguments, cores: Cores) -> Result<Vec<Entry>, Failure> {
    let peers: Vec<_> = ALL.iter().filter(|peer| peer.is_installed()).collect();
    let names = ["null sink", "tallyd"].into_iter().chain(peers.iter().map(|peer| peer.name));
    let mut entries: Vec<_> =
        names.map(|name| Entry { name, work: Vec::new(), resident: Vec::new() }).collect();
    let ring = Ring::of(stream);
    let client = |address: SocketAddr| Client::new(&ring, address);
    for _ in 0..arguments.rounds {
        let null_sink = null_sink::start(cores)?;
        entries[0].add(stream, &null_sink, &mut client(null_sink.address)?, arguments)?;
        drop(null_sink);
        let tallyd = Tallyd::start(cores, &settings(arguments.interval))?;
        let mut tallyds = client(tallyd.process.address)?;
        entries[1].add(stream, &tallyd.process, &mut tallyds, arguments)?;
        tallyd.stop()?.check(tallyds.sent(), stream.lines_a_datagram)?;
        for (peer, entry) in peers.iter().zip(&mut entries[2..]) {
            let server = Server::start(peer, cores)?;
            entry.add(stream, &server.process, &mut client(server.process.address)?, arguments)?;
            server.stop()?;
        }
    }
    Ok(entries)
}

impl Entry {
    fn add(
        &mut self,
        stream: &Stream,
        receiver: &Process,
        client: &mut Client<'_>,
        arguments: &Arguments,
    ) -> Result<(), Failure> {
        let work = round::measure(stream, &[receiver], std::slice::from_mut(client), arguments)?;
        self.work.extend(work);
        self.resident.push(receiver.memory()?.resident);
        Ok(())
    }
}
