//! Starts the exporters that push, and changes their endpoints at a reload.

use crate::app::config::{Config, HttpEndpoint};
use crate::deliver::{Delivery, HttpClient};
use crate::export::{Endpoints, ExporterStatuses, RemoteWriteContent, RemoteWriteTransport, Wanted};

/// The endpoints of all push exporters.
#[derive(Debug)]
pub(super) struct PushEndpoints {
    pub(super) remote_write: Endpoints<RemoteWriteContent>,
    /// The name of this machine.
    host: String,
}

impl PushEndpoints {
    /// Creates lists without endpoints.
    pub(super) fn new(delivery: &Delivery, statuses: &ExporterStatuses) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { remote_write: Endpoints::new("remote_write", delivery.clone(), statuses.clone()), host }
    }

    /// Starts, ends and changes endpoints, so that they are those of the configuration.
    ///
    /// # Errors
    ///
    /// Returns the key of the first endpoint that cannot be started, and the reason. The others run.
    pub(super) fn change(&self, config: &Config) -> Result<(), String> {
        let wanted = wanted(&config.exporters.remote_write, "remote_write", |endpoint, client| {
            (endpoint.content(&self.host), RemoteWriteTransport::new(client))
        })?;
        self.remote_write.change(wanted).map_err(|error| format!("exporters.remote_write: {error}"))
    }
}

/// Prepares the clients of endpoints. `prepare` returns what an endpoint gets, and how.
fn wanted<E: HttpEndpoint, C, T>(
    endpoints: &[E],
    key: &str,
    prepare: impl Fn(&E, HttpClient) -> (C, T),
) -> Result<Vec<Wanted<C, T>>, String> {
    let wanted = |endpoint: &E| {
        let client = HttpClient::new(endpoint.connection())
            .map_err(|problem| format!("exporters.{key} {:?}: {problem}", endpoint.name()))?;
        let (content, transport) = prepare(endpoint, client);
        Ok(Wanted { name: endpoint.name().to_owned(), written: endpoint.written(), content, transport })
    };
    endpoints.iter().map(wanted).collect()
}
