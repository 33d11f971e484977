//! The text format, version 0.0.4.

use super::Totals;
use super::line::{Extras, help, push_line, type_name};
use super::page::{Distribution, Shape, Total};
use crate::export::PIECE;
use crate::text::number::push_number;

/// Writes all families, sorted, each with its HELP and TYPE, and a final line feed; piece by piece, since the page of a
/// million series takes more memory than the series.
///
/// # Errors
///
/// The first one of `write`.
pub(super) fn render<E>(totals: &Totals, mut write: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let mut text = String::with_capacity(2 * PIECE);
    let extras = Extras::of(totals, number);
    for (family, members) in totals.page.families() {
        let name = &*family.name;
        let (help, type_name) = (help(totals, family, &['\\', '\n']), type_name(family.shape));
        text.extend(["# HELP ", name, " ", &help, "\n# TYPE ", name, " ", type_name, "\n"]);
        for member in members {
            let labels = &*member.labels;
            if text.len() >= PIECE {
                write(&text)?;
                text.clear();
            }
            match &member.total {
                Total::Counter(value) | Total::Gauge(value) => {
                    push_line(&mut text, [name, ""], labels, None, *value);
                }
                Total::Distribution(total) => {
                    let Distribution { count, sum, quantiles: values, buckets, .. } = &**total;
                    let Extras { quantiles, bounds } = &extras[member.policy.index()];
                    if family.shape == Shape::Histogram {
                        for (bound, value) in bounds.iter().zip(buckets) {
                            push_line(&mut text, [name, "_bucket"], labels, Some(("le", bound)), *value);
                        }
                        push_line(&mut text, [name, "_bucket"], labels, Some(("le", "+Inf")), *count);
                    } else {
                        for (quantile, value) in quantiles.iter().zip(values) {
                            push_line(&mut text, [name, ""], labels, Some(("quantile", quantile)), *value);
                        }
                    }
                    push_line(&mut text, [name, "_sum"], labels, None, *sum);
                    push_line(&mut text, [name, "_count"], labels, None, *count);
                }
            }
        }
    }
    write(&text)
}

fn number(value: f64) -> String {
    let mut text = String::new();
    push_number(&mut text, value);
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::super::Naming;
    use super::*;
    use crate::export::ExportOutcome;
    use crate::model::{
        Exposition, Kind, Named, Overview, Percentile, Policies, Policy, Series, Snapshot, Statistics,
        Summary, Value,
    };

    const MINUTE: Duration = Duration::from_mins(1);

    /// What rows are of: one policy, under which series live for a minute.
    pub(in super::super) fn policies(form: Exposition) -> Arc<Policies> {
        let statistics = Statistics {
            percentiles: [50.0, 99.9].into_iter().filter_map(Percentile::new).collect(),
            bounds: if form == Exposition::Histogram { vec![0.1, 1.0] } else { Vec::new() },
            ..Statistics::default()
        };
        Arc::new(Policies::new(vec![Policy {
            statistics,
            exposition: form,
            expire_after: [MINUTE; 6],
            ..Policy::default()
        }]))
    }

    pub(in super::super) fn totals(naming: Naming, form: Exposition) -> Totals {
        let mut totals = Totals::new(naming);
        totals.policies = policies(form);
        totals
    }

    /// Adds an interval of ten seconds, the first of which begins at 1000.25 s; what is not on the page as it was sent, by name.
    pub(in super::super) fn add(
        totals: &mut Totals,
        mut rows: Vec<(Series, Value)>,
    ) -> Vec<(&'static str, u64)> {
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let snapshot = Snapshot {
            time: SystemTime::UNIX_EPOCH
                + Duration::from_millis(1_010_250)
                + Duration::from_nanos(totals.clock),
            interval: Duration::from_secs(10),
            policies: Arc::clone(&totals.policies),
            rows: rows.into_iter().collect(),
            events: Vec::new(),
            overview: Overview::default(),
        };
        let ExportOutcome { quarantined, merged } = totals.add(&snapshot);
        let quarantined = quarantined.into_iter().map(|(reason, count)| (reason.name(), count));
        let merged = merged.into_iter().map(|(reason, count)| (reason.name(), count));
        quarantined.chain(merged).filter(|&(_, count)| count > 0).collect()
    }

    pub(in super::super) fn row(
        kind: Kind,
        name: &str,
        tags: &[(&str, &str)],
        value: f64,
    ) -> (Series, Value) {
        let value = match kind {
            Kind::Counter => Value::Counter(value),
            Kind::Gauge => Value::Gauge(value),
            Kind::Set => Value::Set(value),
            Kind::Timing | Kind::Histogram | Kind::Distribution => Value::Summary(Box::new(Summary {
                count: 2.0,
                sum: 2.0 * value,
                percentiles: [value, value].into(),
                buckets: [1.0, 2.0].into(),
                ..Summary::default()
            })),
        };
        (Series::new(kind, name, tags), value)
    }

    fn page(totals: &Totals) -> String {
        let mut text = String::new();
        let append = |piece: &str| -> Result<(), std::convert::Infallible> {
            text.push_str(piece);
            Ok(())
        };
        _ = render(totals, append);
        text
    }

    #[test]
    fn totals_run_and_percentiles_are_those_of_the_latest_interval() {
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
            page(&totals),
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
    fn a_page_of_many_pieces_is_whole() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = (0..5000).map(|n| row(Kind::Counter, &format!("c.{n:04}"), &[], f64::from(n))).collect();
        add(&mut totals, rows);
        let page = page(&totals);
        assert!(page.len() > 3 * PIECE);
        for n in 0..5000 {
            assert!(page.contains(&format!("# TYPE c_{n:04}_total counter\nc_{n:04}_total {n}\n")), "{n}");
        }
    }

    #[test]
    fn a_histogram_has_running_buckets_and_the_one_without_bound() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Histogram);
        (0..2).for_each(|_| _ = add(&mut totals, vec![row(Kind::Distribution, "d", &[], 0.5)]));
        assert_eq!(
            page(&totals),
            "# HELP d StatsD distribution.\n# TYPE d histogram\nd_bucket{le=\"0.1\"} 2\nd_bucket{le=\"1\"} 4\n\
             d_bucket{le=\"+Inf\"} 4\nd_sum 2\nd_count 4\n"
        );
    }

    #[test]
    fn counters_that_become_one_are_added_up_and_anything_else_is_kept_out() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = vec![
            row(Kind::Counter, "a-b", &[], 1.0),
            row(Kind::Counter, "a.b", &[], 2.0),
            row(Kind::Gauge, "g-h", &[], 1.0),
            row(Kind::Gauge, "g.h", &[], 2.0),
            row(Kind::Set, "g.h", &[("x.y", "1"), ("x_y", "2")], 3.0),
        ];
        for _ in 0..2 {
            assert_eq!(
                add(&mut totals, rows.clone()),
                [("duplicate_series", 1), ("labels", 1), ("series", 1)]
            );
        }
        assert!(page(&totals).contains("a_b_total 6\n"), "{}", page(&totals));
        assert!(page(&totals).contains("g_h 1\ng_h{x_y=\"2\"} 3\n"), "{}", page(&totals));
    }

    #[test]
    fn a_family_has_one_type() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Summary);
        let rows = vec![row(Kind::Counter, "x", &[], 1.0), row(Kind::Gauge, "x", &[("a", "b")], 2.0)];
        assert_eq!(add(&mut totals, rows), [("type_conflict", 1)]);
        assert_eq!(page(&totals).matches("# TYPE x ").count(), 1);
    }

    #[test]
    fn what_belongs_to_a_distribution_is_no_other_family_whichever_came_first() {
        for form in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::StatsdExporter, form);
            assert_eq!(add(&mut totals, vec![row(Kind::Gauge, "x_count", &[], 1.0)]), []);
            let rows = vec![
                row(Kind::Timing, "x", &[], 5.0),
                row(Kind::Gauge, "x_count", &[], 1.0),
                row(Kind::Counter, "x_sum", &[], 1.0),
            ];
            add(&mut totals, rows.clone());
            assert_eq!(add(&mut totals, rows), [("name_taken", 2)]);
            let page = page(&totals);
            assert!(!page.contains("# TYPE x_count") && !page.contains("# TYPE x_sum"), "{page}");
            assert_eq!(page.matches("\nx_count ").count(), 1, "{page}");
        }
    }

    #[test]
    fn a_counter_never_falls() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Counter, "c", &[], 5.0)]);
        assert_eq!(add(&mut totals, vec![row(Kind::Counter, "c", &[], -1.0)]), [("negative_increase", 1)]);
        assert!(page(&totals).contains("c_total 5\n"));
    }

    #[test]
    fn totals_stay_finite() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        for _ in 0..3 {
            add(
                &mut totals,
                vec![row(Kind::Counter, "c", &[], 1e308), row(Kind::Histogram, "h", &[], 8e307)],
            );
        }
        let page = page(&totals);
        assert!(page.contains("c_total 1.7976931348623157e308\n") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn a_client_cannot_add_to_tallyds_own_metrics() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows =
            vec![row(Kind::Counter, "tallyd.lines", &[], 1.0), row(Kind::Counter, "tallyd_lines", &[], 9.0)];
        assert_eq!(add(&mut totals, rows), [("reserved_name", 1)]);
        assert!(page(&totals).contains("tallyd_lines_total 1\n"));
    }

    #[test]
    fn what_is_idle_leaves_the_page_and_its_names_are_free_again() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Timing, "x", &[], 5.0), row(Kind::Gauge, "g", &[], 1.0)]);
        add(&mut totals, Vec::new());
        let after_one = page(&totals);
        assert!(!after_one.contains("g 1"), "a gauge that is not in the snapshot is gone: {after_one}");
        assert!(!after_one.contains("quantile") && after_one.contains("x_count 2"), "{after_one}");
        (0..5).for_each(|_| _ = add(&mut totals, Vec::new()));
        assert_eq!(page(&totals), "");
        assert_eq!(add(&mut totals, vec![row(Kind::Counter, "x_count", &[], 1.0)]), []);
        assert_eq!(add(&mut totals, vec![row(Kind::Counter, "x", &[], 1.0)]), []);
    }
}
