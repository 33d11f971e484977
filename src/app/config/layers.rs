//! Reads the layers of a configuration and merges them, later over earlier.

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::{ConfigError, Place};
use super::{Config, DEFAULTS, check};

/// The environment variables that configure something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Picks them out of all variables: `TALLYD_SECTION__KEY`, `LOG_LEVEL` and `LOG_FILE_PATH`. Names without `__` are
    /// left alone: Kubernetes sets `TALLYD_PORT` and the like for a service that is called tallyd.
    pub fn of(variables: impl Iterator<Item = (String, String)>) -> Self {
        let configures = |name: &str| {
            name == "LOG_LEVEL"
                || name == "LOG_FILE_PATH"
                || (name.starts_with("TALLYD_") && name.contains("__"))
        };
        let mut picked: Vec<_> = variables.filter(|(name, _)| configures(name)).collect();
        picked.sort();
        Self(picked)
    }
}

/// One source of settings.
struct Layer {
    place: Place,
    table: Table,
    /// The text of a file, to find lines in.
    text: Option<String>,
}

/// The configuration that is in force: the defaults, then the file, the environment, and `--set` arguments
/// (`section.key=value`).
///
/// # Errors
///
/// The first thing that is wrong: a file that cannot be read, a key that does not exist, a value of the wrong type, or
/// one that would do harm.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    arguments: &[String],
) -> Result<Config, ConfigError> {
    let defaults: Table = toml::from_str(DEFAULTS).map_err(|error| ConfigError {
        place: Place::Defaults,
        key: String::new(),
        problem: error.to_string(),
    })?;
    let mut layers = Vec::new();
    if let Some(path) = file {
        layers.push(read_file(path)?);
    }
    for (name, value) in &environment.0 {
        layers.extend(from_variable(name, value, &defaults));
    }
    for argument in arguments {
        layers.push(from_argument(argument, &defaults)?);
    }
    let mut merged = defaults.clone();
    for layer in &layers {
        refuse_unknown_keys(layer, &layer.table, &defaults, "")?;
        merge(&mut merged, &layer.table);
    }
    let config: Config = serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let key = error.path().to_string();
        blame(&layers, &key, error.inner().message().to_owned())
    })?;
    match check::problem(&config) {
        Some((key, problem)) => Err(blame(&layers, key, problem)),
        None => Ok(config),
    }
}

fn read_file(path: &Path) -> Result<Layer, ConfigError> {
    let at = |line, problem| ConfigError {
        place: Place::File { path: path.to_owned(), line },
        key: String::new(),
        problem,
    };
    let text = fs::read_to_string(path).map_err(|error| at(None, format!("cannot be read: {error}")))?;
    let table = toml::from_str(&text).map_err(|error: toml::de::Error| {
        at(error.span().map(|span| line_of(&text, span.start)), error.message().to_owned())
    })?;
    Ok(Layer { place: Place::File { path: path.to_owned(), line: None }, table, text: Some(text) })
}

fn from_variable(name: &str, value: &str, defaults: &Table) -> Vec<Layer> {
    let layer = |key: &str, value| Layer {
        place: Place::Variable(name.to_owned()),
        table: nest(key, value),
        text: None,
    };
    match name {
        "LOG_LEVEL" => vec![layer("logging.level", Value::String(value.to_lowercase()))],
        "LOG_FILE_PATH" => {
            let output = ["console", "file"].map(|output| Value::String(output.to_owned()));
            vec![
                layer("logging.file_path", Value::String(value.to_owned())),
                layer("logging.output", Value::Array(output.to_vec())),
            ]
        }
        _ => {
            let key = name.strip_prefix("TALLYD_").unwrap_or(name).to_lowercase().replace("__", ".");
            vec![layer(&key, read_value(value, find(defaults, &key)))]
        }
    }
}

fn from_argument(argument: &str, defaults: &Table) -> Result<Layer, ConfigError> {
    let place = Place::Argument(argument.to_owned());
    let Some((key, value)) = argument.split_once('=') else {
        let problem = "not of the form section.key=value".to_owned();
        return Err(ConfigError { place, key: String::new(), problem });
    };
    let key = key.trim();
    Ok(Layer { place, table: nest(key, read_value(value, find(defaults, key))), text: None })
}

/// A value outside a file: TOML if it is that, else text; always text where the default is text.
fn read_value(text: &str, default: Option<&Value>) -> Value {
    let toml: Option<Value> =
        toml::from_str(&format!("value = {text}")).ok().and_then(|mut table: Table| table.remove("value"));
    match toml {
        Some(value) if value.is_str() || !default.is_some_and(Value::is_str) => value,
        _ => Value::String(text.to_owned()),
    }
}

fn nest(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((section, rest)) => Table::from_iter([(section.to_owned(), Value::Table(nest(rest, value)))]),
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}

fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            _ => _ = into.insert(key.clone(), value.clone()),
        }
    }
}

/// The defaults hold every key that there is.
fn refuse_unknown_keys(
    layer: &Layer,
    table: &Table,
    known: &Table,
    section: &str,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match (known.get(key), value) {
            (None, _) => {
                let keys: Vec<_> = known.keys().map(String::as_str).collect();
                let problem = format!("unknown; known here: {}", keys.join(", "));
                return Err(ConfigError { place: place_of(layer, &path), key: path, problem });
            }
            (Some(Value::Table(known)), Value::Table(table)) => {
                refuse_unknown_keys(layer, table, known, &path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The error, at the place where the key was last set.
fn blame(layers: &[Layer], key: &str, problem: String) -> ConfigError {
    // A list's element is set where the list is.
    let key = key.split('[').next().unwrap_or(key);
    let last = layers.iter().rev().find(|layer| find(&layer.table, key).is_some());
    let place = last.map_or(Place::Defaults, |layer| place_of(layer, key));
    ConfigError { place, key: key.to_owned(), problem }
}

fn place_of(layer: &Layer, key: &str) -> Place {
    match (&layer.place, &layer.text) {
        (Place::File { path, .. }, Some(text)) => {
            Place::File { path: path.clone(), line: key_line(text, key) }
        }
        (place, _) => place.clone(),
    }
}

fn key_line(text: &str, key: &str) -> Option<usize> {
    fn offset(table: &DeTable<'_>, key: &str) -> Option<usize> {
        let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
        match (rest, value.get_ref()) {
            (Some(rest), DeValue::Table(table)) => offset(table, rest),
            _ => Some(name.span().start),
        }
    }
    let table: Spanned<DeTable<'_>> = DeTable::parse(text).ok()?;
    offset(table.get_ref(), key).map(|offset| line_of(text, offset))
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn later_sources_win_key_by_key() {
        let file = file("[flush]\ninterval = \"1s\"\npercentiles = [50]\n[aggregation]\ndigits = 3\n");
        let environment = environment(&[
            ("TALLYD_FLUSH__INTERVAL", "2s"),
            ("TALLYD_EXPORTERS__CONSOLE__PATH", "7"),
            ("TALLYD_PORT", "tcp://10.0.0.1:8125"),
            ("LOG_LEVEL", "DEBUG"),
        ]);
        let arguments = ["flush.interval=3s".to_owned(), "listeners.udp.share_port=true".to_owned()];
        let config = load(Some(file.path()), &environment, &arguments).unwrap();
        assert_eq!(config.flush.interval.to_string(), "3s");
        assert_eq!(config.flush.percentiles, [50.0]);
        assert_eq!(config.aggregation.digits, 3);
        assert_eq!(config.aggregation.max_series, 1_000_000, "a key that no layer sets keeps its default");
        assert_eq!(config.exporters.console.path.to_str(), Some("7"));
        assert_eq!(config.logging.level, super::super::LogLevel::Debug);
        assert!(config.listeners.udp.share_port);
    }

    #[test]
    fn the_path_of_a_log_file_turns_the_log_file_on() {
        let config = load(None, &environment(&[("LOG_FILE_PATH", "/tmp/x.log")]), &[]).unwrap();
        assert_eq!(config.logging.file_path.to_str(), Some("/tmp/x.log"));
        assert!(config.logging.output.contains(&super::super::LogOutput::File));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_line_key_and_what_would_be_right() {
        let long_path = format!("[listeners.unix_datagram]\npath = \"/{}\"\n", "x".repeat(107));
        let same_path = "[listeners.unix_datagram]\nenabled = true\npath = \"/s\"\n\
                         [listeners.unix_stream]\nenabled = true\npath = \"/s\"\n";
        let cases = [
            ("[flush]\ninterval = \"0s\"\n", 2, "flush.interval", "between"),
            ("[flush]\n\nintervall = \"1s\"\n", 3, "flush.intervall", "interval, percentiles"),
            ("[nonsense]\n", 1, "nonsense", "flush"),
            ("[flush]\ninterval = 10\n", 2, "flush.interval", "string"),
            ("[flush]\ninterval = \"ten\"\n", 2, "flush.interval", "such as \"10s\""),
            ("[flush]\npercentiles = [50, 101]\n", 2, "flush.percentiles", "up to 100"),
            ("[flush]\npercentiles = [50, \"x\"]\n", 2, "flush.percentiles", "f64"),
            ("[flush]\npercentiles = [50, 50]\n", 2, "flush.percentiles", "twice"),
            ("listeners.udp = { bind = \"localhost\" }\n", 1, "listeners.udp.bind", "[::]:8125"),
            ("[listeners.udp]\nreceive_buffer = \"1\"\n", 2, "listeners.udp.receive_buffer", "4KiB"),
            ("[listeners.udp]\nmax_datagram = \"1MiB\"\n", 2, "listeners.udp.max_datagram", "64KiB"),
            ("[listeners.udp]\nenabled = false\n", 2, "listeners.udp.enabled", "true"),
            ("[listeners.udp]\nreceivers = 1000\n", 2, "listeners.udp.receivers", "256"),
            ("[listeners.tcp]\nbind = \"8125\"\n", 2, "listeners.tcp.bind", "IP address"),
            ("[listeners.tcp]\nframing = \"x\"\n", 2, "listeners.tcp.framing", "`lines` or `length`"),
            ("[listeners.tcp]\nmax_connections = 0\n", 2, "listeners.tcp.max_connections", "between 1"),
            ("[listeners.tcp]\nmax_connections = 20000\n", 2, "listeners.tcp.max_connections", "1GiB"),
            ("[listeners.tcp]\nmax_line = \"2MiB\"\n", 2, "listeners.tcp.max_line", "512B"),
            ("[listeners.tcp]\nidle_timeout = \"0s\"\n", 2, "listeners.tcp.idle_timeout", "\"1s\""),
            ("[listeners.unix_stream]\nmax_line = \"1B\"\n", 2, "listeners.unix_stream.max_line", "512B"),
            ("[listeners.unix_stream]\nmode = \"0888\"\n", 2, "listeners.unix_stream.mode", "octal"),
            ("[listeners.unix_stream]\nmode = 438\n", 2, "listeners.unix_stream.mode", "string"),
            ("[listeners.unix_stream]\npath = \"\"\n", 2, "listeners.unix_stream.path", "empty"),
            (
                "[listeners.unix_datagram]\nowner = \"a:b:c\"\n",
                2,
                "listeners.unix_datagram.owner",
                "user:group",
            ),
            (
                "[listeners.unix_datagram]\nmax_datagram = \"1B\"\n",
                2,
                "listeners.unix_datagram.max_datagram",
                "512B",
            ),
            (&long_path, 2, "listeners.unix_datagram.path", "107 bytes"),
            (same_path, 6, "listeners.unix_stream.path", "listeners.unix_datagram.path"),
            ("[aggregation]\nmax_series = 0\n", 2, "aggregation.max_series", "between 1"),
            ("[aggregation]\ndigits = 5\n", 2, "aggregation.digits", "between 1 and 4"),
            ("[aggregation]\nexact_values = 1000001\n", 2, "aggregation.exact_values", "1_000_000"),
            ("[aggregation]\nexact_members = -1\n", 2, "aggregation.exact_members", "integer"),
            ("[aggregation]\nmax_series_bytes = \"1KiB\"\n", 2, "aggregation.max_series_bytes", "64KiB"),
            ("[aggregation]\nevent_buffer = \"2GiB\"\n", 2, "aggregation.event_buffer", "1GiB"),
            ("[protocol.dialects]\nstatsd = true\n", 2, "protocol.dialects.statsd", "graphite, influxdb"),
            ("[aggregation.expire_after]\nset = \"1s\"\n", 1, "aggregation.expire_after", "flush.interval"),
            (
                "[aggregation.gauges]\nsigned = \"x\"\n",
                2,
                "aggregation.gauges.signed",
                "`delta` or `absolute`",
            ),
            ("[exporters.console]\nenabled = false\n", 2, "exporters.console.enabled", "enable one"),
            ("[exporters.console]\npath = \"\"\n", 2, "exporters.console.path", "standard output"),
            ("[exporters.textfile]\npath = \"/x/y.txt\"\n", 2, "exporters.textfile.path", ".prom"),
            (
                "[exporters.textfile]\nnaming = \"prometheus\"\n",
                2,
                "exporters.textfile.naming",
                "on_exit, path",
            ),
            ("[exporters.prometheus]\nbuckets = [2, 1]\n", 2, "exporters.prometheus.buckets", "ascending"),
            ("[exporters.prometheus]\naddress = \"localhost\"\n", 2, "exporters.prometheus.address", "::1"),
            ("[exporters.prometheus]\nport = 70000\n", 2, "exporters.prometheus.port", "u16"),
            ("[exporters.prometheus]\ntimeout = \"1h\"\n", 2, "exporters.prometheus.timeout", "10m"),
            (
                "[exporters.prometheus]\nmax_connections = 0\n",
                2,
                "exporters.prometheus.max_connections",
                "between 1",
            ),
            (
                "[mapping.defaults.summary_options]\nquantiles = [{ quantile = 2 }]\n",
                1,
                "mapping.defaults",
                "quantile 2",
            ),
            ("[logging]\noutput = [\"file\"]\nfile_path = \"\"\n", 3, "logging.file_path", "empty"),
            ("[shutdown]\ntimeout = \"1h\"\n", 2, "shutdown.timeout", "10m"),
            ("[flush]\ninterval = \n", 2, "", ""),
        ];
        for (text, line, key, hint) in cases {
            let file = file(text);
            let error = load(Some(file.path()), &Environment::default(), &[]).unwrap_err();
            assert_eq!(
                error.place,
                Place::File { path: file.path().to_owned(), line: Some(line) },
                "{text}{error}"
            );
            assert_eq!(error.key, key, "{text}{error}");
            assert!(error.problem.contains(hint), "{text}{error}");
        }
    }

    #[test]
    fn udp_may_be_turned_off_where_something_else_is_listened_on() {
        let only = |listener: &str| {
            let arguments =
                ["listeners.udp.enabled=false".to_owned(), format!("listeners.{listener}.enabled=true")];
            load(None, &Environment::default(), &arguments)
        };
        for listener in ["tcp", "unix_datagram", "unix_stream"] {
            assert!(only(listener).is_ok(), "{listener}");
        }
    }

    #[test]
    fn the_console_may_be_turned_off_where_something_else_is_exported_to() {
        for other in ["prometheus.start_http_server", "textfile.enabled"] {
            let arguments = ["exporters.console.enabled=false".to_owned(), format!("exporters.{other}=true")];
            assert!(load(None, &Environment::default(), &arguments).is_ok(), "{other}");
        }
    }

    #[test]
    fn variables_and_arguments_are_blamed_by_name() {
        let error = load(None, &environment(&[("TALLYD_FLUSH__NOPE", "1")]), &[]).unwrap_err();
        assert_eq!(error.place, Place::Variable("TALLYD_FLUSH__NOPE".into()));
        let error = load(None, &Environment::default(), &["flush.interval=1ms".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--set flush.interval=1ms: flush.interval: 1ms is not between \"100ms\" and \"1h\""
        );
        let error = load(None, &Environment::default(), &["flush".into()]).unwrap_err();
        assert!(error.to_string().contains("section.key=value"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Some(Path::new("/nonexistent.toml")), &Environment::default(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent.toml: cannot be read: "), "{error}");
    }
}
