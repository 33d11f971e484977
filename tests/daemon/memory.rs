//! Tests that tallyd keeps within its memory, and accounts for what it refuses, whatever is sent, scraped or reloaded.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

use socket2::{Domain, Socket, Type};
use tallyd_harness::http::{get, request};
use tallyd_harness::scraped::scrape;
use tallyd_harness::{Daemon, HTTP, Name, Page, wait_until};
use tempfile::TempDir;

/// The memory that each tallyd may take, in bytes, and the setting for it.
const MAX: u64 = 128 << 20;
const MAX_SETTING: &str = "memory.max=128MiB";

/// The setting for an interval that ends many times during an attack. By default, it ends at the stop.
const FLUSHES: &str = "flush.interval=1s";

impl Outcome {
    /// Returns the number of samples that were refused because the memory was used up.
    fn refused(&self) -> f64 {
        self.page.value("tallyd_series_refused_total", &[("reason", "memory")]).unwrap()
    }
}

/// A tallyd that is attacked over a Unix socket, on which no datagram is lost.
struct Attack {
    daemon: Daemon,
    socket: UnixDatagram,
    sent: u64,
    directory: TempDir,
}

/// The totals at the stop, and the log.
struct Outcome {
    page: Page,
    log: String,
}

impl Attack {
    fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = format!("listeners.unix_datagram.path={}", directory.path().join("socket").display());
        let textfile = format!("exporters.textfile.path={}", directory.path().join("tallyd.prom").display());
        let all = [
            MAX_SETTING,
            "listeners.udp.enabled=false",
            "listeners.unix_datagram.enabled=true",
            &listener,
            "exporters.console.enabled=false",
            "exporters.textfile.enabled=true",
            &textfile,
        ];
        let daemon = Daemon::start(&[&all, settings].concat());
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(directory.path().join("socket")).unwrap();
        Self { daemon, socket, sent: 0, directory }
    }

    /// Sends lines in datagrams of about 8 KB.
    fn send(&mut self, lines: impl Iterator<Item = String>) {
        let mut datagram = String::new();
        for line in lines {
            self.sent += 1;
            datagram.push_str(&line);
            datagram.push('\n');
            if datagram.len() > 8000 {
                self.socket.send(datagram.as_bytes()).unwrap();
                datagram.clear();
            }
        }
        if !datagram.is_empty() {
            self.socket.send(datagram.as_bytes()).unwrap();
        }
    }

    /// Returns the number of percentile windows that the latest page says were dropped.
    fn dropped_windows(&self) -> f64 {
        let dropped = ("tallyd_percentile_windows_dropped_total", [("exporter", "textfile")]);
        read_page(&self.directory).value(dropped.0, &dropped.1).unwrap_or_default()
    }

    /// Stops tallyd. Checks its memory, and that every sample was recorded or refused.
    fn finish(self) -> Outcome {
        self.check_memory();
        let Self { daemon, sent, directory, .. } = self;
        let log = daemon.stop().log;
        let page = read_page(&directory);
        let total = |name: &str| {
            let of_name = page.0.iter().filter(|((series, _), _)| series == name);
            of_name.map(|(_, value)| value).sum::<f64>()
        };
        let accounted = total("tallyd_samples_total") + total("tallyd_series_refused_total");
        assert_eq!(accounted, sent as f64, "{log}");
        Outcome { page, log }
    }

    /// Checks that tallyd never took more than 15 percent beyond its memory.
    fn check_memory(&self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        println!("peak: {kilobytes} kB");
        assert!(kilobytes << 10 <= MAX * 115 / 100, "{kilobytes} kB");
    }
}

/// Reads the text file, which is empty before the first interval ends.
fn read_page(directory: &TempDir) -> Page {
    Page::parse(&fs::read_to_string(directory.path().join("tallyd.prom")).unwrap_or_default())
}

#[test]
fn million_names_take_no_more_than_the_memory_and_idle_ones_give_way() {
    let mut attack = Attack::start(&[&HTTP[..], &[FLUSHES]].concat());
    for kind in ["c", "ms", "g", "s"] {
        attack.send((0..250_000).map(|n| format!("service.endpoint_{n:07}.requests:1|{kind}")));
    }
    let part = |page: &Page, part| page.value("tallyd_memory_bytes", &[("part", part)]).unwrap_or_default();
    let parts = ["series", "patterns", "values", "snapshots", "pages"];
    let address = attack.daemon.http_address();
    wait_until(|| {
        let page = scrape(address);
        let sum: f64 = parts.iter().map(|name| part(&page, name)).sum();
        sum > 0.3 * MAX as f64 && sum < MAX as f64
    });
    let is_victim = |((name, _), _): &(&Name, &f64)| name == "victim_total";
    wait_until(|| {
        attack.send((0..100).map(|n| format!("victim:1|c|#n:{n}")));
        scrape(address).0.iter().filter(is_victim).count() == 100
    });
    let outcome = attack.finish();
    assert!(outcome.refused() > 0.0);
    assert!(outcome.log.contains("raise memory.max"), "{}", outcome.log);
}

#[test]
fn names_of_60_kilobytes_take_no_more_than_the_memory() {
    let mut attack = Attack::start(&["aggregation.max_name=64KiB", FLUSHES]);
    attack.send((0..5000).map(|n| format!("{}{n}:1|c", "x".repeat(60_000))));
    assert!(attack.finish().refused() > 0.0);
}

#[test]
fn wide_histograms_take_no_more_than_the_memory() {
    let mut attack = Attack::start(&["aggregation.digits=4"]);
    let mut random = fastrand::Rng::with_seed(1);
    attack.send((0..600_000).map(|n| {
        let magnitude = 10_f64.powf(random.f64() * 28.0 - 9.0);
        let sign = if random.bool() { "-" } else { "" };
        format!("t{}:{sign}{magnitude:e}|ms", n % 200)
    }));
    assert!(attack.finish().refused() > 0.0);
}

#[test]
fn percentile_windows_give_way_at_the_memory_for_series() {
    const SERIES: u64 = 2000;
    const VALUES: u64 = 200;
    let settings = ["aggregation.digits=3", "exporters.prometheus.percentile_window=1h", FLUSHES];
    let mut attack = Attack::start(&settings);
    let mut random = fastrand::Rng::with_seed(1);
    // All intervals of the next minutes share a histogram, and each brings values in new buckets.
    wait_until(|| {
        attack.send((0..SERIES).map(|n| {
            let mut line = format!("t{n}");
            (0..VALUES).for_each(|_| _ = write!(line, ":{}", 10_f64.powf(4.0 * random.f64())));
            line + "|ms"
        }));
        attack.sent += SERIES * (VALUES - 1);
        attack.dropped_windows() > 0.0
    });
    let outcome = attack.finish();
    assert!(outcome.log.contains("percentiles cover only the latest interval"), "{}", outcome.log);
}

#[test]
fn large_sets_take_no_more_than_the_memory() {
    let mut attack = Attack::start(&[]);
    attack.send((0..500_000).map(|n| format!("large:{n}|s")));
    attack.send((0..500_000).map(|n| format!("many.{}:{n}|s", n % 10_000)));
    let members = attack.finish().page.value("large", &[]).unwrap();
    assert!((members / 5e5 - 1.0).abs() < 0.1, "{members}");
}

#[test]
fn slow_scrapers_are_refused_beyond_the_memory_for_pages() {
    let mut attack = Attack::start(&[&HTTP[..], &[FLUSHES]].concat());
    let address = attack.daemon.http_address();
    let lines = || (0..50_000).map(|n| format!("service.endpoint_{n:07}.requests:1|c"));
    let is_refused = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // The kernel keeps little of the answer, so tallyd must keep the rest.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: tallyd\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (status == *b"HTTP/1.1 503", stream)
    };
    let mut slow = Vec::new();
    wait_until(|| {
        attack.send(lines());
        let (is_refused, stream) = is_refused();
        slow.push(stream);
        is_refused
    });
    assert!(slow.len() > 2, "{}", slow.len());
    let compressed = request(address, "GET", "/metrics", &["Accept-Encoding: gzip"]);
    assert_eq!(compressed.code, 200, "a compressed page still has room");
    drop(slow);
    wait_until(|| get(address, "/metrics").code == 200);
    assert!(attack.finish().page.value("tallyd_scrapes_refused_total", &[]).unwrap() > 0.0);
}

#[test]
fn reloads_leave_nothing_in_memory() {
    let mut attack =
        Attack::start(&[&HTTP[..], &["exporters.prometheus.enable_reload=true", FLUSHES]].concat());
    let address = attack.daemon.http_address();
    for round in 0..300 {
        attack.send((0..100).map(|n| format!("a{n}:{round}|ms")));
        assert_eq!(request(address, "POST", "/-/reload", &[]).code, 200);
    }
    attack.finish();
}
