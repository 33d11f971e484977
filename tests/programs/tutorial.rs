//! Tests that a reader who follows docs/tutorial.md gets the results that the page promises.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tallyd_harness::http::free_address;
use tallyd_harness::process::{
    ROOT, Running, path_with_tallyd, tallyd_path, without_variables_except_cargos,
};
use tallyd_harness::{Document, wait_for, wait_until};
use tempfile::TempDir;

use crate::shop::PYTHON;

static PAGE: LazyLock<Document> = LazyLock::new(|| Document::read("docs/tutorial.md"));

/// The names that the timings of the page's programs have in Prometheus.
const TIMINGS: [&str; 3] =
    ["Shop_checkout_execution_time_seconds", "shop_checkout_time_seconds", "shop_till_checkout_time_seconds"];

#[test]
fn each_block_of_the_tutorial_is_run_or_listed_as_not_run() {
    const NOT_RUN: [&str; 2] = ["text", "sh install"];
    PAGE.assert_has_only(&[
        NOT_RUN[0],
        NOT_RUN[1],
        "toml tallyd.toml",
        "sh tallyd",
        "yaml prometheus.yml",
        "sh prometheus",
        "sh rust",
        "rust src/main.rs",
        "sh rust-run",
        "python datadog",
        "python statsd",
        "sh promtool",
        "text promtool",
        "promql graph",
        "toml tallyd.toml-histogram",
        "promql histogram",
        "yaml rules",
    ]);
}

#[test]
#[ignore = "needs prometheus, promtool and Python with clients from PyPI; run make test"]
fn reader_of_the_tutorial_ends_with_a_percentile_on_a_graph() {
    let reader = Reader::new();
    reader.write("tallyd.toml", "toml tallyd.toml");
    let tallyd = reader.start("", &reader.shown("sh tallyd"));
    reader.write("prometheus.yml", "yaml prometheus.yml");
    let listen = format!("{} --web.listen-address={}", reader.shown("sh prometheus"), reader.prometheus);
    let _prometheus = reader.start("", &listen);

    reader.run("", &reader.shown("sh rust"));
    reader.write("shop/src/main.rs", "rust src/main.rs");
    // A reader downloads the crates. The test uses the versions in this lock file, which are on this machine already.
    fs::copy(format!("{ROOT}/Cargo.lock"), reader.path("shop/Cargo.lock")).unwrap();
    reader.run("shop", "cargo build --quiet");
    let rust = reader.start("shop", &reader.shown("sh rust-run"));
    let _python = ["python datadog", "python statsd"].map(|info| {
        let file = info.replace(' ', ".");
        reader.write(&file, info);
        reader.start("", &format!("{PYTHON} {file}"))
    });

    let answer = wait_for(|| {
        let answer = reader.run("", &reader.shown("sh promtool"));
        TIMINGS.iter().all(|timing| answer.contains(timing)).then_some(answer)
    });
    let of_rust = answer.lines().find(|line| line.starts_with(TIMINGS[0])).unwrap();
    assert_eq!(without_numbers(of_rust), without_numbers(PAGE.block("text promtool").trim_end()));
    assert!(answer.contains("till=\"self\""), "{answer}");
    answer.lines().for_each(|line| assert_is_of_5_to_64_ms(value(line)));

    for timing in TIMINGS {
        let drawn = PAGE.block("promql graph").trim_end().replace(TIMINGS[0], timing);
        wait_until(|| {
            let lines = reader.query("range --step=1s", &drawn);
            let points = |line: &str| line.lines().filter(|line| line.contains(" @[")).count();
            let lines: Vec<_> = lines.split(" =>\n").skip(1).map(points).collect();
            lines.len() == 2 && lines.iter().all(|points| *points >= 3)
        });
    }

    drop(rust);
    reader.write("tallyd.toml", "toml tallyd.toml-histogram");
    reader.run("", &format!("kill -s HUP {}", tallyd.0.id()));
    let _rust = reader.start("shop", &reader.shown("sh rust-run"));
    let p99 = wait_for(|| {
        let answer = reader.query("instant", PAGE.block("promql histogram").trim_end());
        answer.lines().find(|line| line.contains(" => ")).map(value).filter(|value| !value.is_nan())
    });
    assert_is_of_5_to_64_ms(p99);

    let with_rules = reader.shown("yaml prometheus.yml") + "\n" + &reader.shown("yaml rules");
    fs::write(reader.path("prometheus.yml"), with_rules).unwrap();
    let said = reader.run("", "promtool check config prometheus.yml");
    assert!(said.contains("SUCCESS: 1 rule files found"), "{said}");
}

/// Returns the value that promtool prints for one series: `{labels} => value @[time]`.
fn value(line: &str) -> f64 {
    line.rsplit(' ').nth(1).unwrap().parse().unwrap()
}

/// Asserts that a percentile in seconds is plausible. On a busy machine, a call takes somewhat longer.
fn assert_is_of_5_to_64_ms(percentile: f64) {
    assert!((0.005..2.0).contains(&percentile), "{percentile}");
}

fn without_numbers(line: &str) -> String {
    line.replace(|character: char| character.is_ascii_digit(), "")
}

/// A reader in a directory that contains only the repository. tallyd is on the path, and free ports replace the ports
/// on the page.
struct Reader {
    directory: TempDir,
    statsd: SocketAddr,
    page: SocketAddr,
    prometheus: SocketAddr,
}

impl Reader {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_MANIFEST_DIR"), directory.path().join("tallyd")).unwrap();
        let [statsd, page, prometheus] = [(); 3].map(|()| free_address());
        Self { directory, statsd, page, prometheus }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a block of the page with other ports, and with scrapes every second.
    fn shown(&self, info: &str) -> String {
        let mut block = PAGE.block(info).trim_end().replace("scrape_interval: 10s", "scrape_interval: 1s");
        for (port, own) in [("8125", self.statsd), ("9102", self.page), ("9090", self.prometheus)] {
            block = block.replace(port, &own.port().to_string());
        }
        block
    }

    /// Writes a block into a file.
    fn write(&self, name: &str, info: &str) {
        fs::write(self.path(name), self.shown(info)).unwrap();
    }

    fn bash(&self, directory: &str, script: &str) -> Command {
        let mut bash = Command::new("bash");
        without_variables_except_cargos(&mut bash).args(["-ec", script]).current_dir(self.path(directory));
        bash.env("PATH", path_with_tallyd())
            // The test keeps this directory, so that cargo builds the dependencies only once.
            .env("CARGO_TARGET_DIR", Path::new(&tallyd_path()).with_file_name("../tutorial"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("TALLYD_FLUSH__INTERVAL", "1s")
            .env("TALLYD_LISTENERS__UDP__BIND", self.statsd.to_string())
            .env("TALLYD_EXPORTERS__PROMETHEUS__PORT", self.page.port().to_string())
            .env("TALLYD_CLIENT_STATSD_ADDRESS", self.statsd.to_string());
        bash
    }

    /// Runs a command. Returns its standard output.
    fn run(&self, directory: &str, script: &str) -> String {
        let output = self.bash(directory, script).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Starts a command in the background.
    fn start(&self, directory: &str, script: &str) -> Running {
        let mut bash = self.bash(directory, &format!("exec {script}"));
        Running::start(bash.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Sends a query to Prometheus with promtool.
    fn query(&self, kind: &str, expression: &str) -> String {
        self.run("", &format!("promtool query {kind} http://{} '{expression}'", self.prometheus))
    }
}
