//! What about thirty client libraries put on the wire, and that tallyd takes it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tallyd::aggregate::{AggregationOptions, IngestCounts, Shard, SharedState};
use tallyd::protocol::RejectReason;

/// A row has what a client sends as datagrams under `lines`, one character a byte.
const ROWS: &str = include_str!("data/clients.jsonl");

/// Rows, and lines in them; what is lost from the file shows here.
const CLIENTS: usize = 78;
const LINES: usize = 451;

/// Lines that are wrong by the protocol, whoever sends them, and why. One that is taken must not stand here.
const WRONG: [(&str, RejectReason, &str); 20] = [
    ("_e{0,0}:|", RejectReason::BadEvent, "an event without title"),
    ("_sc||0", RejectReason::BadServiceCheck, "a check without name"),
    (
        "_sc|$name|$status",
        RejectReason::BadServiceCheck,
        "a template of the client's tests, filled in by nobody",
    ),
    ("gt:nan|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("gt:inf|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("gt:True|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("my.prefix.mygauge:NaN|g", RejectReason::BadValue, NOT_A_NUMBER),
    ("app.x:--1|c|@1.0", RejectReason::BadValue, "gunicorn puts a minus before a value that has one"),
    ("Statsd: foobar:1|c", RejectReason::BadValue, "what the client logs, not what it sends"),
    (":some string value|s", RejectReason::EmptyName, "the client looks at no name"),
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
const NOT_A_NUMBER: &str = "a result must be finite and mean what it says";
const ABOVE_ONE: &str = "a rate is a probability; what was sent more often than it happened is unknown";

#[test]
fn metrics_that_clients_send_are_taken_unless_the_protocol_refuses_them() {
    assert_taken(|line| !is_event_or_check(line));
}

#[test]
fn events_and_service_checks_that_clients_send_are_taken_unless_the_protocol_refuses_them() {
    assert_taken(is_event_or_check);
}

#[test]
fn lines_that_the_protocol_refuses_are_among_those_that_clients_send() {
    let datagrams = datagrams();
    let sent: Vec<_> = datagrams.iter().flat_map(|datagram| lines(&datagram.bytes)).collect();
    let clients: BTreeSet<_> = datagrams.iter().map(|datagram| &datagram.id).collect();
    assert_eq!((clients.len(), sent.len()), (CLIENTS, LINES));
    for (line, ..) in WRONG {
        assert!(sent.contains(&line.as_bytes()), "nobody sends {line}");
    }
}

/// Each datagram in which such a line stands counts as its lines must.
fn assert_taken(is_meant: impl Fn(&[u8]) -> bool) {
    let mut differing = Vec::new();
    for datagram in datagrams() {
        let lines: Vec<_> = lines(&datagram.bytes).collect();
        if !lines.iter().any(|line| is_meant(line)) {
            continue;
        }
        let mut expected: Vec<_> = lines.iter().filter_map(|line| reason_to_refuse(line)).collect();
        expected.sort_unstable();
        let tally = recorded(&datagram.bytes);
        let rejected = rejected(&tally);
        if tally.lines != lines.len() as u64 || rejected != expected || tally.refused.iter().any(|&n| n > 0) {
            let text = datagram.bytes.escape_ascii();
            differing
                .push(format!("{}: {text}\n  rejected {rejected:?}, expected {expected:?}", datagram.id));
        }
    }
    assert!(differing.is_empty(), "{} datagrams:\n{}", differing.len(), differing.join("\n"));
}

struct Datagram {
    /// The client's row and name.
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

fn reason_to_refuse(line: &[u8]) -> Option<&'static str> {
    WRONG.iter().find(|(wrong, ..)| wrong.as_bytes() == line).map(|(_, reason, _)| reason.name())
}

/// What a tallyd that knows no series yet counts of a datagram.
fn recorded(datagram: &[u8]) -> IngestCounts {
    let parameters = AggregationOptions { max_series: 100, ..AggregationOptions::default() };
    let mut shard = Shard::new(SharedState::new(parameters));
    shard.record(datagram);
    shard.tally().clone()
}

/// The reasons for which lines were rejected, one a line.
fn rejected(tally: &IngestCounts) -> Vec<&'static str> {
    let counted = RejectReason::ALL.iter().zip(tally.rejected);
    let mut reasons: Vec<_> =
        counted.flat_map(|(reason, lines)| std::iter::repeat_n(reason.name(), lines as usize)).collect();
    reasons.sort_unstable();
    reasons
}
