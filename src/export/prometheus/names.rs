//! Turns the names and tags of clients into legal names of families and labels, and knows the reserved names.

use std::borrow::Cow;
use std::iter;

use memchr::memchr2;

use crate::model::{Kind, RESERVED_PREFIX, Series};
use crate::text::name::{label, push_legal};
use crate::text::visible::{is_hidden, visible};

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

    /// Returns the name of a series' family with the characters that the client sent, as the text formats write it in
    /// quotes. Returns `None` if it is the family's name, which is legal. tallyd's own families have no other name,
    /// because alerts and dashboards name them.
    ///
    /// [`family`](Self::family) would turn the name into that of the family. So two families never have the same one.
    pub(super) fn utf8_family(self, series: &Series, family: &str) -> Option<String> {
        if series.is_own() {
            return None;
        }
        let suffix = &family[self.legal(series.name()).len()..];
        let name = without_hidden(series.name()) + suffix;
        (name != family).then(|| escaped(&name))
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

/// Returns a name with `_` instead of each hidden character. An escape would be readable, but another client can send
/// the same characters as the escape, and two series would look alike.
fn without_hidden(name: &str) -> String {
    name.chars().map(|character| if is_hidden(character) { '_' } else { character }).collect()
}

/// Returns the name of a tag's label. A name that Prometheus reserves gets the prefix `exported_`.
fn label_name(key: &str, is_distribution: bool) -> String {
    unreserved(label(key), is_distribution)
}

/// Returns the name of a tag's label with the characters that the client sent.
fn utf8_label_name(key: &str, is_distribution: bool) -> String {
    let name = if key.is_empty() { label(key) } else { without_hidden(key) };
    unreserved(name, is_distribution)
}

fn unreserved(mut name: String, is_distribution: bool) -> String {
    let is_reserved = is_distribution && (name == "le" || name == "quantile");
    if is_reserved || name.starts_with("__") {
        name.insert_str(0, "exported_");
    }
    name
}

fn is_distribution(series: &Series) -> bool {
    matches!(series.kind(), Kind::Timing | Kind::Histogram | Kind::Distribution)
}

/// A tag that becomes a label.
struct Label<'a> {
    name: String,
    key: &'a str,
    value: Option<&'a str>,
}

/// Calls `each` with the labels of a series and their values, sorted by name. Returns true if two tags became one label,
/// which then is the last one. Hidden characters become visible, because people look at pages in a terminal.
fn for_each_label(series: &Series, mut each: impl FnMut(&Label<'_>, &str)) -> bool {
    let is_distribution = is_distribution(series);
    // Prometheus ignores a label without a value, so a tag with an empty value makes no label.
    let tags = series.tags_as_sent().filter(|(_, value)| *value != Some(""));
    let mut labels: Vec<_> =
        tags.map(|(key, value)| Label { name: label_name(key, is_distribution), key, value }).collect();
    // A tag without a value comes before others of its name, whatever the order of the identity.
    labels.sort_by(|a, b| (&a.name, a.value.is_some()).cmp(&(&b.name, b.value.is_some())));
    let mut merged = false;
    for same_name in labels.chunk_by(|a, b| a.name == b.name) {
        merged |= same_name.len() > 1;
        let label = &same_name[same_name.len() - 1];
        each(label, &visible(label.value.unwrap_or("true")));
    }
    merged
}

/// Returns the labels of a series, sorted, as text without the braces. Also returns true if two tags became one label,
/// which then has the last value.
pub(super) fn labels(series: &Series) -> (String, bool) {
    let mut text = String::new();
    let merged = for_each_label(series, |label, value| push_label(&mut text, &label.name, value));
    (text, merged)
}

/// Returns the labels of a series, whose names have the characters that the client sent. Names that are not legal are in
/// quotes. Returns `None` if all names are legal, or the series is tallyd's own.
///
/// The labels have the order of [`labels`]. [`label_name`] would turn each name into that of the label there. So no two
/// labels of a series have the same name, and no two members of a family the same labels.
pub(super) fn utf8_labels(series: &Series) -> Option<String> {
    if series.is_own() || series.tags_as_sent().all(|(key, _)| is_legal_label(key)) {
        return None;
    }
    let is_distribution = is_distribution(series);
    let mut text = String::new();
    let mut has_other = false;
    for_each_label(series, |label, value| {
        let name = utf8_label_name(label.key, is_distribution);
        if name == label.name {
            push_label(&mut text, &name, value);
        } else {
            has_other = true;
            push_quoted_label(&mut text, &name, value);
        }
    });
    has_other.then_some(text)
}

fn is_legal_label(key: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !key.is_empty() && !key.as_bytes()[0].is_ascii_digit() && key.bytes().all(is_legal)
}

fn push_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.extend([name, "=\""]);
    push_escaped(text, value);
    text.push('"');
}

/// Appends a label whose name is not legal.
fn push_quoted_label(text: &mut String, name: &str, value: &str) {
    let name = escaped(name);
    push_label(text, &format!("\"{name}\""), value);
}

/// Returns text as it is written between quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    push_escaped(&mut escaped, text);
    escaped
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
        let value;
        (value, rest) = split_quoted(quoted)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((name, value))
    })
}

/// Reads the names and values of labels from their text, in which names can be in quotes.
pub(super) fn utf8_pairs(labels: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let mut rest = labels;
    iter::from_fn(move || {
        let name;
        (name, rest) = if rest.starts_with('"') {
            let (name, behind) = split_quoted(rest)?;
            (name, behind.strip_prefix('=')?)
        } else {
            let (name, behind) = rest.split_once('=')?;
            (name.into(), behind)
        };
        let value;
        (value, rest) = split_quoted(rest)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((name, value))
    })
}

/// Reads text in quotes. Returns it and what follows.
pub(super) fn split_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let quoted = text.strip_prefix('"')?;
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
    let inner = &quoted[..end];
    Some((if is_escaped { unescaped(inner).into() } else { inner.into() }, &quoted[end + 1..]))
}

/// Returns text that was written between quotes.
pub(super) fn unescaped(value: &str) -> String {
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
    use proptest::sample::select;
    use strum::VariantArray;

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
    fn utf8_names_are_those_of_the_clients_with_the_suffix_of_the_naming() {
        let cases = [
            (Kind::Counter, "page.views", Some("page.views_total"), Some("page.views")),
            (Kind::Counter, "page_views", None, None),
            (Kind::Counter, "jobs.total", Some("jobs.total"), Some("jobs.total")),
            (Kind::Timing, "request.time", Some("request.time_seconds"), Some("request.time")),
            (Kind::Gauge, "9.9", Some("9.9"), Some("9.9")),
            (Kind::Gauge, "a---b", Some("a---b"), Some("a---b")),
            (Kind::Gauge, "ü\"\\{}", Some(r#"ü\"\\{}"#), Some(r#"ü\"\\{}"#)),
            (Kind::Gauge, "a\u{1b}b\u{202e}", None, None),
            (Kind::Gauge, "a.\tb", Some("a._b"), Some("a._b")),
            // Alerts and dashboards name tallyd's own families.
            (Kind::Counter, "tallyd.lines", None, None),
        ];
        for (kind, name, prometheus, statsd_exporter) in cases {
            let series = series(kind, name, &[]);
            for (naming, expected) in
                [(Naming::Prometheus, prometheus), (Naming::StatsdExporter, statsd_exporter)]
            {
                let shown = naming.utf8_family(&series, &naming.family(&series));
                assert_eq!(shown.as_deref(), expected, "{name} {naming:?}");
            }
        }
    }

    #[test]
    fn utf8_labels_have_the_keys_of_the_clients() {
        let of = |kind, tags: &[(&str, &str)]| utf8_labels(&series(kind, "a", tags));
        let cases: [(Kind, &[(&str, &str)], Option<&str>); 11] = [
            (Kind::Counter, &[], None),
            (Kind::Counter, &[("zone", "b"), ("le", "1")], None),
            (Kind::Counter, &[("zone.id", "b"), ("a", "c\"")], Some(r#"a="c\"","zone.id"="b""#)),
            (Kind::Counter, &[("9", "")], Some(r#""9"="true""#)),
            (Kind::Counter, &[("a.b", "1"), ("a_b", "2")], None),
            (Kind::Counter, &[("a.b", "2"), ("a-b", "1")], Some(r#""a.b"="2""#)),
            (Kind::Counter, &[("a\"b\\", "1")], Some(r#""a\"b\\"="1""#)),
            (Kind::Counter, &[("a\u{1b}", "\u{1b}")], None),
            (Kind::Timing, &[("le", "1"), ("é", "2")], Some(r#""é"="2",exported_le="1""#)),
            (Kind::Gauge, &[("__n.me__", "x")], Some(r#""exported___n.me__"="x""#)),
            (Kind::Gauge, &[("._x", "1")], Some(r#""._x"="1""#)),
        ];
        for (kind, tags, expected) in cases {
            assert_eq!(of(kind, tags).as_deref(), expected, "{tags:?}");
        }
        assert_eq!(utf8_labels(&series(Kind::Gauge, "tallyd.a", &[("b.c", "1")])), None);
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
        assert_eq!((pairs("").next(), utf8_pairs("").next()), (None, None));
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

        /// So no two families, and no two members of a family, get the same name.
        #[test]
        fn legal_names_follow_from_utf8_names(
            kind in select(Kind::VARIANTS),
            name in "([a_.:9\"\\\\é\t-]|_total|_seconds){1,5}",
            keys in prop::collection::vec("([a_.9\"\\\\é\t]|le|__){0,3}", 0..4),
        ) {
            let tags: Vec<_> = keys.iter().map(|key| (&**key, "1")).collect();
            let series = series(kind, &name, &tags);
            for naming in [Naming::Prometheus, Naming::StatsdExporter] {
                let family = naming.family(&series);
                if let Some(shown) = naming.utf8_family(&series, &family) {
                    prop_assert_eq!(naming.legal(&unescaped(&shown)), family);
                }
            }
            if let Some(shown) = utf8_labels(&series) {
                let legal: Vec<_> = utf8_pairs(&shown).map(|(name, _)| label_name(&name, false)).collect();
                let (text, _) = labels(&series);
                let expected: Vec<_> = pairs(&text).map(|(name, _)| name).collect();
                prop_assert_eq!(legal, expected);
            }
        }
    }
}
