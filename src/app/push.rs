//! Starts the exporters that push, and changes their endpoints at a reload.

use std::io;

use crate::app::config::{Config, HttpEndpoint};
use crate::deliver::{Delivery, HttpClient};
use crate::export::{
    Endpoints, ExporterStatuses, OtlpContent, OtlpTransport, RemoteWriteContent, RemoteWriteTransport, Wanted,
};

/// The endpoints of all push exporters.
#[derive(Debug)]
pub(super) struct PushEndpoints {
    pub(super) remote_write: Endpoints<RemoteWriteContent>,
    pub(super) otlp: Endpoints<OtlpContent>,
    /// The name of this machine.
    host: String,
}

impl PushEndpoints {
    /// Creates lists without endpoints.
    pub(super) fn new(delivery: &Delivery, statuses: &ExporterStatuses) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            remote_write: Endpoints::new("remote_write", delivery.clone(), statuses.clone()),
            otlp: Endpoints::new("otlp", delivery.clone(), statuses.clone()),
            host,
        }
    }

    /// Starts, ends and changes endpoints, so that they are those of the configuration.
    ///
    /// # Errors
    ///
    /// Returns the key of the first endpoint that cannot be started, and the reason. The others run.
    pub(super) fn change(&self, config: &Config) -> Result<(), String> {
        let remote_write = wanted(&config.exporters.remote_write, "remote_write", |endpoint| {
            Ok((
                endpoint.content(&self.host),
                RemoteWriteTransport::new(HttpClient::new(endpoint.connection())?),
            ))
        })?;
        let otlp = wanted(&config.exporters.otlp, "otlp", |endpoint| {
            let [metrics, logs] = endpoint.connections();
            let transport = OtlpTransport::new(HttpClient::new(metrics)?, HttpClient::new(logs)?);
            Ok((endpoint.content(&self.host), transport))
        })?;
        let of = |exporter: &str, changed: io::Result<()>| {
            changed.map_err(|error| format!("exporters.{exporter}: {error}"))
        };
        of("remote_write", self.remote_write.change(remote_write)).and(of("otlp", self.otlp.change(otlp)))
    }
}

/// Prepares endpoints. `prepare` returns what an endpoint gets, and how.
fn wanted<E: HttpEndpoint, C, T>(
    endpoints: &[E],
    key: &str,
    prepare: impl Fn(&E) -> Result<(C, T), String>,
) -> Result<Vec<Wanted<C, T>>, String> {
    let wanted = |endpoint: &E| {
        let name = endpoint.name();
        let (content, transport) =
            prepare(endpoint).map_err(|problem| format!("exporters.{key} {name:?}: {problem}"))?;
        Ok(Wanted { name: name.to_owned(), written: endpoint.written(), content, transport })
    };
    endpoints.iter().map(wanted).collect()
}
