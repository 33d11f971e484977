//! Compares the documents with the program: keys, defaults, commands, configurations, results and links.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};

use serde_json::Value;
use tallyd_harness::process::{Running, send_signal, tallyd_command, tallyd_path, without_variables};
use tallyd_harness::{Daemon, Document, Finished};
use tempfile::TempDir;

const README: Document = Document { path: "README.md", text: include_str!("../../README.md") };
const CONFIGURATION: Document =
    Document { path: "docs/configuration.md", text: include_str!("../../docs/configuration.md") };
const OUTPUT: Document = Document { path: "docs/output.md", text: include_str!("../../docs/output.md") };

/// The pages whose commands and configurations this file runs. The pages for clients, mapping rules and the tutorial
/// have test files of their own.
const RUN_HERE: [&str; 8] = [
    "README.md",
    "docs/configuration.md",
    "docs/install.md",
    "docs/output.md",
    "docs/prometheus.md",
    "docs/protocol.md",
    "docs/telemetry.md",
    "docs/transports.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the blocks of a text. Each has an info string, the text after its opening backquotes, and a content.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((info.to_owned(), block.join("\n") + "\n"));
        }
    }
    blocks
}

/// Returns the cells of a table row. A backslash escapes a bar within a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_matches('|').replace("\\|", "\0");
    row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// Adds all keys of a configuration to `keys`, in dotted form, with their values.
fn flatten(table: &toml::Table, prefix: &str, keys: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(table) => flatten(table, &format!("{key}."), keys),
            value => _ = keys.insert(key, value.clone()),
        }
    }
}

/// A key of the configuration page.
struct Key {
    default: toml::Value,
    is_reloaded: bool,
}

/// Returns the keys in the tables of the configuration page, in dotted form.
fn documented_keys() -> BTreeMap<String, Key> {
    let mut keys = BTreeMap::new();
    let mut section = "";
    for line in CONFIGURATION.text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        } else if line.starts_with("| `") {
            let cells = cells(line);
            let [key, default, meaning, reload] = &cells[..] else { continue };
            let value = toml::from_str::<toml::Table>(&format!("value = {}", default.trim_matches('`')));
            let default = value.unwrap_or_else(|error| panic!("{line}: {error}"))["value"].clone();
            assert!(!meaning.is_empty() && ["yes", "no"].contains(&&**reload), "{line}");
            let key = format!("{section}.{}", key.trim_matches('`'));
            let known = keys.insert(key.clone(), Key { default, is_reloaded: reload == "yes" });
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

/// The defaults that are text, each with another valid value.
const OTHER_WORDS: [(&str, &str); 23] = [
    ("", "native"),
    ("0666", "0660"),
    ("0s", "90s"),
    ("10s", "11s"),
    ("127.0.0.1", "::1"),
    ("127.0.0.1:8125", "127.0.0.1:8126"),
    ("1MiB", "2MiB"),
    ("1day", "2days"),
    ("1h", "2h"),
    ("256MiB", "128MiB"),
    ("64KiB", "32KiB"),
    ("8MiB", "4MiB"),
    ("delta", "absolute"),
    ("glob", "regex"),
    ("info", "debug"),
    ("keep", "remove"),
    ("last", "nothing"),
    ("length", "lines"),
    ("lines", "length"),
    ("nothing", "zero"),
    ("prometheus", "statsd_exporter"),
    ("summary", "histogram"),
    ("text", "json"),
];

/// Returns another valid value for a key with this default. `file` is an empty file.
fn another_value(key: &str, default: &toml::Value, file: &Path) -> toml::Value {
    let list = match key.rsplit('.').next().unwrap() {
        "percentiles" => "[50]",
        "buckets" => "[1]",
        "quantiles" => "[{ quantile = 0.5 }]",
        "mappings" => "[{ match = \"a.*\", name = \"a\" }]",
        "output" => "[\"console\", \"file\"]",
        _ => "[\"a\"]",
    };
    let text = |text: &str| match text {
        "" if key.ends_with("_file") => file.display().to_string(),
        "" if key.ends_with("owner") => "root".to_owned(),
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
        other => panic!("{key}: {other}"),
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
    let folder = TempDir::new().unwrap();
    let [file, empty] = ["tallyd.toml", "empty.yml"].map(|name| folder.path().join(name));
    fs::write(&empty, "").unwrap();
    let mut base = toml::Table::new();
    // All ports are free ones. A second listener allows the test to disable the first.
    set(&mut base, "listeners.udp.bind", "127.0.0.1:0".into());
    set(&mut base, "listeners.tcp.bind", "127.0.0.1:0".into());
    set(&mut base, "listeners.tcp.enabled", true.into());
    set(&mut base, "exporters.prometheus.port", 0.into());
    set(&mut base, "exporters.prometheus.start_http_server", true.into());
    set(&mut base, "exporters.console.path", folder.path().join("console.txt").display().to_string().into());
    let mut in_base = BTreeMap::new();
    flatten(&base, "", &mut in_base);
    fs::write(&file, base.to_string()).unwrap();
    let mut tallyd = Logged::start(&file);
    for (key, Key { default, is_reloaded }) in documented_keys() {
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

/// Runs each `$ tallyd` command in a text block, and compares its output with the lines after it.
#[test]
fn commands_on_the_pages_print_what_the_pages_show() {
    let mut run = 0;
    for path in RUN_HERE {
        let folder = TempDir::new().unwrap();
        for (info, block) in blocks(&read(path)) {
            if let Some((_, name)) = info.split_once(' ').filter(|(_, name)| name.contains('.')) {
                fs::write(folder.path().join(name), &block).unwrap();
            }
            if info != "text" {
                continue;
            }
            for part in format!("\n{block}").split("\n$ ").skip(1) {
                let (command, expected) = part.split_once('\n').unwrap_or((part, ""));
                let is_run = ["explain", "check", "send"].iter().any(|word| {
                    command.starts_with(&format!("tallyd {word} ")) && !expected.contains("cannot send to")
                });
                if is_run {
                    run += 1;
                    assert_eq!(printed(folder.path(), command), expected.trim_end(), "{path}: {command}");
                }
            }
        }
    }
    assert_eq!(run, 5);
}

/// Runs a command in bash. Returns its standard output, followed by its standard error.
fn printed(folder: &Path, command: &str) -> String {
    let tallyd = tallyd_path();
    let programs = Path::new(&tallyd).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    without_variables(&mut bash).args(["-c", command]).current_dir(folder).env("PATH", path);
    let output = bash.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap().trim_end().to_owned()
}

#[test]
fn configurations_on_the_pages_are_valid() {
    let mut checked = 0;
    for path in RUN_HERE {
        for (info, block) in blocks(&read(path)) {
            if info == "toml" {
                let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
                fs::write(file.path(), &block).unwrap();
                let mut tallyd = tallyd_command();
                let output = tallyd.args(["check", "--config"]).arg(file.path()).output().unwrap();
                assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 5);
}

/// Runs the tour of the README against tallyd, and then stops tallyd to end its interval.
fn take_the_tour(settings: &[&str]) -> Finished {
    let daemon = Daemon::start(settings);
    let tour = README.block("sh tour").replace("8125", &daemon.address.port().to_string());
    let mut bash = Command::new("bash");
    assert!(without_variables(&mut bash).args(["-ec", &tour]).status().unwrap().success());
    daemon.stop()
}

/// Returns the first block of a document for which `is_match` returns true.
fn find_block(document: &Document, is_match: impl Fn(&str) -> bool) -> String {
    let mut blocks = blocks(document.text).into_iter().map(|(_, block)| block);
    blocks.find(|block| is_match(block)).unwrap_or_else(|| panic!("{} lacks the block", document.path))
}

#[test]
fn tour_of_the_readme_gives_the_results_that_the_documents_show() {
    let folder = TempDir::new().unwrap();
    let [console, page] = ["console.txt", "tallyd.prom"].map(|name| folder.path().join(name));
    let finished = take_the_tour(&[
        "exporters.console.format=text",
        &format!("exporters.console.path={}", console.display()),
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", page.display()),
    ]);
    assert!(finished.status.success(), "{}", finished.log);

    let console = fs::read_to_string(console).unwrap();
    // Rates and the widths of columns depend on the length of the interval, which differs here.
    let in_words = |line: &str| {
        let words = line.split_whitespace().filter(|word| !word.ends_with("/s"));
        words.collect::<Vec<_>>().join(" ")
    };
    let written: Vec<_> = console.lines().map(in_words).collect();
    for document in [README, OUTPUT] {
        let shown = find_block(&document, |block| block.contains(" 4 series "));
        for line in shown.lines() {
            let line = in_words(line);
            let line = line.find(" 4 series ").map_or(&*line, |start| &line[start..]);
            assert!(written.iter().any(|other| other.ends_with(line)), "{line} is not in\n{console}");
        }
    }

    let page = fs::read_to_string(page).unwrap();
    let shown = find_block(&README, |block| block.starts_with("$ curl "));
    for line in shown.lines().skip(1).filter(|line| *line != "…") {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
}

#[test]
fn output_page_shows_the_objects_that_the_console_writes() {
    // Removes the time, the length of the interval, and the rate, which depends on that length.
    let without_time = |line: &str| {
        let mut object: Value = serde_json::from_str(line).unwrap();
        for field in ["time", "interval_s", "rate"] {
            object.as_object_mut().unwrap().remove(field);
        }
        object
    };
    let finished = take_the_tour(&["telemetry.enabled=false"]);
    let written: Vec<_> = finished.rows.iter().map(|row| without_time(&row.to_string())).collect();
    let shown: Vec<_> = OUTPUT.block("json results").lines().map(without_time).collect();
    assert_eq!(shown, written);

    let daemon = Daemon::start(&["telemetry.enabled=false"]);
    daemon.send("_e{6,12}:deploy|version 1.42|h:web-1|#env:prod");
    let finished = daemon.stop();
    let written: Vec<_> = finished.rows.iter().map(|row| without_time(&row.to_string())).collect();
    assert_eq!(vec![without_time(OUTPUT.block("json event").trim_end())], written);
}

#[test]
fn telemetry_page_lists_every_alert() {
    let alerts = read("dashboards/alerts.yml");
    let alerts: BTreeSet<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let page = read("docs/telemetry.md");
    let (_, table) = page.split_once("| alert | fires when |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|')).map(cells);
    let documented: Vec<_> = rows.map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(documented.iter().map(String::as_str).collect::<BTreeSet<_>>(), alerts);
}

/// Returns the paths of all documents.
fn documents() -> Vec<PathBuf> {
    let of = |folder: &str| {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect::<Vec<_>>()
    };
    ["", "docs", "docs/design", "client"].map(of).concat()
}

/// Returns the targets of all links in a text, except those in blocks.
fn links(text: &str) -> Vec<String> {
    let mut outside = String::new();
    for (index, part) in text.split("\n```").enumerate() {
        if index % 2 == 0 {
            outside.push_str(part);
        }
    }
    let parts = outside.split("](").skip(1);
    parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())).collect()
}

/// Returns the anchors that GitHub generates for the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|&letter| letter.is_alphanumeric() || "-_ ".contains(letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_in_the_documents_lead_to_files_and_headings_that_exist() {
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            assert!(target.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let page = fs::read_to_string(&target).unwrap();
                assert!(anchors(&page).contains(anchor), "{}: {link}", document.display());
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn readme_and_architecture_are_short_enough_to_read() {
    for path in ["README.md", "ARCHITECTURE.md"] {
        let words = read(path).split_whitespace().count();
        assert!(words <= 1500, "{path} has {words} words");
    }
}

/// Another test compares the telemetry page with a real run.
#[test]
fn alerts_use_telemetry_that_exists() {
    let [alerts, page] = ["dashboards/alerts.yml", "docs/telemetry.md"].map(read);
    let words = alerts.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let names =
        words.filter_map(|word| word.strip_prefix("tallyd_")).map(|name| name.trim_end_matches("_total"));
    let mut count = 0;
    for name in names.filter(|name| *name != "textfile_timestamp_seconds") {
        assert!(page.contains(&format!("tallyd.{name}")), "{name}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn every_panel_of_the_dashboard_has_a_place_and_a_description() {
    const WIDTH: usize = 24;
    let dashboard: Value = serde_json::from_str(&read("dashboards/tallyd.json")).unwrap();
    let mut taken: BTreeMap<(usize, usize), &Value> = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap() as usize);
        assert!(x + width <= WIDTH, "{title}");
        for place in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (y, x))) {
            let other = taken.insert(place, title);
            assert_eq!(other, None, "{title} overlaps another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().unwrap();
        assert!(
            description.contains("If ") || description.contains("Near "),
            "{title} does not say what to do"
        );
        if panel["type"] == "timeseries" {
            let legend = &panel["options"]["legend"];
            assert_eq!(legend["showLegend"], true, "{title}");
            assert_eq!(legend["calcs"], Value::Array(Vec::new()), "{title}");
        }
    }
    // The panels leave no gap in the grid.
    let (&(last, _), _) = taken.last_key_value().unwrap();
    assert_eq!(taken.len(), (last + 1) * WIDTH);
}
