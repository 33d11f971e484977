//! Parses, records, flushes and renders a datagram.
//!
//! The target checks that nothing panics and that every line is counted. The parser must agree with the plain parser.
//! Cached line patterns must give the same results as new line patterns. The output must be well formed.
#![no_main]
#![allow(dead_code, reason = "the tests use the rest of their modules")]

#[path = "../../tests/in_process/model.rs"]
mod model;
#[path = "../../tests/in_process/pipeline.rs"]
mod pipeline;
#[path = "../../tests/in_process/plain.rs"]
mod plain;
#[path = "../../tests/harness/strict.rs"]
mod strict;

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use model::Model;
use pipeline::Pipeline;
use serde_json::Value as Json;
use strum::VariantArray;
use tallyd::aggregate::AggregationOptions;
use tallyd::app::explain::{ExplainFormat, Explainer};
use tallyd::export::prometheus::{self, Naming, Totals};
use tallyd::flush::{IntervalResults, ReloadableSettings};
use tallyd::model::{Exposition, Percentile, Policies, Policy, Statistics};
use tallyd::protocol;
use tallyd::resolve::Limits;

fuzz_target!(|datagram: &[u8]| {
    // tallyd refuses samples with names that begin with `tallyd.`. The model does not know this rule.
    if datagram.len() > 65_507 || datagram.windows(7).any(|bytes| bytes == b"tallyd.") {
        return;
    }
    for line in protocol::lines(datagram) {
        compare_with_plain_parser(line);
    }
    let statistics = Statistics {
        percentiles: [50.0, 99.9].into_iter().filter_map(Percentile::new).collect(),
        bounds: vec![0.1, 1.0],
        ..Statistics::default()
    };
    let policy = Policy { statistics, exposition: Exposition::Histogram, ..Policy::default() };
    let options = AggregationOptions { exact_values: 4, exact_members: 4, ..AggregationOptions::default() };
    // The model does not know the limit of names.
    let limits = Limits { name: usize::MAX, ..Limits::default() };
    let policies = Policies::new(vec![policy]);
    let settings = ReloadableSettings { policies, limits, ..ReloadableSettings::default() };
    let mut pipeline = Pipeline::new(1, options, settings);
    let mut model = Model::default();
    let mut totals = Totals::new(Naming::Prometheus).with_utf8_names(true);
    // In the second interval, all line patterns are cached.
    for _ in 0..2 {
        pipeline.record(0, datagram);
        model.record(datagram);
        let results = pipeline.end_interval();
        assert_agrees_with_model(&results, &mut model);
        model.end();
        let snapshot = results.into_snapshot(SystemTime::UNIX_EPOCH, Duration::from_secs(10));
        _ = totals.add(&snapshot);
        prometheus::Format::VARIANTS.iter().for_each(|&format| {
            let page = page(&totals, format);
            let text = || std::str::from_utf8(&page).expect("text");
            match format {
                prometheus::Format::Text => assert_eq!(strict::check(text()), Ok(())),
                prometheus::Format::OpenMetrics => assert_is_exposition(text()),
                prometheus::Format::TextUtf8 => assert_eq!(strict::check_utf8(text()), Ok(())),
                prometheus::Format::OpenMetricsUtf8 => assert!(text().ends_with("# EOF\n")),
                prometheus::Format::Protobuf | prometheus::Format::ProtobufUtf8 => {}
            }
        });
    }
});

fn compare_with_plain_parser(line: &[u8]) {
    let explainer = Explainer { max_line: usize::MAX, format: ExplainFormat::Json, ..Explainer::default() };
    let mut got: Json = serde_json::from_str(&explainer.explain(line)).expect("an object");
    got.as_object_mut().expect("an object").remove("column");
    assert_eq!(got, plain::meaning(line, plain::Dialects::default()), "{}", line.escape_ascii());
    // The text format must not panic, either.
    _ = Explainer { format: ExplainFormat::Text, ..explainer }.explain(line);
}

fn assert_agrees_with_model(results: &IntervalResults, model: &mut Model) {
    let series: Vec<_> = results.rows.iter().map(|row| row.series).collect();
    assert_eq!(series, model.series.keys().collect::<Vec<_>>());
    model.events.sort();
    assert_eq!(results.events, model.events);
    // The model does not clamp values.
    let mut counts = model::without_absorbed(&results.counts);
    counts.clamped = 0;
    assert_eq!(counts, model.counts);
}

fn page(totals: &Totals, format: prometheus::Format) -> Vec<u8> {
    let mut page = Vec::new();
    let Ok(()) = format.render(totals, |piece| -> Result<(), std::convert::Infallible> {
        page.extend_from_slice(piece);
        Ok(())
    });
    page
}

/// Asserts that every line is a comment or `name{labels} value`, and that no series occurs twice.
fn assert_is_exposition(page: &str) {
    let mut seen = std::collections::HashSet::new();
    for line in page.split_terminator('\n').filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        assert!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'),
            "{line}"
        );
        assert!(seen.insert(series), "twice: {line}");
    }
}
