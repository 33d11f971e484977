//! Counts the datagrams that the kernel dropped: because a receive buffer was full, or by the filter of a stop.

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;

use super::udp::granted_buffer;

/// The sockets' own drop counters, read from `/proc/net/udp` and `/proc/net/udp6`.
///
/// `SO_RXQ_OVFL` would attach the same number to each datagram, which costs a little with every one and tells nothing
/// until the next arrives. Reading the table once a flush costs the hot path nothing, and sees the last drop too.
#[derive(Debug)]
pub struct DropCounter {
    sockets: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    receiver: String,
    /// By which the table names a socket.
    inode: u64,
    buffer_bytes: u64,
    /// The kernel's counter when it was last read; it wraps.
    latest: u32,
}

/// The losses of one socket since the last reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drops {
    /// The kind of listener: `udp`.
    pub listener: &'static str,
    /// The number of the receiver, from 0.
    pub receiver: String,
    /// Datagrams dropped.
    pub datagrams: u64,
    /// The receive buffer that the kernel granted.
    pub buffer_bytes: u64,
}

impl DropCounter {
    /// Watches these sockets, whose counters start at 0.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell the buffer or the inode of a socket.
    pub fn new(sockets: &[UdpSocket]) -> io::Result<Self> {
        let watch = |(index, socket): (usize, &UdpSocket)| {
            let file = File::from(std::os::fd::OwnedFd::from(socket.try_clone()?));
            Ok(Watched {
                receiver: index.to_string(),
                inode: file.metadata()?.ino(),
                buffer_bytes: granted_buffer(socket)? as u64,
                latest: 0,
            })
        };
        Ok(Self { sockets: sockets.iter().enumerate().map(watch).collect::<io::Result<_>>()? })
    }

    /// The smallest receive buffer that the kernel granted, in bytes.
    #[must_use]
    pub fn smallest_buffer(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.buffer_bytes).min().unwrap_or(0)
    }

    /// What was dropped since the last call, by socket.
    pub fn read(&mut self) -> Vec<Drops> {
        let tables =
            ["/proc/net/udp", "/proc/net/udp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        self.count(tables.iter().flat_map(|table| table.lines()))
    }

    fn count<'a>(&mut self, table: impl Iterator<Item = &'a str>) -> Vec<Drops> {
        let mut counts = vec![None; self.sockets.len()];
        for (inode, count) in table.filter_map(inode_and_drops) {
            if let Some(index) = self.sockets.iter().position(|socket| socket.inode == inode) {
                counts[index] = Some(count);
            }
        }
        let read = |(socket, count): (&mut Watched, Option<u32>)| {
            let count = count.unwrap_or(socket.latest);
            let datagrams = count.wrapping_sub(std::mem::replace(&mut socket.latest, count));
            Drops {
                listener: "udp",
                receiver: socket.receiver.clone(),
                datagrams: u64::from(datagrams),
                buffer_bytes: socket.buffer_bytes,
            }
        };
        self.sockets.iter_mut().zip(counts).map(read).collect()
    }
}

/// Columns of the table, counted from 0: 9 is the inode, 12 the drops. The heading has no number there.
fn inode_and_drops(line: &str) -> Option<(u64, u32)> {
    let mut columns = line.split_ascii_whitespace();
    let inode = columns.nth(9)?.parse().ok()?;
    Some((inode, columns.nth(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

    #[test]
    fn each_drop_is_told_once_even_where_the_counter_wraps() {
        let mut counter = DropCounter {
            sockets: vec![Watched { receiver: "0".into(), inode: 77, buffer_bytes: 1, latest: 0 }],
        };
        let mut told = |drops: u32| {
            let line = format!(
                "5: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 77 2 0 {drops}"
            );
            counter.count([HEADING, &line].into_iter())[0].datagrams
        };
        assert_eq!([told(3), told(3), told(u32::MAX), told(1)], [3, 0, u64::from(u32::MAX) - 3, 2]);
        assert_eq!(counter.count(std::iter::empty())[0].datagrams, 0);
    }

    #[test]
    fn a_full_buffer_of_a_real_socket_is_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut counter = DropCounter::new(std::slice::from_ref(&socket)).unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let received =
            std::iter::repeat_with(|| socket.recv(&mut [0; 1000])).take_while(Result::is_ok).count();
        assert_eq!(counter.read()[0].datagrams, 100 - received as u64);
        assert!(received < 100);
    }
}
