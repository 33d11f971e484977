//! A checked configuration, in which each unset key has its default.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{Config, ConfigError, Exporter};

/// The longest path of a Unix socket that the kernel accepts, in bytes. macOS and the BSDs have 104 bytes for the path
/// and the zero byte after it, and Linux has 108.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Holds each exporter at most once, and none if metrics are disabled.
    pub(crate) exporters: Vec<Exporter>,
    pub(crate) prefix: String,
    /// Sorted by key.
    pub(crate) tags: Vec<(String, String)>,
    /// Above 0 and at most 1.
    pub(crate) sample_rate: f64,
    pub(crate) statsd_address: StatsdAddress,
    pub(crate) flush_interval: Duration,
    /// `None` if the application serves the page itself.
    pub(crate) scrape_address: Option<SocketAddr>,
}

/// The destination of datagrams. Its host name has not been looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StatsdAddress {
    /// A host name or IP address, and a port.
    Udp(String),
    Unix(PathBuf),
}

impl fmt::Display for StatsdAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) => write!(formatter, "udp://{host}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

impl Config {
    /// Checks every key and fills in the defaults.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        let sample_rate = self.sample_rate.unwrap_or(1.0);
        if !(sample_rate > 0.0 && sample_rate <= 1.0) {
            let problem = format!("{sample_rate} is not above 0 and at most 1; use a share such as 0.1");
            return Err(ConfigError::at("sample_rate", problem));
        }
        let flush_interval_ms = self.flush_interval_ms.unwrap_or(1000);
        if !(10..=3_600_000).contains(&flush_interval_ms) {
            let problem = format!("{flush_interval_ms} is not between 10 and 3600000 milliseconds");
            return Err(ConfigError::at("statsd.flush_interval_ms", problem));
        }
        let address = self.statsd_address.as_deref().unwrap_or("udp://127.0.0.1:8125");
        let statsd_address =
            StatsdAddress::parse(address).map_err(|problem| ConfigError::at("statsd.address", problem))?;
        let port = self.prometheus_port.unwrap_or(9103);
        if port == 0 {
            return Err(ConfigError::at("prometheus.port", "0 is not a port from 1 to 65535"));
        }
        let scrape_address = (self.prometheus_address.unwrap_or(IpAddr::from([127, 0, 0, 1])), port).into();
        Ok(Settings {
            exporters: self.enabled_exporters()?,
            prefix: self.checked_prefix()?,
            tags: self.tags.clone().into_iter().collect(),
            sample_rate,
            statsd_address,
            flush_interval: Duration::from_millis(flush_interval_ms),
            scrape_address: self.start_http_server.unwrap_or(true).then_some(scrape_address),
        })
    }

    fn enabled_exporters(&self) -> Result<Vec<Exporter>, ConfigError> {
        let configured = match (self.enabled.unwrap_or(true), &self.exporters) {
            (false, _) => &[],
            (true, None) => &[Exporter::Statsd][..],
            (true, Some(exporters)) => exporters,
        };
        if configured.contains(&Exporter::Prometheus) && !cfg!(feature = "prometheus") {
            let problem = "prometheus needs the cargo feature of that name: \
                           write tallyd-client = { …, features = [\"prometheus\"] } in Cargo.toml";
            return Err(ConfigError::at("exporters", problem));
        }
        let mut exporters = Vec::new();
        for exporter in configured {
            if !exporters.contains(exporter) {
                exporters.push(*exporter);
            }
        }
        Ok(exporters)
    }

    /// Returns the prefix without a dot at its end. Other clients require that dot.
    fn checked_prefix(&self) -> Result<String, ConfigError> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
        let is_reserved = prefix
            .strip_prefix("tallyd")
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == ':'));
        if is_reserved {
            let problem = format!("{prefix:?} is reserved for tallyd's own metrics; choose another prefix");
            return Err(ConfigError::at("prefix", problem));
        }
        Ok(prefix.to_owned())
    }
}

impl StatsdAddress {
    fn parse(address: &str) -> Result<Self, String> {
        let unix = ["unix://", "unixgram://"].into_iter().find_map(|scheme| address.strip_prefix(scheme));
        if let Some(path) = unix.filter(|path| !path.is_empty()) {
            if !cfg!(unix) {
                return Err(format!(
                    "{address:?} is a Unix datagram socket, which this system does not have; use udp://host:port"
                ));
            }
            if path.len() > MAX_SOCKET_PATH {
                return Err(format!(
                    "{path:?} is longer than {MAX_SOCKET_PATH} bytes, the limit for a socket's path; use a shorter one"
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        let udp = address.strip_prefix("udp://").unwrap_or(address);
        if udp
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host) && matches!(port.parse::<u16>(), Ok(1..)))
        {
            return Ok(Self::Udp(udp.to_owned()));
        }
        Err(format!("{address:?} is not of the form udp://host:port, udp://[::1]:port or unix:///path"))
    }
}

/// Returns true for a host name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/:[]".contains(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_key_has_its_default() {
        let settings = Config::new().settings().unwrap();
        assert_eq!(settings.exporters, [Exporter::Statsd]);
        assert_eq!((settings.prefix.as_str(), settings.tags.len(), settings.sample_rate), ("", 0, 1.0));
        assert_eq!(settings.statsd_address, StatsdAddress::Udp("127.0.0.1:8125".to_owned()));
        assert_eq!(settings.flush_interval, Duration::from_secs(1));
        assert_eq!(settings.scrape_address, Some(SocketAddr::from(([127, 0, 0, 1], 9103))));
        assert_eq!(Config::new().enabled(false).settings().unwrap().exporters, []);
        for (prefix, expected) in [("shop.", "shop"), ("tallydesk", "tallydesk")] {
            assert_eq!(Config::new().prefix(prefix).settings().unwrap().prefix, expected);
        }
        let twice = Config::new().exporters([Exporter::Console, Exporter::Statsd, Exporter::Console]);
        assert_eq!(twice.settings().unwrap().exporters, [Exporter::Console, Exporter::Statsd]);
    }

    #[test]
    fn configurations_are_merged_key_by_key() {
        let below = Config::new()
            .prefix("shop")
            .tag("env", "test")
            .tag("team", "a")
            .statsd_address("udp://tallyd:8125")
            .statsd_flush_interval(Duration::from_secs(2))
            .prometheus_address(SocketAddr::from(([0, 0, 0, 0], 9000)));
        let over = Config {
            prometheus_port: Some(9001),
            ..Config::new().tag("env", "prod").statsd_address("[::1]:8126").sample_rate(0.5)
        };
        let settings = over.merged_over(below).settings().unwrap();
        assert_eq!(settings.prefix, "shop");
        let tags: Vec<_> = settings.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(tags, [("env", "prod"), ("team", "a")]);
        assert_eq!(settings.statsd_address, StatsdAddress::Udp("[::1]:8126".to_owned()));
        assert_eq!((settings.flush_interval, settings.sample_rate), (Duration::from_secs(2), 0.5));
        assert_eq!(settings.scrape_address, Some(SocketAddr::from(([0, 0, 0, 0], 9001))));
    }

    #[cfg(unix)]
    #[test]
    fn unix_socket_is_accepted_if_its_path_is_short() {
        let settings = |address: &str| Config::new().statsd_address(address).settings();
        for address in ["unix:///run/tallyd.sock", "unixgram:///run/tallyd.sock"] {
            let expected = StatsdAddress::Unix("/run/tallyd.sock".into());
            assert_eq!(settings(address).unwrap().statsd_address, expected);
        }
        let error = settings(&format!("unix:///{}", "x".repeat(107))).unwrap_err().to_string();
        assert!(error.starts_with("statsd.address: \"/xxx"), "{error}");
    }

    #[cfg(not(unix))]
    #[test]
    fn unix_socket_is_refused_on_a_system_without_them() {
        let error =
            Config::new().statsd_address("unix:///run/tallyd.sock").settings().unwrap_err().to_string();
        assert!(error.contains("use udp://host:port"), "{error}");
    }

    #[test]
    fn harmful_value_is_refused_with_its_key_and_an_alternative() {
        let address = |address: &str| Config::new().statsd_address(address);
        let port = |port| Config::new().prometheus_address(([127, 0, 0, 1], port).into());
        let cases = [
            (Config::new().sample_rate(0.0), "sample_rate: 0 is not above 0 and at most 1; use a share"),
            (Config::new().sample_rate(f64::NAN), "sample_rate: NaN is not above 0 and at most 1"),
            (
                Config::new().statsd_flush_interval(Duration::ZERO),
                "statsd.flush_interval_ms: 0 is not between",
            ),
            (
                address("tallyd"),
                "statsd.address: \"tallyd\" is not of the form udp://host:port, udp://[::1]:port or",
            ),
            (address("tcp://tallyd:8125"), "statsd.address: \"tcp://tallyd:8125\" is not"),
            (address("udp://::1:8125"), "statsd.address: \"udp://::1:8125\" is not"),
            (address("[a]:8125"), "statsd.address: \"[a]:8125\" is not"),
            (address("a b:8125"), "statsd.address: \"a b:8125\" is not"),
            (address("unix://"), "statsd.address: \"unix://\" is not"),
            (address("tallyd:0"), "statsd.address: \"tallyd:0\" is not"),
            (
                Config::new().prefix("tallyd"),
                "prefix: \"tallyd\" is reserved for tallyd's own metrics; choose",
            ),
            (
                Config::new().prefix("tallyd-x"),
                "prefix: \"tallyd-x\" is reserved for tallyd's own metrics; choose",
            ),
            (port(0), "prometheus.port: 0 is not a port from 1 to 65535"),
        ];
        for (config, expected) in cases {
            let error = config.settings().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        #[cfg(not(feature = "prometheus"))]
        {
            let config = Config::new().exporters([Exporter::Prometheus]);
            assert!(config.settings().unwrap_err().to_string().contains("cargo feature"));
        }
    }
}
