//! The HTTP endpoint that Prometheus scrapes.
//!
//! ```text
//!  snapshot --> totals --+
//!                        +--> pages: made when they are asked for, kept until the next snapshot
//!  request ---> answer --+
//! ```
//!
//! The exporter's thread adds snapshots to totals. The server has a thread of its own, with an own runtime, for all
//! connections, and one more on which pages are made.

mod answer;
mod connection;
mod counts;
mod negotiation;
mod pages;
mod progress;
mod server;
mod web;

pub use counts::{Closing, RequestCounts, Requests, WebState};
pub use web::{WebError, check as check_web};

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::prometheus::Totals;
use super::{ExportError, ExportOutcome, Exporter};
use crate::listen;
use crate::model::Snapshot;
use crate::net::Protocol;
use connection::Clerk;
use pages::Pages;
use server::Server;
use web::Gate;

/// What scrapers may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Where they connect.
    pub address: SocketAddr,
    /// Connections that may be open at a time.
    pub max_connections: usize,
    /// How long a connection may take to send the header of a request, and to take the answer.
    pub timeout: Duration,
    /// A file of exporter-toolkit that says what protects the endpoint.
    pub web_config_file: Option<PathBuf>,
}

/// What protects the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// How many users there are.
    pub users: usize,
}

/// A wish that the configuration be read again. How that went is told to whoever has it.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// The exporter that Prometheus scrapes.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    pages: Arc<Pages>,
    requests: Arc<Requests>,
    protection: Option<Protection>,
    /// Until the end.
    server: Option<Server>,
}

impl Endpoint {
    /// Serves what it is given from then on, added to `totals`. Clients may ask for a reload if there is somebody to ask.
    ///
    /// # Errors
    ///
    /// If the web configuration file is wrong; if the address cannot be had, among others because another process has it; or
    /// if the system gives no thread.
    pub fn start(
        serving: &Serving,
        totals: Totals,
        reloads: Option<mpsc::Sender<Reload>>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (pages, requests) = (Arc::new(Pages::new(totals)), Arc::new(Requests::default()));
        let open = |path| Gate::open(path, Arc::clone(&requests));
        let gate = serving.web_config_file.clone().map(open).transpose()?;
        let protection = gate.as_ref().map(Gate::protection);
        let socket = listen::bind_tcp(Protocol::Http, serving.address)?;
        let address = socket.local_addr()?;
        let clerk = Clerk {
            pages: Arc::clone(&pages),
            requests: Arc::clone(&requests),
            timeout: serving.timeout,
            reloads,
            gate,
        };
        let server = Some(Server::start(socket, serving.max_connections, clerk)?);
        Ok(Self { address, pages, requests, protection, server })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What protects it at the start, if there is a file that says so.
    #[must_use]
    pub fn protection(&self) -> Option<Protection> {
        self.protection
    }

    /// Its counters, and how its web configuration file stands.
    #[must_use]
    pub fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }
}

impl Exporter for Endpoint {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn export(&mut self, snapshot: &Snapshot) -> Result<ExportOutcome, ExportError> {
        let exported = self.pages.add(snapshot);
        if self.server.as_ref().is_some_and(Server::is_running) { Ok(exported) } else { Err(panicked()) }
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        // A little less, so that it ends in time.
        if self.server.take().is_none_or(|server| server.stop(patience * 9 / 10)) {
            Ok(())
        } else {
            Err(panicked())
        }
    }
}

fn panicked() -> ExportError {
    ExportError::new("the endpoint ended by a panic", io::Error::other("restart tallyd; see the log above"))
}
