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
mod expression;
mod file;
mod glob_tree;
mod legacy;
mod pattern_error;
mod policies;
mod rule;
mod template;

pub use file::{
    Action, Defaults, HistogramOptions, MappingError, MappingWarning, MatchMetricType, MatchType,
    ObserverType, Quantile, RuleSpec, SummaryOptions,
};
pub use rule::{Mapped, Rule};

pub(crate) use check::milliseconds;

use file::MappingFile;
use glob_tree::GlobTree;

use crate::model::Kind;

/// All rules, compiled.
#[derive(Debug, Default)]
pub struct Mapping {
    rules: Vec<Rule>,
    /// The rules whose pattern is a glob.
    globs: GlobTree,
    /// The indices of the rules whose pattern is a regular expression, in ascending order.
    expressions: Vec<usize>,
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
        self.defaults == other.defaults && self.rules == other.rules
    }
}

impl Mapping {
    /// Reads a mapping file of `statsd_exporter`, which is YAML.
    ///
    /// # Errors
    ///
    /// Returns the first fault, with its rule and line.
    pub fn from_yaml(text: &str) -> Result<Self, MappingError> {
        let file = MappingFile::from_yaml(text)?;
        Self::new(
            &file.defaults,
            file.mappings.iter().map(|rule| (Some(rule.referenced.line()), &rule.value)),
        )
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
        for (index, (line, spec)) in rules.into_iter().enumerate() {
            let in_rule = |problem: String| MappingError::in_rule(index, line, &spec.pattern, &problem);
            let mut remarks = Vec::new();
            let rule =
                Rule::compile(index, spec.clone(), &defaults, memory, &mut remarks).map_err(in_rule)?;
            if let Some(expression) = &rule.expression {
                memory -= expression.memory();
                mapping.expressions.push(index);
            } else {
                mapping.globs.add(&spec.pattern, index);
            }
            remarks.extend(mapping.rules.iter().find(|earlier| earlier.shadows(&rule)).map(|earlier| {
                let number = earlier.index + 1;
                format!("no metric reaches this rule, because rule {number} has the same match")
            }));
            warnings.extend(remarks.into_iter().map(in_rule));
            mapping.rules.push(rule);
        }
        Ok(Self { defaults, warnings, ..mapping })
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

    /// Returns true if there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies the first rule that matches a metric's name and type. It tries globs before regular expressions. Returns
    /// `None` if no rule matches.
    #[must_use]
    pub fn apply(&self, name: &str, kind: Kind) -> Option<Mapped<'_>> {
        let applies_to_kind = |rule: usize| self.rules[rule].applies_to(kind);
        if let Some(found) = self.globs.find(name, applies_to_kind) {
            return Some(self.rules[found.rule].expand_templates(|star| found.captures[star - 1]));
        }
        self.expressions.iter().copied().filter(|&rule| applies_to_kind(rule)).find_map(|rule| {
            let rule = &self.rules[rule];
            let captures = rule.expression.as_ref()?.captures(name)?;
            Some(rule.expand_templates(|group| captures[group]))
        })
    }
}
