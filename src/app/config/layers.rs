//! Collects and merges the layers of a configuration, and finds the layer that caused an error.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use toml::{Table, Value};

use super::adopt::Adopted;
use super::error::{ConfigError, SettingSource};
use super::layer::{Layer, line_of, nest, push_keys};
use super::read::{Problem, Reader};
use super::sections::{Config, DEFAULTS};
use super::setting::Setting;
use super::{Occasion, Ready, check, file, suspects};
use crate::mapping::{Mapping, MappingError};

/// The environment variables that configure tallyd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// Picks `LOG_LEVEL`, `LOG_FILE_PATH` and the names that begin with `TALLYD_` out of all variables. Ignores empty
    /// variables, those of the client crate, and those that Kubernetes sets for a service named tallyd.
    pub(in crate::app) fn pick(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let configures = |name: &str| {
            name == "LOG_LEVEL"
                || name == "LOG_FILE_PATH"
                || (name.starts_with("TALLYD_") && !name.starts_with("TALLYD_CLIENT_"))
        };
        let variables = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut picked: Vec<_> = variables
            .filter(|(name, value)| configures(name) && !value.is_empty() && !is_of_kubernetes(name, value))
            .collect();
        picked.sort();
        Self(picked)
    }
}

/// Returns true for the variables that tell the containers of a pod where a service is, such as `TALLYD_SERVICE_HOST`,
/// `TALLYD_PORT=tcp://10.0.0.1:8125` and `TALLYD_PORT_8125_UDP_ADDR`.
fn is_of_kubernetes(name: &str, value: &OsStr) -> bool {
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
    let has_port = name.split("_PORT_").skip(1).any(|rest| {
        let mut words = rest.split('_');
        words.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && words.next().is_some_and(|word| PROTOCOLS.contains(&&*word.to_lowercase()))
    });
    let scheme = value.to_str().and_then(|value| value.split_once("://"));
    has_port
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || scheme.is_some_and(|(scheme, _)| PROTOCOLS.contains(&scheme))
}

/// Loads the configuration from the defaults, the file, the environment and `--set` arguments (`section.key=value`).
/// Each source overrides the ones before it.
///
/// # Errors
///
/// Returns the first error: a file that cannot be read, an unknown key, a value of the wrong type, or a harmful value.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    arguments: &[String],
) -> Result<Config, ConfigError> {
    merge_layers(Occasion::Start, None, file, environment, arguments).map(|ready| ready.config)
}

/// Loads the configuration like [`load`], with the settings of another server, if any, and with the rules of the mapping file.
///
/// # Errors
///
/// Returns the first error.
pub(in crate::app) fn prepare(
    occasion: Occasion,
    adopted: Option<&Adopted>,
    file: Option<&Path>,
    environment: &Environment,
    arguments: &[String],
) -> Result<Ready, ConfigError> {
    let mut ready = merge_layers(occasion, adopted, file, environment, arguments)?;
    let path = &ready.config.mapping.mapping_file;
    if !path.as_os_str().is_empty() {
        let in_file =
            |line: Option<u64>, problem| ConfigError::in_file(path, line.map(|line| line as usize), problem);
        let text = file::read_text(path, occasion)
            .map_err(|problem| in_file(None, format!("{problem}; see mapping.mapping_file")))?;
        let mapping =
            Mapping::from_yaml(&text).map_err(|MappingError { line, problem, .. }| in_file(line, problem))?;
        let warnings = mapping.warnings().iter();
        ready.warnings.extend(warnings.map(|warning| in_file(warning.line, warning.problem.clone())));
        ready.mapping = mapping.with_shaping(ready.mapping.shaping().clone());
    }
    Ok(ready)
}

/// Merges and checks all sources of the configuration. The mapping consists of the rules in `mapping.mappings`.
fn merge_layers(
    occasion: Occasion,
    adopted: Option<&Adopted>,
    file: Option<&Path>,
    environment: &Environment,
    arguments: &[String],
) -> Result<Ready, ConfigError> {
    let defaults: Table =
        toml::from_str(DEFAULTS).map_err(|error| blame(&[], Problem::new("", error.message())))?;
    let mut layers = Vec::new();
    if let Some(path) = file {
        layers.push(read_file(path, occasion)?);
    }
    for (name, value) in &environment.0 {
        layers.extend(from_variable(name, value, &defaults)?);
    }
    let mut warnings = Vec::new();
    if let Some(adopted) = adopted {
        let (others, unknown) = adopted.read(occasion)?;
        // What is on the command line overrides what is not.
        let place = if adopted.is_on_command_line() { layers.len() } else { 0 };
        layers.splice(place..place, others);
        warnings = unknown;
    }
    for argument in arguments {
        layers.push(from_argument(argument, &defaults)?);
    }
    let mut merged = defaults;
    for layer in &layers {
        merge(&mut merged, &layer.table);
    }
    let (config, mapping) = read(merged).map_err(|problem| blame(&layers, problem))?;
    let is_set = |key: &str| layers.iter().any(|layer| find(&layer.table, key).is_some());
    let suspects = suspects::settings(&config, &mapping, is_set);
    warnings.extend(suspects.into_iter().map(|problem| blame(&layers, problem)));
    Ok(Ready { config, mapping, warnings, layers })
}

/// Reads and checks the merged layers. Also returns the rules in `mapping.mappings`.
fn read(merged: Table) -> Result<(Config, Mapping), Problem> {
    let config: Config =
        serde_path_to_error::deserialize(Reader(&Value::Table(merged))).map_err(|error| {
            let key = error.path().to_string();
            Problem { key, ..error.into_inner() }
        })?;
    config.check()?;
    let own_rules = check::check_together(&config)?;
    Ok((config, own_rules))
}

fn read_file(path: &Path, occasion: Occasion) -> Result<Layer, ConfigError> {
    let text =
        file::read_text(path, occasion).map_err(|problem| ConfigError::in_file(path, None, problem))?;
    let table = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, span.start));
        ConfigError::in_file(path, line, file::syntax_problem(&text, &error))
    })?;
    Ok(Layer { source: SettingSource::File { path: path.to_owned(), line: None }, table, text: Some(text) })
}

fn from_variable(name: &str, value: &OsStr, defaults: &Table) -> Result<Vec<Layer>, ConfigError> {
    let source = || SettingSource::Variable(name.to_owned());
    let layer = |key: &str, value| Layer { source: source(), table: nest(key, value), text: None };
    let Some(value) = value.to_str() else {
        return Err(ConfigError { source: source(), key: String::new(), problem: "not UTF-8".to_owned() });
    };
    Ok(match name {
        "LOG_LEVEL" => {
            let level = value.to_lowercase();
            // Python, journald and others write the word in full.
            let level = if level == "warning" { "warn".to_owned() } else { level };
            vec![layer("logging.level", Value::String(level))]
        }
        "LOG_FILE_PATH" => {
            let output = ["console", "file"].map(|output| Value::String(output.to_owned()));
            vec![
                layer("logging.file_path", Value::String(value.to_owned())),
                layer("logging.output", Value::Array(output.to_vec())),
            ]
        }
        _ => {
            let key = name.strip_prefix("TALLYD_").unwrap_or(name).to_lowercase().replace("__", ".");
            let is_known = find(defaults, &key).is_some();
            match resembling_key(&key, defaults).filter(|_| !is_known) {
                Some(known) => {
                    let right = known.replace('.', "__").to_uppercase();
                    let problem = format!("unknown; did you mean TALLYD_{right}?");
                    return Err(ConfigError { source: source(), key: String::new(), problem });
                }
                None if is_known || name.contains("__") => {
                    vec![layer(&key, read_value(value, find(defaults, &key)))]
                }
                // The name may belong to another program, such as a start script.
                None => Vec::new(),
            }
        }
    })
}

/// Returns the key that differs from `name` only in its underscores, its dots, and at most one letter in eight.
fn resembling_key(name: &str, defaults: &Table) -> Option<String> {
    let letters = |text: &str| text.replace(['_', '.'], "");
    let wanted = letters(name);
    let mut keys = Vec::new();
    push_keys("", defaults, &mut keys);
    let distance = |key: &String| strsim::osa_distance(&letters(key), &wanted);
    let nearest = keys.into_iter().min_by_key(distance)?;
    (distance(&nearest) * 8 <= wanted.len()).then_some(nearest)
}

fn from_argument(argument: &str, defaults: &Table) -> Result<Layer, ConfigError> {
    let source = SettingSource::Argument(argument.to_owned());
    let Some((key, value)) = argument.split_once('=') else {
        let problem = "no \"=\"; write --set section.key=value".to_owned();
        return Err(ConfigError { source, key: String::new(), problem });
    };
    let key = key.trim();
    Ok(Layer { source, table: nest(key, read_value(value, find(defaults, key))), text: None })
}

/// Reads the value of a variable or an argument, as TOML if possible and otherwise as text. If the default is text,
/// values such as `7` are text, too.
fn read_value(text: &str, default: Option<&Value>) -> Value {
    let toml: Option<Value> =
        toml::from_str(&format!("value = {text}")).ok().and_then(|mut table: Table| table.remove("value"));
    match toml {
        // An address can also be written as a list.
        Some(value) if value.is_str() || value.is_array() || !default.is_some_and(Value::is_str) => value,
        _ => Value::String(text.to_owned()),
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

/// Returns the error, with the last source that sets the key.
fn blame(layers: &[Layer], problem: Problem) -> ConfigError {
    let Problem { key: path, text: problem } = problem;
    // A layer sets a list as a whole. For `mapping.mappings[0].name` it sets `mapping.mappings`.
    let list = path.split('[').next().unwrap_or(&path);
    let layer = layers.iter().rev().find(|layer| find(&layer.table, list).is_some());
    let source = layer.map_or(SettingSource::Defaults, |layer| layer.source_of(&path));
    // The key is shown without indices, because the line identifies the item of a list.
    let key = path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
    ConfigError { source, key, problem }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{LogLevel, LogOutput};
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::pick(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn later_sources_win_key_by_key() {
        let file = file("[flush]\ninterval = \"1s\"\npercentiles = [50]\n[aggregation]\ndigits = 3\n");
        let environment = environment(&[
            ("TALLYD_FLUSH__INTERVAL", "2s"),
            ("TALLYD_EXPORTERS__CONSOLE__PATH", "7"),
            ("LOG_LEVEL", "DEBUG"),
        ]);
        let arguments = ["flush.interval=3s".to_owned(), "listeners.udp.share_port=true".to_owned()];
        let config = load(Some(file.path()), &environment, &arguments).unwrap();
        assert_eq!(config.flush.interval.get().as_secs(), 3);
        assert_eq!(config.flush.percentiles, [50.0]);
        assert_eq!(config.aggregation.digits, 3);
        assert_eq!(config.aggregation.max_series, 1_000_000, "a key that no layer sets keeps its default");
        assert_eq!(config.exporters.console.path.to_str(), Some("7"));
        assert_eq!(config.logging.level, LogLevel::Debug);
        assert!(config.listeners.udp.share_port);
    }

    #[test]
    fn log_file_path_in_the_environment_turns_the_log_file_on() {
        let config = load(None, &environment(&[("LOG_FILE_PATH", "/tmp/x.log")]), &[]).unwrap();
        assert_eq!(config.logging.file_path.to_str(), Some("/tmp/x.log"));
        assert!(config.logging.output.contains(&LogOutput::File));
    }

    #[test]
    fn variables_of_other_programs_and_empty_ones_are_ignored() {
        let others = [
            ("TALLYD_PORT", "udp://10.0.0.1:8125"),
            ("TALLYD_EXPORTERS_PROMETHEUS_PORT", "tcp://10.0.0.1:9102"),
            ("TALLYD_SERVICE_HOST", "10.0.0.1"),
            ("TALLYD_SERVICE_PORT", "8125"),
            ("TALLYD_SERVICE_PORT_STATSD", "8125"),
            ("TALLYD_PORT_8125_UDP", "udp://10.0.0.1:8125"),
            ("TALLYD_PORT_8125_UDP_PORT", "8125"),
            ("TALLYD_PORT_8125_UDP_ADDR", "10.0.0.1"),
            ("TALLYD_CLIENT_STATSD__ADDRESS", "127.0.0.1:8125"),
            ("TALLYD_VERSION", "1.0"),
            ("TALLYD_FLUSH__INTERVAL", ""),
            ("LOG_LEVEL", ""),
            ("LOG_FILE_PATH", ""),
            ("LOG_LEVELS", "x"),
        ];
        let config = load(None, &environment(&others), &[]).unwrap();
        assert_eq!(config, load(None, &Environment::default(), &[]).unwrap());
    }

    #[test]
    fn log_level_can_be_written_warning() {
        for level in ["warning", "WARNING", "warn"] {
            let config = load(None, &environment(&[("LOG_LEVEL", level)]), &[]).unwrap();
            assert_eq!(config.logging.level, LogLevel::Warn);
        }
    }

    /// Each row has a file, the line of the error, and the error without its place.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn errors_name_the_line_and_the_key_and_say_what_to_write() {
        let long_path = format!("[listeners.unix_datagram]\npath = \"/{}\"\n", "x".repeat(107));
        let nested = format!("a = {}\n", "[".repeat(1000));
        let same_path = "[listeners.unix_datagram]\nenabled = true\npath = \"/s\"\n\
                         [listeners.unix_stream]\nenabled = true\npath = \"/s\"\n";
        #[rustfmt::skip]
        let cases = [
            // Unknown keys and sections.
            ("[flush]\n\nintervall = \"1s\"\n", 3, "flush.intervall: unknown; did you mean `interval`?"),
            ("[flush]\nseconds = 1\n", 2, "flush.seconds: unknown; known here: interval, percentiles"),
            ("[fush]\n", 1, "fush: unknown; did you mean `flush`?"),
            ("[exporters.textfile]\nnaming = \"prometheus\"\n", 2, "exporters.textfile.naming: unknown; known here: enabled, path, on_exit, reserved_prefixes"),
            ("[protocol.dialects]\nstatsd = true\n", 2, "protocol.dialects.statsd: unknown; known here: influxdb, librato, signalfx, graphite"),
            // Values of the wrong type.
            ("[flush]\ninterval = 10\n", 2, "flush.interval: 10 is a number; write a duration in quotes, such as \"10s\""),
            ("[flush]\ninterval = [1]\n", 2, "flush.interval: this is a list; write a duration in quotes, such as \"10s\""),
            ("flush.interval.x = 1\n", 1, "flush.interval: this is a section; write a duration in quotes, such as \"10s\""),
            ("[flush]\ninterval = 2020-01-01\n", 2, "flush.interval: 2020-01-01 is a date; write a duration in quotes, such as \"10s\""),
            ("[flush]\npercentiles = 50\n", 2, "flush.percentiles: 50 is a number; write a list, such as [a, b]"),
            ("[flush]\npercentiles = [\n  50,\n  \"x\",\n]\n", 4, "flush.percentiles: \"x\" is text; write a number"),
            ("flush = 5\n", 1, "flush: 5 is a number; write keys and their values"),
            ("[[flush]]\ninterval = \"1s\"\n", 1, "flush: this is a list; write keys and their values"),
            ("[listeners.udp]\nreceive_buffer = 1024\n", 2, "listeners.udp.receive_buffer: 1024 is a number; write a size in quotes, such as \"8MiB\""),
            ("[listeners.unix_stream]\nmode = 438\n", 2, "listeners.unix_stream.mode: 438 is a number; write a mode in octal in quotes, such as \"0660\""),
            ("[listeners.unix_stream]\npath = 1\n", 2, "listeners.unix_stream.path: 1 is a number; write text in quotes"),
            ("[telemetry]\nenabled = \"true\"\n", 2, "telemetry.enabled: \"true\" is text; write true or false"),
            ("[exporters.prometheus]\nport = 1.5\n", 2, "exporters.prometheus.port: 1.5 is a number; write a whole number from 0 to 65535"),
            ("[logging]\nlevel = 3\n", 2, "logging.level: 3 is a number; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
            // Text that the key does not accept.
            ("[flush]\ninterval = \"ten\"\n", 2, "flush.interval: \"ten\" is not a duration; write one such as \"10s\""),
            ("[flush]\ninterval = \"10\"\n", 2, "flush.interval: \"10\" is not a duration; write one such as \"10s\""),
            ("listeners.udp = { bind = \"localhost:1\" }\n", 1, "listeners.udp.bind: \"localhost:1\" is not an IP address with a port; write one such as \"127.0.0.1:8125\" or \"[::]:8125\"; host names are not looked up"),
            ("[exporters.prometheus]\naddress = \"localhost\"\n", 2, "exporters.prometheus.address: \"localhost\" is not an IP address; write one such as \"127.0.0.1\" or \"::1\"; host names are not looked up"),
            ("[listeners.udp]\npermitted_networks = [\"10.0.0.1/8\"]\n", 2, "listeners.udp.permitted_networks: \"10.0.0.1/8\" is not a network; write one such as \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\""),
            ("[listeners.unix_stream]\nmode = \"0888\"\n", 2, "listeners.unix_stream.mode: \"0888\" is not a mode in octal; write one such as \"0660\""),
            ("[listeners.unix_stream]\nmode = \"1777\"\n", 2, "listeners.unix_stream.mode: \"1777\" is not between \"0000\" and \"0777\""),
            ("[listeners.udp]\nreceive_buffer = \"big\"\n", 2, "listeners.udp.receive_buffer: \"big\" is not a size; write one such as \"8MiB\""),
            ("[listeners.tcp]\nframing = \"x\"\n", 2, "listeners.tcp.framing: \"x\" is unknown; write \"lines\" or \"length\""),
            ("[aggregation.gauges]\nsigned = \"x\"\n", 2, "aggregation.gauges.signed: \"x\" is unknown; write \"delta\" or \"absolute\""),
            // Values out of bounds.
            ("[flush]\ninterval = \"0s\"\n", 2, "flush.interval: \"0s\" is not between \"100ms\" and \"1h\""),
            ("[flush]\npercentiles = [50, 101]\n", 2, "flush.percentiles: 101 must be above 0 and at most 100"),
            ("[flush]\npercentiles = [0.5, 0.99, 0.999]\n", 2, "flush.percentiles: these are quantiles, not percentiles; write [50, 99, 99.9]"),
            ("[flush]\npercentiles = [0.5, 1]\n", 2, "flush.percentiles: these are quantiles, not percentiles; write [50, 100]"),
            ("[flush]\npercentiles = [50, 50]\n", 2, "flush.percentiles: 50 appears twice; keep one"),
            ("[shutdown]\ntimeout = \"1h\"\n", 2, "shutdown.timeout: \"1h\" is not between \"0s\" and \"10m\"; a stop may not take longer"),
            ("[listeners.udp]\nreceivers = 1000\n", 2, "listeners.udp.receivers: 1000 is not between 0 and 256; more than one per core does not help"),
            ("[listeners.udp]\nreceive_buffer = \"1\"\n", 2, "listeners.udp.receive_buffer: \"1B\" is not between \"4KiB\" and \"1GiB\""),
            ("[listeners.udp]\nmax_datagram = \"1MiB\"\n", 2, "listeners.udp.max_datagram: \"1MiB\" is not between \"512B\" and \"64KiB\"; UDP carries no more"),
            ("[listeners.tcp]\nmax_connections = 0\n", 2, "listeners.tcp.max_connections: 0 is not between 1 and 65536"),
            ("[listeners.tcp]\nmax_connections = 20000\n", 2, "listeners.tcp.max_connections: 20000 connections with lines of \"64KiB\" may take more than \"1GiB\"; lower one of the two"),
            ("[listeners.tcp]\nmax_line = \"2MiB\"\n", 2, "listeners.tcp.max_line: \"2MiB\" is not between \"512B\" and \"1MiB\""),
            ("[listeners.tcp]\nidle_timeout = \"0s\"\n", 2, "listeners.tcp.idle_timeout: \"0s\" is not between \"1s\" and \"30days\""),
            ("[listeners.unix_stream]\nmax_line = \"1B\"\n", 2, "listeners.unix_stream.max_line: \"1B\" is not between \"512B\" and \"1MiB\""),
            ("[listeners.unix_datagram]\nmax_datagram = \"1B\"\n", 2, "listeners.unix_datagram.max_datagram: \"1B\" is not between \"512B\" and \"1MiB\""),
            ("[aggregation]\nmax_series = 0\n", 2, "aggregation.max_series: 0 is not between 1 and 100000000"),
            ("[aggregation]\nmax_series_bytes = \"1KiB\"\n", 2, "aggregation.max_series_bytes: \"1KiB\" is not between \"64KiB\" and \"1TiB\""),
            ("[aggregation]\ndigits = 500\n", 2, "aggregation.digits: 500 is not between 1 and 4; 4 takes about 10 MB for a series with many values"),
            ("[aggregation]\nexact_values = 1000001\n", 2, "aggregation.exact_values: 1000001 is not between 0 and 1000000; each value takes 8 bytes in each series"),
            ("[aggregation]\nexact_members = -1\n", 2, "aggregation.exact_members: -1 is out of range; write a whole number that is not negative"),
            ("[aggregation]\nevent_buffer = \"2GiB\"\n", 2, "aggregation.event_buffer: \"2GiB\" is not between \"0B\" and \"1GiB\"; each receiver has a buffer of its own"),
            ("[exporters.prometheus]\nport = 70000\n", 2, "exporters.prometheus.port: 70000 is out of range; write a whole number from 0 to 65535"),
            ("[exporters.prometheus]\ntimeout = \"1h\"\n", 2, "exporters.prometheus.timeout: \"1h\" is not between \"100ms\" and \"10m\""),
            ("[exporters.prometheus]\nmax_connections = 0\n", 2, "exporters.prometheus.max_connections: 0 is not between 1 and 65536"),
            ("[exporters.prometheus]\nbuckets = [2, 1]\n", 2, "exporters.prometheus.buckets: must be an ascending list of at most 200 finite numbers"),
            ("[exporters.prometheus]\nnative_histogram_bucket_factor = nan\n", 2, "exporters.prometheus.native_histogram_bucket_factor: must be above 1 and at most 65536"),
            ("[exporters.prometheus]\nnative_histogram_max_buckets = 0\n", 2, "exporters.prometheus.native_histogram_max_buckets: 0 is not between 1 and 10000"),
            // Paths and owners.
            (&long_path, 2, "listeners.unix_datagram.path: 108 bytes long; the path of a Unix socket has at most 107 bytes"),
            ("[listeners.unix_stream]\npath = \"\"\n", 2, "listeners.unix_stream.path: empty; give the path of a file"),
            ("[listeners.unix_stream]\npath = \"a\\u0000b\"\n", 2, "listeners.unix_stream.path: a path cannot hold a NUL byte"),
            ("[listeners.unix_datagram]\nowner = \"a:b:c\"\n", 2, "listeners.unix_datagram.owner: \"a:b:c\" is not an owner; write \"user\", \"user:group\" or \":group\", or \"\" for tallyd's own"),
            ("[exporters.console]\npath = \"\"\n", 2, "exporters.console.path: empty; give the path of a file, or \"-\" for standard output"),
            ("[exporters.textfile]\npath = \"/x/y.txt\"\n", 2, "exporters.textfile.path: must end in \".prom\"; node_exporter reads no other files"),
            ("[telemetry]\ntags = [\"a:b\", \":c\"]\n", 2, "telemetry.tags: \":c\" is not a tag; write \"key:value\" without commas and bars"),
            // Keys that contradict each other.
            ("[listeners.udp]\nenabled = false\n", 2, "listeners.udp.enabled: every listener is turned off; set this one, or another, to true"),
            (same_path, 6, "listeners.unix_stream.path: the same as listeners.unix_datagram.path; each needs a path of its own"),
            ("[exporters.console]\nenabled = false\n", 2, "exporters.console.enabled: every exporter is turned off; set this one, or another, to true"),
            ("[aggregation.expire_after]\nset = \"1s\"\n", 2, "aggregation.expire_after.set: \"1s\" is shorter than flush.interval (\"10s\") or \"1s\""),
            ("[logging]\noutput = [\"file\"]\nfile_path = \"\"\n", 3, "logging.file_path: empty, although logging.output has \"file\""),
            ("[mapping]\nmapping_file = \"x.yml\"\n[[mapping.mappings]]\nmatch = \"a\"\nname = \"b\"\n", 3, "mapping.mappings: mapping.mapping_file is set, too; put all rules in one place"),
            // Mapping rules.
            ("[mapping.defaults.summary_options]\nquantiles = [{ quantile = 2 }]\n", 1, "mapping.defaults: quantile 2 must be above 0 and at most 1; write 0.02"),
            ("[mapping.defaults.summary_options]\nquantiles = [{ error = 2 }]\n", 2, "mapping.defaults.summary_options.quantiles: `quantile` is missing"),
            ("[mapping.defaults]\nobserver_type = \"x\"\n", 2, "mapping.defaults.observer_type: \"x\" is unknown; write \"summary\", \"histogram\" or \"native\""),
            ("[[mapping.mappings]]\nmatch = \"a\"\nname = \"b\"\n[[mapping.mappings]]\nmatch = \"a\"\nnme = \"b\"\n", 6, "mapping.mappings.nme: unknown; did you mean `name`?"),
            ("[[mapping.mappings]]\nmatch = \"a\"\nname = 5\n", 3, "mapping.mappings.name: 5 is a number; write text in quotes"),
            ("[[mapping.mappings]]\nmatch = \"a\"\nname = \"b\"\nhonor_labels = 1\n", 4, "mapping.mappings.honor_labels: 1 is a number; write true or false"),
            ("[[mapping.mappings]]\nmatch = \"a\"\nname = \"b\"\nlabels = { x = 1 }\n", 4, "mapping.mappings.labels.x: 1 is a number; write text in quotes"),
            ("[[mapping.mappings]]\nmatch = \"a\"\nname = \"a\"\n\n[[mapping.mappings]]\nmatch = \"a\"\nname = \"\"\n", 5, "mapping.mappings: rule 2 (\"a\"): the rule has no name; add one, even with action: drop"),
            ("[mapping.defaults]\nttl = 5\n", 2, "mapping.defaults.ttl: 5 is a number; write a duration in quotes, such as \"90s\", \"1m30s\" or \"1.5h\""),
            ("[[mapping.mappings]]\nmatch = \"a\"\nname = \"b\"\nttl = true\n", 4, "mapping.mappings.ttl: true is a boolean; write a duration in quotes, such as \"90s\", \"1m30s\" or \"1.5h\""),
            ("[listeners.unix_datagram]\nowner = 0\n", 2, "listeners.unix_datagram.owner: 0 is a number; write an owner in quotes, such as \"user\", \"user:group\" or \"0:0\""),
            ("[[mapping.mappings]]\nmatch = \"a b\"\nname = \"b\"\n", 1, "mapping.mappings: rule 1 (\"a b\"): match \"a b\" is not a glob: segments of letters, digits, \"_\" and \"-\", or \"*\", with dots between them, and no digit first; for a regular expression, add match_type: regex"),
            // Text that is not TOML.
            ("[flush]\ninterval = \n", 2, "a value is missing after \"=\""),
            ("[flush]\ninterval = 10s\n", 2, "10s is not a value; write text in quotes: \"10s\""),
            ("[flush]\npercentiles = [50 90]\n", 2, "50 90 is not a value; write text in quotes, and commas between the items of a list"),
            ("[telemetry]\nenabled = yes\n", 2, "yes is not a value; write true or false"),
            ("[telemetry]\nenabled = True\n", 2, "True is not a value; write true or false"),
            ("[telemetry]\nenabled: true\n", 2, "a key has no value; write key = value"),
            ("[flush]\ninterval = \"1s\"\ninterval = \"2s\"\n", 3, "`interval` appears twice; keep one of the two"),
            ("[flush]\n[flush]\n", 2, "`flush` appears twice; keep one of the two"),
            ("[flush\n", 1, "the name of a section has no closing bracket; write [section]"),
            ("[]\n", 1, "the name of a key or of a section is missing"),
            ("[flush]\ninterval = \"10s\n", 2, "text has no closing quote on its line"),
            ("a = \"\\q\"\n", 1, "a backslash in \"...\" begins an escape such as \\n; write \\\\, or put the text in '...'"),
            ("[flush]\npercentiles = [50, 90\n", 2, "a list lacks a comma between two items, or its closing bracket"),
            ("flush = { interval = \"1s\"\n", 1, "a \"{\" lacks its closing \"}\""),
            ("a = 1 b = 2\n", 1, "the value has ended; write what follows on a line of its own"),
            ("a = 0660\n", 1, "a number cannot begin with 0; write the mode of a file in quotes, such as \"0660\""),
            ("a = .5\n", 1, "not a number; write digits on both sides of the point, such as 0.5, and text in quotes"),
            ("a = 127.0.0.1:80\n", 1, "not a number; write digits on both sides of the point, such as 0.5, and text in quotes"),
            ("a = 99999999999999999999\n", 1, "99999999999999999999 is too large a number"),
            ("a = 1e999\n", 1, "1e999 is too large a number"),
            ("a = 2020-99-99\n", 1, "2020-99-99 is not a date or time that exists; write text in quotes: \"2020-99-99\""),
            ("a = 25:00:00\n", 1, "25:00:00 is not a date or time that exists; write text in quotes: \"25:00:00\""),
            ("a = [1,,2]\n", 1, "a comma has no item before it"),
            ("a = = 1\n", 1, "a second \"=\" follows the first; write text in quotes"),
            ("ü = 1\n", 1, "a key has characters other than letters, digits, \"_\" and \"-\"; write the key in quotes"),
            ("a = 1__0\n", 1, "\"_\" in a number must be between two digits"),
            ("a = \"\\u12\"\n", 1, "\\u needs four hexadecimal digits, and \\U eight"),
            ("a = 0X1F\n", 1, "not a number; write one in another base as 0x1f, 0o17 or 0b11"),
            ("# \u{1}\n", 1, "a comment has a control character; remove it"),
            ("a = 1\rb = 2\n", 1, "a carriage return has no line feed after it; save the file with the line ends of Unix"),
            (nested.as_str(), 1, "sections or lists are nested too deeply"),
            ("[flush]\n  a = {{}\n", 2, "not valid TOML near \"a = {{}\""),
        ];
        let failures = cases.into_iter().filter_map(|(text, line, expected)| {
            let file = file(text);
            let error = load(Some(file.path()), &Environment::default(), &[]).expect_err(text).to_string();
            let error = error.strip_prefix(file.path().to_str()?)?;
            (error != format!(":{line}: {expected}"))
                .then(|| format!("{text}gives{error}\nnot  :{line}: {expected}"))
        });
        let failures: Vec<_> = failures.collect();
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    }

    #[test]
    fn udp_can_be_turned_off_while_another_listener_is_on() {
        for listener in ["tcp", "unix_datagram", "unix_stream"] {
            let arguments =
                ["listeners.udp.enabled=false".to_owned(), format!("listeners.{listener}.enabled=true")];
            assert!(load(None, &Environment::default(), &arguments).is_ok(), "{listener}");
        }
    }

    #[test]
    fn the_console_can_be_turned_off_while_another_exporter_is_on() {
        for other in ["prometheus.start_http_server", "textfile.enabled"] {
            let arguments = ["exporters.console.enabled=false".to_owned(), format!("exporters.{other}=true")];
            assert!(load(None, &Environment::default(), &arguments).is_ok(), "{other}");
        }
    }

    #[test]
    fn errors_outside_of_a_file_name_the_variable_or_the_argument() {
        let variables = [
            ("TALLYD_FLUSH_INTERVAL", "1s", "unknown; did you mean TALLYD_FLUSH__INTERVAL?"),
            ("TALLYD_FLUSH__INTERVALL", "1s", "unknown; did you mean TALLYD_FLUSH__INTERVAL?"),
            ("TALLYD_LISTENERS_UDP__BIND", "x", "unknown; did you mean TALLYD_LISTENERS__UDP__BIND?"),
            (
                "TALLYD_LISTENERS__UNIX__DATAGRAM__PATH",
                "/x",
                "unknown; did you mean TALLYD_LISTENERS__UNIX_DATAGRAM__PATH?",
            ),
            ("TALLYD_FLUSH__NOPE", "1", "flush.nope: unknown; known here: interval, percentiles"),
            (
                "TALLYD_FLUSH__INTERVAL",
                "10",
                "flush.interval: \"10\" is not a duration; write one such as \"10s\"",
            ),
            (
                "LOG_LEVEL",
                "loud",
                "logging.level: \"loud\" is unknown; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
            ),
        ];
        for (name, value, expected) in variables {
            let error = load(None, &environment(&[(name, value)]), &[]).unwrap_err();
            assert_eq!(error.to_string(), format!("environment variable {name}: {expected}"));
        }
        let arguments = [
            ("flush.interval=1ms", "flush.interval: \"1ms\" is not between \"100ms\" and \"1h\""),
            ("flush.percentiles=[50,\"x\"]", "flush.percentiles: \"x\" is text; write a number"),
            (
                "exporters.prometheus.port=x",
                "exporters.prometheus.port: \"x\" is text; write a whole number from 0 to 65535",
            ),
            ("flush", "no \"=\"; write --set section.key=value"),
        ];
        for (argument, expected) in arguments {
            let error = load(None, &Environment::default(), &[argument.to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), format!("--set {argument}: {expected}"));
        }
    }

    #[test]
    fn errors_about_unreadable_files_name_the_file_and_the_reason() {
        let error = load(Some(Path::new("/nonexistent.toml")), &Environment::default(), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/nonexistent.toml: cannot be read: No such file or directory (os error 2)"
        );
        let mut latin1 = tempfile::NamedTempFile::new().unwrap();
        latin1.write_all(b"# \xfc\n").unwrap();
        let error = load(Some(latin1.path()), &Environment::default(), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: cannot be read: it is not UTF-8", latin1.path().display())
        );
    }
}
