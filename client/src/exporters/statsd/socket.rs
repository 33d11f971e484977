//! Non-blocking datagram sockets: the kernel takes a datagram at once or not at all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::config::settings::StatsdAddress;

/// The largest datagram that goes through a network, in bytes. It fits into an Ethernet frame, so it is not fragmented.
pub(super) const NETWORK_DATAGRAM: usize = 1432;
/// The largest datagram that stays on the machine, in bytes. Servers take as many, and long datagrams are cheaper: half of what
/// a call costs is the kernel's work for each datagram.
const LOCAL_DATAGRAM: usize = 8192;

/// Where datagrams go, after the name of a host is looked up.
#[derive(Debug)]
pub(super) enum ResolvedAddress {
    /// The addresses of one host, which are tried in this order.
    Udp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl ResolvedAddress {
    /// Looks up the name of the host, which may take seconds.
    pub(super) fn look_up(address: &StatsdAddress) -> io::Result<Self> {
        Ok(match address {
            StatsdAddress::Udp(host) => {
                let mut addresses: Vec<_> = host.to_socket_addrs()?.collect();
                // `localhost` is also ::1, where tallyd listens only if it is configured to.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                Self::Udp(addresses)
            }
            StatsdAddress::Unix(path) => Self::Unix(path.clone()),
        })
    }
}

/// An open socket.
pub(super) enum Socket {
    /// A connected socket, because the kernel reports a missing listener only to those.
    Udp(UdpSocket, SocketAddr),
    /// An unconnected socket, so that it finds a server that was restarted.
    Unix(UnixDatagram, PathBuf),
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
            ResolvedAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket, path.clone()))
            }
        }
    }

    /// Returns the size of the largest datagram, in bytes.
    pub(super) fn max_datagram(&self) -> usize {
        match self {
            Self::Udp(_, address) if !address.ip().is_loopback() => NETWORK_DATAGRAM,
            Self::Udp(..) | Self::Unix(..) => LOCAL_DATAGRAM,
        }
    }

    /// Sends a datagram. Returns the result, and also an error if the previous datagram was refused meanwhile.
    pub(super) fn send(&self, datagram: &[u8]) -> (io::Result<()>, Option<io::Error>) {
        match self {
            Self::Udp(socket, _) => match socket.send(datagram) {
                // The kernel reports the refusal of the previous datagram and has not sent this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    (socket.send(datagram).map(|_| ()), Some(error))
                }
                sent => (sent.map(|_| ()), None),
            },
            Self::Unix(socket, path) => (socket.send_to(datagram, path).map(|_| ()), None),
        }
    }

    /// Returns an error if the last datagram is known to be refused. On the same machine that is known at once.
    pub(super) fn refusal(&self) -> Option<io::Error> {
        match self {
            Self::Udp(socket, _) => socket.take_error().ok().flatten(),
            // `send` reports it.
            Self::Unix(..) => None,
        }
    }
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
