//! Tests how the options of mapping rules change the page: exposition, buckets, quantiles, HELP and time-to-live.

use std::time::Duration;

use tallyd::aggregate::AggregationOptions;
use tallyd::export::prometheus::{Format, Naming};
use tallyd::export::{ExportOutcome, QuarantineReason};
use tallyd::flush::{IdleReporting, IntervalResults, ReloadableSettings};
use tallyd::mapping::{HistogramOptions, Mapping};
use tallyd::model::{Percentile, Policy, Row, Statistics, Value};
use tallyd::resolve::{Excess, Limits, OverflowLimit};

use crate::exporter::Exporter;
use crate::pipeline::{self, Pipeline};

/// Returns settings with these rules in YAML. If the rules say nothing, series have two percentiles, two bounds and a
/// time-to-live of one minute.
fn settings(yaml: &str) -> ReloadableSettings {
    let percentiles = [50.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    let fallback = Policy {
        statistics: Statistics { percentiles, ..Statistics::default() },
        expire_after: [Duration::from_mins(1); 6],
        ..Policy::default()
    };
    let histograms = HistogramOptions { buckets: vec![0.5, 1.0], ..HistogramOptions::default() };
    pipeline::settings(yaml, &fallback, &histograms)
}

fn exporter(yaml: &str) -> Exporter {
    Exporter::new(Naming::StatsdExporter, AggregationOptions::default(), settings(yaml))
}

#[test]
fn each_rule_decides_how_its_series_are_shown() {
    let mut exporter = exporter(
        r#"
mappings:
- match: sum.*
  name: "summed"
  summary_options: { quantiles: [{ quantile: 0.999, error: 0.01 }, { quantile: 0.25 }] }
- match: his.*
  name: "counted"
  observer_type: histogram
  histogram_options: { buckets: [0.01, 0.1] }
- match: old.*
  name: "old"
  timer_type: histogram
- match: told.*
  name: "told"
  help: "a \"quoted\" \\ back\nslash"
"#,
    );
    exporter.add("sum.a:20:30:40:50|ms\nhis.a:20:30:400|ms\nold.a:700|ms\ntold.a:1|c\nplain:1000|ms");
    assert_eq!(
        exporter.text(),
        "# HELP counted StatsD timing in seconds.\n# TYPE counted histogram\n\
         counted_bucket{le=\"0.01\"} 0\ncounted_bucket{le=\"0.1\"} 2\ncounted_bucket{le=\"+Inf\"} 3\n\
         counted_sum 0.45\ncounted_count 3\n\
         # HELP old StatsD timing in seconds.\n# TYPE old histogram\n\
         old_bucket{le=\"0.5\"} 0\nold_bucket{le=\"1\"} 1\nold_bucket{le=\"+Inf\"} 1\nold_sum 0.7\nold_count 1\n\
         # HELP plain StatsD timing in seconds.\n# TYPE plain summary\n\
         plain{quantile=\"0.5\"} 1\nplain{quantile=\"0.999\"} 1\nplain_sum 1\nplain_count 1\n\
         # HELP summed StatsD timing in seconds.\n# TYPE summed summary\n\
         summed{quantile=\"0.25\"} 0.02\nsummed{quantile=\"0.999\"} 0.05\nsummed_sum 0.14\nsummed_count 4\n\
         # HELP told a \"quoted\" \\\\ back\\nslash\n# TYPE told counter\ntold 1\n"
    );
    let openmetrics = exporter.page(Format::OpenMetrics);
    assert!(openmetrics.contains("# HELP told a \\\"quoted\\\" \\\\ back\\nslash\n"), "{openmetrics}");
}

#[test]
fn defaults_of_the_rules_apply_to_series_without_a_rule() {
    let mut exporter = exporter(
        "defaults: { observer_type: histogram, histogram_options: { buckets: [2] }, ttl: 15s }\n\
         mappings: [{ match: s, name: s, observer_type: summary }, { match: g, name: gauge, ttl: 1h }]",
    );
    exporter.add("s:1|h\nother:1|h\ng:1|g\nh:1|g");
    let page = exporter.text();
    assert!(
        page.contains("other_bucket{le=\"2\"} 1\n") && page.contains("s{quantile=\"0.5\"} 1\n"),
        "{page}"
    );
    (0..5).for_each(|_| _ = exporter.add(""));
    assert_eq!(exporter.text(), "# HELP gauge StatsD gauge.\n# TYPE gauge gauge\ngauge 1\n");
}

#[test]
fn series_expires_after_the_time_to_live_of_its_rule() {
    let mut exporter = exporter(
        "mappings: [{ match: short.*, name: short_$1, ttl: 20s }, { match: long.*, name: long_$1, ttl: 5m }, \
         { match: never.*, name: never_$1, ttl: 0 }]",
    );
    exporter.add("never.c:1|c\nshort.c:1|c\nlong.c:1|c\nplain:1|c\nshort.g:1|g\nlong.g:1|g\nplain.g:1|g");
    let mut alive = Vec::new();
    for _ in 0..40 {
        exporter.add("");
        let page = exporter.text();
        let names = page.lines().filter(|line| !line.starts_with('#'));
        alive.push(names.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>());
    }
    // An idle gauge may expire up to two intervals late.
    assert_eq!(alive[0], ["long_c", "long_g", "never_c", "plain", "plain_g", "short_c", "short_g"]);
    assert_eq!(alive[4], ["long_c", "long_g", "never_c", "plain", "plain_g"]);
    assert_eq!(alive[9], ["long_c", "long_g", "never_c"]);
    assert_eq!(alive[39], ["never_c"]);
}

#[test]
fn first_rule_of_a_series_decides_in_any_order_of_lines() {
    let yaml = "mappings:\n\
                - { match: a, name: x, ttl: 1s, observer_type: histogram }\n\
                - { match: b, name: x, observer_type: summary }";
    for lines in ["a:1|h\nb:1|h\nx:1|h", "x:1|h\nb:1|h\na:1|h"] {
        let mut exporter = exporter(yaml);
        exporter.add(lines);
        let page = exporter.text();
        assert!(page.contains("# TYPE x histogram\n") && page.contains("x_count 3\n"), "{page}");
    }
}

#[test]
fn rules_that_give_one_family_two_types_are_a_conflict() {
    let mut exporter = exporter(
        "mappings:\n\
         - { match: a.*, name: x, labels: { by: a }, observer_type: histogram }\n\
         - { match: b.*, name: x, labels: { by: b } }",
    );
    (0..2).for_each(|_| assert_eq!(exporter.add("a.a:1|h\nb.b:1|h"), type_conflicts(1)));
}

#[test]
fn new_options_apply_to_known_series_and_nothing_is_lost() {
    let yaml =
        |options: &str| format!("mappings: [{{ match: a.*, name: x, labels: {{ by: $1 }}, {options} }}]");
    let mut exporter = exporter(&yaml("help: first"));
    let lines = "a.one:1|h\na.two:1|h\nc:1|c";
    exporter.add(lines);
    assert!(exporter.text().starts_with("# HELP c StatsD counter.\n# TYPE c counter\nc 1\n# HELP x first\n"));

    // The new rules have other percentiles and another HELP text. Totals continue.
    exporter.reload(settings(&yaml("help: second, summary_options: { quantiles: [{ quantile: 0.1 }] }")));
    assert_eq!(exporter.add(lines), ExportOutcome::default(), "the open interval keeps its rules");
    assert!(exporter.text().contains("x{by=\"one\",quantile=\"0.5\"} 1\n"));
    exporter.add(lines);
    let page = exporter.text();
    assert!(page.contains("x{by=\"one\",quantile=\"0.1\"} 1\n") && !page.contains("0.5"), "{page}");
    assert!(
        page.contains("# HELP x second\n")
            && page.contains("x_count{by=\"two\"} 3\n")
            && page.contains("\nc 3\n"),
        "{page}"
    );

    // The new rules have another exposition. The family restarts with the next sample, and without its idle series.
    exporter.reload(settings(&yaml("observer_type: histogram, histogram_options: { buckets: [1] }")));
    exporter.add(lines);
    assert_eq!(exporter.add("a.one:1:2|h"), ExportOutcome::default());
    let page = exporter.text();
    assert!(
        page.contains("# HELP x StatsD histogram.\n# TYPE x histogram\nx_bucket{by=\"one\",le=\"1\"} 1\n"),
        "{page}"
    );
    assert!(!page.contains("two") && page.contains("\nc 4\n"), "{page}");

    // The new rules have other buckets. The counts of the old buckets cannot continue.
    exporter.reload(settings(&yaml("observer_type: histogram, histogram_options: { buckets: [2, 3] }")));
    exporter.add(lines);
    exporter.add("a.one:3|h\na.two:3|h");
    let page = exporter.text();
    assert!(
        page.contains("x_bucket{by=\"one\",le=\"2\"} 0\nx_bucket{by=\"one\",le=\"3\"} 1\n")
            && page.contains("x_bucket{by=\"two\",le=\"3\"} 1\n")
            && page.contains("x_count{by=\"one\"} 1\n"),
        "{page}"
    );

    // Without rules, the series get their own names back.
    exporter.reload(settings(""));
    exporter.add(lines);
    assert_eq!(exporter.add(lines), ExportOutcome::default());
    assert!(exporter.text().contains("\na_one{quantile=\"0.5\"} 1\n"), "{}", exporter.text());
}

/// Returns the outcome of an export in which `count` series conflict with the type of their family.
fn type_conflicts(count: u64) -> ExportOutcome {
    let mut exported = ExportOutcome::default();
    exported.quarantined[QuarantineReason::TypeConflict] = count;
    exported
}

#[test]
fn help_text_of_new_rules_applies_even_to_old_series() {
    let yaml = |of: &str, help: &str| {
        format!("mappings: [{{ match: {of}.*, name: x, labels: {{ by: $1 }}, help: {help} }}]")
    };
    let mut exporter = exporter(&yaml("a", "first"));
    exporter.add("a.one:1|h");
    exporter.reload(settings(&yaml("b", "second")));
    exporter.add("");
    assert!(exporter.text().contains("# HELP x first\n"), "{}", exporter.text());
    exporter.add("b.two:1|h");
    let page = exporter.text();
    assert!(page.contains("# HELP x second\n") && page.contains("x_count{by=\"one\"} 1\n"), "{page}");
}

/// In each snapshot, `a_b` follows `a.b`. It is idle, so it is 0 and still has the old rule.
#[test]
fn idle_counter_does_not_bring_old_rules_back_when_counters_are_merged() {
    let zeros = |help: &str| {
        let rule = format!("mappings: [{{ match: '^(.*)$', match_type: regex, name: $1, help: {help} }}]");
        ReloadableSettings {
            idle: IdleReporting { zero_counters: true, ..IdleReporting::default() },
            ..settings(&rule)
        }
    };
    let mut exporter = exporter("");
    exporter.reload(zeros("first"));
    exporter.add("");
    exporter.add("a.b:1|c\na_b:1|c");
    exporter.reload(zeros("second"));
    exporter.add("");
    for _ in 0..2 {
        exporter.add("a.b:1|c");
        assert!(exporter.text().contains("# HELP a_b second\n"), "{}", exporter.text());
    }
}

#[test]
fn family_restarts_if_only_its_new_series_have_another_exposition() {
    let mut exporter = exporter("mappings: [{ match: a.*, name: x, labels: { old: $1 } }]");
    let lines = "a.one:1|h\na.two:1|h";
    exporter.add(lines);
    exporter.reload(settings(
        "mappings: [{ match: a.*, name: x, labels: { new: $1 }, observer_type: histogram }]",
    ));
    exporter.add(lines);
    assert_eq!(exporter.add(lines), type_conflicts(2));
    assert_eq!(exporter.add(lines), ExportOutcome::default());
    let page = exporter.text();
    assert!(page.contains("# TYPE x histogram\n") && page.contains("x_count{new=\"one\"} 1\n"), "{page}");
    assert!(!page.contains("old"), "{page}");
}

#[test]
fn family_restarts_even_if_the_exporter_lost_the_first_new_snapshot() {
    let yaml = |options: &str| format!("mappings: [{{ match: a, name: x, {options} }}]");
    let mut exporter = exporter(&yaml("observer_type: summary"));
    exporter.add("a:1|h");
    exporter.reload(settings(&yaml("observer_type: histogram")));
    exporter.add("a:1|h");
    _ = exporter.lose("a:1|h");
    assert_eq!(exporter.add("a:1|h"), ExportOutcome::default());
    let page = exporter.text();
    assert!(page.contains("# TYPE x histogram\n") && page.contains("x_bucket{le=\"1\"} 1\n"), "{page}");
}

/// The exporter loses the snapshots that would tell it that the series expired.
#[test]
fn series_that_returns_under_another_rule_gets_the_buckets_of_that_rule() {
    let yaml = "mappings:\n\
                - { match: a, name: x, observer_type: histogram, histogram_options: { buckets: [1] }, ttl: 20s }\n\
                - { match: b, name: x, observer_type: histogram, histogram_options: { buckets: [2] }, ttl: 20s }";
    let mut exporter = exporter(yaml);
    exporter.add("a:0.5|h");
    (0..5).for_each(|_| _ = exporter.lose(""));
    exporter.add("b:1.5|h");
    let page = exporter.text();
    assert!(page.contains("x_bucket{le=\"2\"} 1\nx_bucket{le=\"+Inf\"} 1\n"), "{page}");
    assert!(!page.contains("le=\"1\""), "{page}");
}

/// Returns the names and the values of all counters.
fn counters(results: &IntervalResults) -> Vec<(String, f64)> {
    let counter = |row: Row<'_>| match row.value {
        Value::Counter(sum) => (format!("{:?}", row.series), *sum),
        other => panic!("{other:?}"),
    };
    results.rows.iter().map(counter).collect()
}

#[test]
fn series_of_a_rule_share_its_limit_and_the_excess_is_in_one_series() {
    let yaml = |limit: usize| {
        format!(
            "mappings:\n- {{match: shop.*.*, name: \"shop_$1\", labels: {{id: $2}}, max_series: {limit}}}\n\
             - {{match: api.*, name: api, labels: {{path: $1}}, max_series: 1}}\n"
        )
    };
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings(&yaml(3)));
    let lines: Vec<_> = (0..10).map(|id| format!("shop.n{id}.{id}:1|c\napi.{id}:2|c")).collect();
    pipeline.record(0, lines.join("\n"));
    let results = pipeline.end_interval();
    let expected = [
        ("api|c|#path:0", 2.0),
        ("api|c|#tallyd_overflow:true", 18.0),
        ("shop_n0|c|#id:0", 1.0),
        ("shop_n1|c|#id:1", 1.0),
        ("shop_n2|c|#id:2", 1.0),
        ("shop_overflow|c|#tallyd_overflow:true", 7.0),
    ];
    assert_eq!(counters(&results), expected.map(|(name, sum)| (name.to_owned(), sum)));
    assert_eq!(results.counts.overflowed[OverflowLimit::RuleMaxSeries], 16);
    let excess: Vec<_> = results.excess[Excess::Overflowed].iter().collect();
    assert_eq!(excess, [("api", 9), ("shop_overflow", 7)]);
    // With a higher limit, some of them get series of their own. The overflow series counts, too.
    pipeline.reload(settings(&yaml(5)));
    pipeline.end_interval();
    pipeline.record(0, lines.join("\n"));
    let shop: Vec<_> = counters(&pipeline.end_interval())
        .into_iter()
        .filter(|(name, _)| name.starts_with("shop_"))
        .map(|(_, sum)| sum)
        .collect();
    assert_eq!(shop.iter().sum::<f64>(), 10.0);
    assert!(shop.len() > 4, "{shop:?}");
}

#[test]
fn limit_of_a_rule_replaces_that_of_the_metric() {
    let rules = "mappings:\n- {match: wide, name: wide, max_series: 50}\n";
    let limits = Limits { series_per_metric: 10, ..Limits::default() };
    let settings = ReloadableSettings { limits, ..settings(rules) };
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    for tag in 0..100 {
        pipeline.record(0, format!("wide:1|c|#t:{tag}\nnarrow:1|c|#t:{tag}"));
    }
    let results = pipeline.end_interval();
    let series = |name| results.rows.iter().filter(|row| row.series.name() == name).count();
    assert_eq!([series("wide"), series("narrow")], [51, 11]);
}

#[test]
fn rule_without_room_for_any_series_is_refused() {
    let error = Mapping::from_yaml("mappings:\n- {match: a, name: a, max_series: 0}\n").unwrap_err();
    assert!(error.to_string().contains("max_series must be at least 1; to record nothing"), "{error}");
}
