//! Encodes Prometheus' text format, version 0.0.4.

use super::lines::{LineWriter, help};
use super::walk::Encoder;
use crate::export::prometheus::families::{Family, Member, Members};
use crate::export::prometheus::family_type::LineKind;
use crate::export::prometheus::totals::Totals;
use crate::text::number::push_number;

/// Encodes each family as HELP, TYPE and the lines of its members.
pub(super) struct Text<'a> {
    totals: &'a Totals,
    lines: LineWriter,
}

impl<'a> Text<'a> {
    pub(super) fn new(totals: &'a Totals) -> Self {
        Self { totals, lines: LineWriter::new(totals, number) }
    }
}

impl<'a> Encoder<'a> for Text<'a> {
    fn begin_section(&mut self, family: &'a Family, _: &[LineKind], _: &mut Members<'a>) {
        let help = help(&self.totals.policies, family, &['\\', '\n']);
        let (name, type_name) = (&*family.name, family.metric_type.name());
        self.lines.text.extend(["# HELP ", name, " ", &help, "\n# TYPE ", name, " ", type_name, "\n"]);
    }

    fn encode_member(&mut self, family: &'a Family, lines: &[LineKind], member: &'a Member) {
        self.lines.push_member(family, lines, member);
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
}
