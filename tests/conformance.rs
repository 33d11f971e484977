//! Lines from the test suites of twelve other servers, and what tallyd makes of each.

use serde_json::{Value as Json, json};
use tallyd::protocol::{self, Kind, Metric, Reason, Value};

/// A row is a datagram: its bytes as `hex`, and under `tallyd` what each of its lines means.
const ROWS: &str = include_str!("data/lines.jsonl");

/// Lines checked and lines left alone; a row that is lost from the file shows here.
const CHECKED: usize = 439;
const OF_OTHER_DIALECTS: usize = 29;

#[test]
fn each_line_is_what_the_protocol_makes_of_it() {
    let mut checked = 0;
    let mut of_other_dialects = 0;
    let mut wrong = Vec::new();
    for row in ROWS.lines() {
        let row: Json = serde_json::from_str(row).unwrap();
        let datagram = bytes(row["hex"].as_str().unwrap());
        let lines: Vec<_> = protocol::lines(&datagram).collect();
        let Some(expected) = row["tallyd"].as_array() else { continue };
        assert_eq!(lines.len(), expected.len(), "{}", row["id"]);
        for (line, expected) in lines.into_iter().zip(expected) {
            if has_tags_in_its_name(line) {
                of_other_dialects += 1;
                continue;
            }
            checked += 1;
            let got = meaning(line);
            let expected = if is_event_or_check(expected) { unsupported() } else { expected.clone() };
            if got != expected {
                wrong.push(format!(
                    "{} {}\n  got      {got}\n  expected {expected}",
                    row["id"],
                    line.escape_ascii()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((checked, of_other_dialects), (CHECKED, OF_OTHER_DIALECTS));
}

/// Influx, Librato, SignalFx and Graphite tags are not read yet: such a line's tags are a part of its name.
fn has_tags_in_its_name(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':' || byte == b'|').next().unwrap_or_default();
    !line.starts_with(b"_") && name.iter().any(|byte| b",#[;".contains(byte))
}

/// Events and service checks are not taken yet, whatever they say.
fn is_event_or_check(expected: &Json) -> bool {
    let holds = |key: &str| expected[key].as_array().is_some_and(|list| !list.is_empty());
    let reason = expected["reason"].as_str().unwrap_or_default();
    holds("events") || holds("service_checks") || reason == "bad_event" || reason == "bad_service_check"
}

fn unsupported() -> Json {
    json!({"ok": false, "reason": Reason::Unsupported.name()})
}

fn meaning(line: &[u8]) -> Json {
    match protocol::parse(line) {
        Ok(metric) => {
            let samples: Vec<_> = metric.samples().map(|sample| describe(&metric, &sample)).collect();
            json!({"ok": true, "samples": samples, "events": [], "service_checks": []})
        }
        Err(error) => json!({"ok": false, "reason": error.reason().name()}),
    }
}

fn describe(metric: &Metric<'_>, sample: &protocol::Sample<'_>) -> Json {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut tags: Vec<_> = metric.tags().iter().map(|(key, value)| [text(key), text(value)]).collect();
    tags.sort();
    let (value, delta) = match sample.value {
        Value::Number(value) => (json!(value), false),
        Value::Signed(value) => (json!(value), true),
        Value::Member(member) => (json!(text(member)), false),
    };
    let timestamp = metric.timestamp().filter(|_| matches!(sample.kind, Kind::Counter | Kind::Gauge));
    json!({
        "name": metric.name(),
        "type": sample.kind.wire(),
        "value": value,
        "delta": delta,
        "rate": sample.rate.get(),
        "tags": tags,
        "timestamp": timestamp,
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
