//! The configuration of an application's metrics.

mod keys;
pub(crate) mod settings;
#[cfg(feature = "toml")]
mod toml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The configuration of an application's metrics. An unset key has its default. [One configuration can be merged over
/// another](Self::merged_over).
///
/// | key | default | meaning |
/// |---|---|---|
/// | `enabled` | `true` | whether anything is exported |
/// | `exporters` | `["statsd"]` | one or more of `statsd`, `console` and `prometheus` |
/// | `prefix` | none | the first part of all metric names, followed by a dot |
/// | `tags` | none | tags of every metric |
/// | `sample_rate` | `1.0` | the share of calls that are sent, above 0 and at most 1; gauges and sets are always sent |
/// | `statsd.address` | `"udp://127.0.0.1:8125"` | where tallyd listens; also a Unix socket, such as `"unix:///run/tallyd/tallyd.sock"` |
/// | `statsd.flush_interval_ms` | `1000` | the longest time that a sample waits in a buffer, from 10 to 3600000 |
/// | `prometheus.start_http_server` | `true` | whether the `prometheus` exporter serves its page itself |
/// | `prometheus.address` | `"127.0.0.1"` | the IP address at which it serves the page |
/// | `prometheus.port` | `9103` | the port at which it serves the page |
///
/// [`from_env`](Self::from_env) reads the same keys from `TALLYD_CLIENT_ENABLED`, `TALLYD_CLIENT_STATSD_ADDRESS` and so
/// on. In a variable, write a list as `statsd,console` and tags as `env:prod,region:eu`.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Config {
    enabled: Option<bool>,
    exporters: Option<Vec<Exporter>>,
    prefix: Option<String>,
    tags: BTreeMap<String, String>,
    sample_rate: Option<f64>,
    statsd_address: Option<String>,
    flush_interval_ms: Option<u64>,
    start_http_server: Option<bool>,
    prometheus_address: Option<IpAddr>,
    prometheus_port: Option<u16>,
}

/// A destination of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exporter {
    /// Sends samples to tallyd, or to any `StatsD` server that accepts `DogStatsD` tags.
    Statsd,
    /// Writes each sample to the log, through `tracing`.
    Console,
    /// Keeps a page in the application that Prometheus can scrape. It needs the cargo feature `prometheus`.
    Prometheus,
}

/// An error in a configuration. Its message says what is wrong, where, and what to write instead.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Prints the same text as `Display`, because Rust uses `Debug` to print an error that `main` returns.
impl fmt::Debug for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn at(key: &str, problem: impl fmt::Display) -> Self {
        Self(format!("{key}: {problem}"))
    }
}

impl Config {
    /// Makes a configuration in which every key has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns all exporters on or off.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Sets where metrics go.
    pub fn exporters(mut self, exporters: impl IntoIterator<Item = Exporter>) -> Self {
        self.exporters = Some(exporters.into_iter().collect());
        self
    }

    /// Sets the first part of all metric names.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Adds a tag to every metric.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Sets the share of calls that are sent, above 0 and at most 1. It multiplies the rates of collectors.
    pub fn sample_rate(mut self, rate: f64) -> Self {
        self.sample_rate = Some(rate);
        self
    }

    /// Sets where tallyd listens: `udp://host:port` or `unix://path`.
    pub fn statsd_address(mut self, address: impl Into<String>) -> Self {
        self.statsd_address = Some(address.into());
        self
    }

    /// Sets the longest time that a sample waits in a buffer, in whole milliseconds.
    pub fn statsd_flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval_ms = Some(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sets where the `prometheus` exporter serves its page.
    pub fn prometheus_address(mut self, address: SocketAddr) -> Self {
        self.prometheus_address = Some(address.ip());
        self.prometheus_port = Some(address.port());
        self
    }

    /// Sets whether the `prometheus` exporter serves its page. If it does not, the application can serve
    #[cfg_attr(feature = "prometheus", doc = "[the page](crate::render_prometheus) itself.")]
    #[cfg_attr(not(feature = "prometheus"), doc = "the page itself.")]
    pub fn prometheus_start_http_server(mut self, start: bool) -> Self {
        self.start_http_server = Some(start);
        self
    }

    /// Returns this configuration, and takes its unset keys from `below`. The tags of both are merged.
    pub fn merged_over(self, below: Self) -> Self {
        let mut tags = below.tags;
        tags.extend(self.tags);
        Self {
            enabled: self.enabled.or(below.enabled),
            exporters: self.exporters.or(below.exporters),
            prefix: self.prefix.or(below.prefix),
            tags,
            sample_rate: self.sample_rate.or(below.sample_rate),
            statsd_address: self.statsd_address.or(below.statsd_address),
            flush_interval_ms: self.flush_interval_ms.or(below.flush_interval_ms),
            start_http_server: self.start_http_server.or(below.start_http_server),
            prometheus_address: self.prometheus_address.or(below.prometheus_address),
            prometheus_port: self.prometheus_port.or(below.prometheus_port),
        }
    }
}
