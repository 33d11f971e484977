//! Measures restarts under load: what is lost, what the clients notice, and for how long no tallyd reads the socket.
//!
//! Eight clients send single datagrams to one socket. Before each stop, tallyd also gets one timing of each of many
//! series, so that its last flush is large. The console writes all of them to a file.
//!
//! - With a held socket, this process keeps the socket open, as systemd does, and starts a tallyd after the other.
//! - With a shared port, it starts each tallyd before it stops the previous one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use tallyd_harness::Daemon;
use tallyd_harness::meanwhile::{Sent, SetOnDrop, send_paced};

/// The lines in each datagram of timings, and the datagrams in each step of a millisecond.
const LINES: usize = 20;
const STEP: usize = 5;

/// The size of a load.
#[derive(Clone, Copy)]
struct Load {
    series: usize,
    restarts: u32,
    /// The datagrams per second of all clients together.
    per_second: u32,
}

/// The datagrams that were sent and recorded, and the gaps in which no tallyd read the socket.
struct Measured {
    sent: Sent,
    recorded: f64,
    gaps: Vec<Duration>,
}

fn main() {
    // `cargo bench` adds `--bench`. Without it, or with `--test`, the bench only has to work.
    let has_argument = |word: &str| std::env::args().any(|argument| argument == word);
    let load = if has_argument("--bench") && !has_argument("--test") {
        Load { series: 600_000, restarts: 20, per_second: 20_000 }
    } else {
        Load { series: 1_000, restarts: 2, per_second: 500 }
    };
    let Load { series, restarts, per_second } = load;
    println!(
        "{restarts} restarts with {series} timing series, {per_second} datagrams per second from 8 clients.\n"
    );
    println!("| restart | sent | lost | client errors | median gap, ms | longest gap, ms |");
    println!("|---|---|---|---|---|---|");
    let directory = tempfile::tempdir().expect("the system has a directory for temporary files");
    measure_held(load, directory.path()).print("held socket");
    measure_shared(load, directory.path()).print("shared port");
}

/// Restarts tallyd as systemd does: the old one ends before the new one starts. A gap lasts from the signal to the moment
/// at which the new one listens.
fn measure_held(load: Load, directory: &Path) -> Measured {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    // systemd may exceed net.core.rmem_max. Without the capability, the buffer is smaller, and datagrams may be lost.
    _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20));
    let address = socket.local_addr().expect("the socket is bound");
    let held = [OwnedFd::from(socket)];
    let start = |output: &str| Daemon::start_with_sockets(&held, &[output]);
    measure(load, directory, address, start(&output(directory, 0)), |running, next| {
        let begin = Instant::now();
        running.stop();
        (start(next), begin.elapsed())
    })
}

/// Starts each tallyd before the previous one stops, so there is no gap.
fn measure_shared(load: Load, directory: &Path) -> Measured {
    const SHARED: &str = "listeners.udp.share_port=true";
    let first = Daemon::start(&[SHARED, &output(directory, 0)]);
    let address = first.address();
    let bind = format!("listeners.udp.bind={address}");
    measure(load, directory, address, first, |running, next| {
        let next = Daemon::start(&[SHARED, &bind, next]);
        running.stop();
        (next, Duration::ZERO)
    })
}

/// Returns the setting that makes a tallyd write its rows to a file of its own.
fn output(directory: &Path, number: u32) -> String {
    format!("exporters.console.path={}", file(directory, number))
}

fn file(directory: &Path, number: u32) -> String {
    directory.join(format!("{number}.json")).display().to_string()
}

/// Restarts tallyd while clients send. `restart` ends a tallyd and returns the next one, whose output it gets as a setting,
/// and the gap in between.
fn measure(
    load: Load,
    directory: &Path,
    address: SocketAddr,
    first: Daemon,
    restart: impl Fn(Daemon, &str) -> (Daemon, Duration),
) -> Measured {
    let (mut gaps, mut recorded) = (Vec::new(), 0.0);
    let finished = AtomicBool::new(false);
    let (sent, running) = thread::scope(|scope| {
        let clients = scope.spawn(|| send_paced(address, 8, load.per_second, &finished));
        let guard = SetOnDrop(&finished);
        let mut running = first;
        for number in 0..load.restarts {
            send_timings(address, load.series);
            let (next, gap) = restart(running, &output(directory, number + 1));
            running = next;
            gaps.push(gap);
            recorded += take_recorded(&file(directory, number));
        }
        drop(guard);
        (clients.join().expect("the clients do not panic"), running)
    });
    running.stop();
    recorded += take_recorded(&file(directory, load.restarts));
    Measured { sent, recorded, gaps }
}

/// Sends one timing of each series, so slowly that tallyd keeps up.
fn send_timings(address: SocketAddr, series: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let lines: Vec<_> = (0..series).map(|number| format!("service.latency.{number:06}:12.5|ms")).collect();
    for step in lines.chunks(LINES * STEP) {
        for datagram in step.chunks(LINES) {
            // A datagram that is not sent only makes the load smaller.
            _ = socket.send_to(datagram.join("\n").as_bytes(), address);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the samples of the clients in the output of a tallyd that has ended, and removes the file.
fn take_recorded(path: &str) -> f64 {
    let rows = BufReader::new(File::open(path).expect("tallyd has written its rows")).lines();
    // Few of the rows have this text, and most of these are tallyd's own, about the names that clients send most.
    let rows = rows.map(|row| row.expect("the rows are text")).filter(|row| row.contains("\"meanwhile\""));
    let rows = rows.map(|row| serde_json::from_str::<Value>(&row).expect("a row is JSON"));
    let recorded =
        rows.filter(|row| row["name"] == "meanwhile").filter_map(|row| row["value"].as_f64()).sum();
    fs::remove_file(path).expect("the file was there");
    recorded
}

impl Measured {
    fn print(mut self, restart: &str) {
        self.gaps.sort();
        let [median, longest] =
            [self.gaps.len() / 2, self.gaps.len() - 1].map(|index| self.gaps[index].as_millis());
        let Sent { datagrams, errors } = self.sent;
        let lost = datagrams as f64 - self.recorded;
        println!("| {restart} | {datagrams} | {lost} | {errors} | {median} | {longest} |");
    }
}
