//! Sockets that hand datagrams over to the kernel, which takes them at once or not at all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::config::Target;

/// Where datagrams go, once the name of a host is looked up.
#[derive(Debug)]
pub(super) enum Address {
    /// Those of one host, any of which will do.
    Udp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Address {
    /// Looking up a name may take seconds.
    pub(super) fn of(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::Udp(host) => {
                let mut addresses: Vec<_> = host.to_socket_addrs()?.collect();
                // `localhost` is ::1, too, where tallyd listens only if it is told to.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                Self::Udp(addresses)
            }
            Target::Unix(path) => Self::Unix(path.clone()),
        })
    }
}

/// Bytes of a datagram at most that goes through a network: what fits into an Ethernet frame, so that it is not cut into pieces.
pub(super) const NETWORK_DATAGRAM: usize = 1432;
/// And of one that stays on the machine. Half of what a call costs is the kernel's, for each datagram; servers take as many.
const LOCAL_DATAGRAM: usize = 8192;

/// An open socket.
pub(super) enum Socket {
    /// Connected, for only then the kernel says that nobody listens.
    Udp(UdpSocket, SocketAddr),
    /// Not connected, so that it finds a server that was started again.
    Unix(UnixDatagram, PathBuf),
}

impl Socket {
    pub(super) fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Udp(addresses) => {
                let mut error = io::Error::other("the host has no address");
                for address in addresses {
                    match connect(*address) {
                        Ok(socket) => return Ok(Self::Udp(socket, *address)),
                        Err(this) => error = this,
                    }
                }
                Err(error)
            }
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket, path.clone()))
            }
        }
    }

    /// Bytes of a datagram at most.
    pub(super) fn datagram(&self) -> usize {
        match self {
            Self::Udp(_, address) if !address.ip().is_loopback() => NETWORK_DATAGRAM,
            Self::Udp(..) | Self::Unix(..) => LOCAL_DATAGRAM,
        }
    }

    /// What became of a datagram, and of the one before if that was refused since.
    pub(super) fn send(&self, datagram: &[u8]) -> (io::Result<()>, Option<io::Error>) {
        match self {
            Self::Udp(socket, _) => match socket.send(datagram) {
                // Of the one before. This one was not sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    (socket.send(datagram).map(|_| ()), Some(error))
                }
                sent => (sent.map(|_| ()), None),
            },
            Self::Unix(socket, path) => (socket.send_to(datagram, path).map(|_| ()), None),
        }
    }

    /// Whether the last datagram that was sent is known to be refused, as it is at once on one machine.
    pub(super) fn refusal(&self) -> Option<io::Error> {
        match self {
            Self::Udp(socket, _) => socket.take_error().ok().flatten(),
            // Tells when it sends.
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
    fn datagrams_fit_into_a_frame_where_they_leave_the_machine() {
        for (address, expected) in
            [("192.0.2.1:8125", 1432), ("[2001:db8::1]:8125", 1432), ("[::1]:8125", 8192)]
        {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert_eq!(Socket::Udp(socket, address.parse().unwrap()).datagram(), expected, "{address}");
        }
    }
}
