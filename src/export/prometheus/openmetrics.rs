//! The OpenMetrics text format, version 1.0.
//!
//! A series has the lines that it has in the text format, and when it began besides. But OpenMetrics is stricter with
//! families: a counter's is called as its lines are without `_total`; no family may have a line that another one could have,
//! which counts the times of beginning in; and summaries and histograms hold nothing negative, and count in whole numbers.
//! What does not fit is shown all the same, with its lines and names as they are, as families of the type `unknown`, one
//! for each name.

use super::Totals;
use super::line::{Extras, help, push_line, type_name};
use super::page::{Distribution, Family, Member, Shape, Total};
use crate::export::PIECE;

/// The lines of a member that have one name.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The name of the family: a value, or quantiles.
    Own,
    Buckets,
    Sum,
    Count,
}

impl Part {
    /// In the order in which they are written.
    fn of(shape: Shape) -> &'static [Part] {
        match shape {
            Shape::Counter | Shape::Gauge => &[Part::Own],
            Shape::Summary => &[Part::Own, Part::Sum, Part::Count],
            Shape::Histogram => &[Part::Buckets, Part::Sum, Part::Count],
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Part::Own => "",
            Part::Buckets => "_bucket",
            Part::Sum => "_sum",
            Part::Count => "_count",
        }
    }
}

/// Writes all families, sorted, each with its TYPE and HELP, and the end; piece by piece, as the text format is written.
///
/// # Errors
///
/// The first one of `write`.
pub(super) fn render<E>(totals: &Totals, mut write: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let writer = Writer { extras: Extras::of(totals, canonical) };
    let mut types = Types { totals, name: String::new() };
    let mut text = String::with_capacity(2 * PIECE);
    for (family, members) in totals.page.families() {
        let name = &*family.name;
        let parts = Part::of(family.shape);
        if let Some(typed) = types.typed_name(family, members.clone()) {
            push_metadata(&mut text, totals, [typed, ""], type_name(family.shape), family);
            for member in members {
                if text.len() >= PIECE {
                    write(&text)?;
                    text.clear();
                }
                parts.iter().for_each(|part| writer.push(&mut text, name, *part, member));
                if family.shape != Shape::Gauge && totals.tells_created {
                    push_line(&mut text, [typed, "_created"], &member.labels, None, member.began);
                }
            }
        } else {
            for part in parts {
                push_metadata(&mut text, totals, [name, part.suffix()], "unknown", family);
                for member in members.clone() {
                    if text.len() >= PIECE {
                        write(&text)?;
                        text.clear();
                    }
                    writer.push(&mut text, name, *part, member);
                }
            }
        }
    }
    text.push_str("# EOF\n");
    write(&text)
}

fn push_metadata(text: &mut String, totals: &Totals, name: [&str; 2], type_name: &str, family: &Family) {
    let [stem, suffix] = name;
    let help = help(totals, family, &['\\', '\n', '"']);
    text.extend(["# TYPE ", stem, suffix, " ", type_name, "\n"]);
    text.extend(["# HELP ", stem, suffix, " ", &help, "\n"]);
}

struct Writer {
    /// By policy.
    extras: Vec<Extras>,
}

impl Writer {
    fn push(&self, text: &mut String, name: &str, part: Part, member: &Member) {
        let name = [name, part.suffix()];
        let mut push = |extra, value| push_line(text, name, &member.labels, extra, value);
        match &member.total {
            Total::Counter(value) | Total::Gauge(value) => push(None, *value),
            Total::Distribution(total) => {
                let Distribution { count, sum, quantiles, buckets, .. } = &**total;
                let extras = &self.extras[member.policy.index()];
                match part {
                    Part::Own => {
                        for (quantile, value) in extras.quantiles.iter().zip(quantiles) {
                            push(Some(("quantile", quantile)), *value);
                        }
                    }
                    Part::Buckets => {
                        for (bound, value) in extras.bounds.iter().zip(buckets) {
                            push(Some(("le", bound)), *value);
                        }
                        push(Some(("le", "+Inf")), *count);
                    }
                    Part::Sum => push(None, *sum),
                    Part::Count => push(None, *count),
                }
            }
        }
    }
}

/// Decides which families are of a type.
struct Types<'a> {
    totals: &'a Totals,
    /// A name that is looked for; kept for its memory.
    name: String,
}

impl Types<'_> {
    /// The name of a family that is of the type of its shape.
    fn typed_name<'a>(
        &mut self,
        family: &'a Family,
        members: impl Iterator<Item = &'a Member>,
    ) -> Option<&'a str> {
        let name = &*family.name;
        match family.shape {
            Shape::Gauge => Some(name),
            Shape::Counter => name.strip_suffix("_total").filter(|stem| self.is_free(stem)),
            Shape::Summary | Shape::Histogram => {
                let policies = &self.totals.policies;
                let begins_above_zero = |member: &Member| {
                    policies.get(member.policy).statistics.bounds.first().is_none_or(|bound| *bound >= 0.0)
                };
                let mut members = members.into_iter();
                let fits = members.all(|member| begins_above_zero(member) && is_whole(member))
                    && self.find(name, "_created").is_none();
                fits.then_some(name)
            }
        }
    }

    /// Whether a counter's family may have this name: no other one has it or a line of it, and none is called as the time of
    /// the counter's beginning is, or the other way round.
    fn is_free(&mut self, stem: &str) -> bool {
        !stem.is_empty()
            && self.find(stem, "").is_none()
            && !self.totals.is_line_of_distribution(stem)
            && self.find(stem, "_created").is_none()
            && !stem.strip_suffix("_created").is_some_and(|of| self.may_tell_time(of))
    }

    /// Whether a counter or a distribution of this name, without `_total`, may have a line with the time of its beginning.
    fn may_tell_time(&mut self, stem: &str) -> bool {
        let families = [self.find(stem, ""), self.find(stem, "_total")];
        families.into_iter().flatten().any(|number| self.totals.page.family(number).shape != Shape::Gauge)
    }

    fn find(&mut self, stem: &str, suffix: &str) -> Option<u32> {
        self.name.clear();
        self.name.extend([stem, suffix]);
        self.totals.page.find(&self.name)
    }
}

/// Whether a distribution counts in whole numbers, and holds nothing negative.
fn is_whole(member: &Member) -> bool {
    let Total::Distribution(total) = &member.total else { return false };
    let Distribution { count, sum, quantiles, buckets, .. } = &**total;
    let is_whole = |number: &f64| number.fract() == 0.0;
    is_whole(count)
        && *sum >= 0.0
        && quantiles.iter().all(|value| *value >= 0.0)
        && buckets.iter().all(is_whole)
}

/// A bound or a quantile as OpenMetrics wants it, so that it is the same label whoever writes it: `1.0`, `0.25`, `1e+06`,
/// `1e-05`.
fn canonical(value: f64) -> String {
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
    use std::convert::Infallible;

    use super::super::Naming;
    use super::super::text::tests::{add, row, totals};
    use super::*;
    use crate::model::{Exposition, Kind};

    fn page(totals: &Totals) -> String {
        let mut page = String::new();
        let Ok(()) = render(totals, |piece| -> Result<(), Infallible> {
            page.push_str(piece);
            Ok(())
        });
        page
    }

    #[test]
    fn families_have_their_types_and_members_the_time_of_their_beginning() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = vec![
            row(Kind::Timing, "api.latency", &[("env", "a\"b\\c")], 100.0),
            row(Kind::Counter, "hits", &[], 5.0),
            row(Kind::Gauge, "queue", &[], -1.5),
        ];
        (0..2).for_each(|_| assert_eq!(add(&mut totals, rows.clone()), []));
        assert_eq!(
            page(&totals),
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
    fn times_of_beginning_can_be_left_out() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary).telling_created(false);
        add(&mut totals, vec![row(Kind::Counter, "hits", &[], 5.0)]);
        assert_eq!(page(&totals), "# TYPE hits counter\n# HELP hits StatsD counter.\nhits_total 5\n# EOF\n");
    }

    #[test]
    fn a_page_without_series_is_its_end() {
        assert_eq!(page(&totals(Naming::Prometheus, Exposition::Summary)), "# EOF\n");
    }

    #[test]
    fn a_member_that_comes_back_begins_anew() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = || vec![row(Kind::Counter, "hits", &[], 5.0)];
        add(&mut totals, rows());
        assert!(page(&totals).contains("hits_total 5\nhits_created 1000.25\n"));
        (0..6).for_each(|_| _ = add(&mut totals, Vec::new()));
        add(&mut totals, rows());
        assert!(page(&totals).contains("hits_total 5\nhits_created 1070.25\n"), "{}", page(&totals));
    }

    #[test]
    fn bounds_are_written_as_any_other_program_writes_them() {
        let mut totals = totals(Naming::Prometheus, Exposition::Histogram);
        add(&mut totals, vec![row(Kind::Distribution, "d", &[], 0.5)]);
        assert_eq!(
            page(&totals),
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

    /// What TYPE lines say of a page with these families.
    fn types(naming: Naming, rows: &[(Kind, &str, f64)]) -> Vec<String> {
        let mut totals = totals(naming, Exposition::Summary);
        assert_eq!(
            add(&mut totals, rows.iter().map(|(kind, name, value)| row(*kind, name, &[], *value)).collect()),
            []
        );
        page(&totals).lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect()
    }

    #[test]
    fn what_openmetrics_has_no_type_for_is_shown_as_unknown() {
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
