//! The names of the keys of a configuration, and the parsing of their values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Config, ConfigError, Exporter};

/// All keys, as they are written in TOML.
pub(super) const KEYS: [&str; 10] = [
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
    /// Returns an error if such a variable sets no key, or if a value has the wrong type.
    pub fn from_env() -> Result<Self, ConfigError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::from_variables(variables)
    }

    fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            match KEYS.iter().find(|key| variable(key) == name) {
                Some(key) => config.set(key, &RawValue::Text(text)),
                None => Err(unknown("variable", rest, variable)),
            }
            .map_err(|problem| ConfigError::at(&name, problem))?;
        }
        Ok(config)
    }

    /// Sets a key, or describes what is wrong with the key or its value.
    pub(super) fn set(&mut self, key: &str, value: &RawValue) -> Result<(), String> {
        if matches!(value, RawValue::Null) && KEYS.contains(&key) {
            return Ok(());
        }
        match key {
            "enabled" => self.enabled = value.parse("true or false")?,
            "exporters" => self.exporters = value.exporters()?,
            "prefix" => self.prefix = value.text("text such as \"shop\"")?,
            "tags" => self.tags.extend(value.tags()?),
            "sample_rate" => self.sample_rate = value.parse("a number such as 0.1")?,
            "statsd.address" => self.statsd_address = value.text("an address such as \"tallyd:8125\"")?,
            "statsd.flush_interval_ms" => self.flush_interval_ms = value.parse("a whole number")?,
            "prometheus.start_http_server" => self.start_http_server = value.parse("true or false")?,
            "prometheus.address" => self.prometheus_address = value.parse("an IP address")?,
            "prometheus.port" => self.prometheus_port = value.parse("a port from 1 to 65535")?,
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

/// Returns an error message for an unknown name, with the most similar key. `spell` returns a key as the user would
/// write it.
fn unknown(kind: &str, name: &str, spell: impl Fn(&str) -> String) -> String {
    let name = name.to_lowercase().replace('.', "_");
    let similarity = |key: &str| {
        let without_section = key.rsplit('.').next().unwrap_or(key);
        strsim::jaro(&name, &key.replace('.', "_")).max(strsim::jaro(&name, without_section))
    };
    // The order is reversed, because `max_by` prefers the last of equals, and users more often mean a key of `statsd`.
    let similarities = KEYS.iter().rev().map(|key| (similarity(key), key));
    match similarities.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(similarity, _)| *similarity > 0.7) {
        Some((_, key)) => format!("there is no such {kind}; did you mean {}?", spell(key)),
        None => format!("there is no such {kind}; the {kind}s are {}", KEYS.map(spell).join(", ")),
    }
}

/// A value as the user wrote it. Text can be a value of any type, because environment variables contain only text.
#[cfg_attr(feature = "toml", derive(serde::Deserialize))]
#[cfg_attr(feature = "toml", serde(untagged))]
#[cfg_attr(not(feature = "toml"), expect(dead_code, reason = "environment variables contain only text"))]
pub(super) enum RawValue {
    Bool(bool),
    Integer(u64),
    Float(f64),
    Text(String),
    List(Vec<RawValue>),
    Table(BTreeMap<String, RawValue>),
    /// A value such as JSON's `null`, which leaves a key at its default.
    Null,
}

/// Writes a value as a part of an error.
impl fmt::Display for RawValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(formatter),
            Self::Integer(number) => number.fmt(formatter),
            Self::Float(number) => number.fmt(formatter),
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_string).collect();
                write!(formatter, "[{}]", values.join(", "))
            }
            Self::Table(_) => formatter.write_str("this table"),
            Self::Null => formatter.write_str("an empty value"),
        }
    }
}

impl RawValue {
    /// Parses a value from its text. `expected` describes the expected value for the error message.
    fn parse<T: FromStr>(&self, expected: &str) -> Result<Option<T>, String> {
        let parsed = match self {
            Self::Text(text) => text.parse(),
            other => other.to_string().parse(),
        };
        parsed.map(Some).map_err(|_| self.is_not(expected))
    }

    fn text(&self, expected: &str) -> Result<Option<String>, String> {
        self.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| self.is_not(expected))
    }

    fn exporters(&self) -> Result<Option<Vec<Exporter>>, String> {
        let by_name = |name: &str| EXPORTERS.iter().find(|known| known.0 == name).map(|known| known.1);
        let exporters: Option<_> = match self {
            Self::List(names) => names.iter().map(|name| by_name(name.as_str()?)).collect(),
            Self::Text(names) => comma_separated(names).map(by_name).collect(),
            _ => None,
        };
        exporters.map(Some).ok_or_else(|| {
            let names = EXPORTERS.map(|(name, _)| name).join(", ");
            self.is_not(&format!("a list of exporters; the exporters are {names}"))
        })
    }

    fn tags(&self) -> Result<Vec<(String, String)>, String> {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let tags: Option<_> = match self {
            Self::Table(tags) => {
                tags.iter().map(|(key, value)| Some(owned((key, value.as_str()?)))).collect()
            }
            Self::Text(tags) => comma_separated(tags).map(|tag| tag.split_once(':').map(owned)).collect(),
            _ => None,
        };
        let expected =
            "a table of text values such as { env = \"prod\" }, or text such as \"env:prod,region:eu\"";
        tags.ok_or_else(|| self.is_not(expected))
    }

    fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn is_not(&self, expected: &str) -> String {
        format!("{self} is not {expected}")
    }
}

fn comma_separated(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_variable_is_refused_with_its_name_and_an_example() {
        for (key, text, expected) in [
            ("ENABLED", "yes", "\"yes\" is not true or false"),
            (
                "EXPORTERS",
                "statsd,carbon",
                "\"statsd,carbon\" is not a list of exporters; the exporters are st",
            ),
            ("TAGS", "prod", "\"prod\" is not a table of text values such as { env = \"prod\" }, or text"),
            ("PROMETHEUS_PORT", "70000", "\"70000\" is not a port from 1 to 65535"),
            ("ADDRESS", "", "there is no such variable; did you mean TALLYD_CLIENT_STATSD_ADDRESS?"),
            (
                "INTERVAL_MS",
                "",
                "there is no such variable; did you mean TALLYD_CLIENT_STATSD_FLUSH_INTERVAL_MS?",
            ),
            (
                "QUIET",
                "",
                "there is no such variable; the variables are TALLYD_CLIENT_ENABLED, TALLYD_CLIENT_EX",
            ),
        ] {
            let name = format!("TALLYD_CLIENT_{key}");
            let error = Config::from_variables([(name.clone(), text.to_owned())]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: {expected}")), "{error}");
        }
    }

    #[test]
    fn readme_and_documentation_list_every_key() {
        for text in [include_str!("../../README.md"), include_str!("mod.rs")] {
            KEYS.iter().for_each(|key| assert!(text.contains(&format!("| `{key}` |")), "{key}"));
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
            prometheus = { start_http_server = false, address = "::1", port = 9000 }
        "#;
        let values = "true console,statsd shop env:prod,url:http://a 0.5 tallyd:8125 100 false ::1 9000";
        let variables = KEYS.iter().zip(values.split(' '));
        let variables = variables.map(|(key, value)| (variable(key), value.to_owned()));
        let config = Config::from_toml(toml).unwrap();
        assert_eq!(Config::from_variables(variables).unwrap(), config);
        assert_eq!(config.settings().unwrap().scrape_address, None);
    }
}
