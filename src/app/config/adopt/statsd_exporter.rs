//! Reads the command line of `statsd_exporter` 0.29, so that the arguments of a container need not change.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use toml::Table;

use super::settings::{Settings, all_interfaces, refusal};
use crate::app::config::error::ConfigError;

/// The flags of `statsd_exporter`. A flag that is not given has the default of `statsd_exporter`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Flags of statsd_exporter")]
#[expect(clippy::struct_excessive_bools, reason = "each switch is a flag")]
pub(in crate::app) struct StatsdExporterArgs {
    /// Serve the page at this address. [default: :9102]
    #[arg(long = "web.listen-address", value_name = "ADDRESS")]
    listen_address: Option<String>,
    /// Let POST /-/reload read the configuration again.
    #[arg(long = "web.enable-lifecycle", overrides_with = "no_lifecycle")]
    lifecycle: bool,
    #[arg(long = "no-web.enable-lifecycle", hide = true)]
    no_lifecycle: bool,
    /// Serve the page at this path. [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH")]
    telemetry_path: Option<String>,
    /// Receive over UDP at this address. "" means not. [default: :9125]
    #[arg(long = "statsd.listen-udp", value_name = "ADDRESS")]
    listen_udp: Option<String>,
    /// Receive over TCP at this address. "" means not. [default: :9125]
    #[arg(long = "statsd.listen-tcp", value_name = "ADDRESS")]
    listen_tcp: Option<String>,
    /// Receive datagrams at this Unix socket. "" means not.
    #[arg(long = "statsd.listen-unixgram", value_name = "PATH")]
    listen_unixgram: Option<String>,
    /// The mode of this socket. [default: 755]
    #[arg(long = "statsd.unixsocket-mode", value_name = "MODE")]
    unixsocket_mode: Option<String>,
    /// The mapping file.
    #[arg(long = "statsd.mapping-config", value_name = "FILE")]
    mapping_config: Option<PathBuf>,
    /// The receive buffer of UDP, in bytes.
    #[arg(long = "statsd.read-buffer", value_name = "BYTES")]
    read_buffer: Option<i64>,
    /// Read no tags of DogStatsD. No effect: tallyd always reads them.
    #[arg(long = "no-statsd.parse-dogstatsd-tags", overrides_with = "dogstatsd")]
    no_dogstatsd: bool,
    #[arg(long = "statsd.parse-dogstatsd-tags", hide = true)]
    dogstatsd: bool,
    /// Read no tags of InfluxDB in names.
    #[arg(long = "no-statsd.parse-influxdb-tags", overrides_with = "influxdb")]
    no_influxdb: bool,
    #[arg(long = "statsd.parse-influxdb-tags", hide = true)]
    influxdb: bool,
    /// Read no tags of Librato in names.
    #[arg(long = "no-statsd.parse-librato-tags", overrides_with = "librato")]
    no_librato: bool,
    #[arg(long = "statsd.parse-librato-tags", hide = true)]
    librato: bool,
    /// Read no tags of SignalFx in names.
    #[arg(long = "no-statsd.parse-signalfx-tags", overrides_with = "signalfx")]
    no_signalfx: bool,
    #[arg(long = "statsd.parse-signalfx-tags", hide = true)]
    signalfx: bool,
    /// Send each datagram on to the StatsD server at this address.
    #[arg(long = "statsd.relay.address", value_name = "HOST:PORT")]
    relay_address: Option<String>,
    /// The least severe level that is logged: debug, info, warn or error. [default: info]
    #[arg(long = "log.level", value_name = "LEVEL")]
    log_level: Option<String>,
    /// The format of the log: logfmt or json. [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT")]
    log_format: Option<LogFlag>,
    /// Check the configuration, print it as tallyd's own, and exit.
    #[arg(long = "check-config")]
    pub(in crate::app) check_config: bool,
    #[command(flatten)]
    without_effect: WithoutEffect,
}

/// Flags that concern what only `statsd_exporter` has. tallyd takes them and says so.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Flags of statsd_exporter without effect")]
struct WithoutEffect {
    #[arg(long = "statsd.cache-size", value_name = "COUNT")]
    cache_size: Option<i64>,
    #[arg(long = "statsd.cache-type", value_name = "TYPE")]
    cache_type: Option<String>,
    #[arg(long = "statsd.event-queue-size", value_name = "COUNT")]
    event_queue_size: Option<i64>,
    #[arg(long = "statsd.event-flush-threshold", value_name = "COUNT")]
    event_flush_threshold: Option<i64>,
    #[arg(long = "statsd.event-flush-interval", value_name = "DURATION")]
    event_flush_interval: Option<String>,
    #[arg(long = "statsd.udp-packet-queue-size", value_name = "COUNT")]
    udp_packet_queue_size: Option<i64>,
    #[arg(long = "statsd.relay.packet-length", value_name = "BYTES")]
    relay_packet_length: Option<i64>,
    #[arg(long = "debug.dump-fsm", value_name = "FILE")]
    dump_fsm: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFlag {
    Logfmt,
    Json,
}

/// The defaults of `statsd_exporter` that differ from those of tallyd, with the reasons.
const DEFAULTS: &str = r#"
# statsd_exporter shows a sample within 200 ms.
flush.interval = "1s"
flush.percentiles = [50, 90, 99]
exporters.console.enabled = false
exporters.prometheus.start_http_server = true
exporters.prometheus.naming = "statsd_exporter"
# The max_age of statsd_exporter's summaries.
exporters.prometheus.percentile_window = "10m"
exporters.prometheus.openmetrics_created = false
listeners.tcp.enabled = true
# statsd_exporter reads no tags of Graphite.
protocol.dialects.graphite = false
# Without a ttl, statsd_exporter never forgets a series.
aggregation.expire_after = { counter = "never", gauge = "never", timing = "never", histogram = "never", distribution = "never", set = "never" }
"#;

impl StatsdExporterArgs {
    /// Returns the settings as tallyd's own.
    pub(super) fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        for (key, value) in toml::from_str::<Table>(DEFAULTS).unwrap_or_default() {
            settings.set("the default of statsd_exporter", &key, value);
        }
        self.set_web(&mut settings)?;
        self.set_listeners(&mut settings)?;
        self.set_dialects(&mut settings);
        if let Some(file) = &self.mapping_config {
            settings.set("--statsd.mapping-config", "mapping.mapping_file", file.display().to_string());
        }
        if let Some(target) = self.relay_address.as_deref().filter(|target| !target.is_empty()) {
            settings.relay("--statsd.relay.address", &with_host(target, "127.0.0.1"));
        }
        if let Some(level) = &self.log_level {
            settings.set("--log.level", "logging.level", level.to_lowercase());
        }
        if let Some(format) = self.log_format {
            let format = if format == LogFlag::Json { "json" } else { "text" };
            settings.set("--log.format", "logging.format", format);
        }
        self.without_effect.warn(&mut settings);
        Ok(settings)
    }

    fn set_web(&self, settings: &mut Settings) -> Result<(), ConfigError> {
        let flag = "--web.listen-address";
        let address = self.listen_address.as_deref().unwrap_or(":9102");
        let (host, port) = host_and_port(flag, address)?;
        settings.set(flag, "exporters.prometheus.address", host.trim_matches(['[', ']']));
        settings.set(flag, "exporters.prometheus.port", i64::from(port));
        if let Some(path) = &self.telemetry_path {
            settings.set("--web.telemetry-path", "exporters.prometheus.path", &**path);
        }
        if self.lifecycle {
            let flag = "--web.enable-lifecycle";
            settings.set(flag, "exporters.prometheus.enable_reload", true);
            settings.warn(flag, "tallyd has /-/reload, but no /-/quit; to stop it, send SIGTERM");
        }
        Ok(())
    }

    fn set_listeners(&self, settings: &mut Settings) -> Result<(), ConfigError> {
        for (flag, section, given) in [
            ("--statsd.listen-udp", "listeners.udp", &self.listen_udp),
            ("--statsd.listen-tcp", "listeners.tcp", &self.listen_tcp),
        ] {
            let address = given.as_deref().unwrap_or(":9125");
            settings.set(flag, &format!("{section}.enabled"), !address.is_empty());
            if !address.is_empty() {
                let (host, port) = host_and_port(flag, address)?;
                settings.set(flag, &format!("{section}.bind"), format!("{host}:{port}"));
            }
        }
        if let Some(path) = self.listen_unixgram.as_deref().filter(|path| !path.is_empty()) {
            let flag = "--statsd.listen-unixgram";
            settings.set(flag, "listeners.unix_datagram.enabled", true);
            settings.set(flag, "listeners.unix_datagram.path", path);
            let mode = self.unixsocket_mode.as_deref().unwrap_or("755");
            settings.set("--statsd.unixsocket-mode", "listeners.unix_datagram.mode", format!("{mode:0>4}"));
        }
        if let Some(bytes) = self.read_buffer.filter(|&bytes| bytes > 0) {
            let size = format!("{bytes}B");
            settings.set("--statsd.read-buffer", "listeners.udp.receive_buffer", size);
        }
        Ok(())
    }

    fn set_dialects(&self, settings: &mut Settings) {
        if self.no_dogstatsd {
            settings.warn("--no-statsd.parse-dogstatsd-tags", "no effect: tallyd always reads these tags");
        }
        for (name, is_off) in
            [("influxdb", self.no_influxdb), ("librato", self.no_librato), ("signalfx", self.no_signalfx)]
        {
            if is_off {
                let flag = format!("--no-statsd.parse-{name}-tags");
                settings.set(&flag, &format!("protocol.dialects.{name}"), false);
            }
        }
    }
}

impl WithoutEffect {
    fn warn(&self, settings: &mut Settings) {
        let cache = "no effect: tallyd remembers the rule of each series as long as the series";
        let queue = "no effect: tallyd adds up samples where it receives them, without a queue";
        let flags = [
            ("--statsd.cache-size", self.cache_size.is_some(), cache),
            ("--statsd.cache-type", self.cache_type.is_some(), cache),
            ("--statsd.event-queue-size", self.event_queue_size.is_some(), queue),
            ("--statsd.event-flush-threshold", self.event_flush_threshold.is_some(), queue),
            (
                "--statsd.event-flush-interval",
                self.event_flush_interval.is_some(),
                "no effect: the page is as old as flush.interval",
            ),
            (
                "--statsd.udp-packet-queue-size",
                self.udp_packet_queue_size.is_some(),
                "no effect: datagrams wait in the receive buffer; see listeners.udp.receive_buffer",
            ),
            (
                "--statsd.relay.packet-length",
                self.relay_packet_length.is_some(),
                "no effect: tallyd sends each datagram on as it came",
            ),
            (
                "--debug.dump-fsm",
                self.dump_fsm.is_some(),
                "no effect: `tallyd explain` shows which rule a line matches",
            ),
        ];
        for (flag, _, words) in flags.into_iter().filter(|(_, is_given, _)| *is_given) {
            settings.warn(flag, words);
        }
    }
}

/// Splits an address. Without a host, it means all interfaces.
fn host_and_port<'a>(flag: &str, address: &'a str) -> Result<(&'a str, u16), ConfigError> {
    let split = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match split {
        Some(("", port)) => Ok((all_interfaces(), port)),
        Some(("localhost", port)) => Ok(("127.0.0.1", port)),
        Some(split) => Ok(split),
        None => Err(refusal(
            flag,
            &format!("{address:?} is not an address; write one such as \":9125\" or \"127.0.0.1:9125\""),
        )),
    }
}

fn with_host(address: &str, host: &str) -> String {
    if address.starts_with(':') { format!("{host}{address}") } else { address.to_owned() }
}
