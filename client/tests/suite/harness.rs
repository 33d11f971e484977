//! A test server that keeps the lines that it receives, and a log that keeps its records.

use std::net::UdpSocket;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tallyd_client::{Config, Metrics};

/// The time for which a test waits for a fact before it fails.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

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

/// Keeps the text of all log records.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the records that `work` logs on this thread.
pub(crate) fn log_of(work: impl FnOnce()) -> Vec<serde_json::Value> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the number, the series and the reason of each record about lost samples.
pub(crate) fn losses(records: &[serde_json::Value]) -> Vec<(u64, &str, &str)> {
    records
        .iter()
        .filter(|record| record["message"] == "samples are dropped")
        .map(|record| {
            let text = |field: &str| record[field].as_str().unwrap();
            (record["lost"].as_u64().unwrap(), text("series"), text("reason"))
        })
        .collect()
}
