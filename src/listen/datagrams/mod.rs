//! The thread that reads a socket of datagrams.

mod drops;
mod udp;

pub use drops::{DropCounter, Drops};
pub use udp::{Udp, bind};

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use parking_lot::Mutex;
use socket2::{SockFilter, SockRef};

use crate::aggregate::Shard;

/// Datagrams taken from the kernel in one call.
const BATCH: usize = 32;

/// Classic BPF: `ret #0`, which accepts no byte of any datagram.
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// Where datagrams arrive.
#[derive(Debug)]
pub enum DatagramSocket {
    /// When its buffer is full, the kernel drops datagrams and counts them.
    Udp(UdpSocket),
    /// The kernel drops nothing: when the queue is full, a sender waits, or is told to try again (`EAGAIN`).
    Unix(UnixDatagram),
}

impl DatagramSocket {
    /// Lets nothing more in, and wakes who waits for datagrams. Those that the kernel holds can still be received.
    fn shut(&self) {
        if let Self::Udp(socket) = self
            && let Err(error) = shut_out(socket)
        {
            tracing::warn!(%error, "could not close the socket to new datagrams before draining it");
        }
        // Senders to a Unix socket are told (`EPIPE`). Of UDP, Linux wakes the thread, too.
        _ = SockRef::from(self).shutdown(Shutdown::Both);
    }
}

/// Connects the socket to itself, so that to all others its port is closed, and the kernel tells them so (`ECONNREFUSED`).
/// Datagrams that were on their way to the socket at that moment meet a filter, and are counted as dropped.
fn shut_out(socket: &UdpSocket) -> io::Result<()> {
    let mut address = socket.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv6() {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        });
    }
    let connected = socket.connect(address);
    SockRef::from(socket).attach_filter(&[DROP_ALL])?;
    connected
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A running receiver of datagrams.
#[derive(Debug)]
pub struct DatagramReceiver {
    socket: Arc<DatagramSocket>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl DatagramReceiver {
    /// Starts a thread of this name that records what arrives at `socket` in `shard`. Datagrams longer than
    /// `max_datagram` bytes are truncated.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(
        name: String,
        socket: DatagramSocket,
        shard: Arc<Mutex<Shard>>,
        max_datagram: usize,
    ) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let stopping = Arc::new(AtomicBool::new(false));
        let work = Work { socket: Arc::clone(&socket), shard, stopping: Arc::clone(&stopping), max_datagram };
        let thread = thread::Builder::new().name(name).spawn(move || work.run())?;
        Ok(Self { socket, stopping, thread })
    }

    /// Lets nothing more in, and tells the thread to end. What the kernel holds already will still be recorded. Who sends
    /// later is told that nobody listens.
    pub fn stop(&self) {
        // First, so that the thread knows of the empty datagrams that a socket returns once it is shut.
        self.stopping.store(true, Ordering::Release);
        self.socket.shut();
    }

    /// Waits until the thread has drained its socket and ended. The socket stays open with the returned value, so
    /// that its drop counter can still be read.
    #[must_use]
    pub fn join(self) -> Arc<DatagramSocket> {
        if self.thread.join().is_err() {
            tracing::error!("a receiver ended by a panic; its last datagrams may be lost");
        }
        self.socket
    }
}

struct Work {
    socket: Arc<DatagramSocket>,
    shard: Arc<Mutex<Shard>>,
    stopping: Arc<AtomicBool>,
    max_datagram: usize,
}

impl Work {
    fn run(self) {
        let mut buffers: [Box<[u8]>; BATCH] =
            std::array::from_fn(|_| vec![0; self.max_datagram].into_boxed_slice());
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        loop {
            // Sleeps until there is one datagram, then takes what else is there.
            let received = self.receive(&mut headers, &mut buffers, MsgFlags::MSG_WAITFORONE);
            if self.stopping.load(Ordering::Acquire) {
                break;
            }
            if let Err(error) = received {
                tracing::error!(%error, "receiving failed");
                // Nothing the kernel is known to report here lasts; do not turn if it does.
                thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        // The thread may have seen the flag before the socket was shut, and what arrived after the drain would be lost.
        self.socket.shut();
        while self.receive(&mut headers, &mut buffers, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }

    /// Takes up to a batch of datagrams and records them.
    fn receive(
        &self,
        headers: &mut MultiHeaders<()>,
        buffers: &mut [Box<[u8]>; BATCH],
        flags: MsgFlags,
    ) -> Result<(), Errno> {
        let mut lengths = [(0, false); BATCH];
        let mut count = 0;
        {
            let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            match recvmmsg(self.socket.as_fd().as_raw_fd(), headers, slices.iter_mut(), flags, None) {
                Ok(datagrams) => {
                    for (length, datagram) in lengths.iter_mut().zip(datagrams) {
                        *length = (datagram.bytes, datagram.flags.contains(MsgFlags::MSG_TRUNC));
                        count += 1;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        // A socket that was shut down also returns datagrams that nobody sent, all of them empty.
        let phantoms = self.stopping.load(Ordering::Acquire);
        let mut shard = self.shard.lock();
        for (buffer, &(length, truncated)) in buffers.iter().zip(&lengths[..count]) {
            if truncated {
                shard.record_truncated(&buffer[..length]);
            } else if length > 0 || !phantoms {
                shard.record(&buffer[..length]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::AggregationOptions;
    use crate::flush::{Aggregator, ReloadableSettings};
    use crate::model::Telemetry;

    fn shard() -> Arc<Mutex<Shard>> {
        let options = AggregationOptions::default();
        Aggregator::new(options, ReloadableSettings::default(), Telemetry::default()).add_shard()
    }

    #[test]
    fn a_stop_records_what_the_kernel_holds_and_tells_later_senders() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            let sender =
                UdpSocket::bind(if address.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
            sender.connect((sender.local_addr().unwrap().ip(), port)).unwrap();
            let mut drops = DropCounter::new(std::slice::from_ref(&socket)).unwrap();
            // More than one batch, and few enough for the smallest receive buffer that is usual.
            let held = 3 * BATCH as u64;
            (0..held).for_each(|_| _ = sender.send(b"a:1|c").unwrap());
            let shard = shard();
            let blocked = shard.lock();
            let socket = DatagramSocket::Udp(socket);
            let receiver =
                DatagramReceiver::start("test".into(), socket, Arc::clone(&shard), 65_536).unwrap();
            receiver.stop();
            // The answer to the first comes with the second.
            sender.send(b"late:1|c").unwrap();
            assert_eq!(sender.send(b"late:1|c").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            drop(blocked);
            let socket = receiver.join();
            assert_eq!(shard.lock().counts().datagrams, held, "{address}");
            assert_eq!(shard.lock().counts().lines, held);
            assert_eq!(drops.read()[0].datagrams, 0);
            drop(socket);
        }
    }

    #[test]
    fn an_idle_receiver_is_woken_by_a_stop_and_counts_no_datagram_that_nobody_sent() {
        let sockets = [
            DatagramSocket::Udp(UdpSocket::bind("127.0.0.1:0").unwrap()),
            DatagramSocket::Unix(UnixDatagram::unbound().unwrap()),
        ];
        for socket in sockets {
            let shard = shard();
            let receiver = DatagramReceiver::start("test".into(), socket, Arc::clone(&shard), 512).unwrap();
            receiver.stop();
            drop(receiver.join());
            assert_eq!(shard.lock().counts().datagrams, 0);
        }
    }

    #[test]
    fn a_stop_records_what_a_unix_socket_holds_and_tells_later_senders() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let socket = UnixDatagram::bind(&path).unwrap();
        let [sender, later] = [(), ()].map(|()| UnixDatagram::unbound().unwrap());
        sender.set_nonblocking(true).unwrap();
        // Until no more fits: then the sender is told to wait, and nothing is dropped.
        let send = || sender.send_to(b"a:1|c", &path);
        let held = std::iter::repeat_with(send).take_while(Result::is_ok).count() as u64;
        assert!(held > 0);
        let shard = shard();
        let blocked = shard.lock();
        let socket = DatagramSocket::Unix(socket);
        let receiver = DatagramReceiver::start("test".into(), socket, Arc::clone(&shard), 512).unwrap();
        receiver.stop();
        let late = later.send_to(b"late:1|c", &path);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(blocked);
        drop(receiver.join());
        assert_eq!(shard.lock().counts().datagrams, held);
        assert_eq!(shard.lock().counts().lines, held);
    }
}
