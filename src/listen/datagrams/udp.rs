//! Opens the UDP sockets: one a receiver, all on one address.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};

use crate::net::{BindError, Protocol};

/// What to listen on.
#[derive(Debug, Clone)]
pub struct Udp {
    /// Port 0: any free one.
    pub address: SocketAddr,
    /// How many sockets share the address; at least 1.
    pub receivers: usize,
    /// Bytes of receive buffer to ask the kernel for, for each socket.
    pub receive_buffer: usize,
    /// Bytes beyond which a datagram is truncated.
    pub max_datagram: usize,
    /// Whether other processes of this user may listen on the same address.
    pub share_port: bool,
}

/// Opens one socket a receiver, with the receive buffer as large as the kernel allows.
///
/// # Errors
///
/// If the address cannot be had, among others because another process has it.
pub fn bind(udp: &Udp) -> Result<Vec<UdpSocket>, BindError> {
    let failed = |source| BindError::new(Protocol::Udp, udp.address, source);
    let mut address = udp.address;
    let mut sockets = Vec::with_capacity(udp.receivers);
    for _ in 0..udp.receivers {
        let socket = open(address, udp, sockets.is_empty()).map_err(failed)?;
        // Port 0 is settled by the first socket.
        address = socket.local_addr().map_err(failed)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The first socket binds alone, which fails if anyone has the address, and lets others in only then: with
/// `SO_REUSEPORT` from the start, a second tallyd would silently take half of the datagrams.
fn open(address: SocketAddr, udp: &Udp, is_first: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(socket2::Protocol::UDP))?;
    set_receive_buffer(&socket, udp.receive_buffer)?;
    let alone = is_first && !udp.share_port;
    socket.set_reuse_port(!alone)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// Beyond `net.core.rmem_max` if the process may (`CAP_NET_ADMIN`), else up to it.
fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .or_else(|_| SockRef::from(socket).set_recv_buffer_size(bytes))
}

/// The size granted, in the terms in which it is asked for: the kernel doubles that for its own bookkeeping.
pub(super) fn granted_buffer(socket: &UdpSocket) -> io::Result<usize> {
    Ok(SockRef::from(socket).recv_buffer_size()? / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(address: &str, share_port: bool) -> Udp {
        let address = address.parse().unwrap();
        Udp { address, receivers: 2, receive_buffer: 65_536, max_datagram: 512, share_port }
    }

    #[test]
    fn all_receivers_share_one_port() {
        let sockets = bind(&udp("127.0.0.1:0", false)).unwrap();
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports[0], ports[1]);
    }

    #[test]
    fn a_second_process_on_the_port_is_refused_unless_both_share_it() {
        let first = bind(&udp("127.0.0.1:0", false)).unwrap();
        let taken = first[0].local_addr().unwrap().to_string();
        let error = bind(&udp(&taken, false)).unwrap_err();
        assert!(error.to_string().contains("share_port"), "{error}");

        let first = bind(&udp("127.0.0.1:0", true)).unwrap();
        let taken = first[0].local_addr().unwrap().to_string();
        assert!(bind(&udp(&taken, true)).is_ok());
    }

    #[test]
    fn ipv6_is_an_address_like_any_other() {
        let sockets = bind(&udp("[::1]:0", false)).unwrap();
        assert!(sockets[1].local_addr().unwrap().is_ipv6());
    }

    #[test]
    fn the_receive_buffer_is_granted_in_the_terms_in_which_it_is_asked_for() {
        let sockets = bind(&udp("127.0.0.1:0", false)).unwrap();
        assert_eq!(granted_buffer(&sockets[0]).unwrap(), 65_536);
    }
}
