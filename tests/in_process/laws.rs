//! The laws that hold whatever is sent, as properties over random streams against a plain model.

mod model;

use std::sync::Arc;
use std::time::Duration;

use model::{Model, State, nearest_rank};
use parking_lot::Mutex;
use proptest::prelude::*;
use tallyd::aggregate::{AggregationOptions, Shard, SharedState};
use tallyd::flush::{IdleReporting, IntervalResults, Rotator};
use tallyd::model::{Kind, Percentile, Policies, Policy, Rows, Statistics, Value};
use tallyd::resolve::RefuseReason;

const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];
const HOUR: Duration = Duration::from_hours(1);

fn parameters() -> AggregationOptions {
    AggregationOptions { max_series: 10_000, ..AggregationOptions::default() }
}

/// Shards that share their series, and what cuts them.
struct Pipeline {
    shards: Vec<Arc<Mutex<Shard>>>,
    cutter: Rotator,
}

impl Pipeline {
    fn new(shards: usize) -> Self {
        Self::with(shards, parameters(), HOUR)
    }

    fn with(shards: usize, parameters: AggregationOptions, expire_after: Duration) -> Self {
        Self::with_idle(shards, parameters, [expire_after; 6], IdleReporting::default())
    }

    fn with_idle(
        shards: usize,
        parameters: AggregationOptions,
        expire_after: [Duration; 6],
        idle: IdleReporting,
    ) -> Self {
        let statistics = Statistics {
            percentiles: PERCENTILES.into_iter().filter_map(Percentile::new).collect(),
            ..Statistics::default()
        };
        let policy = Policy { statistics, expire_after, ..Policy::default() };
        let shared = SharedState::new(parameters);
        let shards: Vec<_> =
            (0..shards).map(|_| Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))))).collect();
        Self { cutter: Rotator::new(shared, shards.clone(), Policies::new(vec![policy]), idle), shards }
    }

    fn record(&self, shard: usize, datagram: &[u8]) {
        self.shards[shard % self.shards.len()].lock().record(datagram);
    }

    fn cut(&mut self) -> IntervalResults {
        self.cutter.cut(Duration::ZERO)
    }
}

/// Values and rates in whose sums nothing is rounded, so that every order of adding gives the same bits.
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
    let old =
        (name.clone(), number.clone(), number.clone()).prop_map(|(n, a, b)| format!("{n}:{a}|c:{b}|ms|@0.5"));
    let dialect = (name.clone(), "[,#;]k=[12](,j=3)?|\\[k=[12](:3)?\\]|\\[k=1", number, "c|g|s|ms")
        .prop_map(|(name, tags, value, kind)| format!("{name}{tags}:{value}|{kind}"));
    let inside = (name, "[a-c:\\[\\]]{0,4}").prop_map(|(name, rest)| format!("{name}[{rest}:x|s"));
    let event = ("[a-c]", "p:low|t:error|d:7|#k:1|x")
        .prop_map(|(title, field)| format!("_e{{1,1}}:{title}|b|{field}"));
    let check =
        ("[a-c]", "[0-4]", "h:x|#k:1|m:b|c:d").prop_map(|(n, s, field)| format!("_sc|{n}|{s}|{field}"));
    let wrong = prop_oneof!["[a-c:|@#,0-9.]{0,12}", "a:x\\|c", "b:1\\|zz", ":1\\|c", "c:1\\|c\\|@0"];
    prop_oneof![12 => scalar, 2 => delta, 2 => set, 2 => packed, 1 => old, 2 => dialect, 1 => inside, 1 => event, 1 => check, 2 => wrong]
}

/// Datagrams of some lines, and the receiver that each arrives at.
fn stream() -> impl Strategy<Value = Vec<(String, usize)>> {
    let datagram = proptest::collection::vec(line(), 1..6).prop_map(|lines| lines.join("\n"));
    proptest::collection::vec((datagram, 0_usize..8), 0..60)
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
    fn every_interval_is_what_the_plain_model_makes_of_it_with_one_two_and_four_receivers(
        intervals in proptest::collection::vec(stream(), 1..4),
    ) {
        for receivers in [1, 2, 4] {
            let mut pipeline = Pipeline::new(receivers);
            let mut model = Model::default();
            for stream in &intervals {
                for (datagram, receiver) in stream {
                    pipeline.record(*receiver, datagram.as_bytes());
                    model.record(datagram.as_bytes());
                }
                let cut = pipeline.cut();
                assert_rows_are(cut.rows(), &model);
                model.events.sort();
                prop_assert_eq!(cut.events(), &*model.events);
                prop_assert_eq!(cut.tally(), &model.tally);
                model.end();
            }
        }
    }

    /// The form is known from the first line, so the second is not parsed if its value is plain.
    #[test]
    fn a_value_means_the_same_whether_or_not_its_form_is_known(
        value in "[-+]?[0-9]?[-+.:e0-9@|]{0,3}",
        kind in "c|g|ms|h|d|s|m|kv",
        section in "(\\|@0\\.5)?(\\|#k:v)?",
    ) {
        let mut pipeline = Pipeline::new(1);
        let mut model = Model::default();
        for value in ["1", &value] {
            let line = format!("a:{value}|{kind}{section}");
            pipeline.record(0, line.as_bytes());
            model.record(line.as_bytes());
        }
        let cut = pipeline.cut();
        assert_rows_are(cut.rows(), &model);
        prop_assert_eq!(cut.tally(), &model.tally);
    }

    #[test]
    fn every_line_is_recorded_or_rejected_for_a_reason_whatever_bytes_arrive(
        datagrams in proptest::collection::vec(proptest::collection::vec(prop_oneof![
            3 => proptest::sample::select(&b"abc:|@#,.0123456789cgmshdTe_\n\r-+"[..]),
            1 => any::<u8>(),
        ], 0..200), 0..20),
    ) {
        let mut pipeline = Pipeline::new(1);
        let mut lines = 0;
        for datagram in &datagrams {
            pipeline.record(0, datagram);
            let is_line = |line: &&[u8]| !line.is_empty() && **line != b"\r"[..];
            lines += datagram.split(|&byte| byte == b'\n').filter(is_line).count() as u64;
        }
        let cut = pipeline.cut();
        let tally = cut.tally();
        prop_assert_eq!(tally.lines, lines);
        prop_assert_eq!(tally.datagrams, datagrams.len() as u64);
        let rejected: u64 = tally.rejected.iter().sum();
        let others = tally.events.as_flattened().iter().chain(&tally.service_checks);
        let samples: u64 = tally.samples.iter().chain(&tally.refused).chain(others).sum();
        // A line that is not rejected holds at least one sample, or is one event or service check.
        prop_assert!(samples >= lines - rejected);
        prop_assert!(rejected <= lines);
        prop_assert!(samples == 0 || rejected < lines);
    }

    /// Random series come and go while time passes in steps that let some of them expire: numbers are given again,
    /// forms are forgotten, and still no sample turns up under another's name.
    #[test]
    fn series_that_expire_and_return_are_never_mixed_up(
        intervals in proptest::collection::vec((proptest::collection::vec((0_u8..30, 0_usize..2), 0..20), 0_u64..40), 1..40),
    ) {
        let mut pipeline = Pipeline::with(2, parameters(), Duration::from_secs(30));
        let mut now = Duration::ZERO;
        let mut gauges = std::collections::BTreeMap::new();
        for (samples, pause) in intervals {
            let mut sent = std::collections::BTreeMap::new();
            for (id, receiver) in samples {
                let datagram = format!("n{id}:1|c\nn{id}:{id}|g\nn{id}:{id}|ms\nn{id}:{id}|s");
                pipeline.record(receiver, datagram.as_bytes());
                *sent.entry(format!("n{id}")).or_insert(0.0) += 1.0;
                gauges.insert(format!("n{id}"), f64::from(id));
            }
            let cut = pipeline.cutter.cut(now);
            now += Duration::from_secs(pause);
            for row in cut.rows() {
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
            let rows_of = |kind| cut.rows().iter().filter(|row| row.series.kind() == kind).count();
            for kind in [Kind::Counter, Kind::Timing, Kind::Set] {
                prop_assert_eq!(rows_of(kind), sent.len());
            }
            prop_assert!(rows_of(Kind::Gauge) >= sent.len());
        }
    }
}

fn value<'a>(cut: &'a IntervalResults, name: &str) -> Option<&'a Value> {
    cut.rows().iter().find(|row| row.series.name() == name).map(|row| row.value)
}

#[test]
fn a_sample_is_in_the_interval_in_which_it_was_recorded_and_in_no_other() {
    let mut pipeline = Pipeline::new(2);
    for interval in 1..=5_u32 {
        for receiver in 0..2 {
            (0..interval).for_each(|_| pipeline.record(receiver, b"a:1|c\nb:1|ms\nc:x|s"));
        }
        let cut = pipeline.cut();
        assert_eq!(value(&cut, "a"), Some(&Value::Counter(f64::from(2 * interval))));
        assert!(
            matches!(value(&cut, "b"), Some(Value::Summary(summary)) if summary.count == f64::from(2 * interval))
        );
        assert_eq!(value(&cut, "c"), Some(&Value::Set(1.0)));
    }
    assert!(pipeline.cut().rows().is_empty());
}

/// More than a cache holds, so that lines are looked at ahead; in datagrams of more lines than are looked at at a time.
#[test]
fn a_hundred_thousand_series_are_each_what_was_sent_of_them() {
    const SERIES: usize = 100_000;
    let parameters = AggregationOptions { max_series: SERIES, ..AggregationOptions::default() };
    let mut pipeline = Pipeline::with(1, parameters, HOUR);
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
        let cut = pipeline.cut();
        assert_eq!(cut.rows().len(), SERIES);
        for row in cut.rows() {
            let id: usize = row.series.name()[1..].parse().unwrap();
            let sent = (id + interval) as f64;
            match row.value {
                Value::Counter(value) | Value::Gauge(value) => assert_eq!(*value, sent),
                Value::Summary(summary) => assert_eq!((summary.count, summary.sum), (1.0, sent)),
                Value::Set(members) => assert_eq!(*members, 2.0),
            }
        }
        assert_eq!(cut.tally().rejected.iter().sum::<u64>(), SERIES as u64 / 4);
    }
}

#[test]
fn what_is_reported_of_idle_series_is_configured() {
    for (reports, names) in [(false, &["g"][..]), (true, &["c", "s"])] {
        let idle = IdleReporting { zero_counters: reports, zero_sets: reports, last_gauges: !reports };
        let mut pipeline = Pipeline::with_idle(1, parameters(), [Duration::from_secs(100); 6], idle);
        pipeline.record(0, b"c:1|c\ng:5|g\ns:x|s\nt:1|ms");
        assert_eq!(pipeline.cut().rows().len(), 4);
        let cut = pipeline.cut();
        assert_eq!(cut.rows().iter().map(|row| row.series.name()).collect::<Vec<_>>(), names);
        for row in cut.rows() {
            let expected = match row.series.kind() {
                Kind::Counter => Value::Counter(0.0),
                Kind::Set => Value::Set(0.0),
                _ => Value::Gauge(5.0),
            };
            assert_eq!(*row.value, expected);
        }
        // Nothing is reported any more once the series are dropped.
        (1..4).for_each(|round| _ = pipeline.cutter.cut(Duration::from_secs(round * 200)));
        assert!(pipeline.cutter.cut(Duration::from_secs(800)).rows().is_empty());
    }
}

#[test]
fn of_a_truncated_datagram_only_whole_lines_count_if_there_are_any() {
    let mut pipeline = Pipeline::new(1);
    pipeline.shards[0].lock().record_truncated(b"a:1|c\na:12");
    pipeline.shards[0].lock().record_truncated(b"a:1234|c");
    let cut = pipeline.cut();
    assert_eq!(value(&cut, "a"), Some(&Value::Counter(1.0)));
    assert_eq!((cut.tally().datagrams, cut.tally().truncated, cut.tally().lines), (2, 2, 1));
}

#[test]
fn values_whose_magnitude_a_histogram_does_not_tell_are_counted() {
    let mut pipeline = Pipeline::with(2, AggregationOptions { exact_values: 2, ..parameters() }, HOUR);
    pipeline.record(0, b"a:1e300:2:3:4|d\nb:1e300|d");
    pipeline.record(1, b"a:5:-1e300|d");
    assert_eq!(pipeline.cut().tally().clamped, 2);
}

#[test]
fn a_tiny_sample_rate_is_one_update_with_a_large_weight() {
    let mut pipeline = Pipeline::new(1);
    pipeline.record(0, b"a:1|ms|@0.0000001\nb:2|c|@0.0000001");
    let cut = pipeline.cut();
    assert_eq!(cut.tally().samples.iter().sum::<u64>(), 2);
    assert!(
        matches!(value(&cut, "a"), Some(Value::Summary(summary)) if summary.count == 1e7 && summary.max == 1.0)
    );
    assert_eq!(value(&cut, "b"), Some(&Value::Counter(2e7)));
}

/// Datagrams of 56 KB each. What is compared differs by a factor of some hundreds where work is quadratic.
#[test]
fn work_for_a_line_is_in_proportion_to_its_length_whatever_stands_in_it() {
    let tags = ",k=v".repeat(7_000);
    let plain = format!("a{tags}:1{}|c", ":1".repeat(14_000));
    let of_alternate_types = format!("a{tags}:1|c{}", ":1|g:1|c".repeat(3_500));
    let refused = |last: u8| format!("tallyd.{}{last:02}:1{}|c", "x".repeat(28_000), ":1".repeat(14_000));
    let unclosed = format!("{}:1|c", "[".repeat(56_000));
    let mut pipeline = Pipeline::new(1);
    // So many refused names are watched.
    (0..32).for_each(|last| pipeline.record(0, refused(last).as_bytes()));
    let time = |line: &str| {
        let once = |_| {
            let start = std::time::Instant::now();
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
    let cut = pipeline.cut();
    assert_eq!(cut.tally().refused[RefuseReason::ReservedName as usize], 35 * 14_001);
}

#[test]
fn beyond_max_series_new_ones_are_refused_counted_and_known_ones_go_on() {
    let mut pipeline = Pipeline::with(1, AggregationOptions { max_series: 2, ..parameters() }, HOUR);
    pipeline.record(0, b"a:1|c\nb:1|c\nc:1|c\nc:1:2|ms\na:1|c");
    let cut = pipeline.cut();
    assert_eq!(cut.rows().len(), 2);
    assert_eq!(value(&cut, "a"), Some(&Value::Counter(2.0)));
    assert_eq!(cut.tally().refused[RefuseReason::MaxSeries as usize], 3);
    assert_eq!(cut.tally().samples[Kind::Counter as usize], 3);
}

#[test]
fn names_and_tags_of_all_series_take_no_more_memory_than_configured() {
    let mut pipeline = Pipeline::with(1, AggregationOptions { max_series_bytes: 1000, ..parameters() }, HOUR);
    let long = "x".repeat(500);
    for n in 0..10 {
        pipeline.record(0, format!("a{n}:1|c|#{long}").as_bytes());
    }
    let cut = pipeline.cut();
    assert_eq!(cut.rows().len(), 1);
    assert_eq!(cut.tally().refused[RefuseReason::MaxSeriesBytes as usize], 9);
}

#[test]
fn a_dropped_series_makes_room_for_a_new_one() {
    let mut pipeline =
        Pipeline::with(1, AggregationOptions { max_series: 1, ..parameters() }, Duration::from_secs(1));
    pipeline.record(0, b"a:1|c");
    // At the second cut it has been idle for that long, and at the third it is dropped.
    (0..3).for_each(|second| _ = pipeline.cutter.cut(Duration::from_secs(second)));
    pipeline.record(0, b"b:1|c\na:1|c");
    let cut = pipeline.cutter.cut(Duration::from_secs(3));
    assert_eq!(value(&cut, "b"), Some(&Value::Counter(1.0)));
    assert_eq!(value(&cut, "a"), None);
    assert_eq!(cut.tally().refused[RefuseReason::MaxSeries as usize], 1);
}

/// There is room for no more than these four, so a newcomer would take the place of one that is dropped.
#[test]
fn a_series_of_any_kind_that_has_samples_in_time_is_never_dropped() {
    let mut pipeline =
        Pipeline::with(1, AggregationOptions { max_series: 4, ..parameters() }, Duration::from_secs(10));
    let mut refused = 0;
    for second in 0..60 {
        if second % 5 == 0 {
            pipeline.record(0, b"c:1|c\ng:+1|g\nt:1|ms\ns:x|s");
        }
        pipeline.record(0, b"new:1|c");
        let cut = pipeline.cutter.cut(Duration::from_secs(second));
        refused += cut.tally().refused[RefuseReason::MaxSeries as usize];
        assert_eq!(value(&cut, "g"), Some(&Value::Gauge((second / 5 + 1) as f64)));
    }
    assert_eq!(refused, 60);
}

/// Shards start anew at the cut of second 2, when a series is dropped.
#[test]
fn events_are_kept_and_reported_once_also_by_shards_that_start_anew() {
    let mut pipeline = Pipeline::with(1, parameters(), Duration::from_secs(1));
    pipeline.record(0, b"a:1|c");
    for second in 0..6 {
        let title = second.to_string();
        pipeline.record(0, format!("_e{{1,1}}:{title}|x").as_bytes());
        let cut = pipeline.cutter.cut(Duration::from_secs(second));
        assert_eq!(cut.events().iter().map(|event| &event.title).collect::<Vec<_>>(), [&title]);
    }
}

/// A histogram gets the number of a timing, which expired.
#[test]
fn a_series_expires_by_its_own_kind_whatever_had_its_number_before() {
    let mut expire_after = [HOUR; Kind::ALL.len()];
    expire_after[Kind::Timing as usize] = Duration::from_secs(1);
    let parameters = AggregationOptions { max_series: 1, ..parameters() };
    let mut pipeline = Pipeline::with_idle(1, parameters, expire_after, IdleReporting::default());
    let mut cut = |line: &[u8], seconds: std::ops::Range<u64>| {
        pipeline.record(0, line);
        let cuts = seconds.map(|second| pipeline.cutter.cut(Duration::from_secs(second)));
        cuts.map(|cut| cut.tally().refused[RefuseReason::MaxSeries as usize]).sum::<u64>()
    };
    assert_eq!(cut(b"a:1|ms", 0..3), 0);
    assert_eq!(cut(b"b:1|h", 3..7), 0);
    assert_eq!(cut(b"c:1|c", 7..8), 1);
}

#[test]
fn a_gauge_that_takes_the_place_of_a_dropped_one_starts_from_zero() {
    let mut pipeline = Pipeline::with(1, parameters(), Duration::from_secs(1));
    pipeline.record(0, b"a:5|g");
    (0..4).for_each(|second| _ = pipeline.cutter.cut(Duration::from_secs(second)));
    pipeline.record(0, b"b:+1|g");
    let cut = pipeline.cutter.cut(Duration::from_secs(4));
    assert_eq!(cut.rows().len(), 1);
    assert_eq!(value(&cut, "b"), Some(&Value::Gauge(1.0)));
}

#[test]
fn names_that_tallyd_keeps_for_itself_are_refused() {
    let mut pipeline = Pipeline::new(1);
    pipeline.record(0, b"tallyd.lines:5|c\ntallyd:1|c");
    let cut = pipeline.cut();
    assert_eq!(cut.rows().len(), 1);
    assert_eq!(cut.tally().refused[RefuseReason::ReservedName as usize], 1);
}

#[test]
fn more_rates_and_forms_than_are_remembered_are_still_counted_right() {
    let mut pipeline = Pipeline::with(1, AggregationOptions { max_series: 10, ..parameters() }, HOUR);
    // Twice, since it is the second line of a form that is not parsed.
    for n in (1..=2000).chain(1..=2000) {
        let rate = 1.0 / f64::from(n);
        pipeline.record(0, format!("a:1|c|@{rate}\nb:1|ms|@{rate}").as_bytes());
    }
    for n in 0..70_000 {
        pipeline.record(0, format!("c:1|c|c:container-{n}").as_bytes());
    }
    let cut = pipeline.cut();
    let Some(Value::Counter(sum)) = value(&cut, "a") else { panic!("no counter") };
    assert!((sum / 4_002_000.0 - 1.0).abs() < 1e-9, "{sum}");
    let Some(Value::Summary(summary)) = value(&cut, "b") else { panic!("no timing") };
    assert!((summary.count / 4_002_000.0 - 1.0).abs() < 1e-9, "{}", summary.count);
    assert_eq!(value(&cut, "c"), Some(&Value::Counter(70_000.0)));
    // Forms are forgotten at this cut, and learned again.
    pipeline.record(0, b"c:1|c|c:container-5\na:1|c");
    let cut = pipeline.cut();
    assert_eq!(value(&cut, "c"), Some(&Value::Counter(1.0)));
    assert_eq!(value(&cut, "a"), Some(&Value::Counter(1.0)));
}

#[test]
fn what_a_sign_means_to_a_gauge_can_be_configured_by_prefix() {
    let parameters = AggregationOptions { absolute_gauge_prefixes: vec!["abs.".into()], ..parameters() };
    let mut pipeline = Pipeline::with(1, parameters, HOUR);
    for _ in 0..2 {
        pipeline.record(0, b"abs.a:+5|g\na:+5|g\nk:-3|kv\nabs.b:-2|g|T1\nb:+1|g|T1");
    }
    let cut = pipeline.cut();
    let gauge = |name| match value(&cut, name) {
        Some(Value::Gauge(value)) => *value,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(["abs.a", "a", "k", "abs.b", "b"].map(gauge), [5.0, 10.0, -3.0, -2.0, 2.0]);
}

/// The second line has no form of its own, and finds the gauge that the first one opened.
#[test]
fn what_a_sign_means_is_configured_for_the_gauges_of_service_checks_too() {
    let mut pipeline = Pipeline::with(1, AggregationOptions { absolute_gauges: true, ..parameters() }, HOUR);
    pipeline.record(0, b"_sc|up|2\nservice_check:-1|g|T1|#check:up");
    assert_eq!(value(&pipeline.cut(), "service_check"), Some(&Value::Gauge(-1.0)));
}

#[test]
fn sums_that_overflow_stay_finite() {
    let mut pipeline = Pipeline::new(2);
    for _ in 0..3 {
        pipeline.record(0, b"a:1e308|c|@0.01\nb:1e308|ms|@0.01\ng:+1.7e308|g");
        pipeline.record(1, b"c:-1e308|c|@0.01\na:1|c");
    }
    let cut = pipeline.cut();
    assert_eq!(value(&cut, "a"), Some(&Value::Counter(f64::MAX)));
    assert_eq!(value(&cut, "c"), Some(&Value::Counter(-f64::MAX)));
    assert_eq!(value(&cut, "g"), Some(&Value::Gauge(f64::MAX)));
    let Some(Value::Summary(summary)) = value(&cut, "b") else { panic!("no timing") };
    assert!(summary.sum.is_finite() && summary.stddev.is_finite(), "{summary:?}");
    assert_eq!(summary.mean, 1e308);
}
