//! Reads a configuration from TOML, or as a field of a configuration that an application reads with serde.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::keys::{RawValue, is_section};
use super::{Config, ConfigError};

impl Config {
    /// Reads a configuration from TOML. An application that reads its own configuration with serde can have a field of this type
    /// instead.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not TOML, for an unknown key, and for a value of the wrong type.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => {
                let line = 1 + text[..span.start].matches('\n').count();
                ConfigError::at(&format!("line {line}"), error.message())
            }
            None => ConfigError::new(error.message()),
        })
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Self::new();
        let section = Section { config: &mut config, path: "", is_entered: &mut false };
        deserializer.deserialize_struct("Config", &TOP_LEVEL, section)?;
        Ok(config)
    }
}

/// The names at the top level. serde needs them where an application flattens this configuration into its own.
const TOP_LEVEL: [&str; 7] =
    ["enabled", "exporters", "prefix", "tags", "sample_rate", "statsd", "prometheus"];

/// Reads the keys of a section, of which the whole configuration is the outermost.
struct Section<'a> {
    config: &'a mut Config,
    /// The beginning of all keys in it, such as `statsd.`.
    path: &'a str,
    /// Becomes true if the value is a section.
    is_entered: &'a mut bool,
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        *self.is_entered = true;
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Entry { config: self.config, key: &[self.path, &key].concat() })?;
        }
        Ok(())
    }
}

/// Reads the value of a key. An error that occurs here has the line of the value.
struct Entry<'a> {
    config: &'a mut Config,
    key: &'a str,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { config, key } = self;
        if is_section(key) {
            let mut is_entered = false;
            let section = Section { config, path: &format!("{key}."), is_entered: &mut is_entered };
            return deserializer.deserialize_map(section).map_err(|error| {
                let problem = "this is a section and has no value of its own; set its keys instead";
                if is_entered { error } else { D::Error::custom(ConfigError::at(key, problem)) }
            });
        }
        let value = RawValue::deserialize(deserializer)?;
        config.set(key, &value).map_err(|problem| D::Error::custom(ConfigError::at(key, problem)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_in_toml_names_the_line_and_the_key() {
        let unknown = "there is no such key; did you mean";
        for (toml, expected) in [
            ("\nadress = 5", format!("line 2: adress: {unknown} statsd.address?")),
            (
                "prefix = \"a\"\n[statsd]\nflush_interval = 5",
                format!("line 3: statsd.flush_interval: {unknown} statsd.flush_interval_ms?"),
            ),
            ("[statds]\naddress = \"a\"", format!("line 1: statds: {unknown} statsd.address?")),
            ("sample_rate = true", "line 1: sample_rate: true is not a number such as 0.1".to_owned()),
            ("prefix = 1.5", "line 1: prefix: 1.5 is not a text such as \"shop\"".to_owned()),
            ("tags = { env = 5 }", "line 1: tags: { env = 5 } is not a list of tags; write".to_owned()),
            (
                "exporters = [\"statsd\", 5]",
                "line 1: exporters: [\"statsd\", 5] is not a list of exporters".to_owned(),
            ),
            ("\n\nstatsd = 5", "line 3: statsd: this is a section".to_owned()),
            ("prometheus.port = -1", "line 1: prometheus.port: -1 is not a port from 1 to 65535".to_owned()),
            ("prefix", "line 1: ".to_owned()),
        ] {
            let error = Config::from_toml(toml).unwrap_err().to_string();
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn configuration_can_be_a_part_of_another_one() {
        #[derive(serde::Deserialize)]
        struct Application {
            metrics: Config,
        }
        let json = r#"{"metrics": {"prefix": null, "sample_rate": 1, "statsd": {"flush_interval_ms": 100}}}"#;
        let application: Application = serde_json::from_str(json).unwrap();
        let expected =
            Config::new().sample_rate(1.0).statsd_flush_interval(std::time::Duration::from_millis(100));
        assert_eq!(application.metrics, expected);
        let error = serde_json::from_str::<Config>("{\"statsd\": 5}").unwrap_err().to_string();
        assert!(error.starts_with("statsd: this is a section"), "{error}");
    }
}
