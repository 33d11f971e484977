//! Sends lines to Graphite over TCP or UDP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use memchr::{memchr, memrchr};

use crate::deliver::{Batch, Failure, Receipt, Transport};
use crate::net::connect_first;

/// How lines are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GraphiteProtocol {
    Tcp,
    Udp,
}

/// The largest datagram in bytes. It fits into one Ethernet frame.
const DATAGRAM: usize = 1432;

/// Sends lines to one server.
#[derive(Debug)]
pub(crate) struct GraphiteTransport {
    /// The host and the port.
    address: String,
    protocol: GraphiteProtocol,
    timeout: Duration,
    connection: Option<TcpStream>,
}

impl GraphiteTransport {
    pub(crate) fn new(address: String, protocol: GraphiteProtocol, timeout: Duration) -> Self {
        Self { address, protocol, timeout, connection: None }
    }

    /// Writes to the connection, and opens one if there is none.
    fn send_tcp(&mut self, lines: &[u8]) -> io::Result<()> {
        // A server that has closed the connection takes no more lines, but the first write to it would succeed.
        let is_open = |connection: &TcpStream| is_open(connection).unwrap_or(false);
        let mut connection = if let Some(connection) = self.connection.take().filter(is_open) {
            connection
        } else {
            let connect = |address| TcpStream::connect_timeout(&address, self.timeout);
            let connection = connect_first(&self.address, connect)?;
            connection.set_write_timeout(Some(self.timeout))?;
            connection
        };
        connection.write_all(lines)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn send_udp(&self, mut lines: &[u8]) -> io::Result<()> {
        let socket = connect_first(&self.address, |address| {
            let local: SocketAddr =
                if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = UdpSocket::bind(local)?;
            socket.connect(address)?;
            Ok(socket)
        })?;
        while !lines.is_empty() {
            let fitting = &lines[..lines.len().min(DATAGRAM)];
            // A longer line has a datagram of its own.
            let end = memrchr(b'\n', fitting).or_else(|| memchr(b'\n', lines));
            let end = end.map_or(lines.len(), |end| end + 1);
            socket.send(&lines[..end])?;
            lines = &lines[end..];
        }
        Ok(())
    }
}

/// Returns false if the server has closed the connection.
fn is_open(mut connection: &TcpStream) -> io::Result<bool> {
    connection.set_nonblocking(true)?;
    let answer = connection.read(&mut [0; 64]);
    connection.set_nonblocking(false)?;
    match answer {
        Ok(length) => Ok(length > 0),
        Err(error) => Ok(error.kind() == io::ErrorKind::WouldBlock),
    }
}

impl Transport for GraphiteTransport {
    fn send(&mut self, batch: &Batch) -> Result<Receipt, Failure> {
        let sent = match self.protocol {
            GraphiteProtocol::Tcp => self.send_tcp(&batch.body),
            GraphiteProtocol::Udp => self.send_udp(&batch.body),
        };
        sent.map(|()| Receipt::default())
            .map_err(|error| Failure { reason: format!("{}: {error}", self.address), retry_after: None })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn batch(lines: &str) -> Batch {
        Batch { body: lines.to_owned().into(), points: 1, time: UNIX_EPOCH }
    }

    fn transport(address: SocketAddr, protocol: GraphiteProtocol) -> GraphiteTransport {
        GraphiteTransport::new(address.to_string(), protocol, Duration::from_secs(10))
    }

    #[test]
    fn a_connection_is_used_again_until_the_server_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut transport = transport(listener.local_addr().unwrap(), GraphiteProtocol::Tcp);
        let mut line = String::new();
        for _ in 0..2 {
            assert!(transport.send(&batch("a 1 2\n")).is_ok());
            let mut connection = BufReader::new(listener.accept().unwrap().0);
            assert!(transport.send(&batch("b 1 2\n")).is_ok());
            for expected in ["a 1 2\n", "b 1 2\n"] {
                line.clear();
                connection.read_line(&mut line).unwrap();
                assert_eq!(line, expected);
            }
            // The next round needs another connection.
        }
        drop(listener);
        let failure = transport.send(&batch("c 1 2\n")).unwrap_err();
        assert!(failure.reason.contains("refused"), "{failure:?}");
    }

    #[test]
    fn datagrams_have_whole_lines() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut transport = transport(receiver.local_addr().unwrap(), GraphiteProtocol::Udp);
        let line = |length: usize| format!("{} 1 2\n", "x".repeat(length - 5));
        let lines = [line(1000), line(400), line(100), line(3000), line(50)];
        assert!(transport.send(&batch(&lines.concat())).is_ok());
        let mut buffer = [0; 4000];
        for expected in [&lines[..2], &lines[2..3], &lines[3..4], &lines[4..]] {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], *expected.concat().as_bytes());
        }
    }
}
