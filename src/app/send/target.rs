//! Finds the listener that receives the lines, and how its streams are framed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::listen::{Framing, ListenOptions, UnixDatagramOptions};
use crate::net::ListenerUrl;

impl ListenerUrl {
    /// Returns the section of `[listeners]` that configures this kind of listener.
    pub(super) fn listener(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Tcp(_) => "tcp",
            Self::UnixDatagram(_) => "unix_datagram",
            Self::UnixStream(_) => "unix_stream",
        }
    }

    /// Returns the default framing of tallyd's listener, if it receives a stream.
    pub(super) fn framing(&self) -> Option<Framing> {
        match self {
            Self::Udp(_) | Self::UnixDatagram(_) => None,
            Self::Tcp(_) => Some(Framing::Lines),
            Self::UnixStream(_) => Some(Framing::Length),
        }
    }
}

/// The default is tallyd's own default listener.
impl Default for ListenerUrl {
    fn default() -> Self {
        Self::Udp("127.0.0.1:8125".to_owned())
    }
}

impl ListenerUrl {
    /// Returns the first listener of a configuration: UDP, a Unix socket for datagrams, TCP, or a Unix stream.
    ///
    /// # Errors
    ///
    /// Returns the reason in words if the configuration does not say where that listener is.
    pub(in crate::app) fn first_of(listening: &ListenOptions) -> Result<Self, String> {
        let ListenOptions { udp, tcp, unix_datagram, unix_stream, .. } = listening;
        let at = |address: SocketAddr| match address.port() {
            0 => Err("the configuration chooses a free port (0); give the port with --to".to_owned()),
            _ => Ok(reachable(address).to_string()),
        };
        if let Some(address) = udp.as_ref().and_then(|udp| udp.addresses.first()) {
            Ok(Self::Udp(at(*address)?))
        } else if let Some(UnixDatagramOptions { file, .. }) = unix_datagram {
            Ok(Self::UnixDatagram(file.path.clone()))
        } else if let Some((address, _)) = tcp {
            Ok(Self::Tcp(at(*address)?))
        } else if let Some((file, _)) = unix_stream {
            Ok(Self::UnixStream(file.path.clone()))
        } else {
            Err("the configuration has no listener; give one with --to".to_owned())
        }
    }

    /// Returns the framing of the listener of this kind in a configuration.
    pub(in crate::app) fn framing_in(&self, listening: &ListenOptions) -> Option<Framing> {
        match self {
            Self::Udp(_) | Self::UnixDatagram(_) => None,
            Self::Tcp(_) => listening.tcp.as_ref().map(|(_, options)| options.framing),
            Self::UnixStream(_) => listening.unix_stream.as_ref().map(|(_, options)| options.framing),
        }
    }
}

/// Returns an address at which a listener of this machine can be reached. A wildcard address is not one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
