//! Opens the TCP socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive, Type};

use crate::listen::BACKLOG;
use crate::net::{BindError, Protocol};

/// Finds clients that are gone without a word, in some two minutes.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_mins(1))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Opens the socket that connections come in by.
///
/// # Errors
///
/// If the address cannot be had, among others because another process has it.
pub(crate) fn bind(protocol: Protocol, address: SocketAddr) -> Result<TcpListener, BindError> {
    open(address).map_err(|source| BindError::new(protocol, address, source))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    // Otherwise connections that have ended would keep the address from a restarted tallyd for a minute.
    socket.set_reuse_address(true)?;
    // Linux hands it on to the connections.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn connections_have_the_keepalive_of_the_listener() {
        let listener = bind(Protocol::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        let connection = SockRef::from(&connection);
        assert!(connection.keepalive().unwrap());
        assert_eq!(connection.tcp_keepalive_time().unwrap(), Duration::from_mins(1));
    }

    #[test]
    fn an_address_that_is_taken_is_refused_with_advice() {
        let first = bind(Protocol::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
        for (protocol, key) in
            [(Protocol::Tcp, "listeners.tcp.bind"), (Protocol::Http, "exporters.prometheus.port")]
        {
            let error = bind(protocol, first.local_addr().unwrap()).unwrap_err().to_string();
            assert!(error.contains("ss -ltnp") && error.contains(key), "{error}");
        }
    }
}
