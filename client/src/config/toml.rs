//! Reads a configuration from TOML, or through serde as a part of an application's own configuration.

use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::de;

use super::keys::{KEYS, RawValue, is_section};
use super::{Config, ConfigError};

impl Config {
    /// Reads a configuration from TOML. An application that reads its own configuration with serde can use a field of
    /// this type instead.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not TOML, if a key is unknown, or if a value has the wrong type.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let at = |error: &de::Error, problem: &str| match error.span() {
            Some(span) => {
                let line = 1 + text[..span.start].matches('\n').count();
                ConfigError::at(&format!("line {line}"), problem)
            }
            None => ConfigError::new(problem),
        };
        let table = de::DeTable::parse(text).map_err(|error| at(&error, &syntax_problem(text, &error)))?;
        Self::deserialize(de::Deserializer::from(table)).map_err(|error| at(&error, error.message()))
    }
}

/// Returns the reason why a text is not TOML, in the words of users rather than of the library.
fn syntax_problem(text: &str, error: &de::Error) -> String {
    let found = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    let message = error.message();
    let sentence = match message {
        _ if message.starts_with("string values must be quoted") => {
            "the value is missing, or is text without quotes; write key = \"text\""
        }
        _ if message.starts_with("key with no value") => "a key has no value; write key = value",
        _ if message.starts_with("duplicate key") => {
            return format!("`{found}` appears twice; keep one of the two");
        }
        _ if message.starts_with("invalid") && message.contains("string") => "text has no closing quote",
        _ if message.starts_with("unclosed") || message.starts_with("missing comma") => {
            "a bracket has no closing bracket, or a list lacks a comma"
        }
        _ if message.starts_with("invalid") && found.starts_with(|first: char| first.is_ascii_digit()) => {
            return format!("{found} is neither a number nor true or false; write text in quotes");
        }
        _ => {
            let start = error.span().map_or(0, |span| span.start);
            let line =
                text[..start].lines().count().saturating_sub(usize::from(!text[..start].ends_with('\n')));
            let line = text.lines().nth(line).unwrap_or_default().trim();
            let near: String = line.chars().take(40).filter(|character| !character.is_control()).collect();
            return format!("not valid TOML near \"{near}\"");
        }
    };
    sentence.to_owned()
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Self::new();
        let entry = Entry { config: &mut config, path: "", is_entered: &mut false };
        deserializer.deserialize_struct("Config", &TOP_LEVEL, entry)?;
        Ok(config)
    }
}

/// The names at the top level. serde needs them if an application flattens this configuration into its own.
static TOP_LEVEL: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let mut names: Vec<_> =
        KEYS.iter().map(|key| key.split_once('.').map_or(*key, |parts| parts.0)).collect();
    names.dedup();
    names
});

/// A key or a section. Errors are raised while serde reads its value, so the format can add the number of the line.
struct Entry<'a> {
    config: &'a mut Config,
    /// The full name, such as `statsd.address`. It is empty for the whole configuration.
    path: &'a str,
    /// Becomes true if the value has keys, as a section must.
    is_entered: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { config, path, is_entered } = self;
        let error = |problem: &str| D::Error::custom(ConfigError::at(path, problem));
        if !is_section(path) {
            let value = RawValue::deserialize(deserializer)?;
            return config.set(path, &value).map_err(|problem| error(&problem));
        }
        let read = deserializer.deserialize_map(Entry { config, path, is_entered: &mut *is_entered });
        let no_section = "this is a section, which has keys but no value of its own; set its keys instead";
        read.map_err(|inner| if *is_entered { inner } else { error(no_section) })
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a section with keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        *self.is_entered = true;
        while let Some(key) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
            map.next_value_seed(Entry { config: self.config, path: &path, is_entered: &mut false })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_in_toml_names_the_line_and_the_key() {
        for (toml, expected) in [
            ("\nadress = 5", "line 2: adress: there is no such key; did you mean statsd.address?"),
            (
                "[statsd]\nflush = 5",
                "line 2: statsd.flush: there is no such key; did you mean statsd.flush_interval_ms?",
            ),
            (
                "[statds]\naddress = \"a\"",
                "line 1: statds: there is no such key; did you mean statsd.address?",
            ),
            ("sample_rate = true", "line 1: sample_rate: true is not a number such as 0.1"),
            ("prefix = 1.5", "line 1: prefix: 1.5 is not text such as \"shop\""),
            ("tags = { env = 5 }", "line 1: tags: this table is not a table of text values such as { env"),
            ("exporters = [5]", "line 1: exporters: [5] is not a list of exporters; the exporters are"),
            ("\n\nstatsd = 5", "line 3: statsd: this is a section, which has keys"),
            ("prometheus.port = -1", "line 1: prometheus.port: -1 is not a port from 1 to 65535"),
            // Text that is not TOML.
            ("prefix", "line 1: a key has no value; write key = value"),
            (
                "\nprefix = shop",
                "line 2: the value is missing, or is text without quotes; write key = \"text\"",
            ),
            ("prefix =", "line 1: the value is missing, or is text without quotes; write key = \"text\""),
            ("prefix = \"a\"\nprefix = \"b\"", "line 2: `prefix` appears twice; keep one of the two"),
            ("prefix = \"shop", "line 1: text has no closing quote"),
            ("exporters = [\"statsd\"", "line 1: a bracket has no closing bracket, or a list lacks a comma"),
            ("[statsd\n", "line 1: a bracket has no closing bracket, or a list lacks a comma"),
            (
                "sample_rate = 2020-99-99",
                "line 1: 2020-99-99 is neither a number nor true or false; write text in quotes",
            ),
            ("prefix = 2020-01-01", "line 1: prefix: "),
            ("\n  = 1", "line 2: not valid TOML near \"= 1\""),
        ] {
            let error = Config::from_toml(toml).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn configuration_can_be_a_field_of_another_configuration() {
        #[derive(Deserialize)]
        struct Application {
            metrics: Config,
        }
        #[derive(Deserialize)]
        struct Flat {
            #[serde(flatten)]
            metrics: Config,
        }
        let json = r#"{"metrics": {"prefix": null, "sample_rate": 1, "statsd": {"address": "a:1"}}}"#;
        let application: Application = serde_json::from_str(json).unwrap();
        let expected = Config::new().sample_rate(1.0).statsd_address("a:1");
        assert_eq!(application.metrics, expected);
        let json = r#"{"name": "shop", "sample_rate": 1, "statsd": {"address": "a:1"}}"#;
        assert_eq!(serde_json::from_str::<Flat>(json).unwrap().metrics, expected);
    }
}
