//! Compares the tables of docs/protocol.md with the parser.

use serde_json::Value as Json;
use strum::VariantArray;
use tallyd::app::explain::{ExplainFormat, Explainer};
use tallyd::model::Named;
use tallyd::protocol::{self, Dialects, Line, Note, RejectReason};
use tallyd_harness::Document;

/// Returns the rows of all tables whose heading begins with this text, split into cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    Document::read("docs/protocol.md").table(heading)
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

fn explain(line: &str) -> Json {
    let explainer = Explainer { format: ExplainFormat::Json, ..Explainer::default() };
    serde_json::from_str(&explainer.explain(line.as_bytes())).unwrap()
}

#[test]
fn each_line_on_the_protocol_page_means_what_the_page_says() {
    let rows = rows("| line | means |");
    assert_eq!(rows.len(), 116, "a row was added or lost");
    for row in rows {
        assert_eq!(in_words(&explain(code(&row[0]))), row[1], "{}", row[0]);
    }
}

/// Returns a meaning in the notation of the page.
fn in_words(meaning: &Json) -> String {
    if let Some(reason) = meaning["reason"].as_str() {
        return format!("*{reason}*");
    }
    let list = |key: &str| meaning[key].as_array().unwrap().iter();
    let samples = list("samples").map(sample);
    let checks = list("service_checks").map(|check| {
        let mut tags = check["tags"].as_array().unwrap().clone();
        tags.push(serde_json::json!(["check", check["name"]]));
        if check["hostname"].is_string() {
            tags.push(serde_json::json!(["host", check["hostname"]]));
        }
        tags.sort_by_key(ToString::to_string);
        format!("gauge service_check{} = {}", braces(&tags), check["status"])
    });
    let events = list("events").map(|event| {
        let text = |key: &str| event[key].as_str().unwrap().replace('\n', "⏎");
        let tags = event["tags"].as_array().unwrap();
        let tags = if tags.is_empty() { String::new() } else { format!(" {}", braces(tags)) };
        let [title, words, priority, alert] = ["title", "text", "priority", "alert_type"].map(text);
        format!("event \"{title}\" \"{words}\" {priority} {alert}{tags}")
    });
    samples.chain(checks).chain(events).collect::<Vec<_>>().join(", ")
}

fn sample(sample: &Json) -> String {
    let kind = match sample["type"].as_str().unwrap() {
        "c" => "counter",
        "g" => "gauge",
        "ms" => "timing",
        "h" => "histogram",
        "d" => "distribution",
        _ => "set",
    };
    let sign = if sample["delta"] == true { "±" } else { "=" };
    let value = sample["value"].as_f64().map_or(sample["value"].to_string(), |value| value.to_string());
    let tags = braces(sample["tags"].as_array().unwrap());
    let optional = |key: &str, word: &str| match &sample[key] {
        Json::Null => String::new(),
        given => format!(" {word}{}", given.to_string().trim_matches('"')),
    };
    let rate = if sample["rate"] == 1.0 { String::new() } else { optional("rate", "@") };
    let [time, origin] = [optional("timestamp", "at "), optional("container_id", "from ")];
    format!("{kind} {}{tags} {sign} {value}{rate}{time}{origin}", sample["name"].as_str().unwrap())
}

fn braces(tags: &[Json]) -> String {
    let tag = |tag: &Json| match (tag[0].as_str().unwrap(), tag[1].as_str().unwrap()) {
        (key, "") => key.to_owned(),
        (key, value) => format!("{key}:{value}"),
    };
    let tags: Vec<_> = tags.iter().map(tag).collect();
    if tags.is_empty() { String::new() } else { format!("{{{}}}", tags.join(",")) }
}

#[test]
fn protocol_page_has_each_reason_with_a_line_rejected_for_it() {
    let rows = rows("| reason | example |");
    let names: Vec<_> = rows.iter().map(|row| code(&row[0])).collect();
    let reasons: Vec<_> = RejectReason::VARIANTS.iter().copied().map(Named::name).collect();
    assert_eq!(names, reasons);
    for row in rows.iter().filter(|row| !row[1].is_empty()) {
        let line = code(&row[1]).replace('␀', "\0");
        assert_eq!(explain(&line)["reason"], code(&row[0]), "{line}");
    }
}

#[test]
fn protocol_page_has_each_note_with_a_line_that_gets_it() {
    let rows = rows("| note | example |");
    let names: Vec<_> = rows.iter().map(|row| code(&row[0])).collect();
    let notes: Vec<_> = Note::VARIANTS.iter().copied().map(Named::name).collect();
    assert_eq!(names, notes);
    for row in rows.iter().filter(|row| !row[1].is_empty()) {
        let notes = match protocol::parse(code(&row[1]).as_bytes(), Dialects::ALL).unwrap() {
            Line::Metric(metric) => metric.notes(),
            Line::Event(event) => event.notes,
            Line::ServiceCheck(check) => check.notes,
        };
        assert_eq!(notes.iter().map(Named::name).collect::<Vec<_>>(), [code(&row[0])], "{}", row[1]);
    }
}
