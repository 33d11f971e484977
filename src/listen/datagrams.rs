//! Receives datagrams: one thread for each UDP or Unix datagram socket.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recv, recvmmsg};
use parking_lot::Mutex;
use socket2::{SockFilter, SockRef};

use crate::aggregate::Shard;
use crate::model::{Counter, DrainAnswers, DrainRequests};
use crate::net::{self, BindError, BindKeys, Threads, UdpSockets, is_lasting};

/// The largest number of datagrams that one call receives.
const BATCH: usize = 32;

/// The pause of a receiver after an error that may pass, such as a lack of memory. Without it, a lasting error would
/// keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);

/// The time after which a receiver gives up if every call fails.
const PATIENCE: Duration = Duration::from_secs(1);

/// The classic BPF program `ret #0`, which drops every datagram.
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

const UDP_KEYS: BindKeys = BindKeys {
    socket: "udp",
    address: "listeners.udp.bind",
    port: "listeners.udp.bind",
    share_port: Some("listeners.udp.share_port"),
};

/// The options of the UDP listener.
#[derive(Debug, Clone)]
pub struct UdpOptions {
    /// The addresses, at least one. If a port is 0, the kernel chooses a free one.
    pub addresses: Vec<SocketAddr>,
    /// The number of receivers of each address, at least 1. Each has a socket of its own.
    pub receivers: usize,
    /// The size of the receive buffer to request for each socket, in bytes.
    pub receive_buffer: usize,
    /// The length in bytes beyond which a datagram is truncated.
    pub max_datagram: usize,
    /// Whether other processes of the same user may listen on the addresses.
    pub share_port: bool,
}

/// Opens one socket per receiver, in the order of the addresses.
///
/// # Errors
///
/// Fails if an address cannot be used, for example because another process uses it.
pub fn bind_udp(options: &UdpOptions) -> Result<Vec<UdpSocket>, BindError> {
    let UdpOptions { ref addresses, receivers, receive_buffer, share_port, .. } = *options;
    let mut opened = Vec::with_capacity(addresses.len() * receivers);
    for &address in addresses {
        // A socket on `::` also receives IPv4, unless another of the sockets does.
        let only_v6 = addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
        let sockets = UdpSockets { address, count: receivers, receive_buffer, share_port, only_v6 };
        opened.extend(net::bind_udp(&sockets, &UDP_KEYS)?);
    }
    Ok(opened)
}

/// A socket that receives datagrams.
#[derive(Debug)]
pub(super) enum DatagramSocket {
    /// A UDP socket. When its buffer is full, the kernel drops datagrams and counts them.
    Udp(UdpSocket),
    /// A Unix socket. The kernel drops nothing: when the queue is full, a sender waits, or its call fails with
    /// `EAGAIN`.
    Unix(UnixDatagram),
}

impl DatagramSocket {
    /// Makes the kernel refuse new datagrams, and wakes the thread that waits for some. The datagrams that the kernel
    /// holds can still be received.
    fn shut(&self) {
        if let Self::Udp(socket) = self
            && let Err(error) = refuse_datagrams(socket)
        {
            tracing::warn!(%error, "could not close the socket to new datagrams before draining it");
        }
        // This wakes the thread. On Linux, it also wakes one that waits for a UDP socket. Senders to a Unix socket get
        // `EPIPE`.
        _ = SockRef::from(self).shutdown(Shutdown::Both);
    }
}

/// Connects the socket to itself. This closes its port to all other senders, which get `ECONNREFUSED`. A filter drops
/// the datagrams that were on their way to the socket at that moment. The kernel counts them as dropped.
fn refuse_datagrams(socket: &UdpSocket) -> io::Result<()> {
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

/// The options of a receiver.
#[derive(Debug)]
pub(super) struct DatagramOptions {
    /// The name of its thread.
    pub(super) name: String,
    /// The length in bytes beyond which a datagram is truncated.
    pub(super) max_datagram: usize,
    /// Counts the datagrams that nothing read because the receiver failed.
    pub(super) unread: Counter,
}

/// A running receiver of datagrams.
#[derive(Debug)]
pub(super) struct DatagramReceiver {
    socket: Arc<DatagramSocket>,
    stopping: Arc<AtomicBool>,
    unread: Counter,
    thread: JoinHandle<Result<(), Errno>>,
}

impl DatagramReceiver {
    /// Starts a thread that records the datagrams of `socket` in `shard`.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread.
    pub(super) fn start(
        socket: DatagramSocket,
        shard: Arc<Mutex<Shard>>,
        options: DatagramOptions,
        threads: &Threads,
        drains: &DrainRequests,
    ) -> io::Result<Self> {
        let DatagramOptions { name, max_datagram, unread } = options;
        let socket = Arc::new(socket);
        let stopping = Arc::new(AtomicBool::new(false));
        let receiver = ReceiverThread {
            socket: Arc::clone(&socket),
            shard,
            stopping: Arc::clone(&stopping),
            drains: drains.register(),
            max_datagram,
            unread: unread.clone(),
        };
        let (reporter, listener) = (threads.clone(), name.clone());
        let thread = threads.spawn_until(&stopping, &name, move || {
            receiver.run().inspect_err(|error| {
                reporter.report(format!("the receiver {listener} cannot read its socket: {error}"));
            })
        })?;
        Ok(Self { socket, stopping, unread, thread })
    }

    /// Refuses new datagrams and makes the thread end. Before it ends, the thread records the datagrams that the kernel
    /// holds. Later senders get an error.
    pub(super) fn stop(&self) {
        // The flag comes first, so the thread ignores the empty datagrams that a shut socket returns.
        self.stopping.store(true, Ordering::Release);
        self.socket.shut();
    }

    /// Returns true if the thread was told to stop and has ended.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopping.load(Ordering::Acquire) && self.thread.is_finished()
    }

    /// Waits until the thread has drained its socket and ended. If it has failed, counts the datagrams that it left
    /// behind.
    pub(super) fn join(self) {
        let Self { socket, unread, thread, .. } = self;
        if !matches!(thread.join(), Ok(Ok(()))) {
            unread.add(count_waiting(&socket));
            tracing::error!(
                datagrams = unread.pending(),
                "a receiver failed; the datagrams that it held or that waited for it are lost"
            );
        }
    }
}

/// Takes the datagrams that wait in a socket, and returns their number. The socket is shut, so none are added.
fn count_waiting(socket: &DatagramSocket) -> u64 {
    let receive = || recv(socket.as_fd().as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC);
    // A socket that was shut returns empty datagrams for ever.
    std::iter::repeat_with(receive).take_while(|length| length.is_ok_and(|length| length > 0)).count() as u64
}

struct ReceiverThread {
    socket: Arc<DatagramSocket>,
    shard: Arc<Mutex<Shard>>,
    stopping: Arc<AtomicBool>,
    drains: DrainAnswers,
    max_datagram: usize,
    unread: Counter,
}

/// Counts the datagrams of a batch that were not recorded because the receiver panicked.
struct Unrecorded<'a> {
    left: usize,
    unread: &'a Counter,
}

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.unread.add(self.left as u64);
        }
    }
}

impl ReceiverThread {
    /// Receives until the stop.
    ///
    /// # Errors
    ///
    /// Fails if the socket cannot be read: at once if the error will last, otherwise after a second of failures.
    fn run(self) -> Result<(), Errno> {
        let mut buffers: [Box<[u8]>; BATCH] =
            std::array::from_fn(|_| vec![0; self.max_datagram].into_boxed_slice());
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let mut failing_since = None;
        loop {
            let drain_request = self.drains.latest_request();
            // This sleeps until a datagram arrives, and then receives all that have arrived, up to a batch.
            let received = self.receive(&mut headers, &mut buffers, MsgFlags::MSG_WAITFORONE);
            if self.stopping.load(Ordering::Acquire) {
                break;
            }
            let error = match received {
                Ok(count) => {
                    if count < BATCH {
                        // There was no further datagram.
                        self.drains.answer(drain_request);
                    }
                    failing_since = None;
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(error) => error,
            };
            let since = *failing_since.get_or_insert_with(|| {
                tracing::error!(%error, "receiving failed; tallyd tries again for a second");
                Instant::now()
            });
            if is_lasting(error) || since.elapsed() > PATIENCE {
                return Err(error);
            }
            thread::sleep(PAUSE);
        }
        // The thread may have seen the flag before `stop` shut the socket. A datagram that arrived after the drain
        // would be lost.
        self.socket.shut();
        while let Ok(_) | Err(Errno::EINTR) = self.receive(&mut headers, &mut buffers, MsgFlags::MSG_DONTWAIT)
        {
        }
        Ok(())
    }

    /// Receives up to a batch of datagrams and records them. Returns their number.
    fn receive(
        &self,
        headers: &mut MultiHeaders<()>,
        buffers: &mut [Box<[u8]>; BATCH],
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        // The length of each datagram, and whether it was truncated. As an argument, MSG_TRUNC asks for the full length
        // of a truncated datagram.
        let mut lengths = [(0, false); BATCH];
        let mut count = 0;
        {
            let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            let socket = self.socket.as_fd().as_raw_fd();
            let datagrams = recvmmsg(socket, headers, slices.iter_mut(), flags | MsgFlags::MSG_TRUNC, None)?;
            for (length, datagram) in lengths.iter_mut().zip(datagrams) {
                *length = (datagram.bytes, datagram.flags.contains(MsgFlags::MSG_TRUNC));
                count += 1;
            }
        }
        // A socket that was shut also returns empty datagrams that nothing sent.
        let has_phantoms = self.stopping.load(Ordering::Acquire);
        let mut unrecorded = Unrecorded { left: count, unread: &self.unread };
        let mut shard = self.shard.lock();
        for (buffer, &(length, truncated)) in buffers.iter().zip(&lengths[..count]) {
            if truncated {
                shard.record_truncated(buffer, length);
            } else if length > 0 || !has_phantoms {
                shard.record(&buffer[..length]);
            }
            unrecorded.left -= 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket_drops;
    use super::*;
    use crate::aggregate::{AggregationOptions, SharedState};
    use crate::model::{Telemetry, Value};
    use crate::resolve::Limits;

    fn shard() -> Arc<Mutex<Shard>> {
        let shared = SharedState::new(AggregationOptions::default(), Limits::default());
        Arc::new(Mutex::new(Shard::new(Arc::new(shared), Arc::default())))
    }

    fn start(socket: DatagramSocket, shard: &Arc<Mutex<Shard>>, max_datagram: usize) -> DatagramReceiver {
        let options = DatagramOptions { name: "test".into(), max_datagram, unread: Counter::default() };
        DatagramReceiver::start(
            socket,
            Arc::clone(shard),
            options,
            &Threads::new().0,
            &DrainRequests::default(),
        )
        .unwrap()
    }

    #[test]
    fn a_stop_records_what_the_kernel_holds_and_refuses_later_senders() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            let sender =
                UdpSocket::bind(if address.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
            sender.connect((sender.local_addr().unwrap().ip(), port)).unwrap();
            let telemetry = Telemetry::default();
            socket_drops::register(&telemetry, std::slice::from_ref(&socket)).unwrap();
            // This is more than one batch, and few enough for the smallest usual receive buffer.
            let held = 3 * BATCH as u64;
            (0..held).for_each(|_| _ = sender.send(b"a:1|c").unwrap());
            let shard = shard();
            let blocked = shard.lock();
            let socket = DatagramSocket::Udp(socket);
            let receiver = start(socket, &shard, 65_536);
            receiver.stop();
            // The kernel reports the error of the first send with the second.
            sender.send(b"late:1|c").unwrap();
            assert_eq!(sender.send(b"late:1|c").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            drop(blocked);
            receiver.join();
            assert_eq!(shard.lock().counts().datagrams, held, "{address}");
            assert_eq!(shard.lock().counts().lines, held);
            telemetry.read(|_, series, value| {
                assert!(series.name() != "tallyd.datagrams_dropped" || value == Value::Counter(0.0));
            });
        }
    }

    #[test]
    fn a_stop_wakes_an_idle_receiver_which_counts_no_datagram() {
        let sockets = [
            DatagramSocket::Udp(UdpSocket::bind("127.0.0.1:0").unwrap()),
            DatagramSocket::Unix(UnixDatagram::unbound().unwrap()),
        ];
        for socket in sockets {
            let shard = shard();
            let receiver = start(socket, &shard, 512);
            receiver.stop();
            receiver.join();
            assert_eq!(shard.lock().counts().datagrams, 0);
        }
    }

    #[test]
    fn a_stop_records_what_a_unix_socket_holds_and_refuses_later_senders() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let socket = UnixDatagram::bind(&path).unwrap();
        let [sender, later] = [(), ()].map(|()| UnixDatagram::unbound().unwrap());
        sender.set_nonblocking(true).unwrap();
        // This sends until the queue is full. Then the kernel refuses more, and drops nothing.
        let send = || sender.send_to(b"a:1|c", &path);
        let held = std::iter::repeat_with(send).take_while(Result::is_ok).count() as u64;
        assert!(held > 0);
        let shard = shard();
        let blocked = shard.lock();
        let socket = DatagramSocket::Unix(socket);
        let receiver = start(socket, &shard, 512);
        receiver.stop();
        let late = later.send_to(b"late:1|c", &path);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(blocked);
        receiver.join();
        assert_eq!(shard.lock().counts().datagrams, held);
        assert_eq!(shard.lock().counts().lines, held);
    }
}
