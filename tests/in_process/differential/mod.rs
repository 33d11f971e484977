//! Compares the parser with the plain parser on generated, mutated and random lines.

mod grammar;
mod mutation;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};
use tallyd::aggregate::AggregationOptions;
use tallyd::app::explain::{ExplainFormat, Explainer};
use tallyd::protocol::{self, Dialect};

use crate::plain::{self, Dialects};
use grammar::generated;
use mutation::{mutated, random};

/// Returns the result of the parser for a line, as `tallyd explain --format json` prints it.
fn real(line: &[u8], dialects: Dialects) -> Json {
    let Dialects { influxdb, librato, signalfx, graphite } = dialects;
    let switches = [
        (Dialect::InfluxDb, influxdb),
        (Dialect::Librato, librato),
        (Dialect::SignalFx, signalfx),
        (Dialect::Graphite, graphite),
    ];
    let explainer = Explainer {
        options: AggregationOptions {
            dialects: protocol::Dialects::of(
                switches.into_iter().filter_map(|(dialect, on)| on.then_some(dialect)),
            ),
            ..AggregationOptions::default()
        },
        max_line: usize::MAX,
        format: ExplainFormat::Json,
        ..Explainer::default()
    };
    serde_json::from_str(&explainer.explain(line)).unwrap()
}

/// Asserts that both parsers agree. If both name the column of an error, they must agree on it, too.
fn assert_same(line: &[u8], dialects: Dialects) -> Result<(), TestCaseError> {
    let mut got = real(line, dialects);
    let column = got.as_object_mut().and_then(|object| object.remove("column"));
    let expected = plain::meaning(line, dialects);
    prop_assert_eq!(got, expected, "{} with {:?}", line.escape_ascii(), dialects);
    if let (Some(column), Some(expected)) = (column, plain::column(line, dialects)) {
        prop_assert_eq!(column, json!(expected), "column in {} with {:?}", line.escape_ascii(), dialects);
    }
    Ok(())
}

fn dialects() -> impl Strategy<Value = Dialects> {
    let some = any::<[bool; 4]>().prop_map(|[influxdb, librato, signalfx, graphite]| Dialects {
        influxdb,
        librato,
        signalfx,
        graphite,
    });
    prop_oneof![3 => Just(Dialects::default()), 1 => some]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80_000))]

    #[test]
    fn parser_agrees_with_the_plain_parser_on_lines_of_the_grammar(line in generated(), dialects in dialects()) {
        assert_same(&line, dialects)?;
    }

    #[test]
    fn parser_agrees_with_the_plain_parser_on_mutated_lines(line in mutated(), dialects in dialects()) {
        // tallyd skips empty lines.
        prop_assume!(!line.is_empty());
        assert_same(&line, dialects)?;
    }

    #[test]
    fn parser_agrees_with_the_plain_parser_on_random_bytes(line in random(), dialects in dialects()) {
        assert_same(&line, dialects)?;
    }
}

/// Fails if the generator no longer reaches a feature, because that feature would then be untested.
#[test]
fn generated_lines_reach_every_feature_and_every_reason() {
    let all = Dialects::default();
    let mut runner = TestRunner::deterministic();
    let strategy = generated();
    let mut reached = BTreeSet::new();
    for _ in 0..4000 {
        let line = strategy.new_tree(&mut runner).unwrap().current();
        let meaning = plain::meaning(&line, all);
        if let Some(reason) = meaning["reason"].as_str() {
            reached.insert(reason.to_string());
            continue;
        }
        let samples = meaning["samples"].as_array().unwrap();
        for sample in samples {
            reached.insert(format!("type {}", sample["type"].as_str().unwrap()));
            let is_text = |key: &str| sample[key].is_string();
            let features = [
                ("delta", sample["delta"] == true),
                ("sampled", sample["rate"] != 1.0),
                ("timed", sample["timestamp"].is_u64()),
                ("container_id", is_text("container_id")),
                ("external_data", is_text("external_data")),
                ("cardinality", is_text("cardinality")),
                ("legacy syntax", sample["type"] != samples[0]["type"]),
                ("packed", samples.len() > 1 && !line.windows(2).any(|pair| pair == b"|c" || pair == b"|g")),
            ];
            reached.extend(
                features.iter().filter(|(_, is_so)| *is_so).map(|(feature, _)| (*feature).to_string()),
            );
        }
        let without = [
            ("influxdb", Dialects { influxdb: false, ..all }),
            ("librato", Dialects { librato: false, ..all }),
            ("signalfx", Dialects { signalfx: false, ..all }),
            ("graphite", Dialects { graphite: false, ..all }),
        ];
        for (dialect, without) in without {
            if plain::meaning(&line, without) != meaning {
                reached.insert(dialect.to_string());
            }
        }
        for event in meaning["events"].as_array().unwrap() {
            reached.insert(format!("event counted in {}", unit_of(&line, event["title"].as_str().unwrap())));
            let features = [
                ("event with a time", event["timestamp"].is_u64()),
                ("event of low priority", event["priority"] == "low"),
                ("event of another type", event["alert_type"] == "success"),
                ("event with tags", event["tags"] != json!([])),
            ];
            reached.extend(
                features.iter().filter(|(_, is_so)| *is_so).map(|(feature, _)| (*feature).to_string()),
            );
        }
        if meaning["service_checks"][0]["message"].is_string() {
            reached.insert("service check with a message".to_string());
        }
    }
    let expected = [
        "empty_name",
        "bad_name",
        "missing_type",
        "unknown_type",
        "bad_value",
        "bad_rate",
        "mixed_tags",
        "bad_event",
        "bad_service_check",
        "type c",
        "type g",
        "type ms",
        "type h",
        "type d",
        "type s",
        "delta",
        "sampled",
        "timed",
        "container_id",
        "external_data",
        "cardinality",
        "legacy syntax",
        "packed",
        "influxdb",
        "librato",
        "signalfx",
        "graphite",
        "event counted in bytes",
        "event counted in characters",
        "event counted in UTF-16",
        "event with a time",
        "event of low priority",
        "event of another type",
        "event with tags",
        "service check with a message",
    ];
    let missing: Vec<_> = expected.iter().filter(|feature| !reached.contains(**feature)).collect();
    assert!(missing.is_empty(), "not reached: {missing:?}");
}

/// Returns the unit in which the client counted, if the title shows it.
fn unit_of(line: &[u8], title: &str) -> &'static str {
    let length: String =
        line[3..].iter().map(|byte| *byte as char).take_while(char::is_ascii_digit).collect();
    let length: usize = length.parse().unwrap();
    let (bytes, characters, utf16) = (title.len(), title.chars().count(), title.encode_utf16().count());
    match () {
        () if title.contains(['\n', '\u{fffd}']) || bytes == characters => "any",
        () if length == bytes => "bytes",
        () if length == utf16 && utf16 != characters => "UTF-16",
        () if length == characters && utf16 != characters => "characters",
        () => "characters or UTF-16",
    }
}
