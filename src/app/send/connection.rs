//! Connections to a listener. All except UDP block while the listener is behind, so they lose nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use socket2::SockRef;

use crate::listen::Framing;
use crate::net::{ListenerUrl, connect_first};

/// The longest UDP payload, in bytes. It fits into one Ethernet frame, even over IPv6 and through a tunnel.
const LONGEST_UDP: usize = 1432;

/// The longest payload over other transports, in bytes. DogStatsD clients use the same limit over Unix sockets, and
/// every server accepts it.
const LONGEST_OTHER: usize = 8192;

/// The longest wait for a server to accept a TCP connection, or to close a finished connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A socket that is connected to a target. Streams have a framing.
#[derive(Debug)]
pub(super) enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream, Framing),
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream, Framing),
}

impl Connection {
    /// Connects to a target. Only streams use `framing`.
    pub(super) fn open(target: &ListenerUrl, framing: Framing) -> io::Result<Self> {
        match target {
            ListenerUrl::Udp(host_and_port) => connect_first(host_and_port, |address| {
                let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }),
            ListenerUrl::Tcp(host_and_port) => {
                let connect = |address| TcpStream::connect_timeout(&address, TIMEOUT);
                connect_first(host_and_port, |address| Ok(Self::Tcp(connect(address)?, framing)))
            }
            ListenerUrl::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Self::UnixDatagram(socket))
            }
            ListenerUrl::UnixStream(path) => Ok(Self::UnixStream(UnixStream::connect(path)?, framing)),
        }
    }

    /// Returns the length of the longest payload that every server accepts, in bytes.
    pub(super) fn longest(&self) -> usize {
        if matches!(self, Self::Udp(_)) { LONGEST_UDP } else { LONGEST_OTHER }
    }

    /// Sends a payload of lines.
    pub(super) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(payload).map(|_| ()),
            Self::UnixDatagram(socket) => socket.send(payload).map(|_| ()),
            Self::Tcp(stream, framing) => stream.write_all(&framed(payload, *framing)?),
            Self::UnixStream(stream, framing) => stream.write_all(&framed(payload, *framing)?),
        }
    }

    /// Ends the connection. Returns an error if the server certainly did not read everything.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            // If the port is closed on this machine, the kernel has reported it by now.
            Self::Udp(socket) => socket.take_error()?.map_or(Ok(()), Err),
            Self::UnixDatagram(_) => Ok(()),
            Self::Tcp(mut stream, _) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                wait_for_end(&mut stream)?;
                SockRef::from(&stream).take_error()?.map_or(Ok(()), Err)
            }
            Self::UnixStream(mut stream, _) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                wait_for_end(&mut stream)
            }
        }
    }
}

/// Returns a payload with a line feed at its end or, with length framing, its length before it.
fn framed(payload: &[u8], framing: Framing) -> io::Result<Vec<u8>> {
    Ok(match framing {
        Framing::Lines => [payload, b"\n"].concat(),
        Framing::Length => {
            let length = u32::try_from(payload.len()).map_err(|_| ErrorKind::FileTooLarge)?;
            [&length.to_le_bytes()[..], payload].concat()
        }
    })
}

/// Waits until the server closes the connection. tallyd closes it after reading everything. If tallyd refuses a
/// connection, it closes it before that, and the read fails.
fn wait_for_end(stream: &mut impl Read) -> io::Result<()> {
    match stream.read(&mut [0]) {
        // Other servers may keep the connection open.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        read => read.map(|_| ()),
    }
}
