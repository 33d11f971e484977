//! Starts the real binary for black-box tests, on a free port, and reads what it writes.
#![allow(unreachable_pub, reason = "a module of tests")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub mod document;
pub mod grafana;
pub mod http;
pub mod meanwhile;
pub mod prometheus;
pub mod scraped;
pub mod server;
pub mod shop;
pub mod strict;
pub mod tls;

/// How long a fact is waited for before the test fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A running tallyd that writes JSON to a pipe. Killed when dropped.
pub struct Daemon {
    child: Child,
    /// Of the UDP listener. Nobody's, if that is turned off.
    pub address: SocketAddr,
    /// Name and address (or path) of each listener.
    listening: Vec<(String, String)>,
    rows: Receiver<Value>,
    /// Rows that were read already.
    seen: Vec<Value>,
    log: Option<JoinHandle<String>>,
    sender: UdpSocket,
}

/// What a tallyd left behind that was stopped.
pub struct Finished {
    pub status: ExitStatus,
    /// All rows that it ever wrote.
    pub rows: Vec<Value>,
    /// Its log.
    pub log: String,
}

impl Daemon {
    /// Starts tallyd with `--set` for each of `settings`; by default on a free port of 127.0.0.1, one receiver, JSON
    /// on standard output, and an interval so long that only a stop ends it.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_in(&[], settings)
    }

    /// Starts it likewise, by a command that runs what follows its own arguments.
    pub fn start_in(wrapper: &[&str], settings: &[&str]) -> Self {
        if !settings.iter().any(|setting| setting.starts_with("flush.interval=")) {
            stay_clear_of_the_hour();
        }
        Self::launch(&[wrapper, &[env!("CARGO_BIN_EXE_tallyd")]].concat(), "flush.interval=1h", settings)
    }

    /// Starts it with a configuration file, and with settings that win over it.
    pub fn start_from(file: &Path, settings: &[&str]) -> Self {
        let command = [env!("CARGO_BIN_EXE_tallyd"), "--config", file.to_str().unwrap()];
        Self::launch(&command, "listeners.udp.enabled=true", settings)
    }

    fn launch(command: &[&str], default: &str, settings: &[&str]) -> Self {
        let defaults = [
            "listeners.udp.bind=127.0.0.1:0",
            "listeners.udp.receivers=1",
            "exporters.console.format=json",
            default,
        ];
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
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if row.send(value).is_err() {
                    break;
                }
            }
        });
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let enabled = |name: &&str| {
            let key = format!("listeners.{name}.enabled=");
            let set = settings.iter().rev().find_map(|setting| setting.strip_prefix(&key));
            set.map_or(*name == "udp", |value| value == "true")
        };
        let names = ["udp", "tcp", "unix_datagram", "unix_stream"].into_iter().filter(enabled);
        let mut announced: Vec<_> = names.map(|name| (name, format!("listening on {name} "))).collect();
        if settings.contains(&"exporters.prometheus.start_http_server=true") {
            announced.push(("http", "serving /metrics ".to_owned()));
        }
        let mut listening = Vec::new();
        for (name, announcement) in announced {
            let place = loop {
                let start = log.len();
                assert!(stderr.read_line(&mut log).unwrap() != 0, "tallyd ended before it listened: {log}");
                let rest = log[start..].split(&announcement).nth(1);
                if let Some(place) = rest.and_then(|rest| rest.split_whitespace().next()) {
                    break place.split_once('=').unwrap().1.to_owned();
                }
            };
            listening.push((name.to_owned(), place));
        }
        let address = match listening.first() {
            Some((name, address)) if name == "udp" => address.parse().unwrap(),
            _ => SocketAddr::from(([127, 0, 0, 1], 9)),
        };
        let log = std::thread::spawn(move || {
            // What is not UTF-8 would be a defect, and shows as a log that ends early.
            _ = stderr.read_to_string(&mut log);
            log
        });
        let local = if SocketAddr::is_ipv6(&address) { "[::1]:0" } else { "127.0.0.1:0" };
        let sender = UdpSocket::bind(local).unwrap();
        sender.connect(address).unwrap();
        Self { child, address, listening, rows, seen: Vec::new(), log: Some(log), sender }
    }

    /// The address or the path of a listener, by its name in the configuration; of the endpoint: `http`.
    pub fn place(&self, listener: &str) -> &str {
        let place = self.listening.iter().find(|(name, _)| name == listener);
        place.map(|(_, place)| place.as_str()).unwrap()
    }

    /// The identity of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends one datagram.
    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        self.sender.send(datagram.as_ref()).unwrap();
    }

    /// Waits for a row, written before or after the call, of which `is_it` is true.
    pub fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(row) = self.seen.iter().find(|row| is_it(row)) {
            return row.clone();
        }
        self.wait_for_next(is_it)
    }

    /// Waits for such a row among those that were not read yet.
    pub fn wait_for_next(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.rows.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(row) => {
                    self.seen.push(row);
                    let row = &self.seen[self.seen.len() - 1];
                    if is_it(row) {
                        return row.clone();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no such row in {PATIENCE:?}; rows: {:#?}", self.seen)
                }
                Err(RecvTimeoutError::Disconnected) => panic!("tallyd ended; rows: {:#?}", self.seen),
            }
        }
    }

    /// Sends the process a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Stops it by SIGTERM and waits for its end.
    pub fn stop(self) -> Finished {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.rows.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(row) => self.seen.push(row),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("tallyd did not end in {PATIENCE:?}"),
            }
        }
        let status = self.child.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        Finished { status, rows: std::mem::take(&mut self.seen), log }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Finished {
    /// The rows of one name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.rows.iter().filter(move |row| row["name"] == name)
    }

    /// The sum of a field over all rows of one name: `value` of counters, `count` of timings.
    pub fn sum(&self, name: &str, field: &str) -> f64 {
        self.named(name).map(|row| row[field].as_f64().unwrap()).sum()
    }
}

/// An interval of an hour ends when the hour does; what is sent around that moment would be reported in two parts.
fn stay_clear_of_the_hour() {
    const HOUR: u64 = 3600;
    let left = || HOUR - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % HOUR;
    while left() <= 20 {
        std::thread::sleep(Duration::from_millis(100));
    }
}
