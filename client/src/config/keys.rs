//! The keys of a configuration by name, and how a value is read, for example from an environment variable.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Config, ConfigError, Exporter};

/// All keys, as TOML has them.
const KEYS: [&str; 10] = [
    "enabled",
    "exporters",
    "prefix",
    "tags",
    "sample_rate",
    "statsd.address",
    "statsd.flush_interval_ms",
    "prometheus.start_http_server",
    "prometheus.address",
    "prometheus.port",
];

const EXPORTERS: [(&str, Exporter); 3] =
    [("statsd", Exporter::Statsd), ("console", Exporter::Console), ("prometheus", Exporter::Prometheus)];

const ENVIRONMENT_PREFIX: &str = "TALLYD_CLIENT_";

impl Config {
    /// Reads a configuration from the environment variables that begin with `TALLYD_CLIENT_`.
    ///
    /// # Errors
    ///
    /// Returns an error for a variable with that beginning that stands for no key, and for a value of the wrong type.
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self::from_variables(std::env::vars_os().filter_map(text))
    }

    fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            match KEYS.iter().find(|known| variable(known) == name) {
                Some(key) => config.set(key, &RawValue::Text(text)),
                None => Err(unknown("variable", key, variable)),
            }
            .map_err(|problem| ConfigError::at(&name, problem))?;
        }
        Ok(config)
    }

    /// Sets a key, or says what is wrong with the key or its value.
    pub(super) fn set(&mut self, key: &str, value: &RawValue) -> Result<(), String> {
        if matches!(value, RawValue::Null) {
            return Ok(());
        }
        match key {
            "enabled" => self.enabled = value.read(RawValue::truth, "true or false")?,
            "exporters" => {
                let expected = "a list of exporters; there are statsd, console and prometheus";
                self.exporters = value.read(RawValue::exporters, expected)?;
            }
            "prefix" => self.prefix = value.read(RawValue::text, "a text such as \"shop\"")?,
            "tags" => {
                let expected =
                    "a list of tags; write { env = \"prod\" } in a file and env:prod,region:eu in a variable";
                self.tags.extend(value.read(RawValue::tags, expected)?.unwrap_or_default());
            }
            "sample_rate" => self.sample_rate = value.read(RawValue::number, "a number such as 0.1")?,
            "statsd.address" => {
                let expected = "an address such as \"udp://127.0.0.1:8125\"";
                self.statsd_address = value.read(RawValue::text, expected)?;
            }
            "statsd.flush_interval_ms" => {
                let expected = "a whole number of milliseconds such as 1000";
                self.flush_interval_ms = value.read(RawValue::whole, expected)?;
            }
            "prometheus.start_http_server" => {
                self.start_http_server = value.read(RawValue::truth, "true or false")?;
            }
            "prometheus.address" => {
                let expected = "an IP address such as \"127.0.0.1\"";
                self.prometheus_address = value.read(RawValue::parse, expected)?;
            }
            "prometheus.port" => {
                self.prometheus_port = value.read(RawValue::whole, "a port from 1 to 65535")?;
            }
            _ => return Err(unknown("key", key, str::to_owned)),
        }
        Ok(())
    }
}

/// Returns the name of the environment variable that sets a key.
fn variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Returns true if a key is the name of a section, such as `statsd`.
#[cfg(feature = "toml")]
pub(super) fn is_section(key: &str) -> bool {
    KEYS.iter().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

/// Describes the problem that no key has a name, and suggests the most similar key. `spell` returns a key as the user would
/// write it.
fn unknown(kind: &str, name: &str, spell: impl Fn(&str) -> String) -> String {
    let name = name.to_lowercase().replace('.', "_");
    let similarity = |key: &str| {
        let without_section = key.rsplit('.').next().unwrap_or(key);
        strsim::jaro(&name, &key.replace('.', "_")).max(strsim::jaro(&name, without_section))
    };
    // In reverse, because `max_by` prefers the last of equals, and the exporter `statsd` is the likelier one.
    let similarities = KEYS.iter().rev().map(|key| (similarity(key), key));
    match similarities.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(similarity, _)| *similarity > 0.7) {
        Some((_, key)) => format!("there is no such {kind}; did you mean {}?", spell(key)),
        None => format!("there is no such {kind}; there are {}", KEYS.map(spell).join(", ")),
    }
}

/// A value as it was written. A text can stand for a value of any type, because an environment variable is always a text.
#[cfg_attr(feature = "toml", derive(serde::Deserialize))]
#[cfg_attr(feature = "toml", serde(untagged))]
#[cfg_attr(not(feature = "toml"), expect(dead_code, reason = "environment variables are texts"))]
pub(super) enum RawValue {
    Truth(bool),
    Whole(u64),
    Number(f64),
    Text(String),
    List(Vec<RawValue>),
    Table(BTreeMap<String, RawValue>),
    /// JSON's `null` and the like, which leave a key at its default.
    Null,
}

impl RawValue {
    /// Converts a value, or says that it is not what was expected.
    fn read<T>(&self, convert: impl Fn(&Self) -> Option<T>, expected: &str) -> Result<Option<T>, String> {
        convert(self).map(Some).ok_or_else(|| format!("{self} is not {expected}"))
    }

    fn truth(&self) -> Option<bool> {
        if let Self::Truth(truth) = self { Some(*truth) } else { self.parse() }
    }

    fn whole<T: TryFrom<u64> + FromStr>(&self) -> Option<T> {
        if let Self::Whole(number) = self { T::try_from(*number).ok() } else { self.parse() }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            _ => self.parse(),
        }
    }

    fn text(&self) -> Option<String> {
        self.parse()
    }

    fn exporters(&self) -> Option<Vec<Exporter>> {
        let by_name = |name: &str| EXPORTERS.iter().find(|known| known.0 == name).map(|known| known.1);
        match self {
            Self::List(names) => names.iter().map(|name| by_name(name.as_str()?)).collect(),
            _ => comma_separated(self.as_str()?).map(by_name).collect(),
        }
    }

    fn tags(&self) -> Option<Vec<(String, String)>> {
        match self {
            Self::Table(tags) => tags.iter().map(|(key, value)| Some((key.clone(), value.text()?))).collect(),
            _ => comma_separated(self.as_str()?)
                .map(|tag| tag.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned())))
                .collect(),
        }
    }

    fn parse<T: FromStr>(&self) -> Option<T> {
        self.as_str()?.parse().ok()
    }

    fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

fn comma_separated(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Writes a value for an error message.
impl fmt::Display for RawValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => truth.fmt(formatter),
            Self::Whole(number) => number.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_string).collect();
                write!(formatter, "[{}]", values.join(", "))
            }
            Self::Table(entries) => {
                let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                write!(formatter, "{{ {} }}", entries.join(", "))
            }
            Self::Null => formatter.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, text: &str) -> String {
        Config::from_variables([(name.to_owned(), text.to_owned())]).unwrap_err().to_string()
    }

    #[test]
    fn wrong_variable_is_refused_with_its_name_and_an_example() {
        for (name, text, expected) in [
            ("TALLYD_CLIENT_ENABLED", "yes", "TALLYD_CLIENT_ENABLED: \"yes\" is not true or false"),
            (
                "TALLYD_CLIENT_EXPORTERS",
                "statsd,carbon",
                "TALLYD_CLIENT_EXPORTERS: \"statsd,carbon\" is not a list of exporters; there are statsd, console",
            ),
            ("TALLYD_CLIENT_TAGS", "prod", "TALLYD_CLIENT_TAGS: \"prod\" is not a list of tags; write"),
            (
                "TALLYD_CLIENT_PROMETHEUS_PORT",
                "70000",
                "TALLYD_CLIENT_PROMETHEUS_PORT: \"70000\" is not a port from 1 to 65535",
            ),
            (
                "TALLYD_CLIENT_ADDRESS",
                "x",
                "TALLYD_CLIENT_ADDRESS: there is no such variable; did you mean TALLYD_CLIENT_STATSD_ADDRESS?",
            ),
            (
                "TALLYD_CLIENT_FLUSH_INTERVAL",
                "1",
                "TALLYD_CLIENT_FLUSH_INTERVAL: there is no such variable; did you mean TALLYD_CLIENT_STATSD_FLUSH_INTERVAL_MS?",
            ),
            (
                "TALLYD_CLIENT_QUIET",
                "",
                "TALLYD_CLIENT_QUIET: there is no such variable; there are TALLYD_CLIENT_ENABLED,",
            ),
        ] {
            let error = error(name, text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn readme_and_documentation_list_every_key() {
        for text in [include_str!("../../README.md"), include_str!("mod.rs")] {
            for key in KEYS {
                assert!(text.contains(&format!("| `{key}` |")), "{key}");
            }
        }
    }

    #[cfg(feature = "toml")]
    #[test]
    fn toml_and_environment_set_the_same_keys() {
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
        let values = [
            "true",
            "console, statsd",
            "shop",
            "env:prod,url:http://a",
            "0.5",
            "tallyd:8125",
            "100",
            "false",
            "::1",
            "9000",
        ];
        let variables = KEYS.iter().zip(values).map(|(key, value)| (variable(key), value.to_owned()));
        let config = Config::from_toml(toml).unwrap();
        assert_eq!(Config::from_variables(variables).unwrap(), config);
        assert_eq!(config.settings().unwrap().scrape_address, None);
    }
}
