//! Non-blocking datagram sockets. The kernel accepts a datagram at once or not at all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;

use super::datagram::{LOCAL_DATAGRAM, NETWORK_DATAGRAM};
use super::unix::UnixSocket;
use crate::config::settings::StatsdAddress;

/// The destination of datagrams, after the lookup of its host name.
#[derive(Debug)]
pub(super) enum ResolvedAddress {
    /// The addresses of one host, in the order in which the client tries them.
    Udp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl ResolvedAddress {
    /// Looks up the host name, which can take seconds.
    pub(super) fn look_up(address: &StatsdAddress) -> io::Result<Self> {
        Ok(match address {
            StatsdAddress::Udp(host) => {
                let mut addresses: Vec<_> = host.to_socket_addrs()?.collect();
                // `localhost` also means ::1, but tallyd listens there only if it is configured so.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                Self::Udp(addresses)
            }
            StatsdAddress::Unix(path) => Self::Unix(path.clone()),
        })
    }
}

/// An open socket.
pub(super) enum Socket {
    /// A connected socket. The kernel reports a missing listener only to connected sockets.
    Udp(UdpSocket, SocketAddr),
    Unix(UnixSocket),
}

impl Socket {
    pub(super) fn open(address: &ResolvedAddress) -> io::Result<Self> {
        match address {
            ResolvedAddress::Udp(addresses) => {
                let mut last_error = io::Error::other("the host has no address");
                for address in addresses {
                    match connect(*address) {
                        Ok(socket) => return Ok(Self::Udp(socket, *address)),
                        Err(error) => last_error = error,
                    }
                }
                Err(last_error)
            }
            ResolvedAddress::Unix(path) => UnixSocket::open(path).map(Self::Unix),
        }
    }

    /// Returns the size of the largest datagram, in bytes.
    pub(super) fn max_datagram(&self) -> usize {
        match self {
            Self::Udp(_, address) if !address.ip().is_loopback() => NETWORK_DATAGRAM,
            Self::Udp(..) => LOCAL_DATAGRAM,
            Self::Unix(socket) => socket.max_datagram(),
        }
    }

    /// Sends a datagram. Returns the result, and an error if the previous datagram was refused.
    pub(super) fn send(&self, datagram: &[u8]) -> (io::Result<()>, Option<io::Error>) {
        match self {
            Self::Udp(socket, _) => match socket.send(datagram) {
                // The kernel reports that the previous datagram was refused. It has not sent this datagram yet.
                Err(error) if is_refusal(&error) => (socket.send(datagram).map(|_| ()), Some(error)),
                sent => (sent.map(|_| ()), None),
            },
            Self::Unix(socket) => (socket.send(datagram), None),
        }
    }

    /// Returns an error if the last datagram is known to be refused. The kernel reports refusals by the same machine at
    /// once.
    pub(super) fn refusal(&self) -> Option<io::Error> {
        match self {
            Self::Udp(socket, _) => socket.take_error().ok().flatten(),
            // `send` has already reported it.
            Self::Unix(..) => None,
        }
    }
}

/// Returns true for the error that reports a missing listener. Windows reports it as a reset connection.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_that_leaves_the_machine_fits_into_a_frame() {
        for (address, expected) in
            [("192.0.2.1:8125", 1432), ("[2001:db8::1]:8125", 1432), ("[::1]:8125", 8192)]
        {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert_eq!(Socket::Udp(socket, address.parse().unwrap()).max_datagram(), expected, "{address}");
        }
    }
}
