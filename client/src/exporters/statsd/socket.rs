//! The socket, which is cadence's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use cadence::{MetricSink, UdpMetricSink};

use crate::config::Target;

/// Where datagrams are handed over to the kernel, which takes them at once or not at all.
pub(super) type Socket = Box<dyn MetricSink + Send + Sync>;

/// How often the address of a host with a name is looked up again.
const RESOLVED_EVERY: Duration = Duration::from_mins(1);

/// Opens a socket; looking up a name may take seconds.
pub(super) fn open(target: &Target) -> io::Result<Socket> {
    match target {
        Target::Udp(host) => {
            let address = host.to_socket_addrs()?.next();
            let own: IpAddr = match address.ok_or_else(|| io::Error::other("the host has no address"))? {
                address if address.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((own, 0))?;
            socket.set_nonblocking(true)?;
            let builder = UdpMetricSink::builder();
            let has_name = host.parse::<std::net::SocketAddr>().is_err();
            let builder = if has_name { builder.with_resolver_period(RESOLVED_EVERY) } else { builder };
            let sink =
                builder.build(host.clone(), socket).map_err(|error| io::Error::other(error.to_string()))?;
            Ok(Box::new(sink))
        }
        #[cfg(unix)]
        Target::Unix(path) => {
            let socket = std::os::unix::net::UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok(Box::new(cadence::UnixMetricSink::from(path, socket)))
        }
    }
}
