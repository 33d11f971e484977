//! A substitute for Grafana: it asks Prometheus for the values of variables, and fills them into queries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;
use tallyd_harness::http::get;
use tallyd_harness::process::Running;
use tallyd_harness::wait_until;
use tempfile::TempDir;

use crate::scrapers::{ask_api, encode, start_on_free_port, value_of};

/// The text that replaces each variable in queries.
pub(crate) type Chosen = BTreeMap<&'static str, String>;

/// A dashboard, with a Prometheus that answers its queries.
pub(crate) struct Board {
    dashboard: Value,
    prometheus: SocketAddr,
    _running: Running,
    _directory: TempDir,
}

impl Board {
    /// Starts a Prometheus that scrapes itself and these targets every second, over `http` or `https`. Returns after
    /// the first scrape of each.
    pub(crate) fn start(dashboard: Value, targets: &[(&str, SocketAddr)]) -> Self {
        let directory = TempDir::new().unwrap();
        let (running, prometheus) = start_on_free_port(|address| {
            let mut config = format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: all\n  \
                 tls_config: {{insecure_skip_verify: true}}\n  static_configs:\n  - {{targets: ['{address}']}}\n"
            );
            for (scheme, target) in targets {
                writeln!(config, "  - {{targets: ['{target}'], labels: {{__scheme__: {scheme}}}}}").unwrap();
            }
            fs::write(directory.path().join("scrape.yml"), config).unwrap();
            let mut command = Command::new("prometheus");
            command
                .current_dir(directory.path())
                .args(["--config.file=scrape.yml", "--storage.tsdb.path=data", "--log.level=error"])
                .arg(format!("--web.listen-address={address}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            command
        });
        wait_until(|| get(prometheus, "/-/ready").code == 200);
        let board = Self { dashboard, prometheus, _running: running, _directory: directory };
        let up = || ask_api(prometheus, "query?query=up")["result"].as_array().unwrap().len();
        wait_until(|| up() > targets.len());
        board
    }

    /// Returns all panels except rows.
    pub(crate) fn panels(&self) -> impl Iterator<Item = &Value> {
        self.dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
    }

    /// Returns the values that a variable offers: the values of its label, or the parts of them that its regular
    /// expression matches.
    pub(crate) fn offers(&self, variable: &str, chosen: &Chosen) -> Vec<String> {
        let variables = self.dashboard["templating"]["list"].as_array().unwrap();
        let variable = variables.iter().find(|other| other["name"] == variable).unwrap();
        let query = fill_in(variable["query"]["query"].as_str().unwrap(), chosen);
        let arguments = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (selector, label) = arguments.rsplit_once(", ").unwrap();
        let values = ask_api(self.prometheus, &format!("label/{label}/values?match[]={}", encode(selector)));
        let values = values.as_array().unwrap().iter().map(|value| value.as_str().unwrap());
        let regex = variable["regex"].as_str().unwrap_or_default();
        if regex.is_empty() {
            return values.map(str::to_owned).collect();
        }
        let regex = Regex::new(regex.strip_prefix('/').unwrap().strip_suffix('/').unwrap()).unwrap();
        let parts = values.filter_map(|value| {
            let groups = regex.captures(value)?;
            groups.get(1).or_else(|| groups.get(0)).map(|part| part.as_str().to_owned())
        });
        parts.collect()
    }

    /// Returns the labels and values that a query of a panel shows, without `NaN`.
    pub(crate) fn shows(&self, target: &Value, chosen: &Chosen) -> Vec<(Value, f64)> {
        let query = fill_in(target["expr"].as_str().unwrap(), chosen);
        let answer = ask_api(self.prometheus, &format!("query?query={}", encode(&query)));
        let series = answer["result"].as_array().unwrap().iter();
        let values = series.map(|series| (series["metric"].clone(), value_of(series)));
        values.filter(|(_, value)| !value.is_nan()).collect()
    }
}

/// Returns several chosen values as Grafana writes them: a regular expression in a `PromQL` string.
pub(crate) fn any_of(values: &[String]) -> String {
    let escaped: Vec<_> = values.iter().map(|value| regex::escape(value).replace('\\', "\\\\")).collect();
    if let [one] = &escaped[..] { one.clone() } else { format!("({})", escaped.join("|")) }
}

fn fill_in(query: &str, chosen: &Chosen) -> String {
    // Grafana chooses a duration that spans several scrapes.
    let mut query = query.replace("$__rate_interval", "10s");
    for (name, value) in chosen {
        query = query.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    assert!(!query.contains('$'), "{query}");
    query
}
