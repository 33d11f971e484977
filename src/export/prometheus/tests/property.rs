//! Compares the totals with the naive ones, over snapshots with conflicts of all kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use strum::VariantArray;

use super::naive::NaiveTotals;
use super::{page, text};
use crate::export::prometheus::encode::decoded;
use crate::export::prometheus::names::{split_quoted, utf8_pairs};
use crate::export::prometheus::{Format, Naming, SavedTotals, Totals};
use crate::model::{
    Exposition, HeldPolicy, Kind, NativeHistogram, NativeSettings, Percentile, Policies, Policy, PolicyId,
    Rows, Series, Snapshot, Statistics, Summary, Value,
};

/// Generates series whose names, kinds and tags conflict.
fn series() -> impl Strategy<Value = Series> {
    const NAMES: [&str; 18] = [
        "a",
        "a.b",
        "a-b",
        "a.b_total",
        "a_sum",
        "a_count",
        "a_bucket",
        "a_total",
        "a.total",
        "a\"{\\\u{e9} .",
        "a_created",
        "a.b_created",
        "a_seconds",
        "a_count_sum",
        "tallyd.a",
        "tallyd_a",
        "up",
        "z",
    ];
    const TAGS: [&[(&str, &str)]; 7] = [
        &[],
        &[("k", "1")],
        &[("k", "")],
        &[("k.", "1"), ("k_", "2")],
        &[("k.", "1")],
        &[("le", "1"), ("quantile", "1")],
        &[("9\",=}\\", "} \""), ("._x", "2"), ("__x", "3")],
    ];
    let kinds = select(Kind::VARIANTS);
    (kinds, prop::sample::select(&NAMES[..]), prop::sample::select(&TAGS[..]))
        .prop_map(|(kind, name, tags)| Series::new(kind, name, tags))
}

/// Generates policies with all options of rules.
fn policy() -> impl Strategy<Value = Policy> {
    const PERCENTILES: [&[f64]; 4] = [&[], &[50.0], &[25.0, 50.0], &[50.0, 99.0]];
    const BOUNDS: [&[f64]; 5] = [&[], &[2.0], &[5.0], &[2.0, 5.0], &[-1.0, 2.0, 7.0, 9.0]];
    let exposition = select(&[Exposition::Summary, Exposition::Histogram, Exposition::Native][..]);
    let schema = prop_oneof![2 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(3))];
    let expire_after = prop::array::uniform6((1..40_u64).prop_map(Duration::from_secs));
    (exposition, select(&PERCENTILES[..]), select(&BOUNDS[..]), schema, expire_after, "[a-c]").prop_map(
        |(exposition, percentiles, bounds, schema, expire_after, help)| {
            let bounds = if exposition == Exposition::Histogram { bounds.to_vec() } else { Vec::new() };
            let schema = match exposition {
                Exposition::Summary => None,
                Exposition::Histogram => schema,
                Exposition::Native => Some(schema.unwrap_or(1)),
            };
            let native = schema.map(|schema| NativeSettings { schema, max_buckets: 0 });
            let percentiles = percentiles.iter().copied().filter_map(Percentile::new).collect();
            let statistics = Statistics { percentiles, bounds, native };
            Policy { help: help.into(), statistics, exposition, expire_after, ..Policy::default() }
        },
    )
}

/// The events of an interval.
#[derive(Debug, Clone)]
struct Interval {
    seconds: u64,
    /// True if other rules take effect at the end of the interval.
    reloads: bool,
    /// True if the exporter is too slow and never sees the snapshot.
    is_lost: bool,
    /// True if tallyd was restarted before the interval, and its state was restored.
    is_after_restart: bool,
    /// The row of each series, if it has one.
    sent: Vec<Option<Sent>>,
}

#[derive(Debug, Clone)]
struct Sent {
    number: f64,
    /// The rule that matched a line. `None` means that there was no line, and the series is still reported.
    rule: Option<usize>,
    /// True if the flush dropped the series. With a line, it comes back as a new one, and the exporter does not know
    /// that it was away.
    was_dropped: bool,
}

fn interval() -> impl Strategy<Value = Interval> {
    let number = prop_oneof![4 => 0.0..9.0, 1 => -3.0..0.0, 1 => Just(1e308)];
    let rule = prop::option::weighted(0.8, 0..3_usize);
    let sent = (number, rule, prop::bool::weighted(0.05)).prop_map(|(number, rule, was_dropped)| Sent {
        number,
        rule,
        was_dropped,
    });
    let chance = prop::bool::weighted;
    (1..20_u64, chance(0.2), chance(0.1), chance(0.2), vec(prop::option::of(sent), 20)).prop_map(
        |(seconds, reloads, is_lost, is_after_restart, sent)| Interval {
            seconds,
            reloads,
            is_lost,
            is_after_restart,
            sent,
        },
    )
}

/// Makes snapshots as the flush does.
struct Flush {
    policies: Arc<Policies>,
    /// The rules of later generations, in order.
    reloads: std::vec::IntoIter<Vec<Policy>>,
    /// The policy of each series, by its latest line.
    known: BTreeMap<Series, HeldPolicy>,
    time: Duration,
}

impl Flush {
    /// Starts a generation of rules. After a restart, the rules are the same ones in a new generation.
    fn change_rules(&mut self, rules: Policies) {
        let earlier = std::mem::replace(&mut self.policies, Arc::new(rules));
        let carried = self.policies.carried_from(&earlier);
        self.known.values_mut().for_each(|policy| *policy = policy.carry_over(&carried));
    }

    fn snapshot(
        &mut self,
        pool: &BTreeSet<Series>,
        Interval { seconds, reloads, sent, .. }: Interval,
    ) -> Snapshot {
        let mut rows = Vec::new();
        for (series, sent) in pool.iter().zip(sent) {
            let mut reported = None;
            if let Some(Sent { number, rule, was_dropped }) = sent {
                if was_dropped {
                    self.known.remove(series);
                }
                let known = self.known.get(series).copied();
                if let Some(rule) = rule {
                    let policy = PolicyId::new((rule % self.policies.iter().count()) as u32);
                    let present = known.filter(|known| !known.gives_way_to(policy));
                    self.known.insert(series.clone(), present.unwrap_or(HeldPolicy::assigned(policy)));
                }
                if rule.is_some() || !has_summary(series) {
                    reported = Some(number);
                }
            }
            // A series that is alive is in the snapshot, even without a row.
            if let Some(policy) = self.known.get(series).map(|policy| policy.id()) {
                let value = reported.map(|number| value(series, number, self.policies.get(policy)));
                rows.push((series.clone(), value, policy));
            }
        }
        let policies = Arc::clone(&self.policies);
        // Rules that were read in this interval take effect in the next one.
        if reloads && let Some(rules) = self.reloads.next() {
            self.change_rules(Policies::new(rules));
        }
        let interval = Duration::from_secs(seconds);
        self.time += interval;
        let rows = Rows::new(
            Arc::new(rows.iter().map(|(series, ..)| series.clone()).collect()),
            Arc::new(rows.iter().map(|(.., policy)| *policy).collect()),
            rows.into_iter().map(|(_, value, _)| value).collect(),
        );
        Snapshot { time: SystemTime::UNIX_EPOCH + self.time, interval, policies, ..rows.into() }
    }
}

/// Returns the totals that another process restores from these.
fn restarted(totals: &Totals) -> Totals {
    let bytes = totals.encode();
    let mut restored = Totals::new(totals.naming).with_utf8_names(true);
    let live: Vec<_> = totals.placements.iter().map(|(series, _)| series.clone()).collect();
    assert!(restored.restore(SavedTotals::decode(&bytes).unwrap(), Duration::ZERO, &live));
    assert_eq!(restored.encode(), bytes);
    restored
}

fn has_summary(series: &Series) -> bool {
    matches!(series.kind(), Kind::Timing | Kind::Histogram | Kind::Distribution)
}

/// Creates the value of a row, with the statistics that its policy wants.
fn value(series: &Series, number: f64, policy: &Policy) -> Value {
    let Statistics { percentiles, bounds, native } = &policy.statistics;
    match series.kind() {
        Kind::Counter => Value::Counter(number),
        Kind::Gauge => Value::Gauge(number),
        Kind::Set => Value::Set(number),
        Kind::Timing | Kind::Histogram | Kind::Distribution => Value::Summary(Box::new(Summary {
            count: 3.0,
            sum: 3.0 * number,
            percentiles: percentiles.iter().map(|percentile| number + percentile.percent()).collect(),
            buckets: (1..=bounds.len()).map(|place| place.min(3) as f64).collect(),
            native: native.map(|NativeSettings { schema, .. }| {
                Box::new(NativeHistogram::new(schema, 1.0, [(number as i32 % 100, 2.0)], []))
            }),
            ..Summary::default()
        })),
    }
}

/// Returns two lists of lines of an OpenMetrics page. The first has the lines with values, sorted, with bounds as in
/// the text format. The second has the `_created` lines. Checks that families are contiguous, and that no two families
/// could have the same line.
fn lines_of_openmetrics(page: &str) -> [Vec<String>; 2] {
    let mut claimed = BTreeSet::new();
    let mut own = Vec::new();
    let mut time = None;
    let [mut lines, mut times] = [Vec::new(), Vec::new()];
    let body = page.strip_suffix("# EOF\n").unwrap();
    for line in body.lines().filter(|line| !line.starts_with("# HELP ")) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, type_name) = family.split_once(' ').unwrap();
            let suffixes: &[&str] = match type_name {
                "counter" => &["", "_total", "_created"],
                "summary" => &["", "_sum", "_count", "_created"],
                "histogram" => &["", "_bucket", "_sum", "_count", "_created"],
                _ => &[""],
            };
            own = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
            for name in &own {
                assert!(claimed.insert(name.clone()), "{name} clashes: {page}");
            }
            time = suffixes.contains(&"_created").then(|| format!("{name}_created"));
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(own.iter().any(|own| own == name), "{line} does not belong to {own:?}: {page}");
            let lines = if Some(name) == time.as_deref() { &mut times } else { &mut lines };
            lines.push(line.replace(".0\"", "\""));
        }
    }
    lines.sort();
    [lines, times]
}

/// Replaces all names of a page in one of the text formats by legal ones.
fn with_legal_names(page: &str, naming: Naming) -> String {
    page.lines().map(|line| with_legal_names_in_line(line, naming) + "\n").collect()
}

fn with_legal_names_in_line(line: &str, naming: Naming) -> String {
    let runs_are_one = naming == Naming::StatsdExporter;
    for about in ["# HELP ", "# TYPE "] {
        if let Some((name, rest)) = line.strip_prefix(about).and_then(split_quoted) {
            return format!("{about}{}{rest}", legal(&name, runs_are_one));
        }
    }
    if line.starts_with('#') {
        return line.to_owned();
    }
    // The value of the line has no brace.
    let Some((head, value)) = line.rsplit_once("} ") else { return line.to_owned() };
    let (name, labels) = head.split_once('{').unwrap();
    let (name, labels) = match split_quoted(labels) {
        Some((quoted, rest)) if name.is_empty() => {
            (legal(&quoted, runs_are_one), rest.strip_prefix(',').unwrap_or(rest))
        }
        _ => (name.to_owned(), labels),
    };
    let labels: Vec<_> = utf8_pairs(labels)
        .map(|(label, value)| {
            let label = legal(&label, false);
            let prefix = if label.starts_with("__") { "exported_" } else { "" };
            format!("{prefix}{label}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
        })
        .collect();
    if labels.is_empty() {
        return format!("{name} {value}");
    }
    format!("{name}{{{}}} {value}", labels.join(","))
}

/// Replaces all illegal characters of a name.
fn legal(name: &str, runs_are_one: bool) -> String {
    let mut name = name.to_owned();
    while runs_are_one && name.contains("--") {
        name = name.replace("--", "-");
    }
    let digit = name.starts_with(|first: char| first.is_ascii_digit());
    let characters =
        name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' });
    digit.then_some('_').into_iter().chain(characters).collect()
}

proptest! {
    // A case takes half a millisecond. Only many cases cover the conflicts between policies.
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn totals_and_all_formats_agree_with_the_naive_totals_over_restarts(
        naming in select(&[Naming::Prometheus, Naming::StatsdExporter][..]),
        pool in vec(series(), 1..20),
        rules in vec(vec(policy(), 1..4), 1..4),
        intervals in vec(interval(), 1..12),
    ) {
        let pool: BTreeSet<_> = pool.into_iter().collect();
        let mut rules = rules.into_iter();
        let mut flush = Flush {
            policies: Arc::new(Policies::new(rules.next().unwrap())),
            reloads: rules,
            known: BTreeMap::new(),
            time: Duration::ZERO,
        };
        let mut naive = NaiveTotals::new(naming);
        let mut totals = Totals::new(naming).with_utf8_names(true);
        for interval in intervals {
            let is_lost = interval.is_lost;
            // Gauges of tallyd itself are not saved, so another series could take their names.
            if interval.is_after_restart && !pool.iter().any(Series::is_own) {
                flush.change_rules(Policies::clone(&flush.policies));
                let page = text(&totals, Format::Text);
                totals = restarted(&totals);
                prop_assert_eq!(text(&totals, Format::Text), page);
            }
            let snapshot = flush.snapshot(&pool, interval);
            if is_lost {
                continue;
            }
            let policies = &*snapshot.policies;
            prop_assert_eq!(totals.add(&snapshot), naive.add(&snapshot));
            let page_text = text(&totals, Format::Text);
            prop_assert_eq!(&page_text, &naive.page(policies));
            let mut lines: Vec<_> = page_text.lines().filter(|line| !line.starts_with('#')).collect();
            lines.sort_unstable();
            let [values, times] = lines_of_openmetrics(&text(&totals, Format::OpenMetrics));
            prop_assert_eq!(&values, &lines);
            let expected = naive.created_lines();
            prop_assert!(times.iter().all(|line| expected.contains(line)), "{:?} {:?}", times, expected);
            let messages = page(&totals, Format::Protobuf);
            prop_assert_eq!(&decoded::as_text(&messages), &page_text);
            prop_assert_eq!(decoded::schemas(&messages), naive.schemas(policies));

            // The pages with UTF-8 names say the same under other names.
            let utf8_text = text(&totals, Format::TextUtf8);
            prop_assert_eq!(&with_legal_names(&utf8_text, naming), &page_text);
            let openmetrics = with_legal_names(&text(&totals, Format::OpenMetricsUtf8), naming);
            let [values, times] = lines_of_openmetrics(&openmetrics);
            prop_assert_eq!(values, lines);
            prop_assert!(times.iter().all(|line| expected.contains(line)), "{:?} {:?}", times, expected);
            prop_assert_eq!(decoded::as_text(&page(&totals, Format::ProtobufUtf8)), utf8_text);
        }
    }
}
