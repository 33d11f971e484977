//! What a mapping file says, field by field: that of `statsd_exporter`, in YAML or as a section of tallyd's own
//! configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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
    pub ttl: Ttl,
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
    pub ttl: Ttl,
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
    pub max_age: Ttl,
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

/// A span of time as Go writes it: `1m2s`, `1.5h`. Zero says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ttl(pub Duration);

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_go_duration(&text).map(Self).ok_or_else(|| {
            de::Error::custom(format_args!("{text:?} is no time; write \"90s\", \"1m30s\" or \"1.5h\""))
        })
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", self.0.as_secs_f64()))
    }
}

/// Numbers with units, one behind the other, as Go's `time.ParseDuration` reads them; negative ones are refused.
fn parse_go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end = behind
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = behind;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        let cases = [
            ("1m2s", Some(62.0)),
            ("90s", Some(90.0)),
            ("1.5h", Some(5400.0)),
            ("1h0m0.5s", Some(3600.5)),
            ("100ms", Some(0.1)),
            ("0", Some(0.0)),
            ("0s", Some(0.0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_go_duration(text), seconds.map(Duration::from_secs_f64), "{text}");
        }
    }
}
