//! Starts the exporters that push, and changes their endpoints at a reload.

use std::io;
use std::process::ExitCode;

use crate::app::config::{Config, PushEndpoint};
use crate::app::process::host;
use crate::deliver::{Delivery, HttpClient};
use crate::export::prometheus::{ProbeResult, probe as probe_server};
use crate::export::{
    Endpoints, ExporterStatuses, GraphiteContent, InfluxContent, InfluxTransport, OtlpContent, OtlpTransport,
    RemoteWriteContent, RemoteWriteTransport, Wanted,
};

/// Writes a few points to each server of `exporters.remote_write`, and reports what it has stored. Fails if a server drops what its
/// endpoint would get.
pub(super) fn probe(config: &Config, mut report: impl FnMut(String)) -> ExitCode {
    let mut is_whole = true;
    if config.exporters.remote_write.is_empty() {
        report("exporters.remote_write has no endpoints to probe".to_owned());
    }
    for endpoint in &config.exporters.remote_write {
        let connection = endpoint.connection();
        let url = connection.url.clone();
        let content = endpoint.content(&host());
        let result = HttpClient::new(connection).and_then(|client| probe_server(client, &content, &url));
        let (is_right, words) = match result {
            Err(problem) => (false, problem),
            Ok(ProbeResult { samples: false, .. }) => {
                (false, "it answered with success, and stored nothing".to_owned())
            }
            Ok(ProbeResult { native_histograms: true, .. }) => {
                (true, "it stores samples and native histograms".to_owned())
            }
            Ok(_) if content.native => {
                let words = "it stores samples, but drops native histograms; set native_histograms = false";
                (false, words.to_owned())
            }
            Ok(_) => (true, "it stores samples, but no native histograms".to_owned()),
        };
        is_whole &= is_right;
        report(format!("remote_write/{}: {words}", endpoint.name()));
    }
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The endpoints of all push exporters.
#[derive(Debug)]
pub(super) struct PushEndpoints {
    pub(super) remote_write: Endpoints<RemoteWriteContent>,
    pub(super) otlp: Endpoints<OtlpContent>,
    pub(super) graphite: Endpoints<GraphiteContent>,
    pub(super) influxdb: Endpoints<InfluxContent>,
    /// The name of this machine.
    host: String,
}

impl PushEndpoints {
    /// Creates lists without endpoints.
    pub(super) fn new(delivery: &Delivery, statuses: &ExporterStatuses) -> Self {
        Self {
            remote_write: Endpoints::new("remote_write", delivery.clone(), statuses.clone()),
            otlp: Endpoints::new("otlp", delivery.clone(), statuses.clone()),
            graphite: Endpoints::new("graphite", delivery.clone(), statuses.clone()),
            influxdb: Endpoints::new("influxdb", delivery.clone(), statuses.clone()),
            host: host(),
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
        let graphite = wanted(&config.exporters.graphite, "graphite", |endpoint| {
            Ok((endpoint.content(), endpoint.transport()))
        })?;
        let influxdb = wanted(&config.exporters.influxdb, "influxdb", |endpoint| {
            let transport = InfluxTransport::new(HttpClient::new(endpoint.connection_with_token())?);
            Ok((endpoint.content(&self.host), transport))
        })?;
        let of = |exporter: &str, changed: io::Result<()>| {
            changed.map_err(|error| format!("exporters.{exporter}: {error}"))
        };
        let remote_write = of("remote_write", self.remote_write.change(remote_write));
        let otlp = of("otlp", self.otlp.change(otlp));
        let graphite = of("graphite", self.graphite.change(graphite));
        let influxdb = of("influxdb", self.influxdb.change(influxdb));
        remote_write.and(otlp).and(graphite).and(influxdb)
    }
}

/// Prepares endpoints. `prepare` returns what an endpoint gets, and how.
fn wanted<E: PushEndpoint, C, T>(
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
