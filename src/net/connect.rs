//! Connects to a host that can have several addresses.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// Connects to the first address of a host that accepts. IPv4 addresses come first, because UDP sockets connect to any
/// address, and most StatsD servers listen on IPv4 only.
pub(crate) fn connect_first<T>(
    host_and_port: &str,
    connect: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut addresses: Vec<_> = host_and_port.to_socket_addrs()?.collect();
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
