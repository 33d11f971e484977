//! Refuses exporters that would do harm.

use std::time::Duration;

use super::error::Problem;
use super::{ExportersSection, PrometheusSection};
use crate::model::Statistics;

/// The first harmful value, if there is one. Sections that are not enabled are checked, too.
pub(super) fn problem(exporters: &ExportersSection) -> Option<Problem> {
    let problem = |key, text: &str| Some((key, text.to_owned()));
    let ExportersSection { console, prometheus, textfile } = exporters;
    if ![console.enabled, prometheus.start_http_server, textfile.enabled].contains(&true) {
        return problem("exporters.console.enabled", "every exporter is turned off; enable one");
    }
    if console.path.as_os_str().is_empty() {
        return problem("exporters.console.path", "empty; give a file, or \"-\" for standard output");
    }
    if textfile.path.extension().is_none_or(|extension| extension != "prom") {
        return problem(
            "exporters.textfile.path",
            "does not end in \".prom\"; node_exporter reads no other file",
        );
    }
    let PrometheusSection {
        max_connections, timeout, buckets, native_histogram_bucket_factor: factor, ..
    } = prometheus;
    if !(1..=65_536).contains(max_connections) {
        return problem("exporters.prometheus.max_connections", "not between 1 and 65_536");
    }
    if !(Duration::from_millis(100)..=Duration::from_mins(10)).contains(&timeout.get()) {
        return problem("exporters.prometheus.timeout", "not between \"100ms\" and \"10m\"");
    }
    if buckets.len() > 200 || !Statistics::are_bounds(buckets) {
        return problem(
            "exporters.prometheus.buckets",
            "not an ascending list of at most 200 finite numbers",
        );
    }
    if !(*factor > 1.0 && *factor <= 65_536.0) {
        return problem(
            "exporters.prometheus.native_histogram_bucket_factor",
            "not above 1 and up to 65_536",
        );
    }
    if !(1..=10_000).contains(&prometheus.native_histogram_max_buckets) {
        return problem("exporters.prometheus.native_histogram_max_buckets", "not between 1 and 10_000");
    }
    None
}
