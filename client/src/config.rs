//! How metrics are exported: defaults, and what an application says over them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What an application says of its metrics. What it does not say has a default; of two configurations
/// [one may be merged over the other](Self::merged_over), key by key.
///
/// | key | default | what it does |
/// |---|---|---|
/// | `enabled` | `true` | whether anything is exported at all |
/// | `exporters` | `["statsd"]` | where to: `statsd`, `console`, `prometheus`, or several of them |
/// | `prefix` | none | stands before the names of all components, with a dot behind it |
/// | `tags` | none | go with each metric |
/// | `sample_rate` | `1.0` | the share of calls that are sent, but for gauges and sets |
/// | `statsd.address` | `"udp://127.0.0.1:8125"` | where tallyd listens; or `"unix:///run/tallyd/tallyd.sock"` |
/// | `statsd.flush_interval_ms` | `1000` | how long a sample waits for others to fill a datagram with, at most |
/// | `prometheus.start_http_server` | `true` | whether the exporter `prometheus` can be scraped |
/// | `prometheus.address`, `prometheus.port` | `"127.0.0.1"`, `9103` | where |
///
/// In the environment ([`from_env`](Self::from_env)) the same keys are `TALLYD_CLIENT_ENABLED`,
/// `TALLYD_CLIENT_STATSD_ADDRESS` and so on; lists are written `statsd,console`, and tags `env:prod,region:eu`.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "toml", derive(serde::Deserialize))]
#[cfg_attr(feature = "toml", serde(default, deny_unknown_fields))]
#[must_use]
pub struct Config {
    enabled: Option<bool>,
    exporters: Option<Vec<Exporter>>,
    prefix: Option<String>,
    tags: BTreeMap<String, String>,
    sample_rate: Option<f64>,
    statsd: StatsdConfig,
    prometheus: PrometheusConfig,
}

/// Where metrics go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "toml", derive(serde::Deserialize))]
#[cfg_attr(feature = "toml", serde(rename_all = "lowercase"))]
pub enum Exporter {
    /// To tallyd, or any server that speaks `StatsD` with tags as `DogStatsD` has them.
    Statsd,
    /// Into the log, through `tracing`.
    Console,
    /// Onto a page of the application's own, for Prometheus to scrape. Needs the cargo feature `prometheus`.
    Prometheus,
}

/// Of the exporter `statsd`.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "toml", derive(serde::Deserialize))]
#[cfg_attr(feature = "toml", serde(default, deny_unknown_fields))]
struct StatsdConfig {
    address: Option<String>,
    flush_interval_ms: Option<u64>,
}

/// Of the exporter `prometheus`.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "toml", derive(serde::Deserialize))]
#[cfg_attr(feature = "toml", serde(default, deny_unknown_fields))]
struct PrometheusConfig {
    start_http_server: Option<bool>,
    address: Option<IpAddr>,
    port: Option<u16>,
}

/// What is wrong with a configuration, and what would be right.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.problem)
    }
}

/// As for people, for that is what a `main` shows that returns it.
impl fmt::Debug for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    pub(crate) fn configured_before() -> Self {
        Self::new("", "metrics were configured before; that is done once, where the application starts")
    }
}

impl Config {
    /// Says nothing, so that all has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anything is exported at all.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Where metrics go.
    pub fn exporters(mut self, exporters: impl IntoIterator<Item = Exporter>) -> Self {
        self.exporters = Some(exporters.into_iter().collect());
        self
    }

    /// What stands before the names of all components.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// A tag of each metric.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// The share of calls that are sent, above 0 and up to 1. The rates of collectors are multiplied by it.
    pub fn sample_rate(mut self, rate: f64) -> Self {
        self.sample_rate = Some(rate);
        self
    }

    /// Where tallyd listens: `udp://host:port` or `unix://path`.
    pub fn statsd_address(mut self, address: impl Into<String>) -> Self {
        self.statsd.address = Some(address.into());
        self
    }

    /// How long a sample waits for others to fill a datagram with, at most.
    pub fn statsd_flush_interval(mut self, interval: Duration) -> Self {
        self.statsd.flush_interval_ms = Some(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Where the exporter `prometheus` can be scraped.
    pub fn prometheus_address(mut self, address: SocketAddr) -> Self {
        self.prometheus.address = Some(address.ip());
        self.prometheus.port = Some(address.port());
        self
    }

    /// Whether the exporter `prometheus` can be scraped; if not, an application serves
    #[cfg_attr(feature = "prometheus", doc = "[its page](crate::render_prometheus) itself.")]
    #[cfg_attr(not(feature = "prometheus"), doc = "its page itself.")]
    pub fn prometheus_start_http_server(mut self, start: bool) -> Self {
        self.prometheus.start_http_server = Some(start);
        self
    }

    /// What this configuration says, and where it says nothing, what another one does.
    pub fn merged_over(self, below: Self) -> Self {
        let Self { enabled, exporters, prefix, tags, sample_rate, statsd, prometheus } = self;
        let mut all_tags = below.tags;
        all_tags.extend(tags);
        Self {
            enabled: enabled.or(below.enabled),
            exporters: exporters.or(below.exporters),
            prefix: prefix.or(below.prefix),
            tags: all_tags,
            sample_rate: sample_rate.or(below.sample_rate),
            statsd: StatsdConfig {
                address: statsd.address.or(below.statsd.address),
                flush_interval_ms: statsd.flush_interval_ms.or(below.statsd.flush_interval_ms),
            },
            prometheus: PrometheusConfig {
                start_http_server: prometheus.start_http_server.or(below.prometheus.start_http_server),
                address: prometheus.address.or(below.prometheus.address),
                port: prometheus.port.or(below.prometheus.port),
            },
        }
    }

    /// Reads what a section of an application's configuration says, in TOML. Applications that read theirs with serde can
    /// have a field of this type instead.
    ///
    /// # Errors
    ///
    /// If it is no TOML, or for a key that does not exist or a value of the wrong type.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::new("", error.to_string().trim_end()))
    }

    /// Reads what the environment says, in variables that begin with `TALLYD_CLIENT_`.
    ///
    /// # Errors
    ///
    /// For a variable with that beginning that does not exist, or a value that cannot be read.
    pub fn from_env() -> Result<Self, ConfigError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.strip_prefix(ENVIRONMENT).map(|key| (key.to_owned(), value.to_string_lossy().into_owned()))
        });
        Self::from_variables(variables)
    }

    fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (key, value) in variables {
            let error = |problem: &str| ConfigError::new(format!("{ENVIRONMENT}{key}"), problem);
            let not = |what: &str| error(&format!("{value:?} is not {what}"));
            let truth = || value.parse().map_err(|_| not("\"true\" or \"false\""));
            match &*key {
                "ENABLED" => config.enabled = Some(truth()?),
                "EXPORTERS" => {
                    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                    let exporters: Option<_> = names.map(Exporter::by_name).collect();
                    config.exporters = Some(exporters.ok_or_else(|| {
                        not("a list of statsd, console and prometheus, with commas between")
                    })?);
                }
                "PREFIX" => config.prefix = Some(value),
                "TAGS" => {
                    for tag in value.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                        let (key, value) = tag
                            .split_once(':')
                            .ok_or_else(|| not("a list of tags such as env:prod,region:eu"))?;
                        config.tags.insert(key.to_owned(), value.to_owned());
                    }
                }
                "SAMPLE_RATE" => config.sample_rate = Some(value.parse().map_err(|_| not("a number"))?),
                "STATSD_ADDRESS" => config.statsd.address = Some(value),
                "STATSD_FLUSH_INTERVAL_MS" => {
                    config.statsd.flush_interval_ms =
                        Some(value.parse().map_err(|_| not("a number of milliseconds"))?);
                }
                "PROMETHEUS_START_HTTP_SERVER" => config.prometheus.start_http_server = Some(truth()?),
                "PROMETHEUS_ADDRESS" => {
                    config.prometheus.address = Some(value.parse().map_err(|_| not("an IP address"))?);
                }
                "PROMETHEUS_PORT" => config.prometheus.port = Some(value.parse().map_err(|_| not("a port"))?),
                _ => {
                    return Err(error(
                        "no such variable; there are ENABLED, EXPORTERS, PREFIX, TAGS, SAMPLE_RATE, STATSD_ADDRESS, \
                         STATSD_FLUSH_INTERVAL_MS, PROMETHEUS_START_HTTP_SERVER, PROMETHEUS_ADDRESS and PROMETHEUS_PORT behind \
                         TALLYD_CLIENT_",
                    ));
                }
            }
        }
        Ok(config)
    }

    /// What is to be done, or what is wrong.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        let Self { enabled, exporters, prefix, tags, sample_rate, statsd, prometheus } = self;
        let wanted = match (enabled.unwrap_or(true), exporters) {
            (false, _) => &[],
            (true, None) => &[Exporter::Statsd][..],
            (true, Some(exporters)) => exporters,
        };
        let mut exporters = Vec::new();
        for exporter in wanted {
            if !exporters.contains(exporter) {
                exporters.push(*exporter);
            }
        }
        if exporters.contains(&Exporter::Prometheus) && !cfg!(feature = "prometheus") {
            let problem = "prometheus needs the cargo feature of that name: \
                           tallyd-client = { features = [\"prometheus\"] }";
            return Err(ConfigError::new("exporters", problem));
        }
        let prefix = prefix.as_deref().unwrap_or_default();
        // As other clients want it.
        let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
        let begins_with_tallyd = prefix
            .strip_prefix("tallyd")
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == ':'));
        if begins_with_tallyd {
            let problem =
                "names that begin with tallyd are tallyd's own, which refuses them; choose another one";
            return Err(ConfigError::new("prefix", problem));
        }
        let sample_rate = sample_rate.unwrap_or(1.0);
        if !(sample_rate > 0.0 && sample_rate <= 1.0) {
            return Err(ConfigError::new("sample_rate", format!("{sample_rate} is not above 0 and up to 1")));
        }
        let flush_interval = statsd.flush_interval_ms.unwrap_or(1000);
        if !(10..=3_600_000).contains(&flush_interval) {
            let problem = format!("{flush_interval} is not between 10 and 3600000");
            return Err(ConfigError::new("statsd.flush_interval_ms", problem));
        }
        let address = statsd.address.as_deref().unwrap_or("udp://127.0.0.1:8125");
        let target = Target::parse(address).map_err(|problem| ConfigError::new("statsd.address", problem))?;
        let address = prometheus.address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let port = prometheus.port.unwrap_or(9103);
        if port == 0 {
            return Err(ConfigError::new("prometheus.port", "0 is no port that could be scraped"));
        }
        Ok(Settings {
            exporters,
            prefix: prefix.to_owned(),
            tags: tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            sample_rate,
            target,
            flush_interval: Duration::from_millis(flush_interval),
            scraped_at: prometheus
                .start_http_server
                .unwrap_or(true)
                .then(|| SocketAddr::from((address, port))),
        })
    }
}

/// What names of variables begin with.
const ENVIRONMENT: &str = "TALLYD_CLIENT_";

impl Exporter {
    fn by_name(name: &str) -> Option<Self> {
        match name {
            "statsd" => Some(Self::Statsd),
            "console" => Some(Self::Console),
            "prometheus" => Some(Self::Prometheus),
            _ => None,
        }
    }
}

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// None where metrics are disabled.
    pub(crate) exporters: Vec<Exporter>,
    pub(crate) prefix: String,
    /// Sorted by their keys.
    pub(crate) tags: Vec<(String, String)>,
    /// Above 0 and up to 1.
    pub(crate) sample_rate: f64,
    pub(crate) target: Target,
    pub(crate) flush_interval: Duration,
    pub(crate) scraped_at: Option<SocketAddr>,
}

/// Where datagrams go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A host, by name or number, and a port.
    Udp(String),
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) => write!(formatter, "udp://{host}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

impl Target {
    fn parse(address: &str) -> Result<Self, String> {
        let unix = ["unix://", "unixgram://"].into_iter().find_map(|scheme| address.strip_prefix(scheme));
        if let Some(path) = unix.filter(|path| !path.is_empty()) {
            if path.len() > 107 {
                return Err(format!(
                    "{path:?} is longer than 107 bytes, which is all that a socket's path may have"
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        let udp = address.strip_prefix("udp://").unwrap_or(address);
        let has_port = udp.rsplit_once(':').is_some_and(|(host, port)| {
            let number = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let is_host = match number {
                Some(number) => number.parse::<Ipv6Addr>().is_ok(),
                None => !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/:[]".contains(c)),
            };
            is_host && matches!(port.parse::<u16>(), Ok(1..))
        });
        if has_port {
            return Ok(Self::Udp(udp.to_owned()));
        }
        Err(format!("{address:?} is not of the form udp://host:port, udp://[::1]:port or unix:///path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let settings = Config::new().settings().unwrap();
        assert_eq!(settings.exporters, [Exporter::Statsd]);
        assert_eq!((settings.prefix.as_str(), settings.tags.len(), settings.sample_rate), ("", 0, 1.0));
        assert_eq!(settings.target, Target::Udp("127.0.0.1:8125".to_owned()));
        assert_eq!(settings.flush_interval, Duration::from_secs(1));
        assert_eq!(settings.scraped_at, Some(SocketAddr::from(([127, 0, 0, 1], 9103))));
        assert_eq!(Config::new().enabled(false).settings().unwrap().exporters, []);
        for (prefix, expected) in [("shop.", "shop"), ("tallydesk", "tallydesk")] {
            assert_eq!(Config::new().prefix(prefix).settings().unwrap().prefix, expected);
        }
        let twice = Config::new().exporters([Exporter::Console, Exporter::Statsd, Exporter::Console]);
        assert_eq!(twice.settings().unwrap().exporters, [Exporter::Console, Exporter::Statsd]);
    }

    #[test]
    fn one_configuration_is_merged_over_another_key_by_key() {
        let below = Config::new()
            .prefix("shop")
            .tag("env", "test")
            .tag("team", "a")
            .statsd_address("udp://tallyd:8125")
            .statsd_flush_interval(Duration::from_secs(2))
            .prometheus_address(SocketAddr::from(([0, 0, 0, 0], 9000)));
        let over = Config {
            prometheus: PrometheusConfig { port: Some(9001), ..PrometheusConfig::default() },
            ..Config::new().tag("env", "prod").statsd_address("unix:///run/tallyd.sock").sample_rate(0.5)
        };
        let settings = over.merged_over(below).settings().unwrap();
        assert_eq!(settings.prefix, "shop");
        let tags: Vec<_> = settings.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(tags, [("env", "prod"), ("team", "a")]);
        assert_eq!(settings.target, Target::Unix("/run/tallyd.sock".into()));
        assert_eq!((settings.flush_interval, settings.sample_rate), (Duration::from_secs(2), 0.5));
        assert_eq!(settings.scraped_at, Some(SocketAddr::from(([0, 0, 0, 0], 9001))));
    }

    #[cfg(feature = "toml")]
    #[test]
    fn toml_and_the_environment_say_the_same_with_the_same_keys() {
        let toml = r#"
            enabled = true
            exporters = ["console", "statsd"]
            prefix = "shop"
            tags = { env = "prod", url = "http://a" }
            sample_rate = 0.5
            statsd = { address = "tallyd:8125", flush_interval_ms = 100 }
            [prometheus]
            start_http_server = false
            address = "::1"
            port = 9000
        "#;
        let variables = [
            ("ENABLED", "true"),
            ("EXPORTERS", "console, statsd"),
            ("PREFIX", "shop"),
            ("TAGS", "env:prod,url:http://a"),
            ("SAMPLE_RATE", "0.5"),
            ("STATSD_ADDRESS", "tallyd:8125"),
            ("STATSD_FLUSH_INTERVAL_MS", "100"),
            ("PROMETHEUS_START_HTTP_SERVER", "false"),
            ("PROMETHEUS_ADDRESS", "::1"),
            ("PROMETHEUS_PORT", "9000"),
        ];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = Config::from_toml(toml).unwrap();
        assert_eq!(Config::from_variables(variables).unwrap(), config);
        assert_eq!(config.settings().unwrap().scraped_at, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key_and_what_would_be_right() {
        let cases = [
            (Config::new().sample_rate(0.0), "sample_rate: 0 is not above 0 and up to 1"),
            (Config::new().sample_rate(f64::NAN), "sample_rate: NaN is not above 0 and up to 1"),
            (
                Config::new().statsd_flush_interval(Duration::ZERO),
                "statsd.flush_interval_ms: 0 is not between",
            ),
            (
                Config::new().statsd_address("tallyd"),
                "statsd.address: \"tallyd\" is not of the form udp://host:port",
            ),
            (
                Config::new().statsd_address("tcp://tallyd:8125"),
                "statsd.address: \"tcp://tallyd:8125\" is not",
            ),
            (Config::new().statsd_address("udp://::1:8125"), "statsd.address: \"udp://::1:8125\" is not"),
            (Config::new().statsd_address("[a]:8125"), "statsd.address: \"[a]:8125\" is not"),
            (Config::new().statsd_address("a b:8125"), "statsd.address: \"a b:8125\" is not"),
            (Config::new().statsd_address(format!("unix:///{}", "x".repeat(107))), "statsd.address: \"/xxx"),
            (Config::new().prefix("tallyd"), "prefix: names that begin with tallyd"),
            (Config::new().prefix("tallyd-x"), "prefix: names that begin with tallyd"),
            (
                Config::new().prometheus_address(SocketAddr::from(([127, 0, 0, 1], 0))),
                "prometheus.port: 0 is no port",
            ),
            (Config::new().statsd_address("unix://"), "statsd.address: \"unix://\" is not"),
            (Config::new().statsd_address("tallyd:0"), "statsd.address: \"tallyd:0\" is not"),
        ];
        for (config, expected) in cases {
            let error = config.settings().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for (key, value, expected) in [
            ("ENABLED", "yes", "TALLYD_CLIENT_ENABLED: \"yes\" is not \"true\" or \"false\""),
            ("EXPORTERS", "statsd,carbon", "TALLYD_CLIENT_EXPORTERS: \"statsd,carbon\" is not a list of"),
            ("TAGS", "prod", "TALLYD_CLIENT_TAGS: \"prod\" is not a list of tags"),
            ("ADDRESS", "x", "TALLYD_CLIENT_ADDRESS: no such variable"),
        ] {
            let error = Config::from_variables([(key.to_owned(), value.to_owned())]).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        #[cfg(feature = "toml")]
        assert!(Config::from_toml("adress = 5").unwrap_err().to_string().contains("adress"));
        #[cfg(not(feature = "prometheus"))]
        {
            let config = Config::new().exporters([Exporter::Prometheus]);
            assert!(config.settings().unwrap_err().to_string().contains("cargo feature"));
        }
    }
}
