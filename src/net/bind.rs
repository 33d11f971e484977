//! Opens TCP and UDP sockets. If an address cannot be used, the error says what to change.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::steering::steer_by_source_address;

/// The number of connections that the kernel holds until tallyd accepts them. The kernel caps it at
/// `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 1024;

/// Detects within about two minutes that a client vanished without closing its connection.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_mins(1))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// The number of bytes that the kernel takes for a client that does not read. By default it takes up to 4 MB, in memory that
/// tallyd does not count. Bytes on their way to a client come on top, so a long round trip costs no throughput.
const MAX_UNSENT: u32 = 128 << 10;

/// The name of a socket, and the configuration keys that a user changes if the socket cannot be opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BindKeys {
    /// The name of the socket, for example `tcp`.
    pub socket: &'static str,
    /// The key of the IP address.
    pub address: &'static str,
    /// The key of the port, which may equal that of the address.
    pub port: &'static str,
    /// The key that lets several processes share the address, if there is one.
    pub share_port: Option<&'static str>,
}

/// The UDP sockets to open on one address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UdpSockets {
    /// The address. If its port is 0, the kernel chooses a free one.
    pub(crate) address: SocketAddr,
    /// The number of sockets that share the address, at least 1.
    pub(crate) count: usize,
    /// The size of the receive buffer to request for each socket, in bytes.
    pub(crate) receive_buffer: usize,
    /// Whether other processes of the same user may open sockets on the address.
    pub(crate) share_port: bool,
    /// Whether sockets on the IPv6 address `::` leave IPv4 to others. Otherwise, they receive it, too.
    pub(crate) only_v6: bool,
}

/// Opens UDP sockets on one address, each with a receive buffer as large as the kernel allows up to the requested size.
/// All datagrams from one address reach the same socket, in the order in which they arrive.
///
/// # Errors
///
/// Fails if the address cannot be used, for example because another process uses it.
pub(crate) fn bind_udp(sockets: &UdpSockets, keys: &BindKeys) -> Result<Vec<UdpSocket>, BindError> {
    let failed = |source| BindError::new("ss -lunp", keys, sockets.address, source);
    let mut address = sockets.address;
    let mut opened = Vec::with_capacity(sockets.count);
    for _ in 0..sockets.count {
        let socket = open_udp(address, sockets, opened.is_empty()).map_err(failed)?;
        // If the port is 0, the first socket determines the port of all sockets.
        address = socket.local_addr().map_err(failed)?;
        opened.push(socket);
    }
    if let [first, _, ..] = &opened[..] {
        steer_by_source_address(first, opened.len()).map_err(failed)?;
    }
    Ok(opened)
}

/// Binds the first socket without `SO_REUSEPORT` and sets the option afterwards. So binding fails if another process
/// uses the address. With the option set from the start, a second tallyd would silently take half of the datagrams.
fn open_udp(address: SocketAddr, sockets: &UdpSockets, is_first: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // RcvBufForce may exceed `net.core.rmem_max`, but needs CAP_NET_ADMIN.
    setsockopt(&socket, sockopt::RcvBufForce, &sockets.receive_buffer)
        .or_else(|_| socket.set_recv_buffer_size(sockets.receive_buffer))?;
    socket.set_reuse_port(!is_first || sockets.share_port)?;
    if address.is_ipv6() && sockets.only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// Takes over UDP sockets that the service manager has opened. Of sockets that share an address, all datagrams from one
/// sender reach the same one.
///
/// # Errors
///
/// Fails if the kernel refuses a setting.
pub(crate) fn adopt_udp(sockets: Vec<UdpSocket>) -> io::Result<Vec<UdpSocket>> {
    let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
    let mut first = 0;
    for same in addresses.chunk_by(|one, next| one == next) {
        if same.len() > 1 {
            steer_by_source_address(&sockets[first], same.len())?;
        }
        first += same.len();
    }
    Ok(sockets)
}

/// Takes over a TCP socket that the service manager has opened.
///
/// # Errors
///
/// Fails if the kernel refuses a setting.
pub(crate) fn adopt_tcp(socket: TcpListener) -> io::Result<TcpListener> {
    set_options(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sets options of a listening socket. On Linux, accepted connections inherit them.
fn set_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_tcp_notsent_lowat(MAX_UNSENT)
}

/// Returns the size of the receive buffer that the kernel granted, in bytes. The kernel reports twice the size, because
/// it doubles each request for its own bookkeeping.
pub(crate) fn receive_buffer(socket: &UdpSocket) -> io::Result<usize> {
    Ok(SockRef::from(socket).recv_buffer_size()? / 2)
}

/// Opens a TCP socket that accepts connections and does not block.
///
/// # Errors
///
/// Fails if the address cannot be used, for example because another process uses it.
pub(crate) fn bind_tcp(address: SocketAddr, keys: &BindKeys) -> Result<TcpListener, BindError> {
    open_tcp(address).map_err(|source| BindError::new("ss -ltnp", keys, address, source))
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without this option, closed connections would block the address for a minute after a restart.
    socket.set_reuse_address(true)?;
    set_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A TCP or UDP address that tallyd cannot listen on.
#[derive(Debug)]
pub struct BindError {
    /// The command that shows which process uses an address.
    show_owner: &'static str,
    keys: BindKeys,
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    fn new(show_owner: &'static str, keys: &BindKeys, address: SocketAddr, source: io::Error) -> Self {
        Self { show_owner, keys: *keys, address, source }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { show_owner, keys, address, source } = self;
        let BindKeys { socket, address: address_key, port, share_port } = keys;
        write!(f, "cannot listen on {socket} {address}: {source}")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "; another process uses it (see `{show_owner}`): stop that process")?;
                match share_port {
                    Some(key) => write!(f, ", choose another {port}, or set {key} = true for both"),
                    None => write!(f, ", or choose another {port}"),
                }
            }
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "; set {address_key} to an address of this machine")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "; set {port} to a port of 1024 or more, or give tallyd the capability CAP_NET_BIND_SERVICE"
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const KEYS: BindKeys =
        BindKeys { socket: "test", address: "the.address", port: "the.port", share_port: None };
    const UDP_KEYS: BindKeys = BindKeys { share_port: Some("the.share_port"), ..KEYS };

    fn udp(address: &str, share_port: bool) -> Result<Vec<UdpSocket>, BindError> {
        let address = address.parse().unwrap();
        let only_v6 = false;
        bind_udp(&UdpSockets { address, count: 2, receive_buffer: 65_536, share_port, only_v6 }, &UDP_KEYS)
    }

    #[test]
    fn udp_sockets_of_one_address_share_its_port() {
        let sockets = udp("127.0.0.1:0", false).unwrap();
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports[0], ports[1]);
    }

    #[test]
    fn a_second_process_on_a_udp_port_is_refused_unless_both_share_it() {
        let first = udp("127.0.0.1:0", false).unwrap();
        let taken = first[0].local_addr().unwrap().to_string();
        let error = udp(&taken, false).unwrap_err().to_string();
        assert!(error.contains("ss -lunp") && error.contains("the.share_port = true"), "{error}");

        let first = udp("127.0.0.1:0", true).unwrap();
        let taken = first[0].local_addr().unwrap().to_string();
        assert!(udp(&taken, true).is_ok());
    }

    #[test]
    fn udp_sockets_open_on_ipv6_addresses() {
        let sockets = udp("[::1]:0", false).unwrap();
        assert!(sockets[1].local_addr().unwrap().is_ipv6());
    }

    #[test]
    fn the_granted_receive_buffer_is_what_was_requested() {
        let sockets = udp("127.0.0.1:0", false).unwrap();
        assert_eq!(receive_buffer(&sockets[0]).unwrap(), 65_536);
    }

    #[test]
    fn tcp_connections_inherit_the_options_of_the_listener() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), &KEYS).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        let connection = SockRef::from(&connection);
        assert!(connection.keepalive().unwrap());
        assert_eq!(connection.tcp_keepalive_time().unwrap(), Duration::from_mins(1));
        assert_eq!(connection.tcp_notsent_lowat().unwrap(), MAX_UNSENT);
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_with_advice() {
        let first = bind_tcp("127.0.0.1:0".parse().unwrap(), &KEYS).unwrap();
        let taken = first.local_addr().unwrap();
        // 203.0.113.0/24 is reserved for documentation, so no machine has it.
        let foreign = "203.0.113.1:0".parse().unwrap();
        for (address, hints) in
            [(taken, ["ss -ltnp", "the.port"]), (foreign, ["test 203.0.113.1:0", "the.address"])]
        {
            let error = bind_tcp(address, &KEYS).unwrap_err().to_string();
            assert!(hints.iter().all(|hint| error.contains(hint)), "{error}");
        }
    }
}
