//! Names of families that no client may have.

use crate::model::{RESERVED_PREFIX, Series};

/// What Prometheus records itself of each target, and of its alerts. A series of the page with one of these names would
/// stand beside or in place of Prometheus' own: a client could say that a target is `up`.
const OF_PROMETHEUS: [&str; 10] = [
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

/// Names that are taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Reserved {
    /// Beginnings of names, of whoever else shows metrics together with this page.
    pub(super) prefixes: Vec<String>,
}

impl Reserved {
    /// Whether the family of a series may not have this name.
    pub(super) fn forbids(&self, family: &str, series: &Series) -> bool {
        let is_own = series.name().starts_with(RESERVED_PREFIX);
        let is_like_own = family.starts_with("tallyd_") && !is_own;
        is_like_own
            || OF_PROMETHEUS.binary_search(&family).is_ok()
            || self.prefixes.iter().any(|prefix| family.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    #[test]
    fn names_of_tallyd_prometheus_and_others_beside_are_forbidden() {
        assert!(OF_PROMETHEUS.is_sorted());
        let reserved = Reserved { prefixes: vec!["node_".to_owned()] };
        let forbids = |family, name| reserved.forbids(family, &Series::new(Kind::Gauge, name, &[]));
        for name in ["tallyd_lines", "up", "scrape_duration_seconds", "ALERTS", "node_load1"] {
            assert!(forbids(name, name), "{name}");
        }
        for name in ["tallyd", "up_since", "scrape_pages", "nodes", "my_node_load1"] {
            assert!(!forbids(name, name), "{name}");
        }
        assert!(!forbids("tallyd_lines_total", "tallyd.lines"));
        assert!(!Reserved::default().forbids("node_load1", &Series::new(Kind::Gauge, "node_load1", &[])));
    }
}
