//! What the kernel says about a receiving socket.

use std::io;
use std::net::SocketAddr;

/// A row of `/proc/net/udp`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Socket {
    /// Bytes that wait to be received, with the kernel's own for each datagram.
    pub(crate) queued: u64,
    /// Datagrams that found the queue full, since the socket was opened.
    pub(crate) dropped: u64,
}

/// Reads the row of the socket that is bound to an address.
pub(crate) fn read(address: SocketAddr) -> io::Result<Socket> {
    let table = std::fs::read_to_string("/proc/net/udp")?;
    let port = format!(":{:04X}", address.port());
    let row = table.lines().find_map(|line| parse(line, &port));
    row.ok_or_else(|| io::Error::other(format!("{address} has no row in /proc/net/udp")))
}

/// Columns, counted from 0: 1 is the local address, 4 the sizes of the queues, 12 the drops.
///
/// ```text
///    sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
///  1234: 0100007F:1FBD 00000000:0000 07 00000000:00000A00 00:00000000 00000000     0        0 7777 2 0000000000000000 0
/// ```
fn parse(line: &str, port: &str) -> Option<Socket> {
    let columns: Vec<_> = line.split_ascii_whitespace().collect();
    if !columns.get(1)?.ends_with(port) {
        return None;
    }
    let (_, queued) = columns.get(4)?.split_once(':')?;
    Some(Socket { queued: u64::from_str_radix(queued, 16).ok()?, dropped: columns.get(12)?.parse().ok()? })
}
