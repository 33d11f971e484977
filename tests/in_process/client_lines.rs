//! Tests that tallyd accepts the lines that about thirty client libraries send.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tallyd::aggregate::{AggregationOptions, IngestCounts};
use tallyd::flush::ReloadableSettings;
use tallyd::model::Named;
use tallyd::protocol::RejectReason;

use crate::pipeline::Pipeline;

/// Each row has datagrams that a client sends. They are in `lines`, with one character per byte.
const ROWS: &str = include_str!("../data/clients.jsonl");

/// The expected numbers of rows and lines, so that none can get lost.
const CLIENTS: usize = 78;
const LINES: usize = 451;

/// The lines that tallyd must reject, each with the reason and a remark.
const WRONG: [(&str, RejectReason, &str); 21] = [
    ("_e{0,0}:|", RejectReason::BadEvent, "an event without title"),
    ("_sc||0", RejectReason::BadServiceCheck, "a check without name"),
    (
        "_sc|$name|$status",
        RejectReason::BadServiceCheck,
        "a template in the client's tests that nothing fills in",
    ),
    ("gt:nan|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("gt:inf|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("gt:True|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("my.prefix.mygauge:NaN|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("app.x:--1|c|@1.0", RejectReason::BadValue, "gunicorn puts a minus sign before a negative value"),
    ("Statsd: foobar:1|c", RejectReason::BadValue, "the client logs this and does not send it"),
    (":some string value|s", RejectReason::EmptyName, "the client does not check names"),
    (
        "prefix.some.key:44:45:46|d|@0.000000000000000000001",
        RejectReason::BadRate,
        "such a weight would hide all other samples of the sum",
    ),
    ("counter:1|c|@1.1", RejectReason::BadRate, ABOVE_ONE),
    ("counter:1337|c|@12.2|#tag1:true,tag2", RejectReason::BadRate, ABOVE_ONE),
    ("decrement:-1|c|@1.1", RejectReason::BadRate, ABOVE_ONE),
    ("decrement:-1|c|@12.2|#tag1:true,tag2", RejectReason::BadRate, ABOVE_ONE),
    ("histogram:42|h|@1.1", RejectReason::BadRate, ABOVE_ONE),
    ("histogram:42|h|@1.1|#tag1:true,tag2", RejectReason::BadRate, ABOVE_ONE),
    ("someevent:999|ms|@1.1", RejectReason::BadRate, ABOVE_ONE),
    ("someevent:999|ms|@1.1|#tag1:true,tag2", RejectReason::BadRate, ABOVE_ONE),
    ("distribution:42|d|@1.1", RejectReason::BadRate, ABOVE_ONE),
    ("distribution:42|d|@1.1|#tag1:true,tag2", RejectReason::BadRate, ABOVE_ONE),
];
const NOT_A_NUMBER: &str = "a value must be a finite number";
const ABOVE_ONE: &str = "a rate is a probability, so it cannot exceed 1";

#[test]
fn metrics_of_clients_are_accepted_unless_the_protocol_rejects_them() {
    assert_accepted(|line| !is_event_or_check(line));
}

#[test]
fn events_and_checks_of_clients_are_accepted_unless_the_protocol_rejects_them() {
    assert_accepted(is_event_or_check);
}

#[test]
fn each_line_that_is_listed_as_rejected_comes_from_a_client() {
    let datagrams = datagrams();
    let sent: Vec<_> = datagrams.iter().flat_map(|datagram| lines(&datagram.bytes)).collect();
    let clients: BTreeSet<_> = datagrams.iter().map(|datagram| &datagram.id).collect();
    assert_eq!((clients.len(), sent.len()), (CLIENTS, LINES));
    for (line, ..) in WRONG {
        assert!(sent.contains(&line.as_bytes()), "no client sends {line}");
    }
}

/// Asserts that tallyd accepts or rejects each line as expected, in datagrams with a line for which `is_tested` returns
/// true.
fn assert_accepted(is_tested: impl Fn(&[u8]) -> bool) {
    let mut differing = Vec::new();
    for datagram in datagrams() {
        let lines: Vec<_> = lines(&datagram.bytes).collect();
        if !lines.iter().any(|line| is_tested(line)) {
            continue;
        }
        let mut expected: Vec<_> = lines.iter().filter_map(|line| reason_to_reject(line)).collect();
        expected.sort_unstable();
        let counts = recorded(&datagram.bytes);
        let rejected = rejected(&counts);
        let refused: u64 = counts.refused.values().sum();
        if counts.lines != lines.len() as u64 || rejected != expected || refused > 0 {
            let text = datagram.bytes.escape_ascii();
            differing
                .push(format!("{}: {text}\n  rejected {rejected:?}, expected {expected:?}", datagram.id));
        }
    }
    assert!(differing.is_empty(), "{} datagrams:\n{}", differing.len(), differing.join("\n"));
}

struct Datagram {
    /// The id of the row, and the name of the client.
    id: String,
    bytes: Vec<u8>,
}

fn datagrams() -> Vec<Datagram> {
    let rows = ROWS.lines().map(|row| serde_json::from_str::<Json>(row).unwrap());
    rows.flat_map(|row| {
        let id = format!("{} {}", row["id"].as_str().unwrap(), row["client"].as_str().unwrap());
        let datagrams = row["lines"].as_array().unwrap().clone();
        datagrams.into_iter().map(move |datagram| Datagram {
            id: id.clone(),
            bytes: datagram.as_str().unwrap().chars().map(|byte| u8::try_from(byte).unwrap()).collect(),
        })
    })
    .collect()
}

fn lines(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    datagram.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn is_event_or_check(line: &[u8]) -> bool {
    line.starts_with(b"_e{") || line.starts_with(b"_sc|")
}

fn reason_to_reject(line: &[u8]) -> Option<&'static str> {
    WRONG.iter().find(|(wrong, ..)| wrong.as_bytes() == line).map(|(_, reason, _)| Named::name(*reason))
}

/// Returns the counts of a datagram in a pipeline that knows no series yet.
fn recorded(datagram: &[u8]) -> IngestCounts {
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), ReloadableSettings::default());
    pipeline.record(0, datagram);
    pipeline.end_interval().counts
}

/// Returns the reason for each rejected line, sorted.
fn rejected(counts: &IngestCounts) -> Vec<&'static str> {
    let counted = counts.rejected.iter();
    let mut reasons: Vec<_> = counted
        .flat_map(|(reason, &lines)| std::iter::repeat_n(Named::name(reason), lines as usize))
        .collect();
    reasons.sort_unstable();
    reasons
}
