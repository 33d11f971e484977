//! Receives datagrams: one thread for each UDP or Unix datagram socket.
//!
//! The simple version waits in the kernel for the first datagram, receives and records all that have arrived, and
//! starts again. This version rests between two looks at its socket if many datagrams arrive (see `coalesce`).

use std::cell::Cell;
use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use memchr::memmem;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrLike, SockaddrStorage, UnixCredentials,
    recv, recvmmsg, setsockopt, sockopt,
};
use parking_lot::Mutex;
use socket2::{SockFilter, SockRef};

use super::coalesce::{Coalescing, Room};
use super::drain::{self, DrainAnswers, DrainRequests};
use super::socket_memory::SocketMemory;
use crate::aggregate::{Datagram, Shard};
use crate::model::{Container, Counter, Origin, Origins, Sender};
use crate::net::{
    self, BindError, BindKeys, Containers, PermittedNetworks, Refused, Threads, UdpSockets, is_lasting,
};
use crate::relay::{Outgoing, Relay};

/// The largest number of datagrams that one call receives.
const BATCH: usize = 32;

/// The pause of a receiver after an error that may pass, such as a lack of memory. Without it, a lasting error would
/// keep a core busy.
const PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two messages about errors that come and go.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The time after which a receiver gives up if every call fails.
const FAILURE_PATIENCE: Duration = Duration::from_secs(1);

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
    /// The networks from which clients may send.
    pub permitted: PermittedNetworks,
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

/// The number of datagrams that a Unix socket holds by default.
const UNIX_QUEUE: i32 = 10;

impl DatagramSocket {
    /// Returns the room for datagrams that nothing has read.
    fn room(&self) -> Room {
        match self {
            Self::Udp(socket) => {
                // Without the size, the room is so small that the receiver never rests.
                Room::Bytes(SocketMemory::of(socket).map_or(0.0, |memory| f64::from(memory.limit())))
            }
            Self::Unix(_) => {
                let limit = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen");
                let limit = limit.ok().and_then(|limit| limit.trim().parse().ok()).unwrap_or(UNIX_QUEUE);
                // The kernel reads a negative number as a very large one.
                Room::Datagrams(f64::from(limit as u32).max(1.0))
            }
        }
    }

    /// Returns true if a datagram waits in the socket.
    fn has_unread(&self) -> bool {
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)
            .is_ok_and(|ready| ready > 0)
    }

    /// Returns the bytes that wait in the socket, as the kernel counts them. The kernel does not report them for a Unix socket.
    fn waiting_bytes(&self) -> f64 {
        match self {
            Self::Udp(socket) => SocketMemory::of(socket).map_or(0.0, |memory| f64::from(memory.used())),
            Self::Unix(_) => 0.0,
        }
    }
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
#[derive(Debug, Clone)]
pub(super) struct DatagramOptions {
    /// The name of its thread.
    pub(super) name: String,
    /// The length in bytes beyond which a datagram is truncated.
    pub(super) max_datagram: usize,
    /// The longest rest of the receiver. Zero means that it never rests.
    pub(super) coalesce_delay: Duration,
    /// Whether the receiver finds out in which container a sender runs.
    pub(super) detects_origin: bool,
    /// Whether the service manager holds the socket, too. Then a stop leaves it open for the next process.
    pub(super) is_held: bool,
    /// Counts the datagrams that nothing read because the receiver failed.
    pub(super) unread: Counter,
    /// The networks from which clients may send, and the counter of datagrams from elsewhere. `None` permits all.
    pub(super) permitted: Option<(PermittedNetworks, Refused)>,
    /// Gets the datagrams, too.
    pub(super) relay: Relay,
}

/// A running receiver of datagrams.
#[derive(Debug)]
pub(super) struct DatagramReceiver {
    socket: Arc<DatagramSocket>,
    stopping: Arc<AtomicBool>,
    /// Wakes the thread if its socket may not be shut.
    wake: Option<Arc<EventFd>>,
    unread: Counter,
    thread: JoinHandle<Result<(), Errno>>,
}

impl DatagramReceiver {
    /// Starts a thread that records the datagrams of `socket` in `shard`.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread, or no file descriptor to wake it.
    pub(super) fn start(
        socket: DatagramSocket,
        shard: Arc<Mutex<Shard>>,
        options: DatagramOptions,
        threads: &Threads,
        drains: &DrainRequests,
    ) -> io::Result<Self> {
        let DatagramOptions {
            name,
            max_datagram,
            coalesce_delay,
            detects_origin,
            is_held,
            unread,
            permitted,
            relay,
        } = options;
        let socket = Arc::new(socket);
        let stopping = Arc::new(AtomicBool::new(false));
        let wake = is_held.then(EventFd::new).transpose()?.map(Arc::new);
        let receiver = ReceiverThread {
            socket: Arc::clone(&socket),
            shard,
            stopping: Arc::clone(&stopping),
            wake: wake.clone(),
            unread: unread.clone(),
            relay,
        };
        let (reporter, listener, drains) = (threads.clone(), name.clone(), drains.clone());
        let thread = threads.spawn_until(&stopping, &name, move || {
            let socket = Arc::downgrade(&receiver.socket);
            let has_unread = move || socket.upgrade().is_some_and(|socket| socket.has_unread());
            let batch = Batch::new(&receiver.socket, max_datagram, permitted, detects_origin);
            receiver.run(batch, &drains.register(has_unread), coalesce_delay).inspect_err(|error| {
                reporter.report(format!("the receiver {listener} cannot read its socket: {error}"));
            })
        })?;
        Ok(Self { socket, stopping, wake, unread, thread })
    }

    /// Refuses new datagrams and makes the thread end. Before it ends, the thread records the datagrams that the kernel
    /// holds. Later senders get an error, unless the service manager holds the socket.
    pub(super) fn stop(&self) {
        // The flag comes first, so the thread ignores the empty datagrams that a shut socket returns.
        self.stopping.store(true, Ordering::Release);
        match &self.wake {
            None => self.socket.shut(),
            Some(wake) => {
                // Writing fails only if the thread has been woken 2^64 times.
                _ = wake.write(1);
            }
        }
        self.thread.thread().unpark();
    }

    /// Returns true if the thread was told to stop and has ended.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopping.load(Ordering::Acquire) && self.thread.is_finished()
    }

    /// Waits until the thread has drained its socket and ended. If it has failed, counts the datagrams that it left
    /// behind.
    pub(super) fn join(self) {
        let Self { socket, wake, unread, thread, .. } = self;
        if !matches!(thread.join(), Ok(Ok(()))) {
            if wake.is_none() {
                unread.add(count_waiting(&socket));
            }
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
    wake: Option<Arc<EventFd>>,
    unread: Counter,
    relay: Relay,
}

/// Counts the datagrams of a batch if recording one of them panics. Those before it may be recorded, too.
struct UnreadIfPanicking<'a> {
    datagrams: usize,
    unread: &'a Counter,
}

impl Drop for UnreadIfPanicking<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.unread.add(self.datagrams as u64);
        }
    }
}

impl ReceiverThread {
    /// Receives until the stop.
    ///
    /// # Errors
    ///
    /// Fails if the socket cannot be read: at once if the error will last, otherwise after a second of failures.
    fn run(self, mut batch: Batch, drains: &DrainAnswers, coalesce_delay: Duration) -> Result<(), Errno> {
        let mut coalescing = Coalescing::new(coalesce_delay, self.socket.room(), Instant::now());
        let (mut failing_since, mut logged_at) = (None, None::<Instant>);
        let mut sleeps = true;
        loop {
            let drain_request = drains.begin_look();
            let received = if sleeps { self.wait_and_receive(&mut batch) } else { self.receive(&mut batch) };
            if self.stopping.load(Ordering::Acquire) {
                break;
            }
            let error = match received {
                Ok(()) | Err(Errno::EAGAIN) => {
                    failing_since = None;
                    sleeps = false;
                    coalescing.add(batch.count, batch.largest());
                    if batch.count == BATCH {
                        if coalescing.empty_at().elapsed() > drain::PATIENCE {
                            // Nothing is left of what had arrived during a rest, so the flush need not wait.
                            drains.end_rest();
                        }
                        continue;
                    }
                    // There was no further datagram.
                    drains.answer(drain_request);
                    if let Some(rest) = coalescing.next_rest(Instant::now()) {
                        drains.rest(rest, drain_request);
                        coalescing.end_rest(self.socket.waiting_bytes(), Instant::now());
                    } else {
                        drains.end_rest();
                        sleeps = true;
                    }
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(error) => error,
            };
            let since = *failing_since.get_or_insert_with(|| {
                if logged_at.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                    logged_at = Some(Instant::now());
                    tracing::error!(%error, "receiving failed; tallyd tries again for a second");
                }
                Instant::now()
            });
            if is_lasting(error) || since.elapsed() > FAILURE_PATIENCE {
                return Err(error);
            }
            thread::sleep(PAUSE);
        }
        self.drain(&mut batch);
        Ok(())
    }

    /// Records what the kernel holds, before the thread ends.
    fn drain(&self, batch: &mut Batch) {
        let begin = Instant::now();
        if self.wake.is_none() {
            // The thread may have seen the flag before `stop` shut the socket. A datagram that arrived after the drain
            // would be lost.
            self.socket.shut();
        }
        // What keeps arriving at a socket of the service manager is for the next process.
        let is_over = || self.wake.is_some() && begin.elapsed() > drain::PATIENCE;
        while !is_over() && matches!(self.receive(batch), Ok(()) | Err(Errno::EINTR)) {}
    }

    /// Sleeps in the kernel until a datagram arrives or the thread is woken for a stop. Then receives and records like
    /// [`receive`](Self::receive).
    fn wait_and_receive(&self, batch: &mut Batch) -> Result<(), Errno> {
        let Some(wake) = &self.wake else { return self.receive_with(batch, MsgFlags::MSG_WAITFORONE) };
        let mut files = [self.socket.as_fd(), wake.as_fd()].map(|file| PollFd::new(file, PollFlags::POLLIN));
        poll(&mut files, PollTimeout::NONE)?;
        self.receive(batch)
    }

    /// Receives up to a batch of the datagrams that have arrived, and records them. If this fails, the batch is empty.
    fn receive(&self, batch: &mut Batch) -> Result<(), Errno> {
        self.receive_with(batch, MsgFlags::MSG_DONTWAIT)
    }

    fn receive_with(&self, batch: &mut Batch, flags: MsgFlags) -> Result<(), Errno> {
        batch.receive(&self.socket, flags)?;
        // A socket that was shut also returns empty datagrams that nothing sent.
        let has_phantoms = self.stopping.load(Ordering::Acquire) && self.wake.is_none();
        let _guard = UnreadIfPanicking { datagrams: batch.count, unread: &self.unread };
        let mut shard = self.shard.lock();
        let is_sent = |datagram: &Datagram<'_>| datagram.length > 0 || !has_phantoms;
        if batch.known_containers.is_some() {
            let datagrams = batch.datagrams().zip(&batch.containers);
            for (datagram, container) in datagrams.filter(|(datagram, _)| is_sent(datagram)) {
                shard.record_from(container.as_deref(), datagram, batch);
            }
        } else {
            shard.record_all(batch.datagrams().filter(is_sent), batch);
        }
        drop(shard);
        if let Some(outgoing) = self.relay.begin(|| batch.total_length()) {
            self.relay_batch(outgoing, batch);
        }
        Ok(())
    }

    /// Hands the datagrams that are complete to the relay.
    #[cold]
    #[inline(never)]
    fn relay_batch(&self, mut outgoing: Outgoing, batch: &Batch) {
        let complete = || batch.datagrams().filter(|datagram| datagram.bytes.len() == datagram.length);
        complete().for_each(|datagram| outgoing.add_datagram(datagram.bytes));
        self.relay.send(outgoing, |text| {
            let found = complete().find_map(|Datagram { bytes, .. }| {
                memmem::find(bytes, text).map(|begin| &bytes[begin..begin + text.len()])
            });
            found.map_or(Sender::Unknown, |text| batch.of(text).sender)
        });
    }
}

/// The datagrams that one call has received.
struct Batch {
    /// The name of the listener.
    listener: &'static str,
    buffers: [Box<[u8]>; BATCH],
    /// The headers without room for senders.
    plain: MultiHeaders<()>,
    headers: Headers,
    asking: Asking,
    /// Whether the kernel was asked for the senders of these datagrams.
    has_senders: bool,
    /// The full length of each datagram, and whether it was truncated.
    lengths: [(usize, bool); BATCH],
    /// The sender of each datagram.
    senders: [Sender; BATCH],
    /// Whether each sender is permitted.
    is_permitted: [bool; BATCH],
    /// The containers of processes, if tallyd finds them out.
    known_containers: Option<Containers>,
    /// The container of each sender.
    containers: [Option<Arc<Container>>; BATCH],
    /// The networks from which clients may send, and the counter of datagrams from elsewhere. `None` permits all.
    permitted: Option<(PermittedNetworks, Refused)>,
    count: usize,
}

/// The headers of a batch into which the kernel writes the senders.
enum Headers {
    /// Their addresses.
    Udp(MultiHeaders<SockaddrStorage>),
    /// Their processes.
    Unix(MultiHeaders<()>),
}

impl Batch {
    fn new(
        socket: &DatagramSocket,
        max_datagram: usize,
        permitted: Option<(PermittedNetworks, Refused)>,
        detects_origin: bool,
    ) -> Self {
        let (listener, headers) = match socket {
            DatagramSocket::Udp(_) => ("udp", Headers::Udp(MultiHeaders::preallocate(BATCH, None))),
            DatagramSocket::Unix(socket) => {
                // The service manager may hold the socket without this option.
                if let Err(error) = setsockopt(socket, sockopt::PassCred, &true) {
                    tracing::warn!(%error, "the kernel does not tell who sends to the Unix socket");
                }
                // There is room for nothing else, so no sender can pass files to tallyd.
                let credentials = cmsg_space!(UnixCredentials);
                ("unix_datagram", Headers::Unix(MultiHeaders::preallocate(BATCH, Some(credentials))))
            }
        };
        Self {
            listener,
            buffers: std::array::from_fn(|_| vec![0; max_datagram].into_boxed_slice()),
            plain: MultiHeaders::preallocate(BATCH, None),
            headers,
            asking: Asking::default(),
            has_senders: false,
            lengths: [(0, false); BATCH],
            senders: [Sender::Unknown; BATCH],
            is_permitted: [true; BATCH],
            known_containers: (detects_origin && matches!(socket, DatagramSocket::Unix(_)))
                .then(Containers::default),
            containers: [const { None }; BATCH],
            permitted,
            count: 0,
        }
    }

    fn receive(&mut self, socket: &DatagramSocket, flags: MsgFlags) -> Result<(), Errno> {
        let Self { buffers, plain, headers, lengths, senders, count, .. } = self;
        let must_ask = self.permitted.is_some() || self.known_containers.is_some();
        self.has_senders = must_ask || self.asking.asks(*count == BATCH);
        *count = 0;
        *count = match headers {
            _ if !self.has_senders => receive(socket, flags, plain, buffers, lengths, |_, _| ()),
            Headers::Udp(headers) => receive(socket, flags, headers, buffers, lengths, |index, datagram| {
                senders[index] = datagram.address.as_ref().and_then(host).unwrap_or_default();
            }),
            Headers::Unix(headers) => receive(socket, flags, headers, buffers, lengths, |index, datagram| {
                senders[index] = process(&datagram).unwrap_or_default();
            }),
        }?;
        self.refuse_others();
        if let Some(known) = &mut self.known_containers {
            let senders = self.senders[..self.count].iter();
            senders.zip(&mut self.containers).for_each(|(sender, container)| *container = known.of(*sender));
        }
        Ok(())
    }

    /// Marks and counts the datagrams whose senders are not permitted.
    fn refuse_others(&mut self) {
        let Some((networks, refused)) = &self.permitted else { return };
        let mut latest = None;
        let received = self.lengths[..self.count].iter().zip(&self.senders).zip(&mut self.is_permitted);
        let mut others = 0;
        for ((&(length, _), sender), is_permitted) in received {
            let address = if let Sender::Address(address) = sender { Some(address.ip()) } else { None };
            // An empty datagram has nothing to refuse. A socket that was shut returns some without a sender.
            *is_permitted = length == 0 || address.is_some_and(|address| networks.contain(address));
            if !*is_permitted {
                others += 1;
                latest = address;
            }
        }
        if let Some(latest) = latest {
            refused.add(others, latest);
        }
    }

    /// Returns the datagrams of permitted senders.
    fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let received = self.buffers.iter().zip(&self.lengths[..self.count]).zip(&self.is_permitted);
        received.filter(|(_, is_permitted)| **is_permitted).map(|((buffer, &(length, is_truncated)), _)| {
            let bytes = if is_truncated { buffer } else { &buffer[..length] };
            Datagram { bytes, length }
        })
    }

    /// Returns the length of all datagrams, in bytes.
    fn total_length(&self) -> usize {
        self.lengths[..self.count].iter().map(|&(length, _)| length).sum()
    }

    /// Returns the length of the largest datagram, in bytes.
    fn largest(&self) -> usize {
        self.lengths[..self.count].iter().map(|&(length, _)| length).max().unwrap_or(0)
    }
}

/// The lines of a batch are parts of its buffers, so their addresses tell which datagram they are in.
impl Origins for Batch {
    fn of(&self, line: &[u8]) -> Origin {
        if !self.has_senders {
            self.asking.want();
            return Origin { listener: self.listener, sender: Sender::Unknown };
        }
        let mut senders = self.buffers.iter().zip(&self.senders);
        let sender = senders.find(|(buffer, _)| buffer.as_ptr_range().contains(&line.as_ptr()));
        Origin { listener: self.listener, sender: sender.map(|(_, sender)| *sender).unwrap_or_default() }
    }

    fn are_known(&self) -> bool {
        self.has_senders
    }
}

/// Decides when to ask the kernel for the senders of a batch. This takes it a tenth of the time that it takes to receive one.
///
/// While little arrives, the receiver always asks. Otherwise, it asks for one batch in 16, which is enough to estimate who
/// sends most. After a line that was not recorded, and whose sender is not known, it asks for a while: most likely, the sender
/// goes on.
#[derive(Debug, Default)]
struct Asking {
    random: Rng,
    /// The number of batches for which to ask.
    wanted: Cell<u32>,
}

impl Asking {
    /// The number of batches of which one is asked for, in the mean.
    const ONE_IN: u32 = 16;

    /// The number of batches for which to ask after a line that was not recorded. They take half a minute at 20,000 datagrams
    /// per second.
    const AFTER_REJECTED: u32 = 1 << 14;

    /// Returns true if the kernel should be asked for the senders of the next batch. `was_full` says that more waits in the
    /// socket than the batch before had room for.
    fn asks(&mut self, was_full: bool) -> bool {
        let wanted = self.wanted.get_mut();
        let is_wanted = *wanted > 0;
        *wanted = wanted.saturating_sub(1);
        !was_full || is_wanted || self.random.u32(..Self::ONE_IN) == 0
    }

    /// Notes that a sender was not known, and should be.
    fn want(&self) {
        self.wanted.set(Self::AFTER_REJECTED);
    }
}

/// Receives datagrams into `buffers`. Calls `add_sender` with the index of each, and what the kernel says about it.
/// Returns their number.
fn receive<S: SockaddrLike + Copy>(
    socket: &DatagramSocket,
    flags: MsgFlags,
    headers: &mut MultiHeaders<S>,
    buffers: &mut [Box<[u8]>; BATCH],
    lengths: &mut [(usize, bool); BATCH],
    mut add_sender: impl FnMut(usize, RecvMsg<'_, '_, S>),
) -> Result<usize, Errno> {
    let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let socket = socket.as_fd().as_raw_fd();
    // As an argument, MSG_TRUNC asks for the full length of a truncated datagram.
    let flags = flags | MsgFlags::MSG_TRUNC;
    let mut count = 0;
    for datagram in recvmmsg(socket, headers, slices.iter_mut(), flags, None)? {
        lengths[count] = (datagram.bytes, datagram.flags.contains(MsgFlags::MSG_TRUNC));
        add_sender(count, datagram);
        count += 1;
    }
    Ok(count)
}

/// Returns the sender with this address.
fn host(address: &SockaddrStorage) -> Option<Sender> {
    let ipv4 = || address.as_sockaddr_in().map(|&address| SocketAddr::V4(address.into()));
    let ipv6 = || address.as_sockaddr_in6().map(|&address| SocketAddr::V6(address.into()));
    ipv4().or_else(ipv6).map(Sender::Address)
}

/// Returns the process that sent a datagram over a Unix socket.
fn process(datagram: &RecvMsg<'_, '_, ()>) -> Option<Sender> {
    datagram.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(process) => {
            Some(Sender::Process { pid: process.pid(), uid: process.uid() })
        }
        _ => None,
    })
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
        start_draining(socket, shard, max_datagram, &DrainRequests::default())
    }

    fn start_draining(
        socket: DatagramSocket,
        shard: &Arc<Mutex<Shard>>,
        max_datagram: usize,
        drains: &DrainRequests,
    ) -> DatagramReceiver {
        let options = DatagramOptions {
            name: "test".into(),
            max_datagram,
            coalesce_delay: Duration::from_millis(20),
            detects_origin: false,
            is_held: false,
            unread: Counter::default(),
            permitted: None,
            relay: Relay::default(),
        };
        DatagramReceiver::start(socket, Arc::clone(shard), options, &Threads::new().0, drains).unwrap()
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
            let drops = socket_drops::CountedDrops::default();
            socket_drops::register(&telemetry, std::slice::from_ref(&socket), &drops).unwrap();
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
    fn a_drain_records_what_had_arrived_at_a_receiver_that_rests() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        let (shard, drains) = (shard(), DrainRequests::default());
        let receiver = start_draining(DatagramSocket::Udp(socket), &shard, 512, &drains);
        let (mut sent, mut drained) = (0, 0);
        let mut send = |count: u64| {
            (0..count).for_each(|_| _ = sender.send(b"a:1|c").unwrap());
            sent += count;
            sent
        };
        let is_recorded = |sent| shard.lock().counts().datagrams == sent;
        while drained < 100 {
            // More than a few datagrams would not fit in the receive buffer if the receiver has to wait for a core.
            let mut sent = send(1);
            while !drains.has_resting() {
                if is_recorded(sent) {
                    sent = send(1);
                }
                thread::yield_now();
            }
            // A receiver that still rests now cannot record these before it rests no longer.
            let blocked = shard.lock();
            let sent = send(10);
            let rests = drains.has_resting();
            drop(blocked);
            let begin = Instant::now();
            drains.drain(None);
            // On a busy machine, the receiver may need longer than the drain waits. It may also have seen its socket empty before
            // these datagrams came, and then it rests no longer until it has recorded them.
            if rests && begin.elapsed() < drain::PATIENCE && drains.has_resting() {
                assert!(is_recorded(sent));
                drained += 1;
            }
            while !is_recorded(sent) {
                thread::yield_now();
            }
        }
        receiver.stop();
        receiver.join();
        assert_eq!(shard.lock().counts().datagrams, sent);
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
    fn the_kernel_is_asked_for_all_senders_of_few_datagrams_and_for_some_of_many() {
        let mut asking = Asking { random: Rng::with_seed(7), ..Asking::default() };
        assert!((0..1000).all(|_| asking.asks(false)));
        let asked = |asking: &mut Asking| (0..16_000).filter(|_| asking.asks(true)).count();
        // The standard deviation is 31.
        assert!((850..1150).contains(&asked(&mut asking)));
        asking.want();
        assert!((0..Asking::AFTER_REJECTED).all(|_| asking.asks(true)));
        assert!((850..1150).contains(&asked(&mut asking)));
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
