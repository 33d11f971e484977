//! `tallyd send`: sends samples and lines, for scripts and first steps.

mod connection;
mod line;
mod packing;
mod target;

pub(super) use line::WIRE_TYPES;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use connection::Connection;
use line::Parts;
use packing::Packing;

use crate::listen::Framing;
use crate::net::ListenerUrl;

/// A request to send something, from the command line.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The listener to send to.
    pub target: ListenerUrl,
    /// The framing of a stream. `None` means the default of the listener.
    pub framing: Option<Framing>,
    /// The sample to send, or `None` to send the lines of the input.
    pub sample: Option<SampleArguments>,
}

/// The parts of a sample as the command line has them. They may be invalid.
#[derive(Debug, Clone)]
pub(super) struct SampleArguments {
    pub name: String,
    pub value: String,
    /// The type on the wire, such as `ms`.
    pub wire_type: String,
    /// Each tag is `KEY` or `KEY:VALUE`.
    pub tags: Vec<String>,
    /// The share of samples that the sender sends, above 0 and at most 1.
    pub rate: Option<String>,
}

/// The reason why something was not sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// The arguments are wrong, or tallyd would reject or misread a line. That line was not sent.
    Refused(String),
    /// The target could not be reached, or did not confirm that it read everything.
    Failed {
        target: ListenerUrl,
        /// The error of the socket.
        source: io::Error,
    },
    /// The input could not be read.
    Input(io::Error),
}

impl SendError {
    /// Returns 2 for wrong arguments and refused lines, and 1 for everything else.
    #[must_use]
    pub(super) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Refused(_)) { 2 } else { 1 }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, source) = match self {
            Self::Refused(problem) => return write!(f, "not sent: {problem}"),
            Self::Input(error) => return write!(f, "cannot read the input: {error}"),
            Self::Failed { target, source } => (target, source),
        };
        write!(f, "cannot send to {target}: {source}")?;
        let listener = target.listener();
        let is_unix = matches!(target, ListenerUrl::UnixDatagram(_) | ListenerUrl::UnixStream(_));
        match source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                write!(f, "; is tallyd running there, with listeners.{listener}.enabled = true?")
            }
            io::ErrorKind::PermissionDenied if is_unix => {
                write!(
                    f,
                    "; the owner and the mode of the socket decide who may send (listeners.{listener}.mode)"
                )
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
                write!(
                    f,
                    "; the server closed the connection: it is stopping, listeners.{listener}.max_connections are open, \
                     or it does not permit this address"
                )
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for SendError {}

/// Sends a sample, or the lines of `input`. Skips lines that tallyd would reject, and passes a warning for each to
/// `warn`.
///
/// # Errors
///
/// Returns an error if anything was not sent.
pub(super) fn run(
    request: &Request,
    input: BufReader<impl Read>,
    warn: impl FnMut(&str),
) -> Result<(), SendError> {
    let target = &request.target;
    let framing = match (target.framing(), request.framing) {
        (None, Some(_)) => {
            return Err(SendError::Refused(format!("{target} takes datagrams; leave --framing out")));
        }
        (default, given) => given.or(default).unwrap_or(Framing::Lines),
    };
    match &request.sample {
        None => send_input(target, framing, input, warn),
        Some(SampleArguments { name, value, wire_type, tags, rate }) => {
            let parts = Parts { name, value, wire_type, tags, rate: rate.as_deref() };
            let line = line::build(&parts).map_err(SendError::Refused)?;
            let failed = |source| SendError::Failed { target: target.clone(), source };
            let mut connection = Connection::open(target, framing).map_err(failed)?;
            connection.send(line.as_bytes()).and_then(|()| connection.finish()).map_err(failed)
        }
    }
}

fn send_input(
    target: &ListenerUrl,
    framing: Framing,
    mut input: BufReader<impl Read>,
    mut warn: impl FnMut(&str),
) -> Result<(), SendError> {
    let failed = |source| SendError::Failed { target: target.clone(), source };
    let mut connection = Connection::open(target, framing).map_err(failed)?;
    let mut packing = Packing::new(connection.longest());
    let (mut number, mut refused) = (0_u64, 0_u64);
    let mut text = Vec::new();
    while input.read_until(b'\n', &mut text).map_err(SendError::Input)? > 0 {
        number += 1;
        for line in crate::protocol::lines(&text) {
            match line::check(line) {
                Ok(()) => packing.add(line, |payload| connection.send(payload)).map_err(failed)?,
                Err(problem) => {
                    refused += 1;
                    warn(&format!("line {number} not sent: it would be rejected: {problem}"));
                }
            }
        }
        text.clear();
        // The next line may come much later, so the lines so far are sent now.
        if !input.buffer().contains(&b'\n') {
            packing.flush(|payload| connection.send(payload)).map_err(failed)?;
        }
    }
    packing.flush(|payload| connection.send(payload)).and_then(|()| connection.finish()).map_err(failed)?;
    match refused {
        0 => Ok(()),
        refused => Err(SendError::Refused(format!("{refused} of {number} lines, named above"))),
    }
}
