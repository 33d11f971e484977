//! Gives metrics other names and labels by rules. The syntax of the rules is that of `statsd_exporter`.
//!
//! ```text
//!  checkout.eu.latency:5|ms
//!       | - match: "checkout.*.latency"
//!       v   name: "checkout_latency", labels: { region: "$1" }
//!  checkout_latency{region="eu"}
//! ```
//!
//! tallyd searches the rules when it first sees a line pattern, so they cost known series nothing. Metrics that get the
//! same name and labels form one series from the start. So the percentiles of the series cover all their values.

mod check;
mod draft;
mod expression;
mod file;
mod glob_tree;
mod legacy;
mod pattern_error;
mod policies;
mod profiles;
mod rule;
mod shaping;
mod tag_edits;
mod template;

use std::collections::HashMap;

pub use draft::Draft;
pub use file::{
    Action, Defaults, HistogramOptions, MappingError, MappingWarning, MatchMetricType, MatchType,
    ObserverType, Quantile, RuleSpec, SummaryOptions,
};
pub use rule::Rule;
pub use shaping::{Shaped, ShapingSpec, Step, Unshaped};

pub(crate) use check::{check_tag_edits, check_text, milliseconds};

use expression::Expression;
use file::MappingFile;
use glob_tree::GlobTree;
use profiles::{FromProfile, ProfilesFile};
use rule::Mapped;
use shaping::Shaping;

use crate::model::Kind;

/// All rules, compiled.
#[derive(Debug, Default)]
pub struct Mapping {
    /// Rules with `continue` are first.
    rules: Vec<Rule>,
    /// The number of rules with `continue`.
    continuing: usize,
    /// The other rules whose pattern is a glob.
    globs: GlobTree,
    /// The indices of the other rules whose pattern is a regular expression, in ascending order.
    expressions: Vec<usize>,
    /// The changes for all series.
    shaping: Shaping,
    /// The defaults as written.
    defaults: Defaults,
    /// The index of the policy of series that no rule matches.
    unmatched: u32,
    /// The names of the overflow series of rules with `max_series`, by policy.
    overflow_names: Vec<Option<Box<str>>>,
    /// Warnings about rules that are legal but probably mistakes, in the order of the rules.
    warnings: Vec<MappingWarning>,
}

/// The most memory that the regular expressions of all rules may take, in bytes.
const EXPRESSION_MEMORY: usize = 64 << 20;

/// Two mappings are equal if their texts are equal.
impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.defaults == other.defaults
            && self.rules == other.rules
            && self.shaping.spec == other.shaping.spec
    }
}

impl Mapping {
    /// Reads a mapping file of `statsd_exporter`, or the mapper profiles in the configuration file of a Datadog agent. Both
    /// are YAML.
    ///
    /// # Errors
    ///
    /// Returns the first fault, with its rule and line.
    pub fn from_yaml(text: &str) -> Result<Self, MappingError> {
        if let Some(profiles) = Self::profiles_from_yaml(text) {
            let rules = profiles?;
            return Self::new(&Defaults::default(), rules.iter().map(|(line, rule)| (Some(*line), rule)));
        }
        let file = MappingFile::from_yaml(text)?;
        Self::new(
            &file.defaults,
            file.mappings.iter().map(|rule| (Some(rule.referenced.line()), &rule.value)),
        )
    }

    /// Reads the mapper profiles of a Datadog agent as rules, each with its line, from 1. Returns `None` if the file has no
    /// profiles.
    ///
    /// # Errors
    ///
    /// Returns the first fault, with its rule and line.
    pub(crate) fn profiles_from_yaml(text: &str) -> Option<Result<Vec<(u64, RuleSpec)>, MappingError>> {
        let file = match ProfilesFile::from_yaml(text)? {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        let rules = profiles::rules(&file).into_iter().enumerate();
        let checked = rules.map(|(index, FromProfile { line, pattern, rule })| match rule {
            Ok(rule) => Ok((line, rule)),
            Err(problem) => Err(MappingError::in_rule(index, Some(line), &pattern, &problem)),
        });
        Some(checked.collect())
    }

    /// Compiles rules. Each rule comes with its line number, from 1, if it is known.
    ///
    /// # Errors
    ///
    /// Returns the first fault, with its rule and line.
    pub fn new<'a>(
        defaults: &Defaults,
        rules: impl IntoIterator<Item = (Option<u64>, &'a RuleSpec)>,
    ) -> Result<Self, MappingError> {
        let in_defaults = |problem: String| MappingError {
            line: None,
            rule: None,
            problem: format!("defaults: {problem}"),
        };
        let mut defaults = defaults.clone();
        let mut warnings: Vec<_> = defaults.modernize().into_iter().map(in_defaults).collect();
        defaults.check_options().map_err(in_defaults)?;
        let mut mapping = Self { globs: GlobTree::new(defaults.glob_disable_ordering), ..Self::default() };
        let mut memory = EXPRESSION_MEMORY;
        let mut by_pattern = HashMap::<&str, Vec<usize>>::new();
        for (index, (line, spec)) in rules.into_iter().enumerate() {
            let in_rule = |problem: String| MappingError::in_rule(index, line, &spec.pattern, &problem);
            let mut remarks = Vec::new();
            let rule =
                Rule::compile(index, spec.clone(), &defaults, memory, &mut remarks).map_err(in_rule)?;
            memory -= rule.expression.as_ref().map_or(0, Expression::memory);
            if rule.spec.r#continue {
                if mapping.continuing < index {
                    return Err(in_rule(CONTINUE_LAST.to_owned()));
                }
                mapping.continuing += 1;
            } else if rule.expression.is_some() {
                mapping.expressions.push(index);
            } else {
                mapping.globs.add(&spec.pattern, index);
            }
            let same_pattern = by_pattern.entry(&*spec.pattern).or_default();
            let mut earlier = same_pattern.iter().map(|&index: &usize| &mapping.rules[index]);
            remarks.extend(earlier.find(|earlier| earlier.shadows(&rule)).map(|earlier| {
                let number = earlier.index + 1;
                format!("no metric reaches this rule, because rule {number} has the same match")
            }));
            same_pattern.push(index);
            warnings.extend(remarks.into_iter().map(in_rule));
            mapping.rules.push(rule);
        }
        Ok(Self { defaults, warnings, ..mapping })
    }

    /// Returns the changes for all series.
    #[must_use]
    pub fn shaping(&self) -> &ShapingSpec {
        &self.shaping.spec
    }

    /// Returns warnings about rules that are legal but probably mistakes, in the order of the rules.
    #[must_use]
    pub fn warnings(&self) -> &[MappingWarning] {
        &self.warnings
    }

    /// Returns the rules in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns true if all series stay as lines name them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && !self.shaping.has_effect
    }

    /// Returns these rules with changes for all series.
    #[must_use]
    pub fn with_shaping(self, spec: ShapingSpec) -> Self {
        Self { shaping: Shaping::new(spec), ..self }
    }

    /// Shapes the series of a line. Calls `seen` with each step and the series after it.
    ///
    /// # Errors
    ///
    /// Returns an error if the rules leave the series out.
    pub fn shape<'a>(
        &'a self,
        kind: Kind,
        draft: &mut Draft,
        mut seen: impl FnMut(Step<'a>, &Draft),
    ) -> Result<Shaped<'a>, Unshaped> {
        let Shaping { spec, edits, .. } = &self.shaping;
        if !edits.is_empty() {
            edits.apply(&mut draft.tags);
            seen(Step::Tags, draft);
        }
        let mut scale = 1.0;
        let mut apply = |rule: &'a Rule, mapped, draft: &mut Draft| {
            rule.apply(mapped, draft);
            scale *= rule.scale;
            seen(Step::Rule(rule), draft);
        };
        for rule in self.continuing() {
            if let Some(mapped) = rule.mapped(&draft.name, kind) {
                apply(rule, mapped, draft);
            }
        }
        let last = self.last_rule(&draft.name, kind);
        let rule = last.as_ref().map(|(rule, _)| *rule);
        if let Some((rule, mapped)) = last {
            apply(rule, mapped, draft);
            if rule.spec.action == Action::Drop {
                return Err(Unshaped::Dropped);
            }
        }
        if draft.name.is_empty() {
            return Err(Unshaped::EmptyName);
        }
        if !spec.prefix.is_empty() || !spec.tags.is_empty() {
            self.shaping.prefix(&mut draft.name);
            self.shaping.add_tags(&mut draft.tags);
            seen(Step::Additions, draft);
        }
        // The members of a set are not numbers, so no rule scales them.
        Ok(Shaped { rule, scale: if kind == Kind::Set { 1.0 } else { scale } })
    }

    /// Changes the tags of an event or a service check. Rules do not apply to them.
    pub fn shape_tags(&self, tags: &mut Vec<(String, Option<String>)>) {
        self.shaping.edits.apply(tags);
        self.shaping.add_tags(tags);
    }

    /// Returns the rules with `continue`. All that match apply, each to the outcome of the one before it.
    fn continuing(&self) -> &[Rule] {
        &self.rules[..self.continuing]
    }

    /// Finds the first rule without `continue` that matches a name and type, and expands it. It tries globs before
    /// regular expressions.
    fn last_rule(&self, name: &str, kind: Kind) -> Option<(&Rule, Mapped<'_>)> {
        if let Some(found) = self.globs.find(name, |rule| self.rules[rule].applies_to(name, kind)) {
            let rule = &self.rules[found.rule];
            return Some((rule, rule.expand_templates(|star| found.captures[star - 1])));
        }
        let mut rules = self.expressions.iter().map(|&rule| &self.rules[rule]);
        rules.find_map(|rule| Some((rule, rule.mapped(name, kind)?)))
    }
}

/// The error for a rule with `continue` after one without.
const CONTINUE_LAST: &str = "continue: rules with it apply before all others, whatever their order; put this one before the first rule \
                             without it";
