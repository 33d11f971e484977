//! Measures what pushing costs: bytes on the wire, CPU time and memory.
//!
//! A client sends each of 10,000 series once in each interval of two seconds. tallyd pushes them to a server that counts the
//! bytes and stores nothing. The CPU time of a tallyd that pushes nothing is subtracted. Then the same for datagrams that
//! tallyd relays, and the memory for a million series.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;
use tallyd_harness::Daemon;

#[path = "traffic/mod.rs"]
mod traffic;

use traffic::{LINES_PER_DATAGRAM, Random};

/// The settings of every tallyd. Nothing but the exporter under test reads the results.
const SETTINGS: [&str; 2] = ["exporters.console.enabled=false", "flush.percentiles=[50, 90, 99]"];

/// An exporter that sends nothing, because tallyd needs one.
const NOTHING: &str = r#"exporters.otlp=[{name="none", url="http://127.0.0.1:1/", names=["none"]}]"#;

/// The values of a timing in each interval.
const VALUES: usize = 10;

/// The samples that clients send for a series in an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    Counters,
    Timings,
}

const REMOTE_WRITE: &str = r#"exporters.remote_write=[{name="s", url="http://ADDRESS/written"}]"#;
const REMOTE_WRITE_1: &str = r#"exporters.remote_write=[{name="s", url="http://ADDRESS/", protocol="1.0"}]"#;
const OTLP: &str = r#"exporters.otlp=[{name="s", url="http://ADDRESS/"}]"#;
const GRAPHITE: &str = r#"exporters.graphite=[{name="s", address="ADDRESS"}]"#;
const INFLUXDB: &str = r#"exporters.influxdb=[{name="s", url="http://ADDRESS/"}]"#;

/// The title of a case, the samples, `exporters.prometheus.timings`, and the endpoint.
const CASES: [(&str, Content, &str, &str); 11] = [
    ("remote write 2.0, counters", Content::Counters, "summary", REMOTE_WRITE),
    ("remote write 1.0, counters", Content::Counters, "summary", REMOTE_WRITE_1),
    ("OTLP, counters", Content::Counters, "summary", OTLP),
    ("Graphite, counters", Content::Counters, "summary", GRAPHITE),
    ("InfluxDB, counters", Content::Counters, "summary", INFLUXDB),
    ("remote write 2.0, timings as native histograms", Content::Timings, "native", REMOTE_WRITE),
    ("remote write 2.0, timings as classic histograms", Content::Timings, "histogram", REMOTE_WRITE),
    ("remote write 2.0, timings as summaries", Content::Timings, "summary", REMOTE_WRITE),
    ("OTLP, timings as exponential histograms", Content::Timings, "native", OTLP),
    ("Graphite, timings", Content::Timings, "summary", GRAPHITE),
    ("InfluxDB, timings", Content::Timings, "summary", INFLUXDB),
];

fn main() {
    // `cargo bench` adds `--bench`. Without it, or with `--test`, the bench only has to work.
    let has_argument = |word: &str| std::env::args().any(|argument| argument == word);
    let is_bench = has_argument("--bench") && !has_argument("--test");
    let (series, rounds, interval) =
        if is_bench { (10_000, 5, INTERVAL) } else { (100, 1, Duration::from_millis(100)) };
    println!("{series} series, medians of {rounds} intervals; bytes and CPU per series and interval.\n");
    println!("| what is pushed | bytes | CPU, µs |");
    println!("|---|---:|---:|");
    for (title, content, timings, endpoint) in CASES {
        let sink = Sink::start();
        let endpoint = endpoint.replace("ADDRESS", &sink.address.to_string());
        let timings = format!("exporters.prometheus.timings={timings}");
        let start = |endpoint: &str| Load::start(content, series, interval, &[&timings, endpoint]);
        let pushing = start(&endpoint).measure(rounds, &sink);
        let idle = start(NOTHING).measure(rounds, &Sink::default());
        let cpu = pushing.cpu.saturating_sub(idle.cpu);
        let per_series = |amount: f64| amount / series as f64;
        println!(
            "| {title} | {:.0} | {:.2} |",
            per_series(pushing.bytes as f64),
            per_series(cpu.as_secs_f64() * 1e6)
        );
    }
    relay(if is_bench { 200_000 } else { 200 });
    if is_bench {
        memory(1_000_000, Duration::from_secs(15));
    } else {
        memory(1000, interval);
    }
}

/// A server that counts the bytes of bodies or lines, and takes everything.
#[derive(Default)]
struct Sink {
    address: Address,
    bytes: Arc<AtomicU64>,
}

/// The address of a server, or a placeholder without one.
#[derive(Clone, Copy)]
struct Address(SocketAddr);

impl Default for Address {
    fn default() -> Self {
        Self((Ipv4Addr::LOCALHOST, 1).into())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = Address(listener.local_addr().expect("it is bound"));
        let bytes = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&bytes);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let counter = Arc::clone(&counter);
                // A client that ends its connection ends the thread.
                thread::spawn(move || _ = serve(connection, &counter));
            }
        });
        Self { address, bytes }
    }
}

/// Reads requests of HTTP, or anything else.
fn serve(connection: TcpStream, bytes: &AtomicU64) -> std::io::Result<()> {
    let mut answers = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    let mut body = vec![0; 4 << 20];
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if !line.starts_with("POST ") {
            bytes.fetch_add(line.len() as u64, Relaxed);
            continue;
        }
        // A server that understands remote write 2.0 says so.
        let header = if line.contains("/written") {
            "X-Prometheus-Remote-Write-Samples-Written: 1000000000\r\n"
        } else {
            ""
        };
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(("content-length", value)) = line.to_lowercase().split_once(": ") {
                length = value.trim().parse().expect("a length is a number");
            }
        }
        reader.read_exact(&mut body[..length])?;
        bytes.fetch_add(length as u64, Relaxed);
        answers.write_all(format!("HTTP/1.1 204 No Content\r\n{header}\r\n").as_bytes())?;
    }
}

/// A tallyd, and a client that sends to it.
struct Load {
    daemon: Daemon,
    datagrams: Vec<String>,
    interval: Duration,
}

/// The cost of an interval.
struct Cost {
    bytes: u64,
    cpu: Duration,
}

/// The interval of tallyd when the bench measures.
const INTERVAL: Duration = Duration::from_secs(2);

/// Returns the setting for this interval.
fn flush_interval(interval: Duration) -> String {
    format!("flush.interval={}ms", interval.as_millis())
}

impl Load {
    fn start(content: Content, series: usize, interval: Duration, settings: &[&str]) -> Self {
        let daemon = Daemon::start(&[&SETTINGS[..], &[&*flush_interval(interval)], settings].concat());
        Self { daemon, datagrams: datagrams(content, series), interval }
    }

    /// Returns the medians of some intervals, after two others.
    fn measure(&self, rounds: usize, sink: &Sink) -> Cost {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let mut costs = Vec::new();
        // The first interval of tallyd ends at any moment. Each of these takes exactly one interval.
        for _ in 0..rounds + 2 {
            let (begin, bytes, cpu) = (Instant::now(), sink.bytes.load(Relaxed), cpu_of(&self.daemon));
            for datagram in &self.datagrams {
                client.send_to(datagram.as_bytes(), self.daemon.address()).expect("the loopback takes it");
            }
            thread::sleep(self.interval.saturating_sub(begin.elapsed()));
            costs.push((sink.bytes.load(Relaxed) - bytes, cpu_of(&self.daemon).saturating_sub(cpu)));
        }
        let (mut bytes, mut cpu): (Vec<_>, Vec<_>) = costs.into_iter().skip(2).unzip();
        bytes.sort_unstable();
        cpu.sort_unstable();
        Cost { bytes: bytes[rounds / 2], cpu: cpu[rounds / 2] }
    }
}

/// Returns datagrams with a line for each series. All series have two tags.
fn datagrams(content: Content, series: usize) -> Vec<String> {
    let mut random = Random(1);
    let mut line = |number: usize| {
        let tags = format!("#service:shop-{:02},region:eu-{}", number % 50, number % 3);
        match content {
            Content::Counters => {
                format!("app.requests.{:04}:{}|c|{tags}", number / 10, random.below(1000))
            }
            Content::Timings => {
                // Latencies are around 20 ms, and a few are far above.
                let mut value =
                    || 5 * (1 + random.below(8)) * (1 + random.below(2) * random.below(4)) + random.below(5);
                let values: Vec<_> = (0..VALUES).map(|_| value().to_string()).collect();
                format!("app.latency.{:04}:{}|ms|{tags}", number / 10, values.join(":"))
            }
        }
    };
    let lines: Vec<_> = (0..series).map(&mut line).collect();
    lines.chunks(LINES_PER_DATAGRAM / 2).map(|lines| lines.join("\n")).collect()
}

/// Returns the CPU time of a process so far.
fn cpu_of(daemon: &Daemon) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(daemon.id().cast_signed())).expect("it runs");
    clock.now().expect("it runs").into()
}

/// Measures the CPU time per datagram of one line, with and without a target.
fn relay(datagrams: usize) {
    println!("\n{datagrams} datagrams of one line.\n");
    println!("| relay | CPU per datagram, µs |");
    println!("|---|---:|");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let tcp = Sink::start();
    let udp = format!("udp://{}", udp.local_addr().expect("it is bound"));
    let tcp = format!("tcp://{}", tcp.address);
    for (name, to) in [("off", None), ("to a UDP server", Some(udp)), ("to a TCP server", Some(tcp))] {
        let relay = to.map(|to| format!("relay=[{{to=[\"{to}\"]}}]"));
        let settings =
            [&SETTINGS[..], &[NOTHING], &relay.iter().map(|relay| &**relay).collect::<Vec<_>>()].concat();
        let daemon = Daemon::start(&settings);
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let before = cpu_of(&daemon);
        for index in 0..datagrams {
            let line = format!("app.requests.{:03}:1|c", index % 1000);
            client.send_to(line.as_bytes(), daemon.address()).expect("the loopback takes it");
            // About 20,000 per second.
            if index % 20 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        thread::sleep(Duration::from_millis(500));
        let cpu = cpu_of(&daemon).saturating_sub(before);
        println!("| {name} | {:.2} |", cpu.as_secs_f64() * 1e6 / datagrams as f64);
    }
}

/// Measures the largest resident memory with and without an endpoint.
fn memory(series: usize, interval: Duration) {
    println!("\n{series} counters, four intervals.\n");
    println!("| pushes | most resident memory, MB | CPU, s per interval |");
    println!("|---|---:|---:|");
    let (sink, lines) = (Sink::start(), datagrams(Content::Counters, series));
    let endpoint = |rest: &str| {
        format!("exporters.remote_write=[{{name=\"s\", url=\"http://{}/written\"{rest}}}]", sink.address)
    };
    for (name, endpoint) in [
        ("nothing", NOTHING.to_owned()),
        ("remote write 2.0", endpoint("")),
        ("remote write 1.0", endpoint(", protocol=\"1.0\"")),
    ] {
        let own = [
            &*flush_interval(interval),
            "aggregation.max_series=2_000_000",
            "aggregation.max_series_bytes=1GiB",
            "memory.max=8GiB",
        ];
        let daemon = Daemon::start(&[&SETTINGS[..], &own, &[&*endpoint]].concat());
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let mut latest = Duration::ZERO;
        for _ in 0..4 {
            let (begin, cpu) = (Instant::now(), cpu_of(&daemon));
            for (index, datagram) in lines.iter().enumerate() {
                client.send_to(datagram.as_bytes(), daemon.address()).expect("the loopback takes it");
                if index % 20 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            thread::sleep(interval.saturating_sub(begin.elapsed()));
            latest = cpu_of(&daemon).saturating_sub(cpu);
        }
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
        let kilobytes: f64 = peak.trim().trim_end_matches(" kB").parse().expect("it is a number");
        println!("| {name} | {:.0} | {:.2} |", kilobytes * 1024.0 / 1e6, latest.as_secs_f64());
    }
}
