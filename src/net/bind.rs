//! Why an address of the network cannot be listened on.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What an address is listened on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Samples in datagrams.
    Udp,
    /// Samples in streams.
    Tcp,
    /// Scrapes.
    Http,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Http => "http",
        }
    }

    /// The keys that say where: the address, and the port.
    fn keys(self) -> [&'static str; 2] {
        match self {
            Protocol::Udp => ["listeners.udp.bind"; 2],
            Protocol::Tcp => ["listeners.tcp.bind"; 2],
            Protocol::Http => ["exporters.prometheus.address", "exporters.prometheus.port"],
        }
    }
}

/// A UDP or TCP address that could not be had.
#[derive(Debug)]
pub struct BindError {
    protocol: Protocol,
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    pub(crate) fn new(protocol: Protocol, address: SocketAddr, source: io::Error) -> Self {
        Self { protocol, address, source }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, address, source } = self;
        let [address_key, port_key] = protocol.keys();
        write!(f, "cannot listen on {} {address}: {source}", protocol.name())?;
        match source.kind() {
            io::ErrorKind::AddrInUse if *protocol == Protocol::Udp => f.write_str(
                "; another process has it (see `ss -lunp`): stop that one, choose another listeners.udp.bind, or let \
                 both set listeners.udp.share_port = true",
            ),
            io::ErrorKind::AddrInUse => write!(
                f,
                "; another process has it (see `ss -ltnp`): stop that one, or choose another {port_key}"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "; give an address of this machine as {address_key}")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "; give a port of 1024 or more as {port_key}, or the capability CAP_NET_BIND_SERVICE"
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
