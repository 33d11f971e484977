//! Answers for the tests of `tallyd top`, as the API gives them.

use super::state::Top;
use crate::app::ask::answers::Answers;

const STATUS: &str = r#"{
  "version": "0.1.0", "started": "2026-12-01T00:00:00Z", "uptime_seconds": 3725.5,
  "exporters": [
    {"name": "prometheus", "age_seconds": 3.2, "waiting_samples": 0, "failures": 0, "error": null},
    {"name": "textfile", "age_seconds": null, "waiting_samples": 120, "failures": 3, "error": "writing /x/y.prom failed: no space left"}
  ],
  "interval": {
    "time": "2026-12-01T01:02:10Z", "seconds": 10.0, "series": 1200, "lines": 500000, "samples": 500100,
    "losses": [{"kind": "lines_rejected", "by": "bad_value", "count": 3.0}, {"kind": "datagrams_dropped", "by": "udp", "count": 40.0}],
    "drops_known": true, "flush_seconds": 0.0042,
    "memory": {"used": 120000000.0, "max": 400000000.0, "resident": 90000000.0}
  }
}"#;

const TALKERS: &str = r#"{
  "time": "2026-12-01T01:02:10Z", "seconds": 10.0, "sampled": {"lines": 500000, "kept": 2048},
  "names": [{"name": "page.views", "samples": 120394.0, "error": 4000.0}, {"name": "disk", "samples": 10.0, "error": 0}],
  "series": [{"name": "page.views", "count": 900}, {"name": "users", "count": 7}],
  "new": [{"name": "page.views", "count": 12}],
  "rejected": [{"name": "page\u001b[31m", "count": 3}],
  "senders": [
    {"sender": {"address": "10.0.0.7"}, "listener": "udp", "lines": 5000.0, "error": 300.0},
    {"sender": {"pid": 812, "uid": 1000}, "listener": "unix_datagram", "lines": 70.0, "error": 0.0},
    {"sender": null, "listener": "unix_stream", "lines": 1.0, "error": 0.0}
  ]
}"#;

const REJECTED: &str = r#"{
  "lines": [{"time": "2026-12-01T01:02:10Z", "reason": "bad_value", "line": "page.views:one|c", "length": 16, "begin": 0,
             "column": 12, "caret": 11, "listener": "udp", "sender": {"address": "127.0.0.1:52037"}}],
  "quarantined": []
}"#;

/// Returns the answers of a tallyd that has received something.
pub(super) fn answers() -> Answers {
    Answers {
        status: serde_json::from_str(STATUS).unwrap(),
        talkers: serde_json::from_str(TALKERS).unwrap(),
        rejected: serde_json::from_str(REJECTED).unwrap(),
    }
}

/// Returns the state at the start.
pub(super) fn top() -> Top {
    Top::new("http://127.0.0.1:9102".to_owned(), None, answers())
}
