//! Lines from the test suites of twelve other servers, and what tallyd makes of each.

use serde_json::Value as Json;
use tallyd::app::explain::{Explainer, Format};
use tallyd::protocol;

/// A row is a datagram: its bytes as `hex`, and under `tallyd` what each of its lines means, in the form of
/// `tallyd explain`.
const ROWS: &str = include_str!("data/lines.jsonl");

/// Lines that are checked; a row that is lost from the file shows here.
const CHECKED: usize = 468;

/// Lines of which tallyd makes something else than the file says, with the reason.
const DEVIATIONS: [(&str, &str); 0] = [];

#[test]
fn each_line_is_what_the_protocol_makes_of_it() {
    let explainer = Explainer { format: Format::Json, ..Explainer::default() };
    let mut checked = 0;
    let mut wrong = Vec::new();
    for row in ROWS.lines() {
        let row: Json = serde_json::from_str(row).unwrap();
        let id = row["id"].as_str().unwrap();
        let datagram = bytes(row["hex"].as_str().unwrap());
        let lines: Vec<_> = protocol::lines(&datagram).collect();
        let Some(expected) = row["tallyd"].as_array() else { continue };
        assert_eq!(lines.len(), expected.len(), "{id}");
        for (line, expected) in lines.into_iter().zip(expected) {
            checked += 1;
            let got = as_in_the_file(serde_json::from_str(&explainer.explain(line)).unwrap());
            let deviates = DEVIATIONS.iter().any(|(deviating, _)| *deviating == id);
            if (got != *expected) != deviates {
                wrong.push(format!("{id} {}\n  got      {got}\n  expected {expected}", line.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(checked, CHECKED);
}

/// The file tells neither columns nor where a sample comes from.
fn as_in_the_file(mut meaning: Json) -> Json {
    let fields = meaning.as_object_mut().unwrap();
    fields.remove("column");
    for sample in fields.get_mut("samples").and_then(Json::as_array_mut).into_iter().flatten() {
        for origin in ["container_id", "external_data", "cardinality"] {
            sample.as_object_mut().unwrap().remove(origin);
        }
    }
    meaning
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
