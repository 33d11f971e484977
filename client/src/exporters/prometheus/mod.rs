//! The `prometheus` exporter. It keeps a page in the application that Prometheus can scrape, with the crate
//! `metrics-exporter-prometheus`.
//!
//! A metric has the same name, type and labels as on tallyd's page by default, so dashboards work with both. Names of
//! counters end in `_total`. Timings are in seconds, and their names end in `_seconds`. Percentiles are quantiles of a
//! summary. One difference remains: the crate guesses whether a backslash in a label's value already escapes something.
//!
//! ```text
//!  sample --> identity --> known series? --yes--> counter, gauge, summary or set
//!                               |no
//!                               +--> can the page show it? --> registered, or refused
//! ```

mod names;
mod registry;
mod server;

use std::error::Error;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use self::registry::Registry;
use self::server::Server;
use super::text::{name_prefix, push_metric_name, push_tags, with_buffer};
use crate::poison::ignore_poison;
use crate::sample::Sample;

/// The quantiles that tallyd computes with its shipped configuration.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];
/// The time over which the members of a set are counted. It equals tallyd's interval with its shipped configuration.
const INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Prometheus {
    name_prefix: String,
    handle: PrometheusHandle,
    registry: RwLock<Registry>,
    /// Hashes the members of sets.
    hasher: RandomState,
    interval_start: Mutex<Instant>,
    /// `None` if the application serves the page itself, and after [`stop`](Self::stop).
    server: Mutex<Option<Server>>,
}

impl Prometheus {
    /// Starts the exporter. If `address` is given, it serves the page there.
    pub(super) fn start(
        prefix: &str,
        address: Option<SocketAddr>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let builder = PrometheusBuilder::new().set_quantiles(&QUANTILES)?;
        let (recorder, server) = match address {
            Some(address) => {
                let (recorder, server) = Server::start(builder.with_http_listener(address))?;
                (recorder, Some(server))
            }
            None => (builder.build_recorder(), None),
        };
        Ok(Self {
            name_prefix: name_prefix(prefix),
            handle: recorder.handle(),
            registry: RwLock::new(Registry::new(recorder)),
            hasher: RandomState::new(),
            interval_start: Mutex::new(Instant::now()),
            server: Mutex::new(server),
        })
    }

    /// Records a sample. Fails with the reason if the page cannot show its series.
    pub(super) fn record(&self, sample: &Sample<'_>) -> Result<(), &'static str> {
        with_buffer(|identity| {
            push_metric_name(identity, &self.name_prefix, sample);
            let metric_length = identity.len();
            identity.push('|');
            identity.push_str(sample.value.wire_type());
            push_tags(identity, "|", sample);
            let registry = ignore_poison(self.registry.read());
            if let Some(series) = registry.find(identity) {
                series.record(sample.value, &self.hasher)
            } else {
                drop(registry);
                let mut registry = ignore_poison(self.registry.write());
                registry.add(identity, &identity[..metric_length], sample).record(sample.value, &self.hasher)
            }
        })
    }

    /// Moves recorded values into summaries, and updates the page's sets if their interval has ended.
    pub(super) fn run_upkeep(&self, now: Instant) {
        self.handle.run_upkeep();
        let mut start = ignore_poison(self.interval_start.lock());
        if now.saturating_duration_since(*start) >= INTERVAL {
            *start = now;
            ignore_poison(self.registry.read()).end_interval();
        }
    }

    /// Stops the server.
    pub(super) fn stop(&self) {
        drop(ignore_poison(self.server.lock()).take());
    }

    pub(super) fn render(&self) -> String {
        self.handle.render()
    }
}
