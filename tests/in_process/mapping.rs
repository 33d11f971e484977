//! Tests mapping rules, with the cases of `statsd_exporter`'s own tests and with lines.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;
use tallyd::aggregate::AggregationOptions;
use tallyd::app::explain::Explainer;
use tallyd::export::prometheus::Naming;
use tallyd::flush::{IntervalResults, ReloadableSettings};
use tallyd::mapping::{Draft, HistogramOptions, Mapping, ShapingSpec};
use tallyd::model::{Exposition, Kind, Named, Percentile, Policy, Statistics, Value};

use crate::pipeline::{Pipeline, settings};

/// A mapping file, and its effect on some metrics.
#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    yaml: String,
    yaml_ok: bool,
    cases: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    statsd: String,
    #[serde(rename = "type")]
    kind: String,
    expect: Option<Expected>,
    outcome: Option<String>,
    /// The name on the page, if the mapped name is not legal.
    exposed_name: Option<String>,
    #[serde(default)]
    tags_in: BTreeMap<String, String>,
    final_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    options: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Expected {
    name: String,
    labels: BTreeMap<String, String>,
}

/// The cases in which tallyd differs on purpose, each with the reason.
const DEVIATIONS: [(&str, &str); 1] = [(
    "map-100",
    "$10 is the tenth star, like ${10} and like in a regular expression; in statsd_exporter it is the first star and a 0",
)];

fn cases() -> Vec<Case> {
    let lines = include_str!("../data/mapping.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The files that only tallyd accepts, each with the reason.
const ACCEPTED: [(&str, &str); 1] = [("map-082", "Prometheus has labels of one letter, too")];

#[test]
fn tallyd_accepts_exactly_the_files_that_statsd_exporter_accepts() {
    let cases = cases();
    assert_eq!(cases.len(), 70);
    for Case { id, yaml, yaml_ok, .. } in cases {
        let mapping = Mapping::from_yaml(&yaml);
        let is_accepted = yaml_ok || ACCEPTED.iter().any(|(accepted, _)| *accepted == id);
        assert_eq!(mapping.is_ok(), is_accepted, "{id}: {mapping:?}\n{yaml}");
    }
}

#[test]
fn rules_change_each_metric_like_statsd_exporter() {
    let mut checked = 0;
    for case in cases().into_iter().filter(|case| case.yaml_ok) {
        let deviates = DEVIATIONS.iter().any(|(id, _)| *id == case.id);
        let explainer = Explainer {
            mapping: Mapping::from_yaml(&case.yaml).unwrap(),
            naming: Naming::StatsdExporter,
            ..Explainer::default()
        };
        for metric in case.cases {
            checked += 1;
            let (exposed, expected) = (exposed(&explainer, &metric), expected(&metric));
            assert_eq!(exposed != expected, deviates, "{}: {exposed:?}, {metric:?}", case.id);
            if let Some(scale) = metric.options["scale"].as_f64() {
                let mut draft = Draft::named(&*metric.statsd);
                let shaped = explainer.mapping.shape(Kind::Counter, &mut draft, |_, _| ()).unwrap();
                assert_eq!(shaped.scale, scale, "{}", case.id);
            }
        }
    }
    assert!(checked > 80, "{checked}");
}

/// Mapper profiles of the Datadog agent, and the names and tags that its own tests expect.
#[derive(Debug, Deserialize)]
struct Profiles {
    id: String,
    yaml: String,
    yaml_ok: bool,
    cases: Vec<Profiled>,
}

#[derive(Debug, Deserialize)]
struct Profiled {
    statsd: String,
    expect: Option<Expected>,
}

#[test]
fn profiles_change_each_metric_like_the_datadog_agent() {
    let mut checked = 0;
    for row in include_str!("../data/profiles.jsonl").lines() {
        let Profiles { id, yaml, yaml_ok, cases } = serde_json::from_str(row).unwrap();
        let mapping = Mapping::from_yaml(&yaml);
        assert_eq!(mapping.is_ok(), yaml_ok, "{id}: {mapping:?}");
        for Profiled { statsd, expect } in cases {
            checked += 1;
            let mut draft = Draft::named(&*statsd);
            mapping.as_ref().unwrap().shape(Kind::Counter, &mut draft, |_, _| ()).unwrap();
            let expected = expect.unwrap_or_else(|| Expected { name: statsd, labels: BTreeMap::new() });
            let tags: BTreeMap<_, _> =
                draft.tags.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
            assert_eq!((draft.name, tags), (expected.name, expected.labels), "{id}");
        }
    }
    assert_eq!(checked, 11);
}

/// `statsd_exporter` uses these quantiles and buckets if neither a rule nor the defaults set them.
const QUANTILES: [f64; 3] = [50.0, 90.0, 99.0];
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[test]
fn each_metric_has_the_options_that_statsd_exporter_gives_it() {
    let mut checked = 0;
    for case in cases().into_iter().filter(|case| case.yaml_ok) {
        for metric in case.cases.iter().filter(|metric| metric.options.is_object()) {
            checked += 1;
            let percentiles = QUANTILES.into_iter().filter_map(Percentile::new).collect();
            let statistics = Statistics { percentiles, ..Statistics::default() };
            let fallback = Policy { statistics, ..Policy::default() };
            let histograms = HistogramOptions { buckets: BUCKETS.into(), ..HistogramOptions::default() };
            let policy = policy_of(settings(&case.yaml, &fallback, &histograms), &line_of(metric));
            let Options { observer_type, quantiles, buckets, ttl_s } =
                serde_json::from_value(metric.options.clone()).unwrap();
            let of = &format!("{} {}: {policy:?}", case.id, metric.statsd);
            if let Some(observer_type) = observer_type {
                let exposition =
                    if observer_type == "histogram" { Exposition::Histogram } else { Exposition::Summary };
                assert_eq!(policy.exposition, exposition, "{of}");
            }
            if let Some(quantiles) = quantiles {
                let percents: Vec<_> =
                    policy.statistics.percentiles.iter().map(|percentile| percentile.percent()).collect();
                assert_eq!(percents, quantiles.iter().map(|pair| pair.0 * 100.0).collect::<Vec<_>>(), "{of}");
            }
            if let Some(buckets) = buckets {
                assert_eq!(policy.statistics.bounds, buckets, "{of}");
            }
            if let Some(seconds) = ttl_s {
                assert_eq!(policy.expire_after, [Duration::from_secs_f64(seconds); 6], "{of}");
            }
        }
    }
    assert_eq!(checked, 21);
}

/// The options of a metric that the test checks. Options for the age and the buffers of summaries have no meaning in
/// tallyd, because its summaries cover one interval.
#[derive(Debug, Deserialize)]
struct Options {
    observer_type: Option<String>,
    quantiles: Option<Vec<(f64, f64)>>,
    buckets: Option<Vec<f64>>,
    ttl_s: Option<f64>,
}

/// Returns the policy of the series of a line.
fn policy_of(settings: ReloadableSettings, line: &str) -> Policy {
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    pipeline.record(0, line);
    let results = pipeline.end_interval();
    let row = results.rows.iter().next().expect("a series");
    results.policies.get(row.policy).clone()
}

/// Returns the series of a metric on the Prometheus page, as `tallyd explain` shows it.
fn exposed(explainer: &Explainer, metric: &Metric) -> Option<String> {
    let text = explainer.explain(line_of(metric).as_bytes());
    let row = text.lines().find_map(|row| row.strip_prefix("  prometheus"));
    row.map(|row| row.trim_start().to_owned())
}

/// Returns a line of a metric, whose type is in the words of `statsd_exporter`.
fn line_of(Metric { statsd, kind, tags_in, .. }: &Metric) -> String {
    let wire_type = match kind.as_str() {
        "counter" => "c",
        "gauge" => "g",
        "observer" => "ms",
        other => panic!("{other}"),
    };
    let tags: Vec<_> = tags_in.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
    format!("{statsd}:1|{wire_type}{tags}")
}

fn expected(metric: &Metric) -> Option<String> {
    let (name, labels) = match &metric.expect {
        Some(Expected { name, .. }) if name.is_empty() => return None,
        Some(Expected { name, labels }) => {
            let mut all = metric.tags_in.clone();
            all.extend(labels.clone());
            (metric.exposed_name.as_ref().unwrap_or(name), metric.final_labels.clone().unwrap_or(all))
        }
        None if metric.outcome.as_deref() == Some("dropped") => return None,
        None => (metric.exposed_name.as_ref().unwrap(), metric.tags_in.clone()),
    };
    let labels = labels.iter().filter(|(_, value)| !value.is_empty());
    let labels: Vec<_> = labels.map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    Some(if labels.is_empty() { name.clone() } else { format!("{name}{{{}}}", labels.join(",")) })
}

/// Returns settings with these rules in YAML. All other settings have their defaults.
fn settings_of(yaml: &str) -> ReloadableSettings {
    settings(yaml, &Policy::default(), &HistogramOptions::default())
}

/// Returns the series and the value of each row.
fn rows(results: &IntervalResults) -> Vec<(String, Value)> {
    results.rows.iter().map(|row| (format!("{:?}", row.series), row.value.clone())).collect()
}

/// Records lines with these rules, in two shards in turn. Returns the rows, and the number of refused samples for each
/// reason.
fn record(yaml: &str, lines: &[&str]) -> (Vec<(String, Value)>, Vec<(&'static str, u64)>) {
    let mut pipeline = Pipeline::new(2, AggregationOptions::default(), settings_of(yaml));
    for (line, receiver) in lines.iter().zip(0..) {
        pipeline.record(receiver, line);
    }
    let results = pipeline.end_interval();
    let counts = &results.counts;
    let counted = counts.samples.values().chain(counts.refused.values()).sum::<u64>();
    assert_eq!(counted, lines.len() as u64, "every sample is recorded or refused");
    let refused = counts.refused.iter().filter(|&(_, &count)| count > 0);
    (rows(&results), refused.map(|(reason, &count)| (Named::name(reason), count)).collect())
}

#[test]
fn series_that_rules_join_are_one_across_all_receivers() {
    let yaml = "mappings: [{ match: api.*.latency, name: latency }, { match: '*.users', name: users }]";
    let lines = ["api.a.latency:1|ms", "api.b.latency:3|ms", "api.c.latency:2|ms", "api.d.latency:9|ms"];
    let (rows, _) = record(yaml, &lines);
    let [(series, Value::Summary(summary))] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&**series, summary.count, summary.min, summary.max), ("latency|ms", 4.0, 1.0, 9.0));
    let (rows, _) = record(yaml, &["a.users:anna|s", "b.users:anna|s", "b.users:ben|s"]);
    assert_eq!(rows, [("users|s".to_owned(), Value::Set(2.0))]);
}

#[test]
fn rule_decides_between_its_label_and_a_tag_of_the_same_name() {
    let of = |honor: bool, tag: &str| {
        let yaml =
            format!("mappings: [{{ match: a, name: b, labels: {{ _9x: rule }}, honor_labels: {honor} }}]");
        record(&yaml, &[&format!("a:1|c|#{tag}:sent")]).0.remove(0).0
    };
    for tag in ["_9x", "9x", "-9x"] {
        assert_eq!(of(false, tag), "b|c|#_9x:rule");
        assert_eq!(of(true, tag), format!("b|c|#{tag}:sent"));
    }
}

#[test]
fn samples_that_a_rule_drops_are_counted_and_not_recorded() {
    let yaml =
        "mappings: [{ match: a.*, name: a, action: drop }, { match: (.*)_x, match_type: regex, name: $2 }]";
    let lines = ["a.b:1|c", "a.b:2|c", "a.b:3|c", "a.b:4|c", "a.c:1|s", "b_x:1|c", "c:1|c", "a.b:1|c|T1"];
    let (rows, refused) = record(yaml, &lines);
    assert_eq!(rows, [("c|c".to_owned(), Value::Counter(1.0))]);
    assert_eq!(refused, [("mapping_drop", 6), ("mapping_empty_name", 1)]);
}

#[test]
fn values_are_scaled_on_known_and_unknown_patterns() {
    let yaml = "mappings: [{ match: '*.kb', name: bytes, scale: 1024 }, { match: '*.b', name: bytes }]";
    let lines = ["a.kb:1|c", "a.kb:1|c", "a.kb:1|c", "a.kb:1|c|@0.5", "a.kb:1|c|T1", "a.b:7|c", "a.b:7|c|T1"];
    let (rows, _) = record(yaml, &lines);
    assert_eq!(rows, [("bytes|c".to_owned(), Value::Counter(6.0 * 1024.0 + 14.0))]);
    let (rows, _) = record(yaml, &["a.kb:1|g", "a.kb:1|g", "a.kb:+2|g", "a.kb:-1|g"]);
    assert_eq!(rows, [("bytes|g".to_owned(), Value::Gauge(2048.0))]);
    let (rows, _) = record(yaml, &["a.kb:1|ms", "a.kb:2|ms", "a.kb:3|ms"]);
    let [(_, Value::Summary(summary))] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((summary.min, summary.max, summary.sum), (1024.0, 3072.0, 6144.0));
    let (rows, _) = record(yaml, &["a.kb:1|s", "a.kb:1|s", "a.kb:1|s", "a.kb:2|s|#", "a.b:1|s"]);
    assert_eq!(rows, [("bytes|s".to_owned(), Value::Set(2.0))], "members of a set are not scaled");
}

#[test]
fn new_rules_take_effect_with_the_next_interval_and_lose_nothing() {
    let by = |name: &str| settings_of(&format!("mappings: [{{ match: a.*, name: {name} }}]"));
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), by("old"));
    let mut interval = |new: Option<ReloadableSettings>| {
        pipeline.record(0, "a.x:1|c\na.y:1|g");
        if let Some(settings) = new {
            pipeline.reload(settings);
        }
        pipeline.record(0, "a.x:1|c\na.y:+1|g\na.new:1|c");
        rows(&pipeline.end_interval())
    };
    let named =
        |name: &str| [(format!("{name}|c"), Value::Counter(3.0)), (format!("{name}|g"), Value::Gauge(2.0))];
    assert_eq!(interval(None), named("old"));
    assert_eq!(interval(Some(by("new"))), named("old"));
    // The old gauge keeps its value until it expires.
    assert_eq!(interval(None), [&named("new")[..], &named("old")[1..]].concat());
}

#[test]
fn rule_cannot_give_a_name_reserved_for_tallyd() {
    let yaml = "mappings: [{ match: 'x\\.(.*)', match_type: regex, name: $1 }]";
    let (rows, refused) = record(yaml, &["x.tallyd.lines:1|c"]);
    assert_eq!((rows, refused), (Vec::new(), vec![("reserved_name", 1)]));
}

/// The name, the type, the value and the sections of a line. Tags are the last section.
type Parts = (&'static str, &'static str, u32, &'static str);

fn parts() -> impl Strategy<Value = Parts> {
    let names = prop::sample::select(vec!["m.a", "m.b", "n.a", "d.x", "s.k", "other"]);
    let kinds = prop::sample::select(vec!["c", "g", "ms", "s"]);
    let rests = prop::sample::select(vec!["", "|@0.5", "|T5", "|#k:v", "|T5|#k:v"]);
    (names, kinds, 0_u32..9, rests)
}

fn line((name, kind, value, rest): Parts) -> String {
    format!("{name}:{value}|{kind}{rest}")
}

/// Returns a line that means the same without rules as this line means with them. Returns `None` if the rules drop this
/// line.
fn renamed((name, kind, value, rest): Parts) -> Option<String> {
    let tagged =
        |label: &str| if rest.contains('#') { format!("{rest},{label}") } else { format!("{rest}|#{label}") };
    Some(match name {
        "m.a" | "n.a" => format!("mm:{value}|{kind}{}", tagged("src:a")),
        "m.b" => format!("mm:{value}|{kind}{}", tagged("src:b")),
        "s.k" if kind != "s" => format!("sc:{}|{kind}{rest}", value * 2),
        "s.k" => format!("sc:{value}|{kind}{rest}"),
        "d.x" => return None,
        _ => line((name, kind, value, rest)),
    })
}

proptest! {
    #[test]
    fn rules_give_the_results_of_lines_that_were_renamed_by_hand(all in prop::collection::vec(parts(), 0..200)) {
        let yaml = "mappings:
- { match: m.*, name: mm, labels: { src: $1 } }
- { match: n.*, name: mm, labels: { src: a } }
- { match: d.*, name: d, action: drop }
- { match: s.*, name: sc, scale: 2 }";
        let lines: Vec<_> = all.iter().map(|&parts| line(parts)).collect();
        let others: Vec<_> = all.iter().filter_map(|&parts| renamed(parts)).collect();
        let record = |yaml, lines: &[String]| record(yaml, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let (rows, refused) = record(yaml, &lines);
        prop_assert_eq!(rows, record("", &others).0);
        let dropped = (lines.len() - others.len()) as u64;
        prop_assert_eq!(refused, if dropped == 0 { vec![] } else { vec![("mapping_drop", dropped)] });
    }
}

#[test]
fn shaping_and_rules_apply_to_lines_of_every_form() {
    let spec = ShapingSpec {
        prefix: "shop.".to_owned(),
        tags: vec![("env".to_owned(), Some("prod".to_owned()))],
        drop_tags: vec!["pod*".to_owned()],
        ..ShapingSpec::default()
    };
    let yaml = "mappings: [{ match: a, drop_tags: [b], match_metric_type: counter }]";
    let mut settings = settings_of(yaml);
    settings.mapping = std::mem::take(&mut settings.mapping).with_shaping(spec);
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    // The second line of each pair has no pattern that a shard could remember.
    for line in [
        "a:1|c|#pod:1,b:2,c:3",
        "a:1|c|#pod:2,c:3|T1700000000",
        "a:1|g|#b:2",
        "a,pod_name=x:1|ms",
        "b:1:2|c|#env:test",
        "_sc|up|0|#pod:1",
        "_e{1,1}:t|x|#pod:1,a",
    ] {
        pipeline.record(0, line);
    }
    let results = pipeline.end_interval();
    let mut series: Vec<_> = rows(&results).into_iter().map(|(series, _)| series).collect();
    series.sort();
    assert_eq!(
        series,
        [
            "service_check|g|#check:up,env:prod",
            "shop.a|c|#c:3,env:prod",
            "shop.a|g|#b:2,env:prod",
            "shop.a|ms|#env:prod",
            "shop.b|c|#env:test"
        ]
    );
    let tags = [("a", ""), ("env", "prod")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(results.events[0].tags, tags);
}

#[test]
fn the_overflow_series_of_a_rule_has_the_prefix() {
    let yaml = "mappings: [{ match: a.*, name: a_$1, max_series: 1 }]";
    let mut settings = settings_of(yaml);
    let spec = ShapingSpec { prefix: "shop.".to_owned(), ..ShapingSpec::default() };
    let mut mapping = Mapping::from_yaml(yaml).unwrap().with_shaping(spec);
    _ = mapping.build_policies(&Policy::default(), &HistogramOptions::default());
    settings.mapping = mapping;
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    for line in ["a.x:1|c", "a.y:1|c"] {
        pipeline.record(0, line);
    }
    let rows = rows(&pipeline.end_interval());
    let names: Vec<_> = rows.iter().map(|(series, _)| &**series).collect();
    assert_eq!(names, ["shop.a_overflow|c|#tallyd_overflow:true", "shop.a_x|c"]);
}

/// Returns the series of lines with this `[shaping]`, in order.
fn shaped(spec: ShapingSpec, options: AggregationOptions, lines: &[&str]) -> Vec<String> {
    let mut settings = settings_of("mappings: []");
    settings.mapping = Mapping::default().with_shaping(spec);
    settings.limits.series_per_metric = 2;
    let mut pipeline = Pipeline::new(1, options, settings);
    lines.iter().for_each(|line| pipeline.record(0, line));
    let mut series: Vec<_> = rows(&pipeline.end_interval()).into_iter().map(|(series, _)| series).collect();
    series.sort();
    series
}

#[test]
fn shaping_joins_no_service_checks_and_no_containers() {
    let text = |text: &str| text.to_owned();
    let spec = ShapingSpec {
        keep_tags: vec![text("env"), text("x"), text("container_id")],
        rename_tags: [(text("x"), text("check")), (text("env"), text("container_id"))].into(),
        ..ShapingSpec::default()
    };
    let mut options = AggregationOptions::default();
    options.resolve.container_id_tag = true;
    let lines =
        ["_sc|db.up|2|h:web-1|#x:redis", "_sc|redis|0|h:web-2", "a:1|c|#env:other|c:real", "a:1|c|c:other"];
    assert_eq!(
        shaped(spec, options, &lines),
        [
            "a|c|#container_id:other",
            "a|c|#container_id:real,exported_container_id:other",
            "service_check|g|#check:db.up,exported_check:redis,host:web-1",
            "service_check|g|#check:redis,host:web-2"
        ]
    );
}

#[test]
fn an_overflow_series_has_the_tags_of_all_series() {
    let spec =
        ShapingSpec { tags: vec![("env".to_owned(), Some("prod".to_owned()))], ..ShapingSpec::default() };
    let lines = ["a:1|c|#k:1", "a:1|c|#k:2", "a:1|c|#k:3"];
    let series = shaped(spec, AggregationOptions::default(), &lines);
    assert_eq!(series[0], "a|c|#env:prod,k:1");
    assert!(series.contains(&"a|c|#env:prod,tallyd_overflow:true".to_owned()), "{series:?}");
}
