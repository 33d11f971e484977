//! Tests the laws that hold for any stream of lines, with a plain model and with examples.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tallyd::aggregate::{AggregationOptions, Datagram};
use tallyd::flush::{IdleReporting, IntervalResults, ReloadableSettings};
use tallyd::model::{Kind, Memory, Origin, Percentile, Policies, Policy, Rows, Statistics, Value};
use tallyd::resolve::{Excess, Limits, OverflowLimit, RefuseReason, ResolveOptions};

use crate::model::{Model, State, nearest_rank, without_absorbed};
use crate::pipeline::Pipeline;

const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// Returns settings with some percentiles and these lifetimes of idle series.
fn settings(expire_after: [Duration; 6]) -> ReloadableSettings {
    let percentiles = PERCENTILES.into_iter().filter_map(Percentile::new).collect();
    let statistics = Statistics { percentiles, ..Statistics::default() };
    let policy = Policy { statistics, expire_after, ..Policy::default() };
    let limits = Limits { series: 10_000, ..Limits::default() };
    ReloadableSettings { policies: Policies::new(vec![policy]), limits, ..ReloadableSettings::default() }
}

/// Returns a pipeline whose idle series live for an hour.
fn pipeline(receivers: usize) -> Pipeline {
    pipeline_with(receivers, AggregationOptions::default())
}

fn pipeline_with(receivers: usize, options: AggregationOptions) -> Pipeline {
    Pipeline::new(receivers, options, settings([Duration::from_hours(1); 6]))
}

/// Returns a pipeline with one receiver and this limit on series.
fn pipeline_of(series: usize, expire_after: [Duration; 6]) -> Pipeline {
    let limits = Limits { series, ..Limits::default() };
    let settings = ReloadableSettings { limits, ..settings(expire_after) };
    Pipeline::new(1, AggregationOptions::default(), settings)
}

const fn seconds(count: u64) -> [Duration; 6] {
    [Duration::from_secs(count); 6]
}

/// Generates lines whose values and rates have exact sums, so that every order of addition gives the same bits.
fn line() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-c]", "[a-c]\\.[x-z]"];
    let number = (-2000_i32..2000).prop_map(|quarters| format!("{}", f64::from(quarters) / 4.0));
    let rate = prop_oneof![4 => Just(""), 1 => Just("|@0.5"), 1 => Just("|@0.25"), 1 => Just("|@0.125")];
    let tags = prop_oneof![
        3 => Just(""),
        1 => Just("|#k:1"),
        1 => Just("|#k:1,j:2"),
        1 => Just("|#j:2,k:1"),
        1 => Just("|#j:2|#k:1,"),
        1 => Just("|#k:1|c:box"),
    ];
    let section = prop_oneof![8 => Just(""), 1 => Just("|T1656581400"), 1 => Just("|"), 1 => Just("|x:y"), 1 => Just("\r")];
    let scalar = (name.clone(), number.clone(), "c|g|ms|h|d|kv|m", rate, tags.clone(), section.clone())
        .prop_map(|(name, number, kind, rate, tags, section)| {
            format!("{name}:{number}|{kind}{rate}{tags}{section}")
        });
    let delta = (name.clone(), "[+-][1-9]", tags.clone()).prop_map(|(n, v, t)| format!("{n}:{v}|g{t}"));
    let set =
        (name.clone(), "[a-f:]{1,2}", tags, section).prop_map(|(n, m, t, s)| format!("{n}:{m}|s{t}{s}"));
    let packed = (name.clone(), proptest::collection::vec(number.clone(), 2..6), "c|ms|d|g")
        .prop_map(|(name, values, kind)| format!("{name}:{}|{kind}", values.join(":")));
    let legacy =
        (name.clone(), number.clone(), number.clone()).prop_map(|(n, a, b)| format!("{n}:{a}|c:{b}|ms|@0.5"));
    let dialect = (name.clone(), "[,#;]k=[12](,j=3)?|\\[k=[12](:3)?\\]|\\[k=1", number, "c|g|s|ms")
        .prop_map(|(name, tags, value, kind)| format!("{name}{tags}:{value}|{kind}"));
    let inside = (name, "[a-c:\\[\\]]{0,4}").prop_map(|(name, rest)| format!("{name}[{rest}:x|s"));
    let event = ("[a-c]", "p:low|t:error|d:7|#k:1|x")
        .prop_map(|(title, field)| format!("_e{{1,1}}:{title}|b|{field}"));
    let check =
        ("[a-c]", "[0-4]", "h:x|#k:1|m:b|c:d").prop_map(|(n, s, field)| format!("_sc|{n}|{s}|{field}"));
    let wrong = prop_oneof!["[a-c:|@#,0-9.]{0,12}", "a:x\\|c", "b:1\\|zz", ":1\\|c", "c:1\\|c\\|@0"];
    prop_oneof![12 => scalar, 2 => delta, 2 => set, 2 => packed, 1 => legacy, 2 => dialect, 1 => inside, 1 => event, 1 => check, 2 => wrong]
}

/// Generates datagrams of a few lines, each with its receiver.
fn stream() -> impl Strategy<Value = Vec<(String, usize)>> {
    let datagram = proptest::collection::vec(line(), 1..6).prop_map(|lines| lines.join("\n"));
    proptest::collection::vec((datagram, 0_usize..8), 0..60)
}

/// Records the datagrams of a stream in both the pipeline and the model.
fn record(stream: &[(String, usize)], pipeline: &Pipeline, model: &mut Model) {
    for (datagram, receiver) in stream {
        pipeline.record(*receiver, datagram.as_bytes());
        model.record(datagram.as_bytes());
    }
}

fn assert_rows_are(rows: &Rows, model: &Model) {
    let names: Vec<_> = rows.iter().map(|row| row.series).collect();
    assert_eq!(names, model.series.keys().collect::<Vec<_>>());
    for (row, state) in rows.iter().zip(model.series.values()) {
        match (row.value, state) {
            (Value::Counter(got), State::Counter(expected)) | (Value::Gauge(got), State::Gauge(expected)) => {
                assert_eq!(got, expected, "{:?}", row.series);
            }
            (Value::Set(got), State::Set(members)) => {
                assert_eq!(*got, members.len() as f64, "{:?}", row.series);
            }
            (Value::Summary(summary), State::Values(values)) => {
                let weights: f64 = values.iter().map(|(_, weight)| weight).sum();
                let sum: f64 = values.iter().map(|(value, weight)| value * weight).sum();
                assert_eq!((summary.count, summary.sum), (weights, sum), "{:?}", row.series);
                assert_eq!(summary.min, values.iter().map(|pair| pair.0).fold(f64::INFINITY, f64::min));
                assert_eq!(summary.max, values.iter().map(|pair| pair.0).fold(f64::NEG_INFINITY, f64::max));
                let percentiles = PERCENTILES.map(|percent| nearest_rank(values, percent));
                assert_eq!(*summary.percentiles, percentiles, "{:?}", row.series);
            }
            (got, expected) => panic!("{:?}: {got:?} for {expected:?}", row.series),
        }
    }
}

proptest! {
    #[test]
    fn results_equal_the_plain_model_with_any_number_of_receivers(
        intervals in proptest::collection::vec(stream(), 1..4),
    ) {
        for receivers in [1, 2, 4] {
            let mut pipeline = pipeline(receivers);
            let mut model = Model::default();
            for stream in &intervals {
                record(stream, &pipeline, &mut model);
                let results = pipeline.end_interval();
                assert_rows_are(&results.rows, &model);
                model.events.sort();
                prop_assert_eq!(results.events, &*model.events);
                prop_assert_eq!(&without_absorbed(&results.counts), &model.counts);
                model.end();
            }
        }
    }

    /// The generated lines give a metric up to five series with tags.
    #[test]
    fn samples_beyond_the_limit_of_a_metric_are_in_its_overflow_series(
        intervals in proptest::collection::vec(stream(), 1..4),
        max_series_per_metric in 1_usize..4,
    ) {
        let limits = Limits { series_per_metric: max_series_per_metric, ..Limits::default() };
        let settings = ReloadableSettings { limits, ..settings(seconds(3600)) };
        let mut pipeline = Pipeline::new(2, AggregationOptions::default(), settings);
        let mut model = Model { max_series_per_metric: Some(max_series_per_metric), ..Model::default() };
        for stream in &intervals {
            record(stream, &pipeline, &mut model);
            let results = pipeline.end_interval();
            assert_rows_are(&results.rows, &model);
            prop_assert_eq!(&without_absorbed(&results.counts), &model.counts);
            model.end();
        }
    }

    /// The first line makes the pattern known, so tallyd does not parse the second line if its value is plain.
    #[test]
    fn value_means_the_same_on_a_known_and_an_unknown_pattern(
        value in "[-+]?[0-9]?[-+.:e0-9@|]{0,3}",
        kind in "c|g|ms|h|d|s|m|kv",
        section in "(\\|@0\\.5)?(\\|#k:v)?",
    ) {
        let mut pipeline = pipeline(1);
        let mut model = Model::default();
        for value in ["1", &value] {
            let line = format!("a:{value}|{kind}{section}");
            pipeline.record(0, line.as_bytes());
            model.record(line.as_bytes());
        }
        let results = pipeline.end_interval();
        assert_rows_are(&results.rows, &model);
        prop_assert_eq!(&without_absorbed(&results.counts), &model.counts);
    }

    #[test]
    fn every_line_of_any_bytes_is_recorded_or_rejected_for_a_reason(
        datagrams in proptest::collection::vec(proptest::collection::vec(prop_oneof![
            3 => proptest::sample::select(&b"abc:|@#,.0123456789cgmshdTe_\n\r-+"[..]),
            1 => any::<u8>(),
        ], 0..200), 0..20),
    ) {
        let mut pipeline = pipeline(1);
        let mut lines = 0;
        for datagram in &datagrams {
            pipeline.record(0, datagram);
            let is_line = |line: &&[u8]| !line.is_empty() && **line != b"\r"[..];
            lines += datagram.split(|&byte| byte == b'\n').filter(is_line).count() as u64;
        }
        let results = pipeline.end_interval();
        let counts = results.counts;
        prop_assert_eq!(counts.lines, lines);
        prop_assert_eq!(counts.datagrams, datagrams.len() as u64);
        let rejected: u64 = counts.rejected.values().sum();
        let events = counts.events.values().flat_map(|of_priority| of_priority.values());
        let recorded = counts.samples.values().chain(counts.service_checks.values()).chain(events);
        let samples: u64 = recorded.chain(counts.refused.values()).chain([&counts.relay_probes]).sum();
        // A line that is not rejected has at least one sample, or is one event or service check.
        prop_assert!(samples >= lines - rejected);
        prop_assert!(rejected <= lines);
        prop_assert!(samples == 0 || rejected < lines);
    }

    /// Random series come and go, and some expire as time passes. tallyd reuses numbers and forgets line patterns, but
    /// no sample appears under the name of another series.
    #[test]
    fn series_that_expire_and_return_are_never_mixed_up(
        intervals in proptest::collection::vec((proptest::collection::vec((0_u8..30, 0_usize..2), 0..20), 0_u64..40), 1..40),
    ) {
        let mut pipeline = Pipeline::new(2, AggregationOptions::default(), settings(seconds(30)));
        let mut now = Duration::ZERO;
        let mut gauges = BTreeMap::new();
        for (samples, pause) in intervals {
            let mut sent = BTreeMap::new();
            for (id, receiver) in samples {
                let datagram = format!("n{id}:1|c\nn{id}:{id}|g\nn{id}:{id}|ms\nn{id}:{id}|s");
                pipeline.record(receiver, datagram.as_bytes());
                *sent.entry(format!("n{id}")).or_insert(0.0) += 1.0;
                gauges.insert(format!("n{id}"), f64::from(id));
            }
            let results = pipeline.end_interval_at(now);
            now += Duration::from_secs(pause);
            for row in &results.rows {
                let name = row.series.name();
                let count = sent.get(name);
                match row.value {
                    Value::Counter(value) => prop_assert_eq!(Some(value), count),
                    Value::Set(members) => prop_assert_eq!((Some(*members), count.is_some()), (Some(1.0), true)),
                    Value::Summary(summary) => {
                        prop_assert_eq!(Some(&summary.count), count);
                        prop_assert_eq!(format!("n{}", summary.max), name);
                    }
                    Value::Gauge(value) => prop_assert_eq!(Some(value), gauges.get(name)),
                }
            }
            let rows_of = |kind| results.rows.iter().filter(|row| row.series.kind() == kind).count();
            for kind in [Kind::Counter, Kind::Timing, Kind::Set] {
                prop_assert_eq!(rows_of(kind), sent.len());
            }
            prop_assert!(rows_of(Kind::Gauge) >= sent.len());
        }
    }
}

fn value<'a>(results: &'a IntervalResults, name: &str) -> Option<&'a Value> {
    results.rows.iter().find(|row| row.series.name() == name).map(|row| row.value)
}

#[test]
fn sample_is_in_the_interval_that_recorded_it_and_in_no_other() {
    let mut pipeline = pipeline(2);
    for interval in 1..=5_u32 {
        for receiver in 0..2 {
            (0..interval).for_each(|_| pipeline.record(receiver, b"a:1|c\nb:1|ms\nc:x|s"));
        }
        let results = pipeline.end_interval();
        assert_eq!(value(&results, "a"), Some(&Value::Counter(f64::from(2 * interval))));
        assert!(
            matches!(value(&results, "b"), Some(Value::Summary(summary)) if summary.count == f64::from(2 * interval))
        );
        assert_eq!(value(&results, "c"), Some(&Value::Set(1.0)));
    }
    assert!(pipeline.end_interval().rows.is_empty());
}

/// The series do not fit in the CPU cache, so the shard reads ahead. A datagram has more lines than one batch.
#[test]
fn hundred_thousand_series_have_the_values_that_were_sent() {
    const SERIES: usize = 100_000;
    let mut pipeline = pipeline_of(SERIES, seconds(3600));
    for interval in 0..3 {
        let line = |id: usize| match id % 4 {
            0 => format!("n{id}:{}|c", id + interval),
            1 => format!("n{id}:{}|ms", id + interval),
            2 => format!("n{id}:{}|g", id + interval),
            _ => format!("n{id}:{}|s\nn{id}:x|s\nwrong:{id}", id + interval),
        };
        let order: Vec<_> = (0..SERIES).map(|n| n * 7919 % SERIES).collect();
        for ids in order.chunks(100) {
            pipeline.record(0, ids.iter().map(|&id| line(id)).collect::<Vec<_>>().join("\n").as_bytes());
        }
        let results = pipeline.end_interval();
        assert_eq!(results.rows.len(), SERIES);
        for row in &results.rows {
            let id: usize = row.series.name()[1..].parse().unwrap();
            let sent = (id + interval) as f64;
            match row.value {
                Value::Counter(value) | Value::Gauge(value) => assert_eq!(*value, sent),
                Value::Summary(summary) => assert_eq!((summary.count, summary.sum), (1.0, sent)),
                Value::Set(members) => assert_eq!(*members, 2.0),
            }
        }
        assert_eq!(results.counts.rejected.values().sum::<u64>(), SERIES as u64 / 4);
    }
}

#[test]
fn settings_decide_what_is_reported_for_idle_series() {
    for (reports, names) in [(false, &["g"][..]), (true, &["c", "s"])] {
        let idle = IdleReporting { zero_counters: reports, zero_sets: reports, last_gauges: !reports };
        let settings = ReloadableSettings { idle, ..settings(seconds(100)) };
        let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
        pipeline.record(0, b"c:1|c\ng:5|g\ns:x|s\nt:1|ms");
        assert_eq!(pipeline.end_interval().rows.len(), 4);
        let results = pipeline.end_interval();
        assert_eq!(results.rows.iter().map(|row| row.series.name()).collect::<Vec<_>>(), names);
        for row in &results.rows {
            let expected = match row.series.kind() {
                Kind::Counter => Value::Counter(0.0),
                Kind::Set => Value::Set(0.0),
                _ => Value::Gauge(5.0),
            };
            assert_eq!(*row.value, expected);
        }
        // tallyd does not report expired series.
        (1..4).for_each(|round| _ = pipeline.end_interval_at(Duration::from_secs(round * 200)));
        assert!(pipeline.end_interval_at(Duration::from_secs(800)).rows.is_empty());
    }
}

#[test]
fn only_whole_lines_of_a_truncated_datagram_count() {
    let mut pipeline = pipeline(1);
    let truncated = [(&b"a:1|c\na:12"[..], 1000), (b"a:1234|c", 9)];
    let truncated = truncated.map(|(bytes, length)| Datagram { bytes, length });
    pipeline.shards[0].lock().record_all(truncated, &Origin::default());
    let results = pipeline.end_interval();
    assert_eq!(value(&results, "a"), Some(&Value::Counter(1.0)));
    assert_eq!(
        (results.counts.datagrams, results.counts.datagrams_truncated, results.counts.lines),
        (2, 2, 1)
    );
    // The lost lines cannot be counted, but the bytes can.
    assert_eq!((results.counts.bytes, results.counts.datagram_bytes_truncated), (6, 994 + 9));
    assert_eq!(results.counts.lines_truncated, 2);
}

#[test]
fn values_outside_the_range_of_histograms_are_counted() {
    let mut pipeline =
        pipeline_with(2, AggregationOptions { exact_values: 2, ..AggregationOptions::default() });
    pipeline.record(0, b"a:1e300:2:3:4|d\nb:1e300|d");
    pipeline.record(1, b"a:5:-1e300|d");
    assert_eq!(pipeline.end_interval().counts.clamped, 2);
}

#[test]
fn values_are_handed_out_only_if_an_exporter_writes_them_and_while_there_is_memory() {
    let handed_out = |hands_out_values, memory: Memory| {
        let options = AggregationOptions { memory, ..AggregationOptions::default() };
        let settings = ReloadableSettings { hands_out_values, ..settings([Duration::from_hours(1); 6]) };
        let mut pipeline = Pipeline::new(1, options, settings);
        let values: Vec<_> = (1..=100).map(|value| value.to_string()).collect();
        for series in 0..100 {
            pipeline.record(0, format!("t.{series}:{}|ms", values.join(":")));
        }
        let results = pipeline.end_interval();
        let summaries = results.rows.iter().filter_map(|row| match row.value {
            Value::Summary(summary) => Some(summary),
            _ => None,
        });
        summaries.filter(|summary| summary.values.is_some()).count()
    };
    assert_eq!(handed_out(false, Memory::default()), 0);
    assert_eq!(handed_out(true, Memory::default()), 100);
    // The values of a series take about a kilobyte. A snapshot may use half of a tenth of a megabyte for them.
    let some = handed_out(true, Memory::limited(17 << 20));
    assert!((1..80).contains(&some), "{some} series");
}

#[test]
fn sample_with_a_tiny_rate_is_one_update_with_a_large_weight() {
    let mut pipeline = pipeline(1);
    pipeline.record(0, b"a:1|ms|@0.0000001\nb:2|c|@0.0000001");
    let results = pipeline.end_interval();
    assert_eq!(results.counts.samples.values().sum::<u64>(), 2);
    assert!(
        matches!(value(&results, "a"), Some(Value::Summary(summary)) if summary.count == 1e7 && summary.max == 1.0)
    );
    assert_eq!(value(&results, "b"), Some(&Value::Counter(2e7)));
}

/// Each datagram has 56 KB. If the work were quadratic, the times would differ by a factor of hundreds.
#[test]
fn work_for_a_line_is_proportional_to_its_length() {
    let tags = ",k=v".repeat(7_000);
    let plain = format!("a{tags}:1{}|c", ":1".repeat(14_000));
    let of_alternate_types = format!("a{tags}:1|c{}", ":1|g:1|c".repeat(3_500));
    let refused = |last: u8| format!("tallyd.{}{last:02}:1{}|c", "x".repeat(28_000), ":1".repeat(14_000));
    let unclosed = format!("{}:1|c", "[".repeat(56_000));
    let mut pipeline = pipeline(1);
    // The shard watches at most 32 refused names.
    (0..32).for_each(|last| pipeline.record(0, refused(last).as_bytes()));
    let time = |line: &str| {
        let once = |_| {
            let start = Instant::now();
            pipeline.record(0, line.as_bytes());
            start.elapsed()
        };
        (0..3).map(once).min().unwrap_or_default()
    };
    let plain = time(&plain);
    for line in [&of_alternate_types, &refused(31), &unclosed] {
        let took = time(line);
        assert!(took < 30 * plain, "{took:?} against {plain:?} for {}…", &line[..10]);
    }
    let results = pipeline.end_interval();
    assert_eq!(results.counts.refused[RefuseReason::ReservedName], 35 * 14_001);
}

#[test]
fn new_series_beyond_max_series_are_refused_and_known_series_continue() {
    let mut pipeline = pipeline_of(2, seconds(3600));
    pipeline.record(0, b"a:1|c\nb:1|c\nc:1|c\nc:1:2|ms\na:1|c");
    let results = pipeline.end_interval();
    assert_eq!(results.rows.len(), 2);
    assert_eq!(value(&results, "a"), Some(&Value::Counter(2.0)));
    assert_eq!(results.counts.refused[RefuseReason::MaxSeries], 3);
    assert_eq!(results.counts.samples[Kind::Counter], 3);
}

#[test]
fn names_and_tags_take_no_more_memory_than_configured() {
    let limits = Limits { bytes: 1000, ..Limits::default() };
    let settings = ReloadableSettings { limits, ..settings(seconds(3600)) };
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    let long = "x".repeat(500);
    for n in 0..100 {
        pipeline.record(0, format!("a{n}:1|c|#{long}").as_bytes());
    }
    let results = pipeline.end_interval();
    // The first series takes 507 bytes. Then there is room for the overflow series of nine metrics with 25 bytes each,
    // and of ten with 26.
    assert_eq!(results.rows.len(), 1 + 9 + 10);
    assert_eq!(results.counts.overflowed[OverflowLimit::MaxSeriesBytes], 19);
    assert_eq!(results.counts.refused[RefuseReason::MaxSeriesBytes], 80);
}

/// Returns the value of the series with this name and this only tag.
fn tagged_value(results: &IntervalResults, name: &str, tag: (&str, &str)) -> Option<Value> {
    let is_it = |row: &tallyd::model::Row<'_>| row.series.name() == name && row.series.tags().eq([tag]);
    results.rows.iter().find(is_it).map(|row| row.value.clone())
}

const OVERFLOW: (&str, &str) = ("tallyd_overflow", "true");

#[test]
fn overflow_series_sums_counters_keeps_the_last_gauge_and_merges_timings_and_sets() {
    let limits = Limits { series_per_metric: 1, ..Limits::default() };
    let settings = ReloadableSettings { limits, ..settings(seconds(3600)) };
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    for tag in 0..5 {
        let lines = format!(
            "c:2|c|@0.5|#t:{tag}\ng:{tag}|g|#t:{tag}\nt:{tag}:10|ms|#t:{tag}\ns:{tag}|s|#t:{tag}\n_sc|up|{}|#t:{tag}",
            tag % 4
        );
        pipeline.record(0, lines);
    }
    pipeline.record(0, "g:+0.5|g|#t:9\nc:1|c");
    let results = pipeline.end_interval();
    let overflow = |name| tagged_value(&results, name, OVERFLOW);
    assert_eq!(overflow("c"), Some(Value::Counter(16.0)));
    assert_eq!(tagged_value(&results, "c", ("t", "0")), Some(Value::Counter(4.0)));
    assert_eq!(overflow("g"), Some(Value::Gauge(4.5)));
    assert_eq!(overflow("s"), Some(Value::Set(4.0)));
    assert_eq!(overflow("service_check"), Some(Value::Gauge(0.0)));
    let Some(Value::Summary(summary)) = overflow("t") else { panic!("no timing") };
    assert_eq!((summary.count, summary.sum, summary.min), (8.0, 50.0, 1.0));
    let overflowed = results.counts.overflowed[OverflowLimit::MaxSeriesPerMetric];
    assert_eq!(overflowed, 4 + 5 + 8 + 4 + 4);
    assert_eq!(results.counts.refused.values().sum::<u64>(), 0);
    assert_eq!(results.rows.iter().filter(|row| row.series.name() == "c").count(), 3);
}

#[test]
fn idle_series_of_a_full_metric_give_way_after_an_hour_a_few_at_a_time() {
    let limits = Limits { series_per_metric: 20, ..Limits::default() };
    let settings = ReloadableSettings { limits, ..settings([Policy::NEVER; 6]) };
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    let alive_at = |pipeline: &mut Pipeline, minutes: u64, lines: &str| {
        pipeline.record(0, lines);
        let results = pipeline.end_interval_at(Duration::from_mins(minutes));
        let is_own = |tag: &str| tagged_value(&results, "a", ("t", tag)).is_some();
        (results.overview.series, is_own("new"), results.counts.overflowed.values().sum::<u64>())
    };
    let all: Vec<_> = (0..20).map(|tag| format!("a:1|c|#t:{tag}")).collect();
    assert_eq!(alive_at(&mut pipeline, 0, &[&all.join("\n"), "other:1|c"].join("\n")), (21, false, 0));
    // Nothing gives way for its own sake, and nothing before the hour is over.
    assert_eq!(alive_at(&mut pipeline, 59, "a:1|c|#t:new"), (22, false, 1));
    assert_eq!(alive_at(&mut pipeline, 60, "a:1|c|#t:0"), (22, false, 0));
    assert_eq!(alive_at(&mut pipeline, 70, "a:1|c|#t:new"), (22, false, 1));
    // Two of twenty series are announced, dropped at the next flush, and one is replaced.
    assert_eq!(alive_at(&mut pipeline, 71, "a:1|c|#t:new"), (22, false, 1));
    assert_eq!(alive_at(&mut pipeline, 72, "a:1|c|#t:new"), (21, true, 0));
}

#[test]
fn one_metric_cannot_take_the_last_room_for_series() {
    let mut pipeline = pipeline_of(1000, seconds(3600));
    for number in 0..3000 {
        pipeline.record(0, format!("culprit.{}:1|c|#request:{number}", number % 5));
    }
    let victims: Vec<_> = (0..50).map(|number| format!("victim.{}:1|c|#t:{number}", number / 10)).collect();
    pipeline.record(0, victims.join("\n"));
    let results = pipeline.end_interval();
    assert_eq!(results.counts.samples[Kind::Counter], 3050, "nothing is refused");
    let rows_of = |prefix| results.rows.iter().filter(move |row| row.series.name().starts_with(prefix));
    assert_eq!(rows_of("victim.").count(), 50);
    assert_eq!(rows_of("culprit.").count(), 900 + 5, "each culprit has an overflow series");
    assert_eq!(results.counts.overflowed[OverflowLimit::MaxSeries], 2100);
    let sum: f64 = rows_of("culprit.")
        .map(|row| match row.value {
            Value::Counter(sum) => *sum,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(sum, 3000.0);
    let top: Vec<_> = results.talkers.series.iter().collect();
    assert_eq!(top[0], ("culprit.0", 181));
    assert!(top[..5].iter().all(|(name, count)| name.starts_with("culprit.") && *count == 181), "{top:?}");
    assert_eq!(top[5], ("victim.0", 10));
    let excess: Vec<_> = results.excess[Excess::Overflowed].iter().map(|(_, samples)| samples).collect();
    assert_eq!(excess, [420; 5]);
}

#[test]
fn samples_with_long_names_are_refused_and_named() {
    let mut pipeline = pipeline(1);
    let [longest, too_long] = [1024, 1025].map(|length| "x".repeat(length));
    pipeline.record(0, format!("{longest}:1|c|#{too_long}\n{too_long}:1:2|ms\n{too_long}:1|g"));
    let results = pipeline.end_interval();
    assert_eq!(results.rows.len(), 1);
    assert_eq!(results.counts.refused[RefuseReason::NameTooLong], 3);
    assert_eq!(results.excess[Excess::NameTooLong].iter().collect::<Vec<_>>(), [(&*too_long, 3)]);
}

#[test]
fn expired_series_makes_room_for_a_new_one() {
    let mut pipeline = pipeline_of(1, seconds(1));
    pipeline.record(0, b"a:1|c");
    // At the end of the second interval, the series has been idle long enough. It expires at the end of the third.
    (0..3).for_each(|second| _ = pipeline.end_interval_at(Duration::from_secs(second)));
    pipeline.record(0, b"b:1|c\na:1|c");
    let results = pipeline.end_interval_at(Duration::from_secs(3));
    assert_eq!(value(&results, "b"), Some(&Value::Counter(1.0)));
    assert_eq!(value(&results, "a"), None);
    assert_eq!(results.counts.refused[RefuseReason::MaxSeries], 1);
}

#[test]
fn series_that_gets_samples_in_time_never_expires() {
    let mut pipeline = pipeline_of(10, seconds(10));
    for second in 0..60 {
        if second % 5 == 0 {
            pipeline.record(0, b"c:1|c\ng:+1|g\nt:1|ms\ns:x|s");
        }
        pipeline.record(0, b"new:1|c");
        let results = pipeline.end_interval_at(Duration::from_secs(second));
        assert_eq!(results.overview.series, 5);
        assert_eq!(value(&results, "g"), Some(&Value::Gauge((second / 5 + 1) as f64)));
    }
}

#[test]
fn counter_never_expires_by_default() {
    let limits = Limits { series: 10, ..Limits::default() };
    let settings = ReloadableSettings { limits, ..ReloadableSettings::default() };
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    pipeline.record(0, b"c:1|c\ng:1|g");
    let alive = (0..1000).map(|day| pipeline.end_interval_at(Duration::from_hours(24 * day)).overview.series);
    assert_eq!(alive.last(), Some(1));
}

#[test]
fn series_idle_longest_give_way_before_a_new_one_is_refused() {
    for limits in [
        Limits { series: 3, ..Limits::default() },
        // An identity takes 3 bytes: the name, a line feed and the type.
        Limits { bytes: 9, ..Limits::default() },
    ] {
        let settings = ReloadableSettings { limits, ..settings([Policy::NEVER; 6]) };
        let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
        let mut second = 0;
        let mut end = |lines: &str| {
            pipeline.record(0, lines);
            let results = pipeline.end_interval_at(Duration::from_secs(second));
            second += 1;
            let refused: u64 = results.counts.refused.values().sum();
            let names: Vec<_> = results.rows.iter().map(|row| row.series.name().to_owned()).collect();
            (refused, results.overview.series, names.concat())
        };
        assert_eq!(end("a:1|c"), (0, 1, "a".to_owned()));
        assert_eq!(end("b:1|g"), (0, 2, "b".to_owned()));
        assert_eq!(end("c:1|ms"), (0, 3, "bc".to_owned()));
        // Two series had no samples in the latest interval, so two new ones take their room.
        assert_eq!(end("c:1|ms\nd:1|s\ne:1|c"), (0, 5, "bcde".to_owned()));
        // The gauge is announced, but it has samples again. So only the counter gives way.
        assert_eq!(end("b:+1|g\nc:1|ms\nd:1|s\ne:1|c\nf:1|c"), (1, 5, "bcde".to_owned()));
        assert_eq!(end("c:1|ms\nd:1|s\ne:1|c\nf:1|c"), (1, 4, "bcde".to_owned()));
        assert_eq!(end("c:1|ms\nd:1|s\ne:1|c"), (0, 4, "bcde".to_owned()));
        assert_eq!(end("a:7|c\nc:1|ms\nd:1|s\ne:1|c"), (1, 3, "cde".to_owned()));
    }
}

/// The series expires at second 2, which resets the shard.
#[test]
fn each_event_is_reported_once_even_if_the_shards_are_reset() {
    let mut pipeline = pipeline_of(100, seconds(1));
    pipeline.record(0, b"a:1|c");
    for second in 0..6 {
        let title = second.to_string();
        pipeline.record(0, format!("_e{{1,1}}:{title}|x").as_bytes());
        let results = pipeline.end_interval_at(Duration::from_secs(second));
        assert_eq!(results.events.iter().map(|event| &event.title).collect::<Vec<_>>(), [&title]);
    }
}

/// A histogram gets the number of an expired timing.
#[test]
fn series_with_a_reused_number_expires_by_its_own_kind() {
    let mut expire_after = seconds(3600);
    expire_after[Kind::Timing as usize] = Duration::from_secs(1);
    let mut pipeline = pipeline_of(1, expire_after);
    let mut alive = |line: &[u8], seconds: std::ops::Range<u64>| {
        pipeline.record(0, line);
        seconds.map(|second| pipeline.end_interval_at(Duration::from_secs(second)).overview.series).last()
    };
    assert_eq!(alive(b"a:1|ms", 0..3), Some(1));
    assert_eq!(alive(b"b:1|h", 3..9), Some(1));
}

#[test]
fn gauge_with_a_reused_number_starts_from_zero() {
    let mut pipeline = pipeline_of(100, seconds(1));
    pipeline.record(0, b"a:5|g");
    (0..4).for_each(|second| _ = pipeline.end_interval_at(Duration::from_secs(second)));
    pipeline.record(0, b"b:+1|g");
    let results = pipeline.end_interval_at(Duration::from_secs(4));
    assert_eq!(results.rows.len(), 1);
    assert_eq!(value(&results, "b"), Some(&Value::Gauge(1.0)));
}

#[test]
fn names_reserved_for_tallyd_are_refused() {
    let mut pipeline = pipeline(1);
    pipeline.record(0, b"tallyd.lines:5|c\ntallyd:1|c");
    let results = pipeline.end_interval();
    assert_eq!(results.rows.len(), 1);
    assert_eq!(results.counts.refused[RefuseReason::ReservedName], 1);
}

#[test]
fn probes_of_relays_are_neither_recorded_nor_refused_but_counted() {
    let mut pipeline = pipeline(1);
    let probe = b"tallyd.relay_probe:0|c|@0.4739201847562034\n";
    pipeline.record(0, [&probe[..], probe, b"a:1|c\ntallyd.relay_probes:1|c"].concat());
    let results = pipeline.end_interval();
    let counts = &results.counts;
    assert_eq!(results.rows.len(), 1);
    assert_eq!((counts.lines, counts.relay_probes), (4, 2));
    assert_eq!((counts.refused.values().sum::<u64>(), counts.rejected.values().sum::<u64>()), (1, 0));
}

#[test]
fn rates_and_patterns_beyond_the_caches_are_counted_correctly() {
    let mut pipeline = pipeline_of(10, seconds(3600));
    // Each line comes twice, because tallyd does not parse the second line of a pattern.
    for n in (1..=2000).chain(1..=2000) {
        let rate = 1.0 / f64::from(n);
        pipeline.record(0, format!("a:1|c|@{rate}\nb:1|ms|@{rate}").as_bytes());
    }
    for n in 0..70_000 {
        pipeline.record(0, format!("c:1|c|c:container-{n}").as_bytes());
    }
    let results = pipeline.end_interval();
    let Some(Value::Counter(sum)) = value(&results, "a") else { panic!("no counter") };
    assert!((sum / 4_002_000.0 - 1.0).abs() < 1e-9, "{sum}");
    let Some(Value::Summary(summary)) = value(&results, "b") else { panic!("no timing") };
    assert!((summary.count / 4_002_000.0 - 1.0).abs() < 1e-9, "{}", summary.count);
    assert_eq!(value(&results, "c"), Some(&Value::Counter(70_000.0)));
    // The end of the interval has reset the shard, so it learns these patterns again.
    pipeline.record(0, b"c:1|c|c:container-5\na:1|c");
    let results = pipeline.end_interval();
    assert_eq!(value(&results, "c"), Some(&Value::Counter(1.0)));
    assert_eq!(value(&results, "a"), Some(&Value::Counter(1.0)));
}

#[test]
fn prefixes_decide_whether_a_signed_gauge_is_absolute() {
    let resolve =
        ResolveOptions { absolute_gauge_prefixes: vec!["abs.".into()], ..ResolveOptions::default() };
    let mut pipeline = pipeline_with(1, AggregationOptions { resolve, ..AggregationOptions::default() });
    for _ in 0..2 {
        pipeline.record(0, b"abs.a:+5|g\na:+5|g\nk:-3|kv\nabs.b:-2|g|T1\nb:+1|g|T1");
    }
    let results = pipeline.end_interval();
    let gauge = |name| match value(&results, name) {
        Some(Value::Gauge(value)) => *value,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(["abs.a", "a", "k", "abs.b", "b"].map(gauge), [5.0, 10.0, -3.0, -2.0, 2.0]);
}

/// The second line names the gauge that the first line created.
#[test]
fn gauge_of_a_service_check_follows_the_setting_for_signs() {
    let resolve = ResolveOptions { absolute_gauges: true, ..ResolveOptions::default() };
    let mut pipeline = pipeline_with(1, AggregationOptions { resolve, ..AggregationOptions::default() });
    pipeline.record(0, b"_sc|up|2\nservice_check:-1|g|T1|#check:up");
    assert_eq!(value(&pipeline.end_interval(), "service_check"), Some(&Value::Gauge(-1.0)));
}

#[test]
fn sums_that_overflow_stay_finite() {
    let mut pipeline = pipeline(2);
    for _ in 0..3 {
        pipeline.record(0, b"a:1e308|c|@0.01\nb:1e308|ms|@0.01\ng:+1.7e308|g");
        pipeline.record(1, b"c:-1e308|c|@0.01\na:1|c");
    }
    let results = pipeline.end_interval();
    assert_eq!(value(&results, "a"), Some(&Value::Counter(f64::MAX)));
    assert_eq!(value(&results, "c"), Some(&Value::Counter(-f64::MAX)));
    assert_eq!(value(&results, "g"), Some(&Value::Gauge(f64::MAX)));
    let Some(Value::Summary(summary)) = value(&results, "b") else { panic!("no timing") };
    assert!(summary.sum.is_finite() && summary.stddev.is_finite(), "{summary:?}");
    assert_eq!(summary.mean, 1e308);
}
