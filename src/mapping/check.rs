//! Refuses rules that cannot be applied, with what would be right.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_saphyr::Spanned;

use super::file::MappingFile;
use super::rule::Rule;
use super::template::Template;
use super::{Defaults, HistogramOptions, MatchType, ObserverType, Quantile, RuleText, SummaryOptions};
use crate::model::Statistics;
use crate::text::yaml::{self, YamlError};

/// A mapping that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingError {
    /// The line of the file that is to blame, from 1, if one is known.
    pub line: Option<u64>,
    /// What is wrong, in which rule, and what would be right.
    pub problem: String,
}

impl MappingError {
    pub(super) fn in_rule(number: usize, line: Option<u64>, pattern: &str, problem: &str) -> Self {
        Self { line, problem: format!("rule {} ({pattern:?}): {problem}", number + 1) }
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

/// An empty file, or one with nothing but comments, has no rules.
pub(super) fn read_yaml(text: &str) -> Result<MappingFile<Spanned<RuleText>>, MappingError> {
    match yaml::parse(text) {
        Ok(file) => Ok(file.unwrap_or(MappingFile { defaults: Defaults::default(), mappings: Vec::new() })),
        Err(YamlError { line, problem }) => Err(MappingError { line, problem }),
    }
}

/// What a text must look like, as a pattern and in words.
struct Syntax {
    pattern: LazyLock<Regex>,
    words: &'static str,
}

impl Syntax {
    fn check(&self, what: &str, text: &str) -> Result<(), String> {
        if self.pattern.is_match(text) {
            Ok(())
        } else {
            Err(format!("{what} {text:?} is not {}", self.words))
        }
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is constant, and a test compiles it")
}

// What statsd_exporter takes, so that what is refused there is refused here.
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
    words: "a label's name: two characters at least, letters, digits and \"_\", and no digit first",
};

impl Defaults {
    /// Whether the options of all rules are such that a series can be exposed by them.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_options(&self.summary_options, &self.histogram_options)
    }
}

/// A rule that can be applied.
pub(super) fn rule(number: usize, text: &RuleText, defaults: &Defaults) -> Result<Rule, String> {
    let RuleText { pattern, name, scale, .. } = text;
    for label in text.labels.keys() {
        LABEL.check("label", label)?;
    }
    if name.is_empty() {
        return Err("it gives no name; add one, with action: drop too".to_owned());
    }
    NAME.check("name", name)?;
    let expression = match text.match_type.unwrap_or(defaults.match_type) {
        MatchType::Glob => {
            GLOB.check("match", pattern)?;
            None
        }
        MatchType::Regex => Some(Regex::new(pattern).map_err(|error| format!("match: {error}"))?),
    };
    let stars = pattern.split('.').filter(|segment| *segment == "*").count();
    let template = |text: &str| {
        Template::new(text, |name| match &expression {
            Some(expression) => group(expression, name),
            None => name.parse().ok().filter(|number| (1..=stars).contains(number)),
        })
    };
    let scale = scale.unwrap_or(1.0);
    if !scale.is_finite() {
        return Err(format!("scale {scale} is no finite number"));
    }
    check_observer(text, defaults)?;
    Ok(Rule {
        number,
        name: template(name),
        labels: text.labels.iter().map(|(label, value)| (label.clone(), template(value))).collect(),
        text: text.clone(),
        scale,
        policy: 0,
        expression,
    })
}

/// A group by its number or name.
fn group(expression: &Regex, name: &str) -> Option<usize> {
    match name.parse() {
        Ok(number) => (number < expression.captures_len()).then_some(number),
        Err(_) => expression.capture_names().position(|group| group == Some(name)),
    }
}

fn check_observer(text: &RuleText, defaults: &Defaults) -> Result<(), String> {
    let observer_type = match text.observer_type {
        ObserverType::Unset => defaults.observer_type,
        given => given,
    };
    match (observer_type, &text.summary_options, &text.histogram_options) {
        (ObserverType::Histogram, Some(_), _) => {
            return Err("summary_options of what is a histogram (observer_type)".to_owned());
        }
        (ObserverType::Native, Some(_), _) => {
            return Err("summary_options of what is a native histogram (observer_type)".to_owned());
        }
        (ObserverType::Summary, _, Some(_)) => {
            return Err("histogram_options of what is a summary (observer_type)".to_owned());
        }
        _ => {}
    }
    let (summary, histogram) = (text.summary_options.as_ref(), text.histogram_options.as_ref());
    check_options(
        summary.unwrap_or(&defaults.summary_options),
        histogram.unwrap_or(&defaults.histogram_options),
    )
}

fn check_options(summary: &SummaryOptions, histogram: &HistogramOptions) -> Result<(), String> {
    let HistogramOptions { buckets, native_histogram_bucket_factor: factor, .. } = histogram;
    let is_quantile = |quantile: &Quantile| quantile.quantile > 0.0 && quantile.quantile <= 1.0;
    if let Some(wrong) = summary.quantiles.iter().find(|quantile| !is_quantile(quantile)) {
        return Err(format!("quantile {} is not above 0 and up to 1", wrong.quantile));
    }
    if !Statistics::are_bounds(buckets) {
        return Err("buckets: no ascending list of finite numbers".to_owned());
    }
    if *factor != 0.0 && !(*factor > 1.0 && *factor <= 65536.0) {
        return Err(format!("native_histogram_bucket_factor {factor} is not above 1 and up to 65536"));
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
    fn what_is_wrong_is_said_with_its_rule_and_line() {
        let cases = [
            (
                "mappings:\n- match: a.*\n  name: a\n- match: a b\n  name: b\n",
                "line 4: rule 2 (\"a b\"): match",
            ),
            ("mappings:\n- match: a.*\n", "line 2: rule 1 (\"a.*\"): it gives no name"),
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

    #[test]
    fn an_empty_file_has_no_rules() {
        for yaml in ["", "---\n", "# nothing\n", "mappings: []\n", "{}"] {
            assert!(Mapping::from_yaml(yaml).unwrap().rules().is_empty(), "{yaml:?}");
        }
    }
}
