//! Declares every key: its type, its bounds, and whether a reload changes it.
//!
//! `config.toml` has the default and the documentation of each key. Tests compare it with this file.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bounds::{
    addresses, console_path, hdr_log_path, histogram_bounds, memory_max, name_prefix, native_bucket_factor,
    new_keys, new_values, optional_socket_path, own_tags, page_path, percentiles, prefix_except, socket_path,
    textfile_path,
};
use super::endpoints::{
    GraphiteEndpoint, InfluxEndpoint, OtlpEndpoint, RelayEntry, RemoteWriteEndpoint, endpoints, relays,
};
use super::read::Problem;
use super::setting::{ChangedKeys, Check, Limited, Setting, sections, values};
use super::values::{Address, Addresses, FileMode, Host, HumanDuration, Lifetime, Network, Size};
use crate::app::process::host;
use crate::export::prometheus::{ApiAccess, Naming};
use crate::export::{ConsoleFormat, OnExit};
use crate::listen::Framing;
use crate::mapping::{self, Defaults, Mapping, MappingError, RuleSpec, ShapingSpec};
use crate::model::Exposition;
use crate::net::Owner;

/// The shipped `config.toml`, which holds the default and the documentation of every key.
pub(in crate::app) const DEFAULTS: &str = include_str!("../../../config.toml");

sections! {
    /// A configuration, merged from all layers and checked.
    pub Config {
        #[reload] relay: Vec<RelayEntry>, relays;
        #[reload] flush: FlushSection;
        #[reload] shutdown: ShutdownSection;
        listeners: ListenersSection;
        protocol: ProtocolSection;
        #[reload] shaping: ShapingSection;
        #[reload] mapping: MappingSection;
        aggregation: AggregationSection;
        memory: MemorySection;
        exporters: ExportersSection;
        delivery: DeliverySection;
        admin: AdminSection;
        state: StateSection;
        telemetry: TelemetrySection;
        logging: LoggingSection;
    }
    pub(in crate::app) FlushSection {
        interval: HumanDuration, "100ms"..="1h";
        percentiles: Vec<f64>, Limited(percentiles, [0.0, 100.0]);
    }
    pub(in crate::app) ShutdownSection {
        timeout: HumanDuration, ("0s"..="10m", "a stop may not take longer");
    }
    pub(in crate::app) ListenersSection {
        coalesce_delay: HumanDuration, ("0s"..="100ms", "the receive buffers would have to be too large");
        udp: UdpSection;
        tcp: TcpSection;
        unix_datagram: UnixDatagramSection;
        unix_stream: UnixStreamSection;
    }
    pub(in crate::app) UdpSection {
        enabled: bool;
        bind: Addresses, addresses;
        permitted_networks: Vec<Network>;
        receivers: usize, (0..=256, "more than one per core does not help");
        receive_buffer: Size, "4KiB"..="1GiB";
        max_datagram: Size, ("512B"..="64KiB", "UDP carries no more");
        share_port: bool;
    }
    pub(in crate::app) TcpSection {
        enabled: bool;
        bind: Address;
        permitted_networks: Vec<Network>;
        framing: Framing;
        max_connections: usize, 1..=65_536;
        max_line: Size, "512B"..="1MiB";
        idle_timeout: HumanDuration, "1s"..="30days";
    }
    pub(in crate::app) UnixDatagramSection {
        enabled: bool;
        path: PathBuf, Limited(socket_path, [107]);
        mode: FileMode, "0000"..="0777";
        owner: Owner;
        max_datagram: Size, "512B"..="1MiB";
    }
    pub(in crate::app) UnixStreamSection {
        enabled: bool;
        path: PathBuf, Limited(socket_path, [107]);
        mode: FileMode, "0000"..="0777";
        owner: Owner;
        framing: Framing;
        max_connections: usize, 1..=65_536;
        max_line: Size, "512B"..="1MiB";
        idle_timeout: HumanDuration, "1s"..="30days";
    }
    pub(in crate::app) ProtocolSection {
        container_id_tag: bool;
        origin_detection: bool;
        dialects: DialectsSection;
    }
    pub(in crate::app) DialectsSection {
        influxdb: bool;
        librato: bool;
        signalfx: bool;
        graphite: bool;
    }
    pub(in crate::app) ShapingSection {
        prefix: String, name_prefix;
        prefix_except: Vec<String>, prefix_except;
        tags: Vec<String>, own_tags;
        keep_tags: Vec<String>;
        drop_tags: Vec<String>;
        rename_tags: BTreeMap<String, String>, new_keys;
        map_values: BTreeMap<String, BTreeMap<String, String>>, new_values;
    }
    pub(in crate::app) MappingSection {
        mapping_file: PathBuf;
        mappings: Vec<RuleSpec>;
        defaults: Defaults, Defaults::check_options;
    }
    pub(in crate::app) AggregationSection {
        #[reload] max_series: usize, 1..=100_000_000;
        #[reload] max_series_bytes: Size, "64KiB"..="1TiB";
        #[reload] max_series_per_metric: usize, 0..=100_000_000;
        #[reload] max_name: Size, "64B"..="1MiB";
        digits: usize, (1..=4, "4 takes about 10 MB for a series with many values");
        exact_values: usize, (0..=1_000_000, "each value takes 8 bytes in each series");
        exact_members: usize, (0..=1_000_000, "each member takes 8 bytes in each series");
        event_buffer: Size, ("0B"..="1GiB", "each receiver has a buffer of its own");
        gauges: GaugesSection;
        #[reload] idle: IdleSection;
        #[reload] expire_after: ExpireSection;
    }
    pub(in crate::app) GaugesSection {
        signed: Signed;
        absolute_prefixes: Vec<String>;
    }
    pub(in crate::app) IdleSection {
        counters: IdleSum;
        sets: IdleSum;
        gauges: IdleGauge;
    }
    pub(in crate::app) ExpireSection {
        counter: Lifetime;
        gauge: Lifetime;
        timing: Lifetime;
        histogram: Lifetime;
        distribution: Lifetime;
        set: Lifetime;
    }
    pub(in crate::app) MemorySection {
        max: Size, Limited(memory_max, ["64MiB"]);
    }
    pub(in crate::app) ExportersSection {
        #[reload] remote_write: Vec<RemoteWriteEndpoint>, endpoints;
        #[reload] otlp: Vec<OtlpEndpoint>, endpoints;
        #[reload] graphite: Vec<GraphiteEndpoint>, endpoints;
        #[reload] influxdb: Vec<InfluxEndpoint>, endpoints;
        console: ConsoleSection;
        prometheus: PrometheusSection;
        textfile: TextfileSection;
        hdr_log: HdrLogSection;
    }
    pub(in crate::app) ConsoleSection {
        enabled: bool;
        format: ConsoleFormat;
        path: PathBuf, console_path;
        max_rows: usize;
    }
    pub(in crate::app) PrometheusSection {
        start_http_server: bool;
        address: Host;
        port: u16;
        path: String, page_path;
        permitted_networks: Vec<Network>;
        max_connections: usize, 1..=65_536;
        timeout: HumanDuration, "100ms"..="10m";
        enable_reload: bool;
        api: ApiAccess;
        web_config_file: PathBuf;
        socket: PathBuf, Limited(optional_socket_path, [107]);
        socket_mode: FileMode, "0000"..="0777";
        #[reload] timings: Exposition;
        #[reload] percentile_window: HumanDuration, "0s"..="1h";
        #[reload] buckets: Vec<f64>, Limited(histogram_bounds, [200]);
        #[reload] native_histogram_bucket_factor: f64, Limited(native_bucket_factor, [1.0, 65_536.0]);
        #[reload] native_histogram_max_buckets: usize, 1..=10_000;
        naming: Naming;
        openmetrics_created: bool;
        utf8_names: bool;
    }
    pub(in crate::app) TextfileSection {
        enabled: bool;
        path: PathBuf, Limited(textfile_path, [".prom"]);
        on_exit: OnExit;
        reserved_prefixes: Vec<String>;
    }
    pub(in crate::app) HdrLogSection {
        enabled: bool;
        path: PathBuf, Limited(hdr_log_path, [".hlog"]);
        digits: usize, (1..=5, "5 takes megabytes for each histogram");
        scale: usize, (1..=1_000_000_000, "larger values would not fit");
        max_size: Size, "64KiB"..="1TiB";
        max_age: HumanDuration, "1m"..="1year";
        keep: usize, 0..=10_000;
    }
    pub(in crate::app) DeliverySection {
        path: PathBuf;
        max_memory: Size, "64KiB"..="1GiB";
        max_disk: Size, "0B"..="1TiB";
    }
    pub(in crate::app) AdminSection {
        enabled: bool;
        bind: Address;
        permitted_networks: Vec<Network>;
    }
    pub(in crate::app) StateSection {
        path: PathBuf;
        interval: HumanDuration, "1s"..="1h";
    }
    pub(in crate::app) TelemetrySection {
        #[reload] enabled: bool;
        tags: Vec<String>, own_tags;
    }
    pub(in crate::app) LoggingSection {
        #[reload] level: LogLevel;
        format: LogFormat;
        output: Vec<LogOutput>;
        file_path: PathBuf;
    }
}

values! {
    bool, u16, f64, usize, String, PathBuf, HumanDuration, Lifetime, Size, Address, Addresses, Host, FileMode,
    Framing, Owner, Defaults, ApiAccess, Exposition, ConsoleFormat, Naming, OnExit,
    Signed, IdleSum, IdleGauge, LogLevel, LogFormat, LogOutput,
}

/// Declares enums whose variants are words of the configuration.
macro_rules! choices {
    ($($(#[doc = $doc:literal])* $name:ident { $($variant:ident,)* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub(in crate::app) enum $name { $($variant,)* }
    )*};
}

choices! {
    /// The meaning of a sign before the value of a gauge.
    Signed { Delta, Absolute, }
    /// The value that tallyd reports for a counter or a set without samples.
    IdleSum { Nothing, Zero, }
    /// The value that tallyd reports for a gauge without samples.
    IdleGauge { Nothing, Last, }
    /// The least severe level that is logged.
    LogLevel { Error, Warn, Info, Debug, Trace, }
    /// The format of log records.
    LogFormat { Text, Json, }
    /// An output of the log.
    LogOutput { Console, File, }
}

impl ShapingSection {
    /// Returns the changes for all series, with the values of environment variables.
    ///
    /// # Errors
    ///
    /// Returns the problem with a tag, in words.
    pub(super) fn spec(&self) -> Result<ShapingSpec, String> {
        let Self { prefix, prefix_except, tags, keep_tags, drop_tags, rename_tags, map_values } =
            self.clone();
        let tag = |tag: &String| {
            let (key, value) = tag.split_once(':').map_or((&**tag, None), |(key, value)| (key, Some(value)));
            if key.contains("${") {
                return Err(format!("{tag:?} has a variable in its key; only the value can have one"));
            }
            let value = value.map(with_variables).transpose()?;
            mapping::check_text("the value", value.as_deref().unwrap_or_default())?;
            Ok((key.to_owned(), value))
        };
        let tags = tags.iter().map(tag).collect::<Result<_, String>>()?;
        Ok(ShapingSpec { prefix, prefix_except, tags, keep_tags, drop_tags, rename_tags, map_values })
    }
}

/// Replaces each `${NAME}` by the value of an environment variable. `HOSTNAME` is the name of the machine if there is no
/// such variable.
fn with_variables(text: &str) -> Result<String, String> {
    let Some((before, rest)) = text.split_once("${") else { return Ok(text.to_owned()) };
    let Some((name, after)) = rest.split_once('}') else {
        return Err(format!("{text:?} has no \"}}\" after \"${{\""));
    };
    let value = match env::var(name) {
        Ok(value) => value,
        Err(_) if name == "HOSTNAME" => host(),
        Err(_) => {
            return Err(format!(
                "there is no environment variable {name:?} with text; set it, or write the value itself"
            ));
        }
    };
    Ok(before.to_owned() + &value + &with_variables(after)?)
}

impl MappingSection {
    /// Returns the rules in `mapping.mappings`.
    pub(super) fn own_rules(&self) -> Result<Mapping, MappingError> {
        Mapping::new(&self.defaults, self.mappings.iter().map(|rule| (None, rule)))
    }
}

impl ExportersSection {
    /// Returns true if tallyd pushes to a server.
    pub(in crate::app) fn has_endpoints(&self) -> bool {
        !self.remote_write.is_empty()
            || !self.otlp.is_empty()
            || !self.graphite.is_empty()
            || !self.influxdb.is_empty()
    }
}

impl ExpireSection {
    /// Returns each key with its value, in the order of the variants of [`Kind`](crate::model::Kind).
    pub(super) fn by_name(&self) -> [(&'static str, Lifetime); 6] {
        let Self { counter, gauge, timing, histogram, distribution, set } = *self;
        [
            ("counter", counter),
            ("gauge", gauge),
            ("timing", timing),
            ("histogram", histogram),
            ("distribution", distribution),
            ("set", set),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::comments;
    use super::*;

    /// This fails if a bound changes in the code but not in `config.toml`. Bounds of 0 need no mention. A key may be
    /// documented in another section that has a key of the same name ("as for tcp").
    #[test]
    fn the_shipped_file_states_the_bounds_of_each_key() {
        let comments: BTreeMap<_, _> =
            comments().into_iter().map(|(key, comment)| (key, comment.replace('_', ""))).collect();
        let mut bounds = Vec::new();
        Config::push_bounds("", &mut bounds);
        assert!(bounds.len() > 25, "{bounds:?}");
        for (key, bounds) in bounds {
            assert!(comments.contains_key(&key), "{key}");
            let name = &key[key.rfind('.').map_or(0, |dot| dot)..];
            let of_that_name: Vec<_> = comments.iter().filter(|(key, _)| key.ends_with(name)).collect();
            let is_zero = |bound: &str| matches!(bound, "0" | "\"0s\"" | "\"0B\"" | "\"0000\"");
            let is_named =
                |comment: &str| bounds.iter().all(|bound| is_zero(bound) || comment.contains(&**bound));
            assert!(
                of_that_name.iter().any(|(_, comment)| is_named(comment)),
                "{key}: {bounds:?} in {of_that_name:?}"
            );
        }
    }

    #[test]
    fn the_shipped_file_has_every_key_and_no_others() {
        // Reading refuses unknown keys and missing keys.
        let config: Config = toml::from_str(DEFAULTS).unwrap();
        config.check().unwrap();
    }
}
