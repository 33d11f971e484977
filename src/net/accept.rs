//! Accepts connections and serves all of them on one thread. Every server in tallyd runs this loop.
//!
//! ```text
//!  accept --> fewer open than allowed --> serve until the connection closes --> count by reason
//!    ^  |
//!    |  +---> as many open as allowed --> close at once, count as refused
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
use tokio::task::{JoinError, JoinSet, LocalSet, yield_now};
use tokio::time::{sleep, timeout};

use super::bind::BACKLOG;
use super::connections::ConnectionCounts;
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
    type Connection: 'static;
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

/// Serves the connections `C` of a server. It runs only on the server's thread, so it needs no locks.
pub(crate) trait ServeConnection<C>: Send + 'static {
    /// The reasons for closing a connection.
    type CloseReason: Named + fmt::Debug + 'static;

    /// The reason that is counted for a connection whose service panicked.
    const PANICKED: Self::CloseReason;

    /// Whether a stopping server serves the connections in the kernel's backlog. If not, the kernel refuses them, unless
    /// another process accepts them.
    const SERVES_BACKLOG: bool;

    /// Serves a connection until it ends or the server stops, and returns the reason for closing it.
    fn serve(&self, connection: C, stop: Stop) -> impl Future<Output = Self::CloseReason>;
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

/// The name of a server, and its limit on connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptOptions {
    /// The name of its thread, which is also the name of the listener in the log.
    pub(crate) name: &'static str,
    /// The number of connections that may be open at a time.
    pub(crate) max_connections: usize,
    /// The configuration key of that number.
    pub(crate) max_connections_key: &'static str,
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

struct AcceptLoop<C, S: ServeConnection<C>> {
    options: AcceptOptions,
    connections: ConnectionCounts<S::CloseReason>,
    service: Rc<S>,
    again: Arc<Notify>,
    open: JoinSet<S::CloseReason>,
    stopping: watch::Receiver<Option<Duration>>,
    threads: Threads,
}

impl<C: 'static, S: ServeConnection<C>> AcceptLoop<C, S> {
    async fn run<L: Listen<Connection = C>>(
        mut self,
        mut socket: L::Polled,
        mut replacements: mpsc::UnboundedReceiver<L>,
    ) -> Stopped {
        let mut stop = Stop(self.stopping.clone());
        let again = Arc::clone(&self.again);
        let mut back_off = BackOff { options: self.options, warned: None };
        loop {
            // Counting ended connections first makes room, so that no connection is refused without need.
            tokio::select! {
                biased;
                () = stop.requested() => break,
                Some(ended) = self.open.join_next() => self.count_end(ended),
                // While a task yields, the runtime looks without waiting.
                () = again.notified() => yield_now().await,
                Some(replacement) = replacements.recv() => self.replace(&mut socket, replacement),
                accepted = L::accept(&socket) => match accepted {
                    Ok(connection) => self.serve(connection),
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
    fn replace<L: Listen<Connection = C>>(&mut self, socket: &mut L::Polled, replacement: L) {
        let listener = self.options.name;
        let new = match replacement.poll() {
            Ok(new) => new,
            Err(error) => {
                self.threads.report(format!("the listener {listener} cannot use its new socket: {error}"));
                return;
            }
        };
        let served = L::backlog(std::mem::replace(socket, new)).and_then(|backlog| {
            for accepted in backlog.take(BACKLOG as usize) {
                self.serve(accepted?);
            }
            Ok(())
        });
        if let Err(error) = served {
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
                self.serve(connection);
            }
        }
        self.wait_for_open().await;
    }

    async fn wait_for_open(&mut self) {
        while let Some(ended) = self.open.join_next().await {
            self.count_end(ended);
        }
    }

    fn serve(&mut self, connection: C) {
        if self.is_full() {
            self.connections.count_refused();
            return;
        }
        self.connections.count_opened();
        let (service, stop) = (Rc::clone(&self.service), Stop(self.stopping.clone()));
        self.open.spawn_local(async move { service.serve(connection, stop).await });
    }

    fn is_full(&self) -> bool {
        self.open.len() >= self.options.max_connections
    }

    fn count_end(&self, ended: Result<S::CloseReason, JoinError>) {
        let reason = ended.unwrap_or_else(|error| {
            let listener = self.options.name;
            tracing::error!(%error, listener, "a connection panicked; the data it sent last may be lost");
            S::PANICKED
        });
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
            let AcceptOptions { name, max_connections_key, .. } = self.options;
            tracing::warn!(
                %error,
                listener = name,
                "connections cannot be accepted and have to wait; if tallyd has too many open files, raise their limit \
                 (LimitNOFILE= of the service) or lower {max_connections_key}"
            );
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};

    use super::super::connections::RefusedWarning;
    use super::*;
    use crate::model::{Telemetry, Value};

    #[derive(Debug, Clone, Copy, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray)]
    #[strum(serialize_all = "snake_case")]
    enum Reason {
        End,
        Panic,
        Stop,
    }

    /// Panics on the first byte, unless the connection ends or the server stops first.
    struct PanicAtByte;

    impl ServeConnection<(TcpStream, tcp::SocketAddr)> for PanicAtByte {
        type CloseReason = Reason;
        const PANICKED: Reason = Reason::Panic;
        const SERVES_BACKLOG: bool = true;

        async fn serve(&self, (stream, _): (TcpStream, tcp::SocketAddr), mut stop: Stop) -> Reason {
            loop {
                tokio::select! {
                    biased;
                    () = stop.requested() => return Reason::Stop,
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
        let warning =
            RefusedWarning { key: "the.key", log: |refused, key| assert_eq!((refused, key), (1, "the.key")) };
        let connections = ConnectionCounts::register(&telemetry, "connections", &[], warning);
        let options = AcceptOptions {
            name: "test",
            max_connections: 1,
            max_connections_key: "the.key",
            leaves_backlog: false,
        };
        let server =
            AcceptThread::start(socket, options, connections, PanicAtByte, &Threads::new().0).unwrap();
        let connect = || tcp::TcpStream::connect(address).unwrap();
        let assert_ends =
            |mut client: tcp::TcpStream| assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        let mut first = connect();
        assert_ends(connect());
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
        assert_eq!(count("_opened|c"), Some(Value::Counter(3.0)));
        assert_eq!(count("_refused|c"), Some(Value::Counter(1.0)));
        for reason in ["end", "panic", "stop"] {
            assert_eq!(count(&format!("_closed|c|#reason:{reason}")), Some(Value::Counter(1.0)), "{reason}");
        }
    }
}
