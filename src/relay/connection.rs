//! Sends datagrams to one server, over any transport.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::chunk::Chunk;
use super::counts::{DropReason, Outcome};
use crate::net::{ListenerUrl, connect_first};

/// The longest wait for a server to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for room in the socket of a datagram. Then the datagram is dropped, and the next one tried.
const DATAGRAM_TIMEOUT: Duration = Duration::from_millis(250);

/// The longest wait for a stream to take more bytes. Then its connection counts as broken.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest payload of a stream with lengths, in bytes. It is the default of tallyd's listener.
const LONGEST_PAYLOAD: usize = 64 << 10;

/// A socket that is connected to a server.
#[derive(Debug)]
pub(super) enum Connection {
    Udp(UdpSocket),
    UnixDatagram(UnixDatagram),
    Tcp(TcpStream),
    /// Each payload follows its length, as DogStatsD clients send it. The buffer is for payloads with their lengths.
    UnixStream(UnixStream, Vec<u8>),
}

/// The connection can no longer be used.
#[derive(Debug)]
pub(super) struct Lost {
    /// The first datagram of the chunk that is neither sent nor dropped.
    pub(super) next: usize,
    pub(super) error: io::Error,
}

impl Connection {
    /// Connects to a server. For UDP, this only finds its address.
    pub(super) fn open(url: &ListenerUrl) -> io::Result<Self> {
        match url {
            ListenerUrl::Udp(host_and_port) => connect_first(host_and_port, |address| {
                let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
                Ok(Self::Udp(socket))
            }),
            ListenerUrl::Tcp(host_and_port) => connect_first(host_and_port, |address| {
                let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
                stream.set_write_timeout(Some(STREAM_TIMEOUT))?;
                stream.set_nodelay(true)?;
                // Otherwise, the kernel keeps lines for a machine that is gone for a quarter of an hour.
                SockRef::from(&stream).set_tcp_user_timeout(Some(STREAM_TIMEOUT))?;
                Ok(Self::Tcp(stream))
            }),
            ListenerUrl::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
                Ok(Self::UnixDatagram(socket))
            }
            ListenerUrl::UnixStream(path) => Ok(Self::UnixStream(connect_unix(path)?, Vec::new())),
        }
    }

    /// Sends the datagrams of a chunk from `first` on, and adds what became of them to `outcome`.
    ///
    /// # Errors
    ///
    /// Fails if the rest of the chunk needs a new connection.
    pub(super) fn send(&mut self, chunk: &Chunk, first: usize, outcome: &mut Outcome) -> Result<(), Lost> {
        match self {
            Self::Udp(socket) => {
                // A UDP socket has no connection that could be lost.
                send_each(chunk, first, outcome, |datagram| socket.send(datagram), |_| false)
            }
            Self::UnixDatagram(socket) => send_each(
                chunk,
                first,
                outcome,
                |datagram| socket.send(datagram),
                |error| {
                    matches!(
                        error,
                        Errno::ECONNREFUSED
                            | Errno::ECONNRESET
                            | Errno::ENOTCONN
                            | Errno::EPIPE
                            | Errno::ENOENT
                    )
                },
            ),
            Self::Tcp(stream) => {
                let lengths = |index| chunk.length_in_stream(index);
                write_all(stream, chunk.stream_from(first), (chunk, first, lengths), outcome)
            }
            Self::UnixStream(stream, buffer) => {
                buffer.clear();
                let fits = |index| chunk.datagram(index).len() <= LONGEST_PAYLOAD;
                for index in (first..chunk.len()).filter(|&index| fits(index)) {
                    let payload = chunk.datagram(index);
                    let length = u32::try_from(payload.len()).expect("it is at most LONGEST_PAYLOAD");
                    buffer.extend_from_slice(&length.to_le_bytes());
                    buffer.extend_from_slice(payload);
                }
                let lengths =
                    |index| if fits(index) { size_of::<u32>() + chunk.datagram(index).len() } else { 0 };
                write_all(stream, buffer, (chunk, first, lengths), outcome)
            }
        }
    }

    /// Ends the connection. The kernel still delivers what it has taken.
    pub(super) fn finish(self) {
        // Shutting fails only if the server is gone.
        match self {
            Self::Udp(_) | Self::UnixDatagram(_) => {}
            Self::Tcp(stream) => _ = stream.shutdown(Shutdown::Write),
            Self::UnixStream(stream, _) => _ = stream.shutdown(Shutdown::Write),
        }
    }
}

/// Sends datagrams one by one. `is_lost` says which errors need a new connection.
fn send_each(
    chunk: &Chunk,
    first: usize,
    outcome: &mut Outcome,
    send: impl Fn(&[u8]) -> io::Result<usize>,
    is_lost: impl Fn(Errno) -> bool,
) -> Result<(), Lost> {
    for index in first..chunk.len() {
        let datagram = chunk.datagram(index);
        let Err(error) = send(datagram) else {
            outcome.sent += 1;
            outcome.bytes += datagram.len() as u64;
            continue;
        };
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        if is_lost(errno) {
            return Err(Lost { next: index, error });
        }
        outcome.dropped[reason_of(errno)] += 1;
    }
    Ok(())
}

/// Returns the reason why the kernel did not take a datagram.
fn reason_of(error: Errno) -> DropReason {
    match error {
        Errno::ECONNREFUSED => DropReason::Refused,
        Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN => {
            DropReason::Unreachable
        }
        Errno::EAGAIN => DropReason::Timeout,
        Errno::ENOBUFS | Errno::ENOMEM => DropReason::NoBuffers,
        Errno::EMSGSIZE => DropReason::TooLong,
        _ => DropReason::Failed,
    }
}

/// Writes the datagrams of a chunk from `first` on. `length` returns the bytes that each takes in `bytes`, or 0 if it is
/// too long. A datagram of which only a part was written is dropped.
fn write_all(
    stream: &mut (impl Write + AsFd),
    bytes: &[u8],
    (chunk, first, length): (&Chunk, usize, impl Fn(usize) -> usize),
    outcome: &mut Outcome,
) -> Result<(), Lost> {
    if is_closed(stream) {
        return Err(Lost { next: first, error: ErrorKind::ConnectionAborted.into() });
    }
    let mut written = 0;
    let mut failure = None;
    while written < bytes.len() && failure.is_none() {
        match stream.write(&bytes[written..]) {
            Ok(0) => failure = Some(ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => failure = Some(error),
        }
    }
    let mut next = first;
    while next < chunk.len() {
        let needed = length(next);
        if needed == 0 {
            outcome.dropped[DropReason::TooLong] += 1;
        } else if written >= needed {
            written -= needed;
            outcome.sent += 1;
            outcome.bytes += chunk.datagram(next).len() as u64;
        } else {
            break;
        }
        next += 1;
    }
    let Some(error) = failure else { return Ok(()) };
    if written > 0 {
        outcome.dropped[DropReason::Broken] += 1;
        next += 1;
    }
    Err(Lost { next, error })
}

/// Returns true if the server has closed the connection. Without this look, the first write after it would seem to
/// succeed. What a server says is ignored.
fn is_closed(stream: &impl AsFd) -> bool {
    let socket = stream.as_fd().as_raw_fd();
    let mut said = [0; 1024];
    loop {
        match recv(socket, &mut said, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return error != Errno::EAGAIN,
        }
    }
}

/// Connects to a Unix stream listener. If its queue of connections is full, this waits for a limited time.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_write_timeout(Some(STREAM_TIMEOUT))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::super::chunk::Chunks;
    use super::*;

    /// Returns a chunk of three datagrams, of which only the second ends in a line feed.
    fn chunk() -> Chunk {
        let mut chunks = Chunks::new(0);
        [&b"a:1|c"[..], b"b:1|c\n", b"c:1|c"].iter().for_each(|datagram| chunks.add_datagram(datagram));
        chunks.finish().next().unwrap()
    }

    fn read_to_end(mut stream: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_stream_of_lines_gets_a_line_feed_after_each_datagram() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut connection = Connection::open(&url).unwrap();
        let server = listener.accept().unwrap().0;
        let mut outcome = Outcome::default();
        connection.send(&chunk(), 1, &mut outcome).unwrap();
        connection.finish();
        assert_eq!(read_to_end(server), b"b:1|c\nc:1|c\n");
        assert_eq!(outcome, Outcome { sent: 2, bytes: 11, ..Outcome::default() });
    }

    #[test]
    fn a_unix_stream_gets_each_datagram_after_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut connection = Connection::open(&ListenerUrl::UnixStream(path)).unwrap();
        let server = listener.accept().unwrap().0;
        let mut outcome = Outcome::default();
        let long = Chunk::of(&vec![b'x'; LONGEST_PAYLOAD + 1]);
        connection.send(&long, 0, &mut outcome).unwrap();
        assert_eq!(outcome.dropped[DropReason::TooLong], 1);
        connection.send(&chunk(), 0, &mut outcome).unwrap();
        connection.finish();
        assert_eq!(read_to_end(server), b"\x05\0\0\0a:1|c\x06\0\0\0b:1|c\n\x05\0\0\0c:1|c");
        assert_eq!((outcome.sent, outcome.bytes, outcome.total_dropped()), (3, 16, 1));
    }

    #[test]
    fn what_was_not_written_when_a_connection_broke_is_left_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut connection = Connection::open(&url).unwrap();
        drop(listener.accept().unwrap());
        // The kernel may need a moment to pass on the end of the connection.
        let (lost, outcome) = loop {
            let mut outcome = Outcome::default();
            if let Err(lost) = connection.send(&chunk(), 0, &mut outcome) {
                break (lost, outcome);
            }
        };
        assert_eq!((lost.next, outcome), (0, Outcome::default()));
    }

    /// A writer that fails after a number of bytes.
    struct Failing(UnixStream, usize);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1);
            self.1 -= count;
            if count == 0 { Err(ErrorKind::ConnectionReset.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for Failing {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    #[test]
    fn only_a_datagram_that_was_partly_written_is_dropped_when_a_connection_breaks() {
        let chunk = chunk();
        for (capacity, sent, broken, next) in [(0, 0, 0, 0), (3, 0, 1, 1), (6, 1, 0, 1), (13, 2, 1, 3)] {
            let (stream, _peer) = UnixStream::pair().unwrap();
            let mut outcome = Outcome::default();
            let lengths = |index| chunk.length_in_stream(index);
            let mut stream = Failing(stream, capacity);
            let lost =
                write_all(&mut stream, chunk.stream_from(0), (&chunk, 0, lengths), &mut outcome).unwrap_err();
            assert_eq!((outcome.sent, outcome.dropped[DropReason::Broken], lost.next), (sent, broken, next));
        }
    }

    #[test]
    fn datagrams_to_a_closed_port_are_dropped_and_those_to_a_closed_socket_are_left() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut connection = Connection::open(&ListenerUrl::Udp(closed.to_string())).unwrap();
        let mut outcome = Outcome::default();
        while outcome.total_dropped() == 0 {
            connection.send(&chunk(), 0, &mut outcome).unwrap();
        }
        assert_eq!(outcome.dropped[DropReason::Refused], outcome.total_dropped());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut connection = Connection::open(&ListenerUrl::UnixDatagram(path)).unwrap();
        let mut outcome = Outcome::default();
        connection.send(&chunk(), 0, &mut outcome).unwrap();
        drop(server);
        let lost = connection.send(&chunk(), 0, &mut outcome).unwrap_err();
        assert_eq!((lost.next, outcome.sent, outcome.total_dropped()), (0, 3, 0));
    }

    #[test]
    fn a_unix_server_that_does_not_read_costs_datagrams_and_no_hang() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _server = UnixDatagram::bind(&path).unwrap();
        let mut connection = Connection::open(&ListenerUrl::UnixDatagram(path)).unwrap();
        let mut outcome = Outcome::default();
        while outcome.total_dropped() == 0 {
            connection.send(&Chunk::of(b"a:1|c"), 0, &mut outcome).unwrap();
        }
        assert_eq!(outcome.dropped[DropReason::Timeout], 1);
    }
}
