//! Runs servers that scrape the endpoint and answer queries: Prometheus and `VictoriaMetrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use tallyd_harness::http::{connect, free_address, get, get_unchunked};
use tallyd_harness::process::{Running, send_signal};
use tallyd_harness::{wait_for, wait_for_ok, wait_until};
use tempfile::TempDir;

/// Makes Prometheus request protobuf. Prometheus still stores classic histograms as classic ones.
pub(crate) const NATIVE_HISTOGRAMS: &[&str] = &["--enable-feature=native-histograms"];

/// Starts a program that serves at the address in its command, and waits until the program can be reached. If another
/// program takes the port first, it tries another port.
pub(crate) fn start_on_free_port(command: impl Fn(SocketAddr) -> Command) -> (Running, SocketAddr) {
    start_when_ready(command, |address| TcpStream::connect(address).is_ok())
}

/// Like [`start_on_free_port`], with a test of its own that the program can be used. Another program on the port must fail it.
pub(crate) fn start_when_ready(
    command: impl Fn(SocketAddr) -> Command,
    is_ready: impl Fn(SocketAddr) -> bool,
) -> (Running, SocketAddr) {
    wait_for(|| {
        let address = free_address();
        let mut running = Running::start(&mut command(address));
        let is_up = wait_for(|| match running.0.try_wait().unwrap() {
            Some(_) => Some(false),
            None => is_ready(address).then_some(true),
        });
        is_up.then_some((running, address))
    })
}

/// Returns the data that a server's API answers. `path` is the part after `/api/v1/`.
pub(crate) fn ask_api(server: SocketAddr, path: &str) -> Value {
    let response = get_unchunked(connect(server), &format!("/api/v1/{path}"));
    let mut answer: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(answer["status"], "success", "{path}: {answer}");
    answer["data"].take()
}

/// Percent-encodes a text for a path.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    })
}

/// A server that scrapes every second.
pub(crate) struct Server {
    running: Running,
    directory: TempDir,
    address: SocketAddr,
}

/// Makes Prometheus accept remote write, and store native histograms.
const RECEIVER: [&str; 2] = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];

impl Server {
    /// Starts Prometheus. Each target is a value of the label `scrape_format` and an address.
    pub(crate) fn prometheus(targets: &[(&str, SocketAddr)]) -> Self {
        Self::prometheus_with(&[], targets)
    }

    pub(crate) fn prometheus_with(flags: &[&str], targets: &[(&str, SocketAddr)]) -> Self {
        Self::start("/-/ready", targets, |directory, address| prometheus_command(directory, address, flags))
    }

    /// Starts Prometheus, which scrapes nothing and accepts remote write.
    pub(crate) fn prometheus_that_receives() -> Self {
        Self::prometheus_with(&RECEIVER, &[])
    }

    /// Starts a Prometheus that accepts remote write again, at the same address and with the same data.
    pub(crate) fn prometheus_again(address: SocketAddr, directory: TempDir) -> Self {
        let path = directory.path().to_str().unwrap();
        let running = Running::start(prometheus_command(path, address, &RECEIVER).stdout(Stdio::null()));
        wait_until(|| TcpStream::connect(address).is_ok() && get(address, "/-/ready").code == 200);
        Self { running, directory, address }
    }

    /// Returns the address of the server's API.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server, and returns the directory with its data.
    pub(crate) fn stop(self) -> TempDir {
        self.running.stop("TERM");
        self.directory
    }

    pub(crate) fn victoria_metrics(targets: &[(&str, SocketAddr)]) -> Self {
        Self::start("/health", targets, |directory, address| {
            let mut command = Command::new("victoria-metrics");
            command
                .arg(format!("-promscrape.config={directory}/scrape.yml"))
                .arg(format!("-storageDataPath={directory}/data"))
                .arg(format!("-httpListenAddr={address}"))
                .args(["-loggerLevel=ERROR", "-maxLabelsPerTimeseries=100"])
                // Makes values visible as soon as they are scraped.
                .args(["-search.latencyOffset=0s", "-search.disableCache"]);
            command
        })
    }

    fn start(
        health: &str,
        targets: &[(&str, SocketAddr)],
        command: impl Fn(&str, SocketAddr) -> Command,
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: tallyd\n  \
                          static_configs:\n"
                .to_owned();
        for (format, address) in targets {
            writeln!(config, "  - {{targets: ['{address}'], labels: {{scrape_format: {format}}}}}").unwrap();
        }
        fs::write(directory.path().join("scrape.yml"), config).unwrap();
        let path = directory.path().to_str().unwrap();
        let (running, address) = start_on_free_port(|address| {
            let mut command = command(path, address);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        });
        wait_until(|| get(address, health).code == 200);
        Self { running, directory, address }
    }

    /// Pauses the server: from this moment on, it sends no request. It neither scrapes nor answers queries.
    pub(crate) fn pause(&self) {
        let process = self.running.0.id();
        send_signal(process, "STOP");
        // The kernel reports this once all threads of the process have stopped.
        let process = Pid::from_raw(process.try_into().unwrap());
        let status = waitpid(process, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(status, WaitStatus::Stopped(process, Signal::SIGSTOP));
    }

    /// Ends the pause of the server.
    pub(crate) fn resume(&self) {
        send_signal(self.running.0.id(), "CONT");
    }

    /// Returns all samples of a series that the server has, in the order of their time. The series must have some.
    pub(crate) fn samples(&self, series: &str) -> Vec<Sample> {
        // No test takes as long as this.
        let answer = self.answer(&format!("{series}[1h]"));
        let [series] = &answer[..] else { panic!("{series}: {answer:?}") };
        let sample = |sample: &Value| Sample {
            milliseconds: (sample[0].as_f64().unwrap() * 1e3).round() as u64,
            value: sample[1].as_str().unwrap().parse().unwrap(),
        };
        series["values"].as_array().unwrap().iter().map(sample).collect()
    }

    /// Returns the value of a query, which must have at most one.
    pub(crate) fn ask(&self, query: &str) -> Option<f64> {
        let answer = self.answer(query);
        assert!(answer.len() < 2, "{query}: {answer:?}");
        answer.first().map(value_of)
    }

    /// Returns the values of a query by their labels, without the address of the target. Bounds and quantiles become
    /// plain numbers, because formats write them in different ways.
    pub(crate) fn values(&self, query: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
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

    /// Returns the series that answer a query.
    fn answer(&self, query: &str) -> Vec<Value> {
        let mut answer = ask_api(self.address, &format!("query?query={}", encode(query)));
        let Value::Array(series) = answer["result"].take() else { panic!("{query}: {answer}") };
        series
    }

    /// Waits until a query has the right value.
    pub(crate) fn wait_for(&self, query: &str, is_right: impl Fn(f64) -> bool) {
        self.wait_for_answer(query, |value| value.is_some_and(&is_right));
    }

    /// Waits until a query has no value.
    pub(crate) fn wait_for_none(&self, query: &str) {
        self.wait_for_answer(query, |value| value.is_none());
    }

    fn wait_for_answer(&self, query: &str, is_right: impl Fn(Option<f64>) -> bool) {
        wait_for_ok(|| {
            let value = self.ask(query);
            if is_right(value) { Ok(()) } else { Err(format!("{query} is {value:?}")) }
        });
    }
}

fn prometheus_command(directory: &str, address: SocketAddr, flags: &[&str]) -> Command {
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={directory}/scrape.yml"))
        .arg(format!("--storage.tsdb.path={directory}/data"))
        .arg(format!("--web.listen-address={address}"))
        .args(["--log.level=error"])
        .args(flags);
    command
}

/// A value that a server has stored.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The time of the scrape, in milliseconds since 1970. This is the precision of Prometheus.
    pub(crate) milliseconds: u64,
    pub(crate) value: f64,
}

pub(crate) fn value_of(series: &Value) -> f64 {
    series["value"][1].as_str().unwrap().parse().unwrap()
}
