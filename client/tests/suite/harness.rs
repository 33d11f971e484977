//! A test server that keeps the lines that it receives.

use std::net::UdpSocket;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tallyd_client::{Config, Metrics};

/// The time for which a test waits for a fact before it fails.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Returns the server that receives the metrics of the application. The first call configures these metrics, with the
/// tag `env:test`.
pub(crate) fn application_server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let server = Server::start();
        tallyd_client::configure(&server.config().tag("env", "test")).unwrap();
        server
    });
    &SERVER
}

pub(crate) struct Server {
    address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
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

    /// Returns a configuration that sends to this server.
    pub(crate) fn config(&self) -> Config {
        Config::new().statsd_address(&self.address)
    }

    /// Starts exporters that send to this server.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Metrics::start(&self.config()).unwrap()
    }

    /// Waits for exactly `count` lines of a metric. Returns the part of each line after `name:`.
    pub(crate) fn wait_for(&self, name: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            tallyd_client::flush();
            let lines = self.received(name);
            if lines.len() >= count {
                assert_eq!(lines.len(), count, "{name}: {lines:?}");
                return lines;
            }
            assert!(Instant::now() < deadline, "{name}: {lines:?} of {:?}", self.lines.lock().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns the lines of a metric that the server has received so far. Each line is returned without `name:`.
    pub(crate) fn received(&self, name: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let matching = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        matching.map(str::to_owned).collect()
    }
}

/// Splits a timing's line, without its name, into the time in milliseconds and the part after the type.
pub(crate) fn split_timing(line: &str) -> (f64, &str) {
    let (value, rest) = line.split_once("|ms").unwrap();
    (value.parse().unwrap(), rest)
}
