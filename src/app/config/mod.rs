//! The configuration: layers of TOML, merged, typed and checked.

mod check;
mod error;
mod exporters;
mod layers;
mod listeners;
mod units;

pub use error::{ConfigError, Place};
pub use layers::{Environment, load};
pub use units::{Address, FileMode, Host, HumanDuration, Size};

use std::fs;
use std::path::PathBuf;
use std::thread;

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::aggregate::AggregationOptions;
use crate::app::explain::{self, Explainer};
use crate::export::prometheus::Naming;
use crate::export::{self, Format, OnExit};
use crate::flush::{IdleReporting, ReloadableSettings};
use crate::http::{ServerOptions, WebError};
use crate::listen::{Framing, ListenOptions, Owner, SocketFile, StreamOptions, UdpOptions};
use crate::mapping::{self, HistogramOptions, Mapping, MappingError, RuleSpec};
use crate::model::{Exposition, Percentile, Policies, Policy, Statistics};
use crate::protocol::{Dialect, Dialects};
use crate::resolve::{Limits, ResolveOptions};

/// The shipped `config.toml`, which holds every key.
pub const DEFAULTS: &str = include_str!("../../../config.toml");

/// A configuration and the rules that it names, or what is wrong.
pub type Loaded = Result<(Config, Mapping), ConfigError>;

/// What was configured, checked. `config.toml` explains each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "config.toml documents each key")]
pub struct Config {
    pub flush: FlushSection,
    pub shutdown: ShutdownSection,
    pub listeners: ListenersSection,
    pub protocol: ProtocolSection,
    pub mapping: MappingSection,
    pub aggregation: AggregationSection,
    pub exporters: ExportersSection,
    pub telemetry: TelemetrySection,
    pub logging: LoggingSection,
}

macro_rules! sections {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "config.toml documents each key")]
        #[allow(clippy::struct_excessive_bools, reason = "a switch a key")]
        pub struct $name { $(pub $field: $type,)* }
    )*};
}

sections! {
    FlushSection { interval: HumanDuration, percentiles: Vec<f64>, }
    ShutdownSection { timeout: HumanDuration, }
    ListenersSection {
        udp: UdpSection,
        tcp: TcpSection,
        unix_datagram: UnixDatagramSection,
        unix_stream: UnixStreamSection,
    }
    UdpSection {
        enabled: bool,
        bind: Address,
        receivers: usize,
        receive_buffer: Size,
        max_datagram: Size,
        share_port: bool,
    }
    TcpSection {
        enabled: bool,
        bind: Address,
        framing: Framing,
        max_connections: usize,
        max_line: Size,
        idle_timeout: HumanDuration,
    }
    UnixDatagramSection { enabled: bool, path: PathBuf, mode: FileMode, owner: Owner, max_datagram: Size, }
    UnixStreamSection {
        enabled: bool,
        path: PathBuf,
        mode: FileMode,
        owner: Owner,
        framing: Framing,
        max_connections: usize,
        max_line: Size,
        idle_timeout: HumanDuration,
    }
    ProtocolSection { dialects: DialectsSection, container_id_tag: bool, }
    DialectsSection { influxdb: bool, librato: bool, signalfx: bool, graphite: bool, }
    MappingSection { mapping_file: PathBuf, defaults: mapping::Defaults, mappings: Vec<RuleSpec>, }
    AggregationSection {
        max_series: usize,
        max_series_bytes: Size,
        digits: u8,
        exact_values: usize,
        exact_members: usize,
        event_buffer: Size,
        gauges: GaugesSection,
        idle: IdleSection,
        expire_after: ExpireSection,
    }
    GaugesSection { signed: Signed, absolute_prefixes: Vec<String>, }
    IdleSection { counters: IdleSum, sets: IdleSum, gauges: IdleGauge, }
    ExpireSection {
        counter: HumanDuration,
        gauge: HumanDuration,
        timing: HumanDuration,
        histogram: HumanDuration,
        distribution: HumanDuration,
        set: HumanDuration,
    }
    ExportersSection { console: ConsoleSection, prometheus: PrometheusSection, textfile: TextfileSection, }
    ConsoleSection { enabled: bool, format: Format, path: PathBuf, }
    PrometheusSection {
        start_http_server: bool,
        address: Host,
        port: u16,
        max_connections: usize,
        timeout: HumanDuration,
        enable_reload: bool,
        web_config_file: PathBuf,
        timings: Exposition,
        buckets: Vec<f64>,
        native_histogram_bucket_factor: f64,
        native_histogram_max_buckets: u32,
        naming: Naming,
        openmetrics_created: bool,
    }
    TextfileSection { enabled: bool, path: PathBuf, on_exit: OnExit, reserved_prefixes: Vec<String>, }
    TelemetrySection { enabled: bool, }
    LoggingSection { level: LogLevel, format: LogFormat, output: Vec<LogOutput>, file_path: PathBuf, }
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[expect(missing_docs, reason = "config.toml documents each value")]
        pub enum $name { $($variant,)* }
    )*};
}

choices! {
    /// What a sign before a gauge's value means.
    Signed { Delta, Absolute, }
    /// What is reported of an idle counter or set.
    IdleSum { Nothing, Zero, }
    /// What is reported of an idle gauge.
    IdleGauge { Nothing, Last, }
    /// How much is logged.
    LogLevel { Error, Warn, Info, Debug, Trace, }
    /// How a log record is written.
    LogFormat { Text, Json, }
    /// Where the log goes.
    LogOutput { Console, File, }
}

impl ExpireSection {
    /// In the order of [`Kind::ALL`](crate::model::Kind::ALL).
    fn by_kind(&self) -> [HumanDuration; 6] {
        let Self { counter, gauge, timing, histogram, distribution, set } = *self;
        [counter, gauge, timing, histogram, distribution, set]
    }
}

impl MappingSection {
    /// The rules that stand in the configuration itself.
    fn own_rules(&self) -> Result<Mapping, MappingError> {
        Mapping::new(&self.defaults, self.mappings.iter().map(|rule| (None, rule)))
    }
}

impl TcpSection {
    fn streams(&self) -> StreamOptions {
        let Self { framing, max_connections, max_line, idle_timeout, .. } = *self;
        StreamOptions {
            framing,
            max_line: max_line.bytes(),
            max_connections,
            idle_timeout: idle_timeout.get(),
        }
    }
}

impl UnixDatagramSection {
    fn file(&self) -> SocketFile {
        let Self { path, mode, owner, .. } = self;
        SocketFile { path: path.clone(), mode: mode.bits(), owner: owner.clone() }
    }
}

impl UnixStreamSection {
    fn file(&self) -> SocketFile {
        let Self { path, mode, owner, .. } = self;
        SocketFile { path: path.clone(), mode: mode.bits(), owner: owner.clone() }
    }

    fn streams(&self) -> StreamOptions {
        let Self { framing, max_connections, max_line, idle_timeout, .. } = *self;
        StreamOptions {
            framing,
            max_line: max_line.bytes(),
            max_connections,
            idle_timeout: idle_timeout.get(),
        }
    }
}

impl Config {
    /// The whole configuration as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Every section is a table of plain values, which TOML can hold.
        toml::to_string(self).unwrap_or_default()
    }

    /// How samples are aggregated.
    #[must_use]
    pub fn parameters(&self) -> AggregationOptions {
        let AggregationSection { digits, exact_values, exact_members, gauges, event_buffer, .. } =
            &self.aggregation;
        AggregationOptions {
            resolve: ResolveOptions {
                absolute_gauges: gauges.signed == Signed::Absolute,
                absolute_gauge_prefixes: gauges.absolute_prefixes.clone(),
                container_id_tag: self.protocol.container_id_tag,
            },
            digits: *digits,
            exact_values: *exact_values,
            exact_members: *exact_members,
            dialects: self.dialects(),
            event_buffer: event_buffer.bytes(),
        }
    }

    /// The rules by which series are given other names: those of the file, or else those of the configuration itself.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the first thing that is wrong in it.
    pub fn mapping(&self) -> Result<Mapping, ConfigError> {
        let MappingSection { mapping_file: path, .. } = &self.mapping;
        if path.as_os_str().is_empty() {
            // Checked when the configuration was loaded.
            return Ok(self.mapping.own_rules().unwrap_or_default());
        }
        let refused = |line: Option<u64>, problem| ConfigError {
            place: Place::File { path: path.clone(), line: line.map(|line| line as usize) },
            key: String::new(),
            problem,
        };
        let text = fs::read_to_string(path)
            .map_err(|error| refused(None, format!("cannot be read: {error}; see mapping.mapping_file")))?;
        Mapping::from_yaml(&text).map_err(|MappingError { line, problem }| refused(line, problem))
    }

    /// Checks the web configuration file, if there is one, and the certificates that it names.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check_web(&self) -> Result<(), ConfigError> {
        let Some(path) = self.web_config_file() else { return Ok(()) };
        export::check_web(&path).map_err(|WebError { path, line, problem }| ConfigError {
            place: Place::File { path, line: line.map(|line| line as usize) },
            key: String::new(),
            problem,
        })
    }

    fn web_config_file(&self) -> Option<PathBuf> {
        let path = &self.exporters.prometheus.web_config_file;
        (!path.as_os_str().is_empty()).then(|| path.clone())
    }

    /// The sections that differ from those in force, and that only a restart takes up.
    #[must_use]
    pub fn needs_restart(&self, in_force: &Self) -> Vec<&'static str> {
        // What `terms` gives is taken up as it is, and so are some single keys.
        let mut in_force = in_force.clone();
        in_force.aggregation.max_series = self.aggregation.max_series;
        in_force.aggregation.max_series_bytes = self.aggregation.max_series_bytes;
        in_force.aggregation.idle.clone_from(&self.aggregation.idle);
        in_force.aggregation.expire_after.clone_from(&self.aggregation.expire_after);
        in_force.logging.level = self.logging.level;
        let HistogramOptions { buckets, native_histogram_bucket_factor, native_histogram_max_buckets } =
            self.histogram_options();
        in_force.exporters.prometheus = PrometheusSection {
            timings: self.exporters.prometheus.timings,
            buckets,
            native_histogram_bucket_factor,
            native_histogram_max_buckets,
            ..in_force.exporters.prometheus.clone()
        };
        // Taken apart, so that a new section cannot be forgotten.
        let Self {
            flush: _,
            shutdown: _,
            listeners,
            protocol,
            mapping: _,
            aggregation,
            exporters,
            telemetry: _,
            logging,
        } = self;
        let differs = [
            ("listeners", *listeners != in_force.listeners),
            ("protocol", *protocol != in_force.protocol),
            ("aggregation", *aggregation != in_force.aggregation),
            ("exporters", *exporters != in_force.exporters),
            ("logging", *logging != in_force.logging),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(section, _)| section).collect()
    }

    /// Whose tags within names are read.
    fn dialects(&self) -> Dialects {
        let DialectsSection { influxdb, librato, signalfx, graphite } = self.protocol.dialects;
        // In the order of the variants of `Dialect`.
        let switches = [influxdb, librato, signalfx, graphite];
        Dialects::of(
            Dialect::VARIANTS.iter().zip(switches).filter_map(|(&dialect, on)| on.then_some(dialect)),
        )
    }

    /// Explains lines as a daemon of this configuration, with these rules, would take them.
    #[must_use]
    pub fn explainer(&self, mapping: Mapping, format: explain::Format) -> Explainer {
        Explainer {
            parameters: self.parameters(),
            mapping,
            naming: self.exporters.prometheus.naming,
            max_line: self.listeners.tcp.max_line.bytes(),
            format,
        }
    }

    /// What holds for series, with these rules.
    #[must_use]
    pub fn terms(&self, mut mapping: Mapping) -> ReloadableSettings {
        let mut policies = mapping.build_policies(&self.fallback(), &self.histogram_options());
        let ExportersSection { prometheus, textfile, .. } = &self.exporters;
        if !prometheus.start_http_server && !textfile.enabled {
            // Nobody would see what is in buckets.
            for Policy { statistics, .. } in &mut policies {
                statistics.bounds.clear();
                statistics.native = None;
            }
        }
        let AggregationSection { max_series, max_series_bytes, .. } = self.aggregation;
        ReloadableSettings {
            mapping,
            policies: Policies::new(policies),
            idle: self.idle(),
            limits: Limits { series: max_series, bytes: max_series_bytes.bytes() },
            telemetry: self.telemetry.enabled,
        }
    }

    /// What is wanted of series where rules say nothing.
    fn fallback(&self) -> Policy {
        let mut percentiles: Vec<_> =
            self.flush.percentiles.iter().filter_map(|&percent| Percentile::new(percent)).collect();
        percentiles.sort_by(|a, b| a.percent().total_cmp(&b.percent()));
        Policy {
            statistics: Statistics { percentiles, ..Statistics::default() },
            exposition: self.exporters.prometheus.timings,
            expire_after: self.aggregation.expire_after.by_kind().map(HumanDuration::get),
            ..Policy::default()
        }
    }

    /// Of histograms where rules say nothing.
    fn histogram_options(&self) -> HistogramOptions {
        let PrometheusSection {
            buckets, native_histogram_bucket_factor, native_histogram_max_buckets, ..
        } = &self.exporters.prometheus;
        HistogramOptions {
            buckets: buckets.clone(),
            native_histogram_bucket_factor: *native_histogram_bucket_factor,
            native_histogram_max_buckets: *native_histogram_max_buckets,
        }
    }

    fn idle(&self) -> IdleReporting {
        let IdleSection { counters, sets, gauges } = self.aggregation.idle;
        IdleReporting {
            zero_counters: counters == IdleSum::Zero,
            zero_sets: sets == IdleSum::Zero,
            last_gauges: gauges == IdleGauge::Last,
        }
    }

    /// What is listened on.
    #[must_use]
    pub fn listening(&self) -> ListenOptions {
        let ListenersSection { udp, tcp, unix_datagram, unix_stream } = &self.listeners;
        ListenOptions {
            udp: udp.enabled.then(|| self.udp()),
            tcp: tcp.enabled.then(|| (tcp.bind.get(), tcp.streams())),
            unix_datagram: unix_datagram
                .enabled
                .then(|| (unix_datagram.file(), unix_datagram.max_datagram.bytes())),
            unix_stream: unix_stream.enabled.then(|| (unix_stream.file(), unix_stream.streams())),
        }
    }

    /// Where UDP datagrams come in.
    #[must_use]
    pub fn udp(&self) -> UdpOptions {
        let UdpSection { bind, receivers, receive_buffer, max_datagram, share_port, .. } = self.listeners.udp;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        UdpOptions {
            address: bind.get(),
            receivers: if receivers == 0 { cores } else { receivers },
            receive_buffer: receive_buffer.bytes(),
            max_datagram: max_datagram.bytes(),
            share_port,
        }
    }

    /// Where Prometheus may scrape, if anywhere.
    #[must_use]
    pub fn serving(&self) -> Option<ServerOptions> {
        let PrometheusSection { start_http_server, address, port, max_connections, timeout, .. } =
            self.exporters.prometheus.clone();
        start_http_server.then(|| ServerOptions {
            address: (address.get(), port).into(),
            max_connections,
            timeout: timeout.get(),
            web_config_file: self.web_config_file(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Named;

    #[test]
    fn the_shipped_file_is_the_default_and_is_in_force_without_any_other() {
        let config = load(None, &Environment::default(), &[]).unwrap();
        assert_eq!(config.flush.interval.get(), Duration::from_secs(10));
        assert_eq!(config.flush.percentiles, [50.0, 90.0, 95.0, 99.0, 99.9]);
        assert_eq!(config.listeners.udp.bind.get(), "127.0.0.1:8125".parse().unwrap());
        assert_eq!(config.aggregation.max_series, 1_000_000);
        let ExportersSection { console, prometheus, textfile } = &config.exporters;
        assert!(console.enabled && !prometheus.start_http_server && !textfile.enabled);
        assert!(config.telemetry.enabled);
        assert_eq!(config.parameters(), AggregationOptions::default());
        assert_eq!(config.idle(), IdleReporting::default());
        let explainer = config.explainer(config.mapping().unwrap(), explain::Format::Text);
        let Explainer { parameters, naming, max_line, .. } = Explainer::default();
        assert_eq!(
            (explainer.parameters, explainer.naming, explainer.max_line),
            (parameters, naming, max_line)
        );
    }

    #[test]
    fn what_a_reload_does_not_take_up_is_said_to_wait_for_a_restart() {
        let load = |argument: &str| load(None, &Environment::default(), &[argument.to_owned()]).unwrap();
        let in_force = load("flush.interval=10s");
        assert_eq!(load("mapping.mapping_file=other.yml").needs_restart(&in_force), [""; 0]);
        for taken_up in [
            "flush.interval=1s",
            "aggregation.max_series=5",
            "telemetry.enabled=false",
            "logging.level=debug",
        ] {
            assert_eq!(load(taken_up).needs_restart(&in_force), [""; 0], "{taken_up}");
        }
        assert_eq!(load("listeners.tcp.enabled=true").needs_restart(&in_force), ["listeners"]);
        assert_eq!(load("logging.format=json").needs_restart(&in_force), ["logging"]);
    }

    #[test]
    fn defaults_of_rules_mean_the_same_here_and_in_a_file_of_their_own() {
        let text = "[mapping.defaults]\nobserver_type = \"histogram\"\nttl = \"90s\"\n\
                    summary_options = { quantiles = [{ quantile = 0.99, error = 0.001 }], max_age = \"1m\" }\n\
                    [mapping.defaults.histogram_options]\nbuckets = [1, 2]\nnative_histogram_max_buckets = 9\n";
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let here = load(Some(file.path()), &Environment::default(), &[]).unwrap();
        let there = Mapping::from_yaml(
            "defaults:\n  observer_type: histogram\n  ttl: 90s\n  \
             summary_options: {quantiles: [{quantile: 0.99, error: 0.001}], max_age: 1m}\n  \
             histogram_options: {buckets: [1, 2], native_histogram_max_buckets: 9}\n",
        );
        assert_eq!(here.mapping().unwrap(), there.unwrap());
    }

    #[test]
    fn each_dialect_has_a_switch_of_its_name() {
        for &dialect in Dialect::VARIANTS {
            let off = format!("protocol.dialects.{}=false", dialect.name());
            let dialects = load(None, &Environment::default(), &[off]).unwrap().parameters().dialects;
            let others = Dialect::VARIANTS.iter().copied().filter(|&other| other != dialect);
            assert_eq!(dialects, Dialects::of(others), "{dialect:?}");
        }
    }

    #[test]
    fn what_check_prints_is_a_configuration_that_means_the_same() {
        let config = load(None, &Environment::default(), &[]).unwrap();
        let again: Config = toml::from_str(&config.to_toml()).unwrap();
        assert_eq!(again, config);
    }
}
