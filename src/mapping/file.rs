//! What a mapping file says, field by field: that of `statsd_exporter`, in YAML or as a section of tallyd's own
//! configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::text::duration::GoDuration;

/// All of a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MappingFile<R> {
    /// What holds where a rule says nothing.
    #[serde(default)]
    pub(super) defaults: Defaults,
    /// In their order.
    #[serde(default = "Vec::new")]
    pub(super) mappings: Vec<R>,
}

/// What holds where a rule says nothing, and, but for the match type, for series without a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Also by its old name `timer_type`.
    #[serde(alias = "timer_type", skip_serializing_if = "is_unset")]
    pub observer_type: ObserverType,
    /// How `match` is read.
    pub match_type: MatchType,
    /// Whether the most special glob counts, and not the first one.
    pub glob_disable_ordering: bool,
    /// How long a series without samples stays.
    #[serde(skip_serializing_if = "is_unset")]
    pub ttl: GoDuration,
    /// For those that are summaries.
    #[serde(skip_serializing_if = "is_unset")]
    pub summary_options: SummaryOptions,
    /// For those that are histograms.
    #[serde(skip_serializing_if = "is_unset")]
    pub histogram_options: HistogramOptions,
}

fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One rule, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/mapping.md documents each field")]
pub struct RuleText {
    #[serde(rename = "match")]
    pub pattern: String,
    pub name: String,
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_unset")]
    pub honor_labels: bool,
    #[serde(alias = "timer_type", skip_serializing_if = "is_unset")]
    pub observer_type: ObserverType,
    #[serde(skip_serializing_if = "is_unset")]
    pub match_type: Option<MatchType>,
    #[serde(skip_serializing_if = "is_unset")]
    pub help: String,
    #[serde(skip_serializing_if = "is_unset")]
    pub action: Action,
    #[serde(skip_serializing_if = "is_unset")]
    pub match_metric_type: Option<MetricType>,
    #[serde(skip_serializing_if = "is_unset")]
    pub ttl: GoDuration,
    #[serde(skip_serializing_if = "is_unset")]
    pub summary_options: Option<SummaryOptions>,
    #[serde(skip_serializing_if = "is_unset")]
    pub histogram_options: Option<HistogramOptions>,
    #[serde(skip_serializing_if = "is_unset")]
    pub scale: Option<f64>,
}

/// How timings, histograms and distributions are exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObserverType {
    /// As the configuration has it.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// Percentiles of the latest interval, running count and sum.
    Summary,
    /// Running counts in buckets; in exponential ones, too, if the options of histograms give their factor.
    Histogram,
    /// Running counts in exponential buckets alone. `statsd_exporter` does not know it; it is tallyd's own.
    Native,
}

/// How `match` is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatchType {
    /// Segments between dots, of which `*` is any.
    #[default]
    #[serde(alias = "")]
    Glob,
    /// A regular expression, not anchored.
    Regex,
}

/// What is done with a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is given another name and labels.
    #[default]
    #[serde(alias = "")]
    Map,
    /// Its samples are counted as dropped, and nothing else.
    Drop,
}

/// The types of which a rule may ask for one. Sets, which `statsd_exporter` does not know, are tallyd's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names")]
pub enum MetricType {
    Counter,
    Gauge,
    /// A timing, histogram or distribution; also by its old name `timer`.
    #[serde(alias = "timer")]
    Observer,
    Set,
}

/// Of summaries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SummaryOptions {
    /// Those of the configuration if there are none.
    pub quantiles: Vec<Quantile>,
    /// Read and without effect: tallyd's summaries are of the latest interval.
    pub max_age: GoDuration,
    /// Likewise.
    pub age_buckets: u32,
    /// Likewise.
    pub buf_cap: u32,
}

/// One quantile of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// Above 0, at most 1.
    pub quantile: f64,
    /// Read and without effect: tallyd's error is at most that of `aggregation.digits`.
    #[serde(default)]
    pub error: f64,
}

/// Of histograms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramOptions {
    /// Upper bounds, ascending; those of the configuration if there are none.
    pub buckets: Vec<f64>,
    /// How much wider each bucket of a native histogram may be than the one before; 0 is the default.
    pub native_histogram_bucket_factor: f64,
    /// How many buckets a native histogram may have; 0 is the default.
    pub native_histogram_max_buckets: u32,
}
