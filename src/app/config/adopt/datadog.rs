//! Reads the settings of DogStatsD in `datadog.yaml`, the configuration file of a Datadog agent.

#![expect(clippy::zero_sized_map_values, reason = "the values of other keys can be anything")]

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::{Table, Value};

use super::settings::{Settings, all_interfaces};
use crate::app::config::error::ConfigError;
use crate::app::config::file::{self, Occasion};
use crate::mapping::{Action, Mapping, MappingError, MatchMetricType, MatchType, RuleSpec};
use crate::text::yaml::{self, YamlError};

/// Declares the keys of the file that tallyd reads.
macro_rules! keys {
    ($($key:ident: $type:ty,)*) => {
        /// The keys of the file that tallyd reads. `None` means the default of the agent.
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct DatadogFile { $($key: Option<$type>,)* }

        const KEYS: &[&str] = &[$(stringify!($key)),*];
    };
}

keys! {
    bind_host: String,
    use_dogstatsd: bool,
    dogstatsd_port: u16,
    dogstatsd_non_local_traffic: bool,
    dogstatsd_socket: String,
    dogstatsd_stream_socket: String,
    dogstatsd_buffer_size: u32,
    dogstatsd_so_rcvbuf: u32,
    dogstatsd_tags: Vec<String>,
    dogstatsd_expiry_seconds: f64,
    dogstatsd_mapper_profiles: IgnoredAny,
    dogstatsd_origin_detection: bool,
    dogstatsd_origin_detection_client: bool,
    statsd_metric_namespace: String,
    statsd_metric_namespace_blocklist: Vec<String>,
    // The former name.
    statsd_metric_namespace_blacklist: Vec<String>,
    statsd_metric_blocklist: Vec<String>,
    statsd_metric_blocklist_match_prefix: bool,
    metric_filterlist: Vec<String>,
    metric_filterlist_match_prefix: bool,
    metric_tag_filterlist: Vec<TagFilter>,
    histogram_aggregates: Vec<String>,
    histogram_percentiles: Vec<Quantile>,
    statsd_forward_host: String,
    statsd_forward_port: u16,
    log_level: String,
}

/// The tags of a metric that stay or do not.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TagFilter {
    metric_name: String,
    action: Option<TagAction>,
    tags: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TagAction {
    Include,
    #[default]
    #[serde(alias = "")]
    Exclude,
}

/// A quantile, which the agent reads as text or as a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Quantile {
    Number(f64),
    Text(String),
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Quantile {
    fn percent(&self) -> Option<f64> {
        let quantile = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().ok()?,
        };
        // The agent rounds to whole percent, too.
        Some((quantile * 100.0).round()).filter(|percent| (1.0..=100.0).contains(percent))
    }
}

/// The defaults of a Datadog agent that differ from those of tallyd, with the reasons.
const DEFAULTS: &str = r#"
# The agent takes "-5" as a value.
aggregation.gauges.signed = "absolute"
# It reads tags only in a section of their own.
protocol.dialects = { influxdb = false, librato = false, signalfx = false, graphite = false }
"#;

/// The names that get no namespace unless `statsd_metric_namespace_blocklist` is set.
const WITHOUT_NAMESPACE: [&str; 21] = [
    "activemq",
    "activemq_58",
    "airflow",
    "cassandra",
    "confluent",
    "datadog.agent",
    "datadog.dogstatsd",
    "datadog.process",
    "datadog.trace_agent",
    "datadog.tracer",
    "hazelcast",
    "hive",
    "ignite",
    "jboss",
    "jvm",
    "kafka",
    "presto",
    "runtime",
    "sidekiq",
    "solr",
    "tomcat",
];

/// Keys about DogStatsD that tallyd does not have, with the reason or a remedy.
const WITHOUT_COUNTERPART: [(&str, &str); 14] = [
    ("dogstatsd_capture_depth", "tallyd captures no traffic; a [[relay]] sends it on"),
    ("dogstatsd_capture_path", "tallyd captures no traffic; a [[relay]] sends it on"),
    ("dogstatsd_context_expiry_seconds", "see aggregation.expire_after"),
    ("dogstatsd_entity_id_precedence", "tallyd adds the container's id, and no tags of an entity"),
    ("dogstatsd_eol_required", "tallyd takes a datagram without a line feed at its end"),
    ("dogstatsd_experimental_http", "tallyd does not receive over HTTP"),
    ("dogstatsd_host_socket_path", "see listeners.unix_datagram.path"),
    ("dogstatsd_log_file", "the log has what tallyd does not record"),
    ("dogstatsd_mapper_cache_size", "tallyd remembers the rule of each series as long as the series"),
    ("dogstatsd_metrics_stats_enable", "`tallyd talkers` and `tallyd series` say what arrives"),
    ("dogstatsd_no_aggregation_pipeline", "tallyd counts a sample with a timestamp in the current interval"),
    ("dogstatsd_pipe_name", "tallyd has no named pipes"),
    ("dogstatsd_tag_cardinality", "the tags of origin detection are container_id and pod_uid"),
    ("histogram_copy_to_distribution", "see exporters.prometheus.timings"),
];

/// Reads the file. Keys that do not concern DogStatsD have no effect.
pub(super) fn read(path: &Path, occasion: Occasion) -> Result<Settings, ConfigError> {
    let in_file =
        |line: Option<u64>, problem| ConfigError::in_file(path, line.map(|line| line as usize), problem);
    let text = file::read_text(path, occasion).map_err(|problem| in_file(None, problem))?;
    let wrong = |YamlError { line, problem }| in_file(line, problem);
    let file: DatadogFile = yaml::parse(&text).map_err(wrong)?.unwrap_or_default();
    let keys: BTreeMap<String, IgnoredAny> = yaml::parse(&text).map_err(wrong)?.unwrap_or_default();
    let profiles = Mapping::profiles_from_yaml(&text)
        .unwrap_or(Ok(Vec::new()))
        .map_err(|MappingError { line, problem, .. }| in_file(line, problem))?;
    let mut reading = Reading { file: &file, path, settings: Settings::default() };
    for (key, value) in toml::from_str::<Table>(DEFAULTS).unwrap_or_default() {
        reading.settings.set("the default of the Datadog agent", &key, value);
    }
    reading.set_listeners();
    reading.set_shaping();
    reading.set_rules(profiles.into_iter().map(|(_, rule)| rule).collect());
    reading.set_others();
    reading.warn(&keys);
    Ok(reading.settings)
}

/// The settings that were read so far.
struct Reading<'a> {
    file: &'a DatadogFile,
    path: &'a Path,
    settings: Settings,
}

impl Reading<'_> {
    fn place(&self, key: &str) -> String {
        format!("{}: {key}", self.path.display())
    }

    /// Sets a key of tallyd from a key of the file.
    fn set(&mut self, from: &str, key: &str, value: impl Into<Value>) {
        self.settings.set(&self.place(from), key, value);
    }

    fn set_listeners(&mut self) {
        let file = self.file;
        let port = file.dogstatsd_port.unwrap_or(8125);
        if file.use_dogstatsd == Some(false) {
            self.settings.warn(&self.place("use_dogstatsd"), "no effect: tallyd still receives");
        }
        self.set("dogstatsd_port", "listeners.udp.enabled", port != 0);
        let (key, host) = if file.dogstatsd_non_local_traffic == Some(true) {
            ("dogstatsd_non_local_traffic", all_interfaces().to_owned())
        } else {
            let given = file.bind_host.as_deref().unwrap_or_default().trim_matches(['[', ']']);
            let host = match given {
                "" | "localhost" => "127.0.0.1".to_owned(),
                ipv6 if ipv6.contains(':') => format!("[{ipv6}]"),
                other => other.to_owned(),
            };
            (if given.is_empty() { "dogstatsd_port" } else { "bind_host" }, host)
        };
        if port != 0 {
            self.set(key, "listeners.udp.bind", format!("{host}:{port}"));
        }
        for (key, socket, section) in [
            ("dogstatsd_socket", &file.dogstatsd_socket, "listeners.unix_datagram"),
            ("dogstatsd_stream_socket", &file.dogstatsd_stream_socket, "listeners.unix_stream"),
        ] {
            if let Some(socket) = socket.as_deref().filter(|socket| !socket.is_empty()) {
                // The agent's clients write it as an address, too.
                let path = socket.trim_start_matches("unix://");
                self.set(key, &format!("{section}.enabled"), true);
                self.set(key, &format!("{section}.path"), path);
                // The agent lets everyone write.
                self.set(key, &format!("{section}.mode"), "0722");
            }
        }
        // tallyd's own limits are larger than the agent's default of 8 KiB, so only larger ones count.
        if let Some(size) = file.dogstatsd_buffer_size {
            let key = "dogstatsd_buffer_size";
            self.set(key, "listeners.udp.max_datagram", format!("{}B", size.clamp(8192, 65536)));
            if file.dogstatsd_socket.is_some() {
                let size = format!("{}B", size.clamp(256 << 10, 1 << 20));
                self.set(key, "listeners.unix_datagram.max_datagram", size);
            }
        }
        if let Some(size) = file.dogstatsd_so_rcvbuf.filter(|&size| size > 0) {
            self.set("dogstatsd_so_rcvbuf", "listeners.udp.receive_buffer", format!("{size}B"));
        }
        if file.dogstatsd_origin_detection == Some(true) {
            self.set("dogstatsd_origin_detection", "protocol.origin_detection", true);
        }
        if file.dogstatsd_origin_detection_client == Some(true) {
            self.set("dogstatsd_origin_detection_client", "protocol.container_id_tag", true);
        }
    }

    /// Returns the text before names, with its dot.
    fn namespace(&self) -> String {
        match self.file.statsd_metric_namespace.as_deref() {
            None | Some("") => String::new(),
            Some(namespace) => format!("{}.", namespace.trim_end_matches('.')),
        }
    }

    /// Returns the beginnings of names that get no namespace.
    fn without_namespace(&self) -> Vec<String> {
        let file = self.file;
        let given = file.statsd_metric_namespace_blocklist.as_ref();
        let given = given.or(file.statsd_metric_namespace_blacklist.as_ref());
        given.cloned().unwrap_or_else(|| WITHOUT_NAMESPACE.map(str::to_owned).into())
    }

    fn set_shaping(&mut self) {
        let namespace = self.namespace();
        if !namespace.is_empty() {
            self.set("statsd_metric_namespace", "shaping.prefix", namespace);
            let except = texts(&self.without_namespace());
            self.set("statsd_metric_namespace_blocklist", "shaping.prefix_except", except);
        }
        if let Some(tags) = &self.file.dogstatsd_tags {
            self.set("dogstatsd_tags", "shaping.tags", texts(tags));
        }
    }

    /// Sets the rules: those of the profiles, and after them those for names and tags that the agent filters. The agent filters
    /// after it has mapped a name, so a filter also changes the rules that give a name.
    fn set_rules(&mut self, mut rules: Vec<RuleSpec>) {
        let file = self.file;
        let (names, is_prefix, key) = match &file.metric_filterlist {
            Some(names) if !names.is_empty() => {
                if file.statsd_metric_blocklist.as_ref().is_some_and(|names| !names.is_empty()) {
                    let place = self.place("statsd_metric_blocklist");
                    self.settings.warn(&place, "no effect: metric_filterlist replaces it");
                }
                (names.as_slice(), file.metric_filterlist_match_prefix == Some(true), "metric_filterlist")
            }
            _ => (
                file.statsd_metric_blocklist.as_deref().unwrap_or_default(),
                file.statsd_metric_blocklist_match_prefix == Some(true),
                "statsd_metric_blocklist",
            ),
        };
        // Globs are faster, but tallyd tries them before the expressions of profiles.
        let match_type = if rules.is_empty() { MatchType::Glob } else { MatchType::Regex };
        let mut added = Vec::new();
        let filtered = self.filtered_names(key, names, is_prefix);
        let is_filtering = !filtered.is_empty();
        for name in filtered {
            let is_filtered = |given: &str| if is_prefix { given.starts_with(&*name) } else { given == name };
            for rule in rules.iter_mut().filter(|rule| is_filtered(&rule.name)) {
                rule.action = Action::Drop;
            }
            let rule = if is_prefix { beginning_with(&name) } else { named(&name, match_type) };
            added.push(RuleSpec { action: Action::Drop, name: "dropped".to_owned(), ..rule });
        }
        let filters = file.metric_tag_filterlist.iter().flatten();
        // The last of several filters for a name counts.
        let filters: BTreeMap<_, _> = filters.map(|filter| (&filter.metric_name, filter)).collect();
        for filter in filters.into_values().filter(|filter| filter.has_effect()) {
            let Some(name) = self.without_prefix(&filter.metric_name, false) else { continue };
            rules = rules.into_iter().flat_map(|rule| filter.rules(rule, &name)).collect();
            added.extend(FILTERED.map(|kind| {
                let mut rule = RuleSpec { match_metric_type: Some(kind), ..named(&name, match_type) };
                filter.apply_to(&mut rule);
                rule
            }));
        }
        let keys = [
            (!rules.is_empty(), "dogstatsd_mapper_profiles"),
            (is_filtering, key),
            (file.metric_tag_filterlist.is_some(), "metric_tag_filterlist"),
        ];
        let from: Vec<_> = keys.into_iter().filter(|(is_given, _)| *is_given).map(|(_, key)| key).collect();
        rules.append(&mut added);
        if !rules.is_empty() {
            // A rule is a table of values that TOML can hold.
            let rules = rules.iter().filter_map(|rule| Value::try_from(rule).ok()).collect();
            self.set(&from.join(", "), "mapping.mappings", Value::Array(rules));
        }
    }

    /// Returns the names of a list, or the beginnings of names, as clients send them. Warns of those that no sample gets.
    fn filtered_names(&mut self, key: &str, names: &[String], is_prefix: bool) -> Vec<String> {
        let sent = |name: &String| self.without_prefix(name, is_prefix);
        let never: Vec<_> = names.iter().filter(|name| sent(name).is_none()).map(|name| &**name).collect();
        let filtered = names.iter().filter_map(sent).collect();
        if !never.is_empty() {
            let names = never.join(", ");
            let problem =
                format!("no effect for {names}: with statsd_metric_namespace, no sample gets such a name");
            self.settings.warn(&self.place(key), &problem);
        }
        filtered
    }

    /// Returns a filtered name, or the beginning of names, before it gets its namespace. Returns `None` if no line can have it.
    fn without_prefix(&self, name: &str, is_prefix: bool) -> Option<String> {
        let namespace = self.namespace();
        let is_exception =
            |name: &str| self.without_namespace().iter().any(|except| name.starts_with(&**except));
        match name.strip_prefix(&*namespace) {
            _ if namespace.is_empty() || is_exception(name) => Some(name.to_owned()),
            // These names get no namespace, so none has this one.
            Some(rest) if is_exception(rest) => None,
            Some(rest) => Some(rest.to_owned()),
            // All names begin so.
            None if is_prefix && namespace.starts_with(name) => Some(String::new()),
            None => None,
        }
    }

    fn set_others(&mut self) {
        let file = self.file;
        if file.histogram_percentiles.is_some() || file.histogram_aggregates.is_some() {
            let quantiles = file.histogram_percentiles.as_deref();
            let mut percents: Vec<_> = quantiles
                .map_or(vec![95.0], |quantiles| quantiles.iter().filter_map(Quantile::percent).collect());
            let aggregates = file.histogram_aggregates.as_deref();
            let wrong = quantiles.into_iter().flatten().find(|quantile| quantile.percent().is_none());
            if let Some(wrong) = wrong {
                let problem = format!("no effect: {wrong} is not a quantile; write one such as 0.95");
                self.settings.warn(&self.place("histogram_percentiles"), &problem);
            }
            if aggregates.is_none_or(|aggregates| aggregates.iter().any(|aggregate| aggregate == "median")) {
                percents.push(50.0);
            }
            percents.sort_by(f64::total_cmp);
            percents.dedup();
            let percents = percents.into_iter().map(Value::Float).collect();
            let key = if quantiles.is_some() { "histogram_percentiles" } else { "histogram_aggregates" };
            self.set(key, "flush.percentiles", Value::Array(percents));
        }
        // The agent forwards only if it has both.
        let host = file.statsd_forward_host.as_deref().filter(|host| !host.is_empty());
        if let (Some(host), Some(port)) = (host, file.statsd_forward_port.filter(|&port| port > 0)) {
            let place = self.place("statsd_forward_host");
            self.settings.relay(&place, &format!("{host}:{port}"));
        }
        if file.dogstatsd_expiry_seconds.is_some_and(|seconds| seconds > 0.0) {
            // The agent reports an idle counter as 0 for this time. tallyd goes on, because totals that end and begin again lose
            // increases in Prometheus.
            self.set("dogstatsd_expiry_seconds", "aggregation.idle.counters", "zero");
        }
        if let Some(level) = file.log_level.as_deref() {
            let level = match level.to_lowercase().as_str() {
                "warning" => "warn".to_owned(),
                "critical" | "off" => "error".to_owned(),
                other => other.to_owned(),
            };
            self.set("log_level", "logging.level", level);
        }
    }

    /// Names the keys about DogStatsD that have no effect.
    fn warn(&mut self, keys: &BTreeMap<String, IgnoredAny>) {
        for (key, words) in WITHOUT_COUNTERPART.into_iter().filter(|(key, _)| keys.contains_key(*key)) {
            self.settings.warn(&self.place(key), &format!("no effect: {words}"));
        }
        let of_dogstatsd = |key: &&String| key.starts_with("dogstatsd_") || key.starts_with("statsd_");
        let is_known =
            |key: &str| KEYS.contains(&key) || WITHOUT_COUNTERPART.iter().any(|(known, _)| *known == key);
        for key in keys.keys().filter(of_dogstatsd).filter(|key| !is_known(key)) {
            self.settings.warn(&self.place(key), "no effect: tallyd does not know it");
        }
    }
}

/// The types whose tags the agent filters. Values of gauges cannot be added up.
const FILTERED: [MatchMetricType; 2] = [MatchMetricType::Counter, MatchMetricType::Observer];

impl TagFilter {
    fn is_exclusion(&self) -> bool {
        self.action.unwrap_or_default() == TagAction::Exclude
    }

    fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }

    fn has_effect(&self) -> bool {
        !self.is_exclusion() || !self.tags().is_empty()
    }

    /// Returns a rule of a profile, and before it the same rule with this filter for each type if it gives the filtered name.
    fn rules(&self, rule: RuleSpec, name: &str) -> Vec<RuleSpec> {
        if rule.name != name {
            return vec![rule];
        }
        let filtered = FILTERED.iter().filter(|&&kind| rule.match_metric_type.is_none_or(|own| own == kind));
        let mut rules: Vec<_> = filtered
            .map(|&kind| {
                let mut filtered = RuleSpec { match_metric_type: Some(kind), ..rule.clone() };
                self.apply_to(&mut filtered);
                filtered
            })
            .collect();
        rules.push(rule);
        rules
    }

    fn apply_to(&self, rule: &mut RuleSpec) {
        let tags = self.tags();
        rule.labels.retain(|label, _| tags.contains(label) != self.is_exclusion());
        match tags {
            tags if self.is_exclusion() => rule.drop_tags.extend_from_slice(tags),
            [] => rule.drop_tags.push("*".to_owned()),
            tags => rule.keep_tags.extend_from_slice(tags),
        }
    }
}

/// Returns a rule without effect for a name.
fn named(name: &str, match_type: MatchType) -> RuleSpec {
    let is_glob = match_type == MatchType::Glob
        && name.split('.').all(is_segment)
        && !name.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    let (pattern, match_type) = if is_glob {
        (name.to_owned(), MatchType::Glob)
    } else {
        (format!("^{}$", regex_syntax::escape(name)), MatchType::Regex)
    };
    RuleSpec { pattern, match_type: Some(match_type), ..RuleSpec::default() }
}

/// Returns true if a part of a name between dots can stand in a glob.
fn is_segment(segment: &str) -> bool {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    !segment.is_empty() && !segment.starts_with('-') && segment.chars().all(is_allowed)
}

/// Returns a rule without effect for names that begin with a text.
fn beginning_with(text: &str) -> RuleSpec {
    let pattern = format!("^{}", regex_syntax::escape(text));
    RuleSpec { pattern, match_type: Some(MatchType::Regex), ..RuleSpec::default() }
}

fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().cloned().map(Value::String).collect())
}
