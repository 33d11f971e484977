//! Opens, starts and stops all listeners that are enabled.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{self as unix, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::datagrams::{DatagramOptions, DatagramReceiver, DatagramSocket, UdpOptions, bind_udp};
use super::drain::DrainRequests;
use super::held::HeldSockets;
use super::machine_errors;
use super::socket_drops::{self, CountedDrops};
use super::socket_watch::WatchedFile;
use super::stream_rests::StreamRests;
use super::streams::{ByteStream, CloseReason, ConnectionReader, StreamOptions};
use crate::aggregate::Shard;
use crate::model::Telemetry;
use crate::net::{
    AcceptOptions, AcceptThread, BindKeys, BoundFile, ClientKeys, ConnectionCounts, LOCK_PATIENCE, Listen,
    Looks, Refused, SocketFile, Stopped, Threads, adopt_tcp, adopt_udp, bind_datagram, bind_stream, bind_tcp,
};
use crate::relay::Relay;

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
    /// Whether tallyd finds out in which container a sender over a Unix socket runs.
    pub detects_origin: bool,
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
    /// A Unix socket that the service manager holds has no file of tallyd's own.
    unix_datagram: Option<(UnixDatagram, Option<BoundFile>)>,
    unix_stream: Option<(UnixListener, Option<BoundFile>)>,
    /// The names of the listeners whose sockets the service manager holds.
    held: Vec<&'static str>,
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
    /// The names of the listeners whose sockets the service manager holds.
    held: Vec<&'static str>,
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

/// Opens the sockets of all listeners, except those for which the service manager has passed sockets. So a wrong address
/// or path is reported before anything is received.
///
/// # Errors
///
/// Fails at the first socket that cannot be opened. The error says what to change.
pub(crate) fn open(
    options: ListenOptions,
    held: HeldSockets,
) -> Result<OpenedSockets, Box<dyn std::error::Error + Send + Sync>> {
    let names = held.listeners();
    let ListenOptions { udp, tcp, unix_datagram, unix_stream, .. } = &options;
    let udp = match udp {
        Some(options) if held.udp.is_empty() => bind_udp(options)?,
        _ => adopt_udp(held.udp)?,
    };
    let tcp = match (held.tcp, tcp) {
        (Some(socket), _) => Some(adopt_tcp(socket)?),
        (None, Some((address, _))) => Some(bind_tcp(*address, &TCP_KEYS)?),
        (None, None) => None,
    };
    let unix_datagram = match (held.unix_datagram, unix_datagram) {
        (Some(socket), _) => Some((socket, None)),
        (None, Some(options)) => {
            let (socket, bound) = bind_datagram(&options.file, LOCK_PATIENCE)?;
            Some((socket, Some(bound)))
        }
        (None, None) => None,
    };
    let unix_stream = match (held.unix_stream, unix_stream) {
        (Some(socket), _) => {
            socket.set_nonblocking(true)?;
            Some((socket, None))
        }
        (None, Some((file, _))) => {
            let (socket, bound) = bind_stream(file, LOCK_PATIENCE)?;
            Some((socket, Some(bound)))
        }
        (None, None) => None,
    };
    Ok(OpenedSockets { options, udp, tcp, unix_datagram, unix_stream, held: names })
}

impl OpenedSockets {
    /// Starts the receivers, each with a shard from `new_shard`, and registers their telemetry. The receivers answer the
    /// requests of `drains`. `drops` has what an earlier process has counted, and gets what this one counts. `relay` gets what
    /// the receivers record.
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
        drops: &CountedDrops,
        relay: &Relay,
    ) -> io::Result<Listeners> {
        let Self { options, udp: udp_sockets, tcp, unix_datagram, unix_stream, held } = self;
        let is_held = |listener| held.contains(&listener);
        let coalesce_delay = options.coalesce_delay;
        let rests = || StreamRests::new(coalesce_delay, drains.clone());
        let mut addresses = Addresses::default();
        let common = DatagramOptions {
            name: String::new(),
            max_datagram: 0,
            coalesce_delay,
            detects_origin: options.detects_origin,
            is_held: false,
            unread: telemetry.counter("datagrams_unread", &[]),
            permitted: None,
            relay: relay.clone(),
        };
        let (mut udp, mut streams, mut files) = (Vec::new(), Vec::new(), Vec::new());
        let mut unix_receivers = Arc::default();
        if let Some(options) = options.udp {
            let granted = socket_drops::register(telemetry, &udp_sockets, drops)?;
            machine_errors::register(telemetry);
            let is_held = is_held("udp");
            let refused =
                Refused::register(telemetry, "datagrams_refused", &[], "listeners.udp.permitted_networks");
            let permitted = (!options.permitted.have_all()).then(|| (options.permitted.clone(), refused));
            let local = udp_sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
            for same in local.chunk_by(|one, next| one == next) {
                let (address, receivers) = (same[0], same.len());
                let requested = options.receive_buffer as u64;
                addresses.udp.push(UdpAddress { address, receivers, requested, granted });
            }
            for (index, socket) in udp_sockets.into_iter().enumerate() {
                let (name, socket) = (format!("udp-{index}"), DatagramSocket::Udp(socket));
                let (max_datagram, permitted) = (options.max_datagram, permitted.clone());
                let options = DatagramOptions { name, max_datagram, is_held, permitted, ..common.clone() };
                udp.push(DatagramReceiver::start(socket, new_shard(), options, threads, drains)?);
            }
        }
        if let (Some((socket, bound)), Some(options)) = (unix_datagram, options.unix_datagram) {
            let UnixDatagramOptions { file, max_datagram } = options;
            addresses.unix_datagram = Some(path_of(&socket.local_addr()?));
            let is_held = bound.is_none();
            let (shard, threads, drains) = (new_shard(), threads.clone(), drains.clone());
            let start = move |socket| {
                let name = "unix_datagram".to_owned();
                let options = DatagramOptions { name, max_datagram, is_held, ..common.clone() };
                let socket = DatagramSocket::Unix(socket);
                DatagramReceiver::start(socket, Arc::clone(&shard), options, &threads, &drains)
            };
            unix_receivers = Arc::new(Mutex::new(vec![start(socket)?]));
            let receivers = Arc::clone(&unix_receivers);
            files.extend(bound.map(|bound| {
                WatchedFile::watch(telemetry, ("unix_datagram", file), bound, move |file| {
                    let (socket, bound) = bind_datagram(file, Duration::ZERO)?;
                    add_receiver(&mut receivers.lock(), start(socket)?);
                    Ok(bound)
                })
            }));
        }
        if let (Some(socket), Some((_, options))) = (tcp, options.tcp) {
            addresses.tcp = Some(socket.local_addr()?);
            let accept = AcceptOptions {
                name: "tcp",
                max_connections: options.max_connections,
                permitted: options.permitted.clone(),
                keys: TCP_CLIENT_KEYS,
                leaves_backlog: is_held("tcp"),
            };
            let (rests, looks) = rests();
            let reader = ConnectionReader::new("tcp", &options, new_shard(), rests, relay.clone());
            streams.push(start_streams(socket, accept, reader, looks, (telemetry, threads))?.0);
        }
        if let (Some((socket, bound)), Some((file, options))) = (unix_stream, options.unix_stream) {
            addresses.unix_stream = Some(path_of(&socket.local_addr()?));
            let accept = AcceptOptions {
                name: "unix_stream",
                max_connections: options.max_connections,
                permitted: options.permitted.clone(),
                keys: UNIX_CLIENT_KEYS,
                leaves_backlog: is_held("unix_stream"),
            };
            let (rests, looks) = rests();
            let reader = ConnectionReader::new("unix_stream", &options, new_shard(), rests, relay.clone());
            let (thread, replace) = start_streams(socket, accept, reader, looks, (telemetry, threads))?;
            streams.push(thread);
            files.extend(bound.map(|bound| {
                WatchedFile::watch(telemetry, ("unix_stream", file), bound, move |file| {
                    let (socket, bound) = bind_stream(file, Duration::ZERO)?;
                    replace.send(socket)?;
                    Ok(bound)
                })
            }));
        }
        Ok(Listeners { udp, unix_datagram: unix_receivers, streams, files, addresses, held })
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

/// Returns the path of a Unix socket. It is empty if the socket has none.
fn path_of(address: &unix::SocketAddr) -> PathBuf {
    address.as_pathname().map(Path::to_owned).unwrap_or_default()
}

/// Starts the thread of a stream listener. Returns the thread, and a channel for a socket that replaces its own.
fn start_streams<S: ByteStream, A, L: Listen<Connection = (S, A)>>(
    socket: L,
    accept: AcceptOptions,
    reader: ConnectionReader,
    looks: Looks,
    (telemetry, threads): (&Telemetry, &Threads),
) -> io::Result<(AcceptThread, UnboundedSender<L>)> {
    let (tags, keys) = ([("listener", accept.name)], accept.keys);
    let connections = ConnectionCounts::register(telemetry, "connections", &tags, CloseReason::Evicted, keys);
    AcceptThread::start_replaceable(socket, accept, connections, reader, threads, looks)
}

impl Listeners {
    /// Logs where tallyd listens, one line per listener.
    pub(crate) fn log_addresses(&self) {
        if !self.held.is_empty() {
            let listeners = self.held.join(", ");
            tracing::info!(
                listeners,
                "these listeners use sockets of the service manager, and not the addresses, paths and buffers of the configuration"
            );
        }
        let Addresses { udp, tcp, unix_datagram, unix_stream } = &self.addresses;
        for UdpAddress { address, receivers, requested, granted } in udp {
            tracing::info!(%address, receivers, receive_buffer = granted, "listening on udp");
            if granted < requested && self.held.contains(&"udp") {
                tracing::warn!(
                    granted,
                    requested,
                    "the receive buffer is small, so bursts may be lost and receivers rest less; set ReceiveBuffer={requested} in the socket unit"
                );
            } else if granted < requested {
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

    /// Refuses new datagrams and connections, and waits until everything that the kernel holds is recorded. A socket that
    /// the service manager holds stays open: what arrives from now on waits there for the next process.
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
            detects_origin: false,
            idle_timeout: Duration::from_mins(1),
        };
        let options = ListenOptions {
            coalesce_delay: Duration::from_millis(20),
            tcp: Some((([127, 0, 0, 1], 0).into(), streams)),
            ..ListenOptions::default()
        };
        let drains = DrainRequests::default();
        let listeners = open(options, HeldSockets::default())
            .unwrap()
            .start(
                || Arc::clone(&shard),
                &Telemetry::default(),
                &Threads::new().0,
                &drains,
                &CountedDrops::default(),
                &Relay::default(),
            )
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
