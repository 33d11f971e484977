//! Declares other servers: the endpoints of push exporters, and those that get what listeners receive. Each is a table of
//! a list, such as `[[exporters.remote_write]]`.
//!
//! `config.toml` has an example of each with the default of every key. A test compares it with this file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{HumanDuration, Size, Written};
use crate::deliver::{Authentication, HttpOptions};
use crate::export::{
    GraphiteContent, GraphiteNames, GraphiteProtocol, GraphiteTags, GraphiteTransport, InfluxContent,
    OtlpContent, RemoteWriteContent, Temporality, Version,
};
use crate::http::ClientTls;
use crate::model::NameFilter;
use crate::net::ListenerUrl;
use crate::relay::TargetOptions;

/// Declares endpoints that are reached over HTTP. Each has the keys of the connection, and keys of its own with their
/// defaults.
macro_rules! http_endpoints {
    ($($(#[doc = $doc:literal])* $name:ident { $($key:ident: $type:ty = $default:expr;)* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub(in crate::app) struct $name {
            pub(in crate::app) name: String,
            url: String,
            $(pub(in crate::app) $key: $type,)*
            timeout: HumanDuration,
            user: String,
            password_file: PathBuf,
            token_file: PathBuf,
            headers: BTreeMap<String, String>,
            ca_file: PathBuf,
            cert_file: PathBuf,
            key_file: PathBuf,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    name: String::new(),
                    url: String::new(),
                    $($key: $default,)*
                    timeout: HumanDuration::read("30s").expect("it is a duration"),
                    user: String::new(),
                    password_file: PathBuf::new(),
                    token_file: PathBuf::new(),
                    headers: BTreeMap::new(),
                    ca_file: PathBuf::new(),
                    cert_file: PathBuf::new(),
                    key_file: PathBuf::new(),
                }
            }
        }

        impl $name {
            /// Returns the options of the connection.
            pub(in crate::app) fn connection(&self) -> HttpOptions {
                let some = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
                let authentication = match (self.user.as_str(), some(&self.token_file)) {
                    ("", None) => Authentication::None,
                    ("", Some(token_file)) => Authentication::Token { scheme: "Bearer", token_file },
                    (user, _) => {
                        Authentication::Basic { user: user.to_owned(), password_file: self.password_file.clone() }
                    }
                };
                HttpOptions {
                    url: self.url.clone(),
                    timeout: self.timeout.get(),
                    authentication,
                    headers: self.headers.clone().into_iter().collect(),
                    tls: ClientTls {
                        ca_file: some(&self.ca_file),
                        certificate: some(&self.cert_file).zip(some(&self.key_file)),
                    },
                }
            }

        }

        impl PushEndpoint for $name {
            fn name(&self) -> &str {
                &self.name
            }

            fn check(&self) -> Result<(), (&'static str, String)> {
                let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
                check_name(&self.name).map_err(|problem| ("name", problem))?;
                check_url(&self.url).map_err(|problem| ("url", problem))?;
                check_timeout(self.timeout).map_err(|problem| ("timeout", problem))?;
                if self.user.is_empty() == is_set(&self.password_file) {
                    return Err(("user", "user and password_file need each other; set both or neither".to_owned()));
                }
                if !self.user.is_empty() && is_set(&self.token_file) {
                    return Err(("token_file", "user is set, too; keep one of them".to_owned()));
                }
                if is_set(&self.cert_file) != is_set(&self.key_file) {
                    return Err(("cert_file", "cert_file and key_file need each other; set both or neither".to_owned()));
                }
                Ok(())
            }
        }
    )*};
}

/// An endpoint of a push exporter.
pub(in crate::app) trait PushEndpoint: Serialize {
    fn name(&self) -> &str;

    /// Refuses the first key with a wrong value. Returns its name and the problem.
    fn check(&self) -> Result<(), (&'static str, String)>;

    /// Returns the settings as text, to see whether a reload changes them.
    fn written(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

/// Refuses times of a request that are too short or too long.
fn check_timeout(timeout: HumanDuration) -> Result<(), String> {
    if (100..=600_000).contains(&timeout.get().as_millis()) {
        return Ok(());
    }
    Err(format!("{timeout:?} is not between \"100ms\" and \"10m\""))
}

http_endpoints! {
    /// A server that takes Prometheus' remote write.
    RemoteWriteEndpoint {
        protocol: RemoteWriteProtocol = RemoteWriteProtocol::Auto;
        native_histograms: bool = true;
        families: Vec<String> = Vec::new();
        labels: BTreeMap<String, String> = BTreeMap::new();
    }
}

http_endpoints! {
    /// An OpenTelemetry collector.
    OtlpEndpoint {
        temporality: Temporality = Temporality::Delta;
        names: Vec<String> = Vec::new();
        resource: BTreeMap<String, String> = BTreeMap::new();
    }
}

impl OtlpEndpoint {
    /// Returns what the endpoint gets. `host` is the attribute `host.name` of the resource, unless the configuration sets it.
    pub(in crate::app) fn content(&self, host: &str) -> OtlpContent {
        let resource = with_defaults(&self.resource, &[("host.name", host), ("service.name", "tallyd")]);
        OtlpContent {
            temporality: self.temporality,
            resource: resource.into_iter().collect(),
            names: NameFilter::new(&self.names),
        }
    }

    /// Returns the connection for metrics, and the one for log records.
    pub(in crate::app) fn connections(&self) -> [HttpOptions; 2] {
        let HttpOptions { url, .. } = self.connection();
        let base = url.trim_end_matches('/').trim_end_matches("/v1/metrics");
        ["metrics", "logs"]
            .map(|signal| HttpOptions { url: format!("{base}/v1/{signal}"), ..self.connection() })
    }
}

http_endpoints! {
    /// An InfluxDB server. The keys with Telegraf's names mean the same as there.
    InfluxEndpoint {
        metric_separator: String = "_".to_owned();
        integers: bool = false;
        names: Vec<String> = Vec::new();
        tags: BTreeMap<String, String> = BTreeMap::new();
    }
}

impl InfluxEndpoint {
    /// Returns the options of the connection. InfluxDB 2 has a scheme of its own for tokens.
    pub(in crate::app) fn connection_with_token(&self) -> HttpOptions {
        let mut options = self.connection();
        if let Authentication::Token { scheme, .. } = &mut options.authentication {
            *scheme = "Token";
        }
        options
    }

    /// Returns what the endpoint gets. `host` is the value of the tag `host`, unless the configuration sets it.
    pub(in crate::app) fn content(&self, host: &str) -> InfluxContent {
        InfluxContent {
            metric_separator: self.metric_separator.clone(),
            integers: self.integers,
            tags: with_defaults(&self.tags, &[("host", host)]),
            names: NameFilter::new(&self.names),
        }
    }
}

/// Adds pairs whose keys are missing, and then removes those without a value.
fn with_defaults(pairs: &BTreeMap<String, String>, defaults: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<_, _> =
        defaults.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    all.extend(pairs.clone());
    all.retain(|_, value| !value.is_empty());
    all
}

/// A Graphite server. The keys with statsd's names mean the same as there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct GraphiteEndpoint {
    name: String,
    address: String,
    protocol: GraphiteProtocol,
    timeout: HumanDuration,
    names: Vec<String>,
    tags: GraphiteTags,
    percent_threshold: Vec<f64>,
    flush_counts: bool,
    legacy_namespace: bool,
    global_prefix: String,
    prefix_counter: String,
    prefix_timer: String,
    prefix_gauge: String,
    prefix_set: String,
    global_suffix: String,
}

impl Default for GraphiteEndpoint {
    fn default() -> Self {
        Self {
            name: String::new(),
            address: String::new(),
            protocol: GraphiteProtocol::Tcp,
            timeout: HumanDuration::read("10s").expect("it is a duration"),
            names: Vec::new(),
            tags: GraphiteTags::Graphite,
            percent_threshold: vec![90.0],
            flush_counts: true,
            legacy_namespace: true,
            global_prefix: "stats".to_owned(),
            prefix_counter: "counters".to_owned(),
            prefix_timer: "timers".to_owned(),
            prefix_gauge: "gauges".to_owned(),
            prefix_set: "sets".to_owned(),
            global_suffix: String::new(),
        }
    }
}

impl GraphiteEndpoint {
    /// Returns what the endpoint gets.
    pub(in crate::app) fn content(&self) -> GraphiteContent {
        let mut thresholds: Vec<_> =
            self.percent_threshold.iter().map(|&percent| GraphiteContent::threshold(percent)).collect();
        thresholds.dedup();
        GraphiteContent {
            naming: GraphiteNames {
                legacy_namespace: self.legacy_namespace,
                global_prefix: self.global_prefix.clone(),
                prefix_counter: self.prefix_counter.clone(),
                prefix_timer: self.prefix_timer.clone(),
                prefix_gauge: self.prefix_gauge.clone(),
                prefix_set: self.prefix_set.clone(),
                global_suffix: self.global_suffix.clone(),
                tags: self.tags,
            },
            flush_counts: self.flush_counts,
            thresholds,
            names: NameFilter::new(&self.names),
        }
    }

    pub(in crate::app) fn transport(&self) -> GraphiteTransport {
        GraphiteTransport::new(self.address.clone(), self.protocol, self.timeout.get())
    }
}

impl PushEndpoint for GraphiteEndpoint {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        check_name(&self.name).map_err(|problem| ("name", problem))?;
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            let problem = format!(
                "{:?} has no host and port; write it like \"graphite.example.com:2003\"",
                self.address
            );
            return Err(("address", problem));
        }
        check_timeout(self.timeout).map_err(|problem| ("timeout", problem))?;
        let is_percent = |percent: &f64| *percent != 0.0 && percent.abs() <= 100.0;
        if let Some(percent) = self.percent_threshold.iter().find(|percent| !is_percent(percent)) {
            return Err(("percent_threshold", format!("{percent} is not between -100 and 100, or it is 0")));
        }
        for (key, part) in [
            ("global_prefix", &self.global_prefix),
            ("prefix_counter", &self.prefix_counter),
            ("prefix_timer", &self.prefix_timer),
            ("prefix_gauge", &self.prefix_gauge),
            ("prefix_set", &self.prefix_set),
            ("global_suffix", &self.global_suffix),
        ] {
            if part.contains(|character: char| character.is_whitespace() || matches!(character, ';' | '/')) {
                return Err((key, format!("{part:?} has white space, \";\" or \"/\"")));
            }
        }
        Ok(())
    }
}

/// The version of remote write that an endpoint gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(in crate::app) enum RemoteWriteProtocol {
    /// 2.0 if the server says that it has stored what it got, and 1.0 otherwise.
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "1.0")]
    V1,
}

impl RemoteWriteEndpoint {
    /// Returns what the endpoint gets. `host` is the value of the label `instance`, unless the configuration sets it.
    pub(in crate::app) fn content(&self, host: &str) -> RemoteWriteContent {
        RemoteWriteContent {
            version: match self.protocol {
                RemoteWriteProtocol::Auto => Version::V2,
                RemoteWriteProtocol::V1 => Version::V1,
            },
            native: self.native_histograms,
            labels: with_defaults(&self.labels, &[("instance", host)]).into_iter().collect(),
            families: NameFilter::new(&self.families),
        }
    }
}

/// Refuses endpoints with wrong settings, and two endpoints of one name.
#[expect(clippy::ptr_arg, reason = "a check takes a reference to the type of its field")]
pub(super) fn endpoints<E: PushEndpoint>(endpoints: &Vec<E>) -> Result<(), String> {
    for (index, endpoint) in endpoints.iter().enumerate() {
        let name = endpoint.name();
        endpoint
            .check()
            .map_err(|(key, problem)| format!("{key} of endpoint {} ({name:?}): {problem}", index + 1))?;
        if endpoints[..index].iter().any(|other| other.name() == name) {
            return Err(format!("the name {name:?} appears twice; give each endpoint a name of its own"));
        }
    }
    Ok(())
}

/// StatsD servers that get what listeners receive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct RelayEntry {
    to: Vec<String>,
    max_queue: Size,
    detect_loops: bool,
}

impl Default for RelayEntry {
    fn default() -> Self {
        Self { to: Vec::new(), max_queue: Size::read("4MiB").expect("it is a size"), detect_loops: true }
    }
}

const MIN_QUEUE: usize = 128 << 10;
const MAX_QUEUE: usize = 1 << 30;

impl RelayEntry {
    /// Returns the servers. Those with an invalid URL were refused before.
    pub(in crate::app) fn targets(&self) -> impl Iterator<Item = TargetOptions> {
        let urls = self.to.iter().filter_map(|url| url.parse().ok());
        urls.map(|url| TargetOptions {
            url,
            max_queue: self.max_queue.get(),
            detects_loops: self.detect_loops,
        })
    }

    /// Refuses the first key with a wrong value. Returns its name and the problem.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.to.is_empty() {
            return Err((
                "to",
                "names no server; write it like [\"udp://statsd.example.com:8125\"]".to_owned(),
            ));
        }
        for url in &self.to {
            url.parse::<ListenerUrl>().map_err(|problem| ("to", format!("{url:?}: {problem}")))?;
        }
        if !(MIN_QUEUE..=MAX_QUEUE).contains(&self.max_queue.get()) {
            return Err((
                "max_queue",
                format!("{:?} is not between \"128KiB\" and \"1GiB\"", self.max_queue),
            ));
        }
        Ok(())
    }
}

/// Refuses relays with wrong settings, and servers that would get everything twice.
#[expect(clippy::ptr_arg, reason = "a check takes a reference to the type of its field")]
pub(super) fn relays(relays: &Vec<RelayEntry>) -> Result<(), String> {
    let mut known = Vec::new();
    for (index, relay) in relays.iter().enumerate() {
        relay.check().map_err(|(key, problem)| format!("{key} of relay {}: {problem}", index + 1))?;
        for TargetOptions { url, .. } in relay.targets() {
            if known.contains(&url) {
                return Err(format!("{url} appears twice; name each server once"));
            }
            known.push(url);
        }
    }
    Ok(())
}

/// The longest name of an endpoint in bytes.
const LONGEST_NAME: usize = 64;

/// Refuses names that cannot be a part of a file's name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_legal) {
        return Ok(());
    }
    Err(format!("{name:?} is not 1 to {LONGEST_NAME} letters, digits, \"-\" and \"_\""))
}

fn check_url(url: &str) -> Result<(), String> {
    let is_http = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    let parsed = url.parse::<ureq::http::Uri>();
    match parsed {
        Ok(uri) if is_http && uri.host().is_some_and(|host| !host.is_empty()) => {
            if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
                return Err("has a password; use user and password_file, so that no log shows it".to_owned());
            }
            Ok(())
        }
        _ => Err(format!("{url:?} is no URL; write it like \"https://mimir.example.com/api/v1/push\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::super::sections::DEFAULTS;
    use super::*;

    /// Returns the example of an endpoint in `config.toml`, without the marks of comments.
    fn example(heading: &str) -> String {
        let lines = DEFAULTS.lines().skip_while(|line| *line != format!("# {heading}"));
        let example = lines.skip(1).map_while(|line| line.strip_prefix("# "));
        example.collect::<Vec<_>>().join("\n")
    }

    /// Checks that the example in `config.toml` has each key of an endpoint, with its default.
    fn assert_shown<E: PushEndpoint + Default + DeserializeOwned>(heading: &str) {
        let table =
            |endpoint: &E| toml::from_str::<toml::Table>(&toml::to_string(endpoint).unwrap()).unwrap();
        let mut shown: toml::Table = toml::from_str(&example(heading)).unwrap();
        let endpoint: E = toml::from_str(&example(heading)).unwrap();
        endpoint.check().unwrap();
        for key in ["name", "url", "address"] {
            if shown.contains_key(key) {
                shown.insert(key.to_owned(), String::new().into());
            }
        }
        assert_eq!(shown, table(&E::default()), "{heading}");
    }

    #[test]
    fn the_shipped_file_shows_every_key_of_an_endpoint_with_its_default() {
        assert_shown::<RemoteWriteEndpoint>("[[exporters.remote_write]]");
        assert_shown::<OtlpEndpoint>("[[exporters.otlp]]");
        assert_shown::<GraphiteEndpoint>("[[exporters.graphite]]");
        assert_shown::<InfluxEndpoint>("[[exporters.influxdb]]");
    }

    #[test]
    fn a_collector_has_a_path_for_each_signal() {
        for url in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/metrics"] {
            let endpoint: OtlpEndpoint = toml::from_str(&format!("name = \"a\"\nurl = \"{url}\"")).unwrap();
            let urls = endpoint.connections().map(|connection| connection.url);
            assert_eq!(urls, ["http://c:4318/v1/metrics", "http://c:4318/v1/logs"]);
        }
    }

    #[test]
    fn the_shipped_file_shows_every_key_of_a_relay_with_its_default() {
        let shown: RelayEntry = toml::from_str(&example("[[relay]]")).unwrap();
        relays(&vec![shown.clone()]).unwrap();
        assert_eq!(RelayEntry { to: Vec::new(), ..shown }, RelayEntry::default());
        let keys: toml::Table = toml::from_str(&example("[[relay]]")).unwrap();
        let all: toml::Table = toml::from_str(&toml::to_string(&RelayEntry::default()).unwrap()).unwrap();
        assert_eq!(keys.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
    }

    #[test]
    fn relays_that_cannot_work_are_refused_with_the_key() {
        let cases = [
            ("", "to of relay 1: names no server"),
            ("to = [\"host:8125\"]", "to of relay 1: \"host:8125\": not a URL"),
            ("to = [\"udp://h:1\"]\nmax_queue = \"1KiB\"", "max_queue of relay 1"),
            ("to = [\"udp://h:1\", \"udp://h:1\"]", "udp://h:1 appears twice"),
        ];
        for (text, problem) in cases {
            let relay: RelayEntry = toml::from_str(text).unwrap();
            assert!(relays(&vec![relay]).unwrap_err().contains(problem), "{text}");
        }
    }

    #[test]
    fn endpoints_that_cannot_work_are_refused_with_the_key() {
        let good = r#"name = "a"
url = "https://host/write""#;
        let cases = [
            ("name = \"\"\nurl = \"http://h\"", "name"),
            ("name = \"a/b\"\nurl = \"http://h\"", "name"),
            ("name = \"a\"", "url"),
            ("name = \"a\"\nurl = \"host:9090\"", "url"),
            ("name = \"a\"\nurl = \"http://u:p@host\"", "url"),
            (&format!("{good}\nuser = \"u\""), "user"),
            (&format!("{good}\npassword_file = \"/p\""), "user"),
            (&format!("{good}\nuser = \"u\"\npassword_file = \"/p\"\ntoken_file = \"/t\""), "token_file"),
            (&format!("{good}\nkey_file = \"/k\""), "cert_file"),
            (&format!("{good}\ntimeout = \"1ms\""), "timeout"),
        ];
        for (text, key) in cases {
            let endpoint: RemoteWriteEndpoint = toml::from_str(text).unwrap();
            assert_eq!(endpoint.check().unwrap_err().0, key, "{text}");
        }
        let endpoint: RemoteWriteEndpoint = toml::from_str(good).unwrap();
        assert_eq!(super::endpoints(&vec![endpoint.clone()]), Ok(()));
        assert!(super::endpoints(&vec![endpoint.clone(), endpoint]).unwrap_err().contains("appears twice"));
    }
}
