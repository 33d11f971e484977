//! Sends lines to InfluxDB over HTTP.

use crate::deliver::{Batch, Failure, HttpClient, Receipt, Transport};

/// Sends lines to one server.
#[derive(Debug)]
pub(crate) struct InfluxTransport {
    client: HttpClient,
}

impl InfluxTransport {
    pub(crate) fn new(client: HttpClient) -> Self {
        Self { client }
    }
}

impl Transport for InfluxTransport {
    fn send(&mut self, batch: &Batch) -> Result<Receipt, Failure> {
        let headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Encoding", "gzip")];
        let receipt = self.client.post(&headers, &batch.body)?.outcome(batch.points)?;
        let refused = refused_part(&receipt.reason).map_or(receipt.refused, |part| part.min(batch.points));
        Ok(Receipt { refused, ..receipt })
    }
}

/// Returns how many points InfluxDB has refused if it has stored the others. It says so only in its words:
/// `partial write: field type conflict: … dropped=2`.
fn refused_part(words: &str) -> Option<u64> {
    let (_, partial) = words.split_once("partial write: ")?;
    let (_, number) = partial.rsplit_once("dropped=")?;
    let digits = number.find(|character: char| !character.is_ascii_digit()).unwrap_or(number.len());
    // InfluxDB 1 says 0 for lines that it cannot read.
    number[..digits].parse().ok().filter(|dropped| *dropped > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_write_says_how_many_points_were_refused() {
        let conflict = r#"status 400: {"error":"partial write: field type conflict: input field \"value\" on measurement \"c\" is type float, already exists as type integer dropped=2"}"#;
        assert_eq!(refused_part(conflict), Some(2));
        let unreadable =
            r#"status 400: {"error":"partial write: unable to parse 'x': missing fields dropped=0"}"#;
        assert_eq!(refused_part(unreadable), None);
        assert_eq!(refused_part(r#"status 404: {"error":"database not found: \"d\""}"#), None);
    }
}
