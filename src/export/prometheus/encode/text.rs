//! Encodes Prometheus' text format, version 0.0.4, and with UTF-8 names version 1.0.0.

use super::lines::{LineWriter, Names, help};
use super::walk::Encoder;
use crate::export::prometheus::families::{Family, Member, Members};
use crate::export::prometheus::family_type::LineKind;
use crate::export::prometheus::totals::Totals;
use crate::text::number::push_number;

/// Encodes each family as HELP, TYPE and the lines of its members.
pub(super) struct Text<'a> {
    totals: &'a Totals,
    lines: LineWriter<'a>,
}

impl<'a> Text<'a> {
    pub(super) fn new(totals: &'a Totals, names: Names<'a>) -> Self {
        Self { totals, lines: LineWriter::new(totals, names, number) }
    }
}

impl<'a> Encoder<'a> for Text<'a> {
    fn begin_family(&mut self, family: &'a Family, members: Members<'a>) -> bool {
        self.lines.begin_family(family, members);
        false
    }

    fn begin_section(&mut self, family: &'a Family, _: &[LineKind], _: &mut Members<'a>) {
        let help = help(&self.totals.policies, family, &['\\', '\n']);
        let (name, type_name) = (self.lines.name, family.metric_type.name());
        if name.is_quoted {
            self.lines.push_about("HELP", name, "", &help);
            self.lines.push_about("TYPE", name, "", type_name);
        } else {
            // Two calls would take about 150 more instructions per family.
            let name = name.text;
            self.lines.text.extend(["# HELP ", name, " ", &help, "\n# TYPE ", name, " ", type_name, "\n"]);
        }
    }

    fn encode_member(&mut self, _: &'a Family, lines: &[LineKind], member: &'a Member) {
        self.lines.push_member(lines, member);
    }

    fn encoded(&self) -> &[u8] {
        self.lines.text.as_bytes()
    }

    fn clear(&mut self) {
        self.lines.text.clear();
    }
}

fn number(value: f64) -> String {
    let mut text = String::new();
    push_number(&mut text, value);
    text
}

#[cfg(test)]
mod tests {
    use crate::export::exporter::PIECE;
    use crate::export::prometheus::tests::{add, row, text, totals};
    use crate::export::prometheus::{Format, Naming};
    use crate::model::{Exposition, Kind};

    #[test]
    fn families_are_sorted_and_have_help_type_and_lines() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        for value in [100.0, 300.0] {
            let rows = vec![
                row(Kind::Timing, "api.latency", &[("env", "prod")], value),
                row(Kind::Counter, "hits", &[], value),
                row(Kind::Gauge, "queue", &[("host", "")], value),
            ];
            assert_eq!(add(&mut totals, rows), []);
        }
        assert_eq!(
            text(&totals, Format::Text),
            "# HELP api_latency_seconds StatsD timing in seconds.\n\
             # TYPE api_latency_seconds summary\n\
             api_latency_seconds{env=\"prod\",quantile=\"0.5\"} 0.3\n\
             api_latency_seconds{env=\"prod\",quantile=\"0.999\"} 0.3\n\
             api_latency_seconds_sum{env=\"prod\"} 0.8\n\
             api_latency_seconds_count{env=\"prod\"} 4\n\
             # HELP hits_total StatsD counter.\n\
             # TYPE hits_total counter\n\
             hits_total 400\n\
             # HELP queue StatsD gauge.\n\
             # TYPE queue gauge\n\
             queue{host=\"true\"} 300\n"
        );
    }

    #[test]
    fn page_of_many_pieces_is_complete() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = (0..5000).map(|n| row(Kind::Counter, &format!("c.{n:04}"), &[], f64::from(n))).collect();
        add(&mut totals, rows);
        let page = text(&totals, Format::Text);
        assert!(page.len() > 3 * PIECE);
        for n in 0..5000 {
            assert!(page.contains(&format!("# TYPE c_{n:04}_total counter\nc_{n:04}_total {n}\n")), "{n}");
        }
    }

    #[test]
    fn histogram_has_cumulative_buckets_and_one_without_bound() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Histogram);
        (0..2).for_each(|_| _ = add(&mut totals, vec![row(Kind::Distribution, "d", &[], 0.5)]));
        assert_eq!(
            text(&totals, Format::Text),
            "# HELP d StatsD distribution.\n# TYPE d histogram\nd_bucket{le=\"0.1\"} 2\nd_bucket{le=\"1\"} 4\n\
             d_bucket{le=\"+Inf\"} 4\nd_sum 2\nd_count 4\n"
        );
    }

    #[test]
    fn names_that_are_not_legal_are_in_quotes_if_the_format_allows_it() {
        for (timings, type_name, values) in [
            (
                Exposition::Summary,
                "summary",
                r#"{"request.time_seconds","http.code"="200",quantile="0.5"} 0.5
{"request.time_seconds","http.code"="200",quantile="0.999"} 0.5"#,
            ),
            (
                Exposition::Histogram,
                "histogram",
                r#"{"request.time_seconds_bucket","http.code"="200",le="0.1"} 1
{"request.time_seconds_bucket","http.code"="200",le="1"} 2
{"request.time_seconds_bucket","http.code"="200",le="+Inf"} 2"#,
            ),
        ] {
            let mut totals = totals(Naming::Prometheus, timings).with_utf8_names(true);
            let rows = vec![
                row(Kind::Counter, "page.views", &[("zone", "b")], 1.0),
                row(Kind::Counter, "page.views", &[], 2.0),
                row(Kind::Counter, "hits", &[("zone.id", "b"), ("a", "c")], 3.0),
                row(Kind::Timing, "request.time", &[("http.code", "200")], 500.0),
                row(Kind::Gauge, "a\"b\\", &[], 4.0),
            ];
            assert_eq!(add(&mut totals, rows), []);
            let expected = r#"# HELP "a\"b\\" StatsD gauge.
# TYPE "a\"b\\" gauge
{"a\"b\\"} 4
# HELP hits_total StatsD counter.
# TYPE hits_total counter
hits_total{a="c","zone.id"="b"} 3
# HELP "page.views_total" StatsD counter.
# TYPE "page.views_total" counter
{"page.views_total"} 2
{"page.views_total",zone="b"} 1
# HELP "request.time_seconds" StatsD timing in seconds.
# TYPE "request.time_seconds" TYPE_NAME
VALUES
{"request.time_seconds_sum","http.code"="200"} 1
{"request.time_seconds_count","http.code"="200"} 2
"#;
            let expected = expected.replace("TYPE_NAME", type_name).replace("VALUES", values);
            assert_eq!(text(&totals, Format::TextUtf8), expected);
            assert!(text(&totals, Format::Text).contains("hits_total{a=\"c\",zone_id=\"b\"} 3\n"));
        }
    }

    #[test]
    fn utf8_names_are_off_by_default() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Counter, "page.views", &[("zone.id", "b")], 1.0)]);
        assert_eq!(text(&totals, Format::TextUtf8), text(&totals, Format::Text));
        assert_eq!(totals.families.utf8_bytes(), 0);
    }
}
