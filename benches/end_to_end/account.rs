//! The account of a run: what was sent, and what tallyd says became of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Failure;

/// tallyd's own counters, summed over all intervals and tags.
#[derive(Debug, Default)]
pub(crate) struct Telemetry(BTreeMap<String, f64>);

impl Telemetry {
    pub(crate) fn add(&mut self, row: &Value) {
        if let (Some("counter"), Some(name), Some(value)) =
            (row["type"].as_str(), row["name"].as_str(), row["value"].as_f64())
        {
            *self.0.entry(name.to_owned()).or_default() += value;
        }
    }

    /// Lines received.
    pub(crate) fn lines(&self) -> u64 {
        self.count("tallyd.lines")
    }

    fn count(&self, name: &str) -> u64 {
        // Sums of counts, exact below 2^53.
        self.0.get(name).map_or(0, |&sum| sum as u64)
    }

    /// Fails if anything that was sent is neither in the results nor in a drop counter. Every line that was sent holds
    /// one valid sample.
    pub(crate) fn check(&self, datagrams_sent: u64, lines_a_datagram: usize) -> Result<(), Failure> {
        let received = self.count("tallyd.datagrams");
        let dropped = self.count("tallyd.datagrams_dropped");
        let lines = self.lines();
        let samples = self.count("tallyd.samples");
        let laws = [
            ("datagrams sent = received + dropped", datagrams_sent, received + dropped),
            ("lines received = lines counted", received * lines_a_datagram as u64, lines),
            ("lines = samples", lines, samples),
            ("datagrams truncated = 0", 0, self.count("tallyd.datagrams_truncated")),
            ("lines rejected = 0", 0, self.count("tallyd.lines_rejected")),
            ("samples refused = 0", 0, self.count("tallyd.series_refused")),
            ("snapshots dropped = 0", 0, self.count("tallyd.snapshots_dropped")),
        ];
        let broken = laws.iter().filter(|(_, left, right)| left != right);
        let broken: Vec<_> = broken
            .map(|&(law, left, right)| {
                format!("{law}: {left} is not {right}, {:+}", i128::from(right) - i128::from(left))
            })
            .collect();
        if broken.is_empty() {
            Ok(())
        } else {
            Err(format!("the account is wrong: {}", broken.join("; ")).into())
        }
    }
}
