//! Runs tallyd for an hour under load, while series come and go, the configuration is reloaded, tallyd is restarted, and
//! hostile clients scrape it. `--seconds N` sets another time. Without `--bench`, it takes 20 seconds.
//!
//! It fails if a sample is neither in the output nor in a drop counter. If it runs for three minutes or more, it also fails
//! if resident memory grows after the first quarter of the time. It prints the flushes that were late, because a busy
//! machine may cause them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use tallyd_harness::http::{connect, try_get};
use tallyd_harness::meanwhile::SetOnDrop;
use tallyd_harness::process::{send_signal, tallyd_with_sockets};

/// The lines of a datagram by type. The one for churn has a new series from time to time.
const COUNTERS: u64 = 10;
const TIMINGS: u64 = 6;
const GAUGES: u64 = 3;
const LINES: u64 = COUNTERS + TIMINGS + GAUGES + 1;

/// The series of each type. Each datagram has some of them.
const SERIES: u64 = 5_000;

/// The new series per hour.
const CHURN: f64 = 100_000.0;

/// The restarts in the first quarter of the time.
const RESTARTS: u32 = 4;

/// The most that resident memory may grow after the first quarter.
const GROWTH: f64 = 1.05;

/// The shortest time after whose first quarter the first series have expired, and tallyd has all the memory that it needs.
const STEADY: Duration = Duration::from_mins(3);

const SETTINGS: [&str; 9] = [
    "flush.interval=1s",
    // The history of the API grows for ten minutes, up to its share of the memory, and looks like a leak until then.
    "exporters.prometheus.api=off",
    "exporters.console.format=json",
    "exporters.prometheus.start_http_server=true",
    "exporters.prometheus.port=0",
    "exporters.prometheus.timeout=1s",
    // In the steady state, as many series expire as come.
    "aggregation.expire_after.counter=15s",
    "aggregation.expire_after.gauge=15s",
    "aggregation.expire_after.timing=15s",
];

fn main() {
    // `cargo bench` adds `--bench`. Without it, or with `--test`, the bench only has to work.
    let arguments: Vec<_> = std::env::args().collect();
    let has_argument = |word: &str| arguments.iter().any(|argument| argument == word);
    let is_bench = has_argument("--bench") && !has_argument("--test");
    let seconds = arguments.iter().skip_while(|argument| *argument != "--seconds").nth(1);
    let seconds =
        seconds.map_or(if is_bench { 3600 } else { 20 }, |text| text.parse().expect("--seconds is a number"));
    // Half of what one receiver takes while the generator has the other core.
    let datagrams_per_second = if is_bench { 100_000 } else { 10_000 };
    soak(Duration::from_secs(seconds), datagrams_per_second).print();
}

/// A running tallyd, and the sums of its rows.
struct Tallyd {
    child: Child,
    http: SocketAddr,
    sums: JoinHandle<HashMap<String, f64>>,
}

impl Tallyd {
    fn start(held: &[OwnedFd]) -> Self {
        let mut command = tallyd_with_sockets(held, &[]);
        command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tallyd starts");
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let sums = thread::spawn(move || sum_rows(stdout.expect("standard output is a pipe")));
        let (address, addresses) = channel();
        thread::spawn(move || {
            for line in
                BufReader::new(stderr.expect("standard error is a pipe")).lines().map_while(Result::ok)
            {
                if let Some(found) = line.split("serving /metrics address=").nth(1) {
                    _ = address.send(found.trim().parse());
                }
                if !line.contains(" INFO ") {
                    eprintln!("{line}");
                }
            }
        });
        let http = addresses.recv().expect("tallyd serves pages").expect("the log has the address");
        Self { child, http, sums }
    }

    /// Returns the resident memory in bytes.
    fn resident(&self) -> f64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
    }

    /// Stops tallyd, and adds the sums of its rows to `sums`.
    fn stop(mut self, sums: &mut HashMap<String, f64>) {
        send_signal(self.child.id(), "TERM");
        let status = self.child.wait().expect("tallyd is a child");
        assert!(status.success(), "tallyd ended with {status}");
        for (name, sum) in self.sums.join().expect("the reader does not panic") {
            *sums.entry(name).or_default() += sum;
        }
    }
}

/// Adds up the values of all counters, and the counts of all timings, by name.
fn sum_rows(stdout: impl Read) -> HashMap<String, f64> {
    let mut sums = HashMap::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let row: Value = serde_json::from_str(&line).expect("a row is JSON");
        let (name, field) = match (row["name"].as_str(), row["type"].as_str()) {
            (Some(name), Some("counter")) => (name, "value"),
            (Some(name), Some("timing")) => (name, "count"),
            _ => continue,
        };
        // The series of one type count together.
        let name = name.split_once('-').map_or(name, |(name, _)| name);
        *sums.entry(name.to_owned()).or_default() += row[field].as_f64().unwrap_or(0.0);
    }
    sums
}

/// The results of a run.
struct Soaked {
    time: Duration,
    datagrams: u64,
    sums: HashMap<String, f64>,
    /// The resident memory in bytes, once per second after the first quarter of the time.
    resident: Vec<f64>,
    scrapes: u32,
    failed_scrapes: u32,
}

fn soak(time: Duration, datagrams_per_second: u64) -> Soaked {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20));
    let address = socket.local_addr().expect("the socket is bound");
    let held = [OwnedFd::from(socket)];
    let first = Tallyd::start(&held);
    let finished = AtomicBool::new(false);
    let (mut sums, mut resident) = (HashMap::new(), Vec::new());
    let (mut scrapes, mut failed_scrapes) = (0, 0);
    let (datagrams, running) = thread::scope(|scope| {
        let sender = scope.spawn(|| send(address, datagrams_per_second, &finished));
        let guard = SetOnDrop(&finished);
        let begin = Instant::now();
        let (mut running, mut restarts) = (first, 0);
        for second in 0.. {
            let passed = begin.elapsed();
            if passed >= time {
                break;
            }
            if restarts < RESTARTS && passed >= time / 4 * (restarts + 1) / (RESTARTS + 1) {
                restarts += 1;
                running.stop(&mut sums);
                running = Tallyd::start(&held);
            }
            if passed >= time / 4 {
                resident.push(running.resident());
            }
            if second % 10 == 0 {
                send_signal(running.child.id(), "HUP");
            }
            if second % 5 == 0 {
                scrapes += 1;
                let page = try_get(running.http, "/metrics");
                failed_scrapes += u32::from(page.is_none_or(|page| page.code != 200));
            }
            attack(running.http, second);
            thread::sleep(Duration::from_secs(1));
        }
        drop(guard);
        (sender.join().expect("the sender does not panic"), running)
    });
    running.stop(&mut sums);
    Soaked { time, datagrams, sums, resident, scrapes, failed_scrapes }
}

/// Opens connections that send nothing, half a request, or nonsense, or that do not read the answer.
fn attack(address: SocketAddr, second: u64) {
    let requests: [&[u8]; 4] = [
        b"",
        b"GET /metrics HTTP/1.1\r\nHost: ",
        b"\x16\x03\x01\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    let request = requests[second as usize % requests.len()];
    let mut open: Vec<_> = (0..20).map(|_| connect(address)).collect();
    // The server may have closed the connection.
    open.iter_mut().for_each(|connection| _ = connection.write_all(request));
}

/// Sends datagrams at an even pace until `finished` is set. Returns their number.
fn send(address: SocketAddr, per_second: u64, finished: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.connect(address).expect("the address is valid");
    let begin = Instant::now();
    let (mut sent, mut skipped) = (0, 0);
    let mut datagram = String::new();
    while !finished.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
        let due = (begin.elapsed().as_secs_f64() * per_second as f64) as u64;
        // A sender that had no CPU for a while does not make up for it.
        skipped += (due - skipped - sent).saturating_sub(per_second / 20);
        while sent + skipped < due {
            let churned = (begin.elapsed().as_secs_f64() * CHURN / 3600.0) as u64;
            write_datagram(&mut datagram, sent, churned);
            sent += u64::from(socket.send(datagram.as_bytes()).is_ok());
        }
    }
    sent
}

fn write_datagram(datagram: &mut String, number: u64, churned: u64) {
    use std::fmt::Write as _;
    datagram.clear();
    let series = |line: u64, lines: u64| (number * lines + line) % SERIES;
    let mut lines = || {
        for line in 0..COUNTERS {
            writeln!(datagram, "soak.counter-{}:1|c", series(line, COUNTERS))?;
        }
        for line in 0..TIMINGS {
            writeln!(datagram, "soak.timing-{}:{}|ms", series(line, TIMINGS), number % 1000)?;
        }
        for line in 0..GAUGES {
            writeln!(datagram, "soak.gauge-{}:{number}|g", series(line, GAUGES))?;
        }
        writeln!(datagram, "soak.churn:1|c|#id:{churned}")
    };
    lines().expect("a string takes everything");
}

impl Soaked {
    fn print(&self) {
        let sum = |name: &str| self.sums.get(name).copied().unwrap_or(0.0);
        let received = sum("tallyd.datagrams");
        let dropped = sum("tallyd.datagrams_dropped");
        println!(
            "{} datagrams of {LINES} lines sent, {received} received, {dropped} dropped by the kernel",
            self.datagrams
        );
        println!(
            "{} flushes were late, {} of {} scrapes failed",
            sum("tallyd.flush_late"),
            self.failed_scrapes,
            self.scrapes
        );
        let mut resident = self.resident.clone();
        let third = resident.len() / 3;
        let median = |part: &mut [f64]| {
            part.sort_by(f64::total_cmp);
            part[part.len() / 2] / 1e6
        };
        let last = resident.len() - third;
        let after = median(&mut resident[last..]);
        let before = median(&mut resident[..third]);
        println!(
            "median of resident memory: {before:.1} MB in the second quarter of the time, {after:.1} MB in the last"
        );
        for (name, lines) in [("soak.counter", COUNTERS), ("soak.timing", TIMINGS), ("soak.churn", 1)] {
            assert_eq!(sum(name), received * lines as f64, "{name}");
        }
        assert_eq!(sum("tallyd.lines_rejected") + sum("tallyd.series_refused"), 0.0);
        assert_eq!(received + dropped, self.datagrams as f64, "sent = received + dropped");
        assert!(self.time < STEADY || after <= before * GROWTH, "resident memory grows");
    }
}
