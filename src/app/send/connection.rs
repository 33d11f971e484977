//! Sockets to send by. All of them wait where the other side is behind, so that nothing is lost on this one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use socket2::SockRef;

use super::Target;
use crate::listen::Framing;

/// Fits into one Ethernet frame, also over IPv6 and through a tunnel.
const LONGEST_UDP: usize = 1432;

/// What DogStatsD clients send over Unix sockets, and every server takes.
const LONGEST_OTHER: usize = 8192;

/// How long the other side may take to accept a TCP connection, and to close one that has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that is connected to a target.
#[derive(Debug)]
pub(super) enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream, Framing),
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream, Framing),
}

impl Connection {
    /// `framing` is that of a stream.
    pub(super) fn open(target: &Target, framing: Framing) -> io::Result<Self> {
        match target {
            Target::Udp(place) => first(place, |address| {
                let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }),
            Target::Tcp(place) => {
                let connect = |address| TcpStream::connect_timeout(&address, PATIENCE);
                first(place, |address| Ok(Self::Tcp(connect(address)?, framing)))
            }
            Target::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Self::UnixDatagram(socket))
            }
            Target::UnixStream(path) => Ok(Self::UnixStream(UnixStream::connect(path)?, framing)),
        }
    }

    /// Bytes of the longest payload that is sure to arrive.
    pub(super) fn longest(&self) -> usize {
        if matches!(self, Self::Udp(_)) { LONGEST_UDP } else { LONGEST_OTHER }
    }

    /// Sends a payload of some lines.
    pub(super) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(payload).map(|_| ()),
            Self::UnixDatagram(socket) => socket.send(payload).map(|_| ()),
            Self::Tcp(stream, framing) => stream.write_all(&framed(payload, *framing)?),
            Self::UnixStream(stream, framing) => stream.write_all(&framed(payload, *framing)?),
        }
    }

    /// Ends the connection, and finds out what is known of its arrival.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            // A machine on which nobody listens has said so by now if it is this one.
            Self::Udp(socket) => socket.take_error()?.map_or(Ok(()), Err),
            Self::UnixDatagram(_) => Ok(()),
            Self::Tcp(mut stream, _) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                wait_for_end(&mut stream)?;
                SockRef::from(&stream).take_error()?.map_or(Ok(()), Err)
            }
            Self::UnixStream(mut stream, _) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                wait_for_end(&mut stream)
            }
        }
    }
}

/// A payload as it lies in a stream.
fn framed(payload: &[u8], framing: Framing) -> io::Result<Vec<u8>> {
    Ok(match framing {
        Framing::Lines => [payload, b"\n"].concat(),
        Framing::Length => {
            let length = u32::try_from(payload.len()).map_err(|_| ErrorKind::FileTooLarge)?;
            [&length.to_le_bytes()[..], payload].concat()
        }
    })
}

/// tallyd closes a connection once it has read all of it. One that it refuses it closes before, which is an error here.
fn wait_for_end(stream: &mut impl Read) -> io::Result<()> {
    match stream.read(&mut [0]) {
        // Other servers may close it when they like.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        read => read.map(|_| ()),
    }
}

/// Connects to the first address of a name that answers. UDP knows of no answer: there, IPv4 goes first, since tallyd
/// listens on 127.0.0.1 unless it is told otherwise.
fn first(place: &str, connect: impl Fn(SocketAddr) -> io::Result<Connection>) -> io::Result<Connection> {
    let mut addresses: Vec<_> = place.to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        match connect(address) {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
