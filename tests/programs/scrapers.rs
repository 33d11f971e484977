//! Servers that scrape, and are asked by `PromQL` what came of it: Prometheus and `VictoriaMetrics`, the real ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;
use super::http::{Answer, connect, get};
use super::prometheus::{Running, spawn, wait_for};

/// Makes Prometheus ask for protobuf; classic histograms are taken as what they are.
pub const NATIVE_HISTOGRAMS: &[&str] = &["--enable-feature=native-histograms"];

/// One that nobody has, at this moment.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Starts a program that serves at an address which it is given, and waits until it can be reached.
///
/// Between the choice of a port and its use another program may take it: then the next one is tried.
pub fn start_on_free_port(command: impl Fn(SocketAddr) -> Command) -> (Running, SocketAddr) {
    wait_for(|| {
        let address = free_address();
        let mut running = Running(spawn(&mut command(address)));
        let is_up = wait_for(|| match running.0.try_wait().unwrap() {
            Some(_) => Some(false),
            None => TcpStream::connect(address).ok().map(|_| true),
        });
        is_up.then_some((running, address))
    })
}

/// What the API of a server answers to a path behind `/api/v1/`.
pub fn ask_api(server: SocketAddr, path: &str) -> Value {
    // Version 1.0, for an answer in one piece.
    let mut connection = connect(server);
    write!(connection, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let mut answer: Value = serde_json::from_slice(&Answer::parse(&answer).body).unwrap();
    assert_eq!(answer["status"], "success", "{path}: {answer}");
    answer["data"].take()
}

/// A text as it may stand in such a path.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    })
}

/// A server that scrapes every second.
pub struct Server {
    _running: Running,
    _folder: TempDir,
    address: SocketAddr,
}

impl Server {
    /// `targets`: their label `form`, and where they are.
    pub fn prometheus(targets: &[(&str, SocketAddr)]) -> Self {
        Self::prometheus_with(&[], targets)
    }

    pub fn prometheus_with(flags: &[&str], targets: &[(&str, SocketAddr)]) -> Self {
        Self::start("/-/ready", targets, |folder, address| {
            let mut command = Command::new("prometheus");
            command
                .arg(format!("--config.file={folder}/scrape.yml"))
                .arg(format!("--storage.tsdb.path={folder}/data"))
                .arg(format!("--web.listen-address={address}"))
                .args(["--log.level=error"])
                .args(flags);
            command
        })
    }

    pub fn victoria_metrics(targets: &[(&str, SocketAddr)]) -> Self {
        Self::start("/health", targets, |folder, address| {
            let mut command = Command::new("victoria-metrics");
            command
                .arg(format!("-promscrape.config={folder}/scrape.yml"))
                .arg(format!("-storageDataPath={folder}/data"))
                .arg(format!("-httpListenAddr={address}"))
                .args(["-loggerLevel=ERROR", "-maxLabelsPerTimeseries=100"])
                // Values are there as soon as they are stored, and stored as soon as they are scraped.
                .args(["-search.latencyOffset=0s", "-search.disableCache"]);
            command
        })
    }

    fn start(
        health: &str,
        targets: &[(&str, SocketAddr)],
        command: impl Fn(&str, SocketAddr) -> Command,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: tallyd\n  \
                          static_configs:\n"
                .to_owned();
        for (form, address) in targets {
            writeln!(config, "  - {{targets: ['{address}'], labels: {{form: {form}}}}}").unwrap();
        }
        fs::write(folder.path().join("scrape.yml"), config).unwrap();
        let path = folder.path().to_str().unwrap();
        let (running, address) = start_on_free_port(|address| {
            let mut command = command(path, address);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        });
        wait_for(|| (get(address, health).code == 200).then_some(()));
        Self { _running: running, _folder: folder, address }
    }

    /// The value of a query, if it has one. A query must have no more.
    pub fn ask(&self, query: &str) -> Option<f64> {
        let answer = self.answer(query);
        assert!(answer.len() < 2, "{query}: {answer:?}");
        answer.first().map(value_of)
    }

    /// The values of a query by their labels, without the target's address. Bounds and quantiles are numbers, which formats
    /// write each in its own way.
    pub fn values(&self, query: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
        let answer = self.answer(query);
        let values = answer.iter().map(|series| {
            let labels = series["metric"].as_object().unwrap().iter();
            let labels = labels.filter(|(label, _)| *label != "instance").map(|(label, text)| {
                let text = text.as_str().unwrap();
                let is_number = label == "le" || label == "quantile";
                let number = text.parse::<f64>().ok().filter(|_| is_number);
                (label.clone(), number.map_or(text.to_owned(), |number| number.to_string()))
            });
            (labels.collect(), value_of(series))
        });
        values.collect()
    }

    /// The series that a query answers.
    fn answer(&self, query: &str) -> Vec<Value> {
        let mut answer = ask_api(self.address, &format!("query?query={}", encode(query)));
        let Value::Array(series) = answer["result"].take() else { panic!("{query}: {answer}") };
        series
    }

    /// Waits until a query has the right value.
    pub fn wait_for(&self, query: &str, is_right: impl Fn(f64) -> bool) {
        self.wait_for_answer(query, |value| value.is_some_and(&is_right));
    }

    /// Waits until a query has no value.
    pub fn wait_for_none(&self, query: &str) {
        self.wait_for_answer(query, |value| value.is_none());
    }

    fn wait_for_answer(&self, query: &str, is_right: impl Fn(Option<f64>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.ask(query);
            if is_right(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{query} is {value:?} after {PATIENCE:?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

pub fn value_of(series: &Value) -> f64 {
    series["value"][1].as_str().unwrap().parse().unwrap()
}
