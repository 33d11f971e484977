//! The real tallyd, whose rows are read from its standard output.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;
use crate::account::Telemetry;
use crate::cores::Cores;
use crate::process::{self, Process};

/// How long anything may take that takes a moment.
const PATIENCE: Duration = Duration::from_mins(1);

/// Settings that tallyd runs with, beyond its defaults. The null sink opens its socket with them too.
pub(crate) fn settings(interval: Duration) -> Vec<String> {
    vec![
        "listeners.udp.bind=127.0.0.1:0".to_owned(),
        "listeners.udp.receivers=1".to_owned(),
        format!("flush.interval={}ms", interval.as_millis()),
        "exporters.console.format=json".to_owned(),
    ]
}

/// A running tallyd with one receiver.
pub(crate) struct Tallyd {
    pub(crate) process: Process,
    /// Its own metrics only.
    rows: Receiver<Value>,
    telemetry: Telemetry,
}

impl Tallyd {
    pub(crate) fn start(cores: Cores, settings: &[String]) -> Result<Self, Failure> {
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

    /// Waits for a row of its own metrics that has something to tell.
    pub(crate) fn wait_for<T>(&mut self, told: impl Fn(&Value) -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let row = self.rows.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let row = row.map_err(|error| format!("tallyd did not write an expected row: {error}"))?;
            self.telemetry.add(&row);
            if let Some(told) = told(&row) {
                return Ok(told);
            }
        }
    }

    /// Waits until it has written an interval by whose end it had received so many lines.
    pub(crate) fn wait_for_lines(&mut self, lines: u64) -> Result<(), Failure> {
        while self.telemetry.lines() < lines {
            self.wait_for(|row| (row["name"] == "tallyd.lines").then_some(()))?;
        }
        Ok(())
    }

    /// Stops it. What it counted from start to end.
    pub(crate) fn stop(mut self) -> Result<Telemetry, Failure> {
        self.process.terminate()?;
        // Ends with its standard output.
        self.rows.iter().for_each(|row| self.telemetry.add(&row));
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("tallyd ended with {status}").into());
        }
        Ok(self.telemetry)
    }
}

/// Reads the log up to the line that tells the address; what comes later goes to this process's standard error.
fn wait_for_address(log: ChildStderr) -> Result<SocketAddr, &'static str> {
    let mut log = BufReader::new(log);
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|length| length > 0) {
        let address = line.split("listening on udp address=").nth(1);
        if let Some(address) = address.and_then(|rest| rest.split_ascii_whitespace().next()) {
            let address = address.parse().map_err(|_| "tallyd listens on what is no address")?;
            thread::spawn(move || show_problems(log));
            return Ok(address);
        }
        eprint!("{line}");
        line.clear();
    }
    Err("tallyd ended before it listened")
}

/// Shows what a log says beyond the ordinary.
fn show_problems(log: impl BufRead) {
    for line in log.lines().map_while(Result::ok).filter(|line| !line.contains(" INFO ")) {
        eprintln!("{line}");
    }
}

/// Passes on the rows of tallyd's own metrics. All others are read too, as a program at the other end of a pipe
/// would, but not parsed: that would take time from the generator, whose core this thread shares.
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
