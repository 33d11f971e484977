//! Runs rounds. Each round sends a stream to a new null sink and a new tallyd, and measures a part of it.
//!
//! A paced stream leaves the receivers' core idle most of the time, so both receivers share the core. Bursts alternate
//! between them, half a millisecond apart, so that any disturbance affects both. In 18 rounds on a virtual machine with
//! 2 cores, the ratio is within 1.22 to 1.52. If the receivers take turns of a second, the ratio is within 0.93 to
//! 1.71. A heavy stream needs the whole core, so the receivers must take turns.

use crate::arguments::Arguments;
use crate::client::Client;
use crate::measurement::{ReceiverCost, measure};
use crate::null_sink;
use crate::process::{Cores, Error};
use crate::ring::Ring;
use crate::streams::{Pace, Stream};
use crate::tallyd::{Tallyd, settings};

/// The result of a round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) null_sink: ReceiverCost,
    pub(crate) tallyd: ReceiverCost,
    /// tallyd's resident memory at the end, in bytes.
    pub(crate) resident: u64,
}

pub(crate) fn all(stream: &Stream, arguments: &Arguments, cores: Cores) -> Result<Vec<Round>, Error> {
    let ring = Ring::of(stream);
    (0..arguments.rounds).map(|_| round(stream, &ring, arguments, cores)).collect()
}

fn round(stream: &Stream, ring: &Ring, arguments: &Arguments, cores: Cores) -> Result<Round, Error> {
    let null_sink = null_sink::start(cores, None)?;
    let tallyd = Tallyd::start(cores, &settings(arguments.interval, arguments))?;
    let receivers = [&null_sink, &tallyd.process];
    let mut clients = Vec::new();
    for receiver in receivers {
        clients.push(Client::new(stream, ring, receiver.address)?);
    }
    let costs = match stream.pace {
        Pace::LinesPerSecond(_) => measure(stream, &receivers, &mut clients, arguments)?,
        Pace::HeavyLinesPerSecond(_) | Pace::FlatOut | Pace::Singles(_) => {
            let mut costs = measure(stream, &receivers[..1], &mut clients[..1], arguments)?;
            costs.extend(measure(stream, &receivers[1..], &mut clients[1..], arguments)?);
            costs
        }
    };
    let resident = tallyd.process.memory()?.resident;
    tallyd.stop()?.check_counters(clients[1].sent(), stream.lines_per_datagram)?;
    Ok(Round { null_sink: costs[0], tallyd: costs[1], resident })
}
