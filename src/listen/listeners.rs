//! Opens, starts and stops all listeners that are enabled.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::datagrams::{DatagramOptions, DatagramReceiver, DatagramSocket, UdpOptions, bind_udp};
use super::drain::DrainRequests;
use super::socket_file::{BoundFile, LOCK_PATIENCE, SocketFile, bind_datagram, bind_stream};
use super::socket_watch::WatchedFile;
use super::stream_rests::StreamRests;
use super::streams::{ByteStream, CloseReason, ConnectionReader, StreamOptions};
use super::{machine_errors, socket_drops};
use crate::aggregate::Shard;
use crate::model::Telemetry;
use crate::net::{
    AcceptOptions, AcceptThread, BindKeys, ClientKeys, ConnectionCounts, Listen, Looks, Refused, Stopped,
    Threads, bind_tcp,
};

const TCP_KEYS: BindKeys =
    BindKeys { socket: "tcp", address: "listeners.tcp.bind", port: "listeners.tcp.bind", share_port: None };

const TCP_CLIENT_KEYS: ClientKeys = ClientKeys {
    max_connections: "listeners.tcp.max_connections",
    permitted_networks: "listeners.tcp.permitted_networks",
};

/// Files decide who may connect to a Unix socket, so it has no networks.
const UNIX_CLIENT_KEYS: ClientKeys =
    ClientKeys { max_connections: "listeners.unix_stream.max_connections", permitted_networks: "" };

/// The options of each listener. A disabled listener is `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListenOptions {
    /// The longest rest of a receiver. Zero means that receivers never rest.
    pub coalesce_delay: Duration,
    /// The UDP listener.
    pub udp: Option<UdpOptions>,
    /// The TCP listener.
    pub tcp: Option<(SocketAddr, StreamOptions)>,
    /// The Unix datagram listener.
    pub unix_datagram: Option<UnixDatagramOptions>,
    /// The Unix stream listener.
    pub unix_stream: Option<(SocketFile, StreamOptions)>,
}

/// The options of the Unix datagram listener.
#[derive(Debug, Clone)]
pub(crate) struct UnixDatagramOptions {
    /// The file of the socket.
    pub file: SocketFile,
    /// The length in bytes beyond which a datagram is truncated.
    pub max_datagram: usize,
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
    udp: Vec<DatagramReceiver>,
    /// The receivers of the Unix datagram listener: the latest one, and those whose socket file is gone.
    unix_datagram: Arc<Mutex<Vec<DatagramReceiver>>>,
    streams: Vec<AcceptThread>,
    /// The files of the Unix sockets.
    files: Vec<WatchedFile>,
    addresses: Addresses,
}

/// The addresses on which tallyd listens, as the kernel granted them.
#[derive(Debug, Default)]
struct Addresses {
    udp: Vec<UdpAddress>,
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

/// The number of Unix datagram sockets that tallyd keeps reading after their file is gone, because connected clients
/// may still send to them.
const KEPT_SOCKETS: usize = 4;

/// Opens all sockets. So a wrong address or path is reported before anything is received.
///
/// # Errors
///
/// Fails at the first socket that cannot be opened. The error says what to change.
pub(crate) fn open(
    options: ListenOptions,
) -> Result<OpenedSockets, Box<dyn std::error::Error + Send + Sync>> {
    let ListenOptions { udp, tcp, unix_datagram, unix_stream, .. } = &options;
    Ok(OpenedSockets {
        udp: udp.as_ref().map(bind_udp).transpose()?.unwrap_or_default(),
        tcp: tcp.as_ref().map(|(address, _)| bind_tcp(*address, &TCP_KEYS)).transpose()?,
        unix_datagram: unix_datagram
            .as_ref()
            .map(|options| bind_datagram(&options.file, LOCK_PATIENCE))
            .transpose()?,
        unix_stream: unix_stream.as_ref().map(|(file, _)| bind_stream(file, LOCK_PATIENCE)).transpose()?,
        options,
    })
}

impl OpenedSockets {
    /// Starts the receivers, each with a shard from `new_shard`, and registers their telemetry. The receivers answer the
    /// requests of `drains`.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread, or the kernel does not report the address or buffer of a socket.
    pub(crate) fn start(
        self,
        mut new_shard: impl FnMut() -> Arc<Mutex<Shard>>,
        telemetry: &Telemetry,
        threads: &Threads,
        drains: &DrainRequests,
    ) -> io::Result<Listeners> {
        let Self { options, udp: udp_sockets, tcp, unix_datagram, unix_stream } = self;
        let coalesce_delay = options.coalesce_delay;
        let rests = || StreamRests::new(coalesce_delay, drains.clone());
        let mut addresses = Addresses::default();
        let unread = telemetry.counter("datagrams_unread", &[]);
        let (mut udp, mut streams, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let mut unix_receivers = Arc::default();
        if let Some(options) = options.udp {
            let granted = socket_drops::register(telemetry, &udp_sockets)?;
            machine_errors::register(telemetry);
            let refused =
                Refused::register(telemetry, "datagrams_refused", &[], "listeners.udp.permitted_networks");
            let permitted = (!options.permitted.have_all()).then(|| (options.permitted.clone(), refused));
            for socket in udp_sockets.iter().step_by(options.receivers) {
                addresses.udp.push(UdpAddress {
                    address: socket.local_addr()?,
                    receivers: options.receivers,
                    requested: options.receive_buffer as u64,
                    granted,
                });
            }
            for (index, socket) in udp_sockets.into_iter().enumerate() {
                let (name, socket) = (format!("udp-{index}"), DatagramSocket::Udp(socket));
                let (max_datagram, unread, permitted) =
                    (options.max_datagram, unread.clone(), permitted.clone());
                let options = DatagramOptions { name, max_datagram, coalesce_delay, unread, permitted };
                udp.push(DatagramReceiver::start(socket, new_shard(), options, threads, drains)?);
            }
        }
        if let (Some((socket, bound)), Some(options)) = (unix_datagram, options.unix_datagram) {
            let UnixDatagramOptions { file, max_datagram } = options;
            addresses.unix_datagram = Some(bound.path().to_owned());
            let (shard, threads, drains) = (new_shard(), threads.clone(), drains.clone());
            let start = move |socket| {
                let (name, unread) = ("unix_datagram".to_owned(), unread.clone());
                let options = DatagramOptions { name, max_datagram, coalesce_delay, unread, permitted: None };
                let socket = DatagramSocket::Unix(socket);
                DatagramReceiver::start(socket, Arc::clone(&shard), options, &threads, &drains)
            };
            unix_receivers = Arc::new(Mutex::new(vec![start(socket)?]));
            let receivers = Arc::clone(&unix_receivers);
            files.push(WatchedFile::watch(telemetry, ("unix_datagram", file), bound, move |file| {
                let (socket, bound) = bind_datagram(file, Duration::ZERO)?;
                add_receiver(&mut receivers.lock(), start(socket)?);
                Ok(bound)
            }));
        }
        if let (Some(socket), Some((_, options))) = (tcp, options.tcp) {
            addresses.tcp = Some(socket.local_addr()?);
            let names = ("tcp", TCP_CLIENT_KEYS);
            let shard = new_shard();
            streams.push(start_streams(socket, names, &options, shard, rests(), (telemetry, threads))?.0);
        }
        if let (Some((socket, bound)), Some((file, options))) = (unix_stream, options.unix_stream) {
            addresses.unix_stream = Some(bound.path().to_owned());
            let names = ("unix_stream", UNIX_CLIENT_KEYS);
            let (thread, replace) =
                start_streams(socket, names, &options, new_shard(), rests(), (telemetry, threads))?;
            streams.push(thread);
            files.push(WatchedFile::watch(telemetry, ("unix_stream", file), bound, move |file| {
                let (socket, bound) = bind_stream(file, Duration::ZERO)?;
                replace.send(socket)?;
                Ok(bound)
            }));
        }
        Ok(Listeners { udp, unix_datagram: unix_receivers, streams, files, addresses })
    }
}

/// Adds a receiver for a new socket file. The receivers of older files keep reading, because clients that are connected
/// do not notice that the file is gone. If there are too many, the oldest one ends, and its clients get an error.
fn add_receiver(receivers: &mut Vec<DatagramReceiver>, latest: DatagramReceiver) {
    receivers.push(latest);
    for receiver in receivers.iter().rev().skip(1 + KEPT_SOCKETS) {
        receiver.stop();
    }
    receivers.retain(|receiver| !receiver.has_stopped());
}

/// Starts the thread of a stream listener. `keys` are the configuration keys that limit its clients. Returns the thread, and a channel for a socket that replaces its own.
fn start_streams<S: ByteStream, A, L: Listen<Connection = (S, A)>>(
    socket: L,
    (listener, keys): (&'static str, ClientKeys),
    options: &StreamOptions,
    shard: Arc<Mutex<Shard>>,
    (rests, looks): (Arc<StreamRests>, Looks),
    (telemetry, threads): (&Telemetry, &Threads),
) -> io::Result<(AcceptThread, UnboundedSender<L>)> {
    let tags = [("listener", listener)];
    let connections = ConnectionCounts::register(telemetry, "connections", &tags, CloseReason::Evicted, keys);
    let StreamOptions { max_connections, permitted, .. } = options.clone();
    let accept = AcceptOptions { name: listener, max_connections, permitted, keys };
    let reader = ConnectionReader::new(options, shard, rests);
    AcceptThread::start_replaceable(socket, accept, connections, reader, threads, looks)
}

impl Listeners {
    /// Logs where tallyd listens, one line per listener.
    pub(crate) fn log_addresses(&self) {
        let Addresses { udp, tcp, unix_datagram, unix_stream } = &self.addresses;
        for UdpAddress { address, receivers, requested, granted } in udp {
            tracing::info!(%address, receivers, receive_buffer = granted, "listening on udp");
            if granted < requested {
                tracing::warn!(
                    granted,
                    requested,
                    "the kernel grants a smaller receive buffer, so bursts may be lost and receivers rest less; run `sysctl -w net.core.rmem_max={requested}`"
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
    pub(crate) fn stop(self) {
        // Removing the files tells later clients of a Unix socket that nothing listens. It also keeps the last flush
        // from binding a socket again.
        self.files.iter().for_each(WatchedFile::close);
        let mut datagrams = self.udp;
        datagrams.append(&mut self.unix_datagram.lock());
        datagrams.iter().for_each(DatagramReceiver::stop);
        // Draining reads only data that clients had already sent, so it needs no time limit.
        self.streams.iter().for_each(|thread| thread.stop(Duration::MAX));
        for thread in self.streams {
            if thread.join() == Stopped::Panicked {
                tracing::error!("a receiver panicked; the last lines of its connections may be lost");
            }
        }
        datagrams.into_iter().for_each(DatagramReceiver::join);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::thread;
    use std::time::Instant;

    use super::super::Framing;
    use super::super::drain;
    use super::*;
    use crate::aggregate::{AggregationOptions, SharedState};
    use crate::net::PermittedNetworks;
    use crate::resolve::Limits;

    #[test]
    fn a_drain_records_what_had_arrived_at_connections() {
        let shared = Arc::new(SharedState::new(AggregationOptions::default(), Limits::default()));
        let shard = Arc::new(Mutex::new(Shard::new(shared, Arc::default())));
        let streams = StreamOptions {
            framing: Framing::Lines,
            max_line: 1000,
            max_connections: 10,
            permitted: PermittedNetworks::default(),
            idle_timeout: Duration::from_mins(1),
        };
        let options = ListenOptions {
            coalesce_delay: Duration::from_millis(20),
            tcp: Some((([127, 0, 0, 1], 0).into(), streams)),
            ..ListenOptions::default()
        };
        let drains = DrainRequests::default();
        let listeners = open(options)
            .unwrap()
            .start(|| Arc::clone(&shard), &Telemetry::default(), &Threads::new().0, &drains)
            .unwrap();
        let address = listeners.addresses.tcp.unwrap();
        let mut clients = [(); 10].map(|()| TcpStream::connect(address).unwrap());
        clients.iter().for_each(|client| client.set_nodelay(true).unwrap());
        let mut sent = 0;
        let mut send_from_each = || {
            clients.iter_mut().for_each(|client| client.write_all(b"a:1|c\n").unwrap());
            sent += clients.len() as u64;
            sent
        };
        let (mut late, mut resting) = (0, 0);
        while late < 100 || resting < 100 {
            if resting < 100 {
                while !drains.has_resting() {
                    send_from_each();
                    thread::yield_now();
                }
            }
            let is_late = resting == 100;
            let sent = send_from_each();
            let begin = Instant::now();
            drains.drain(is_late.then_some(Duration::MAX));
            // On a busy machine, the receiver may need longer than the drain waits.
            if begin.elapsed() < drain::PATIENCE {
                assert_eq!(shard.lock().counts().lines, sent);
                *if is_late { &mut late } else { &mut resting } += 1;
            }
        }
        listeners.stop();
        assert_eq!(shard.lock().counts().lines, sent);
    }
}
