//! Defines the fields of a `statsd_exporter` mapping file. tallyd reads them from YAML, or from a section of its own
//! configuration.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::Spanned;

use crate::text::duration::GoDuration;
use crate::text::yaml::{self, YamlError};

/// A mapping file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MappingFile {
    #[serde(deserialize_with = "or_default")]
    pub(super) defaults: Defaults,
    /// The rules in order, each with its position in the file.
    #[serde(deserialize_with = "or_default")]
    pub(super) mappings: Vec<Spanned<RuleSpec>>,
}

impl MappingFile {
    /// Parses a file of `statsd_exporter`. An empty file, or one with only comments, has no rules.
    pub(super) fn from_yaml(text: &str) -> Result<Self, MappingError> {
        match yaml::parse(text) {
            Ok(file) => Ok(file.unwrap_or_default()),
            Err(YamlError { line, problem }) => Err(MappingError { line, rule: None, problem }),
        }
    }
}

/// Reads a field. A field without a value has its default, as in `statsd_exporter`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads labels. A label without a value is empty, as in `statsd_exporter`.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let labels: BTreeMap<String, Option<String>> = or_default(deserializer)?;
    Ok(labels.into_iter().map(|(label, value)| (label, value.unwrap_or_default())).collect())
}

/// A warning about a rule that is legal but probably not what its author meant.
pub type MappingWarning = MappingError;

/// The reason why a mapping is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingError {
    /// The line of the fault, from 1, if it is known.
    pub line: Option<u64>,
    /// The position of the rule, from 0, if the fault is in a rule.
    pub rule: Option<usize>,
    /// The rule, its fault and a remedy, in words.
    pub problem: String,
}

impl MappingError {
    pub(super) fn in_rule(index: usize, line: Option<u64>, pattern: &str, problem: &str) -> Self {
        Self { line, rule: Some(index), problem: format!("rule {} ({pattern:?}): {problem}", index + 1) }
    }
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for MappingError {}

/// The values of fields that a rule omits. The observer type, the lifetime and the options also apply to series without
/// a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// How timings, histograms and distributions are exposed. The former name `timer_type` is also accepted.
    #[serde(alias = "timer_type", deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub observer_type: ObserverType,
    /// The syntax of `match`.
    #[serde(deserialize_with = "or_default")]
    pub match_type: MatchType,
    /// True if the most specific matching glob wins instead of the first one.
    #[serde(deserialize_with = "or_default")]
    pub glob_disable_ordering: bool,
    /// The time for which a series without samples is kept.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub ttl: GoDuration,
    /// The options of summaries, for rules without any.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub summary_options: SummaryOptions,
    /// The options of histograms, for rules without any.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub histogram_options: HistogramOptions,
    /// The former spelling of `histogram_options.buckets`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub buckets: Vec<f64>,
    /// The former spelling of `summary_options.quantiles`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub quantiles: Vec<Quantile>,
}

impl Defaults {
    /// Returns how the observers of a rule are exposed, or the observers of series without a rule.
    pub(super) fn observer_type_of(&self, rule: Option<&RuleSpec>) -> ObserverType {
        match rule.map(|rule| rule.observer_type) {
            None | Some(ObserverType::Unset) => self.observer_type,
            Some(given) => given,
        }
    }
}

fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One rule as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/mapping.md documents each field")]
pub struct RuleSpec {
    #[serde(rename = "match", deserialize_with = "or_default")]
    pub pattern: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub name: String,
    #[serde(deserialize_with = "labels", skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub honor_labels: bool,
    #[serde(alias = "timer_type", deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub observer_type: ObserverType,
    #[serde(skip_serializing_if = "is_unset")]
    pub match_type: Option<MatchType>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub help: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub action: Action,
    #[serde(skip_serializing_if = "is_unset")]
    pub match_metric_type: Option<MatchMetricType>,
    #[serde(skip_serializing_if = "is_unset")]
    pub ttl: Option<GoDuration>,
    #[serde(skip_serializing_if = "is_unset")]
    pub summary_options: Option<SummaryOptions>,
    #[serde(skip_serializing_if = "is_unset")]
    pub histogram_options: Option<HistogramOptions>,
    #[serde(skip_serializing_if = "is_unset")]
    pub scale: Option<f64>,
    #[serde(skip_serializing_if = "is_unset")]
    pub max_series: Option<usize>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub match_prefix: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub r#continue: bool,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub keep_tags: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub drop_tags: Vec<String>,
    #[serde(deserialize_with = "labels", skip_serializing_if = "is_unset")]
    pub rename_tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub map_values: BTreeMap<String, BTreeMap<String, String>>,
    /// The former spelling of `histogram_options.buckets`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub buckets: Vec<f64>,
    /// The former spelling of `summary_options.quantiles`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_unset")]
    pub quantiles: Vec<Quantile>,
}

/// How observers are exposed. Observers are timings, histograms and distributions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObserverType {
    /// The configuration decides.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// Prometheus gets the percentiles of the latest interval, with a running count and sum.
    Summary,
    /// Prometheus gets running counts in buckets. If the histogram options give a factor, it also gets exponential
    /// buckets.
    Histogram,
    /// Prometheus gets running counts in exponential buckets only. `statsd_exporter` does not know this type.
    Native,
}

/// The syntax of `match`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchType {
    /// The pattern consists of segments with dots between them. The segment `*` matches any segment.
    #[default]
    #[serde(alias = "")]
    Glob,
    /// The pattern is an unanchored regular expression.
    Regex,
}

/// The effect of a rule on the metrics that it matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The metrics get another name and labels.
    #[default]
    #[serde(alias = "")]
    Map,
    /// The samples of the metrics are refused and counted with the reason `mapping_drop`.
    Drop,
}

/// The value of `match_metric_type`, which restricts a rule to one type. `statsd_exporter` does not know sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the words")]
pub enum MatchMetricType {
    Counter,
    Gauge,
    /// A timing, histogram or distribution. The former word `timer` is also accepted.
    #[serde(alias = "timer")]
    Observer,
    Set,
}

/// The `summary_options` of a rule or of the defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SummaryOptions {
    /// The quantiles. If the list is empty, the configured quantiles apply.
    #[serde(deserialize_with = "or_default")]
    pub quantiles: Vec<Quantile>,
    /// The time that the percentiles of a summary cover. Zero selects the configured window.
    #[serde(deserialize_with = "or_default")]
    pub max_age: GoDuration,
    /// This option has no effect, because tallyd always divides a window into five parts.
    #[serde(deserialize_with = "or_default")]
    pub age_buckets: u32,
    /// This option has no effect, because tallyd buffers no values.
    #[serde(deserialize_with = "or_default")]
    pub buf_cap: u32,
}

/// One quantile of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// The quantile: above 0, at most 1.
    pub quantile: f64,
    /// This field has no effect, because `aggregation.digits` bounds tallyd's error.
    #[serde(default)]
    pub error: f64,
}

/// The `histogram_options` of a rule or of the defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramOptions {
    /// The upper bounds of buckets, ascending. If the list is empty, the configured buckets apply.
    #[serde(deserialize_with = "or_default")]
    pub buckets: Vec<f64>,
    /// The largest factor by which a bucket of a native histogram may be wider than the previous one. 0 selects the
    /// default.
    #[serde(deserialize_with = "or_default")]
    pub native_histogram_bucket_factor: f64,
    /// The largest number of buckets of a native histogram. 0 selects the default.
    #[serde(deserialize_with = "or_default")]
    pub native_histogram_max_buckets: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_no_rules() {
        for yaml in ["", "---\n", "# nothing\n", "mappings: []\n", "{}"] {
            assert!(MappingFile::from_yaml(yaml).unwrap().mappings.is_empty(), "{yaml:?}");
        }
    }
}
