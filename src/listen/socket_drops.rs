//! Counts the datagrams that the kernel dropped because a receive buffer was full or tallyd was stopping.

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use crate::model::{Counter, Source, Telemetry};
use crate::net;

/// The kernel's drop counters of UDP sockets, which it shows in `/proc/net/udp` and `/proc/net/udp6`.
///
/// The socket option `SO_RXQ_OVFL` would attach the same number to each datagram. That takes time for every datagram, and
/// reports a drop only when the next datagram arrives. Reading the tables once per flush costs the receivers nothing, and
/// also sees the last drop.
#[derive(Debug)]
struct SocketDrops(Vec<WatchedSocket>);

#[derive(Debug)]
struct WatchedSocket {
    /// The number that identifies the socket in the tables.
    inode: u64,
    /// The kernel's counter at the last reading. It wraps around.
    latest: u32,
    dropped: Counter,
}

/// Registers the receive buffer of each socket and a counter of the datagrams that the kernel dropped since the socket
/// was opened. Returns the smallest receive buffer in bytes.
///
/// # Errors
///
/// Fails if the kernel does not report the buffer or the inode of a socket.
pub(super) fn register(telemetry: &Telemetry, sockets: &[UdpSocket]) -> io::Result<u64> {
    let mut watched = Vec::with_capacity(sockets.len());
    let mut smallest_buffer = u64::MAX;
    for (index, socket) in sockets.iter().enumerate() {
        let file = File::from(OwnedFd::from(socket.try_clone()?));
        let buffer = net::receive_buffer(socket)? as u64;
        smallest_buffer = smallest_buffer.min(buffer);
        let tags = [("listener", "udp"), ("receiver", &index.to_string())];
        telemetry.gauge("receive_buffer_bytes", &tags).set(buffer as f64);
        let dropped = telemetry.counter("datagrams_dropped", &tags);
        watched.push(WatchedSocket { inode: file.metadata()?.ino(), latest: 0, dropped });
    }
    telemetry.add_source(SocketDrops(watched));
    Ok(smallest_buffer)
}

impl SocketDrops {
    /// Counts the drops since the last call, and returns their number.
    fn count(&mut self, tables: &[String]) -> u64 {
        let mut new_drops = 0;
        for (inode, count) in tables.iter().flat_map(|table| table.lines()).filter_map(inode_and_drops) {
            if let Some(socket) = self.0.iter_mut().find(|socket| socket.inode == inode) {
                let new = u64::from(count.wrapping_sub(std::mem::replace(&mut socket.latest, count)));
                socket.dropped.add(new);
                new_drops += new;
            }
        }
        new_drops
    }
}

impl Source for SocketDrops {
    fn update(&mut self) {
        let tables =
            ["/proc/net/udp", "/proc/net/udp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        let datagrams = self.count(&tables);
        if datagrams > 0 {
            tracing::error!(
                datagrams,
                "the kernel dropped datagrams because a receive buffer was full, or because tallyd is stopping; raise \
                 listeners.udp.receive_buffer and net.core.rmem_max, or listeners.udp.receivers"
            );
        }
    }
}

/// Returns the inode and the number of drops from a line of the table. These are its columns 9 and 12, counted from 0.
/// Returns `None` for the heading.
fn inode_and_drops(line: &str) -> Option<(u64, u32)> {
    let mut columns = line.split_ascii_whitespace();
    let inode = columns.nth(9)?.parse().ok()?;
    Some((inode, columns.nth(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

    #[test]
    fn each_drop_is_counted_once_even_when_the_counter_wraps() {
        let mut drops =
            SocketDrops(vec![WatchedSocket { inode: 77, latest: 0, dropped: Counter::default() }]);
        let mut count = |total: u32| {
            drops.count(&[format!(
                "{HEADING}\n5: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 77 2 0 {total}"
            )])
        };
        assert_eq!([count(3), count(3), count(u32::MAX), count(1)], [3, 0, u64::from(u32::MAX) - 3, 2]);
        assert_eq!(drops.count(&[]), 0);
        assert_eq!(drops.0[0].dropped.pending(), u64::from(u32::MAX) + 2);
    }

    #[test]
    fn drops_of_a_real_socket_with_a_full_buffer_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let telemetry = Telemetry::default();
        register(&telemetry, std::slice::from_ref(&socket)).unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let received =
            std::iter::repeat_with(|| socket.recv(&mut [0; 1000])).take_while(Result::is_ok).count();
        assert!(received < 100);
        let mut rows = Vec::new();
        telemetry.read(|_, series, value| rows.push((format!("{series:?}"), value)));
        let tags = "|#listener:udp,receiver:0";
        let dropped = Value::Counter(100.0 - received as f64);
        assert!(rows.contains(&(format!("tallyd.datagrams_dropped|c{tags}"), dropped)), "{rows:?}");
        assert!(rows.iter().any(|(name, _)| *name == format!("tallyd.receive_buffer_bytes|g{tags}")));
    }
}
