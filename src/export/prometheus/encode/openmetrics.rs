//! Encodes the OpenMetrics text format, version 1.0.
//!
//! A series has the same lines as in the text format, and another one with the time when it began (`_created`).
//! OpenMetrics has stricter rules for families:
//!
//! - The name of a counter's family is the name of its lines without `_total`.
//! - No family may have a line that another family could have. This includes lines that end in `_created`.
//! - Summaries and histograms contain nothing negative and count in whole numbers.
//!
//! A family that breaks a rule is still shown, with its lines and names unchanged. Each of its names becomes a family
//! of type `unknown`.

use super::lines::{FamilyName, LineWriter, Names, help};
use super::walk::Encoder;
use crate::export::prometheus::families::{Distribution, Families, Family, Member, Members, Total};
use crate::export::prometheus::family_type::{FamilyType, LineKind};
use crate::export::prometheus::totals::Totals;
use crate::model::Policies;

/// Encodes each family as TYPE, HELP and the lines of its members.
pub(super) struct OpenMetrics<'a> {
    totals: &'a Totals,
    types: Types<'a>,
    lines: LineWriter<'a>,
    /// The name of the current family in OpenMetrics, or `None` if OpenMetrics has no type for it.
    typed_name: Option<FamilyName<'a>>,
}

impl<'a> OpenMetrics<'a> {
    pub(super) fn new(totals: &'a Totals, names: Names<'a>) -> Self {
        let types = Types { families: &totals.families, policies: &totals.policies, name: String::new() };
        Self { totals, types, lines: LineWriter::new(totals, names, canonical), typed_name: None }
    }
}

impl<'a> Encoder<'a> for OpenMetrics<'a> {
    fn begin_family(&mut self, family: &'a Family, members: Members<'a>) -> bool {
        self.lines.begin_family(family, members.clone());
        let name = self.lines.name;
        // A client's own ending `.total` makes `_total` of the legal name.
        let text = match family.metric_type {
            FamilyType::Counter => name.text.strip_suffix("_total"),
            _ => Some(name.text),
        };
        self.typed_name =
            text.filter(|_| self.types.has_type(family, members)).map(|text| FamilyName { text, ..name });
        self.typed_name.is_none()
    }

    fn begin_section(&mut self, family: &'a Family, lines: &[LineKind], _: &mut Members<'a>) {
        let (name, suffix, type_name) = match self.typed_name {
            Some(name) => (name, "", family.metric_type.name()),
            None => (self.lines.name, lines[0].suffix(), "unknown"),
        };
        let help = help(&self.totals.policies, family, &['\\', '\n', '"']);
        self.lines.push_about("TYPE", name, suffix, type_name);
        self.lines.push_about("HELP", name, suffix, &help);
    }

    fn encode_member(&mut self, family: &'a Family, lines: &[LineKind], member: &'a Member) {
        self.lines.push_member(lines, member);
        if let Some(name) = self.typed_name
            && family.metric_type != FamilyType::Gauge
            && self.totals.shows_created
        {
            self.lines.push_value((name, "_created"), member, member.began);
        }
    }

    fn end_page(&mut self) {
        self.lines.text.push_str("# EOF\n");
    }

    fn encoded(&self) -> &[u8] {
        self.lines.text.as_bytes()
    }

    fn clear(&mut self) {
        self.lines.text.clear();
    }
}

/// Decides which families have a type in OpenMetrics.
struct Types<'a> {
    families: &'a Families,
    policies: &'a Policies,
    /// A name to look up. It is a field so that its memory is reused.
    name: String,
}

impl Types<'_> {
    /// Returns true if the family has a type in OpenMetrics. A name in UTF-8 that clashes with another one has a legal
    /// form that clashes, too, so only legal names are compared.
    fn has_type(&mut self, family: &Family, mut members: Members<'_>) -> bool {
        let name = &*family.name;
        match family.metric_type {
            FamilyType::Gauge => true,
            FamilyType::Counter => name.strip_suffix("_total").is_some_and(|stem| self.is_free(stem)),
            _ => {
                let begins_above_zero = |member: &Member| {
                    let bounds = &self.policies.get(member.policy.id()).statistics.bounds;
                    bounds.first().is_none_or(|bound| *bound >= 0.0)
                };
                members.all(|member| begins_above_zero(member) && is_whole(member))
                    && self.find(name, "_created").is_none()
            }
        }
    }

    /// Returns true if a counter's family may have this name. No other family may have the name or a line of this name,
    /// and no `_created` line may clash with either of them.
    fn is_free(&mut self, stem: &str) -> bool {
        !stem.is_empty()
            && self.find(stem, "").is_none()
            && !self.families.is_line_of_distribution(stem)
            && self.find(stem, "_created").is_none()
            && !stem.strip_suffix("_created").is_some_and(|of| self.may_show_created(of))
    }

    /// Returns true if a counter or a distribution of this name, without `_total`, may have a line `_created`.
    fn may_show_created(&mut self, stem: &str) -> bool {
        let families = [self.find(stem, ""), self.find(stem, "_total")];
        let is_gauge = |number| self.families.family(number).metric_type == FamilyType::Gauge;
        families.into_iter().flatten().any(|number| !is_gauge(number))
    }

    fn find(&mut self, stem: &str, suffix: &str) -> Option<u32> {
        self.name.clear();
        self.name.extend([stem, suffix]);
        self.families.find(&self.name)
    }
}

/// Returns true if a distribution has whole counts and contains nothing negative.
fn is_whole(member: &Member) -> bool {
    let Total::Distribution(total) = &member.total else { return false };
    let Distribution { count, sum, quantiles, buckets, .. } = &**total;
    let is_whole = |number: &f64| number.fract() == 0.0;
    is_whole(count)
        && *sum >= 0.0
        && quantiles.iter().all(|value| *value >= 0.0)
        && buckets.iter().all(is_whole)
}

/// Formats a bound or a quantile as OpenMetrics prescribes: `1.0`, `0.25`, `1e+06`, `1e-05`. So all programs give it
/// the same label.
pub(in crate::export::prometheus) fn canonical(value: f64) -> String {
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use crate::export::prometheus::tests::{add, row, text, totals};
    use crate::export::prometheus::{Format, Naming};
    use crate::model::{Exposition, Kind};

    #[test]
    fn families_have_types_and_members_have_creation_times() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = vec![
            row(Kind::Timing, "api.latency", &[("env", "a\"b\\c")], 100.0),
            row(Kind::Counter, "hits", &[], 5.0),
            row(Kind::Gauge, "queue", &[], -1.5),
        ];
        (0..2).for_each(|_| assert_eq!(add(&mut totals, rows.clone()), []));
        assert_eq!(
            text(&totals, Format::OpenMetrics),
            "# TYPE api_latency_seconds summary\n\
             # HELP api_latency_seconds StatsD timing in seconds.\n\
             api_latency_seconds{env=\"a\\\"b\\\\c\",quantile=\"0.5\"} 0.1\n\
             api_latency_seconds{env=\"a\\\"b\\\\c\",quantile=\"0.999\"} 0.1\n\
             api_latency_seconds_sum{env=\"a\\\"b\\\\c\"} 0.4\n\
             api_latency_seconds_count{env=\"a\\\"b\\\\c\"} 4\n\
             api_latency_seconds_created{env=\"a\\\"b\\\\c\"} 1000.25\n\
             # TYPE hits counter\n\
             # HELP hits StatsD counter.\n\
             hits_total 10\n\
             hits_created 1000.25\n\
             # TYPE queue gauge\n\
             # HELP queue StatsD gauge.\n\
             queue -1.5\n\
             # EOF\n"
        );
    }

    #[test]
    fn creation_times_can_be_switched_off() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary).with_created_lines(false);
        add(&mut totals, vec![row(Kind::Counter, "hits", &[], 5.0)]);
        assert_eq!(
            text(&totals, Format::OpenMetrics),
            "# TYPE hits counter\n# HELP hits StatsD counter.\nhits_total 5\n# EOF\n"
        );
    }

    #[test]
    fn counter_with_an_ending_of_the_client_is_unknown_under_its_utf8_name() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary).with_utf8_names(true);
        let rows = vec![
            row(Kind::Counter, "jobs.total", &[], 1.0),
            row(Kind::Counter, "page.views", &[("zone.id", "b")], 2.0),
        ];
        add(&mut totals, rows);
        assert_eq!(
            text(&totals, Format::OpenMetricsUtf8),
            r#"# TYPE "jobs.total" unknown
# HELP "jobs.total" StatsD counter.
{"jobs.total"} 1
# TYPE "page.views" counter
# HELP "page.views" StatsD counter.
{"page.views_total","zone.id"="b"} 2
{"page.views_created","zone.id"="b"} 1000.25
# EOF
"#
        );
        assert!(text(&totals, Format::OpenMetrics).starts_with("# TYPE jobs counter\n"));
    }

    #[test]
    fn page_without_series_has_only_its_end() {
        assert_eq!(text(&totals(Naming::Prometheus, Exposition::Summary), Format::OpenMetrics), "# EOF\n");
    }

    #[test]
    fn member_that_expired_begins_again_when_it_comes_back() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = || vec![row(Kind::Counter, "hits", &[], 5.0)];
        add(&mut totals, rows());
        assert!(text(&totals, Format::OpenMetrics).contains("hits_total 5\nhits_created 1000.25\n"));
        (0..6).for_each(|_| _ = add(&mut totals, Vec::new()));
        add(&mut totals, rows());
        assert!(
            text(&totals, Format::OpenMetrics).contains("hits_total 5\nhits_created 1070.25\n"),
            "{}",
            text(&totals, Format::OpenMetrics)
        );
    }

    #[test]
    fn bounds_have_the_canonical_form_of_openmetrics() {
        let mut totals = totals(Naming::Prometheus, Exposition::Histogram);
        add(&mut totals, vec![row(Kind::Distribution, "d", &[], 0.5)]);
        assert_eq!(
            text(&totals, Format::OpenMetrics),
            "# TYPE d histogram\n# HELP d StatsD distribution.\nd_bucket{le=\"0.1\"} 1\nd_bucket{le=\"1.0\"} 2\n\
             d_bucket{le=\"+Inf\"} 2\nd_sum 1\nd_count 2\nd_created 1000.25\n# EOF\n"
        );
        let cases = [
            (0.0, "0.0"),
            (1e-10, "1e-10"),
            (0.00001, "1e-05"),
            (0.0001, "0.0001"),
            (0.999, "0.999"),
            (-5.0, "-5.0"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (12_345_678.0, "1.2345678e+07"),
            (1e100, "1e+100"),
        ];
        for (value, expected) in cases {
            assert_eq!(canonical(value), expected);
        }
    }

    /// Returns the TYPE lines of a page with these families.
    fn types(naming: Naming, rows: &[(Kind, &str, f64)]) -> Vec<String> {
        let mut totals = totals(naming, Exposition::Summary);
        assert_eq!(
            add(&mut totals, rows.iter().map(|(kind, name, value)| row(*kind, name, &[], *value)).collect()),
            []
        );
        text(&totals, Format::OpenMetrics)
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn families_without_a_type_in_openmetrics_are_unknown() {
        use Kind::{Counter, Gauge, Histogram};
        use Naming::{Prometheus, StatsdExporter};
        let unknown_x = ["x unknown", "x_sum unknown", "x_count unknown"];
        let cases: [(Naming, &[(Kind, &str, f64)], &[&str]); 9] = [
            (StatsdExporter, &[(Counter, "x", 1.0), (Counter, "y_total", 1.0)], &["x unknown", "y counter"]),
            (Prometheus, &[(Counter, "x", 1.0), (Gauge, "x", 1.0)], &["x gauge", "x_total unknown"]),
            (
                Prometheus,
                &[(Counter, "x", 1.0), (Gauge, "x.created", 1.0)],
                &["x_created gauge", "x_total unknown"],
            ),
            (
                Prometheus,
                &[(Counter, "x", 1.0), (Counter, "x.created", 1.0)],
                &["x_created_total unknown", "x counter"],
            ),
            (
                Prometheus,
                &[(Counter, "x.sum", 1.0), (Histogram, "x", 1.0)],
                &["x summary", "x_sum_total unknown"],
            ),
            (
                Prometheus,
                &[(Counter, "x.created", 1.0), (Histogram, "x", 1.0)],
                &["x summary", "x_created_total unknown"],
            ),
            (
                Prometheus,
                &[(Gauge, "x.created", 1.0), (Histogram, "x", 1.0)],
                &[&unknown_x[..], &["x_created gauge"]].concat(),
            ),
            (Prometheus, &[(Histogram, "x", -1.0)], &unknown_x),
            (Prometheus, &[(Counter, "_total", 1.0)], &["_total unknown"]),
        ];
        for (naming, rows, expected) in cases {
            assert_eq!(types(naming, rows), expected, "{rows:?}");
        }
    }
}
