//! Tests that no random stream of hostile lines makes the page invalid, even if the rules change.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tallyd::aggregate::AggregationOptions;
use tallyd::export::prometheus::{Format, Naming};
use tallyd::flush::ReloadableSettings;
use tallyd::mapping::HistogramOptions;
use tallyd::model::{Exposition, Percentile, Policy, Statistics};
use tallyd_harness::process::promtool;
use tallyd_harness::strict;

use crate::exporter::{Exporter, INTERVAL};
use crate::pipeline;

/// The rules between which a stream switches. Some take names and labels from the lines, and some give one family
/// several expositions.
const RULES: [&str; 3] = [
    "",
    r#"
mappings:
- { match: 'a.*', name: 'a_$1', observer_type: histogram, histogram_options: { buckets: [0.5, 1] }, ttl: 15s }
- { match: '^(.)_', match_type: regex, name: '$1', observer_type: native, help: "a \\ \"b\"\nc" }
- { match: '*.*', name: 'x', labels: { le: '$1', quantile: '$2', __name__: '$1' }, ttl: 25s }
"#,
    r"
defaults: { observer_type: histogram, histogram_options: { native_histogram_bucket_factor: 1.1 } }
mappings:
- { match: 'a.*', name: 'a_$1', observer_type: summary, summary_options: { quantiles: [{ quantile: 1 }] } }
- { match: '*.*', name: 'x', labels: { kv: '$2' }, help: '# TYPE x gauge' }
",
];

fn settings(rules: &str, exposition: Exposition) -> ReloadableSettings {
    let percentiles = [0.1, 50.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    let bounds = if exposition == Exposition::Histogram { vec![-1.0, 0.001, 1e6] } else { Vec::new() };
    let fallback = Policy {
        statistics: Statistics { percentiles, bounds: bounds.clone(), ..Statistics::default() },
        exposition,
        expire_after: [2 * INTERVAL; 6],
        ..Policy::default()
    };
    let histograms = HistogramOptions { buckets: bounds, ..HistogramOptions::default() };
    pipeline::settings(rules, &fallback, &histograms)
}

/// The lines of an interval, and the rules that take effect with the next one.
#[derive(Debug, Clone)]
struct Interval {
    lines: Vec<Vec<u8>>,
    rules: Option<&'static str>,
}

/// Returns the page after each interval, in the text format with legal names and with those of clients.
fn pages(naming: Naming, exposition: Exposition, intervals: &[Interval]) -> Vec<[String; 2]> {
    // tallyd keeps only a few values exactly, so that histograms summarize some series.
    let options = AggregationOptions { exact_values: 4, exact_members: 4, ..AggregationOptions::default() };
    let mut exporter = Exporter::new(naming, options, settings("", exposition));
    let pages = intervals.iter().map(|Interval { lines, rules }| {
        if let Some(rules) = rules {
            exporter.reload(settings(rules, exposition));
        }
        exporter.add(lines.join(&b'\n'));
        [Format::Text, Format::TextUtf8].map(|format| exporter.page(format))
    });
    pages.collect()
}

/// Generates a piece of a name, a key or a value. Most pieces have a meaning in some format or in tallyd. The others
/// are any bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 40] = [
        b"",
        b"a",
        b"b",
        b"_",
        b".",
        b"-",
        b"--",
        b"7",
        b"x",
        b"\xc3\xa9",
        b"\"",
        b"\\",
        b"\\n",
        b"{",
        b"}",
        b"=",
        b" ",
        b"_count",
        b"_sum",
        b"_bucket",
        b"_total",
        b"_seconds",
        b"_created",
        b"_info",
        b"le",
        b"quantile",
        b"__name__",
        b"exported_le",
        b"tallyd",
        b"tallyd.lines",
        b"up",
        b"ALERTS",
        b"\r",
        b"\t",
        b"\0",
        b"\xff",
        b"\xf0\x9f\xa6\x80",
        b"# HELP",
        b"+Inf",
        b"NaN",
    ];
    prop_oneof![12 => select(&PIECES[..]).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 1..4)]
}

fn text(pieces: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(piece(), pieces).prop_map(|pieces| pieces.concat())
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    const TYPES: [&str; 8] = ["c", "g", "ms", "h", "d", "s", "m", "kv"];
    const NUMBERS: [&str; 16] = [
        "0",
        "-0",
        "1",
        "+1",
        "-1",
        "0.1",
        "1e308",
        "-1e308",
        "1.7976931348623157e308",
        "5e-324",
        "-5e-324",
        "1e15",
        "9007199254740993",
        "NaN",
        "inf",
        "0x1",
    ];
    const RATES: [&str; 6] = ["", "", "|@0.3", "|@1e-300", "|@1", "|@0.0000001"];
    let number = prop_oneof![2 => select(&NUMBERS[..]).prop_map(str::to_owned), 1 => (-1e3..1e3_f64).prop_map(|number| number.to_string())];
    let values = vec(number, 1..6).prop_map(|numbers| numbers.join(":"));
    let tags = vec((text(0..3), text(0..3)), 0..4).prop_map(|tags| {
        let tags: Vec<_> = tags.into_iter().map(|(key, value)| [key, value].join(&b':')).collect();
        if tags.is_empty() { Vec::new() } else { [b"|#", &tags.join(&b',')[..]].concat() }
    });
    let metric = (text(1..4), values, select(&TYPES[..]), select(&RATES[..]), tags).prop_map(
        |(name, values, kind, rate, tags)| {
            [&name[..], b":", values.as_bytes(), b"|", kind.as_bytes(), rate.as_bytes(), &tags[..]].concat()
        },
    );
    let check =
        (text(1..3), "[0-4]").prop_map(|(name, state)| [b"_sc|", &name[..], b"|", state.as_bytes()].concat());
    prop_oneof![20 => metric, 1 => check, 1 => vec(any::<u8>(), 0..40)]
}

fn stream() -> impl Strategy<Value = Vec<Interval>> {
    let rules = prop::option::weighted(0.3, select(&RULES[..]));
    let interval = (vec(line(), 0..40), rules).prop_map(|(lines, rules)| Interval { lines, rules });
    vec(interval, 1..6)
}

fn naming() -> impl Strategy<Value = Naming> {
    select(&[Naming::Prometheus, Naming::StatsdExporter][..])
}

fn exposition() -> impl Strategy<Value = Exposition> {
    select(&[Exposition::Summary, Exposition::Histogram, Exposition::Native][..])
}

proptest! {
    #[test]
    fn no_stream_makes_a_page_invalid(naming in naming(), exposition in exposition(), stream in stream()) {
        for [page, utf8_page] in pages(naming, exposition, &stream) {
            prop_assert_eq!(strict::check(&page), Ok(()), "{}", page);
            prop_assert_eq!(strict::check_utf8(&utf8_page), Ok(()), "{}", utf8_page);
            prop_assert_eq!(page.lines().count(), utf8_page.lines().count());
        }
    }
}

proptest! {
    // Few cases, because each of them starts promtool.
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    #[ignore = "needs promtool; run make test"]
    fn promtool_can_read_the_page_of_any_stream(naming in naming(), exposition in exposition(), stream in stream()) {
        const LINT: i32 = 3;
        let file = tempfile::NamedTempFile::new().unwrap();
        // The test checks the longest page, because the series of the last page may be idle.
        let pages = pages(naming, exposition, &stream).into_iter();
        let page = pages.map(|[page, _]| page).max_by_key(String::len).unwrap();
        fs::write(file.path(), &page).unwrap();
        let (code, remarks) = promtool(file.path());
        prop_assert!(matches!(code, Some(0 | LINT)), "{}\n{}", remarks, page);
    }
}

/// Each case replaces a part of a valid page with an invalid one, and has a word of the error.
#[test]
fn strict_reader_accepts_valid_pages_and_rejects_invalid_ones() {
    const GAUGE: &str =
        "# HELP g A \\\\ and a \\n.\n# TYPE g gauge\ng -1.5e300\ng{a=\"\\\\\\\"\\n\",b=\"}\"} 0\n";
    const SUMMARY: &str = "# HELP s S.\n# TYPE s summary\ns{a=\"b\",quantile=\"0.5\"} 1\ns{a=\"b\",quantile=\"1\"} 2\n\
                           s_sum{a=\"b\"} 3\ns_count{a=\"b\"} 2\ns_sum 0\ns_count 0\n";
    const HISTOGRAM: &str = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"-1\"} 0\nh_bucket{le=\"2\"} 1\n\
                             h_bucket{le=\"+Inf\"} 3\nh_sum 0.5\nh_count 3\n";
    const COUNTER: &str = "# HELP c_total C.\n# TYPE c_total counter\nc_total 1\n";
    let all = [COUNTER, GAUGE, HISTOGRAM, SUMMARY].concat();
    assert_eq!(["", &all].map(strict::check), [const { Ok(()) }; 2]);
    let cases = [
        (COUNTER, " 1\n", " 1", "line feed"),
        (COUNTER, " 1\n", " 1\n\n", "nothing after a name"),
        (COUNTER, " 1\n", " -1\n", "below zero"),
        (COUNTER, " 1\n", " 1 1000\n", "number"),
        (COUNTER, " 1\n", " NaN\n", "number"),
        (COUNTER, " 1\n", " 1\nc_total 1\n", "twice"),
        (COUNTER, " 1\n", " 1\nc 1\n", "another family"),
        (COUNTER, "c_total 1\n", "", "without lines"),
        (COUNTER, "# HELP c_total C.\n", "", "HELP"),
        (COUNTER, "# TYPE c_total counter\n", "", "TYPE"),
        (COUNTER, "TYPE c_total counter", "TYPE c counter", "TYPE"),
        (COUNTER, "TYPE c_total counter", "TYPE c_total unknown", "type"),
        (COUNTER, "C.", "C\\.", "backslash"),
        (COUNTER, "C.\n", "C.\n# a comment\n", "TYPE"),
        (GAUGE, "\ng{", "\ng{}", "illegal name"),
        (GAUGE, "{a", "{__a", "name of a label"),
        (GAUGE, "{a", "{1", "illegal name"),
        (GAUGE, "{a=", "{\"a.b\"=", "illegal name"),
        (GAUGE, "\ng{", "\n{\"g.h\",", "illegal name"),
        (GAUGE, ",b", ",a", "label twice"),
        (GAUGE, ",b", "b", "comma"),
        (GAUGE, "\"}\"", "\"\"", "without value"),
        (GAUGE, "\\n\",b", "\\t\",b", "backslash"),
        (GAUGE, "=\"\\\\\\\"\\n\",b=\"}\"", "=\"\\\"", "end of a text"),
        (GAUGE, "} 0", "}0", "no space"),
        (SUMMARY, "s_sum{a=\"b\"} 3\n", "", "sum and count"),
        (SUMMARY, "s_sum{a=\"b\"} 3\n", "s_sum 3\n", "other labels"),
        (SUMMARY, "s_sum 0\ns_count 0\n", "s_sum{a=\"b\"} 0\ns_count{a=\"b\"} 0\n", "twice"),
        (SUMMARY, "s_sum 0\n", "s_sum{quantile=\"1\"} 0\n", "other labels"),
        (SUMMARY, "quantile=\"1\"", "quantile=\"0.5\"", "order"),
        (SUMMARY, "quantile=\"1\"", "quantile=\"1.1\"", "beyond"),
        (SUMMARY, "} 2\ns_sum", "} 0\ns_sum", "fall"),
        (SUMMARY, "s_count 0", "s_count -1", "below zero"),
        (HISTOGRAM, "h_bucket{le=\"+Inf\"} 3\n", "", "hold all"),
        (HISTOGRAM, "h_count 3", "h_count 4", "hold all"),
        (HISTOGRAM, "le=\"2\"} 1", "le=\"2\"} 4", "fall"),
        (HISTOGRAM, "le=\"2\"", "le=\"-2\"", "order"),
        (HISTOGRAM, "{le=\"2\"}", "", "without its label"),
        (HISTOGRAM, "h_sum 0.5\n", "h_sum 0.5\nh 1\n", "sum and count"),
    ];
    for (page, right, wrong, why) in cases {
        assert!(page.contains(right), "{right} in {page}");
        let said = strict::check(&page.replacen(right, wrong, 1));
        assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{wrong:?}: {said:?}");
    }
    for (one, other) in
        [("c_total", "h_bucket"), ("c_total", "s_count"), ("c_total", "s"), ("s", "h_sum"), ("c_total", "h")]
    {
        let said = strict::check(&all.replace(one, other));
        assert!(said.is_err(), "{one} as {other}");
    }
}

#[test]
fn strict_reader_of_version_1_0_0_wants_quotes_around_names_that_are_not_legal_and_only_there() {
    const PAGE: &str = r#"# HELP "page.views" P.
# TYPE "page.views" counter
{"page.views"} 1
{"page.views",zone="b","zone.id"="c\""} 1
# HELP "s\"\\" S.
# TYPE "s\"\\" summary
{"s\"\\",a="b",quantile="0.5"} 1
{"s\"\\_sum",a="b"} 3
{"s\"\\_count",a="b"} 2
# HELP x X.
# TYPE x gauge
x 1
x{"é"="}"} 1
"#;
    assert_eq!(strict::check_utf8(PAGE), Ok(()));
    assert!(strict::check(PAGE).is_err());
    let cases = [
        ("TYPE \"page.views\"", "TYPE page.views", "TYPE"),
        ("HELP \"page.views\"", "HELP page.views", "illegal"),
        ("\n{\"page.views\"} ", "\npage.views ", "illegal"),
        ("\n{\"page.views\"} ", "\n{\"page.views\"}{} ", "space"),
        ("\n{\"page.views\"} ", "\n{page.views} ", "nothing"),
        ("\"zone.id\"", "zone.id", "illegal"),
        ("zone=", "\"zone\"=", "must not"),
        ("zone=\"b\"", "\"zone.id\"=\"b\"", "twice"),
        ("\"zone.id\"", "\"__zone.id\"", "reserved"),
        ("\nx 1", "\n{\"x\"} 1", "must not"),
        ("HELP x ", "HELP \"x\" ", "must not"),
        ("\"é\"", "\"é\\t\"", "backslash"),
        ("\"é\"", "\"\t\"", "must not"),
        ("\"é\"", "\"\"", "must not"),
        ("{\"s\\\"\\\\_sum\",a", "{\"s\\\"\\_sum\",a", "backslash"),
        ("{\"s\\\"\\\\_sum\",a", "{\"s.sum\",a", "sum and count"),
    ];
    for (right, wrong, why) in cases {
        assert!(PAGE.contains(right), "{right}");
        let said = strict::check_utf8(&PAGE.replacen(right, wrong, 1));
        assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{wrong:?}: {said:?}");
    }
}
