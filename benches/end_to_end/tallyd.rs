//! A running tallyd. The bench reads the rows on its standard output, and checks its counters at the end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::arguments::Arguments;
use crate::process::{self, Cores, Error, Process};

/// The time after which a wait for tallyd fails.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Returns the settings of the UDP socket that differ from tallyd's defaults. The null sink uses them, too.
pub(crate) fn socket_settings() -> Vec<String> {
    vec!["listeners.udp.bind=127.0.0.1:0".to_owned(), "listeners.udp.receivers=1".to_owned()]
}

/// Returns all settings that differ from tallyd's defaults.
pub(crate) fn settings(interval: Duration, arguments: &Arguments) -> Vec<String> {
    let mut settings = socket_settings();
    settings.push(format!("flush.interval={}ms", interval.as_millis()));
    settings.push("exporters.console.format=json".to_owned());
    let coalesce =
        arguments.coalesce.map(|delay| format!("listeners.coalesce_delay={}us", delay.as_micros()));
    settings.extend(coalesce);
    settings
}

/// A running tallyd with one receiver.
pub(crate) struct Tallyd {
    pub(crate) process: Process,
    /// The rows of tallyd's own metrics.
    rows: Receiver<Value>,
    telemetry: Telemetry,
}

impl Tallyd {
    pub(crate) fn start(cores: Cores, settings: &[String]) -> Result<Self, Error> {
        let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let mut command = process::command(cores, env!("CARGO_BIN_EXE_tallyd"), &arguments)?;
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let address = stderr.ok_or("no standard error").and_then(wait_for_address)?;
        let (row, rows) = channel();
        let stdout = stdout.ok_or("no standard output")?;
        thread::spawn(move || read_telemetry(stdout, &row));
        Ok(Self { process: Process::new(child, address)?, rows, telemetry: Telemetry::default() })
    }

    /// Waits for a row of tallyd's own metrics that `read` accepts, and returns the result of `read`.
    pub(crate) fn wait_for<T>(&mut self, read: impl Fn(&Value) -> Option<T>) -> Result<T, Error> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let row = self.rows.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let row = row.map_err(|error| format!("tallyd did not write an expected row: {error}"))?;
            self.telemetry.add(&row);
            if let Some(value) = read(&row) {
                return Ok(value);
            }
        }
    }

    /// Waits until tallyd's own metrics show that it has received this many lines.
    pub(crate) fn wait_for_lines(&mut self, lines: u64) -> Result<(), Error> {
        while self.telemetry.count("tallyd.lines") < lines {
            self.wait_for(|row| (row["name"] == "tallyd.lines").then_some(()))?;
        }
        Ok(())
    }

    /// Stops tallyd. Returns its counters for the whole run.
    pub(crate) fn stop(mut self) -> Result<Telemetry, Error> {
        self.process.terminate()?;
        // The loop ends with tallyd's standard output.
        self.rows.iter().for_each(|row| self.telemetry.add(&row));
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("tallyd ended with {status}").into());
        }
        Ok(self.telemetry)
    }
}

/// The sums of tallyd's own counters over all intervals and tags.
#[derive(Debug, Default)]
pub(crate) struct Telemetry(BTreeMap<String, f64>);

impl Telemetry {
    fn add(&mut self, row: &Value) {
        if let (Some("counter"), Some(name), Some(value)) =
            (row["type"].as_str(), row["name"].as_str(), row["value"].as_f64())
        {
            *self.0.entry(name.to_owned()).or_default() += value;
        }
    }

    fn count(&self, name: &str) -> u64 {
        // Sums of counts are exact below 2^53.
        self.0.get(name).map_or(0, |&sum| sum as u64)
    }

    /// Fails if a sent datagram or line is neither in the results nor in a drop counter. Every sent line must hold one
    /// valid sample.
    pub(crate) fn check_counters(&self, datagrams_sent: u64, lines_per_datagram: usize) -> Result<(), Error> {
        let received = self.count("tallyd.datagrams");
        let dropped = self.count("tallyd.datagrams_dropped");
        let lines = self.count("tallyd.lines");
        let samples = self.count("tallyd.samples");
        let equations = [
            ("datagrams sent = received + dropped", datagrams_sent, received + dropped),
            ("lines received = lines counted", received * lines_per_datagram as u64, lines),
            ("lines = samples", lines, samples),
            ("datagrams truncated = 0", 0, self.count("tallyd.datagrams_truncated")),
            ("lines rejected = 0", 0, self.count("tallyd.lines_rejected")),
            ("samples refused = 0", 0, self.count("tallyd.series_refused")),
            ("snapshots dropped = 0", 0, self.count("tallyd.snapshots_dropped")),
        ];
        let broken = equations.iter().filter(|(_, left, right)| left != right);
        let broken: Vec<_> = broken
            .map(|&(equation, left, right)| {
                format!("{equation}: {left} is not {right}, {:+}", i128::from(right) - i128::from(left))
            })
            .collect();
        if broken.is_empty() {
            Ok(())
        } else {
            Err(format!("tallyd's counters do not add up: {}", broken.join("; ")).into())
        }
    }
}

/// Reads the log up to the line with the address. Then another thread copies later warnings and errors to standard
/// error.
fn wait_for_address(log: ChildStderr) -> Result<SocketAddr, &'static str> {
    let mut log = BufReader::new(log);
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|length| length > 0) {
        let address = line.split("listening on udp address=").nth(1);
        if let Some(address) = address.and_then(|rest| rest.split_ascii_whitespace().next()) {
            let address = address.parse().map_err(|_| "tallyd logged an address that cannot be parsed")?;
            thread::spawn(move || show_problems(log));
            return Ok(address);
        }
        eprint!("{line}");
        line.clear();
    }
    Err("tallyd ended before it listened")
}

/// Prints all lines of a log except those with the level INFO.
fn show_problems(log: impl BufRead) {
    for line in log.lines().map_while(Result::ok).filter(|line| !line.contains(" INFO ")) {
        eprintln!("{line}");
    }
}

/// Sends the rows of tallyd's own metrics to `rows`. Reads all other rows as well, like a program at the end of a pipe.
/// Does not parse them, because this thread shares the generator's core.
fn read_telemetry(stdout: ChildStdout, rows: &Sender<Value>) {
    let mut stdout = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if memchr::memmem::find(&line, br#","name":"tallyd."#).is_some()
            && let Ok(row) = serde_json::from_slice(&line)
            && rows.send(row).is_err()
        {
            break;
        }
        line.clear();
    }
}
