//! Compiles and applies one rule.

use super::check;
use super::expression::{CompileError, Expression};
use super::tag_edits::{TagEdits, TagEditsSpec};
use super::template::Template;
use super::{Action, Defaults, Draft, MatchMetricType, MatchType, RuleSpec};
use crate::model::{Kind, RESERVED_PREFIX};
use crate::text::name;

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
    /// `None` keeps the name.
    name: Option<Template>,
    edits: TagEdits,
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
pub(super) struct Mapped<'a> {
    /// The name that the rule's template produces. It need not be a legal name. `None` keeps the name.
    name: Option<String>,
    /// Labels and their values, sorted by label.
    labels: Vec<(&'a str, String)>,
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
        check::labels(labels)?;
        let edits = TagEdits::new(TagEditsSpec {
            keep: &spec.keep_tags,
            drop: &spec.drop_tags,
            rename: &spec.rename_tags,
            values: &spec.map_values,
        });
        check::check_tag_edits(&spec.rename_tags, &spec.map_values)?;
        if !name.is_empty() {
            check::name(name)?;
        } else if edits.is_empty() {
            return Err("the rule has no name; add one, even with action: drop".to_owned());
        } else if spec.max_series.is_some() {
            return Err("max_series needs a name, which the overflow series gets; add one".to_owned());
        }
        if name.starts_with(RESERVED_PREFIX) && spec.action != Action::Drop {
            warnings.push(
                "names that begin with \"tallyd.\" are tallyd's own, so its samples are refused".to_owned(),
            );
        }
        if spec.r#continue {
            check::continuing(&spec)?;
        }
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
        let name = (!name.is_empty()).then(|| template(name));
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
        Ok(Self { index, name, edits, labels, spec, scale, policy: None, expression })
    }

    /// Returns true if the rule applies to metrics of this kind, and to names with the beginning of this one.
    pub(super) fn applies_to(&self, name: &str, kind: Kind) -> bool {
        let word = match kind {
            Kind::Counter => MatchMetricType::Counter,
            Kind::Gauge => MatchMetricType::Gauge,
            Kind::Timing | Kind::Histogram | Kind::Distribution => MatchMetricType::Observer,
            Kind::Set => MatchMetricType::Set,
        };
        self.spec.match_metric_type.is_none_or(|wanted| wanted == word)
            && name.starts_with(&self.spec.match_prefix)
    }

    /// Returns true if this rule comes first for every metric that `later` matches, because both have the same pattern.
    pub(super) fn shadows(&self, later: &Self) -> bool {
        let (own, other) = (self.spec.match_metric_type, later.spec.match_metric_type);
        !self.spec.r#continue
            && later.spec.match_prefix.starts_with(&self.spec.match_prefix)
            && self.spec.pattern == later.spec.pattern
            && self.expression.is_some() == later.expression.is_some()
            && (own.is_none() || own == other)
    }

    /// Returns the name of the overflow series: the rule's name with `overflow` in place of each reference. So a rule has
    /// one overflow series for each type, however many names it gives.
    pub(super) fn overflow_name(&self) -> String {
        self.name.as_ref().map(|name| name.expand(|_| "overflow")).unwrap_or_default()
    }

    /// Expands the templates of the name and the labels. `capture` returns the text of a capture by its number, from 1.
    pub(super) fn expand_templates<'a>(&self, capture: impl Fn(usize) -> &'a str) -> Mapped<'_> {
        Mapped {
            name: self.name.as_ref().map(|name| name.expand(&capture)),
            labels: self.labels.iter().map(|(label, value)| (&**label, value.expand(&capture))).collect(),
        }
    }

    /// Returns the rule expanded for a name, if it applies to the name and the type.
    pub(super) fn mapped(&self, name: &str, kind: Kind) -> Option<Mapped<'_>> {
        if !self.applies_to(name, kind) {
            return None;
        }
        if let Some(expression) = &self.expression {
            let captures = expression.captures(name)?;
            Some(self.expand_templates(|group| captures[group]))
        } else {
            let captures = glob_captures(&self.spec.pattern, name)?;
            Some(self.expand_templates(|star| captures[star - 1]))
        }
    }

    /// Changes a series: first its tags, then its labels, which replace the tags of their names, then its name. If the
    /// rule honors labels, a tag replaces the label instead. Labels without a value are omitted.
    pub(super) fn apply(&self, Mapped { name, labels }: Mapped<'_>, draft: &mut Draft) {
        self.edits.apply(&mut draft.tags);
        let mut is_sent = vec![false; labels.len()];
        draft.tags.retain(|(key, _)| {
            let key = name::label(key);
            let label = labels.iter().position(|(label, _)| **label == key);
            if let Some(label) = label {
                is_sent[label] = true;
            }
            label.is_none() || self.spec.honor_labels
        });
        for ((label, value), is_sent) in labels.into_iter().zip(is_sent) {
            let is_replaced = is_sent && self.spec.honor_labels;
            if !is_replaced && !value.is_empty() {
                draft.tags.push((label.to_owned(), Some(value)));
            }
        }
        if let Some(name) = name {
            draft.name = name;
        }
    }
}

/// Returns the texts that the `*` of a glob match in a name, or `None` if the glob does not match.
fn glob_captures<'a>(glob: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let (mut segments, mut captures) = (name.split('.'), Vec::new());
    for wanted in glob.split('.') {
        let segment = segments.next()?;
        if wanted == "*" {
            captures.push(segment);
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(captures)
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
