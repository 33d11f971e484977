//! What the options of mapping rules make of the page: form, buckets, quantiles, HELP and time-to-live, rule by rule.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard, SharedState};
use tallyd::export::ExportOutcome;
use tallyd::export::prometheus::{Format, Naming, QuarantineReason, Totals};
use tallyd::flush::{IdleReporting, ReloadableSettings, Rotator};
use tallyd::mapping::{HistogramOptions, Mapping};
use tallyd::model::{Overview, Percentile, Policies, Policy, Snapshot, Statistics};

const INTERVAL: Duration = Duration::from_secs(10);

/// Lines become a page, interval by interval.
struct Exporter {
    shard: Arc<Mutex<Shard>>,
    cutter: Rotator,
    totals: Totals,
    now: Duration,
}

/// With percentiles, bounds and a time-to-live of a minute where rules say nothing.
fn terms(yaml: &str) -> ReloadableSettings {
    let mut mapping = Mapping::from_yaml(yaml).unwrap();
    let percentiles = [50.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    let fallback = Policy {
        statistics: Statistics { percentiles, ..Statistics::default() },
        expire_after: [Duration::from_mins(1); 6],
        ..Policy::default()
    };
    let histograms = HistogramOptions { buckets: vec![0.5, 1.0], ..HistogramOptions::default() };
    let policies = mapping.govern(&fallback, &histograms);
    ReloadableSettings {
        mapping,
        policies,
        idle: IdleReporting::default(),
        limits: AggregationOptions::default().limits(),
    }
}

impl Exporter {
    fn new(yaml: &str) -> Self {
        let ReloadableSettings { mapping, policies, idle, .. } = terms(yaml);
        let shared = SharedState::mapped(AggregationOptions::default(), mapping);
        let shard = Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))));
        let cutter = Rotator::new(shared, vec![Arc::clone(&shard)], Policies::new(policies), idle);
        Self { shard, cutter, totals: Totals::new(Naming::StatsdExporter), now: Duration::ZERO }
    }

    /// An interval with these lines.
    fn add(&mut self, lines: &str) -> ExportOutcome {
        let snapshot = self.snapshot(lines);
        self.totals.add(&snapshot)
    }

    /// Likewise, whose snapshot is not added.
    fn snapshot(&mut self, lines: &str) -> Snapshot {
        self.shard.lock().record(lines.as_bytes());
        self.now += INTERVAL;
        let cut = self.cutter.cut(self.now);
        Snapshot {
            time: SystemTime::UNIX_EPOCH + self.now,
            interval: INTERVAL,
            policies: self.cutter.policies(),
            rows: cut.rows().clone(),
            events: Vec::new(),
            overview: Overview::default(),
        }
    }

    fn page(&self, format: Format) -> String {
        let mut page = Vec::new();
        let Ok(()) = format.render(&self.totals, |piece| -> Result<(), std::convert::Infallible> {
            page.extend_from_slice(piece);
            Ok(())
        });
        String::from_utf8(page).unwrap()
    }

    fn text(&self) -> String {
        self.page(Format::Text)
    }
}

#[test]
fn each_rule_decides_how_its_series_are_shown() {
    let mut exporter = Exporter::new(
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
fn defaults_of_the_rules_hold_for_series_without_a_rule_too() {
    let mut exporter = Exporter::new(
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
fn a_series_lives_as_long_as_its_rule_says() {
    let mut exporter = Exporter::new(
        "mappings: [{ match: short.*, name: short_$1, ttl: 20s }, { match: long.*, name: long_$1, ttl: 5m }]",
    );
    exporter.add("short.c:1|c\nlong.c:1|c\nplain:1|c\nshort.g:1|g\nlong.g:1|g\nplain.g:1|g");
    let mut alive = Vec::new();
    for _ in 0..40 {
        exporter.add("");
        let page = exporter.text();
        let names = page.lines().filter(|line| !line.starts_with('#'));
        alive.push(names.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>());
    }
    // A gauge is announced and then dropped, which takes up to two intervals more.
    assert_eq!(alive[0], ["long_c", "long_g", "plain", "plain_g", "short_c", "short_g"]);
    assert_eq!(alive[4], ["long_c", "long_g", "plain", "plain_g"]);
    assert_eq!(alive[9], ["long_c", "long_g"]);
    assert_eq!(alive[39], [""; 0]);
}

#[test]
fn the_first_of_the_rules_that_make_one_series_decides_whichever_line_came_first() {
    let yaml = "mappings:\n\
                - { match: a, name: x, ttl: 1s, observer_type: histogram }\n\
                - { match: b, name: x, observer_type: summary }";
    for lines in ["a:1|h\nb:1|h\nx:1|h", "x:1|h\nb:1|h\na:1|h"] {
        let mut exporter = Exporter::new(yaml);
        exporter.add(lines);
        let page = exporter.text();
        assert!(page.contains("# TYPE x histogram\n") && page.contains("x_count 3\n"), "{page}");
    }
}

#[test]
fn rules_that_give_one_family_two_types_are_told_as_a_conflict() {
    let mut exporter = Exporter::new(
        "mappings:\n\
         - { match: a.*, name: x, labels: { by: a }, observer_type: histogram }\n\
         - { match: b.*, name: x, labels: { by: b } }",
    );
    (0..2).for_each(|_| assert_eq!(exporter.add("a.a:1|h\nb.b:1|h"), type_conflicts(1)));
}

#[test]
fn new_options_hold_for_series_that_are_known_and_nothing_is_lost() {
    let yaml =
        |options: &str| format!("mappings: [{{ match: a.*, name: x, labels: {{ by: $1 }}, {options} }}]");
    let mut exporter = Exporter::new(&yaml("help: first"));
    let lines = "a.one:1|h\na.two:1|h\nc:1|c";
    exporter.add(lines);
    assert!(exporter.text().starts_with("# HELP c StatsD counter.\n# TYPE c counter\nc 1\n# HELP x first\n"));

    // Other percentiles and another HELP; totals go on.
    exporter.cutter.renew(terms(&yaml("help: second, summary_options: { quantiles: [{ quantile: 0.1 }] }")));
    assert_eq!(exporter.add(lines), ExportOutcome::default(), "the interval that is open keeps its rules");
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

    // Another form: the family begins anew, as soon as one of its series is seen; others that are idle are gone.
    exporter.cutter.renew(terms(&yaml("observer_type: histogram, histogram_options: { buckets: [1] }")));
    exporter.add(lines);
    assert_eq!(exporter.add("a.one:1:2|h"), ExportOutcome::default());
    let page = exporter.text();
    assert!(
        page.contains("# HELP x StatsD histogram.\n# TYPE x histogram\nx_bucket{by=\"one\",le=\"1\"} 1\n"),
        "{page}"
    );
    assert!(!page.contains("two") && page.contains("\nc 4\n"), "{page}");

    // Other buckets: what was counted in the old ones cannot go on.
    exporter.cutter.renew(terms(&yaml("observer_type: histogram, histogram_options: { buckets: [2, 3] }")));
    exporter.add(lines);
    exporter.add("a.one:3|h\na.two:3|h");
    let page = exporter.text();
    assert!(
        page.contains("x_bucket{by=\"one\",le=\"2\"} 0\nx_bucket{by=\"one\",le=\"3\"} 1\n")
            && page.contains("x_bucket{by=\"two\",le=\"3\"} 1\n")
            && page.contains("x_count{by=\"one\"} 1\n"),
        "{page}"
    );

    // And back to where it began, without any rule.
    exporter.cutter.renew(terms(""));
    exporter.add(lines);
    assert_eq!(exporter.add(lines), ExportOutcome::default());
    assert!(exporter.text().contains("\na_one{quantile=\"0.5\"} 1\n"), "{}", exporter.text());
}

/// As many series are kept off the page because their family is shown in another way.
fn type_conflicts(count: u64) -> ExportOutcome {
    let mut exported = ExportOutcome::default();
    exported.quarantined[QuarantineReason::TypeConflict as usize] = count;
    exported
}

#[test]
fn help_is_that_of_newer_rules_also_where_only_new_series_have_them() {
    let yaml = |of: &str, help: &str| {
        format!("mappings: [{{ match: {of}.*, name: x, labels: {{ by: $1 }}, help: {help} }}]")
    };
    let mut exporter = Exporter::new(&yaml("a", "first"));
    exporter.add("a.one:1|h");
    exporter.cutter.renew(terms(&yaml("b", "second")));
    exporter.add("");
    assert!(exporter.text().contains("# HELP x first\n"), "{}", exporter.text());
    exporter.add("b.two:1|h");
    let page = exporter.text();
    assert!(page.contains("# HELP x second\n") && page.contains("x_count{by=\"one\"} 1\n"), "{page}");
}

/// `a_b` stands behind `a.b` in each snapshot, and is 0 under the old rule.
#[test]
fn of_counters_that_are_added_up_an_idle_one_does_not_bring_old_rules_back() {
    let terms = |help: &str| {
        let rule = format!("mappings: [{{ match: '^(.*)$', match_type: regex, name: $1, help: {help} }}]");
        ReloadableSettings {
            idle: IdleReporting { zero_counters: true, ..IdleReporting::default() },
            ..terms(&rule)
        }
    };
    let mut exporter = Exporter::new("");
    exporter.cutter.renew(terms("first"));
    exporter.add("");
    exporter.add("a.b:1|c\na_b:1|c");
    exporter.cutter.renew(terms("second"));
    exporter.add("");
    for _ in 0..2 {
        exporter.add("a.b:1|c");
        assert!(exporter.text().contains("# HELP a_b second\n"), "{}", exporter.text());
    }
}

#[test]
fn a_family_begins_anew_also_where_only_new_series_want_another_form() {
    let mut exporter = Exporter::new("mappings: [{ match: a.*, name: x, labels: { old: $1 } }]");
    let lines = "a.one:1|h\na.two:1|h";
    exporter.add(lines);
    exporter
        .cutter
        .renew(terms("mappings: [{ match: a.*, name: x, labels: { new: $1 }, observer_type: histogram }]"));
    exporter.add(lines);
    assert_eq!(exporter.add(lines), type_conflicts(2));
    assert_eq!(exporter.add(lines), ExportOutcome::default());
    let page = exporter.text();
    assert!(page.contains("# TYPE x histogram\n") && page.contains("x_count{new=\"one\"} 1\n"), "{page}");
    assert!(!page.contains("old"), "{page}");
}

#[test]
fn a_family_begins_anew_also_where_the_exporter_lost_the_snapshot_that_said_so() {
    let yaml = |options: &str| format!("mappings: [{{ match: a, name: x, {options} }}]");
    let mut exporter = Exporter::new(&yaml("observer_type: summary"));
    exporter.add("a:1|h");
    exporter.cutter.renew(terms(&yaml("observer_type: histogram")));
    exporter.add("a:1|h");
    _ = exporter.snapshot("a:1|h");
    assert_eq!(exporter.add("a:1|h"), type_conflicts(1));
    assert!(exporter.text().contains("x_count 2\n"), "{}", exporter.text());
    assert_eq!(exporter.add("a:1|h"), ExportOutcome::default());
    let page = exporter.text();
    assert!(page.contains("# TYPE x histogram\n") && page.contains("x_bucket{le=\"1\"} 1\n"), "{page}");
}

/// The exporter does not know of the time that it lost, in which the series expired.
#[test]
fn what_comes_back_by_another_rule_is_counted_in_the_buckets_of_that_rule() {
    let yaml = "mappings:\n\
                - { match: a, name: x, observer_type: histogram, histogram_options: { buckets: [1] }, ttl: 20s }\n\
                - { match: b, name: x, observer_type: histogram, histogram_options: { buckets: [2] }, ttl: 20s }";
    let mut exporter = Exporter::new(yaml);
    exporter.add("a:0.5|h");
    (0..5).for_each(|_| _ = exporter.snapshot(""));
    exporter.add("b:1.5|h");
    let page = exporter.text();
    assert!(page.contains("x_bucket{le=\"2\"} 1\nx_bucket{le=\"+Inf\"} 1\n"), "{page}");
    assert!(!page.contains("le=\"1\""), "{page}");
}
