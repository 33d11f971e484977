//! Compiles and applies one rule.

use super::check;
use super::expression::{CompileError, Expression};
use super::template::Template;
use super::{Action, Defaults, MatchMetricType, MatchType, RuleSpec};
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
    pub(super) expression: Option<Expression>,
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
    /// Checks and compiles a rule. Its regular expression may take `memory` bytes. Returns the fault in words if the
    /// rule is invalid. Appends warnings in words to `warnings`.
    pub(super) fn compile(
        index: usize,
        mut spec: RuleSpec,
        defaults: &Defaults,
        memory: usize,
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        spec.modernize(defaults, warnings)?;
        let RuleSpec { pattern, name, labels, .. } = &spec;
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
            MatchType::Regex => match Expression::compile(pattern, memory) {
                Ok(expression) => Some(expression),
                Err(CompileError::Syntax(problem)) => return Err(format!("match: {problem}")),
                Err(CompileError::TooLarge) => return Err(TOO_LARGE.to_owned()),
            },
        };
        let scale = spec.scale.unwrap_or(1.0);
        if !scale.is_finite() {
            return Err(format!("scale {scale} is not a finite number"));
        }
        if spec.max_series == Some(0) {
            return Err("max_series must be at least 1; to record nothing, write action: drop".to_owned());
        }
        check::observer(&spec, defaults)?;
        let stars = pattern.split('.').filter(|segment| *segment == "*").count();
        let mut unknown = Vec::new();
        let mut template = |text: &str| {
            let capture = |name: &str| match &expression {
                Some(expression) => expression.group_number(name),
                None => name.parse().ok().filter(|number| (1..=stars).contains(number)),
            };
            Template::new(text, capture, &mut unknown)
        };
        let name = template(name);
        let labels = labels.iter().map(|(label, value)| (label.clone(), template(value))).collect();
        if spec.action != Action::Drop
            && spec.match_metric_type.is_none_or(|kind| kind == MatchMetricType::Observer)
        {
            let buckets = spec.histogram_options.as_ref().map(|options| &*options.buckets);
            warnings.extend(buckets.and_then(check::milliseconds));
        }
        if spec.action != Action::Drop {
            warnings.extend(unknown.iter().map(|name| unknown_reference(name, stars, expression.as_ref())));
        }
        Ok(Self { index, name, labels, spec, scale, policy: None, expression })
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

    /// Returns true if this rule comes first for every metric that `later` matches, because both have the same pattern.
    pub(super) fn shadows(&self, later: &Self) -> bool {
        let (own, other) = (self.spec.match_metric_type, later.spec.match_metric_type);
        self.spec.pattern == later.spec.pattern
            && self.expression.is_some() == later.expression.is_some()
            && (own.is_none() || own == other)
    }

    /// Returns the name of the overflow series: the rule's name with `overflow` in place of each reference. So a rule has
    /// one overflow series for each type, however many names it gives.
    pub(super) fn overflow_name(&self) -> Box<str> {
        self.name.expand(|_| "overflow").into()
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

/// The error for a regular expression for which no memory is left.
const TOO_LARGE: &str = "match: with this one, the regular expressions of all rules take more than 64 MiB of memory; write \
                         shorter repetitions than {1,1000}, and [a-z] instead of a Unicode class such as \\p{L}";

/// Returns the warning for a reference that is always empty.
fn unknown_reference(name: &str, stars: usize, expression: Option<&Expression>) -> String {
    let digits = name.len() - name.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, rest) = name.split_at(digits);
    if !number.is_empty() && !rest.is_empty() {
        return format!("${name} means ${{{name}}}, which is always empty; write ${{{number}}}{rest}");
    }
    let captures = match (expression, stars) {
        (Some(_), _) => "match has no such group".to_owned(),
        (None, 0) => "match has no \"*\"".to_owned(),
        (None, 1) => "match has only one \"*\"".to_owned(),
        (None, stars) => format!("match has only {stars} \"*\""),
    };
    format!("${name} is always empty, because {captures}")
}
