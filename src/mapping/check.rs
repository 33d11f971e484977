//! Checks rules. Its errors say what is valid instead.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::{Action, Defaults, HistogramOptions, ObserverType, Quantile, RuleSpec, SummaryOptions};
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

// The patterns are those of statsd_exporter, so tallyd accepts the same texts. It also accepts labels of one letter, and
// names and labels with dots and dashes, as the rules of the Datadog agent have them.
static GLOB: Syntax = Syntax {
    pattern: LazyLock::new(|| regex(r"^(\*|[a-zA-Z_][a-zA-Z0-9_-]*)(\.(\*|[a-zA-Z0-9_][a-zA-Z0-9_-]*))*$")),
    words: "a glob: segments of letters, digits, \"_\" and \"-\", or \"*\", with dots between them, and no digit first; \
            for a regular expression, add match_type: regex",
};
static NAME: Syntax = Syntax {
    pattern: LazyLock::new(|| regex(r"^([a-zA-Z_]|\$\{?[0-9]+\}?)([a-zA-Z0-9_.-]|\$\{?[0-9]+\}?)*$")),
    words: "a metric's name: letters, digits, \"_\", \".\", \"-\" and references such as ${1}, and no digit first",
};
static LABEL: Syntax = Syntax {
    pattern: LazyLock::new(|| regex("^[a-zA-Z_][a-zA-Z0-9_.-]*$")),
    words: "a label's name: letters, digits, \"_\", \".\" or \"-\", and no digit first",
};

pub(super) fn glob(pattern: &str) -> Result<(), String> {
    GLOB.check("match", pattern)
}

pub(super) fn name(name: &str) -> Result<(), String> {
    NAME.check("name", name)
}

pub(super) fn labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    labels.iter().try_for_each(|(label, value)| {
        LABEL.check("label", label)?;
        check_text("the value of a label", value)
    })
}

/// Checks the new keys and values of tags.
pub(crate) fn check_tag_edits(
    rename: &BTreeMap<String, String>,
    values: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<(), String> {
    for key in rename.keys().chain(values.keys()) {
        if key.is_empty() || key.contains('*') {
            return Err(format!("{key:?} is not the key of a tag; write the key itself, without \"*\""));
        }
    }
    for key in rename.values() {
        if key.is_empty() {
            return Err(NO_KEY.to_owned());
        }
        check_text("the new key", key)?;
    }
    values.values().flat_map(BTreeMap::values).try_for_each(|value| check_text("the new value", value))
}

const NO_KEY: &str = "a tag needs a new key; to leave the tag out, write drop_tags";

/// Refuses control characters, which would end a field of a line.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.contains(char::is_control) {
        Err(format!("{what} {text:?} has a control character; leave it out"))
    } else {
        Ok(())
    }
}

/// Checks a rule with `continue`. The rule that ends the search decides about everything but names, tags and values.
pub(super) fn continuing(spec: &RuleSpec) -> Result<(), String> {
    let options = [
        ("action", spec.action != Action::default()),
        ("observer_type", spec.observer_type != ObserverType::default()),
        ("summary_options", spec.summary_options.is_some()),
        ("histogram_options", spec.histogram_options.is_some()),
        ("ttl", spec.ttl.is_some()),
        ("max_series", spec.max_series.is_some()),
        ("help", !spec.help.is_empty()),
    ];
    match options.iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => Err(format!(
            "{field} has no effect in a rule with continue; put it into the rule without continue that matches afterwards"
        )),
        None => Ok(()),
    }
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
        let quantile = wrong.quantile;
        let right = (quantile > 1.0 && quantile <= 100.0).then(|| format!("; write {}", quantile / 100.0));
        return Err(format!(
            "quantile {quantile} must be above 0 and at most 1{}",
            right.unwrap_or_default()
        ));
    }
    if !Statistics::are_bounds(buckets) {
        return Err("buckets must be finite numbers in ascending order".to_owned());
    }
    if *factor != 0.0 && !(*factor > 1.0 && *factor <= 65536.0) {
        return Err(format!("native_histogram_bucket_factor {factor} must be above 1 and at most 65536"));
    }
    Ok(())
}

/// Returns a warning if the buckets of timings look like milliseconds. They are in seconds. Buckets of whole minutes
/// are plausible seconds, and those from above 10 minutes in milliseconds are more likely bytes.
pub(crate) fn milliseconds(buckets: &[f64]) -> Option<String> {
    let (first, last) = (buckets.first()?, buckets.last()?);
    let are_plausible = (1.0..=100.0).contains(first) && (500.0..=600_000.0).contains(last);
    let is_odd = |bound: &&f64| **bound >= 500.0 && **bound % 60.0 != 0.0;
    let bound = buckets.iter().find(is_odd).filter(|_| are_plausible)?;
    Some(format!(
        "buckets look like milliseconds, but those of timings are in seconds; for {bound} ms write {}",
        bound / 1000.0
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Mapping;

    fn problem(yaml: &str) -> String {
        Mapping::from_yaml(yaml).expect_err(yaml).to_string()
    }

    #[test]
    fn buckets_that_look_like_milliseconds_are_noticed() {
        let cases: [(&[f64], bool); 9] = [
            (&[5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0], true),
            (&[1.0, 10.0, 100.0, 1000.0, 10_000.0], true),
            (&[100.0, 500.0], true),
            (&[0.005, 0.01, 1.0, 10.0], false),
            (&[0.1, 1000.0], false),
            (&[1.0, 10.0, 60.0, 600.0, 3600.0], false),
            (&[1.0, 5.0, 10.0, 30.0], false),
            (&[1024.0, 65_536.0], false),
            (&[], false),
        ];
        for (buckets, expected) in cases {
            assert_eq!(super::milliseconds(buckets).is_some(), expected, "{buckets:?}");
        }
    }

    #[test]
    fn legal_rules_that_are_probably_mistakes_get_a_warning() {
        let cases = [
            ("match: a.*.*.*\n  name: a_$9\n", "$9 is always empty, because match has only 3 \"*\""),
            (
                "match: a.*\n  name: a\n  labels: {x: $2}\n",
                "$2 is always empty, because match has only one \"*\"",
            ),
            ("match: a\n  name: a_$1\n", "$1 is always empty, because match has no \"*\""),
            ("match: a.*\n  name: a_$1_b\n", "$1_b means ${1_b}, which is always empty; write ${1}_b"),
            (
                "match: (a)\n  match_type: regex\n  name: a_$2\n",
                "$2 is always empty, because match has no such group",
            ),
            (
                "match: a\n  name: a\n  observer_type: histogram\n  histogram_options: {buckets: [1, 10, 1000]}\n",
                "buckets look like milliseconds, but those of timings are in seconds; for 1000 ms write 1",
            ),
        ];
        for (rule, expected) in cases {
            let mapping = Mapping::from_yaml(&format!("mappings:\n- {rule}")).unwrap();
            let warnings: Vec<_> =
                mapping.warnings().iter().map(|warning| warning.problem.as_str()).collect();
            assert!(warnings.len() == 1 && warnings[0].ends_with(&format!("): {expected}")), "{warnings:?}");
        }
        let twice = "mappings:\n- {match: a.*, name: a}\n- {match: a.*, name: b}\n- {match: b, name: b, match_metric_type: \
                     gauge}\n- {match: b, name: b, match_metric_type: counter}\n";
        let mapping = Mapping::from_yaml(twice).unwrap();
        let [warning] = mapping.warnings() else { panic!("{:?}", mapping.warnings()) };
        assert_eq!(
            warning.to_string(),
            "line 3: rule 2 (\"a.*\"): no metric reaches this rule, because rule 1 has the same match"
        );
        let plain =
            "mappings:\n- {match: a.*, name: a_$1}\n- {match: b.*, name: x, action: drop, labels: {y: $5}}\n";
        assert_eq!(Mapping::from_yaml(plain).unwrap().warnings(), []);
    }

    #[test]
    fn fields_and_labels_without_a_value_are_left_out() {
        for yaml in ["mappings:\n", "defaults:\nmappings:\n", "mappings: null\n"] {
            assert!(Mapping::from_yaml(yaml).unwrap().is_empty(), "{yaml}");
        }
        let yaml = "defaults:\n  ttl:\n  histogram_options:\n  match_type:\nmappings:\n- match: a.*\n  name: a\n  \
                    labels: {x: , y: $1}\n  help:\n  ttl:\n  action:\n  summary_options:\n    quantiles:\n  scale:\n";
        let mapping = Mapping::from_yaml(yaml).unwrap();
        let labels = mapping.rules()[0].spec.labels.clone();
        assert_eq!(
            labels.into_iter().collect::<Vec<_>>(),
            [("x", ""), ("y", "$1")].map(|(x, y)| (x.to_owned(), y.to_owned()))
        );
        let empty = problem("mappings:\n- match: a\n  name:\n");
        assert!(empty.contains("the rule has no name"), "{empty}");
    }

    #[test]
    fn regular_expressions_of_all_rules_share_a_memory_budget() {
        let rule =
            |number| format!("- {{match: 'x{number}[\\pL\\pN]{{1,80}}', match_type: regex, name: a}}\n");
        let yaml = format!("mappings:\n{}", (0..100).map(rule).collect::<String>());
        let error = problem(&yaml);
        assert!(error.contains("take more than 64 MiB of memory"), "{error}");
        assert!(error.starts_with("line ") && error.contains(": rule "), "{error}");
        let ascii = |number| {
            format!("- {{match: '^a{number}\\.([\\w.-]{{1,250}})\\.x$', match_type: regex, name: a}}\n")
        };
        let yaml = format!("mappings:\n{}", (0..200).map(ascii).collect::<String>());
        assert_eq!(Mapping::from_yaml(&yaml).unwrap().rules().len(), 200);
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
            ("mappings:\n- match: a\n  name: a\n  labels: {1x: y}\n", "label \"1x\""),
            (
                "mappings:\n- match: (\n  match_type: regex\n  name: a\n",
                "rule 1 (\"(\"): match: a \"(\" has no closing \")\"; write \\( for the character itself",
            ),
            ("mappings:\n- match: a\n  name: a\n  acton: drop\n", "line 4"),
            ("mappings:\n- match: a\n  name: a\n  action: xyz\n", "line 4"),
            ("mappings:\n- match: a\n  name: a\n  ttl: 5\n", "line 4"),
            ("mappings:\n- match: a\n  name: a\n  histogram_options: {buckets: [2, 1]}\n", "buckets"),
            (
                "mappings:\n- match: a\n  name: a\n  summary_options: {quantiles: [{quantile: 50}]}\n",
                "quantile 50 must be above 0 and at most 1; write 0.5",
            ),
            ("defaults:\n  histogram_options: {native_histogram_bucket_factor: 1}\n", "defaults: native"),
            ("mappings:\n  - match: a\n   name: b\n", "line "),
        ];
        for (yaml, expected) in cases {
            assert!(problem(yaml).contains(expected), "{yaml}\n{}", problem(yaml));
        }
    }
}
