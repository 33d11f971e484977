//! Tests what lines from the test suites of twelve other servers mean in tallyd.

use serde_json::Value as Json;
use tallyd::app::explain::{ExplainFormat, Explainer};
use tallyd::protocol;

use crate::plain::{self, Dialects};

/// Each row is a datagram, with its bytes in `hex`. In `tallyd`, it has the meaning of each line as JSON of `tallyd
/// explain`.
const ROWS: &str = include_str!("../data/lines.jsonl");

/// The number of lines with a meaning, so that no row can get lost.
const CHECKED: usize = 468;

/// A datagram of the cases.
struct Case {
    id: String,
    datagram: Vec<u8>,
    /// The meaning of each line.
    meanings: Vec<Json>,
}

fn cases() -> impl Iterator<Item = Case> {
    ROWS.lines().map(|row| {
        let row: Json = serde_json::from_str(row).unwrap();
        Case {
            id: row["id"].as_str().unwrap().to_owned(),
            datagram: bytes(row["hex"].as_str().unwrap()),
            meanings: row["tallyd"].as_array().unwrap().clone(),
        }
    })
}

/// Returns all lines of the cases.
pub(crate) fn lines() -> Vec<Vec<u8>> {
    cases().flat_map(|case| split(&case.datagram)).collect()
}

/// Splits a datagram into its lines, like a receiver.
fn split(datagram: &[u8]) -> Vec<Vec<u8>> {
    let lines = datagram.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Asserts that each line of the cases has the meaning in its row.
fn assert_conforming(meaning: impl Fn(&[u8]) -> Json) {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for Case { id, datagram, meanings } in cases() {
        let lines = split(&datagram);
        assert_eq!(lines.len(), meanings.len(), "{id}");
        for (line, expected) in lines.iter().zip(meanings) {
            checked += 1;
            let got = as_in_the_rows(meaning(line));
            if got != expected {
                wrong.push(format!("{id} {}\n  got      {got}\n  expected {expected}", line.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(checked, CHECKED);
}

/// Removes the fields that the rows do not have: columns, and the origins of samples.
fn as_in_the_rows(mut meaning: Json) -> Json {
    let fields = meaning.as_object_mut().unwrap();
    fields.remove("column");
    for sample in fields.get_mut("samples").and_then(Json::as_array_mut).into_iter().flatten() {
        for origin in ["container_id", "external_data", "cardinality"] {
            sample.as_object_mut().unwrap().remove(origin);
        }
    }
    meaning
}

#[test]
fn parser_agrees_with_each_line_of_the_conformance_cases() {
    let explainer = Explainer { format: ExplainFormat::Json, ..Explainer::default() };
    assert_conforming(|line| serde_json::from_str(&explainer.explain(line)).unwrap());
}

#[test]
fn plain_parser_agrees_with_each_line_of_the_conformance_cases() {
    assert_conforming(|line| plain::meaning(line, Dialects::default()));
}

#[test]
fn datagrams_of_the_conformance_cases_are_split_at_line_feeds() {
    for Case { id, datagram, .. } in cases() {
        assert_eq!(protocol::lines(&datagram).collect::<Vec<_>>(), split(&datagram), "{id}");
    }
}
