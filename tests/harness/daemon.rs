//! A running tallyd, and what it left behind when it ended.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::process::{send_signal, tallyd_path};
use super::wait::PATIENCE;

/// A running tallyd that writes JSON to a pipe. It is killed when this is dropped.
pub struct Daemon {
    child: Child,
    /// The address of the UDP listener. If that is disabled, no program listens at this address.
    pub address: SocketAddr,
    /// The name and the address or path of each listener.
    listening: Vec<(String, String)>,
    rows: Receiver<Value>,
    /// The rows that were read already.
    seen: Vec<Value>,
    log: Option<JoinHandle<String>>,
    sender: UdpSocket,
}

/// What a tallyd left behind that has ended.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All rows that it wrote.
    pub rows: Vec<Value>,
    /// Its log.
    pub log: String,
}

impl Daemon {
    /// Starts tallyd with `--set` for each of `settings`. By default it listens on a free port of 127.0.0.1 with one receiver,
    /// writes JSON to standard output, and has an interval that ends only when tallyd stops.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_in(&[], settings)
    }

    /// Starts tallyd by a command that runs what follows its own arguments.
    pub fn start_in(wrapper: &[&str], settings: &[&str]) -> Self {
        let interval = format!("flush.interval={}s", longest_interval());
        Self::launch(&[wrapper, &[&tallyd_path()]].concat(), &[&[interval.as_str()], settings].concat())
    }

    /// Starts tallyd with a configuration file, and with settings that take precedence over it.
    pub fn start_from(file: &Path, settings: &[&str]) -> Self {
        Self::launch(&[&tallyd_path(), "--config", file.to_str().unwrap()], settings)
    }

    fn launch(command: &[&str], settings: &[&str]) -> Self {
        let defaults =
            ["listeners.udp.bind=127.0.0.1:0", "listeners.udp.receivers=1", "exporters.console.format=json"];
        let arguments = defaults.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (row, rows) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if row.send(value).is_err() {
                    break;
                }
            }
        });
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let listening: Vec<_> = announcements(settings)
            .into_iter()
            .map(|(name, announcement)| (name.to_owned(), read_place(&mut stderr, &mut log, &announcement)))
            .collect();
        let address = match listening.first() {
            Some((name, address)) if name == "udp" => address.parse().unwrap(),
            _ => SocketAddr::from(([127, 0, 0, 1], 9)),
        };
        let log = thread::spawn(move || {
            // A log that is not UTF-8 would be a defect. It ends early here.
            _ = stderr.read_to_string(&mut log);
            log
        });
        let local = if SocketAddr::is_ipv6(&address) { "[::1]:0" } else { "127.0.0.1:0" };
        let sender = UdpSocket::bind(local).unwrap();
        sender.connect(address).unwrap();
        Self { child, address, listening, rows, seen: Vec::new(), log: Some(log), sender }
    }

    /// Returns the address or the path of a listener, by its name in the configuration. `http` is the endpoint.
    pub fn place(&self, listener: &str) -> &str {
        let place = self.listening.iter().find(|(name, _)| name == listener);
        place.map(|(_, place)| place.as_str()).unwrap()
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends one datagram.
    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        self.sender.send(datagram.as_ref()).unwrap();
    }

    /// Waits for a row for which `is_it` is true, written before or after the call.
    #[track_caller]
    pub fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(row) = self.seen.iter().find(|row| is_it(row)) {
            return row.clone();
        }
        self.wait_for_next(is_it)
    }

    /// Waits for such a row among those that were not read yet.
    #[track_caller]
    pub fn wait_for_next(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(row) = self.next_row(deadline) else { panic!("tallyd ended; rows: {:#?}", self.seen) };
            if is_it(row) {
                return row.clone();
            }
        }
    }

    /// Waits for a row of one of tallyd's counters that is not 0, with this tag.
    #[track_caller]
    pub fn wait_for_count(&mut self, name: &str, tag: (&str, &str)) {
        let is_it = |row: &Value| row["name"] == name && row["tags"][tag.0] == tag.1;
        self.wait_for(|row| is_it(row) && row["value"].as_f64() > Some(0.0));
    }

    /// Returns the next row, or `None` once tallyd has closed its output.
    #[track_caller]
    fn next_row(&mut self, deadline: Instant) -> Option<&Value> {
        match self.rows.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(row) => {
                self.seen.push(row);
                self.seen.last()
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no such row in {PATIENCE:?}; rows: {:#?}", self.seen),
        }
    }

    /// Sends the process a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        send_signal(self.id(), name);
    }

    /// Stops tallyd by SIGTERM and waits for its end.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end of tallyd.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        while self.next_row(deadline).is_some() {}
        let status = self.child.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        Finished { status, rows: std::mem::take(&mut self.seen), log }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // This fails only if tallyd has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Finished {
    /// Returns the rows with a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.rows.iter().filter(move |row| row["name"] == name)
    }

    /// Returns the sum of a field over all rows with a name: `value` for counters, `count` for timings.
    pub fn sum(&self, name: &str, field: &str) -> f64 {
        self.named(name).map(|row| row[field].as_f64().unwrap()).sum()
    }

    /// Returns the sum of the values of all rows with a name and a tag.
    pub fn sum_of(&self, name: &str, tag: (&str, &str)) -> f64 {
        let rows = self.named(name).filter(|row| row["tags"][tag.0] == tag.1);
        rows.map(|row| row["value"].as_f64().unwrap()).sum()
    }
}

/// Returns the interval, in seconds, whose next end is the furthest away. Intervals end at multiples of their length, so no
/// fixed interval would do: one of an hour ends with each full hour. Of these, one always has more than half an hour left.
fn longest_interval() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = |interval: &u64| interval - now % interval;
    (1800..=3600).max_by_key(left).expect("there are intervals")
}

/// Returns the name of each listener that `settings` enable, and how its line in the log begins, in the order of these lines.
fn announcements(settings: &[&str]) -> Vec<(&'static str, String)> {
    let is_enabled = |name: &&str| {
        let key = format!("listeners.{name}.enabled=");
        let set = settings.iter().rev().find_map(|setting| setting.strip_prefix(&key));
        set.map_or(*name == "udp", |value| value == "true")
    };
    let names = ["udp", "tcp", "unix_datagram", "unix_stream"].into_iter().filter(is_enabled);
    let mut announcements: Vec<_> = names.map(|name| (name, format!("listening on {name} "))).collect();
    if settings.contains(&"exporters.prometheus.start_http_server=true") {
        announcements.push(("http", "serving /metrics ".to_owned()));
    }
    announcements
}

/// Reads the log up to an announcement. Returns the address or the path in it.
fn read_place(stderr: &mut impl BufRead, log: &mut String, announcement: &str) -> String {
    loop {
        let start = log.len();
        assert!(stderr.read_line(log).unwrap() != 0, "tallyd ended before it listened: {log}");
        let rest = log[start..].split(announcement).nth(1);
        if let Some(place) = rest.and_then(|rest| rest.split_whitespace().next()) {
            return place.split_once('=').unwrap().1.to_owned();
        }
    }
}
