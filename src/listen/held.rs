//! Takes over listening sockets that the service manager has opened (`sd_listen_fds(3)`).
//!
//! The service manager holds such a socket, too, so the socket outlives this process. What arrives during a restart
//! waits in the kernel, and the next process reads it. So tallyd never shuts such a socket.

use std::fmt;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

use listenfd::ListenFd;

/// The sockets that the service manager holds, and passed to this process.
#[derive(Debug, Default)]
pub(crate) struct HeldSockets {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix_datagram: Option<UnixDatagram>,
    pub(super) unix_stream: Option<UnixListener>,
    endpoint: Option<TcpListener>,
}

/// The name that the service manager gives to the socket of the endpoint (`FileDescriptorName=`).
const ENDPOINT: &str = "prometheus";

/// A socket of the service manager that tallyd cannot use.
#[derive(Debug)]
pub(crate) enum HeldSocketError {
    /// The file descriptor is none of the kinds of sockets on which tallyd listens.
    Kind(usize),
    /// The socket is the second one of a listener that has only one.
    Second(&'static str),
}

impl fmt::Display for HeldSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(number) => write!(
                f,
                "file descriptor {number} of the service manager is not a socket that tallyd can read; use ListenDatagram= or \
                 ListenStream= with an IP address or a path"
            ),
            Self::Second(listener) => write!(
                f,
                "the service manager passed two sockets for {listener}, which has only one; remove one from the socket unit"
            ),
        }
    }
}

impl std::error::Error for HeldSocketError {}

impl HeldSockets {
    /// Takes the sockets that the environment of the process announces. It changes the environment, so no other thread
    /// may run.
    ///
    /// # Errors
    ///
    /// Fails if tallyd cannot read one of the sockets, because what arrives there would be lost.
    pub(crate) fn take() -> Result<Self, HeldSocketError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut held = Self::default();
        for index in 0..passed.len() {
            let is_endpoint = names.next() == Some(ENDPOINT);
            if let Ok(Some(socket)) = passed.take_udp_socket(index) {
                held.udp.push(socket);
            } else if let Ok(Some(socket)) = passed.take_tcp_listener(index) {
                let (place, name) =
                    if is_endpoint { (&mut held.endpoint, ENDPOINT) } else { (&mut held.tcp, "tcp") };
                put(place, socket, name)?;
            } else if let Ok(Some(socket)) = passed.take_unix_datagram(index) {
                put(&mut held.unix_datagram, socket, "unix_datagram")?;
            } else if let Ok(Some(socket)) = passed.take_unix_listener(index) {
                put(&mut held.unix_stream, socket, "unix_stream")?;
            } else {
                return Err(HeldSocketError::Kind(index + 1));
            }
        }
        Ok(held)
    }

    /// Takes the socket of the endpoint.
    pub(crate) fn take_endpoint(&mut self) -> Option<TcpListener> {
        self.endpoint.take()
    }

    /// Returns the names of the listeners that these sockets serve.
    pub(crate) fn listeners(&self) -> Vec<&'static str> {
        let Self { udp, tcp, unix_datagram, unix_stream, endpoint: _ } = self;
        let listeners = [
            ("udp", !udp.is_empty()),
            ("tcp", tcp.is_some()),
            ("unix_datagram", unix_datagram.is_some()),
            ("unix_stream", unix_stream.is_some()),
        ];
        listeners.into_iter().filter_map(|(name, is_held)| is_held.then_some(name)).collect()
    }
}

fn put<S>(place: &mut Option<S>, socket: S, listener: &'static str) -> Result<(), HeldSocketError> {
    place.replace(socket).map_or(Ok(()), |_| Err(HeldSocketError::Second(listener)))
}
