//! Asks a server what it really stored of a few points.
//!
//! Some servers answer remote write with success and drop native histograms. So the probe writes a counter and a native histogram,
//! and then looks for both by the server's own query API.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use serde_json::Value;

use super::encode::{RemoteWriteContent, compressed_v1};
use super::message::{Histogram, Label, Sample, TimeSeries, WriteRequest};
use super::transport::RemoteWriteTransport;
use crate::deliver::HttpClient;
use crate::export::prometheus::encode::native_message;
use crate::export::prometheus::families::Distribution;
use crate::model::NativeHistogram;

/// How long a server may take until it shows what it has stored.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the probe waits between two questions.
const PAUSE: Duration = Duration::from_millis(200);

const COUNTER: &str = "tallyd_probe_total";
const HISTOGRAM: &str = "tallyd_probe_seconds";

/// The kinds of points that a server has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbeResult {
    /// Whether it has the value of the counter.
    pub(crate) samples: bool,
    /// Whether it has the native histogram.
    pub(crate) native_histograms: bool,
}

/// Writes points to a server, and asks for them. `content` says which labels they get. `url` is where the server takes remote
/// write.
///
/// # Errors
///
/// Returns the reason if the server refuses the points, or cannot be asked.
pub(crate) fn probe(
    client: HttpClient,
    content: &RemoteWriteContent,
    url: &str,
) -> Result<ProbeResult, String> {
    let query_url = query_url(url).ok_or_else(|| {
        format!("{url} ends neither in /api/v1/write nor in /api/v1/push, so tallyd cannot guess the URL for queries")
    })?;
    // Another probe may have left points a moment ago.
    let id = format!("{:016x}", fastrand::u64(..));
    let transport = RemoteWriteTransport::new(client);
    for series in [counter(content, &id), histogram(content, &id)] {
        let receipt = transport.send_v1(&series, 1).map_err(|failure| failure.reason)?;
        if receipt.refused > 0 {
            return Err(format!("it refuses points: {}", receipt.reason));
        }
    }
    let begin = Instant::now();
    loop {
        let is_there = |name: &str| -> Result<bool, String> {
            let query = format!("{name}{{probe=\"{id}\"}}");
            // VictoriaMetrics hides the latest points unless it is asked like this.
            let parameters = [("query", &*query), ("latency_offset", "1ms"), ("nocache", "1")];
            let answer = transport.client().get(&query_url, &parameters).map_err(|failure| failure.reason)?;
            if answer.status != 200 {
                return Err(format!("{query_url} answers with status {}", answer.status));
            }
            let answer: Value = serde_json::from_slice(&answer.body)
                .map_err(|error| format!("{query_url} does not answer in JSON: {error}"))?;
            Ok(answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty()))
        };
        let result = ProbeResult { samples: is_there(COUNTER)?, native_histograms: is_there(HISTOGRAM)? };
        if (result.samples && result.native_histograms) || begin.elapsed() > PATIENCE {
            return Ok(result);
        }
        thread::sleep(PAUSE);
    }
}

/// Returns the URL for queries of the server that takes remote write at `url`. It knows those of Prometheus, Thanos, Mimir and
/// `VictoriaMetrics`.
fn query_url(url: &str) -> Option<String> {
    let of_prometheus = url.strip_suffix("/api/v1/write").or_else(|| url.strip_suffix("/api/v1/receive"));
    let of_mimir = url.strip_suffix("/api/v1/push").map(|base| format!("{base}/prometheus"));
    let base = of_prometheus.map(str::to_owned).or(of_mimir)?;
    Some(format!("{base}/api/v1/query"))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn counter(content: &RemoteWriteContent, id: &str) -> Bytes {
    let samples = vec![Sample { value: 1.0, timestamp: now() }];
    request(TimeSeries { labels: labels(content, COUNTER, id), samples, histograms: Vec::new() })
}

fn histogram(content: &RemoteWriteContent, id: &str) -> Bytes {
    let native = NativeHistogram::new(3, 0.0, [(1, 1.0)], []);
    let total = Distribution { sum: 1.0, native: Some(Box::new(native)), ..Distribution::default() };
    let message = native_message(&total).expect("it has one");
    let histograms = vec![Histogram::at(now(), message)];
    request(TimeSeries { labels: labels(content, HISTOGRAM, id), samples: Vec::new(), histograms })
}

fn labels(content: &RemoteWriteContent, name: &str, id: &str) -> Vec<Label> {
    let own = [("__name__", name), ("probe", id)];
    let shared = content.labels.iter().map(|(name, value)| (&**name, &**value));
    let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    let mut labels: Vec<_> =
        own.into_iter().chain(shared.filter(|(name, _)| *name != "probe")).map(label).collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

fn request(series: TimeSeries) -> Bytes {
    compressed_v1(&WriteRequest { timeseries: vec![series], metadata: Vec::new() }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_server_has_its_url_for_queries() {
        for (url, expected) in [
            ("http://p:9090/api/v1/write", Some("http://p:9090/api/v1/query")),
            ("http://v:8428/prefix/api/v1/write", Some("http://v:8428/prefix/api/v1/query")),
            ("https://m/api/v1/push", Some("https://m/prometheus/api/v1/query")),
            ("http://t:19291/api/v1/receive", Some("http://t:19291/api/v1/query")),
            ("http://other/write", None),
        ] {
            assert_eq!(query_url(url).as_deref(), expected, "{url}");
        }
    }
}
