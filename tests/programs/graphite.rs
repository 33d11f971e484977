//! Compares what tallyd pushes to Graphite with what the real statsd does, and lets the real carbon store it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;
use tallyd_harness::fake::LineServer;
use tallyd_harness::http::free_address;
use tallyd_harness::process::Running;
use tallyd_harness::{Daemon, Document, cells, wait_for_ok, wait_until};
use tempfile::TempDir;

use crate::admin::Statsd;

/// Returns the first number of each name that is not 0, or 0 if there is none. Only names with a part `app` count: the others
/// are the servers' own.
fn numbers(server: &LineServer) -> BTreeMap<String, f64> {
    let mut numbers = BTreeMap::new();
    for line in server.lines() {
        let [name, number, _time] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        if name.contains(".app.") {
            let number: f64 = number.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            let first = numbers.entry(name.to_owned()).or_insert(number);
            if *first == 0.0 {
                *first = number;
            }
        }
    }
    numbers
}

/// The interval of both servers in milliseconds.
const INTERVAL: u32 = 500;

/// Starts statsd, which pushes to a server.
fn start_statsd(server: SocketAddr, legacy: bool) -> Statsd {
    let settings = json!({
        "percentThreshold": [90, -80, 99.5],
        "graphiteHost": "127.0.0.1", "graphitePort": server.port(), "graphite": { "legacyNamespace": legacy },
    });
    Statsd::start_with(INTERVAL, &settings)
}

fn start_tallyd(sink: SocketAddr, more: &str) -> Daemon {
    let endpoint = format!(
        "exporters.graphite=[{{name=\"g\", address=\"{sink}\", percent_threshold=[90, -80, 99.5], {more}}}]"
    );
    Daemon::start(&[&endpoint, &format!("flush.interval={INTERVAL}ms")])
}

/// Lines whose numbers are the same in both servers. Each kind is sent in one datagram, so that it is in one interval.
const LINES: [&str; 6] = [
    "app.count:3|c\napp.count:4|c|@0.5\napp.count:-1|c",
    "app.timer:1|ms\napp.timer:2|ms\napp.timer:3|ms\napp.timer:4|ms\napp.timer:5|ms\napp.timer:6|ms\napp.timer:7|ms\napp.timer:8|ms\napp.timer:9|ms\napp.timer:10.5|ms",
    "app.one:7|ms",
    "app.gauge:12.25|g\napp.gauge:+1|g",
    "app.set:a|s\napp.set:b|s\napp.set:a|s",
    "app.tagged;env=prod;az=b:5|c",
];

#[test]
#[ignore = "needs statsd; run make test"]
fn tallyd_writes_the_names_and_numbers_of_statsd() {
    for legacy in [true, false] {
        let [of_statsd, of_tallyd] = [LineServer::start(), LineServer::start()];
        let statsd = start_statsd(of_statsd.address, legacy);
        let tallyd = start_tallyd(of_tallyd.address, &format!("legacy_namespace={legacy}"));
        // The first interval of tallyd is shorter than the others.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |line: &str| {
            for server in [statsd.samples, tallyd.address()] {
                client.send_to(line.as_bytes(), server).unwrap();
            }
        };
        send("app.first:1|g");
        wait_until(|| [&of_statsd, &of_tallyd].iter().all(|sink| !numbers(sink).is_empty()));
        LINES.into_iter().for_each(send);
        let is_whole = |sink: &LineServer| numbers(sink).keys().any(|name| name.contains("tagged"));
        wait_until(|| is_whole(&of_statsd) && is_whole(&of_tallyd));
        // All lines of an interval arrive together, but the last ones may be in the next interval.
        wait_for_ok(|| {
            let [expected, found] = [&of_statsd, &of_tallyd].map(numbers);
            assert_same(&expected, &found)
        });
    }
}

/// Compares the names and numbers of two servers.
fn assert_same(expected: &BTreeMap<String, f64>, found: &BTreeMap<String, f64>) -> Result<(), String> {
    let names = |numbers: &BTreeMap<String, f64>| numbers.keys().cloned().collect::<Vec<_>>();
    // statsd keeps the order in which a client sent tags, and tallyd sorts them.
    let sorted = |name: String| name.replace(";env=prod;az=b", ";az=b;env=prod");
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(name, number)| (sorted(name.clone()), *number)).collect();
    if names(&expected) != names(found) {
        return Err(format!("{expected:#?}\n{found:#?}"));
    }
    for (name, expected) in &expected {
        let untagged = name.split(';').next().unwrap();
        let is_rate = untagged.ends_with("rate")
            || untagged.ends_with("count_ps")
            || ["stats.app.count", "stats.app.tagged"].contains(&untagged);
        // statsd divides by the configured interval, and tallyd by the time that has passed.
        let tolerance = if is_rate { 0.2 } else { 1e-9 };
        let number = found[name];
        if (number - expected).abs() > tolerance * expected.abs() {
            return Err(format!("{name}: {expected} in statsd, {number} in tallyd"));
        }
    }
    Ok(())
}

/// Lines whose result differs, with the result in statsd and in tallyd. `None` is no result.
struct Difference {
    lines: &'static str,
    name: &'static str,
    statsd: Option<f64>,
    tallyd: Option<f64>,
    /// The words of the page in the row about it.
    words: &'static str,
}

const DIFFERENCES: [Difference; 2] = [
    Difference {
        lines: "app.sampled:1|ms|@0.5\napp.sampled:3|ms",
        name: "stats.timers.app.sampled.mean",
        statsd: Some(2.0),
        tallyd: Some(5.0 / 3.0),
        words: "A sample rate of a timer",
    },
    Difference {
        lines: "app.hist:1:2|h",
        name: "stats.timers.app.hist.upper",
        statsd: None,
        tallyd: Some(2.0),
        words: "A histogram (`h`) or a distribution (`d`)",
    },
];

#[test]
#[ignore = "needs statsd; run make test"]
fn each_difference_from_statsd_is_on_the_page() {
    let page = Document::read("docs/graphite.md").text;
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).map(cells).collect();
    for Difference { lines, name, statsd: in_statsd, tallyd: in_tallyd, words } in DIFFERENCES {
        assert!(rows.iter().any(|cells| cells[0].contains(words)), "{words}");
        let [of_statsd, of_tallyd] = [LineServer::start(), LineServer::start()];
        let statsd = start_statsd(of_statsd.address, true);
        let tallyd = start_tallyd(of_tallyd.address, "timeout=\"10s\"");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (server, sink, expected) in
            [(statsd.samples, &of_statsd, in_statsd), (tallyd.address(), &of_tallyd, in_tallyd)]
        {
            client.send_to(format!("{lines}\napp.zz:1|g").as_bytes(), server).unwrap();
            wait_until(|| numbers(sink).contains_key("stats.gauges.app.zz"));
            let number = numbers(sink).get(name).copied();
            let is_right = match (number, expected) {
                (Some(number), Some(expected)) => (number - expected).abs() < 1e-9,
                (number, expected) => number == expected,
            };
            assert!(is_right, "{name}: {number:?} instead of {expected:?}");
        }
    }
}

/// A carbon that stores one point per second.
struct Carbon {
    _running: Running,
    directory: TempDir,
    address: SocketAddr,
}

impl Carbon {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let [address, pickle, query] = [free_address(), free_address(), free_address()];
        let configuration = format!(
            "[cache]\nSTORAGE_DIR = {0}\nCONF_DIR = {0}\nLOG_DIR = {0}\nPID_DIR = {0}\nLOCAL_DATA_DIR = {0}/whisper\n\
             LINE_RECEIVER_INTERFACE = 127.0.0.1\nLINE_RECEIVER_PORT = {1}\nPICKLE_RECEIVER_INTERFACE = 127.0.0.1\n\
             PICKLE_RECEIVER_PORT = {2}\nCACHE_QUERY_INTERFACE = 127.0.0.1\nCACHE_QUERY_PORT = {3}\n\
             ENABLE_UDP_LISTENER = False\nMAX_CREATES_PER_MINUTE = inf\nMAX_UPDATES_PER_SECOND = inf\nUSER =\n\
             ENABLE_TAGS = False\n",
            path.display(),
            address.port(),
            pickle.port(),
            query.port(),
        );
        fs::write(path.join("carbon.conf"), configuration).unwrap();
        fs::write(path.join("storage-schemas.conf"), "[all]\npattern = .*\nretentions = 1s:1h\n").unwrap();
        let mut command = Command::new("carbon-cache");
        command
            .arg(format!("--config={}", path.join("carbon.conf").display()))
            .args(["--nodaemon", "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = Running::start(&mut command);
        wait_until(|| TcpStream::connect(address).is_ok());
        Self { _running: running, directory, address }
    }

    /// Returns the numbers that a name has in the order of their times.
    fn numbers(&self, name: &str) -> Vec<f64> {
        let file: PathBuf =
            self.directory.path().join("whisper").join(name.replace('.', "/")).with_extension("wsp");
        let output = Command::new("whisper-fetch").arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
    }
}

#[test]
#[ignore = "needs carbon-cache; run make test"]
fn carbon_stores_what_tallyd_pushes() {
    let carbon = Carbon::start();
    let endpoint = format!(
        "exporters.graphite=[{{name=\"c\", address=\"{}\", legacy_namespace=false}}]",
        carbon.address
    );
    let daemon = Daemon::start(&[&endpoint, "flush.interval=1s"]);
    daemon.send("hits:3|c\nt:1:2:3:4:5|ms\ng:7.5|g\ntagged:1|c|#env:prod");
    for (name, expected) in [
        ("stats.counters.hits.count", 3.0),
        ("stats.timers.t.upper_90", 5.0),
        ("stats.timers.t.mean", 3.0),
        ("stats.timers.t.sum_squares", 55.0),
        ("stats.gauges.g", 7.5),
    ] {
        wait_for_ok(|| {
            let numbers = carbon.numbers(name);
            if numbers.first() == Some(&expected) { Ok(()) } else { Err(format!("{name}: {numbers:?}")) }
        });
    }
    // Carbon keeps tagged series in a directory of their own, named by a hash.
    assert!(carbon.directory.path().join("whisper/_tagged").exists());
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("tallyd.points_dropped", "value"), 0.0);
}
