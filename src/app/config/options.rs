//! Turns the configuration into the options of each part of the program.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use strum::VariantArray;

use super::endpoints::RelayEntry;
use super::error::{ConfigError, Warning};
use super::sections::{
    AdminSection, AggregationSection, Config, DeliverySection, DialectsSection, ExportersSection,
    HdrLogSection, IdleGauge, IdleSection, IdleSum, ListenersSection, PrometheusSection, Signed,
    StateSection, TcpSection, UdpSection, UnixStreamSection,
};
use super::setting::{ChangedKeys, Setting};
use super::values::{FileMode, Network};
use crate::aggregate::AggregationOptions;
use crate::app::explain::{self, Explainer};
use crate::deliver::{DeliveryLimits, DeliveryOptions};
use crate::export::{self, AdminOptions, HdrLogOptions};
use crate::flush::{IdleReporting, ReloadableSettings};
use crate::http::{ServerOptions, WebError, WebReport};
use crate::listen::{ListenOptions, StreamOptions, UdpOptions, UnixDatagramOptions};
use crate::mapping::{HistogramOptions, Mapping};
use crate::model::{FlushRequests, Kind, Memory, Percentile, Policies, Policy, Series, Statistics};
use crate::net::{Owner, PermittedNetworks, SocketFile};
use crate::protocol::{Dialect, Dialects};
use crate::relay::TargetOptions;
use crate::resolve::{Limits, ResolveOptions};

/// The options of the state that outlives the process.
#[derive(Debug)]
pub(in crate::app) struct StateOptions {
    pub(in crate::app) path: PathBuf,
    /// How often it is written.
    pub(in crate::app) interval: Duration,
}

impl Config {
    /// Returns the whole configuration as TOML.
    pub(in crate::app) fn to_toml(&self) -> String {
        // This cannot fail, because every section is a table of values that TOML can hold.
        toml::to_string(self).unwrap_or_default()
    }

    /// Returns the configuration in force as JSON. It differs from this one if keys take effect only after a restart, since the
    /// `start`.
    pub(in crate::app) fn in_force(&self, start: &Self) -> serde_json::Value {
        let json = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        let (mut in_force, start_values) = (json(self), json(start));
        for key in self.restart_keys(start) {
            let pointer = format!("/{}", key.replace('.', "/"));
            if let (Some(value), Some(start)) =
                (in_force.pointer_mut(&pointer), start_values.pointer(&pointer))
            {
                *value = start.clone();
            }
        }
        in_force
    }

    /// Returns the keys whose values differ from those in force and take effect only after a restart.
    pub(in crate::app) fn restart_keys(&self, in_force: &Self) -> Vec<String> {
        self.changed_keys(in_force).at_restart
    }

    /// Returns the keys whose values differ from those of another configuration.
    pub(in crate::app) fn changed_keys(&self, other: &Self) -> ChangedKeys {
        let mut changed = ChangedKeys::default();
        self.push_changed_keys(other, "", false, &mut changed);
        changed
    }

    /// Checks the web configuration file, if there is one, and the certificates that it names. Returns what is probably
    /// a mistake.
    ///
    /// # Errors
    ///
    /// Returns the first error.
    pub(in crate::app) fn check_web(&self) -> Result<Vec<Warning>, ConfigError> {
        let Some(path) = self.web_config_file() else { return Ok(Vec::new()) };
        let in_file = |WebError { path, line, problem }| {
            ConfigError::in_file(&path, line.map(|line| line as usize), problem)
        };
        let WebReport { authenticates, exposed_key } = export::check_web(&path).map_err(in_file)?;
        let mut warnings: Vec<_> = exposed_key.map(in_file).into_iter().collect();
        if !authenticates && self.exporters.prometheus.has_open_reload() {
            let problem = "neither users nor verified client certificates, so everyone who can connect can reload \
                           tallyd; add basic_auth_users, or turn exporters.prometheus.enable_reload off";
            warnings.push(ConfigError::in_file(&path, None, problem.to_owned()));
        }
        Ok(warnings)
    }

    fn web_config_file(&self) -> Option<PathBuf> {
        let path = &self.exporters.prometheus.web_config_file;
        (!path.as_os_str().is_empty()).then(|| path.clone())
    }

    /// Returns the options of the listeners that are enabled, and of those in `held`, whose sockets the service manager
    /// has passed.
    pub(in crate::app) fn listening(&self, held: &[&str]) -> ListenOptions {
        let ListenersSection { udp, tcp, unix_datagram: datagram, unix_stream: stream, coalesce_delay } =
            &self.listeners;
        let datagram_file = socket_file(&datagram.path, datagram.mode, &datagram.owner);
        let stream_file = socket_file(&stream.path, stream.mode, &stream.owner);
        let is_on = |is_enabled, name| is_enabled || held.contains(&name);
        ListenOptions {
            coalesce_delay: coalesce_delay.get(),
            detects_origin: self.protocol.origin_detection,
            udp: is_on(udp.enabled, "udp").then(|| self.udp()),
            tcp: is_on(tcp.enabled, "tcp").then(|| (tcp.bind.get(), tcp.streams())),
            unix_datagram: is_on(datagram.enabled, "unix_datagram").then(|| UnixDatagramOptions {
                file: datagram_file,
                max_datagram: datagram.max_datagram.get(),
            }),
            unix_stream: is_on(stream.enabled, "unix_stream")
                .then(|| (stream_file, stream.streams(self.protocol.origin_detection))),
        }
    }

    /// Returns the servers that get what listeners receive.
    pub(in crate::app) fn relay_targets(&self) -> Vec<TargetOptions> {
        self.relay.iter().flat_map(RelayEntry::targets).collect()
    }

    /// Returns the options of the UDP listener.
    #[must_use]
    pub fn udp(&self) -> UdpOptions {
        let UdpSection {
            ref bind,
            ref permitted_networks,
            receivers,
            receive_buffer,
            max_datagram,
            share_port,
            ..
        } = self.listeners.udp;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        UdpOptions {
            addresses: bind.get(),
            receivers: if receivers == 0 { cores } else { receivers },
            receive_buffer: receive_buffer.get(),
            max_datagram: max_datagram.get(),
            share_port,
            permitted: permitted(permitted_networks),
        }
    }

    /// Returns the most memory that tallyd may take, in bytes, or `None` if it depends on the machine.
    pub(in crate::app) fn max_memory(&self) -> Option<usize> {
        Some(self.memory.max.get()).filter(|&max| max > 0)
    }

    pub(in crate::app) fn aggregation_options(&self) -> AggregationOptions {
        let AggregationSection { digits, exact_values, exact_members, gauges, event_buffer, .. } =
            &self.aggregation;
        AggregationOptions {
            resolve: ResolveOptions {
                absolute_gauges: gauges.signed == Signed::Absolute,
                absolute_gauge_prefixes: gauges.absolute_prefixes.clone(),
                container_id_tag: self.protocol.container_id_tag || self.protocol.origin_detection,
            },
            digits: *digits as u8,
            exact_values: *exact_values,
            exact_members: *exact_members,
            dialects: self.protocol.dialects.enabled(),
            event_buffer: event_buffer.get(),
            requests: FlushRequests::default(),
            memory: Memory::default(),
        }
    }

    /// Returns the settings that a reload changes, with these rules.
    pub(in crate::app) fn reloadable_settings(&self, mut mapping: Mapping) -> ReloadableSettings {
        let mut policies =
            mapping.build_policies(&self.default_policy(), &self.exporters.prometheus.histogram_options());
        let ExportersSection { prometheus, textfile, .. } = &self.exporters;
        if !prometheus.start_http_server && !textfile.enabled && !self.exporters.has_endpoints() {
            // Only the endpoint, the text file and servers get buckets, and there are none of them.
            for Policy { statistics, .. } in &mut policies {
                statistics.bounds.clear();
                statistics.native = None;
            }
        }
        let AggregationSection {
            max_series, max_series_bytes, max_series_per_metric, max_name, idle, ..
        } = &self.aggregation;
        ReloadableSettings {
            mapping,
            policies: Policies::new(policies),
            idle: idle.reporting(),
            limits: Limits {
                series: *max_series,
                bytes: max_series_bytes.get(),
                series_per_metric: match *max_series_per_metric {
                    0 => max_series.div_ceil(10),
                    limit => limit,
                },
                name: max_name.get(),
            },
            telemetry: self.telemetry.enabled,
            // HDR logs contain all values, and statsd's statistics need them.
            hands_out_values: self.exporters.hdr_log.enabled
                || !self.exporters.graphite.is_empty()
                || !self.exporters.influxdb.is_empty(),
        }
    }

    /// Returns the policy that applies to everything that no rule sets.
    fn default_policy(&self) -> Policy {
        let mut percentiles: Vec<_> =
            self.flush.percentiles.iter().filter_map(|&percent| Percentile::new(percent)).collect();
        percentiles.sort_by(|a, b| a.percent().total_cmp(&b.percent()));
        Policy {
            statistics: Statistics { percentiles, ..Statistics::default() },
            exposition: self.exporters.prometheus.timings,
            percentile_window: self.exporters.prometheus.percentile_window.get(),
            expire_after: self.aggregation.expire_after.by_name().map(|(_, time)| time.get()),
            ..Policy::default()
        }
    }

    /// Returns the options of the state, if it is kept.
    pub(in crate::app) fn state(&self) -> Option<StateOptions> {
        let StateSection { path, interval } = &self.state;
        let options = || StateOptions { path: path.clone(), interval: interval.get() };
        (!path.as_os_str().is_empty()).then(options)
    }

    /// Returns the tags of all of tallyd's own series, as keys and values.
    pub(in crate::app) fn own_tags(&self) -> Vec<(String, String)> {
        let split = |tag: &String| {
            let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
            (key.to_owned(), value.to_owned())
        };
        self.telemetry.tags.iter().map(split).collect()
    }

    /// Returns the name and the labels of the text file's timestamp.
    pub(in crate::app) fn textfile_timestamp(&self) -> String {
        let tags = self.own_tags();
        let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let series = Series::new(Kind::Gauge, "tallyd.textfile_timestamp_seconds", &tags);
        self.exporters.prometheus.naming.exposed(&series)
    }

    /// Returns the options of the HDR log, if it is enabled.
    pub(in crate::app) fn hdr_log(&self) -> Option<HdrLogOptions> {
        let HdrLogSection { enabled, ref path, digits, scale, max_size, max_age, keep } =
            self.exporters.hdr_log;
        enabled.then(|| HdrLogOptions {
            path: path.clone(),
            digits: digits as u8,
            scale: scale as u64,
            max_size: max_size.get() as u64,
            max_age: max_age.get(),
            keep,
            exact_values: self.aggregation.exact_values,
            internal_digits: self.aggregation.digits as u8,
        })
    }

    /// Returns the options of the Prometheus endpoint, if it is enabled.
    pub(in crate::app) fn serving(&self) -> Option<ServerOptions> {
        let PrometheusSection {
            start_http_server,
            address,
            port,
            permitted_networks,
            max_connections,
            timeout,
            socket,
            socket_mode,
            ..
        } = &self.exporters.prometheus;
        let socket_file = (!socket.as_os_str().is_empty()).then(|| SocketFile {
            path: socket.clone(),
            mode: socket_mode.get(),
            owner: Owner::default(),
        });
        start_http_server.then(|| ServerOptions {
            address: (address.get(), *port).into(),
            max_connections: *max_connections,
            permitted: permitted(permitted_networks),
            timeout: timeout.get(),
            web_config_file: self.web_config_file(),
            socket_file,
        })
    }

    /// Returns where the queues of endpoints are.
    pub(in crate::app) fn delivery(&self) -> DeliveryOptions {
        let DeliverySection { path, max_memory, max_disk } = &self.delivery;
        DeliveryOptions {
            path: (!path.as_os_str().is_empty()).then(|| path.clone()),
            limits: DeliveryLimits { memory: max_memory.get(), disk: max_disk.get() as u64 },
        }
    }

    /// Returns the options of the admin interface, if it is enabled.
    pub(in crate::app) fn admin(&self) -> Option<AdminOptions> {
        let AdminSection { enabled, bind, permitted_networks } = &self.admin;
        enabled.then(|| AdminOptions { address: bind.get(), permitted: permitted(permitted_networks) })
    }

    /// Returns an explainer that reads lines like a daemon with this configuration and these rules.
    pub(in crate::app) fn explainer(&self, mapping: Mapping, format: explain::ExplainFormat) -> Explainer {
        Explainer {
            options: self.aggregation_options(),
            mapping,
            naming: self.exporters.prometheus.naming,
            max_line: self.listeners.tcp.max_line.get(),
            max_name: self.aggregation.max_name.get(),
            format,
            is_numbered: false,
        }
    }
}

impl TcpSection {
    fn streams(&self) -> StreamOptions {
        let Self { framing, ref permitted_networks, max_connections, max_line, idle_timeout, .. } = *self;
        StreamOptions {
            framing,
            max_line: max_line.get(),
            max_connections,
            permitted: permitted(permitted_networks),
            detects_origin: false,
            idle_timeout: idle_timeout.get(),
        }
    }
}

impl UnixStreamSection {
    fn streams(&self, detects_origin: bool) -> StreamOptions {
        let Self { framing, max_connections, max_line, idle_timeout, .. } = *self;
        StreamOptions {
            framing,
            max_line: max_line.get(),
            max_connections,
            permitted: PermittedNetworks::default(),
            detects_origin,
            idle_timeout: idle_timeout.get(),
        }
    }
}

fn permitted(networks: &[Network]) -> PermittedNetworks {
    PermittedNetworks::new(networks.iter().map(|network| network.get()))
}

fn socket_file(path: &Path, mode: FileMode, owner: &Owner) -> SocketFile {
    SocketFile { path: path.to_owned(), mode: mode.get(), owner: owner.clone() }
}

impl DialectsSection {
    fn enabled(&self) -> Dialects {
        let Self { influxdb, librato, signalfx, graphite } = *self;
        // The order is that of the variants of `Dialect`.
        let switches = [influxdb, librato, signalfx, graphite];
        Dialects::of(
            Dialect::VARIANTS.iter().zip(switches).filter_map(|(&dialect, on)| on.then_some(dialect)),
        )
    }
}

impl IdleSection {
    fn reporting(&self) -> IdleReporting {
        let Self { counters, sets, gauges } = *self;
        IdleReporting {
            zero_counters: counters == IdleSum::Zero,
            zero_sets: sets == IdleSum::Zero,
            last_gauges: gauges == IdleGauge::Last,
        }
    }
}

impl PrometheusSection {
    /// Returns true if clients on other machines can request a reload, unless they need a password.
    pub(super) fn has_open_reload(&self) -> bool {
        let Self { start_http_server, enable_reload, address, permitted_networks, .. } = self;
        *start_http_server
            && *enable_reload
            && !address.get().to_canonical().is_loopback()
            && permitted_networks.is_empty()
    }

    fn histogram_options(&self) -> HistogramOptions {
        HistogramOptions {
            buckets: self.buckets.clone(),
            native_histogram_bucket_factor: self.native_histogram_bucket_factor,
            native_histogram_max_buckets: self.native_histogram_max_buckets as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{Environment, Occasion, load, prepare};
    use super::*;
    use crate::model::Named;

    /// Loads the defaults with these `--set` arguments.
    fn with(arguments: &[&str]) -> Config {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        load(None, &Environment::default(), &arguments).unwrap()
    }

    #[test]
    fn the_shipped_file_applies_without_any_other_source() {
        let config = with(&[]);
        assert_eq!(config.flush.interval.get(), Duration::from_secs(10));
        assert_eq!(config.flush.percentiles, [50.0, 90.0, 95.0, 99.0, 99.9]);
        assert_eq!(config.listeners.udp.bind.get(), ["127.0.0.1:8125".parse().unwrap()]);
        assert_eq!(config.aggregation.max_series, 1_000_000);
        let ExportersSection { console, prometheus, textfile, hdr_log, .. } = config.exporters;
        assert!(console.enabled && !prometheus.start_http_server && !textfile.enabled && !hdr_log.enabled);
        assert!(config.telemetry.enabled);
    }

    #[test]
    fn default_options_in_the_code_equal_the_shipped_file() {
        let config = with(&[]);
        assert_eq!(config.aggregation_options(), AggregationOptions::default());
        assert_eq!(config.aggregation.idle.reporting(), IdleReporting::default());
        assert_eq!(config.reloadable_settings(Mapping::default()).limits, Limits::default());
        let explainer = config.explainer(Mapping::default(), explain::ExplainFormat::Text);
        let Explainer { options, naming, max_line, max_name, .. } = Explainer::default();
        assert_eq!((explainer.options, explainer.naming), (options, naming));
        assert_eq!((explainer.max_line, explainer.max_name), (max_line, max_name));
    }

    #[test]
    fn keys_that_a_reload_cannot_change_wait_for_a_restart() {
        let in_force = with(&[]);
        let reloaded = [
            "mapping.mapping_file=other.yml",
            "mapping.defaults.ttl=5s",
            "flush.interval=1s",
            "flush.percentiles=[50]",
            "shutdown.timeout=1s",
            "aggregation.max_series=5",
            "aggregation.max_series_bytes=1MiB",
            "aggregation.max_series_per_metric=5",
            "aggregation.max_name=2KiB",
            "aggregation.idle.gauges=nothing",
            "aggregation.expire_after.set=2h",
            "exporters.prometheus.timings=native",
            "exporters.prometheus.percentile_window=30s",
            "exporters.prometheus.buckets=[1]",
            "exporters.prometheus.native_histogram_bucket_factor=2",
            "exporters.prometheus.native_histogram_max_buckets=5",
            "telemetry.enabled=false",
            "logging.level=debug",
        ];
        let ChangedKeys { at_reload, at_restart } = with(&reloaded).changed_keys(&in_force);
        assert_eq!(at_restart, [""; 0]);
        assert_eq!((at_reload.len(), &*at_reload[0]), (reloaded.len(), "flush.interval"));
        let changed =
            ["aggregation.digits=3", "listeners.tcp.enabled=true", "logging.format=json", reloaded[0]];
        let waiting = ["listeners.tcp.enabled", "aggregation.digits", "logging.format"];
        assert_eq!(with(&changed).restart_keys(&in_force), waiting);
    }

    #[test]
    fn rule_defaults_mean_the_same_in_toml_and_in_a_mapping_file() {
        let text = "[mapping.defaults]\nobserver_type = \"histogram\"\nttl = \"90s\"\n\
                    summary_options = { quantiles = [{ quantile = 0.99, error = 0.001 }], max_age = \"1m\" }\n\
                    [mapping.defaults.histogram_options]\nbuckets = [1, 2]\nnative_histogram_max_buckets = 9\n";
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let toml = prepare(Occasion::Start, None, Some(file.path()), &Environment::default(), &[]).unwrap();
        let yaml = Mapping::from_yaml(
            "defaults:\n  observer_type: histogram\n  ttl: 90s\n  \
             summary_options: {quantiles: [{quantile: 0.99, error: 0.001}], max_age: 1m}\n  \
             histogram_options: {buckets: [1, 2], native_histogram_max_buckets: 9}\n",
        );
        assert_eq!(toml.mapping, yaml.unwrap());
    }

    #[test]
    fn each_dialect_has_a_switch_with_its_name() {
        for &dialect in Dialect::VARIANTS {
            let config = with(&[&format!("protocol.dialects.{}=false", dialect.name())]);
            let others = Dialect::VARIANTS.iter().copied().filter(|&other| other != dialect);
            assert_eq!(config.aggregation_options().dialects, Dialects::of(others), "{dialect:?}");
        }
    }

    #[test]
    fn output_of_check_reads_back_as_the_same_configuration() {
        let config = with(&[]);
        let again: Config = toml::from_str(&config.to_toml()).unwrap();
        assert_eq!(again, config);
    }
}
