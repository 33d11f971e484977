//! Turns the names and tags of clients into legal names of families and labels, and knows the reserved names.

use std::borrow::Cow;
use std::iter;

use memchr::memchr2;

use crate::model::{Kind, RESERVED_PREFIX, Series};
use crate::text::name::{label, push_legal};
use crate::text::visible::visible;

/// The rules for naming families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// Prometheus' recommendation: counters end in `_total`, timings are in seconds and end in `_seconds`.
    Prometheus,
    /// The names of statsd_exporter: unchanged, with timings in seconds. A run of `-` becomes one `_`.
    StatsdExporter,
}

impl Naming {
    /// Returns the name of the family that a series belongs to.
    pub(super) fn family(self, series: &Series) -> String {
        let mut name = self.legal(series.name());
        let suffix = match series.kind() {
            _ if self == Self::StatsdExporter => "",
            Kind::Counter => "_total",
            Kind::Timing => "_seconds",
            _ => "",
        };
        if !name.ends_with(suffix) {
            name.push_str(suffix);
        }
        name
    }

    /// Returns a series as Prometheus shows it: `family{label="value"}`.
    pub(crate) fn exposed(self, series: &Series) -> String {
        let mut exposed = self.family(series);
        let (labels, _) = labels(series);
        if !labels.is_empty() {
            exposed.extend(["{", &labels, "}"]);
        }
        exposed
    }

    fn legal(self, name: &str) -> String {
        let mut legal = String::with_capacity(name.len() + 1);
        let mut previous = None;
        for character in name.chars() {
            let continues_run = character == '-' && previous == Some('-') && self == Self::StatsdExporter;
            if !continues_run {
                push_legal(&mut legal, character, ':');
            }
            previous = Some(character);
        }
        legal
    }
}

/// Returns the name of a tag's label. A name that Prometheus reserves gets the prefix `exported_`.
fn label_name(key: &str, is_distribution: bool) -> String {
    let mut name = label(key);
    let is_reserved = is_distribution && (name == "le" || name == "quantile");
    if is_reserved || name.starts_with("__") {
        name.insert_str(0, "exported_");
    }
    name
}

/// Returns the labels of a series, sorted, as text without the braces. Also returns true if two tags became one label,
/// which then has the last value. Hidden characters become visible, because people look at pages in a terminal.
pub(super) fn labels(series: &Series) -> (String, bool) {
    let is_distribution = matches!(series.kind(), Kind::Timing | Kind::Histogram | Kind::Distribution);
    // Prometheus ignores a label without a value, so a tag with an empty value makes no label.
    let tags = series.tags_as_sent().filter(|(_, value)| *value != Some(""));
    let mut labels: Vec<_> = tags.map(|(key, value)| (label_name(key, is_distribution), value)).collect();
    // A tag without a value comes before others of its name, whatever the order of the identity.
    labels.sort_by(|a, b| (&a.0, a.1.is_some()).cmp(&(&b.0, b.1.is_some())));
    let mut text = String::new();
    let mut merged = false;
    for same_name in labels.chunk_by(|a, b| a.0 == b.0) {
        merged |= same_name.len() > 1;
        let (name, value) = &same_name[same_name.len() - 1];
        push_label(&mut text, name, &visible(value.unwrap_or("true")));
    }
    (text, merged)
}

fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.extend([name, "=\""]);
    push_escaped(text, value);
    text.push('"');
}

fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(character),
        }
    }
}

/// Reads the names and values of labels from their text.
pub(super) fn pairs(labels: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let mut rest = labels;
    iter::from_fn(move || {
        let (name, quoted) = rest.split_once('=')?;
        let quoted = quoted.strip_prefix('"')?;
        let mut end = 0;
        let mut is_escaped = false;
        loop {
            end += memchr2(b'"', b'\\', quoted.as_bytes().get(end..)?)?;
            if quoted.as_bytes()[end] == b'"' {
                break;
            }
            is_escaped = true;
            end += 2;
        }
        let value = &quoted[..end];
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((name, if is_escaped { unescaped(value).into() } else { value.into() }))
    })
}

fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let is_escape = character == '\\';
        text.push(match if is_escape { characters.next() } else { None } {
            Some('n') => '\n',
            Some(escaped) => escaped,
            None => character,
        });
    }
    text
}

/// The names that Prometheus itself records for each target and for its alerts. A client's series with one of these
/// names would mix with Prometheus' own. For example, a client could claim that a target is `up`.
const NAMES_OF_PROMETHEUS: [&str; 10] = [
    "ALERTS",
    "ALERTS_FOR_STATE",
    "scrape_body_size_bytes",
    "scrape_duration_seconds",
    "scrape_sample_limit",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "up",
];

/// The names of families that no client may have.
#[derive(Debug, Clone, Default)]
pub(super) struct ReservedNames {
    /// The prefixes of names that belong to another program, whose metrics are served together with this page.
    pub(super) prefixes: Vec<String>,
}

impl ReservedNames {
    /// Returns true if the family of a series may not have this name.
    pub(super) fn forbids(&self, family: &str, series: &Series) -> bool {
        let belongs_to_tallyd = family.starts_with("tallyd_") && !series.name().starts_with(RESERVED_PREFIX);
        belongs_to_tallyd
            || NAMES_OF_PROMETHEUS.binary_search(&family).is_ok()
            || self.prefixes.iter().any(|prefix| family.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(kind: Kind, name: &str, tags: &[(&str, &str)]) -> Series {
        Series::new(kind, name, tags)
    }

    #[test]
    fn family_names_follow_the_naming() {
        let cases = [
            (Kind::Counter, "api.hits", "api_hits_total", "api_hits"),
            (Kind::Counter, "jobs_total", "jobs_total", "jobs_total"),
            (Kind::Timing, "api.latency", "api_latency_seconds", "api_latency"),
            (Kind::Histogram, "size", "size", "size"),
            (Kind::Gauge, "9.9", "_9_9", "_9_9"),
            (Kind::Gauge, "a/b c", "a_b_c", "a_b_c"),
            (Kind::Gauge, "a---b", "a___b", "a_b"),
            (Kind::Gauge, "a.-.b", "a___b", "a___b"),
            (Kind::Gauge, "ümlaut", "_mlaut", "_mlaut"),
            (Kind::Set, "--", "__", "_"),
        ];
        for (kind, name, prometheus, statsd_exporter) in cases {
            assert_eq!(Naming::Prometheus.family(&series(kind, name, &[])), prometheus);
            assert_eq!(Naming::StatsdExporter.family(&series(kind, name, &[])), statsd_exporter);
        }
    }

    #[test]
    fn labels_are_legal_sorted_and_escaped() {
        let of = |kind, tags: &[(&str, &str)]| labels(&series(kind, "a", tags));
        let cases: [(Kind, &[(&str, &str)], &str, bool); 10] = [
            (Kind::Counter, &[], "", false),
            (Kind::Counter, &[("b", "2"), ("a", "1")], r#"a="1",b="2""#, false),
            (
                Kind::Counter,
                &[("09digits", "0"), ("tag.with.dots", "")],
                r#"_09digits="0",tag_with_dots="true""#,
                false,
            ),
            (Kind::Counter, &[("le", "1")], r#"le="1""#, false),
            (
                Kind::Timing,
                &[("le", "1"), ("quantile", "2")],
                r#"exported_le="1",exported_quantile="2""#,
                false,
            ),
            (Kind::Gauge, &[("__name__", "x"), ("é", "y")], r#"_="y",exported___name__="x""#, false),
            (Kind::Gauge, &[("k", ""), ("k", "1")], r#"k="1""#, true),
            (Kind::Gauge, &[("a.b", "1"), ("a_b", "2")], r#"a_b="2""#, true),
            (Kind::Gauge, &[("k", "a\"b\\c\r")], r#"k="a\"b\\c\\r""#, false),
            (
                Kind::Gauge,
                &[("k", "\u{1b}[31m\u{9b}2J\u{202e}é")],
                r#"k="\\u{1b}[31m\\u{9b}2J\\u{202e}é""#,
                false,
            ),
        ];
        for (kind, tags, expected, merged) in cases {
            assert_eq!(of(kind, tags), (expected.to_owned(), merged), "{tags:?}");
        }
    }

    #[test]
    fn tag_with_an_empty_value_makes_no_label() {
        let of = |identity: &str| labels(&Series::from_identity(identity));
        assert_eq!(of("a\nk\n\nc"), (String::new(), false));
        assert_eq!(of("a\nk\n|\nl\n\nc"), (r#"k="true""#.to_owned(), false));
        assert_eq!(of("a\nk.\n1\nk_\n\nc"), (r#"k_="1""#.to_owned(), false));
    }

    #[test]
    fn names_of_tallyd_prometheus_and_other_programs_are_reserved() {
        assert!(NAMES_OF_PROMETHEUS.is_sorted());
        let reserved = ReservedNames { prefixes: vec!["node_".to_owned()] };
        let forbids = |family, name| reserved.forbids(family, &series(Kind::Gauge, name, &[]));
        for name in ["tallyd_lines", "up", "scrape_duration_seconds", "ALERTS", "node_load1"] {
            assert!(forbids(name, name), "{name}");
        }
        for name in ["tallyd", "up_since", "scrape_pages", "nodes", "my_node_load1"] {
            assert!(!forbids(name, name), "{name}");
        }
        assert!(!forbids("tallyd_lines_total", "tallyd.lines"));
        assert!(!ReservedNames::default().forbids("node_load1", &series(Kind::Gauge, "node_load1", &[])));
    }

    fn written(labels: &[(&str, &str)]) -> String {
        let mut text = String::new();
        labels.iter().for_each(|(name, value)| push_label(&mut text, name, value));
        text
    }

    #[test]
    fn labels_are_read_as_they_were_written() {
        const VALUES: [&str; 19] = [
            "", "1", "\"", "\"\"", "\\", "\\\\", "\n", "\\n", "\\\n", "\"\\", "\\\"", "\",x=\"", ",", "=",
            "}", "\r", "\0", "\u{feff}", "é🦀",
        ];
        for (first, second) in VALUES.iter().flat_map(|first| VALUES.map(|second| (*first, second))) {
            let text = written(&[("a", first), ("b", second), ("c", "2")]);
            let expected = [("a", first.into()), ("b", second.into()), ("c", "2".into())];
            assert_eq!(pairs(&text).collect::<Vec<_>>(), expected, "{text}");
        }
        assert_eq!(pairs("").next(), None);
    }

    proptest! {
        #[test]
        fn any_labels_are_read_as_they_were_written(
            labels in prop::collection::vec(("[a-z_]{1,3}", "[\"\\\\n\n,={}é]{0,8}|(?s).{0,4}"), 0..4),
        ) {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            let text = written(&labels);
            let read: Vec<_> = pairs(&text).collect();
            let read: Vec<_> = read.iter().map(|(name, value)| (*name, &**value)).collect();
            prop_assert_eq!(read, labels);
        }
    }
}
