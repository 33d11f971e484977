//! Compares the admin interface with that of the real statsd.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tallyd_harness::http::{connect, free_address};
use tallyd_harness::process::Running;
use tallyd_harness::{Daemon, Document, wait_for, wait_until};
use tempfile::TempDir;

use crate::shop::CLIENTS;

/// A running server with an admin interface.
pub(crate) struct Server<P> {
    /// Where it receives samples.
    pub(crate) samples: SocketAddr,
    admin: SocketAddr,
    _process: P,
}

pub(crate) type Statsd = Server<(Running, TempDir)>;

impl Statsd {
    /// Starts statsd with an interval in milliseconds.
    pub(crate) fn start(interval: u32) -> Self {
        Self::start_with(interval, &json!({}))
    }

    /// Starts statsd with an interval in milliseconds, and with more settings.
    pub(crate) fn start_with(interval: u32, settings: &Value) -> Self {
        // Another program may take a port before statsd does.
        wait_for(|| Self::try_start(interval, settings.clone()))
    }

    fn try_start(interval: u32, mut settings: Value) -> Option<Self> {
        let (samples, admin) = (free_address(), free_address());
        let directory = TempDir::new().unwrap();
        let own = json!({
            "address": "127.0.0.1", "port": samples.port(), "mgmt_address": "127.0.0.1", "mgmt_port": admin.port(),
            "flushInterval": interval, "backends": ["./backends/graphite"],
        });
        settings.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let file = directory.path().join("configuration.js");
        fs::write(&file, settings.to_string()).unwrap();
        let program = Path::new(CLIENTS).join("node_modules/statsd/stats.js");
        assert!(program.exists(), "statsd is missing; run make install-test-tools");
        let mut node = Command::new("node");
        node.arg(program).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Running::start(&mut node);
        let is_ready = wait_for(|| {
            let has_ended = process.0.try_wait().unwrap().is_some();
            let is_ready = std::net::TcpStream::connect(admin).is_ok();
            (has_ended || is_ready).then_some(is_ready && !has_ended)
        });
        is_ready.then(|| Self { samples, admin, _process: (process, directory) })
    }
}

pub(crate) type Tallyd = Server<Daemon>;

impl Tallyd {
    pub(crate) fn start() -> Self {
        let admin = free_address();
        let bind = format!("admin.bind={admin}");
        let daemon = Daemon::start(&["admin.enabled=true", &bind, "flush.interval=1s"]);
        Self { samples: daemon.address(), admin, _process: daemon }
    }
}

impl<P> Server<P> {
    /// Sends one datagram.
    pub(crate) fn send(&self, lines: &str) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(lines.as_bytes(), self.samples).unwrap();
    }

    /// Sends commands as `echo COMMAND | nc` does, and returns all that the server answers.
    fn ask(&self, commands: &str) -> String {
        let mut connection = connect(self.admin);
        connection.write_all(format!("{commands}\n").as_bytes()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Returns the object in the answer to a command. Both servers end it in the same way, and the names in this test make the
    /// object of statsd differ from JSON only by its quotes.
    pub(crate) fn values(&self, command: &str) -> Value {
        let answer = self.ask(command);
        let object = answer.strip_suffix("\nEND\n\n").unwrap_or_else(|| panic!("{command}: {answer}"));
        serde_json::from_str(&object.replace('\'', "\"")).unwrap_or_else(|error| panic!("{error}: {object}"))
    }
}

/// Returns the objects in the answers to `counters`, `gauges` and `timers`.
pub(crate) fn all_values<P>(server: &Server<P>) -> [Value; 3] {
    ["counters", "gauges", "timers"].map(|command| server.values(command))
}

/// The differences that the test has seen. The page has to list the same ones.
#[derive(Default)]
struct Differences(BTreeSet<[&'static str; 2]>);

impl Differences {
    /// Notes a difference in the words of the page, which the next assertions show.
    fn note(&mut self, statsd: &'static str, tallyd: &'static str) {
        self.0.insert([statsd, tallyd]);
    }

    fn assert_documented(&self) {
        let page = Document::read("docs/admin.md");
        let rows = page.table("| statsd | tallyd |");
        let documented: BTreeSet<_> = rows.iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
        assert_eq!(self.0, documented);
    }
}

const SAMPLES: &str = "page.views:3|c\npage.views:2|c|@0.5\npage.errors:1|c\npage.time:320|ms\npage.time:20|ms\n\
                       disk.free:7|g\ndisk.used:5|g\nroom.temperature:21.5|g|#floor:1\nuser.names:ann|s\npage.views:one|c";

#[test]
#[ignore = "needs Node with statsd from npm; run make test"]
fn answers_equal_those_of_statsd_except_for_the_documented_differences() {
    let (statsd, tallyd) = (Statsd::start(3_600_000), Tallyd::start());
    let mut differences = Differences::default();
    // statsd opens its socket for samples at about the same time as that for commands.
    wait_until(|| {
        statsd.send("ready.now:1|g");
        statsd.values("gauges")["ready.now"] == 1
    });
    tallyd.send("ready.now:1|g");
    statsd.send(SAMPLES);
    wait_until(|| statsd.values("counters")["page.errors"] == 1);
    tallyd.send(SAMPLES);
    // An interval may end between two commands.
    let [counters, gauges, timers] = wait_for(|| {
        let values = all_values(&tallyd);
        let [counters, _, timers] = &values;
        if counters["page.errors"].is_null() || timers["page.time"].is_null() {
            return None;
        }
        Some(values)
    });
    let [mut statsd_counters, mut statsd_gauges, statsd_timers] = all_values(&statsd);

    differences.note("counts its own work in `statsd.…`", "shows no values of its own");
    let own = ["bad_lines_seen", "packets_received", "metrics_received"];
    let statsd_counts = statsd_counters.as_object_mut().unwrap();
    own.iter().for_each(|name| assert!(statsd_counts.remove(&format!("statsd.{name}")).is_some()));
    assert_eq!(counters, statsd_counters);
    assert_eq!(counters, json!({"page.views": 7, "page.errors": 1}));

    differences.note(
        "a tag is a part of the name: `name;key=value`",
        "a series with tags is shown as `name|#key:value`",
    );
    let tagged = statsd_gauges.as_object_mut().unwrap().remove("room.temperature;floor=1").unwrap();
    statsd_gauges["room.temperature|#floor:1"] = tagged;
    assert_eq!(gauges, statsd_gauges);

    differences
        .note("shows each value of a timer", "shows count, sum, minimum, mean and maximum, in milliseconds");
    assert_eq!(statsd_timers, json!({"page.time": [320, 20]}));
    assert_eq!(timers, json!({"page.time": {"count": 2, "sum": 340, "min": 20, "mean": 170, "max": 320}}));

    differences.note("writes an object of JavaScript, with single quotes", "writes JSON");
    assert!(statsd.ask("gauges").contains("'disk.free': 7,"));
    assert!(tallyd.ask("gauges").contains("\"disk.free\":7,"));

    assert_stats(&statsd, &tallyd, &mut differences);
    for command in
        ["health", "health down", "health", "health UP", "health\r", "quit", "", "nothing", "COUNTERS"]
    {
        assert_eq!(tallyd.ask(command), statsd.ask(command), "{command:?}");
    }

    differences.note("`config` shows the configuration", "`ERROR`");
    assert!(statsd.ask("config").contains("\nflushInterval: "));
    assert_eq!(tallyd.ask("config"), statsd.ask("nothing"));
    assert_eq!(tallyd.ask("help"), statsd.ask("help").replace(" config,", ""));

    differences.note("takes all that arrives at a time as one command", "takes each line as a command");
    assert_eq!(statsd.ask("health\nhealth"), "ERROR\n");
    assert_eq!(tallyd.ask("health\nhealth"), "health: up\nhealth: up\n");

    assert_deletions(&statsd, &tallyd, &mut differences);
    assert_next_interval(&tallyd, &mut differences);
    differences.assert_documented();
}

fn assert_stats(statsd: &Statsd, tallyd: &Tallyd, differences: &mut Differences) {
    let of_statsd = statsd.ask("stats");
    let of_tallyd = tallyd.ask("stats");
    let names = |answer: &str| {
        let lines = answer.strip_suffix("END\n\n").unwrap_or_else(|| panic!("{answer}"));
        let names = lines.lines().map(|line| line.split_once(": ").unwrap().0.to_owned());
        names.collect::<Vec<_>>()
    };
    let (statsd_names, names) = (names(&of_statsd), names(&of_tallyd));
    assert_eq!(names[..3], statsd_names[..3]);
    assert_eq!(names[..3], ["uptime", "messages.last_msg_seen", "messages.bad_lines_seen"]);
    for answer in [&of_statsd, &of_tallyd] {
        assert!(answer.contains("\nmessages.bad_lines_seen: 1\n"), "{answer}");
        // The numbers are spans, not times.
        let spans = answer.lines().filter(|line| line.starts_with("uptime") || line.contains(".last_"));
        let spans: Vec<f64> = spans
            .filter(|line| !line.starts_with("graphite.last_exception"))
            .map(|line| line.split_once(": ").unwrap().1.parse().unwrap())
            .collect();
        assert!(spans.len() >= 3 && spans.iter().all(|span| *span < 3600.0), "{answer}");
    }
    differences.note(
        "a backend has lines of its own, such as `graphite.last_exception`",
        "each exporter has `last_flush` and `failures`",
    );
    assert!(statsd_names.contains(&"graphite.last_exception".to_owned()), "{of_statsd}");
    assert_eq!(names[3..], ["console.last_flush", "console.failures", "admin.last_flush", "admin.failures"]);
}

fn assert_deletions(statsd: &Statsd, tallyd: &Tallyd, differences: &mut Differences) {
    for command in [
        "delcounters page.views",
        "delcounters nothing other",
        "delcounters page.time disk.free",
        "delcounters",
        "delgauges disk.* nothing",
        "deltimers page.*",
        "delsets user.names",
    ] {
        assert_eq!(tallyd.ask(command), statsd.ask(command), "{command}");
    }
    differences.note("`*` is a folder only at the end, after a dot", "`*` stands for any text");
    assert_eq!(
        statsd.ask("delgauges *y.now ready.now"),
        "metric *y.now not found\ndeleted: ready.now\nEND\n\n"
    );
    assert_eq!(tallyd.ask("delgauges *y.now"), "deleted: ready.now\nEND\n\n");
    differences.note(
        "deletes the series with a tag by its whole name",
        "deletes all series with a name, whatever their tags",
    );
    assert_eq!(
        statsd.ask("delgauges room.temperature room.temperature;floor=1"),
        "metric room.temperature not found\ndeleted: room.temperature;floor=1\nEND\n\n"
    );
    assert_eq!(tallyd.ask("delgauges room.temperature"), "deleted: room.temperature\nEND\n\n");
    differences.note("deletes at once", "the series leave the output one or two intervals later");
    assert_eq!(statsd.values("gauges"), json!({}));
    wait_until(|| tallyd.values("gauges") == json!({}));
}

/// Shows what the servers answer without samples.
fn assert_next_interval(tallyd: &Tallyd, differences: &mut Differences) {
    differences.note("shows the open interval", "shows the latest interval, which is over");
    differences.note("shows a counter without samples as 0, and a timer as `[]`", "leaves them out");
    let statsd = Statsd::start(100);
    wait_until(|| {
        statsd.send("page.errors:1|c\npage.time:9|ms");
        statsd.values("counters")["page.errors"] != Value::Null
    });
    wait_until(|| statsd.values("counters")["page.errors"] == 0);
    assert_eq!(statsd.values("timers"), json!({"page.time": []}));
    // The counter that was not deleted is still alive.
    wait_until(|| tallyd.values("counters") == json!({}));
    assert_eq!(tallyd.values("timers"), json!({}));
    assert_eq!(tallyd.ask("delcounters page.errors"), "deleted: page.errors\nEND\n\n");
}
