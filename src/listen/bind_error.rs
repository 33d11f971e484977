//! Why an address of the network cannot be listened on.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A UDP or TCP address that could not be had.
#[derive(Debug)]
pub struct BindError {
    listener: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    /// `listener`: `udp` or `tcp`.
    pub(super) fn new(listener: &'static str, address: SocketAddr, source: io::Error) -> Self {
        Self { listener, address, source }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, address, source } = self;
        write!(f, "cannot listen on {listener} {address}: {source}")?;
        match source.kind() {
            io::ErrorKind::AddrInUse if *listener == "udp" => f.write_str(
                "; another process has it (see `ss -lunp`): stop that one, choose another listeners.udp.bind, or let \
                 both set listeners.udp.share_port = true",
            ),
            io::ErrorKind::AddrInUse => write!(
                f,
                "; another process has it (see `ss -ltnp`): stop that one, or choose another listeners.{listener}.bind"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "; give an address of this machine as listeners.{listener}.bind")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "; give a port of 1024 or more as listeners.{listener}.bind, or the capability CAP_NET_BIND_SERVICE"
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
