//! Answers the commands of statsd's admin interface.
//!
//! ```text
//!  snapshot --> latest values --+
//!                               +--> answer
//!  line of a client --> command-+--> series to delete --> flush
//! ```

mod commands;
mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{ExportError, ExportOutcome, Exporter, ExporterStatuses};
use crate::model::{FlushRequests, Snapshot, Telemetry};
use crate::net::{
    AcceptOptions, AcceptThread, BindError, BindKeys, ClientKeys, ConnectionCounts, PermittedNetworks,
    Stopped, Threads, bind_tcp,
};
use commands::State;
use connection::{AdminService, CloseReason};

/// The number of connections that may be open at a time.
const MAX_CONNECTIONS: usize = 16;

const BIND_KEYS: BindKeys =
    BindKeys { socket: "admin", address: "admin.bind", port: "admin.bind", share_port: None };

const CLIENT_KEYS: ClientKeys =
    ClientKeys { max_connections: "admin.bind", permitted_networks: "admin.permitted_networks" };

/// The address of the admin interface, and who may connect.
#[derive(Debug, Clone)]
pub(crate) struct AdminOptions {
    pub(crate) address: SocketAddr,
    pub(crate) permitted: PermittedNetworks,
}

/// The admin interface. It gets snapshots like an exporter, and delivers them to people who ask.
#[derive(Debug)]
pub(crate) struct Admin {
    state: Arc<State>,
    address: SocketAddr,
    /// `None` once it has finished.
    accepting: Option<AcceptThread>,
}

impl Admin {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be used, or the system provides no thread.
    pub(crate) fn start(
        options: AdminOptions,
        (exporters, requests): (ExporterStatuses, FlushRequests),
        (telemetry, threads): (&Telemetry, &Threads),
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let socket = bind_tcp(options.address, &BIND_KEYS).map_err(Box::<BindError>::from)?;
        let address = socket.local_addr()?;
        let state = Arc::new(State::new(exporters, requests));
        let counts = ConnectionCounts::register(
            telemetry,
            "admin_connections",
            &[],
            CloseReason::Evicted,
            CLIENT_KEYS,
        );
        let accept = AcceptOptions {
            name: "admin",
            max_connections: MAX_CONNECTIONS,
            permitted: options.permitted,
            keys: CLIENT_KEYS,
            leaves_backlog: false,
        };
        let service = AdminService(Arc::clone(&state));
        let accepting = AcceptThread::start(socket, accept, counts, service, threads)?;
        Ok(Self { state, address, accepting: Some(accepting) })
    }

    /// Returns the address on which it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Exporter for Admin {
    const KEEPS_TOTALS: bool = true;

    fn name(&self) -> &'static str {
        "admin"
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        self.state.add(snapshot);
        if self.accepting.as_ref().is_some_and(AcceptThread::is_running) {
            return Ok(ExportOutcome::default());
        }
        let source = io::Error::other("restart tallyd; see the log above");
        Err(ExportError::new("the admin interface panicked", source))
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        if let Some(accepting) = self.accepting.take() {
            accepting.stop(patience * 9 / 10);
            // A client that does not read its answer loses nothing that the output does not have.
            let (Stopped::Drained | Stopped::TimedOut | Stopped::Panicked) = accepting.join();
        }
        Ok(())
    }
}
