//! Runs tallyd as a child process, and collects its rows, its log and its exit status.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::process::{send_signal, tallyd_path, tallyd_with_sockets};
use super::wait::TIMEOUT;

/// A running tallyd that writes JSON to a pipe. Dropping this kills the process.
pub struct Daemon {
    child: Child,
    /// The name of each listener, with its address or path.
    listening: Vec<(String, String)>,
    rows: Receiver<Value>,
    /// The rows that the test has read so far.
    seen: Vec<Value>,
    log: Option<JoinHandle<String>>,
    /// A socket that is connected to the UDP listener, if that is enabled.
    sender: Option<UdpSocket>,
}

/// The settings that start the HTTP endpoint on a free port.
pub const HTTP: [&str; 2] = ["exporters.prometheus.start_http_server=true", "exporters.prometheus.port=0"];

/// The exit status, the rows and the log of a tallyd that has ended.
pub struct Finished {
    /// The exit code, or the signal that ended tallyd.
    pub status: ExitStatus,
    /// All rows that tallyd wrote.
    pub rows: Vec<Value>,
    /// All that tallyd wrote to standard error.
    pub log: String,
}

impl Daemon {
    /// Starts tallyd with a `--set` argument for each of `settings`. By default, tallyd listens on a free port of
    /// 127.0.0.1 with one receiver and writes JSON to standard output. Its interval ends only when tallyd stops.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_in(&[], settings)
    }

    /// Starts tallyd through `wrapper`, a command that runs the command after its own arguments.
    pub fn start_in(wrapper: &[&str], settings: &[&str]) -> Self {
        let interval = format!("flush.interval={}s", longest_interval());
        let command = command(&[wrapper, &[&tallyd_path()]].concat());
        Self::launch(command, &[&[interval.as_str()], settings].concat())
    }

    /// Starts tallyd as systemd does if a socket unit has these sockets. The caller holds the sockets, too.
    pub fn start_with_sockets(sockets: &[OwnedFd], settings: &[&str]) -> Self {
        Self::start_with_all_sockets(sockets, &[], settings)
    }

    /// Starts tallyd with sockets of its listeners and of its endpoint that the service manager holds.
    pub fn start_with_all_sockets(sockets: &[OwnedFd], endpoint: &[OwnedFd], settings: &[&str]) -> Self {
        let command = tallyd_with_sockets(sockets, endpoint);
        let interval = format!("flush.interval={}s", longest_interval());
        Self::launch(command, &[&[interval.as_str()], settings].concat())
    }

    /// Starts tallyd with a configuration file, and with settings that take precedence over it.
    pub fn start_from(file: &Path, settings: &[&str]) -> Self {
        Self::launch(command(&[&tallyd_path(), "--config", file.to_str().unwrap()]), settings)
    }

    fn launch(mut command: Command, settings: &[&str]) -> Self {
        let defaults =
            ["listeners.udp.bind=127.0.0.1:0", "listeners.udp.receivers=1", "exporters.console.format=json"];
        let arguments = defaults.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
        let mut child = command
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
            .map(|(name, announcement)| (name.to_owned(), read_address(&mut stderr, &mut log, &announcement)))
            .collect();
        let log = thread::spawn(move || {
            // A log that is not UTF-8 would be a defect. Reading would then end early.
            _ = stderr.read_to_string(&mut log);
            log
        });
        let udp = listening.iter().find(|(name, _)| name == "udp");
        let sender = udp.map(|(_, address)| {
            let local = if address.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
            let sender = UdpSocket::bind(local).unwrap();
            sender.connect(address).unwrap();
            sender
        });
        Self { child, listening, rows, seen: Vec::new(), log: Some(log), sender }
    }

    /// Returns the address or the path of a listener, by its name in the configuration. `http` is the endpoint.
    pub fn address_of(&self, listener: &str) -> &str {
        let found = self.listening.iter().find(|(name, _)| name == listener);
        &found.unwrap_or_else(|| panic!("{listener} is disabled")).1
    }

    /// Returns all addresses of a listener, in the order of the configuration.
    pub fn addresses_of(&self, listener: &str) -> Vec<&str> {
        let found = self.listening.iter().filter(|(name, _)| name == listener);
        found.map(|(_, address)| address.as_str()).collect()
    }

    /// Returns the address of the UDP listener, or the first of several.
    pub fn address(&self) -> SocketAddr {
        self.address_of("udp").parse().unwrap()
    }

    /// Returns the address of the endpoint.
    pub fn http_address(&self) -> SocketAddr {
        self.address_of("http").parse().unwrap()
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends one datagram over UDP.
    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        self.sender.as_ref().expect("udp is enabled").send(datagram.as_ref()).unwrap();
    }

    /// Waits for a row for which `is_match` returns true. It may have been read before the call.
    #[track_caller]
    pub fn wait_for(&mut self, is_match: impl Fn(&Value) -> bool) -> Value {
        if let Some(row) = self.seen.iter().find(|row| is_match(row)) {
            return row.clone();
        }
        self.wait_for_next(is_match)
    }

    /// Waits for a row for which `is_match` returns true, among the rows that have not been read yet.
    #[track_caller]
    pub fn wait_for_next(&mut self, is_match: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let Some(row) = self.next_row(deadline) else { panic!("tallyd ended; rows: {:#?}", self.seen) };
            if is_match(row) {
                return row.clone();
            }
        }
    }

    /// Waits for a row with this name and tag whose value is above 0.
    #[track_caller]
    pub fn wait_for_count(&mut self, name: &str, tag: (&str, &str)) {
        let is_match = |row: &Value| row["name"] == name && row["tags"][tag.0] == tag.1;
        self.wait_for(|row| is_match(row) && row["value"].as_f64() > Some(0.0));
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
            Err(RecvTimeoutError::Timeout) => {
                panic!("no such row within {TIMEOUT:?}; rows: {:#?}", self.seen)
            }
        }
    }

    /// Sends a signal to the process. `name` is the name of the signal without `SIG`.
    pub fn signal(&self, name: &str) {
        send_signal(self.id(), name);
    }

    /// Stops tallyd with SIGTERM, and waits until it has ended.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until tallyd has ended.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + TIMEOUT;
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
    /// Returns the rows with this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.rows.iter().filter(move |row| row["name"] == name)
    }

    /// Returns the sum of a field over all rows with this name: `value` for counters, `count` for timings.
    pub fn sum(&self, name: &str, field: &str) -> f64 {
        self.named(name).map(|row| row[field].as_f64().unwrap()).sum()
    }

    /// Returns the sum of the values of all rows with this name and this tag.
    pub fn sum_of(&self, name: &str, tag: (&str, &str)) -> f64 {
        let rows = self.named(name).filter(|row| row["tags"][tag.0] == tag.1);
        rows.map(|row| row["value"].as_f64().unwrap()).sum()
    }
}

/// Returns the length, in seconds, of the interval that ends last. Intervals end at multiples of their length, so a
/// fixed length would not do: an interval of one hour ends with each full hour. Among the candidates, one always has
/// more than half an hour left.
pub fn longest_interval() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = |interval: &u64| interval - now % interval;
    (1800..=3600).max_by_key(left).expect("there are intervals")
}

/// Returns the name of each listener that `settings` enable, with the text that announces it in the log. The order is
/// that of the log.
fn announcements(settings: &[&str]) -> Vec<(&'static str, String)> {
    let is_enabled = |name: &&str| {
        let key = format!("listeners.{name}.enabled=");
        let set = settings.iter().rev().find_map(|setting| setting.strip_prefix(&key));
        set.map_or(*name == "udp", |value| value == "true")
    };
    let names = ["udp", "tcp", "unix_datagram", "unix_stream"].into_iter().filter(is_enabled);
    let addresses = settings.iter().rev().find(|setting| setting.starts_with("listeners.udp.bind=["));
    // A list has its addresses in quotes.
    let udp_addresses = addresses.map_or(1, |list| (list.matches('"').count() / 2).max(1));
    let mut announcements = Vec::new();
    for name in names {
        let addresses = if name == "udp" { udp_addresses } else { 1 };
        announcements.extend(std::iter::repeat_n((name, format!("listening on {name} ")), addresses));
    }
    if settings.contains(&HTTP[0]) {
        announcements.push(("http", "serving /metrics ".to_owned()));
    }
    announcements
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Reads the log up to an announcement. Returns the address or the path in its line.
fn read_address(stderr: &mut impl BufRead, log: &mut String, announcement: &str) -> String {
    loop {
        let start = log.len();
        assert!(stderr.read_line(log).unwrap() != 0, "tallyd ended before it listened: {log}");
        let rest = log[start..].split(announcement).nth(1);
        if let Some(address) = rest.and_then(|rest| rest.split_whitespace().next()) {
            return address.split_once('=').unwrap().1.to_owned();
        }
    }
}
