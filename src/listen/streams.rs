//! Receives streams: one thread for all connections of a TCP or Unix listener.

use std::cell::RefCell;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::unix::UCred;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::framing::{Deframer, End, Frame, Framing};
use super::stream_rests::StreamRests;
use crate::aggregate::Shard;
use crate::model::{Container, Origin, Sender};
use crate::net::{Activity, PermittedNetworks, ServeConnection, Stop, container_of};
use crate::protocol::RejectReason;
use crate::relay::{Outgoing, Relay};

/// The largest number of bytes in one read.
const READ: usize = 64 << 10;

/// By default, a client's kernel holds at most this many bytes while the receive buffer here is full
/// (`net.ipv4.tcp_wmem`). They may still be in flight at a stop.
const IN_FLIGHT: usize = 4 << 20;

/// The options of a stream listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamOptions {
    /// How the connections carry lines.
    pub framing: Framing,
    /// The length in bytes of the longest line, or of the longest payload.
    pub max_line: usize,
    /// The number of connections that may be open at a time.
    pub max_connections: usize,
    /// The networks from which clients may connect.
    pub permitted: PermittedNetworks,
    /// Whether tallyd finds out in which container a client runs.
    pub detects_origin: bool,
    /// The longest time for which a connection may send nothing.
    pub idle_timeout: Duration,
}

/// The reason for closing a connection. Telemetry shows the names, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CloseReason {
    /// The client closed the connection.
    End,
    /// The connection broke: the client reset it, or vanished.
    Broken,
    /// The client sent nothing for the idle timeout.
    Idle,
    /// A payload was longer than the limit.
    FrameTooLong,
    /// tallyd stopped.
    Stop,
    /// The connection gave way to a new one, because the limit was reached.
    Evicted,
}

/// A connection that can be read without blocking.
pub(super) trait ByteStream: AsFd + 'static {
    /// Waits until there may be something to read.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Reads the data that has arrived, as far as the runtime knows.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Returns the client.
    fn sender(&self) -> Sender;
}

impl ByteStream for TcpStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.readable()
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }

    fn sender(&self) -> Sender {
        self.peer_addr().map_or(Sender::Unknown, Sender::Address)
    }
}

impl ByteStream for UnixStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.readable()
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }

    fn sender(&self) -> Sender {
        let process = |credentials: UCred| Some((credentials.pid()?, credentials.uid()));
        let process = self.peer_cred().ok().and_then(process);
        process.map_or(Sender::Unknown, |(pid, uid)| Sender::Process { pid, uid })
    }
}

/// The sender of all lines of a connection.
#[derive(Debug)]
struct Client {
    origin: Origin,
    /// The container in which it runs, if tallyd has found that out.
    container: Option<Container>,
}

impl Client {
    fn new(listener: &'static str, sender: Sender, detects_origin: bool) -> Self {
        let container = match sender {
            Sender::Process { pid, .. } if detects_origin => container_of(pid),
            _ => None,
        };
        Self { origin: Origin { listener, sender }, container }
    }
}

/// Records the lines of all connections of a listener.
#[derive(Debug)]
pub(super) struct ConnectionReader {
    /// The name of the listener.
    listener: &'static str,
    framing: Framing,
    max_line: usize,
    idle_timeout: Duration,
    detects_origin: bool,
    shard: Arc<Mutex<Shard>>,
    rests: Arc<StreamRests>,
    /// Gets the lines, too.
    relay: Relay,
    /// All connections share one buffer, so an idle connection needs none. A connection borrows it only while it reads
    /// and records, which never waits.
    buffer: RefCell<Box<[u8]>>,
}

impl<S: ByteStream, A> ServeConnection<(S, A)> for ConnectionReader {
    type CloseReason = CloseReason;

    const PANICKED: CloseReason = CloseReason::Broken;

    const SERVES_BACKLOG: bool = true;

    async fn serve(&self, (stream, _): (S, A), mut stop: Stop, activity: Rc<Activity>) -> CloseReason {
        let mut deframer = Deframer::new(self.framing, self.max_line);
        let client = Client::new(self.listener, stream.sender(), self.detects_origin);
        let reason = loop {
            let ready = tokio::select! {
                biased;
                () = stop.requested() => break self.drain(&stream, &client, &mut deframer, CloseReason::Stop),
                () = activity.evicted() => break self.drain(&stream, &client, &mut deframer, CloseReason::Evicted),
                ready = timeout(self.idle_timeout, stream.readable()) => ready,
            };
            match ready {
                Err(_) => break CloseReason::Idle,
                Ok(Err(_)) => break CloseReason::Broken,
                Ok(Ok(())) => {}
            }
            match self.read(|buffer| stream.try_read(buffer), &client, &mut deframer) {
                Err(reason) => break reason,
                Ok(0) => {}
                // Even if this client floods, the others get their turn after one read.
                Ok(_) => {
                    activity.note_progress();
                    tokio::task::yield_now().await;
                }
            }
        };
        let end = if reason == CloseReason::End { End::Whole } else { End::Broken };
        let mut outgoing = self.relay.begin(|| 0);
        let mut shard = self.shard.lock();
        deframer.end(end, |frame| record(&mut shard, frame, &client, outgoing.as_mut()));
        drop(shard);
        self.relay(outgoing, client.origin);
        reason
    }
}

impl ConnectionReader {
    pub(super) fn new(
        listener: &'static str,
        options: &StreamOptions,
        shard: Arc<Mutex<Shard>>,
        rests: Arc<StreamRests>,
        relay: Relay,
    ) -> Self {
        let StreamOptions { framing, max_line, idle_timeout, detects_origin, .. } = *options;
        let buffer = RefCell::new(vec![0; READ].into_boxed_slice());
        Self { listener, framing, max_line, idle_timeout, detects_origin, shard, rests, relay, buffer }
    }

    /// Reads once and records the complete lines. Returns the number of bytes, which is 0 if none have arrived.
    fn read(
        &self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
        client: &Client,
        deframer: &mut Deframer,
    ) -> Result<usize, CloseReason> {
        let mut buffer = self.buffer.borrow_mut();
        let bytes = match read(&mut buffer) {
            Ok(0) => return Err(CloseReason::End),
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(_) => return Err(CloseReason::Broken),
        };
        self.rests.add_read(bytes.len());
        let mut shard = self.shard.lock();
        shard.count_stream_bytes(bytes.len());
        let mut outgoing = self.relay.begin(|| bytes.len());
        let pushed = deframer.push(bytes, |frame| record(&mut shard, frame, client, outgoing.as_mut()));
        drop(shard);
        self.relay(outgoing, client.origin);
        pushed.map(|()| bytes.len()).map_err(|_| CloseReason::FrameTooLong)
    }

    /// Hands lines to the relay, if it is on.
    fn relay(&self, outgoing: Option<Outgoing>, origin: Origin) {
        if let Some(outgoing) = outgoing {
            self.relay.send(outgoing, |_| origin.sender);
        }
    }

    /// Reads the data that the client sent before the server closes the connection for this reason.
    fn drain(
        &self,
        stream: &impl AsFd,
        client: &Client,
        deframer: &mut Deframer,
        reason: CloseReason,
    ) -> CloseReason {
        let socket = SockRef::from(stream);
        // This asks the kernel, because the runtime may not know yet what has arrived.
        let mut read_now = || self.read(|buffer| (&mut &*socket).read(buffer), client, deframer);
        // First, this reads everything that has arrived, so a client may end its last line by closing. If the client
        // floods, it reads only as much as may have been in flight at the beginning.
        let mut left = socket.recv_buffer_size().unwrap_or(0) + IN_FLIGHT;
        while left > 0 {
            match read_now() {
                Err(reason) => return reason,
                Ok(0) => break,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
        // Then it shuts the socket, and reads to the end what has arrived in the meantime. Shutting fails only if the
        // client is gone, and then nothing more arrives.
        _ = socket.shutdown(Shutdown::Both);
        let mut is_sending = left == 0;
        loop {
            match read_now() {
                Err(CloseReason::FrameTooLong) => return CloseReason::FrameTooLong,
                Ok(0) | Err(_) => break,
                Ok(_) => is_sending = true,
            }
        }
        if is_sending {
            // Closing now resets the connection, so a client in the middle of sending notices. A TCP client might
            // otherwise wait for minutes, because the kernel announces no room in a socket that is shut. Setting the
            // option fails only if the client is gone.
            _ = socket.set_linger(Some(Duration::ZERO));
        }
        reason
    }
}

/// Records a frame, and adds its lines to what is relayed.
fn record(shard: &mut Shard, frame: Frame<'_>, client: &Client, outgoing: Option<&mut Outgoing>) {
    let Client { origin, container } = client;
    match frame {
        Frame::Lines(lines) => {
            shard.record_lines_from(container.as_ref(), lines, origin);
            if let Some(outgoing) = outgoing {
                outgoing.add_lines(lines);
            }
        }
        Frame::TooLong => shard.reject(RejectReason::LineTooLong, *origin),
        Frame::Truncated => shard.count_truncated_line(),
    }
}
