//! Measures what people who watch cost: the flush, the CPU time of tallyd, and what they lose.
//!
//! A client sends 100,000 counters, and some timings, in each interval of a second. Then
//!
//! - nobody watches,
//! - ten viewers get each interval, with a thousand results of a pattern that matches everything,
//! - ten more viewers do not read, and
//! - four people search for everything again and again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tallyd_harness::http::get;
use tallyd_harness::meanwhile::SetOnDrop;
use tallyd_harness::{Daemon, HTTP};

/// The lines in each datagram, and the datagrams in each step of a millisecond.
const LINES: usize = 20;
const STEP: usize = 10;

/// A stream of events with many results.
const LIVE: &str = "/api/v1/live?match=*&limit=1000";

fn main() {
    // `cargo bench` adds `--bench`. Without it, or with `--test`, the bench only has to work.
    let has_argument = |word: &str| std::env::args().any(|argument| argument == word);
    let is_bench = has_argument("--bench") && !has_argument("--test");
    let (series, intervals) = if is_bench { (100_000, 20) } else { (1000, 2) };
    let daemon =
        Daemon::start(&[&HTTP[..], &["flush.interval=1s", "exporters.console.enabled=false"]].concat());
    let (address, endpoint) = (daemon.address(), daemon.http_address());
    println!("{series} series, {intervals} intervals of a second each.\n");
    println!(
        "| viewers | median flush, ms | longest flush, ms | late flushes | CPU, ms per interval | events lost |"
    );
    println!("|---|---|---|---|---|---|");
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let _guard = SetOnDrop(&finished);
        scope.spawn(|| send(address, series, &finished));
        wait_for_series(endpoint, series);
        measure(endpoint, "none", intervals);
        for _ in 0..10 {
            scope.spawn(|| read(connect(endpoint, LIVE), &finished));
        }
        measure(endpoint, "10", intervals);
        let silent: Vec<_> = (0..10).map(|_| connect(endpoint, LIVE)).collect();
        measure(endpoint, "10, and 10 that do not read", intervals);
        drop(silent);
        for _ in 0..4 {
            scope.spawn(|| {
                while !finished.load(Relaxed) {
                    get(endpoint, "/api/v1/series?match=*&limit=10000");
                }
            });
        }
        measure(endpoint, "10, and 4 that search without a pause", intervals);
    });
}

/// Sends one sample of each series in each second.
fn send(address: SocketAddr, series: usize, finished: &AtomicBool) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let line = |number| match number % 100 {
        0 => format!("service.latency.{number:06}:12.5|ms"),
        _ => format!("service.requests.{number:06}:1|c"),
    };
    let lines: Vec<_> = (0..series).map(line).collect();
    let datagrams: Vec<_> = lines.chunks(LINES).map(|lines| lines.join("\n")).collect();
    while !finished.load(Relaxed) {
        let begin = Instant::now();
        for step in datagrams.chunks(STEP) {
            for datagram in step {
                // A datagram that is not sent only makes the load smaller.
                _ = socket.send_to(datagram.as_bytes(), address);
            }
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    }
}

fn connect(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("tallyd listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("tallyd reads");
    stream
}

fn read(mut stream: TcpStream, finished: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    while !finished.load(Relaxed) && stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

fn wait_for_series(endpoint: SocketAddr, series: usize) {
    for interval in events(connect(endpoint, "/api/v1/live")) {
        if interval["series"].as_u64().is_some_and(|alive| alive as usize >= series) {
            return;
        }
    }
}

/// Returns the intervals of a stream of events.
fn events(stream: TcpStream) -> impl Iterator<Item = Value> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
}

/// Watches some intervals, and prints what they cost.
fn measure(endpoint: SocketAddr, viewers: &str, intervals: usize) {
    let [late, cpu, lost] = ["flush_late", "process_cpu_seconds", "live_events_dropped"];
    // The first event is the latest interval, and viewers that have just connected change the next one.
    let mut events = events(connect(endpoint, "/api/v1/live")).skip(2);
    let before = [late, cpu, lost].map(|name| total(endpoint, name));
    let mut flushes: Vec<_> = events
        .by_ref()
        .take(intervals)
        .map(|interval| interval["flush_seconds"].as_f64().expect("telemetry is on") * 1e3)
        .collect();
    let after = [late, cpu, lost].map(|name| total(endpoint, name));
    let [late, cpu, lost] = [0, 1, 2].map(|index| after[index] - before[index]);
    flushes.sort_by(f64::total_cmp);
    let (median, longest) = (flushes[flushes.len() / 2], flushes[flushes.len() - 1]);
    let cpu = cpu * 1e3 / intervals as f64;
    println!("| {viewers} | {median:.1} | {longest:.1} | {late} | {cpu:.0} | {lost} |");
}

/// Returns one of tallyd's own counters.
fn total(endpoint: SocketAddr, name: &str) -> f64 {
    let answer = get(endpoint, &format!("/api/v1/series?match=tallyd.{name}"));
    let answer: Value = serde_json::from_str(answer.text()).expect("the API answers with JSON");
    answer["series"][0]["total"].as_f64().expect("tallyd has this counter")
}
