//! Opens, starts and stops all listeners that are enabled.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::datagrams::{DatagramOptions, DatagramReceiver, DatagramSocket, UdpOptions, bind_udp};
use super::socket_drops;
use super::socket_file::{BoundFile, SocketFile, bind_datagram, bind_stream};
use super::streams::{ByteStream, ConnectionReader, StreamOptions};
use crate::aggregate::Shard;
use crate::model::Telemetry;
use crate::net::{
    AcceptOptions, AcceptThread, BindKeys, ConnectionCounts, Listen, RefusedWarning, Stopped, Threads,
    bind_tcp,
};

const TCP_KEYS: BindKeys =
    BindKeys { socket: "tcp", address: "listeners.tcp.bind", port: "listeners.tcp.bind", share_port: None };

/// The options of each listener. A disabled listener is `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListenOptions {
    /// The UDP listener.
    pub udp: Option<UdpOptions>,
    /// The TCP listener.
    pub tcp: Option<(SocketAddr, StreamOptions)>,
    /// The Unix datagram listener, and the length in bytes beyond which it truncates a datagram.
    pub unix_datagram: Option<(SocketFile, usize)>,
    /// The Unix stream listener.
    pub unix_stream: Option<(SocketFile, StreamOptions)>,
}

/// Open sockets that no receiver reads yet.
#[derive(Debug)]
pub(crate) struct OpenedSockets {
    options: ListenOptions,
    udp: Vec<UdpSocket>,
    tcp: Option<TcpListener>,
    unix_datagram: Option<(UnixDatagram, BoundFile)>,
    unix_stream: Option<(UnixListener, BoundFile)>,
}

/// The running receivers.
#[derive(Debug)]
pub(crate) struct Listeners {
    datagrams: Vec<DatagramReceiver>,
    streams: Vec<AcceptThread>,
    /// The files of the Unix sockets.
    files: Vec<BoundFile>,
    addresses: Addresses,
}

/// The addresses on which tallyd listens, as the kernel granted them.
#[derive(Debug, Default)]
struct Addresses {
    udp: Option<UdpAddress>,
    tcp: Option<SocketAddr>,
    unix_datagram: Option<PathBuf>,
    unix_stream: Option<PathBuf>,
}

#[derive(Debug)]
struct UdpAddress {
    address: SocketAddr,
    receivers: usize,
    /// The receive buffer that the configuration requests, in bytes.
    requested: u64,
    /// The smallest receive buffer that the kernel granted, in bytes.
    granted: u64,
}

/// The sockets of receivers that have ended. The kernel's drop counters can be read as long as this value lives.
#[derive(Debug)]
pub(crate) struct DrainedSockets {
    _sockets: Vec<Arc<DatagramSocket>>,
}

/// Opens all sockets. So a wrong address or path is reported before anything is received.
///
/// # Errors
///
/// Fails at the first socket that cannot be opened. The error says what to change.
pub(crate) fn open(
    options: ListenOptions,
) -> Result<OpenedSockets, Box<dyn std::error::Error + Send + Sync>> {
    let ListenOptions { udp, tcp, unix_datagram, unix_stream } = &options;
    Ok(OpenedSockets {
        udp: udp.as_ref().map(bind_udp).transpose()?.unwrap_or_default(),
        tcp: tcp.as_ref().map(|(address, _)| bind_tcp(*address, &TCP_KEYS)).transpose()?,
        unix_datagram: unix_datagram.as_ref().map(|(file, _)| bind_datagram(file)).transpose()?,
        unix_stream: unix_stream.as_ref().map(|(file, _)| bind_stream(file)).transpose()?,
        options,
    })
}

impl OpenedSockets {
    /// Starts the receivers, each with a shard from `new_shard`, and registers their telemetry.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread, or the kernel does not report the address or buffer of a socket.
    pub(crate) fn start(
        self,
        mut new_shard: impl FnMut() -> Arc<Mutex<Shard>>,
        telemetry: &Telemetry,
        threads: &Threads,
    ) -> io::Result<Listeners> {
        let Self { options, udp, tcp, unix_datagram, unix_stream } = self;
        let mut addresses = Addresses::default();
        let unread = telemetry.counter("datagrams_unread", &[]);
        let (mut datagrams, mut streams, mut files) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(options) = options.udp
            && let Some(first) = udp.first()
        {
            addresses.udp = Some(UdpAddress {
                address: first.local_addr()?,
                receivers: options.receivers,
                requested: options.receive_buffer as u64,
                granted: socket_drops::register(telemetry, &udp)?,
            });
            for (index, socket) in udp.into_iter().enumerate() {
                let (name, socket) = (format!("udp-{index}"), DatagramSocket::Udp(socket));
                let options =
                    DatagramOptions { name, max_datagram: options.max_datagram, unread: unread.clone() };
                datagrams.push(DatagramReceiver::start(socket, new_shard(), options, threads)?);
            }
        }
        if let (Some((socket, file)), Some((_, max_datagram))) = (unix_datagram, options.unix_datagram) {
            let (name, socket) = ("unix_datagram".to_owned(), DatagramSocket::Unix(socket));
            let options = DatagramOptions { name, max_datagram, unread };
            datagrams.push(DatagramReceiver::start(socket, new_shard(), options, threads)?);
            addresses.unix_datagram = Some(file.path().to_owned());
            files.push(file);
        }
        if let (Some(socket), Some((_, options))) = (tcp, options.tcp) {
            addresses.tcp = Some(socket.local_addr()?);
            let names = ("tcp", "listeners.tcp.max_connections");
            streams.push(start_streams(socket, names, &options, new_shard(), (telemetry, threads))?);
        }
        if let (Some((socket, file)), Some((_, options))) = (unix_stream, options.unix_stream) {
            addresses.unix_stream = Some(file.path().to_owned());
            files.push(file);
            let names = ("unix_stream", "listeners.unix_stream.max_connections");
            streams.push(start_streams(socket, names, &options, new_shard(), (telemetry, threads))?);
        }
        Ok(Listeners { datagrams, streams, files, addresses })
    }
}

/// Starts the thread of a stream listener. `limit_key` is the configuration key that limits its connections.
fn start_streams<S: ByteStream, A: 'static>(
    socket: impl Listen<Connection = (S, A)>,
    (listener, limit_key): (&'static str, &'static str),
    options: &StreamOptions,
    shard: Arc<Mutex<Shard>>,
    (telemetry, threads): (&Telemetry, &Threads),
) -> io::Result<AcceptThread> {
    let log = |connections, key: &str| {
        tracing::error!(connections, "connections were refused because the limit was reached; raise {key}");
    };
    let warning = RefusedWarning { key: limit_key, log };
    let connections =
        ConnectionCounts::register(telemetry, "connections", &[("listener", listener)], warning);
    let max_connections = options.max_connections;
    let accept = AcceptOptions { name: listener, max_connections, max_connections_key: limit_key };
    AcceptThread::start(socket, accept, connections, ConnectionReader::new(options, shard), threads)
}

impl Listeners {
    /// Logs where tallyd listens, one line per listener.
    pub(crate) fn log_addresses(&self) {
        let Addresses { udp, tcp, unix_datagram, unix_stream } = &self.addresses;
        if let Some(UdpAddress { address, receivers, requested, granted }) = udp {
            tracing::info!(%address, receivers, receive_buffer = granted, "listening on udp");
            if granted < requested {
                tracing::warn!(
                    granted,
                    requested,
                    "the kernel grants a smaller receive buffer; for bursts run `sysctl -w net.core.rmem_max={requested}`"
                );
            }
        }
        if let Some(address) = tcp {
            tracing::info!(%address, "listening on tcp");
        }
        if let Some(path) = unix_datagram {
            tracing::info!(path = %path.display(), "listening on unix_datagram");
        }
        if let Some(path) = unix_stream {
            tracing::info!(path = %path.display(), "listening on unix_stream");
        }
    }

    /// Refuses new datagrams and connections, and waits until everything that the kernel holds is recorded.
    #[must_use]
    pub(crate) fn stop(self) -> DrainedSockets {
        // Removing the files tells later clients of a Unix socket that nothing listens.
        drop(self.files);
        self.datagrams.iter().for_each(DatagramReceiver::stop);
        // Draining reads only data that clients had already sent, so it needs no time limit.
        self.streams.iter().for_each(|thread| thread.stop(Duration::MAX));
        for thread in self.streams {
            if thread.join() == Stopped::Panicked {
                tracing::error!("a receiver panicked; the last lines of its connections may be lost");
            }
        }
        DrainedSockets { _sockets: self.datagrams.into_iter().map(DatagramReceiver::join).collect() }
    }
}
