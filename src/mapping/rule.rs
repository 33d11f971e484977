//! Compiles and applies one rule.

use regex::Regex;

use super::check;
use super::template::Template;
use super::{Defaults, MatchMetricType, MatchType, RuleSpec};
use crate::model::Kind;

/// One rule, checked and compiled.
#[derive(Debug)]
pub struct Rule {
    /// The position of the rule among all rules, from 0.
    pub index: usize,
    /// The rule as written.
    pub spec: RuleSpec,
    /// The factor that multiplies the values.
    pub scale: f64,
    /// The index of the policy of its series. `None` means the policy of series that no rule matches.
    pub(super) policy: Option<u32>,
    /// The pattern, if it is a regular expression and not a glob.
    pub(super) expression: Option<Regex>,
    name: Template,
    /// Labels and the templates of their values, sorted by label.
    labels: Vec<(String, Template)>,
}

/// Two rules are equal if their texts and their positions are equal.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        (self.index, &self.spec) == (other.index, &other.spec)
    }
}

/// The name and labels that a rule gives a metric.
#[derive(Debug, Clone)]
pub struct Mapped<'a> {
    /// The rule that matched.
    pub rule: &'a Rule,
    /// The name that the rule's template produces. It need not be a legal name.
    pub name: String,
    /// Labels and their values, sorted by label.
    pub labels: Vec<(&'a str, String)>,
}

impl Rule {
    /// Checks and compiles a rule. Returns the fault in words if the rule is invalid.
    pub(super) fn compile(index: usize, spec: &RuleSpec, defaults: &Defaults) -> Result<Self, String> {
        let RuleSpec { pattern, name, labels, .. } = spec;
        for label in labels.keys() {
            check::label(label)?;
        }
        if name.is_empty() {
            return Err("the rule has no name; add one, even with action: drop".to_owned());
        }
        check::name(name)?;
        let expression = match spec.match_type.unwrap_or(defaults.match_type) {
            MatchType::Glob => {
                check::glob(pattern)?;
                None
            }
            MatchType::Regex => Some(Regex::new(pattern).map_err(|error| format!("match: {error}"))?),
        };
        let scale = spec.scale.unwrap_or(1.0);
        if !scale.is_finite() {
            return Err(format!("scale {scale} is not a finite number"));
        }
        check::observer(spec, defaults)?;
        let stars = pattern.split('.').filter(|segment| *segment == "*").count();
        let template = |text: &str| {
            Template::new(text, |name| match &expression {
                Some(expression) => group_number(expression, name),
                None => name.parse().ok().filter(|number| (1..=stars).contains(number)),
            })
        };
        Ok(Self {
            index,
            name: template(name),
            labels: labels.iter().map(|(label, value)| (label.clone(), template(value))).collect(),
            spec: spec.clone(),
            scale,
            policy: None,
            expression,
        })
    }

    /// Returns true if the rule applies to metrics of this kind.
    pub(super) fn applies_to(&self, kind: Kind) -> bool {
        let word = match kind {
            Kind::Counter => MatchMetricType::Counter,
            Kind::Gauge => MatchMetricType::Gauge,
            Kind::Timing | Kind::Histogram | Kind::Distribution => MatchMetricType::Observer,
            Kind::Set => MatchMetricType::Set,
        };
        self.spec.match_metric_type.is_none_or(|wanted| wanted == word)
    }

    /// Expands the templates of the name and the labels. `capture` returns the text of a capture by its number, from 1.
    pub(super) fn expand_templates<'a>(&self, capture: impl Fn(usize) -> &'a str) -> Mapped<'_> {
        Mapped {
            rule: self,
            name: self.name.expand(&capture),
            labels: self.labels.iter().map(|(label, value)| (&**label, value.expand(&capture))).collect(),
        }
    }
}

/// Returns the number of the capture group that `name` refers to by number or by name.
fn group_number(expression: &Regex, name: &str) -> Option<usize> {
    match name.parse() {
        Ok(number) => (number < expression.captures_len()).then_some(number),
        Err(_) => expression.capture_names().position(|group| group == Some(name)),
    }
}
