//! Opens the socket of an HTTP server, and starts and stops its thread.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use super::connection::{HttpService, Service};
use super::deadline::CloseReason;
use super::response::ResponseCounts;
use super::web::{AccessControl, Protection};
use crate::model::Telemetry;
use crate::net::{
    AcceptOptions, AcceptThread, BindKeys, BoundFile, ClientKeys, ConnectionCounts, LOCK_PATIENCE, Listen,
    PermittedNetworks, ServeConnection, SocketFile, Stopped, Threads, adopt_tcp, bind_stream, bind_tcp,
};

/// The address of a server, and the limits for its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerOptions {
    /// The address on which the server listens.
    pub(crate) address: SocketAddr,
    /// The number of connections that may be open at a time.
    pub(crate) max_connections: usize,
    /// The networks from which clients may connect.
    pub(crate) permitted: PermittedNetworks,
    /// The time that a client has to send the header of a request, and again to receive the response.
    pub(crate) timeout: Duration,
    /// The web configuration file, in the format of exporter-toolkit. It sets TLS, users, headers and a rate limit.
    pub(crate) web_config_file: Option<PathBuf>,
    /// The file of a Unix socket on which the server listens, too. There, its mode and its owner say who may connect.
    pub(crate) socket_file: Option<SocketFile>,
}

/// The configuration keys of a server, for errors and warnings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerKeys {
    pub(crate) bind: BindKeys,
    pub(crate) clients: ClientKeys,
    pub(crate) web_config_file: &'static str,
}

/// A running HTTP server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    protection: Option<Protection>,
    accepting: Vec<AcceptThread>,
    /// Removes the file of the Unix socket when the server stops.
    _bound: Option<BoundFile>,
}

impl Server {
    /// Starts a thread on which `service` answers requests, and registers the telemetry of the server. It uses the socket
    /// that the service manager `held`, if there is one. Then clients that connect while no process runs wait for the next.
    ///
    /// # Errors
    ///
    /// Fails if the web configuration file is invalid, the address cannot be used, or the system provides no thread.
    pub(crate) fn start(
        options: &ServerOptions,
        held: Option<TcpListener>,
        keys: &ServerKeys,
        service: impl Service + Clone,
        (telemetry, threads): (&Telemetry, &Threads),
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let open = |path| AccessControl::open(path, keys.web_config_file, telemetry, threads);
        let access = options.web_config_file.clone().map(open).transpose()?;
        let protection = access.as_ref().map(AccessControl::protection);
        let socket = match held {
            Some(socket) => adopt_tcp(socket)?,
            None => bind_tcp(options.address, &keys.bind)?,
        };
        let address = socket.local_addr()?;
        let local = options.socket_file.as_ref().map(|file| bind_stream(file, LOCK_PATIENCE)).transpose()?;
        let service = HttpService {
            service,
            timeout: options.timeout,
            access,
            responses: ResponseCounts::register(telemetry),
        };
        let mut accepting = Vec::new();
        let mut bound = None;
        if let Some((socket, file)) = local {
            let service = service.without_protection();
            accepting.push(start_thread(
                "http-unix",
                socket,
                (options, keys),
                service,
                (telemetry, threads),
            )?);
            bound = Some(file);
        }
        accepting.push(start_thread("http", socket, (options, keys), service, (telemetry, threads))?);
        Ok(Self { address, protection, accepting, _bound: bound })
    }

    /// Returns the address on which the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the protection that was in force at the start, or `None` without a web configuration file.
    pub(crate) fn protection(&self) -> Option<Protection> {
        self.protection
    }

    /// Returns true while the server's thread runs. Only a panic ends it.
    pub(crate) fn is_running(&self) -> bool {
        self.accepting.iter().all(AcceptThread::is_running)
    }

    /// Accepts nothing more, and waits up to `patience` for responses that are being sent.
    pub(crate) fn stop(self, patience: Duration) -> Stopped {
        self.accepting.iter().for_each(|accepting| accepting.stop(patience));
        let ends: Vec<_> = self.accepting.into_iter().map(AcceptThread::join).collect();
        [Stopped::Panicked, Stopped::TimedOut]
            .into_iter()
            .find(|end| ends.contains(end))
            .unwrap_or(Stopped::Drained)
    }
}

/// Starts to serve the connections of a socket. `name` is the name of the thread.
fn start_thread<L: Listen, S: Service>(
    name: &'static str,
    socket: L,
    (options, keys): (&ServerOptions, &ServerKeys),
    service: HttpService<S>,
    (telemetry, threads): (&Telemetry, &Threads),
) -> io::Result<AcceptThread>
where
    HttpService<S>: ServeConnection<L::Connection, CloseReason = CloseReason>,
{
    let counts = format!("{}_connections", name.replace('-', "_"));
    let connections = ConnectionCounts::register(telemetry, &counts, &[], CloseReason::Evicted, keys.clients);
    let options = AcceptOptions {
        name,
        max_connections: options.max_connections,
        permitted: options.permitted.clone(),
        keys: keys.clients,
        leaves_backlog: false,
    };
    AcceptThread::start(socket, options, connections, service, threads)
}
