//! Sends requests of OpenTelemetry's protocol over HTTP.

use prost::Message;

use super::encode::{LOGS, METRICS};
use super::message::Answer;
use crate::deliver::{Batch, Failure, HttpClient, Receipt, Transport};

/// Sends metrics and events to one collector.
#[derive(Debug)]
pub(crate) struct OtlpTransport {
    metrics: HttpClient,
    logs: HttpClient,
}

impl OtlpTransport {
    /// Creates a transport. The clients have the URLs for metrics and for log records.
    pub(crate) fn new(metrics: HttpClient, logs: HttpClient) -> Self {
        Self { metrics, logs }
    }
}

impl Transport for OtlpTransport {
    fn send(&mut self, batch: &Batch) -> Result<Receipt, Failure> {
        let client = match batch.body.first() {
            Some(&METRICS) => &self.metrics,
            Some(&LOGS) => &self.logs,
            _ => {
                let reason = "tallyd cannot read its own queue".to_owned();
                return Ok(Receipt { refused: batch.points, reason });
            }
        };
        let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
        let answer = client.post(&headers, &batch.body[1..])?;
        let receipt = answer.outcome(batch.points)?;
        // A server can take a part.
        let partial = Answer::decode(&*answer.body).ok().and_then(|answer| answer.partial_success);
        Ok(match partial {
            Some(partial) if receipt.refused == 0 && partial.rejected > 0 => {
                Receipt { refused: partial.rejected as u64, reason: partial.error_message }
            }
            _ => receipt,
        })
    }
}
