//! Counts the datagrams that the kernel dropped because a receive buffer was full or tallyd was stopping.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::net::UdpSocket;
use std::sync::Arc;

use parking_lot::Mutex;
use socket2::SockRef;

use super::socket_memory::SocketMemory;
use crate::model::{FetchedCounter, Gauge, Repeated, Source, Telemetry, Thinned};
use crate::net;

/// The kernel's drop counters of UDP sockets.
///
/// Reading them once per flush costs the receivers nothing, and also sees the last drop.
#[derive(Debug)]
struct SocketDrops {
    sockets: Vec<WatchedSocket>,
    counted: CountedDrops,
    /// 1 if the drops of a socket cannot be read.
    blind: Gauge,
    /// The intervals with drops.
    repeated: Thinned,
}

#[derive(Debug)]
struct WatchedSocket {
    /// A handle of the receiver's socket. It stays open until the last flush has read the drops of a stop.
    socket: UdpSocket,
    /// The kernel's identity of the socket, if it tells.
    cookie: Option<u64>,
    /// The kernel's counter at the last reading. It wraps around.
    latest: u32,
    dropped: FetchedCounter,
}

/// The kernel's drop counter of each socket at its last reading, by the cookie of the socket.
///
/// If it is kept over a restart, the drops of a socket that the service manager holds are counted once, those while no
/// tallyd ran included. Otherwise, all drops since the socket was opened are counted again.
#[derive(Debug, Clone, Default)]
pub struct CountedDrops(Arc<Mutex<BTreeMap<u64, u32>>>);

impl CountedDrops {
    /// Sets the readings of an earlier process, before any socket is registered.
    pub(crate) fn set(&self, counted: BTreeMap<u64, u32>) {
        *self.0.lock() = counted;
    }

    /// Returns the latest readings.
    pub(crate) fn get(&self) -> BTreeMap<u64, u32> {
        self.0.lock().clone()
    }
}

/// Registers the receive buffer of each socket and a counter of the datagrams that the kernel dropped since the socket
/// was opened. Returns the smallest receive buffer in bytes.
///
/// # Errors
///
/// Fails if the kernel does not report the buffer of a socket.
pub(super) fn register(
    telemetry: &Telemetry,
    sockets: &[UdpSocket],
    counted: &CountedDrops,
) -> io::Result<u64> {
    let earlier = mem::take(&mut *counted.0.lock());
    let mut watched = Vec::with_capacity(sockets.len());
    let mut smallest_buffer = u64::MAX;
    for (index, socket) in sockets.iter().enumerate() {
        let buffer = net::receive_buffer(socket)? as u64;
        smallest_buffer = smallest_buffer.min(buffer);
        let tags = [("listener", "udp"), ("receiver", &index.to_string())];
        telemetry.gauge("receive_buffer_bytes", &tags).set(buffer as f64);
        let dropped = telemetry.fetched_counter("datagrams_dropped", &tags);
        let cookie = SockRef::from(socket).cookie().ok();
        let counted = cookie.and_then(|cookie| earlier.get(&cookie)).copied().unwrap_or(0);
        // After the machine has started again, another socket may have the cookie.
        let is_same = read_drops(socket).is_ok_and(|drops| drops >= counted);
        let latest = if is_same { counted } else { 0 };
        watched.push(WatchedSocket { socket: socket.try_clone()?, cookie, latest, dropped });
    }
    let blind = telemetry.gauge("drops_unreadable", &[]);
    blind.set(0.0);
    let (counted, repeated) = (counted.clone(), Thinned::default());
    telemetry.add_source(SocketDrops { sockets: watched, counted, blind, repeated });
    Ok(smallest_buffer)
}

impl SocketDrops {
    /// Counts the drops since the last call, and returns their number. `read` returns the kernel's counter of a socket.
    fn count(&mut self, read: impl Fn(&UdpSocket) -> nix::Result<u32>) -> u64 {
        let mut new_drops = 0;
        let mut failure = None;
        for WatchedSocket { socket, cookie, latest, dropped } in &mut self.sockets {
            match read(socket) {
                Ok(count) => {
                    let new = u64::from(count.wrapping_sub(mem::replace(latest, count)));
                    self.counted.0.lock().extend(cookie.map(|cookie| (cookie, count)));
                    dropped.add(new);
                    new_drops += new;
                }
                Err(error) => {
                    dropped.set_unknown();
                    failure = Some(error);
                }
            }
        }
        let was_blind = self.blind.get() == Some(1.0);
        self.blind.set(f64::from(u8::from(failure.is_some())));
        if let Some(error) = failure
            && !was_blind
        {
            tracing::error!(
                %error,
                "the kernel does not say how many datagrams it dropped, so losses cannot be seen; tallyd needs Linux 4.12 or later \
                 and a sandbox that permits getsockopt(SO_MEMINFO)"
            );
        }
        new_drops
    }
}

impl Source for SocketDrops {
    fn update(&mut self) {
        let new_drops = self.count(read_drops);
        if let Some(Repeated { times, amount: datagrams }) = self.repeated.round(new_drops) {
            tracing::error!(
                datagrams,
                intervals = times,
                "the kernel dropped datagrams because a receive buffer was full, or because tallyd is stopping; raise \
                 listeners.udp.receive_buffer and net.core.rmem_max, or listeners.udp.receivers"
            );
        }
    }
}

/// Returns the number of datagrams that the kernel has dropped since the socket was opened.
fn read_drops(socket: &UdpSocket) -> nix::Result<u32> {
    SocketMemory::of(socket).map(SocketMemory::drops)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::model::Value;

    fn drops_of_one_socket() -> (SocketDrops, FetchedCounter) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dropped = FetchedCounter::default();
        let watched = WatchedSocket { socket, cookie: None, latest: 0, dropped: dropped.clone() };
        let drops = SocketDrops {
            sockets: vec![watched],
            counted: CountedDrops::default(),
            blind: Gauge::default(),
            repeated: Thinned::default(),
        };
        (drops, dropped)
    }

    #[test]
    fn each_drop_is_counted_once_even_when_the_counter_wraps() {
        let (mut drops, dropped) = drops_of_one_socket();
        let mut count = |total: u32| drops.count(|_| Ok(total));
        assert_eq!([count(3), count(3), count(u32::MAX), count(1)], [3, 0, u64::from(u32::MAX) - 3, 2]);
        assert_eq!(dropped.pending(), Some(u64::from(u32::MAX) + 2));
    }

    #[test]
    fn a_counter_that_cannot_be_read_is_absent_and_shown_as_blind() {
        let (mut drops, dropped) = drops_of_one_socket();
        drops.count(|_| Ok(3));
        for _ in 0..2 {
            assert_eq!(drops.count(|_| Err(Errno::ENOPROTOOPT)), 0);
            assert_eq!((dropped.pending(), drops.blind.get()), (None, Some(1.0)));
        }
        assert_eq!(drops.count(|_| Ok(10)), 7, "the drops in the meantime are not lost");
        assert_eq!((dropped.pending(), drops.blind.get()), (Some(10), Some(0.0)));
    }

    #[test]
    fn drops_of_a_real_socket_with_a_full_buffer_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let telemetry = Telemetry::default();
        let counted = CountedDrops::default();
        register(&telemetry, std::slice::from_ref(&socket), &counted).unwrap();
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
        assert!(rows.contains(&("tallyd.drops_unreadable|g".to_owned(), Value::Gauge(0.0))), "{rows:?}");
        assert!(rows.iter().any(|(name, _)| *name == format!("tallyd.receive_buffer_bytes|g{tags}")));

        // Another process with the same socket counts only new drops, if it knows the readings of this one.
        let dropped_after = |counted: BTreeMap<u64, u32>| {
            let (telemetry, known) = (Telemetry::default(), CountedDrops::default());
            known.set(counted);
            register(&telemetry, std::slice::from_ref(&socket), &known).unwrap();
            let mut dropped = None;
            telemetry.read(|_, series, value| {
                if series.name() == "tallyd.datagrams_dropped" {
                    dropped = Some(value);
                }
            });
            dropped.unwrap()
        };
        let cookie = SockRef::from(&socket).cookie().unwrap();
        let all = 100.0 - received as f64;
        assert_eq!(counted.get()[&cookie], all as u32);
        assert_eq!(dropped_after(counted.get()), Value::Counter(0.0));
        assert_eq!(dropped_after([(cookie, 1)].into()), Value::Counter(all - 1.0));
        assert_eq!(dropped_after([(cookie, 1000)].into()), Value::Counter(all), "of another socket");
    }
}
