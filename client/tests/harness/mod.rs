//! A server that keeps what it is sent.
#![allow(unreachable_pub, reason = "a module of tests")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::UdpSocket;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tallyd_client::{Config, Metrics};

/// How long a fact is waited for before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// The server of the application's metrics, which this process has once.
pub static GLOBAL: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::start();
    tallyd_client::configure(&server.config()).unwrap();
    server
});

pub struct Server {
    address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", socket.local_addr().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut datagram = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut datagram) {
                let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
                received.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        Self { address, lines }
    }

    pub fn config(&self) -> Config {
        Config::new().statsd_address(&self.address)
    }

    /// Exporters of their own that send here.
    pub fn metrics(&self) -> Arc<Metrics> {
        Metrics::start(&self.config()).unwrap()
    }

    /// Waits for the lines of one metric, as many as these; without its name and the colon.
    pub fn wait_for(&self, name: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            tallyd_client::flush();
            let lines = self.of(name);
            if lines.len() >= count {
                assert_eq!(lines.len(), count, "{name}: {lines:?}");
                return lines;
            }
            assert!(Instant::now() < deadline, "{name}: {lines:?} of {:?}", self.lines.lock().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Those that are there by now.
    pub fn of(&self, name: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let of_name = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        of_name.map(str::to_owned).collect()
    }
}

/// The time that a line tells, in milliseconds, and what stands behind its type.
pub fn timing(line: &str) -> (f64, &str) {
    let (value, rest) = line.split_once("|ms").unwrap();
    (value.parse().unwrap(), rest)
}
