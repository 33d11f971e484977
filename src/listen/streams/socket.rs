//! TCP and Unix streams as one.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use std::{net, os::unix};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A listening socket that does not block.
#[derive(Debug)]
pub(in crate::listen) enum StreamSocket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

impl StreamSocket {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream).map(Stream::Tcp)
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream).map(Stream::Unix)
            }
        }
    }
}

/// A listening socket within a runtime.
#[derive(Debug)]
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// Must be called within a runtime.
    pub(super) fn new(socket: StreamSocket) -> io::Result<Self> {
        match socket {
            StreamSocket::Tcp(socket) => TcpListener::from_std(socket).map(Self::Tcp),
            StreamSocket::Unix(socket) => UnixListener::from_std(socket).map(Self::Unix),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// The connections that the kernel has accepted already. The socket is asked directly: what the runtime knows of it
    /// may be old.
    pub(super) fn pending(self) -> io::Result<impl Iterator<Item = io::Result<Stream>>> {
        let socket = match self {
            Self::Tcp(socket) => socket.into_std().map(StreamSocket::Tcp),
            Self::Unix(socket) => socket.into_std().map(StreamSocket::Unix),
        }?;
        let is_one = |accepted: &io::Result<Stream>| !matches!(accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        Ok(std::iter::repeat_with(move || socket.accept()).take_while(is_one))
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Waits until there may be something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Reads what is there, if the runtime knows of something.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Reads what is there. The kernel is asked: at a stop, the runtime may not know yet of what arrived.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = SockRef::from(self);
        (&mut &*socket).read(buffer)
    }

    /// Lets nothing more in. What the kernel holds can still be read.
    pub(super) fn shut(&self) {
        // Fails if the client has gone, and then nothing more comes in either.
        _ = SockRef::from(self).shutdown(Shutdown::Both);
    }

    /// Closing will tell a client that is in the middle of sending. Over TCP it might otherwise find out only after minutes:
    /// once a socket is shut, the kernel does not say that there is room again.
    pub(super) fn reset_when_closed(&self) {
        // Fails if the client has gone.
        _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    /// Bytes that the kernel holds at most, for all that is known.
    pub(super) fn receive_buffer(&self) -> usize {
        SockRef::from(self).recv_buffer_size().unwrap_or(0)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
