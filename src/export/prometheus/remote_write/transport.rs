//! Sends requests of remote write, and finds out which version a server understands.

use ureq::http::HeaderMap;

use super::encode::{Version, downgraded, version_of};
use crate::deliver::{Batch, Failure, HttpClient, Receipt, Transport};

/// Sends requests to one server.
#[derive(Debug)]
pub(crate) struct RemoteWriteTransport {
    client: HttpClient,
    /// True once the server has shown that it does not understand version 2.0.
    is_old: bool,
}

const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";

impl RemoteWriteTransport {
    pub(crate) fn new(client: HttpClient) -> Self {
        Self { client, is_old: false }
    }

    pub(super) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Sends a request of version 1.0.
    pub(super) fn send_v1(&self, body: &[u8], points: u64) -> Result<Receipt, Failure> {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        self.client.post(&headers, body)?.outcome(points)
    }

    /// Sends a request of version 2.0. Returns `None` if the server does not understand it. Then it has stored nothing.
    fn send_v2(&self, body: &[u8], points: u64) -> Result<Option<Receipt>, Failure> {
        let headers = [
            ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "2.0.0"),
        ];
        let answer = self.client.post(&headers, body)?;
        let written = written(&answer.headers);
        if answer.status == 415 || (answer.status < 300 && written.is_none()) {
            return Ok(None);
        }
        let Receipt { refused, reason } = answer.outcome(points)?;
        // Even a refusal may have stored a part.
        let refused = written.map_or(refused, |written| points.saturating_sub(written));
        let reason = if refused > 0 && reason.is_empty() {
            format!("it says that it has stored {} of {points} points", points - refused)
        } else {
            reason
        };
        Ok(Some(Receipt { refused, reason }))
    }
}

impl Transport for RemoteWriteTransport {
    fn send(&mut self, batch: &Batch) -> Result<Receipt, Failure> {
        let unreadable =
            || Receipt { refused: batch.points, reason: "tallyd cannot read its own queue".to_owned() };
        match version_of(batch) {
            Some((Version::V1, body)) => self.send_v1(&body, batch.points),
            Some((Version::V2, body)) => {
                if !self.is_old {
                    if let Some(receipt) = self.send_v2(&body, batch.points)? {
                        return Ok(receipt);
                    }
                    tracing::info!("a server does not understand remote write 2.0, and gets 1.0 from now on");
                    self.is_old = true;
                }
                downgraded(&body).map_or_else(|| Ok(unreadable()), |body| self.send_v1(&body, batch.points))
            }
            None => Ok(unreadable()),
        }
    }
}

/// Returns the points that a server of version 2.0 says to have stored.
fn written(headers: &HeaderMap) -> Option<u64> {
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let (samples, histograms) = (number(SAMPLES_WRITTEN), number(HISTOGRAMS_WRITTEN));
    (samples.is_some() || histograms.is_some()).then(|| samples.unwrap_or(0) + histograms.unwrap_or(0))
}
