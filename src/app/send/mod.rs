//! `tallyd send`: sends samples, for scripts and first steps.

mod connection;
mod line;
mod packing;
mod target;

pub use line::WIRE_TYPES;
pub use target::Target;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use connection::Connection;
use line::Parts;
use packing::Packing;

use crate::listen::Framing;

/// What to send, as it stands on the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// How lines lie in its stream; `None` for the usual way.
    pub framing: Option<Framing>,
    /// One sample, or `None` for lines from the input.
    pub sample: Option<Sample>,
}

/// One sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Its type as it stands on the wire.
    pub wire_type: String,
    /// `KEY` or `KEY:VALUE`.
    pub tags: Vec<String>,
    /// The probability with which it was sent.
    pub rate: Option<String>,
}

/// Why not all was sent.
#[derive(Debug)]
pub enum SendError {
    /// It would not count, or mean something else. It was not sent.
    Refused(String),
    /// It could not be sent, or not as far as is known.
    Failed {
        /// Where to.
        target: Target,
        /// Why.
        source: io::Error,
    },
    /// The input could not be read.
    Input(io::Error),
}

impl SendError {
    /// 2 for what would not count, as for a wrong argument; else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
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
        let is_unix = matches!(target, Target::UnixDatagram(_) | Target::UnixStream(_));
        match source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                write!(f, "; is tallyd running there, with listeners.{listener}.enabled = true?")
            }
            io::ErrorKind::PermissionDenied if is_unix => {
                write!(f, "; the owner and the mode of the socket say who may (listeners.{listener}.mode)")
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
                write!(
                    f,
                    "; it closed the connection: it may be stopping, or have listeners.{listener}.max_connections open"
                )
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for SendError {}

/// Sends what was asked for. `input` is read only where that is lines. A line of it that would not count is not sent, and
/// told to `warn`; the others are.
///
/// # Errors
///
/// If not all was sent.
pub fn run(request: &Request, input: BufReader<impl Read>, warn: impl FnMut(&str)) -> Result<(), SendError> {
    let target = &request.target;
    let framing = match (target.framing(), request.framing) {
        (None, Some(_)) => {
            return Err(SendError::Refused(format!("{target} takes datagrams; leave out --framing")));
        }
        (usual, asked) => asked.or(usual).unwrap_or(Framing::Lines),
    };
    match &request.sample {
        None => send_input(target, framing, input, warn),
        Some(Sample { name, value, wire_type, tags, rate }) => {
            let parts = Parts { name, value, wire_type, tags, rate: rate.as_deref() };
            let line = line::line(&parts).map_err(SendError::Refused)?;
            let failed = |source| SendError::Failed { target: target.clone(), source };
            let mut connection = Connection::open(target, framing).map_err(failed)?;
            connection.send(line.as_bytes()).and_then(|()| connection.finish()).map_err(failed)
        }
    }
}

fn send_input(
    target: &Target,
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
        // What comes next may be long in coming; nothing waits for it.
        if !input.buffer().contains(&b'\n') {
            packing.flush(|payload| connection.send(payload)).map_err(failed)?;
        }
    }
    packing.flush(|payload| connection.send(payload)).and_then(|()| connection.finish()).map_err(failed)?;
    match refused {
        0 => Ok(()),
        refused => Err(SendError::Refused(format!("{refused} of {number} lines"))),
    }
}
