//! Accepts connections and serves all of them on one thread. Every server in tallyd runs this loop.
//!
//! ```text
//!  accept --> is permitted --> fewer open than allowed --> serve until the connection closes --> count by reason
//!    ^  |     |          |
//!    |  |     |          +----> as many open as allowed --> one of them gives way (slots)
//!    |  |     +---> is not permitted --> close at once, count as refused
//!    |  |
//!    +--+---> accepting failed --> wait; connections stay in the kernel's backlog
//!       |
//!       +---> accepting will always fail --> report it, so that tallyd stops
//!
//!  stop --> wait for open connections --> serve the backlog, if the service accepts it --> end
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{net as tcp, os::unix::net as unix};

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet, LocalSet, yield_now};
use tokio::time::{sleep, timeout};

use super::bind::BACKLOG;
use super::connections::{ClientKeys, ConnectionCounts};
use super::permitted::PermittedNetworks;
use super::slots::{Activity, Address, Slots};
use super::threads::{Threads, is_lasting};
use crate::model::Named;

/// The pause after a failure to accept. The failure will probably repeat, and must not keep the thread busy.
const PAUSE: Duration = Duration::from_millis(100);

/// The sources of events other than connections: the listening socket, and wake-ups by other threads.
const OTHER_SOURCES: usize = 16;

/// The shortest time between two warnings that connections cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// A listening socket.
pub(crate) trait Listen: Send + Sized + 'static {
    /// A connection and the address of its client.
    type Connection: Accepted;
    /// The socket while it is polled by a runtime.
    type Polled: Send + 'static;

    /// Registers the socket with the current runtime.
    fn poll(self) -> io::Result<Self::Polled>;

    /// Accepts the next connection.
    fn accept(polled: &Self::Polled) -> impl Future<Output = io::Result<Self::Connection>>;

    /// Returns the connections that the kernel has already accepted. It asks the kernel, because the runtime's view of
    /// the socket may be out of date.
    fn backlog(polled: Self::Polled) -> io::Result<impl Iterator<Item = io::Result<Self::Connection>>>;
}

impl Listen for tcp::TcpListener {
    type Connection = (TcpStream, tcp::SocketAddr);
    type Polled = TcpListener;

    fn poll(self) -> io::Result<TcpListener> {
        TcpListener::from_std(self)
    }

    fn accept(polled: &TcpListener) -> impl Future<Output = io::Result<Self::Connection>> {
        polled.accept()
    }

    fn backlog(polled: TcpListener) -> io::Result<impl Iterator<Item = io::Result<Self::Connection>>> {
        let socket = polled.into_std()?;
        Ok(until_would_block(move || {
            let (stream, peer) = socket.accept()?;
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, peer))
        }))
    }
}

impl Listen for unix::UnixListener {
    type Connection = (UnixStream, tokio::net::unix::SocketAddr);
    type Polled = UnixListener;

    fn poll(self) -> io::Result<UnixListener> {
        UnixListener::from_std(self)
    }

    fn accept(polled: &UnixListener) -> impl Future<Output = io::Result<Self::Connection>> {
        polled.accept()
    }

    fn backlog(polled: UnixListener) -> io::Result<impl Iterator<Item = io::Result<Self::Connection>>> {
        let socket = polled.into_std()?;
        Ok(until_would_block(move || {
            let (stream, peer) = socket.accept()?;
            stream.set_nonblocking(true)?;
            Ok((UnixStream::from_std(stream)?, peer.into()))
        }))
    }
}

fn until_would_block<T>(accept: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = io::Result<T>> {
    let is_left = |accepted: &io::Result<T>| !matches!(accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    std::iter::repeat_with(accept).take_while(is_left)
}

/// A connection and the address of its client.
pub(crate) trait Accepted: 'static {
    /// Returns the IP address of the client.
    fn address(&self) -> Address;
}

impl Accepted for (TcpStream, tcp::SocketAddr) {
    fn address(&self) -> Address {
        Some(self.1.ip().to_canonical())
    }
}

impl Accepted for (UnixStream, tokio::net::unix::SocketAddr) {
    fn address(&self) -> Address {
        None
    }
}

/// Serves the connections `C` of a server. It runs only on the server's thread, so it needs no locks.
pub(crate) trait ServeConnection<C>: Send + 'static {
    /// The reasons for closing a connection.
    type CloseReason: Named + fmt::Debug + 'static;

    /// The reason that is counted for a connection whose service panicked.
    const PANICKED: Self::CloseReason;

    /// Whether a stopping server serves the connections in the kernel's backlog. If not, the kernel refuses them, unless
    /// another process accepts them.
    const SERVES_BACKLOG: bool;

    /// Serves a connection until it ends, the server stops, or the connection has to give way to a new one. Returns the
    /// reason for closing it.
    fn serve(
        &self,
        connection: C,
        stop: Stop,
        activity: Rc<Activity>,
    ) -> impl Future<Output = Self::CloseReason>;
}

/// Tells a connection that its server stops.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<Option<Duration>>);

impl Stop {
    /// Waits until the server stops.
    pub(crate) async fn requested(&mut self) {
        // An error means that the server was dropped, which also stops it.
        _ = self.0.wait_for(Option::is_some).await;
    }
}

/// The name of a server, and its limits for clients.
#[derive(Debug, Clone)]
pub(crate) struct AcceptOptions {
    /// The name of its thread, which is also the name of the listener in the log.
    pub(crate) name: &'static str,
    /// The number of connections that may be open at a time.
    pub(crate) max_connections: usize,
    /// The networks from which clients may connect.
    pub(crate) permitted: PermittedNetworks,
    pub(crate) keys: ClientKeys,
    /// Whether a stop leaves connections in the backlog, because another process will accept them.
    pub(crate) leaves_backlog: bool,
}

/// The work of a server's thread between two looks at its sockets. The default does nothing.
#[derive(Clone)]
pub(crate) struct Looks {
    /// The thread calls this each time before it waits for the kernel. By then, every connection has read all that the
    /// latest look has found.
    pub(crate) before_wait: Arc<dyn Fn() + Send + Sync>,
    /// Makes the thread look at its sockets without waiting, and then call `before_wait`. Any thread may notify it.
    pub(crate) again: Arc<Notify>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { before_wait: Arc::new(|| ()), again: Arc::default() }
    }
}

/// The way in which a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// All connections were served to their end.
    Drained,
    /// Some connections were closed because the time was up.
    TimedOut,
    /// Its thread panicked.
    Panicked,
}

/// The thread of a server, which accepts and serves the connections of one listening socket.
#[derive(Debug)]
pub(crate) struct AcceptThread {
    stop: watch::Sender<Option<Duration>>,
    thread: JoinHandle<Stopped>,
}

impl AcceptThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread, or no file for the runtime.
    pub(crate) fn start<L: Listen, S: ServeConnection<L::Connection>>(
        socket: L,
        options: AcceptOptions,
        connections: ConnectionCounts<S::CloseReason>,
        service: S,
        threads: &Threads,
    ) -> io::Result<Self>
    where
        ConnectionCounts<S::CloseReason>: Send + 'static,
    {
        let looks = Looks::default();
        Self::start_replaceable(socket, options, connections, service, threads, looks)
            .map(|(thread, _)| thread)
    }

    /// Starts the thread. A socket that is sent through the returned channel replaces the one on which the thread
    /// accepts connections. Open connections and those in the backlog stay.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread, or no file for the runtime.
    pub(crate) fn start_replaceable<L: Listen, S: ServeConnection<L::Connection>>(
        socket: L,
        options: AcceptOptions,
        connections: ConnectionCounts<S::CloseReason>,
        service: S,
        threads: &Threads,
        looks: Looks,
    ) -> io::Result<(Self, mpsc::UnboundedSender<L>)>
    where
        ConnectionCounts<S::CloseReason>: Send + 'static,
    {
        let (replace, replacements) = mpsc::unbounded_channel();
        let Looks { before_wait, again } = looks;
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // All work that services pass to `spawn_blocking` runs on this one thread, so clients use at most one more
            // core.
            .max_blocking_threads(1)
            // One look finds all connections that are ready.
            .max_io_events_per_tick(options.max_connections.saturating_add(OTHER_SOURCES))
            .on_thread_park(move || before_wait())
            .build()?;
        let socket = {
            let _context = runtime.enter();
            socket.poll()?
        };
        let (stop, stopping) = watch::channel(None);
        let reporter = threads.clone();
        let thread = threads.spawn(options.name, move || {
            let accept_loop = AcceptLoop {
                options,
                connections,
                service: Rc::new(service),
                again,
                open: JoinSet::new(),
                slots: Slots::default(),
                stopping,
                threads: reporter,
            };
            LocalSet::new().block_on(&runtime, accept_loop.run::<L>(socket, replacements))
        })?;
        Ok((Self { stop, thread }, replace))
    }

    /// Returns true while the thread runs. Until [`stop`](Self::stop), only a panic ends it.
    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Tells the thread to accept nothing more and to end within `patience`. Connections may use that time to finish.
    pub(crate) fn stop(&self, patience: Duration) {
        self.stop.send_replace(Some(patience));
        self.thread.thread().unpark();
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(self) -> Stopped {
        self.thread.join().unwrap_or(Stopped::Panicked)
    }
}

struct AcceptLoop<C: Accepted, S: ServeConnection<C>> {
    options: AcceptOptions,
    connections: ConnectionCounts<S::CloseReason>,
    service: Rc<S>,
    again: Arc<Notify>,
    open: JoinSet<S::CloseReason>,
    slots: Slots,
    stopping: watch::Receiver<Option<Duration>>,
    threads: Threads,
}

impl<C: Accepted, S: ServeConnection<C>> AcceptLoop<C, S> {
    async fn run<L: Listen<Connection = C>>(
        mut self,
        mut socket: L::Polled,
        mut replacements: mpsc::UnboundedReceiver<L>,
    ) -> Stopped {
        let mut stop = Stop(self.stopping.clone());
        let again = Arc::clone(&self.again);
        let mut back_off = BackOff { options: self.options.clone(), warned: None };
        loop {
            // Counting ended connections first makes room, so that no connection is refused without need.
            tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(ended) = self.open.join_next_with_id() => self.count_end(ended),
                // While a task yields, the runtime looks without waiting.
                () = again.notified() => yield_now().await,
                Some(replacement) = replacements.recv() => self.replace(&mut socket, replacement).await,
                accepted = L::accept(&socket) => match accepted {
                    Ok(connection) => self.serve(connection).await,
                    Err(error) if error.raw_os_error().is_some_and(|code| is_lasting(Errno::from_raw(code))) => {
                        let listener = self.options.name;
                        self.threads.report(format!("the listener {listener} cannot accept connections: {error}"));
                        stop.requested().await;
                        break;
                    }
                    Err(error) => back_off.wait(&error).await,
                },
            }
        }
        let patience = self.stopping.borrow().unwrap_or_default();
        match timeout(patience, self.drain::<L>(socket)).await {
            Ok(()) => Stopped::Drained,
            Err(_) => Stopped::TimedOut,
        }
    }

    /// Accepts connections on another socket from now on, after those in the backlog of the old one.
    async fn replace<L: Listen<Connection = C>>(&mut self, socket: &mut L::Polled, replacement: L) {
        let listener = self.options.name;
        let new = match replacement.poll() {
            Ok(new) => new,
            Err(error) => {
                self.threads.report(format!("the listener {listener} cannot use its new socket: {error}"));
                return;
            }
        };
        let serve = async {
            for accepted in L::backlog(std::mem::replace(socket, new))?.take(BACKLOG as usize) {
                self.serve(accepted?).await;
            }
            Ok::<_, io::Error>(())
        };
        if let Err(error) = serve.await {
            tracing::error!(%error, listener, "connections in the backlog of the old socket are lost");
        }
    }

    async fn drain<L: Listen<Connection = C>>(&mut self, socket: L::Polled) {
        // Without a backlog to serve, this closes the socket before any waiting.
        let serves_backlog = S::SERVES_BACKLOG && !self.options.leaves_backlog;
        let socket = serves_backlog.then_some(socket);
        // Open connections notice the stop themselves. Waiting for them first makes room for the backlog.
        self.wait_for_open().await;
        match socket.map(L::backlog).transpose() {
            // Clients may keep connecting. At most this many had connected when the stop began.
            Ok(backlog) => self.serve_backlog(backlog.into_iter().flatten().take(BACKLOG as usize)).await,
            Err(error) => {
                let listener = self.options.name;
                tracing::error!(%error, listener, "connections in the backlog are lost");
            }
        }
    }

    async fn serve_backlog(&mut self, backlog: impl Iterator<Item = io::Result<C>>) {
        for accepted in backlog {
            // An error may mean that the process has no free file descriptors. Connections that end free some.
            if accepted.is_err() || self.is_full() {
                self.wait_for_open().await;
            }
            if let Ok(connection) = accepted {
                self.serve(connection).await;
            }
        }
        self.wait_for_open().await;
    }

    async fn wait_for_open(&mut self) {
        while let Some(ended) = self.open.join_next_with_id().await {
            self.count_end(ended);
        }
    }

    async fn serve(&mut self, connection: C) {
        let address = connection.address();
        if let Some(client) = address.filter(|client| !self.options.permitted.contain(*client)) {
            self.connections.count_refused(client);
            return;
        }
        self.make_room(address).await;
        self.connections.count_opened();
        let (service, stop, activity) =
            (Rc::clone(&self.service), Stop(self.stopping.clone()), Activity::new());
        let own = Rc::clone(&activity);
        let task = self.open.spawn_local(async move { service.serve(connection, stop, own).await });
        self.slots.insert(task.id(), address, activity);
    }

    /// Waits until there is room for a connection from `newcomer`.
    async fn make_room(&mut self, newcomer: Address) {
        while self.is_full() {
            if let Some((address, count)) = self.slots.evict_for(newcomer) {
                self.connections.note_busiest(address, count);
            }
            // The service ends soon, because it does not wait for its client. The other connections run meanwhile, so a
            // flood of new ones does not keep them from their requests.
            if let Some(ended) = self.open.join_next_with_id().await {
                self.count_end(ended);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.open.len() >= self.options.max_connections
    }

    fn count_end(&mut self, ended: Result<(Id, S::CloseReason), JoinError>) {
        let (id, reason) = ended.unwrap_or_else(|error| {
            let listener = self.options.name;
            tracing::error!(%error, listener, "a connection panicked; the data it sent last may be lost");
            (error.id(), S::PANICKED)
        });
        self.slots.remove(id);
        self.connections.count_closed(reason);
    }
}

/// Pauses when connections cannot be accepted.
struct BackOff {
    options: AcceptOptions,
    /// The time of the last warning.
    warned: Option<Instant>,
}

impl BackOff {
    /// Waits if the error is likely to repeat. Meanwhile, connections wait in the kernel's backlog.
    async fn wait(&mut self, error: &io::Error) {
        // This error concerns one client, which is gone.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
            self.warned = Some(Instant::now());
            let AcceptOptions { name, keys: ClientKeys { max_connections, .. }, .. } = self.options;
            tracing::warn!(
                %error,
                listener = name,
                "connections cannot be accepted and have to wait; if tallyd has too many open files, raise their limit \
                 (LimitNOFILE= of the service) or lower {max_connections}"
            );
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::model::{Telemetry, Value};

    #[derive(Debug, Clone, Copy, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray)]
    #[strum(serialize_all = "snake_case")]
    enum Reason {
        End,
        Panic,
        Stop,
        Evicted,
    }

    /// Panics on the first byte, unless the connection ends, gives way, or the server stops first.
    struct PanicAtByte;

    impl ServeConnection<(TcpStream, tcp::SocketAddr)> for PanicAtByte {
        type CloseReason = Reason;
        const PANICKED: Reason = Reason::Panic;
        const SERVES_BACKLOG: bool = true;

        async fn serve(
            &self,
            (stream, _): (TcpStream, tcp::SocketAddr),
            mut stop: Stop,
            activity: Rc<Activity>,
        ) -> Reason {
            loop {
                tokio::select! {
                    biased;
                    () = stop.requested() => return Reason::Stop,
                    () = activity.evicted() => return Reason::Evicted,
                    _ = stream.readable() => match stream.try_read(&mut [0]) {
                        Ok(0) => return Reason::End,
                        Ok(_) => panic!("a byte"),
                        Err(_) => {}
                    },
                }
            }
        }
    }

    #[test]
    fn every_connection_is_counted_by_its_outcome() {
        let socket = tcp::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let telemetry = Telemetry::default();
        let keys = ClientKeys { max_connections: "the.key", permitted_networks: "the.networks" };
        let connections = ConnectionCounts::register(&telemetry, "connections", &[], Reason::Evicted, keys);
        let permitted = PermittedNetworks::new(["127.0.0.0/30".parse().unwrap()]);
        let options =
            AcceptOptions { name: "test", max_connections: 1, permitted, keys, leaves_backlog: false };
        let server =
            AcceptThread::start(socket, options, connections, PanicAtByte, &Threads::new().0).unwrap();
        let connect = || tcp::TcpStream::connect(address).unwrap();
        let assert_ends =
            |mut client: tcp::TcpStream| assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        let stranger = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        stranger.bind(&tcp::SocketAddr::from(([127, 0, 0, 4], 0)).into()).unwrap();
        stranger.connect(&address.into()).unwrap();
        assert_ends(stranger.into());
        let evicted = connect();
        let mut first = connect();
        assert_ends(evicted);
        first.write_all(b"x").unwrap();
        assert_ends(first);
        let second = connect();
        second.shutdown(tcp::Shutdown::Write).unwrap();
        assert_ends(second);
        let third = connect();
        server.stop(Duration::from_mins(1));
        assert_ends(third);
        assert_eq!(server.join(), Stopped::Drained);
        let mut counts = BTreeMap::new();
        telemetry.read(|_, series, value| _ = counts.insert(format!("{series:?}"), value));
        let count = |name: &str| counts.get(&format!("tallyd.connections{name}")).cloned();
        assert_eq!(count("|g"), Some(Value::Gauge(0.0)));
        assert_eq!(count("_opened|c"), Some(Value::Counter(4.0)));
        assert_eq!(count("_refused|c"), Some(Value::Counter(1.0)));
        for reason in ["end", "panic", "stop", "evicted"] {
            assert_eq!(count(&format!("_closed|c|#reason:{reason}")), Some(Value::Counter(1.0)), "{reason}");
        }
    }
}
