//! A datagram through parse, record, flush and render: nothing panics, every line is accounted for, the parser agrees
//! with the plain reading, a known form means what an unknown one means, and what comes out is well formed.
#![no_main]
#![allow(dead_code, reason = "the modules of the tests hold more than is used here")]

#[path = "../../tests/model/mod.rs"]
mod model;
#[path = "../../tests/plain/mod.rs"]
mod plain;
#[path = "../../tests/harness/strict.rs"]
mod strict;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use model::Model;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tallyd::aggregate::{AggregationOptions, Shard, SharedState};
use tallyd::app::explain::{Explainer, Format};
use tallyd::export::prometheus::{self, Naming, Totals};
use tallyd::flush::{IdleReporting, IntervalResults, Rotator};
use tallyd::model::{Exposition, Overview, Percentile, Policies, Policy, Snapshot, Statistics};
use tallyd::protocol;

fuzz_target!(|datagram: &[u8]| {
    // Under names of tallyd's own nothing is recorded, which the model does not know.
    if datagram.len() > 65_507 || datagram.windows(7).any(|bytes| bytes == b"tallyd.") {
        return;
    }
    for line in protocol::lines(datagram) {
        compare_with_the_plain_reading(line);
    }
    let statistics = Statistics {
        percentiles: [50.0, 99.9].into_iter().filter_map(Percentile::new).collect(),
        bounds: vec![0.1, 1.0],
        ..Statistics::default()
    };
    let policy = Policy { statistics, form: Exposition::Histogram, ..Policy::default() };
    let parameters =
        AggregationOptions { exact_values: 4, exact_members: 4, ..AggregationOptions::default() };
    let shared = SharedState::new(parameters);
    let shard = Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))));
    let mut cutter =
        Rotator::new(shared, vec![Arc::clone(&shard)], Policies::new(vec![policy]), IdleReporting::default());
    let mut model = Model::default();
    let mut totals = Totals::new(Naming::Prometheus);
    // The second time all forms are known.
    for _ in 0..2 {
        shard.lock().record(datagram);
        model.record(datagram);
        let cut = cutter.cut(Duration::ZERO);
        assert_is_as_the_model_says(&cut, &mut model);
        model.end();
        let snapshot = Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(10),
            policies: cutter.policies(),
            rows: cut.rows().clone(),
            events: cut.events().to_vec(),
            overview: Overview::default(),
        };
        _ = totals.add(&snapshot);
        prometheus::Format::ALL.into_iter().for_each(|format| {
            let page = page(&totals, format);
            let text = || std::str::from_utf8(&page).expect("text");
            match format {
                prometheus::Format::Text => assert_eq!(strict::check(text()), Ok(())),
                prometheus::Format::OpenMetrics => assert_is_a_page(text()),
                prometheus::Format::Protobuf => {}
            }
        });
    }
});

fn compare_with_the_plain_reading(line: &[u8]) {
    let explainer = Explainer { max_line: usize::MAX, format: Format::Json, ..Explainer::default() };
    let mut got: Json = serde_json::from_str(&explainer.explain(line)).expect("an object");
    got.as_object_mut().expect("an object").remove("column");
    assert_eq!(got, plain::meaning(line, plain::Dialects::default()), "{}", line.escape_ascii());
    // Must not panic, either.
    _ = Explainer { format: Format::Text, ..explainer }.explain(line);
}

fn assert_is_as_the_model_says(cut: &IntervalResults, model: &mut Model) {
    let series: Vec<_> = cut.rows().iter().map(|row| row.series).collect();
    assert_eq!(series, model.series.keys().collect::<Vec<_>>());
    model.events.sort();
    assert_eq!(cut.events(), model.events);
    // The model knows no range beyond which values are clamped.
    let mut tally = cut.tally().clone();
    tally.clamped = 0;
    assert_eq!(tally, model.tally);
}

fn page(totals: &Totals, format: prometheus::Format) -> Vec<u8> {
    let mut page = Vec::new();
    let Ok(()) = format.render(totals, |piece| -> Result<(), std::convert::Infallible> {
        page.extend_from_slice(piece);
        Ok(())
    });
    page
}

/// Every line is a comment or `name{labels} value`, and no series stands twice.
fn assert_is_a_page(page: &str) {
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
