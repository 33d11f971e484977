//! Checks rules. Its errors say what is valid instead.

use std::sync::LazyLock;

use regex::Regex;

use super::{Defaults, HistogramOptions, ObserverType, Quantile, RuleSpec, SummaryOptions};
use crate::model::Statistics;

/// A required syntax, as a pattern and in words.
struct Syntax {
    pattern: LazyLock<Regex>,
    words: &'static str,
}

impl Syntax {
    fn check(&self, field: &str, text: &str) -> Result<(), String> {
        if self.pattern.is_match(text) {
            Ok(())
        } else {
            Err(format!("{field} {text:?} is not {}", self.words))
        }
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is constant, and a test compiles it")
}

// The patterns are those of statsd_exporter, so both programs accept the same texts.
static GLOB: Syntax = Syntax {
    pattern: LazyLock::new(|| regex(r"^(\*|[a-zA-Z_][a-zA-Z0-9_-]*)(\.(\*|[a-zA-Z0-9_][a-zA-Z0-9_-]*))*$")),
    words: "a glob: segments of letters, digits, \"_\" and \"-\", or \"*\", with dots between them, and no digit first; \
            for a regular expression, add match_type: regex",
};
static NAME: Syntax = Syntax {
    pattern: LazyLock::new(|| regex(r"^([a-zA-Z_]|\$\{?[0-9]+\}?)([a-zA-Z0-9_]|\$\{?[0-9]+\}?)*$")),
    words: "a metric's name: letters, digits, \"_\" and references such as ${1}, and no digit first",
};
static LABEL: Syntax = Syntax {
    pattern: LazyLock::new(|| regex("^[a-zA-Z_][a-zA-Z0-9_]+$")),
    words: "a label's name: at least two letters, digits or \"_\", and no digit first",
};

pub(super) fn glob(pattern: &str) -> Result<(), String> {
    GLOB.check("match", pattern)
}

pub(super) fn name(name: &str) -> Result<(), String> {
    NAME.check("name", name)
}

pub(super) fn label(label: &str) -> Result<(), String> {
    LABEL.check("label", label)
}

impl Defaults {
    /// Checks the options of summaries and histograms.
    pub(crate) fn check_options(&self) -> Result<(), String> {
        check_options(&self.summary_options, &self.histogram_options)
    }
}

/// Checks that the options of a rule fit its observer type.
pub(super) fn observer(spec: &RuleSpec, defaults: &Defaults) -> Result<(), String> {
    match (defaults.observer_type_of(Some(spec)), &spec.summary_options, &spec.histogram_options) {
        (ObserverType::Histogram, Some(_), _) => {
            return Err("summary_options do not apply, because observer_type is histogram".to_owned());
        }
        (ObserverType::Native, Some(_), _) => {
            return Err("summary_options do not apply, because observer_type is native".to_owned());
        }
        (ObserverType::Summary, _, Some(_)) => {
            return Err("histogram_options do not apply, because observer_type is summary".to_owned());
        }
        _ => {}
    }
    check_options(
        spec.summary_options.as_ref().unwrap_or(&defaults.summary_options),
        spec.histogram_options.as_ref().unwrap_or(&defaults.histogram_options),
    )
}

fn check_options(summary: &SummaryOptions, histogram: &HistogramOptions) -> Result<(), String> {
    let HistogramOptions { buckets, native_histogram_bucket_factor: factor, .. } = histogram;
    let is_quantile = |quantile: &Quantile| quantile.quantile > 0.0 && quantile.quantile <= 1.0;
    if let Some(wrong) = summary.quantiles.iter().find(|quantile| !is_quantile(quantile)) {
        return Err(format!("quantile {} must be above 0 and at most 1", wrong.quantile));
    }
    if !Statistics::are_bounds(buckets) {
        return Err("buckets must be finite numbers in ascending order".to_owned());
    }
    if *factor != 0.0 && !(*factor > 1.0 && *factor <= 65536.0) {
        return Err(format!("native_histogram_bucket_factor {factor} must be above 1 and at most 65536"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Mapping;

    fn problem(yaml: &str) -> String {
        Mapping::from_yaml(yaml).expect_err(yaml).to_string()
    }

    #[test]
    fn an_error_names_the_rule_and_the_line() {
        let cases = [
            (
                "mappings:\n- match: a.*\n  name: a\n- match: a b\n  name: b\n",
                "line 4: rule 2 (\"a b\"): match",
            ),
            ("mappings:\n- match: a.*\n", "line 2: rule 1 (\"a.*\"): the rule has no name"),
            ("mappings:\n- match: a\n  name: 0a\n", "line 2: rule 1 (\"a\"): name \"0a\""),
            ("mappings:\n- match: a\n  name: a\n  labels: {x: y}\n", "label \"x\""),
            (
                "mappings:\n- match: (\n  match_type: regex\n  name: a\n",
                "rule 1 (\"(\"): match: regex parse error",
            ),
            ("mappings:\n- match: a\n  name: a\n  acton: drop\n", "line 4"),
            ("mappings:\n- match: a\n  name: a\n  action: xyz\n", "line 4"),
            ("mappings:\n- match: a\n  name: a\n  ttl: 5\n", "line 4"),
            ("mappings:\n- match: a\n  name: a\n  histogram_options: {buckets: [2, 1]}\n", "buckets"),
            (
                "mappings:\n- match: a\n  name: a\n  summary_options: {quantiles: [{quantile: 50}]}\n",
                "quantile 50",
            ),
            ("defaults:\n  histogram_options: {native_histogram_bucket_factor: 1}\n", "defaults: native"),
            ("mappings:\n  - match: a\n   name: b\n", "line "),
        ];
        for (yaml, expected) in cases {
            assert!(problem(yaml).contains(expected), "{yaml}\n{}", problem(yaml));
        }
    }
}
