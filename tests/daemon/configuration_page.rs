//! Compares docs/configuration.md with the program: its keys, their defaults, their bounds, and which of them a reload
//! changes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStderr, Stdio};

use tallyd_harness::process::{Running, send_signal, tallyd_command, without_variables};
use tallyd_harness::{Document, cells};
use tempfile::TempDir;

/// Adds all keys of a configuration to `keys`, in dotted form, with their values.
fn flatten(table: &toml::Table, prefix: &str, keys: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(table) if !table.is_empty() => flatten(table, &format!("{key}."), keys),
            value => _ = keys.insert(key, value.clone()),
        }
    }
}

/// A key of the configuration page.
struct Key {
    default: toml::Value,
    /// The third column.
    meaning: String,
    is_reloaded: bool,
}

/// Returns the keys in the tables of the configuration page, in dotted form.
fn documented_keys() -> BTreeMap<String, Key> {
    let mut keys = BTreeMap::new();
    let mut section = String::new();
    for line in Document::read("docs/configuration.md").text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        } else if line.starts_with("| `") {
            let cells = cells(line);
            let [key, default, meaning, reload] = &cells[..] else { continue };
            let value = toml::from_str::<toml::Table>(&format!("value = {}", default.trim_matches('`')));
            let default = value.unwrap_or_else(|error| panic!("{line}: {error}"))["value"].clone();
            assert!(!meaning.is_empty() && ["yes", "no"].contains(&&**reload), "{line}");
            let key = key.trim_matches('`');
            // A key that is a section of its own.
            let key = if key == section { section.clone() } else { format!("{section}.{key}") };
            let known = keys
                .insert(key.clone(), Key { default, meaning: meaning.clone(), is_reloaded: reload == "yes" });
            assert!(known.is_none(), "{key} is on the page twice");
        }
    }
    keys
}

#[test]
fn configuration_page_lists_every_key_with_its_default() {
    let mut defaults = BTreeMap::new();
    flatten(&toml::from_str(include_str!("../../config.toml")).unwrap(), "", &mut defaults);
    let documented = documented_keys().into_iter().map(|(key, Key { default, .. })| (key, default));
    assert_eq!(documented.collect::<BTreeMap<_, _>>(), defaults);
}

/// Returns a value beyond the bounds of a key with this default, if the key can have bounds.
fn beyond_all_bounds(key: &str, default: &toml::Value) -> Option<&'static str> {
    Some(match default {
        toml::Value::Integer(_) => "9223372036854775807",
        toml::Value::Float(_) => "1e300",
        toml::Value::Array(_) if key.ends_with("buckets") => "LIST",
        toml::Value::Array(_) if key.ends_with("percentiles") => "[1e300]",
        toml::Value::String(text) if key.ends_with("mode") && text.starts_with('0') => "\"7777\"",
        toml::Value::String(text) if text.ends_with("iB") => "\"8EiB\"",
        toml::Value::String(text) if text.starts_with('/') => "PATH",
        toml::Value::String(text)
            if text.starts_with(|first: char| first.is_ascii_digit()) && !text.contains('.') =>
        {
            "\"1000years\""
        }
        _ => return None,
    })
}

/// Returns the bounds that an error names: numbers, or texts in quotes.
fn bounds_in(error: &str) -> Vec<&str> {
    // The reason for the bounds is after the semicolon.
    let problem = error.split(';').next().unwrap();
    let begin = ["between", "above", "at most", "end in"].iter().filter_map(|word| problem.find(word)).min();
    let words = begin.map_or("", |begin| &problem[begin..]).split_whitespace();
    words.filter(|word| word.trim_start_matches(['"', '.']) != *word || word.parse::<f64>().is_ok()).collect()
}

/// This fails if a bound changes in the program but not on the page. Bounds of 0 need no mention.
#[test]
fn configuration_page_states_the_bounds_of_each_key() {
    let keys = documented_keys();
    let list = format!("[{}]", (0..1000).map(|bound| bound.to_string()).collect::<Vec<_>>().join(","));
    let path = format!("\"/{}\"", "x".repeat(1000));
    let mut checked = 0;
    for (name, key) in &keys {
        let Some(value) = beyond_all_bounds(name, &key.default) else { continue };
        let value = value.replace("LIST", &list).replace("PATH", &path);
        let mut tallyd = tallyd_command();
        without_variables(&mut tallyd).args(["check", "--set", &format!("{name}={value}")]);
        let output = tallyd.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let Some((_, error)) = error.rsplit_once(&format!("{name}: ")) else { continue };
        let bounds = bounds_in(error.trim_end());
        // A cell may refer to the same key of another section.
        let same_name = name.rsplit('.').next().unwrap();
        let meanings = keys.iter().filter(|(other, _)| other.rsplit('.').next() == Some(same_name));
        let meanings: Vec<_> = meanings.map(|(_, key)| key.meaning.replace('_', "")).collect();
        let own = key.meaning.replace('_', "");
        let candidates = if own.starts_with("As ") { meanings } else { vec![own] };
        let is_named = |cell: &String| {
            bounds.iter().all(|bound| {
                ["0", "\"0s\"", "\"0B\"", "\"0000\""].contains(bound)
                    || cell.contains(bound.trim_matches('"'))
            })
        };
        assert!(candidates.iter().any(is_named), "{name}: {bounds:?} in {candidates:?}\n{error}");
        checked += usize::from(!bounds.is_empty());
    }
    assert!(checked > 25, "{checked}");
}

/// The defaults that are text, each with another valid value.
const OTHER_WORDS: [(&str, &str); 35] = [
    ("", "native"),
    ("0660", "0600"),
    ("0666", "0660"),
    ("0B", "1GiB"),
    ("0s", "90s"),
    ("100MiB", "50MiB"),
    ("10s", "11s"),
    ("127.0.0.1", "::1"),
    ("127.0.0.1:8125", "127.0.0.1:8126"),
    ("127.0.0.1:8126", "127.0.0.1:8127"),
    ("16MiB", "32MiB"),
    ("1GiB", "2GiB"),
    ("1KiB", "2KiB"),
    ("1MiB", "2MiB"),
    ("1day", "2days"),
    ("1h", "2h"),
    ("1m", "2m"),
    ("256KiB", "128KiB"),
    ("256MiB", "128MiB"),
    ("32MiB", "16MiB"),
    ("50ms", "10ms"),
    ("64KiB", "32KiB"),
    ("delta", "absolute"),
    ("glob", "regex"),
    ("info", "debug"),
    ("keep", "remove"),
    ("last", "nothing"),
    ("length", "lines"),
    ("lines", "length"),
    ("local", "off"),
    ("never", "2h"),
    ("nothing", "zero"),
    ("prometheus", "statsd_exporter"),
    ("summary", "histogram"),
    ("text", "json"),
];

/// Returns another valid value for a key with this default. `file` is a file without settings.
fn another_value(key: &str, default: &toml::Value, file: &Path) -> toml::Value {
    let list = match key.rsplit('.').next().unwrap() {
        "percentiles" => "[50]",
        "buckets" => "[1]",
        "quantiles" => "[{ quantile = 0.5 }]",
        "mappings" => "[{ match = \"a.*\", name = \"a\" }]",
        "output" => "[\"console\", \"file\"]",
        "permitted_networks" => "[\"127.0.0.0/8\"]",
        "graphite" => "[{ name = \"a\", address = \"127.0.0.1:1\" }]",
        "remote_write" | "otlp" | "influxdb" => "[{ name = \"a\", url = \"http://127.0.0.1:1\" }]",
        "relay" => "[{ to = [\"udp://127.0.0.1:1\"] }]",
        _ => "[\"a\"]",
    };
    let text = |text: &str| match text {
        "" if key.ends_with("_file") => file.display().to_string(),
        "" if key == "delivery.path" => file.with_extension("queue").display().to_string(),
        "" if key.ends_with("owner") => "root".to_owned(),
        path if path.contains(".hlog") => format!("{path}.hlog"),
        path if path.contains('/') || path == "-" => format!("{path}.prom"),
        word => {
            let (_, other) = OTHER_WORDS.iter().find(|(default, _)| *default == word).unwrap();
            (*other).to_owned()
        }
    };
    match default {
        toml::Value::Boolean(value) => toml::Value::Boolean(!value),
        toml::Value::Integer(value) => toml::Value::Integer(value + 1),
        toml::Value::Float(value) => toml::Value::Float(value + 1.5),
        toml::Value::Array(_) => {
            toml::from_str::<toml::Table>(&format!("value = {list}")).unwrap()["value"].clone()
        }
        toml::Value::String(value) => toml::Value::String(text(value)),
        toml::Value::Table(_) if key.ends_with("values") => {
            toml::from_str::<toml::Table>("a = { b = \"c\" }").unwrap().into()
        }
        toml::Value::Table(_) => toml::from_str::<toml::Table>("a = \"b\"").unwrap().into(),
        date @ toml::Value::Datetime(_) => panic!("{key}: {date}"),
    }
}

/// Sets a dotted key in a table.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
            set(section.as_table_mut().unwrap(), rest, value);
        }
        None => _ = table.insert(key.to_owned(), value),
    }
}

#[test]
fn configuration_page_says_which_keys_a_reload_changes() {
    let directory = TempDir::new().unwrap();
    let [file, empty] = ["tallyd.toml", "empty.yml"].map(|name| directory.path().join(name));
    // A reload refuses a file without any text.
    fs::write(&empty, "# No settings.\n").unwrap();
    let mut base = toml::Table::new();
    // All ports are free ones. A second listener allows the test to disable the first.
    set(&mut base, "listeners.udp.bind", "127.0.0.1:0".into());
    set(&mut base, "listeners.tcp.bind", "127.0.0.1:0".into());
    set(&mut base, "listeners.tcp.enabled", true.into());
    set(&mut base, "exporters.prometheus.port", 0.into());
    set(&mut base, "exporters.prometheus.start_http_server", true.into());
    set(
        &mut base,
        "exporters.console.path",
        directory.path().join("console.txt").display().to_string().into(),
    );
    let mut in_base = BTreeMap::new();
    flatten(&base, "", &mut in_base);
    fs::write(&file, base.to_string()).unwrap();
    let mut tallyd = Logged::start(&file);
    for (key, Key { default, is_reloaded, .. }) in documented_keys() {
        let mut changed = base.clone();
        // If the base sets the key, the default is another value.
        let value = if in_base.contains_key(&key) { default } else { another_value(&key, &default, &empty) };
        set(&mut changed, &key, value);
        fs::write(&file, changed.to_string()).unwrap();
        let said = tallyd.reload();
        assert_eq!(said.contains("only after a restart"), !is_reloaded, "{key}: {said}");
    }
}

/// A tallyd whose log the test reads.
struct Logged {
    tallyd: Running,
    log: BufReader<ChildStderr>,
}

impl Logged {
    /// Starts tallyd with a configuration file, and waits until it serves its page.
    fn start(file: &Path) -> Self {
        let mut tallyd = tallyd_command();
        without_variables(&mut tallyd).arg("--config").arg(file);
        let mut tallyd = Running::start(tallyd.stdin(Stdio::null()).stderr(Stdio::piped()));
        let log = BufReader::new(tallyd.0.stderr.take().unwrap());
        let mut logged = Self { tallyd, log };
        logged.read_until("serving /metrics");
        logged
    }

    /// Makes tallyd reload its configuration. Returns the log of the reload.
    fn reload(&mut self) -> String {
        send_signal(self.tallyd.0.id(), "HUP");
        self.read_until("mapping rules were read")
    }

    /// Returns the log up to the line that contains `end`.
    fn read_until(&mut self, end: &str) -> String {
        let mut log = String::new();
        while !log.contains(end) {
            let length = self.log.read_line(&mut log).unwrap();
            assert!(length > 0 && !log.contains("refused"), "{log}");
        }
        log
    }
}
